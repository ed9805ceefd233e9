//! The replicated columns: how systems reach them, and how they lie in the image.

use bevy_ecs::component::{Component, Mutable};
use bevy_ecs::resource::Resource;
use bevy_ecs::system::{Query, Res, SystemParam};
use bytemuck::Pod;

use crate::component::{
    Account, AccountKey, Bets, GroupKey, House, MoreBets, Peer, PeerKey, RulesHash, Seat, SeatBets, SeatBetsMut, Table,
    Validator,
};
use crate::genesis::Genesis;
use crate::limits::{RULES_MAX, VALIDATORS_MAX};

/// A replicated column. The order is the order of the image.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(usize)]
pub enum Column {
    /// [`House`], one row.
    House,
    /// [`GroupKey`], one row.
    GroupKey,
    /// [`Validator`] by slot.
    Validators,
    /// [`RulesHash`] by set of rules.
    Rules,
    /// [`Table`] by table.
    Tables,
    /// [`Seat`], table by table.
    Seats,
    /// [`Bets`] by seat.
    Bets,
    /// [`MoreBets`] by seat.
    MoreBets,
    /// [`Account`] by account.
    Accounts,
    /// [`AccountKey`] by account.
    AccountKeys,
}

/// How many columns there are.
pub const COLUMNS: usize = 10;

impl Column {
    /// All columns in image order.
    pub const ALL: [Self; COLUMNS] = [
        Self::House,
        Self::GroupKey,
        Self::Validators,
        Self::Rules,
        Self::Tables,
        Self::Seats,
        Self::Bets,
        Self::MoreBets,
        Self::Accounts,
        Self::AccountKeys,
    ];

    /// The component's name, as divergence reports write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::House => "House",
            Self::GroupKey => "GroupKey",
            Self::Validators => "Validator",
            Self::Rules => "RulesHash",
            Self::Tables => "Table",
            Self::Seats => "Seat",
            Self::Bets => "Bets",
            Self::MoreBets => "MoreBets",
            Self::Accounts => "Account",
            Self::AccountKeys => "AccountKey",
        }
    }

    /// Bytes of one row.
    pub const fn row_bytes(self) -> usize {
        match self {
            Self::House | Self::GroupKey => 128,
            Self::MoreBets => 192,
            _ => 64,
        }
    }
}

/// How many rows each growing column has; fixed by genesis for the life of a chain.
#[derive(Resource, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Tables.
    pub tables: usize,
    /// Seats of each table.
    pub seats: usize,
    /// Accounts.
    pub accounts: usize,
}

impl Capacity {
    /// What a genesis fixes.
    pub fn of(genesis: &Genesis) -> Self {
        Self { tables: genesis.tables as usize, seats: genesis.seats as usize, accounts: genesis.accounts as usize }
    }

    /// Rows of a column.
    pub const fn rows(&self, column: Column) -> usize {
        match column {
            Column::House | Column::GroupKey => 1,
            Column::Validators => VALIDATORS_MAX as usize,
            Column::Rules => RULES_MAX,
            Column::Tables => self.tables,
            Column::Seats | Column::Bets | Column::MoreBets => self.tables * self.seats,
            Column::Accounts | Column::AccountKeys => self.accounts,
        }
    }
}

/// The replicated columns as a system reaches them. Change detection is bypassed: what changed is told to the dirty
/// map, group by group.
#[derive(SystemParam)]
pub struct Columns<'w, 's> {
    capacity: Res<'w, Capacity>,
    house: Query<'w, 's, &'static mut House>,
    group_key: Query<'w, 's, &'static mut GroupKey>,
    validators: Query<'w, 's, &'static mut Validator>,
    rules: Query<'w, 's, &'static mut RulesHash>,
    tables: Query<'w, 's, &'static mut Table>,
    seats: Query<'w, 's, &'static mut Seat>,
    bets: Query<'w, 's, &'static mut Bets>,
    more: Query<'w, 's, &'static mut MoreBets>,
    accounts: Query<'w, 's, &'static mut Account>,
    keys: Query<'w, 's, &'static mut AccountKey>,
}

/// The replicated columns as plain slices, row = slot.
pub struct Rows<'a> {
    /// The house.
    pub house: &'a mut House,
    /// The group's beacon key.
    pub group_key: &'a mut GroupKey,
    /// Validators by slot.
    pub validators: &'a mut [Validator],
    /// Rules hashes.
    pub rules: &'a mut [RulesHash],
    /// Tables.
    pub tables: &'a mut [Table],
    /// Seats; table `t` owns `t * seats_per_table ..`.
    pub seats: &'a mut [Seat],
    /// First bets of each seat.
    pub bets: &'a mut [Bets],
    /// Further bets of each seat.
    pub more: &'a mut [MoreBets],
    /// Accounts.
    pub accounts: &'a mut [Account],
    /// Their keys.
    pub keys: &'a mut [AccountKey],
}

/// A whole column as one slice. A query over static slots matches one archetype, so it has one contiguous part; a second
/// one means that somebody changed the structure, and row = slot no longer holds.
fn whole<'a, T: Component<Mutability = Mutable>>(query: &'a mut Query<'_, '_, &'static mut T>) -> &'a mut [T] {
    let mut parts = query.contiguous_iter_mut().expect("components lie in table storage");
    let part = parts.next().expect("every column is spawned at start");
    assert!(parts.next().is_none(), "static slots: each column lies in one archetype");
    let (rows, _) = bevy_ecs::change_detection::ContiguousMut::bypass_change_detection_split(part);
    rows
}

impl Columns<'_, '_> {
    /// All columns as slices.
    ///
    /// # Panics
    /// If a column lies in more than one archetype, or has lost or won a row: the rule of static slots was broken.
    pub fn rows(&mut self) -> Rows<'_> {
        let capacity = *self.capacity;
        let rows = Rows {
            house: &mut whole(&mut self.house)[0],
            group_key: &mut whole(&mut self.group_key)[0],
            validators: whole(&mut self.validators),
            rules: whole(&mut self.rules),
            tables: whole(&mut self.tables),
            seats: whole(&mut self.seats),
            bets: whole(&mut self.bets),
            more: whole(&mut self.more),
            accounts: whole(&mut self.accounts),
            keys: whole(&mut self.keys),
        };
        for (column, bytes) in Column::ALL.into_iter().zip(rows.column_bytes()) {
            assert_eq!(
                bytes.len(),
                capacity.rows(column) * column.row_bytes(),
                "static slots: rows of {}",
                column.name()
            );
        }
        rows
    }
}

fn bytes<T: Pod>(rows: &[T]) -> &[u8] {
    bytemuck::cast_slice(rows)
}

impl Rows<'_> {
    /// Seats of each table.
    pub fn seats_per_table(&self) -> usize {
        self.seats.len() / self.tables.len()
    }

    /// The columns' bytes in image order.
    pub fn column_bytes(&self) -> [&[u8]; COLUMNS] {
        [
            bytemuck::bytes_of(self.house),
            bytemuck::bytes_of(self.group_key),
            bytes(self.validators),
            bytes(self.rules),
            bytes(self.tables),
            bytes(self.seats),
            bytes(self.bets),
            bytes(self.more),
            bytes(self.accounts),
            bytes(self.keys),
        ]
    }

    /// The same, to write: for loading an image.
    pub(crate) fn column_bytes_mut(&mut self) -> [&mut [u8]; COLUMNS] {
        [
            bytemuck::bytes_of_mut(self.house),
            bytemuck::bytes_of_mut(self.group_key),
            bytemuck::cast_slice_mut(self.validators),
            bytemuck::cast_slice_mut(self.rules),
            bytemuck::cast_slice_mut(self.tables),
            bytemuck::cast_slice_mut(self.seats),
            bytemuck::cast_slice_mut(self.bets),
            bytemuck::cast_slice_mut(self.more),
            bytemuck::cast_slice_mut(self.accounts),
            bytemuck::cast_slice_mut(self.keys),
        ]
    }

    /// A seat's bets to read.
    #[inline]
    pub fn seat_bets(&self, seat: usize) -> SeatBets<'_> {
        SeatBets { spots: self.seats[seat].spots, hot: &self.bets[seat], cold: &self.more[seat] }
    }

    /// A seat's bets to write.
    #[inline]
    pub fn seat_bets_mut(&mut self, seat: usize) -> SeatBetsMut<'_> {
        SeatBetsMut { seat: &mut self.seats[seat], hot: &mut self.bets[seat], cold: &mut self.more[seat] }
    }
}

/// The columns of connected peers, node-local and in no image.
#[derive(SystemParam)]
pub struct PeerColumns<'w, 's> {
    peers: Query<'w, 's, &'static mut Peer>,
    keys: Query<'w, 's, &'static mut PeerKey>,
}

impl PeerColumns<'_, '_> {
    /// Both columns as slices, row = slot; empty where this node takes no connections.
    pub fn rows(&mut self) -> (&mut [Peer], &mut [PeerKey]) {
        if self.peers.is_empty() {
            return (&mut [], &mut []);
        }
        (whole(&mut self.peers), whole(&mut self.keys))
    }
}
