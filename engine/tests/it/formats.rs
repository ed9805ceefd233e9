//! The bytes of blocks, settled heights and notes, pinned. The hashes were computed from `docs/formats` by a program that
//! shares no code with this one; a change is another version of the format.

use engine::io::Verdict;
use engine::message::block::{BLOCK_VERSION, Block, Decided, Header, Retired, intents_root, pledges_root, system_hash};
use engine::message::certificate::{Certificate, CertificateSignature, ChainLink, Settled, verdicts_hash};
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::message::note::ChainNote;
use engine::message::pledge::PledgeRow;
use engine::message::refusal::Refusal;
use engine::{Hash, Height, TableId, hex};

fn signature(slot: u32, byte: u8) -> CertificateSignature {
    CertificateSignature { slot, signature: [byte; 64] }
}

fn block() -> Block {
    let signatures = vec![signature(0, 10), signature(3, 11)];
    let certificate = Certificate { height: Height(6), round: 1, block: [2; 32], signatures };
    let body = IntentBody::new(IntentKind::Sit, [30; 32], 7, 1_800_000_030).at(TableId(3)).amount(500);
    let intents = vec![Intent { body, signature: [31; 64] }];
    let pledges = vec![PledgeRow {
        key: [20; 32],
        table: 5,
        roll: 9,
        kind: 2,
        reserved: [0; 7],
        number: 0,
        reserved_after: [0; 8],
        value: [21; 32],
        block: [22; 32],
        signature: [23; 64],
    }];
    let system = vec![b"abc".to_vec(), Vec::new()];
    let header = Header {
        chain: [1; 32],
        parent: [2; 32],
        validators: [3; 32],
        next_validators: [4; 32],
        intents: intents_root(&intents),
        certificate: certificate.hash(),
        system: system_hash(&system),
        pledges: pledges_root(&pledges),
        root_chain: [8; 32],
        height: Height(7),
        time_ms: 1_800_000_000_123,
        round: 1,
        proposer: 2,
        intent_count: 1,
        version: BLOCK_VERSION,
        reserved: [0; 64],
    };
    Block { header, certificate: Some(certificate), system, pledges, intents }
}

fn encoded(block: &Block) -> Vec<u8> {
    let mut bytes = Vec::new();
    block.encode(&mut bytes);
    bytes
}

fn pin(bytes: &[u8]) -> (usize, String) {
    (bytes.len(), blake3::hash(bytes).to_hex()[..16].to_owned())
}

#[test]
fn blocks_settled_heights_and_notes_are_pinned_and_read_as_they_were_written() {
    let block = block();
    let hash = block.header.hash();
    assert_eq!(hex(&hash), "b4124936719f690d59ed3c8539dc2fcd1d8d876e279ca7fd642bc22f17908078");
    let bytes = encoded(&block);
    assert_eq!(pin(&bytes), (907, "48f2e4b32065029c".into()));
    assert_eq!(Block::decode(&bytes), Ok(block.clone()));

    let certificate = Certificate { height: Height(7), round: 1, block: hash, signatures: vec![signature(1, 12)] };
    let decided = Decided { block, certificate: certificate.clone() };
    assert_eq!(pin(&decided.encode()).1, "395f804ecb7a5ca3");
    assert_eq!(Decided::decode(&decided.encode()), Ok(decided.clone()));
    let retired = Retired::of(decided);
    assert_eq!(pin(&retired.encode()).1, "2a7b3b599a2263aa");
    assert_eq!(Retired::decode(&retired.encode()), Ok(retired));

    let verdicts = vec![Verdict::Applied, Verdict::OddsReturned, Verdict::Refused(Refusal::NumberUsed)];
    let (beacon, root) = ([40; 48], [41; 32]);
    let link = ChainLink {
        height: Height(7),
        block: &hash,
        beacon: &beacon,
        root: &root,
        verdicts: &verdicts_hash(verdicts.iter().copied()),
    };
    let root_chain = link.after(&[8; 32]);
    assert_eq!(hex(&root_chain), "ffd280fe76efc6a0baf2876d157a922393c727e3b35f5f12b10343568a9b74b6");
    let settled = Settled { height: Height(7), beacon, root, root_chain, verdicts };
    assert_eq!(pin(&settled.encode()), (127, "4d7ae2fee5ce6229".into()));
    assert_eq!(Settled::decode(&settled.encode()), Ok(settled));

    let note = ChainNote {
        height: Height(7),
        time_ms: 1_800_000_000_123,
        receipts_from: Height(3),
        block: hash,
        root,
        root_chains: [root_chain, [8; 32]],
        validators: [[3; 32], [4; 32]],
        certificate,
    };
    assert_eq!(pin(&note.encode()), (340, "86d96947cee3d7f2".into()));
    assert_eq!(ChainNote::decode(&note.encode()), Ok(note));
}

/// Whatever one changed byte decodes to encodes to the same bytes and is another block: nothing in it is ignored. The
/// number of changes that still decode says that the others were not all refused for one reason.
#[test]
fn every_byte_of_a_block_counts() {
    let (block, mut read) = (block(), 0);
    let bytes = encoded(&block);
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            if let Ok(other) = Block::decode(&changed) {
                assert_eq!(encoded(&other), changed, "byte {at}");
                assert_ne!(other, block, "byte {at}");
                read += 1;
            }
        }
    }
    assert!((2_000..3 * bytes.len()).contains(&read), "{read} changed blocks were read");
    for cut in 0..bytes.len() {
        assert!(Block::decode(&bytes[..cut]).is_err());
    }
}

#[test]
fn a_verdict_changes_the_root_chain() {
    let of = |verdicts: &[Verdict]| -> Hash {
        let verdicts = &verdicts_hash(verdicts.iter().copied());
        ChainLink { height: Height(1), block: &[1; 32], beacon: &[2; 48], root: &[3; 32], verdicts }.after(&[0; 32])
    };
    assert_ne!(of(&[Verdict::Applied]), of(&[Verdict::Refused(Refusal::BankLimit)]));
    assert_ne!(of(&[]), of(&[Verdict::Applied]));
}
