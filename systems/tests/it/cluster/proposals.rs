//! What is proposed again, and of whom a body is asked that does not come.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use engine::message::node::NodeMessage;
use engine::message::vote::ProposalBody;

use super::{all_applied, bet_all, level, seated};
use crate::hosts::{CHAIN, Cluster};

/// Any of the others may be the only one that has a body, and tells it.
#[test]
fn a_body_that_does_not_come_is_asked_for_of_everyone_who_is_there() {
    let mut cluster = Cluster::new(4, 2, 111);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    assert!(level(&mut cluster));
    // Four others of node 0 are left: the proposer is asked at every second turn, and must not take that of another one.
    cluster.stop(3);
    let asked: Rc<RefCell<BTreeSet<usize>>> = Rc::default();
    let questions = asked.clone();
    cluster.tamper = Some(Box::new(move |from, to, message| match message {
        NodeMessage::Body(_) if to == 0 => None,
        NodeMessage::AskBody(_) if from == 0 => {
            questions.borrow_mut().insert(to);
            Some(message)
        }
        other => Some(other),
    }));
    for _ in 0..4 {
        bet_all(&mut cluster, 4, &[0, 1, 2]);
        cluster.steps(400);
    }
    assert_eq!(*asked.borrow(), [1, 2, 4, 5].into());
}

/// The proposer of the second round says that the first one's block is its own. There was no quorum for it, and whose turn failed must
/// not be a proposer's choice: nobody votes for it.
#[test]
fn a_block_of_a_round_that_failed_is_not_another_proposers_own() {
    let mut cluster = Cluster::new(4, 0, 112);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    assert!(level(&mut cluster));
    let height = cluster.machine(0).chain().decided.next();
    let validators = cluster.machine(0).validators_at(height);
    let [first, liar] = [0, 1].map(|round| validators.proposer(height, round) as usize);
    cluster.liars.insert(liar as u32);
    // By their clocks that block is timely for long enough.
    (0..4).filter(|slot| ![first, liar].contains(slot)).for_each(|slot| cluster.hosts[slot].skew_ms = -400);
    let (key, mut block) = (cluster.keys.votes[liar].clone(), None);
    let lies = Rc::new(Cell::new(0));
    let told = lies.clone();
    cluster.tamper = Some(Box::new(move |from, to, message| match message {
        // Only they hear the first proposal: the others vote for nothing, and there is no quorum.
        NodeMessage::Proposal(proposal) if (proposal.body.height, proposal.body.round) == (height, 0) => {
            block = Some(proposal.body.block);
            (to == liar).then_some(NodeMessage::Proposal(proposal))
        }
        NodeMessage::Proposal(proposal)
            if from == liar && proposal.body.height == height && proposal.body.round == 1 =>
        {
            told.set(told.get() + 1);
            let again = ProposalBody { block: block?, ..proposal.body };
            Some(NodeMessage::Proposal(key.sign_proposal(again, &CHAIN)))
        }
        other => Some(other),
    }));
    bet_all(&mut cluster, 4, &[first]);
    assert!(cluster.until(2_000, |cluster| cluster.hosts[first].decided.contains_key(&height)));
    let decided = &cluster.hosts[first].decided[&height];
    assert!(lies.get() > 0 && decided.certificate.round > 1, "round {}", decided.certificate.round);
    assert_eq!(decided.block.header.round, decided.certificate.round, "it is a block of its own round");
}
