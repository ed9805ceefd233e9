use engine::component::{SeatStatus, SpotMask};
use engine::io::BetResult;
use engine::message::intent::IntentKind;
use engine::message::pledge::PledgeRow;
use engine::message::refusal::Refusal;

use super::*;
use crate::fixture::{empty_seat, game, id, playing, resolution, roll, spot, standing, waiting};
use words::sentences::result_words;

fn last(game: &Game) -> &str {
    game.log.back().map_or("", |line| &line.text)
}

fn field() -> Wish {
    Wish::new(IntentKind::Bet).on(bet_of(spot("field", 0)), 0).amount(5)
}

#[test]
fn receipts_become_sentences() {
    let mut game = playing();
    game.sent(id(7), field());
    game.sent(id(8), field());
    game.sent(id(9), field());
    game.acknowledged(&id(7));
    assert!(game.in_flight[0].acknowledged && !game.in_flight[1].acknowledged);
    game.receipt(&id(7), Verdict::Applied, Height(20_000));
    assert_eq!((last(&game), game.height), ("5 on field: placed", Height(20_000)));
    game.receipt(&id(8), Verdict::Refused(Refusal::InsufficientFunds), Height::GENESIS);
    assert_eq!(last(&game), "5 on field refused: there are not enough chips (INSUFFICIENT_FUNDS)");
    assert_eq!(game.height, Height(20_000), "heights do not fall");
    game.shed(&id(9), "the node is busy");
    assert_eq!(last(&game), "5 on field: not taken, the node is busy; try again");
    assert!(game.in_flight.is_empty());
}

/// A pledge for roll 7 of table 0 has the number 7 too, and its answer may come when an opening was sent after it.
#[test]
fn an_answer_to_what_is_no_intent_on_its_way_changes_and_says_nothing() {
    let mut game = playing();
    game.sent(id(7), Wish::new(IntentKind::Leave));
    let (lines, height) = (game.log.len(), game.height);
    let pledge = PledgeRow { signature: [9; 64], ..PledgeRow::pledge([7; 32], TableId(0), 7, 5, [3; 32]) };
    assert_eq!((pledge.id().key, pledge.id().number), (id(7).key, 7));
    for other in [pledge.id(), id(3), IntentId { key: [8; 32], ..id(7) }] {
        assert!(game.in_flight(&other).is_none());
        game.acknowledged(&other);
        game.receipt(&other, Verdict::Applied, Height(height.0 + 1));
        game.shed(&other, "the node is busy");
    }
    assert_eq!((game.log.len(), game.height, game.left), (lines, height, None));
    assert_eq!(game.in_flight(&id(7)).map(|sent| sent.acknowledged), Some(false), "it waits for its own");
    game.receipt(&id(7), Verdict::Applied, Height(1));
    assert_eq!((game.in_flight.len(), game.left), (0, Some(TableId(0))));
}

#[test]
fn wins_and_losses_become_sentences_and_a_result() {
    let mut game = standing();
    let one = |name, number, wager, credit, result| vec![resolution(name, number, wager, credit, result)];
    game.rolled(roll(1, [1, 1], Puck::Off), one("field", 0, 5, 15, BetResult::Win));
    assert_eq!((last(&game), game.session()), ("field wins: 5 pays 10", 10));
    game.rolled(roll(2, [3, 4], Puck::Off), one("place_6", 0, 12, 0, BetResult::Lose));
    assert_eq!((last(&game), game.session()), ("place 6 loses 12", -2));
    game.rolled(roll(3, [6, 6], Puck::Off), one("dont_pass", 0, 30, 30, BetResult::Push));
    assert_eq!((last(&game), game.session()), ("don't pass pushes: 30 come back", -2));
    let report = roll(4, [3, 3], Puck::On(4));
    game.rolled(report, one("come", 0, 10, 0, BetResult::Travel(spot("come", 6))));
    assert_eq!((last(&game), game.session()), ("come travels: 10 now on 6", -2));
    let lines = game.log.len();
    game.rolled(report, one("field", 0, 5, 15, BetResult::Win));
    assert_eq!((game.log.len(), game.session()), (lines, -2), "a roll told again is no second win");
}

#[test]
fn a_roll_that_no_other_node_knows_of_hides_none_that_comes() {
    let mut game = standing();
    let view = game.table.clone().expect("a table");
    game.rolled(roll(u32::MAX, [1, 1], Puck::Off), Vec::new());
    // The next node tells of the table as it is.
    game.set_table(TableId(0), view.row, view.seats.clone());
    let won = vec![resolution("field", 0, 5, 15, BetResult::Win)];
    game.rolled(roll(view.row.roll_number + 1, [1, 1], Puck::Off), won.clone());
    assert_eq!((last(&game), game.session()), ("field wins: 5 pays 10", 10));
    // One that was seen is told again by a node that has just settled it.
    let row = Table { roll_number: view.row.roll_number + 1, ..view.row };
    game.set_table(TableId(0), row, view.seats);
    game.rolled(roll(row.roll_number, [1, 1], Puck::Off), won);
    assert_eq!(game.session(), 10, "no second win");
}

#[test]
fn commission_held_in_advance_counts_as_put_down() {
    let mut game = standing();
    game.watch(TableId(1));
    assert_eq!(game.rules(), 1);
    let lost = Resolution { table: TableId(1), ..resolution("buy_4", 0, 20, 0, BetResult::Lose) };
    game.rolled(RollReport { table: TableId(1), ..roll(1, [3, 4], Puck::Off) }, vec![lost]);
    assert_eq!((last(&game), game.session()), ("buy 4 loses 21", -21));
}

#[test]
fn a_roll_moves_dice_and_puck_before_the_rows_come() {
    let mut game = playing();
    game.rolled(roll(422, [1, 6], Puck::On(6)), Vec::new());
    assert_eq!(game.puck(), Puck::Off);
    let elsewhere = RollReport { table: TableId(2), ..roll(9, [2, 2], Puck::Off) };
    let own = Resolution { table: TableId(2), ..resolution("field", 0, 5, 10, BetResult::Win) };
    game.rolled(elsewhere, vec![own]);
    assert_eq!((game.puck(), game.rolls.len()), (Puck::Off, 10), "another table's roll moves nothing here");
    assert_eq!(last(&game), "field wins: 5 pays 5");
}

#[test]
fn what_is_kept_is_bounded_and_goes_with_the_table() {
    let mut game = standing();
    for number in 422..900 {
        game.rolled(roll(number, [3, 4], Puck::Off), Vec::new());
    }
    assert_eq!((game.rolls.len(), game.log.len()), (PLAY_ROLLS_KEPT, PLAY_LINES_KEPT));
    game.watch(TableId(2));
    assert!(game.rolls.is_empty() && game.table.is_none());
    let view = playing().table.expect("a table");
    game.set_table(TableId(0), view.row, view.seats);
    assert!(game.table.is_none(), "rows of a table that is no longer watched are late");
}

#[test]
fn nothing_that_was_sent_is_forgotten_before_its_receipt() {
    let mut game = standing();
    let mut numbers = Vec::new();
    while game.may_send() {
        numbers.push(game.take_number(IntentKind::Bet));
        game.sent(id(numbers[numbers.len() - 1]), field());
    }
    let waiting = |game: &Game| game.in_flight.iter().map(|sent| sent.id.number).collect::<Vec<u64>>();
    assert_eq!((numbers.len(), waiting(&game)), (IN_FLIGHT_MAX, numbers.clone()));
    game.receipt(&id(numbers.remove(1)), Verdict::Applied, Height(1));
    assert!(game.may_send(), "an answer makes room for one");
    numbers.push(game.take_number(IntentKind::Bet));
    game.sent(id(numbers[numbers.len() - 1]), field());
    assert_eq!((game.may_send(), waiting(&game)), (false, numbers));
}

#[test]
fn the_rows_say_what_can_be_bet_and_what_works() {
    let game = playing();
    assert_eq!(game.in_bets(game.own_seat().expect("a seat").1), Chips(125));
    assert_eq!(game.others_on(spot("place_6", 0)), 1_200);
    assert_eq!(game.closed(spot("dont_pass", 0)), Some("opens with the puck OFF"));
    assert_eq!(game.closed(spot("odds_come", 4)), Some("needs your flat bet under it"));
    assert_eq!(game.closed(spot("odds_come", 9)), None);
    assert_eq!(game.odds_limit(spot("odds_pass", 0)), Some(50));
    assert_eq!(game.odds_limit(spot("odds_come", 9)), Some(40));
    let place = |name| game.own_bet(spot(name, 0)).expect("a bet");
    assert_eq!([place("place_6"), place("place_8")].map(|bet| game.toggled(bet)), [Working::Off, Working::On]);
    assert_eq!(game.until_roll_ms(), Some(4_200));
    assert!(game.is_shooter());
}

#[test]
fn rows_that_no_table_has_break_nothing() {
    let mut game = playing();
    let view = game.table.clone().expect("a table");
    let wild = |seed: u32| {
        let byte = |at: u32| (seed.wrapping_mul(2_654_435_761).rotate_left(at) & 255) as u8;
        let flags = BetFlags(byte(11));
        BetRow { amount: seed, progress: u16::from(byte(3)) << 8 | u16::from(byte(9)), spot: Spot(byte(5)), flags }
    };
    let mut row = view.row;
    (row.next_roll_ms, row.point, row.shooter, row.dice) = (u64::MAX - 1, 7, 200, [9, 0]);
    let mut seats: Vec<SeatView> = (0..40).map(|_| view.seats[2].clone()).collect();
    seats.iter_mut().zip(0..).for_each(|(view, at)| view.bets = (0..90).map(|bet| wild(at * 90 + bet)).collect());
    game.set_table(TableId(0), row, seats);
    let travel = Resolution { spot: Spot(255), ..resolution("come", 0, 1, 0, BetResult::Travel(Spot(250))) };
    let credit = Resolution { credit: Chips(u64::MAX), ..resolution("field", 0, 1, 0, BetResult::Win) };
    let far = Resolution { result: BetResult::Travel(Spot(250)), ..credit };
    game.rolled(RollReport { puck: Puck::On(7), ..roll(500, [1, 2], Puck::Off) }, vec![travel, credit, credit, far]);
    game.rolled(RollReport { table: TableId(99), ..roll(500, [1, 2], Puck::Off) }, vec![credit]);
    for spot in (0..SPOTS as u8).map(Spot) {
        let progress = game.own_bet(spot).map_or(0, |bet| bet.progress);
        crate::odds::ways(game.catalogue(), spot, progress, game.puck());
        let _ = (game.closed(spot), game.odds_limit(spot), game.others_on(spot));
    }
    let mut ui = crate::ui::Ui::new(crate::theme::Theme::default());
    let size = ratatui::backend::TestBackend::new(120, 40);
    let mut terminal = ratatui::Terminal::new(size).expect("a test terminal");
    for _ in 0..ui.groups.len() {
        ui.cursor.0 = (ui.cursor.0 + 1) % ui.groups.len();
        let drawn = terminal.draw(|frame| crate::screen::draw(frame, &game, &ui));
        drawn.expect("a test terminal takes every picture");
    }
}

#[test]
fn a_link_is_news_when_it_comes_and_goes() {
    let mut game = game();
    let down = |retry_s| Link::Down { why: "timed out".into(), retry_s };
    [Link::Up { rtt_ms: 9 }, Link::Up { rtt_ms: 8 }, down(2), down(1), Link::Connecting { attempt: 2 }]
        .into_iter()
        .for_each(|link| game.set_link(link));
    let lines: Vec<&str> = game.log.iter().map(|line| &*line.text).collect();
    assert_eq!(lines, ["connected to dev-alpha", "connection lost: timed out"]);
    assert_eq!(result_words(1_250), "+1,250");
    assert_eq!(result_words(-3), "-3");
}

#[test]
fn no_two_intents_on_their_way_have_one_number() {
    let mut game = game();
    let mut sent = Vec::new();
    let mut send = |game: &mut Game, kind| {
        let number = game.take_number(kind);
        game.sent(id(number), Wish::new(kind));
        sent.push(number);
    };
    // A script that does not wait: the account is not there yet.
    send(&mut game, IntentKind::Open);
    assert_eq!(game.opening(), Some(1), "whoever asks to open again is told this one");
    send(&mut game, IntentKind::Sit);
    send(&mut game, IntentKind::Bet);
    game.receipt(&id(1), Verdict::Applied, Height(1));
    // It is open, and its row is on its way.
    send(&mut game, IntentKind::Open);
    let mut account = standing().account.expect("an account");
    account.1.number_highest = 1;
    game.set_account(Some(account));
    // The account is there, and asked for again: the node says so, under a number of its own.
    send(&mut game, IntentKind::Open);
    send(&mut game, IntentKind::Bet);
    account.1.number_highest = 40;
    game.set_account(Some(account));
    send(&mut game, IntentKind::Bet);
    assert_eq!(sent, [1, 2, 3, 4, 5, 6, 41]);
}

#[test]
fn an_account_that_is_opened_again_begins_with_number_1() {
    let mut game = standing();
    for _ in 0..200 {
        let number = game.take_number(IntentKind::Bet);
        game.sent(id(number), field());
        game.receipt(&id(number), Verdict::Applied, Height(1));
    }
    game.set_account(None);
    assert_eq!((game.take_number(IntentKind::Open), game.take_number(IntentKind::Sit)), (1, 2));
}

#[test]
fn a_table_that_is_not_there_is_named_with_the_range() {
    let game = game();
    assert_eq!(game.check_table(TableId(3)), Ok(()));
    assert_eq!(game.check_table(TableId(99)), Err("there is no table 99; the tables are 0 to 3".into()));
}

#[test]
fn the_shooter_is_told_when_to_roll() {
    let mut game = playing();
    let mut view = game.table.clone().expect("a table");
    (view.row.opened_ms, view.row.roll_called) = (game.now_ms - 1_500, 0);
    game.set_table(TableId(0), view.row, view.seats.clone());
    assert_eq!(game.may_roll_in_ms(), Some(500));
    game.time(game.now_ms + 10_000);
    assert_eq!(game.may_roll_in_ms(), Some(0));
    view.row.roll_called = 1;
    game.set_table(TableId(0), view.row, view.seats.clone());
    assert_eq!(game.may_roll_in_ms(), None, "the roll is called");
    (view.row.roll_called, view.row.shooter) = (0, 1);
    game.set_table(TableId(0), view.row, view.seats);
    assert_eq!(game.may_roll_in_ms(), None, "another one shoots");
}

#[test]
fn a_seat_that_has_gone_says_why() {
    // Seated, then what the node says next, and why. Rows are dated by the clock of activity, which began with the chain.
    let after = |prepare: &dyn Fn(&mut Game), status: SeatStatus, wanted_ms: u64| {
        let mut game = playing();
        let mut view = game.table.clone().expect("a table");
        let own = &mut view.seats[2];
        (own.seat.last_intent_ms, own.seat.last_bet_ms) = (1_000, 2_000);
        (own.seat.spots, own.bets) = (SpotMask::EMPTY, Vec::new());
        game.set_table(TableId(0), view.row, view.seats.clone());
        prepare(&mut game);
        view.row.wanted_ms = wanted_ms;
        match status {
            SeatStatus::Empty => view.seats[2] = empty_seat(),
            status => view.seats[2].seat.status = status as u8,
        }
        let lost = game.set_table(TableId(0), view.row, view.seats);
        (lost, last(&game).to_owned())
    };
    let leave = |game: &mut Game| {
        let number = game.take_number(IntentKind::Leave);
        game.sent(id(number), Wish::new(IntentKind::Leave));
    };
    let left = |game: &mut Game| {
        leave(game);
        let sent = game.in_flight[0].id;
        game.receipt(&sent, Verdict::Applied, Height(1));
    };
    let silent = |game: &mut Game| game.time(game.now_ms + 60_000);
    assert_eq!(after(&|_| (), SeatStatus::Seated, 0).0, None);
    assert_eq!(after(&leave, SeatStatus::Empty, 0).0, Some(SeatLost::Left), "the row may come before the receipt");
    assert_eq!(after(&left, SeatStatus::Leaving, 0).0, Some(SeatLost::Left));
    let absent = Some(SeatLost::Absent { idle_ms: 60_000 });
    let (lost, words) = after(&silent, SeatStatus::Leaving, 9_000);
    assert_eq!(lost, absent);
    assert!(words.contains("nothing came from you for 60 s"), "{words}");
    let soon = |game: &mut Game| game.time(game.now_ms + 15_000);
    let (lost, words) = after(&soon, SeatStatus::Empty, 9_000);
    assert_eq!(lost, Some(SeatLost::NoBet));
    assert!(words.contains("you had no bet"), "{words}");
    // Another intent was accepted after half a minute.
    let acted = |game: &mut Game| {
        game.time(game.now_ms + 30_000);
        let mut view = game.table.clone().expect("a table");
        view.seats[2].seat.last_intent_ms = 31_000;
        game.set_table(TableId(0), view.row, view.seats);
        game.time(game.now_ms + 40_000);
    };
    assert_eq!(after(&acted, SeatStatus::Empty, 9_000).0, Some(SeatLost::NoBet));
    // Nobody asked for the seat since its last bet was decided: whatever was not seen, the player was absent.
    assert_eq!(after(&soon, SeatStatus::Empty, 2_000).0, absent);
    // What had to stay is decided at last.
    let leaving = |game: &mut Game| {
        let mut view = game.table.clone().expect("a table");
        view.seats[2].seat.status = SeatStatus::Leaving as u8;
        game.set_table(TableId(0), view.row, view.seats);
    };
    assert_eq!(after(&leaving, SeatStatus::Empty, 0).0, Some(SeatLost::Decided));
}

#[test]
fn bets_of_a_roll_that_nobody_opened_are_told_as_lost() {
    let lost = |is_left: bool, prepare: &dyn Fn(&mut Table, &mut Vec<SeatView>)| {
        let mut game = waiting();
        let TableView { mut row, mut seats } = game.table.clone().expect("a table");
        if is_left {
            // Who left has bets that had to stay, and no roll waits.
            row.roll_called = 0;
            seats[0].seat.status = SeatStatus::Leaving as u8;
            game.set_table(TableId(0), row, seats.clone());
        }
        let before = game.session();
        prepare(&mut row, &mut seats);
        let lost = game.set_table(TableId(0), row, seats);
        (lost, game.session() - before, last(&game).to_owned())
    };
    let gone = |row: &mut Table, seats: &mut Vec<SeatView>| {
        (row.roll_called, row.occupied, row.point) = (0, 0, 0);
        seats[0] = empty_seat();
    };
    let used_up = |row: &mut Table, seats: &mut Vec<SeatView>| {
        gone(row, seats);
        (row.roll_number, row.dice) = (row.roll_number + 1, [0, 0]);
    };
    let chips = Chips(32);
    let (told, result, words) = lost(false, &used_up);
    assert_eq!((told, result), (Some(SeatLost::Forfeited { chips, called: true }), -32));
    assert_eq!(words, "your roll was not opened in time: 32 in bets are lost, and your rail is back in the cage");
    let (told, result, words) = lost(true, &gone);
    assert_eq!((told, result), (Some(SeatLost::Forfeited { chips, called: false }), -32));
    assert!(words.starts_with("nobody rolled for the bets that stayed: 32 in bets are lost"), "{words}");
    // A roll with dice decides bets, and tells of each.
    let rolled = |row: &mut Table, seats: &mut Vec<SeatView>| {
        gone(row, seats);
        row.roll_number += 1;
    };
    let (told, result, _) = lost(false, &rolled);
    assert!(matches!(told, Some(SeatLost::Absent { .. })), "{told:?}");
    assert_eq!(result, 0);
}
