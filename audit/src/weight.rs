//! What heights that are verified together weigh: heights, signatures and bytes, each with a bound.

use engine::limits::READ_TOGETHER_BYTES;

use crate::recording::Step;

/// What some heights weigh together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Weight {
    heights: usize,
    signatures: usize,
    bytes: usize,
}

impl Weight {
    /// Adds a height.
    pub fn add(&mut self, step: &Step) {
        let (block, certificate) = (&step.decided.block, &step.decided.certificate);
        self.heights += 1;
        // One for what validators signed.
        self.signatures += block.intents.len() + block.pledges.len() + 1;
        // A block may be large without any signature of a player: whoever made the session chose its sections.
        self.bytes += block.encoded_len() + certificate.encoded_len() + size_of_val(&step.settled.verdicts[..]);
    }

    /// Whether no further height is to be read with those: there are so many, or of so many signatures or bytes.
    pub fn is_full(&self, heights_max: usize, signatures_max: usize) -> bool {
        self.heights >= heights_max || self.signatures >= signatures_max || self.bytes >= READ_TOGETHER_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytemuck::Zeroable;
    use engine::limits::{REPLAY_HEIGHTS, REPLAY_SIGNATURES, SYSTEM_MESSAGE_BYTES_MAX, SYSTEM_MESSAGES_MAX};
    use engine::message::pledge::PledgeRow;

    use super::*;
    use crate::recording::Recording;

    /// How many heights like this one are read together.
    fn together(step: &Step) -> usize {
        let mut weight = Weight::default();
        let mut heights = 0;
        while !weight.is_full(REPLAY_HEIGHTS, REPLAY_SIGNATURES) {
            weight.add(step);
            heights += 1;
        }
        heights
    }

    #[test]
    fn a_batch_is_full_by_what_its_blocks_hold_whatever_that_is() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/session-2");
        let mut recording = Recording::open(&dir).expect("a session");
        let mut step = recording.read().expect("sound").expect("a height");
        assert_eq!(together(&step), REPLAY_HEIGHTS);
        let pledges = 1_000;
        step.decided.block.pledges = vec![PledgeRow::zeroed(); pledges];
        assert_eq!(together(&step), REPLAY_SIGNATURES.div_ceil(step.decided.block.intents.len() + pledges + 1));
        step.decided.block.pledges.clear();
        step.decided.block.system = vec![vec![0; SYSTEM_MESSAGE_BYTES_MAX]; SYSTEM_MESSAGES_MAX];
        let bytes = SYSTEM_MESSAGE_BYTES_MAX * SYSTEM_MESSAGES_MAX;
        assert!((2..=READ_TOGETHER_BYTES.div_ceil(bytes)).contains(&together(&step)), "{}", together(&step));
    }
}
