//! Order: this validator's part in the order of blocks.

use std::collections::VecDeque;

use bevy_ecs::resource::Resource;
use bevy_ecs::system::{Res, ResMut};
use engine::Height;
use engine::io::{Output, Receipt, Verdict};
use engine::limits::UNSETTLED_MAX;
use engine::message::block::{Block, Decided};
use engine::message::refusal::Refusal;
use order::block::{BlockBuilder, BlockContext, PushError};
use order::consensus::{Consensus, ConsensusConfig, ConsensusError, Effect, Input, LogEntry, Timers};
use order::validators::Validators;

use super::answers::Answers;
use super::chain::Chain;
use super::tick::{Clock, Outbox, Pending};
use super::verify::issuers;
use crate::state::due::DueTimes;
use crate::state::setup::Setup;

/// What comes before the bytes of a consensus log entry: a block's body, or an entry of the order itself.
const BODY: u8 = 0;
const ENTRY: u8 = 1;

/// This validator's part in the order of blocks.
#[derive(Resource)]
pub struct Orderer {
    /// The state machine.
    pub consensus: Consensus,
    /// What it was made of, for one that begins at another height.
    pub config: ConsensusConfig,
    /// Its timeouts.
    pub timers: Timers,
    /// The validators.
    pub validators: Validators,
    /// Whether the height before is finished, so that the next may start.
    pub idle: bool,
    /// A round of the present height that asks this validator for a block.
    pub asked: Option<u32>,
    /// The block that this validator proposed at the present height.
    pub proposed: Option<Block>,
    /// Why this node must stop, once it must.
    pub fault: Option<ConsensusError>,
}

/// System: one step of the order of blocks. Starts a height when there is something to decide, builds a block when
/// one is asked for, and takes note of what was decided.
pub fn order_blocks(
    setup: Res<'_, Setup>,
    clock: Res<'_, Clock>,
    due: Res<'_, DueTimes>,
    mut pending: ResMut<'_, Pending>,
    mut chain: ResMut<'_, Chain>,
    mut orderer: ResMut<'_, Orderer>,
    mut answers: ResMut<'_, Answers>,
    mut outbox: ResMut<'_, Outbox>,
) {
    let (chain, orderer) = (&mut *chain, &mut *orderer);
    let mut step = Step { clock: *clock, chain, orderer, answers: &mut answers, outbox: &mut outbox };
    while let Some(timeout) = step.orderer.timers.elapsed(clock.now_ms) {
        step.input(Input::Timeout(timeout));
    }
    let may_start = step.orderer.idle
        && step.chain.unsettled.len() < UNSETTLED_MAX
        && clock.now_ms >= step.chain.parent_time_ms + setup.genesis.block_interval_ms;
    let table_due = due.earliest().is_some_and(|earliest| earliest <= clock.now_ms) && step.chain.unsettled.is_empty();
    if may_start && (table_due || !pending.queue.is_empty()) {
        let height = step.chain.decided.next();
        step.input(Input::StartHeight(height));
    }
    if let Some(round) = step.orderer.asked.take() {
        let block = step.build(&setup, &mut pending, round);
        step.propose(block, round);
    }
}

struct Step<'a> {
    clock: Clock,
    chain: &'a mut Chain,
    orderer: &'a mut Orderer,
    answers: &'a mut Answers,
    outbox: &'a mut Outbox,
}

impl Step<'_> {
    /// The next block, from the intents that wait. What fits into no block any more is refused; the rest waits on.
    fn build(&mut self, setup: &Setup, pending: &mut Pending, round: u32) -> Block {
        let issuers = issuers(setup);
        let height = self.chain.decided.next();
        let context = BlockContext {
            chain: &setup.chain,
            height,
            parent: self.chain.parent,
            parent_time_ms: self.chain.parent_time_ms,
            root_chain: self.chain.root_chain_for(height),
            validators: &self.orderer.validators,
            next_validators: &self.orderer.validators,
            parent_validators: &self.orderer.validators,
            issuers: &issuers,
        };
        let mut builder = BlockBuilder::new(context, round, self.clock.now_ms, self.chain.certificate.clone());
        let mut kept = VecDeque::new();
        while let Some(intent) = pending.queue.pop_front() {
            match builder.push(&intent) {
                Ok(()) => {}
                Err(PushError::Full) => {
                    kept.push_back(intent);
                    break;
                }
                Err(PushError::AccountFull | PushError::Later) => kept.push_back(intent),
                // The same number twice: the second waits, and is told that the number is used.
                Err(PushError::Never(order::block::BlockError::Duplicate { .. })) => kept.push_back(intent),
                Err(PushError::Never(_)) => {
                    let verdict = Verdict::Refused(Refusal::Expired);
                    let receipt = Receipt { id: intent.id(), height: Height::GENESIS, index: 0, verdict };
                    let to = self.answers.answer(&receipt);
                    self.outbox.outputs.push(Output::Receipt { to, receipt });
                }
            }
        }
        while let Some(intent) = kept.pop_back() {
            pending.queue.push_front(intent);
        }
        builder.finish()
    }

    /// Proposes a block: its body is logged before anything that names it.
    fn propose(&mut self, block: Block, round: u32) {
        let mut body = vec![BODY];
        block.encode(&mut body);
        self.outbox.outputs.push(Output::Log { height: block.header.height, entry: body });
        let header = Box::new(block.header);
        self.orderer.proposed = Some(block);
        self.input(Input::Value { round, header });
    }

    fn input(&mut self, input: Input) {
        let mut effects = Vec::new();
        if let Err(error) = self.orderer.consensus.step(input, &mut effects) {
            self.orderer.fault.get_or_insert(error);
        }
        effects.into_iter().for_each(|effect| self.take(effect));
    }

    fn take(&mut self, effect: Effect) {
        self.orderer.timers.apply(&effect, self.clock.now_ms);
        match effect {
            Effect::GetValue { round, .. } => self.orderer.asked = Some(round),
            Effect::Log(entry) => {
                let mut bytes = vec![ENTRY];
                entry.encode(&mut bytes);
                self.outbox.outputs.push(Output::Log { height: entry.height(), entry: bytes });
            }
            Effect::Decide(certificate) => {
                let block = self.orderer.proposed.take().expect("a lone validator decides its own proposal");
                assert_eq!(block.header.hash(), certificate.block, "the certificate is of the proposed block");
                // What others proposed, or this node before it ended, has its receipts too.
                self.outbox.outputs.extend(block.intents.iter().filter_map(|intent| self.answers.decide(intent)));
                let decided = Decided { block, certificate };
                self.chain.decide(&decided, self.clock.tick.0);
                self.outbox.outputs.push(Output::Decided(Box::new(decided)));
            }
            Effect::Finalized { .. } => self.orderer.idle = true,
            Effect::StartedRound { .. } => self.orderer.idle = false,
            // Sent to the other validators, of which there are none yet.
            Effect::Publish(_) | Effect::SendBlock { .. } => {}
            Effect::Schedule { .. } | Effect::Cancel(_) | Effect::CancelAll => {}
        }
    }
}

/// What a restarted validator's log says about one height.
#[derive(Default)]
pub struct LoggedHeight {
    /// The height.
    pub height: Height,
    /// The order's entries, in logged order.
    pub entries: Vec<LogEntry>,
    /// Bodies of blocks.
    pub blocks: Vec<Block>,
}

/// Sorts a consensus log into what it says about the heights above `decided`.
///
/// # Errors
/// The first entry that cannot be read, in words.
pub fn logged_heights(entries: &[(Height, Vec<u8>)], decided: Height) -> Result<Vec<LoggedHeight>, String> {
    let mut heights: Vec<LoggedHeight> = Vec::new();
    for (height, bytes) in entries.iter().filter(|(height, _)| *height > decided) {
        if heights.last().is_none_or(|last| last.height != *height) {
            heights.push(LoggedHeight { height: *height, ..LoggedHeight::default() });
        }
        let logged = heights.last_mut().expect("pushed above");
        let wrong = |error| format!("consensus log, height {height}: {error}");
        match bytes.split_first() {
            Some((&BODY, body)) => logged.blocks.push(Block::decode(body).map_err(wrong)?),
            Some((&ENTRY, entry)) => logged.entries.push(LogEntry::decode(entry).map_err(wrong)?),
            _ => return Err(format!("consensus log, height {height}: an entry of an unknown kind")),
        }
    }
    Ok(heights)
}

impl Orderer {
    /// Starts this validator from its log: every logged height above the last decided one is heard again before
    /// anything is proposed. Returns what must be recorded.
    ///
    /// # Errors
    /// If the log leads elsewhere than where this validator signed: the node must stop.
    pub fn recover(
        &mut self,
        logged: Vec<LoggedHeight>,
        chain: &mut Chain,
        answers: &mut Answers,
    ) -> Result<Vec<Output>, ConsensusError> {
        self.consensus = Consensus::new(self.config.clone(), chain.decided.next())?;
        let mut outbox = Outbox::default();
        for height in logged {
            self.proposed = height.blocks.into_iter().next_back();
            let mut effects = Vec::new();
            self.consensus.recover(height.height, &height.entries, &mut effects)?;
            let clock = Clock { now_ms: chain.parent_time_ms, ..Clock::default() };
            let mut step = Step { clock, chain, orderer: self, answers, outbox: &mut outbox };
            effects.into_iter().for_each(|effect| step.take(effect));
        }
        Ok(outbox.outputs)
    }
}
