//! Whoever leaves a pledged table, or is away from it.

use super::*;

/// Rolls one of these totals as the table's first roll, with 10 chips on the pass line.
fn first_roll(stage: &mut Stage, totals: &[u8]) -> Chain {
    // Secrets are tried until one gives it: this player holds the beacon of tests too.
    for secret in 1.. {
        let chain = Chain::new(0, TABLE, 1, secret);
        let beacon = [(stage.height.0 + 1) as u8; 48];
        let rules = stage.machine.setup().catalogues[0].hash();
        if !totals.contains(&dice_of_both(&beacon, &chain.end(2), TABLE, 1, &rules).total()) {
            continue;
        }
        let kinds = vec![IntentKind::Bet, IntentKind::Roll];
        assert_eq!(stage.height_with(1, vec![chain.pledge(1, 1)], kinds), [Verdict::Applied; 3]);
        let opening = chain.opening(1, stage.closed());
        assert_eq!(stage.pledged(vec![opening]), [Verdict::Applied]);
        return chain;
    }
    unreachable!("some secret gives them")
}

/// Brings the table to a point, with 10 chips on the pass line, which stay, and 6 on a place bet, which may be taken down.
fn with_a_point(stage: &mut Stage) -> Chain {
    let chain = first_roll(stage, &[4, 5, 6, 8, 9, 10]);
    assert_ne!(stage.machine.read(|rows| rows.tables[0].point), 0);
    assert_eq!(stage.bet(0, "place_6", 0, 6), Verdict::Applied);
    chain
}

#[test]
fn whoever_leaves_between_rolls_forfeits_in_the_end_what_cannot_be_taken_down() {
    let mut stage = seated();
    with_a_point(&mut stage);
    assert_eq!(stage.one(0, IntentKind::Leave, |body| body.at(TABLE)), Verdict::Applied);
    let [_, rail, felts, ..] = chips(&mut stage);
    assert_eq!((rail, felts), (990, 10), "the place bet returned, the contract bet waits");
    // One who comes back finds it, and the pledge.
    assert_eq!(stage.one(0, IntentKind::Sit, |body| body.at(TABLE).amount(10)), Verdict::Applied);
    assert_ne!(stage.pledge_row().end, [0; 32]);
    assert_eq!(stage.one(0, IntentKind::Leave, |body| body.at(TABLE)), Verdict::Applied);
    let (left_ms, roll) = (stage.time_ms, stage.machine.read(|rows| rows.tables[0].roll_number));
    while stage.house().forfeited == Chips::ZERO {
        let due_ms = stage.machine.next_due_ms().expect("its last bet is awaited");
        stage.settle_at(due_ms.min(stage.time_ms + 5_000), Vec::new(), Draw::Beacon([7; 48]));
        assert!(stage.time_ms <= left_ms + 120_000, "an account's idle time");
    }
    assert_eq!(stage.time_ms, left_ms + 120_000);
    let [cage, rail, felts, .., forfeited] = chips(&mut stage);
    assert_eq!((cage, rail, felts, forfeited), (GRANT - 10, 0, 0, 10));
    assert_eq!(stage.machine.read(|rows| rows.tables[0].roll_number), roll, "no roll waited, none is used up");
}

#[test]
fn an_absent_player_is_seen_off_as_one_who_leaves() {
    let mut stage = seated();
    with_a_point(&mut stage);
    stage.machine.watch(true);
    let from_ms = stage.time_ms;
    let mut left = Vec::new();
    while stage.house().forfeited == Chips::ZERO {
        stage.settle_at(stage.time_ms + 1_000, Vec::new(), Draw::Beacon([7; 48]));
        let after_ms = stage.time_ms - from_ms;
        left.extend(stage.machine.report().leavings.iter().map(|leaving| (after_ms, *leaving)));
        if after_ms == 60_000 {
            assert_eq!(stage.rail(0), 990, "the place bet returned");
        }
        if after_ms < 120_000 {
            // The roll said when to look, a millisecond before the place bet.
            let waits_ms = if after_ms < 60_000 { 59_999 } else { 120_000 };
            assert_eq!(
                stage.machine.next_due_ms(),
                Some(from_ms + waits_ms),
                "looked at when there is something to do"
            );
        }
        assert!(after_ms <= 121_000);
        stage.assert_root();
    }
    let leaving = |absent, returned, left_with: Option<u64>| {
        let (account, returned, left_with) = (AccountId(0), Chips(returned), left_with.map(Chips));
        Leaving { table: TABLE, seat: 0, account, absent, returned, left_with }
    };
    let expected = [(60_000, leaving(true, 6, None)), (120_000, leaving(false, 0, Some(990)))];
    assert_eq!(left, expected, "absent after a minute, and what stayed is forfeited after two");
    assert_eq!(stage.time_ms - from_ms, 120_000, "what stayed waited for as long as an account may");
    assert_eq!(stage.machine.read(|rows| rows.tables[0].occupied), 0);
}

#[test]
fn a_seat_without_a_bet_goes_to_others_who_ask() {
    let mut stage = seated();
    let seat_ms = stage.machine.setup().genesis.idleness.seat_ms;
    // A bet that is taken down before a roll keeps no seat.
    let mut left_ms = seat_ms;
    while left_ms > 0 {
        let step_ms = left_ms.min(5_000);
        left_ms -= step_ms;
        stage.settle_at(stage.time_ms + step_ms, Vec::new(), Draw::Beacon([7; 48]));
        assert_eq!(stage.bet(0, "pass", 0, 10), Verdict::Applied);
        assert_eq!(stage.one(0, IntentKind::TakeDown, |body| filled(body, IntentKind::TakeDown)), Verdict::Applied);
    }
    assert_eq!(stage.refused(1, IntentKind::Sit, |body| body.at(TABLE).amount(100)), Refusal::TableFull);
    assert_eq!(stage.one(1, IntentKind::Sit, |body| body.at(TABLE).amount(100)), Verdict::Applied);
}

#[test]
fn whoever_asks_for_the_seat_in_vain_delays_no_absence() {
    let mut stage = seated();
    let sat_ms = stage.time_ms - 300;
    for second in 1..=25 {
        stage.settle_at(sat_ms + 1_000 * second, Vec::new(), Draw::Beacon([7; 48]));
    }
    assert_eq!(stage.refused(1, IntentKind::Sit, |body| body.at(TABLE).amount(100)), Refusal::TableFull);
    assert_eq!(stage.machine.next_due_ms(), Some(sat_ms + 60_000), "it is looked at when its player would be absent");
    stage.assert_root();
}

#[test]
fn bets_that_are_forfeited_are_told_to_those_who_ask_where_a_roll_had_been_called() {
    for asked in [true, false] {
        let (mut stage, _) = waiting();
        stage.machine.watch_felt(asked);
        stage.settle_at(stage.time_ms + 1_000, Vec::new(), Draw::Beacon([7; 48]));
        while stage.house().forfeited == Chips::ZERO {
            assert_eq!(stage.machine.report().forfeited, []);
            stage.settle_at(stage.time_ms + 1_000, Vec::new(), Draw::Beacon([7; 48]));
            stage.assert_root();
        }
        let told: Vec<u32> = stage.machine.report().forfeited.iter().map(|felt| felt.bet.amount).collect();
        assert_eq!(told, if asked { vec![10] } else { Vec::new() });
    }
    // Nobody had called a roll: no dice fall that a session could be held against.
    let mut stage = seated();
    stage.machine.watch_felt(true);
    with_a_point(&mut stage);
    while stage.house().forfeited == Chips::ZERO {
        stage.settle_at(stage.time_ms + 1_000, Vec::new(), Draw::Beacon([7; 48]));
    }
    assert_eq!(stage.machine.report().forfeited, []);
}

/// Each height adds up what its chunks of tables did, where some forfeit bets and others roll.
#[test]
fn a_height_counts_forfeits_beside_the_rolls_of_other_tables() {
    let (mut stage, _) = waiting();
    assert_eq!(stage.one(1, IntentKind::Sit, |body| body.at(TableId(1)).amount(100)), Verdict::Applied);
    let mut counts = stage.machine.report().counts;
    while counts.forfeits == 0 {
        stage.settle_at(stage.time_ms + 1_000, Vec::new(), Draw::Beacon([7; 48]));
        counts = stage.machine.report().counts;
    }
    assert_eq!(counts, Counts { rolls: 1, forfeits: 1, lost: 10, ..Counts::default() });
}

/// A table whose bank has `bank_target` chips, and takes no bet below 10.
fn small(bank_target: u64) -> Genesis {
    let mut genesis = Genesis { bank_target, ..world() };
    genesis.rules[0].min_bet = 10;
    genesis
}

fn bank(stage: &mut Stage) -> u64 {
    stage.machine.read(|rows| rows.tables[0].bank.0)
}

/// A bank that was won can pay no bet, and without a bet no pledged table rolls: no seven-out would ever fill it again.
#[test]
fn a_bank_that_was_won_is_filled_when_its_table_empties() {
    for leaves in [true, false] {
        let mut stage = seated_in(small(10));
        first_roll(&mut stage, &[7, 11]);
        assert_eq!(bank(&mut stage), 0);
        for name in ["pass", "field", "no_12"] {
            let on = |body: IntentBody| body.at(TABLE).on(bet(name), 0).amount(10);
            assert_eq!(stage.refused(0, IntentKind::Bet, on), Refusal::BankLimit, "{name}");
        }
        let treasury = stage.house().treasury;
        if leaves {
            assert_eq!(stage.one(0, IntentKind::Leave, |body| body.at(TABLE)), Verdict::Applied);
        }
        // Whoever is absent is seen off.
        while stage.machine.read(|rows| rows.tables[0].occupied) != 0 {
            stage.settle_at(stage.time_ms + 5_000, Vec::new(), Draw::Beacon([7; 48]));
        }
        stage.assert_root();
        assert_eq!((bank(&mut stage), stage.house().treasury), (10, treasury - Chips(10)));
        assert_eq!(stage.one(1, IntentKind::Sit, |body| body.at(TABLE).amount(100)), Verdict::Applied);
        assert_eq!(stage.bet(1, "pass", 0, 10), Verdict::Applied);
    }
}

#[test]
fn a_bank_is_filled_when_its_player_is_seen_off_by_a_forfeit() {
    let mut stage = seated_in(small(100));
    first_roll(&mut stage, &[7, 11]);
    assert_eq!(bank(&mut stage), 90);
    let kinds = vec![IntentKind::Bet, IntentKind::Roll];
    assert_eq!(stage.height_with(300, Vec::new(), kinds), [Verdict::Applied; 2]);
    while stage.house().forfeited == Chips::ZERO {
        assert_eq!(bank(&mut stage), 90, "while the roll waits");
        stage.settle_at(stage.time_ms + 1_000, Vec::new(), Draw::Beacon([7; 48]));
    }
    assert_eq!(bank(&mut stage), 100);
    stage.assert_root();
}

/// The treasury has nothing when the player leaves, and something when the next one comes.
#[test]
fn a_bank_that_nothing_could_fill_is_filled_when_somebody_sits_down() {
    let mut stage = seated_in(Genesis { supply: 4 * 100 + 3 * GRANT, ..small(100) });
    first_roll(&mut stage, &[7, 11]);
    assert_eq!(stage.one(0, IntentKind::Leave, |body| body.at(TABLE)), Verdict::Applied);
    assert_eq!((bank(&mut stage), stage.house().treasury), (90, Chips::ZERO));
    // At another table somebody loses 20 chips, and leaves.
    let other = |body: IntentBody| body.at(TableId(1));
    assert_eq!(stage.one(1, IntentKind::Sit, |body| other(body).amount(100)), Verdict::Applied);
    assert_eq!(stage.one(1, IntentKind::Bet, |body| other(body).on(bet("field"), 0).amount(20)), Verdict::Applied);
    stage.roll(3, 3);
    assert_eq!(stage.one(1, IntentKind::Leave, other), Verdict::Applied);
    assert_eq!((bank(&mut stage), stage.house().treasury), (90, Chips(20)));
    assert_eq!(stage.one(2, IntentKind::Sit, |body| body.at(TABLE).amount(100)), Verdict::Applied);
    assert_eq!((bank(&mut stage), stage.house().treasury), (100, Chips(10)));
    stage.assert_root();
}
