//! Admission: who may come in, and what all who are in may hold together. Knows no socket and no clock: the time is an
//! argument, counted from the server's start.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::address::{AddressBlock, WIDE_SHARE};
use engine::limits::{ADDRESS_BLOCKS_MAX, ADDRESS_UNPROVEN_MAX, BANNED_KEYS_OF_ADDRESS, BANS_MAX};
use engine::rate::{Meter, Rate};

use super::config::ServerConfig;
use crate::session::CloseCode;
use crate::tls::Key;
use crate::transport::{IDLE_BYTES, NODE_BYTES, PLAYING_BYTES};

/// How often the blocks without a connection are looked over, while there are too many.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What a connection may hold: its windows, its queues and an unfinished message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Allowance {
    /// It said nothing yet, or only hello.
    Idle,
    /// It sent intents, or watches something.
    Playing,
    /// A node with all that goes between nodes: one that this node was told of, or one of a few others.
    Node,
    /// A validator, with all that goes between nodes, out of what is kept for validators.
    Validator,
}

impl Allowance {
    pub(crate) const fn bytes(self) -> u64 {
        match self {
            Self::Idle => IDLE_BYTES,
            Self::Playing => PLAYING_BYTES,
            Self::Node | Self::Validator => NODE_BYTES,
        }
    }
}

/// Who is in, who may come in.
pub(crate) struct Admission {
    connections: u32,
    connections_max: u32,
    per_address_max: u32,
    connects: Rate,
    connects_wide: Rate,
    opens: Rate,
    opens_wide: Rate,
    ban: Duration,
    reserved: u64,
    reserved_max: u64,
    /// Validators that are not connected: there is room for them, whoever comes.
    awaited: u32,
    blocks: BTreeMap<AddressBlock, Block>,
    swept: Duration,
    banned: BTreeMap<Key, Duration>,
}

/// What is known of an address block.
#[derive(Default)]
struct Block {
    connections: u32,
    /// Connections of it that are half open, and may have begun in another's name.
    unproven: u32,
    connects: Meter,
    /// Accounts that were asked for.
    opens: Meter,
    /// Keys that were banned here, and until when the last of them is.
    banned_keys: u32,
    banned_until: Duration,
}

impl Block {
    fn is_banned(&self, now: Duration) -> bool {
        self.banned_keys >= BANNED_KEYS_OF_ADDRESS && self.banned_until > now
    }

    /// Whether forgetting it changes nothing.
    fn is_forgotten(&self, now: Duration) -> bool {
        self.connections == 0 && self.connects.is_full(now) && self.opens.is_full(now) && self.banned_until <= now
    }
}

impl Admission {
    pub(super) fn new(config: &ServerConfig) -> Self {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let of_narrow_and_wide = |count: u32, period| {
            // Whoever has a whole network of addresses is bounded too: all of it shares one rate.
            let wide = count.saturating_mul(WIDE_SHARE);
            (Rate::new(count, period, count), Rate::new(wide, period, wide))
        };
        let (connects, connects_wide) = of_narrow_and_wide(config.connects_per_address_per_s.get(), second);
        let (opens, opens_wide) = of_narrow_and_wide(config.opens_per_address_per_min.get(), minute);
        Self {
            connections: 0,
            connections_max: config.connections_max,
            per_address_max: config.connections_per_address_max,
            connects,
            connects_wide,
            opens,
            opens_wide,
            ban: config.ban,
            reserved: config.reserved_bytes(),
            reserved_max: config.buffer_bytes_max,
            awaited: config.validators.len() as u32,
            blocks: BTreeMap::new(),
            swept: Duration::ZERO,
            banned: BTreeMap::new(),
        }
    }

    pub(super) fn connections(&self) -> u32 {
        self.connections
    }

    pub(super) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Lets a connection of a stranger in, with what it may hold while it is idle.
    ///
    /// # Errors
    /// The reason for which it stays out.
    pub(super) fn admit(&mut self, address: [u8; 16], now: Duration) -> Result<(), CloseCode> {
        // A place is kept for each validator that is not here: strangers cannot keep the quorum apart.
        if self.connections + self.awaited >= self.connections_max {
            return Err(CloseCode::Full);
        }
        self.check(address, now, IDLE_BYTES)?;
        let blocks = AddressBlock::of(address);
        for (block, share) in blocks.with_shares() {
            let rate = if share == 1 { self.connects } else { self.connects_wide };
            let known = self.blocks.entry(block).or_default();
            if known.connections >= self.per_address_max.saturating_mul(share) || !known.connects.spend(1, &rate, now) {
                return Err(CloseCode::AddressLimit);
            }
        }
        self.count_in(address);
        Ok(())
    }

    /// Whether so many of an address may have begun in another's name that the next one must prove where it is.
    pub(super) fn must_prove(&self, address: [u8; 16]) -> bool {
        AddressBlock::of(address).with_shares().any(|(block, share)| {
            self.blocks.get(&block).is_some_and(|known| known.unproven >= ADDRESS_UNPROVEN_MAX.saturating_mul(share))
        })
    }

    /// One that was let in has not proven its address.
    pub(super) fn doubt(&mut self, address: [u8; 16]) {
        for (block, _) in AddressBlock::of(address).with_shares() {
            let known = self.blocks.get_mut(&block).expect("a block with a connection is remembered");
            known.unproven += 1;
            assert!(known.unproven <= known.connections, "who did not prove its address was let in");
        }
    }

    /// It has, or is about to be released.
    pub(super) fn trust(&mut self, address: [u8; 16]) {
        for (block, _) in AddressBlock::of(address).with_shares() {
            let known = self.blocks.get_mut(&block).expect("a block with a connection is remembered");
            known.unproven -= 1;
        }
    }

    /// Lets a connection in that this node opens: it counts and holds as any other does, at no rate.
    ///
    /// # Errors
    /// The reason for which it is not opened.
    pub(crate) fn admit_dialled(&mut self, address: [u8; 16], now: Duration) -> Result<(), CloseCode> {
        // While validators are awaited, this one may be among them, and what they hold is reserved already.
        let bytes = if self.awaited > 0 { 0 } else { IDLE_BYTES };
        self.check(address, now, bytes)?;
        self.count_in(address);
        Ok(())
    }

    /// What concerns strangers and dialled nodes alike: room for a connection, its bytes and its address, and no ban.
    fn check(&mut self, address: [u8; 16], now: Duration, bytes: u64) -> Result<(), CloseCode> {
        if self.connections >= self.connections_max || self.reserved + bytes > self.reserved_max {
            return Err(CloseCode::Full);
        }
        if self.blocks.len() + 2 > ADDRESS_BLOCKS_MAX {
            // The sweep is long: while it finds nothing, it is not made for each of a flood of connections.
            if now >= self.swept + SWEEP_EVERY {
                self.swept = now;
                self.blocks.retain(|_, block| !block.is_forgotten(now));
            }
            if self.blocks.len() + 2 > ADDRESS_BLOCKS_MAX {
                return Err(CloseCode::Full);
            }
        }
        if self.is_address_banned(address, now) { Err(CloseCode::Banned) } else { Ok(()) }
    }

    fn count_in(&mut self, address: [u8; 16]) {
        for (block, _) in AddressBlock::of(address).with_shares() {
            self.blocks.entry(block).or_default().connections += 1;
        }
        assert!(self.connections < self.connections_max, "room was looked for before");
        assert!(self.blocks.len() <= ADDRESS_BLOCKS_MAX, "the blocks that are remembered are bounded");
        self.connections += 1;
        self.reserved += IDLE_BYTES;
    }

    /// A connection that was let in is gone, with what it was allowed.
    pub(crate) fn release(&mut self, address: [u8; 16], allowed: Allowance) {
        for (block, _) in AddressBlock::of(address).with_shares() {
            let known = self.blocks.get_mut(&block).expect("a block with a connection is remembered");
            known.connections -= 1;
            assert!(known.unproven <= known.connections, "who did not prove its address was let in");
        }
        self.connections -= 1;
        match allowed {
            // What a validator held stays reserved until it comes back.
            Allowance::Validator => self.awaited += 1,
            other => self.reserved -= other.bytes(),
        }
    }

    /// A connection from the address asks for an account. Says whether it may.
    pub(super) fn open(&mut self, address: [u8; 16], now: Duration) -> bool {
        AddressBlock::of(address).with_shares().all(|(block, share)| {
            let rate = if share == 1 { self.opens } else { self.opens_wide };
            let known = self.blocks.get_mut(&block).expect("a block with a connection is remembered");
            known.opens.spend(1, &rate, now)
        })
    }

    /// A connection does more than before: it is allowed more, if there is room. Gives what it is allowed now.
    pub(crate) fn promote(&mut self, from: Allowance, to: Allowance) -> Option<Allowance> {
        assert!(to.bytes() >= from.bytes(), "nobody is allowed less than before");
        // A validator takes what was kept for it since the start, and gives back what it held as a stranger.
        if to == Allowance::Validator && self.awaited > 0 {
            self.awaited -= 1;
            self.reserved -= from.bytes();
            return Some(to);
        }
        // This is a second connection with a validator: it counts like that of any node until one of the two ends.
        let to = if to == Allowance::Validator { Allowance::Node } else { to };
        let more = to.bytes() - from.bytes();
        if self.reserved + more > self.reserved_max {
            return None;
        }
        self.reserved += more;
        Some(to)
    }

    /// A connection takes the place of another one with the same node, which ends in the same turn: it need not have room of its own
    /// until then. Gives what it is allowed now.
    pub(crate) fn replace(&mut self, from: Allowance) -> Allowance {
        self.reserved += NODE_BYTES - from.bytes();
        Allowance::Node
    }

    pub(crate) fn is_banned(&self, key: &Key, now: Duration) -> bool {
        self.banned.get(key).is_some_and(|until| *until > now)
    }

    /// Whether so many keys of the address were banned that all of it is.
    pub(crate) fn is_address_banned(&self, address: [u8; 16], now: Duration) -> bool {
        self.blocks.get(&AddressBlock::of(address).narrow).is_some_and(|block| block.is_banned(now))
    }

    /// Keeps a key out for a while; and its address, once it had several.
    pub(super) fn ban(&mut self, key: Key, address: [u8; 16], now: Duration) {
        let until = now + self.ban;
        if self.banned.len() >= BANS_MAX {
            self.banned.retain(|_, until| *until > now);
        }
        // Where none is over yet, the ban that ends first goes: strangers with many keys must not fill the memory.
        if self.banned.len() >= BANS_MAX
            && let Some(first) = self.banned.iter().min_by_key(|(_, until)| **until).map(|(key, _)| *key)
        {
            self.banned.remove(&first);
        }
        self.banned.insert(key, until);
        assert!(self.banned.len() <= BANS_MAX, "the bans that are remembered are bounded");
        if let Some(block) = self.blocks.get_mut(&AddressBlock::of(address).narrow) {
            block.banned_keys = if block.banned_until > now { block.banned_keys + 1 } else { 1 };
            block.banned_until = until;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn admission(connections: u32, per_address: u32, bytes: u64, connects_per_s: u32) -> Admission {
        let second = Duration::from_secs(1);
        Admission {
            connections: 0,
            connections_max: connections,
            per_address_max: per_address,
            connects: Rate::new(connects_per_s, second, connects_per_s),
            connects_wide: Rate::new(connects_per_s * WIDE_SHARE, second, connects_per_s * WIDE_SHARE),
            opens: Rate::new(3, Duration::from_secs(60), 3),
            opens_wide: Rate::new(3 * WIDE_SHARE, Duration::from_secs(60), 3 * WIDE_SHARE),
            ban: Duration::from_secs(60),
            reserved: 0,
            reserved_max: bytes,
            awaited: 0,
            blocks: BTreeMap::new(),
            swept: Duration::ZERO,
            banned: BTreeMap::new(),
        }
    }

    fn v4(last: u8) -> [u8; 16] {
        std::net::Ipv4Addr::new(127, 0, 0, last).to_ipv6_mapped().octets()
    }

    fn v6(text: &str) -> [u8; 16] {
        text.parse::<Ipv6Addr>().expect("an address").octets()
    }

    const NOW: Duration = Duration::from_secs(1_000);
    const FAST: u32 = 10_000;

    #[test]
    fn connections_addresses_and_bytes_are_bounded() {
        let mut few = admission(3, 2, u64::MAX, FAST);
        assert_eq!([few.admit(v4(1), NOW), few.admit(v4(1), NOW)], [Ok(()), Ok(())]);
        assert_eq!(few.admit(v4(1), NOW), Err(CloseCode::AddressLimit));
        assert_eq!(few.admit(v4(2), NOW), Ok(()));
        assert_eq!(few.admit(v4(3), NOW), Err(CloseCode::Full));
        few.release(v4(1), Allowance::Idle);
        assert_eq!(few.admit(v4(3), NOW), Ok(()));

        let mut small = admission(100, 100, PLAYING_BYTES + IDLE_BYTES, FAST);
        assert_eq!([small.admit(v4(1), NOW), small.admit(v4(1), NOW)], [Ok(()), Ok(())]);
        assert_eq!(small.promote(Allowance::Idle, Allowance::Playing), Some(Allowance::Playing));
        assert_eq!(small.promote(Allowance::Idle, Allowance::Playing), None, "there is no room for a second player");
        assert_eq!(small.admit(v4(2), NOW), Err(CloseCode::Full));
        small.release(v4(1), Allowance::Playing);
        assert_eq!(small.reserved(), IDLE_BYTES);
        assert_eq!(small.promote(Allowance::Idle, Allowance::Playing), Some(Allowance::Playing));
        assert_eq!(small.promote(Allowance::Playing, Allowance::Node), None, "a node's windows count too");
    }

    #[test]
    fn there_is_room_for_a_validator_whoever_came_before() {
        let mut full = admission(3, 100, NODE_BYTES + IDLE_BYTES, FAST);
        (full.awaited, full.reserved) = (1, NODE_BYTES);
        assert_eq!(full.admit(v4(1), NOW), Ok(()));
        assert_eq!(full.promote(Allowance::Idle, Allowance::Playing), None, "the rest is the validator's");
        assert_eq!(full.admit(v4(1), NOW), Err(CloseCode::Full));
        full.release(v4(1), Allowance::Idle);
        assert_eq!(full.admit_dialled(v4(2), NOW), Ok(()));
        assert_eq!(full.promote(Allowance::Idle, Allowance::Validator), Some(Allowance::Validator));
        assert_eq!(full.reserved(), NODE_BYTES);
        assert_eq!(full.admit_dialled(v4(2), NOW), Ok(()));
        assert_eq!(
            full.promote(Allowance::Idle, Allowance::Validator),
            None,
            "its second connection has no room of its own"
        );
        full.release(v4(2), Allowance::Validator);
        assert_eq!(full.awaited, 1);
        full.release(v4(2), Allowance::Idle);
        assert_eq!(full.reserved(), NODE_BYTES);
    }

    #[test]
    fn bans_end_and_an_address_of_many_banned_keys_is_banned() {
        let mut admission = admission(100, 100, u64::MAX, FAST);
        for key in 0..BANNED_KEYS_OF_ADDRESS as u8 {
            assert_eq!(admission.admit(v4(1), NOW), Ok(()));
            admission.ban([key; 32], v4(1), NOW);
        }
        assert!(admission.is_banned(&[0; 32], NOW) && !admission.is_banned(&[99; 32], NOW));
        assert_eq!(admission.admit(v4(1), NOW), Err(CloseCode::Banned));
        assert_eq!(admission.admit_dialled(v4(1), NOW), Err(CloseCode::Banned), "nor does this node go there");
        assert_eq!(admission.admit(v4(2), NOW), Ok(()));
        let later = NOW + Duration::from_secs(61);
        assert!(!admission.is_banned(&[0; 32], later));
        assert_eq!(admission.admit(v4(1), later), Ok(()));
    }

    #[test]
    fn a_flood_of_connects_is_slowed_and_others_are_not() {
        let mut admission = admission(1_000, 1_000, u64::MAX, 5);
        let let_in = (0..100).filter(|_| admission.admit(v4(1), NOW).is_ok()).count();
        assert_eq!(let_in, 5);
        assert_eq!(admission.admit(v4(2), NOW), Ok(()));
        assert_eq!(admission.admit(v4(1), NOW + Duration::from_millis(200)), Ok(()));
    }

    #[test]
    fn an_address_of_which_a_few_are_half_open_must_be_proved() {
        let mut admission = admission(1_000, 1_000, u64::MAX, FAST);
        let mut begun = |address, most: u32| {
            let mut count = 0;
            while count < most && !admission.must_prove(address) {
                assert_eq!(admission.admit(address, NOW), Ok(()));
                admission.doubt(address);
                count += 1;
            }
            count
        };
        assert_eq!(begun(v4(1), 99), ADDRESS_UNPROVEN_MAX);
        assert_eq!(begun(v4(2), 99), ADDRESS_UNPROVEN_MAX, "another address is not concerned");
        let of_provider: u32 = (0..99).map(|net| begun(v6(&format!("2001:db8:{net:x}::1")), 1)).sum();
        assert_eq!(of_provider, ADDRESS_UNPROVEN_MAX * WIDE_SHARE);
        admission.trust(v4(1));
        assert!(!admission.must_prove(v4(1)) && admission.must_prove(v4(2)));
        admission.trust(v4(2));
        admission.release(v4(2), Allowance::Idle);
        assert!(!admission.must_prove(v4(2)));
    }

    #[test]
    fn a_subscriber_of_ipv6_counts_as_one_address_and_a_provider_as_sixteen() {
        let mut admission = admission(100_000, 2, u64::MAX, FAST);
        let of_subscriber = (0..50).filter(|host| admission.admit(v6(&format!("2001:db8::{host:x}")), NOW).is_ok());
        assert_eq!(of_subscriber.count(), 2);
        let of_provider = (1..500).filter(|net| admission.admit(v6(&format!("2001:db8:{net:x}::1")), NOW).is_ok());
        assert_eq!(of_provider.count() as u32, 2 * WIDE_SHARE - 2);
        assert_eq!(admission.admit(v6("2001:db9::1"), NOW), Ok(()), "another provider's are let in");
        for key in 0..BANNED_KEYS_OF_ADDRESS as u8 {
            admission.ban([key; 32], v6("2001:db8::1"), NOW);
        }
        assert!(admission.is_address_banned(v6("2001:db8::ffff"), NOW), "a ban reaches the whole /64");
        assert!(!admission.is_address_banned(v6("2001:db8:1::1"), NOW));
    }

    #[test]
    fn an_address_asks_for_a_few_accounts_a_minute_over_however_many_connections() {
        let mut admission = admission(1_000, 1_000, u64::MAX, FAST);
        let asked = |admission: &mut Admission, address, now| {
            (0..20).filter(|_| admission.admit(address, now).is_ok() && admission.open(address, now)).count()
        };
        assert_eq!(asked(&mut admission, v4(1), NOW), 3);
        assert_eq!(asked(&mut admission, v4(2), NOW), 3, "another address asks for its own");
        for _ in 0..20 {
            admission.release(v4(1), Allowance::Idle);
        }
        assert_eq!(asked(&mut admission, v4(1), NOW + Duration::from_secs(20)), 1, "leaving does not help");
        let of_provider: usize =
            (0..40).map(|net| asked(&mut admission, v6(&format!("2001:db8:{net:x}::1")), NOW)).sum();
        assert_eq!(of_provider as u32, 3 * WIDE_SHARE);
    }

    #[test]
    fn addresses_that_left_are_forgotten_before_newcomers_are_turned_away() {
        let mut admission = admission(u32::MAX, 10, u64::MAX, 1);
        let address = |number: u32| {
            let [d, c, b, a] = number.to_le_bytes();
            std::net::Ipv4Addr::new(a, b, c, d).to_ipv6_mapped().octets()
        };
        let mut known = 0;
        while admission.admit(address(known), NOW).is_ok() {
            admission.release(address(known), Allowance::Idle);
            known += 1;
        }
        assert!(known as usize >= ADDRESS_BLOCKS_MAX - 2, "{known}");
        assert_eq!(admission.admit(v4(1), NOW), Err(CloseCode::Full));
        assert_eq!(admission.admit(v4(1), NOW + Duration::from_secs(2)), Ok(()));
        assert!(admission.blocks.len() < 10, "those without a connection are gone");
    }
}
