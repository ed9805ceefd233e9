//! The published trace of reads of history: who looks back how far, request by request, from a seed. `docs/history.md`
//! describes it and has what was measured. Weights are integers, so that a trace is the same everywhere.

/// One read: a player, and how many pages before the newest one the read ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Read {
    /// The player, by popularity: 0 is read most.
    pub player: u32,
    /// Pages between the newest one and the one where the read ends.
    pub age: u32,
}

/// A trace: endless, the same for the same seed.
pub struct Trace {
    state: u64,
    players: Weights,
    ages: Weights,
}

/// Things that are drawn by weight.
struct Weights {
    /// Sums of the weights up to each.
    sums: Vec<u64>,
}

impl Weights {
    /// `count` things; the weight of the k-th, from 1, is 2^40 over `k` to the power of `exponent`.
    fn zipf(count: u32, exponent: u32) -> Self {
        let mut sum = 0;
        let weight = |k: u64| (1u64 << 40) / k.saturating_pow(exponent);
        let sums = (1..=u64::from(count)).map(|k| {
            sum += weight(k);
            sum
        });
        Self { sums: sums.collect() }
    }

    fn draw(&self, random: u64) -> u32 {
        let at = random % self.sums.last().copied().unwrap_or(1);
        self.sums.partition_point(|sum| *sum <= at) as u32
    }
}

impl Trace {
    /// Reads of `players` players, Zipf with exponent 1, that end up to `pages` pages back, Zipf with exponent 2.
    pub fn new(seed: u64, players: u32, pages: u32) -> Self {
        Self { state: seed, players: Weights::zipf(players, 1), ages: Weights::zipf(pages, 2) }
    }

    /// splitmix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Iterator for Trace {
    type Item = Read;

    fn next(&mut self) -> Option<Read> {
        let player = self.random();
        let age = self.random();
        Some(Read { player: self.players.draw(player), age: self.ages.draw(age) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_trace_is_this_one() {
        let mut hasher = blake3::Hasher::new();
        let mut newest = 0;
        for read in Trace::new(1, 600, 250).take(100_000) {
            hasher.update(&read.player.to_le_bytes()).update(&read.age.to_le_bytes());
            newest += u32::from(read.age == 0);
        }
        assert_eq!(hasher.finalize().to_hex().as_str(), PUBLISHED);
        // 6 / pi^2 of the reads end on the newest page.
        assert!((60_000..62_500).contains(&newest), "{newest}");
    }

    const PUBLISHED: &str = "edbcaa64a14f8664482807cf383e36372e26cb950e2a4cb1b691f7d613b31923";
}
