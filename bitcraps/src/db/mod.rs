//! What an operator does to the files of a session.
//!
//! ```text
//!  backup   genesis, packs, then the journal               verified; holds nothing to sign with
//!  compact  zeros ahead, dead groups, free pages           of a node that is stopped
//! ```

mod backup;
mod compact;

pub use backup::{BackedUp, backup};
pub use compact::{Compacted, compact};
