//! Catch-up: heights that others decided while this node was away, or that it follows without a vote.
//!
//! ```text
//!  standings -> ranges asked of several nodes -> signatures and beacons of many heights in batches -> ready, in order
//! ```
//! The order of blocks hears nothing of them: it goes on behind the last one. A node whose range does not verify is put out.

use std::collections::{BTreeMap, VecDeque};

use bevy_ecs::resource::Resource;
use bevy_ecs::system::{Res, ResMut, SystemState};
use bevy_ecs::world::World;
use engine::io::{Alarm, Output};
use engine::limits::{ASK_HEIGHTS, ASKS_MAX, CAME_BYTES_MAX, RANGE_BYTES_MAX, READY_MAX, UNSETTLED_MAX};
use engine::message::block::Decided;
use engine::message::certificate::Beacon;
use engine::message::divergence::Divergence;
use engine::message::node::{NodeMessage, NodeStanding, RangeEntry, RangeRow};
use engine::{Hash, Height, PeerId};
use order::beacon::BeaconMessage;

use super::answers::Answers;
use super::beacon::{BeaconPart, EPOCH, Shares};
use super::bodies::Bodies;
use super::chain::Chain;
use super::evidence::EvidenceKept;
use super::fault::ExchangeError;
use super::nodes::{Heard, NodePeer, Nodes};
use super::order::{Orderer, take_decided};
use super::planted::Planted;
use super::tally::Tally;
use super::tick::{Clock, Inbox, Outbox, Pending};
use super::verify::VerifySecret;
use crate::state::setup::Setup;

mod late;
mod past;
mod verifying;

/// Milliseconds until a question goes to another node.
const ASK_MS: u64 = 1_000;
/// Milliseconds that a validator waits for votes before it asks for the one height that it lacks.
const BEHIND_MS: u64 = 100;

/// Heights on their way to this node.
#[derive(Resource, Default)]
pub struct CatchUp {
    asked: Vec<Asked>,
    /// What was asked of others since, and may still be answered.
    late: Vec<Asked>,
    came: BTreeMap<Height, (PeerId, RangeEntry)>,
    bytes: usize,
    /// Verified, one height after another.
    ready: VecDeque<(Decided, Option<Beacon>)>,
    /// Who told of more than this node has, and from when on it may be asked for that, in milliseconds of ticks.
    ahead: BTreeMap<PeerId, u64>,
    turn: usize,
    told: NodeStanding,
    /// Who answered that it has a height no more.
    gone: BTreeMap<PeerId, Gone>,
    /// Who was asked for the next height, and has not told it.
    in_vain: BTreeMap<PeerId, InVain>,
    /// Everyone who is ahead did so for the next one, or never tells it, and not only liars say so.
    is_gone: bool,
    /// The last height after which the operator was told that the next one is gone.
    alarmed: Height,
    /// A snapshot comes instead: nothing is asked for.
    paused: bool,
}

/// An answer that a height is gone.
struct Gone {
    /// What was decided here then: it holds for as long as nothing more is.
    after: Height,
    /// Until when that node is not asked again, in milliseconds of ticks.
    until_ms: u64,
}

/// Questions for the next height to a node, of which nothing came.
struct InVain {
    /// What was decided here then: they count for as long as nothing more is.
    after: Height,
    questions: u32,
}

struct Asked {
    range: RangeRow,
    of: PeerId,
    until_ms: u64,
}

impl Asked {
    fn covers(&self, height: Height) -> bool {
        let first = self.range.from;
        first <= height && height.0 < first.0 + u64::from(self.range.count)
    }

    fn range_ends_by(&self, height: Height) -> bool {
        self.range.from.0 + u64::from(self.range.count) <= height.0 + 1
    }
}

/// System: asks for what others decided, answers those who ask, verifies what came, and tells where this node stands.
pub fn catch_up<P: Planted>(
    setup: Res<'_, Setup>,
    clock: Res<'_, Clock>,
    secret: Res<'_, VerifySecret>,
    orderer: Res<'_, Orderer>,
    part: Res<'_, BeaconPart>,
    bodies: Res<'_, Bodies>,
    mut nodes: ResMut<'_, Nodes>,
    mut chain: ResMut<'_, Chain>,
    mut shares: ResMut<'_, Shares>,
    mut heard: ResMut<'_, Heard>,
    mut inbox: ResMut<'_, Inbox>,
    mut state: ResMut<'_, CatchUp>,
    mut outbox: ResMut<'_, Outbox>,
) {
    if nodes.rows().is_empty() {
        // Where nobody is heard, nobody says that anything is gone.
        state.is_gone = false;
        return;
    }
    for (from, row) in heard.body_questions.drain(..) {
        // What is not here is not answered: whoever asked tries another node after a while.
        let body = bodies.get(row.height, &row.block);
        let is_told = |node: &mut NodePeer| node.is_told(row.block, clock.elapsed_ms());
        if let Some(body) = body.filter(|_| nodes.get_mut(from).is_some_and(is_told)) {
            outbox.tell_one(from, NodeMessage::Body(Box::new(body.block.clone())));
        }
    }
    for (to, range) in heard.range_questions.drain(..).filter(|(_, range)| range.from <= chain.decided) {
        outbox.outputs.push(Output::Serve { to, range });
    }
    let state = &mut *state;
    state.forget(chain.decided);
    for (from, entries) in heard.ranges.drain(..) {
        state.hear_of_next(from, &entries, chain.decided, clock.elapsed_ms());
        for entry in state.take(from, entries, chain.decided) {
            take_beacon(&entry, &mut chain, &mut shares, &part, &setup);
        }
    }
    state.verify::<P>(&setup, &secret, &orderer.validators, &chain, &part, &mut inbox);
    state.ask(&clock, &nodes, &chain, &orderer, &mut outbox);
    let silent = if orderer.is_voting() { 0 } else { NodeStanding::SILENT };
    let by_operator = if orderer.by_operator { NodeStanding::BY_OPERATOR } else { 0 };
    state.tell(&chain, silent | by_operator, &nodes, &mut outbox);
}

impl CatchUp {
    /// The next height that is ready to be executed, if it follows `decided`.
    pub fn pop_after(&mut self, decided: Height) -> Option<(Decided, Option<Beacon>)> {
        // Validators that caught up may have decided some of them by their own votes meanwhile.
        while self.ready.front().is_some_and(|(next, _)| next.block.header.height <= decided) {
            self.ready.pop_front();
        }
        self.ready.pop_front_if(|(next, _)| next.block.header.height == decided.next())
    }

    /// Whether heights wait to be executed.
    pub fn is_behind(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether something was asked for, or came, or is missing for a while.
    pub fn is_under_way(&self) -> bool {
        !self.asked.is_empty() || !self.came.is_empty() || !self.ready.is_empty() || !self.ahead.is_empty()
    }

    /// A snapshot comes instead. A height that was executed before it is there would stand in the journal before its beginning.
    pub fn pause(&mut self) {
        self.paused = true;
        self.asked.clear();
        self.late.clear();
        self.came.clear();
        self.bytes = 0;
        self.ready.clear();
        self.check_bytes();
    }

    /// The last height that is verified, or decided.
    fn verified(&self, decided: Height) -> Height {
        self.ready.back().map_or(decided, |(last, _)| last.block.header.height.max(decided))
    }

    fn forget(&mut self, decided: Height) {
        while self.came.first_key_value().is_some_and(|(height, _)| *height <= decided) {
            let (_, (_, entry)) = self.came.pop_first().expect("looked at above");
            self.bytes -= entry.encoded_len();
        }
        self.check_bytes();
    }

    /// Bytes that were counted and not taken off again would keep everything out that comes later.
    fn check_bytes(&self) {
        assert_eq!(self.came.is_empty(), self.bytes == 0, "the bytes of what came are counted");
        assert!(self.bytes <= CAME_BYTES_MAX, "what others make a node hold is bounded");
    }

    /// Takes an answer to a question, also a late one; anything else was not asked for. Returns those of its heights that are decided
    /// here: a beacon that is missing for one of them is taken at once.
    fn take(&mut self, from: PeerId, entries: Vec<RangeEntry>, decided: Height) -> Vec<RangeEntry> {
        let Some(first) = entries.first().map(|entry| entry.decided.block.header.height) else {
            // It says nothing of what was asked before.
            self.asked.retain(|asked| asked.of != from);
            return Vec::new();
        };
        let Some((asked, was_open)) = self.take_question(from, first) else { return Vec::new() };
        assert!(
            !was_open || self.asked.iter().all(|other| other.of != from),
            "of each node one thing is asked at a time"
        );
        let (verified, mut known) = (self.verified(decided), Vec::new());
        for entry in entries {
            let height = entry.decided.block.header.height;
            // Heights that nobody asked for would take the room of those that were.
            if !asked.covers(height) {
                break;
            }
            if height <= decided {
                known.push(entry);
            } else if height > verified {
                self.keep(from, entry);
            }
        }
        self.note_answered(&asked, was_open, decided);
        self.check_bytes();
        known
    }

    /// Keeps a height until it is verified. Where there is no room, those further above make some: none of them is verified before
    /// it, so that it would never find any.
    fn keep(&mut self, from: PeerId, entry: RangeEntry) {
        let (height, bytes) = (entry.decided.block.header.height, entry.encoded_len());
        // A question covers heights behind its first one that may have come from another node already.
        let before = self.came.get(&height).map_or(0, |(_, before)| before.encoded_len());
        while self.bytes - before + bytes > CAME_BYTES_MAX {
            let Some(last) = self.came.last_entry().filter(|last| *last.key() > height) else { return };
            let (_, further) = last.remove();
            self.bytes -= further.encoded_len();
        }
        self.bytes = self.bytes - before + bytes;
        self.came.insert(height, (from, entry));
        self.check_bytes();
    }

    /// Whether an answer to one more question has room beside what came, and what is still to come.
    fn has_room(&self) -> bool {
        self.bytes + (self.asked.len() + 1) * RANGE_BYTES_MAX <= CAME_BYTES_MAX
    }

    /// Notes who told of more than is here. The votes on the one height that a validator lacks may be on their way: if it asked at
    /// once, it would be sent many heights twice. It waits for each node by itself: one that says for ever that the chain is further
    /// would end the wait for all others.
    fn look_who_is_ahead(&mut self, now_ms: u64, nodes: &Nodes, chain: &Chain, orderer: &Orderer) {
        let lacks_beacon = chain.unsettled.front().is_some_and(|block| block.beacon.is_none());
        let is_ahead =
            |told: &NodeStanding| told.decided > chain.decided || (lacks_beacon && told.settled > chain.settled);
        self.ahead.retain(|peer, _| nodes.get(*peer).is_some_and(|node| is_ahead(&node.standing)));
        for node in nodes.rows().iter().filter(|node| is_ahead(&node.standing)) {
            let is_next = node.standing.decided <= chain.decided.next();
            let from_ms = now_ms + if orderer.is_voting() && is_next { BEHIND_MS } else { 0 };
            let noted_ms = self.ahead.entry(node.id).or_insert(from_ms);
            *noted_ms = from_ms.min(*noted_ms);
        }
        assert!(self.ahead.len() <= nodes.rows().len(), "nothing is remembered of whoever has left");
    }

    /// Asks for the heights that are missing, different ones of different nodes.
    fn ask(&mut self, clock: &Clock, nodes: &Nodes, chain: &Chain, orderer: &Orderer, outbox: &mut Outbox) {
        let now_ms = clock.elapsed_ms();
        self.look_for_past(now_ms, nodes, chain, orderer, outbox);
        if self.paused {
            return;
        }
        self.note_lapsed(now_ms, chain.decided);
        self.put_lapsed_aside(now_ms, |peer| nodes.get(peer).is_some(), chain.settled);
        let target = nodes.rows().iter().map(|node| node.standing.decided).max().unwrap_or_default();
        let settled = nodes.rows().iter().map(|node| node.standing.settled).max().unwrap_or_default();
        // Shares are not sent again for heights that the others have settled: the beacon comes with the height, told
        // once more.
        let lacks_beacon =
            settled > chain.settled && chain.unsettled.front().is_some_and(|block| block.beacon.is_none());
        self.look_who_is_ahead(now_ms, nodes, chain, orderer);
        if self.ahead.is_empty() {
            return;
        }
        let verified = self.verified(chain.decided);
        let first = if lacks_beacon && verified == chain.decided { chain.settled } else { verified };
        // What is ready waits for the beacons of those before it, which may have been told without one.
        let waits_for = chain.settled.next();
        assert!(first >= chain.settled, "no height is asked for that was settled here");
        if lacks_beacon && first != chain.settled && !self.asked.iter().any(|asked| asked.covers(waits_for)) {
            assert!(chain.decided > chain.settled, "a block that lacks its beacon is decided and not settled");
            let count = chain.decided.0 - chain.settled.0;
            let range = RangeRow::new(waits_for, u32::try_from(count).expect("few wait to be settled"));
            self.ask_one(range, now_ms, nodes, |standing| standing.settled >= waits_for, outbox);
        }
        let mut next = first.next();
        let last = target.max(settled);
        // What is further above could not become ready, and would only hold memory until it could.
        while self.asked.len() < ASKS_MAX && next <= last && next.0 - first.0 <= READY_MAX as u64 {
            if self.asked.iter().any(|asked| asked.covers(next)) || self.came.contains_key(&next) {
                next = next.next();
                continue;
            }
            // What comes next is asked for in any case, and makes room for itself; what is above it would come only to go again.
            // Where it was asked for in vain, nobody is kept busy with what is above it: any of them may be the one that has it.
            if next != first.next() && (!self.has_room() || !self.in_vain.is_empty()) {
                return;
            }
            let range = RangeRow::new(next, ASK_HEIGHTS);
            if !self.ask_one(range, now_ms, nodes, |standing| standing.decided >= next, outbox) {
                return;
            }
            next = Height(next.0 + u64::from(ASK_HEIGHTS));
        }
    }

    /// Asks one of those that have a range and may be asked, each in turn, of which nothing is asked now. Says whether there is one.
    fn ask_one(
        &mut self,
        range: RangeRow,
        now_ms: u64,
        nodes: &Nodes,
        has: impl Fn(&NodeStanding) -> bool,
        outbox: &mut Outbox,
    ) -> bool {
        let has_waited = |id: &PeerId| self.ahead.get(id).is_some_and(|from_ms| *from_ms <= now_ms);
        let has_not_lost = |id: &PeerId| self.gone.get(id).is_none_or(|gone| gone.until_ms <= now_ms);
        let may_have = |id: &PeerId| has_waited(id) && has_not_lost(id);
        let is_free = |id: &PeerId| self.asked.iter().all(|asked| asked.of != *id) && may_have(id);
        let mut able: Vec<PeerId> =
            nodes.rows().iter().filter(|node| has(&node.standing) && is_free(&node.id)).map(|node| node.id).collect();
        let Some(least) = able.iter().map(|id| self.in_vain(id)).min() else { return false };
        // How many questions go out together is others' to say: turns alone would ask the same node for the next height each time.
        able.retain(|id| self.in_vain(id) == least);
        self.turn += 1;
        let of = able[self.turn % able.len()];
        outbox.tell_one(of, NodeMessage::AskRange(range));
        self.asked.push(Asked { range, of, until_ms: now_ms + ASK_MS });
        // Whoever answers that it has nothing does not say of what.
        assert!(self.asked.len() <= nodes.rows().len(), "of each node one thing is asked at a time");
        true
    }

    /// Tells the other nodes where this one stands, when that has changed, and those that connected in any case.
    fn tell(&mut self, chain: &Chain, flags: u32, nodes: &Nodes, outbox: &mut Outbox) {
        let standing = NodeStanding {
            decided: chain.decided,
            settled: chain.settled,
            // A restart may decide many heights before it settles the first: of these no root is known here.
            certified: chain.certified().min(chain.settled),
            root_chain: chain.root_chains[0],
            flags,
            reserved: [0; 4],
        };
        assert!(standing.settled <= standing.decided, "nothing is settled before it is decided");
        assert!(standing.certified <= standing.settled, "the others ban whoever says otherwise");
        assert!(standing.decided >= self.told.decided, "a chain does not go back");
        if standing != self.told {
            self.told = standing;
            outbox.tell(NodeMessage::Standing(standing));
        } else {
            nodes.joined.iter().for_each(|peer| outbox.tell_one(*peer, NodeMessage::Standing(standing)));
        }
    }
}

/// Decides the next height that others told of, if this node agrees with what it says of the state. One that names another
/// root stops the node before it is recorded.
pub(crate) fn take_told(world: &mut World, outputs: &mut Vec<Output>) {
    let mut state = SystemState::<(
        Res<'_, Clock>,
        ResMut<'_, Chain>,
        ResMut<'_, Orderer>,
        ResMut<'_, CatchUp>,
        ResMut<'_, Answers>,
        ResMut<'_, Pending>,
        ResMut<'_, Tally>,
        ResMut<'_, Bodies>,
        ResMut<'_, EvidenceKept>,
        ResMut<'_, Outbox>,
    )>::new(world);
    let (
        clock,
        mut chain,
        mut orderer,
        mut told,
        mut answers,
        mut pending,
        mut tally,
        mut bodies,
        mut evidence,
        mut outbox,
    ) = state.get_mut(world).expect("a node that exchanges has its resources");
    let height = chain.decided.next();
    // A block is held against the root of the height but one before it: until that is settled here, there is nothing to
    // compare.
    let Some(own) = chain.root_chain_known(height).filter(|_| chain.unsettled.len() < UNSETTLED_MAX) else { return };
    let Some((decided, beacon)) = told.pop_after(chain.decided) else { return };
    if decided.block.header.root_chain != own {
        let Decided { block, certificate } = decided;
        let (header, certificate) = (block.header, Some(certificate));
        let divergence = Divergence { height: height.back(2), own, header, proposal: None, certificate };
        orderer.fault.get_or_insert(ExchangeError::Diverged(Box::new(divergence)));
        return;
    }
    // The quorum stands, whatever this validator signed; but whoever cannot tell what it signed must not sign on.
    if let Some(vote) = orderer.signed_elsewhere(&decided.certificate, &tally) {
        if !orderer.follow() {
            orderer.fault.get_or_insert(ExchangeError::OtherLife { vote: Box::new(vote) });
            return;
        }
        outbox.outputs.push(Output::Alarm(Alarm::OwnVoteElsewhere { height }));
    }
    let block = decided.certificate.block;
    assert_eq!(decided.certificate.height, height, "a certificate is of its block's height");
    outputs.push(Output::Decided(Box::new(decided.clone())));
    // One that follows because it cannot know what it signed must not find a fence at its next start that says it can.
    if orderer.knows_its_votes() {
        orderer.fence = orderer.fence.max(height);
        outputs.push(Output::Fence { height: orderer.fence });
    }
    take_decided(&mut chain, &mut answers, &mut pending, decided, clock.tick.0);
    assert_eq!(chain.decided, height, "one height was decided");
    assert_eq!(chain.parent, block, "the block that was decided is the one that a quorum signed");
    assert!(chain.unsettled.len() <= UNSETTLED_MAX, "ordering leads execution by at most two heights");
    chain.unsettled.back_mut().expect("decided above").beacon = beacon;
    orderer.pass(&clock);
    tally.forget_below(height);
    bodies.forget_up_to(height);
    evidence.forget(height);
}

/// A beacon that is missing here for a height that is decided here.
fn take_beacon(entry: &RangeEntry, chain: &mut Chain, shares: &mut Shares, part: &BeaconPart, setup: &Setup) {
    let header = &entry.decided.block.header;
    let Some(beacon) = entry.beacon else { return };
    let lacks =
        |block: &&mut super::chain::Unsettled| block.beacon.is_none() && block.block.header.height == header.height;
    let Some(block) = chain.unsettled.iter_mut().find(lacks) else { return };
    // The beacon is held against the block that was decided here, whatever the teller put beside it.
    let message = beacon_message(&setup.chain, header.height, block.hash);
    if part.verifier.verify(&message, &beacon) {
        block.beacon = Some(beacon);
        shares.note(header.height, block.hash, beacon);
    }
}

fn beacon_message(chain: &Hash, height: Height, block: Hash) -> BeaconMessage {
    BeaconMessage { chain: *chain, epoch: EPOCH, height, block }
}

const _: () = assert!(UNSETTLED_MAX < READY_MAX);

#[cfg(test)]
mod tests;
