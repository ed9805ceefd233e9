//! What exists: ids, chips, dice, components, messages, the world, its image and root.

pub mod chips;
pub mod dice;
pub mod ids;
pub mod limits;
pub mod rules;

pub use chips::{Chips, Ratio};
pub use dice::{Dice, Puck, RollEvent};
pub use ids::{AccountId, BetId, Height, Spot, TableId, Tick};
pub use rules::TableRules;
