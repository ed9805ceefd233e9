//! What exists: ids, chips, dice, components, messages, the world, its image and root.

pub mod chips;
pub mod dice;
pub mod genesis;
pub mod ids;
pub mod limits;
pub mod message;
pub mod rules;

pub use chips::{Chips, Ratio};
pub use dice::{Dice, Puck, RollEvent};
pub use genesis::{Genesis, hex, unhex};
pub use ids::{AccountId, BetId, Height, Spot, TableId, Tick};
pub use message::Hash;
pub use rules::TableRules;
