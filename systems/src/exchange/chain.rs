//! The chain as this node has it: what is decided, what is settled, and what is between.

use std::collections::VecDeque;

use bevy_ecs::resource::Resource;
use engine::io::Verdict;
use engine::limits::RECEIPTS_KEPT_MS;
use engine::message::block::{Block, Decided};
use engine::message::certificate::{Beacon, Certificate, ChainLink, verdicts_hash};
use engine::message::note::ChainNote;
use engine::{Genesis, Hash, Height};

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

/// What a note says of the last settled block.
#[derive(Clone)]
struct SettledBlock {
    time_ms: u64,
    /// Hashes of the sets that vote on its height and on the next.
    validators: [Hash; 2],
    certificate: Certificate,
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
    /// What a note says of its block.
    settled_block: Option<SettledBlock>,
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
    pub fn settle(&mut self, settled: Unsettled, beacon: &Beacon, root: &Hash, verdicts: &[Verdict]) -> Hash {
        let header = &settled.block.header;
        let (height, time_ms) = (header.height, header.time_ms);
        assert_eq!(height, self.settled.next(), "heights are settled one after another");
        assert_eq!(verdicts.len(), header.intent_count as usize, "a verdict for each intent");
        let verdicts = &verdicts_hash(verdicts.iter().copied());
        let chained = ChainLink { height, block: &settled.hash, beacon, root, verdicts }.after(&self.root_chains[0]);
        self.settled = height;
        self.root_chains = [chained, self.root_chains[0]];
        self.root = *root;
        let validators = [header.validators, header.next_validators];
        self.settled_block = Some(SettledBlock { time_ms, validators, certificate: settled.certificate });
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
        let SettledBlock { time_ms, validators, certificate } = self.settled_block.clone()?;
        let receipts_from = self.moments.front().map_or(self.settled, |(_, height)| *height);
        let (height, root, root_chains) = (self.settled, self.root, self.root_chains);
        let block = certificate.block;
        Some(ChainNote { height, time_ms, receipts_from, block, root, root_chains, validators, certificate })
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
        let (time_ms, validators, certificate) = (note.time_ms, note.validators, note.certificate.clone());
        self.settled_block = Some(SettledBlock { time_ms, validators, certificate });
    }
}
