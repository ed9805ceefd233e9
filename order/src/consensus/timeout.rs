//! What a validator waits for, and how long.

use engine::bytes::DecodeError;

/// A timeout of a round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timeout {
    /// What it waits for.
    pub kind: TimeoutKind,
    /// The round of the present height in which it waits.
    pub round: u32,
}

/// What a timeout waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum TimeoutKind {
    /// A proposal.
    Propose = 1,
    /// A quorum of equal prevotes.
    Prevote = 2,
    /// A quorum of equal precommits.
    Precommit = 3,
    /// The time to send the own votes of the round again.
    Rebroadcast = 4,
}

impl TryFrom<u8> for TimeoutKind {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            1 => Ok(Self::Propose),
            2 => Ok(Self::Prevote),
            3 => Ok(Self::Precommit),
            4 => Ok(Self::Rebroadcast),
            _ => Err(DecodeError::Value { field: "timeout kind", found: byte.into() }),
        }
    }
}

/// How long a validator waits, in milliseconds of node time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeoutConfig {
    /// For a proposal, in round 0.
    pub propose_ms: u64,
    /// For equal prevotes, once a quorum has voted, in round 0.
    pub prevote_ms: u64,
    /// For equal precommits, once a quorum has voted, in round 0.
    pub precommit_ms: u64,
    /// Until own votes are sent again.
    pub rebroadcast_ms: u64,
    /// More for every round.
    pub delta_ms: u64,
    /// At most.
    pub most_ms: u64,
}

impl Default for TimeoutConfig {
    fn default() -> Self {
        Self {
            propose_ms: 400,
            prevote_ms: 100,
            precommit_ms: 100,
            rebroadcast_ms: 600,
            delta_ms: 100,
            most_ms: 10_000,
        }
    }
}

impl TimeoutConfig {
    /// How long to wait.
    pub fn after_ms(&self, timeout: Timeout) -> u64 {
        let base = match timeout.kind {
            TimeoutKind::Propose => self.propose_ms,
            TimeoutKind::Prevote => self.prevote_ms,
            TimeoutKind::Precommit => self.precommit_ms,
            TimeoutKind::Rebroadcast => self.rebroadcast_ms,
        };
        base.saturating_add(self.delta_ms.saturating_mul(timeout.round.into())).min(self.most_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operators choose links by these values, and no configuration shows them.
    #[test]
    fn the_guide_has_how_long_a_validator_waits() {
        let guide = include_str!("../../../docs/operating.md");
        let waits = TimeoutConfig::default();
        for (what, base_ms) in [
            ("for a proposal and its whole block, verified", waits.propose_ms),
            ("for equal prevotes, once a quorum has voted", waits.prevote_ms),
            ("for equal precommits, once a quorum has voted", waits.precommit_ms),
            ("before it sends its own votes again", waits.rebroadcast_ms),
        ] {
            let row = format!("| {what} | {base_ms} ms | {} ms | {} s |", waits.delta_ms, waits.most_ms / 1_000);
            assert!(guide.contains(&row), "{row}");
        }
    }
}
