//! Why a command did not succeed.

use std::fmt;

/// Why a command did not succeed: each kind has its exit code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The command was typed wrong: 2.
    Usage(String),
    /// A configuration or a key cannot be used: 3.
    Config(String),
    /// A file or directory is not what it should be: 4.
    Data(String),
    /// Something that must be equal differs: 5.
    Mismatch(String),
    /// A target was missed: 6.
    Target(String),
    /// A node cannot be reached, or does not let us in: 7.
    Unreachable(String),
    /// Another process writes what is to be written: 8. It is free again once that one ends.
    InUse(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(text)
        | Self::Config(text)
        | Self::Data(text)
        | Self::Mismatch(text)
        | Self::Target(text)
        | Self::Unreachable(text)
        | Self::InUse(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for Failure {}
