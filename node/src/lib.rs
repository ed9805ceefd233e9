//! The node: the one loop, and every command that a person types.

pub mod script;
