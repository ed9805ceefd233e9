use bevy_ecs::component::Component;
use bytemuck::{Pod, Zeroable};

use crate::limits::VALIDATORS_MAX;

/// A connected peer; node-local, never hashed. Layout: 64 bytes, one cache line, no padding.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Peer {
    /// The last decided height that it told of.
    pub decided: u64,
    /// The last settled height that it told of.
    pub settled: u64,
    /// When it connected, in milliseconds since the Unix epoch.
    pub joined_ms: u64,
    /// Up to when its score has decayed, in milliseconds of ticks.
    pub scored_ms: u64,
    /// Connections that had the row before.
    pub generation: u32,
    /// Round trip, in microseconds.
    pub rtt_us: u32,
    /// Penalty points: offences raise them, time lowers them.
    pub score: u32,
    /// Intents of it that were acknowledged.
    pub acknowledged: u32,
    /// Intents of it that were refused before a block, or shed.
    pub turned_away: u32,
    /// Intents of it that wait for their receipt.
    pub waiting: u32,
    /// The validator's slot, or [`Peer::NO_VALIDATOR`].
    pub validator: u16,
    /// A [`PeerStatus`].
    pub status: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

/// Who a peer is. Layout: 64 bytes, one cache line, no padding.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct PeerKey {
    /// The Ed25519 key that it proved.
    pub key: [u8; 32],
    /// Its IP address, IPv4 as IPv4-mapped IPv6.
    pub address: [u8; 16],
    /// Zero.
    pub reserved: [u8; 16],
}

const _: () = assert!(size_of::<Peer>() == 64);
const _: () = assert!(align_of::<Peer>() == 64);
const _: () = assert!(size_of::<PeerKey>() == 64);
const _: () = assert!(align_of::<PeerKey>() == 64);

// A row of zeros is free, and no validator's slot says that there is none.
const _: () = assert!(PeerStatus::Free as u8 == 0);
const _: () = assert!(Peer::NO_VALIDATOR as u32 >= VALIDATORS_MAX);

/// What a peer's row holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PeerStatus {
    /// A free row.
    Free = 0,
    /// A player's client.
    Client = 1,
    /// Another node.
    Node = 2,
    /// Put out; its row is free once it has left.
    Banned = 3,
}

impl Peer {
    /// It is no validator.
    pub const NO_VALIDATOR: u16 = u16::MAX;

    /// Whether the row is that of an open connection.
    pub fn is_connected(&self) -> bool {
        self.status == PeerStatus::Client as u8 || self.status == PeerStatus::Node as u8
    }
}
