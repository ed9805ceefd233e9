//! Verify: the signatures of what came in, in batches.

use bevy_ecs::resource::Resource;
use bevy_ecs::system::{Res, ResMut};
use engine::columns::PeerColumns;
use engine::genesis::Opening;
use engine::io::{Offence, ShedReason};
use engine::message::intent::Intent;
use engine::message::refusal::Refusal;
use order::batch::BatchSecret;
use order::block::intent_signer;
use order::known_keys::KnownKeys;
use order::signature::{PublicKey, SignedItem, encoding_is_acceptable, key_is_acceptable};

use super::answers::{Answers, Known};
use super::peers::row;
use super::sender::{Origin, Sender};
use super::tick::{Inbox, Outbox, Pending};
use crate::state::setup::Setup;

/// For the coefficients of batch verification, drawn by the node at its start.
#[derive(Resource)]
pub struct VerifySecret(pub BatchSecret);

#[cfg(test)]
impl VerifySecret {
    /// One that anybody knows.
    pub fn known() -> Self {
        let mut drawn = 0;
        let secret = BatchSecret::draw(|bytes| {
            drawn += 1;
            bytes.fill(drawn);
            Ok::<(), std::convert::Infallible>(())
        });
        Self(secret.expect("it cannot fail"))
    }
}

/// The keys of those who sent intents.
#[derive(Resource, Default)]
pub struct SenderKeys(KnownKeys);

impl SenderKeys {
    /// How often they began to rest.
    pub fn rests(&self) -> u64 {
        self.0.rests()
    }
}

/// The keys that may issue vouchers.
pub fn issuers(setup: &Setup) -> Vec<PublicKey> {
    match &setup.genesis.opening {
        Opening::Free { .. } => Vec::new(),
        Opening::Voucher { issuers } => issuers.iter().map(|key| key.0).collect(),
    }
}

/// Whether the key of a verified intent may enter. That it is a point at all was proven if it signed; an issuer signs for a
/// key that proved nothing yet.
fn enters(key: &PublicKey, signer: Option<&PublicKey>) -> bool {
    if signer == Some(key) { encoding_is_acceptable(key) } else { key_is_acceptable(key) }
}

/// System: verifies the arrived intents' signatures in batches. Those that verify are acknowledged and wait for a block.
pub fn verify_intents(
    setup: Res<'_, Setup>,
    secret: Res<'_, VerifySecret>,
    mut keys: ResMut<'_, SenderKeys>,
    mut inbox: ResMut<'_, Inbox>,
    mut answers: ResMut<'_, Answers>,
    mut pending: ResMut<'_, Pending>,
    mut outbox: ResMut<'_, Outbox>,
    mut columns: PeerColumns<'_, '_>,
) {
    if inbox.intents.is_empty() {
        return;
    }
    assert_eq!(inbox.intents.len(), inbox.senders.len(), "every intent that goes on has a sender");
    let issuers = issuers(&setup);
    let signers: Vec<Option<&PublicKey>> = inbox.intents.iter().map(|intent| intent_signer(intent, &issuers)).collect();
    let items: Vec<SignedItem<'_>> = inbox
        .intents
        .iter()
        .zip(&signers)
        .filter_map(|(intent, signer)| signer.map(|key| SignedItem::intent(intent, key, &setup.chain)))
        .collect();
    let mut verdicts = vec![false; items.len()];
    keys.0.verify_batch(&items, &secret.0, &mut verdicts);
    let mut verdicts = verdicts.into_iter();
    let (peers, _) = columns.rows();
    let (mut offences, mut accepted) = (Vec::new(), Vec::new());
    let mut admitting =
        Admitting { answers: &mut answers, pending: &mut pending, outbox: &mut outbox, accepted: &mut accepted };
    for ((intent, signer), sender) in inbox.intents.iter().zip(&signers).zip(&inbox.senders) {
        let verified = signer.is_some() && verdicts.next().expect("each signed item has a verdict");
        let admission = match signer {
            None => Admission::Refused(Refusal::VoucherNeeded),
            Some(_) if verified && enters(&intent.body.key, *signer) => admitting.admit(intent, sender),
            Some(_) => {
                offences.push((sender.peer, Offence::BadSignature));
                Admission::Refused(Refusal::BadSignature)
            }
        };
        let here = sender.origin == Origin::Here;
        let mut peer = row(peers, sender.peer);
        match admission {
            Admission::Waits => {
                if here {
                    admitting.outbox.acknowledge(sender.waits(), intent);
                }
                peer.iter_mut().for_each(|peer| peer.acknowledged = peer.acknowledged.wrapping_add(1));
            }
            Admission::Refused(refusal) => {
                if here {
                    admitting.outbox.refuse(sender.waits(), intent, refusal);
                }
                peer.iter_mut().for_each(|peer| peer.turned_away = peer.turned_away.wrapping_add(1));
            }
            // The peer is to blame for neither, and has earned nothing by it.
            Admission::NumberWaits | Admission::KnownHere => {}
        }
    }
    // One that were left over would mean that verdicts were read beside their intents, and a forged one was taken.
    assert!(verdicts.next().is_none(), "each verdict was read by the intent that it is on");
    inbox.offences.append(&mut offences);
    inbox.accepted.append(&mut accepted);
}

/// What becomes of an intent that was looked at.
enum Admission {
    /// It waits for a block, and so does who sent it, if that is a client here.
    Waits,
    /// Another one with its number waits, and its sender was told so.
    NumberWaits,
    /// It was known here already, and came from another node: only whoever asks here is answered here.
    KnownHere,
    /// No block will have it from here.
    Refused(Refusal),
}

/// What takes in intents that verify.
struct Admitting<'a> {
    answers: &'a mut Answers,
    pending: &'a mut Pending,
    outbox: &'a mut Outbox,
    /// Those that entered here, to be passed on where other nodes hear.
    accepted: &'a mut Vec<Intent>,
}

impl Admitting<'_> {
    fn admit(&mut self, intent: &Intent, sender: &Sender) -> Admission {
        let (from, here) = (sender.waits(), sender.origin == Origin::Here);
        match self.answers.wait(intent, sender) {
            Known::New => {
                self.pending.push(*intent, sender.origin);
                if here && self.outbox.is_heard {
                    self.accepted.push(*intent);
                }
                Admission::Waits
            }
            _ if !here => Admission::KnownHere,
            Known::Waits => {
                if let Some(before) = self.answers.redirect(intent, from) {
                    self.outbox.shed(before, intent, ShedReason::Moved);
                }
                Admission::Waits
            }
            Known::NumberWaits => {
                self.pending.shed += 1;
                self.outbox.shed(from, intent, ShedReason::NumberWaits);
                Admission::NumberWaits
            }
            Known::Answered(_) => unreachable!("no receipt came about since ingress"),
        }
    }
}
