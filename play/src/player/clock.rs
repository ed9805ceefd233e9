//! The node's time, as this program reckons it.

use std::time::Instant;

/// Seconds of the node's time until an intent expires.
const EXPIRY_S: u64 = 30;

/// The node's time, and when it was told.
pub(super) struct Clock {
    told_ms: u64,
    at: Instant,
}

impl Clock {
    /// The node says that it is `now_ms`.
    pub(super) fn told(now_ms: u64) -> Self {
        Self { told_ms: now_ms, at: Instant::now() }
    }

    /// The node's time now.
    pub(super) fn now_ms(&self) -> u64 {
        self.told_ms.saturating_add(self.at.elapsed().as_millis() as u64)
    }

    /// When an intent that is signed now expires. A node may say the last time that there is: nothing expires later.
    pub(super) fn expiry_s(&self) -> u32 {
        u32::try_from(self.now_ms() / 1_000 + EXPIRY_S).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use engine::limits::TIME_MS_MAX;

    use super::*;

    #[test]
    fn whatever_time_a_node_says_it_is_an_intent_expires_some_time() {
        let clock = Clock::told(1_800_000_000_000);
        assert!((1_800_000_000_000..1_800_000_060_000).contains(&clock.now_ms()));
        assert!((1_800_000_030..1_800_000_090).contains(&clock.expiry_s()));
        for now_ms in [TIME_MS_MAX - 1, TIME_MS_MAX, u64::MAX - 1, u64::MAX] {
            let clock = Clock::told(now_ms);
            std::thread::sleep(std::time::Duration::from_millis(2));
            assert!(clock.now_ms() >= now_ms);
            assert_eq!(clock.expiry_s(), u32::MAX);
        }
    }
}
