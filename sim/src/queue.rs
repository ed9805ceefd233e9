//! What happens next: events by time, then node, then the order in which they came about.

use std::collections::BTreeMap;

/// Microseconds since the simulation began.
pub type Time = u64;

/// Events that wait for their time.
#[derive(Debug)]
pub struct Queue<E> {
    rows: BTreeMap<(Time, u32, u64), E>,
    sequence: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), sequence: 0 }
    }
}

impl<E> Queue<E> {
    /// Something happens to a node at a time.
    pub fn push(&mut self, at: Time, node: u32, event: E) {
        self.sequence += 1;
        self.rows.insert((at, node, self.sequence), event);
    }

    /// What happens next: when, to which node, what.
    pub fn pop(&mut self) -> Option<(Time, u32, E)> {
        self.rows.pop_first().map(|((at, node, _), event)| (at, node, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_then_node_then_in_the_order_in_which_they_came_about() {
        let mut queue = Queue::default();
        for (at, node, event) in [(5, 1, 'd'), (3, 2, 'b'), (5, 0, 'c'), (3, 0, 'a'), (5, 1, 'e')] {
            queue.push(at, node, event);
        }
        let order: String = std::iter::from_fn(|| queue.pop()).map(|(_, _, event)| event).collect();
        assert_eq!(order, "abcde");
    }
}
