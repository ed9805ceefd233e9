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
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::model::Game;
use super::screen;
use super::ui::Ui;

/// How long a client whose terminal has gone may take to end by itself.
const LAST_MOMENT: Duration = Duration::from_secs(1);
/// The code that a shell gives a process that SIGHUP ended.
const HUNG_UP: i32 = 129;

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
    /// Takes the terminal, and ends with it: a moment after it has gone, so does this process.
    ///
    /// # Errors
    /// If standard output is none.
    pub fn open() -> io::Result<Self> {
        std::thread::spawn(end_with_the_terminal);
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

/// From a terminal that has gone the library reads without end: whoever waits for it hears of no signal any more, and takes a
/// core. Nobody is there who would see a better end; the node sees a connection that fell silent.
#[expect(clippy::disallowed_methods, reason = "the thread that would return from main may be in the library's loop")]
fn end_with_the_terminal() {
    let stdout = io::stdout();
    // A hangup is told without being asked for.
    let mut gone = [PollFd::new(&stdout, PollFlags::empty())];
    while poll(&mut gone, None) == Err(Errno::INTR) {}
    std::thread::sleep(LAST_MOMENT);
    std::process::exit(HUNG_UP);
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
