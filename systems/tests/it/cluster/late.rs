//! What comes later than it is waited for.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use engine::message::node::NodeMessage;

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
