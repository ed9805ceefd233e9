//! Genesis: what a chain fixes before its first block.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::{
    ACCOUNTS_MAX, IDLE_MS_MAX, ISSUERS_MAX, PROPOSAL_INTERVAL_MS_MIN, RULES_MAX, SEATS_MAX, SUPPLY_MAX, TABLES_MAX,
    TIME_MS_MAX, VALIDATORS_MAX,
};
use crate::message::Hash;
use crate::rules::{DiceSource, TableRules};

/// The version of the genesis file that this code writes and reads.
pub const GENESIS_VERSION: u32 = 2;

/// How accounts open.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Opening {
    /// Anyone opens an account, at most `per_height` of them in one height.
    Free {
        /// Accounts that may open in one height.
        per_height: u32,
    },
    /// Accounts open by a voucher of one of these Ed25519 keys.
    Voucher {
        /// The issuers' public keys.
        issuers: Vec<HexBytes<32>>,
    },
}

/// Where the keys of a chain come from: who could foresee its dice, beyond a quorum of its validators.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum KeySource {
    /// All keys follow from a seed that anyone may know: for development only.
    Seed = 1,
    /// One person dealt the shares of the group key.
    Dealer = 2,
    /// The only validator drew its own keys.
    Own = 3,
}

impl KeySource {
    /// All sources.
    pub const ALL: [Self; 3] = [Self::Seed, Self::Dealer, Self::Own];

    /// The name that genesis and output use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seed => "seed",
            Self::Dealer => "dealer",
            Self::Own => "own",
        }
    }

    /// What every output repeats, where there is something that a quorum of validators does not answer for.
    pub const fn warning(self) -> Option<&'static str> {
        match self {
            Self::Seed => Some("they follow from a seed: whoever knows it foresees every roll"),
            Self::Dealer => Some("one person dealt the beacon shares, and could foresee every roll"),
            Self::Own => None,
        }
    }
}

// A list of all sources that lacks one would refuse its byte.
const _: () = {
    let mut index = 0;
    while index < KeySource::ALL.len() {
        assert!(KeySource::ALL[index] as usize == index + 1);
        index += 1;
    }
};

impl TryFrom<u8> for KeySource {
    type Error = crate::message::DecodeError;

    fn try_from(byte: u8) -> Result<Self, Self::Error> {
        let known = Self::ALL.into_iter().find(|source| *source as u8 == byte);
        known.ok_or(crate::message::DecodeError::Value { field: "key source", found: byte.into() })
    }
}

/// How long what nobody uses may be held: seats, and the grants of new accounts. All of it is measured by the clock of
/// activity, [`House::active_ms`](crate::component::House::active_ms).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Idleness {
    /// Milliseconds that a gap between two blocks counts at most: a node that stood still, or a clock that was set
    /// forward, makes nobody absent.
    pub gap_max_ms: u64,
    /// Milliseconds after which the grant of an account goes back to the treasury if no bet of it was ever decided.
    pub grant_ms: u64,
    /// Milliseconds without a decided bet after which a seat without a bet may be given to another who asks for one.
    pub seat_ms: u64,
}

impl Default for Idleness {
    fn default() -> Self {
        Self { gap_max_ms: 5_000, grant_ms: 600_000, seat_ms: 120_000 }
    }
}

/// One validator of genesis.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisValidator {
    /// A name for people.
    pub name: String,
    /// The Ed25519 key that its votes and proposals are signed with.
    pub vote_key: HexBytes<32>,
    /// The Ed25519 key that it takes part in dealing shares of the group key with.
    pub dkg_key: HexBytes<32>,
}

/// What a chain fixes before its first block. The BLAKE3 of its file is the chain id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// [`GENESIS_VERSION`].
    pub version: u32,
    /// A name for people.
    pub name: String,
    /// Where the keys come from.
    pub keys: KeySource,
    /// Milliseconds since the Unix epoch before the first block.
    pub start_ms: u64,
    /// All chips there are, minted into the treasury.
    pub supply: u64,
    /// Craps tables.
    pub tables: u32,
    /// Seats of each table.
    pub seats: u32,
    /// Account slots.
    pub accounts: u32,
    /// Chips granted to an account that opens.
    pub grant: u64,
    /// How accounts open.
    pub opening: Opening,
    /// Sets of table rules; table `t` plays by number `t % rules.len()`.
    pub rules: Vec<TableRules>,
    /// Chips a table's bank is filled or skimmed to between hands.
    pub bank_target: u64,
    /// Milliseconds after a roll before which the dice may not roll again; at most half of `window_max_ms`.
    pub window_min_ms: u64,
    /// Milliseconds after a roll at which the table rolls by itself.
    pub window_max_ms: u64,
    /// Clock phases: tables of one phase roll at the same moment and are neighbours.
    pub clock_phases: u32,
    /// Milliseconds without an accepted intent after which a player is absent from a table.
    pub idle_ms: u64,
    /// Milliseconds without an accepted intent after which an empty account's slot may be reused.
    pub account_idle_ms: u64,
    /// How long what nobody uses may be held; its keys may be left out.
    #[serde(default)]
    pub idleness: Idleness,
    /// Milliseconds between two blocks, at least.
    pub block_interval_ms: u64,
    /// The validators, by slot.
    pub validators: Vec<GenesisValidator>,
    /// The group's BLS12-381 public key in G2, compressed; the beacon of every height verifies under it.
    pub group_key: HexBytes<96>,
}

/// A genesis that no chain can start from.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
#[error("genesis {field}: {problem}")]
pub struct GenesisError {
    /// The field that is wrong.
    pub field: &'static str,
    /// What is wrong with it and what it may be.
    pub problem: String,
}

impl Genesis {
    /// The chain id of a genesis file: the BLAKE3 of its bytes, which `b3sum` prints too.
    pub fn chain_id(file: &[u8]) -> Hash {
        *blake3::hash(file).as_bytes()
    }

    /// The rules that a table plays by.
    pub fn rules_of(&self, table: u32) -> usize {
        table as usize % self.rules.len()
    }

    /// Whether a table's player brings half of its dice.
    pub fn is_pledged(&self, table: u32) -> bool {
        self.rules[self.rules_of(table)].dice == DiceSource::Both
    }

    /// Whether some table's player does.
    pub fn has_pledged(&self) -> bool {
        self.rules.iter().any(|rules| rules.dice == DiceSource::Both)
    }

    /// Tables of one clock phase, the last phase may have fewer.
    pub fn tables_per_phase(&self) -> u32 {
        self.tables.div_ceil(self.clock_phases)
    }

    /// Checks every value that needs no catalogue. That no bet favours the player is checked where the catalogue is.
    ///
    /// # Errors
    /// The first field that cannot be so.
    pub fn check(&self) -> Result<(), GenesisError> {
        let fail = |field, problem: String| Err(GenesisError { field, problem });
        // What a bound follows from is checked before it: a range that nothing is within would tell nobody what is wrong.
        let within = |field, value: u64, low: u64, high: u64| match value {
            _ if value < low || value > high => fail(field, format!("{value}; it may be {low} to {high}")),
            _ => Ok(()),
        };
        within("version", self.version.into(), GENESIS_VERSION.into(), GENESIS_VERSION.into())?;
        within("start_ms", self.start_ms, 0, TIME_MS_MAX)?;
        within("supply", self.supply, 1, SUPPLY_MAX)?;
        within("tables", self.tables.into(), 1, TABLES_MAX.into())?;
        within("seats", self.seats.into(), 1, SEATS_MAX.into())?;
        within("accounts", self.accounts.into(), 1, ACCOUNTS_MAX.into())?;
        within("grant", self.grant, 0, self.supply)?;
        within("rules", self.rules.len() as u64, 1, RULES_MAX as u64)?;
        // Each by itself, whether a table plays by it or not: their hashes are all in the state.
        for rules in &self.rules {
            rules.check().or_else(|problem| fail("rules", problem))?;
        }
        within("window_max_ms", self.window_max_ms, 1, 24 * 3_600_000)?;
        within("window_min_ms", self.window_min_ms, 0, self.window_max_ms / 2)?;
        // Each phase has a table and a millisecond of its own.
        within("clock_phases", self.clock_phases.into(), 1, self.window_max_ms.min(self.tables.into()))?;
        // Whoever waits for one roll is not absent, and an account outlives a seat.
        within("idle_ms", self.idle_ms, self.window_max_ms, IDLE_MS_MAX)?;
        within("account_idle_ms", self.account_idle_ms, self.idle_ms, IDLE_MS_MAX)?;
        within("idleness.gap_max_ms", self.idleness.gap_max_ms, 1, IDLE_MS_MAX)?;
        within("idleness.grant_ms", self.idleness.grant_ms, 1, IDLE_MS_MAX)?;
        within("idleness.seat_ms", self.idleness.seat_ms, 1, IDLE_MS_MAX)?;
        within("block_interval_ms", self.block_interval_ms, PROPOSAL_INTERVAL_MS_MIN, self.window_max_ms.max(10))?;
        within("validators", self.validators.len() as u64, 1, VALIDATORS_MAX.into())?;
        // Such keys carry no warning: whoever of several drew them could foresee every roll, and no output would say so.
        if self.keys == KeySource::Own && self.validators.len() > 1 {
            return fail("keys", "own; it is for one validator, whose beacon key nobody else has a share of".into());
        }
        // The supply bounds every sum of chips: banks that were more than it would be filled with chips that nobody minted.
        let banks = self.bank_target.checked_mul(self.tables.into());
        if banks.is_none_or(|banks| banks > self.supply) {
            let (target, tables, supply) = (self.bank_target, self.tables, self.supply);
            return fail("bank_target", format!("{target} for {tables} tables is more than the supply {supply}"));
        }
        match &self.opening {
            Opening::Free { per_height } => within("opening.per_height", (*per_height).into(), 1, u32::MAX.into()),
            Opening::Voucher { issuers } => within("opening.issuers", issuers.len() as u64, 1, ISSUERS_MAX as u64),
        }
    }
}

/// Bytes that a text file holds as lowercase hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HexBytes<const N: usize>(pub [u8; N]);

/// Lowercase hex.
pub fn hex(bytes: &[u8]) -> String {
    const_hex::encode(bytes)
}

/// The bytes of a hex text of any length.
pub fn unhex_all(text: &str) -> Option<Vec<u8>> {
    const_hex::decode(text).ok()
}

/// The bytes of a hex text of exactly `2 N` digits.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    // The library takes a prefix too, which would be a second way to write the same bytes.
    if text.len() == 2 * N { const_hex::decode_to_array(text).ok() } else { None }
}

impl<const N: usize> std::fmt::Debug for HexBytes<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl<const N: usize> Serialize for HexBytes<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for HexBytes<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        unhex(&text)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom(format!("expected {} hex digits, found `{text}`", 2 * N)))
    }
}
