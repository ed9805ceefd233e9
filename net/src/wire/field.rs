//! Text, switches and what no field can hold, in bodies of fixed layout.

use engine::bytes::{DecodeError, zeros};

/// Text in a fixed field: UTF-8, zeros after it.
pub(super) fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut end = text.len().min(N);
    // A text that is too long is cut between two signs: half of one would be refused by whoever reads it.
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut field = [0; N];
    field[..end].copy_from_slice(&text.as_bytes()[..end]);
    field
}

pub(super) fn read_text(field: &'static str, bytes: &[u8]) -> Result<String, DecodeError> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    zeros(field, &bytes[end..])?;
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| DecodeError::Text { field })?;
    // Whoever prints it may trust that it moves no cursor.
    if text.chars().any(char::is_control) { Err(DecodeError::Text { field }) } else { Ok(text.to_owned()) }
}

pub(super) fn value(field: &'static str, found: impl Into<u64>) -> DecodeError {
    DecodeError::Value { field, found: found.into() }
}

pub(super) fn switch(byte: u8, field: &'static str) -> Result<bool, DecodeError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(value(field, found)),
    }
}
