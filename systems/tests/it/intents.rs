//! What intents may ask for to the last chip, and what each leaves behind.

use crate::common::{GRANT, Stage, bet, genesis, image, key};
use engine::genesis::Genesis;
use engine::io::Verdict;
use engine::limits::SEAT_BETS_HOT;
use engine::message::intent::{IntentBody, IntentKind, Working};
use engine::message::pledge::PledgeRow;
use engine::message::refusal::Refusal;
use engine::{Chips, Dice, TableId, TableRules};
use systems::settle::block::BlockPart;
use systems::{Counts, Draw, Machine, Setup};

const TABLE: TableId = TableId(0);
const APPLIED: Verdict = Verdict::Applied;

fn stage() -> Stage {
    Stage::seated(genesis(1, 4, 6), 2, 5_000)
}

fn at(body: IntentBody) -> IntentBody {
    body.at(TABLE)
}

fn on(name: &'static str, amount: u64) -> impl Fn(IntentBody) -> IntentBody {
    move |body| at(body).on(bet(name), 0).amount(amount)
}

#[test]
fn a_receipt_says_where_in_its_block_an_intent_was_and_pledges_come_after_intents() {
    let mut stage = stage();
    // More than are looked up together.
    let intents: Vec<_> = (0..70).map(|_| stage.intent(0, IntentKind::Bet, on("field", 1))).collect();
    let pledges = (0..3).map(|roll| PledgeRow::pledge(key(77), TABLE, roll, 1, [1; 32])).collect();
    stage.machine.of_block(BlockPart { pledges, ..BlockPart::default() });
    stage.settle(intents.clone());
    let report = stage.machine.report();
    let places: Vec<u32> = report.receipts.iter().chain(&report.pledge_receipts).map(|receipt| receipt.index).collect();
    assert_eq!(places, (0..73).collect::<Vec<u32>>());
    assert!(report.receipts.iter().zip(&intents).all(|(receipt, intent)| receipt.id == intent.id()));
}

#[test]
fn whoever_opens_an_open_account_again_uses_up_the_number_and_nobody_else_does() {
    let mut stage = stage();
    let numbered = |body: IntentBody| IntentBody { number: 9, ..body };
    // An issuer signed this one, who may not use up numbers of an account of somebody else.
    assert_eq!(stage.refused(0, IntentKind::OpenVoucher, numbered), Refusal::AccountExists);
    assert_eq!(stage.refused(0, IntentKind::Open, numbered), Refusal::AccountExists, "the number was left");
    assert_eq!(stage.refused(0, IntentKind::Open, numbered), Refusal::NumberUsed);
    assert_eq!(stage.refused(0, IntentKind::Leave, |body| numbered(at(body))), Refusal::NumberUsed);
}

#[test]
fn an_intent_for_a_roll_is_taken_until_that_roll_and_not_after_it() {
    let mut stage = stage();
    let for_roll = |roll: u32| move |body: IntentBody| on("field", 1)(body).roll(roll);
    assert_eq!(stage.one(0, IntentKind::Bet, for_roll(1)), APPLIED);
    stage.roll(1, 3);
    assert_eq!(stage.refused(0, IntentKind::Bet, for_roll(1)), Refusal::StaleRoll);
    assert_eq!(stage.one(0, IntentKind::Bet, for_roll(2)), APPLIED);
    assert_eq!(stage.refused(0, IntentKind::Bet, for_roll(3)), Refusal::StaleRoll, "nobody bets ahead");
}

#[test]
fn whoever_finds_a_table_full_moves_no_roll_of_it() {
    let mut stage = Stage::seated(genesis(1, 2, 6), 3, 5_000);
    let clock =
        |stage: &mut Stage| stage.machine.read(|rows| (rows.tables[0].next_roll_ms, rows.tables[0].roll_number));
    let before = clock(&mut stage);
    assert!(before.0 > stage.time_ms + 1, "no roll is due");
    assert_eq!(stage.refused(2, IntentKind::Sit, |body| at(body).amount(5_000)), Refusal::TableFull);
    assert_eq!(clock(&mut stage), before);
    assert_eq!(stage.machine.next_due_ms(), Some(before.0));
}

#[test]
fn all_that_one_has_may_be_bet_and_a_bet_may_be_as_high_as_the_table_takes_and_the_bank_pays() {
    let rules = vec![TableRules { max_bet: 4_000, ..TableRules::default() }];
    let mut stage = Stage::seated(Genesis { rules, ..genesis(1, 4, 6) }, 1, GRANT);
    assert_eq!(stage.machine.read(|rows| rows.accounts[0].cage), Chips::ZERO, "all of the cage");
    assert_eq!(stage.bet(0, "field", 0, 4_000), APPLIED);
    assert_eq!(stage.refused(0, IntentKind::Bet, on("field", 1)), Refusal::BetTooLarge);
    assert_eq!(stage.bet(0, "place_6", 0, 60), APPLIED);
    assert_eq!(stage.one(0, IntentKind::SetAmount, on("place_6", 4_000)), APPLIED);
    assert_eq!(stage.refused(0, IntentKind::SetAmount, on("place_6", 4_001)), Refusal::BetTooLarge);

    let mut stage = Stage::seated(genesis(1, 4, 6), 1, 500);
    assert_eq!(stage.refused(0, IntentKind::Bet, on("field", 501)), Refusal::InsufficientFunds);
    assert_eq!(stage.bet(0, "field", 0, 500), APPLIED);
    assert_eq!(stage.rail(0), 0, "all of the rail");

    // A bet on a seven wins four times its wager: all that the bank has.
    let mut stage = Stage::seated(Genesis { bank_target: 4_000, ..genesis(1, 4, 6) }, 1, 5_000);
    assert_eq!(stage.refused(0, IntentKind::Bet, on("any_seven", 1_001)), Refusal::BankLimit);
    assert_eq!(stage.bet(0, "any_seven", 0, 1_000), APPLIED);
    assert_eq!(stage.refused(0, IntentKind::Bet, on("any_seven", 1)), Refusal::BankLimit);
}

#[test]
fn a_bet_with_odds_is_lowered_as_far_as_they_stay_within_their_limit() {
    let mut stage = stage();
    assert_eq!(stage.bet(0, "dont_pass", 0, 20), APPLIED);
    stage.roll(1, 3);
    // Against a point of 4, six times the wager may be laid.
    assert_eq!(stage.bet(0, "odds_dont_pass", 0, 60), APPLIED);
    assert_eq!(stage.refused(0, IntentKind::SetAmount, on("dont_pass", 9)), Refusal::OddsLimitExceeded);
    assert_eq!(stage.one(0, IntentKind::SetAmount, on("dont_pass", 10)), APPLIED);
}

#[test]
fn a_bet_that_grows_keeps_its_setting_until_an_intent_names_another() {
    let mut stage = stage();
    let mut grown = |working: Working, expected: Working| {
        assert_eq!(stage.one(0, IntentKind::Bet, |body| on("hard_6", 5)(body).working(working)), APPLIED);
        let set =
            stage.machine.read(|rows| rows.seat_bets(0).iter().map(|bet| bet.flags.working()).collect::<Vec<_>>());
        assert_eq!(set, [expected], "after {working:?}");
    };
    grown(Working::Off, Working::Off);
    grown(Working::Default, Working::Off);
    grown(Working::On, Working::On);
    grown(Working::Default, Working::On);
    grown(Working::Off, Working::Off);
}

#[test]
fn whoever_passes_the_dice_begins_a_hand_of_another() {
    let mut stage = stage();
    let hand = |stage: &mut Stage| stage.machine.read(|rows| (rows.tables[0].hand_number, rows.tables[0].shooter));
    assert_eq!(hand(&mut stage), (1, 0));
    assert_eq!(stage.one(0, IntentKind::PassDice, at), APPLIED);
    assert_eq!(hand(&mut stage), (2, 1));
    assert_eq!(stage.one(1, IntentKind::PassDice, at), APPLIED);
    assert_eq!(hand(&mut stage), (3, 0));
}

/// A table's bank, and the treasury.
fn house_side(stage: &mut Stage) -> (u64, u64) {
    stage.machine.read(|rows| (rows.tables[0].bank.0, rows.house.treasury.0))
}

#[test]
fn a_bank_is_balanced_between_hands_and_in_none() {
    let mut stage = Stage::seated(Genesis { bank_target: 4_000, ..genesis(1, 4, 6) }, 4, 5_000);
    let (_, treasury) = house_side(&mut stage);
    assert_eq!(stage.bet(0, "field", 0, 100), APPLIED);
    stage.roll(3, 3);
    // The shooter leaves with a point on, and another player without the dice.
    for player in [0, 3] {
        assert_eq!(stage.one(player, IntentKind::Leave, at), APPLIED);
        assert_eq!(house_side(&mut stage), (4_100, treasury));
    }
    stage.roll(3, 3);
    assert_eq!(house_side(&mut stage), (4_100, treasury), "a point that was made ends no hand");
    assert_eq!(stage.bet(2, "field", 0, 1), APPLIED);
    assert_eq!(stage.one(1, IntentKind::PassDice, at), APPLIED);
    assert_eq!(house_side(&mut stage), (4_100, treasury), "a bet that stays keeps its cover");
    assert_eq!(stage.one(2, IntentKind::TakeDown, on("field", 0)), APPLIED);
    assert_eq!(stage.one(2, IntentKind::PassDice, at), APPLIED);
    assert_eq!(house_side(&mut stage), (4_000, treasury + 100), "the felt is empty");
    assert_eq!(stage.one(1, IntentKind::PassDice, at), APPLIED);
    // Bets win: the bank is filled when the shooter leaves with the puck OFF, and when the last player does.
    assert_eq!(stage.bet(1, "any_craps", 0, 100), APPLIED);
    stage.roll(1, 1);
    assert_eq!(house_side(&mut stage), (3_300, treasury + 100));
    assert_eq!(stage.one(2, IntentKind::Leave, at), APPLIED);
    assert_eq!(house_side(&mut stage), (4_000, treasury - 600));
    assert_eq!(stage.bet(1, "field", 0, 100), APPLIED);
    stage.roll(2, 2);
    assert_eq!(house_side(&mut stage), (3_900, treasury - 600));
    assert_eq!(stage.one(1, IntentKind::Leave, at), APPLIED);
    assert_eq!(
        house_side(&mut stage),
        (4_000, treasury - 700),
        "a point that nobody's bet stands on ends with the table"
    );
}

/// With the puck OFF: how the dice go from the shooter to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gone {
    Passes,
    Leaves,
    IsAbsent,
}

#[test]
fn no_odds_on_a_come_bet_are_refused_because_the_dice_went_on() {
    for gone in [Gone::Passes, Gone::Leaves, Gone::IsAbsent] {
        let mut stage = Stage::seated(Genesis { bank_target: 4_000, idle_ms: 4_500, ..genesis(1, 4, 6) }, 3, 5_000);
        let (_, treasury) = house_side(&mut stage);
        let sat_ms = stage.time_ms;
        assert_eq!(stage.bet(2, "field", 0, 100), APPLIED);
        stage.roll(3, 3);
        assert_eq!(stage.bet(1, "come", 0, 50), APPLIED);
        stage.roll(1, 3);
        // The point is made, and the come bet stays on the 4.
        let absent_ms = if gone == Gone::IsAbsent { sat_ms + 4_500 } else { stage.time_ms };
        let made_ms = stage.machine.next_due_ms().expect("they sit").max(absent_ms);
        stage.settle_at(made_ms, Vec::new(), Draw::Given(Dice::new(3, 3).expect("faces")));
        match gone {
            Gone::Passes => assert_eq!(stage.one(0, IntentKind::PassDice, at), APPLIED),
            Gone::Leaves => assert_eq!(stage.one(0, IntentKind::Leave, at), APPLIED),
            Gone::IsAbsent => {}
        }
        let (point, shooter) = stage.machine.read(|rows| (rows.tables[0].point, rows.tables[0].shooter));
        assert_eq!((point, shooter), (0, 1), "{gone:?}");
        assert_eq!(house_side(&mut stage), (4_100, treasury), "{gone:?}");
        // With the come bet itself, 3,850 chips are covered: odds that may win 200 want more than a bank at its target has.
        assert_eq!(stage.bet(2, "any_seven", 0, 950), APPLIED);
        assert_eq!(stage.bet(1, "odds_come", 4, 100), APPLIED, "{gone:?}");
        // The next seven-out gives the treasury its part.
        assert_eq!(stage.one(2, IntentKind::TakeDown, on("any_seven", 0)), APPLIED);
        stage.roll(2, 3);
        stage.roll(3, 4);
        assert_eq!(house_side(&mut stage), (4_000, treasury + 100 + 50 + 100), "{gone:?}");
    }
}

#[test]
fn a_bank_is_balanced_when_those_who_are_absent_are_seen_off() {
    let mut stage = Stage::seated(Genesis { bank_target: 4_000, idle_ms: 2_500, ..genesis(1, 4, 6) }, 2, 5_000);
    let (_, treasury) = house_side(&mut stage);
    let sat_ms = stage.time_ms;
    let roll = |stage: &mut Stage, time_ms: u64, dice: (u8, u8)| {
        stage.settle_at(time_ms, Vec::new(), Draw::Given(Dice::new(dice.0, dice.1).expect("faces")));
        assert_eq!(stage.machine.report().counts.rolls, 1);
        stage.machine.read(|rows| (rows.tables[0].occupied, rows.tables[0].shooter))
    };
    // The field wins 200 on craps, and the shooter was not heard.
    assert_eq!(stage.bet(1, "field", 0, 100), APPLIED);
    assert_eq!(roll(&mut stage, sat_ms + 2_500, (1, 1)), (2, 1), "the dice went on");
    assert_eq!(house_side(&mut stage), (4_000, treasury - 200));
    // It loses 100, and then nobody is left.
    assert_eq!(stage.bet(1, "field", 0, 100), APPLIED);
    let bet_ms = stage.time_ms;
    assert_eq!(roll(&mut stage, bet_ms + 1_500, (3, 3)), (2, 1));
    assert_eq!(house_side(&mut stage), (4_100, treasury - 200), "with a point on");
    assert_eq!(roll(&mut stage, bet_ms + 2_500, (2, 2)), (0, engine::component::Table::NO_SHOOTER));
    assert_eq!(house_side(&mut stage), (4_000, treasury - 100));
}

#[test]
fn a_height_counts_what_it_did() {
    let mut stage = stage();
    let opened_ms = stage.machine.read(|rows| rows.tables[0].opened_ms);
    assert_eq!(stage.bet(0, "pass", 0, 10), APPLIED);
    assert_eq!(stage.machine.report().counts, Counts { applied: 1, bets_placed: 1, ..Counts::default() });
    let intents = vec![
        stage.intent(0, IntentKind::Bet, on("field", 100)),
        stage.intent(0, IntentKind::Bet, on("field", 1)),
        stage.intent(1, IntentKind::Bet, on("any_seven", 20)),
        stage.intent(1, IntentKind::Bet, on("come", 20)),
        stage.intent(1, IntentKind::Roll, at),
        stage.intent(0, IntentKind::Roll, at),
    ];
    stage.settle_at(opened_ms + 200, intents, Draw::Given(Dice::new(1, 3).expect("faces")));
    // The field wins 101 on a 4, the bet on a seven loses 20; the pass line stays.
    let expected =
        Counts { rolls: 1, bets_placed: 3, bets_resolved: 2, applied: 4, refused: 2, forfeits: 0, paid: 101, lost: 20 };
    assert_eq!(stage.machine.report().counts, expected);
}

/// A seat's bets lie in the order of their spots, so that each one more or less moves others between two columns: by an
/// intent, at a roll, or when the player is absent.
#[test]
fn the_root_is_that_of_the_image_whichever_bets_come_and_go() {
    let genesis = Genesis { idle_ms: 2_500, ..genesis(1, 4, 6) };
    let mut other = Machine::new(Setup::new(genesis.clone(), [9; 32]).expect("a genesis"), 1);
    let mut stage = Stage::seated(genesis, 2, 5_000);
    let names =
        systems::catalogue::BETS.iter().filter(|bet| bet.family.placement() == systems::catalogue::Placement::Any);
    let names: Vec<&'static str> = names.map(|bet| bet.name).filter(|name| !name.starts_with("odds")).collect();
    let mut agree = |stage: &mut Stage, what: &str| {
        other.import(&image(&mut stage.machine)).expect("its own image");
        assert_eq!(stage.machine.report().root, other.root(), "{what}");
    };
    for name in names[..12].iter().rev() {
        assert_eq!(stage.bet(0, name, 0, 5), APPLIED, "{name}");
        agree(&mut stage, name);
    }
    for name in &names[..12] {
        assert_eq!(stage.one(0, IntentKind::TakeDown, on(name, 0)), APPLIED, "{name}");
        agree(&mut stage, name);
    }
    let count = |stage: &mut Stage| stage.machine.read(|rows| rows.seats[0].spots.count() as usize);
    for name in &names[..32] {
        assert_eq!(stage.bet(0, name, 0, 5), APPLIED, "{name}");
    }
    stage.roll(1, 3);
    assert!((SEAT_BETS_HOT + 4..32).contains(&count(&mut stage)), "the roll decided some");
    agree(&mut stage, "at a roll");
    // With the puck OFF, a roll does nothing to these.
    let mut stage = Stage::seated(stage.machine.setup().genesis.as_ref().clone(), 2, 5_000);
    for name in
        names.iter().filter(|name| name.starts_with("buy") || name.starts_with("place") && !name.contains("lose"))
    {
        assert_eq!(stage.bet(0, name, 0, 20), APPLIED, "{name}");
    }
    assert!(count(&mut stage) > SEAT_BETS_HOT);
    stage.settle_at(stage.time_ms + 2_600, Vec::new(), Draw::Given(Dice::new(1, 1).expect("faces")));
    assert_eq!((stage.machine.report().counts.rolls, stage.machine.report().counts.bets_resolved), (1, 0));
    assert_eq!((stage.rail(0), count(&mut stage)), (0, 0), "all of them returned, and the player is gone");
    agree(&mut stage, "when the player is absent");
}
