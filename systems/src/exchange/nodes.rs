//! Nodes: the other nodes that are connected, and what they said in this tick, sorted by who looks at it.

use bevy_ecs::resource::Resource;
use bevy_ecs::system::ResMut;
use engine::io::{Alarm, Input, Output, SlotList};
use engine::limits::{NODE_CHECKS_MAX, NODE_QUESTIONS_MAX, NODE_VOTES_MAX, TICK_MS, VALIDATORS_MAX};
use engine::message::block::Block;
use engine::message::certificate::Certificate;
use engine::message::evidence::Evidence;
use engine::message::node::{
    BeaconRow, BlockRow, Claim, NodeMessage, NodeStanding, RangeEntry, RangeRow, RoundCertificate,
};
use engine::message::share::Share;
use engine::message::vote::{Proposal, Vote};
use engine::{Hash, PeerId};

use super::tick::{Inbox, Outbox};

/// Milliseconds after which a body that did not come is asked for again, of another node.
pub(super) const ASK_AGAIN_MS: u64 = 50;

// The largest message that an honest node sends is heard: one that is too much for a tick would be so again in the next.
const _: () = assert!(NODE_VOTES_MAX <= NODE_CHECKS_MAX);
// So are, in one tick, those of a round that fails: what somebody may be locked on, and what lets the next round be entered.
const _: () = assert!(2 * VALIDATORS_MAX as usize <= NODE_CHECKS_MAX);
const _: () = assert!(ASK_AGAIN_MS >= TICK_MS, "whoever asks again is told again");

/// The other nodes that are connected.
#[derive(Resource, Default)]
pub struct Nodes {
    rows: Vec<NodePeer>,
    /// Those that connected in this tick.
    pub joined: Vec<PeerId>,
    /// This node's claim, for those that connect; none for one that follows.
    pub claim: Option<Claim>,
    /// Validators that sign by their operators' word, as the operator here has heard: a slot's connections come and go, and the word
    /// stays for as long as that process lives.
    noted: SlotList,
}

/// Another node.
pub struct NodePeer {
    /// Its connection.
    pub id: PeerId,
    /// The network key that it proved.
    pub key: [u8; 32],
    /// Which validator it is, once it has proved that.
    pub validator: Option<u32>,
    /// Where its chain stands, as it says.
    pub standing: NodeStanding,
    /// It has said so.
    pub has_told: bool,
    checks: usize,
    questions: usize,
    /// Bodies that it was told lately, each with when, in milliseconds of ticks.
    told: Vec<(Hash, u64)>,
}

impl NodePeer {
    /// Whether it is told a body now: a question is short, a body a megabyte. One in a tick, and each of them once in the time after
    /// which whoever lacks it asks again.
    pub fn is_told(&mut self, body: Hash, now_ms: u64) -> bool {
        self.told.retain(|(_, told_ms)| now_ms < told_ms + ASK_AGAIN_MS);
        if self.told.iter().any(|(told, told_ms)| *told == body || *told_ms == now_ms) {
            return false;
        }
        self.told.push((body, now_ms));
        assert!(self.told.len() as u64 <= ASK_AGAIN_MS / TICK_MS, "what others make a node hold is bounded");
        true
    }
}

/// What nodes said in this tick, in the order in which it came.
#[derive(Resource, Default)]
pub struct Heard {
    /// Prevotes and precommits, with who sent each.
    pub votes: Vec<(PeerId, Vote)>,
    /// Words of proposers; the bodies come by themselves.
    pub proposals: Vec<(PeerId, Proposal)>,
    /// Bodies of blocks.
    pub bodies: Vec<(PeerId, Box<Block>)>,
    /// Certificates of prevotes.
    pub polkas: Vec<(PeerId, Certificate)>,
    /// Certificates that let a round be entered.
    pub rounds: Vec<(PeerId, RoundCertificate)>,
    /// Shares of beacons.
    pub shares: Vec<(PeerId, Share)>,
    /// Whole beacons.
    pub beacons: Vec<(PeerId, BeaconRow)>,
    /// Two signed words of one validator of which only one may be.
    pub evidence: Vec<(PeerId, Evidence)>,
    /// Claims to be a validator.
    pub claims: Vec<(PeerId, Claim)>,
    /// Questions for bodies.
    pub body_questions: Vec<(PeerId, BlockRow)>,
    /// Questions for decided blocks.
    pub range_questions: Vec<(PeerId, RangeRow)>,
    /// Decided blocks.
    pub ranges: Vec<(PeerId, Vec<RangeEntry>)>,
}

impl Nodes {
    /// No node yet; those that connect hear this node's claim.
    pub fn claiming(claim: Option<Claim>) -> Self {
        Self { claim, ..Self::default() }
    }

    /// The nodes that are connected.
    pub fn rows(&self) -> &[NodePeer] {
        &self.rows
    }

    /// A node.
    pub fn get_mut(&mut self, id: PeerId) -> Option<&mut NodePeer> {
        self.rows.iter_mut().find(|node| node.id == id)
    }

    /// A node.
    pub fn get(&self, id: PeerId) -> Option<&NodePeer> {
        self.rows.iter().find(|node| node.id == id)
    }

    /// How many validators other than one are connected, and have proved which they are.
    pub fn others(&self, own: Option<u32>) -> usize {
        self.others_of(own, |_| true)
    }

    /// How many of those a connection is of for which something holds: a validator counts once, however many it has.
    pub fn others_of(&self, own: Option<u32>, holds: impl Fn(&NodePeer) -> bool) -> usize {
        let rows = self.rows.iter().filter(|node| holds(node));
        let slots = rows.filter_map(|node| node.validator).filter(|slot| Some(*slot) != own);
        let bit = |slot: u32| {
            // A bit that is shifted out would count as another validator's.
            assert!(slot < VALIDATORS_MAX, "every slot has a bit");
            1u128 << slot
        };
        slots.map(bit).fold(0, |all, slot| all | slot).count_ones() as usize
    }

    /// Which validator a connection is.
    pub fn validator(&self, id: PeerId) -> Option<u32> {
        self.get(id).and_then(|node| node.validator)
    }
}

/// System: takes note of nodes that came and went, and sorts what they said. Intents and pledges stay in the inbox, for ingress.
pub fn hear_nodes(
    mut inbox: ResMut<'_, Inbox>,
    mut nodes: ResMut<'_, Nodes>,
    mut heard: ResMut<'_, Heard>,
    mut outbox: ResMut<'_, Outbox>,
) {
    let Nodes { rows, joined, claim, noted } = &mut *nodes;
    let Inbox { inputs, offences, .. } = &mut *inbox;
    offences.clear();
    joined.clear();
    let is_ours = |input: &mut Input| match input {
        Input::Node { message, .. } => !matches!(**message, NodeMessage::Intents(_) | NodeMessage::Pledges(_)),
        _ => false,
    };
    // Before what they said: what somebody said who left in this tick goes with the row.
    for input in &*inputs {
        match input {
            Input::Joined { peer, key, node: true, .. } => {
                assert!(rows.iter().all(|node| node.id != *peer), "a connection opens once");
                let standing = NodeStanding::default();
                let (validator, has_told, checks, questions, told) = (None, false, 0, 0, Vec::new());
                rows.push(NodePeer { id: *peer, key: *key, validator, standing, has_told, checks, questions, told });
                joined.push(*peer);
            }
            Input::Left(peer) => rows.retain(|node| node.id != *peer),
            _ => {}
        }
    }
    outbox.is_heard = !rows.is_empty();
    if rows.is_empty() {
        // Whoever is gone cannot be answered.
        inputs.retain(|input| !matches!(input, Input::Node { .. }));
        return;
    }
    rows.iter_mut().for_each(|node| (node.checks, node.questions) = (0, 0));
    if let Some(claim) = claim {
        joined.iter().for_each(|peer| outbox.tell_one(*peer, NodeMessage::Claim(*claim)));
    }
    for input in inputs.extract_if(.., is_ours) {
        let Input::Node { from, message } = input else { continue };
        let Some(node) = rows.iter_mut().find(|node| node.id == from) else { continue };
        heard.take(node, *message);
    }
    let by_word = rows.iter().filter(|node| node.standing.flags & NodeStanding::BY_OPERATOR != 0);
    for slot in by_word.filter_map(|node| node.validator) {
        if !noted.contains(slot) {
            noted.0 |= 1 << slot;
            outbox.outputs.push(Output::Alarm(Alarm::SignsByOperator { slot }));
        }
    }
}

impl Heard {
    /// Takes a message, within what one node may say in a tick.
    fn take(&mut self, node: &mut NodePeer, message: NodeMessage) {
        let from = node.id;
        let (checks, questions) = match &message {
            NodeMessage::Votes(votes) => (votes.len(), 0),
            NodeMessage::Proposal(_) | NodeMessage::Share(_) | NodeMessage::Claim(_) => (1, 0),
            NodeMessage::Evidence(_) => (2, 0),
            // Until its signatures are verified nobody knows whether it says anything.
            NodeMessage::Polka(polka) => (polka.signatures.len(), 1),
            NodeMessage::Round(round) => (round.votes.len(), 1),
            // It has no signature of its own, or one that whoever takes it looks at when its turn comes.
            NodeMessage::Body(_) | NodeMessage::Beacon(_) | NodeMessage::Range(_) | NodeMessage::Standing(_) => (0, 1),
            NodeMessage::AskBody(_) | NodeMessage::AskRange(_) => (0, 1),
            // Those are others' to take.
            NodeMessage::Intents(_) | NodeMessage::Pledges(_) => (0, 1),
            NodeMessage::AskSnapshot(_) | NodeMessage::Snapshot(_) => (0, 1),
            NodeMessage::AskPart(_) | NodeMessage::Part(_) => (0, 1),
        };
        node.checks += checks;
        node.questions += questions;
        // It is dropped, not kept for the next tick: a queue would grow for as long as a node says more than is read. What has no
        // signature is not dropped for those of what came before it: a standing is told only when it changes.
        if (checks > 0 && node.checks > NODE_CHECKS_MAX) || node.questions > NODE_QUESTIONS_MAX {
            return;
        }
        match message {
            NodeMessage::Votes(votes) => self.votes.extend(votes.into_iter().map(|vote| (from, vote))),
            NodeMessage::Proposal(proposal) => self.proposals.push((from, proposal)),
            NodeMessage::Body(block) => self.bodies.push((from, block)),
            NodeMessage::Polka(polka) => self.polkas.push((from, polka)),
            NodeMessage::Round(round) => self.rounds.push((from, round)),
            NodeMessage::Share(share) => self.shares.push((from, share)),
            NodeMessage::Beacon(row) => self.beacons.push((from, row)),
            NodeMessage::Evidence(evidence) => self.evidence.push((from, evidence)),
            NodeMessage::Claim(claim) => self.claims.push((from, claim)),
            NodeMessage::AskBody(row) => self.body_questions.push((from, row)),
            NodeMessage::AskRange(row) => self.range_questions.push((from, row)),
            NodeMessage::Range(entries) => self.ranges.push((from, entries)),
            NodeMessage::Standing(standing) => {
                node.has_told = true;
                if standing.decided >= node.standing.decided {
                    node.standing = standing;
                }
            }
            NodeMessage::Intents(_) | NodeMessage::Pledges(_) => unreachable!("ingress takes them"),
            // Snapshots go from disk to disk: a node takes what is about them before its exchange hears it.
            NodeMessage::AskSnapshot(_) | NodeMessage::Snapshot(_) => {}
            NodeMessage::AskPart(_) | NodeMessage::Part(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::Height;
    use engine::message::certificate::CertificateSignature;

    use super::*;

    #[test]
    fn a_certificate_counts_for_as_many_signatures_as_it_has() {
        let (id, block): (PeerId, Hash) = (PeerId { slot: 1, generation: 0 }, [1; 32]);
        let standing = NodeStanding::default();
        let (key, validator, has_told, told) = ([2; 32], None, false, Vec::new());
        let mut node = NodePeer { id, key, validator, standing, has_told, checks: 0, questions: 0, told };
        let signatures: Vec<CertificateSignature> =
            (0..VALIDATORS_MAX).map(|slot| CertificateSignature { slot, signature: [3; 64] }).collect();
        let polka = |round: u32| {
            NodeMessage::Polka(Certificate { height: Height(1), round, block, signatures: signatures.clone() })
        };
        let mut heard = Heard::default();
        (0..NODE_QUESTIONS_MAX as u32).for_each(|round| heard.take(&mut node, polka(round)));
        assert_eq!(heard.polkas.len(), NODE_CHECKS_MAX / VALIDATORS_MAX as usize);
    }
}
