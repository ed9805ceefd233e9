//! The picture: everything the client knows, laid out for the terminal that there is.
//!
//! ```text
//!  80 columns                           110 and more
//!  title                                title
//!  dice | puck, clock, chips | players  dice | puck, clock, chips | players
//!  rolls                                rolls                     |
//!  groups of bets, felt                 groups of bets, felt      | log
//!  the bet under the cursor, its odds   the bet under the cursor  |
//!  log                                  line, keys
//!  line, keys
//! ```

mod area;
mod text;
mod top;
mod felt;
mod detail;
mod foot;
mod help;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use self::area::{column, row};
use self::text::{Parts, columns_of, cut};
use super::model::{Game, Link};
use super::ui::{Mode, Ui};
use words::thousands;

/// The least that the picture needs.
pub const COLUMNS_MIN: u16 = 80;
/// The least that the picture needs.
pub const ROWS_MIN: u16 = 24;
/// Columns from which players and log stand beside the felt.
const COLUMNS_WIDE: u16 = 110;
/// Columns that the felt takes beside them, at least.
const FELT_COLUMNS: u16 = 78;
/// Columns that players and log take beside it, at most.
const SIDE_COLUMNS_MAX: u16 = 60;
/// Rows of the dice and what stands beside them.
const TOP_ROWS: u16 = 5;
/// Rows about the bet under the cursor, with their heading.
const DETAIL_ROWS: u16 = 4;
/// Columns of the players at the top of a narrow picture.
const PLAYERS_COLUMNS: u16 = 24;

/// Draws the game.
pub fn draw(frame: &mut Frame<'_>, game: &Game, ui: &Ui) {
    let area = frame.area();
    if area.width < COLUMNS_MIN || area.height < ROWS_MIN {
        return too_small(frame, game, ui, area);
    }
    let (head, body, foot) = (row(area, 0, 1), row(area, 1, area.height - 3), row(area, area.height - 2, 2));
    title(frame, game, ui, head);
    if area.width >= COLUMNS_WIDE {
        wide(frame, game, ui, body)
    } else {
        narrow(frame, game, ui, body)
    }
    foot::input(frame, game, ui, row(foot, 0, 1));
    foot::hints(frame, game, ui, row(foot, 1, 1));
    if ui.mode == Mode::Help {
        help::draw(frame, game, ui, area);
    }
}

fn narrow(frame: &mut Frame<'_>, game: &Game, ui: &Ui, area: Rect) {
    let players = column(row(area, 0, TOP_ROWS), area.width - PLAYERS_COLUMNS, PLAYERS_COLUMNS);
    top::dice_and_table(frame, game, ui, column(row(area, 0, TOP_ROWS), 0, area.width - PLAYERS_COLUMNS - 1));
    top::players(frame, game, ui, players);
    let below = row(area, TOP_ROWS, area.height - TOP_ROWS);
    // Rolls and groups take a row each, the log its heading; the rest is shared between felt and log.
    let free = below.height - DETAIL_ROWS - 3;
    let extra = free - 9;
    let felt_rows = (7 + extra * 2 / 3).min(felt::rows_of_all(ui));
    let log_rows = free - felt_rows;
    top::rolls(frame, game, ui, row(below, 0, 1));
    felt::tabs(frame, ui, row(below, 1, 1));
    felt::draw(frame, game, ui, row(below, 2, felt_rows));
    detail::draw(frame, game, ui, row(below, 2 + felt_rows, DETAIL_ROWS));
    foot::log(frame, game, ui, row(below, 2 + felt_rows + DETAIL_ROWS, log_rows + 1));
}

fn wide(frame: &mut Frame<'_>, game: &Game, ui: &Ui, area: Rect) {
    let side_columns = (area.width - FELT_COLUMNS - 2).min(SIDE_COLUMNS_MAX);
    let (left, side) =
        (column(area, 0, area.width - side_columns - 2), column(area, area.width - side_columns, side_columns));
    top::dice_and_table(frame, game, ui, row(left, 0, TOP_ROWS));
    top::rolls(frame, game, ui, row(left, TOP_ROWS, 1));
    felt::tabs(frame, ui, row(left, TOP_ROWS + 1, 1));
    let felt_rows = (left.height - TOP_ROWS - 2 - DETAIL_ROWS).min(felt::rows_of_all(ui));
    felt::draw(frame, game, ui, row(left, TOP_ROWS + 2, felt_rows));
    detail::draw(frame, game, ui, row(left, TOP_ROWS + 2 + felt_rows, DETAIL_ROWS));
    let players = top::players_rows(game).min(area.height / 2);
    top::players(frame, game, ui, row(side, 0, players));
    foot::log(frame, game, ui, row(side, players + 1, area.height - players - 1));
}

fn title(frame: &mut Frame<'_>, game: &Game, ui: &Ui, area: Rect) {
    let theme = ui.theme;
    let (mark, words, style) = link_words(game, ui);
    let link = cut(&format!("{mark} {words}"), usize::from(area.width) / 2, theme);
    let link_columns = columns_of(&link);
    let genesis = &game.setup().genesis;
    let mut parts = Parts::new("   ");
    parts.add(0, vec![Span::styled(" BitCraps", theme.heading())]);
    parts.add(1, vec![Span::styled(format!("table {} of {}", game.watched, genesis.tables), theme.strong())]);
    parts.add(2, vec![Span::raw(format!("height {}", thousands(game.height.0)))]);
    if genesis.keys.warning().is_some() {
        let text = format!("KEYS FROM A {}", genesis.keys.name().to_uppercase());
        parts.add(3, vec![Span::styled(text, theme.warning())]);
    }
    parts.add(4, vec![Span::raw(game.node.clone())]);
    parts.add(5, vec![Span::styled(game.address.clone(), theme.faint())]);
    let chain = engine::hex(&game.setup().chain[..4]);
    parts.add(6, vec![Span::styled(format!("chain {chain}"), theme.faint())]);
    let left = usize::from(area.width).saturating_sub(link_columns + 3);
    frame.render_widget(Paragraph::new(parts.fit(left)), area);
    let at = area.width.saturating_sub(link_columns as u16 + 1);
    frame.render_widget(Paragraph::new(Span::styled(link, style)), column(area, at, area.width - at));
}

fn link_words(game: &Game, ui: &Ui) -> (&'static str, String, ratatui::style::Style) {
    let [up, calling, down] = ui.theme.link();
    match &game.link {
        Link::Up { rtt_ms } => (up, format!("up, {rtt_ms} ms"), ui.theme.good()),
        Link::Connecting { attempt } => (calling, format!("connecting, attempt {attempt}"), ui.theme.warning()),
        Link::Down { why, retry_s } => (down, format!("down, again in {retry_s} s: {why}"), ui.theme.bad()),
    }
}

/// What can be said where the picture has no room.
fn too_small(frame: &mut Frame<'_>, game: &Game, ui: &Ui, area: Rect) {
    let (_, link, _) = link_words(game, ui);
    let mut lines = vec![
        format!("This window is {} x {}.", area.width, area.height),
        format!("The table needs {COLUMNS_MIN} x {ROWS_MIN}."),
        link,
    ];
    if let Some(view) = &game.table {
        lines.push(top::puck_words(game));
        lines.extend(view.row.last_dice().map(|dice| format!("last roll {}", dice.total())));
    }
    if let Some((_, view)) = game.own_seat() {
        lines.push(format!("rail {}, bets {}", thousands(view.seat.rail.0), thousands(game.in_bets(view).0)));
    }
    lines.push("q quits".into());
    let width = usize::from(area.width).max(1);
    let wrapped = lines.iter().flat_map(|line| text::wrap(line, width, 0)).map(Line::raw);
    frame.render_widget(Paragraph::new(wrapped.collect::<Vec<_>>()), area);
}

#[cfg(test)]
mod tests;
