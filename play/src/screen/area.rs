//! Parts of an area of the terminal.

use ratatui::layout::Rect;

/// So many rows of an area.
pub fn row(area: Rect, from: u16, rows: u16) -> Rect {
    let from = from.min(area.height);
    Rect { y: area.y + from, height: rows.min(area.height - from), ..area }
}

/// So many columns of an area.
pub fn column(area: Rect, from: u16, columns: u16) -> Rect {
    let from = from.min(area.width);
    Rect { x: area.x + from, width: columns.min(area.width - from), ..area }
}
