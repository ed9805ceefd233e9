//! Memory: what a thread remembers of signatures, so that nothing is verified twice. For simulations alone.
//!
//! In a simulation the nodes of a cluster share a thread, and each of them verifies what all the others verified. A verdict
//! is a function of key, bytes and signature: to remember it changes none. A simulation may go further and let keys sign
//! with hashes, which only the same thread takes for signatures. Both end with the scope that began them, and nothing but
//! `sim` begins one.

use std::cell::RefCell;
use std::collections::BTreeMap;

use engine::Hash;
use engine::message::certificate::Beacon;

/// What signatures are inside a scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signatures {
    /// Ed25519 and BLS12-381; each is verified once.
    Real,
    /// Hashes that stand for them, which nobody could tell from forged ones without this memory. Nothing is proved by them.
    Simulated,
}

struct Memory {
    signatures: Signatures,
    verdicts: BTreeMap<Hash, bool>,
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
pub fn remembering<R>(signatures: Signatures, work: impl FnOnce() -> R) -> R {
    MEMORY.with_borrow_mut(|memory| {
        assert!(memory.is_none(), "one memory at a time");
        *memory = Some(Memory { signatures, verdicts: BTreeMap::new() });
    });
    let _scope = Scope;
    work()
}

/// Whether this thread takes hashes for signatures.
pub(crate) fn is_simulated() -> bool {
    MEMORY.with_borrow(|memory| memory.as_ref().is_some_and(|memory| memory.signatures == Signatures::Simulated))
}

/// Whether this thread remembers anything.
pub(crate) fn is_on() -> bool {
    MEMORY.with_borrow(Option::is_some)
}

/// The verdict on a signature, by what it is over: remembered, or found by `verify` and remembered.
pub(crate) fn verdict(parts: &[&[u8]], verify: impl FnOnce() -> bool) -> bool {
    if !is_on() {
        return verify();
    }
    let place = digest("bitcraps remembered verdict 1", parts);
    let known = MEMORY.with_borrow(|memory| memory.as_ref().and_then(|memory| memory.verdicts.get(&place).copied()));
    known.unwrap_or_else(|| {
        let holds = !is_simulated() && verify();
        remember(place, holds);
        holds
    })
}

fn remember(place: Hash, holds: bool) {
    MEMORY.with_borrow_mut(|memory| {
        if let Some(memory) = memory {
            memory.verdicts.insert(place, holds);
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
    use crate::batch::BatchSeed;
    use crate::beacon::{BeaconCollector, BeaconMessage, BeaconVerifier, deal};
    use crate::signature::{VoteKey, verify};
    use engine::Height;
    use std::cell::Cell;
    use std::num::NonZeroU32;

    #[test]
    fn what_was_verified_once_is_not_verified_again_and_nothing_is_outside() {
        let times = Cell::new(0);
        let ask = || {
            verdict(&[b"key", b"bytes"], || {
                times.set(times.get() + 1);
                true
            })
        };
        assert!(remembering(Signatures::Real, || ask() && ask()));
        assert_eq!(times.get(), 1);
        assert!(ask() && ask());
        assert_eq!(times.get(), 3, "outside nothing is remembered");
    }

    #[test]
    fn a_panic_ends_the_scope() {
        let caught = std::panic::catch_unwind(|| remembering(Signatures::Simulated, || panic!("in the middle")));
        assert!(caught.is_err() && !is_on());
    }

    #[test]
    fn a_simulated_signature_holds_inside_its_scope_for_its_bytes_and_nowhere_else() {
        let (key, other) = (VoteKey::from_seed(&[1; 32]), VoteKey::from_seed(&[2; 32]));
        let signature = remembering(Signatures::Simulated, || {
            let signature = sign(&key.public(), b"this").expect("simulated");
            assert!(verify(&key.public(), b"this", &signature));
            assert!(!verify(&key.public(), b"that", &signature) && !verify(&other.public(), b"this", &signature));
            signature
        });
        assert!(!verify(&key.public(), b"this", &signature));
        assert!(!remembering(Signatures::Simulated, || verify(&key.public(), b"this", &signature)), "another scope");
    }

    #[test]
    fn simulated_shares_make_a_beacon_and_garbage_does_not() {
        let (group, signers) = deal(NonZeroU32::new(4).expect("four"), [3; 32]);
        let message = BeaconMessage { chain: [1; 32], epoch: 0, height: Height(5), block: [2; 32] };
        let verifier = BeaconVerifier::new(&group.key()).expect("a key");
        let beacon = remembering(Signatures::Simulated, || {
            let mut collector = BeaconCollector::new(group.clone(), message);
            let mut garbage = signers[1].share(&message);
            garbage.signature[7] ^= 1;
            assert!(collector.add(&garbage).is_err());
            assert_eq!(collector.add_own(&signers[0]), Ok(None));
            assert_eq!(collector.add(&signers[1].share(&message)), Ok(None));
            let beacon = collector.add(&signers[2].share(&message)).expect("good shares").expect("three of four");
            assert!(
                verifier.verify(&message, &beacon)
                    && verifier.verify_batch(&[(message, beacon)], &BatchSeed::known([0; 32])).is_empty()
            );
            let later = BeaconMessage { height: Height(6), ..message };
            assert!(!verifier.verify(&later, &beacon));
            beacon
        });
        assert!(!verifier.verify(&message, &beacon), "outside it is no beacon");
    }
}
