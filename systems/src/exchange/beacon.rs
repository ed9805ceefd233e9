//! Beacon: this validator's share of every decided block that is on disk.

use bevy_ecs::resource::Resource;
use bevy_ecs::system::{Res, ResMut};
use order::beacon::{BeaconCollector, BeaconGroup, BeaconMessage, BeaconSigner};

use super::chain::Chain;
use super::tick::Inbox;
use crate::state::setup::Setup;

/// This validator's part in the beacon.
#[derive(Resource)]
pub struct BeaconPart {
    /// The group.
    pub group: BeaconGroup,
    /// This validator's share of its key.
    pub signer: BeaconSigner,
}

/// The epoch of the group key: how often its shares were dealt anew.
pub const EPOCH: u64 = 0;

/// System: releases this validator's share of every decided block that is on its disk, and no other, and puts beacons
/// together.
pub fn make_beacons(
    setup: Res<'_, Setup>,
    inbox: Res<'_, Inbox>,
    part: Res<'_, BeaconPart>,
    mut chain: ResMut<'_, Chain>,
) {
    for block in chain.unsettled.iter_mut().filter(|block| block.beacon.is_none() && block.group <= inbox.synced) {
        let message =
            BeaconMessage { chain: setup.chain, epoch: EPOCH, height: block.block.header.height, block: block.hash };
        let mut collector = BeaconCollector::new(part.group.clone(), message);
        block.beacon = collector.add_own(&part.signer).expect("an own share fits its group");
    }
}
