//! Memory: what a thread remembers of signatures, so that nothing is verified twice. For simulations alone.
//!
//! In a simulation the nodes of a cluster share a thread, and each of them verifies what all the others verified. A verdict
//! is a function of key, bytes and signature: to remember it changes none. A simulation may go further and let keys sign
//! with hashes, which only the same thread takes for signatures. It is told what cryptography took. All that ends with the
//! scope that began it, and nothing but `sim` begins one: the sources are looked through for that.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use engine::Hash;
use engine::message::certificate::Beacon;

/// What signatures are inside a scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signatures {
    /// Ed25519 and BLS12-381; each is verified once.
    Real,
    /// Ed25519 and BLS12-381, and nothing is remembered: every node verifies all that it hears, in batches, as outside.
    Unshared,
    /// Hashes that stand for them, which nobody could tell from forged ones without this memory. Nothing is proved by them.
    Simulated,
}

/// What tells the time in a scope: nothing in this crate has a clock.
pub type Stopwatch = fn() -> Duration;

struct Memory {
    signatures: Signatures,
    verdicts: BTreeMap<Hash, bool>,
    stopwatch: Stopwatch,
    /// What real cryptography took.
    spent: Duration,
}

thread_local! {
    static MEMORY: RefCell<Option<Memory>> = const { RefCell::new(None) };
}

/// Ends the scope, however it ends.
struct Scope;

impl Drop for Scope {
    fn drop(&mut self) {
        MEMORY.with_borrow_mut(|memory| *memory = None);
    }
}

/// Does some work with a memory of its own on this thread: other threads know nothing of it.
///
/// # Panics
/// Inside another such scope.
pub fn remembering<R>(signatures: Signatures, stopwatch: Stopwatch, work: impl FnOnce() -> R) -> R {
    MEMORY.with_borrow_mut(|memory| {
        assert!(memory.is_none(), "one memory at a time");
        *memory = Some(Memory { signatures, verdicts: BTreeMap::new(), stopwatch, spent: Duration::ZERO });
    });
    let _scope = Scope;
    let done = work();
    // What was signed with hashes in it could be verified by nobody from then on.
    assert!(MEMORY.with_borrow(Option::is_some), "nothing but the end of its scope forgets a memory");
    done
}

/// What real cryptography has taken in this scope; nothing outside one.
pub fn spent() -> Duration {
    MEMORY.with_borrow(|memory| memory.as_ref().map_or(Duration::ZERO, |memory| memory.spent))
}

/// Does some cryptography, whose time counts in a scope.
pub(crate) fn timed<R>(work: impl FnOnce() -> R) -> R {
    let Some(stopwatch) = MEMORY.with_borrow(|memory| memory.as_ref().map(|memory| memory.stopwatch)) else {
        return work();
    };
    let began = stopwatch();
    let done = work();
    let took = stopwatch().saturating_sub(began);
    MEMORY.with_borrow_mut(|memory| memory.iter_mut().for_each(|memory| memory.spent += took));
    done
}

/// Whether this thread takes hashes for signatures.
pub(crate) fn is_simulated() -> bool {
    MEMORY.with_borrow(|memory| memory.as_ref().is_some_and(|memory| memory.signatures == Signatures::Simulated))
}

/// Whether this thread remembers verdicts.
pub(crate) fn is_on() -> bool {
    MEMORY.with_borrow(|memory| memory.as_ref().is_some_and(|memory| memory.signatures != Signatures::Unshared))
}

/// The verdict on a signature, by what it is over: remembered, or found by `verify` and remembered.
pub(crate) fn verdict(parts: &[&[u8]], verify: impl FnOnce() -> bool) -> bool {
    if !is_on() {
        return timed(verify);
    }
    let place = digest("bitcraps remembered verdict 1", parts);
    let known = MEMORY.with_borrow(|memory| memory.as_ref().and_then(|memory| memory.verdicts.get(&place).copied()));
    known.unwrap_or_else(|| {
        // A simulated signature that this thread does not remember is one that nobody in it made.
        let holds = !is_simulated() && timed(verify);
        remember(place, holds);
        holds
    })
}

fn remember(place: Hash, holds: bool) {
    MEMORY.with_borrow_mut(|memory| {
        if let Some(memory) = memory {
            let before = memory.verdicts.insert(place, holds);
            // Nodes of one cluster that were given two verdicts on one signature would have forked.
            assert!(before.is_none_or(|before| before == holds), "the verdict on a signature never changes");
        }
    });
}

/// A signature of a key over some bytes, where signatures are simulated.
pub(crate) fn sign(key: &[u8; 32], bytes: &[u8]) -> Option<[u8; 64]> {
    if !is_simulated() {
        return None;
    }
    let mut signature = [0; 64];
    fill("bitcraps simulated signature 1", &[key, bytes], &mut signature);
    remember(digest("bitcraps remembered verdict 1", &[key, bytes, &signature]), true);
    Some(signature)
}

/// The share of a slot in a beacon over some bytes, or with no slot the beacon, where signatures are simulated.
pub(crate) fn beacon(slot: Option<u32>, bytes: &[u8]) -> Option<Beacon> {
    if !is_simulated() {
        return None;
    }
    // The beacon itself stands where no slot can: no validator's share is one.
    const { assert!(engine::limits::VALIDATORS_MAX < u32::MAX) };
    let mut beacon = [0; 48];
    let slot = slot.unwrap_or(u32::MAX).to_le_bytes();
    fill("bitcraps simulated beacon 1", &[&slot, bytes], &mut beacon);
    Some(beacon)
}

fn hasher(context: &str, parts: &[&[u8]]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher
}

fn digest(context: &str, parts: &[&[u8]]) -> Hash {
    *hasher(context, parts).finalize().as_bytes()
}

fn fill(context: &str, parts: &[&[u8]], out: &mut [u8]) {
    hasher(context, parts).finalize_xof().fill(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchSecret;
    use crate::beacon::{BeaconCollector, BeaconMessage, BeaconVerifier, deal};
    use crate::signature::{VoteKey, verify};
    use engine::Height;
    use std::cell::Cell;
    use std::num::NonZeroU32;

    fn never() -> Duration {
        Duration::ZERO
    }

    #[test]
    fn cryptography_is_timed_whether_its_verdicts_are_remembered_or_not() {
        thread_local!(static TICKS: Cell<u64> = const { Cell::new(0) });
        fn ticks() -> Duration {
            TICKS.set(TICKS.get() + 1);
            Duration::from_secs(TICKS.get())
        }
        let key = VoteKey::from_seed(&[1; 32]);
        let [shared, unshared] = [Signatures::Real, Signatures::Unshared].map(|signatures| {
            remembering(signatures, ticks, || {
                assert!((0..3).all(|_| !verify(&key.public(), b"this", &[7; 64])));
                spent().as_secs()
            })
        });
        assert_eq!((shared, unshared), (1, 3));
        assert_eq!(spent(), Duration::ZERO, "outside nobody counts");
    }

    #[test]
    fn what_was_verified_once_is_not_verified_again_and_nothing_is_outside() {
        let times = Cell::new(0);
        let ask = || {
            verdict(&[b"key", b"bytes"], || {
                times.set(times.get() + 1);
                true
            })
        };
        assert!(remembering(Signatures::Real, never, || ask() && ask()));
        assert_eq!(times.get(), 1);
        assert!(ask() && ask());
        assert_eq!(times.get(), 3, "outside nothing is remembered");
    }

    #[test]
    fn a_panic_ends_the_scope() {
        let caught = std::panic::catch_unwind(|| remembering(Signatures::Simulated, never, || panic!("in the middle")));
        assert!(caught.is_err() && !is_on());
    }

    #[test]
    fn a_simulated_signature_holds_inside_its_scope_for_its_bytes_and_nowhere_else() {
        let (key, other) = (VoteKey::from_seed(&[1; 32]), VoteKey::from_seed(&[2; 32]));
        let signature = remembering(Signatures::Simulated, never, || {
            let signature = sign(&key.public(), b"this").expect("simulated");
            assert!(verify(&key.public(), b"this", &signature));
            assert!(!verify(&key.public(), b"that", &signature) && !verify(&other.public(), b"this", &signature));
            signature
        });
        assert!(!verify(&key.public(), b"this", &signature));
        assert!(
            !remembering(Signatures::Simulated, never, || verify(&key.public(), b"this", &signature)),
            "another scope"
        );
    }

    #[test]
    fn simulated_shares_make_a_beacon_and_garbage_does_not() {
        let (group, signers) = deal(NonZeroU32::new(4).expect("four"), [3; 32]);
        let message = BeaconMessage { chain: [1; 32], epoch: 0, height: Height(5), block: [2; 32] };
        let verifier = BeaconVerifier::new(&group.key()).expect("a key");
        let beacon = remembering(Signatures::Simulated, never, || {
            let mut collector = BeaconCollector::new(group.clone(), message);
            let mut garbage = signers[1].share(&message);
            garbage.signature[7] ^= 1;
            assert!(collector.add(&garbage).is_err());
            assert_eq!(collector.add_own(&signers[0]), Ok(None));
            assert_eq!(collector.add(&signers[1].share(&message)), Ok(None));
            let beacon = collector.add(&signers[2].share(&message)).expect("good shares").expect("three of four");
            assert!(
                verifier.verify(&message, &beacon)
                    && verifier.verify_batch(&[(message, beacon)], &BatchSecret::known([0; 32])).is_empty()
            );
            let later = BeaconMessage { height: Height(6), ..message };
            assert!(!verifier.verify(&later, &beacon));
            beacon
        });
        assert!(!verifier.verify(&message, &beacon), "outside it is no beacon");
    }
}
