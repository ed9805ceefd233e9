//! How a session is read: with how many workers, in how much memory, and whose it is.

use engine::columns::Capacity;
use engine::image::ImageLayout;
use engine::limits::{READER_BESIDE_BYTES, READER_MEMORY_MAX};
use systems::{Machine, Setup};
use words::Failure;

/// Bytes that are derived from an account's row: its place by key, and its seats.
const ACCOUNT_BYTES: u64 = 32;

/// Whose session is read: it decides what of it is believed without proof.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Origin {
    /// Anybody's: every signature is verified, and nothing is believed that its blocks do not lead to.
    #[default]
    Stranger,
    /// A node of the reader's own wrote it: its intents were verified when they came in, and its indexes are used.
    Own,
}

/// How a session is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadOptions {
    /// Workers; they change nothing but speed.
    pub threads: usize,
    /// Bytes of memory that the reader may take.
    pub memory_max: u64,
    /// Whose session it is.
    pub origin: Origin,
}

impl Default for ReadOptions {
    /// A stranger's session, read with one worker.
    fn default() -> Self {
        Self::stranger(1)
    }
}

/// Bytes that a machine of this genesis takes, about; never less.
pub fn memory_of(setup: &Setup) -> u64 {
    let layout = ImageLayout::new(Capacity::of(&setup.genesis));
    let derived = layout.bytes() / 8 + ACCOUNT_BYTES * u64::from(setup.genesis.accounts);
    layout.bytes() + derived + READER_BESIDE_BYTES
}

impl ReadOptions {
    /// A stranger's session, read with some workers in [`READER_MEMORY_MAX`].
    pub fn stranger(threads: usize) -> Self {
        Self { threads, memory_max: READER_MEMORY_MAX, origin: Origin::Stranger }
    }

    /// A machine at genesis.
    ///
    /// # Errors
    /// If it would take more memory than the reader may: before any of it is set aside.
    pub fn machine(&self, setup: Setup) -> Result<Machine, Failure> {
        self.machines(setup, 1)
    }

    /// A machine at genesis, for a reader that holds `count` machines at a time.
    ///
    /// # Errors
    /// As [`ReadOptions::machine`].
    pub fn machines(&self, setup: Setup, count: u64) -> Result<Machine, Failure> {
        let needed = memory_of(&setup).saturating_mul(count);
        if needed > self.memory_max {
            let (tables, seats, accounts) = (setup.genesis.tables, setup.genesis.seats, setup.genesis.accounts);
            let mib = |bytes: u64| bytes.div_ceil(1 << 20);
            return Err(Failure::Data(format!(
                "its genesis has {tables} tables of {seats} seats and {accounts} accounts: to execute it takes {} MiB of memory, \
                 and {} MiB are allowed; --memory-max allows more",
                mib(needed),
                mib(self.memory_max)
            )));
        }
        Ok(Machine::new(setup, self.threads))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(tables: u32, seats: u32, accounts: u32) -> Setup {
        let genesis = engine::Genesis {
            tables,
            seats,
            accounts,
            supply: 1 << 50,
            ..load::dev::genesis(&load::dev::DevConfig::default())
        };
        Setup::new(genesis, [1; 32]).expect("a genesis")
    }

    #[test]
    fn the_largest_genesis_is_refused_before_memory_is_set_aside() {
        let (largest, reading) = (setup(1 << 20, 16, 1 << 24), ReadOptions::default());
        assert!(memory_of(&largest) > 7 << 30);
        let error = reading.machine(largest.clone()).err().expect("too large").to_string();
        assert!(error.contains("1048576 tables of 16 seats") && error.contains("--memory-max"), "{error}");
        let enough = ReadOptions { memory_max: 64 << 30, ..reading };
        assert!(memory_of(&largest) <= enough.memory_max);
        assert!(reading.machine(setup(8, 8, 64)).is_ok());
        let small = ReadOptions { memory_max: 1 << 20, ..reading };
        assert!(small.machine(setup(8, 8, 64)).is_err());
    }
}
