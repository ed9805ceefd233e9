//! Connections between nodes: one for each pair, with a number of its own each time it is made.

use std::collections::BTreeMap;

/// Which pairs of nodes are connected.
#[derive(Default)]
pub struct Links {
    open: BTreeMap<(u32, u32), u32>,
    made: u32,
}

fn pair(one: u32, other: u32) -> (u32, u32) {
    (one.min(other), one.max(other))
}

impl Links {
    /// The number of the connection between two nodes, if there is one.
    pub fn between(&self, one: u32, other: u32) -> Option<u32> {
        self.open.get(&pair(one, other)).copied()
    }

    /// Connects two nodes. Returns the number of the connection that this replaces, and the new one.
    pub fn open(&mut self, one: u32, other: u32) -> (Option<u32>, u32) {
        self.made += 1;
        (self.open.insert(pair(one, other), self.made), self.made)
    }

    /// Ends the connection between two nodes. Returns its number, if there was one.
    pub fn close(&mut self, one: u32, other: u32) -> Option<u32> {
        self.open.remove(&pair(one, other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_has_one_connection_and_each_has_its_own_number() {
        let mut links = Links::default();
        assert_eq!(links.open(3, 1), (None, 1));
        assert_eq!(links.open(1, 3), (Some(1), 2));
        assert_eq!((links.between(3, 1), links.between(1, 2)), (Some(2), None));
        assert_eq!((links.close(1, 3), links.close(1, 3), links.between(1, 3)), (Some(2), None, None));
        assert_eq!(links.open(1, 3), (None, 3));
    }
}
