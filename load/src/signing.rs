//! Intents are signed before they are due: a generator that signs while it sends takes from the node what it measures. They are
//! signed before the users come: who does nothing for minutes loses the seat.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use anyhow::Context;
use engine::limits::{EXPIRY_AHEAD_S_MAX, LOAD_SIGNED_AHEAD_MAX};
use engine::message::intent::Intent;

use super::scenario::Load;
use super::users::{EXPIRY_S, Users};

/// How much later than planned a run may start: its intents are already on their way to expire.
const LATE: Duration = Duration::from_secs(10);
/// How many seconds earlier than planned it may start: before that, its intents expire so late that no node takes them.
const EARLY_S: u64 = 20;
const _: () = assert!(LATE.as_secs() < EXPIRY_S && EXPIRY_S + EARLY_S < EXPIRY_AHEAD_S_MAX);
/// How long the users take to come and sit down: some seconds, and as long as a machine needs for so many.
fn preparing_s(load: &Load) -> u64 {
    10 + u64::from(load.users + load.idle) / 20_000
}

/// How often it looks whether the start has come.
const LOOKS: Duration = Duration::from_millis(50);
/// Intents that are signed, or handed over, in one go.
const SIGNED_AT_ONCE: u64 = 16_384;
pub const HANDED_AT_ONCE: u64 = 256;

/// The signatures of a schedule, in its order.
pub struct SignedAhead {
    /// When the run was planned to start, in the chain's seconds.
    start_s: u64,
    /// How many there are; later intents are signed when they are handed over.
    pub count: u64,
    file: File,
}

impl SignedAhead {
    /// Signs a schedule with every core. `on_progress` is told the part that is done.
    ///
    /// # Errors
    /// If the file for the signatures cannot be had.
    pub fn sign(
        load: &Load,
        users: &Users,
        dir: &Path,
        stop: &AtomicBool,
        mut on_progress: impl FnMut(f64),
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let path = dir.join("signatures");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let mut file = file.with_context(|| path.display().to_string())?;
        // It has no name from here on: it goes when it is closed, however this process ends.
        std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
        let wanted = load.intents().min(LOAD_SIGNED_AHEAD_MAX);
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let began = Instant::now();
        let mut planned = Duration::ZERO;
        let mut signed = Self { start_s: users.now_s(), count: 0, file: file.try_clone().context("the signatures")? };
        let mut bytes = Vec::new();
        // The first ones are signed for no start yet: they tell how long the others take.
        let probe = SIGNED_AT_ONCE.min(wanted);
        signed.sign_some(load, users, 0..probe, threads, &mut bytes);
        if probe > 0 {
            planned = began.elapsed().mul_f64(wanted as f64 / probe as f64 * 1.05);
            signed.start_s = users.now_s() + planned.as_secs() + preparing_s(load);
        }
        while signed.count < wanted && began.elapsed() < planned + LATE && !stop.load(Ordering::Relaxed) {
            let next = (signed.count + SIGNED_AT_ONCE).min(wanted);
            signed.sign_some(load, users, signed.count..next, threads, &mut bytes);
            file.write_all(&bytes).context("writing the signatures")?;
            signed.count = next;
            on_progress(next as f64 / wanted as f64);
        }
        // The disk must not still be busy with them when the node writes.
        file.sync_data().context("writing the signatures")?;
        file.rewind().context("reading the signatures")?;
        signed.await_start(users, preparing_s(load), stop);
        Ok(signed)
    }

    /// Waits where signing took less time than the first ones had foretold, so that the users come no sooner than `before_s` seconds
    /// before the first intent may be sent.
    fn await_start(&self, users: &Users, before_s: u64, stop: &AtomicBool) {
        while users.now_s() + before_s + EARLY_S < self.start_s && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(LOOKS);
        }
    }

    fn sign_some(
        &self,
        load: &Load,
        users: &Users,
        numbers: std::ops::Range<u64>,
        threads: usize,
        bytes: &mut Vec<u8>,
    ) {
        let count = (numbers.end - numbers.start) as usize;
        bytes.resize(64 * count, 0);
        let each = count.div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            for (part, bytes) in bytes.chunks_mut(64 * each).enumerate() {
                let first = numbers.start + (part * each) as u64;
                scope.spawn(move || {
                    for (number, signature) in (first..).zip(bytes.as_chunks_mut().0) {
                        let (user, nth) = load.turn(number);
                        let body = users.scheduled(user, nth, self.expiry_s(load, number));
                        *signature = users.sign(user, body).signature;
                    }
                });
            }
        });
    }

    fn expiry_s(&self, load: &Load, number: u64) -> u64 {
        self.start_s + load.due(number).as_secs() + EXPIRY_S
    }

    /// Hands over every intent of the schedule with its user, in order; signs what was not signed ahead. Ends early if the
    /// receiver does.
    ///
    /// # Errors
    /// If the signatures cannot be read.
    pub fn hand_over(self, load: &Load, users: &Users, to: &SyncSender<Vec<(usize, Intent)>>) -> anyhow::Result<()> {
        let mut reader = BufReader::with_capacity(1 << 20, &self.file);
        let count = load.intents();
        let mut first = 0;
        while first < count {
            let next = (first + HANDED_AT_ONCE).min(count);
            let mut intents = Vec::with_capacity((next - first) as usize);
            for number in first..next {
                let (user, nth) = load.turn(number);
                let body = users.scheduled(user, nth, self.expiry_s(load, number));
                let intent = if number < self.count {
                    let mut signature = [0; 64];
                    reader.read_exact(&mut signature).context("reading the signatures")?;
                    Intent { body, signature }
                } else {
                    users.sign(user, body)
                };
                intents.push((user, intent));
            }
            if to.send(intents).is_err() {
                return Ok(());
            }
            first = next;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::users::PlayedChain;
    use order::signature::SignedItem;

    /// The first signatures may take much longer than the others, where something else has the processors just then.
    #[test]
    fn no_intent_is_handed_over_while_it_expires_too_late_for_a_node() {
        let users = Users::new(1, PlayedChain { chain: [5; 32], tables: 1, grant: 1_000 }, 3, 1_800_000_000_000);
        let file = tempfile::tempfile().expect("a file");
        let signed = SignedAhead { start_s: users.now_s() + EARLY_S + 5, count: 0, file };
        signed.await_start(&users, 3, &AtomicBool::new(true));
        assert!(users.now_s() + 3 + EARLY_S < signed.start_s, "who ends it waits for nothing");
        signed.await_start(&users, 3, &AtomicBool::new(false));
        let first = signed.start_s + EXPIRY_S;
        assert!(first <= users.now_s() + 3 + EXPIRY_AHEAD_S_MAX, "a node takes it when the users are there");
    }

    #[test]
    fn every_intent_is_handed_over_in_order_and_verifies() {
        let load = Load {
            users: 7,
            rate: 1_000.0,
            burst: 1,
            duration: Duration::from_secs(40),
            ramp: Duration::ZERO,
            watchers: 0,
            churn: 0.0,
            slow_readers: 0,
            hostile: 0,
            hostile_kind: None,
            idle: 0,
            tables_min: 0,
            seed: 3,
        };
        let chain = [5; 32];
        let users = Users::new(7, PlayedChain { chain, tables: 2, grant: 1_000 }, 3, 1_800_000_000_000);
        let dir = tempfile::tempdir().expect("a folder");
        let mut signed = SignedAhead::sign(&load, &users, dir.path(), &AtomicBool::new(false), |_| ()).expect("signed");
        assert_eq!(signed.count, 40_000);
        // As if the last ones had not been reached.
        signed.count = 39_000;
        let (to, from) = sync_channel(1_000);
        signed.hand_over(&load, &users, &to).expect("handed over");
        drop(to);
        let intents: Vec<(usize, Intent)> = from.iter().flatten().collect();
        assert_eq!(intents.len(), 40_000);
        for (number, (user, intent)) in intents.iter().enumerate() {
            assert_eq!((*user, intent.body.number), (number % 7, 3 + number as u64 / 7));
            if number % 500 < 3 || number.abs_diff(39_000) < 10 {
                assert!(SignedItem::intent(intent, &intent.body.key, &chain).verify(), "intent {number}");
            }
        }
        let expiries = |number: usize| u64::from(intents[number].1.body.expiry_s);
        assert_eq!(expiries(39_999) - expiries(0), 39);
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0, "nothing stays behind");
    }
}
