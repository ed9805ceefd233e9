//! Bugs that are planted in a node's exchange, as types: every other program builds it without any.

use bevy_ecs::schedule::{IntoScheduleConfigs, Schedule};
use bevy_ecs::system::{Res, ResMut};
use engine::io::Output;
use engine::message::node::NodeMessage;
use engine::message::share::ShareBody;
use engine::message::vote::VoteKind;
use order::beacon::BeaconMessage;
use order::consensus::Quorum;
use systems::Setup;
use systems::exchange::beacon::{BeaconPart, EPOCH, make_beacons};
use systems::exchange::chain::Chain;
use systems::exchange::order::{Orderer, order_blocks};
use systems::exchange::planted::Planted;
use systems::exchange::tally::Tally;
use systems::exchange::tick::Outbox;

/// One too few must agree.
pub enum TooFewAgree {}

impl Planted for TooFewAgree {
    const QUORUM: Quorum = Quorum::TooFew;
}

/// A share leaves with the precommit, before anything is decided.
pub enum ShareOnPrecommit {}

impl Planted for ShareOnPrecommit {
    fn add_systems(schedule: &mut Schedule) {
        schedule.add_systems(share_early.after(order_blocks::<Self>).before(make_beacons));
    }
}

/// The signatures under what others say was decided are not looked at.
pub enum CertificateUnchecked {}

impl Planted for CertificateUnchecked {
    const CERTIFICATE_UNCHECKED: bool = true;
}

/// A clock may speak against a block that others have voted for.
pub enum ClockOnReproposals {}

impl Planted for ClockOnReproposals {
    const CLOCK_ON_REPROPOSALS: bool = true;
}

/// The clock of one node ends an intent.
pub enum ExpiredByClock {}

impl Planted for ExpiredByClock {
    const EXPIRED_BY_CLOCK: bool = true;
}

/// A receipt goes to whoever waits for the number.
pub enum ReceiptByNumber {}

impl Planted for ReceiptByNumber {
    const RECEIPT_BY_NUMBER: bool = true;
}

/// System: releases this validator's share of every block that it precommits.
fn share_early(
    setup: Res<'_, Setup>,
    part: Res<'_, BeaconPart>,
    orderer: Res<'_, Orderer>,
    chain: Res<'_, Chain>,
    tally: Res<'_, Tally>,
    mut outbox: ResMut<'_, Outbox>,
) {
    let (Some((signer, key)), Some(own)) = (&part.own, orderer.own_slot()) else { return };
    let height = chain.decided.next();
    for vote in tally.votes_of(height, own).into_iter().filter(|vote| vote.body.kind == VoteKind::Precommit as u8) {
        let Some(block) = vote.body.value() else { continue };
        let share = signer.share(&BeaconMessage { chain: setup.chain, epoch: EPOCH, height, block });
        let body = ShareBody::new(height, block, EPOCH, share.slot, share.signature);
        let message = NodeMessage::Share(key.sign_share(body, &setup.chain));
        outbox.outputs.push(Output::ToNode { to: None, message: Box::new(message) });
    }
}
