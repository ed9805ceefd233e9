//! Of whom a body is asked that does not come.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use engine::message::node::NodeMessage;

use super::{all_applied, bet_all, level, seated};
use crate::hosts::Cluster;

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
