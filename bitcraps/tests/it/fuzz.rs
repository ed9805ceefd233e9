//! Decoders of foreign bytes under fuzz: total, and what they take has one encoding.
//!
//! `cargo test` runs each check on some thousand inputs; `cargo bolero test --package bitcraps --test it fuzz::NAME` lets coverage
//! choose them, for as long as one likes. Storage has its own, for files, and so has `net`, for messages.

use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use bolero::check;
use engine::Height;
use engine::message::block::{Block, Decided, Retired};
use engine::message::certificate::{Certificate, Settled};
use engine::message::evidence::Evidence;
use engine::message::node::{NodeKind, NodeMessage, RangeEntry};
use engine::message::note::ChainNote;
use engine::message::vote::{Proposal, ProposalBody, Vote, VoteBody, VoteKind};
use net::wire::ToNode;
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
        again.clear();
        if let Ok(range) = NodeMessage::decode(NodeKind::Range, bytes) {
            range.encode(&mut again);
            assert_eq!(again, bytes);
            TAKEN.add(7);
        }
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
