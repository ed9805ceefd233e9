//! Words that fit: what is cut, shortened, wrapped or left out where there is no room.

use ratatui::text::{Line, Span};

use crate::theme::Theme;
use words::thousands;

/// Columns that a text takes.
pub fn columns_of(text: &str) -> usize {
    Span::raw(text).width()
}

/// A text in so many columns; a mark stands for what did not fit.
pub fn cut(text: &str, columns: usize, theme: Theme) -> String {
    if columns_of(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if columns_of(&kept) >= columns {
            kept.pop();
            break;
        }
    }
    if columns == 0 { String::new() } else { kept + theme.cut() }
}

/// Chips in so many columns: whole where they fit, else in thousands, millions and so on, rounded down.
pub fn short(chips: u64, columns: usize) -> String {
    let whole = thousands(chips);
    if whole.len() <= columns {
        return whole;
    }
    const UNITS: [(u64, char); 6] = [
        (1, ' '),
        (1_000, 'k'),
        (1_000_000, 'M'),
        (1_000_000_000, 'G'),
        (1_000_000_000_000, 'T'),
        (1_000_000_000_000_000, 'P'),
    ];
    let (unit, letter) = UNITS.into_iter().rev().find(|(unit, _)| chips >= *unit).unwrap_or((1, ' '));
    let with_tenth = format!("{}.{}{letter}", chips / unit, chips % unit / unit.div_ceil(10).max(1));
    if unit > 1 && with_tenth.len() <= columns && chips / unit < 100 {
        with_tenth
    } else if unit > 1 {
        format!("{}{letter}", chips / unit)
    } else {
        chips.to_string()
    }
}

/// The lines of a text in so many columns, those after the first set in.
pub fn wrap(text: &str, columns: usize, indent: usize) -> Vec<String> {
    words::text::wrap(text, columns, indent, columns_of)
}

/// Pieces of a line; those of the highest rank are left out first where they do not all fit.
pub struct Parts {
    gap: &'static str,
    parts: Vec<(u8, Vec<Span<'static>>)>,
}

impl Parts {
    /// None yet; `gap` stands between two.
    pub fn new(gap: &'static str) -> Self {
        Self { gap, parts: Vec::new() }
    }

    /// Adds a piece.
    pub fn add(&mut self, rank: u8, spans: Vec<Span<'static>>) {
        if spans.iter().any(|span| span.width() > 0) {
            self.parts.push((rank, spans));
        }
    }

    /// Adds a piece of plain words.
    pub fn say(&mut self, rank: u8, words: impl Into<String>) {
        self.add(rank, vec![Span::raw(words.into())]);
    }

    fn columns(&self) -> usize {
        let words: usize = self.parts.iter().flat_map(|(_, spans)| spans).map(Span::width).sum();
        words + self.gap.len() * self.parts.len().saturating_sub(1)
    }

    /// The line, of the pieces that fit.
    pub fn fit(mut self, columns: usize) -> Line<'static> {
        while self.columns() > columns && self.parts.len() > 1 {
            let last = self.parts.iter().enumerate().max_by_key(|(_, (rank, _))| *rank).map(|(index, _)| index);
            match last {
                Some(index) => self.parts.remove(index),
                None => break,
            };
        }
        let mut spans = Vec::new();
        for (_, part) in self.parts {
            if !spans.is_empty() {
                spans.push(Span::raw(self.gap));
            }
            spans.extend(part);
        }
        Line::from(spans)
    }
}

/// A heading: words in a rule across the line.
pub fn rule(mut words: Line<'static>, columns: usize, theme: Theme) -> Line<'static> {
    let lead = theme.rule().repeat(2);
    let rest = columns.saturating_sub(words.width() + 4);
    words.spans.insert(0, Span::styled(format!("{lead} "), theme.faint()));
    words.spans.push(Span::styled(format!(" {}", theme.rule().repeat(rest)), theme.faint()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_are_whole_where_they_fit() {
        for (chips, columns, text) in [
            (999, 3, "999"),
            (1_250, 5, "1,250"),
            (1_250, 4, "1.2k"),
            (12_345, 5, "12.3k"),
            (12_345, 4, "12k"),
            (123_456, 5, "123k"),
            (1_999_999, 5, "1.9M"),
            (0, 1, "0"),
        ] {
            assert_eq!(short(chips, columns), text);
        }
        assert!(short(u64::MAX, 5).len() <= 6);
    }

    #[test]
    fn texts_are_wrapped_between_words_and_cut_with_a_mark() {
        assert_eq!(wrap("5 on field refused: no chips", 12, 2), ["5 on field", "  refused:", "  no chips"]);
        assert_eq!(cut("house edge", 6, Theme::default()), "house…");
        assert_eq!(cut("edge", 4, Theme::default()), "edge");
        assert_eq!(cut("edge", 0, Theme::default()), "");
    }
}
