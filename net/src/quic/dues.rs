//! When each connection has something to do though nothing arrives: one column, looked over once a turn.
//!
//! A timer of QUIC moves with almost every packet. In a column that is one write, and a turn that looks over 20,000 rows
//! reads 160 KiB; any structure that is sorted by time costs more at each packet.

use std::time::Duration;

/// Nothing is due.
const NEVER: u64 = u64::MAX;

/// Microseconds since the start, for each row.
#[derive(Default)]
pub(crate) struct Dues(Vec<u64>);

impl Dues {
    /// Something is due in a row at a moment, or nothing is any more.
    pub(crate) fn set(&mut self, row: usize, due: Option<Duration>) {
        if self.0.len() <= row {
            self.0.resize(row + 1, NEVER);
        }
        // The moment is rounded up: what is looked at too early would be looked at again and again.
        self.0[row] = due.map_or(NEVER, |due| due.as_micros() as u64 + 1);
    }

    /// The first moment at which something is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        let first = self.0.iter().copied().min().unwrap_or(NEVER);
        (first != NEVER).then(|| Duration::from_micros(first))
    }

    /// Rows in which something is due now.
    pub(crate) fn expired(&self, now: Duration) -> impl Iterator<Item = usize> {
        let now = now.as_micros() as u64;
        self.0.iter().enumerate().filter(move |(_, due)| **due <= now).map(|(row, _)| row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_due_from_its_moment_on_and_not_before() {
        let mut dues = Dues::default();
        let at = |nanos| Duration::from_nanos(nanos);
        assert_eq!(dues.next(), None);
        dues.set(5, Some(at(2_000_500)));
        dues.set(2, Some(at(3_000_000)));
        let next = dues.next().expect("two are due");
        assert!(next >= at(2_000_500), "never before the moment itself");
        assert_eq!(dues.expired(at(2_000_400)).count(), 0);
        assert_eq!(dues.expired(next).collect::<Vec<_>>(), [5]);
        dues.set(5, None);
        assert_eq!(dues.expired(at(9_000_000)).collect::<Vec<_>>(), [2]);
    }
}
