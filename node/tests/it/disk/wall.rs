//! A full disk under a node on the wall's time.

use std::path::Path;
use std::sync::{Arc, Mutex};

use engine::io::{ChainProgress, Input, Output};
use node::clock::Time;
use node::edge::Edge;
use node::open::{Keys, Options, open};
use node::recording::Driving;
use node::run::Node;
use node::snapshots::SnapshotPace;
use order::signature::PlayerKey;
use storage::backend::{Backend, FaultyBackend};
use storage::{Session, Writing};
use systems::Setup;

use super::{DIR, Guest, config, node_on, run_to};

/// A node of the same session on the wall's clock, which no disk stops.
fn node_on_the_wall(disk: &FaultyBackend) -> Node {
    node_on(disk).expect("a new session").close();
    let (backend, dir): (Arc<dyn Backend>, _) = (Arc::new(disk.clone()), Path::new(DIR));
    let (genesis, chain) = storage::read_genesis_on(&*backend, dir).expect("its genesis");
    let mut keys = load::dev::keys(config().seed);
    let beacon = keys.beacons.pop().expect("a group of one has one share");
    let options = Options {
        keys: Some(Keys { vote: keys.votes[0].clone(), group: keys.group.clone(), beacon }),
        threads: 1,
        peers: 4,
        writing: Writing::default(),
        pace: SnapshotPace::default(),
        driving: Driving::Threads,
        sign_from: None,
        network: None,
    };
    let session = Session::open_on(backend, dir).expect("a session");
    let setup = Setup::new(genesis, chain).expect("a genesis");
    open(session, setup, options, |_| ()).expect("opened").into_node(None, Time::Wall)
}

/// A guest who keeps the times that the node says.
struct Timed {
    guest: Guest,
    times: Arc<Mutex<Vec<u64>>>,
}

impl Edge for Timed {
    fn take_inputs(&mut self, inputs: &mut Vec<Input>) -> bool {
        self.guest.take_inputs(inputs)
    }

    fn send(&mut self, outputs: &mut Vec<Output>) -> bool {
        self.guest.send(outputs)
    }

    fn publish(&mut self, standing: ChainProgress) {
        self.times.lock().expect("one thread").push(standing.now_ms);
        self.guest.publish(standing);
    }

    fn close(self: Box<Self>) {}
}

/// Whoever connects while the disk is full dates its intents by the time that it is told: one that stood still would be out of
/// date once there is room.
#[test]
fn time_goes_on_while_the_disk_is_full() {
    let disk = FaultyBackend::new(14);
    let mut node = node_on_the_wall(&disk);
    let (times, chain) = (Arc::new(Mutex::new(Vec::new())), node.machine().setup().chain);
    let guest = Guest { key: PlayerKey::from_seed(&[77; 32]), chain, now_s: 0, number: 0, heard: Arc::default() };
    node.listen(Timed { guest, times: Arc::clone(&times) });
    run_to(&mut node, 3);
    disk.set_room(Some(disk.used()));
    while node.totals.disk_full.is_none() {
        node.step().expect("a full disk is no failure");
    }
    times.lock().expect("one thread").clear();
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_millis(400) {
        assert_eq!(node.step().expect("a full disk is no failure"), None);
    }
    let times = times.lock().expect("one thread").clone();
    let (first, last) = (times[0], times[times.len() - 1]);
    assert!(last - first >= 300, "{} ms in 400 ms", last - first);
    assert!(times.is_sorted(), "nobody set the clock");
}
