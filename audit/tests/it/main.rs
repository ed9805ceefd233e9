//! Sessions that were recorded, read again.

mod export;
mod fixture;
mod scenarios;
mod sessions;
