//! How long something takes, counted by bucket.

use std::time::Duration;

use bytemuck::{Pod, Zeroable};

/// Upper ends of a histogram's buckets, in microseconds; one more bucket takes what is above.
pub const BUCKET_ENDS_US: [u64; 17] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 150_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000,
];

// A time is looked up by halves, which finds nothing in ends that do not ascend.
const _: () = {
    let mut place = 1;
    while place < BUCKET_ENDS_US.len() {
        assert!(BUCKET_ENDS_US[place - 1] < BUCKET_ENDS_US[place]);
        place += 1;
    }
};

/// How long something took, each time: counted by bucket. Layout: 19 words, no padding. Units: microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Histogram {
    /// How many fell into each bucket alone; the last is above all ends.
    pub counts: [u64; BUCKET_ENDS_US.len() + 1],
    /// All times together, in microseconds.
    pub sum_us: u64,
}

const _: () = assert!(size_of::<Histogram>() == 19 * size_of::<u64>());

impl Histogram {
    /// Counts one that took `micros` microseconds.
    pub fn add_us(&mut self, micros: u64) {
        self.counts[BUCKET_ENDS_US.partition_point(|end| *end < micros)] += 1;
        self.sum_us += micros;
    }

    pub(super) fn add(&mut self, time: Duration) {
        self.add_us(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}
