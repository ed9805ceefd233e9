//! The terminal itself: raw while the client runs, and as it was afterwards.

use std::io;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{
    self, DisableBracketedPaste, EnableBracketedPaste, Event, KeyEvent, KeyboardEnhancementFlags,
    PopKeyboardEnhancementFlags, PushKeyboardEnhancementFlags,
};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::supports_keyboard_enhancement;

use super::model::Game;
use super::screen;
use super::ui::Ui;

/// What a person did at the terminal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Typed {
    /// A key.
    Key(KeyEvent),
    /// A text, all at once.
    Paste(String),
    /// The window has another size, or something else that asks for a new picture.
    Redraw,
}

/// The terminal while the client has it. Dropping it, and a panic, give it back as it was.
pub struct Terminal {
    terminal: DefaultTerminal,
    enhanced: bool,
}

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// If standard output is none.
    pub fn open() -> io::Result<Self> {
        let terminal = ratatui::try_init()?;
        // Where the terminal tells a held key from a new one, it shall; a paste must never be taken for keys.
        let enhanced = supports_keyboard_enhancement().unwrap_or(false);
        let opened = Self { terminal, enhanced };
        execute!(io::stdout(), EnableBracketedPaste)?;
        if enhanced {
            let flags =
                KeyboardEnhancementFlags::DISAMBIGUATE_ESCAPE_CODES | KeyboardEnhancementFlags::REPORT_EVENT_TYPES;
            execute!(io::stdout(), PushKeyboardEnhancementFlags(flags))?;
        }
        Ok(opened)
    }

    /// Shows the game.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn draw(&mut self, game: &Game, ui: &Ui) -> io::Result<()> {
        self.terminal.draw(|frame| screen::draw(frame, game, ui)).map(|_| ())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The terminal may be gone, and then there is nothing to give back.
        if self.enhanced {
            let _ = execute!(io::stdout(), PopKeyboardEnhancementFlags);
        }
        let _ = execute!(io::stdout(), DisableBracketedPaste);
        ratatui::restore();
    }
}

/// What was typed within this time, or `None`. Blocks its thread: the client gives it one of its own.
///
/// # Errors
/// If the terminal is gone.
pub fn typed(within: Duration) -> io::Result<Option<Typed>> {
    if !event::poll(within)? {
        return Ok(None);
    }
    Ok(Some(match event::read()? {
        Event::Key(key) => Typed::Key(key),
        Event::Paste(text) => Typed::Paste(text),
        _ => Typed::Redraw,
    }))
}
