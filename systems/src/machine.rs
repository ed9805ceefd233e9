//! The replicated state machine: decided blocks and beacons in, receipts and roots out.

use std::convert::Infallible;

use bevy_ecs::schedule::Schedule;
use bevy_ecs::system::{Res, ResMut, SystemState};
use bevy_ecs::world::World;
use engine::columns::{Columns, Rows};
use engine::image::{self, DirtyMap, GroupSaver, ImageLayout, RootTree, Saved};
use engine::io::{ChainProgress, Input, OrderProgress, Output, Receipt, Verdict};
use engine::message::block::Decided;
use engine::message::certificate::{Beacon, Settled};
use engine::message::intent::Intent;
use engine::message::node::NodeStanding;
use engine::message::refusal::Refusal;
use engine::message::snapshot::SnapshotProof;
use engine::pool::Arenas;
use engine::{Hash, Height, PeerId};
use order::batch::BatchSeed;
use order::beacon::{BeaconGroup, BeaconSigner, BeaconVerifier};
use order::certificate::proves_snapshot;
use order::consensus::{ConsensusConfig, ConsensusError, TimeoutConfig};
use order::signature::VoteKey;
use order::validators::{Validators, ValidatorsError};
use thiserror::Error;

use crate::exchange::answers::{Answers, Hears};
use crate::exchange::beacon::{BeaconPart, Shares};
use crate::exchange::bodies::Bodies;
use crate::exchange::catch_up::{CatchUp, take_told};
use crate::exchange::chain::{Chain, Closings};
use crate::exchange::evidence::EvidenceKept;
use crate::exchange::exchange_schedule;
use crate::exchange::fault::ExchangeError;
use crate::exchange::logged::LoggedHeight;
use crate::exchange::nodes::{Heard, Nodes};
use crate::exchange::order::Orderer;
use crate::exchange::peers::DepartedScores;
use crate::exchange::planted::{Planted, Sound};
use crate::exchange::recover::recover;
use crate::exchange::tally::Tally;
use crate::exchange::tick::{Clock, Inbox, Outbox, Pending};
use crate::exchange::verify::VerifySeed;
use crate::exchange::watch::Watches;
use crate::settle::block::{BlockPart, Current, Draw, Report};
use crate::settle::ledger::Ledger;
use crate::settle::mark::WrittenGroups;
use crate::settle::openings::Opened;
use crate::settle::resolve::Crossing;
use crate::settle::roll::Rolled;
use crate::settle::turns::Turns;
use crate::settle::{invariants, settle_schedule};
use crate::state::accounts::AccountIndex;
use crate::state::activity::Activity;
use crate::state::check_rows::{LoadError, RowError, check_keys, check_rows};
use crate::state::due::DueTimes;
use crate::state::pledges::Forfeits;
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
    /// What the block that is settled next holds; nothing for heights that are settled without a block.
    part: BlockPart,
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
    /// For the coefficients of batch verification.
    pub seed: BatchSeed,
    /// Connections that this node may have at once: rows of the peer columns.
    pub peers: u32,
    /// The network key of this node; none where it speaks to no other.
    pub network: Option<[u8; 32]>,
}

impl Machine {
    /// A world at genesis that settles what others decided. `workers` changes nothing but speed.
    pub fn new(setup: Setup, workers: usize) -> Self {
        Self::build::<Sound>(World::new(), setup, 0, workers)
    }

    /// A world at genesis that takes part in deciding.
    ///
    /// # Errors
    /// If a key is not the one that genesis has.
    pub fn validator(setup: Setup, workers: usize, member: Membership) -> Result<Self, JoinError> {
        Self::planted::<Sound>(setup, workers, member)
    }

    /// The same, with what a type plants in it.
    ///
    /// # Errors
    /// As [`Machine::validator`].
    pub fn planted<P: Planted>(setup: Setup, workers: usize, member: Membership) -> Result<Self, JoinError> {
        let validators = Validators::of_genesis(&setup.genesis)?;
        let slot = validators.slot_of(&member.vote.public()).ok_or(JoinError::NoValidator)?;
        if member.group.key() != setup.genesis.group_key.0 {
            return Err(JoinError::GroupKey);
        }
        let config = ConsensusConfig {
            chain: setup.chain,
            validators: validators.clone(),
            own: Some((slot, member.vote.clone())),
            timeouts: TimeoutConfig::default(),
            quorum: P::QUORUM,
            seed: member.seed.clone(),
        };
        let orderer = Orderer::new(validators, Some(config))?;
        let claim = member.network.map(|network| member.vote.sign_claim(slot, network, &setup.chain));
        let part = (Some(member.group), Some((member.signer, member.vote)));
        Self::exchanging::<P>(setup, workers, orderer, part, Nodes::claiming(claim), member.seed, member.peers)
    }

    /// A world at genesis that votes on nothing: it hears from other nodes what was decided, verifies all of it, and settles
    /// it.
    ///
    /// # Errors
    /// If the validators or the group key of genesis cannot be.
    pub fn follower(setup: Setup, workers: usize, seed: BatchSeed, peers: u32) -> Result<Self, JoinError> {
        let orderer = Orderer::new(Validators::of_genesis(&setup.genesis)?, None)?;
        Self::exchanging::<Sound>(setup, workers, orderer, (None, None), Nodes::default(), seed, peers)
    }

    fn exchanging<P: Planted>(
        setup: Setup,
        workers: usize,
        orderer: Orderer,
        (group, own): (Option<BeaconGroup>, Option<(BeaconSigner, VoteKey)>),
        nodes: Nodes,
        seed: BatchSeed,
        peers: u32,
    ) -> Result<Self, JoinError> {
        let verifier = BeaconVerifier::new(&setup.genesis.group_key.0).map_err(|_| JoinError::GroupKey)?;
        let mut world = World::new();
        world.insert_resource(orderer);
        world.insert_resource(Activity::of(&setup.genesis));
        world.insert_resource(BeaconPart { group, verifier, own });
        world.insert_resource(VerifySeed(seed));
        world.insert_resource(nodes);
        Ok(Self::build::<P>(world, setup, peers, workers))
    }

    fn build<P: Planted>(mut world: World, setup: Setup, peers: u32, workers: usize) -> Self {
        world.init_resource::<Activity>();
        world.init_resource::<Nodes>();
        world.init_resource::<Heard>();
        world.init_resource::<Tally>();
        world.init_resource::<Bodies>();
        world.init_resource::<EvidenceKept>();
        world.init_resource::<Shares>();
        world.init_resource::<CatchUp>();
        world.insert_resource(Clock::default());
        world.insert_resource(Inbox::default());
        world.insert_resource(Pending::default());
        world.insert_resource(Outbox::default());
        world.insert_resource(Answers::of(&setup.genesis));
        world.insert_resource(Watches::default());
        world.insert_resource(DepartedScores::default());
        world.insert_resource(Chain::genesis(&setup.genesis));
        world.insert_resource(Closings::default());
        let (height, draw) = (Height::GENESIS, Draw::Beacon([0; 48]));
        let part = BlockPart::default();
        world.insert_resource(Current {
            height,
            time_ms: 0,
            active_ms: 0,
            opening_ms: 0,
            part,
            intents: Vec::new(),
            draw,
        });
        world.insert_resource(Turns::none(&setup.genesis));
        world.insert_resource(Report::default());
        world.insert_resource(Crossing::default());
        world.insert_resource(Opened::default());
        world.insert_resource(Forfeits::default());
        world.insert_resource(Rolled::none(setup.genesis.tables as usize));
        world.insert_resource(DueTimes::default());
        world.insert_resource(AccountIndex::default());
        world.insert_resource(Ledger::default());
        let layout = ImageLayout::new(engine::columns::Capacity::of(&setup.genesis));
        world.insert_resource(WrittenGroups { map: DirtyMap::clean(layout.clone()), of: None });
        world.insert_resource(setup.clone());
        engine::world::spawn(&mut world, &setup.genesis, &setup.rules_hashes(), peers, workers);
        let columns = SystemState::new(&mut world);
        let lookup = SystemState::new(&mut world);
        let saving = SystemState::new(&mut world);
        let (exchange, settle) = (exchange_schedule::<P>(), settle_schedule());
        let mut machine = Self {
            world,
            exchange,
            settle,
            columns,
            lookup,
            layout,
            saving,
            held: Saved::All,
            part: BlockPart::default(),
        };
        machine.derive();
        machine
    }

    /// Checks the rows of a state that came from elsewhere, and derives what is node-local from them.
    pub(crate) fn take_up(&mut self) -> Result<(), RowError> {
        let setup = self.world.resource::<Setup>().clone();
        self.read(|rows| check_rows(&setup, rows))?;
        self.derive();
        let (mut columns, index) = self.lookup.get_mut(&mut self.world).expect("the world has its columns");
        check_keys(&columns.rows(), &index)
    }

    /// Derives everything node-local from the columns.
    pub(crate) fn derive(&mut self) {
        let setup = self.world.resource::<Setup>().clone();
        let mut turns = self.world.resource::<Turns>().clone();
        let (ledger, due, index) = self.read(|rows| {
            turns.read(rows.validators);
            let (due, index) = (DueTimes::of(rows.tables), AccountIndex::of(rows.accounts, rows.keys));
            (invariants::recount(&setup, rows), due, index)
        });
        *self.world.resource_mut::<Turns>() = turns;
        *self.world.resource_mut::<Ledger>() = ledger;
        *self.world.resource_mut::<DueTimes>() = due;
        *self.world.resource_mut::<AccountIndex>() = index;
        self.world.resource_mut::<DirtyMap>().mark_all();
        self.world.resource_mut::<WrittenGroups>().of = None;
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

    /// What the block of the height that is settled next holds beside its intents.
    pub fn of_block(&mut self, part: BlockPart) {
        self.part = part;
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
        let opening_ms = if self.setup().has_pledged() { house.opening_at(time_ms) } else { 0 };
        let part = std::mem::take(&mut self.part);
        let mut current = self.world.resource_mut::<Current>();
        *current = Current { height, time_ms, active_ms, opening_ms, part, intents, draw };
        let mut report = self.world.resource_mut::<Report>();
        report.receipts.clear();
        report.pledge_receipts.clear();
        report.openings.clear();
        report.closed.clear();
        report.rolls.clear();
        report.resolutions.clear();
        report.leavings.clear();
        report.felt.clear();
        report.forfeited.clear();
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
    /// If the order of blocks contradicts itself, or what a quorum says contradicts this node: it must stop, and records
    /// nothing of the tick.
    ///
    /// # Panics
    /// If this machine was made to settle only.
    pub fn exchange(
        &mut self,
        clock: Clock,
        inputs: &mut Vec<Input>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), ExchangeError> {
        *self.world.resource_mut::<Clock>() = clock;
        self.world.resource_mut::<Inbox>().inputs.append(inputs);
        let others = self.world.resource::<Nodes>().others(self.world.resource::<Orderer>().own_slot());
        let decided = self.chain().decided;
        if let Some(logged) = self.world.resource_mut::<Orderer>().take_listened(&clock, others, decided) {
            outputs.append(&mut recover(&mut self.world, logged, Some(clock))?);
        }
        self.exchange.run(&mut self.world);
        if let Some(fault) = self.world.resource_mut::<Orderer>().fault.take() {
            return Err(fault);
        }
        outputs.append(&mut self.world.resource_mut::<Outbox>().outputs);
        Ok(())
    }

    /// Settles the first decided block if its beacon is known, and if a snapshot that is under way has room for what it
    /// overwrites; what must be recorded and sent is appended to `outputs`. A node that is behind decides first what others
    /// told it. Returns whether it settled a height.
    ///
    /// # Errors
    /// If an invariant breaks: the machine is of no use any more, and nothing of the height may be recorded.
    pub fn settle_ready(&mut self, outputs: &mut Vec<Output>) -> Result<bool, ExchangeError> {
        if self.is_behind() {
            take_told(&mut self.world, outputs);
        }
        self.held = Saved::All;
        let mut chain = self.world.resource_mut::<Chain>();
        let Some(next) = chain.unsettled.pop_front_if(|block| block.beacon.is_some()) else { return Ok(false) };
        let (height, block) = (next.block.header.height, next.hash);
        self.held = self.save_before(&next.block);
        self.world.resource_mut::<Chain>().unsettled.push_front(next);
        if self.is_held() {
            return Ok(false);
        }
        // What was broken is told with the block that broke it. The world is half way through a height then, and nobody looks
        // at it again.
        let settled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.settle_next()));
        let settled = settled.map_err(|panic| {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let problem = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
            ExchangeError::Poison { height, block, problem: problem.to_owned() }
        })?;
        outputs.push(Output::Settled(settled));
        outputs.append(&mut self.answer_receipts());
        Ok(true)
    }

    /// Whether heights that others told of wait to be settled: several may be settled in one tick.
    pub fn is_behind(&self) -> bool {
        self.world.resource::<CatchUp>().is_behind()
    }

    /// Whether a height is ready and waits until a snapshot has saved what it overwrites.
    pub fn is_held(&self) -> bool {
        self.held != Saved::All
    }

    /// Whether the passing of time may change something, beside tables that are due: a height is under way or due, or
    /// something was asked of other nodes.
    pub fn awaits_time(&self) -> bool {
        let is_ordering = self.world.get_resource::<Orderer>().is_some_and(|orderer| orderer.awaits_time(self.chain()));
        is_ordering || self.world.resource::<CatchUp>().is_under_way()
    }

    /// Whether everyone who is ahead has given up the height that comes next here: only a snapshot leads on.
    pub fn past_is_gone(&self) -> bool {
        self.world.resource::<CatchUp>().past_is_gone()
    }

    /// A snapshot comes instead of the heights that are gone: none is asked for any more.
    pub fn await_snapshot(&mut self) {
        self.world.resource_mut::<CatchUp>().paused = true;
    }

    /// The other nodes that are connected, and where each stands, as it says.
    pub fn nodes(&self) -> impl Iterator<Item = (PeerId, NodeStanding)> {
        self.world.resource::<Nodes>().rows().iter().map(|node| (node.id, node.standing))
    }

    /// Whether a proof of a snapshot that another node gave proves its root.
    ///
    /// # Panics
    /// If this machine was made to settle only.
    pub fn is_proven(&self, proof: &SnapshotProof) -> bool {
        let (validators, seed) = (&self.world.resource::<Orderer>().validators, self.world.resource::<VerifySeed>());
        proves_snapshot(proof, validators, &self.setup().chain, &seed.0)
    }

    /// Whether it waits for room in the snapshot's pool: for blocks that come back.
    pub fn waits_for_room(&self) -> bool {
        self.held == Saved::NoRoom
    }

    /// Takes a decided block from the record of a session that goes on; with its beacon it is settled too, and what
    /// it led to is returned.
    pub fn restore(&mut self, decided: &Decided, beacon: Option<Beacon>) -> Option<Settled> {
        let mut chain = self.world.resource_mut::<Chain>();
        chain.decide(decided.clone(), 0);
        chain.unsettled.back_mut().expect("decided above").beacon = beacon;
        let mut answers = self.world.resource_mut::<Answers>();
        // Nobody is connected before the first tick, so nobody waits under another mark.
        decided.block.intents.iter().for_each(|intent| answers.decide(intent));
        beacon.map(|_| {
            let settled = self.settle_next();
            self.answer_receipts();
            settled
        })
    }

    /// Hears the consensus log again, before the first tick of a session that goes on; nothing is signed at or below
    /// `fence`, whatever it holds. A validator among others listens to them first, and hears its log in a later tick.
    /// Returns what must be recorded.
    ///
    /// # Errors
    /// If the log leads elsewhere than where this validator signed: the node must stop.
    pub fn recover(&mut self, logged: Vec<LoggedHeight>, fence: Height) -> Result<Vec<Output>, ExchangeError> {
        let decided = self.chain().decided;
        let mut orderer = self.world.resource_mut::<Orderer>();
        orderer.fence = fence;
        if orderer.is_voting() && orderer.validators.count() > 1 {
            orderer.listen(logged);
        } else if fence > decided {
            orderer.follow_up_to(fence);
        } else {
            return recover(&mut self.world, logged, None);
        }
        Ok(Vec::new())
    }

    /// This validator's log is lost, and its operator answers for it: it signed nothing above `fence`. Returns what must be
    /// on the disk before anything else.
    pub fn sign_above(&mut self, fence: Height) -> Vec<Output> {
        let mut orderer = self.world.resource_mut::<Orderer>();
        orderer.follow_up_to(fence);
        orderer.by_operator = true;
        vec![Output::Fence { height: fence }]
    }

    /// This validator's log is lost, or older than its journal: it cannot know what it signed, so it follows. It votes again
    /// three heights behind the highest that a quorum of the others tells of. Says whether it may: where no validator may be
    /// faulty, no rule is safe.
    pub fn follow(&mut self) -> bool {
        self.world.resource_mut::<Orderer>().follow()
    }

    /// Starts no height above this one: with a quorum that does the same, the chain stops there.
    pub fn halt_at(&mut self, height: Height) {
        self.world.resource_mut::<Orderer>().halt_at = Some(height);
    }

    /// Whether this node votes.
    pub fn is_voting(&self) -> bool {
        self.world.resource::<Orderer>().is_voting()
    }

    /// Whether this validator knows all that it ever signed above its fence: it votes, or listens before it does.
    pub fn knows_its_votes(&self) -> bool {
        self.world.resource::<Orderer>().knows_its_votes()
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

    /// Settles the first decided block, whose beacon is known.
    fn settle_next(&mut self) -> Settled {
        let mut next = self.world.resource_mut::<Chain>().unsettled.pop_front().expect("a block is ready");
        let beacon = next.beacon.expect("its beacon is known");
        let (intents, pledges) = (std::mem::take(&mut next.block.intents), std::mem::take(&mut next.block.pledges));
        let header = next.block.header;
        let has_pledges = !pledges.is_empty();
        self.part = BlockPart { round: header.round, hash: next.hash, pledges };
        let root = self.settle(header.height, header.time_ms, intents, Draw::Beacon(beacon)).root;
        let Report { receipts, pledge_receipts, counts, closed, .. } = self.world.resource::<Report>();
        let verdicts: Vec<Verdict> = receipts.iter().chain(pledge_receipts).map(|receipt| receipt.verdict).collect();
        let closes = !closed.is_empty();
        let is_live = counts.rolls > 0 || counts.forfeits > 0 || has_pledges;
        if closes {
            self.world.resource_mut::<Closings>().keep(next.hash, &next.block.header, &next.certificate);
        }
        let root_chain = self.world.resource_mut::<Chain>().settle(next, &beacon, &root, &verdicts, is_live);
        Settled { height: header.height, beacon, root, root_chain, verdicts }
    }

    /// The receipts of the last settled height, each for whoever waits for it.
    fn answer_receipts(&mut self) -> Vec<Output> {
        let receipts = std::mem::take(&mut self.world.resource_mut::<Report>().receipts);
        let (height, time_ms) = (self.chain().settled, self.world.resource::<Current>().time_ms);
        let is_new_second = self.world.resource_mut::<Chain>().is_new_second(time_ms);
        let mut state = SystemState::<(ResMut<'_, Answers>, ResMut<'_, Pending>)>::new(&mut self.world);
        let (mut answers, mut pending) = state.get_mut(&mut self.world).expect("the world has its resources");
        let mut outputs = Vec::with_capacity(receipts.len());
        let refused = |id, refusal| Receipt { id, height, index: 0, verdict: Verdict::Refused(refusal) };
        for receipt in &receipts {
            let Hears { to, other, origin } = answers.answer(receipt);
            if !matches!(receipt.verdict, Verdict::Refused(_)) {
                origin.into_iter().for_each(|origin| pending.trust.prove(origin));
            }
            outputs.push(Output::Receipt { to, receipt: *receipt });
            if let Some((to, id)) = other {
                outputs.push(Output::Receipt { to, receipt: refused(id, Refusal::NumberUsed) });
            }
        }
        // Expiry is in seconds, so once a second is often enough.
        if is_new_second {
            let late = answers.expire(time_ms);
            if !late.is_empty() {
                pending.retain(|intent| answers.is_open(&intent.id()));
            }
            outputs.extend(
                late.into_iter().map(|(to, id)| Output::Receipt { to, receipt: refused(id, Refusal::Expired) }),
            );
        }
        let pledges = std::mem::take(&mut self.world.resource_mut::<Report>().pledge_receipts);
        for receipt in &pledges {
            let to = self.world.resource_mut::<Pending>().pledges.answer(&receipt.id);
            outputs.extend(to.map(|to| Output::Receipt { to, receipt: *receipt }));
        }
        let mut report = self.world.resource_mut::<Report>();
        (report.receipts, report.pledge_receipts) = (receipts, pledges);
        outputs
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

    /// Takes no intents any more: the node ends, and those it took get their receipts.
    pub fn close_intake(&mut self) {
        self.world.resource_mut::<Inbox>().closed = true;
    }

    /// The rows of connections.
    pub fn read_peers<R>(&mut self, read: impl FnOnce(&[engine::component::Peer]) -> R) -> R {
        let mut state = SystemState::<engine::columns::PeerColumns<'_, '_>>::new(&mut self.world);
        let mut columns = state.get_mut(&mut self.world).expect("the world has its columns");
        read(columns.rows().0)
    }

    /// Bytes of the columns, of the workers' arenas, and of blocks on their way into a snapshot.
    pub fn held_bytes(&mut self) -> [u64; 3] {
        let columns = self.layout().bytes();
        let arenas = self.world.resource_mut::<Arenas>().allocated_bytes() as u64;
        [columns, arenas, self.world.resource::<GroupSaver>().held_bytes() as u64]
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
    /// If it does not fit the capacities, or a row is none of a state; the machine must then be loaded again or thrown away.
    pub fn import(&mut self, bytes: &[u8]) -> Result<(), LoadError<Infallible>> {
        let mut columns = self.columns.get_mut(&mut self.world).expect("the world has its columns");
        image::import(&self.layout, &mut columns.rows(), bytes)?;
        Ok(self.take_up()?)
    }
}
