//! The groups of bets with the chips that lie on them.

use engine::component::BetRow;
use engine::{Puck, Spot};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::area::{column, row};
use super::text::{columns_of, cut, rule, short, wrap};
use crate::felt::{BetGroup, cell_words};
use crate::model::Game;
use crate::ui::Ui;
use words::names::spot_words;
use words::thousands;

/// Columns of a row's name.
const NAME_COLUMNS: usize = 12;
/// Columns that a cell takes, at most.
const CELL_COLUMNS_MAX: usize = 14;
/// Columns that stay clear between two cells with names, so that chips stand with theirs.
const NAMED_GAP: usize = 3;
/// Columns that a cell with its name takes, at most.
const NAMED_COLUMNS_MAX: usize = 32;

/// Rows that all groups take, each but the first with its heading.
pub fn rows_of_all(ui: &Ui) -> u16 {
    ui.groups.iter().map(|group| group.lines() + 1).sum::<u16>()
}

/// The names of the groups; the open one is marked.
pub fn tabs(frame: &mut Frame<'_>, ui: &Ui, area: Rect) {
    let mut spans = vec![Span::styled("Bets ", ui.theme.heading())];
    for (index, group) in ui.groups.iter().enumerate() {
        let open = index == ui.cursor.0;
        let text = if open { format!("[{}]", group.name) } else { format!(" {} ", group.name) };
        spans.push(Span::styled(text, if open { ui.theme.strong() } else { ui.theme.faint() }));
    }
    frame.render_widget(Paragraph::new(rule(Line::from(spans), usize::from(area.width), ui.theme)), area);
}

/// The groups that fit: pages of them, each as many as there is room for, the page with the open one.
fn page(ui: &Ui, rows: u16) -> std::ops::Range<usize> {
    let mut from = 0;
    let mut used = 0;
    for (index, group) in ui.groups.iter().enumerate() {
        let lines = group.lines() + u16::from(index > from);
        if index > from && used + lines > rows {
            if index > ui.cursor.0 {
                return from..index;
            }
            (from, used) = (index, group.lines());
        } else {
            used += lines;
        }
    }
    from..ui.groups.len()
}

/// Draws the page of groups with the open one.
pub fn draw(frame: &mut Frame<'_>, game: &Game, ui: &Ui, area: Rect) {
    let page = page(ui, area.height.saturating_sub(1));
    // A heading for each group only where there are several.
    let headed = page.len() > 1;
    let page = if headed { page } else { self::page(ui, area.height) };
    let mut at = 0;
    for index in page {
        let group = &ui.groups[index];
        if headed {
            let words =
                Line::styled(group.name, if index == ui.cursor.0 { ui.theme.strong() } else { ui.theme.faint() });
            frame.render_widget(Paragraph::new(words), column(row(area, at, 1), 1, area.width));
            at += 1;
        }
        let mut lines = Vec::new();
        if !group.columns.is_empty() {
            lines.push(headings(game, ui, group, usize::from(area.width)));
        }
        for (number, _) in group.rows.iter().enumerate() {
            lines.push(cells(game, ui, index, number, usize::from(area.width)));
        }
        let rows = lines.len() as u16;
        frame.render_widget(Paragraph::new(lines), row(area, at, rows));
        at += rows;
    }
    own_bets(frame, game, ui, row(area, at, area.height.saturating_sub(at)));
}

/// All the player's bets in words, where the open groups leave room: most lie in groups that are not open.
fn own_bets(frame: &mut Frame<'_>, game: &Game, ui: &Ui, area: Rect) {
    let Some((_, view)) = game.own_seat().filter(|(_, view)| !view.bets.is_empty() && area.height > 0) else { return };
    let (columns, rows) = (usize::from(area.width), usize::from(area.height));
    // A bet is not broken between two lines.
    let words = |bet: &BetRow| {
        let amount = thousands(bet.amount.into());
        let amount = if game.works(bet.spot, bet.flags) { amount } else { format!("({amount})") };
        format!("{amount} {}", spot_words(bet.spot)).replace(' ', "\u{a0}")
    };
    let names: Vec<String> = view.bets.iter().map(words).collect();
    let mut lines = (0..=names.len()).rev().map(|count| {
        let more = names.len() - count;
        let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
        wrap(&format!("Yours: {}{rest}", names[..count].join(", ")), columns - 1, 0)
    });
    // As many as fit; the gap above them goes first.
    let Some(lines) = lines.find(|lines| lines.len() <= rows) else { return };
    let gap = u16::from(lines.len() < rows);
    let lines = lines.into_iter().map(|line| Line::styled(format!(" {}", line.replace('\u{a0}', " ")), ui.theme.own()));
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), row(area, gap, area.height - gap));
}

fn cell_columns(group: &BetGroup, columns: usize) -> usize {
    let count = group.width().max(1);
    if group.columns.is_empty() {
        ((columns - 1 + NAMED_GAP) / count).min(NAMED_COLUMNS_MAX)
    } else {
        ((columns - NAME_COLUMNS) / count).min(CELL_COLUMNS_MAX)
    }
}

fn headings(game: &Game, ui: &Ui, group: &BetGroup, columns: usize) -> Line<'static> {
    let width = cell_columns(group, columns);
    let mut spans = vec![Span::raw(" ".repeat(NAME_COLUMNS))];
    for heading in &group.columns {
        let on = matches!(game.puck(), Puck::On(point) if point.to_string() == *heading) && group.name != "Hops";
        let text = if on { format!("[{heading}]") } else { format!("{heading} ") };
        spans.push(Span::styled(format!("{text:>width$}"), if on { ui.theme.good() } else { ui.theme.heading() }));
    }
    Line::from(spans)
}

fn cells(game: &Game, ui: &Ui, group: usize, number: usize, columns: usize) -> Line<'static> {
    let felt = &ui.groups[group];
    let width = cell_columns(felt, columns);
    let row = &felt.rows[number];
    let named = felt.columns.is_empty();
    let mut spans = if named {
        vec![Span::raw(" ")]
    } else {
        vec![Span::raw(format!(" {:<width$}", row.name, width = NAME_COLUMNS - 1))]
    };
    for (index, cell) in row.cells.iter().enumerate() {
        let Some(spot) = *cell else {
            spans.push(Span::raw(" ".repeat(width)));
            continue;
        };
        let here = ui.cursor == (group, number, index);
        let (text, style) = if named { named_cell(game, ui, spot, width) } else { plain_cell(game, ui, spot, width) };
        // One column stays clear between two cells, so that the cursor is seen to be on one of them.
        let style = if here { ui.theme.cursor() } else { style };
        let (left, right) = if named { ("", " ".repeat(NAMED_GAP)) } else { (" ", String::new()) };
        spans.extend([Span::raw(left), Span::styled(text, style), Span::raw(right)]);
    }
    Line::from(spans)
}

/// The chips on a spot: own, in brackets while off, then a plus and the other players'.
fn chips(game: &Game, spot: Spot, columns: usize) -> String {
    let own = game.own_bet(spot);
    let others = game.others_on(spot);
    let bracket = |text: String| match own {
        Some(bet) if !game.works(spot, bet.flags) => format!("({text})"),
        _ => text,
    };
    match (own, others) {
        (None, 0) => String::new(),
        (None, others) => format!("+{}", short(others, columns.saturating_sub(1))),
        (Some(bet), others) => {
            let amount = u64::from(bet.amount);
            let whole = bracket(thousands(amount));
            let both = format!("{whole}+{}", thousands(others));
            match others {
                0 if whole.len() <= columns => whole,
                1.. if both.len() <= columns => both,
                // Too many for the cell: that there are others is said, how many is said below.
                _ => bracket(short(amount, columns.saturating_sub(3))) + if others > 0 { "+" } else { "" },
            }
        }
    }
}

fn style_of(game: &Game, ui: &Ui, spot: Spot) -> Style {
    match (game.own_bet(spot), game.others_on(spot)) {
        (Some(_), _) => ui.theme.own(),
        (None, 1..) => Style::new(),
        _ if game.closed(spot).is_some() => ui.theme.faint(),
        _ => Style::new(),
    }
}

/// A cell under a heading.
fn plain_cell(game: &Game, ui: &Ui, spot: Spot, width: usize) -> (String, Style) {
    let width = width - 1;
    let text = chips(game, spot, width);
    let text = if text.is_empty() { ui.theme.empty().into() } else { text };
    (format!("{text:>width$}"), style_of(game, ui, spot))
}

/// A cell with its name.
fn named_cell(game: &Game, ui: &Ui, spot: Spot, width: usize) -> (String, Style) {
    let width = width - NAMED_GAP;
    let name = cut(&cell_words(spot), width, ui.theme);
    let text = chips(game, spot, width.saturating_sub(columns_of(&name) + 1));
    let gap = width.saturating_sub(columns_of(&name) + columns_of(&text));
    (format!("{name}{}{text}", " ".repeat(gap)), style_of(game, ui, spot))
}
