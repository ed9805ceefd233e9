use engine::io::Verdict;
use engine::message::intent::IntentKind;
use engine::message::refusal::Refusal;
use engine::{Height, Spot, TableId};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;
use systems::catalogue::BETS;

use super::draw;
use crate::fixture::{OWN, game, id, leaving, playing, seat, spot, standing, standing_of};
use crate::model::{Game, Link};
use crate::theme::Theme;
use crate::ui::{Mode, Ui};
use words::sentences::Severity;
use words::wish::Wish;

const PLAIN: Theme = Theme { colour: false, unicode: false };

fn buffer(game: &Game, ui: &Ui, columns: u16, rows: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a test terminal");
    terminal.draw(|frame| draw(frame, game, ui)).expect("a test terminal takes every picture");
    terminal.backend().buffer().clone()
}

fn picture(game: &Game, ui: &Ui, columns: u16, rows: u16) -> String {
    let buffer = buffer(game, ui, columns, rows);
    let row = |y| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    let rows: Vec<String> = (0..rows).map(|y| row(y).trim_end().to_owned()).collect();
    rows.join("\n")
}

fn ui() -> Ui {
    Ui::new(Theme::default())
}

#[track_caller]
fn shows(picture: &str, facts: &[&str]) {
    println!("{picture}\n{}", "=".repeat(80));
    for fact in facts {
        assert!(picture.contains(fact), "`{fact}` is not in\n{picture}");
    }
}

fn many() -> Game {
    let mut game = playing();
    let all: Vec<(&str, u8, u32, u8)> = BETS.iter().skip(64).take(30).map(|bet| (bet.name, 0, 10_000_000, 0)).collect();
    let own = [&[("pass", 0, 5, 0), ("field", 0, 999, 0)], &all[..]].concat();
    let view = seat(OWN, 123_456_789, &own);
    assert_eq!(view.bets.len(), 32);
    let table = game.table.clone().expect("a table");
    let mut seats = table.seats;
    seats[2] = view;
    game.set_table(TableId(0), table.row, seats);
    game
}

fn talkative() -> Game {
    let mut game = playing();
    for number in 0..300 {
        game.sent(id(number), Wish::new(IntentKind::Bet).on(engine::BetId(4), 0).amount(5));
        game.receipt(&id(number), Verdict::Refused(Refusal::NoParentBet), Height(number));
    }
    game.say(Severity::Info, "the last line");
    game.sent(id(400), Wish::new(IntentKind::Roll));
    game
}

#[test]
fn before_the_first_word_it_says_that_it_is_connecting() {
    let mut game = game();
    shows(&picture(&game, &ui(), 80, 24), &["connecting, attempt 1", "no word of this table yet", "KEYS FROM A SEED"]);
    game.set_link(Link::Down { why: "timed out".into(), retry_s: 4 });
    shows(&picture(&game, &ui(), 80, 24), &["down, again in 4 s: timed out", "connection lost: timed out", "q quit"]);
    shows(&picture(&game, &ui(), 120, 40), &["down, again in 4 s: timed out", "dev-alpha", "127.0.0.1:4433"]);
}

#[test]
fn at_a_full_table_it_leads_to_the_next_one() {
    let mut game = standing();
    let mut table = game.table.clone().expect("a table");
    table.row.occupied = u16::MAX;
    game.set_table(TableId(0), table.row, table.seats);
    for (columns, rows) in [(80, 24), (120, 40)] {
        let picture = picture(&game, &ui(), columns, rows);
        shows(&picture, &["every seat is taken: ] next table", " ] next table  "]);
        assert!(!picture.contains("s sit"), "{picture}");
    }
    // One of the seats is the player's.
    let mut game = playing();
    let mut table = game.table.clone().expect("a table");
    table.row.occupied = u16::MAX;
    game.set_table(TableId(0), table.row, table.seats);
    assert!(!picture(&game, &ui(), 80, 24).contains("every seat is taken"));
}

#[test]
fn to_whoever_is_leaving_it_offers_the_seat_again() {
    for (columns, rows) in [(80, 24), (120, 40)] {
        let picture = picture(&leaving(), &ui(), columns, rows);
        shows(&picture, &["leaving", " s sit down", " amount 5"]);
        assert!(!picture.contains("L leave") && !picture.contains("Enter bet"), "{picture}");
    }
}

#[test]
fn at_an_open_table_without_a_seat_it_says_how_to_sit() {
    for (columns, rows) in [(80, 24), (120, 40)] {
        let facts = [
            "up, 12 ms",
            "table 0 of 4",
            "height 12,345",
            "OFF",
            "come-out roll",
            "4.2 s",
            "s sits down",
            "cage 10,000",
            "#4",
            "12,345",
        ];
        let picture = picture(&standing(), &ui(), columns, rows);
        let facts: Vec<&str> =
            facts.into_iter().filter(|fact| columns == 120 || *fact != "12,345" || picture.contains(fact)).collect();
        shows(&picture, &facts);
    }
}

#[test]
fn with_bets_and_a_point_all_that_matters_is_on_the_screen() {
    let game = playing();
    let mut ui = ui();
    ui.go_to(spot("place_6", 0));
    for (columns, rows) in [(80, 24), (120, 40)] {
        let facts = [
            "ON 6",
            "[6]",
            "rolled 8",
            "no decision",
            "rail 1,250",
            "bets 125",
            "session -25",
            "12+1,200",
            "(12)",
            "place 6, yours 12, others 1,200",
            "pays 7:6",
            "of 36 ways: 5 win, 6 lose",
            "5/11 = 45.4545%",
            "-1/66 = -0.015152",
            "house edge 1.5152%",
            "bets 1 to 10,000,000",
            "you shoot",
            "7!",
            "(6)",
            "come travels: 10 now on 9",
            "Enter bets 5 on place 6",
            "r roll",
            "? help",
        ];
        shows(&picture(&game, &ui, columns, rows), &facts);
    }
}

#[test]
fn of_several_validators_it_says_up_to_which_roll_they_answer() {
    let mut game = standing_of(4);
    let before = picture(&game, &ui(), 120, 40);
    assert!(!before.contains("certified"), "{before}");
    game.certified(TableId(0), 419);
    game.certified(TableId(1), 421);
    shows(&picture(&game, &ui(), 120, 40), &["rolled 8", "roll 421", "certified to 419"]);
    game.certified(TableId(0), 421);
    game.certified(TableId(0), 420);
    let picture = picture(&game, &ui(), 120, 40);
    assert!(picture.contains("certified") && !picture.contains("certified to"), "{picture}");
    game.forget_certified();
    assert_eq!(game.certified_roll(), None, "another node has said nothing of it");
    let mut alone = standing();
    alone.certified(TableId(0), 421);
    assert_eq!(alone.certified_roll(), None, "one validator answers for itself");
}

#[test]
fn every_group_is_shown_whole_and_every_bet_has_its_numbers() {
    let game = many();
    let mut ui = ui();
    for group in 0..ui.groups.len() {
        let cells: Vec<Spot> =
            ui.groups[group].rows.iter().flat_map(|row| row.cells.iter().flatten().copied()).collect();
        for spot in cells {
            ui.go_to(spot);
            let text = picture(&game, &ui, 80, 24);
            for fact in ["pays ", " wins ", "house edge ", "EV ", "next roll, of 36 ways: ", "bets 1 to 10,000,000"] {
                assert!(text.contains(fact), "`{fact}` is not in\n{text}");
            }
        }
        println!("{}", picture(&game, &ui, 80, 24));
    }
}

#[test]
fn the_longest_paytables_are_shown_whole() {
    let mut ui = ui();
    for (name, facts) in [
        ("hot_shooter", ["8+ push 16+ 2:1", "51+ 99:1", "house edge 9.9029%"]),
        ("ride_line", ["3->1 4->2", "11+->100", "17.0534%"]),
        ("replay", ["4/10 3x->120", "6/8 3x->70 4x->100", "house edge 24.8064%"]),
    ] {
        ui.go_to(spot(name, 0));
        shows(&picture(&many(), &ui, 80, 24), &facts);
    }
}

#[test]
fn bets_of_groups_that_are_not_open_are_listed_where_there_is_room() {
    let facts = ["Yours: 10 pass, 5 field, 1 hard 8", "(12) place 8, 10 come on 9, 20 come odds on 9"];
    shows(&picture(&playing(), &ui(), 80, 24), &facts);
    shows(&picture(&many(), &ui(), 80, 24), &["Yours: 5 pass, 999 field, 10,000,000 place 4", " more"]);
}

#[test]
fn help_lists_the_keys_and_the_marks() {
    let mut ui = ui();
    ui.mode = Mode::Help;
    let facts = ["bet under the cursor", "odds pass 20", "(12) yours, off", "7! seven out", "any key closes"];
    shows(&picture(&playing(), &ui, 80, 24), &facts);
    shows(&picture(&playing(), &ui, 120, 40), &facts);
}

#[test]
fn a_long_log_ends_with_its_newest_line() {
    shows(&picture(&talkative(), &ui(), 80, 24), &["  the last line", "on its way: roll"]);
    shows(&picture(&talkative(), &ui(), 120, 40), &["  the last line", "! 5 on field refused: there is no flat"]);
}

#[test]
fn thirty_two_bets_of_millions_keep_their_columns() {
    let mut ui = ui();
    ui.go_to(spot("place_6", 0));
    shows(&picture(&many(), &ui, 80, 24), &["10.0M+", "rail 123M", "bets 300M"]);
    shows(&picture(&many(), &ui, 120, 40), &["10,000,000", "rail 123,456,789"]);
}

#[test]
fn a_window_too_small_says_so() {
    shows(&picture(&playing(), &ui(), 40, 10), &["This window is 40 x 10.", "80 x 24", "ON 6", "rail 1,250, bets 125"]);
}

#[test]
fn without_colour_there_is_none_and_without_unicode_all_is_ascii() {
    let mut ui = Ui::new(PLAIN);
    for mode in [Mode::Felt, Mode::Help, Mode::Command] {
        ui.mode = mode;
        for (columns, rows) in [(80, 24), (120, 40), (40, 10)] {
            let buffer = buffer(&playing(), &ui, columns, rows);
            for cell in buffer.content() {
                assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
                assert!(cell.symbol().is_ascii(), "`{}`", cell.symbol());
            }
        }
    }
    println!("{}", picture(&playing(), &ui, 80, 24));
}

#[test]
fn only_the_sixteen_colours_are_used() {
    let buffer = buffer(&playing(), &ui(), 120, 40);
    let indexed = |colour: Color| matches!(colour, Color::Rgb(..) | Color::Indexed(_));
    assert!(buffer.content().iter().all(|cell| !indexed(cell.fg) && !indexed(cell.bg)));
}

#[test]
fn no_size_breaks_it() {
    let games = [game(), standing(), many(), talkative()];
    let mut ui = ui();
    ui.input.text = "ä".repeat(200);
    ui.input.at = 150;
    for (index, game) in games.iter().enumerate() {
        for columns in 1..=200 {
            for rows in (1..=60).step_by(if columns % 10 == 0 || columns == 81 { 1 } else { 7 }) {
                ui.mode = [Mode::Felt, Mode::Help, Mode::Command, Mode::BuyIn, Mode::ConfirmQuit]
                    [(columns as usize + rows) % 5];
                ui.cursor.0 = (columns as usize + rows + index) % ui.groups.len();
                buffer(game, &ui, columns, rows as u16);
            }
        }
    }
}
