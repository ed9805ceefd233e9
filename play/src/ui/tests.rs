use engine::limits::SPOTS;
use engine::message::intent::Working;

use super::*;
use crate::fixture::{game, leaving, playing, spot, standing};
use crate::input::LINE_CHARS_MAX;

struct Keys {
    game: Game,
    ui: Ui,
    now: Instant,
}

impl Keys {
    fn new(game: Game) -> Self {
        Self { game, ui: Ui::new(Theme::default()), now: Instant::now() }
    }

    fn after(&mut self, ms: u64, code: KeyCode) -> Option<Action> {
        self.now += Duration::from_millis(ms);
        key_at(KeyEvent::new(code, KeyModifiers::NONE), self.now, &self.game, &mut self.ui)
    }

    fn press(&mut self, code: KeyCode) -> Option<Action> {
        self.after(1_000, code)
    }

    fn char(&mut self, c: char) -> Option<Action> {
        self.press(KeyCode::Char(c))
    }

    fn text(&mut self, text: &str) -> Option<Action> {
        text.chars().for_each(|c| assert_eq!(self.press(KeyCode::Char(c)), None));
        self.press(KeyCode::Enter)
    }

    fn said(&mut self, c: char) -> String {
        match self.char(c) {
            Some(Action::Wish(wish)) => wish.words(),
            other => panic!("`{c}` is {other:?}, note {:?}", self.ui.note),
        }
    }

    fn noted(&mut self, c: char) -> String {
        assert_eq!(self.char(c), None);
        self.ui.note.clone().expect("a note")
    }
}

#[test]
fn the_cursor_reaches_every_bet_and_never_leaves_them() {
    let mut keys = Keys::new(playing());
    let mut reached = std::collections::BTreeSet::new();
    for _ in 0..keys.ui.groups.len() {
        for _ in 0..8 {
            for c in ['h', 'h', 'h', 'h', 'h', 'h', 'h', 'h', 'h', 'h', 'h'] {
                keys.char(c);
            }
            for _ in 0..12 {
                reached.insert(keys.ui.spot());
                keys.char('l');
                let (group, row, column) = keys.ui.cursor;
                assert!(keys.ui.groups[group].at(row, column).is_some());
            }
            keys.char('j');
        }
        keys.press(KeyCode::Tab);
    }
    let missed: Vec<Spot> = (0..SPOTS as u8).map(Spot).filter(|spot| !reached.contains(spot)).collect();
    assert!(missed.is_empty(), "{missed:?}");
    assert_eq!(keys.ui.spot(), Spot(0), "Tab came round");
    keys.press(KeyCode::BackTab);
    assert_eq!(keys.ui.cursor.0, keys.ui.groups.len() - 1);
}

#[test]
fn keys_say_what_they_are_labelled_with() {
    let mut keys = Keys::new(playing());
    keys.ui.go_to(spot("place_6", 0));
    assert_eq!(keys.said('b'), "5 on place 6");
    keys.char('2');
    keys.char('5');
    assert_eq!(keys.said('b'), "25 on place 6");
    keys.char('+');
    assert_eq!(keys.said('b'), "30 on place 6");
    keys.char('c');
    keys.char('-');
    assert_eq!(keys.said('b'), "5 on place 6");
    keys.char('7');
    assert_eq!(keys.said('b'), "7 on place 6", "a digit after another key begins anew");
    assert_eq!(keys.said('t'), "take down place 6");
    assert_eq!(keys.said('o'), "place 6 off");
    keys.ui.go_to(spot("place_8", 0));
    assert!(matches!(keys.char('o'), Some(Action::Wish(wish)) if wish.working == Working::On));
    keys.ui.go_to(spot("odds_come", 9));
    assert_eq!(keys.said('b'), "7 on come odds on 9");
    keys.ui.go_to(spot("come", 9));
    assert_eq!(keys.noted('b'), "a come bet starts under `new` and travels here");
    assert_eq!(keys.said('t'), "take down come on 9");
    assert_eq!(keys.noted('o'), "this bet always works");
    assert_eq!(keys.said('r'), "roll");
    assert_eq!(keys.said('p'), "pass the dice");
    assert_eq!(keys.said('L'), "leave the table");
    assert_eq!(keys.noted('s'), "you sit here already; L leaves");
    assert_eq!(keys.char(']'), Some(Action::Watch(TableId(1))));
    assert_eq!(keys.char('['), Some(Action::Watch(TableId(3))));
}

#[test]
fn a_held_enter_bets_once() {
    let mut keys = Keys::new(playing());
    assert!(keys.press(KeyCode::Enter).is_some());
    for _ in 0..50 {
        assert_eq!(keys.after(30, KeyCode::Enter), None);
    }
    assert_eq!(keys.after(149, KeyCode::Enter), None);
    assert!(keys.after(150, KeyCode::Enter).is_some());
    // Where the terminal tells, a held key never acts, however slowly it repeats.
    let repeat = KeyEvent { kind: KeyEventKind::Repeat, ..KeyEvent::new(KeyCode::Char('b'), KeyModifiers::NONE) };
    keys.now += Duration::from_secs(1);
    assert_eq!(key_at(repeat, keys.now, &keys.game, &mut keys.ui), None);
    let release = KeyEvent { kind: KeyEventKind::Release, ..repeat };
    assert_eq!(key_at(release, keys.now, &keys.game, &mut keys.ui), None);
    // The Enter that closes a line does not bet as it repeats.
    keys.char(':');
    keys.press(KeyCode::Enter);
    assert_eq!(keys.ui.mode, Mode::Felt);
    assert_eq!(keys.after(40, KeyCode::Enter), None);
}

#[test]
fn sitting_asks_for_chips() {
    let mut keys = Keys::new(standing());
    assert_eq!(keys.noted('b'), "you have no seat here: s sits down");
    keys.char('s');
    assert_eq!((keys.ui.mode, &*keys.ui.input.text), (Mode::BuyIn, "1000"));
    assert!(matches!(keys.text("250"), Some(Action::Wish(wish)) if wish.amount == 250));
    keys.char('s');
    assert!(matches!(keys.press(KeyCode::Enter), Some(Action::Wish(wish)) if wish.amount == 1_000));
    keys.char('7');
    assert_eq!(keys.ui.amount, 7);
}

#[test]
fn whoever_is_leaving_comes_back_with_the_key_that_is_shown() {
    let mut keys = Keys::new(leaving());
    for c in ['b', 't', 'r', 'L'] {
        assert_eq!(keys.noted(c), "you are leaving: s sits down again");
    }
    assert_eq!(keys.char('s'), None);
    assert_eq!((keys.ui.mode, &*keys.ui.input.text), (Mode::BuyIn, "1000"));
    assert!(matches!(keys.text("250"), Some(Action::Wish(wish)) if wish.kind == IntentKind::Sit && wish.amount == 250));
}

#[test]
fn nothing_is_sent_before_there_is_a_link_and_an_account() {
    let mut keys = Keys::new(game());
    assert_eq!(keys.noted('b'), "not connected: nothing can be sent");
    keys.char(':');
    assert_eq!(keys.text("field 5"), None);
    assert_eq!(keys.ui.note.as_deref(), Some("not connected: nothing can be sent"));
    keys.press(KeyCode::Esc);
    keys.game.set_link(Link::Up { rtt_ms: 1 });
    assert_eq!(keys.noted('b'), "you have no account yet: O opens one");
    assert!(matches!(keys.char('O'), Some(Action::Wish(wish)) if wish.kind == IntentKind::Open));
}

#[test]
fn typed_commands_are_mended_recalled_and_bounded() {
    let mut keys = Keys::new(playing());
    keys.char(':');
    assert_eq!(keys.text("feild 5"), None);
    assert_eq!(keys.ui.note.as_deref(), Some("there is no bet `feild`; did you mean `field`?"));
    assert_eq!(keys.ui.input.text, "feild 5", "it can be mended");
    keys.press(KeyCode::Home);
    keys.press(KeyCode::Delete);
    keys.press(KeyCode::Esc);
    keys.char('/');
    assert!(keys.text("5 on field").is_some());
    assert!(keys.text(":roll").is_some(), "the key of the line once more is nothing");
    keys.press(KeyCode::Up);
    keys.press(KeyCode::Up);
    assert_eq!(keys.ui.input.text, "5 on field");
    keys.press(KeyCode::Down);
    assert_eq!(keys.ui.input.text, "roll");
    keys.press(KeyCode::Down);
    assert_eq!(keys.ui.input.text, "");
    assert_eq!(keys.text("table 4"), None);
    assert_eq!(keys.ui.note.as_deref(), Some("there is no table 4; the tables are 0 to 3"));
    keys.ui.paste("x\nfield 5\n");
    assert_eq!(keys.ui.input.text, "table 4x");
    keys.ui.paste(&"é".repeat(900));
    assert_eq!(keys.ui.input.text.chars().count(), LINE_CHARS_MAX);
}

#[test]
fn quitting_asks_where_bets_lie() {
    let mut keys = Keys::new(playing());
    assert_eq!(keys.char('q'), None);
    assert_eq!(keys.ui.mode, Mode::ConfirmQuit);
    assert_eq!(keys.char('n'), None);
    keys.char('q');
    assert_eq!(keys.char('y'), Some(Action::Quit));
    assert_eq!(Keys::new(standing()).char('q'), Some(Action::Quit));
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(key_at(control_c, keys.now, &keys.game, &mut keys.ui), Some(Action::Quit));
}

#[test]
fn no_run_of_keys_makes_it_panic() {
    let codes = [
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Backspace,
        KeyCode::Delete,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::F(1),
        KeyCode::Null,
    ];
    let letters = "0123456789+-cbtorpsLO[]:/?qynhjkl é🎲";
    let all: Vec<KeyCode> = codes.into_iter().chain(letters.chars().map(KeyCode::Char)).collect();
    let mut state = 7u64;
    for make in [game, standing, playing] {
        let mut keys = Keys::new(make());
        for _ in 0..4_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            keys.after(state >> 40 & 255, all[(state >> 33) as usize % all.len()]);
            let (group, row, column) = keys.ui.cursor;
            assert!(keys.ui.groups[group].at(row, column).is_some());
            assert!(keys.ui.input.at <= keys.ui.input.text.chars().count());
            assert!(keys.ui.amount <= AMOUNT_MAX);
        }
    }
}
