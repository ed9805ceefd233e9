use bevy_ecs::component::Component;
use bytemuck::{Pod, Zeroable};

use super::row::{Fields, Row, fields};
use crate::chips::Chips;
use crate::limits::NUMBER_WINDOW;
use crate::message::refusal::Refusal;

/// A player's account. Layout: 64 bytes, one cache line, no padding. Units: chips; milliseconds.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Account {
    /// Chips that are at no table.
    pub cage: Chips,
    /// The highest intent number used.
    pub number_highest: u64,
    /// Used numbers: bit `i` for `number_highest - i`.
    pub numbers_used: u64,
    /// Chips granted at opening; as many must be wagered before they can be transferred.
    pub granted: Chips,
    /// Wagers won or lost so far, at tables that were left. No chips lie here: it is compared with what was granted and with
    /// zero, so that it stops at the most the field holds.
    pub wagered: Chips,
    /// When an intent of the account was last accepted, by the clock of activity.
    pub last_intent_ms: u64,
    /// How often this slot was opened. Counting stops at [`COUNTER_MAX`](crate::limits::COUNTER_MAX).
    pub generation: u32,
    /// Seats the account holds.
    pub seats: u32,
    /// An [`AccountStatus`].
    pub status: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// When it was opened, in seconds of the clock of activity.
    pub opened_s: u32,
}

/// An account's key. Layout: 64 bytes, one cache line, no padding.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct AccountKey {
    /// Ed25519 public key; zero in a free slot.
    pub key: [u8; 32],
    /// Zero.
    pub reserved: [u8; 32],
}

const _: () = assert!(size_of::<Account>() == 64);
const _: () = assert!(align_of::<Account>() == 64);
const _: () = assert!(size_of::<AccountKey>() == 64);
const _: () = assert!(align_of::<AccountKey>() == 64);

impl Row for Account {
    const FIELDS: Fields = fields!(Account: cage number_highest numbers_used granted wagered last_intent_ms generation seats status reserved opened_s);
}

impl Row for AccountKey {
    const FIELDS: Fields = fields!(AccountKey: key reserved);
}

const _: () = assert!(AccountStatus::Free as u8 == 0, "a row of zeros is a free slot");

/// Whether an account slot is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum AccountStatus {
    /// A free slot.
    Free = 0,
    /// An open account.
    Open = 1,
}

impl Account {
    /// Whether the slot is in use.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.status == AccountStatus::Open as u8
    }

    /// Whether an intent with this number may still be applied. The window spans the 64 numbers up to the highest
    /// used and the 64 above it, so that an intent that was shed blocks none that follow.
    #[inline]
    pub fn check_number(&self, number: u64) -> Result<(), Refusal> {
        if number > self.number_highest {
            if number - self.number_highest > NUMBER_WINDOW { Err(Refusal::NumberAhead) } else { Ok(()) }
        } else {
            match self.number_highest - number {
                behind if behind >= NUMBER_WINDOW => Err(Refusal::NumberBehind),
                behind if self.numbers_used >> behind & 1 == 1 => Err(Refusal::NumberUsed),
                _ => Ok(()),
            }
        }
    }

    /// Uses a number up.
    ///
    /// # Panics
    /// If it may not be used.
    #[inline]
    pub fn use_number(&mut self, number: u64) {
        assert!(self.check_number(number).is_ok(), "only a checked number is used");
        if number > self.number_highest {
            // A shift by the whole width is none: the numbers that fall out of the window must not come back into it.
            let ahead = number - self.number_highest;
            self.numbers_used = if ahead >= NUMBER_WINDOW { 0 } else { self.numbers_used << ahead };
            self.number_highest = number;
        }
        self.numbers_used |= 1 << (self.number_highest - number);
        assert!(self.check_number(number).is_err(), "a number that was used is not taken again");
    }

    /// Counts wagers of a table that was left. The same chips are wagered any number of times, so that no supply bounds it.
    pub fn count_wagered(&mut self, wagered: Chips) {
        self.wagered = self.wagered.saturating_add(wagered);
    }

    /// Chips in the cage that may be sent to another account.
    pub fn transferable(&self) -> Chips {
        self.cage.saturating_sub(self.granted.saturating_sub(self.wagered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_agree_with_a_set_of_all_used_ones() {
        let mut account = Account::zeroed();
        let mut used = std::collections::BTreeSet::new();
        let mut state = 1u64;
        for _ in 0..5_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = (account.number_highest + (state >> 33) % 140).saturating_sub(70);
            let highest = used.last().copied().unwrap_or(0);
            let expected = if number > highest + 64 {
                Err(Refusal::NumberAhead)
            } else if number + 64 <= highest {
                Err(Refusal::NumberBehind)
            } else if used.contains(&number) {
                Err(Refusal::NumberUsed)
            } else {
                Ok(())
            };
            assert_eq!(account.check_number(number), expected, "number {number}, highest {highest}");
            if expected.is_ok() {
                account.use_number(number);
                used.insert(number);
            }
        }
        assert!(used.len() > 1_000);
    }
}
