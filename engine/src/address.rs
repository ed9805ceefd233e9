//! Addresses: the networks that one party may hold, by which connections and new accounts are limited.

/// A part of the address space that one party may hold: an IPv4 address, or a prefix of an IPv6 address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AddressBlock {
    /// The address with zeros after the prefix; IPv4 as IPv4-mapped IPv6.
    prefix: [u8; 16],
    /// Bits of the prefix.
    bits: u8,
}

/// What a /32 of IPv6 may have, for each that a /64 may have.
pub const WIDE_SHARE: u32 = 16;

const _: () = assert!(WIDE_SHARE > 1, "a provider has more customers than one");

impl AddressBlock {
    /// The blocks of an address, the narrow one first: an IPv4 address stands for itself; of IPv6, a subscriber is given
    /// at least a /64 and a provider a /32, and neither may act as 2^64 strangers.
    pub fn of(address: [u8; 16]) -> Blocks {
        let is_v4 = address[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        let narrow = Self::cut(address, if is_v4 { 128 } else { 64 });
        Blocks { narrow, wide: (!is_v4).then(|| Self::cut(address, 32)) }
    }

    fn cut(address: [u8; 16], bits: u8) -> Self {
        // The rest of a byte that is cut in two would tell blocks apart that are one.
        assert!(bits.is_multiple_of(8));
        assert!(bits <= 128, "an address has 16 bytes");
        let mut prefix = [0; 16];
        let bytes = usize::from(bits / 8);
        prefix[..bytes].copy_from_slice(&address[..bytes]);
        Self { prefix, bits }
    }
}

/// The blocks of one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocks {
    /// The IPv4 address, or the /64.
    pub narrow: AddressBlock,
    /// The /32 of an IPv6 address.
    pub wide: Option<AddressBlock>,
}

impl Blocks {
    /// Each block, and how many times the bound of a narrow one it has.
    pub fn with_shares(self) -> impl Iterator<Item = (AddressBlock, u32)> {
        [(self.narrow, 1)].into_iter().chain(self.wide.map(|wide| (wide, WIDE_SHARE)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn blocks(text: &str) -> Blocks {
        AddressBlock::of(text.parse::<Ipv6Addr>().expect("an address").octets())
    }

    #[test]
    fn an_ipv6_subscriber_is_one_party_and_an_ipv4_address_is_one() {
        assert_eq!(blocks("2001:db8:1:2::1"), blocks("2001:db8:1:2:ffff::9"));
        let (here, there) = (blocks("2001:db8:1:2::1"), blocks("2001:db8:1:3::1"));
        assert_ne!(here.narrow, there.narrow);
        assert_eq!(here.wide, there.wide);
        assert_ne!(here.wide, blocks("2001:db9:1:2::1").wide);
        let (one, other) = (blocks("::ffff:192.0.2.1"), blocks("::ffff:192.0.2.2"));
        assert_ne!(one.narrow, other.narrow);
        assert_eq!((one.wide, other.wide), (None, None));
        assert_eq!(here.with_shares().map(|(_, share)| share).collect::<Vec<_>>(), [1, WIDE_SHARE]);
    }
}
