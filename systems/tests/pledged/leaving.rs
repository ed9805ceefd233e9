//! Whoever leaves a pledged table, or is away from it.

use super::*;

/// Brings the table to a point, with 10 chips on the pass line, which stay, and 6 on a place bet, which may be taken down.
fn with_a_point(stage: &mut Stage) -> Chain {
    // Secrets are tried until the first roll is a box number: this player holds the beacon of tests too.
    for secret in 1.. {
        let chain = Chain::new(0, TABLE, 1, secret);
        let beacon = [(stage.height.0 + 1) as u8; 48];
        let rules = stage.machine.setup().catalogues[0].hash();
        if ![4, 5, 6, 8, 9, 10].contains(&dice_of_both(&beacon, &chain.end(2), TABLE, 1, &rules).total()) {
            continue;
        }
        let kinds = vec![IntentKind::Bet, IntentKind::Roll];
        assert_eq!(stage.height_with(1, vec![chain.pledge(1, 1)], kinds), [Verdict::Applied; 3]);
        let opening = chain.opening(1, stage.closed());
        assert_eq!(stage.pledged(vec![opening]), [Verdict::Applied]);
        assert_ne!(stage.machine.read(|rows| rows.tables[0].point), 0);
        assert_eq!(stage.bet(0, "place_6", 0, 6), Verdict::Applied);
        return chain;
    }
    unreachable!("some secret gives a point")
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
    let from_ms = stage.time_ms;
    let mut returned_ms = None;
    while stage.house().forfeited == Chips::ZERO {
        stage.settle_at(stage.time_ms + 1_000, Vec::new(), Draw::Beacon([7; 48]));
        if stage.rail(0) == 990 && returned_ms.is_none() {
            returned_ms = Some(stage.time_ms - from_ms);
        }
        assert!(stage.time_ms <= from_ms + 121_000);
    }
    assert_eq!(returned_ms, Some(60_000), "absent after a minute");
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
