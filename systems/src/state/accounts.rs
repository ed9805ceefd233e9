//! Accounts: finding them by key, and free slots by number, which is node-local and derived from the columns; and what
//! becomes of those that nobody uses.

use std::hash::BuildHasher;

use bevy_ecs::resource::Resource;
use engine::bits::ones_of;
use engine::component::{Account, AccountKey};
use engine::limits::{CHUNK_ACCOUNTS, RECOUNT_PARTS};
use engine::{AccountId, Chips, Genesis, Height};
use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// What becomes of an account that is looked over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Nothing.
    Stays,
    /// The grant goes back; the account holds other chips, and stays open.
    LosesGrant,
    /// The grant goes back, and the account's slot becomes free.
    LosesGrantAndSlot,
    /// The account holds nothing, and its slot becomes free.
    LosesSlot,
}

impl Fate {
    /// Whether the grant goes back to the treasury.
    pub fn returns_grant(self) -> bool {
        matches!(self, Self::LosesGrant | Self::LosesGrantAndSlot)
    }

    /// Whether the slot becomes free.
    pub fn frees(self) -> bool {
        matches!(self, Self::LosesSlot | Self::LosesGrantAndSlot)
    }
}

/// What becomes of an account at a moment of the clock of activity. One with a seat stays as it is.
pub fn fate_of(account: &Account, genesis: &Genesis, active_ms: u64) -> Fate {
    if !account.is_open() || account.seats > 0 {
        return Fate::Stays;
    }
    // Its age counts, not its silence: intents that bet nothing do not keep a grant.
    let never_bet = account.wagered == Chips::ZERO && account.granted > Chips::ZERO;
    if never_bet && u64::from(account.opened_s) * 1_000 + genesis.idleness.grant_ms <= active_ms {
        return if account.cage <= account.granted { Fate::LosesGrantAndSlot } else { Fate::LosesGrant };
    }
    // A cage that holds chips keeps its slot for ever: nobody takes what is a player's own.
    let is_idle = account.last_intent_ms.saturating_add(genesis.account_idle_ms) <= active_ms;
    if is_idle && account.cage == Chips::ZERO { Fate::LosesSlot } else { Fate::Stays }
}

/// The accounts that a height looks over: one chunk in 64.
pub fn accounts_looked_over(height: Height, accounts: usize) -> impl Iterator<Item = usize> {
    let part = (height.0 % RECOUNT_PARTS) as usize;
    let chunks = (part..accounts.div_ceil(CHUNK_ACCOUNTS)).step_by(RECOUNT_PARTS as usize);
    chunks.flat_map(move |chunk| chunk * CHUNK_ACCOUNTS..accounts.min((chunk + 1) * CHUNK_ACCOUNTS))
}

/// Where each key's account lies, and which slots are free.
///
/// Looking up is a pure function of the columns, so it may be a hash table; nothing ever walks it.
#[derive(Resource, Default)]
pub struct AccountIndex {
    by_key: HashTable<u32>,
    free: Vec<u64>,
    first_free_word: usize,
}

/// The hash by which a key is found.
fn hash_of(key: &[u8; 32]) -> u64 {
    FixedState::default().hash_one(key)
}

impl AccountIndex {
    /// Derives the index from the columns.
    pub fn of(accounts: &[Account], keys: &[AccountKey]) -> Self {
        assert_eq!(accounts.len(), keys.len(), "every account has the row of its key");
        let mut index = Self {
            by_key: HashTable::with_capacity(accounts.len()),
            free: vec![0; accounts.len().div_ceil(64)],
            first_free_word: 0,
        };
        for (id, account) in accounts.iter().enumerate() {
            if account.is_open() {
                index.insert(AccountId(id as u32), keys);
            } else {
                index.free[id / 64] |= 1 << (id % 64);
            }
        }
        // A slot that is neither is lost for good, and one that is both would be opened over its owner.
        let free: usize = index.free.iter().map(|word| word.count_ones() as usize).sum();
        assert_eq!(index.by_key.len() + free, accounts.len(), "every slot is open or free");
        index
    }

    /// The account with this key.
    #[inline]
    pub fn find(&self, key: &[u8; 32], keys: &[AccountKey]) -> Option<AccountId> {
        self.by_key.find(hash_of(key), |id| keys[*id as usize].key == *key).map(|id| AccountId(*id))
    }

    /// How many accounts are found by a key.
    pub fn open(&self) -> usize {
        self.by_key.len()
    }

    /// The lowest free slot.
    pub fn lowest_free(&mut self) -> Option<AccountId> {
        while *self.free.get(self.first_free_word)? == 0 {
            self.first_free_word += 1;
        }
        // The lowest, and not any: which slot an account gets is state, and must be the same on every node.
        let bit = self.free[self.first_free_word].trailing_zeros() as usize;
        Some(AccountId((self.first_free_word * 64 + bit) as u32))
    }

    /// All free slots, the lowest first.
    pub fn free_slots(&self) -> impl Iterator<Item = AccountId> + '_ {
        let words = self.free.iter().skip(self.first_free_word).copied();
        ones_of(words).map(|bit| AccountId((self.first_free_word * 64 + bit) as u32))
    }

    /// A slot was opened; its key is in the column already.
    pub fn insert(&mut self, id: AccountId, keys: &[AccountKey]) {
        self.free[id.index() / 64] &= !(1 << (id.index() % 64));
        self.by_key.insert_unique(hash_of(&keys[id.index()].key), id.0, |id| hash_of(&keys[*id as usize].key));
        assert!(self.by_key.len() <= keys.len(), "no more accounts are open than there are");
    }

    /// A slot becomes free; its key is in the column still.
    ///
    /// # Panics
    /// If it was not in the index.
    pub fn remove(&mut self, id: AccountId, keys: &[AccountKey]) {
        let entry = self.by_key.find_entry(hash_of(&keys[id.index()].key), |found| *found == id.0);
        entry.expect("an open account is in the index").remove();
        assert!(self.free[id.index() / 64] >> (id.index() % 64) & 1 == 0, "a slot becomes free once");
        // The search for a free slot never goes back by itself: one below where it stands would not be found again.
        self.free[id.index() / 64] |= 1 << (id.index() % 64);
        self.first_free_word = self.first_free_word.min(id.index() / 64);
        assert!(self.by_key.len() < keys.len(), "a slot that became free is one that is not open");
    }
}
