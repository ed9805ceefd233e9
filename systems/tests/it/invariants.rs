//! What the checks find that run at every height and after every posting: chips that were made or lost, and rows that changed
//! without a posting. Nothing that is settled breaks them, so that here the rows are written by hand.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::common::{START_MS, genesis};
use bevy_ecs::system::{RunSystemOnce, SystemState};
use bevy_ecs::world::World;
use engine::columns::{Columns, Rows};
use engine::component::{AccountStatus, SeatStatus};
use engine::image::DirtyMap;
use engine::limits::{CHUNK_ACCOUNTS, CHUNK_TABLES, RECOUNT_PARTS};
use engine::{AccountId, Chips, Height};
use systems::ledger::{Ledger, Postings};
use systems::settle::block::{BlockPart, Current};
use systems::settle::invariants::{check_invariants, recount};
use systems::{Draw, Setup};

/// Accounts of three parts, and seats of tables of three parts, with 100 chips each in cages and on rails.
const ACCOUNTS: [usize; 3] = [5, CHUNK_ACCOUNTS, 7 * CHUNK_ACCOUNTS + 3];
const TABLES: [usize; 3] = [0, 2 * CHUNK_TABLES - 1, 2 * CHUNK_TABLES + 80];
const SEATS: usize = 4;

fn with_rows<T>(world: &mut World, act: impl FnOnce(&mut Rows<'_>) -> T) -> T {
    let mut state = SystemState::<Columns<'_, '_>>::new(world);
    let mut columns = state.get_mut(world).expect("the world has its columns");
    act(&mut columns.rows())
}

fn world() -> World {
    let setup = Setup::new(genesis(600, SEATS as u32, 2_000), [9; 32]).expect("a genesis");
    let mut world = World::new();
    let (height, draw, part) = (Height::GENESIS, Draw::Beacon([0; 48]), BlockPart::default());
    world.insert_resource(Current {
        height,
        time_ms: START_MS,
        active_ms: 0,
        opening_ms: 0,
        part,
        intents: Vec::new(),
        draw,
    });
    world.insert_resource(setup.clone());
    world.init_resource::<Ledger>();
    engine::world::spawn(&mut world, &setup.genesis, &setup.rules_hashes(), 0, 1);
    let ledger = with_rows(&mut world, |rows| {
        for (account, table) in ACCOUNTS.into_iter().zip(TABLES) {
            let seat = &mut rows.seats[table * SEATS];
            (seat.account, seat.status, seat.rail) = (AccountId(account as u32), SeatStatus::Seated as u8, Chips(100));
            let row = &mut rows.accounts[account];
            (row.status, row.seats, row.cage) = (AccountStatus::Open as u8, 1, Chips(100));
            rows.house.cages += Chips(100);
            rows.house.rails += Chips(100);
            rows.house.treasury -= Chips(200);
        }
        recount(&setup, rows)
    });
    *world.resource_mut::<Ledger>() = ledger;
    world
}

/// What a panic says, if there is one.
fn broken(act: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(act)).err()?;
    Some(engine::panics::words(&*panic).expect("a panic with words").to_owned())
}

fn checked_at(world: &mut World, height: u64) -> Option<String> {
    let height = Height(height);
    world.resource_mut::<Current>().height = height;
    with_rows(world, |rows| rows.house.height = height);
    broken(|| world.run_system_once(check_invariants).expect("the world has its resources"))
}

#[test]
fn a_row_that_changed_without_a_posting_is_found_by_one_height_in_64() {
    let heights = 1_000..1_000 + RECOUNT_PARTS;
    let mut world = world();
    assert!(heights.clone().all(|height| checked_at(&mut world, height).is_none()), "nothing is wrong yet");
    let mut found = |part: usize, words: &str, change: fn(&mut Rows<'_>, i64)| {
        with_rows(&mut world, |rows| change(rows, 1));
        for height in heights.clone() {
            let problem = checked_at(&mut world, height);
            let expected = height % RECOUNT_PARTS == part as u64;
            assert_eq!(problem.is_some(), expected, "height {height}, {words}: {problem:?}");
            assert!(problem.is_none_or(|problem| problem.contains(words)));
        }
        with_rows(&mut world, |rows| change(rows, -1));
    };
    fn add(to: &mut Chips, chips: i64) {
        to.0 = to.0.checked_add_signed(chips).expect("there are chips");
    }
    found(0, "cages of part 0", |rows, chips| add(&mut rows.accounts[ACCOUNTS[0]].cage, chips));
    found(1, "cages of part 1", |rows, chips| add(&mut rows.accounts[ACCOUNTS[1]].cage, chips));
    found(7, "cages of part 7", |rows, chips| add(&mut rows.accounts[ACCOUNTS[2]].cage, chips));
    found(0, "tables from 0 on", |rows, chips| add(&mut rows.seats[TABLES[0] * SEATS].rail, chips));
    found(1, "tables from 256 on", |rows, chips| add(&mut rows.tables[TABLES[1]].bank, chips));
    found(2, "tables from 512 on", |rows, chips| add(&mut rows.seats[TABLES[2] * SEATS].rail, chips));
    found(2, "felt is the sum of its bets", |rows, chips| add(&mut rows.tables[TABLES[2]].felt, chips));
    found(1, "exposure is the sum over its bets", |rows, chips| add(&mut rows.tables[TABLES[1]].exposure, chips));
    found(7, "chips are in open accounts alone", |rows, chips| {
        let status = if chips > 0 { AccountStatus::Free } else { AccountStatus::Open };
        rows.accounts[ACCOUNTS[2]].status = status as u8;
    });
    found(2, "chips are some player's", |rows, chips| {
        let account = if chips > 0 { AccountId::NONE } else { AccountId(ACCOUNTS[2] as u32) };
        rows.seats[TABLES[2] * SEATS].account = account;
    });
}

#[test]
fn parts_that_are_not_the_control_accounts_are_found_by_the_next_height() {
    let mut world = world();
    let mut found = |words: &str, part: fn(&mut Ledger) -> &mut Chips| {
        assert_eq!(checked_at(&mut world, 40), None, "nothing is wrong yet");
        *part(&mut world.resource_mut::<Ledger>()) += Chips(1);
        assert!(checked_at(&mut world, 40).is_some_and(|problem| problem.contains(words)), "{words}");
        *part(&mut world.resource_mut::<Ledger>()) -= Chips(1);
    };
    found("the sum of all cages", |ledger| &mut ledger.cages[7]);
    found("the sum of all rails", |ledger| &mut ledger.tables[0].rails);
    found("the sum of all felts", |ledger| &mut ledger.tables[1].felts);
    found("the sum of all banks", |ledger| &mut ledger.tables[2].banks);
}

#[test]
fn a_chip_that_the_house_made_or_lost_is_found_by_the_next_height() {
    let mut world = world();
    with_rows(&mut world, |rows| rows.house.treasury += Chips(1));
    assert!(checked_at(&mut world, 40).is_some_and(|problem| problem.contains("neither made nor lost")));
    with_rows(&mut world, |rows| rows.house.supply += Chips(1));
    assert!(checked_at(&mut world, 40).is_some_and(|problem| problem.contains("the supply is that of genesis")));
    with_rows(&mut world, |rows| {
        rows.house.treasury -= Chips(1);
        rows.house.supply -= Chips(1);
    });
    assert_eq!(checked_at(&mut world, 40), None);
    world.resource_mut::<Current>().height = Height(41);
    let problem = broken(|| world.run_system_once(check_invariants).expect("the world has its resources"));
    assert!(problem.is_some_and(|problem| problem.contains("the height that is checked was settled")));
}

/// One posting of 10 chips in a world that was changed before.
fn posted(change: impl FnOnce(&mut Rows<'_>, &mut Ledger), post: impl FnOnce(&mut Postings<'_, '_>)) -> String {
    let mut world = world();
    let mut ledger = std::mem::take(&mut *world.resource_mut::<Ledger>());
    let mut dirty = world.remove_resource::<DirtyMap>().expect("spawn inserts it");
    let problem = with_rows(&mut world, |rows| {
        change(rows, &mut ledger);
        broken(|| post(&mut Postings { rows, ledger: &mut ledger, dirty: &mut dirty }))
    });
    problem.unwrap_or_default()
}

#[test]
fn a_posting_to_what_does_not_add_up_stops_the_node() {
    let (account, seat, ten) = (ACCOUNTS[2], TABLES[2] * SEATS, Chips(10));
    let buy_in = |book: &mut Postings<'_, '_>| book.cage_to_rail(account, seat, ten);
    let bet = |book: &mut Postings<'_, '_>| book.rail_to_felt(seat, ten);
    assert_eq!(posted(|_, _| {}, buy_in), "");
    assert_eq!(posted(|_, _| {}, bet), "");
    let says = |words: &str, said: String| assert!(said.contains(words), "{words}: {said}");
    says("what one side gave, the other took", posted(|rows, _| rows.house.treasury += Chips(1), buy_in));
    says("a cage is among those of its part", posted(|rows, _| rows.accounts[account].cage += Chips(1), buy_in));
    says("the cages of a part are among all of them", posted(|_, ledger| ledger.cages[7] += Chips(201), buy_in));
    says("a rail is among those of its part", posted(|rows, _| rows.seats[seat].rail += Chips(1), buy_in));
    says("the rails of a part are among all of them", posted(|_, ledger| ledger.tables[2].rails += Chips(201), buy_in));
    says("a felt is among those of its part", posted(|rows, _| rows.tables[TABLES[2]].felt += Chips(1), bet));
    says("the felts of a part are among all of them", posted(|_, ledger| ledger.tables[2].felts += Chips(1), bet));
    let lends = |rows: &mut Rows<'_>, _: &mut Ledger| rows.tables[TABLES[2]].exposure += Chips(1);
    says("a table without a bet can lose nothing", posted(lends, buy_in));
    let broke = |rows: &mut Rows<'_>, _: &mut Ledger| {
        let table = &mut rows.tables[TABLES[2]];
        table.exposure = table.bank + Chips(1);
    };
    says("the bank can pay every win that is left", posted(broke, bet));
    let fill = |book: &mut Postings<'_, '_>| book.balance_bank(TABLES[2], Chips(100_000_000));
    assert_eq!(posted(|_, _| {}, fill), "");
    says("a bank is among those of its part", posted(|_, ledger| ledger.tables[2].banks = ten, fill));
}
