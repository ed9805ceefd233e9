//! The journal: frames in segments, in the order in which they were synced.
//!
//! ```text
//!  00000001.seg  header, groups of frames ..., index     sealed: an index that says where which height is
//!  00000001.zst  the same bytes, compressed, a while after it was sealed
//!  00000001.head what stays of a segment that has given up its bodies, compressed alike
//!  00000002.seg  header, groups of frames ..., zeros     the last one: grows, with zeros written ahead
//! ```

mod segment;
mod frame;
mod index;
mod writer;
mod scan;
mod reader;
mod compressed;
mod retired;
mod archive;
mod past;
mod check;

pub(crate) use archive::Archive;
pub use check::{JournalCheck, check_journal};
pub use compressed::Compressor;
pub(crate) use frame::LZ4_RATIO_MAX;
pub use frame::{Frame, FrameKind};
pub use past::{Past, PastReader};
pub use reader::{End, JournalReader, Tail};
pub use retired::{Retention, Retirer};
pub use writer::JournalWriter;
