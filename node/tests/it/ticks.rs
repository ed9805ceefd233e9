//! When a tick of a node on the wall's time begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, bounded};
use engine::io::{ChainProgress, Input, Output};
use node::clock::{Pace, Time};
use node::edge::Edge;

/// A network on which nothing is ever said, however often it calls for the tick.
struct Caller {
    urgent: Receiver<()>,
    taken: Arc<AtomicUsize>,
}

impl Edge for Caller {
    fn take_inputs(&mut self, _: &mut Vec<Input>) -> bool {
        self.taken.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn urgent(&self) -> Option<&Receiver<()>> {
        Some(&self.urgent)
    }

    fn send(&mut self, outputs: &mut Vec<Output>) -> bool {
        outputs.clear();
        true
    }

    fn publish(&mut self, _: ChainProgress) {}

    fn close(self: Box<Self>) {}
}

/// Whether one tick hears that something is urgent before it takes what there is. Whoever waits for the tick to be due does not.
fn hears(time: Time) -> bool {
    let dir = tempfile::tempdir().expect("a folder");
    let (config, _) = crate::simulation::session(dir.path());
    let mut node = crate::simulation::opened(&config).0.into_node(None, time);
    let ((call, urgent), taken) = (bounded(1), Arc::default());
    node.listen(Caller { urgent, taken: Arc::clone(&taken) });
    call.send(()).expect("there is room");
    node.step().expect("the node runs");
    assert_eq!(taken.load(Ordering::Relaxed), 1, "a tick took what there is");
    call.is_empty()
}

#[test]
fn what_is_urgent_begins_a_tick_of_the_wall_and_none_of_virtual_time() {
    assert!(hears(Time::Wall));
    assert!(!hears(Time::Virtual(Pace::Max)));
}
