//! Proposes a block where the order of blocks asks for one, and tells again what got lost.

use engine::Height;
use engine::io::{Alarm, Output};
use engine::limits::BLOCK_BYTES_MAX;
use engine::message::block::{Block, Header};
use engine::message::node::NodeMessage;
use engine::message::vote::{Proposal, VoteKind};
use order::block::{BlockBuilder, BlockContext, BlockValidators, PushError, check_head};
use order::consensus::{Input, Timeout};

use super::{HELP_ROUND, OrderStep, log_body};
use crate::exchange::bodies::Judged;

impl OrderStep<'_> {
    /// Proposes what the order of blocks asks for: a block that had a quorum of prevotes before, or a new one.
    pub(super) fn answer_asked(&mut self) {
        let height = self.chain.decided.next();
        // The question stays open: a block must name a root that this node has not computed yet.
        if self.chain.root_chain_known(height).is_none() {
            return;
        }
        let Some(round) = self.orderer.asked.take() else { return };
        assert!(!self.orderer.idle, "a block is asked for while a height is under way");
        match self.voted_for_before(height, round) {
            Some(header) => {
                // Whoever lacks the certificate finds that the block is of another round.
                self.tell_lock();
                self.input(Input::Value { round, header });
            }
            // The round passes without a block, as where its proposer is away, and the next one asks again: a clock that is set
            // right is heard of then, and whoever looks reads of one that is not with each question.
            None if BlockBuilder::time_ms(self.chain.parent_time_ms, self.clock.now_ms).is_none() => {
                self.outbox.outputs.push(Output::Alarm(Alarm::ClockTooLate { now_ms: self.clock.now_ms }));
            }
            None => {
                let block = self.build(round);
                self.propose(block, round);
            }
        }
    }

    /// The block of the last earlier round in which one had a quorum of prevotes, if this node has it and finds it valid.
    ///
    /// Somebody may be locked on it, and votes for nothing else; the order of blocks asks for another one all the same,
    /// where it heard of that quorum after the round was over.
    fn voted_for_before(&mut self, height: Height, round: u32) -> Option<Box<Header>> {
        let quorum = self.orderer.validators.quorum();
        let (_, block) = self.tally.quorum(height, VoteKind::Prevote, quorum).filter(|(before, _)| *before < round)?;
        let body = self.bodies.get_mut(height, &block).filter(|body| body.judged == Some(Judged::Valid))?;
        assert_eq!(body.block.header.height, height, "a body is kept at its own height");
        if !body.logged {
            body.logged = true;
            self.outbox.outputs.push(log_body(&body.block));
        }
        body.heard = Some(true);
        Some(Box::new(body.block.header))
    }

    /// The next block, from the intents that wait. They stay where they are until a block with them is decided.
    fn build(&mut self, round: u32) -> Block {
        let height = self.chain.decided.next();
        let context = BlockContext {
            chain: &self.setup.chain,
            height,
            parent: self.chain.parent,
            parent_time_ms: self.chain.parent_time_ms,
            root_chain: self.chain.root_chain_for(height),
            validators: BlockValidators::unchanging(&self.orderer.validators),
            issuers: self.issuers,
            has_pledged: self.setup.genesis.has_pledged(),
        };
        let mut builder = BlockBuilder::new(context, round, self.clock.now_ms, self.chain.certificate.clone());
        // They go before intents: an opening has a deadline, and a flood of intents would fill the block without it.
        for row in self.pending.pledges.to_propose() {
            if !builder.push_pledge(row) {
                break;
            }
        }
        let open = self.pending.queue.iter().filter(|waiting| self.answers.is_open(&waiting.intent.id()));
        for waiting in open {
            match builder.push(&waiting.intent) {
                // One that is late waits until the time of a settled block says so; one of two with a number, until the
                // other has its verdict.
                Ok(()) | Err(PushError::AccountFull | PushError::Later | PushError::Never(_)) => {}
                Err(PushError::Full) => break,
            }
        }
        let block = builder.finish();
        // Nobody else looks at the block of a lone validator before it is recorded, and a start that cannot read it is the end of
        // the session. Its intents were checked as they were taken.
        let checked = check_head(&block.header, block.certificate.as_ref(), &context);
        assert_eq!(checked, Ok(()), "this node's own block of height {height} is one that others take");
        assert!(block.encoded_len() <= BLOCK_BYTES_MAX, "a block is bounded");
        block
    }

    /// Proposes a block: its body is logged before anything that names it, and goes to the others beside the proposal.
    fn propose(&mut self, block: Block, round: u32) {
        self.outbox.outputs.push(log_body(&block));
        let header = Box::new(block.header);
        let (height, hash) = (header.height, header.hash());
        let body = self.outbox.is_heard.then(|| Box::new(block.clone()));
        self.bodies.put_logged(block);
        assert_eq!(height, self.chain.decided.next(), "a block is proposed for the present height");
        if let Some(body) = self.bodies.get_mut(height, &hash) {
            (body.judged, body.heard) = (Some(Judged::Valid), Some(true));
        }
        self.input(Input::Value { round, header });
        // Behind the proposal, which names it: a body that nothing names is taken from a proven validator only.
        body.into_iter().for_each(|body| self.outbox.tell(NodeMessage::Body(body)));
    }

    /// What got lost is sent again: this validator's proposal of the round, and from round 1 on what somebody may be locked
    /// on.
    pub(super) fn send_again(&mut self, timeout: Timeout) {
        let height = self.chain.decided.next();
        if self.orderer.idle || !self.outbox.is_heard {
            return;
        }
        let own = self.orderer.own_slot();
        let is_own = |proposal: &Proposal| Some(proposal.body.slot) == own && proposal.body.round == timeout.round;
        let proposals: Vec<Proposal> =
            self.bodies.proposals(height).iter().map(|held| held.proposal).filter(is_own).collect();
        proposals.into_iter().for_each(|proposal| self.outbox.tell(NodeMessage::Proposal(proposal)));
        if timeout.round >= HELP_ROUND {
            self.tell_lock();
        }
    }

    /// Tells the others of the last block that had a quorum of prevotes, with its proposal: whoever proposes next proposes
    /// that. A lock that only one knows of would make every round fail but its own.
    pub(super) fn tell_lock(&mut self) {
        let (height, quorum) = (self.chain.decided.next(), self.orderer.validators.quorum());
        let Some((round, block)) = self.tally.quorum(height, VoteKind::Prevote, quorum) else { return };
        let Some(polka) = self.tally.certificate(height, round, VoteKind::Prevote, block, quorum) else { return };
        self.outbox.tell(NodeMessage::Polka(polka));
        let of_block = |proposal: &Proposal| proposal.body.block == block && proposal.body.round == round;
        let named = self.bodies.proposals(height).iter().map(|held| held.proposal).find(of_block);
        named.into_iter().for_each(|proposal| self.outbox.tell(NodeMessage::Proposal(proposal)));
    }
}
