//! Ed25519: what is signed, who holds keys, and the one verdict on every signature.
//!
//! Verification is ZIP-215 (`ed25519-zebra`): batched or not, every node gives the same verdict. Signing is
//! `ed25519-dalek`. Every signed message is 128 bytes: a domain, the chain id, and a body of 64 bytes.

use ed25519_dalek::Signer;
use ed25519_zebra::batch;
use ed25519_zebra::{Signature as ZebraSignature, VerificationKey, VerificationKeyBytes};
use engine::Hash;
use engine::limits::{REPLAY_SIGNATURES, SIGNATURES_PER_LARGE_TASK, SIGNATURES_PER_TASK};
use engine::message::intent::{INTENT_DOMAIN, Intent, IntentBody, IntentKind};
use engine::message::node::{CLAIM_DOMAIN, Claim, ClaimBody};
use engine::message::pledge::{PLEDGE_DOMAIN, PledgeRow};
use engine::message::share::{SHARE_DOMAIN, Share, ShareBody};
use engine::message::signed::signed_bytes;
use engine::message::vote::{PROPOSAL_DOMAIN, Proposal, ProposalBody, Vote, VoteBody};
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;

use crate::batch::BatchSecret;
use crate::memory;

// Every message is a domain, a chain id and one body: none that is signed as one of them can be read as another.
const _: () = assert!(size_of::<IntentBody>() == 64 && size_of::<VoteBody>() == 64);
const _: () = assert!(size_of::<ProposalBody>() == 64 && size_of::<ClaimBody>() == 64);
// An equation takes one signature at least: it would hold over none.
const _: () = assert!(SIGNATURES_PER_TASK > 0 && SIGNATURES_PER_TASK <= SIGNATURES_PER_LARGE_TASK);

/// An Ed25519 public key as it travels.
pub type PublicKey = [u8; 32];
/// An Ed25519 signature as it travels.
pub type Signature = [u8; 64];

/// One signature over `domain, chain, body`, to be verified. Borrows what lies in a block and copies the body.
#[derive(Clone, Copy, Debug)]
pub struct SignedItem<'a> {
    /// The key that must have signed.
    pub key: &'a PublicKey,
    /// What kind of message it is.
    pub domain: &'a [u8; 32],
    /// The chain it is for.
    pub chain: &'a Hash,
    /// The message.
    pub body: [u8; 64],
    /// The signature.
    pub signature: &'a Signature,
}

impl<'a> SignedItem<'a> {
    /// An intent under the key that must have signed it: the account's, or the issuer's for a voucher.
    pub fn intent(intent: &'a Intent, key: &'a PublicKey, chain: &'a Hash) -> Self {
        let is_own = *key == intent.body.key;
        assert!(is_own || intent.body.kind == IntentKind::OpenVoucher as u8, "only a voucher is another's to sign");
        let body = bytemuck::cast(intent.body);
        Self { key, domain: &INTENT_DOMAIN, chain, body, signature: &intent.signature }
    }

    /// A pledge or an opening under its player's key.
    pub fn pledge(row: &'a PledgeRow, chain: &'a Hash) -> Self {
        Self { key: &row.key, domain: &PLEDGE_DOMAIN, chain, body: row.signed(), signature: &row.signature }
    }

    /// A vote under the voter's key.
    pub fn vote(vote: &'a Vote, key: &'a PublicKey, chain: &'a Hash) -> Self {
        let (domain, body) = (vote.body.domain(), bytemuck::cast(vote.body));
        Self { key, domain, chain, body, signature: &vote.signature }
    }

    /// A proposal under the proposer's key.
    pub fn proposal(proposal: &'a Proposal, key: &'a PublicKey, chain: &'a Hash) -> Self {
        let body = bytemuck::cast(proposal.body);
        Self { key, domain: &PROPOSAL_DOMAIN, chain, body, signature: &proposal.signature }
    }

    /// A share's envelope under its author's vote key.
    pub fn share(share: &'a Share, key: &'a PublicKey, chain: &'a Hash) -> Self {
        Self { key, domain: &SHARE_DOMAIN, chain, body: share.body.signed(), signature: &share.signature }
    }

    /// A claim under the vote key of the validator that it names.
    pub fn claim(claim: &'a Claim, key: &'a PublicKey, chain: &'a Hash) -> Self {
        let body = bytemuck::cast(claim.body);
        Self { key, domain: &CLAIM_DOMAIN, chain, body, signature: &claim.signature }
    }

    /// Domain, chain id, body.
    pub fn signed_bytes(&self) -> [u8; 128] {
        signed_bytes(self.domain, self.chain, &self.body)
    }

    /// Verifies this one alone.
    pub fn verify(&self) -> bool {
        verify(self.key, &self.signed_bytes(), self.signature)
    }

    fn batch_item(&self) -> batch::Item {
        let (key, signature) = (VerificationKeyBytes::from(*self.key), ZebraSignature::from_bytes(self.signature));
        batch::Item::from((key, signature, &self.signed_bytes()))
    }
}

/// Whether `signature` over `message` verifies under `key`, by the rules of ZIP-215.
pub fn verify(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    memory::verdict(&[key, message, signature], || {
        let key = VerificationKey::try_from(*key);
        key.is_ok_and(|key| key.verify(&ZebraSignature::from_bytes(signature), message).is_ok())
    })
}

/// Verifies many signatures; `verdicts[i]` becomes what [`SignedItem::verify`] says of `items[i]`.
///
/// Chunks of a size that follows from their number run in parallel, each with coefficients of its own; a chunk that fails is bisected.
///
/// # Panics
/// If `verdicts` is not as long as `items`.
pub fn verify_batch(items: &[SignedItem<'_>], secret: &BatchSecret, verdicts: &mut [bool]) {
    assert_eq!(items.len(), verdicts.len(), "one verdict for each signature");
    // What a simulation remembers it remembers for each signature alone.
    if memory::is_on() {
        return items.iter().zip(verdicts).for_each(|(item, holds)| *holds = item.verify());
    }
    memory::timed(|| {
        let (order, mut sorted) = (by_key(items), vec![false; items.len()]);
        // Chunks of both are taken in step: were one longer, verdicts would go to other signatures.
        assert_eq!(order.len(), sorted.len(), "every signature has a place in the order");
        let per_task = per_task(items.len());
        let chunks = order.par_chunks(per_task).zip(sorted.par_chunks_mut(per_task));
        chunks.for_each(|(chunk, verdicts)| {
            let (items, mut rng) = equation(items, chunk, secret);
            bisect(&items, verdicts, &mut rng);
        });
        order.iter().zip(sorted).for_each(|(place, holds)| verdicts[*place] = holds);
    });
}

/// Whether all of many signatures verify; stops at the first chunk that does not.
pub fn verify_all(items: &[SignedItem<'_>], secret: &BatchSecret) -> bool {
    if memory::is_on() {
        return items.iter().all(SignedItem::verify);
    }
    memory::timed(|| {
        let order = by_key(items);
        assert_eq!(order.len(), items.len(), "a signature without a place would count as one that holds");
        order.par_chunks(per_task(items.len())).all(|chunk| {
            let (items, mut rng) = equation(items, chunk, secret);
            batch_holds(&items, &mut rng)
        })
    })
}

/// How many of so many signatures share an equation. It depends on nothing else, so that the work is the same on any machine.
fn per_task(signatures: usize) -> usize {
    if signatures >= REPLAY_SIGNATURES { SIGNATURES_PER_LARGE_TASK } else { SIGNATURES_PER_TASK }
}

/// The places of items, those under one key beside each other: a chunk's equation has each key once, so that of many
/// signatures under few keys nearly half of the work is spared.
fn by_key(items: &[SignedItem<'_>]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..items.len()).collect();
    // One chunk's equation finds its keys in any order.
    if items.len() > SIGNATURES_PER_TASK {
        places.sort_by_key(|place| items[*place].key);
    }
    places
}

/// What the equation over a chunk is made of: its items, given by their places, and what its coefficients are drawn from.
fn equation(items: &[SignedItem<'_>], chunk: &[usize], secret: &BatchSecret) -> (Vec<batch::Item>, ChaCha20Rng) {
    assert!(!chunk.is_empty(), "an equation over nothing always holds");
    assert!(chunk.len() <= SIGNATURES_PER_LARGE_TASK, "an equation is over one chunk at most");
    (chunk.iter().map(|place| items[*place].batch_item()).collect(), coefficients(items, chunk, secret))
}

/// The coefficients of the equation over a chunk: keys, messages and signatures all change them.
fn coefficients(items: &[SignedItem<'_>], chunk: &[usize], secret: &BatchSecret) -> ChaCha20Rng {
    secret.coefficients(b"ed25519 zip-215 ", |hasher| {
        for item in chunk.iter().map(|place| &items[*place]) {
            hasher.update(item.key).update(&item.signed_bytes()).update(item.signature);
        }
    })
}

fn batch_holds(items: &[batch::Item], rng: &mut ChaCha20Rng) -> bool {
    assert!(!items.is_empty(), "an equation over nothing always holds");
    let mut verifier = batch::Verifier::new();
    items.iter().for_each(|item| verifier.queue(item.clone()));
    verifier.verify(rng).is_ok()
}

fn bisect(items: &[batch::Item], verdicts: &mut [bool], rng: &mut ChaCha20Rng) {
    assert_eq!(items.len(), verdicts.len(), "a half keeps its verdicts");
    match items {
        [] => {}
        [item] => verdicts[0] = item.clone().verify_single().is_ok(),
        // Coefficients go on from one equation to the next: halves that fail are not weighed as their whole was.
        _ if batch_holds(items, rng) => verdicts.fill(true),
        _ => {
            // Neither half is empty: it ends at single signatures, which are verified by themselves.
            let half = items.len() / 2;
            let (low, high) = verdicts.split_at_mut(half);
            bisect(&items[..half], low, rng);
            bisect(&items[half..], high, rng);
            // Signatures that all hold alone hold together, whatever their coefficients.
            assert!(verdicts.contains(&false), "what does not hold together has a signature that does not hold alone");
        }
    }
}

/// Whether a key may enter (genesis, accounts, TLS): a point in its one canonical encoding, not of small order.
pub fn key_is_acceptable(key: &PublicKey) -> bool {
    encoding_is_acceptable(key) && VerificationKey::try_from(*key).is_ok()
}

/// The part of [`key_is_acceptable`] that needs no arithmetic: canonical, and none of the points of small order. That
/// the bytes are a point at all, the verification of any signature under the key says too.
pub fn encoding_is_acceptable(key: &PublicKey) -> bool {
    y_is_canonical(key) && !is_small_order(key)
}

/// Whether the y coordinate is below 2^255 - 19. The other non-canonical encodings, a sign bit at x = 0, are points
/// of small order.
fn y_is_canonical(key: &PublicKey) -> bool {
    // The nineteen values from 2^255 - 19 on are second encodings of small ones: two keys would be one account.
    let all_ones = key[31] & 0x7f == 0x7f && key[1..31].iter().all(|byte| *byte == 0xff);
    !(all_ones && key[0] >= 0xed)
}

/// The y coordinates of the points of order 8; 1, -1 and 0 are those of orders 1, 2 and 4.
const ORDER_8: [PublicKey; 2] = [
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

// They are compared with what is left of a key without the sign of x: with it in the table none would ever be found.
const _: () = assert!(ORDER_8[0][31] & 0x80 == 0);
const _: () = assert!(ORDER_8[1][31] & 0x80 == 0);

/// Whether a canonical y is that of a point of small order, whatever the sign of x.
fn is_small_order(key: &PublicKey) -> bool {
    let mut y = *key;
    y[31] &= 0x7f;
    let middle = &y[1..31];
    let zero_or_one = y[0] <= 1 && y[31] == 0 && middle.iter().all(|byte| *byte == 0);
    let minus_one = y[0] == 0xec && y[31] == 0x7f && middle.iter().all(|byte| *byte == 0xff);
    zero_or_one || minus_one || ORDER_8.contains(&y)
}

fn signature(key: &ed25519_dalek::SigningKey, bytes: &[u8]) -> Signature {
    memory::sign(key.verifying_key().as_bytes(), bytes).unwrap_or_else(|| memory::timed(|| key.sign(bytes).to_bytes()))
}

macro_rules! signing_key {
    ($(#[$doc:meta])* $name:ident, $context:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(ed25519_dalek::SigningKey);

        impl $name {
            /// The key of this role that follows from a secret seed; other roles' keys say nothing about it.
            pub fn from_seed(seed: &[u8; 32]) -> Self {
                Self(ed25519_dalek::SigningKey::from_bytes(&blake3::derive_key($context, seed)))
            }

            /// The public key.
            pub fn public(&self) -> PublicKey {
                self.0.verifying_key().to_bytes()
            }
        }

        impl std::fmt::Debug for $name {
            /// Shows the public key only.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", stringify!($name), engine::hex(&self.public()))
            }
        }
    };
}

signing_key!(
    /// A validator's key for votes and proposals.
    VoteKey,
    "bitcraps vote key 1"
);
signing_key!(
    /// A validator's key for dealing shares of the group key.
    DkgKey,
    "bitcraps dkg key 1"
);
signing_key!(
    /// A player's key for intents.
    PlayerKey,
    "bitcraps player key 1"
);
signing_key!(
    /// A key that issues vouchers for accounts.
    IssuerKey,
    "bitcraps issuer key 1"
);

signing_key!(
    /// Who a node or a player's program is on the network: proven in every handshake.
    NetKey,
    "bitcraps network key 1"
);

impl NetKey {
    /// The secret seed that a TLS library makes the same key from.
    pub fn handshake_seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// A signature over domain, chain and body.
    pub fn sign(&self, bytes: &[u8; 128]) -> Signature {
        signature(&self.0, bytes)
    }
}

impl VoteKey {
    /// The vote, signed for `chain`.
    pub fn sign_vote(&self, body: VoteBody, chain: &Hash) -> Vote {
        Vote { body, signature: self.sign(body.domain(), chain, &bytemuck::cast(body)) }
    }

    /// The proposal, signed for `chain`.
    pub fn sign_proposal(&self, body: ProposalBody, chain: &Hash) -> Proposal {
        Proposal { body, signature: self.sign(&PROPOSAL_DOMAIN, chain, &bytemuck::cast(body)) }
    }

    /// The share in its envelope, signed for `chain`.
    pub fn sign_share(&self, body: ShareBody, chain: &Hash) -> Share {
        // The signature leaves them out, so others take a share only where they are zero.
        assert_eq!(body.reserved, [0; 12], "a share has nothing that is not signed");
        assert_eq!(body.more_reserved, [0; 16], "a share has nothing that is not signed");
        Share { body, signature: self.sign(&SHARE_DOMAIN, chain, &body.signed()) }
    }

    /// The claim that this validator speaks with a network key, signed for `chain`.
    pub fn sign_claim(&self, slot: u32, network: PublicKey, chain: &Hash) -> Claim {
        let body = ClaimBody { network, slot, reserved: [0; 28] };
        Claim { body, signature: self.sign(&CLAIM_DOMAIN, chain, &bytemuck::cast(body)) }
    }

    pub(crate) fn sign(&self, domain: &[u8; 32], chain: &Hash, body: &[u8; 64]) -> Signature {
        signature(&self.0, &signed_bytes(domain, chain, body))
    }
}

impl PlayerKey {
    /// The intent, signed for `chain`.
    pub fn sign(&self, body: IntentBody, chain: &Hash) -> Intent {
        Intent { body, signature: signature(&self.0, &body.signed_bytes(chain)) }
    }

    /// The pledge or opening, signed for `chain`.
    pub fn sign_pledge(&self, row: PledgeRow, chain: &Hash) -> PledgeRow {
        assert_eq!(row.key, self.public(), "a player pledges under the own key");
        PledgeRow { signature: signature(&self.0, &signed_bytes(&PLEDGE_DOMAIN, chain, &row.signed())), ..row }
    }
}

impl IssuerKey {
    /// The voucher intent, signed for `chain`.
    pub fn sign(&self, body: IntentBody, chain: &Hash) -> Intent {
        Intent { body, signature: signature(&self.0, &body.signed_bytes(chain)) }
    }
}

#[cfg(test)]
pub(crate) mod tests;
