//! What the keys mean: the cursor on the felt, the amount, and the line that commands are typed in.

use std::time::{Duration, Instant};

use engine::message::intent::IntentKind;
use engine::{Spot, TableId};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use systems::catalogue::{BETS, bet_of, has_travelled, number_of};

use super::action::{Action, parse};
use super::felt::{BetGroup, groups, place_of};
use super::input::Input;
use super::model::{Game, Link};
use super::theme::Theme;
use words::wish::Wish;

/// The chips that + and - move, in the order of `c`.
pub const CHIP_SIZES: [u64; 4] = [1, 5, 25, 100];
/// Enter within this time of an Enter before it is the same key, still held down.
pub const REPEAT: Duration = Duration::from_millis(150);
/// The most that the amount can be typed to.
pub const AMOUNT_MAX: u64 = u32::MAX as u64;
/// Typed commands that are remembered.
const HISTORY_KEPT: usize = 50;
/// The buy-in that is offered, in smallest bets.
const BUY_IN_BETS: u64 = 100;
/// The least buy-in that is offered, where the cage has it.
const BUY_IN: u64 = 1_000;

/// What the keys are for at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The cursor moves over the felt.
    Felt,
    /// A command is typed.
    Command,
    /// A buy-in is typed.
    BuyIn,
    /// The question whether to leave bets behind.
    ConfirmQuit,
    /// The help.
    Help,
}

/// The state of the keys.
pub struct Ui {
    /// What the terminal shows.
    pub theme: Theme,
    /// The felt.
    pub groups: Vec<BetGroup>,
    /// Group, row and column of the cursor; there is a bet.
    pub cursor: (usize, usize, usize),
    /// Chips of the next bet.
    pub amount: u64,
    /// Which of [`CHIP_SIZES`] + and - move.
    pub chip: usize,
    /// What the keys are for.
    pub mode: Mode,
    /// The line that is being typed.
    pub input: Input,
    /// A sentence about the last key, until the next.
    pub note: Option<String>,
    history: Vec<String>,
    recalled: Option<usize>,
    /// A digit goes on with the amount rather than beginning anew.
    digits: bool,
    last_enter: Option<Instant>,
}

impl Ui {
    /// The cursor on the pass line.
    pub fn new(theme: Theme) -> Self {
        Self {
            theme,
            groups: groups(),
            cursor: (0, 0, 0),
            amount: 5,
            chip: 1,
            mode: Mode::Felt,
            input: Input::default(),
            note: None,
            history: Vec::new(),
            recalled: None,
            digits: false,
            last_enter: None,
        }
    }

    /// The spot under the cursor.
    pub fn spot(&self) -> Spot {
        let (group, row, column) = self.cursor;
        self.groups.get(group).and_then(|group| group.at(row, column)).unwrap_or(Spot(0))
    }

    /// Puts the cursor on a spot.
    pub fn go_to(&mut self, spot: Spot) {
        if let Some(place) = place_of(&self.groups, spot) {
            self.cursor = place;
        }
    }

    /// Text that was pasted: into the line that is typed, never into keys.
    pub fn paste(&mut self, text: &str) {
        if matches!(self.mode, Mode::Command | Mode::BuyIn) {
            text.lines().next().unwrap_or_default().chars().for_each(|c| self.input.insert(c));
        }
    }

    fn say(&mut self, note: impl Into<String>) -> Option<Action> {
        self.note = Some(note.into());
        None
    }

    fn open(&mut self, mode: Mode, text: &str) -> Option<Action> {
        self.mode = mode;
        self.input.set(text);
        self.recalled = None;
        None
    }

    /// The next bet in the row; the cursor stays where there is none.
    fn across(&mut self, back: bool) -> Option<Action> {
        let (group, row, column) = self.cursor;
        let felt = &self.groups[group];
        let is_bet = |at: &usize| felt.at(row, *at).is_some();
        let next = if back { (0..column).rfind(is_bet) } else { (column + 1..felt.width()).find(is_bet) };
        self.cursor.2 = next.unwrap_or(column);
        None
    }

    /// The nearest bet of the row below or above; the cursor stays where there is no row.
    fn along(&mut self, back: bool) -> Option<Action> {
        let (group, row, column) = self.cursor;
        let felt = &self.groups[group];
        let to = if back { row.checked_sub(1)? } else { row + 1 };
        let bets = (0..felt.width()).filter(|at| felt.at(to, *at).is_some());
        if let Some(at) = bets.min_by_key(|at| at.abs_diff(column)) {
            self.cursor = (group, to, at);
        }
        None
    }

    fn switch(&mut self, by: usize) -> Option<Action> {
        let group = (self.cursor.0 + by) % self.groups.len();
        let felt = &self.groups[group];
        let first = felt.rows[0].cells.iter().position(Option::is_some).unwrap_or(0);
        self.cursor = (group, 0, first);
        None
    }

    fn digit(&mut self, digit: u32) -> Option<Action> {
        let before = if self.digits { self.amount } else { 0 };
        self.amount = (before * 10 + u64::from(digit)).min(AMOUNT_MAX);
        self.digits = true;
        None
    }

    fn change(&mut self, more: bool) -> Option<Action> {
        let chip = CHIP_SIZES[self.chip];
        self.amount = if more { (self.amount + chip).min(AMOUNT_MAX) } else { self.amount.saturating_sub(chip).max(1) };
        None
    }
}

/// What a key means, and what the person wants by it.
pub fn key(event: KeyEvent, game: &Game, ui: &mut Ui) -> Option<Action> {
    key_at(event, Instant::now(), game, ui)
}

/// What a key means that is pressed at a given moment, and what the person wants by it.
pub fn key_at(event: KeyEvent, now: Instant, game: &Game, ui: &mut Ui) -> Option<Action> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    if event.modifiers.contains(KeyModifiers::CONTROL) {
        return match event.code {
            KeyCode::Char('c') => Some(Action::Quit),
            KeyCode::Char('u') if matches!(ui.mode, Mode::Command | Mode::BuyIn) => {
                ui.input.set("");
                None
            }
            _ => None,
        };
    }
    // Every Enter counts, whatever it does, so that one that closes a line cannot bet as it repeats.
    let mut held = event.kind == KeyEventKind::Repeat;
    if event.code == KeyCode::Enter {
        held |= ui.last_enter.is_some_and(|last| now.duration_since(last) < REPEAT);
        ui.last_enter = Some(now);
    }
    ui.note = None;
    match ui.mode {
        Mode::Felt => felt_key(event.code, held, game, ui),
        Mode::Command => command_key(event.code, held, game, ui),
        Mode::BuyIn => buy_in_key(event.code, held, game, ui),
        Mode::Help => {
            ui.mode = Mode::Felt;
            None
        }
        Mode::ConfirmQuit => {
            ui.mode = Mode::Felt;
            matches!(event.code, KeyCode::Char('y' | 'Y')).then_some(Action::Quit)
        }
    }
}

fn felt_key(code: KeyCode, held: bool, game: &Game, ui: &mut Ui) -> Option<Action> {
    let typing = std::mem::take(&mut ui.digits);
    match code {
        KeyCode::Left | KeyCode::Char('h') => ui.across(true),
        KeyCode::Right | KeyCode::Char('l') => ui.across(false),
        KeyCode::Up | KeyCode::Char('k') => ui.along(true),
        KeyCode::Down | KeyCode::Char('j') => ui.along(false),
        KeyCode::Tab => ui.switch(1),
        KeyCode::BackTab => ui.switch(ui.groups.len() - 1),
        KeyCode::Char('+' | '=') => ui.change(true),
        KeyCode::Char('-') => ui.change(false),
        KeyCode::Char('c') => {
            ui.chip = (ui.chip + 1) % CHIP_SIZES.len();
            ui.say(format!("+ and - now move {}", CHIP_SIZES[ui.chip]))
        }
        KeyCode::Char(c) if c.is_ascii_digit() => {
            ui.digits = typing;
            ui.digit(c.to_digit(10).unwrap_or(0))
        }
        KeyCode::Backspace => {
            ui.digits = true;
            ui.amount /= 10;
            None
        }
        KeyCode::Char(':' | '/') => ui.open(Mode::Command, ""),
        KeyCode::Char('?') | KeyCode::F(1) => {
            ui.mode = Mode::Help;
            Some(Action::Help)
        }
        KeyCode::Char('q') => quit(game, ui),
        KeyCode::Char('[') => watch(game, ui, -1),
        KeyCode::Char(']') => watch(game, ui, 1),
        KeyCode::Esc => None,
        _ if held => None,
        _ => play_key(code, game, ui),
    }
}

/// The keys that send something; none of them acts while it is held down.
fn play_key(code: KeyCode, game: &Game, ui: &mut Ui) -> Option<Action> {
    let kind = match code {
        KeyCode::Enter | KeyCode::Char('b') => IntentKind::Bet,
        KeyCode::Char('t') => IntentKind::TakeDown,
        KeyCode::Char('o') => IntentKind::SetWorking,
        KeyCode::Char('r') => IntentKind::Roll,
        KeyCode::Char('p') => IntentKind::PassDice,
        KeyCode::Char('s') => IntentKind::Sit,
        KeyCode::Char('L') => IntentKind::Leave,
        KeyCode::Char('O') => IntentKind::Open,
        _ => return ui.say("this key does nothing; ? shows those that do"),
    };
    if !matches!(game.link, Link::Up { .. }) {
        return ui.say("not connected: nothing can be sent");
    }
    match (kind, game.account.is_some(), game.may_act()) {
        (IntentKind::Open, true, _) => ui.say("your account is open already"),
        (IntentKind::Open, false, _) => Some(Action::Wish(Wish::new(kind))),
        (_, false, _) => ui.say("you have no account yet: O opens one"),
        (IntentKind::Sit, true, true) => ui.say("you sit here already; L leaves"),
        (_, true, false) if game.is_full() => ui.say(game.full_words()),
        (IntentKind::Sit, true, false) => {
            let offer = buy_in(game).to_string();
            ui.digits = false;
            ui.open(Mode::BuyIn, &offer)
        }
        (_, true, false) if game.own_seat().is_some() => ui.say("you are leaving: s sits down again"),
        (_, true, false) => ui.say("you have no seat here: s sits down"),
        (_, true, true) => wish(kind, game, ui),
    }
}

fn wish(kind: IntentKind, game: &Game, ui: &mut Ui) -> Option<Action> {
    let spot = ui.spot();
    let (bet, number) = (bet_of(spot), number_of(spot).unwrap_or(0));
    let wish = Wish::new(kind);
    match (kind, game.own_bet(spot)) {
        (IntentKind::Roll | IntentKind::PassDice, _) if !game.is_shooter() => ui.say("only the shooter does that"),
        (IntentKind::Roll | IntentKind::PassDice | IntentKind::Leave, _) => Some(Action::Wish(wish)),
        (IntentKind::Bet, _) if ui.amount == 0 => ui.say("type an amount first"),
        (IntentKind::Bet, _) if has_travelled(spot) => ui.say("a come bet starts under `new` and travels here"),
        (IntentKind::Bet, _) => Some(Action::Wish(wish.on(bet, number).amount(ui.amount))),
        (_, None) => ui.say("you have no bet there"),
        (IntentKind::SetWorking, _) if !BETS[bet.index()].family.toggles() => ui.say("this bet always works"),
        (IntentKind::SetWorking, Some(row)) => Some(Action::Wish(wish.on(bet, number).working(game.toggled(row)))),
        (_, Some(_)) => Some(Action::Wish(wish.on(bet, number))),
    }
}

/// The buy-in that is offered: enough for a while, if the cage has it.
fn buy_in(game: &Game) -> u64 {
    let cage = game.account.map_or(0, |(_, account)| account.cage.0);
    let smallest = u64::from(game.catalogue().rules().min_bet);
    cage.min(BUY_IN.max(smallest * BUY_IN_BETS))
}

fn quit(game: &Game, ui: &mut Ui) -> Option<Action> {
    if game.own_seat().is_some_and(|(_, view)| !view.bets.is_empty()) {
        ui.mode = Mode::ConfirmQuit;
        return None;
    }
    Some(Action::Quit)
}

fn watch(game: &Game, ui: &mut Ui, by: i64) -> Option<Action> {
    let tables = i64::from(game.setup().genesis.tables);
    if tables == 1 {
        return ui.say("this house has one table");
    }
    let table = (i64::from(game.watched.0) + by).rem_euclid(tables);
    u32::try_from(table).ok().map(|table| Action::Watch(TableId(table)))
}

fn command_key(code: KeyCode, held: bool, game: &Game, ui: &mut Ui) -> Option<Action> {
    match code {
        KeyCode::Esc => {
            ui.mode = Mode::Felt;
            None
        }
        KeyCode::Up => recall(ui, true),
        KeyCode::Down => recall(ui, false),
        KeyCode::Backspace if ui.input.text.is_empty() => {
            ui.mode = Mode::Felt;
            None
        }
        KeyCode::Enter if held => None,
        KeyCode::Enter => enter(game, ui),
        // The line stays open after a command; whoever types its key again begins the next one.
        KeyCode::Char(':' | '/') if ui.input.text.is_empty() => None,
        _ => {
            ui.input.edit(code);
            None
        }
    }
}

/// A finished command. What is wrong stays in the line, to be mended.
fn enter(game: &Game, ui: &mut Ui) -> Option<Action> {
    let text = ui.input.text.trim().to_owned();
    if text.is_empty() {
        ui.mode = Mode::Felt;
        return None;
    }
    if ui.history.last() != Some(&text) {
        ui.history.push(text.clone());
    }
    if ui.history.len() > HISTORY_KEPT {
        ui.history.remove(0);
    }
    ui.recalled = None;
    let action = match parse(&text) {
        Ok(action) => action,
        Err(error) => return ui.say(error.to_string()),
    };
    if let Action::Watch(table) = action
        && let Err(problem) = game.check_table(table)
    {
        return ui.say(problem);
    }
    if matches!(action, Action::Wish(_)) && !matches!(game.link, Link::Up { .. }) {
        return ui.say("not connected: nothing can be sent");
    }
    ui.input.set("");
    match action {
        Action::Quit => {
            ui.mode = Mode::Felt;
            quit(game, ui)
        }
        Action::Help => {
            ui.mode = Mode::Help;
            Some(Action::Help)
        }
        action => Some(action),
    }
}

/// The command typed before or after the one in the line.
fn recall(ui: &mut Ui, back: bool) -> Option<Action> {
    let last = ui.history.len();
    let at = ui.recalled.unwrap_or(last);
    let to = if back { at.saturating_sub(1) } else { (at + 1).min(last) };
    ui.recalled = Some(to);
    let text = ui.history.get(to).cloned().unwrap_or_default();
    ui.input.set(&text);
    None
}

fn buy_in_key(code: KeyCode, held: bool, game: &Game, ui: &mut Ui) -> Option<Action> {
    match code {
        KeyCode::Esc => {
            (ui.mode, ui.digits) = (Mode::Felt, false);
            None
        }
        KeyCode::Enter if held => None,
        KeyCode::Enter => match parse(&format!("sit {}", ui.input.text)) {
            Ok(action) if matches!(game.link, Link::Up { .. }) => {
                (ui.mode, ui.digits) = (Mode::Felt, false);
                Some(action)
            }
            Ok(_) => ui.say("not connected: nothing can be sent"),
            Err(error) => ui.say(error.to_string()),
        },
        KeyCode::Char(c) if c.is_ascii_digit() && !ui.digits => {
            // The first digit replaces what was offered.
            ui.digits = true;
            ui.input.set(&c.to_string());
            None
        }
        _ => {
            ui.digits = true;
            ui.input.edit(code);
            None
        }
    }
}

#[cfg(test)]
mod tests;
