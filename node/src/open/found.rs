//! What was found of a session that goes on.

use engine::Height;
use words::thousands;

/// What a session was when it was opened.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SessionFound {
    /// The last settled height.
    pub height: Height,
    /// The snapshot that the start began with; genesis if there is none.
    pub snapshot: Option<Height>,
    /// Heights that were executed again, above it.
    pub executed: u64,
    /// What was cut, damaged or put right, in words.
    pub repaired: Vec<String>,
}

impl SessionFound {
    /// How the start went, in a line.
    pub fn path(&self) -> String {
        let from = match self.snapshot {
            Some(height) => format!("from the snapshot at height {}", thousands(height.0)),
            None => "from genesis".into(),
        };
        format!("{from}, {} heights executed again", thousands(self.executed))
    }
}
