//! A difference: the first thing in which a session is not what it must be.

use serde::Serialize;

/// The first thing in which a session differs from its replay, or from another session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// The first height of which something differs.
    pub height: u64,
    /// What differs: a component, a message, or the settled frame.
    pub component: &'static str,
    /// Its row: the intent's place, the validator's slot, else 0.
    pub row: u64,
    /// The field of the row, as its format names it.
    pub field: String,
    /// What it must be.
    pub expected: String,
    /// What the session has.
    pub found: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { height, component, row, field, expected, found } = self;
        write!(f, "height {height}: {component} row {row}, {field}: expected {expected}, found {found}")
    }
}
