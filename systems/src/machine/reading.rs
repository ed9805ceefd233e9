//! What a machine shows: where its chain and its part in the order stand, its rows, and its last report.

use bevy_ecs::system::SystemState;
use engine::columns::Rows;
use engine::image::GroupSaver;
use engine::io::{ChainProgress, OrderProgress};
use engine::message::node::NodeStanding;
use engine::pool::{ArenaUse, Arenas};
use engine::{Height, PeerId};
use order::validators::Validators;

use super::Machine;
use crate::exchange::answers::Answers;
use crate::exchange::beacon::Shares;
use crate::exchange::catch_up::CatchUp;
use crate::exchange::chain::Chain;
use crate::exchange::nodes::Nodes;
use crate::exchange::order::Orderer;
use crate::exchange::verify::SenderKeys;
use crate::schedule::SystemTimes;
use crate::settle::block::Report;
use crate::settle::turns::Turns;
use crate::state::activity::Activity;
use crate::state::due::DueTimes;
use crate::state::setup::Setup;

/// What a machine holds of the memory, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldBytes {
    /// The columns of all components.
    pub columns: u64,
    /// The arenas of the pool's workers.
    pub arenas: u64,
    /// Blocks of rows that are on their way into a snapshot.
    pub blocks: u64,
}

impl Machine {
    /// Whether heights that others told of wait to be settled: several may be settled in one tick.
    pub fn is_behind(&self) -> bool {
        self.world.resource::<CatchUp>().is_behind()
    }

    /// Whether the passing of time may change something, beside tables that are due: a height is under way or due, or
    /// something was asked of other nodes.
    pub fn awaits_time(&self) -> bool {
        let is_ordering = self.world.get_resource::<Orderer>().is_some_and(|orderer| orderer.awaits_time(self.chain()));
        is_ordering || self.world.resource::<CatchUp>().is_under_way()
    }

    /// Whether this validator began a height that is not decided yet.
    pub fn has_height_under_way(&self) -> bool {
        self.world.get_resource::<Orderer>().is_some_and(Orderer::has_height_under_way)
    }

    /// The other nodes that are connected, and where each stands, as it says.
    pub fn nodes(&self) -> impl Iterator<Item = (PeerId, NodeStanding)> {
        self.world.resource::<Nodes>().rows().iter().map(|node| (node.id, node.standing))
    }

    /// What a node that is connected has proved: which validator it is, if it is one, and its network key.
    pub fn proven_of(&self, peer: PeerId) -> Option<(Option<u32>, [u8; 32])> {
        self.world.resource::<Nodes>().get(peer).map(|node| (node.validator, node.key))
    }

    /// Where each validator stands that is connected and has proved which it is, by its slot, as it says. One may come twice.
    pub fn validators_told(&self) -> impl Iterator<Item = (u32, NodeStanding)> {
        let rows = self.world.resource::<Nodes>().rows().iter();
        rows.filter_map(|node| node.validator.map(|slot| (slot, node.standing)))
    }

    /// Milliseconds between the times of two blocks, at least: genesis says it.
    pub fn block_interval_ms(&self) -> u64 {
        self.world.resource::<Setup>().genesis.block_interval_ms
    }

    /// How often a false signature made the keys of those who sent intents rest.
    ///
    /// # Panics
    /// If this machine was made to settle only.
    pub fn known_keys_rests(&self) -> u64 {
        self.world.resource::<SenderKeys>().rests()
    }

    /// What this node's part in the order of blocks is at, but for its receipts.
    pub fn order_progress(&self) -> OrderProgress {
        let orderer = self.world.resource::<Orderer>();
        let (validators, slot) = (&orderer.validators, orderer.own_slot());
        let height = self.chain().decided.next();
        OrderProgress {
            round: orderer.round,
            proposer: validators.proposer(height, orderer.round),
            slot,
            validators: validators.count() as u32,
            heard: self.world.resource::<Nodes>().others(slot) as u32 + u32::from(slot.is_some()),
            receipts: 0,
            missing_shares: self.world.resource::<Shares>().missing(),
        }
    }

    /// The validators of a height, with those who lose their first turn there. Right for the next height, and the one
    /// after it once that is settled.
    pub fn validators_at(&self, height: Height) -> Validators {
        self.world.resource::<Turns>().at(height)
    }

    /// Where the chain stands.
    pub fn chain(&self) -> &Chain {
        self.world.resource()
    }

    /// Where this node's chain stands at `now_ms`.
    pub fn standing(&self, now_ms: u64) -> ChainProgress {
        let chain = self.chain();
        let mut standing = ChainProgress { now_ms, ..ChainProgress::default() };
        standing.decide(chain.decided);
        standing.settle(chain.settled, chain.root_chains[0]);
        standing
    }

    /// Intents without a receipt: those that wait for a block, and those in blocks that are not settled.
    pub fn unanswered(&self) -> usize {
        self.world.resource::<Answers>().waiting()
    }

    /// The rows of connections.
    pub fn read_peers<R>(&mut self, read: impl FnOnce(&[engine::component::Peer]) -> R) -> R {
        let mut state = SystemState::<engine::columns::PeerColumns<'_, '_>>::new(&mut self.world);
        let mut columns = state.get_mut(&mut self.world).expect("the world has its columns");
        read(columns.rows().0)
    }

    /// What the machine holds of the memory.
    pub fn held_bytes(&mut self) -> HeldBytes {
        let arenas = self.world.resource_mut::<Arenas>().allocated_bytes() as u64;
        let blocks = self.world.resource::<GroupSaver>().held_bytes() as u64;
        HeldBytes { columns: self.layout().bytes(), arenas, blocks }
    }

    /// What the workers' arenas held and gave out for the last settled height.
    pub fn arena_use(&self) -> ArenaUse {
        self.world.resource::<Arenas>().last_use()
    }

    /// Lends a clock of nanoseconds to measure how long each system takes, and for nothing else.
    pub fn time_systems(&mut self, clock: fn() -> u64) {
        self.world.resource_mut::<SystemTimes>().lend(clock);
    }

    /// What each system took since this was last asked, in nanoseconds, by its place in [`SYSTEMS`](crate::schedule::SYSTEMS).
    pub fn take_system_times(&mut self, hear: impl FnMut(usize, u64)) {
        self.world.resource_mut::<SystemTimes>().take(hear);
    }

    /// Gives back memory that heights and snapshots needed and that nothing needs now. Nothing of the state is in it.
    pub fn trim(&mut self) {
        self.world.resource_mut::<Arenas>().trim();
        self.world.resource_mut::<GroupSaver>().trim();
    }

    /// Which tables and accounts did something on which page of history; a validator keeps it.
    pub fn activity(&self) -> &Activity {
        self.world.resource()
    }

    /// Wants rolls, resolutions and leavings in the reports, or not.
    pub fn watch(&mut self, watch: bool) {
        self.world.resource_mut::<Report>().watch = watch;
    }

    /// Wants the bets that lie when the dice fall in the reports, or not.
    pub fn watch_felt(&mut self, watch: bool) {
        self.world.resource_mut::<Report>().watch_felt = watch;
    }

    /// The last settled height's report.
    pub fn report(&self) -> &Report {
        self.world.resource()
    }

    /// Reads the columns.
    pub fn read<R>(&mut self, read: impl FnOnce(&Rows<'_>) -> R) -> R {
        let mut columns = self.columns.get_mut(&mut self.world).expect("the world has its columns");
        read(&columns.rows())
    }

    /// The chain's constants.
    pub fn setup(&self) -> &Setup {
        self.world.resource()
    }

    /// When the next table is due, or `None` while every table is empty.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.world.resource::<DueTimes>().earliest()
    }

    /// The account with this key.
    pub fn account_of(&mut self, key: &[u8; 32]) -> Option<engine::AccountId> {
        let (mut columns, index) = self.lookup.get_mut(&mut self.world).expect("the world has its columns");
        index.find(key, columns.rows().keys)
    }
}
