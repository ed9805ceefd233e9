//! Decoders of foreign bytes under fuzz: total, and what they take has one encoding.
//!
//! `cargo test` runs each check on some thousand inputs; `cargo bolero test --package bitcraps --test it fuzz::NAME` lets coverage
//! choose them, for as long as one likes. Storage has its own, for files.

use std::process::Command;
use std::sync::LazyLock;

use bolero::check;
use engine::message::block::{Block, Decided};
use engine::message::certificate::{Certificate, Settled};
use engine::message::vote::{Proposal, Vote};
use net::wire::{Decoder, Kind, Role, ToClient, ToNode};
use order::consensus::LogEntry;
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
            let Decided { block, certificate } = Decided::decode(&frame.body).expect("what was recorded");
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
    all
});

/// Input of a check: noise, or recorded bytes with some changed.
type Fuzz = (bool, u8, Vec<(u16, u8)>, Vec<u8>);

fn bytes(fuzz: &Fuzz) -> Vec<u8> {
    let (is_noise, which, edits, noise) = fuzz;
    if *is_noise {
        return noise.clone();
    }
    let mut bytes = RECORDED[usize::from(*which) % RECORDED.len()].clone();
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

#[test]
fn blocks_and_certificates() {
    check!().with_type::<Fuzz>().for_each(|fuzz| {
        let bytes = bytes(fuzz);
        let mut again = Vec::new();
        if let Ok(block) = Block::decode(&bytes) {
            block.encode(&mut again);
            assert_eq!(again, bytes);
        }
        again.clear();
        if let Ok(certificate) = Certificate::decode(&bytes) {
            certificate.encode(&mut again);
            assert_eq!(again, bytes);
        }
        if let Ok(decided) = Decided::decode(&bytes) {
            assert_eq!(decided.encode(), bytes);
        }
        if let Ok(settled) = Settled::decode(&bytes) {
            assert_eq!(&settled.encode()[..], &bytes[..]);
        }
    });
}

#[test]
fn consensus_log_entries_and_votes() {
    check!().with_type::<Fuzz>().for_each(|fuzz| {
        let bytes = bytes(fuzz);
        if let Ok(entry) = LogEntry::decode(&bytes) {
            assert_eq!(entry.to_bytes(), bytes);
        }
        if let Ok(vote) = Vote::decode(&bytes) {
            assert_eq!(bytemuck::bytes_of(&vote), bytes);
        }
        if let Ok(proposal) = Proposal::decode(&bytes) {
            assert_eq!(bytemuck::bytes_of(&proposal), bytes);
        }
    });
}

#[test]
fn wire_messages() {
    check!().with_type::<(u8, Fuzz)>().for_each(|(kind, fuzz)| {
        let body = bytes(fuzz);
        let kind = Kind::ALL[usize::from(*kind) % Kind::ALL.len()];
        let mut again = Vec::new();
        if let Ok(message) = ToNode::decode(kind, &body) {
            message.encode(&mut again);
            assert_eq!(&again[again.len() - body.len()..], &body[..]);
        }
        again.clear();
        if let Ok(message) = ToClient::decode(kind, &body) {
            message.encode(&mut again);
            assert_eq!(&again[again.len() - body.len()..], &body[..]);
        }
        let (mut node, mut client) = (Decoder::for_node(), Decoder::for_opener(Role::Client));
        for part in body.chunks(37) {
            node.push(part);
            while let Ok(Some(_)) = node.next_message() {}
            client.push(part);
            while let Ok(Some(_)) = client.next_message() {}
        }
    });
}
