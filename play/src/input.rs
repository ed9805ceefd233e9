//! A line of text and its cursor.

use ratatui::crossterm::event::KeyCode;

/// Characters that a typed line may have.
pub const LINE_CHARS_MAX: usize = 200;

/// A line that is being typed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Input {
    /// The text.
    pub text: String,
    /// Characters before the cursor.
    pub at: usize,
}

impl Input {
    /// Another text, the cursor at its end.
    pub fn set(&mut self, text: &str) {
        self.text = text.chars().filter(|c| !c.is_control()).take(LINE_CHARS_MAX).collect();
        self.at = self.text.chars().count();
    }

    fn byte(&self, at: usize) -> usize {
        self.text.char_indices().nth(at).map_or(self.text.len(), |(byte, _)| byte)
    }

    /// A character at the cursor.
    pub fn insert(&mut self, c: char) {
        if self.text.chars().count() < LINE_CHARS_MAX && !c.is_control() {
            self.text.insert(self.byte(self.at), c);
            self.at += 1;
        }
    }

    fn remove_before(&mut self) {
        if self.at > 0 {
            self.at -= 1;
            self.text.remove(self.byte(self.at));
        }
    }

    /// What a key does to the line.
    pub fn edit(&mut self, code: KeyCode) {
        let chars = self.text.chars().count();
        match code {
            KeyCode::Char(c) => self.insert(c),
            KeyCode::Backspace => self.remove_before(),
            KeyCode::Delete if self.at < chars => {
                self.text.remove(self.byte(self.at));
            }
            KeyCode::Left => self.at = self.at.saturating_sub(1),
            KeyCode::Right => self.at = (self.at + 1).min(chars),
            KeyCode::Home => self.at = 0,
            KeyCode::End => self.at = chars,
            _ => {}
        }
    }
}
