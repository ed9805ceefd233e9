//! Identifiers. Each is its own type, so that a table is never taken for an account.

use std::fmt;

use bytemuck::{Pod, Zeroable};

use crate::limits::{ACCOUNTS_MAX, PEERS_MAX};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Pod, Zeroable)]
        #[repr(transparent)]
        pub struct $name(pub $int);

        impl $name {
            /// The row in this id's columns.
            #[inline]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A craps table: its row in the table column.
    TableId(u32)
);
id!(
    /// An account: its row in the account columns.
    AccountId(u32)
);
id!(
    /// A bet of the catalogue, 0-144 (RULES.md R11).
    BetId(u8)
);
id!(
    /// A place on a seat's felt that holds at most one bet: a bet, and its box number where R0 asks for one.
    Spot(u8)
);
id!(
    /// One decided block; the first is 1.
    Height(u64)
);
id!(
    /// One turn of the node's loop, numbered by elapsed quanta.
    Tick(u64)
);

/// A connection: its row in the peer columns, and how often that row was taken before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerId {
    /// The row.
    pub slot: u32,
    /// Connections that had the row before.
    pub generation: u32,
}

impl PeerId {
    /// Whoever acts inside this process; it has no row.
    pub const LOCAL: Self = Self { slot: u32::MAX, generation: 0 };
    /// Nobody waits for the answer.
    pub const NONE: Self = Self { slot: u32::MAX, generation: 1 };
}

impl AccountId {
    /// No account.
    pub const NONE: Self = Self(u32::MAX);
}

// Who is nobody, or has no row, is told apart from everybody who has one.
const _: () = assert!(AccountId::NONE.0 > ACCOUNTS_MAX);
const _: () = assert!(PeerId::NONE.slot > PEERS_MAX);
const _: () = assert!(PeerId::LOCAL.slot > PEERS_MAX);
const _: () = assert!(PeerId::LOCAL.generation != PeerId::NONE.generation);

impl Height {
    /// The state of genesis, before any block.
    pub const GENESIS: Self = Self(0);

    /// The height after this one.
    ///
    /// # Panics
    /// At the end of u64, which no chain reaches.
    #[inline]
    pub const fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("a chain does not reach u64::MAX heights"))
    }

    /// The height this many before, or genesis.
    #[inline]
    pub const fn back(self, heights: u64) -> Self {
        Self(self.0.saturating_sub(heights))
    }
}
