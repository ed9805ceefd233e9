//! The scheduled timeouts of one node, in milliseconds of its ticks: the wall's clock may be set.

use super::message::Effect;
use super::timeout::Timeout;

/// What [`Effect::Schedule`] asked for and did not elapse yet. A handful at a time.
#[derive(Clone, Default, Debug)]
pub struct Timers {
    rows: Vec<(u64, Timeout)>,
}

impl Timers {
    /// Takes the effects that schedule and cancel; ignores the others.
    pub fn apply(&mut self, effect: &Effect, now_ms: u64) {
        match effect {
            Effect::Schedule { timeout, after_ms } => {
                // Scheduled anew, it elapses once, at the later moment.
                self.rows.retain(|(_, other)| other != timeout);
                self.rows.push((now_ms.saturating_add(*after_ms), *timeout));
            }
            Effect::Cancel(timeout) => self.rows.retain(|(_, other)| other != timeout),
            Effect::CancelAll => self.rows.clear(),
            _ => {}
        }
    }

    /// What was scheduled before the first tick runs from now on.
    pub fn begin_at(&mut self, now_ms: u64) {
        self.rows.iter_mut().for_each(|(due, _)| *due = due.saturating_add(now_ms));
    }

    /// Takes the timeout that elapsed first, if one has. Ask again until there is none.
    pub fn elapsed(&mut self, now_ms: u64) -> Option<Timeout> {
        // The earliest, and of equals always the same: all runs of one seed go the same way.
        let first = self.rows.iter().copied().filter(|(due, _)| *due <= now_ms).min()?;
        let before = self.rows.len();
        self.rows.retain(|row| *row != first);
        // A timeout that stood there twice would elapse twice, and the second time fail a step that has just begun.
        assert_eq!(self.rows.len() + 1, before, "a timeout is scheduled once");
        Some(first.1)
    }

    /// When the next one elapses: tests let time run up to it.
    #[cfg(test)]
    pub fn next_ms(&self) -> Option<u64> {
        self.rows.iter().map(|(due, _)| *due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::super::timeout::TimeoutKind;
    use super::*;

    #[test]
    fn timeouts_elapse_in_order_and_once() {
        let (propose, prevote) = (TimeoutKind::Propose, TimeoutKind::Prevote);
        let timeout = |kind, round| Timeout { kind, round };
        let schedule = |kind, after_ms| Effect::Schedule { timeout: timeout(kind, 0), after_ms };
        let mut timers = Timers::default();
        timers.apply(&schedule(prevote, 30), 0);
        timers.apply(&schedule(propose, 10), 5);
        timers.apply(&schedule(prevote, 30), 10);
        assert_eq!(timers.next_ms(), Some(15));
        assert_eq!(timers.elapsed(14), None);
        assert_eq!(timers.elapsed(40), Some(timeout(propose, 0)));
        assert_eq!(timers.elapsed(40), Some(timeout(prevote, 0)));
        assert_eq!(timers.elapsed(40), None);
        timers.apply(&schedule(propose, 10), 50);
        timers.apply(&Effect::Cancel(timeout(propose, 0)), 50);
        assert_eq!(timers.next_ms(), None);
    }
}
