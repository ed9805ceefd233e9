use bevy_ecs::component::Component;
use bytemuck::{Pod, Zeroable};

use super::row::{Fields, Row, fields};
use crate::ids::{AccountId, Height};
use crate::message::Hash;

/// What the shooter of a table pledged for its coming roll. Layout: 64 bytes, no padding. Zero while nothing is pledged.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Pledge {
    /// The hash of the value; once it is open, the value.
    pub value: Hash,
    /// The height that decided the pledge.
    pub height: Height,
    /// Block time up to which it may be opened.
    pub open_until_ms: u64,
    /// The roll that it is for.
    pub roll: u32,
    /// Who pledged.
    pub account: AccountId,
    /// 0 nothing pledged, 1 pledged, 2 open.
    pub status: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

const _: () = assert!(size_of::<Pledge>() == 64);

impl Row for Pledge {
    const FIELDS: Fields = fields!(Pledge: value height open_until_ms roll account status reserved);
}
