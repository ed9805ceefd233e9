//! A node on a disk that fails: it keeps its promises, says what is wrong, and goes on when it can.

use std::path::Path;
use std::sync::{Arc, Mutex};

use engine::PeerId;
use engine::io::{Input, Output, ShedReason, Standing};
use engine::message::intent::{Intent, IntentBody, IntentKind};
use node::dev::{DevConfig, open_on};
use node::run::{Edge, Node, Pace};
use order::signature::PlayerKey;
use storage::backend::{Fault, FaultyBackend};

const DIR: &str = "/disk/session";

fn config() -> DevConfig {
    DevConfig { tables: 2, players: 6, guests: 4, threads: 1, pace: Pace::Max, peers: 4, ..DevConfig::default() }
}

fn node_on(disk: &FaultyBackend) -> anyhow::Result<Node> {
    Ok(open_on(Arc::new(disk.clone()), Path::new(DIR), &config())?.node)
}

fn run_to(node: &mut Node, height: u64) {
    while node.totals.height.0 < height {
        node.step().expect("the disk works");
    }
}

/// A player at the edge who sends a number each tick, and keeps what comes back.
struct Guest {
    key: PlayerKey,
    chain: engine::Hash,
    now_s: u32,
    number: u64,
    heard: Arc<Mutex<Vec<Output>>>,
}

const GUEST: PeerId = PeerId { slot: 1, generation: 0 };

impl Guest {
    fn intent(&mut self) -> Intent {
        self.number += 1;
        self.key.sign(IntentBody::new(IntentKind::Open, self.key.public(), self.number, self.now_s), &self.chain)
    }
}

impl Edge for Guest {
    fn take_inputs(&mut self, inputs: &mut Vec<Input>) {
        let intents = vec![self.intent()];
        inputs.push(Input::Intents { from: GUEST, intents });
    }

    fn send(&mut self, outputs: &mut Vec<Output>) -> bool {
        self.heard.lock().expect("one thread").append(outputs);
        true
    }

    fn publish(&mut self, standing: Standing) {
        self.now_s = u32::try_from(standing.now_ms / 1_000 + 30).expect("until 2106");
    }

    fn close(self: Box<Self>) {}
}

#[test]
fn a_full_disk_stops_intents_and_loses_nothing() {
    let disk = FaultyBackend::new(11);
    let mut node = node_on(&disk).expect("a new session");
    run_to(&mut node, 10);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let chain = node.machine().setup().chain;
    let key = PlayerKey::from_seed(&[77; 32]);
    node.listen(Guest { key, chain, now_s: 0, number: 0, heard: heard.clone() });
    let count = |what: &dyn Fn(&Output) -> bool| heard.lock().expect("one thread").iter().filter(|o| what(o)).count();
    let receipts = || count(&|output| matches!(output, Output::Receipt { .. }));
    let shed = || count(&|output| matches!(output, Output::Shed { reason: ShedReason::DiskFull, .. }));
    run_to(&mut node, 12);
    assert!(receipts() > 0 && shed() == 0, "there is room");

    disk.set_room(Some(disk.used()));
    while node.totals.disk_full.is_none() {
        node.step().expect("a full disk is no failure");
    }
    let (height, promised) = (node.totals.height, receipts());
    // Long enough that the disk was tried again, in vain.
    let until = std::time::Instant::now() + std::time::Duration::from_millis(1_500);
    while std::time::Instant::now() < until {
        assert_eq!(node.step().expect("a full disk is no failure"), None);
    }
    assert_eq!((node.totals.height, receipts()), (height, promised), "nothing is settled or promised meanwhile");
    assert!(shed() > 10, "{} were told", shed());

    disk.set_room(None);
    let before = shed();
    run_to(&mut node, height.0 + 10);
    assert!(node.totals.disk_full.is_none() && receipts() > promised);
    assert!(shed() - before < 400, "it takes intents again");
    let end = node.totals.height;
    node.close();
    // What a cut of the power leaves is all of it: a node that opens it computes every root again.
    let mut again = node_on(&disk.restart()).expect("a whole session");
    assert_eq!(again.totals.height, end);
    run_to(&mut again, end.0 + 5);
}

#[test]
fn a_disk_that_does_not_write_stops_the_node() {
    for offset in 0..40 {
        let disk = FaultyBackend::new(offset);
        let mut node = node_on(&disk).expect("a new session");
        run_to(&mut node, 5);
        disk.plan(disk.operations() + 1 + offset, Fault::Fail(std::io::ErrorKind::Other));
        let error = loop {
            if let Err(error) = node.step() {
                break error.to_string();
            }
        };
        assert!(error.contains("cannot be written"), "{error}");
        let receipts = node.totals.receipts;
        let height = node.totals.height;
        drop(node);
        // What it promised is there, although the last sync may have lost the rest.
        let mut again = node_on(&disk.restart()).expect("a session that goes on");
        assert!(again.totals.height.0 + 2 >= height.0, "{} receipts", receipts);
        run_to(&mut again, height.0 + 3);
    }
}
