//! The users of a load run: their keys, their seats, and the intents they send.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::{BetId, Hash, TableId};
use order::signature::NetKey;
use rayon::prelude::*;
use systems::catalogue::BETS;

/// Seconds until an intent expires, from when it is due.
pub const EXPIRY_S: u64 = 30;
/// Bets that are open in any phase and decided by the next roll: a user can place them for ever.
const BET_NAMES: [&str; 4] = ["field", "any_seven", "any_craps", "horn"];
/// The first number that a user bets with: 1 opens the account, 2 takes the seat.
pub const FIRST_BET: u64 = 3;

/// One user.
pub struct User {
    /// The library that QUIC brings along signs in half the time of the one that players use. Both make the same signatures.
    key: Ed25519KeyPair,
    /// The public half.
    pub public: [u8; 32],
    /// Who the user's program is on the network.
    pub net: NetKey,
    /// Where the user sits.
    pub table: TableId,
}

/// What users must know of the chain that they play on.
#[derive(Clone, Copy, Debug)]
pub struct PlayedChain {
    /// The chain id, which every intent signs.
    pub chain: Hash,
    /// Craps tables of the chain, over which users are spread.
    pub tables: u32,
    /// Chips granted to an account that opens.
    pub grant: u64,
}

/// All users of a run.
pub struct Users {
    users: Vec<User>,
    bets: Vec<BetId>,
    played: PlayedChain,
    /// The node's time when this process' clock showed zero, in milliseconds since the Unix epoch.
    offset_ms: i64,
}

fn seed_of(seed: u64, role: &str, user: u32) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("bitcraps load users 1");
    hasher.update(&seed.to_le_bytes()).update(role.as_bytes()).update(&user.to_le_bytes());
    *hasher.finalize().as_bytes()
}

/// The seed of a user's account key.
pub(crate) fn player_seed(seed: u64, user: u32) -> [u8; 32] {
    seed_of(seed, "player", user)
}

/// A key for a connection that belongs to no user.
pub fn stray_key(seed: u64, role: &str, number: u32) -> NetKey {
    NetKey::from_seed(&seed_of(seed, role, number))
}

/// The wall's clock, since the Unix epoch.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// What an intent says that expires at that second.
///
/// # Panics
/// After the year 2106, where no chain has a block any more.
pub(crate) fn expiry_s(at_s: u64) -> u32 {
    u32::try_from(at_s).expect("seconds since 1970 fit until 2106")
}

fn wall_ms() -> i64 {
    now().as_millis() as i64
}

impl Users {
    /// `count` users, spread over the tables of a chain whose node says that it is `now_ms`.
    ///
    /// # Panics
    /// If the catalogue lacks a bet that they place.
    pub fn new(count: u32, played: PlayedChain, seed: u64, now_ms: u64) -> Self {
        // First: a million keys take half a minute.
        let offset_ms = now_ms as i64 - wall_ms();
        let user = |number: u32| {
            let key = Ed25519KeyPair::from_seed_unchecked(&player_seed(seed, number)).expect("any 32 bytes are a seed");
            let public = key.public_key().as_ref().try_into().expect("32 bytes");
            let net = NetKey::from_seed(&seed_of(seed, "net", number));
            User { public, key, net, table: TableId(number % played.tables) }
        };
        let bet =
            |name: &&str| BetId(BETS.iter().position(|bet| bet.name == *name).expect("a bet of the catalogue") as u8);
        let bets = BET_NAMES.iter().map(bet).collect();
        Self { users: (0..count).into_par_iter().map(user).collect(), bets, played, offset_ms }
    }

    /// The users, by number.
    pub fn list(&self) -> &[User] {
        &self.users
    }

    /// The node's time, in seconds since the Unix epoch.
    pub fn now_s(&self) -> u64 {
        ((wall_ms() + self.offset_ms) / 1_000) as u64
    }

    fn body(&self, user: usize, kind: IntentKind, number: u64, expiry_s: u64) -> IntentBody {
        IntentBody::new(kind, self.users[user].public, number, self::expiry_s(expiry_s))
    }

    /// The user's signature under a body.
    pub fn sign(&self, user: usize, body: IntentBody) -> Intent {
        let signature = self.users[user].key.sign(&body.signed_bytes(&self.played.chain));
        Intent { body, signature: signature.as_ref().try_into().expect("64 bytes") }
    }

    /// Opens the account.
    pub fn open(&self, user: usize) -> Intent {
        self.sign(user, self.body(user, IntentKind::Open, 1, self.now_s() + EXPIRY_S))
    }

    /// Takes the seat, with half of what the account was granted.
    pub fn sit(&self, user: usize) -> Intent {
        let body = self.body(user, IntentKind::Sit, 2, self.now_s() + EXPIRY_S);
        self.sign(user, body.at(self.users[user].table).amount(self.played.grant / 2))
    }

    /// A user's intent of the schedule, from the 0th: a bet. Its number says which bet, and how much.
    pub fn scheduled(&self, user: usize, nth: u64, expiry_s: u64) -> IntentBody {
        let number = FIRST_BET + nth;
        let choice = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let bet = self.bets[choice as usize % self.bets.len()];
        // A horn is four bets in one, and so are its chips.
        let amount = 4 * (1 + (choice >> 8) % 3);
        let body = self.body(user, IntentKind::Bet, number, expiry_s);
        body.at(self.users[user].table).on(bet, 0).amount(amount)
    }
}

/// When each user's intents under way were due: what latency is counted from, once for each answer. A client that lost its
/// connection may hear an answer twice.
pub struct Due {
    slots: usize,
    /// What is under way, packed: 20 bits of the intent's number, whether it was acknowledged, and 43 bits of microseconds.
    under_way: Vec<AtomicU64>,
}

const MICROS_BITS: u32 = 43;
const ACKNOWLEDGED: u64 = 1 << MICROS_BITS;
const MICROS: u64 = ACKNOWLEDGED - 1;
/// Nothing is under way: no intent was due after 100 days.
const NOTHING: u64 = u64::MAX;

fn tag(number: u64) -> u64 {
    number << (MICROS_BITS + 1)
}

impl Due {
    /// Room for the last `slots` intents of each user.
    pub fn new(users: usize, slots: usize) -> Self {
        Self { slots, under_way: (0..users * slots).map(|_| AtomicU64::new(NOTHING)).collect() }
    }

    fn slot(&self, user: usize, number: u64) -> &AtomicU64 {
        &self.under_way[user * self.slots + number as usize % self.slots]
    }

    /// An intent goes out that was due so many microseconds after the start.
    ///
    /// # Panics
    /// If that is more than 100 days.
    pub fn set(&self, user: usize, number: u64, micros: u64) {
        assert!(micros < MICROS, "a run lasts days, not months");
        self.slot(user, number).store(tag(number) | micros, Ordering::Relaxed);
    }

    /// When an intent that the node has now was due, in microseconds after the start; `None` if it was acknowledged or answered before.
    pub fn acknowledge(&self, user: usize, number: u64) -> Option<u64> {
        let slot = self.slot(user, number);
        let found = slot.load(Ordering::Relaxed);
        let is_new = found != NOTHING && found & !MICROS == tag(number);
        // A user's answers come one after another: nobody else writes this slot now.
        is_new.then(|| slot.store(found | ACKNOWLEDGED, Ordering::Relaxed)).map(|()| found & MICROS)
    }

    /// When an intent with its last answer was due, in microseconds after the start, and whether this is the first word about it; `None`
    /// if it had its last answer before.
    pub fn finish(&self, user: usize, number: u64) -> Option<(u64, bool)> {
        let slot = self.slot(user, number);
        let found = slot.load(Ordering::Relaxed);
        let is_new = found != NOTHING && found & !(MICROS | ACKNOWLEDGED) == tag(number);
        is_new.then(|| slot.store(NOTHING, Ordering::Relaxed)).map(|()| (found & MICROS, found & ACKNOWLEDGED == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_counts_once() {
        let due = Due::new(2, 4);
        assert_eq!((due.acknowledge(1, 7), due.finish(1, 7)), (None, None), "nothing is under way");
        due.set(1, 7, 1_500);
        assert_eq!((due.acknowledge(0, 7), due.finish(1, 3)), (None, None), "another's, and another in the same slot");
        assert_eq!((due.acknowledge(1, 7), due.acknowledge(1, 7)), (Some(1_500), None));
        assert_eq!((due.finish(1, 7), due.finish(1, 7)), (Some((1_500, false)), None));
        assert_eq!(due.acknowledge(1, 7), None, "after its last answer");
        due.set(1, 11, 0);
        assert_eq!(due.finish(1, 11), Some((0, true)), "answered without an acknowledgement");
    }
}
