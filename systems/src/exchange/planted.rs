//! Planted: bugs that a simulation puts in, to see that it would find them.
//!
//! What is wrong follows from a type, and every program that plays builds its schedule for [`Sound`]: no branch of it is for
//! a bug. `sim` alone has other types.

use bevy_ecs::schedule::Schedule;
use order::consensus::Quorum;

/// Which bug a schedule is built with.
pub trait Planted: 'static {
    /// How many must agree.
    const QUORUM: Quorum = Quorum::TwoThirds;
    /// The signatures under what others say was decided are not looked at.
    const CERTIFICATE_UNCHECKED: bool = false;
    /// A clock may speak against a block that others have voted for.
    const CLOCK_ON_REPROPOSALS: bool = false;
    /// The clock of one node ends an intent.
    const EXPIRED_BY_CLOCK: bool = false;
    /// A receipt goes to whoever waits for the number.
    const RECEIPT_BY_NUMBER: bool = false;

    /// Systems that do what no node does.
    fn add_systems(_: &mut Schedule) {}
}

/// No bug that anybody planted.
#[derive(Debug)]
pub enum Sound {}

impl Planted for Sound {}
