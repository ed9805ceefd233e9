//! One validator, or anybody, has the others work for nothing: it costs them little, and whoever pays nothing for it is put out.

use std::cell::Cell;
use std::rc::Rc;

use engine::Height;
use engine::component::PeerStatus;
use engine::limits::TICK_MS;
use engine::message::certificate::{Certificate, CertificateSignature};
use engine::message::node::{NodeMessage, RoundCertificate};
use engine::message::vote::{Vote, VoteBody, VoteKind};

use super::{all_answered, all_applied, bet_all, level, seated, tell};
use crate::hosts::Cluster;

/// Anybody may come as a node and send certificates that nobody signed, each of which costs as many verifications as it names
/// validators: it is put out. Whoever sends what was signed is not.
#[test]
fn whoever_sends_certificates_that_nobody_signed_is_put_out() {
    let mut cluster = Cluster::new(4, 1, 94);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    assert!(level(&mut cluster));
    let height = cluster.machine(0).chain().decided.next();
    let waits = Rc::new(Cell::new(true));
    let waiting = waits.clone();
    cluster.tamper = Some(Box::new(move |_, _, message| match &message {
        NodeMessage::Votes(votes) if waiting.get() && votes.iter().any(|vote| vote.body.height == height) => None,
        _ => Some(message),
    }));
    let bets = bet_all(&mut cluster, 4, &[0, 1, 2, 3]);
    assert!(cluster.until(400, |cluster| !cluster.logged_votes(0, height).is_empty()), "the height is under way");
    let signature = [5; 64];
    let signatures: Vec<CertificateSignature> = (0..3).map(|slot| CertificateSignature { slot, signature }).collect();
    let nil = |slot| Vote { body: VoteBody::new(VoteKind::Precommit, height, 0, None, slot), signature };
    let polka = NodeMessage::Polka(Certificate { height, round: 0, block: [7; 32], signatures });
    let round = RoundCertificate { height, round: 0, precommits: true, votes: (0..3).map(nil).collect() };
    let forged = [polka, NodeMessage::Round(round)];
    let status = |cluster: &mut Cluster, slot: usize| cluster.machine(0).read_peers(|rows| rows[slot].status);
    (0..5).for_each(|_| tell(&mut cluster, 4, &[0], &forged));
    assert_eq!(status(&mut cluster, 4), PeerStatus::Node as u8);
    cluster.step();
    assert_eq!(status(&mut cluster, 4), PeerStatus::Banned as u8);
    waits.set(false);
    assert!(cluster.until(4_000, |cluster| all_answered(cluster, &bets)));
    assert!((1..4).all(|slot| status(&mut cluster, slot) == PeerStatus::Node as u8), "others told what they verified");
}

/// One validator votes at every height before anybody has a reason to begin it: heights follow each other at the interval all the
/// same.
#[test]
fn no_single_vote_cuts_the_interval_between_heights_short() {
    let (interval_ms, ticks) = (1_000, 1_000);
    let mut cluster = Cluster::with(4, 0, 93, |genesis| genesis.block_interval_ms = interval_ms);
    let given = seated(&mut cluster, 4, 3);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    cluster.liars.insert(3);
    let key = cluster.keys.votes[3].clone();
    let (before, mut last) = (cluster.machine(0).chain().decided, Height::GENESIS);
    for _ in 0..ticks {
        let height = cluster.machine(0).chain().decided.next();
        if height > last {
            let nil = key.sign_vote(VoteBody::new(VoteKind::Prevote, height, 0, None, 3), &[9; 32]);
            tell(&mut cluster, 3, &[0, 1, 2], &[NodeMessage::Votes(vec![nil])]);
            last = height;
        }
        cluster.step();
    }
    let heights = cluster.machine(0).chain().decided.0 - before.0;
    assert!(heights > 1, "what one validator alone says is heard");
    assert!(heights <= ticks * TICK_MS / interval_ms + 1, "{heights} heights");
}
