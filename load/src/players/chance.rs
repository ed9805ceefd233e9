//! Chance: what a player decides by, and what follows from the session's seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What one player leaves to chance.
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// The chance of a player in a session.
    pub fn new(seed: u64, player: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(player);
        Self(rng)
    }

    /// A number below `bound`, which is not zero. The bias of 64 bits is nothing to a simulated player.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of a list that is not empty.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}
