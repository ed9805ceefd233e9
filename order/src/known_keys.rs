//! Known keys: players' keys as points of the curve, kept from one signature to the next.
//!
//! ```text
//!  a batch ──▶ one equation, keys known ──holds──▶ all of it verifies
//!                                       └─fails──▶ signature::verify_batch: which ones do, by ZIP-215
//! ```
//! A key travels as 32 bytes, and to make a point of them is a quarter of what its signature takes to verify. The library that
//! decides by ZIP-215 takes keys as bytes only. So another one, which takes points, looks first, and decides nothing but that
//! all is well: its equation is the one of ZIP-215 without the factor 8, so what satisfies it satisfies that one. What it
//! refuses is looked at as if it had not been there.

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, VerifyingKey};
use engine::limits::{KNOWN_KEYS_MAX, KNOWN_KEYS_REST, SIGNATURES_PER_TASK};
use rayon::prelude::*;

use crate::batch::BatchSecret;
use crate::memory;
use crate::signature::{PublicKey, SignedItem, verify_batch};

// What one chunk said stays known as a whole until the next one is looked at.
const _: () = assert!(KNOWN_KEYS_MAX >= SIGNATURES_PER_TASK);
// Whoever makes a look fail makes the next ones be left out: with none left out each batch would be verified twice.
const _: () = assert!(KNOWN_KEYS_REST > 0);

/// Keys under which a signature verified, [`KNOWN_KEYS_MAX`] at most.
#[derive(Debug, Default)]
pub struct KnownKeys {
    keys: BTreeMap<PublicKey, VerifyingKey>,
    /// Batches that are still verified without them.
    rest: u32,
    /// How often they began to rest.
    rests: u64,
}

impl KnownKeys {
    /// How often a signature that was refused at first made the next batches be verified without them.
    pub fn rests(&self) -> u64 {
        self.rests
    }

    /// Verifies many signatures; `verdicts[i]` becomes what [`SignedItem::verify`] says of `items[i]`.
    ///
    /// # Panics
    /// If `verdicts` is not as long as `items`.
    pub fn verify_batch(&mut self, items: &[SignedItem<'_>], secret: &BatchSecret, verdicts: &mut [bool]) {
        assert_eq!(items.len(), verdicts.len(), "one verdict for each signature");
        // What a simulation remembers it remembers for each signature alone. And the other equation has each key once, which
        // spares more where few keys sign many times.
        if memory::is_on() || self.rest > 0 || are_under_few_keys(items) {
            self.rest = self.rest.saturating_sub(1);
            return verify_batch(items, secret, verdicts);
        }
        let looked: Vec<Option<Vec<VerifyingKey>>> =
            memory::timed(|| items.par_chunks(SIGNATURES_PER_TASK).map(|chunk| self.keys_if_all_hold(chunk)).collect());
        // A chunk without one would keep the verdicts that it came with.
        assert_eq!(looked.len(), items.len().div_ceil(SIGNATURES_PER_TASK), "every chunk was looked at");
        let (mut left, mut places) = (Vec::new(), Vec::new());
        for (number, (chunk, keys)) in items.chunks(SIGNATURES_PER_TASK).zip(looked).enumerate() {
            let from = number * SIGNATURES_PER_TASK;
            match keys {
                Some(keys) => {
                    verdicts[from..from + chunk.len()].fill(true);
                    keys.into_iter().for_each(|key| self.keep(key));
                }
                None => {
                    left.extend_from_slice(chunk);
                    places.extend(from..from + chunk.len());
                }
            }
        }
        if left.is_empty() {
            return;
        }
        // Whoever makes this look fail, with a signature that is false or one that only ZIP-215 takes, must not make every
        // batch be verified twice.
        self.rest = KNOWN_KEYS_REST;
        self.rests += 1;
        assert_eq!(left.len(), places.len(), "what is left of the batch is verified, each for its place");
        let mut found = vec![false; left.len()];
        verify_batch(&left, secret, &mut found);
        assert_eq!(places.len(), found.len(), "each verdict goes to the signature that it is on");
        places.into_iter().zip(found).for_each(|(place, holds)| verdicts[place] = holds);
    }

    /// The keys of some signatures if all of these verify; nothing if that is not known.
    fn keys_if_all_hold(&self, chunk: &[SignedItem<'_>]) -> Option<Vec<VerifyingKey>> {
        assert!(!chunk.is_empty() && chunk.len() <= SIGNATURES_PER_TASK, "an equation over nothing always holds");
        let point = |key: &PublicKey| self.keys.get(key).copied().or_else(|| VerifyingKey::from_bytes(key).ok());
        let keys = chunk.iter().map(|item| point(item.key)).collect::<Option<Vec<_>>>()?;
        let messages: Vec<[u8; 128]> = chunk.iter().map(SignedItem::signed_bytes).collect();
        let messages: Vec<&[u8]> = messages.iter().map(<[u8; 128]>::as_slice).collect();
        let signatures: Vec<Signature> = chunk.iter().map(|item| Signature::from_bytes(item.signature)).collect();
        // Its coefficients are a hash of all keys, messages and signatures: who changes one of these to fit them changes them.
        ed25519_dalek::verify_batch(&messages, &signatures, &keys).ok()?;
        Some(keys)
    }

    fn keep(&mut self, key: VerifyingKey) {
        if self.keys.contains_key(key.as_bytes()) {
            return;
        }
        // Which of them will sign next nobody knows. Those who do are here again after one signature each.
        if self.keys.len() == KNOWN_KEYS_MAX {
            self.keys.clear();
        }
        self.keys.insert(key.to_bytes(), key);
        assert!(self.keys.len() <= KNOWN_KEYS_MAX, "no more keys are kept than there is room for");
    }
}

/// Whether some signatures are under so few keys that these are better taken together: fewer than two for three.
fn are_under_few_keys(items: &[SignedItem<'_>]) -> bool {
    let mut keys: Vec<&PublicKey> = items.iter().map(|item| item.key).collect();
    keys.sort_unstable();
    keys.dedup();
    3 * keys.len() < 2 * items.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::tests::{Vector, forge, honest, items, torsioned, vectors};
    use crate::signature::{PlayerKey, VoteKey};

    fn verdicts(known: &mut KnownKeys, vectors: &[Vector]) -> Vec<bool> {
        let items = items(vectors);
        let mut verdicts = vec![false; items.len()];
        known.verify_batch(&items, &BatchSecret::known([7; 32]), &mut verdicts);
        verdicts
    }

    fn expected(vectors: &[Vector]) -> Vec<bool> {
        vectors.iter().map(|vector| vector.holds).collect()
    }

    #[test]
    fn each_vector_has_its_verdict_alone_and_among_others() {
        let vectors = vectors();
        assert_eq!(verdicts(&mut KnownKeys::default(), &vectors), expected(&vectors));
        let mut known = KnownKeys::default();
        for vector in &vectors {
            // The first look under each key is of one that is not known, the second of one that is where it verified.
            for _ in 0..2 {
                known.rest = 0;
                assert_eq!(verdicts(&mut known, std::slice::from_ref(vector)), [vector.holds], "{}", vector.name);
            }
        }
        assert!(known.keys.len() >= 20, "the honest ones' are known");
    }

    #[test]
    fn wrong_signatures_are_found_wherever_they_lie() {
        let mut vectors: Vec<Vector> = (0..700).map(honest).collect();
        for place in [0, 1, 255, 300, 301, 511] {
            vectors[place].signature[40] ^= 4;
            vectors[place].holds = false;
        }
        let mut known = KnownKeys::default();
        assert_eq!(verdicts(&mut known, &vectors), expected(&vectors));
        assert_eq!(known.rest, KNOWN_KEYS_REST, "what failed is not tried again at once");
        assert_eq!(known.keys.len(), 700 - 512, "of the last chunk alone the first look said something");
        for left in (0..KNOWN_KEYS_REST).rev() {
            assert_eq!(verdicts(&mut known, &vectors[..1]), [false]);
            assert_eq!(known.rest, left);
        }
        assert_eq!(known.rests(), 1, "what was verified meanwhile made nothing rest");
        assert_eq!(verdicts(&mut known, &vectors[..1]), [false]);
        assert_eq!((known.rest, known.rests()), (KNOWN_KEYS_REST, 2));
    }

    #[test]
    fn signatures_under_few_keys_are_verified_together() {
        let batch = |keys: u32| (0..12).map(|number| honest(number % keys)).collect::<Vec<_>>();
        let mut known = KnownKeys::default();
        assert_eq!(verdicts(&mut known, &batch(7)), [true; 12]);
        assert!(known.keys.is_empty(), "the equation that has each key once was asked");
        assert_eq!(verdicts(&mut known, &batch(8)), [true; 12]);
        assert_eq!(known.keys.len(), 8);
    }

    /// A signature that only ZIP-215 takes is taken by it where the first look refuses it, whether or not its key is known.
    #[test]
    fn what_only_zip_215_takes_is_taken() {
        let mut known = KnownKeys::default();
        let mut refused_at_first = 0;
        for number in 0..32 {
            known.rest = 0;
            let among_others = [honest(1), torsioned(number), honest(2)];
            assert_eq!(verdicts(&mut known, &among_others), [true; 3]);
            // The first look takes one in eight: where a coefficient is a multiple of the order of the added point.
            refused_at_first += u32::from(known.rest > 0);
        }
        assert!((16..32).contains(&refused_at_first), "{refused_at_first} of 32");
        assert_eq!(known.keys.len(), 3, "what the first look took is known");
    }

    /// Those whose errors cancel under coefficients of another equation: nothing about that makes them pass this one.
    #[test]
    fn false_signatures_that_cancel_elsewhere_are_refused() {
        use rand_chacha::ChaCha20Rng;
        use rand_chacha::rand_core::SeedableRng;
        let victim = VoteKey::from_seed(&[50; 32]).public();
        for seed in 0..16 {
            let forged = forge(&victim, ChaCha20Rng::from_seed([seed; 32]));
            assert_eq!(verdicts(&mut KnownKeys::default(), &forged), [false; 2]);
        }
    }

    #[test]
    fn keys_are_kept_up_to_a_bound() {
        let key = |number: usize| {
            let mut seed = [9; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            VerifyingKey::from_bytes(&PlayerKey::from_seed(&seed).public()).expect("a key")
        };
        let mut known = KnownKeys::default();
        (0..KNOWN_KEYS_MAX).for_each(|number| known.keep(key(number)));
        known.keep(key(0));
        assert_eq!(known.keys.len(), KNOWN_KEYS_MAX, "one that is known takes no other place");
        known.keep(key(KNOWN_KEYS_MAX));
        assert_eq!(known.keys.len(), 1);
    }
}
