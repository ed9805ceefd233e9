//! What happens next: events by time, then node, then the order in which they came about.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Microseconds since the simulation began.
pub type Time = u64;

/// Events that wait for their time.
#[derive(Debug)]
pub struct Heap<E> {
    rows: BinaryHeap<Reverse<Row<E>>>,
    sequence: u64,
}

#[derive(Debug)]
struct Row<E> {
    key: (Time, u32, u64),
    event: E,
}

impl<E> PartialEq for Row<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Row<E> {}

impl<E> PartialOrd for Row<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Row<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl<E> Default for Heap<E> {
    fn default() -> Self {
        Self { rows: BinaryHeap::new(), sequence: 0 }
    }
}

impl<E> Heap<E> {
    /// Something happens to a node at a time.
    pub fn push(&mut self, at: Time, node: u32, event: E) {
        self.sequence += 1;
        self.rows.push(Reverse(Row { key: (at, node, self.sequence), event }));
    }

    /// What happens next: when, to which node, what.
    pub fn pop(&mut self) -> Option<(Time, u32, E)> {
        self.rows.pop().map(|Reverse(Row { key: (at, node, _), event })| (at, node, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_then_node_then_in_the_order_in_which_they_came_about() {
        let mut heap = Heap::default();
        for (at, node, event) in [(5, 1, 'd'), (3, 2, 'b'), (5, 0, 'c'), (3, 0, 'a'), (5, 1, 'e')] {
            heap.push(at, node, event);
        }
        let order: String = std::iter::from_fn(|| heap.pop()).map(|(_, _, event)| event).collect();
        assert_eq!(order, "abcde");
    }
}
