//! Sessions that were recorded, read again.

mod dice;
mod export;
mod fixture;
mod scenarios;
mod sessions;
