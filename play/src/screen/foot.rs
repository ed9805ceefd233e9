//! The log, the line that is typed in, and the keys.

use engine::Puck;
use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use systems::catalogue::{BETS, bet_of};

use super::area::row;
use super::text::{Parts, columns_of, cut, rule, wrap};
use crate::model::{Game, Link};
use crate::ui::{CHIP_SIZES, Mode, Ui};
use words::names::spot_words;
use words::thousands;

/// Intents on their way that the log's heading names.
const NAMED: usize = 2;

/// The log, newest last, under a heading with what is on its way.
pub fn log(frame: &mut Frame<'_>, game: &Game, ui: &Ui, area: Rect) {
    if area.height == 0 {
        return;
    }
    let columns = usize::from(area.width);
    frame.render_widget(
        Paragraph::new(rule(heading(game, ui, columns.saturating_sub(5)), columns, ui.theme)),
        row(area, 0, 1),
    );
    let rows = usize::from(area.height) - 1;
    let mut lines: Vec<Line<'static>> = Vec::new();
    for line in game.log.iter().rev() {
        if lines.len() >= rows {
            break;
        }
        let style = ui.theme.line(line.severity);
        let wrapped = wrap(&line.text, columns.saturating_sub(3), 2).into_iter().enumerate().rev();
        lines.extend(wrapped.map(|(index, text)| {
            let mark = if index == 0 { ui.theme.mark(line.severity) } else { " " };
            Line::styled(cut(&format!(" {mark} {text}"), columns, ui.theme), style)
        }));
    }
    lines.truncate(rows);
    lines.reverse();
    frame.render_widget(Paragraph::new(lines), row(area, 1, area.height - 1));
}

fn heading(game: &Game, ui: &Ui, columns: usize) -> Line<'static> {
    let mut parts = Parts::new(" ");
    parts.add(0, vec![Span::styled("Log", ui.theme.heading())]);
    let count = game.in_flight.len();
    if count > 0 {
        let names: Vec<String> = game.in_flight.iter().take(NAMED).map(|sent| sent.wish.words()).collect();
        let more = if count > NAMED { format!(" and {} more", count - NAMED) } else { String::new() };
        let waits = if game.in_flight.iter().all(|sent| sent.acknowledged) { "taken" } else { "on its way" };
        parts.add(1, vec![Span::styled(format!("{waits}: {}{more}", names.join(", ")), ui.theme.own())]);
    }
    parts.fit(columns)
}

/// The line that is typed in, or what the next key does.
pub fn input(frame: &mut Frame<'_>, game: &Game, ui: &Ui, area: Rect) {
    let columns = usize::from(area.width);
    let prompt = match ui.mode {
        Mode::Command => " : ",
        Mode::BuyIn => " buy in with: ",
        Mode::ConfirmQuit => {
            let text = " Your bets stay and are decided without you. Quit? y or n";
            frame.render_widget(Paragraph::new(Line::styled(text, ui.theme.warning())), area);
            return;
        }
        Mode::Felt | Mode::Help => {
            frame.render_widget(Paragraph::new(next_bet(game, ui, columns)), area);
            return;
        }
    };
    // The part of a long line around the cursor.
    let room = columns.saturating_sub(columns_of(prompt) + 1).max(1);
    let skip = ui.input.at.saturating_sub(room - 1);
    let shown: String = ui.input.text.chars().skip(skip).take(room).collect();
    let before: String = ui.input.text.chars().skip(skip).take(ui.input.at - skip).collect();
    let at = (columns_of(prompt) + columns_of(&before)).min(columns.saturating_sub(1));
    frame.render_widget(
        Paragraph::new(Line::from(vec![Span::styled(prompt, ui.theme.heading()), Span::raw(shown)])),
        area,
    );
    frame.set_cursor_position(Position::new(area.x + at as u16, area.y));
}

fn next_bet(game: &Game, ui: &Ui, columns: usize) -> Line<'static> {
    if let Some(note) = &ui.note {
        return Line::styled(cut(&format!(" {note}"), columns, ui.theme), ui.theme.warning());
    }
    let mut parts = Parts::new("   ");
    let spot = spot_words(ui.spot());
    let verb = if game.may_act() { "Enter bets" } else { "amount" };
    let on = if game.may_act() { format!(" on {spot}") } else { String::new() };
    parts.add(
        0,
        vec![Span::raw(format!(" {verb} ")), Span::styled(thousands(ui.amount), ui.theme.own()), Span::raw(on)],
    );
    let change = format!("0-9 + - change the amount, + and - by {}", CHIP_SIZES[ui.chip]);
    parts.add(1, vec![Span::styled(change, ui.theme.faint())]);
    parts.fit(columns)
}

/// The keys that matter now; while a line is typed, what is wrong with it.
pub fn hints(frame: &mut Frame<'_>, game: &Game, ui: &Ui, area: Rect) {
    let columns = usize::from(area.width);
    if matches!(ui.mode, Mode::Command | Mode::BuyIn)
        && let Some(note) = &ui.note
    {
        let line = Line::styled(cut(&format!(" {note}"), columns, ui.theme), ui.theme.warning());
        frame.render_widget(Paragraph::new(line), area);
        return;
    }
    let mut parts = Parts::new("  ");
    for (index, (rank, key, what)) in keys(game, ui).into_iter().enumerate() {
        // The first key stands off the margin.
        let key = if index == 0 { format!(" {key}") } else { key.to_owned() };
        parts.add(rank, vec![Span::styled(key, ui.theme.strong()), Span::raw(format!(" {what}"))]);
    }
    frame.render_widget(Paragraph::new(parts.fit(columns)), area);
}

fn keys(game: &Game, ui: &Ui) -> Vec<(u8, &'static str, &'static str)> {
    match ui.mode {
        Mode::Command => vec![
            (0, "Enter", "does it"),
            (1, "Esc", "back"),
            (2, "Up Down", "earlier commands"),
            (3, "help", "lists them"),
        ],
        Mode::BuyIn => vec![(0, "Enter", "sits down"), (1, "Esc", "back")],
        Mode::ConfirmQuit => vec![(0, "y", "quits"), (1, "n", "stays")],
        Mode::Help => vec![(0, "any key", "closes the help")],
        Mode::Felt => {
            let mut keys = Vec::new();
            let up = matches!(game.link, Link::Up { .. });
            match (up, game.account.is_some(), game.may_act()) {
                (false, ..) => {}
                (true, false, _) => keys.push((1, "O", "open account")),
                (true, true, false) if !game.is_full() => keys.push((1, "s", "sit down")),
                (true, true, false) => keys.extend((game.setup().genesis.tables > 1).then_some((1, "]", "next table"))),
                (true, true, true) => seated_keys(game, ui, &mut keys),
            }
            keys.extend([(6, "arrows", "move"), (5, "Tab", "group"), (7, ":", "type"), (9, "[ ]", "table")]);
            if game.may_act() {
                keys.push((8, "L", "leave"));
            }
            keys.extend([(0, "?", "help"), (0, "q", "quit")]);
            keys
        }
    }
}

fn seated_keys(game: &Game, ui: &Ui, keys: &mut Vec<(u8, &'static str, &'static str)>) {
    let spot = ui.spot();
    keys.push((1, "Enter", "bet"));
    if game.own_bet(spot).is_some() {
        keys.push((3, "t", "down"));
        let toggles = BETS[bet_of(spot).index()].family.toggles();
        keys.extend(toggles.then_some((4, "o", "on/off")));
    }
    if game.is_shooter() {
        keys.push((2, "r", "roll"));
        keys.extend((game.puck() == Puck::Off).then_some((8, "p", "pass dice")));
    }
}
