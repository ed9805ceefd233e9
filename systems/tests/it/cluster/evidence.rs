//! Two signed statements of one validator of which only one may be: both signed they are proof, and otherwise nothing.

use engine::io::Alarm;
use engine::message::evidence::Evidence;
use engine::message::node::NodeMessage;
use engine::message::share::ShareBody;
use engine::message::vote::{NO_ROUND, ProposalBody, Vote, VoteBody, VoteKind};

use super::tell;
use crate::hosts::{CHAIN, Cluster};

/// Two votes of which one is forged prove nothing, whichever comes first: whoever tells them pays for it, and nobody else.
#[test]
fn evidence_of_which_a_half_is_forged_is_held_against_whoever_tells_it() {
    let mut cluster = Cluster::new(4, 1, 53);
    cluster.steps(10);
    let height = cluster.machine(0).chain().decided.next();
    let key = cluster.keys.votes[1].clone();
    let vote = |block| key.sign_vote(VoteBody::new(VoteKind::Prevote, height, 0, block, 1), &CHAIN);
    let (real, other) = (vote(None), vote(Some([7; 32])));
    let forged = Vote { signature: [5; 64], ..other };
    let score = |cluster: &mut Cluster| cluster.machine(0).read_peers(|rows| rows[4].score);
    for (first, second) in [(forged, real), (real, forged)] {
        let before = score(&mut cluster);
        tell(&mut cluster, 4, &[0], &[NodeMessage::Evidence(Evidence::Votes(first, second))]);
        cluster.steps(2);
        assert!(score(&mut cluster) > before);
        assert!(cluster.hosts[0].evidence.is_empty() && cluster.hosts[0].alarms.is_empty());
    }
    tell(&mut cluster, 4, &[0], &[NodeMessage::Evidence(Evidence::Votes(real, other))]);
    cluster.steps(2);
    assert_eq!(cluster.hosts[0].evidence, [Evidence::Votes(real, other)]);
}

/// Validator 3 signs two shares of one height, and proposes two blocks in one round.
#[test]
fn two_shares_and_two_proposals_of_one_validator_are_proven() {
    let mut cluster = Cluster::new(4, 0, 54);
    cluster.liars.insert(3);
    cluster.steps(10);
    let height = cluster.machine(0).chain().decided.next();
    let key = cluster.keys.votes[3].clone();
    let share = |byte| key.sign_share(ShareBody::new(height, [byte; 32], 0, 3, [byte; 48]), &CHAIN);
    let shares = [1, 2].map(share);
    tell(&mut cluster, 3, &[0], &shares.map(NodeMessage::Share));
    cluster.steps(2);
    assert_eq!(cluster.hosts[0].evidence, [Evidence::Shares(shares[0], shares[1])]);
    let proposal = |byte| {
        let block = [byte; 32];
        let body = ProposalBody { block, height, round: 0, slot: 3, polka_round: NO_ROUND, reserved: [0; 12] };
        key.sign_proposal(body, &CHAIN)
    };
    let proposals = [1, 2].map(proposal);
    tell(&mut cluster, 3, &[0], &proposals.map(NodeMessage::Proposal));
    cluster.steps(2);
    assert_eq!(cluster.hosts[0].evidence[1..], [Evidence::Proposals(proposals[0], proposals[1])]);
    let alarm = Alarm::Equivocated { slot: 3, height };
    assert_eq!(cluster.hosts[0].alarms, [alarm; 2]);
}
