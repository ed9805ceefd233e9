//! The replicated state machine: decided blocks and beacons in, receipts and roots out.

use bevy_ecs::schedule::Schedule;
use bevy_ecs::system::{Res, ResMut, SystemState};
use bevy_ecs::world::World;
use engine::columns::{Columns, Rows};
use engine::image::{self, DirtyMap, ImageError, ImageLayout, RootTree, Saved};
use engine::io::{Input, Output, Standing, Verdict};
use engine::message::block::Decided;
use engine::message::certificate::{Beacon, Settled};
use engine::message::intent::Intent;
use engine::pool::Arenas;
use engine::{Hash, Height};
use order::beacon::{BeaconGroup, BeaconSigner};
use order::consensus::{Consensus, ConsensusConfig, ConsensusError, TimeoutConfig};
use order::signature::VoteKey;
use order::validators::{Validators, ValidatorsError};
use thiserror::Error;

use crate::exchange::answers::Answers;
use crate::exchange::beacon::BeaconPart;
use crate::exchange::chain::Chain;
use crate::exchange::exchange_schedule;
use crate::exchange::order::{LoggedHeight, Orderer};
use crate::exchange::peers::Grudges;
use crate::exchange::tick::{Clock, Inbox, Outbox, Pending};
use crate::exchange::verify::VerifySeed;
use crate::exchange::watch::Watches;
use crate::settle::block::{Current, Draw, Report};
use crate::settle::ledger::Ledger;
use crate::settle::mark::Marks;
use crate::settle::resolve::Crossing;
use crate::settle::roll::Rolled;
use crate::settle::{invariants, settle_schedule};
use crate::state::accounts::AccountIndex;
use crate::state::activity::Activity;
use crate::state::due::DueTimes;
use crate::state::saving::Saving;
use crate::state::setup::Setup;

/// One world and its two schedules: `exchange` for a validator's tick, `settle` for a decided height.
pub struct Machine {
    pub(crate) world: World,
    exchange: Schedule,
    settle: Schedule,
    pub(crate) columns: SystemState<Columns<'static, 'static>>,
    lookup: SystemState<(Columns<'static, 'static>, Res<'static, AccountIndex>)>,
    pub(crate) layout: ImageLayout,
    pub(crate) saving: Saving,
    /// A height is ready and waits for the snapshot that is under way.
    held: Saved,
}

/// Keys that do not fit genesis.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum JoinError {
    /// The validators of genesis cannot be.
    #[error(transparent)]
    Validators(#[from] ValidatorsError),
    /// The vote key is none of genesis.
    #[error("the vote key is not that of a validator of this genesis")]
    NoValidator,
    /// The beacon's group is another.
    #[error("the beacon key is not the group key of this genesis")]
    GroupKey,
    /// The order of blocks refuses.
    #[error(transparent)]
    Order(#[from] ConsensusError),
}

/// What makes a machine a validator: its keys, and where the chain stands.
pub struct Membership {
    /// The key of its votes and proposals.
    pub vote: VoteKey,
    /// The beacon's group.
    pub group: BeaconGroup,
    /// Its share of the group's key.
    pub signer: BeaconSigner,
    /// Randomness for batch verification.
    pub seed: [u8; 32],
    /// Connections that this node may have at once: rows of the peer columns.
    pub peers: u32,
}

impl Machine {
    /// A world at genesis that settles what others decided. `workers` changes nothing but speed.
    pub fn new(setup: Setup, workers: usize) -> Self {
        Self::build(World::new(), setup, 0, workers)
    }

    /// A world at genesis that takes part in deciding.
    ///
    /// # Errors
    /// If a key is not the one that genesis has.
    pub fn validator(setup: Setup, workers: usize, member: Membership) -> Result<Self, JoinError> {
        let validators = Validators::of_genesis(&setup.genesis)?;
        let slot = validators.slot_of(&member.vote.public()).ok_or(JoinError::NoValidator)?;
        if member.group.key() != setup.genesis.group_key.0 {
            return Err(JoinError::GroupKey);
        }
        let config = ConsensusConfig {
            chain: setup.chain,
            validators: validators.clone(),
            own: Some((slot, member.vote)),
            timeouts: TimeoutConfig::default(),
            seed: member.seed,
        };
        let consensus = Consensus::new(config.clone(), Height(1))?;
        let mut world = World::new();
        let timers = Default::default();
        let (asked, proposed, fault) = (None, None, None);
        world.insert_resource(Orderer { consensus, config, timers, validators, idle: true, asked, proposed, fault });
        world.insert_resource(Activity::of(&setup.genesis));
        world.insert_resource(BeaconPart { group: member.group, signer: member.signer });
        world.insert_resource(VerifySeed(member.seed));
        Ok(Self::build(world, setup, member.peers, workers))
    }

    fn build(mut world: World, setup: Setup, peers: u32, workers: usize) -> Self {
        world.init_resource::<Activity>();
        world.insert_resource(Clock::default());
        world.insert_resource(Inbox::default());
        world.insert_resource(Pending::default());
        world.insert_resource(Outbox::default());
        world.insert_resource(Answers::default());
        world.insert_resource(Watches::default());
        world.insert_resource(Grudges::default());
        world.insert_resource(Chain::genesis(&setup.genesis));
        let (height, draw) = (Height::GENESIS, Draw::Beacon([0; 48]));
        world.insert_resource(Current { height, time_ms: 0, active_ms: 0, intents: Vec::new(), draw });
        world.insert_resource(Report::default());
        world.insert_resource(Crossing::default());
        world.insert_resource(Rolled::none(setup.genesis.tables as usize));
        world.insert_resource(DueTimes::default());
        world.insert_resource(AccountIndex::default());
        world.insert_resource(Ledger::default());
        let layout = ImageLayout::new(engine::columns::Capacity::of(&setup.genesis));
        world.insert_resource(Marks { map: DirtyMap::clean(layout.clone()), of: None });
        world.insert_resource(setup.clone());
        engine::world::spawn(&mut world, &setup.genesis, &setup.rules_hashes(), peers, workers);
        let columns = SystemState::new(&mut world);
        let lookup = SystemState::new(&mut world);
        let saving = SystemState::new(&mut world);
        let (exchange, settle) = (exchange_schedule(), settle_schedule());
        let mut machine = Self { world, exchange, settle, columns, lookup, layout, saving, held: Saved::All };
        machine.derive();
        machine
    }

    /// Derives everything node-local from the columns.
    pub(crate) fn derive(&mut self) {
        let setup = self.world.resource::<Setup>().clone();
        let (ledger, due, index) = self.read(|rows| {
            let due = DueTimes::of(rows.tables);
            (invariants::recount(&setup, rows), due, AccountIndex::of(rows.accounts, rows.keys))
        });
        *self.world.resource_mut::<Ledger>() = ledger;
        *self.world.resource_mut::<DueTimes>() = due;
        *self.world.resource_mut::<AccountIndex>() = index;
        self.world.resource_mut::<DirtyMap>().mark_all();
        self.world.resource_mut::<Marks>().of = None;
    }

    /// Settles one height.
    ///
    /// # Panics
    /// If an invariant is broken, or the height is not the next one: the state must not be recorded.
    pub fn settle(&mut self, height: Height, time_ms: u64, intents: Vec<Intent>, draw: Draw) -> &Report {
        self.begin(height, time_ms, intents, draw);
        self.settle.run(&mut self.world);
        self.world.resource_mut::<Arenas>().reset();
        self.world.resource::<Report>()
    }

    /// Takes up a height: [`Machine::settle`] without its systems. With [`Machine::run`], for those who time the systems
    /// one by one.
    ///
    /// # Panics
    /// If the height is not the next one, or time does not move forward.
    pub fn begin(&mut self, height: Height, time_ms: u64, intents: Vec<Intent>, draw: Draw) {
        let house = self.read(|rows| *rows.house);
        assert_eq!(height, house.height.next(), "heights are settled one after another");
        let active_ms = house.active_at(time_ms, self.setup().genesis.idleness.gap_max_ms);
        let mut current = self.world.resource_mut::<Current>();
        *current = Current { height, time_ms, active_ms, intents, draw };
        let mut report = self.world.resource_mut::<Report>();
        report.receipts.clear();
        report.rolls.clear();
        report.resolutions.clear();
        report.leavings.clear();
        report.counts = Default::default();
    }

    /// Runs some systems of a height that was taken up.
    pub fn run(&mut self, systems: &mut Schedule) {
        systems.run(&mut self.world);
    }

    /// One tick of a validator, but for settling: takes the inputs, verifies, orders blocks. What must be recorded and sent
    /// is appended to `outputs`; the inputs are taken.
    ///
    /// # Errors
    /// If the order of blocks contradicts itself: the node must stop.
    ///
    /// # Panics
    /// If this machine is no validator.
    pub fn exchange(
        &mut self,
        clock: Clock,
        inputs: &mut Vec<Input>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), ConsensusError> {
        *self.world.resource_mut::<Clock>() = clock;
        self.world.resource_mut::<Inbox>().inputs.append(inputs);
        self.exchange.run(&mut self.world);
        if let Some(fault) = self.world.resource_mut::<Orderer>().fault.take() {
            return Err(fault);
        }
        outputs.append(&mut self.world.resource_mut::<Outbox>().outputs);
        Ok(())
    }

    /// Settles the first decided block if its beacon is known, and if a snapshot that is under way has room for what it
    /// overwrites; what must be recorded and sent is appended to `outputs`. Returns whether it did.
    ///
    /// # Panics
    /// If an invariant is broken: the state must not be recorded.
    pub fn settle_ready(&mut self, outputs: &mut Vec<Output>) -> bool {
        self.held = Saved::All;
        let mut chain = self.world.resource_mut::<Chain>();
        let Some(next) = chain.unsettled.pop_front_if(|block| block.beacon.is_some()) else { return false };
        self.held = self.save_before(&next.block);
        self.world.resource_mut::<Chain>().unsettled.push_front(next);
        if self.is_held() {
            return false;
        }
        let settled = self.settle_next();
        outputs.push(Output::Settled(settled));
        outputs.append(&mut self.answer_receipts());
        true
    }

    /// Whether a height is ready and waits until a snapshot has saved what it overwrites.
    pub fn is_held(&self) -> bool {
        self.held != Saved::All
    }

    /// Whether it waits for room in the snapshot's pool: for blocks that come back.
    pub fn waits_for_room(&self) -> bool {
        self.held == Saved::NoRoom
    }

    /// Takes a decided block from the record of a session that goes on; with its beacon it is settled too, and what
    /// it led to is returned.
    pub fn restore(&mut self, decided: &Decided, beacon: Option<Beacon>) -> Option<Settled> {
        let mut chain = self.world.resource_mut::<Chain>();
        chain.decide(decided, 0);
        chain.unsettled.back_mut().expect("decided above").beacon = beacon;
        let mut answers = self.world.resource_mut::<Answers>();
        // Nobody is connected before the first tick, so nobody waits under another mark.
        decided.block.intents.iter().for_each(|intent| _ = answers.decide(intent));
        beacon.map(|_| {
            let settled = self.settle_next();
            self.answer_receipts();
            settled
        })
    }

    /// Hears the consensus log again, before the first tick of a session that goes on. Returns what must be recorded.
    ///
    /// # Errors
    /// If the log leads elsewhere than where this validator signed: the node must stop.
    pub fn recover(&mut self, logged: Vec<LoggedHeight>) -> Result<Vec<Output>, ConsensusError> {
        let mut state =
            SystemState::<(ResMut<'_, Orderer>, ResMut<'_, Chain>, ResMut<'_, Answers>)>::new(&mut self.world);
        let (mut orderer, mut chain, mut answers) =
            state.get_mut(&mut self.world).expect("a validator has its resources");
        orderer.recover(logged, &mut chain, &mut answers)
    }

    /// Settles the first decided block, whose beacon is known.
    fn settle_next(&mut self) -> Settled {
        let mut next = self.world.resource_mut::<Chain>().unsettled.pop_front().expect("a block is ready");
        let beacon = next.beacon.expect("its beacon is known");
        let intents = std::mem::take(&mut next.block.intents);
        let header = next.block.header;
        let root = self.settle(header.height, header.time_ms, intents, Draw::Beacon(beacon)).root;
        let receipts = &self.world.resource::<Report>().receipts;
        let verdicts: Vec<Verdict> = receipts.iter().map(|receipt| receipt.verdict).collect();
        let root_chain = self.world.resource_mut::<Chain>().settle(next, &beacon, &root, &verdicts);
        Settled { height: header.height, beacon, root, root_chain, verdicts }
    }

    /// The receipts of the last settled height, each for whoever waits for it.
    fn answer_receipts(&mut self) -> Vec<Output> {
        let receipts = std::mem::take(&mut self.world.resource_mut::<Report>().receipts);
        let mut answers = self.world.resource_mut::<Answers>();
        let answered =
            receipts.iter().map(|receipt| Output::Receipt { to: answers.answer(receipt), receipt: *receipt });
        let outputs = answered.collect();
        self.world.resource_mut::<Report>().receipts = receipts;
        outputs
    }

    /// Where the chain stands.
    pub fn chain(&self) -> &Chain {
        self.world.resource()
    }

    /// Where this node's chain stands at `now_ms`.
    pub fn standing(&self, now_ms: u64) -> Standing {
        let chain = self.chain();
        let mut standing = Standing { now_ms, ..Standing::default() };
        standing.decide(chain.decided);
        standing.settle(chain.settled, chain.root_chains[0]);
        standing
    }

    /// Intents without a receipt: those that wait for a block, and those in blocks that are not settled.
    pub fn unanswered(&self) -> usize {
        self.world.resource::<Answers>().waiting()
    }

    /// Takes no intents any more: the node ends, and those it took get their receipts.
    pub fn close_intake(&mut self) {
        self.world.resource_mut::<Inbox>().closed = true;
    }

    /// The rows of connections.
    pub fn read_peers<R>(&mut self, look: impl FnOnce(&[engine::component::Peer]) -> R) -> R {
        let mut state = SystemState::<engine::columns::PeerColumns<'_, '_>>::new(&mut self.world);
        let mut columns = state.get_mut(&mut self.world).expect("the world has its columns");
        look(columns.rows().0)
    }

    /// Intents that wait for a block, and how many were shed.
    pub fn pending(&self) -> &Pending {
        self.world.resource()
    }

    /// Which tables and accounts did something on which page of history; a validator keeps it.
    pub fn activity(&self) -> &Activity {
        self.world.resource()
    }

    /// Wants rolls, resolutions and leavings in the reports, or not.
    pub fn watch(&mut self, watch: bool) {
        self.world.resource_mut::<Report>().watch = watch;
    }

    /// The last settled height's report.
    pub fn report(&self) -> &Report {
        self.world.resource()
    }

    /// Looks at the columns.
    pub fn read<R>(&mut self, look: impl FnOnce(&Rows<'_>) -> R) -> R {
        let mut columns = self.columns.get_mut(&mut self.world).expect("the world has its columns");
        look(&columns.rows())
    }

    /// The chain's constants.
    pub fn setup(&self) -> &Setup {
        self.world.resource()
    }

    /// Where the columns lie in the image.
    pub fn layout(&self) -> &ImageLayout {
        &self.layout
    }

    /// How many groups of the image the last root hashed again.
    pub fn touched_groups(&self) -> usize {
        self.world.resource::<RootTree>().touched_groups()
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

    /// The root of the columns as they are.
    pub fn root(&mut self) -> Hash {
        let mut state =
            SystemState::<(Columns<'_, '_>, ResMut<'_, RootTree>, ResMut<'_, DirtyMap>)>::new(&mut self.world);
        let (mut columns, mut tree, mut dirty) = state.get_mut(&mut self.world).expect("the world has its columns");
        tree.update(&columns.rows(), &mut dirty)
    }

    /// Hands out the image in parts.
    ///
    /// # Errors
    /// What `write` returns.
    pub fn export<E>(&mut self, write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let layout = self.layout.clone();
        self.read(|rows| image::export(&layout, rows, write))
    }

    /// Loads an image of the same genesis.
    ///
    /// # Errors
    /// If it does not fit the capacities; nothing changed then.
    pub fn import(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let mut columns = self.columns.get_mut(&mut self.world).expect("the world has its columns");
        image::import(&self.layout, &mut columns.rows(), bytes)?;
        self.derive();
        Ok(())
    }
}
