//! Beacon: shares of every decided block that is on disk, put together into beacons.
//!
//! Two heights may wait for their beacons at once. A share that got lost is sent again; whoever has the beacon sends that
//! instead, and a node that lacks it verifies one signature.

use std::collections::{BTreeMap, VecDeque};

use bevy_ecs::resource::Resource;
use bevy_ecs::system::{Res, ResMut};
use engine::io::{Alarm, Offence, Output, SlotList};
use engine::limits::{RECENT_BEACONS, UNSETTLED_MAX, VALIDATORS_MAX};
use engine::message::certificate::Beacon;
use engine::message::evidence::Evidence;
use engine::message::node::{BeaconRow, NodeMessage};
use engine::message::share::{Share, ShareBody};
use engine::{Hash, Height, PeerId};
use order::beacon::{BeaconCollector, BeaconGroup, BeaconMessage, BeaconShare, BeaconSigner, BeaconVerifier};
use order::signature::VoteKey;

use super::chain::{Chain, Unsettled};
use super::nodes::{Heard, Nodes};
use super::tick::{Clock, Inbox, Outbox};
use crate::state::setup::Setup;

/// The epoch of the group key: how often its shares were dealt anew.
pub const EPOCH: u64 = 0;
/// Milliseconds after which a share is sent again while its beacon is missing.
const RESEND_MS: u64 = 200;
/// Milliseconds for which a beacon is missing before its operator hears whose shares are, and then again.
const STALL_MS: u64 = 2_000;
const STALL_AGAIN_MS: u64 = 10_000;

const _: () = assert!(RESEND_MS < STALL_MS, "what got lost is sent again before anybody is told");
const _: () = assert!(STALL_MS < STALL_AGAIN_MS, "an operator who was told is not told again at once");
// A beacon that the others know is remembered for whoever settles as far behind them as one may.
const _: () = assert!(RECENT_BEACONS > UNSETTLED_MAX);

/// This node's part in the beacon.
#[derive(Resource)]
pub struct BeaconPart {
    /// The group, whose shares make a beacon; none for a node that knows no more than genesis, and waits for whole beacons.
    pub group: Option<BeaconGroup>,
    /// What verifies a whole beacon.
    pub verifier: BeaconVerifier,
    /// This validator's share of the group's key, and the key that signs envelopes; none for a node that only follows.
    pub own: Option<(BeaconSigner, VoteKey)>,
}

/// Shares that others released. Bounded: one of each slot, for the heights that are not settled and the next ones.
#[derive(Resource, Default)]
pub struct Shares {
    heights: BTreeMap<Height, HeightShares>,
    /// The last beacons that this node knew.
    recent: VecDeque<BeaconRow>,
    /// Who sent a share again, of a height whose beacon is known: it lacks the beacon.
    asking: Vec<(PeerId, Height)>,
}

#[derive(Default)]
struct HeightShares {
    rows: Vec<Share>,
    /// How many of them the collector has.
    collected: usize,
    /// When this node's own is sent again; 0 before it was sent.
    resend_ms: u64,
    /// When the operator hears that it is missing, once it is awaited.
    stalls_ms: Option<u64>,
    /// Whose shares did not come, once the operator has heard of it.
    missing: SlotList,
    collector: Option<BeaconCollector>,
}

impl Shares {
    /// Whether a share whose signature was not verified could be of use.
    pub fn wants(&self, share: &Share, settled: Height, decided: Height) -> bool {
        let height = share.body.height;
        // Where all lost power a restart decides many heights before it settles the first: all of them lack a beacon.
        let is_open = height > settled && height.0 <= decided.0 + UNSETTLED_MAX as u64;
        // One that is known is wanted: its author sends it again because it lacks the beacon.
        let is_recent = height <= settled && height.0 + RECENT_BEACONS as u64 > decided.0;
        (is_open || is_recent) && share.body.epoch == EPOCH && height > Height::GENESIS
    }

    /// Takes a share whose envelope was verified. A second one of its author is evidence.
    pub fn add(&mut self, share: &Share, from: PeerId) -> Option<Evidence> {
        let height = share.body.height;
        // The evidence is found by slot and height alone: a share of another epoch would look like a contradiction.
        assert_eq!(share.body.epoch, EPOCH, "a share of another epoch is not wanted");
        assert!(height > Height::GENESIS, "genesis has no beacon");
        // It comes again because its author lacks the beacon; a beacon costs that one a single verification, and shares
        // one each.
        if self.recent.iter().any(|row| row.height == height) {
            if !self.asking.contains(&(from, height)) {
                self.asking.push((from, height));
            }
            return None;
        }
        let shares = self.heights.entry(height).or_default();
        match shares.rows.iter().find(|row| row.body.slot == share.body.slot) {
            // A signer may make any number of signatures of one statement: another one contradicts nothing.
            Some(known) if known.body == share.body => None,
            Some(known) => Some(Evidence::Shares(*known, *share)),
            None => {
                shares.rows.push(*share);
                assert!(shares.rows.len() <= VALIDATORS_MAX as usize, "each slot has one share of a height");
                None
            }
        }
    }

    /// The beacon of a block, if it is one of the last.
    pub fn recent(&self, height: Height, block: &Hash) -> Option<Beacon> {
        self.recent.iter().find(|row| row.height == height && row.block == *block).map(|row| row.beacon)
    }

    /// A beacon is known.
    pub fn note(&mut self, height: Height, block: Hash, beacon: Beacon) {
        self.heights.remove(&height);
        if self.recent.iter().all(|row| row.height != height) {
            if self.recent.len() == RECENT_BEACONS {
                self.recent.pop_front();
            }
            self.recent.push_back(BeaconRow { height, block, beacon });
        }
        assert!(self.recent.len() <= RECENT_BEACONS, "what is remembered is bounded");
    }

    /// Whose shares of the first beacon that is overdue did not come; nobody's where none is.
    pub fn missing(&self) -> SlotList {
        self.heights
            .values()
            .map(|shares| shares.missing)
            .find(|missing| *missing != SlotList::default())
            .unwrap_or_default()
    }

    /// Forgets heights that were settled without the help of shares.
    fn forget_up_to(&mut self, settled: Height) {
        if self.heights.first_key_value().is_some_and(|(height, _)| *height <= settled) {
            self.heights = self.heights.split_off(&settled.next());
        }
    }
}

/// System: releases this validator's share of every decided block that is on its disk, and no other, and puts beacons
/// together.
pub fn make_beacons(
    setup: Res<'_, Setup>,
    clock: Res<'_, Clock>,
    part: Res<'_, BeaconPart>,
    nodes: Res<'_, Nodes>,
    mut heard: ResMut<'_, Heard>,
    mut inbox: ResMut<'_, Inbox>,
    mut shares: ResMut<'_, Shares>,
    mut chain: ResMut<'_, Chain>,
    mut outbox: ResMut<'_, Outbox>,
) {
    let chain = &mut *chain;
    shares.forget_up_to(chain.settled);
    for (from, row) in heard.beacons.drain(..) {
        let lacks = |block: &&mut Unsettled| block.beacon.is_none() && block.hash == row.block;
        let Some(block) = chain.unsettled.iter_mut().find(lacks) else { continue };
        let message = message(&setup, block);
        if part.verifier.verify(&message, &row.beacon) {
            block.beacon = Some(row.beacon);
            shares.note(message.height, block.hash, row.beacon);
        } else {
            inbox.offences.push((from, Offence::BadSignature));
        }
    }
    let (synced, settled) = (inbox.synced, chain.settled);
    // A share that left before its block is on this disk could make dice known of a block that a crash takes back, and
    // the height could be decided otherwise by whoever has seen them.
    for block in chain.unsettled.iter_mut().filter(|block| block.beacon.is_none() && block.group <= synced) {
        let message = message(&setup, block);
        assert!(message.height > settled, "a height has its beacon before it is settled");
        let of_height = shares.heights.entry(message.height).or_default();
        block.beacon = of_height.release(&part, &message, &setup, &clock, &nodes, &mut outbox);
        block.beacon = block.beacon.or_else(|| of_height.collect(&part, &message));
        if let Some(beacon) = block.beacon {
            shares.note(message.height, block.hash, beacon);
        } else if of_height.stalls(clock.elapsed_ms()) {
            let missing = of_height.note_missing(&part, setup.genesis.validators.len());
            outbox.outputs.push(Output::Alarm(Alarm::BeaconStalls { height: message.height, missing }));
        } else if of_height.missing != SlotList::default() {
            of_height.note_missing(&part, setup.genesis.validators.len());
        }
    }
    for (peer, height) in std::mem::take(&mut shares.asking) {
        if let Some(row) = shares.recent.iter().find(|row| row.height == height) {
            outbox.tell_one(peer, NodeMessage::Beacon(*row));
        }
    }
}

fn message(setup: &Setup, block: &Unsettled) -> BeaconMessage {
    BeaconMessage { chain: setup.chain, epoch: EPOCH, height: block.block.header.height, block: block.hash }
}

impl HeightShares {
    /// Makes this validator's share and sends it; sends it again while the beacon is missing, and to those that connect.
    fn release(
        &mut self,
        part: &BeaconPart,
        message: &BeaconMessage,
        setup: &Setup,
        clock: &Clock,
        nodes: &Nodes,
        outbox: &mut Outbox,
    ) -> Option<Beacon> {
        let ((signer, key), group) = (part.own.as_ref()?, part.group.as_ref()?);
        let now_ms = clock.elapsed_ms();
        let collector = self.collector.get_or_insert_with(|| BeaconCollector::new(group.clone(), *message));
        let mut beacon = None;
        // Of a set of one, the own share is the beacon.
        let first = self.resend_ms == 0;
        if first {
            beacon = collector.add_own(signer).expect("an own share fits its group");
        }
        let due = now_ms >= self.resend_ms;
        if outbox.is_heard && (due || !nodes.joined.is_empty()) {
            let BeaconShare { slot, signature } = signer.share(message);
            let body = ShareBody::new(message.height, message.block, EPOCH, slot, signature);
            outbox.tell(NodeMessage::Share(key.sign_share(body, &setup.chain)));
        }
        if due {
            self.resend_ms = now_ms + RESEND_MS;
        }
        // A second own share would not be new to the collector, and nothing would ever be put together.
        assert!(self.resend_ms > 0, "a share that was made is not made again");
        beacon
    }

    /// Whether the operator is to hear now that the beacon is missing.
    fn stalls(&mut self, now_ms: u64) -> bool {
        let due_ms = *self.stalls_ms.get_or_insert(now_ms + STALL_MS);
        let is_due = now_ms >= due_ms;
        if is_due {
            self.stalls_ms = Some(now_ms + STALL_AGAIN_MS);
        }
        is_due
    }

    /// Takes note of whose shares did not come.
    fn note_missing(&mut self, part: &BeaconPart, validators: usize) -> SlotList {
        assert!(validators <= VALIDATORS_MAX as usize, "every slot has a bit");
        let own = part.own.as_ref().map(|(signer, _)| signer.slot());
        let came = |slot: &u32| Some(*slot) == own || self.rows.iter().any(|row| row.body.slot == *slot);
        self.missing =
            SlotList((0..validators as u32).filter(|slot| !came(slot)).fold(0, |list, slot| list | 1 << slot));
        self.missing
    }

    /// Adds what others released. Shares that do not verify are dropped; their envelopes say whose they were.
    fn collect(&mut self, part: &BeaconPart, message: &BeaconMessage) -> Option<Beacon> {
        let group = part.group.as_ref()?;
        assert!(self.collected <= self.rows.len(), "a share is looked at after it came");
        let collector = self.collector.get_or_insert_with(|| BeaconCollector::new(group.clone(), *message));
        while let Some(share) = self.rows.get(self.collected) {
            // Each is looked at once, also one that does not verify: it would cost a pairing in every tick.
            self.collected += 1;
            if share.body.block != message.block {
                continue;
            }
            let (slot, signature) = (share.body.slot, share.body.share);
            if let Ok(Some(beacon)) = collector.add(&BeaconShare { slot, signature }) {
                return Some(beacon);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;
    use engine::limits::UNSETTLED_RECORDED_MAX;
    use engine::message::share::ShareBody;

    use super::*;

    #[test]
    fn a_share_is_wanted_of_every_height_without_a_beacon_and_of_the_last_with_one() {
        let share = |height| {
            let body = ShareBody { height: Height(height), slot: 1, epoch: EPOCH, ..ShareBody::zeroed() };
            Share { body, signature: [0; 64] }
        };
        let wants =
            |height, settled, decided| Shares::default().wants(&share(height), Height(settled), Height(decided));
        // After a restart as many heights are decided and not settled as a record may hold.
        let decided = 100 + UNSETTLED_RECORDED_MAX as u64;
        assert!((101..=decided + 2).all(|height| wants(height, 100, decided)));
        assert!(!wants(100, 100, decided) && !wants(decided + 3, 100, decided));
        // As a node goes on, the others may lack the last ones that it has settled.
        assert!((87..=104).all(|height| wants(height, 100, 102)), "{RECENT_BEACONS} are remembered");
        assert!(!wants(86, 100, 102) && !wants(105, 100, 102) && !wants(0, 0, 0));
    }
}
