//! Bodies: proposals and the blocks that they name.
//!
//! A proposal is handed to the order of blocks only together with the verdict on its block. One whose block has not
//! arrived is held, and the block is asked for; so is one whose verdict needs a root that this node has not computed yet.

use std::collections::{BTreeMap, VecDeque};

use bevy_ecs::resource::Resource;
use engine::limits::{
    AHEAD_HEIGHTS, AHEAD_ROUNDS, BLOCK_BYTES_MAX, BODIES_BYTES_MAX, BODY_HEIGHTS, PAST_ROUNDS, ROUND_PROPOSALS_MAX,
    VALIDATORS_MAX,
};
use engine::message::block::Block;
use engine::message::evidence::Evidence;
use engine::message::vote::{NO_ROUND, Proposal, VoteKind};
use engine::{Hash, Height, PeerId};
use order::block::check_sections;
use order::validators::Validators;

use super::tally::Tally;

// Where nothing is needed any more, the largest body finds room.
const _: () = assert!(BODIES_BYTES_MAX >= BLOCK_BYTES_MAX);

/// Proposals and bodies of the heights above the last decided one. Bounded: two proposals for each round and slot, a body
/// only for a proposal, and the bytes of each height's bodies.
#[derive(Resource, Default)]
pub struct Bodies {
    heights: BTreeMap<Height, HeightBodies>,
    /// Bodies that came before their proposals: the last one of each validator, oldest first.
    early: VecDeque<(u32, Block)>,
    /// What was decided although its body had made room for others: no other body of its height is of use any more.
    lacking: Option<(Height, Hash)>,
}

#[derive(Default)]
struct HeightBodies {
    proposals: Vec<KnownProposal>,
    bodies: Vec<Body>,
    bytes: usize,
}

/// What is known of the height under way, by which bodies are worth their room.
#[derive(Clone, Copy)]
pub struct Present<'a> {
    /// The last decided height.
    pub decided: Height,
    /// The round of the one above it.
    pub round: u32,
    /// Its validators.
    pub validators: &'a Validators,
    /// Who voted for what.
    pub tally: &'a Tally,
}

impl Present<'_> {
    /// How far a body is from being needed. 0 for one that a quorum voted for, and for one that is proposed in the present round:
    /// this validator may have voted for it, and the order of blocks may decide it at any moment. The most for one that nobody
    /// proposed whose turn it was, since that is never heard.
    fn distance(&self, height: Height, hash: &Hash, proposals: &[KnownProposal]) -> u64 {
        let quorum = self.validators.quorum();
        let decided = self.tally.quorum(height, VoteKind::Precommit, quorum).map(|(_, block)| block);
        if self.tally.has_polka(height, hash, quorum) || decided == Some(*hash) {
            return 0;
        }
        let present = if height == self.decided.next() { self.round } else { 0 };
        // Of two rounds as far away, the one that is to come is nearer.
        let far = |round: u32| 2 * u64::from(round.abs_diff(present)) + u64::from(round < present);
        self.rounds(height, hash, proposals).map(far).min().unwrap_or(u64::MAX)
    }

    /// The rounds for which a body is proposed by whose turn they are.
    fn rounds(&self, height: Height, hash: &Hash, proposals: &[KnownProposal]) -> impl Iterator<Item = u32> {
        let named = proposals.iter().map(|held| &held.proposal.body).filter(move |body| body.block == *hash);
        named.filter(move |body| self.validators.proposer(height, body.round) == body.slot).map(|body| body.round)
    }
}

/// A proposal whose signature was verified.
pub struct KnownProposal {
    /// Signed by the validator that it names, which need not be the proposer of its round.
    pub proposal: Proposal,
    /// The order of blocks has heard it.
    pub heard: bool,
    /// Who sent it.
    pub from: PeerId,
    /// When its body is asked for, in milliseconds of ticks.
    pub ask_ms: u64,
}

/// A block that was proposed.
pub struct Body {
    /// The hash of its header: what is voted on.
    pub hash: Hash,
    /// The block.
    pub block: Block,
    /// Whether this node votes for it, once that is known.
    pub judged: Option<Judged>,
    /// How many signatures of its pledges, and then of its intents, were verified, once all else was.
    pub verified: Option<usize>,
    /// Its bytes are in the consensus log.
    pub logged: bool,
    /// The verdict that the order of blocks has heard.
    pub heard: Option<bool>,
}

/// What became of a body that another node told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// It is kept.
    Kept,
    /// It is known, or of no use, or there is no room for it.
    Dropped,
    /// It is not what its header says: another one with this header may come, and be right.
    Forged,
}

/// The verdict on a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judged {
    /// It may be decided.
    Valid,
    /// All is well but its time: it gets no vote, unless a quorum is known to have voted for it.
    Untimely,
    /// It names another root than this node computed.
    Diverged,
    /// It may not be decided.
    Invalid,
}

impl HeightBodies {
    fn encoded_len(&self) -> usize {
        self.bodies.iter().map(|body| body.block.encoded_len()).sum()
    }
}

impl Bodies {
    /// Whether a proposal whose signature was not verified could be of use.
    pub fn wants_proposal(&self, proposal: &Proposal, decided: Height, own_round: u32) -> bool {
        let (height, round, slot) = (proposal.body.height, proposal.body.round, proposal.body.slot);
        let near = height > decided && height.0 <= decided.0 + AHEAD_HEIGHTS;
        // A later height begins at round 0 here, however far the present one has come.
        let own = if height == decided.next() { own_round } else { 0 };
        let round_is_near = round <= own.saturating_add(AHEAD_ROUNDS) && round.saturating_add(PAST_ROUNDS) >= own;
        let earlier = proposal.body.polka_round == NO_ROUND || proposal.body.polka_round < round;
        if !near || !round_is_near || !earlier {
            return false;
        }
        let Some(held) = self.heights.get(&height) else { return true };
        let of_slot = held.proposals.iter().filter(|held| {
            let body = &held.proposal.body;
            (body.round, body.slot) == (round, slot)
        });
        // Two of them prove that the proposer contradicts itself; a third one proves no more and takes room.
        of_slot.clone().count() < ROUND_PROPOSALS_MAX && of_slot.clone().all(|held| held.proposal.body != proposal.body)
    }

    /// Holds a proposal whose signature was verified. If it contradicts another one of its slot, that is evidence.
    pub fn hold(&mut self, proposal: Proposal, from: PeerId, ask_ms: u64) -> Option<Evidence> {
        let bodies = self.heights.entry(proposal.body.height).or_default();
        let contradicts = |held: &&KnownProposal| {
            let (one, other) = (&held.proposal.body, &proposal.body);
            (one.round, one.slot) == (other.round, other.slot) && one != other
        };
        let first = bodies.proposals.iter().find(contradicts).map(|held| held.proposal);
        bodies.proposals.push(KnownProposal { proposal, heard: false, from, ask_ms });
        first.map(|first| Evidence::Proposals(first, proposal))
    }

    /// Takes a body that some held proposal names. Where there is no room, bodies make some that are further from being needed:
    /// what a header says of its round is its writer's choice, and means nothing here.
    pub fn take(&mut self, block: Block, present: Present<'_>) -> Told {
        let (height, hash) = (block.header.height, block.header.hash());
        let decided = present.decided;
        if height <= decided || height.0 > decided.0 + BODY_HEIGHTS {
            return Told::Dropped;
        }
        let named = self.is_named(height, &hash);
        let Some(bodies) = self.heights.get_mut(&height) else { return Told::Dropped };
        let bytes = block.encoded_len();
        if !named || bodies.bodies.iter().any(|body| body.hash == hash) {
            return Told::Dropped;
        }
        // The hash is that of the header alone: anybody could send the header with other intents, and keep the right
        // body out.
        if check_sections(&block).is_err() {
            return Told::Forged;
        }
        let near = present.distance(height, &hash, &bodies.proposals);
        while bodies.bytes + bytes > BODIES_BYTES_MAX {
            let far = |body: &Body| present.distance(height, &body.hash, &bodies.proposals);
            let furthest = bodies.bodies.iter().enumerate().map(|(place, body)| (far(body), place)).max();
            let Some((_, place)) = furthest.filter(|(far, _)| *far > near) else { return Told::Dropped };
            bodies.bytes -= bodies.bodies.swap_remove(place).block.encoded_len();
        }
        bodies.bytes += bytes;
        bodies.bodies.push(Body { hash, block, judged: None, verified: None, logged: false, heard: None });
        assert_eq!(bodies.bytes, bodies.encoded_len(), "the bytes of a height's bodies are counted");
        Told::Kept
    }

    /// Keeps a body that overtook its proposal, from a connection that has proved which validator it is.
    pub fn keep_early(&mut self, slot: u32, block: Block, decided: Height) {
        let height = block.header.height;
        if height <= decided || height.0 > decided.0 + BODY_HEIGHTS {
            return;
        }
        // A flood of bodies overwrites its own sender's place, and nobody else's.
        self.early.retain(|(other, _)| *other != slot);
        self.early.push_back((slot, block));
        while self.early.iter().map(|(_, block)| block.encoded_len()).sum::<usize>() > BODIES_BYTES_MAX {
            self.early.pop_front();
        }
        assert!(self.early.len() <= VALIDATORS_MAX as usize, "each validator has one place");
    }

    /// Takes bodies that came before their proposals and are named now.
    pub fn take_early(&mut self, present: Present<'_>) {
        for (slot, block) in std::mem::take(&mut self.early) {
            let height = block.header.height;
            let hash = block.header.hash();
            if self.is_named(height, &hash) {
                self.take(block, present);
            } else if height > present.decided {
                self.early.push_back((slot, block));
            }
        }
    }

    /// Whether a proposal names a body, or a decision that lacks it.
    pub fn is_named(&self, height: Height, hash: &Hash) -> bool {
        if let Some((_, decided)) = self.lacking.filter(|(lacking, _)| *lacking == height) {
            return decided == *hash;
        }
        let bodies = self.heights.get(&height);
        bodies.is_some_and(|bodies| bodies.proposals.iter().any(|held| held.proposal.body.block == *hash))
    }

    /// Puts in a body that this node built, or that its log holds: valid, and logged.
    pub fn put_logged(&mut self, block: Block) {
        let (height, hash) = (block.header.height, block.header.hash());
        let bodies = self.heights.entry(height).or_default();
        if bodies.bodies.iter().all(|body| body.hash != hash) {
            bodies.bytes += block.encoded_len();
            bodies.bodies.push(Body { hash, block, judged: None, verified: None, logged: true, heard: None });
        }
        assert_eq!(bodies.bytes, bodies.encoded_len(), "the bytes of a height's bodies are counted");
    }

    /// A body.
    pub fn get(&self, height: Height, hash: &Hash) -> Option<&Body> {
        self.heights.get(&height)?.bodies.iter().find(|body| body.hash == *hash)
    }

    /// A body.
    pub fn get_mut(&mut self, height: Height, hash: &Hash) -> Option<&mut Body> {
        self.heights.get_mut(&height)?.bodies.iter_mut().find(|body| body.hash == *hash)
    }

    /// Blocks of the height under way without a verdict that stands, the nearest first: what a quorum voted for, and what was
    /// proposed for a round that has come. All share the signatures of a tick, and are logged once they are judged: whoever proposes
    /// for rounds to come must not keep the present one waiting.
    pub fn unsure(&self, present: Present<'_>) -> Vec<Hash> {
        let height = present.decided.next();
        let Some(HeightBodies { bodies, proposals, .. }) = self.heights.get(&height) else { return Vec::new() };
        let mut unsure: Vec<(u64, Hash)> = Vec::new();
        for Body { hash, judged, .. } in bodies {
            let distance = present.distance(height, hash, proposals);
            let has_come = present.rounds(height, hash, proposals).any(|round| round <= present.round);
            if matches!(judged, None | Some(Judged::Untimely)) && (distance == 0 || has_come) {
                unsure.push((distance, *hash));
            }
        }
        unsure.sort_by_key(|(distance, _)| *distance);
        unsure.into_iter().map(|(_, hash)| hash).collect()
    }

    /// The proposals of a height.
    pub fn proposals(&mut self, height: Height) -> &mut [KnownProposal] {
        self.heights.get_mut(&height).map_or(&mut [], |bodies| &mut bodies.proposals)
    }

    /// Whether there is any proposal of a height.
    pub fn has(&self, height: Height) -> bool {
        self.heights.get(&height).is_some_and(|bodies| !bodies.proposals.is_empty())
    }

    /// Takes out the body that was decided, and forgets all others of its height and below. Where it made room for others before,
    /// it has all the room from now on.
    pub fn decide(&mut self, height: Height, hash: &Hash) -> Option<Block> {
        let bodies = self.heights.entry(height).or_default();
        let Some(place) = bodies.bodies.iter().position(|body| body.hash == *hash) else {
            (bodies.bodies, bodies.bytes) = (Vec::new(), 0);
            self.lacking = Some((height, *hash));
            return None;
        };
        let block = bodies.bodies.swap_remove(place).block;
        // The votes are for the hash: a body that has another one would be recorded as what nobody voted for.
        assert_eq!(block.header.hash(), *hash, "the body that is decided is the one that was voted for");
        assert_eq!(block.header.height, height, "a body is kept at its own height");
        self.forget_up_to(height);
        Some(block)
    }

    /// Forgets what is of no use any more.
    pub fn forget_up_to(&mut self, decided: Height) {
        self.heights = self.heights.split_off(&decided.next());
        self.lacking = self.lacking.filter(|(height, _)| *height > decided);
    }

    /// Forgets proposals of rounds that are long past.
    pub fn forget_rounds(&mut self, height: Height, round: u32) {
        let Some(bodies) = self.heights.get_mut(&height) else { return };
        let first = round.saturating_sub(PAST_ROUNDS);
        if bodies.proposals.iter().any(|held| held.proposal.body.round < first) {
            bodies.proposals.retain(|held| held.proposal.body.round >= first);
        }
    }
}
