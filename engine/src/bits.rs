//! The bits that are set in a word, one after another.

/// The places of the bits that are set, the lowest first.
#[derive(Clone, Copy, Debug)]
pub struct Ones(u64);

/// The places of the bits of `word` that are set, the lowest first.
#[inline]
pub fn ones(word: u64) -> Ones {
    Ones(word)
}

/// The places of the bits that are set in some words, the first word's before the next one's.
#[inline]
pub fn ones_of(words: impl IntoIterator<Item = u64>) -> impl Iterator<Item = usize> {
    words.into_iter().enumerate().flat_map(|(place, word)| ones(word).map(move |bit| place * 64 + bit))
}

impl Iterator for Ones {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_that_is_set_comes_once_and_in_order() {
        for word in [0, 1, u64::MAX, 1 << 63, 0x8000_0000_0000_0001, 0x0f0f_0000_00f0_1001] {
            let found: Vec<usize> = ones(word).collect();
            let expected: Vec<usize> = (0..64).filter(|bit| word >> bit & 1 == 1).collect();
            assert_eq!(found, expected, "{word:x}");
        }
        assert_eq!(ones_of([0, 0b101, 0, 1 << 63]).collect::<Vec<_>>(), [64, 66, 255]);
    }
}
