//! Four validators in memory: messages in any order, one of them dead, the others crashing and recovering.

use std::collections::BTreeMap;

use engine::message::block::{BLOCK_VERSION, Header};
use engine::message::vote::{NO_ROUND, ProposalBody, VoteBody};
use engine::{Hash, Height};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::batch::BatchSecret;
use crate::certificate::check_certificate;
use crate::signature::VoteKey;
use crate::validators::Validators;

const CHAIN: Hash = [3; 32];
const HEIGHTS: u64 = 6;

struct Node {
    consensus: Consensus,
    timers: Timers,
    /// What is on its disk: the log, and the heights it decided.
    log: Vec<LogEntry>,
    decided: BTreeMap<u64, Hash>,
    asked: Option<(Height, u32)>,
    /// What came for later heights: heard when they begin, lost in a crash.
    later: Vec<Input>,
}

impl Node {
    fn hear(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match self.consensus.step(input.clone(), effects) {
            Ok(()) => {}
            // A height that is ahead, or one that a node which forgot its log has not begun again.
            Err(ConsensusError::Height { expected, found }) if found >= expected => self.later.push(input),
            Err(error) => panic!("honest inputs only: {error}"),
        }
    }
}

struct Cluster {
    keys: Vec<VoteKey>,
    validators: Validators,
    nodes: Vec<Option<Node>>,
    /// Messages under way: to whom, and what it will hear.
    wire: Vec<(usize, Input)>,
    said: BTreeMap<(u64, u32, u8, u32), Hash>,
    rng: ChaCha20Rng,
    now_ms: u64,
    crashes: usize,
    rounds: u64,
    /// Planted bug: a crash takes the consensus log with it.
    forgets: bool,
    /// Blocks of this validator are invalid, as all others find.
    invalid: Option<u32>,
    proposers: BTreeMap<Hash, u32>,
    contradictions: usize,
    evidence: usize,
}

impl Cluster {
    fn new(seed: u64, dead: &[usize]) -> Self {
        let keys: Vec<VoteKey> = (0..4).map(|slot| VoteKey::from_seed(&[slot; 32])).collect();
        let validators = Validators::new(keys.iter().map(VoteKey::public).collect()).expect("four keys");
        let rng = ChaCha20Rng::seed_from_u64(seed);
        let (nodes, wire, said) = (Vec::new(), Vec::new(), BTreeMap::new());
        let (now_ms, crashes, rounds, forgets, contradictions) = (0, 0, 0, false, 0);
        let mut cluster = Self {
            keys,
            validators,
            nodes,
            wire,
            said,
            rng,
            now_ms,
            crashes,
            rounds,
            forgets,
            contradictions,
            evidence: 0,
            invalid: None,
            proposers: BTreeMap::new(),
        };
        for slot in 0..4 {
            let node = (!dead.contains(&slot)).then(|| cluster.node(slot));
            cluster.nodes.push(node);
        }
        cluster
    }

    fn node(&self, slot: usize) -> Node {
        let config = ConsensusConfig {
            chain: CHAIN,
            validators: self.validators.clone(),
            own: Some((slot as u32, self.keys[slot].clone())),
            // The core alone has no help against a lock that one alone holds (a node has): rounds that grow faster make it rare
            // enough for the turns of a run.
            timeouts: TimeoutConfig { delta_ms: 200, ..TimeoutConfig::default() },
            quorum: Quorum::TwoThirds,
            secret: BatchSecret::known([9; 32]),
        };
        let consensus = Consensus::new(config, Height(1)).expect("the own key is in the set");
        let (timers, log, decided, asked, later) = (Timers::default(), Vec::new(), BTreeMap::new(), None, Vec::new());
        Node { consensus, timers, log, decided, asked, later }
    }

    fn pick(&mut self, below: usize) -> usize {
        self.rng.next_u32() as usize % below
    }

    fn hear(&mut self, slot: usize, input: Input) {
        let Some(mut node) = self.nodes[slot].take() else { return };
        let mut effects = Vec::new();
        node.hear(input, &mut effects);
        self.act(slot, &mut node, effects);
        self.nodes[slot] = Some(node);
    }

    fn act(&mut self, slot: usize, node: &mut Node, mut effects: Vec<Effect>) {
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                node.timers.apply(&effect, self.now_ms);
                match effect {
                    Effect::Log(entry) => node.log.push(LogEntry::decode(&entry.to_bytes()).expect("as written")),
                    Effect::Publish(message) => self.send(slot, &message),
                    Effect::GetValue { height, round } => node.asked = Some((height, round)),
                    Effect::StartedRound { round, .. } => self.rounds += u64::from(round > 0),
                    Effect::Decide(certificate) => {
                        let (height, block) = (certificate.height, certificate.block);
                        let checked = check_certificate(
                            &certificate,
                            &self.validators,
                            &CHAIN,
                            height,
                            &block,
                            &BatchSecret::known([1; 32]),
                        );
                        assert_eq!(checked, Ok(()));
                        let before = node.decided.insert(height.0, block);
                        assert!(before.is_none_or(|before| before == block), "two decisions of one node");
                    }
                    Effect::Finalized { evidence, .. } => self.evidence += evidence.len(),
                    _ => {}
                }
            }
            if node.consensus.is_decided() && node.consensus.height() < Height(HEIGHTS) {
                let next = Input::StartHeight(node.consensus.height().next(), self.validators.clone());
                node.consensus.step(next, &mut effects).expect("the next height");
                for input in std::mem::take(&mut node.later) {
                    node.hear(input, &mut effects);
                }
            }
        }
    }

    /// Everyone else hears it, some day, in any order; a proposal's block travels beside it. Votes go twice at times.
    fn send(&mut self, from: usize, message: &Message) {
        self.check_said(message);
        for to in (0..4).filter(|to| *to != from) {
            match message {
                Message::Vote(vote) => {
                    let input = Input::Vote { vote: *vote, verified: self.pick(2) == 0 };
                    if self.pick(4) == 0 {
                        self.wire.push((to, input.clone()));
                    }
                    self.wire.push((to, input));
                }
                Message::Proposal(proposal) => {
                    self.wire.push((to, Input::Proposal { proposal: *proposal, verified: false }));
                    let ProposalRow { block, height, round, slot } = ProposalRow::of(proposal);
                    let valid = u8::from(self.proposers.get(&block) != self.invalid.as_ref());
                    let (polka_round, caught_up, reserved) = (NO_ROUND, 0, [0; 10]);
                    let value = ProposedValue { block, height, round, polka_round, slot, valid, caught_up, reserved };
                    self.wire.push((to, Input::ProposedValue(value)));
                }
                Message::Polka(polka) => self.wire.push((to, Input::Polka(polka.clone()))),
                Message::Round(round) => self.wire.push((to, Input::Round(round.clone()))),
            }
        }
    }

    fn check_said(&mut self, message: &Message) {
        let (key, block) = match message {
            Message::Vote(vote) => {
                let VoteBody { height, round, kind, slot, .. } = vote.body;
                ((height.0, round, kind, slot), vote.body.value().unwrap_or([0xff; 32]))
            }
            Message::Proposal(proposal) => {
                let row = ProposalRow::of(proposal);
                ((row.height.0, row.round, 0, row.slot), row.block)
            }
            _ => return,
        };
        let said = *self.said.entry(key).or_insert(block);
        self.contradictions += usize::from(said != block);
    }

    /// The process dies and comes back from its disk; what was under way to it arrives later.
    fn crash(&mut self, slot: usize) {
        let Some(dead) = self.nodes[slot].take() else { return };
        self.crashes += 1;
        let mut node = Node { log: dead.log, decided: dead.decided, ..self.node(slot) };
        let mut height = Height(node.decided.len() as u64).next();
        if self.forgets {
            node.log.clear();
        }
        // A decided frame may have been lost with the crash: its log is still there and decides again.
        if self.pick(2) == 0 && height > Height(1) && !self.forgets {
            height = height.back(1);
        }
        loop {
            let entries: Vec<LogEntry> = node.log.iter().filter(|entry| entry.height() == height).cloned().collect();
            let mut effects = Vec::new();
            if height > Height(HEIGHTS) {
                break;
            }
            node.consensus
                .recover(height, &self.validators, &entries, &mut effects)
                .expect("the log leads to what was signed");
            let decided = effects.iter().any(|effect| matches!(effect, Effect::Decide(_)));
            let last = decided && height == Height(HEIGHTS);
            let frozen: Vec<Effect> = std::mem::take(&mut effects);
            self.act_recovered(slot, &mut node, frozen);
            if !decided || last {
                break;
            }
            height = height.next();
        }
        self.nodes[slot] = Some(node);
    }

    fn act_recovered(&mut self, slot: usize, node: &mut Node, effects: Vec<Effect>) {
        for effect in effects {
            node.timers.apply(&effect, self.now_ms);
            match effect {
                Effect::Log(entry) => node.log.push(entry),
                Effect::Publish(message) => self.send(slot, &message),
                Effect::GetValue { height, round } => node.asked = Some((height, round)),
                Effect::Decide(certificate) => {
                    let before = node.decided.insert(certificate.height.0, certificate.block);
                    assert!(before.is_none_or(|before| before == certificate.block));
                }
                _ => {}
            }
        }
    }

    fn turn(&mut self) {
        let slot = self.pick(4);
        let asked = self.nodes[slot].as_mut().and_then(|node| node.asked.take());
        if let Some((height, round)) = asked {
            let mut header: Header = bytemuck::Zeroable::zeroed();
            (header.chain, header.height, header.round) = (CHAIN, height, round);
            (header.proposer, header.version) = (slot as u32, BLOCK_VERSION);
            header.time_ms = self.rng.next_u64();
            self.proposers.insert(header.hash(), slot as u32);
            return self.hear(slot, Input::Value { round, header: Box::new(header) });
        }
        if self.pick(100) == 0 {
            return self.crash(slot);
        }
        if self.wire.is_empty() || self.pick(60) == 0 {
            return self.elapse();
        }
        let place = self.pick(self.wire.len());
        let (to, input) = self.wire.swap_remove(place);
        self.hear(to, input);
    }

    /// Time goes on to the next timeout of anyone.
    fn elapse(&mut self) {
        let next = self.nodes.iter().flatten().filter_map(|node| node.timers.next_ms()).min();
        self.now_ms = next.unwrap_or(self.now_ms).max(self.now_ms);
        for slot in 0..4 {
            while let Some(timeout) = self.nodes[slot].as_mut().and_then(|node| node.timers.elapsed(self.now_ms)) {
                self.hear(slot, Input::Timeout(timeout));
            }
        }
    }

    fn is_done(&self) -> bool {
        self.nodes.iter().flatten().all(|node| node.decided.len() as u64 == HEIGHTS)
    }

    fn run(&mut self, turns: usize) -> bool {
        for slot in 0..4 {
            self.hear(slot, Input::StartHeight(Height(1), self.validators.clone()));
        }
        for _ in 0..turns {
            if self.is_done() {
                return true;
            }
            self.turn();
        }
        false
    }
}

/// What a proposal says.
struct ProposalRow {
    block: Hash,
    height: Height,
    round: u32,
    slot: u32,
}

impl ProposalRow {
    fn of(proposal: &engine::message::vote::Proposal) -> Self {
        let body = proposal.body;
        Self { block: body.block, height: body.height, round: body.round, slot: body.slot }
    }
}

#[test]
fn four_validators_of_which_one_is_dead_decide_the_same_blocks() {
    let (mut crashes, mut rounds) = (0, 0);
    for seed in 0..40 {
        let mut cluster = Cluster::new(seed, &[seed as usize % 4]);
        assert!(cluster.run(200_000), "seed {seed}: no progress");
        assert_eq!((cluster.contradictions, cluster.evidence), (0, 0), "seed {seed}");
        let decided: Vec<_> = cluster.nodes.iter().flatten().map(|node| &node.decided).collect();
        assert!(decided.windows(2).all(|pair| pair[0] == pair[1]), "seed {seed}: a fork");
        (crashes, rounds) = (crashes + cluster.crashes, rounds + cluster.rounds);
    }
    assert!(crashes > 100 && rounds > 100, "{crashes} crashes, {rounds} failed rounds");
    println!("{crashes} crashes, {rounds} later rounds");
}

#[test]
fn blocks_that_the_others_find_invalid_are_not_decided() {
    for seed in 0..10 {
        let mut cluster = Cluster::new(seed, &[]);
        cluster.invalid = Some(2);
        assert!(cluster.run(200_000), "seed {seed}: no progress");
        let decided: Vec<Hash> =
            cluster.nodes.iter().flatten().flat_map(|node| node.decided.values()).copied().collect();
        assert!(decided.iter().all(|block| cluster.proposers[block] != 2), "seed {seed}");
    }
}

#[test]
fn two_of_four_decide_nothing() {
    let mut cluster = Cluster::new(7, &[1, 2]);
    assert!(!cluster.run(20_000));
    assert!(cluster.nodes.iter().flatten().all(|node| node.decided.is_empty()));
}

/// The negative control: without its log a restarted validator says something else, and the others prove it.
#[test]
fn validators_that_forget_their_log_contradict_themselves() {
    let (mut contradictions, mut evidence) = (0, 0);
    for seed in 0..10 {
        let mut cluster = Cluster::new(seed, &[]);
        cluster.forgets = true;
        cluster.run(3_000);
        (contradictions, evidence) = (contradictions + cluster.contradictions, evidence + cluster.evidence);
    }
    assert!(contradictions > 10 && evidence > 0, "{contradictions} contradictions, {evidence} proven");
    println!("{contradictions} contradictions, {evidence} proven");
}

#[test]
fn a_proposal_that_comes_again_beside_another_one_is_no_evidence() {
    let cluster = Cluster::new(1, &[0, 1, 2, 3]);
    let mut node = cluster.node(0);
    let (height, key) = (Height(1), &cluster.keys[1]);
    assert_eq!(cluster.validators.proposer(height, 0), 1);
    let proposal = |block: u8| {
        let body =
            ProposalBody { height, block: [block; 32], round: 0, polka_round: NO_ROUND, slot: 1, reserved: [0; 12] };
        key.sign_proposal(body, &CHAIN)
    };
    let value = |block: u8, valid| {
        let (round, polka_round, slot, caught_up, reserved) = (0, NO_ROUND, 1, 0, [0; 10]);
        let block = [block; 32];
        Input::ProposedValue(ProposedValue { block, height, round, polka_round, slot, valid, caught_up, reserved })
    };
    let told = |block| Input::Proposal { proposal: proposal(block), verified: false };
    let mut inputs = vec![Input::StartHeight(height, cluster.validators.clone())];
    inputs.extend([told(1), value(1, 0), told(2), value(2, 1), told(1), value(1, 1), told(2)]);
    inputs.extend((1..4).map(|slot| {
        let body = VoteBody::new(engine::message::vote::VoteKind::Precommit, height, 0, Some([2; 32]), slot);
        Input::Vote { vote: cluster.keys[slot as usize].sign_vote(body, &CHAIN), verified: false }
    }));
    let mut effects = Vec::new();
    inputs.into_iter().for_each(|input| node.hear(input, &mut effects));
    let finalized = effects.into_iter().find_map(|effect| match effect {
        Effect::Finalized { evidence, .. } => Some(evidence),
        _ => None,
    });
    let evidence = finalized.expect("three of four have said so");
    assert_eq!(evidence, [engine::message::evidence::Evidence::Proposals(proposal(1), proposal(2))]);
}
