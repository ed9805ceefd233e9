use bytemuck::Zeroable;

use super::*;
use crate::limits::HEIGHT_MAX;
use crate::message::block::Decided;
use crate::message::certificate::{CertificateSignature, ChainLink};
use crate::message::note::ChainNote;
use crate::message::pledge::PledgeRow;
use crate::message::share::ShareBody;
use crate::message::snapshot::PartKind;
use crate::message::vote::{ProposalBody, VoteBody, VoteKind};

fn vote(slot: u32, block: Option<Hash>) -> Vote {
    vote_at(Height(4), slot, block)
}

fn vote_at(height: Height, slot: u32, block: Option<Hash>) -> Vote {
    Vote { body: VoteBody::new(VoteKind::Precommit, height, 2, block, slot), signature: [slot as u8; 64] }
}

fn proposal(height: Height, block: u8) -> Proposal {
    let body = ProposalBody { block: [block; 32], height, round: 2, slot: 1, polka_round: 0, reserved: [0; 12] };
    Proposal { body, signature: [8; 64] }
}

fn share(height: Height, byte: u8) -> Share {
    Share { body: ShareBody::new(height, [7; 32], 0, 3, [byte; 48]), signature: [9; 64] }
}

fn certificate(height: Height) -> Certificate {
    let signatures = [0, 2, 3].map(|slot| CertificateSignature { slot, signature: [slot as u8; 64] }).to_vec();
    Certificate { height, round: 2, block: [7; 32], signatures }
}

fn block(height: Height) -> Block {
    let mut header = Header::zeroed();
    (header.height, header.version, header.intent_count) = (height, crate::message::block::BLOCK_VERSION, 1);
    let (system, pledges, intents) = (Vec::new(), Vec::new(), vec![Intent::zeroed()]);
    Block { header, certificate: Some(certificate(Height(4))), system, pledges, intents }
}

/// A message of each kind, and evidence of each.
fn messages() -> Vec<NodeMessage> {
    messages_at(Height(66))
}

/// The same, where `height` is the highest that each of them names.
fn messages_at(height: Height) -> Vec<NodeMessage> {
    let decided = Box::new(Decided { block: block(height), certificate: certificate(height) });
    let votes = vec![vote_at(height, 0, None), vote_at(height, 2, Some([7; 32]))];
    let round = RoundCertificate { height, round: 2, precommits: true, votes: votes.clone() };
    vec![
        NodeMessage::Votes(votes),
        NodeMessage::Proposal(proposal(height, 7)),
        NodeMessage::Body(Box::new(block(height))),
        NodeMessage::Polka(certificate(height)),
        NodeMessage::Round(round),
        NodeMessage::Share(share(height, 5)),
        NodeMessage::Beacon(BeaconRow { height, block: [7; 32], beacon: [6; 48] }),
        NodeMessage::Intents(vec![Intent::zeroed(); 3]),
        NodeMessage::Pledges(vec![PledgeRow { roll: 1, kind: 1, value: [3; 32], ..PledgeRow::zeroed() }; 2]),
        NodeMessage::Standing(NodeStanding {
            decided: height,
            settled: Height(8),
            certified: Height(6),
            root_chain: [5; 32],
            flags: NodeStanding::SILENT,
            reserved: [0; 4],
        }),
        NodeMessage::AskBody(BlockRow { height, block: [7; 32] }),
        NodeMessage::AskRange(RangeRow::new(height, 64)),
        NodeMessage::Range(vec![
            RangeEntry { decided: decided.clone(), beacon: Some([6; 48]) },
            RangeEntry { decided, beacon: None },
        ]),
        NodeMessage::Evidence(Evidence::Votes(vote_at(height, 1, None), vote_at(height, 1, Some([7; 32])))),
        NodeMessage::Evidence(Evidence::Proposals(proposal(height, 1), proposal(height, 2))),
        NodeMessage::Evidence(Evidence::Shares(share(height, 1), share(height, 2))),
        NodeMessage::Claim(Claim {
            body: ClaimBody { network: [3; 32], slot: 2, reserved: [0; 28] },
            signature: [4; 64],
        }),
        NodeMessage::AskSnapshot(height),
        NodeMessage::Snapshot(Box::new(proof(height))),
        NodeMessage::AskPart(PartRow::new(height, PartKind::Groups, 7, 64)),
        NodeMessage::Part(Part { row: PartRow::new(height, PartKind::Values, 7, 3), bytes: vec![9; 96] }),
    ]
}

fn header(height: Height, parent: Hash) -> Header {
    let mut header = Header::zeroed();
    (header.height, header.version, header.parent) = (height, crate::message::block::BLOCK_VERSION, parent);
    header
}

/// A proof of which everything holds but the signatures, with `last` as the height of its last header.
fn proof(last: Height) -> SnapshotProof {
    let height = last.back(2);
    let own = header(height, [4; 32]);
    let (block, root, verdicts, beacon) = (own.hash(), [6; 32], [7; 32], [8; 48]);
    let before = [9; 32];
    let link = ChainLink { height, block: &block, beacon: &beacon, root: &root, verdicts: &verdicts };
    let root_chains = [link.after(&before), before];
    let next = header(height.next(), block);
    let of = |height, block| Certificate { block, ..certificate(height) };
    let note = ChainNote {
        height,
        time_ms: 0,
        receipts_from: height,
        block,
        root,
        root_chains,
        validators: [[0; 32]; 2],
        certificate: of(height, block),
    };
    let last = Header { root_chain: root_chains[0], ..header(last, next.hash()) };
    let certificate = of(last.height, last.hash());
    SnapshotProof { note, beacon, verdicts, headers: [own, next, last], certificate }
}

#[test]
fn a_proof_of_a_snapshot_holds_together_or_proves_nothing() {
    let good = proof(Height(66));
    assert!(good.is_consistent(&[0; 32]));
    assert!(!good.is_consistent(&[1; 32]));
    type Change = fn(&mut SnapshotProof);
    let changes: [Change; 11] = [
        |proof| proof.beacon[3] ^= 1,
        |proof| proof.verdicts[3] ^= 1,
        |proof| proof.note.root[3] ^= 1,
        |proof| proof.note.root_chains[0][3] ^= 1,
        |proof| proof.note.root_chains[1][3] ^= 1,
        |proof| proof.note.time_ms += 1,
        |proof| proof.note.receipts_from = Height(1),
        |proof| proof.note.validators[1][0] ^= 1,
        |proof| proof.headers[0].round += 1,
        |proof| proof.headers[1].round += 1,
        |proof| proof.headers[2].round += 1,
    ];
    for (place, change) in changes.into_iter().enumerate() {
        let mut changed = good.clone();
        change(&mut changed);
        assert!(!changed.is_consistent(&[0; 32]), "change {place}");
    }
}

fn bytes(message: &NodeMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

#[test]
fn every_message_is_read_as_it_was_written() {
    let messages = messages();
    let kinds: std::collections::BTreeSet<NodeKind> = messages.iter().map(NodeMessage::kind).collect();
    assert_eq!(kinds.len(), NodeKind::ALL.len());
    for message in messages {
        let bytes = bytes(&message);
        let kind = message.kind();
        assert!((kind.bytes_min()..=kind.bytes_max()).contains(&bytes.len()), "{kind:?}");
        assert!((bytes.len() - kind.bytes_min()).is_multiple_of(kind.bytes_unit()), "{kind:?}");
        assert_eq!(NodeMessage::decode(message.kind(), &bytes), Ok(message));
    }
}

/// Sums with a height do not overflow, whoever names it: above the highest that a chain can have, no message is one.
#[test]
fn a_height_that_no_chain_has_is_refused_in_every_kind() {
    let has_none = [NodeKind::Intents, NodeKind::Pledges, NodeKind::Claim];
    for (height, is_one) in [(HEIGHT_MAX, true), (HEIGHT_MAX + 1, false), (u64::MAX, false)] {
        let messages = messages_at(Height(height));
        let kinds: std::collections::BTreeSet<NodeKind> = messages.iter().map(NodeMessage::kind).collect();
        assert_eq!(kinds.len(), NodeKind::ALL.len());
        for message in messages {
            let kind = message.kind();
            let is_read = NodeMessage::decode(kind, &bytes(&message)).is_ok();
            assert_eq!(is_read, is_one || has_none.contains(&kind), "{kind:?} at height {height}");
        }
    }
}

/// Cut anywhere, or with a byte changed anywhere, it is another message or none; no reader panics.
#[test]
fn a_changed_message_is_another_or_none() {
    let mut read = 0;
    for message in messages() {
        let bytes = bytes(&message);
        for cut in 0..bytes.len() {
            if let Ok(other) = NodeMessage::decode(message.kind(), &bytes[..cut]) {
                assert_ne!(other, message);
            }
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x41;
            if let Ok(other) = NodeMessage::decode(message.kind(), &changed) {
                read += 1;
                assert_ne!(other, message, "byte {at} of {:?}", message.kind());
                let mut again = Vec::new();
                other.encode(&mut again);
                assert_eq!(again, changed);
            }
        }
    }
    assert!(read > 1_000, "{read} of the changed messages were read");
}

#[test]
fn what_no_honest_node_says_is_refused() {
    let decode = NodeMessage::decode;
    assert!(decode(NodeKind::Votes, &[]).is_err());
    let many = vec![vote(0, None); NODE_VOTES_MAX + 1];
    assert!(decode(NodeKind::Votes, bytemuck::cast_slice(&many)).is_err());
    let same = Evidence::Votes(vote(1, None), vote(1, None));
    assert!(decode(NodeKind::Evidence, &bytes(&NodeMessage::Evidence(same))).is_err());
    let others = Evidence::Votes(vote(1, None), vote(2, Some([7; 32])));
    assert!(decode(NodeKind::Evidence, &bytes(&NodeMessage::Evidence(others))).is_err());
    let twice = RoundCertificate { height: Height(4), round: 2, precommits: true, votes: vec![vote(1, None); 2] };
    assert!(decode(NodeKind::Round, &bytes(&NodeMessage::Round(twice))).is_err());
    let ahead = NodeStanding { settled: Height(1), ..NodeStanding::default() };
    assert!(decode(NodeKind::Standing, &bytes(&NodeMessage::Standing(ahead))).is_err());
    for kind in NodeKind::ALL {
        assert!(decode(kind, &vec![0xff; kind.bytes_max() + 1]).is_err());
        assert_eq!(NodeKind::try_from(kind as u8), Ok(kind));
    }
    assert!(NodeKind::try_from(0).is_err() && NodeKind::try_from(NodeKind::ALL.len() as u8 + 1).is_err());
}

#[test]
fn a_share_is_signed_with_all_that_it_says() {
    let body = share(Height(4), 5).body;
    let others = [
        ShareBody { height: Height(5), ..body },
        ShareBody { epoch: 1, ..body },
        ShareBody { slot: 4, ..body },
        ShareBody { block: [8; 32], ..body },
        ShareBody { share: [6; 48], ..body },
    ];
    assert!(others.iter().all(|other| other.signed() != body.signed()));
}
