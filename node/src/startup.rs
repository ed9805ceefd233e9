//! A node's start in phases, each timed and each named where it fails.
//!
//! ```text
//!  system: limits, keys -> core: pool, session, what is executed again -> service: self-test, network -> final: monitor, ready
//! ```

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::Context;
use engine::message::vote::{VoteBody, VoteKind};
use engine::{Height, unhex};
use order::batch::BatchSecret;
use order::beacon::{BeaconCollector, BeaconMessage, BeaconVerifier, deal};
use order::signature::{SignedItem, VoteKey, verify, verify_batch};
use words::Failure;

/// A phase of a start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// What the system grants, and the keys.
    System,
    /// The pool, the session, and what of it is executed again.
    Core,
    /// Whether signatures are what they should be here; the network.
    Service,
    /// What watches the node; then it is ready.
    Final,
}

impl Phase {
    /// All phases, in the order in which a start goes through them.
    pub const ALL: [Self; 4] = [Self::System, Self::Core, Self::Service, Self::Final];

    /// The phase's name, as operators read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Core => "core",
            Self::Service => "service",
            Self::Final => "final",
        }
    }
}

// A phase's time is found by its number.
const _: () = {
    let mut place = 0;
    while place < Phase::ALL.len() {
        assert!(Phase::ALL[place] as usize == place);
        place += 1;
    }
};

/// How long each phase took.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PhaseTimes([Duration; Phase::ALL.len()]);

impl PhaseTimes {
    /// How long a phase took; zero if the start has not come to it.
    pub fn of(&self, phase: Phase) -> Duration {
        self.0[phase as usize]
    }

    /// How long the whole start took.
    pub fn total(&self) -> Duration {
        self.0.iter().sum()
    }

    /// The times of all phases, for people.
    pub fn words(&self) -> String {
        let mut words = String::new();
        for phase in Phase::ALL {
            let comma = if words.is_empty() { "" } else { ", " };
            write!(words, "{comma}{} {} ms", phase.name(), self.of(phase).as_millis())
                .expect("a string takes everything");
        }
        words
    }
}

/// A start that is under way.
#[derive(Clone, Default, Debug)]
pub struct Startup {
    times: PhaseTimes,
}

impl Startup {
    /// Does a part of a phase, and adds its time.
    ///
    /// # Errors
    /// What went wrong, with the name of the phase.
    pub fn run<T>(&mut self, phase: Phase, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let began = Instant::now();
        let done = work();
        self.times.0[phase as usize] += began.elapsed();
        done.with_context(|| format!("the start ends in its phase `{}`", phase.name()))
    }

    /// How long the phases have taken.
    pub fn times(&self) -> PhaseTimes {
        self.times
    }
}

/// A signature of RFC 8032, 7.1, test 3.
const KNOWN_KEY: &str = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025";
const KNOWN_MESSAGE: [u8; 2] = [0xaf, 0x82];
const KNOWN_SIGNATURE: &str = "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
                               18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a";

/// Whether this processor computes signatures as every other does: the libraries choose vector instructions by what it says of
/// itself, and a node that takes a false signature, or refuses a good one, has left its chain.
///
/// # Errors
/// What it computes otherwise.
pub fn self_test() -> anyhow::Result<()> {
    let key: [u8; 32] = unhex(KNOWN_KEY).expect("32 bytes in hex");
    let signature: [u8; 64] = unhex(KNOWN_SIGNATURE).expect("64 bytes in hex");
    // One bit is another: a library that takes whatever it is given would pass otherwise.
    let mut altered = signature;
    altered[3] ^= 1;
    if !verify(&key, &KNOWN_MESSAGE, &signature) || verify(&key, &KNOWN_MESSAGE, &altered) {
        return Err(otherwise("a known signature").into());
    }
    let secret = BatchSecret::draw(getrandom::fill).context("the system gives no randomness")?;
    // The batch is large enough for the path of vectors, and one of its signatures is false.
    let chain = [7; 32];
    let keys: Vec<VoteKey> = (0..SELF_TEST_BATCH).map(|number| VoteKey::from_seed(&[number; 32])).collect();
    let publics: Vec<[u8; 32]> = keys.iter().map(VoteKey::public).collect();
    let body = VoteBody::new(VoteKind::Prevote, Height(1), 0, Some([9; 32]), 0);
    let mut votes: Vec<_> = keys.iter().map(|key| key.sign_vote(body, &chain)).collect();
    votes[1].signature[5] ^= 1;
    let items: Vec<SignedItem<'_>> =
        votes.iter().zip(&publics).map(|(vote, key)| SignedItem::vote(vote, key, &chain)).collect();
    let mut verdicts = vec![false; items.len()];
    verify_batch(&items, &secret, &mut verdicts);
    if verdicts.iter().enumerate().any(|(number, holds)| *holds == (number == 1)) {
        return Err(otherwise("a batch of signatures").into());
    }
    let (group, signers) = deal(std::num::NonZeroU32::MIN, [3; 32]);
    let message = BeaconMessage { chain, epoch: 0, height: Height(1), block: [5; 32] };
    let beacon =
        BeaconCollector::new(group.clone(), message).add_own(&signers[0])?.ok_or_else(|| otherwise("a beacon"))?;
    let verifier = BeaconVerifier::new(&group.key())?;
    // The same beacon must not hold for another height: dice could be used twice.
    let other = BeaconMessage { height: Height(2), ..message };
    if !verifier.verify(&message, &beacon) || verifier.verify(&other, &beacon) {
        return Err(otherwise("a beacon").into());
    }
    tracing::debug!("signatures and beacons are what they should be");
    Ok(())
}

/// That a result differs from the known one: on this machine it does at every start.
fn otherwise(what: &str) -> Failure {
    Failure::Mismatch(format!(
        "this machine computes {what} otherwise than it must: nothing that it signs or takes counts"
    ))
}

/// Signatures of the self-test's batch.
const SELF_TEST_BATCH: u8 = 16;

// The one that is false is not the only one: the batch must find it among good ones.
const _: () = assert!(SELF_TEST_BATCH > 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_and_beacons_are_what_they_should_be() {
        self_test().expect("this machine computes as every other");
        assert!(matches!(otherwise("a beacon"), Failure::Mismatch(_)), "the unit does not start it again and again");
    }

    #[test]
    fn a_phase_that_fails_is_named_and_keeps_the_kind_of_its_failure() {
        let mut startup = Startup::default();
        startup.run(Phase::System, || Ok(())).expect("nothing is wrong");
        let failed = startup.run(Phase::Core, || -> anyhow::Result<()> {
            std::thread::sleep(Duration::from_millis(2));
            Err(Failure::Data("no journal".into()).into())
        });
        let error = failed.expect_err("it fails");
        assert_eq!(format!("{error:#}"), "the start ends in its phase `core`: no journal");
        assert!(matches!(error.downcast_ref(), Some(Failure::Data(_))), "its exit code is that of its cause");
        let times = startup.times();
        assert!(times.of(Phase::Core) >= Duration::from_millis(2) && times.total() >= times.of(Phase::Core));
        assert!(times.words().starts_with("system 0 ms, core "), "{}", times.words());
    }
}
