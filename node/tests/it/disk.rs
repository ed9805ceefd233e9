//! A node on a disk that fails: it keeps its promises, says what is wrong, and goes on when it can.

mod wall;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytemuck::Zeroable;
use engine::PeerId;
use engine::io::{ChainProgress, Input, Output, ShedReason, Watched};
use engine::limits::{DISK_FULL_INPUTS_MAX, DISK_FULL_PLEDGES_MAX};
use engine::message::block::{Decided, Retired};
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::message::pledge::PledgeRow;
use load::dev::{DevConfig, open_on};
use node::clock::Pace;
use node::config::retire;
use node::edge::Edge;
use node::run::Node;
use node::snapshots::SnapshotPace;
use order::signature::PlayerKey;
use storage::backend::{Access, Backend, Fault, FaultyBackend};
use storage::snapshot::read_catalog;
use storage::{FrameKind, JournalReader, Retention, Writing};

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
    fn take_inputs(&mut self, inputs: &mut Vec<Input>) -> bool {
        let intents = vec![self.intent()];
        inputs.push(Input::Intents { from: GUEST, intents });
        true
    }

    fn send(&mut self, outputs: &mut Vec<Output>) -> bool {
        self.heard.lock().expect("one thread").append(outputs);
        true
    }

    fn publish(&mut self, standing: ChainProgress) {
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
    // Long enough that the disk was tried again, in vain, and that readings were published.
    let mut wait = || {
        let until = std::time::Instant::now() + std::time::Duration::from_millis(1_200);
        while std::time::Instant::now() < until {
            assert_eq!(node.step().expect("a full disk is no failure"), None);
        }
        node.readings().read()
    };
    let (first, second) = (wait(), wait());
    let (arrived, turned_away) = (second.arrived - first.arrived, second.short - first.short);
    assert!(turned_away > 0 && arrived == turned_away, "of {arrived} that arrived {turned_away} were turned away");
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

/// A guest among others who say something in each tick.
struct Crowd {
    guest: Guest,
    others: Arc<Mutex<Vec<Input>>>,
}

impl Edge for Crowd {
    fn take_inputs(&mut self, inputs: &mut Vec<Input>) -> bool {
        inputs.extend(self.others.lock().expect("one thread").iter().cloned());
        self.guest.take_inputs(inputs)
    }

    fn take_intents(&mut self, inputs: &mut Vec<Input>) {
        self.guest.take_inputs(inputs);
    }

    fn send(&mut self, outputs: &mut Vec<Output>) -> bool {
        self.guest.send(outputs)
    }

    fn publish(&mut self, standing: ChainProgress) {
        self.guest.publish(standing);
    }

    fn close(self: Box<Self>) {}
}

/// However much comes beside them while the disk is full, and whatever of it is kept: each intent has its answer in its tick.
#[test]
fn a_disk_that_is_full_for_long_turns_every_intent_away() {
    let disk = FaultyBackend::new(12);
    let mut node = node_on(&disk).expect("a new session");
    run_to(&mut node, 10);
    let (heard, others) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (chain, key) = (node.machine().setup().chain, PlayerKey::from_seed(&[77; 32]));
    let guest = Guest { key, chain, now_s: 0, number: 0, heard: Arc::clone(&heard) };
    node.listen(Crowd { guest, others: Arc::clone(&others) });
    run_to(&mut node, 12);
    disk.set_room(Some(disk.used()));
    while node.totals.disk_full.is_none() {
        node.step().expect("a full disk is no failure");
    }
    let shed = || {
        let is_shed = |output: &&Output| matches!(output, Output::Shed { reason: ShedReason::DiskFull, .. });
        heard.lock().expect("one thread").iter().filter(is_shed).count()
    };
    let watch = Input::Watch { peer: GUEST, what: Watched::Account([1; 32]), on: true };
    for one in [Input::RoundTrip { peer: GUEST, micros: 7 }, watch] {
        *others.lock().expect("one thread") = vec![one; DISK_FULL_INPUTS_MAX / 3];
        for _ in 0..6 {
            let before = shed();
            assert_eq!(node.step().expect("a full disk is no failure"), None);
            assert_eq!(shed(), before + 1);
        }
    }
}

/// What is kept of pledges arrives when it is taken, and what is turned away of them has arrived as the intents have.
#[test]
fn pledges_that_a_full_disk_turns_away_have_arrived() {
    let disk = FaultyBackend::new(14);
    let mut node = node_on(&disk).expect("a new session");
    run_to(&mut node, 10);
    let (heard, others) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (chain, key) = (node.machine().setup().chain, PlayerKey::from_seed(&[77; 32]));
    let guest = Guest { key, chain, now_s: 0, number: 0, heard };
    node.listen(Crowd { guest, others: Arc::clone(&others) });
    run_to(&mut node, 12);
    disk.set_room(Some(disk.used()));
    while node.totals.disk_full.is_none() {
        node.step().expect("a full disk is no failure");
    }
    let says = |count| {
        let pledges = vec![PledgeRow::zeroed(); count];
        *others.lock().expect("one thread") = vec![Input::Pledges { from: GUEST, pledges }];
    };
    // Until readings are published.
    let wait = |node: &mut Node| {
        let until = std::time::Instant::now() + std::time::Duration::from_millis(1_200);
        while std::time::Instant::now() < until {
            node.step().expect("a full disk is no failure");
        }
        node.readings().read()
    };
    let before = wait(&mut node);
    says(DISK_FULL_PLEDGES_MAX);
    node.step().expect("a full disk is no failure");
    says(3);
    let (first, second) = (wait(&mut node), wait(&mut node));
    let intents = first.arrived - before.arrived;
    assert!(intents < DISK_FULL_PLEDGES_MAX as u64, "{intents} arrived, without those that are kept");
    let (arrived, shed) = (second.arrived - first.arrived, second.shed - first.shed);
    assert!(arrived == shed && shed.is_multiple_of(4), "of {arrived} that arrived {shed} were turned away");
    assert_eq!(second.short - first.short, shed);

    others.lock().expect("one thread").clear();
    disk.set_room(None);
    run_to(&mut node, second.settled + 5);
    let last = wait(&mut node);
    // No table of this chain takes any: they are turned away, and the node is short of nothing.
    let kept = DISK_FULL_PLEDGES_MAX as u64;
    assert!(last.arrived - second.arrived >= kept && last.shed - second.shed >= kept);
    assert!(last.short - second.short < kept);
}

/// A guest who sends the same intents in each tick until each has its receipt, as whoever is turned away does.
struct Patient {
    guest: Guest,
    said: Vec<Intent>,
    is_answered: bool,
}

impl Edge for Patient {
    fn take_inputs(&mut self, inputs: &mut Vec<Input>) -> bool {
        // Before it knows the time, what it sends is out of date.
        if self.guest.now_s > 0 && !self.is_answered {
            if self.said.is_empty() {
                self.said = (0..PATIENT).map(|_| self.guest.intent()).collect();
            }
            inputs.push(Input::Intents { from: GUEST, intents: self.said.clone() });
        }
        true
    }

    fn send(&mut self, outputs: &mut Vec<Output>) -> bool {
        for output in &*outputs {
            if let Output::Receipt { receipt, .. } = output {
                self.said.retain(|intent| intent.id() != receipt.id);
                self.is_answered |= self.said.is_empty();
            }
        }
        self.guest.send(outputs)
    }

    fn publish(&mut self, standing: ChainProgress) {
        self.guest.publish(standing);
    }

    fn close(self: Box<Self>) {}
}

/// More than the receipts of players that wait for the disk when it is full, and as many as one key may have numbers open.
const PATIENT: usize = 60;

/// A full disk is an alert of its own: receipts that nobody was promised meanwhile are not slow ones.
#[test]
fn what_a_full_disk_turned_away_is_measured_from_when_it_is_taken() {
    let disk = FaultyBackend::new(13);
    let mut node = node_on(&disk).expect("a new session");
    run_to(&mut node, 10);
    disk.set_room(Some(disk.used()));
    while node.totals.disk_full.is_none() {
        node.step().expect("a full disk is no failure");
    }
    let (heard, chain) = (Arc::new(Mutex::new(Vec::new())), node.machine().setup().chain);
    let guest = Guest { key: PlayerKey::from_seed(&[77; 32]), chain, now_s: 0, number: 0, heard: Arc::clone(&heard) };
    node.listen(Patient { guest, said: Vec::new(), is_answered: false });
    let step_for = |node: &mut Node, time: std::time::Duration| {
        let until = std::time::Instant::now() + time;
        while std::time::Instant::now() < until {
            node.step().expect("a full disk is no failure");
        }
    };
    step_for(&mut node, std::time::Duration::from_millis(6_000));
    let is_receipt = |output: &&Output| matches!(output, Output::Receipt { .. });
    let receipts = || heard.lock().expect("one thread").iter().filter(is_receipt).count();
    assert_eq!(receipts(), 0, "all of them are turned away");

    disk.set_room(None);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while receipts() < PATIENT {
        assert!(std::time::Instant::now() < until, "{} receipts", receipts());
        node.step().expect("there is room");
    }
    // Until readings are published.
    step_for(&mut node, std::time::Duration::from_millis(1_200));
    let receipt = node.readings().read().receipt;
    // Beyond the last bucket: a busy machine does not take that long, and the disk was full for longer.
    let slow: u64 = receipt.counts[node::readings::BUCKET_ENDS_US.len()..].iter().sum();
    assert!(receipt.count() > PATIENT as u64 && slow < PATIENT as u64 / 2, "{slow} of {}", receipt.count());
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

/// A player at a node that is cut from its power again and again, at any write or sync.
fn cut(seed: u64) -> (u64, usize) {
    let mut disk = FaultyBackend::new(seed);
    let key = PlayerKey::from_seed(&[77; 32]);
    let mut promised: BTreeMap<u64, (u64, u32)> = BTreeMap::new();
    let (mut number, mut cuts) = (0, 0);
    drop(node_on(&disk).expect("a new session"));
    while cuts < 15 {
        let operations = disk.operations();
        disk.plan(operations + 5 + (seed * 131 + number * 57 + cuts * 97) % 150, Fault::PowerOff);
        let Ok(mut node) = node_on(&disk) else {
            assert!(disk.is_off(), "seed {seed}: {}", node_on(&disk).err().expect("it did not open"));
            (disk, cuts) = (disk.restart(), cuts + 1);
            continue;
        };
        let last = promised.values().map(|place| place.0).max().unwrap_or_default();
        assert!(
            node.totals.height.0 >= last,
            "seed {seed}: height {last} was promised, {} is there",
            node.totals.height
        );
        let heard = Arc::new(Mutex::new(Vec::new()));
        let chain = node.machine().setup().chain;
        node.listen(Guest { key: key.clone(), chain, now_s: 0, number, heard: heard.clone() });
        let error = loop {
            if let Err(error) = node.step() {
                break error.to_string();
            }
            number += 1;
        };
        assert!(disk.is_off() && error.contains("cannot be written"), "seed {seed}: {error}");
        drop(node);
        for output in heard.lock().expect("one thread").drain(..) {
            let Output::Receipt { receipt, .. } = output else { continue };
            if receipt.height.0 > 0 {
                promised.insert(receipt.id.number, (receipt.height.0, receipt.index));
            }
        }
        (disk, cuts) = (disk.restart(), cuts + 1);
    }
    // Every receipt that was ever given names a place in the chain, and the chain that is left has the intent there.
    let disk = disk.copy();
    node_on(&disk).expect("every root is computed again");
    let mut reader = JournalReader::open_on(Arc::new(disk), Path::new(DIR), engine::Height(0)).expect("a session");
    let mut blocks = BTreeMap::new();
    while let Some(frame) = reader.next_frame().expect("a whole journal") {
        if frame.kind == FrameKind::Decided {
            blocks.insert(frame.height.0, Decided::decode(&frame.body).expect("a block").block);
        }
    }
    for (number, (height, index)) in &promised {
        let intent = blocks.get(height).and_then(|block| block.intents.get(*index as usize));
        let found = intent.map(|intent| (intent.body.number, intent.body.key));
        assert_eq!(found, Some((*number, key.public())), "seed {seed}: the receipt of {number} named height {height}");
    }
    (cuts, promised.len())
}

#[test]
fn no_receipt_is_lost_when_the_power_goes() {
    let seeds = std::env::var("BITCRAPS_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let sums = (0..seeds).map(cut).fold((0, 0), |sum, run| (sum.0 + run.0, sum.1 + run.1));
    println!("{} power cuts from {seeds} seeds; {} receipts, all kept", sums.0, sums.1);
    assert!(sums.1 > 100, "{sums:?}");
}

/// Damages the newest snapshot on a disk, and says which one comes before it.
fn damage_newest(disk: &FaultyBackend, chain: &engine::Hash) -> engine::Height {
    let backend: Arc<dyn Backend> = Arc::new(disk.clone());
    let catalog = read_catalog(&backend, Path::new(DIR), chain).expect("snapshots");
    let mut newest = catalog.snapshots.iter().rev();
    let (_, (place, _)) = newest.next().expect("a snapshot");
    let pack = Path::new(DIR).join(format!("snapshots/{:08}.pack", place.pack));
    let file = backend.open(&pack, Access::Write).expect("a pack");
    let at = place.offset + 120;
    let mut byte = file.read_range(at, 1).expect("a map");
    byte[0] ^= 1;
    file.write_all_at(&byte, at).and_then(|()| file.sync_all()).expect("the disk works");
    *newest.next().expect("one before it").0
}

/// Old segments give up their bodies while the node runs; it starts again from a snapshot, from the one before if it must, and what is
/// left proves the chain.
#[test]
fn bodies_are_given_up_and_the_node_goes_on() {
    let disk = FaultyBackend::new(5);
    let node_on = |bytes_max| {
        let retention = Some(Retention { bytes_max, retire });
        let config = DevConfig {
            writing: Writing { segment_bytes: 32 << 10, retention, ..Writing::default() },
            snapshots: SnapshotPace { ticks: 200, ..SnapshotPace::default() },
            ..config()
        };
        open_on(Arc::new(disk.clone()), Path::new(DIR), &config).expect("it opens")
    };
    let (mut height, mut root_chain, mut chain) = (0, [0; 32], [0; 32]);
    // In the end all go that no start needs.
    for bytes_max in [100 << 10, 100 << 10, 0] {
        let mut opened = node_on(bytes_max);
        assert_eq!(opened.node.totals.height.0, height);
        height += 1_600;
        run_to(&mut opened.node, height);
        chain = opened.chain;
        let totals = opened.node.close();
        (height, root_chain) = (totals.height.0, totals.root_chain);
    }
    let whole = |ending: &str| {
        let paths = disk.list(Path::new("/disk/session/journal")).expect("a journal");
        paths.into_iter().filter(|path| path.extension().is_some_and(|found| found == ending)).count()
    };
    assert!(whole("head") > 3, "{} heads, {} segments", whole("head"), whole("seg"));
    let mut reader =
        JournalReader::open_on(Arc::new(disk.clone()), Path::new(DIR), engine::Height(0)).expect("a session");
    let (mut parent, mut retired) = (None, 0);
    while let Some(frame) = reader.next_frame().expect("a whole journal") {
        if frame.kind == FrameKind::Settled {
            continue;
        }
        let Retired { header, certificate, .. } = match frame.kind {
            FrameKind::Retired => Retired::decode(&frame.body).expect("a header and a certificate"),
            _ => Retired::of(Decided::decode(&frame.body).expect("a block")),
        };
        assert!(parent.is_none_or(|parent| parent == header.parent), "the chain is whole");
        assert_eq!(certificate.block, header.hash());
        parent = Some(header.hash());
        retired += u32::from(frame.kind == FrameKind::Retired);
    }
    assert!(retired > 100, "{retired} heights gave up their bodies");
    // What the journal keeps is what the older of the newest two snapshots needs.
    let before = damage_newest(&disk, &chain);
    let opened = node_on(0);
    let found = opened.found.expect("it goes on");
    assert_eq!((found.snapshot, found.height.0), (Some(before), height), "{found:?}");
    assert_eq!(opened.node.close().root_chain, root_chain);
}
