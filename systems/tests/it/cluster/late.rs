//! What comes later than it is waited for.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use engine::TableId;
use engine::io::Verdict;
use engine::message::intent::{Intent, IntentKind};
use engine::message::node::NodeMessage;
use engine::message::refusal::Refusal;

use super::{all_answered, all_applied, bet_all, level, seated, tell};
use crate::hosts::Cluster;

/// Over a narrow line every range takes longer than another node is waited for: what it tells is taken all the same, so that whoever was
/// away catches up.
#[test]
fn ranges_that_come_late_are_taken() {
    let mut cluster = Cluster::new(4, 0, 120);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    assert!(level(&mut cluster));
    cluster.stop(3);
    for _ in 0..6 {
        let bets = bet_all(&mut cluster, 4, &[0, 1, 2]);
        assert!(cluster.until(3_000, |cluster| all_answered(cluster, &bets)));
    }
    assert!(level(&mut cluster));
    let on_the_line: Rc<RefCell<Vec<(usize, NodeMessage)>>> = Rc::default();
    let sent = on_the_line.clone();
    cluster.tamper = Some(Box::new(move |from, to, message| match message {
        NodeMessage::Range(_) if to == 3 => {
            sent.borrow_mut().push((from, message));
            None
        }
        other => Some(other),
    }));
    cluster.start(3);
    let last = cluster.settled(0);
    let mut late = VecDeque::new();
    for tick in 0..400 {
        late.extend(on_the_line.borrow_mut().drain(..).map(|(from, message)| (tick + 280, from, message)));
        while late.front().is_some_and(|(due, ..)| *due <= tick) {
            let (_, from, message) = late.pop_front().expect("looked at above");
            tell(&mut cluster, from as u32, &[3], &[message]);
        }
        cluster.step();
    }
    assert!(cluster.settled(3) >= last, "{} of {last}", cluster.settled(3));
}

/// What a client at a node hears of an intent is its last word: copies of it that were on their way to the other nodes while it was
/// refused are in no block again, unless the client tries again.
#[test]
fn copies_that_come_after_a_refusal_are_in_no_block() {
    let mut cluster = Cluster::new(4, 1, 121);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    let on_the_line: Rc<RefCell<Vec<NodeMessage>>> = Rc::default();
    let sent = on_the_line.clone();
    cluster.tamper = Some(Box::new(move |from, to, message| match message {
        NodeMessage::Intents(_) if from == 0 => {
            if to == 1 {
                sent.borrow_mut().push(message);
            }
            None
        }
        other => Some(other),
    }));
    let bet = crate::common::bet("field");
    let stranger = cluster.intent(20, IntentKind::Bet, |body| body.at(TableId(0)).on(bet, 0).amount(10));
    let blocks = |cluster: &Cluster, intent: &Intent| {
        let decided = cluster.hosts[1].decided.values();
        decided.flat_map(|decided| &decided.block.intents).filter(|other| other.id() == intent.id()).count()
    };
    cluster.give(0, vec![stranger]);
    assert!(cluster.until(1_000, |cluster| cluster.verdict(0, &stranger).is_some()));
    assert_eq!(cluster.verdict(0, &stranger), Some(Verdict::Refused(Refusal::UnknownAccount)));
    assert!(level(&mut cluster));
    cluster.tamper = None;
    let copies: Vec<NodeMessage> = on_the_line.borrow_mut().drain(..).collect();
    assert_eq!(copies.len(), 1);
    tell(&mut cluster, 0, &[1, 2, 3], &copies);
    cluster.steps(1_000);
    assert_eq!(blocks(&cluster, &stranger), 1);
    // The same node sends it on once more.
    cluster.give(0, vec![stranger]);
    assert!(cluster.until(1_000, |cluster| blocks(cluster, &stranger) == 2));
    // So does one that can propose nothing itself.
    let other = cluster.intent(21, IntentKind::Bet, |body| body.at(TableId(0)).on(bet, 0).amount(10));
    for times in 1..=2 {
        cluster.steps(400);
        cluster.give(4, vec![other]);
        assert!(cluster.until(1_000, |cluster| blocks(cluster, &other) == times));
    }
}
