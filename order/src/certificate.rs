//! Checks of certificates: form, quorum, signatures.

use engine::message::block::Header;
use engine::message::certificate::Certificate;
use engine::message::snapshot::SnapshotProof;
use engine::message::vote::{PRECOMMIT_DOMAIN, PREVOTE_DOMAIN, VoteBody, VoteKind};
use engine::{Hash, Height};
use thiserror::Error;

use crate::batch::BatchSecret;
use crate::signature::{SignedItem, verify_all};
use crate::validators::Validators;

/// A certificate that proves nothing.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertificateError {
    /// It is for another height.
    #[error("the certificate is for height {found}, not {expected}")]
    Height {
        /// The height asked about.
        expected: Height,
        /// The certificate's.
        found: Height,
    },
    /// It is for another block.
    #[error("the certificate of height {height} is for another block")]
    Block {
        /// The height that it was to be for.
        height: Height,
    },
    /// Slots do not ascend: out of order, or one twice.
    #[error("slot {slot} of the certificate does not come after the one before it")]
    Order {
        /// The slot out of place.
        slot: u32,
    },
    /// No validator has the slot.
    #[error("slot {slot} of the certificate is no validator's; there are {count}")]
    UnknownSlot {
        /// The number that stands in it.
        slot: u32,
        /// How many validators there are.
        count: usize,
    },
    /// Fewer than a quorum signed.
    #[error("{found} validators signed the certificate, {quorum} must")]
    Quorum {
        /// How many must.
        quorum: usize,
        /// How many did.
        found: usize,
    },
    /// A signature does not verify.
    #[error("a signature of the certificate of height {height} does not verify")]
    Signature {
        /// The height that it is for.
        height: Height,
    },
}

/// Checks all but the signatures: height, block, slots ascending and known, at least a quorum.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_certificate_form(
    certificate: &Certificate,
    validators: &Validators,
    height: Height,
    block: &Hash,
) -> Result<(), CertificateError> {
    if certificate.height != height {
        return Err(CertificateError::Height { expected: height, found: certificate.height });
    }
    // A quorum agreed on something; that it was this block is what the certificate has to prove.
    if certificate.block != *block {
        return Err(CertificateError::Block { height });
    }
    check_slots(certificate, validators)
}

pub(crate) fn check_slots(certificate: &Certificate, validators: &Validators) -> Result<(), CertificateError> {
    let slots = certificate.signatures.iter().map(|entry| entry.slot);
    // Ascending, so that each stands in it once: the same signature twice would make two votes of one.
    if let Some((_, slot)) = slots.clone().zip(slots.clone().skip(1)).find(|(slot, next)| slot >= next) {
        return Err(CertificateError::Order { slot });
    }
    let count = validators.count();
    if let Some(slot) = slots.clone().find(|slot| *slot as usize >= count) {
        return Err(CertificateError::UnknownSlot { slot, count });
    }
    let (quorum, found) = (validators.quorum(), certificate.signatures.len());
    assert!(found <= count, "slots that ascend and are known are of different validators");
    assert!(quorum <= count, "those who are there can be a quorum");
    assert!(2 * quorum > count, "two certificates of one height share a validator");
    if found < quorum { Err(CertificateError::Quorum { quorum, found }) } else { Ok(()) }
}

/// The precommits of a certificate, to be verified in one batch with others. Slots that no validator has are left
/// out: [`check_certificate_form`] refuses them.
pub fn certificate_items<'a>(
    certificate: &'a Certificate,
    validators: &'a Validators,
    chain: &'a Hash,
) -> impl Iterator<Item = SignedItem<'a>> {
    items(certificate, VoteKind::Precommit, validators, chain)
}

fn items<'a>(
    certificate: &'a Certificate,
    kind: VoteKind,
    validators: &'a Validators,
    chain: &'a Hash,
) -> impl Iterator<Item = SignedItem<'a>> {
    // Prevotes under the domain of precommits would prove a decision that nobody took.
    let domain = if kind == VoteKind::Precommit { &PRECOMMIT_DOMAIN } else { &PREVOTE_DOMAIN };
    certificate.signatures.iter().filter_map(move |entry| {
        let key = validators.key(entry.slot)?;
        let body = VoteBody::new(kind, certificate.height, certificate.round, Some(certificate.block), entry.slot);
        assert_eq!(body.domain(), domain, "whoever signed the vote signed it under this domain");
        Some(SignedItem { key, domain, chain, body: bytemuck::cast(body), signature: &entry.signature })
    })
}

/// Checks a certificate in full: [`check_certificate_form`], then every precommit's signature.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_certificate(
    certificate: &Certificate,
    validators: &Validators,
    chain: &Hash,
    height: Height,
    block: &Hash,
    secret: &BatchSecret,
) -> Result<(), CertificateError> {
    check_certificate_form(certificate, validators, height, block)?;
    check_signatures(certificate, VoteKind::Precommit, validators, chain, secret)
}

/// Whether a proof of a snapshot proves its root: what it says holds together, the headers are of this set of validators, and
/// a quorum of it signed the last header and the snapshot's own block.
pub fn proves_snapshot(proof: &SnapshotProof, validators: &Validators, chain: &Hash, secret: &BatchSecret) -> bool {
    let SnapshotProof { note, headers, certificate, .. } = proof;
    let is_of_set = |header: &Header| [header.validators, header.next_validators] == [validators.hash(); 2];
    let holds = |certificate: &Certificate, height: Height| {
        check_certificate(certificate, validators, chain, height, &certificate.block, secret).is_ok()
    };
    proof.is_consistent(chain)
        && headers.iter().all(is_of_set)
        && holds(certificate, headers[2].height)
        && holds(&note.certificate, note.height)
}

/// Checks a certificate of prevotes: slots, quorum, signatures.
pub(crate) fn check_polka(
    certificate: &Certificate,
    validators: &Validators,
    chain: &Hash,
    secret: &BatchSecret,
) -> Result<(), CertificateError> {
    check_slots(certificate, validators)?;
    check_signatures(certificate, VoteKind::Prevote, validators, chain, secret)
}

fn check_signatures(
    certificate: &Certificate,
    kind: VoteKind,
    validators: &Validators,
    chain: &Hash,
    secret: &BatchSecret,
) -> Result<(), CertificateError> {
    let items: Vec<SignedItem<'_>> = items(certificate, kind, validators, chain).collect();
    // An entry without a key would be left out, and count all the same.
    assert_eq!(items.len(), certificate.signatures.len(), "slots are checked before signatures");
    // Without one no equation is asked, and it would hold; with fewer they could all be liars'.
    assert!(items.len() >= validators.quorum(), "a quorum is counted before its signatures are verified");
    let holds = match items.as_slice() {
        // One alone needs no equation, nor coefficients for it.
        [item] => item.verify(),
        items => verify_all(items, secret),
    };
    if holds { Ok(()) } else { Err(CertificateError::Signature { height: certificate.height }) }
}

#[cfg(test)]
mod tests {
    use engine::message::certificate::CertificateSignature;

    use super::*;
    use crate::signature::VoteKey;

    const CHAIN: Hash = [3; 32];
    const BLOCK: Hash = [7; 32];

    fn certificate(keys: &[VoteKey], slots: &[u32], kind: VoteKind) -> Certificate {
        let sign = |slot: &u32| {
            let body = VoteBody::new(kind, Height(9), 1, Some(BLOCK), *slot);
            let signature = keys[*slot as usize % keys.len()].sign_vote(body, &CHAIN).signature;
            CertificateSignature { slot: *slot, signature }
        };
        Certificate { height: Height(9), round: 1, block: BLOCK, signatures: slots.iter().map(sign).collect() }
    }

    #[test]
    fn every_wrong_certificate_is_refused_for_its_reason() {
        let keys: Vec<VoteKey> = (0..4).map(|slot| VoteKey::from_seed(&[slot; 32])).collect();
        let set = Validators::new(keys.iter().map(VoteKey::public).collect()).expect("keys");
        let check =
            |c: &Certificate| check_certificate(c, &set, &CHAIN, Height(9), &BLOCK, &BatchSecret::known([1; 32]));
        let of = |slots: &[u32]| certificate(&keys, slots, VoteKind::Precommit);
        assert_eq!(check(&of(&[0, 1, 3])), Ok(()));
        assert_eq!(check(&of(&[0, 1, 2, 3])), Ok(()));
        assert_eq!(check(&of(&[0, 1])), Err(CertificateError::Quorum { quorum: 3, found: 2 }));
        assert_eq!(check(&of(&[0, 1, 1])), Err(CertificateError::Order { slot: 1 }));
        assert_eq!(check(&of(&[0, 2, 1])), Err(CertificateError::Order { slot: 1 }));
        assert_eq!(check(&of(&[0, 1, 4])), Err(CertificateError::UnknownSlot { slot: 4, count: 4 }));
        let prevotes = certificate(&keys, &[0, 1, 2], VoteKind::Prevote);
        assert_eq!(check(&prevotes), Err(CertificateError::Signature { height: Height(9) }));
        assert_eq!(check_polka(&prevotes, &set, &CHAIN, &BatchSecret::known([1; 32])), Ok(()));
        let round = Certificate { round: 2, ..of(&[0, 1, 2]) };
        assert_eq!(check(&round), Err(CertificateError::Signature { height: Height(9) }));
        let height = Certificate { height: Height(8), ..of(&[0, 1, 2]) };
        assert_eq!(check(&height), Err(CertificateError::Height { expected: Height(9), found: Height(8) }));
        let block = Certificate { block: [8; 32], ..of(&[0, 1, 2]) };
        assert_eq!(check(&block), Err(CertificateError::Block { height: Height(9) }));
    }
}
