//! Exchange: what a validator does every tick, before anything is settled.
//!
//! ```text
//!  inputs -> peers, ingress -> verify -> pending -> order ==decided==> (synced) -> beacon -> ready to settle
//!             |  answers: who waits for which receipt                          watch: what changed, for those who look on
//! ```
//! Nothing here is replicated. What must reach the disk or the players goes to the outbox.

pub mod answers;
pub mod beacon;
pub mod ingress;
pub mod order;
pub mod peers;
pub mod verify;
pub mod watch;

use std::collections::VecDeque;

use bevy_ecs::resource::Resource;
use bevy_ecs::schedule::{IntoScheduleConfigs, Schedule};
use engine::io::{Input, Offence, Output, Receipt, ShedReason, Verdict};
use engine::limits::RECEIPTS_KEPT_MS;
use engine::message::block::{Block, Decided};
use engine::message::certificate::{Beacon, Certificate};
use engine::message::intent::Intent;
use engine::message::note::ChainNote;
use engine::message::refusal::Refusal;
use engine::{Genesis, Hash, Height, PeerId, Tick};

/// The time of this tick: the only clock there is.
#[derive(Resource, Clone, Copy, Default, Debug)]
pub struct Clock {
    /// The tick.
    pub tick: Tick,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// What came in for this tick.
#[derive(Resource, Default)]
pub struct Inbox {
    /// As it arrived.
    pub inputs: Vec<Input>,
    /// Intents of well-formed bodies, to be verified.
    pub intents: Vec<Intent>,
    /// Who sent each of them.
    pub senders: Vec<PeerId>,
    /// What peers did that they may not do.
    pub offences: Vec<(PeerId, Offence)>,
    /// Who wants to watch what, and who left.
    pub watches: Vec<Input>,
    /// No intents are taken any more: the node ends.
    pub closed: bool,
    /// The last group that is on disk.
    pub synced: u64,
}

/// Verified intents that wait for a block. Bounded: what does not fit is shed and counted.
#[derive(Resource, Default)]
pub struct Pending {
    /// In order of arrival.
    pub queue: VecDeque<Intent>,
    /// Intents since the start that this node did not take.
    pub shed: u64,
}

/// What goes out of this tick.
#[derive(Resource, Default)]
pub struct Outbox {
    /// In the order in which it came about.
    pub outputs: Vec<Output>,
}

impl Outbox {
    fn refuse(&mut self, to: PeerId, intent: &Intent, refusal: Refusal) {
        let verdict = Verdict::Refused(refusal);
        let receipt = Receipt { id: intent.id(), height: Height::GENESIS, index: 0, verdict };
        self.outputs.push(Output::Receipt { to, receipt });
    }

    fn acknowledge(&mut self, to: PeerId, intent: &Intent) {
        self.outputs.push(Output::Acknowledged { to, id: intent.id() });
    }

    fn shed(&mut self, to: PeerId, intent: &Intent, reason: ShedReason) {
        self.outputs.push(Output::Shed { to, id: intent.id(), reason });
    }
}

/// A decided block that is not settled yet.
pub struct Unsettled {
    /// The block.
    pub block: Block,
    /// Its hash.
    pub hash: Hash,
    /// The group that its frame is in.
    pub group: u64,
    /// Its beacon, once it is known.
    pub beacon: Option<Beacon>,
    /// This node's certificate for it.
    pub certificate: Certificate,
}

/// Where the chain stands.
#[derive(Resource)]
pub struct Chain {
    /// The last decided height.
    pub decided: Height,
    /// Its block's hash; zero before the first.
    pub parent: Hash,
    /// Its block's time; the start of genesis before the first.
    pub parent_time_ms: u64,
    /// Its certificate.
    pub certificate: Option<Certificate>,
    /// The last settled height.
    pub settled: Height,
    /// `root_chain` of the last settled height and of the one before it; zero at genesis.
    pub root_chains: [Hash; 2],
    /// The root after the last settled height; zero at genesis.
    pub root: Hash,
    /// Its block's time and certificate.
    settled_block: Option<(u64, Certificate)>,
    /// About one height of every second, with its block's time: as long as receipts are kept.
    moments: VecDeque<(u64, Height)>,
    /// Decided blocks in order, at most two.
    pub unsettled: VecDeque<Unsettled>,
}

impl Chain {
    /// Before the first block.
    pub fn genesis(genesis: &Genesis) -> Self {
        Self {
            decided: Height::GENESIS,
            parent: [0; 32],
            parent_time_ms: genesis.start_ms,
            certificate: None,
            settled: Height::GENESIS,
            root_chains: [[0; 32]; 2],
            root: [0; 32],
            settled_block: None,
            moments: VecDeque::new(),
            unsettled: VecDeque::new(),
        }
    }

    /// Takes note of a decided block whose frame is in `group`.
    ///
    /// # Panics
    /// If it is not the next one.
    pub fn decide(&mut self, decided: &Decided, group: u64) {
        let header = &decided.block.header;
        assert_eq!(header.height, self.decided.next(), "blocks are decided one after another");
        assert_eq!(header.parent, self.parent, "a block follows the one before it");
        self.decided = header.height;
        self.parent = header.hash();
        self.parent_time_ms = header.time_ms;
        self.certificate = Some(decided.certificate.clone());
        let (block, hash, certificate) = (decided.block.clone(), self.parent, decided.certificate.clone());
        self.unsettled.push_back(Unsettled { block, hash, group, beacon: None, certificate });
    }

    /// `root_chain(height - 2)` for the header of `height`; zero at heights 1 and 2.
    ///
    /// # Panics
    /// If that height is not settled: ordering leads execution by at most two heights.
    pub fn root_chain_for(&self, height: Height) -> Hash {
        if height <= Height(2) {
            return [0; 32];
        }
        match self.settled.0 - height.back(2).0 {
            behind @ (0 | 1) => self.root_chains[behind as usize],
            _ => unreachable!("ordering leads execution by at most two heights"),
        }
    }

    /// Takes note of a settled height and returns its `root_chain`.
    pub fn settle(&mut self, settled: Unsettled, beacon: &Beacon, root: &Hash) -> Hash {
        let (height, time_ms) = (settled.block.header.height, settled.block.header.time_ms);
        assert_eq!(height, self.settled.next(), "heights are settled one after another");
        let chained =
            engine::message::certificate::chain_root(&self.root_chains[0], height, &settled.hash, beacon, root);
        self.settled = height;
        self.root_chains = [chained, self.root_chains[0]];
        self.root = *root;
        self.settled_block = Some((time_ms, settled.certificate));
        self.remember(height, time_ms);
        chained
    }

    /// Takes note of when a height was, once a second.
    pub(crate) fn remember(&mut self, height: Height, time_ms: u64) {
        if self.moments.back().is_none_or(|(last, _)| time_ms >= last + 1_000) {
            self.moments.push_back((time_ms, height));
        }
        // One that is older than receipts are asked for stays, as the height from which they are read again.
        while self.moments.get(1).is_some_and(|(second, _)| second + RECEIPTS_KEPT_MS <= time_ms) {
            self.moments.pop_front();
        }
    }

    /// Where the chain stands after the last settled height; nothing at genesis.
    pub fn note(&self) -> Option<ChainNote> {
        let (time_ms, certificate) = self.settled_block.clone()?;
        let receipts_from = self.moments.front().map_or(self.settled, |(_, height)| *height);
        let (height, root, root_chains) = (self.settled, self.root, self.root_chains);
        Some(ChainNote { height, time_ms, receipts_from, block: certificate.block, root, root_chains, certificate })
    }

    /// Stands where a snapshot was taken: its height is the last decided and the last settled one.
    ///
    /// # Panics
    /// If the chain has begun.
    pub(crate) fn stand(&mut self, note: &ChainNote) {
        assert_eq!(self.decided, Height::GENESIS, "a snapshot is loaded before anything is decided");
        self.decided = note.height;
        self.parent = note.block;
        self.parent_time_ms = note.time_ms;
        self.certificate = Some(note.certificate.clone());
        self.settled = note.height;
        self.root_chains = note.root_chains;
        self.root = note.root;
        self.settled_block = Some((note.time_ms, note.certificate.clone()));
    }
}

/// The schedule of a tick. The list, read from top to bottom, is what happens.
pub fn exchange_schedule() -> Schedule {
    let mut schedule = crate::machine::chained();
    schedule.add_systems(
        (
            peers::update_peers,
            ingress::take_inputs,
            verify::verify_intents,
            peers::judge_peers,
            order::order_blocks,
            beacon::make_beacons,
            watch::tell_watchers,
        )
            .chain(),
    );
    schedule
}
