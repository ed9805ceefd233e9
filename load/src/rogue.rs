//! A rogue: a validator with true keys that floods the others with what they have to look at, as fast as a line of a gigabit
//! carries it to three of them, and takes no part in anything.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytemuck::Zeroable;
use clap::ValueEnum;
use engine::io::{Input, Output};
use engine::limits::{AHEAD_ROUNDS, BLOCK_INTENTS_MAX, EXPIRY_AHEAD_S_MAX, NODE_INTENTS_MAX, NODE_VOTES_MAX};
use engine::message::block::{BLOCK_VERSION, Block, Header};
use engine::message::certificate::{Certificate, CertificateSignature};
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::message::node::NodeMessage;
use engine::message::vote::{VoteBody, VoteKind};
use engine::{Hash, Height, TableId};
use net::server::Server;
use node::layers::Layered;
use order::signature::{PlayerKey, VoteKey};
use rayon::prelude::*;

use crate::users::{expiry_s, now};

/// How long before the next things are said.
const TURN: Duration = Duration::from_millis(1);
/// Bytes that a gigabit carries to each of three others in a turn.
const TURN_BYTES: usize = 40_000;
/// Intents that are signed at once, so that signing takes little from the others on one machine, and then said in turn: what
/// was not taken at first comes again.
const SIGNED_AHEAD: u64 = 50_000;
/// For how long they are said: none of them has expired by then, nor expires so late that no node looks at it.
const SIGNED_FOR: Duration = Duration::from_secs(EXPIRY_AHEAD_S_MAX / 2);
/// Seconds until they expire.
const EXPIRY_S: u64 = EXPIRY_AHEAD_S_MAX - 5;

/// What a rogue floods the others with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum RogueKind {
    /// Nothing: it is there, and says no word. What the others are compared with.
    Silent,
    /// Votes that it signed, for every round that may come.
    Votes,
    /// The largest blocks, which nobody proposed.
    Bodies,
    /// Intents of players who have no account.
    Intents,
}

/// What a rogue did.
#[derive(Clone, Copy, Default, Debug)]
pub struct RogueDid {
    /// Messages to all others.
    pub said: u64,
    /// Times that another one ended the connection.
    pub put_out: u64,
}

/// A rogue, while it runs.
pub struct Rogue {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<RogueDid>,
}

impl Rogue {
    /// Takes the place of the validator of a configuration, and begins.
    ///
    /// # Errors
    /// If its keys, its address or a thread cannot be had.
    pub fn start(config: &Path, kind: RogueKind) -> anyhow::Result<Self> {
        let config = Layered::load(config, &[])?.config;
        let (keys, setup) = node::init::open_keys(&config, false)?;
        let validator = keys.validator.context("a validator's keys")?;
        let genesis = storage::genesis_bytes(&config.node.data)?;
        let server = node::network::listen(&setup.genesis, genesis, &keys.net, config.net.clone())?;
        let own = validator.vote.public();
        let slot = setup.genesis.validators.iter().position(|row| row.vote_key.0 == own);
        let slot = slot.context("open_keys gives the keys of a validator of the chain")? as u32;
        let claim = validator.vote.sign_claim(slot, keys.net.public(), &setup.chain);
        let saying = Saying { kind, slot, vote: validator.vote, chain: setup.chain, decided: Height::GENESIS };
        let messages = saying.messages();
        let stop: Arc<AtomicBool> = Arc::default();
        let stopped = Arc::clone(&stop);
        let run = move || flood(server, saying, messages, &NodeMessage::Claim(claim), &stopped);
        let thread = std::thread::Builder::new().name("rogue".into()).spawn(run)?;
        Ok(Self { stop, thread })
    }

    /// Ends it.
    ///
    /// # Panics
    /// If its thread did.
    pub fn stop(self) -> RogueDid {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a rogue's thread does not panic")
    }
}

/// What a rogue says, and until which height it holds: then its messages are made anew.
struct Saying {
    kind: RogueKind,
    slot: u32,
    vote: VoteKey,
    chain: Hash,
    /// The highest height that another one told as decided.
    decided: Height,
}

impl Saying {
    /// The messages that it says in turn until another height is decided.
    fn messages(&self) -> Vec<NodeMessage> {
        match self.kind {
            RogueKind::Silent => Vec::new(),
            RogueKind::Votes => vec![self.votes()],
            RogueKind::Bodies => vec![self.body()],
            RogueKind::Intents => self.intents(),
        }
    }

    fn votes(&self) -> NodeMessage {
        let height = self.decided.next();
        let kinds = [VoteKind::Prevote, VoteKind::Precommit];
        let rounds = (0..AHEAD_ROUNDS).flat_map(|round| kinds.map(|kind| (round, kind)));
        let vote =
            |(round, kind)| self.vote.sign_vote(VoteBody::new(kind, height, round, None, self.slot), &self.chain);
        let votes: Vec<_> = rounds.take(NODE_VOTES_MAX).map(vote).collect();
        NodeMessage::Votes(votes.iter().copied().cycle().take(NODE_VOTES_MAX).collect())
    }

    fn body(&self) -> NodeMessage {
        let intents = vec![Intent::zeroed(); BLOCK_INTENTS_MAX];
        let (height, version, intent_count) = (self.decided.next(), BLOCK_VERSION, intents.len() as u32);
        let header = Header { height, version, intent_count, ..Header::zeroed() };
        let signatures = (0..3).map(|slot| CertificateSignature { slot, signature: [0; 64] }).collect();
        let before = Certificate { height: self.decided, round: 0, block: [0; 32], signatures };
        let certificate = (self.decided > Height::GENESIS).then_some(before);
        let (system, pledges) = (Vec::new(), Vec::new());
        NodeMessage::Body(Box::new(Block { header, certificate, system, pledges, intents }))
    }

    fn intents(&self) -> Vec<NodeMessage> {
        let expiry_s = expiry_s(now().as_secs() + EXPIRY_S);
        let sign = |number: u64| {
            let key = PlayerKey::from_seed(blake3::hash(&number.to_le_bytes()).as_bytes());
            key.sign(IntentBody::new(IntentKind::Roll, key.public(), 1, expiry_s).at(TableId(0)), &self.chain)
        };
        let all: Vec<Intent> = (0..SIGNED_AHEAD).into_par_iter().map(sign).collect();
        all.chunks(NODE_INTENTS_MAX).map(|some| NodeMessage::Intents(some.to_vec())).collect()
    }
}

/// Says something each turn until it is told to stop.
fn flood(
    mut server: Server,
    mut saying: Saying,
    mut messages: Vec<NodeMessage>,
    claim: &NodeMessage,
    stop: &AtomicBool,
) -> RogueDid {
    let mut did = RogueDid::default();
    let mut next = 0;
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    let mut made = Instant::now();
    // What may be said by now, in bytes.
    let (began, mut said_bytes) = (Instant::now(), 0_u128);
    while !stop.load(Ordering::Relaxed) {
        server.take_inputs(&mut inputs, Instant::now().into());
        let before = saying.decided;
        for input in inputs.drain(..) {
            match input {
                Input::Joined { peer, node: true, .. } => {
                    outputs.push(Output::ToNode { to: Some(peer), message: Box::new(claim.clone()) });
                }
                Input::Left(_) => did.put_out += 1,
                Input::Node { message, .. } => {
                    if let NodeMessage::Standing(standing) = *message {
                        saying.decided = saying.decided.max(standing.decided);
                    }
                }
                _ => {}
            }
        }
        let is_old = match saying.kind {
            RogueKind::Intents => made.elapsed() >= SIGNED_FOR,
            _ => saying.decided != before,
        };
        if is_old {
            (messages, made) = (saying.messages(), Instant::now());
        }
        let may = began.elapsed().as_millis() / TURN.as_millis() * TURN_BYTES as u128;
        while said_bytes < may && !messages.is_empty() {
            let message = messages[next % messages.len()].clone();
            said_bytes += bytes(&message) as u128;
            outputs.push(Output::ToNode { to: None, message: Box::new(message) });
            (next, did.said) = (next + 1, did.said + 1);
        }
        server.send(&mut outputs);
        std::thread::sleep(TURN);
    }
    server.close();
    did
}

/// About how many bytes a message has.
fn bytes(message: &NodeMessage) -> usize {
    match message {
        NodeMessage::Votes(votes) => size_of_val(&votes[..]),
        NodeMessage::Body(block) => block.encoded_len(),
        NodeMessage::Intents(intents) => size_of_val(&intents[..]),
        _ => TURN_BYTES,
    }
}
