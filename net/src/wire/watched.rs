//! What a client watches, and the accounts that it is shown.

use bytemuck::{Pod, Zeroable};
use engine::bytes::{DecodeError, zeros};
use engine::component::Account;
use engine::io::Watched;
use engine::limits::{NUMBER_MAX, PEER_WATCHES_MAX};
use engine::message::check_height;
use engine::{AccountId, Height, TableId};

use super::field::{switch, value};
use super::payload::Body;

/// Layout: 40 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct WatchBody {
    key: [u8; 32],
    table: u32,
    what: u8,
    on: u8,
    reserved: [u8; 2],
}

/// Layout: 112 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct AccountBody {
    key: [u8; 32],
    height: u64,
    id: u32,
    reserved: u32,
    account: [u64; 8],
}

const _: () = assert!(size_of::<WatchBody>() == 40 && size_of::<AccountBody>() == 112);

impl Body for (Watched, bool) {
    type Bytes = WatchBody;
    const LIST_MAX: usize = PEER_WATCHES_MAX;

    fn to_bytes(&self) -> WatchBody {
        let (what, on) = *self;
        let body = WatchBody { on: on.into(), ..WatchBody::zeroed() };
        match what {
            Watched::Table(table) => WatchBody { what: 1, table: table.0, ..body },
            Watched::Account(key) => WatchBody { what: 2, key, ..body },
        }
    }

    fn of_bytes(body: &WatchBody) -> Result<Self, DecodeError> {
        zeros("watch", &body.reserved)?;
        let what = match body.what {
            1 => {
                zeros("watch of a table", &body.key)?;
                Watched::Table(TableId(body.table))
            }
            2 => {
                zeros("watch of an account", &body.table.to_le_bytes())?;
                Watched::Account(body.key)
            }
            found => return Err(value("what to watch", found)),
        };
        Ok((what, switch(body.on, "watch")?))
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        vec![(Watched::Table(TableId(3)), true), (Watched::Account([2; 32]), false)]
    }
}

/// A watched account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccountRow {
    /// Its key.
    pub key: [u8; 32],
    /// The last settled height.
    pub height: Height,
    /// The account, if one is open.
    pub account: Option<(AccountId, Account)>,
}

impl Body for AccountRow {
    type Bytes = AccountBody;

    fn to_bytes(&self) -> AccountBody {
        let (id, account) = self.account.unwrap_or((AccountId::NONE, Account::zeroed()));
        let account = bytemuck::cast(account);
        AccountBody { key: self.key, height: self.height.0, id: id.0, reserved: 0, account }
    }

    fn of_bytes(body: &AccountBody) -> Result<Self, DecodeError> {
        zeros("account", &body.reserved.to_le_bytes())?;
        let account: Account = bytemuck::cast(body.account);
        let open = AccountId(body.id) != AccountId::NONE;
        if open != account.is_open() {
            return Err(value("account status", account.status));
        }
        if !open {
            // A message has one encoding: where there is no account, its row is zero.
            zeros("account without an id", bytemuck::bytes_of(&body.account))?;
        }
        // A player's program takes the next number.
        if account.number_highest > NUMBER_MAX {
            return Err(value("highest number", account.number_highest));
        }
        let account = open.then_some((AccountId(body.id), account));
        Ok(Self { key: body.key, height: check_height(Height(body.height))?, account })
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        let account =
            Account { cage: engine::Chips(9_500), number_highest: 7, seats: 1, status: 1, ..Account::zeroed() };
        vec![Self { key: [2; 32], height: Height(11), account: Some((AccountId(9), account)) }]
    }
}
