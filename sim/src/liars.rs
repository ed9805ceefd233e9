//! Validators that are not what they should be: their nodes run as all do, and what they tell others is changed on its way
//! out, under their own keys.

use std::collections::BTreeMap;

use engine::Hash;
use engine::io::Output;
use engine::message::block::Block;
use engine::message::node::{BeaconRow, NodeMessage, NodeStanding, RangeEntry};
use engine::message::vote::{ProposalBody, Vote, VoteBody, VoteKind};
use order::signature::VoteKey;

use crate::draw::Draw;
use crate::fault::Fault;

/// Second versions of own blocks that are remembered.
const OTHERS: usize = 8;
/// Heights by which a false standing is too high.
const TOO_HIGH: u64 = 1_000;

/// A validator that lies, and how.
pub struct Liar {
    lie: Fault,
    slot: u32,
    key: VoteKey,
    chain: Hash,
    /// A second version of each of its last blocks, by the hash of the first.
    others: BTreeMap<Hash, Block>,
    order: Vec<Hash>,
    draw: Draw,
}

impl Liar {
    /// A validator that lies in one way.
    pub fn new(lie: Fault, slot: u32, key: VoteKey, chain: Hash, seed: u64) -> Self {
        let draw = Draw::new(seed, &format!("liar {slot}"));
        Self { lie, slot, key, chain, others: BTreeMap::new(), order: Vec::new(), draw }
    }

    /// Looks at what its node is about to say: of each block that it proposes, others will hear of another one.
    pub fn prepare(&mut self, outputs: &[Output]) {
        if self.lie != Fault::Equivocation {
            return;
        }
        for output in outputs {
            let Output::ToNode { message, .. } = output else { continue };
            let NodeMessage::Body(block) = &**message else { continue };
            if block.header.proposer != self.slot {
                continue;
            }
            let first = block.header.hash();
            let mut other = (**block).clone();
            other.header.time_ms += 1;
            if self.others.insert(first, other).is_none() {
                self.order.push(first);
            }
            if self.order.len() > OTHERS {
                self.others.remove(&self.order.remove(0));
            }
        }
    }

    /// What one other node hears of a message.
    pub fn tells(&mut self, to: u32, message: &NodeMessage) -> Vec<NodeMessage> {
        let as_it_is = || vec![message.clone()];
        match (self.lie, message) {
            (Fault::Silence, _) => Vec::new(),
            (Fault::Equivocation, _) if to.is_multiple_of(2) => as_it_is(),
            (Fault::Equivocation, _) => self.says_otherwise(message),
            (Fault::Withholding, NodeMessage::Body(_) | NodeMessage::Share(_) | NodeMessage::Range(_)) => {
                if self.draw.below(4) == 0 { as_it_is() } else { Vec::new() }
            }
            (Fault::GarbageShares, _) => vec![self.garbles(message)],
            (Fault::FalseHistory, _) => self.lies_about_the_past(message),
            _ => as_it_is(),
        }
    }

    fn says_otherwise(&mut self, message: &NodeMessage) -> Vec<NodeMessage> {
        let other = match message {
            NodeMessage::Body(block) => match self.others.get(&block.header.hash()) {
                Some(other) => NodeMessage::Body(Box::new(other.clone())),
                None => message.clone(),
            },
            NodeMessage::Proposal(proposal) => match self.others.get(&proposal.body.block) {
                Some(other) if proposal.body.slot == self.slot => {
                    let body = ProposalBody { block: other.header.hash(), ..proposal.body };
                    NodeMessage::Proposal(self.key.sign_proposal(body, &self.chain))
                }
                _ => message.clone(),
            },
            NodeMessage::Votes(votes) => {
                NodeMessage::Votes(votes.iter().map(|vote| self.votes_otherwise(vote)).collect())
            }
            _ => message.clone(),
        };
        // Now and then both, so that whoever hears it has the proof at once.
        if other != *message && self.draw.below(4) == 0 { vec![message.clone(), other] } else { vec![other] }
    }

    fn votes_otherwise(&self, vote: &Vote) -> Vote {
        let body = vote.body;
        let (Some(block), true) = (body.value(), body.slot == self.slot) else { return *vote };
        let kind = if body.kind == VoteKind::Prevote as u8 { VoteKind::Prevote } else { VoteKind::Precommit };
        let other = self.others.get(&block).map(|other| other.header.hash());
        self.key.sign_vote(VoteBody::new(kind, body.height, body.round, other, body.slot), &self.chain)
    }

    fn garbles(&mut self, message: &NodeMessage) -> NodeMessage {
        match message {
            NodeMessage::Share(share) if share.body.slot == self.slot => {
                let mut body = share.body;
                // No point, another point, or the point at infinity.
                match self.draw.below(3) {
                    0 => body.share[self.draw.below(48) as usize] ^= 1 << self.draw.below(8),
                    1 => body.share = [0xff; 48],
                    _ => (body.share, body.share[0]) = ([0; 48], 0xc0),
                }
                NodeMessage::Share(self.key.sign_share(body, &self.chain))
            }
            NodeMessage::Beacon(row) => {
                let mut beacon = row.beacon;
                beacon[self.draw.below(48) as usize] ^= 1;
                NodeMessage::Beacon(BeaconRow { beacon, ..*row })
            }
            _ => message.clone(),
        }
    }

    fn lies_about_the_past(&mut self, message: &NodeMessage) -> Vec<NodeMessage> {
        match message {
            NodeMessage::Range(entries) if !entries.is_empty() => match self.draw.below(5) {
                0 => Vec::new(),
                1 => vec![NodeMessage::Range(entries[..entries.len() / 2 + 1].to_vec())],
                _ => vec![NodeMessage::Range(self.forges(entries))],
            },
            NodeMessage::Standing(standing) if self.draw.below(2) == 0 => {
                let decided = engine::Height(standing.decided.0 + TOO_HIGH);
                vec![NodeMessage::Standing(NodeStanding { decided, ..*standing })]
            }
            _ => vec![message.clone()],
        }
    }

    /// One thing in a range is not what was decided.
    fn forges(&mut self, entries: &[RangeEntry]) -> Vec<RangeEntry> {
        let mut entries = entries.to_vec();
        let place = self.draw.below(entries.len() as u64) as usize;
        let entry = &mut entries[place];
        let decided = &mut entry.decided;
        match self.draw.below(4) {
            0 => entry.beacon = entry.beacon.map(|_| [0xc0; 48]),
            1 => decided.block.header.time_ms += 1,
            2 => decided.certificate.signatures[0].signature[9] ^= 1,
            // A block of its own, with a certificate that only looks like one.
            _ => {
                decided.block.header.time_ms += 1;
                decided.certificate.block = decided.block.header.hash();
            }
        }
        entries
    }
}
