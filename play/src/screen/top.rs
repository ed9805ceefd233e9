//! Dice, puck, clock, the player's chips, the other players, and the rolls so far.

use engine::dice::BOX_NUMBERS;
use engine::{Dice, Puck, RollEvent};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::area::column;
use super::text::{Parts, rule, short};
use crate::model::{Game, Link};
use crate::theme::Theme;
use crate::ui::Ui;
use words::sentences::{event_words, result_words};
use words::thousands;

/// Columns of two dice and the space after them.
const DICE_COLUMNS: u16 = 22;
/// Columns of a die.
const DIE_COLUMNS: usize = 9;

/// The rows of a die, top to bottom; without a face where none was rolled yet.
fn die(face: Option<u8>, theme: Theme) -> [String; 5] {
    let pip = |faces: &[u8]| if face.is_some_and(|face| faces.contains(&face)) { theme.pip() } else { ' ' };
    let [top_left, top_right, bottom_right, bottom_left, across, down] = theme.frame();
    let edge = across.to_string().repeat(DIE_COLUMNS - 2);
    let (one, other, side, middle) = (pip(&[2, 3, 4, 5, 6]), pip(&[4, 5, 6]), pip(&[6]), pip(&[1, 3, 5]));
    [
        format!("{top_left}{edge}{top_right}"),
        format!("{down} {one}   {other} {down}"),
        format!("{down} {side} {middle} {side} {down}"),
        format!("{down} {other}   {one} {down}"),
        format!("{bottom_left}{edge}{bottom_right}"),
    ]
}

/// The dice, and beside them puck, clock and chips.
pub fn dice_and_table(frame: &mut Frame<'_>, game: &Game, ui: &Ui, area: Rect) {
    let dice = game.table.as_ref().and_then(|view| view.row.last_dice());
    let faces = dice.map(Dice::faces);
    let (first, second) = (die(faces.map(|faces| faces[0]), ui.theme), die(faces.map(|faces| faces[1]), ui.theme));
    let rows = first.iter().zip(&second).map(|(first, second)| Line::raw(format!(" {first} {second}")));
    frame.render_widget(Paragraph::new(rows.collect::<Vec<_>>()), column(area, 0, DICE_COLUMNS));
    let side = column(area, DICE_COLUMNS, area.width - DICE_COLUMNS);
    let columns = usize::from(side.width);
    let mut lines = vec![puck(game, ui.theme), last_roll(game, ui.theme, columns), clock(game, ui.theme, columns)];
    lines.extend(own(game, ui.theme, columns));
    frame.render_widget(Paragraph::new(lines), side);
}

/// The puck in words.
pub fn puck_words(game: &Game) -> String {
    match game.puck() {
        Puck::Off => "OFF".into(),
        Puck::On(point) => format!("ON {point}"),
    }
}

fn puck(game: &Game, theme: Theme) -> Line<'static> {
    if game.table.is_none() {
        return Line::styled("no word of this table yet", theme.faint());
    }
    let badge =
        Span::styled(format!(" {} ", puck_words(game)), theme.cursor().add_modifier(ratatui::style::Modifier::BOLD));
    let Puck::On(point) = game.puck() else { return Line::from(vec![badge, Span::raw("  come-out roll")]) };
    let mut spans = vec![badge, Span::raw(" ")];
    for number in BOX_NUMBERS {
        let on = number == point;
        let text = if on { format!(" [{number}]") } else { format!("  {number} ") };
        spans.push(Span::styled(text, if on { theme.good() } else { theme.faint() }));
    }
    Line::from(spans)
}

fn last_roll(game: &Game, theme: Theme, columns: usize) -> Line<'static> {
    let Some(view) = &game.table else { return Line::default() };
    let Some(dice) = view.row.last_dice() else { return Line::styled("no roll yet", theme.faint()) };
    let mut parts = Parts::new("  ");
    parts.add(0, vec![Span::styled(format!("rolled {}", dice.total()), theme.strong())]);
    if let Some(roll) = game.rolls.back().filter(|roll| roll.roll_number == view.row.roll_number) {
        let style = event_style(roll.event, theme);
        parts.add(1, vec![Span::styled(event_words(roll.event, roll.puck), style)]);
    }
    parts.add(2, vec![Span::styled(format!("roll {}", thousands(view.row.roll_number.into())), theme.faint())]);
    if let Some(certified) = game.certified_roll() {
        let words = match certified == view.row.roll_number {
            true => "certified".to_owned(),
            false => format!("certified to {}", thousands(certified.into())),
        };
        parts.add(3, vec![Span::styled(words, theme.faint())]);
    }
    parts.fit(columns)
}

fn event_style(event: RollEvent, theme: Theme) -> Style {
    match event {
        RollEvent::SevenOut => theme.bad(),
        RollEvent::PointMade | RollEvent::Natural => theme.good(),
        RollEvent::PointEstablished => theme.own(),
        RollEvent::Craps | RollEvent::NoDecision => Style::new(),
    }
}

/// The time to the next roll as words and a gauge.
fn clock(game: &Game, theme: Theme, columns: usize) -> Line<'static> {
    let Some(view) = &game.table else { return Line::default() };
    // A pledged table never rolls by itself.
    if game.setup().genesis.is_pledged(game.watched.0) && view.row.occupied != 0 {
        let words = if view.row.roll_called == 1 { "your half is awaited" } else { "rolls when you call" };
        return Line::styled(words, theme.strong());
    }
    let Some(left) = game.until_roll_ms() else { return Line::styled("the dice rest: nobody plays", theme.faint()) };
    if left == 0 || view.row.roll_called == 1 {
        let words = if view.row.roll_called == 1 { "the roll is called" } else { "rolling" };
        return Line::styled(words, theme.strong());
    }
    let window = view.row.next_roll_ms.saturating_sub(view.row.opened_ms).max(left);
    let words = format!(" {}.{} s", left / 1_000, left % 1_000 / 100);
    let label = "rolls in ";
    let cells = columns.saturating_sub(label.len() + words.len() + 1).min(30);
    let full = ((cells as u64).saturating_mul(left).div_ceil(window) as usize).min(cells);
    let (on, off) = theme.gauge();
    Line::from(vec![
        Span::raw(label),
        Span::styled(on.repeat(full), theme.good()),
        Span::styled(off.repeat(cells - full), theme.faint()),
        Span::raw(words),
    ])
}

/// The player's own chips, or what would get some.
fn own(game: &Game, theme: Theme, columns: usize) -> [Line<'static>; 2] {
    let mut cage = Parts::new("  ");
    let Some((_, account)) = &game.account else {
        // Before the node has said so, the account is unknown rather than absent.
        let absent = matches!(game.link, Link::Up { .. });
        let words = if absent { "no account yet: O opens one" } else { "" };
        return [Line::styled(words, theme.warning()), Line::default()];
    };
    cage.say(0, format!("cage {}", thousands(account.cage.0)));
    let session = game.session();
    let style = match session {
        1.. => theme.good(),
        0 => Style::new(),
        _ => theme.bad(),
    };
    cage.add(1, vec![Span::raw("session "), Span::styled(result_words(session), style)]);
    let Some((number, view)) = game.own_seat() else {
        let words = if game.is_full() { game.full_words() } else { "no seat here yet: s sits down" };
        return [Line::styled(words, theme.warning()), cage.fit(columns)];
    };
    let mut rail = Parts::new("  ");
    let (chips, bets) = (view.seat.rail.0, game.in_bets(view).0);
    // Both amounts are said, in full where there is room.
    let whole = thousands(chips).len() + thousands(bets).len() + "rail   bets ".len() <= columns;
    let amount = |chips| if whole { thousands(chips) } else { short(chips, 6) };
    rail.add(0, vec![Span::raw("rail "), Span::styled(amount(chips), theme.own())]);
    rail.add(1, vec![Span::raw("bets "), Span::styled(amount(bets), theme.own())]);
    if view.seat.is_leaving() {
        rail.add(2, vec![Span::styled("leaving", theme.warning())]);
    } else if game.is_shooter() {
        rail.add(2, vec![Span::styled("you shoot", theme.good())]);
        match game.may_roll_in_ms() {
            Some(0) => rail.add(3, vec![Span::styled("r rolls", theme.good())]),
            Some(left) => rail.say(3, format!("r in {}.{} s", left / 1_000, left % 1_000 / 100)),
            None => {}
        }
    } else {
        rail.add(2, vec![Span::styled(format!("seat {number}"), theme.faint())]);
    }
    [rail.fit(columns), cage.fit(columns)]
}

/// Rows that all players take, with their heading.
pub fn players_rows(game: &Game) -> u16 {
    let taken = game.table.iter().flat_map(|view| &view.seats).filter(|view| view.seat.status != 0).count();
    taken.max(1) as u16 + 1
}

/// The players: seat, account, rail, chips in bets; a mark for the shooter.
pub fn players(frame: &mut Frame<'_>, game: &Game, ui: &Ui, area: Rect) {
    let (theme, columns) = (ui.theme, usize::from(area.width));
    if area.height == 0 {
        return;
    }
    let own = game.own_seat().map(|(number, _)| number);
    let shooter = game.table.as_ref().map(|view| usize::from(view.row.shooter));
    let seats = game.table.iter().flat_map(|view| view.seats.iter().enumerate());
    let mut taken: Vec<_> = seats.filter(|(_, view)| view.seat.status != 0).collect();
    let (all, rows) = (taken.len(), usize::from(area.height) - 1);
    if all > rows {
        // The player and the shooter are never among those left out.
        taken.sort_by_key(|(number, _)| (Some(*number) != own, Some(*number) != shooter, *number));
        taken.truncate(rows.saturating_sub(1));
        taken.sort_by_key(|(number, _)| *number);
    }
    // Shooter's mark, seat, account, then two amounts that share the rest.
    let chips = (columns.saturating_sub(4 + 8) / 2).min(14);
    let heading = format!("seat player{:>chips$}{:>chips$}", "rail", "bets");
    let mut lines = vec![Line::styled(heading, theme.heading())];
    for (number, view) in &taken {
        let mark = if Some(*number) == shooter { theme.shooter() } else { " " };
        let is_own = Some(*number) == own;
        let who = if is_own { "you".into() } else { format!("#{}", view.seat.account) };
        let (rail, bets) = (short(view.seat.rail.0, chips - 1), short(game.in_bets(view).0, chips - 1));
        let leaving = if view.seat.is_leaving() { "-" } else { " " };
        let text = format!("{mark}{number:>2}{leaving} {who:<7.7}{rail:>chips$}{bets:>chips$}");
        lines.push(Line::styled(text, if is_own { theme.own() } else { Style::new() }));
    }
    match all - taken.len() {
        0 if all == 0 => lines.push(Line::styled("nobody", theme.faint())),
        0 => {}
        more => lines.push(Line::styled(format!("and {more} more"), theme.faint())),
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// The rolls so far, newest first: a point in brackets, a point made starred, a seven-out with an exclamation mark.
pub fn rolls(frame: &mut Frame<'_>, game: &Game, ui: &Ui, area: Rect) {
    let mut spans = Vec::new();
    let mut room = usize::from(area.width).saturating_sub(28);
    for roll in game.rolls.iter().rev() {
        let total = roll.dice.total();
        let text = match roll.event {
            RollEvent::PointEstablished => format!(" ({total})"),
            RollEvent::PointMade => format!(" {total}*"),
            RollEvent::SevenOut => format!(" {total}!"),
            _ => format!(" {total}"),
        };
        if text.len() > room {
            break;
        }
        room -= text.len();
        spans.push(Span::styled(text, event_style(roll.event, ui.theme)));
    }
    if spans.is_empty() {
        spans.push(Span::styled(" none seen yet", ui.theme.faint()));
    }
    let mut words = vec![Span::styled("Rolls", ui.theme.heading()), Span::styled(", newest first:", ui.theme.faint())];
    words.append(&mut spans);
    frame.render_widget(Paragraph::new(rule(Line::from(words), usize::from(area.width), ui.theme)), area);
}
