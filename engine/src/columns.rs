//! The replicated columns: how systems reach them, and how they lie in the image. The table `columns!` is the only place
//! that lists them.

use bevy_ecs::component::{Component, Mutable};
use bevy_ecs::resource::Resource;
use bevy_ecs::system::{Query, Res, SystemParam};
use bevy_ecs::world::World;

use crate::component::{
    Account, AccountKey, Bets, ChainStart, Fields, GroupKey, House, MoreBets, NextValidator, Peer, PeerKey, Pledge,
    Row, RulesHash, Seat, SeatBets, SeatBetsMut, Table, Validator,
};
use crate::genesis::Genesis;
use crate::limits::{RULES_MAX, VALIDATORS_MAX};

/// How many rows each growing column has; fixed by genesis for the life of a chain.
#[derive(Resource, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// At most [`crate::limits::TABLES_MAX`]; each has as many seats as genesis says.
    pub tables: usize,
    /// Seats of each table.
    pub seats: usize,
    /// At most [`crate::limits::ACCOUNTS_MAX`].
    pub accounts: usize,
    /// Pledges: one for each table where some table's dice need one, else a single row that nothing touches. A column
    /// has at least one row, and 100,000 of them would be 6 MiB of zeros in memory and in every image.
    pub pledges: usize,
}

impl Capacity {
    /// What a genesis fixes.
    pub fn of(genesis: &Genesis) -> Self {
        let tables = genesis.tables as usize;
        Self {
            tables,
            seats: genesis.seats as usize,
            accounts: genesis.accounts as usize,
            pledges: if genesis.has_pledged() { tables } else { 1 },
        }
    }
}

/// Makes everything that follows from the list of columns: [`Column`], the rows of each, the parameter by which systems
/// reach them, their bytes, and their first rows. Columns in one pair of braces have equally many rows: each of their
/// rows is one slot, spawned as one entity. A column of `one` row is reached as that row, any other as a slice.
macro_rules! columns {
    ($(|$capacity:pat_param| $count:expr => {
        $($(#[$doc:meta])* $column:ident $field:ident: $shape:ident $row:ident;)+
    })+) => {
        /// A replicated column. The order is the order of the image.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        #[repr(usize)]
        pub enum Column { $($($(#[$doc])* $column,)+)+ }

        /// How many columns there are.
        pub const COLUMNS: usize = [$($(stringify!($column)),+),+].len();

        impl Column {
            /// All columns in image order.
            pub const ALL: [Self; COLUMNS] = [$($(Self::$column),+),+];

            /// The component's name, as divergence reports write it.
            pub const fn name(self) -> &'static str {
                match self { $($(Self::$column => stringify!($row),)+)+ }
            }

            /// Bytes of one row.
            pub const fn row_bytes(self) -> usize {
                match self { $($(Self::$column => size_of::<$row>(),)+)+ }
            }

            /// The fields of a row.
            pub const fn fields(self) -> Fields {
                match self { $($(Self::$column => <$row as Row>::FIELDS,)+)+ }
            }
        }

        impl Capacity {
            /// Rows of a column.
            pub const fn rows(&self, column: Column) -> usize {
                match column { $($(Column::$column)|+ => { let $capacity = *self; $count })+ }
            }
        }

        /// Spawns the first rows of all columns, slot by slot.
        pub(crate) fn spawn_rows(world: &mut World, start: &ChainStart<'_>) {
            let capacity = Capacity::of(start.genesis);
            $({
                let $capacity = capacity;
                world.spawn_batch((0..$count).map(|slot| ($($row::first(start, slot),)+)));
            })+
        }

        /// The replicated columns as a system reaches them. Change detection is bypassed: what changed is told to the
        /// dirty map, group by group.
        #[derive(SystemParam)]
        pub struct Columns<'w, 's> {
            capacity: Res<'w, Capacity>,
            $($($field: Query<'w, 's, &'static mut $row>,)+)+
        }

        /// The replicated columns as plain slices, row = slot.
        pub struct Rows<'a> { $($($(#[$doc])* pub $field: columns!(@$shape 'a $row),)+)+ }

        impl Columns<'_, '_> {
            /// All columns as slices.
            ///
            /// # Panics
            /// If a column lies in more than one archetype, or has lost or won a row: the rule of static slots was
            /// broken.
            pub fn rows(&mut self) -> Rows<'_> {
                let capacity = *self.capacity;
                let rows = Rows { $($($field: columns!(@$shape whole(&mut self.$field)),)+)+ };
                // A row is known by its number alone: one that were lost would give its name to the one behind it.
                for (column, bytes) in Column::ALL.into_iter().zip(rows.column_bytes()) {
                    let expected = capacity.rows(column) * column.row_bytes();
                    assert_eq!(bytes.len(), expected, "static slots: rows of {}", column.name());
                }
                rows
            }
        }

        impl Rows<'_> {
            /// The columns' bytes in image order.
            pub fn column_bytes(&self) -> [&[u8]; COLUMNS] {
                [$($(columns!(@$shape bytes_of(self.$field)),)+)+]
            }

            /// The same, to write: for loading an image.
            pub(crate) fn column_bytes_mut(&mut self) -> [&mut [u8]; COLUMNS] {
                [$($(columns!(@$shape bytes_of_mut(self.$field)),)+)+]
            }
        }
    };

    (@one $life:lifetime $row:ident) => { &$life mut $row };
    (@all $life:lifetime $row:ident) => { &$life mut [$row] };
    (@one whole($query:expr)) => { &mut whole($query)[0] };
    (@all whole($query:expr)) => { whole($query) };
    (@one bytes_of($row:expr)) => { bytemuck::bytes_of($row) };
    (@all bytes_of($rows:expr)) => { bytemuck::cast_slice($rows) };
    (@one bytes_of_mut($row:expr)) => { bytemuck::bytes_of_mut($row) };
    (@all bytes_of_mut($rows:expr)) => { bytemuck::cast_slice_mut($rows) };
}

columns! {
    |_| 1 => {
        /// The house.
        House house: one House;
        /// The group's beacon key.
        GroupKey group_key: one GroupKey;
    }
    |_| VALIDATORS_MAX as usize => {
        /// Validators by slot.
        Validators validators: all Validator;
        /// The pending set of validators, by slot.
        NextValidators next_validators: all NextValidator;
    }
    |_| RULES_MAX => {
        /// The hash of each set of rules.
        Rules rules: all RulesHash;
    }
    |capacity| capacity.tables => {
        /// Tables.
        Tables tables: all Table;
    }
    |capacity| capacity.tables * capacity.seats => {
        /// Seats; table `t` owns `t * seats_per_table ..`.
        Seats seats: all Seat;
        /// First bets of each seat.
        Bets bets: all Bets;
        /// Further bets of each seat.
        MoreBets more_bets: all MoreBets;
    }
    |capacity| capacity.accounts => {
        /// Accounts.
        Accounts accounts: all Account;
        /// The accounts' keys.
        AccountKeys keys: all AccountKey;
    }
    |capacity| capacity.pledges => {
        /// What players pledged, by table.
        Pledges pledges: all Pledge;
    }
}

// A column is found by its number, and lies in the image at it.
const _: () = {
    let mut index = 0;
    while index < COLUMNS {
        let column = Column::ALL[index];
        assert!(column as usize == index);
        assert!(column.row_bytes().is_multiple_of(64), "rows are whole cache lines");
        // Whoever names the field of a byte that differs finds one for every byte.
        let fields = column.fields();
        assert!(fields.starts[0].1 == 0, "a row begins with its first field");
        assert!(column.row_bytes().is_multiple_of(fields.bytes), "an array has whole elements");
        index += 1;
    }
};

/// A whole column as one slice. A query over static slots matches one archetype, so it has one contiguous part; a second
/// one means that somebody changed the structure, and row = slot no longer holds.
fn whole<'a, T: Component<Mutability = Mutable>>(query: &'a mut Query<'_, '_, &'static mut T>) -> &'a mut [T] {
    let mut parts = query.contiguous_iter_mut().expect("components lie in table storage");
    let part = parts.next().expect("every column is spawned at start");
    assert!(parts.next().is_none(), "static slots: each column lies in one archetype");
    let (rows, _) = bevy_ecs::change_detection::ContiguousMut::bypass_change_detection_split(part);
    rows
}

impl Rows<'_> {
    /// Seats of each table.
    pub fn seats_per_table(&self) -> usize {
        self.seats.len() / self.tables.len()
    }

    /// A seat's bets to read.
    #[inline]
    pub fn seat_bets(&self, seat: usize) -> SeatBets<'_> {
        SeatBets { spots: self.seats[seat].spots, hot: &self.bets[seat], cold: &self.more_bets[seat] }
    }

    /// A seat's bets to write.
    #[inline]
    pub fn seat_bets_mut(&mut self, seat: usize) -> SeatBetsMut<'_> {
        SeatBetsMut { seat: &mut self.seats[seat], hot: &mut self.bets[seat], cold: &mut self.more_bets[seat] }
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
            assert!(self.keys.is_empty(), "a key has the row of its peer");
            return (&mut [], &mut []);
        }
        let (peers, keys) = (whole(&mut self.peers), whole(&mut self.keys));
        assert_eq!(peers.len(), keys.len(), "every peer has the row of its key");
        (peers, keys)
    }
}
