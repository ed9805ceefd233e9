//! The chain as this node has it: what is decided, what is settled, and what is between.

use std::collections::VecDeque;

use bevy_ecs::resource::Resource;
use engine::io::{Closing, Verdict};
use engine::limits::{CLOSINGS_MAX, OPENING_GAP_MS_MAX, RECEIPTS_KEPT_MS, UNSETTLED_MAX};
use engine::message::block::{Block, Decided, Header};
use engine::message::certificate::{Beacon, Certificate, ChainLink, verdicts_hash};
use engine::message::note::ChainNote;
use engine::{Genesis, Hash, Height};

/// A decided block that is not settled yet.
pub struct Unsettled {
    /// As it was decided, and with nothing of it executed.
    pub block: Block,
    /// The hash of its header: its child names it as the parent.
    pub hash: Hash,
    /// The group that its frame is in.
    pub group: u64,
    /// Its beacon, once it is known.
    pub beacon: Option<Beacon>,
    /// This node's certificate for it.
    pub certificate: Certificate,
}

/// Blocks that closed the bets of rolls at pledged tables, for those who open them. Node-local; the oldest go when there are
/// more than a deadline's worth of them.
#[derive(Resource, Default)]
pub struct Closings {
    blocks: VecDeque<(Hash, Header, Certificate)>,
}

impl Closings {
    /// Takes note of a block.
    pub fn keep(&mut self, hash: Hash, header: &Header, certificate: &Certificate) {
        if self.blocks.len() == CLOSINGS_MAX {
            self.blocks.pop_front();
        }
        self.blocks.push_back((hash, *header, certificate.clone()));
        assert!(self.blocks.len() <= CLOSINGS_MAX, "what is kept is bounded");
    }

    /// The block with this hash.
    pub fn of(&self, hash: &Hash) -> Option<Closing> {
        let (_, header, certificate) = self.blocks.iter().rev().find(|(of, ..)| of == hash)?;
        Some(Closing { header: *header, certificate: certificate.clone() })
    }
}

/// When a height was.
#[derive(Clone, Copy)]
struct Moment {
    height: Height,
    /// Its block's time.
    time_ms: u64,
    /// The clock of openings.
    opening_ms: u64,
}

/// What a note says of the last settled block.
#[derive(Clone)]
struct SettledBlock {
    time_ms: u64,
    /// Hashes of the sets that vote on its height and on the next.
    validators: [Hash; 2],
    certificate: Certificate,
}

const _: () = assert!(UNSETTLED_MAX == 2, "a header names the root of the height but one before it: as many are kept");

/// Where the chain stands.
#[derive(Resource)]
pub struct Chain {
    /// The last decided height.
    pub decided: Height,
    /// Its block's hash; zero before the first.
    pub parent: Hash,
    /// Its block's time; the start of genesis before the first.
    pub parent_time_ms: u64,
    /// The precommits that decided it, which the next block carries; none before the first.
    pub certificate: Option<Certificate>,
    /// The last settled height.
    pub settled: Height,
    /// `root_chain` of the last settled height and of the one before it; zero at genesis.
    pub root_chains: [Hash; 2],
    /// The root after the last settled height; zero at genesis.
    pub root: Hash,
    /// What a note says of its block.
    settled_block: Option<SettledBlock>,
    /// About one height of every second: as long as receipts are kept, and as long as a roll that it closed may be opened.
    moments: VecDeque<Moment>,
    /// The block's time of the last height of which note was taken.
    last_ms: u64,
    /// The clock of openings then, counted from any moment on.
    opening_ms: u64,
    /// The longest deadline of an opening; 0 where no table is pledged.
    open_ms_max: u64,
    /// The second of the last settled block's time.
    second: u64,
    /// The last settled height that had intents or rolls: its root must come into a header.
    pub last_live: Height,
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
            last_ms: genesis.start_ms,
            opening_ms: 0,
            open_ms_max: genesis.rules.iter().map(|rules| rules.open_ms.into()).max().unwrap_or(0),
            second: 0,
            last_live: Height::GENESIS,
            unsettled: VecDeque::new(),
        }
    }

    /// Takes note of a decided block whose frame is in `group`.
    ///
    /// # Panics
    /// If it is not the next one.
    pub fn decide(&mut self, decided: Decided, group: u64) {
        let Decided { block, certificate } = decided;
        let header = &block.header;
        assert_eq!(header.height, self.decided.next(), "blocks are decided one after another");
        assert_eq!(header.parent, self.parent, "a block follows the one before it");
        assert!(self.settled <= self.decided, "nothing is settled before it is decided");
        self.decided = header.height;
        self.parent = header.hash();
        self.parent_time_ms = header.time_ms;
        self.certificate = Some(certificate.clone());
        let hash = self.parent;
        self.unsettled.push_back(Unsettled { block, hash, group, beacon: None, certificate });
        self.check_unsettled();
    }

    /// A height between the two that is not kept could never be settled.
    fn check_unsettled(&self) {
        let between = self.decided.0 - self.settled.0;
        assert_eq!(between, self.unsettled.len() as u64, "all that is decided and not settled is kept");
    }

    /// `root_chain(height - 2)` for the header of `height`; zero at heights 1 and 2.
    ///
    /// # Panics
    /// If that height is not settled: ordering leads execution by at most two heights.
    pub fn root_chain_for(&self, height: Height) -> Hash {
        self.root_chain_known(height).expect("ordering leads execution by at most two heights")
    }

    /// The same, or `None` while the height whose root it is is not settled here.
    pub fn root_chain_known(&self, height: Height) -> Option<Hash> {
        if height <= Height(2) {
            return Some([0; 32]);
        }
        // Two are kept: no header that is to come can name an older one.
        let behind = self.settled.0.checked_sub(height.back(2).0)?;
        self.root_chains.get(behind as usize).copied()
    }

    /// Whether the second of a settled block's time is another than when this was asked before.
    pub(crate) fn is_new_second(&mut self, time_ms: u64) -> bool {
        let second = time_ms / 1_000;
        std::mem::replace(&mut self.second, second) != second
    }

    /// The time of the last settled block; 0 before the first.
    pub fn settled_time_ms(&self) -> u64 {
        self.settled_block.as_ref().map_or(0, |block| block.time_ms)
    }

    /// The last height whose root stands in a decided header: that of the height but one after it.
    pub fn certified(&self) -> Height {
        Height(self.decided.0.saturating_sub(2))
    }

    /// Takes note of a settled height and returns its `root_chain`. One with intents is live, and one where something else
    /// happened (`is_live`).
    pub fn settle(
        &mut self,
        settled: Unsettled,
        beacon: &Beacon,
        root: &Hash,
        verdicts: &[Verdict],
        is_live: bool,
    ) -> Hash {
        let header = &settled.block.header;
        let (height, time_ms) = (header.height, header.time_ms);
        assert_eq!(height, self.settled.next(), "heights are settled one after another");
        assert!(header.fits_verdicts(verdicts.len()), "a verdict for each intent and for each pledge");
        assert!(time_ms > self.settled_time_ms(), "block time moves forward");
        assert!(height <= self.decided, "nothing is settled before it is decided");
        let verdicts = &verdicts_hash(verdicts.iter().copied());
        let chained = ChainLink { height, block: &settled.hash, beacon, root, verdicts }.after(&self.root_chains[0]);
        self.settled = height;
        if is_live || header.intent_count > 0 {
            self.last_live = height;
        }
        self.root_chains = [chained, self.root_chains[0]];
        self.root = *root;
        let validators = [header.validators, header.next_validators];
        self.settled_block = Some(SettledBlock { time_ms, validators, certificate: settled.certificate });
        assert!(self.last_live <= self.settled, "a height is live once it is settled");
        self.remember(height, time_ms);
        self.check_unsettled();
        chained
    }

    /// Takes note of when a height was, once a second.
    pub(crate) fn remember(&mut self, height: Height, time_ms: u64) {
        self.opening_ms += time_ms.saturating_sub(self.last_ms).min(OPENING_GAP_MS_MAX);
        self.last_ms = time_ms;
        let opening_ms = self.opening_ms;
        if self.moments.back().is_none_or(|last| time_ms >= last.time_ms + 1_000) {
            self.moments.push_back(Moment { height, time_ms, opening_ms });
        }
        // A chain that stood still gives whoever opens a roll more of a block's time than receipts are kept for.
        let open_ms_max = self.open_ms_max;
        let is_past = |moment: &Moment| {
            moment.time_ms + RECEIPTS_KEPT_MS <= time_ms && moment.opening_ms + open_ms_max < opening_ms
        };
        // One that is older stays, as the height from which receipts and closed bets are read again.
        while self.moments.get(1).is_some_and(is_past) {
            self.moments.pop_front();
        }
        // One for each second of the span, by whichever clock, and the one before it.
        assert!(self.moments.len() as u64 <= RECEIPTS_KEPT_MS / 1_000 + 2, "what is remembered is bounded");
    }

    /// Where the chain stands after the last settled height; nothing at genesis.
    pub fn note(&self) -> Option<ChainNote> {
        let SettledBlock { time_ms, validators, certificate } = self.settled_block.clone()?;
        let receipts_from = self.moments.front().map_or(self.settled, |moment| moment.height);
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
        assert_eq!(self.settled, Height::GENESIS, "a snapshot is loaded before anything is settled");
        assert!(self.unsettled.is_empty(), "nothing of before a snapshot is settled after it");
        self.decided = note.height;
        self.parent = note.block;
        self.parent_time_ms = note.time_ms;
        self.certificate = Some(note.certificate.clone());
        self.settled = note.height;
        // Whether it was live, nobody knows any more; two empty heights too many do no harm.
        self.last_live = note.height;
        self.root_chains = note.root_chains;
        self.root = note.root;
        let (time_ms, validators, certificate) = (note.time_ms, note.validators, note.certificate.clone());
        self.settled_block = Some(SettledBlock { time_ms, validators, certificate });
    }
}
