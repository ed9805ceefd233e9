//! History: what happened to a player, at a table, at a roll; read from pages that a walk makes and two tiers keep.
//!
//! ```text
//!  question -> pages, newest first -> memory -> disk -> a walk from the nearest state over mapped segments -> entries
//!                                       ^---------------- every page that the walk passes
//! ```
//! Nothing here is on the tick thread, and nothing here decides anything: a page can be thrown away and made again.

mod build;
mod rows;
mod page;
mod cache;
mod read;
mod entry;
mod words;
mod reindex;

pub use self::words::{chips_of, event_name, event_words};
pub use build::PageBuilder;
pub use cache::{CacheConfig, HeldPage, PageCache, Tier, TierCounts, TierReport};
pub use entry::{Entry, Event, Subject};
pub use page::{HeightRows, PAGE_HEIGHTS, Page, PageError, PageKey, Rows, heights_of, page_of, parts_of};
pub use read::{Answer, History, Question};
pub use reindex::reindex;
pub use rows::{BalanceRow, FORFEITED, IntentRow, LeavingRow, NO_TABLE, ResolutionRow, RollRow};
