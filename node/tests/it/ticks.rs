//! When a tick of a node on the wall's time begins.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, bounded};
use engine::Tick;
use engine::io::{ChainProgress, Input, Output};
use node::clock::{Pace, Time, Told};
use node::edge::Edge;

/// A network on which nothing is ever said, however often it calls for the tick.
struct Caller {
    urgent: Receiver<()>,
    taken: Arc<AtomicUsize>,
    /// Every so many ticks intents are taken.
    every: usize,
}

impl Edge for Caller {
    fn take_inputs(&mut self, _: &mut Vec<Input>) -> bool {
        (self.taken.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(self.every)
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
    node.listen(Caller { urgent, taken: Arc::clone(&taken), every: 1 });
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

/// Ticks that count as missed of a node whose tick 8 begins so many late, where every so many take intents.
fn missed(late: u64, every: usize) -> u64 {
    let dir = tempfile::tempdir().expect("a folder");
    let (config, _) = crate::simulation::session(dir.path());
    let mut node = crate::simulation::opened(&config).0.into_node(None, Time::Told);
    node.listen(Caller { urgent: bounded(1).1, taken: Arc::default(), every });
    let start_ms = node::init::now_ms().expect("a clock");
    for number in (1..=8).chain([9 + late]) {
        let at = std::time::Duration::from_millis(5 * number);
        node.step_at(Told { tick: Tick(number), now_ms: start_ms + 5 * number, at }).expect("the node runs");
    }
    node.totals.ticks_missed
}

#[test]
fn a_tick_that_takes_what_others_left_to_it_has_their_time() {
    assert_eq!([0, 1, 5].map(|late| missed(late, 1)), [0, 1, 5], "it left nothing out and had its own time");
    assert_eq!([0, 1, 3, 5].map(|late| missed(late, 4)), [0, 0, 0, 2], "three before it left theirs");
    assert_eq!([1, 5].map(|late| missed(late, 3)), [1, 5], "tick 8 took none: those that it left them to comes");
}

#[test]
fn a_node_that_ends_takes_what_waits_for_it_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let (config, _) = crate::simulation::session(dir.path());
    let mut node = crate::simulation::opened(&config).0.into_node(None, Time::Wall);
    let taken = Arc::default();
    node.listen(Caller { urgent: bounded(1).1, taken: Arc::clone(&taken), every: 4 });
    node.run(None, &AtomicBool::new(true), |_, _, _| {}).expect("the node runs");
    assert_eq!(taken.load(Ordering::Relaxed), 4, "it ended with the tick that took them");
}

/// A network that keeps what it was told of the time: by what everyone hears who is connected, and by the rest.
#[derive(Clone, Default)]
struct Listener {
    everyone: Arc<Mutex<Vec<u64>>>,
    newcomers: Arc<Mutex<Vec<u64>>>,
}

impl Edge for Listener {
    fn take_inputs(&mut self, _: &mut Vec<Input>) -> bool {
        true
    }

    fn send(&mut self, outputs: &mut Vec<Output>) -> bool {
        outputs.clear();
        true
    }

    fn publish(&mut self, standing: ChainProgress) {
        self.newcomers.lock().expect("one thread").push(standing.now_ms);
    }

    fn tell_time(&mut self, standing: ChainProgress) {
        self.everyone.lock().expect("one thread").push(standing.now_ms);
    }

    fn close(self: Box<Self>) {}
}

/// A network listens before its node does. Whoever connected in between dates intents by what it hears then.
#[test]
fn a_node_on_the_walls_time_says_it_to_everyone_before_its_first_tick() {
    let dir = tempfile::tempdir().expect("a folder");
    let (config, _) = crate::simulation::session(dir.path());
    let mut node = crate::simulation::opened(&config).0.into_node(None, Time::Wall);
    std::thread::sleep(std::time::Duration::from_millis(50));
    let (network, before_ms) = (Listener::default(), node::init::now_ms().expect("a clock"));
    node.listen(network.clone());
    let [said_ms] = network.everyone.lock().expect("one thread")[..] else { panic!("it is said once") };
    assert!(said_ms >= before_ms && said_ms <= node::init::now_ms().expect("a clock"), "{said_ms} at {before_ms}");
    node.step().expect("the node runs");
    assert_eq!(network.everyone.lock().expect("one thread").len(), 1, "nobody set the clock");
    let newcomers = network.newcomers.lock().expect("one thread").clone();
    assert!(
        !newcomers.is_empty() && newcomers.iter().all(|now_ms| *now_ms >= said_ms),
        "{newcomers:?} after {said_ms}"
    );
}
