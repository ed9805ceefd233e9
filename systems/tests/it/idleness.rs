//! What nobody uses is given back: grants of accounts that never bet, seats without a bet that others wait for. All of it
//! goes by the clock of activity, in which a long gap between two blocks counts little. That every chip stays in one place
//! is asserted at each settled height.

use crate::common::{GRANT, START_MS, Stage, genesis, key};
use engine::genesis::{Genesis, Idleness};
use engine::io::{Lapse, Verdict};
use engine::message::intent::{IntentBody, IntentKind};
use engine::message::refusal::Refusal;
use engine::{AccountId, Chips, Dice, TableId};
use systems::Draw;

const TABLE: TableId = TableId(0);
const IDLE: Idleness = Idleness { gap_max_ms: 1_000, grant_ms: 20_000, seat_ms: 4_000 };

fn world(seats: u32) -> Genesis {
    Genesis { idleness: IDLE, idle_ms: 30_000, ..genesis(1, seats, 100) }
}

fn sit(body: IntentBody) -> IntentBody {
    body.at(TABLE).amount(5_000)
}

impl Stage {
    /// Settles a height every 100 ms, with rolls of 1-3.
    fn pass(&mut self, ms: u64) {
        let until = self.time_ms + ms;
        while self.time_ms < until {
            self.settle_at(self.time_ms + 100, Vec::new(), Draw::Given(Dice::new(1, 3).expect("faces")));
        }
    }

    fn treasury(&mut self) -> u64 {
        self.machine.read(|rows| rows.house.treasury.0)
    }

    fn is_open(&mut self, player: u32) -> bool {
        self.machine.account_of(&key(player)).is_some()
    }

    fn player_at(&mut self, seat: usize) -> AccountId {
        self.machine.read(|rows| rows.seats[seat].account)
    }
}

#[test]
fn a_grant_that_was_never_bet_goes_back_and_the_slot_with_it() {
    let mut stage = Stage::new(world(4));
    let before = stage.treasury();
    let open = |stage: &mut Stage, player| stage.one(player, IntentKind::Open, |body| body);
    for player in 0..4 {
        assert_eq!(open(&mut stage, player), Verdict::Applied);
    }
    // 1 sits and leaves again and again, without a bet; 2 bets once; 3 keeps its seat.
    assert_eq!(stage.one(2, IntentKind::Sit, sit), Verdict::Applied);
    assert_eq!(stage.one(3, IntentKind::Sit, sit), Verdict::Applied);
    assert_eq!(stage.bet(2, "field", 0, 10), Verdict::Applied);
    stage.pass(2_000);
    assert_eq!(stage.one(2, IntentKind::Leave, |body| body.at(TABLE)), Verdict::Applied);
    for _ in 0..7 {
        stage.pass(2_000);
        assert_eq!(stage.one(1, IntentKind::Sit, sit), Verdict::Applied);
        assert_eq!(stage.one(1, IntentKind::Leave, |body| body.at(TABLE)), Verdict::Applied);
    }
    // The bank got what it had lost when 2 left, who held the dice.
    let before = before - 10;
    assert_eq!(stage.treasury(), before - 4 * GRANT, "nothing is given back before its time");
    // From 20 s on; an account is looked at every 64 heights. Whoever watches hears of it, with the key that is gone by then.
    stage.machine.watch(true);
    let (until_ms, mut lapses) = (START_MS + 26_500, Vec::new());
    while stage.time_ms < until_ms {
        stage.pass(100);
        lapses.extend_from_slice(&stage.machine.report().lapses);
    }
    let lapse =
        |player: u32| Lapse { account: AccountId(player), key: key(player), returned: Chips(GRANT), freed: true };
    assert_eq!(lapses, [lapse(0), lapse(1)]);
    assert!(!stage.is_open(0), "it never did anything");
    assert!(!stage.is_open(1), "intents without a bet keep no grant");
    assert!(stage.is_open(2), "a bet of it was decided");
    assert!(stage.is_open(3), "it sits at a table");
    assert_eq!(stage.machine.read(|rows| rows.accounts[2].cage.0), GRANT + 10, "which won");
    assert_eq!(stage.treasury(), before - 2 * GRANT);
    assert_eq!(stage.refused(0, IntentKind::Sit, sit), Refusal::UnknownAccount);
    assert_eq!(open(&mut stage, 0), Verdict::Applied, "whoever comes back opens another");
}

#[test]
fn a_transfer_for_an_owner_of_a_slot_never_reaches_the_next_one() {
    let mut stage = Stage::new(world(4));
    for player in 0..2 {
        assert_eq!(stage.one(player, IntentKind::Open, |body| body), Verdict::Applied);
    }
    assert_eq!(stage.one(0, IntentKind::Sit, sit), Verdict::Applied);
    assert_eq!(stage.bet(0, "field", 0, 2_000), Verdict::Applied);
    stage.roll(1, 3);
    assert_eq!(stage.one(0, IntentKind::Leave, |body| body.at(TABLE)), Verdict::Applied);
    let to = |generation: u32| move |body: IntentBody| body.to(AccountId(1)).amount(100).generation(generation);
    assert_eq!(stage.one(0, IntentKind::Transfer, to(1)), Verdict::Applied, "to whom it was signed for");
    assert_eq!(stage.one(1, IntentKind::Sit, sit), Verdict::Applied);
    // Player 1 loses the chips again, and the slot with the grant; a stranger opens the next account.
    assert_eq!(stage.one(1, IntentKind::Leave, |body| body.at(TABLE)), Verdict::Applied);
    let all = |body: IntentBody| body.to(AccountId(0)).amount(100).generation(1);
    assert_eq!(stage.one(1, IntentKind::Transfer, all), Verdict::Applied);
    stage.pass(28_000);
    assert!(!stage.is_open(1), "it never bet");
    assert_eq!(stage.one(2, IntentKind::Open, |body| body), Verdict::Applied);
    assert_eq!(stage.machine.account_of(&key(2)), Some(AccountId(1)), "the slot is a stranger's");
    for generation in [1, 3, u32::MAX] {
        assert_eq!(stage.refused(0, IntentKind::Transfer, to(generation)), Refusal::UnknownRecipient);
    }
    assert_eq!(stage.machine.read(|rows| rows.accounts[1].cage.0), GRANT);
    for generation in [2, 0] {
        assert_eq!(stage.one(0, IntentKind::Transfer, to(generation)), Verdict::Applied);
    }
    assert_eq!(stage.machine.read(|rows| rows.accounts[1].cage.0), GRANT + 200);
}

#[test]
fn chips_that_others_sent_stay_when_the_grant_goes_back() {
    let mut stage = Stage::new(world(4));
    let before = stage.treasury();
    for player in 0..2 {
        assert_eq!(stage.one(player, IntentKind::Open, |body| body), Verdict::Applied);
    }
    assert_eq!(stage.one(0, IntentKind::Sit, sit), Verdict::Applied);
    // The field bet wins on a 4. As much as was wagered may be sent.
    assert_eq!(stage.bet(0, "field", 0, 2_000), Verdict::Applied);
    stage.roll(1, 3);
    assert_eq!(stage.one(0, IntentKind::Leave, |body| body.at(TABLE)), Verdict::Applied);
    let to = |body: IntentBody| body.to(AccountId(1)).amount(700);
    assert_eq!(stage.one(0, IntentKind::Transfer, to), Verdict::Applied);
    // The bank got what it had lost when the table emptied.
    let bank_side = before - 2 * GRANT - 2_000;
    assert_eq!(stage.treasury(), bank_side);
    stage.pass(28_000);
    assert!(stage.is_open(1));
    let (cage, granted) = stage.machine.read(|rows| (rows.accounts[1].cage.0, rows.accounts[1].granted.0));
    assert_eq!((cage, granted), (700, 0), "what was sent stays, and may be sent on");
    assert_eq!(stage.treasury(), bank_side + GRANT);
    let back = |body: IntentBody| body.to(AccountId(0)).amount(700);
    assert_eq!(stage.one(1, IntentKind::Transfer, back), Verdict::Applied);
}

#[test]
fn a_seat_without_a_bet_is_given_up_at_a_roll_only_if_somebody_waits_and_one_at_a_time() {
    let mut stage = Stage::seated(world(4), 6, 5_000);
    // All four seats are taken; 1 bets each roll, the others never do.
    let bet_and_pass = |stage: &mut Stage, ms: u64| {
        let until = stage.time_ms + ms;
        while stage.time_ms < until {
            if stage.machine.read(|rows| rows.seats[1].spots.is_empty()) {
                assert_eq!(stage.bet(1, "field", 0, 1), Verdict::Applied);
            }
            stage.pass(100);
        }
    };
    bet_and_pass(&mut stage, 6_000);
    let seated = |stage: &mut Stage| stage.machine.read(|rows| rows.tables[0].occupied.count_ones());
    assert_eq!(seated(&mut stage), 4, "nobody waits");
    assert_eq!(stage.refused(4, IntentKind::Sit, sit), Refusal::TableFull);
    bet_and_pass(&mut stage, 1_100);
    assert_eq!(seated(&mut stage), 3, "one seat for one who waits");
    assert_eq!(stage.player_at(0), AccountId::NONE, "the first of those without a bet");
    assert_eq!(stage.machine.read(|rows| rows.accounts[0].cage.0), GRANT, "with the rail");
    assert_eq!(stage.one(4, IntentKind::Sit, sit), Verdict::Applied);
    assert_eq!(stage.player_at(0), AccountId(4));
    // Asked for again: 2 goes, since 1 bets and 4 has just come.
    assert_eq!(stage.refused(5, IntentKind::Sit, sit), Refusal::TableFull);
    bet_and_pass(&mut stage, 1_100);
    assert_eq!(stage.player_at(2), AccountId::NONE);
    assert_eq!([stage.player_at(1), stage.player_at(3)], [AccountId(1), AccountId(3)]);
    assert_eq!(stage.one(5, IntentKind::Sit, sit), Verdict::Applied);
    // Who waited long ago waits no more.
    let wanted = stage.machine.read(|rows| rows.tables[0].wanted_ms);
    assert!(wanted > 0);
    bet_and_pass(&mut stage, 1_100);
    assert_eq!(stage.player_at(3), AccountId::NONE, "still wanted: its time had not ended");
    bet_and_pass(&mut stage, 10_000);
    assert_eq!(seated(&mut stage), 3);
}

#[test]
fn a_bet_that_is_taken_down_before_each_roll_keeps_no_seat() {
    let mut stage = Stage::seated(world(2), 3, 5_000);
    for _ in 0..50 {
        for player in 0..2 {
            if stage.machine.read(|rows| rows.seats[player as usize].account == AccountId(player)) {
                stage.bet(player, "field", 0, 1);
                stage.one(player, IntentKind::TakeDown, |body| body.at(TABLE).on(crate::common::bet("field"), 0));
            }
        }
        stage.refused(2, IntentKind::Sit, sit);
        stage.pass(100);
        if stage.machine.read(|rows| rows.tables[0].occupied.count_ones()) < 2 {
            return;
        }
    }
    panic!("both kept their seats for {} ms", stage.time_ms - START_MS);
}

#[test]
fn a_gap_between_two_blocks_counts_for_a_second_however_long_it_was() {
    let mut stage = Stage::seated(world(4), 4, 5_000);
    let active = |stage: &mut Stage| stage.machine.read(|rows| rows.house.active_ms);
    let before = active(&mut stage);
    let hour = 3_600_000;
    for gap in [hour, 24 * hour, 30 * 24 * hour] {
        stage.settle_at(stage.time_ms + gap, Vec::new(), Draw::Given(Dice::new(1, 3).expect("faces")));
    }
    assert_eq!(active(&mut stage), before + 3 * IDLE.gap_max_ms);
    assert_eq!(stage.machine.read(|rows| rows.tables[0].occupied.count_ones()), 4, "nobody is absent");
    assert!(stage.is_open(3));
    // The same 30 s in small steps, and everyone is.
    stage.pass(31_000);
    assert_eq!(stage.machine.read(|rows| rows.tables[0].occupied), 0);
}
