//! Snapshots: the groups of the image in packs, each distinct group once, and an index over them.
//!
//! ```text
//!  tick: groups in blocks -> snapshot thread: name, LZ4, append to a pack -> sync -> index (one transaction) -> blocks back
//!  start: index -> newest snapshot -> its map -> groups, verified by their names -> columns
//! ```
//! The index can be made again from the packs. Formats: docs/formats/snapshots.md.

mod record;
mod pack;
mod stored;
mod database;
mod ranges;
mod index;
mod catalog;
mod keeper;
mod thread;
mod reader;
mod check;

pub use catalog::Catalog;
pub use check::{IndexCheck, check_index, check_packs};
pub use database::IndexError;
pub use index::read_index;
pub use keeper::{SnapshotDone, thin};
pub use pack::PackOffset;
pub use ranges::{ActivityRow, Coverage, RANGE_IDS, RangeSource, Ranges};
pub use reader::SnapshotReader;
pub use record::SnapshotInfo;
pub use stored::StoredSnapshot;
pub use thread::{KeeperEvent, Snapshots, SnapshotsFound, newest_first, read_catalog};
