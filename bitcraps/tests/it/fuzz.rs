//! Decoders of foreign bytes under fuzz: total, and what they take has one encoding.
//!
//! `cargo test` runs each check on some thousand inputs; `cargo bolero test --package bitcraps --test it fuzz::NAME` lets coverage
//! choose them, for as long as one likes. Storage has its own, for files.

use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use bolero::check;
use engine::Height;
use engine::PeerId;
use engine::message::block::{Block, Decided, Retired};
use engine::message::certificate::{Certificate, Settled};
use engine::message::evidence::Evidence;
use engine::message::node::{NodeMessage, RangeEntry};
use engine::message::note::ChainNote;
use engine::message::vote::{Proposal, ProposalBody, Vote, VoteBody, VoteKind};
use net::wire::{
    Decoder, Direction, HEADER_BYTES, Kind, Message, Role, TableMessage, ToClient, ToNode, VERSION, encode_node,
};
use order::consensus::LogEntry;
use order::signature::VoteKey;
use storage::{FrameKind, JournalReader};

/// Bytes of a recorded session: what fuzzing changes, so that it gets past the first check.
static RECORDED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    let session = dir.path().join("session");
    let made = Command::new(env!("CARGO_BIN_EXE_bitcraps"))
        .args([
            "dev",
            "--heights",
            "12",
            "--tables",
            "2",
            "--players",
            "4",
            "--pace",
            "max",
            "--output",
            "json",
            "--data",
        ])
        .arg(&session)
        .output()
        .expect("the program runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut journal = JournalReader::open(&session).expect("a session");
    let mut all = Vec::new();
    while let Some(frame) = journal.next_frame().expect("a whole journal") {
        all.push(frame.body.clone());
        if frame.kind == FrameKind::Decided {
            let decided = Decided::decode(&frame.body).expect("what was recorded");
            all.push(Retired::of(decided.clone()).encode());
            all.push(note(&decided).encode());
            let mut range = Vec::new();
            let entry = RangeEntry { decided: Box::new(decided.clone()), beacon: Some([7; 48]) };
            NodeMessage::Range(vec![entry]).encode(&mut range);
            all.push(range);
            let Decided { block, certificate } = decided;
            let mut bytes = Vec::new();
            block.encode(&mut bytes);
            all.push(bytes);
            let mut bytes = Vec::new();
            certificate.encode(&mut bytes);
            all.push(bytes);
            let mut wire = Vec::new();
            ToNode::Intents(block.intents).encode(&mut wire);
            all.push(wire);
        }
    }
    assert!(all.len() > 40, "a session was recorded");
    // A lone validator's log is gone when its session ends; these are of the same kinds.
    let (key, chain) = (VoteKey::from_seed(&[1; 32]), [9; 32]);
    let vote = key.sign_vote(VoteBody::new(VoteKind::Prevote, Height(4), 2, Some([7; 32]), 0), &chain);
    let body = ProposalBody { block: [7; 32], height: Height(4), round: 2, slot: 0, polka_round: 1, reserved: [0; 12] };
    let proposal = key.sign_proposal(body, &chain);
    all.extend([bytemuck::bytes_of(&vote).to_vec(), bytemuck::bytes_of(&proposal).to_vec()]);
    all.extend([LogEntry::Vote(vote).to_bytes(), LogEntry::Proposal(proposal).to_bytes()]);
    let other = key.sign_vote(VoteBody::new(VoteKind::Prevote, Height(4), 2, None, 0), &chain);
    let mut evidence = Vec::new();
    Evidence::Votes(vote, other).encode(&mut evidence);
    all.push(evidence);
    all
});

/// Where a chain would stand after a block.
fn note(decided: &Decided) -> ChainNote {
    let header = &decided.block.header;
    ChainNote {
        height: header.height,
        time_ms: header.time_ms,
        receipts_from: Height(1),
        block: decided.certificate.block,
        root: [1; 32],
        root_chains: [[2; 32], header.root_chain],
        validators: [header.validators, header.next_validators],
        certificate: decided.certificate.clone(),
    }
}

/// A body of each kind of message: the shortest, all zero but for what may not be.
fn shortest(kind: Kind) -> Vec<u8> {
    let mut body = vec![0; kind.spec().bounds.least];
    let set: &[(usize, u8)] = match kind {
        Kind::Hello => &[(56, 1)],
        Kind::Watch => &[(36, 1)],
        Kind::Welcome => &[(148, 8), (149, 1)],
        Kind::Answers => &[(68, 1)],
        Kind::Pledges | Kind::PassedPledges => &[(36, 1), (40, 1), (64, 1)],
        Kind::Account => &[(40, 255), (41, 255), (42, 255), (43, 255)],
        Kind::Votes => &[(48, 1)],
        // The version of the block.
        Kind::Body => &[(316, 2)],
        Kind::Round => &[(64, 1)],
        Kind::AskRange => &[(0, 1), (8, 1)],
        Kind::AskPart | Kind::Part => &[(0, 1), (12, 1), (16, 1)],
        // The versions of three blocks and of the note, whose height its certificate has.
        Kind::Snapshot => &[(316, 2), (700, 2), (1_084, 2), (1_280, 2), (1_288, 1), (1_504, 1)],
        // Two votes, for different blocks.
        Kind::Evidence => &[(0, 1), (56, 1), (136, 1), (184, 1)],
        _ => &[],
    };
    set.iter().for_each(|(at, byte)| body[*at] = *byte);
    body
}

/// How often each of some decoders took what it was given.
struct Taken<const N: usize>([AtomicU32; N]);

impl<const N: usize> Taken<N> {
    const fn none() -> Self {
        Self([const { AtomicU32::new(0) }; N])
    }

    fn add(&self, which: usize) {
        self.0[which].fetch_add(1, Ordering::Relaxed);
    }

    /// A decoder that refuses everything would pass every check of what it takes.
    fn check(&self, names: [&str; N]) {
        for (name, count) in names.into_iter().zip(&self.0) {
            assert!(count.load(Ordering::Relaxed) > 0, "no {name} was taken");
        }
    }
}

/// Input of a check: noise, or good bytes with some changed.
type Fuzz = (bool, u8, Vec<(u16, u8)>, Vec<u8>);

fn changed(mut bytes: Vec<u8>, edits: &[(u16, u8)]) -> Vec<u8> {
    for (at, byte) in edits.iter().take(4) {
        let at = usize::from(*at) % bytes.len().max(1);
        // Most edits change one byte; some cut or lengthen.
        match byte {
            0 => bytes.truncate(at),
            1..4 => bytes.push(*byte),
            _ => bytes[at..].iter_mut().take(1).for_each(|changed| *changed = *byte),
        }
    }
    bytes
}

/// First whatever was recorded, as it is; then noise, and recorded bytes with some changed.
fn for_each(check_one: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    RECORDED.iter().for_each(|bytes| check_one(bytes));
    check!().with_type::<Fuzz>().for_each(|(is_noise, which, edits, noise)| {
        let recorded = || changed(RECORDED[usize::from(*which) % RECORDED.len()].clone(), edits);
        check_one(&if *is_noise { noise.clone() } else { recorded() });
    });
}

#[test]
fn blocks_and_certificates() {
    static TAKEN: Taken<8> = Taken::none();
    for_each(|bytes| {
        let mut again = Vec::new();
        if let Ok(block) = Block::decode(bytes) {
            block.encode(&mut again);
            assert_eq!(again, bytes);
            TAKEN.add(0);
        }
        again.clear();
        if let Ok(certificate) = Certificate::decode(bytes) {
            certificate.encode(&mut again);
            assert_eq!(again, bytes);
            TAKEN.add(1);
        }
        if let Ok(decided) = Decided::decode(bytes) {
            assert_eq!(decided.encode(), bytes);
            TAKEN.add(2);
        }
        if let Ok(settled) = Settled::decode(bytes) {
            assert_eq!(&settled.encode()[..], bytes);
            TAKEN.add(3);
        }
        if let Ok(retired) = Retired::decode(bytes) {
            assert_eq!(retired.encode(), bytes);
            TAKEN.add(4);
        }
        if let Ok(note) = ChainNote::decode(bytes) {
            assert_eq!(note.encode(), bytes);
            TAKEN.add(5);
        }
        again.clear();
        if let Ok(evidence) = Evidence::decode(bytes) {
            evidence.encode(&mut again);
            assert_eq!(again, bytes);
            TAKEN.add(6);
        }
        TAKEN.0[7].fetch_add(u32::from(check_message(Kind::Range, bytes)), Ordering::Relaxed);
    });
    let names = ["block", "certificate", "decided body", "settled body", "retired body", "note", "evidence", "range"];
    TAKEN.check(names);
}

#[test]
fn consensus_log_entries_and_votes() {
    static TAKEN: Taken<3> = Taken::none();
    for_each(|bytes| {
        if let Ok(entry) = LogEntry::decode(bytes) {
            assert_eq!(entry.to_bytes(), bytes);
            TAKEN.add(0);
        }
        if let Ok(vote) = Vote::decode(bytes) {
            assert_eq!(bytemuck::bytes_of(&vote), bytes);
            TAKEN.add(1);
        }
        if let Ok(proposal) = Proposal::decode(bytes) {
            assert_eq!(bytemuck::bytes_of(&proposal), bytes);
            TAKEN.add(2);
        }
    });
    TAKEN.check(["log entry", "vote", "proposal"]);
}

/// Decodes a body as whichever side takes the kind; what it took has one encoding, header included.
fn check_message(kind: Kind, body: &[u8]) -> bool {
    let mut again = Vec::new();
    match kind.spec().direction {
        Direction::ToNode => {
            let Ok(message) = ToNode::decode(kind, body) else { return false };
            message.encode(&mut again);
        }
        Direction::ToClient => {
            let Ok(mut message) = ToClient::decode(kind, body) else { return false };
            if let ToClient::Table(TableMessage { update, whole: true }) = &mut message {
                // A whole table goes to one peer.
                update.to = Some(PeerId::LOCAL);
            }
            message.encode(&mut again);
        }
        Direction::Between => {
            let Ok(message) = <NodeMessage as Message>::decode(kind, body) else { return false };
            encode_node(&message, &mut again);
        }
    }
    let [a, b, c, d] = (body.len() as u32).to_le_bytes();
    assert_eq!(again[..HEADER_BYTES], [a, b, c, d, kind as u8, VERSION, 0, 0]);
    assert_eq!(&again[HEADER_BYTES..], body);
    true
}

/// A decoder that takes nothing but what was written would pass every check of what it takes: of each kind some bodies with one
/// other byte must be taken.
#[test]
fn every_kind_of_message_is_taken_with_other_bytes_too() {
    for kind in Kind::ALL {
        let mut body = shortest(kind);
        let length = body.len().min(2_048);
        let (mut taken, mut refused) = (0, 0);
        for at in 0..length {
            for flip in [1, 2, 0x80] {
                body[at] ^= flip;
                if check_message(kind, &body) {
                    taken += 1
                } else {
                    refused += 1
                }
                body[at] ^= flip;
            }
        }
        assert!(taken > 0 || length == 0, "{kind:?}: {taken} taken, {refused} refused");
    }
}

#[test]
fn wire_messages() {
    for kind in Kind::ALL {
        assert!(check_message(kind, &shortest(kind)), "{kind:?} of its shortest body");
    }
    // Of what goes from or to clients, and of what goes between nodes.
    static CHANGED: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
    check!().with_type::<Fuzz>().for_each(|(is_noise, which, edits, noise)| {
        let kind = Kind::ALL[usize::from(*which) % Kind::ALL.len()];
        let body = if *is_noise { noise.clone() } else { changed(shortest(kind), edits) };
        if check_message(kind, &body) && !edits.is_empty() {
            CHANGED[usize::from(kind.between().is_some())].fetch_add(1, Ordering::Relaxed);
        }
        let (mut node, mut client) = (Decoder::for_node(), Decoder::for_opener(Role::Client));
        let mut between = Decoder::between_nodes();
        for part in body.chunks(37) {
            node.push(part);
            while let Ok(Some(_)) = node.next_message() {}
            client.push(part);
            while let Ok(Some(_)) = client.next_message() {}
            between.push(part);
            while let Ok(Some(_)) = between.next_message() {}
        }
    });
    for (count, of) in CHANGED.iter().zip(["clients", "nodes"]) {
        assert!(count.load(Ordering::Relaxed) > 0, "no changed body of {of} was taken");
    }
}
