//! Rolls that were shown, and for which no quorum of validators answers yet, as far as the node that showed them has said.

use engine::limits::PLAY_UNCERTIFIED_MAX;
use engine::{Height, TableId};

/// A roll that was shown: its table, its number, and the height at which it fell.
pub(super) type ShownRoll = (TableId, u32, Height);

/// What the connected node has shown, and not yet called certified.
#[derive(Default)]
pub(super) struct Uncertified {
    /// The key of the node that showed them.
    node: [u8; 32],
    rolls: Vec<ShownRoll>,
}

impl Uncertified {
    /// A node is connected. Says whether it is another one than before: a height that it calls certified says nothing of
    /// rolls that the one before showed, which there may never have been.
    pub(super) fn connected(&mut self, node: [u8; 32]) -> bool {
        let is_other = std::mem::replace(&mut self.node, node) != node;
        if is_other {
            self.rolls.clear();
        }
        is_other
    }

    /// A roll was shown; the oldest one goes where too many wait.
    pub(super) fn shown(&mut self, roll: ShownRoll) {
        if self.rolls.len() == PLAY_UNCERTIFIED_MAX {
            self.rolls.remove(0);
        }
        self.rolls.push(roll);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rolls.is_empty()
    }

    /// Takes out the rolls up to a height that the node calls certified, oldest first.
    pub(super) fn take_up_to(&mut self, height: Height) -> Vec<ShownRoll> {
        self.rolls.extract_if(.., |(_, _, at)| *at <= height).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: TableId = TableId(0);

    #[test]
    fn a_node_certifies_no_roll_that_another_one_showed() {
        let mut uncertified = Uncertified::default();
        assert!(uncertified.connected([1; 32]));
        uncertified.shown((TABLE, 7, Height(100)));
        // The same node after a moment without a connection.
        assert!(!uncertified.connected([1; 32]));
        uncertified.shown((TABLE, 8, Height(130)));
        assert_eq!(uncertified.take_up_to(Height(120)), [(TABLE, 7, Height(100))]);
        assert!(!uncertified.is_empty());
        assert!(uncertified.connected([2; 32]));
        assert_eq!(uncertified.take_up_to(Height(200)), []);
        uncertified.shown((TABLE, 8, Height(131)));
        assert_eq!(uncertified.take_up_to(Height(200)), [(TABLE, 8, Height(131))]);
    }

    #[test]
    fn only_so_many_rolls_wait() {
        let mut uncertified = Uncertified::default();
        (0..=PLAY_UNCERTIFIED_MAX as u32).for_each(|roll| uncertified.shown((TABLE, roll, Height(roll.into()))));
        let taken = uncertified.take_up_to(Height(u64::MAX));
        assert_eq!((taken.len(), taken[0].1), (PLAY_UNCERTIFIED_MAX, 1), "the oldest went");
    }
}
