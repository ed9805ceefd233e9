//! What this node counts and what the order of blocks counts is the same, whatever one says three times.

use engine::Height;
use engine::message::node::{NodeMessage, RoundCertificate};
use engine::message::vote::{Vote, VoteBody, VoteKind};

use super::{all_answered, all_applied, bet_all, level, seated, tell};
use crate::hosts::Cluster;

/// Node 0 waits at a height for one precommit more: it has its own and that of node 1, hears none of node 2, and node 3 lies.
struct Waiting {
    height: Height,
    /// Two precommits of node 3, neither for the block.
    two: NodeMessage,
    /// A certificate that holds a third one, for it.
    third: NodeMessage,
}

fn waiting(cluster: &mut Cluster) -> Waiting {
    let given = seated(cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    assert!(level(cluster));
    cluster.liars.insert(3);
    let height = cluster.machine(0).chain().decided.next();
    let is_precommit = move |vote: &Vote| vote.body.height == height && vote.body.kind == VoteKind::Precommit as u8;
    cluster.tamper = Some(Box::new(move |from, to, message| match message {
        NodeMessage::Votes(mut votes) if to == 0 && from >= 2 => {
            votes.retain(|vote| !is_precommit(vote));
            (!votes.is_empty()).then_some(NodeMessage::Votes(votes))
        }
        // Nor is it told what the others decide.
        NodeMessage::Standing(_) | NodeMessage::Range(_) if to == 0 => None,
        other => Some(other),
    }));
    bet_all(cluster, 4, &[0, 1, 2]);
    let precommit = move |cluster: &Cluster, slot: u32| {
        let votes = cluster.logged_votes(0, height);
        votes.into_iter().find(|vote| vote.slot == slot && vote.kind == VoteKind::Precommit as u8)
    };
    assert!(cluster.until(400, |cluster| precommit(cluster, 0).is_some() && precommit(cluster, 1).is_some()));
    let own = precommit(cluster, 0).expect("looked at above");
    assert!(own.value().is_some() && cluster.machine(0).chain().decided < height);
    let sign = |slot: u32, value| {
        let body = VoteBody::new(VoteKind::Precommit, height, own.round, value, slot);
        cluster.keys.votes[slot as usize].sign_vote(body, &[9; 32])
    };
    let two = NodeMessage::Votes(vec![sign(3, None), sign(3, Some([1; 32]))]);
    let votes = [0, 1, 3].map(|slot| sign(slot, own.value())).to_vec();
    let third = NodeMessage::Round(RoundCertificate { height, round: own.round, precommits: true, votes });
    Waiting { height, two, third }
}

/// All three come in one tick: the votes are counted before the certificate is heard, and the order of blocks hears it first.
#[test]
fn a_third_precommit_in_a_certificate_decides_where_two_others_are_known() {
    let mut cluster = Cluster::new(4, 0, 101);
    let Waiting { height, two, third } = waiting(&mut cluster);
    tell(&mut cluster, 3, &[0], &[two, third]);
    cluster.step();
    assert_eq!(cluster.machine(0).chain().decided, height);
    cluster.tamper = None;
    assert!(level(&mut cluster));
}

/// The same votes come while a validator listens whose log holds the third one, and the disk has lost what it decided with it.
#[test]
fn a_third_precommit_in_the_log_decides_where_two_others_are_known() {
    let mut cluster = Cluster::new(4, 0, 102);
    let Waiting { height, two, third } = waiting(&mut cluster);
    tell(&mut cluster, 3, &[0], &[third]);
    cluster.step();
    assert_eq!(cluster.machine(0).chain().decided, height);
    assert!(cluster.until(10, |cluster| cluster.hosts[0].decided.contains_key(&height)), "it is on the disk");
    cluster.stop(0);
    cluster.hosts[0].decided.retain(|kept, _| *kept < height);
    cluster.hosts[0].settled.retain(|kept, _| *kept < height);
    cluster.start(0);
    cluster.step();
    tell(&mut cluster, 3, &[0], &[two]);
    cluster.step();
    assert!(cluster.machine(0).chain().decided < height && !cluster.machine(0).is_voting(), "it listens");
    cluster.steps(400);
    assert!(cluster.machine(0).chain().decided >= height, "the log decides it again");
    cluster.tamper = None;
    assert!(level(&mut cluster));
    let bets = bet_all(&mut cluster, 4, &[0, 1, 2]);
    assert!(cluster.until(3_000, |cluster| all_answered(cluster, &bets)));
}
