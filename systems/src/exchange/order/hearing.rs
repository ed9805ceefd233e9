//! Hears what others said of the present height: certificates, proposals, votes; judges blocks, and asks for those that lack.

use engine::io::{Alarm, Offence, Output};
use engine::message::block::Header;
use engine::message::certificate::Certificate;
use engine::message::divergence::Divergence;
use engine::message::intent::{Intent, IntentId};
use engine::message::node::{BlockRow, NodeMessage};
use engine::message::vote::{NO_ROUND, Proposal, Vote, VoteBody, VoteKind};
use engine::{Hash, Height, PeerId};
use hashbrown::HashMap;
use order::batch::BatchSecret;
use order::block::{
    BlockContext, BlockError, BlockValidators, check_block_head, check_clock, check_turn, intent_signer,
};
use order::certificate::CertificateError;
use order::consensus::{ConsensusError, Input, ProposedValue};
use order::signature::{SignedItem, verify_batch};

use super::{OrderStep, log_body};
use crate::exchange::bodies::{Body, Judged, Present};
use crate::exchange::fault::ExchangeError;
use crate::exchange::nodes::{ASK_AGAIN_MS, Heard, Nodes};
use crate::exchange::planted::Planted;
use crate::exchange::tally::Counted;
use crate::exchange::tick::Pending;

/// Intents from which on a block's are looked up among those that wait, which were verified when they came.
const LOOK_UP_FROM: usize = 64;

impl OrderStep<'_> {
    /// Hears what others said of the present height: certificates, proposals whose blocks were judged, votes.
    pub(super) fn hear<P: Planted>(&mut self, heard: &mut Heard, nodes: &Nodes) {
        assert!(self.orderer.is_voting(), "whoever only follows hears nothing of a height under way");
        let height = self.chain.decided.next();
        if let Some((certificate, ask_ms)) = self.orderer.bodiless.take() {
            heard.polkas.clear();
            heard.rounds.clear();
            if self.bodies.get(height, &certificate.block).is_some() {
                return self.decide(certificate);
            }
            let ask_ms = self.ask_for_decided(height, certificate.block, ask_ms, nodes);
            self.orderer.bodiless = Some((certificate, ask_ms));
            return;
        }
        for (from, polka) in heard.polkas.drain(..).filter(|(_, polka)| polka.height == height) {
            if !self.hear_certificate(from, Input::Polka(polka.clone())) {
                continue;
            }
            // Those of its votes that got lost on their way here count from now on.
            polka_votes(&polka).for_each(|vote| self.count(&vote, true));
        }
        for (from, round) in heard.rounds.drain(..).filter(|(_, round)| round.height == height) {
            if self.hear_certificate(from, Input::Round(round.clone())) {
                // Those that the order of blocks took were counted as it logged them. It drops a certificate whole where it
                // has one like it: the others are handed over one by one.
                round.votes.iter().for_each(|vote| self.count(vote, false));
            }
        }
        if self.orderer.idle {
            return;
        }
        self.judge::<P>(height);
        self.hear_proposals(height);
        for vote in self.tally.take_unheard(height) {
            if self.orderer.idle {
                break;
            }
            assert_eq!(vote.body.height, self.chain.decided.next(), "votes of the present height are heard");
            self.input(Input::Vote { vote, verified: true });
        }
        // Votes may be those that make a block timely.
        self.judge::<P>(height);
        self.hear_proposals(height);
        self.ask_for_bodies(height, nodes);
        self.check_divergence(height);
        self.tally.forget_rounds(height, self.orderer.own_slot(), self.orderer.validators.quorum());
        self.bodies.forget_rounds(height, self.orderer.round);
    }

    /// A certificate of votes. Says whether the order of blocks has checked its signatures, and they hold: only then do its
    /// votes count. One that says nothing new is dropped unchecked.
    fn hear_certificate(&mut self, from: PeerId, input: Input) -> bool {
        let is_wanted = self.orderer.consensus.as_ref().is_some_and(|consensus| consensus.wants(&input));
        if self.orderer.idle || !is_wanted {
            return false;
        }
        let result = self.try_input(input);
        // It is of the present height, whose keys are known, and whoever passes one on has verified it: only a liar sends one that
        // nobody signed. What is wrong with its form costs nothing to find.
        if let Err(ConsensusError::Certificate(CertificateError::Signature { .. })) = result {
            self.offences.push((from, Offence::BadSignature));
        }
        result.is_ok()
    }

    /// Counts a vote whose signature was verified; `heard` says that the order of blocks has heard it.
    pub(super) fn count(&mut self, vote: &Vote, heard: bool) {
        if let Counted::Second(found) = self.tally.count(vote, &self.orderer.validators, heard) {
            self.evidence.keep(found, self.chain.decided, self.outbox);
        }
    }

    /// Judges blocks that arrived, and again those that only their time spoke against.
    fn judge<P: Planted>(&mut self, height: Height) {
        // A block names the root of the height but one before it: until that is settled here, nobody here can say
        // whether it is right.
        let Some(root_chain) = self.chain.root_chain_known(height) else { return };
        let context = BlockContext {
            chain: &self.setup.chain,
            height,
            parent: self.chain.parent,
            parent_time_ms: self.chain.parent_time_ms,
            root_chain,
            validators: BlockValidators::unchanging(&self.orderer.validators),
            issuers: self.issuers,
            has_pledged: self.setup.genesis.has_pledged(),
        };
        let quorum = self.orderer.validators.quorum();
        let (decided, round) = (self.chain.decided, self.orderer.round);
        let present = Present { decided, round, validators: &self.orderer.validators, tally: self.tally };
        let mut diverged: Vec<Header> = Vec::new();
        for hash in self.bodies.unsure(present) {
            // A quorum voted for it: no clock may keep it from being decided. A proposal that says so proves nothing: whoever
            // signs one could set the chain's time as far ahead as it likes.
            let decided = self.tally.quorum(height, VoteKind::Precommit, quorum).map(|(_, block)| block);
            let is_wanted = self.tally.has_polka(height, &hash, quorum) || decided == Some(hash);
            let Some(body) = self.bodies.get_mut(height, &hash) else { continue };
            let header = body.block.header;
            let timely = (is_wanted && !P::CLOCK_ON_REPROPOSALS)
                || check_clock(&header, self.chain.parent_time_ms, self.clock.now_ms).is_ok();
            let judged = match body.judged {
                Some(Judged::Untimely) if timely => Judged::Valid,
                Some(_) => continue,
                None => match check_part(body, &context, self.pending, self.secret, &mut self.checks) {
                    Ok(false) => continue,
                    Ok(true) if timely => Judged::Valid,
                    Ok(true) => Judged::Untimely,
                    Err(BlockError::Header { field: "root chain" }) => Judged::Diverged,
                    Err(_) => Judged::Invalid,
                },
            };
            if matches!(judged, Judged::Valid | Judged::Untimely) {
                let all = body.block.pledges.len() + body.block.intents.len();
                assert_eq!(body.verified, Some(all), "no block is voted for before all of it was verified");
            }
            body.judged = Some(judged);
            if judged == Judged::Diverged {
                diverged.push(header);
            }
        }
        diverged.iter().for_each(|header| self.tell_divergence(header, root_chain));
    }

    /// A block names another root than this node computed: the operator hears of it, and both rows are kept.
    fn tell_divergence(&mut self, header: &Header, own: Hash) {
        let divergence = self.divergence(header, own);
        let (height, proposed, proposer) = (divergence.height, divergence.theirs(), divergence.proposer());
        self.outbox.outputs.push(Output::Alarm(Alarm::Diverged { height, own, proposed, proposer }));
        self.outbox.outputs.push(Output::Diverged(Box::new(divergence)));
    }

    fn divergence(&mut self, header: &Header, own: Hash) -> Divergence {
        assert_ne!(header.root_chain, own, "a block that names this node's own root does not diverge");
        let hash = header.hash();
        let proposals = self.bodies.proposals(header.height).iter();
        let proposal = proposals.map(|held| held.proposal).find(|proposal| proposal.body.block == hash);
        Divergence { height: header.height.back(2), own, header: *header, proposal, certificate: None }
    }

    /// Hands proposals to the order of blocks whose blocks were judged, each with the verdict.
    fn hear_proposals(&mut self, height: Height) {
        let validators = self.orderer.validators.clone();
        let quorum = validators.quorum();
        let mut ready: Vec<(Proposal, bool)> = Vec::new();
        for place in 0..self.bodies.proposals(height).len() {
            let (proposal, was_heard) = {
                let held = &self.bodies.proposals(height)[place];
                (held.proposal, held.heard)
            };
            let body = proposal.body;
            let Some(block) = self.bodies.get(height, &body.block) else { continue };
            let Some(judged) = block.judged else { continue };
            // Proposed again, for votes that did not come here yet: its time may not speak against it. Heard as invalid, it
            // would get a vote for nothing as soon as they come.
            if judged == Judged::Untimely && body.polka_round != NO_ROUND {
                continue;
            }
            let valid = judged == Judged::Valid;
            let header = &block.block.header;
            // Whoever proposes a block first says so in it: whose turn failed must not be a proposer's choice. One that a
            // quorum voted for in an earlier round was looked at then.
            let is_first = body.polka_round == NO_ROUND;
            let is_own = header.round == body.round && header.proposer == body.slot;
            let had_polka = || header.round < body.round && self.tally.has_polka(height, &body.block, quorum);
            let fits = !is_first || is_own || had_polka();
            let has_turn = validators.proposer(height, body.round) == body.slot;
            // One that was heard as invalid may be valid by now: only its time spoke against it, and others have voted
            // for it.
            if fits && has_turn && (!was_heard || (valid && block.heard == Some(false))) {
                ready.push((proposal, valid));
            }
        }
        // Which of two proposals is heard first decides which gets the vote: in what order they came within a tick must
        // not.
        ready.sort_unstable_by_key(|(proposal, _)| (proposal.body.round, proposal.body.slot, proposal.body.block));
        for (proposal, valid) in ready {
            if self.orderer.idle {
                return;
            }
            self.hear_proposal(&proposal, valid);
        }
    }

    fn hear_proposal(&mut self, proposal: &Proposal, valid: bool) {
        let body = proposal.body;
        let height = body.height;
        assert!(!self.orderer.idle, "proposals are heard while a height is under way");
        assert_eq!(height, self.chain.decided.next(), "proposals of the present height are heard");
        if let Some(held) = self.bodies.proposals(height).iter_mut().find(|held| held.proposal == *proposal) {
            held.heard = true;
        }
        let Some(block) = self.bodies.get_mut(height, &body.block) else { return };
        assert_eq!(block.judged == Some(Judged::Valid), valid, "a verdict stands until its proposal is heard");
        let news = block.heard != Some(valid);
        // A restart hears the log again, and a vote in it means nothing there without its block.
        if !block.logged {
            block.logged = true;
            self.outbox.outputs.push(log_body(&block.block));
        }
        block.heard = Some(valid);
        self.input(Input::Proposal { proposal: *proposal, verified: true });
        if news && !self.orderer.idle {
            let (round, polka_round, slot) = (body.round, body.polka_round, body.slot);
            let (block, valid, caught_up, reserved) = (body.block, u8::from(valid), 0, [0; 10]);
            let value = ProposedValue { block, height, round, polka_round, slot, valid, caught_up, reserved };
            self.input(Input::ProposedValue(value));
        }
    }

    /// Asks for bodies that did not come beside their proposals: each time another node.
    fn ask_for_bodies(&mut self, height: Height, nodes: &Nodes) {
        let (now_ms, validators) = (self.clock.elapsed_ms(), &self.orderer.validators);
        // Of one whose turn it is not nothing is ever heard: its block is of no use.
        let has_turn = |proposal: &Proposal| validators.proposer(height, proposal.body.round) == proposal.body.slot;
        let missing: Vec<(usize, Hash)> = self
            .bodies
            .proposals(height)
            .iter()
            .enumerate()
            .filter(|(_, held)| !held.heard && held.ask_ms <= now_ms && has_turn(&held.proposal))
            .map(|(place, held)| (place, held.proposal.body.block))
            .collect();
        for (place, block) in missing {
            if self.bodies.get(height, &block).is_some() {
                continue;
            }
            let held = &mut self.bodies.proposals(height)[place];
            held.ask_ms = now_ms + ASK_AGAIN_MS;
            let turn = (now_ms / ASK_AGAIN_MS) as usize;
            // Its proposer has it; so has, perhaps, whoever else is there. Those come at odd turns only, and each of them at some.
            let to = if turn.is_multiple_of(2) && nodes.get(held.from).is_some() {
                held.from
            } else if let Some(node) = nodes.rows().get(turn / 2 % nodes.rows().len().max(1)) {
                node.id
            } else {
                return;
            };
            self.outbox.tell_one(to, NodeMessage::AskBody(BlockRow { height, block }));
        }
    }

    /// Asks for the body of what was decided: each time another node. Says when it does again.
    fn ask_for_decided(&mut self, height: Height, block: Hash, ask_ms: u64, nodes: &Nodes) -> u64 {
        let (now_ms, rows) = (self.clock.elapsed_ms(), nodes.rows());
        assert!(self.bodies.is_named(height, &block), "what comes is taken");
        if now_ms < ask_ms || rows.is_empty() {
            return ask_ms;
        }
        let node = &rows[(now_ms / ASK_AGAIN_MS) as usize % rows.len()];
        self.outbox.tell_one(node.id, NodeMessage::AskBody(BlockRow { height, block }));
        now_ms + ASK_AGAIN_MS
    }

    /// A quorum for a block with another root: this node is the one that is wrong, and stops before it records more.
    pub(super) fn check_divergence(&mut self, height: Height) {
        let quorum = self.orderer.validators.quorum();
        let Some((round, block)) = self.tally.quorum(height, VoteKind::Precommit, quorum) else { return };
        let Some(body) = self.bodies.get(height, &block).filter(|body| body.judged == Some(Judged::Diverged)) else {
            return;
        };
        let header = body.block.header;
        let certificate = self.tally.certificate(height, round, VoteKind::Precommit, block, quorum);
        // The operator is shown it: a divergence that no quorum stands behind must not stop a node.
        assert!(certificate.is_some(), "a quorum that was counted makes a certificate");
        let divergence = Divergence { certificate, ..self.divergence(&header, self.chain.root_chain_for(height)) };
        self.orderer.fault.get_or_insert(ExchangeError::Diverged(Box::new(divergence)));
    }
}

/// The prevotes that a polka is made of.
pub(in crate::exchange) fn polka_votes(polka: &Certificate) -> impl Iterator<Item = Vote> {
    polka.signatures.iter().map(|entry| {
        let body = VoteBody::new(VoteKind::Prevote, polka.height, polka.round, Some(polka.block), entry.slot);
        Vote { body, signature: entry.signature }
    })
}

/// Checks as much of a block as one step may: all but the signatures of pledges and intents first, then those, but for intents
/// that wait here and were verified when they came. Says whether all of it is checked.
fn check_part(
    body: &mut Body,
    context: &BlockContext<'_>,
    pending: &Pending,
    secret: &BatchSecret,
    checks: &mut usize,
) -> Result<bool, BlockError> {
    let block = &body.block;
    let from = match body.verified {
        Some(verified) => verified,
        None => {
            check_turn(&block.header, context.validators.own)?;
            check_block_head(block, context, secret)?;
            *body.verified.insert(0)
        }
    };
    let pledges = block.pledges.len();
    let all = pledges + block.intents.len();
    assert!(from <= all, "no more was verified than there is");
    let left = &block.intents[from.saturating_sub(pledges)..];
    // For a few intents, a map of all that wait would cost more than their signatures.
    let waiting: HashMap<IntentId, &Intent> = if left.len() < LOOK_UP_FROM {
        HashMap::new()
    } else {
        pending.queue.iter().map(|waiting| (waiting.intent.id(), &waiting.intent)).collect()
    };
    let (mut items, mut places, mut passed) = (Vec::new(), Vec::new(), 0);
    for place in from..all {
        let intent = place.checked_sub(pledges).map(|index| &block.intents[index]);
        // An id holds a part of the signature only: the same intent to its last byte is what was verified.
        if intent.is_none_or(|intent| waiting.get(&intent.id()).is_none_or(|known| *known != intent)) {
            // The rest has its turn in the next tick: a block that is valid and expensive must not keep votes waiting.
            if *checks == 0 {
                break;
            }
            *checks -= 1;
            items.push(match intent {
                None => SignedItem::pledge(&block.pledges[place], context.chain),
                Some(intent) => {
                    let key = intent_signer(intent, context.issuers).ok_or_else(|| forged(pledges, place))?;
                    SignedItem::intent(intent, key, context.chain)
                }
            });
            places.push(place);
        }
        passed += 1;
    }
    assert!(items.len() <= passed, "only what passed is verified");
    assert_eq!(items.len(), places.len(), "the place of a verdict tells what it is of");
    let mut verdicts = vec![false; items.len()];
    verify_batch(&items, secret, &mut verdicts);
    if let Some(bad) = verdicts.iter().position(|holds| !holds) {
        return Err(forged(pledges, places[bad]));
    }
    body.verified = Some(from + passed);
    Ok(from + passed == all)
}

/// What a block with so many pledges is told whose signature at a place does not verify: they come before its intents.
fn forged(pledges: usize, place: usize) -> BlockError {
    match place.checked_sub(pledges) {
        None => BlockError::PledgeSignature { index: place },
        Some(index) => BlockError::Signature { index },
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;
    use engine::message::block::Block;
    use engine::message::intent::{IntentBody, IntentKind};
    use order::signature::{PlayerKey, VoteKey};
    use order::validators::Validators;

    use super::*;
    use crate::exchange::sender::Origin;
    use crate::exchange::verify::VerifySecret;

    /// Intents that wait were verified as they came. A proposer may not change one of them and keep its id.
    #[test]
    fn only_what_waits_to_its_last_byte_is_not_verified_again() {
        let (chain, key) = ([9; 32], PlayerKey::from_seed(&[1; 32]));
        let body = |number| IntentBody::new(IntentKind::Bet, key.public(), number, 30).amount(10);
        let intents: Vec<Intent> = (1..=LOOK_UP_FROM as u64).map(|number| key.sign(body(number), &chain)).collect();
        let mut pending = Pending::default();
        intents.iter().for_each(|intent| pending.push(*intent, Origin::Here));
        let validators = Validators::new(vec![VoteKey::from_seed(&[2; 32]).public()]).expect("a key");
        let context = BlockContext {
            chain: &chain,
            height: Height(1),
            parent: [0; 32],
            parent_time_ms: 0,
            root_chain: [0; 32],
            validators: BlockValidators::unchanging(&validators),
            issuers: &[],
            has_pledged: false,
        };
        let check = |intents: Vec<Intent>| {
            let header = Header { height: Height(1), ..Header::zeroed() };
            let block = Block { header, certificate: None, system: Vec::new(), pledges: Vec::new(), intents };
            // All but its intents was looked at before.
            let (hash, verified) = (header.hash(), Some(0));
            let mut body = Body { hash, block, judged: None, verified, logged: false, heard: None };
            let mut checks = 1;
            (check_part(&mut body, &context, &pending, &VerifySecret::known().0, &mut checks), checks)
        };
        assert_eq!(check(intents.clone()), (Ok(true), 1), "none of them is verified once more");
        let changes: [fn(&mut IntentBody); 2] = [|body| body.amount += 1, |body| body.target += 1];
        for (index, change) in [0, LOOK_UP_FROM - 1].into_iter().zip(changes) {
            let mut changed = intents.clone();
            change(&mut changed[index].body);
            assert_eq!(changed[index].id(), intents[index].id());
            assert_eq!(check(changed), (Err(BlockError::Signature { index }), 0));
        }
    }
}
