use curve25519_dalek::constants::ED25519_BASEPOINT_POINT as BASE;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha512};

use super::*;
use engine::Height;
use engine::message::vote::{PRECOMMIT_DOMAIN, VoteKind};

const CHAIN: Hash = [3; 32];
const DOMAIN: [u8; 32] = *b"bitcraps test vectors 1\0\0\0\0\0\0\0\0\0";

/// Every encoding that ZIP-215 takes for a point of small order: eight points, six of them in a second encoding.
const SMALL_ORDER: [&str; 14] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

/// The order of the group, little-endian.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
/// No point has this y.
const OFF_CURVE: &str = "0200000000000000000000000000000000000000000000000000000000000000";

#[derive(Clone)]
pub(crate) struct Vector {
    pub(crate) name: &'static str,
    pub(crate) key: PublicKey,
    pub(crate) body: [u8; 64],
    pub(crate) signature: Signature,
    pub(crate) holds: bool,
}

fn point(text: &str) -> [u8; 32] {
    engine::unhex(text).expect("32 bytes of hex")
}

fn join(r: [u8; 32], s: [u8; 32]) -> Signature {
    [r, s].concat().try_into().expect("twice 32 bytes")
}

pub(crate) fn honest(number: u32) -> Vector {
    let mut seed = [number as u8; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    let (key, body) = (VoteKey::from_seed(&seed), [number as u8; 64]);
    let signature = key.sign(&DOMAIN, &CHAIN, &body);
    Vector { name: "honest", key: key.public(), body, signature, holds: true }
}

/// A signature by whoever holds the key, with a point of order 8 added to its R: cofactored it holds, and not otherwise.
pub(crate) fn torsioned(number: u8) -> Vector {
    let (secret, nonce, body) = (Scalar::from(17u8), Scalar::from(19u8), [number; 64]);
    let key = (BASE * secret).compress().to_bytes();
    let of_order_8 =
        curve25519_dalek::edwards::CompressedEdwardsY(point(SMALL_ORDER[4])).decompress().expect("a point");
    let r = BASE * nonce + of_order_8;
    let s = nonce + challenge(&r, &key, &body) * secret;
    Vector { name: "torsioned", key, body, signature: join(r.compress().to_bytes(), s.to_bytes()), holds: true }
}

/// The sum of two little-endian numbers below 2^256.
fn sum(one: &[u8], other: &[u8; 32]) -> [u8; 32] {
    let mut carry = 0;
    std::array::from_fn(|place| {
        let digit = u16::from(one[place]) + u16::from(other[place]) + carry;
        carry = digit >> 8;
        digit as u8
    })
}

/// Edge cases, each with the verdict of ZIP-215.
pub(crate) fn vectors() -> Vec<Vector> {
    let mut all: Vec<Vector> = (0..20).map(honest).collect();
    let wrong = |name, change: fn(&mut Vector)| {
        let mut vector = Vector { name, holds: false, ..honest(40) };
        change(&mut vector);
        vector
    };
    all.push(wrong("another body", |v| v.body[63] ^= 1));
    all.push(wrong("another key", |v| v.key = VoteKey::from_seed(&[41; 32]).public()));
    all.push(wrong("s plus the order", |v| {
        let s = sum(&v.signature[32..], &point(ORDER));
        v.signature[32..].copy_from_slice(&s);
    }));
    all.push(wrong("R off the curve", |v| v.signature[..32].copy_from_slice(&point(OFF_CURVE))));
    all.push(wrong("key off the curve", |v| v.key = point(OFF_CURVE)));
    all.push(wrong("zeroed", |v| v.signature = [0; 64]));
    all.push(wrong("top bits of s", |v| v.signature[63] |= 0xe0));
    let identity = point(SMALL_ORDER[0]);
    let name = "s equal to the order";
    all.push(Vector { name, key: identity, body: [1; 64], signature: join(identity, point(ORDER)), holds: false });
    // Cofactored and taking any encoding: all of these hold, whatever the body.
    for (number, key) in SMALL_ORDER.iter().enumerate() {
        for r in SMALL_ORDER {
            let signature = join(point(r), [0; 32]);
            all.push(Vector { name: "small order", key: point(key), body: [number as u8; 64], signature, holds: true });
        }
    }
    all
}

pub(crate) fn items(vectors: &[Vector]) -> Vec<SignedItem<'_>> {
    vectors
        .iter()
        .map(|v| SignedItem { key: &v.key, domain: &DOMAIN, chain: &CHAIN, body: v.body, signature: &v.signature })
        .collect()
}

#[test]
fn each_vector_has_its_verdict_alone_and_in_a_batch() {
    let vectors = vectors();
    let items = items(&vectors);
    let mut verdicts = vec![false; items.len()];
    verify_batch(&items, &BatchSecret::known([7; 32]), &mut verdicts);
    for (vector, (item, batched)) in vectors.iter().zip(items.iter().zip(&verdicts)) {
        assert_eq!(item.verify(), vector.holds, "alone: {}", vector.name);
        assert_eq!(*batched, vector.holds, "in a batch: {}", vector.name);
    }
    assert!(!verify_all(&items, &BatchSecret::known([7; 32])));
    let good: Vec<SignedItem<'_>> =
        items.iter().zip(&vectors).filter(|(_, v)| v.holds).map(|(item, _)| *item).collect();
    assert!(verify_all(&good, &BatchSecret::known([7; 32])));
}

/// The vectors tell verifiers apart: what `ed25519-dalek` says of one signature is not what ZIP-215 says.
#[test]
fn the_vectors_tell_dalek_from_zip_215() {
    let differ = vectors().into_iter().filter(|v| v.holds).filter(|v| {
        let signature = ed25519_dalek::Signature::from_bytes(&v.signature);
        let message = signed_bytes(&DOMAIN, &CHAIN, &v.body);
        ed25519_dalek::VerifyingKey::from_bytes(&v.key)
            .is_ok_and(|key| ed25519_dalek::Verifier::verify(&key, &message, &signature).is_err())
    });
    assert!(differ.count() > 50);
}

/// Wherever wrong signatures lie, in whatever number, over several chunks and at any thread count.
#[test]
fn batches_find_every_wrong_signature() {
    let mut vectors: Vec<Vector> = (0..700).map(|number| honest(number % 256)).collect();
    for place in [0, 1, 255, 256, 257, 300, 301, 302, 511, 512, 699] {
        vectors[place].signature[40] ^= 4;
        vectors[place].holds = false;
    }
    let items = items(&vectors);
    for (threads, count) in [(1, 700), (2, 700), (3, 1), (8, 0), (3, 256), (2, 257)] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        let mut verdicts = vec![true; count];
        pool.install(|| verify_batch(&items[..count], &BatchSecret::known([threads as u8; 32]), &mut verdicts));
        let expected: Vec<bool> = vectors[..count].iter().map(|vector| vector.holds).collect();
        assert_eq!(verdicts, expected, "{threads} threads, {count} signatures");
    }
}

/// As many as a replay verifies at once: more of them share an equation.
#[test]
fn of_very_many_every_wrong_signature_is_found() {
    let count = REPLAY_SIGNATURES + 3;
    assert_eq!((per_task(count), per_task(count - 4)), (SIGNATURES_PER_LARGE_TASK, SIGNATURES_PER_TASK));
    let secret = BatchSecret::known([7; 32]);
    let honest: Vec<Vector> = (0..256).map(honest).collect();
    let mut vectors: Vec<Vector> = honest.iter().cycle().take(count).cloned().collect();
    let large = by_key(&items(&vectors))[..SIGNATURES_PER_LARGE_TASK].to_vec();
    let (first, mut rng) = equation(&items(&vectors), &large, &secret);
    assert!(first.len() == SIGNATURES_PER_LARGE_TASK && batch_holds(&first, &mut rng), "a larger equation holds");
    assert!(verify_all(&items(&vectors), &secret));
    let edges = [0, SIGNATURES_PER_LARGE_TASK - 1, SIGNATURES_PER_LARGE_TASK, count - 4, count - 1];
    let order = by_key(&items(&vectors));
    for place in edges.map(|edge| order[edge]) {
        vectors[place].signature[40] ^= 4;
        vectors[place].holds = false;
    }
    let expected: Vec<bool> = vectors.iter().map(|vector| vector.holds).collect();
    let mut verdicts = vec![false; count];
    verify_batch(&items(&vectors), &secret, &mut verdicts);
    assert!(verdicts == expected, "each wrong one is found, and no other");
    assert!(!verify_all(&items(&vectors), &secret));
}

#[test]
fn keys_of_small_order_or_in_a_second_encoding_are_refused() {
    assert!((0..50).all(|number| key_is_acceptable(&honest(number).key)));
    for key in SMALL_ORDER.iter().map(|key| point(key)) {
        assert!(!key_is_acceptable(&key) && !encoding_is_acceptable(&key));
        assert!(ed25519_dalek::VerifyingKey::from_bytes(&key).is_ok_and(|key| key.is_weak()), "the list is wrong");
    }
    assert!(!key_is_acceptable(&point(OFF_CURVE)));
    // Every y from p to 2^255 - 1, with both signs. The verifier takes some of them that are not of small order.
    let mut taken_by_the_verifier = 0;
    for (low, sign) in (0xed..=0xff).flat_map(|low| [(low, 0x7f), (low, 0xff)]) {
        let mut key = [0xff; 32];
        (key[0], key[31]) = (low, sign);
        assert!(!key_is_acceptable(&key));
        let weak = SMALL_ORDER.iter().any(|small| point(small) == key);
        taken_by_the_verifier += u32::from(!weak && VerificationKey::try_from(key).is_ok());
    }
    assert!(taken_by_the_verifier > 0, "the check would be of no use");
}

#[test]
fn an_intent_is_verified_under_its_key_and_chain() {
    use engine::message::intent::IntentKind;
    let key = PlayerKey::from_seed(&[8; 32]);
    let body = IntentBody::new(IntentKind::Open, key.public(), 1, 60);
    let intent = key.sign(body, &CHAIN);
    assert!(SignedItem::intent(&intent, &intent.body.key, &CHAIN).verify());
    assert_eq!(SignedItem::intent(&intent, &intent.body.key, &CHAIN).signed_bytes(), body.signed_bytes(&CHAIN));
    assert!(!SignedItem::intent(&intent, &intent.body.key, &[4; 32]).verify());
    let changed = Intent { body: body.amount(1), ..intent };
    assert!(!SignedItem::intent(&changed, &changed.body.key, &CHAIN).verify());
}

#[test]
fn a_prevote_is_no_precommit_and_a_vote_no_proposal() {
    let (key, chain) = (VoteKey::from_seed(&[1; 32]), [9; 32]);
    let public = key.public();
    let vote = key.sign_vote(VoteBody::new(VoteKind::Prevote, Height(4), 2, Some([7; 32]), 0), &chain);
    let item = SignedItem::vote(&vote, &public, &chain);
    assert!(item.verify());
    assert!(!SignedItem::vote(&vote, &public, &[8; 32]).verify(), "another chain");
    for domain in [&PRECOMMIT_DOMAIN, &PROPOSAL_DOMAIN, &INTENT_DOMAIN] {
        assert!(!SignedItem { domain, ..item }.verify());
    }
}

/// The scalar that a signature binds R, key and message by.
fn challenge(r: &EdwardsPoint, key: &PublicKey, body: &[u8; 64]) -> Scalar {
    let hash = Sha512::new()
        .chain_update(r.compress().as_bytes())
        .chain_update(key)
        .chain_update(signed_bytes(&DOMAIN, &CHAIN, body));
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

/// The next coefficient that the library takes for a signature.
fn coefficient(rng: &mut ChaCha20Rng) -> Scalar {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    Scalar::from(u128::from_le_bytes(bytes))
}

/// Two false signatures whose errors cancel under the coefficients that `rng` gives: the first under the key of somebody
/// who signed nothing, the second under a key of the forger's own.
pub(crate) fn forge(victim: &PublicKey, mut rng: ChaCha20Rng) -> [Vector; 2] {
    let (first, second) = (coefficient(&mut rng), coefficient(&mut rng));
    let victim_point = curve25519_dalek::edwards::CompressedEdwardsY(*victim).decompress().expect("a key");
    let (r, s) = (BASE * Scalar::from(5u8), Scalar::from(7u8));
    let body = [1; 64];
    let error = BASE * s - r - victim_point * challenge(&r, victim, &body);
    let stolen = Vector {
        name: "stolen",
        key: *victim,
        body,
        signature: join(r.compress().to_bytes(), s.to_bytes()),
        holds: false,
    };
    let (secret, nonce) = (Scalar::from(11u8), Scalar::from(13u8));
    let (key, body) = ((BASE * secret).compress().to_bytes(), [2; 64]);
    let r = BASE * nonce + error * (first * second.invert());
    let s = nonce + challenge(&r, &key, &body) * secret;
    let signature = join(r.compress().to_bytes(), s.to_bytes());
    [stolen, Vector { name: "balancing", key, body, signature, holds: false }]
}

/// Whoever knows the coefficients of a batch can make it hold with false signatures in it. Knowing the secret is not enough:
/// the coefficients follow from the batch too, and a signature that is changed to fit them changes them.
#[test]
fn false_signatures_that_cancel_under_known_coefficients_are_refused() {
    let victim = VoteKey::from_seed(&[50; 32]).public();
    let known = BatchSecret::known([9; 32]);
    let bare = || ChaCha20Rng::from_seed([9; 32]);
    let before = forge(&victim, bare());
    let guesses = [forge(&victim, bare()), forge(&victim, coefficients(&items(&before), &[0, 1], &known))];
    let forged = items(&guesses[0]);
    let library: Vec<batch::Item> = forged.iter().map(SignedItem::batch_item).collect();
    // The library takes keys in an order of its own, so a forger is right every second time.
    assert!((0..64).any(|_| batch_holds(&library, &mut bare())), "the forgery is one: a known stream is fooled by it");
    for guess in &guesses {
        for _ in 0..64 {
            let mut verdicts = [true; 2];
            verify_batch(&items(guess), &known, &mut verdicts);
            assert_eq!(verdicts, [false; 2]);
            assert!(!verify_all(&items(guess), &known));
        }
    }
}
