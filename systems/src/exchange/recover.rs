//! Recover: a validator hears its log again before it may propose or vote.

use bevy_ecs::system::{Res, SystemState};
use bevy_ecs::world::World;
use engine::io::Output;
use engine::message::block::Block;
use engine::{Height, PeerId};
use order::consensus::{Consensus, ConsensusError, LogEntry};

use super::bodies::Judged;
use super::fault::ExchangeError;
use super::logged::LoggedHeight;
use super::nodes::Nodes;
use super::order::{BODY, ENTRY, OrderParts, OrderStep, polka_votes};
use super::tick::{Clock, Outbox};
use crate::settle::turns::Turns;

/// Starts this validator from its log: every logged height above the last decided one is heard again before anything is
/// proposed. Returns what must be recorded and sent. Before the first tick, or in the one that `now` says.
///
/// # Errors
/// If the log leads elsewhere than where this validator signed: the node must stop.
pub(crate) fn recover(
    world: &mut World,
    logged: Vec<LoggedHeight>,
    now: Option<Clock>,
) -> Result<Vec<Output>, ExchangeError> {
    let mut state = SystemState::<(OrderParts<'_>, Res<'_, Turns>, Res<'_, Nodes>)>::new(world);
    let (mut parts, turns, nodes) = state.get_mut(world).expect("a node that exchanges has its resources");
    let Some(config) = parts.orderer.config.clone() else { return Ok(Vec::new()) };
    assert!(!parts.orderer.is_listening(), "whoever hears its log has listened before");
    assert!(parts.orderer.fence <= parts.chain.decided, "nothing is signed at the fence or below it");
    parts.orderer.consensus = Some(Consensus::new(config, parts.chain.decided.next())?);
    let issuers = parts.issuers();
    let mut outbox = Outbox { is_heard: !nodes.rows().is_empty(), ..Outbox::default() };
    let clock = now.unwrap_or(Clock { now_ms: parts.chain.parent_time_ms, ..Clock::default() });
    // What the log holds was verified before it was written.
    let mut step = parts.step(clock, &issuers, &mut outbox, 0);
    // What is settled says whose turns were two heights above it. Where the power went, the log may lead many heights further
    // before any of them is settled: what the rows will say then is foreseen here.
    let mut turns = turns.clone();
    for block in &step.chain.unsettled {
        turns.note_failed(block.block.header.height, block.block.header.round);
    }
    for height in logged {
        // Others told of it while this validator listened.
        if height.height <= step.chain.decided {
            continue;
        }
        // The height before was logged and does not lead here: what was signed at this one cannot be heard again, and must not
        // be forgotten either.
        let (expected, found) = (step.chain.decided.next(), height.height);
        if found != expected {
            return Err(ConsensusError::Height { expected, found }.into());
        }
        step.orderer.validators = turns.at(height.height);
        step.recall(&height);
        let (mut effects, validators) = (Vec::new(), step.orderer.validators.clone());
        let consensus = step.orderer.consensus.as_mut().expect("made above");
        consensus.recover(height.height, &validators, &height.entries, &mut effects)?;
        effects.into_iter().for_each(|effect| step.take(effect));
        if let Some(block) = step.chain.unsettled.back().filter(|block| block.block.header.height == height.height) {
            turns.note_failed(height.height, block.block.header.round);
        }
    }
    // Where the ticks begin later, what was scheduled is scheduled from the first one on.
    step.orderer.ready_ms = now.map(|clock| clock.elapsed_ms());
    step.tell_votes();
    assert!(step.votes.is_empty(), "a vote that is logged is sent");
    if let Some(fault) = step.orderer.fault.take() {
        return Err(fault);
    }
    Ok(outbox.outputs)
}

impl OrderStep<'_> {
    /// Puts what the log holds of a height where it was: votes to the tally, proposals and bodies with their verdicts.
    fn recall(&mut self, logged: &LoggedHeight) {
        logged.blocks.iter().for_each(|block| self.bodies.put_logged(block.clone()));
        for entry in &logged.entries {
            match entry {
                LogEntry::Vote(vote) => _ = self.tally.count(vote, &self.orderer.validators, true),
                LogEntry::Proposal(proposal) => {
                    self.bodies.hold(*proposal, PeerId::NONE, u64::MAX);
                    if let Some(held) = self.bodies.proposals(logged.height).last_mut() {
                        held.heard = true;
                    }
                }
                LogEntry::Value(value) => {
                    if let Some(body) = self.bodies.get_mut(logged.height, &value.block) {
                        let valid = value.valid == 1;
                        body.heard = Some(valid);
                        // What had no vote before may have one now: its time has come.
                        body.judged = valid.then_some(Judged::Valid);
                    }
                }
                LogEntry::Polka(polka) => {
                    polka_votes(polka).for_each(|vote| _ = self.tally.count(&vote, &self.orderer.validators, true));
                }
                LogEntry::Timeout { .. } => {}
            }
        }
    }
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
