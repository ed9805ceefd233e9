use bevy_ecs::component::Component;
use bytemuck::{Pod, Zeroable};

use super::row::{ChainStart, Fields, Row, fields};
use crate::chips::Chips;
use crate::ids::Height;
use crate::limits::{OPENING_GAP_MS_MAX, RULES_MAX, VALIDATORS_MAX};
use crate::message::Hash;

/// The house's own row: the treasury, the control accounts of the ledger, and where the chain stands.
/// Layout: 128 bytes, two cache lines, no padding. Units: chips; milliseconds of block time.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct House {
    /// All chips there are.
    pub supply: Chips,
    /// The house's reserve.
    pub treasury: Chips,
    /// The sum of all accounts' cages.
    pub cages: Chips,
    /// The sum of all seats' rails.
    pub rails: Chips,
    /// The sum of all tables' felts.
    pub felts: Chips,
    /// The sum of all tables' banks.
    pub banks: Chips,
    /// The last settled height.
    pub height: Height,
    /// Its block's time.
    pub time_ms: u64,
    /// The clock of activity: milliseconds of block time since the start, each gap between two blocks counted as at most
    /// [`Idleness::gap_max_ms`](crate::genesis::Idleness::gap_max_ms). Seats and accounts are idle by this clock.
    pub active_ms: u64,
    /// The first height on which the pending set of validators votes; zero while none is pending.
    pub validators_from: Height,
    /// Accounts in use.
    pub accounts_open: u32,
    /// Zero.
    pub reserved_after_accounts: [u8; 4],
    /// Chips of bets whose roll was not opened in time. Nobody can spend them: a bank that earned them would have a reason
    /// to refuse openings.
    pub forfeited: Chips,
    /// The clock of openings: milliseconds of block time since the start, each gap between two blocks counted as at most
    /// [`OPENING_GAP_MS_MAX`]. Zero where no table takes pledges.
    pub opening_ms: u64,
    /// Zero.
    pub reserved: [u8; 24],
}

/// A validator: slot = row. Layout: 128 bytes, no padding. A slot without a validator is zero.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Validator {
    /// Ed25519 key of its votes and proposals.
    pub vote_key: [u8; 32],
    /// Ed25519 key with which it takes part in dealing shares of the group key.
    pub dkg_key: [u8; 32],
    /// The first height at which it proposes again, after failed rounds of its own; zero if it had none lately.
    pub skipped_until: Height,
    /// 1 for a validator, 0 for a free slot.
    pub voting_power: u32,
    /// The index of its share of the group key, and 1; zero if it holds none.
    pub share: u32,
    /// Zero.
    pub reserved: [u8; 48],
}

/// A validator of the pending set, which votes from [`House::validators_from`] on. Layout: as [`Validator`].
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct NextValidator(pub Validator);

/// The group's beacon key. Layout: 128 bytes.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct GroupKey {
    /// BLS12-381 public key in G2, compressed.
    pub key: [u8; 96],
    /// How often the shares were dealt anew.
    pub epoch: u64,
    /// The first height whose beacon is under this key; zero while there is no key.
    pub from: Height,
    /// The first height whose beacon is made of the shares of the next epoch; zero while those are not dealt.
    pub next_epoch_from: Height,
    /// Zero.
    pub reserved: [u8; 8],
}

/// The hash of one set of table rules with its whole catalogue. Layout: 64 bytes.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct RulesHash {
    /// The hash; zero where there is no such set.
    pub hash: Hash,
    /// Zero.
    pub reserved: [u8; 32],
}

const _: () = assert!(size_of::<House>() == 128);
const _: () = assert!(align_of::<House>() == 64);
const _: () = assert!(size_of::<Validator>() == 128);
const _: () = assert!(size_of::<GroupKey>() == 128);
const _: () = assert!(size_of::<RulesHash>() == 64);

impl House {
    /// The clock of activity at a block that follows.
    pub fn active_at(&self, time_ms: u64, gap_max_ms: u64) -> u64 {
        assert!(time_ms > self.time_ms, "block time moves forward");
        self.active_ms.saturating_add((time_ms - self.time_ms).min(gap_max_ms))
    }

    /// The clock of openings at a block that follows: a node that stood still forfeits nobody's bets.
    pub fn opening_at(&self, time_ms: u64) -> u64 {
        assert!(time_ms > self.time_ms, "block time moves forward");
        self.opening_ms.saturating_add((time_ms - self.time_ms).min(OPENING_GAP_MS_MAX))
    }

    /// Whether the control accounts add up to the supply.
    pub fn is_conserved(&self) -> bool {
        self.treasury + self.cages + self.rails + self.felts + self.banks + self.forfeited == self.supply
    }
}

impl Row for House {
    const FIELDS: Fields = fields!(House: supply treasury cages rails felts banks height time_ms active_ms validators_from
            accounts_open reserved_after_accounts forfeited opening_ms reserved);

    /// The treasury holds what the tables' banks do not.
    fn first(start: &ChainStart<'_>, _row: usize) -> Self {
        let genesis = start.genesis;
        let banks = Chips(genesis.bank_target * u64::from(genesis.tables));
        let first = Self {
            supply: Chips(genesis.supply),
            treasury: Chips(genesis.supply) - banks,
            cages: Chips::ZERO,
            rails: Chips::ZERO,
            felts: Chips::ZERO,
            banks,
            height: Height::GENESIS,
            time_ms: genesis.start_ms,
            active_ms: 0,
            validators_from: Height::GENESIS,
            accounts_open: 0,
            reserved_after_accounts: [0; 4],
            forfeited: Chips::ZERO,
            opening_ms: 0,
            reserved: [0; 24],
        };
        assert!(first.is_conserved(), "all chips that there are were minted");
        first
    }
}

impl Row for GroupKey {
    const FIELDS: Fields = fields!(GroupKey: key epoch from next_epoch_from reserved);

    fn first(start: &ChainStart<'_>, _row: usize) -> Self {
        Self { key: start.genesis.group_key.0, from: Height(1), ..Self::zeroed() }
    }
}

impl Row for Validator {
    const FIELDS: Fields = fields!(Validator: vote_key dkg_key skipped_until voting_power share reserved);

    fn first(start: &ChainStart<'_>, slot: usize) -> Self {
        assert!(start.genesis.validators.len() <= VALIDATORS_MAX as usize, "every validator has a row");
        start.genesis.validators.get(slot).map_or_else(Self::zeroed, |validator| Self {
            vote_key: validator.vote_key.0,
            dkg_key: validator.dkg_key.0,
            voting_power: 1,
            // Whoever dealt the shares of genesis dealt them by slot.
            share: slot as u32 + 1,
            ..Self::zeroed()
        })
    }
}

impl Row for NextValidator {
    const FIELDS: Fields = Validator::FIELDS;
}

impl Row for RulesHash {
    const FIELDS: Fields = fields!(RulesHash: hash reserved);

    fn first(start: &ChainStart<'_>, row: usize) -> Self {
        assert!(start.rules_hashes.len() <= RULES_MAX, "every set of rules has a row");
        Self { hash: start.rules_hashes.get(row).copied().unwrap_or_default(), reserved: [0; 32] }
    }
}
