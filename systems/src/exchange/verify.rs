//! Verify: the signatures of what came in, in batches.

use bevy_ecs::resource::Resource;
use bevy_ecs::system::{Res, ResMut};
use engine::genesis::Opening;
use engine::message::refusal::Refusal;
use order::block::intent_signer;
use order::signature::{PublicKey, SignedItem, key_is_acceptable, verify_batch};

use super::{Clock, Inbox, Outbox, Pending};
use crate::setup::Setup;

/// Randomness for the coefficients of batch verification, drawn by the node at its start. It changes no verdict.
#[derive(Resource, Clone, Copy)]
pub struct VerifySeed(pub [u8; 32]);

/// The keys that may issue vouchers.
pub fn issuers(setup: &Setup) -> Vec<PublicKey> {
    match &setup.genesis.opening {
        Opening::Free { .. } => Vec::new(),
        Opening::Voucher { issuers } => issuers.iter().map(|key| key.0).collect(),
    }
}

/// System: verifies the arrived intents' signatures in batches. Those that verify wait for a block.
pub fn verify_intents(
    setup: Res<'_, Setup>,
    seed: Res<'_, VerifySeed>,
    clock: Res<'_, Clock>,
    inbox: Res<'_, Inbox>,
    mut pending: ResMut<'_, Pending>,
    mut outbox: ResMut<'_, Outbox>,
) {
    if inbox.intents.is_empty() {
        return;
    }
    let issuers = issuers(&setup);
    let signers: Vec<Option<&PublicKey>> = inbox.intents.iter().map(|intent| intent_signer(intent, &issuers)).collect();
    let items: Vec<SignedItem<'_>> = inbox
        .intents
        .iter()
        .zip(&signers)
        .filter_map(|(intent, signer)| signer.map(|key| SignedItem::intent(intent, key, &setup.chain)))
        .collect();
    let mut verdicts = vec![false; items.len()];
    // Each tick has coefficients of its own.
    let tick_seed = *blake3::keyed_hash(&seed.0, &clock.tick.0.to_le_bytes()).as_bytes();
    verify_batch(&items, tick_seed, &mut verdicts);
    let mut verdicts = verdicts.into_iter();
    for (intent, signer) in inbox.intents.iter().zip(&signers) {
        let verified = signer.is_some() && verdicts.next().expect("each signed item has a verdict");
        if verified && key_is_acceptable(&intent.body.key) {
            pending.queue.push_back(*intent);
        } else {
            outbox.refuse(intent, if signer.is_none() { Refusal::VoucherNeeded } else { Refusal::BadSignature });
        }
    }
}
