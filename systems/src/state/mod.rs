//! What the systems know beside the columns: the chain's constants, indexes that follow from rows, snapshots of both.

pub mod setup;

pub mod accounts;
pub mod due;
pub mod seats;
pub mod pledges;
pub mod chunk;

pub mod activity;

pub mod check_rows;

pub mod saving;
pub mod snapshot;
