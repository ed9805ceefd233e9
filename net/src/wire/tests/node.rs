//! A sample of every message between two nodes, and what pins its encoding.

use bytemuck::Zeroable;
use engine::Height;
use engine::message::block::{BLOCK_VERSION, Block, Decided, Header};
use engine::message::certificate::{Certificate, CertificateSignature};
use engine::message::evidence::Evidence;
use engine::message::intent::Intent;
use engine::message::node::{
    BeaconRow, BlockRow, Claim, ClaimBody, NodeKind, NodeMessage, NodeStanding, RangeEntry, RangeRow, RoundCertificate,
};
use engine::message::note::ChainNote;
use engine::message::pledge::PledgeRow;
use engine::message::share::{Share, ShareBody};
use engine::message::snapshot::{Part, PartKind, PartRow, SnapshotProof};
use engine::message::vote::{Proposal, ProposalBody, Vote, VoteBody, VoteKind};

/// A message of a kind, in which no field is zero that could be otherwise.
pub(super) fn sample(kind: NodeKind) -> NodeMessage {
    let vote = |slot, block| Vote {
        body: VoteBody::new(VoteKind::Precommit, Height(4), 2, block, slot),
        signature: [slot as u8 + 1; 64],
    };
    let body = ProposalBody { block: [7; 32], height: Height(4), round: 2, slot: 1, polka_round: 1, reserved: [0; 12] };
    let signatures = [0, 2, 3].map(|slot| CertificateSignature { slot, signature: [slot as u8 + 1; 64] }).to_vec();
    let certificate = Certificate { height: Height(4), round: 2, block: [7; 32], signatures };
    let block = || {
        let header = Header { height: Height(4), version: BLOCK_VERSION, intent_count: 1, ..Header::zeroed() };
        let mut intent = Intent::zeroed();
        (intent.body.number, intent.signature) = (3, [5; 64]);
        Block {
            header,
            certificate: Some(certificate.clone()),
            system: vec![vec![1, 2, 3]],
            pledges: Vec::new(),
            intents: vec![intent],
        }
    };
    match kind {
        NodeKind::Votes => NodeMessage::Votes(vec![vote(0, None), vote(2, Some([7; 32]))]),
        NodeKind::Proposal => NodeMessage::Proposal(Proposal { body, signature: [8; 64] }),
        NodeKind::Body => NodeMessage::Body(Box::new(block())),
        NodeKind::Polka => NodeMessage::Polka(certificate),
        NodeKind::Round => {
            let votes = vec![vote(1, None), vote(3, Some([7; 32]))];
            NodeMessage::Round(RoundCertificate { height: Height(4), round: 2, precommits: true, votes })
        }
        NodeKind::Share => {
            let body = ShareBody::new(Height(4), [7; 32], 1, 3, [5; 48]);
            NodeMessage::Share(Share { body, signature: [9; 64] })
        }
        NodeKind::Beacon => NodeMessage::Beacon(BeaconRow { height: Height(4), block: [7; 32], beacon: [6; 48] }),
        NodeKind::Intents => {
            let mut intent = Intent::zeroed();
            (intent.body.number, intent.signature) = (3, [5; 64]);
            NodeMessage::Intents(vec![intent; 3])
        }
        NodeKind::Pledges => {
            let row = PledgeRow { roll: 3, kind: 1, number: 4, value: [5; 32], ..PledgeRow::zeroed() };
            NodeMessage::Pledges(vec![row; 3])
        }
        NodeKind::Standing => NodeMessage::Standing(NodeStanding {
            decided: Height(9),
            settled: Height(8),
            certified: Height(6),
            root_chain: [5; 32],
            flags: NodeStanding::SILENT,
            reserved: [0; 4],
        }),
        NodeKind::AskBody => NodeMessage::AskBody(BlockRow { height: Height(4), block: [7; 32] }),
        NodeKind::AskRange => NodeMessage::AskRange(RangeRow::new(Height(4), 64)),
        NodeKind::Range => {
            let decided = Box::new(Decided { block: block(), certificate: certificate.clone() });
            NodeMessage::Range(vec![
                RangeEntry { decided: decided.clone(), beacon: Some([6; 48]) },
                RangeEntry { decided, beacon: None },
            ])
        }
        NodeKind::Evidence => NodeMessage::Evidence(Evidence::Votes(vote(1, None), vote(1, Some([7; 32])))),
        NodeKind::Claim => NodeMessage::Claim(Claim {
            body: ClaimBody { network: [3; 32], slot: 2, reserved: [0; 28] },
            signature: [4; 64],
        }),
        NodeKind::AskSnapshot => NodeMessage::AskSnapshot(Height(64)),
        NodeKind::Snapshot => {
            let header = |height| Header {
                height: Height(height),
                version: BLOCK_VERSION,
                root_chain: [9; 32],
                ..Header::zeroed()
            };
            let note = ChainNote {
                height: Height(4),
                time_ms: 5,
                receipts_from: Height(4),
                block: [7; 32],
                root: [6; 32],
                root_chains: [[5; 32], [4; 32]],
                validators: [[3; 32], [2; 32]],
                certificate: certificate.clone(),
            };
            let headers = [header(4), header(5), header(6)];
            NodeMessage::Snapshot(Box::new(SnapshotProof {
                note,
                beacon: [1; 48],
                verdicts: [8; 32],
                headers,
                certificate,
            }))
        }
        NodeKind::AskPart => NodeMessage::AskPart(PartRow::new(Height(64), PartKind::Groups, 7, 64)),
        NodeKind::Part => {
            NodeMessage::Part(Part { row: PartRow::new(Height(64), PartKind::Values, 7, 3), bytes: vec![9; 96] })
        }
    }
}

/// The first 64 bits of the BLAKE3 of a sample, which pin its encoding.
pub(super) const fn pinned(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Votes => "ddacdef3bc15420d",
        NodeKind::Proposal => "c0482a898f93db87",
        NodeKind::Body => "f0f2f0634bc362e6",
        NodeKind::Polka => "2c1a6c6ea2d16514",
        NodeKind::Round => "879600f6bf78a72b",
        NodeKind::Share => "f807dfa19d9eaeea",
        NodeKind::Beacon => "e07187fdbea55ff0",
        NodeKind::Intents => "22c78eb2227858b7",
        NodeKind::Standing => "fac648381cc27ad5",
        NodeKind::AskBody => "942b8af5bdc09aab",
        NodeKind::AskRange => "82c1a2c6e2453435",
        NodeKind::Range => "128dff63cee2d504",
        NodeKind::Evidence => "5ec8bf8e8f432968",
        NodeKind::Claim => "ed51dfde620cd6e5",
        NodeKind::AskSnapshot => "0d81af1b71305080",
        NodeKind::Snapshot => "4471b1dad7824fa0",
        NodeKind::AskPart => "5fce907c02ec9f51",
        NodeKind::Part => "da3411fe6e60128d",
        NodeKind::Pledges => "87c630d58a4f98ff",
    }
}
