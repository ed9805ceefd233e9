//! What exists: ids, chips, dice, components, messages, the world, its image and root.
//!
//! ```text
//!  genesis -> world (static slots) -> columns (slices) -> systems write rows, mark groups -> image -> root
//! ```
//! This crate has no IO, no clock, no randomness, and no rule of the game: it holds the data that rules act on.

pub mod bytes;
pub mod bits;
pub mod limits;
pub mod ids;
pub mod address;
pub mod rate;
pub mod chips;
pub mod dice;
pub mod rules;
pub mod message;
pub mod genesis;
pub mod component;
pub mod columns;
pub mod image;
pub mod trim;
pub mod pool;
pub mod panics;
pub mod io;
pub mod world;

pub use chips::{Chips, Ratio};
pub use dice::{Dice, Puck, RollEvent};
pub use genesis::{Genesis, hex, unhex, unhex_all};
pub use ids::{AccountId, BetId, Height, PeerId, Spot, TableId, Tick};
pub use message::Hash;
pub use rules::TableRules;
