//! The replicated state machine: decided blocks and beacons in, receipts and roots out.

use bevy_ecs::schedule::{IntoScheduleConfigs, LogLevel, Schedule, ScheduleBuildSettings};
use bevy_ecs::system::{Res, ResMut, SystemState};
use bevy_ecs::world::World;
use engine::columns::{Columns, Rows};
use engine::image::{self, DirtyMap, ImageError, ImageLayout, RootTree};
use engine::message::intent::Intent;
use engine::pool::Arenas;
use engine::{Hash, Height};

use crate::accounts::AccountIndex;
use crate::block::{Current, Draw, Report};
use crate::due::DueTimes;
use crate::ledger::Ledger;
use crate::resolve::Crossing;
use crate::roll::Rolled;
use crate::setup::Setup;
use crate::{intake, invariants, resolve, roll, settle};

/// One world and the schedule that settles heights in it.
pub struct Machine {
    world: World,
    settle: Schedule,
    columns: SystemState<Columns<'static, 'static>>,
    lookup: SystemState<(Columns<'static, 'static>, Res<'static, AccountIndex>)>,
    layout: ImageLayout,
}

/// The schedule of a settled height. The list, read from top to bottom, is what happens.
fn settle_schedule() -> Schedule {
    let mut schedule = Schedule::default();
    schedule.set_build_settings(ScheduleBuildSettings { ambiguity_detection: LogLevel::Error, ..Default::default() });
    schedule.add_systems(
        (
            intake::apply_intents,
            roll::roll_dice,
            resolve::resolve_bets,
            settle::settle_accounts,
            invariants::free_idle_accounts,
            invariants::check_invariants,
            update_root,
        )
            .chain(),
    );
    schedule
}

/// System: hashes the touched groups again.
fn update_root(
    mut columns: Columns<'_, '_>,
    mut tree: ResMut<'_, RootTree>,
    mut dirty: ResMut<'_, DirtyMap>,
    mut report: ResMut<'_, Report>,
    current: Res<'_, Current>,
) {
    let rows = columns.rows();
    assert_eq!(rows.house.height, current.height, "the root is that of the settled height");
    report.root = tree.update(&rows, &mut dirty);
}

impl Machine {
    /// A world at genesis. `workers` changes nothing but speed.
    pub fn new(setup: Setup, workers: usize) -> Self {
        let mut world = World::new();
        let current = Current { height: Height::GENESIS, time_ms: 0, intents: Vec::new(), draw: Draw::Beacon([0; 48]) };
        world.insert_resource(current);
        world.insert_resource(Report::default());
        world.insert_resource(Crossing::default());
        world.insert_resource(Rolled::none(setup.genesis.tables as usize));
        world.insert_resource(DueTimes::default());
        world.insert_resource(AccountIndex::default());
        world.insert_resource(Ledger::default());
        world.insert_resource(setup.clone());
        engine::world::spawn(&mut world, &setup.genesis, &setup.rules_hashes(), workers);
        let columns = SystemState::new(&mut world);
        let lookup = SystemState::new(&mut world);
        let layout = ImageLayout::new(engine::columns::Capacity::of(&setup.genesis));
        let mut machine = Self { world, settle: settle_schedule(), columns, lookup, layout };
        machine.derive();
        machine
    }

    /// Derives everything node-local from the columns.
    fn derive(&mut self) {
        let setup = self.world.resource::<Setup>().clone();
        let (ledger, due, index) = self.read(|rows| {
            let due = DueTimes::of(rows.tables);
            (invariants::recount(&setup, rows), due, AccountIndex::of(rows.accounts, rows.keys))
        });
        *self.world.resource_mut::<Ledger>() = ledger;
        *self.world.resource_mut::<DueTimes>() = due;
        *self.world.resource_mut::<AccountIndex>() = index;
        self.world.resource_mut::<DirtyMap>().mark_all();
    }

    /// Settles one height.
    ///
    /// # Panics
    /// If an invariant is broken, or the height is not the next one: the state must not be recorded.
    pub fn settle(&mut self, height: Height, time_ms: u64, intents: Vec<Intent>, draw: Draw) -> &Report {
        let last = self.read(|rows| (rows.house.height, rows.house.time_ms));
        assert_eq!(height, last.0.next(), "heights are settled one after another");
        assert!(time_ms > last.1, "block time moves forward");
        *self.world.resource_mut::<Current>() = Current { height, time_ms, intents, draw };
        let mut report = self.world.resource_mut::<Report>();
        report.receipts.clear();
        report.rolls.clear();
        report.resolutions.clear();
        report.counts = Default::default();
        self.settle.run(&mut self.world);
        self.world.resource_mut::<Arenas>().reset();
        self.world.resource::<Report>()
    }

    /// Wants rolls and resolutions in the reports, or not.
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
