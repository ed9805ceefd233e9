//! Colours and characters that a terminal has. No colour means anything that a word or a mark does not say too.

use ratatui::style::{Color, Modifier, Style};

use words::sentences::Severity;

/// What the terminal can show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Theme {
    /// Whether colours are wanted; the 16 that every terminal has.
    pub colour: bool,
    /// Whether it has line drawing and dots; otherwise ASCII.
    pub unicode: bool,
}

impl Default for Theme {
    fn default() -> Self {
        Self { colour: true, unicode: true }
    }
}

impl Theme {
    /// From the environment: `NO_COLOR`, `TERM` and the locale, in the order in which C programs ask.
    pub fn from_env(var: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| var(name).filter(|value| !value.is_empty());
        let term = set("TERM").unwrap_or_default();
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        let utf8 = locale.is_some_and(|locale| {
            let locale = locale.to_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        Self { colour: set("NO_COLOR").is_none() && term != "dumb", unicode: utf8 && term != "linux" && term != "dumb" }
    }

    fn paint(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    /// Words that stand back.
    pub fn faint(self) -> Style {
        // Dim is unreadable on some terminals that have no colour for it.
        if self.colour { Style::new().fg(Color::DarkGray) } else { Style::new().add_modifier(Modifier::DIM) }
    }

    /// Words that stand out.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Headings.
    pub fn heading(self) -> Style {
        self.paint(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// The player's own chips.
    pub fn own(self) -> Style {
        self.paint(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// Gains, and what is on.
    pub fn good(self) -> Style {
        self.paint(Color::Green).add_modifier(Modifier::BOLD)
    }

    /// Losses, and what has failed.
    pub fn bad(self) -> Style {
        self.paint(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What wants an answer.
    pub fn warning(self) -> Style {
        self.paint(Color::Magenta)
    }

    /// The cell under the cursor, the group that is open, the title.
    pub fn cursor(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// A line of the log.
    pub fn line(self, severity: Severity) -> Style {
        match severity {
            Severity::Info => Style::new(),
            Severity::Good => self.paint(Color::Green),
            Severity::Bad => self.paint(Color::Red),
            Severity::Warning => self.warning(),
        }
    }

    /// The mark before a line of the log.
    pub fn mark(self, severity: Severity) -> &'static str {
        match severity {
            Severity::Info => " ",
            Severity::Good => "+",
            Severity::Bad => "-",
            Severity::Warning => "!",
        }
    }

    /// A horizontal rule's character.
    pub fn rule(self) -> &'static str {
        if self.unicode { "─" } else { "-" }
    }

    /// A cell without a bet.
    pub fn empty(self) -> &'static str {
        if self.unicode { "·" } else { "." }
    }

    /// Full and empty parts of the gauge.
    pub fn gauge(self) -> (&'static str, &'static str) {
        if self.unicode { ("█", "░") } else { ("#", ".") }
    }

    /// What marks the shooter.
    pub fn shooter(self) -> &'static str {
        if self.unicode { "►" } else { ">" }
    }

    /// The state of the link: up, calling, down.
    pub fn link(self) -> [&'static str; 3] {
        if self.unicode { ["●", "◌", "○"] } else { ["*", "~", "x"] }
    }

    /// A pip of a die.
    pub fn pip(self) -> char {
        if self.unicode { '●' } else { 'o' }
    }

    /// The frame of a die: corners clockwise from the upper left, then horizontal and vertical.
    pub fn frame(self) -> [char; 6] {
        if self.unicode { ['╭', '╮', '╯', '╰', '─', '│'] } else { ['+', '+', '+', '+', '-', '|'] }
    }

    /// What stands for words that did not fit.
    pub fn cut(self) -> &'static str {
        if self.unicode { "…" } else { "~" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides() {
        let theme = |set: &[(&str, &str)]| {
            let value = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            let theme = Theme::from_env(value);
            (theme.colour, theme.unicode)
        };
        assert_eq!(theme(&[("LANG", "de_DE.UTF-8"), ("TERM", "xterm")]), (true, true));
        assert_eq!(theme(&[("LANG", "C.utf8"), ("NO_COLOR", "1")]), (false, true));
        assert_eq!(theme(&[("LANG", "C.utf8"), ("NO_COLOR", "")]), (true, true));
        assert_eq!(theme(&[("LC_ALL", "C"), ("LANG", "en_GB.UTF-8")]), (true, false));
        assert_eq!(theme(&[("LANG", "en_GB.UTF-8"), ("TERM", "linux")]), (true, false));
        assert_eq!(theme(&[]), (true, false));
    }
}
