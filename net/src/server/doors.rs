//! Doors: who may come in, and what all who are in may hold together.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::ServerConfig;
use crate::session::CloseCode;
use crate::tls::Key;
use crate::transport::{IDLE_BYTES, PLAYING_BYTES};

/// Addresses that are remembered, connected or not.
const ADDRESSES_MAX: usize = 1 << 16;
/// Banned keys that are remembered.
const BANS_MAX: usize = 1 << 14;
/// Keys of one address that may be banned before the address is.
const BANNED_KEYS_OF_ADDRESS: u32 = 4;
/// How long an address without a connection is remembered.
const FORGET: Duration = Duration::from_secs(60);

/// Who is in, who may come in.
pub(super) struct Doors {
    connections: u32,
    connections_max: u32,
    per_address_max: u32,
    connects: Quota,
    ban: Duration,
    reserved: u64,
    reserved_max: u64,
    addresses: BTreeMap<IpAddr, Address>,
    banned: BTreeMap<Key, Instant>,
}

/// What is known of an address.
struct Address {
    connections: u32,
    connects: DefaultDirectRateLimiter,
    seen: Instant,
    /// Keys that were banned here, and until when the last of them is.
    banned: (u32, Instant),
}

impl Doors {
    pub(super) fn new(config: &ServerConfig) -> Self {
        Self {
            connections: 0,
            connections_max: config.connections_max,
            per_address_max: config.connections_per_address_max,
            connects: Quota::per_second(config.connects_per_address_per_s)
                .allow_burst(config.connects_per_address_per_s),
            ban: config.ban,
            reserved: 0,
            reserved_max: config.buffer_bytes_max,
            addresses: BTreeMap::new(),
            banned: BTreeMap::new(),
        }
    }

    pub(super) fn connections(&self) -> u32 {
        self.connections
    }

    pub(super) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Lets a connection in, with what it may hold while it is idle.
    ///
    /// # Errors
    /// The reason for which it stays out.
    pub(super) fn enter(&mut self, ip: IpAddr, now: Instant) -> Result<(), CloseCode> {
        if self.connections >= self.connections_max || self.reserved + IDLE_BYTES > self.reserved_max {
            return Err(CloseCode::Full);
        }
        if !self.addresses.contains_key(&ip) && self.addresses.len() >= ADDRESSES_MAX {
            self.addresses.retain(|_, address| {
                address.connections > 0 || now.duration_since(address.seen) < FORGET || address.banned.1 > now
            });
            if self.addresses.len() >= ADDRESSES_MAX {
                return Err(CloseCode::Full);
            }
        }
        let connects = self.connects;
        let address = self.addresses.entry(ip).or_insert_with(|| Address {
            connections: 0,
            connects: RateLimiter::direct(connects),
            seen: now,
            banned: (0, now),
        });
        address.seen = now;
        if address.banned.0 >= BANNED_KEYS_OF_ADDRESS {
            if address.banned.1 > now {
                return Err(CloseCode::Banned);
            }
            address.banned.0 = 0;
        }
        if address.connections >= self.per_address_max || address.connects.check().is_err() {
            return Err(CloseCode::AddressLimit);
        }
        address.connections += 1;
        self.connections += 1;
        self.reserved += IDLE_BYTES;
        Ok(())
    }

    /// A connection that was let in is gone; `playing` says whether it held what a playing one may.
    pub(super) fn leave(&mut self, ip: IpAddr, playing: bool) {
        let address = self.addresses.get_mut(&ip).expect("an address with a connection is remembered");
        address.connections -= 1;
        self.connections -= 1;
        self.reserved -= if playing { PLAYING_BYTES } else { IDLE_BYTES };
    }

    /// An idle connection begins to play: it may hold more, if there is room.
    pub(super) fn play(&mut self) -> bool {
        let room = self.reserved + PLAYING_BYTES - IDLE_BYTES <= self.reserved_max;
        if room {
            self.reserved += PLAYING_BYTES - IDLE_BYTES;
        }
        room
    }

    pub(super) fn is_banned(&self, key: &Key, now: Instant) -> bool {
        self.banned.get(key).is_some_and(|until| *until > now)
    }

    /// Keeps a key out for a while; and its address, once it had several.
    pub(super) fn ban(&mut self, key: Key, ip: IpAddr, now: Instant) {
        let until = now + self.ban;
        if self.banned.len() >= BANS_MAX {
            self.banned.retain(|_, until| *until > now);
        }
        if self.banned.len() >= BANS_MAX
            && let Some(first) = self.banned.iter().min_by_key(|(_, until)| **until).map(|(key, _)| *key)
        {
            self.banned.remove(&first);
        }
        self.banned.insert(key, until);
        if let Some(address) = self.addresses.get_mut(&ip) {
            let (count, last) = address.banned;
            address.banned = (if last > now { count + 1 } else { 1 }, until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn doors(connections: u32, per_address: u32, bytes: u64) -> Doors {
        Doors {
            connections: 0,
            connections_max: connections,
            per_address_max: per_address,
            connects: Quota::per_second(NonZeroU32::MAX),
            ban: Duration::from_secs(60),
            reserved: 0,
            reserved_max: bytes,
            addresses: BTreeMap::new(),
            banned: BTreeMap::new(),
        }
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    #[test]
    fn connections_addresses_and_bytes_are_bounded() {
        let now = Instant::now();
        let mut few = doors(3, 2, u64::MAX);
        assert_eq!([few.enter(ip(1), now), few.enter(ip(1), now)], [Ok(()), Ok(())]);
        assert_eq!(few.enter(ip(1), now), Err(CloseCode::AddressLimit));
        assert_eq!(few.enter(ip(2), now), Ok(()));
        assert_eq!(few.enter(ip(3), now), Err(CloseCode::Full));
        few.leave(ip(1), false);
        assert_eq!(few.enter(ip(3), now), Ok(()));

        let mut small = doors(100, 100, PLAYING_BYTES + IDLE_BYTES);
        assert_eq!([small.enter(ip(1), now), small.enter(ip(1), now)], [Ok(()), Ok(())]);
        assert!(small.play());
        assert!(!small.play(), "the second stays with small windows");
        assert_eq!(small.enter(ip(2), now), Err(CloseCode::Full));
        small.leave(ip(1), true);
        assert_eq!(small.reserved(), IDLE_BYTES);
        assert!(small.play());
    }

    #[test]
    fn bans_end_and_an_address_of_many_banned_keys_is_banned() {
        let now = Instant::now();
        let mut doors = doors(100, 100, u64::MAX);
        for key in 0..BANNED_KEYS_OF_ADDRESS as u8 {
            assert_eq!(doors.enter(ip(1), now), Ok(()));
            doors.ban([key; 32], ip(1), now);
        }
        assert!(doors.is_banned(&[0; 32], now) && !doors.is_banned(&[99; 32], now));
        assert_eq!(doors.enter(ip(1), now), Err(CloseCode::Banned));
        assert_eq!(doors.enter(ip(2), now), Ok(()));
        let later = now + Duration::from_secs(61);
        assert!(!doors.is_banned(&[0; 32], later));
        assert_eq!(doors.enter(ip(1), later), Ok(()));
    }

    #[test]
    fn a_flood_of_connects_is_slowed_and_others_are_not() {
        let now = Instant::now();
        let mut doors = doors(1_000, 1_000, u64::MAX);
        doors.connects = Quota::per_second(NonZeroU32::new(5).expect("not zero"));
        let let_in = (0..100).filter(|_| doors.enter(ip(1), now).is_ok()).count();
        assert!((5..=6).contains(&let_in), "{let_in}");
        assert_eq!(doors.enter(ip(2), now), Ok(()));
    }
}
