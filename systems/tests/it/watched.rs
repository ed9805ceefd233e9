//! What a height tells those who watch it: the bets that lie when the dice fall, and who left with what.

use crate::common::{Stage, bet, genesis};
use engine::component::{BetFlags, BetRow};
use engine::genesis::Genesis;
use engine::io::{Leaving, Resolution, RollReport, Verdict};
use engine::message::intent::{IntentBody, IntentKind, Working};
use engine::rules::Commission;
use engine::{AccountId, Chips, Dice, Puck, TableId, TableRules};
use systems::catalogue::spot_of;
use systems::settle::resolve::Departure;
use systems::{Counts, Draw, FeltBet};

const APPLIED: Verdict = Verdict::Applied;

fn laid(table: u32, puck: Puck, name: &str, amount: u32) -> FeltBet {
    let spot = spot_of(bet(name), 0).expect("a bet with one spot");
    FeltBet { table: TableId(table), puck, bet: BetRow { amount, progress: 0, spot, flags: BetFlags::default() } }
}

#[test]
fn the_felt_is_told_by_table_seat_and_spot_as_it_lies_before_the_roll_to_those_who_ask() {
    // Three chunks of tables, all of one phase.
    let mut stage = Stage::new(Genesis { clock_phases: 1, ..genesis(600, 3, 20) });
    let opens = (0..9).map(|player| stage.intent(player, IntentKind::Open, |body| body)).collect();
    stage.settle(opens);
    // Neighbours in the last chunk, the ends of others, and two seats at one table; each player bets its number.
    let tables = [1, 255, 256, 511, 597, 598, 598, 599];
    for (player, table) in (1..).zip(tables) {
        let at = |body: IntentBody| body.at(TableId(table));
        assert_eq!(stage.one(player, IntentKind::Sit, |body| at(body).amount(500)), APPLIED);
        for (name, amount) in [("pass", 10), ("field", u64::from(player))] {
            assert_eq!(stage.one(player, IntentKind::Bet, |body| at(body).on(bet(name), 0).amount(amount)), APPLIED);
        }
    }
    let roll = |stage: &mut Stage| {
        let due_ms = stage.machine.next_due_ms().expect("all of them roll");
        stage.settle_at(due_ms, Vec::new(), Draw::Given(Dice::new(1, 3).expect("faces")));
        assert_eq!(stage.machine.report().counts.rolls, 7);
        stage.machine.report().felt.clone()
    };
    stage.machine.watch_felt(true);
    let both = (1..)
        .zip(tables)
        .flat_map(|(player, table)| [laid(table, Puck::Off, "pass", 10), laid(table, Puck::Off, "field", player)]);
    assert_eq!(roll(&mut stage), both.collect::<Vec<_>>());
    // The field bets are gone, the point is 4.
    let on = Puck::roll(Puck::Off, Dice::new(1, 3).expect("faces")).1;
    let line = tables.map(|table| laid(table, on, "pass", 10));
    let felt: Vec<_> =
        roll(&mut stage).iter().map(|felt| (felt.table, felt.puck, felt.bet.spot, felt.bet.amount)).collect();
    assert_eq!(felt, line.map(|felt| (felt.table, felt.puck, felt.bet.spot, felt.bet.amount)));
    stage.machine.watch_felt(false);
    assert_eq!(roll(&mut stage), [], "nobody asked");
}

/// A table of the last of three chunks.
const FAR: TableId = TableId(598);

#[test]
fn whoever_leaves_at_a_roll_is_told_with_what_returned_and_what_was_taken_along() {
    let mut stage = Stage::new(Genesis { idle_ms: 2_500, ..genesis(600, 3, 6) });
    stage.machine.watch(true);
    let bets = |stage: &mut Stage, player: u32, name: &str, amount: u64| {
        let on = |body: IntentBody| body.at(FAR).on(bet(name), 0).amount(amount);
        assert_eq!(stage.one(player, IntentKind::Bet, on), APPLIED);
    };
    for player in 0..2 {
        assert_eq!(stage.one(player, IntentKind::Open, |body| body), APPLIED);
        assert_eq!(stage.one(player, IntentKind::Sit, |body| body.at(FAR).amount(5_000)), APPLIED);
    }
    bets(&mut stage, 1, "pass", 100);
    bets(&mut stage, 1, "place_6", 60);
    let leaving = |absent: bool, returned: u64, left_with: Option<u64>| {
        let (account, returned, left_with) = (AccountId(1), Chips(returned), left_with.map(Chips));
        Leaving { table: FAR, seat: 1, account, absent, returned, left_with }
    };
    let rolled = |stage: &mut Stage, first: u8, second: u8| {
        bets(stage, 0, "field", 1);
        stage.roll(first, second);
        stage.machine.report().leavings.clone()
    };
    assert_eq!(rolled(&mut stage, 2, 2), []);
    assert_eq!(rolled(&mut stage, 1, 2), []);
    assert_eq!(rolled(&mut stage, 1, 2), [leaving(true, 60, None)], "the line stays, and the seat with it");
    assert_eq!(rolled(&mut stage, 1, 2), [], "nothing was decided");
    assert_eq!(rolled(&mut stage, 3, 1), [leaving(false, 0, Some(5_100))], "the point is made");
    stage.machine.watch(false);
    for _ in 0..2 {
        stage.settle_at(stage.time_ms + 2_000, Vec::new(), Draw::Given(Dice::new(1, 2).expect("faces")));
    }
    assert_eq!(stage.machine.read(|rows| rows.tables[FAR.index()].occupied), 0, "the other was absent too");
    assert_eq!(stage.machine.report().leavings, [], "nobody asked");
}

#[test]
fn a_commission_that_was_held_is_lost_with_the_bet_and_when_it_wins() {
    let rules = vec![TableRules { commission: Commission::Upfront, ..TableRules::default() }];
    let mut stage = Stage::seated(Genesis { rules, ..genesis(1, 3, 6) }, 1, 5_000);
    let mut counted = |first: u8, second: u8| {
        let working = |body: IntentBody| body.at(TableId(0)).on(bet("buy_4"), 0).amount(100).working(Working::On);
        assert_eq!(stage.one(0, IntentKind::Bet, working), APPLIED);
        stage.roll(first, second);
        stage.machine.report().counts
    };
    let counts = Counts { rolls: 1, bets_resolved: 1, ..Counts::default() };
    assert_eq!(counted(1, 3), Counts { paid: 200, lost: 5, ..counts }, "2 to 1, and 5 in 100");
    assert_eq!(counted(3, 4), Counts { paid: 0, lost: 105, ..counts });
}

/// What of a worker's memory went into lists, and what growing them lost, is a figure of benches.
#[test]
fn the_lists_of_a_height_are_counted_to_the_byte() {
    let mut stage = Stage::seated(genesis(1, 3, 6), 2, 5_000);
    assert_eq!(stage.bet(1, "pass", 0, 10), APPLIED);
    // The field wins, so that the bank lacks something when the hand ends.
    assert_eq!(stage.bet(0, "field", 0, 500), APPLIED);
    stage.roll(1, 3);
    let without_lists = stage.machine.arena_use().kept;
    assert_eq!(stage.one(1, IntentKind::Leave, |body| body.at(TableId(0))), APPLIED);
    stage.machine.watch(true);
    stage.roll(3, 4);
    let report = stage.machine.report();
    assert_eq!((report.rolls.len(), report.resolutions.len(), report.leavings.len()), (1, 1, 1));
    let (departed, to_fill) = (size_of::<Departure>(), size_of::<TableId>());
    let told = size_of::<RollReport>() + size_of::<Resolution>() + size_of::<Leaving>();
    assert_eq!(stage.machine.arena_use().kept - without_lists, departed + to_fill + told);
}
