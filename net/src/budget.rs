//! Budget: what one connection may cost this node, in units that every message is priced in.
//!
//! A unit is about a microsecond of a core. Whatever arrives is paid from one account, so that nobody gets more by mixing
//! kinds; what the account cannot pay is not handled. Time is an argument.

use std::num::NonZeroU32;
use std::time::Duration;

use engine::limits::{PEER_CREDIT, PEER_WATCHES_MAX};
use engine::rate::{Meter, Rate};

use crate::wire::{ToClient, ToNode};

/// An intent: its signature in a batch, and its way to the tick and back.
pub const INTENT_COST: u32 = 20;
/// Something to watch: the whole of it is put together, encrypted and sent.
pub const WATCH_COST: u32 = 60;
/// A peer's record: a signature that is verified alone.
pub const RECORD_COST: u32 = 60;
/// The genesis: up to 256 KiB are encrypted and sent.
pub const GENESIS_COST: u32 = 400;
/// Any other message: it is read, and a line is written somewhere.
pub const SMALL_COST: u32 = 10;

/// What a connection may spend at once beyond two seconds of its rate: all that a client sends after it reconnects.
pub const ENTRY_COST: u32 =
    SMALL_COST + GENESIS_COST + WATCH_COST * PEER_WATCHES_MAX as u32 + INTENT_COST * PEER_CREDIT;
/// What is asked for above the budget until it counts as an offence: as much as 256 intents.
pub const EXCESS_OFFENCE: u32 = 256 * INTENT_COST;

// What a client says at once after it reconnects is no offence, even where all of it is above the budget.
const _: () = assert!(EXCESS_OFFENCE > ENTRY_COST);

/// A message with a price.
pub trait Priced {
    /// What a message costs the node that handles it; `None` where each part of it is paid for on its own.
    fn price(&self) -> Option<u32>;
}

fn each(count: usize, price: u32) -> Option<u32> {
    Some(u32::try_from(count).expect("a message has a bounded length").saturating_mul(price))
}

impl Priced for ToNode {
    fn price(&self) -> Option<u32> {
        match self {
            Self::Intents(_) => None,
            Self::Watch(watches) => each(watches.len(), WATCH_COST),
            Self::Peers(records) => each(records.len(), RECORD_COST),
            Self::AskGenesis => Some(GENESIS_COST),
            Self::Pledges(pledges) => each(pledges.len(), INTENT_COST),
            Self::AskStatus => Some(SMALL_COST),
            Self::Hello(_) | Self::Standing(_) => Some(SMALL_COST),
        }
    }
}

impl Priced for ToClient {
    fn price(&self) -> Option<u32> {
        match self {
            Self::Peers(records) => each(records.len(), RECORD_COST),
            Self::Welcome(_) | Self::Standing(_) => Some(SMALL_COST),
            // A node reads none of these: they are said to players.
            Self::Answers(_) | Self::Genesis(_) | Self::Account(_) | Self::Table(_) | Self::Status(_) => {
                Some(SMALL_COST)
            }
        }
    }
}

/// What one connection has left.
#[derive(Clone, Debug)]
pub struct Budget {
    rate: Rate,
    meter: Meter,
    /// Units that were asked for in vain since the last offence.
    excess: u32,
}

impl Budget {
    /// The budget of a connection that may send so many intents a second: twice as many in a burst, and what it needs
    /// to come in.
    pub fn new(intents_per_s: NonZeroU32) -> Self {
        let per_s = intents_per_s.get().saturating_mul(INTENT_COST);
        let burst = per_s.saturating_mul(2).saturating_add(ENTRY_COST);
        Self { rate: Rate::new(per_s, Duration::from_secs(1), burst), meter: Meter::default(), excess: 0 }
    }

    /// Pays for a message. If the budget has not enough, nothing is paid, and what was asked for counts as excess.
    pub fn spend(&mut self, units: u32, now: Duration) -> bool {
        // Nothing is paid in part: a message is handled as a whole, or not at all.
        let paid = self.meter.spend(units, &self.rate, now);
        if !paid {
            self.exceed(units);
        }
        paid
    }

    /// Counts as excess what another bound refused.
    pub fn exceed(&mut self, units: u32) {
        self.excess = self.excess.saturating_add(units);
    }

    /// Whether the excess has become an offence, which is said once.
    pub fn take_offence(&mut self) -> bool {
        let offends = self.excess >= EXCESS_OFFENCE;
        if offends {
            self.excess = 0;
        }
        offends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PER_S: NonZeroU32 = NonZeroU32::new(100).expect("not zero");

    /// What is handled of a flood of messages of one price within a time, and the offences that it led to.
    fn flood(units: u32, every: Duration, lasts: Duration) -> (u64, u32) {
        let (mut budget, mut now, mut spent, mut offences) = (Budget::new(PER_S), Duration::ZERO, 0, 0);
        while now < lasts {
            if budget.spend(units, now) {
                spent += u64::from(units);
            }
            offences += u32::from(budget.take_offence());
            now += every;
        }
        (spent, offences)
    }

    #[test]
    fn no_flood_costs_more_than_the_budget_and_each_is_an_offence() {
        let lasts = Duration::from_secs(20);
        let most = u64::from(ENTRY_COST) + (2 + 20) * 100 * u64::from(INTENT_COST);
        for units in [INTENT_COST, WATCH_COST, GENESIS_COST, 32 * RECORD_COST, SMALL_COST] {
            let (spent, offences) = flood(units, Duration::from_micros(500), lasts);
            assert!(spent <= most, "{units}: {spent} units of {most}");
            assert!(spent * 10 >= most * 8, "{units}: what the budget has can be spent: {spent} of {most}");
            assert!(offences >= 4 || units == SMALL_COST, "{units}: {offences} offences");
        }
    }

    #[test]
    fn whoever_keeps_to_the_rate_or_reconnects_pays_for_all_of_it() {
        let mut budget = Budget::new(PER_S);
        let mut now = Duration::ZERO;
        for _ in 0..5 {
            // A client that comes back says hello, asks for the genesis, watches all it may and sends its credit again.
            assert!(budget.spend(ENTRY_COST, now));
            for _ in 0..1_000 {
                now += Duration::from_millis(10);
                assert!(budget.spend(INTENT_COST, now));
            }
            now += Duration::from_secs(10);
        }
        assert!(!budget.take_offence());
    }
}
