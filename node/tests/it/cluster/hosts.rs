//! Whole nodes in one thread: each with a session on a disk of its own, all that they say as bytes of the wire.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use engine::genesis::{GENESIS_VERSION, Genesis, HexBytes, KeySource, Opening};
use engine::io::{Alarm, ChainProgress, Input, Offence, Output, Receipt, Verdict};
use engine::message::block::Decided;
use engine::message::certificate::Settled;
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::message::node::{NodeKind, NodeMessage};
use engine::{Hash, Height, PeerId, TableId, TableRules, Tick};
use net::wire::{Decoder, encode_node};
use node::clock::{QUANTUM_MS, Time, Told};
use node::edge::Edge;
use node::open::{Keys, Options, open};
use node::recording::Driving;
use node::run::Node;
use node::snapshots::SnapshotPace;
use order::keys::{DevKeys, dev_keys};
use storage::backend::{Access, Backend, FaultyBackend};
use storage::{FrameKind, JournalReader, Session, Writing};
use systems::Setup;

/// When the chain begins: 2026-01-01, midnight UTC.
const START_MS: u64 = 1_767_225_600_000;
/// Where each session is on its disk.
pub const DIR: &str = "/disk/session";

/// Every node's client.
const CLIENT: PeerId = PeerId { slot: 32, generation: 0 };

/// What lies between a node and the others.
#[derive(Default)]
pub struct Lines {
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    pub standing: ChainProgress,
}

struct Line(Rc<RefCell<Lines>>);

impl Edge for Line {
    fn take_inputs(&mut self, inputs: &mut Vec<Input>) -> bool {
        inputs.append(&mut self.0.borrow_mut().inputs);
        true
    }

    fn send(&mut self, outputs: &mut Vec<Output>) -> bool {
        self.0.borrow_mut().outputs.append(outputs);
        true
    }

    fn publish(&mut self, standing: ChainProgress) {
        self.0.borrow_mut().standing = standing;
    }

    fn close(self: Box<Self>) {}
}

/// One node.
pub struct Host {
    pub node: Option<Node>,
    pub disk: FaultyBackend,
    pub lines: Rc<RefCell<Lines>>,
    generation: u32,
    pub receipts: Vec<Receipt>,
    pub alarms: Vec<Alarm>,
    /// Whom it put out, and why.
    pub banned: Vec<(PeerId, Offence)>,
    /// Why it stopped by itself.
    pub fault: Option<String>,
    /// What its last start found damaged, or could not be known.
    pub repaired: Vec<String>,
    /// Snapshots of others that it was opened with.
    pub arrivals: u32,
}

/// A message under way.
struct Letter {
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

type Tamper = Box<dyn FnMut(usize, usize, NodeMessage) -> Option<NodeMessage>>;

/// A cluster.
pub struct Cluster {
    pub hosts: Vec<Host>,
    pub keys: DevKeys,
    pub setup: Setup,
    genesis: Vec<u8>,
    pub tick: u64,
    letters: BTreeMap<(u64, u64), Letter>,
    sent: u64,
    pub tamper: Option<Tamper>,
    /// Those to whom and from whom nothing passes.
    pub cut: BTreeSet<usize>,
    pub pace: SnapshotPace,
    pub writing: Writing,
    /// What the operator of the next node to start says.
    pub sign_from: Option<Height>,
    numbers: BTreeMap<[u8; 32], u64>,
    /// How often a message of each kind was sent.
    pub said: BTreeMap<NodeKind, u64>,
}

fn genesis(keys: &DevKeys, tables: u32) -> Genesis {
    let mut genesis = Genesis {
        version: GENESIS_VERSION,
        name: "cluster".into(),
        keys: KeySource::Seed,
        start_ms: START_MS,
        supply: 1_000_000 + 500_000 * u64::from(tables),
        tables,
        seats: 4,
        accounts: 64,
        grant: 10_000,
        opening: Opening::Free { per_height: 8 },
        rules: vec![TableRules { max_bet: 500, ..TableRules::default() }],
        bank_target: 100_000,
        window_min_ms: 200,
        window_max_ms: 1_000,
        clock_phases: 2,
        idle_ms: 20_000,
        account_idle_ms: 60_000,
        idleness: Default::default(),
        block_interval_ms: 50,
        validators: Vec::new(),
        group_key: HexBytes([0; 96]),
    };
    keys.install(&mut genesis);
    genesis
}

pub fn network_key(slot: usize) -> [u8; 32] {
    [slot as u8 + 1; 32]
}

fn dealt(validators: u32) -> DevKeys {
    dev_keys(&[7; 32], NonZeroU32::new(validators).expect("at least one"))
}

impl Cluster {
    /// All nodes run.
    pub fn new(validators: u32) -> Self {
        Self::with_tables(validators, 2)
    }

    /// All nodes run, and have so many tables.
    pub fn with_tables(validators: u32, tables: u32) -> Self {
        let keys = dealt(validators);
        let genesis = serde_json::to_vec(&genesis(&keys, tables)).expect("plain data");
        let chain = Genesis::chain_id(&genesis);
        let setup = Setup::new(serde_json::from_slice(&genesis).expect("just written"), chain).expect("a genesis");
        let mut cluster = Self {
            hosts: Vec::new(),
            keys,
            setup,
            genesis,
            tick: 0,
            letters: BTreeMap::new(),
            sent: 0,
            tamper: None,
            cut: BTreeSet::new(),
            pace: SnapshotPace::default(),
            writing: Writing::default(),
            sign_from: None,
            numbers: BTreeMap::new(),
            said: BTreeMap::new(),
        };
        (0..validators).for_each(|slot| _ = cluster.add(FaultyBackend::new(u64::from(slot))));
        (0..validators as usize).for_each(|slot| cluster.start(slot));
        cluster
    }

    /// Starts a node from its disk, and connects it with all that run.
    pub fn start(&mut self, slot: usize) {
        self.start_as(slot, slot).expect("the node starts");
    }

    /// Starts a node with the keys of a validator.
    pub fn start_as(&mut self, slot: usize, validator: usize) -> anyhow::Result<()> {
        let backend = Arc::new(self.hosts[slot].disk.clone()) as Arc<dyn Backend>;
        let dir = Path::new(DIR);
        let session = if backend.open(&dir.join("genesis.json"), Access::Read).is_ok() {
            Session::open_on(backend, dir)?
        } else {
            Session::create_on(backend, dir, &self.genesis)?
        };
        let mut keys = dealt(self.keys.votes.len() as u32);
        let beacon = keys.beacons.swap_remove(validator);
        let keys = Keys { vote: keys.votes[validator].clone(), group: keys.group, beacon };
        let options = Options {
            keys: Some(keys),
            threads: 1,
            peers: CLIENT.slot + 1,
            writing: self.writing.clone(),
            pace: self.pace,
            driving: Driving::Stepped(Box::new(|disk| Box::new(disk))),
            sign_from: self.sign_from,
            network: Some(network_key(slot)),
        };
        let mut opened = open(session, self.setup.clone(), options, |_| ())?;
        let found = opened.found.take();
        let mut node = opened.into_node(None, Time::Told);
        let host = &mut self.hosts[slot];
        host.lines = Rc::default();
        node.listen(Line(Rc::clone(&host.lines)));
        host.node = Some(node);
        let client = Input::Joined { peer: CLIENT, key: [200; 32], address: [1; 16], node: false };
        host.lines.borrow_mut().inputs.push(client);
        host.generation += 1;
        host.repaired = found.map(|found| found.repaired).unwrap_or_default();
        for other in (0..self.hosts.len()).filter(|other| *other != slot) {
            if self.hosts[other].node.is_some() {
                self.connect(slot, other);
                self.connect(other, slot);
            }
        }
        Ok(())
    }

    fn peer(&self, slot: usize) -> PeerId {
        PeerId { slot: slot as u32, generation: self.hosts[slot].generation }
    }

    fn connect(&mut self, at: usize, peer: usize) {
        let joined = Input::Joined { peer: self.peer(peer), key: network_key(peer), address: [0; 16], node: true };
        self.hosts[at].lines.borrow_mut().inputs.push(joined);
    }

    /// Each connection of a node ends, and another one takes its place.
    pub fn reconnect(&mut self, slot: usize) {
        let old = self.peer(slot);
        self.hosts[slot].generation += 1;
        for other in (0..self.hosts.len()).filter(|other| *other != slot && self.is_up(*other)).collect::<Vec<_>>() {
            for (at, peer, left) in [(other, slot, old), (slot, other, self.peer(other))] {
                self.hosts[at].lines.borrow_mut().inputs.push(Input::Left(left));
                self.connect(at, peer);
            }
        }
    }

    /// Another life of a validator, on a disk of its own. Returns its place.
    pub fn add(&mut self, disk: FaultyBackend) -> usize {
        self.hosts.push(Host {
            node: None,
            disk,
            lines: Rc::default(),
            generation: 0,
            receipts: Vec::new(),
            alarms: Vec::new(),
            banned: Vec::new(),
            fault: None,
            repaired: Vec::new(),
            arrivals: 0,
        });
        self.hosts.len() - 1
    }

    /// Files of a folder of a node's session.
    pub fn files(&self, slot: usize, folder: &str) -> Vec<PathBuf> {
        self.hosts[slot].disk.list(&Path::new(DIR).join(folder)).unwrap_or_default()
    }

    /// The consensus log of a node that is down is lost.
    pub fn lose_log(&mut self, slot: usize) {
        for file in self.files(slot, "consensus") {
            self.hosts[slot].disk.remove(&file).expect("a file");
        }
    }

    /// Kills a node: the system keeps what it wrote.
    pub fn kill(&mut self, slot: usize) {
        let left = self.hosts[slot].disk.copy();
        self.hosts[slot].node = None;
        self.hosts[slot].disk = left;
        let peer = self.peer(slot);
        for (other, host) in self.hosts.iter_mut().enumerate() {
            if other != slot && host.node.is_some() {
                host.lines.borrow_mut().inputs.push(Input::Left(peer));
            }
        }
        self.letters.retain(|_, letter| letter.from != slot && letter.to != slot);
    }

    pub fn now_ms(&self) -> u64 {
        START_MS + self.tick * QUANTUM_MS
    }

    pub fn node(&mut self, slot: usize) -> &mut Node {
        self.hosts[slot].node.as_mut().expect("the node runs")
    }

    pub fn is_up(&self, slot: usize) -> bool {
        self.hosts[slot].node.is_some()
    }

    /// One tick of every node that runs.
    pub fn step(&mut self) {
        self.tick += 1;
        while self.letters.first_key_value().is_some_and(|((due, _), _)| *due <= self.tick) {
            let (_, letter) = self.letters.pop_first().expect("looked at above");
            let from = self.peer(letter.from);
            let mut decoder = Decoder::between_nodes();
            decoder.push(&letter.bytes);
            while let Some(message) = decoder.next_message().expect("a node says what can be read") {
                if self.is_up(letter.to) {
                    self.hosts[letter.to]
                        .lines
                        .borrow_mut()
                        .inputs
                        .push(Input::Node { from, message: Box::new(message) });
                }
            }
        }
        for slot in 0..self.hosts.len() {
            self.run(slot);
        }
    }

    fn run(&mut self, slot: usize) {
        let told =
            Told { tick: Tick(self.tick), now_ms: self.now_ms(), at: Duration::from_millis(self.tick * QUANTUM_MS) };
        let Some(node) = &mut self.hosts[slot].node else { return };
        if let Err(error) = node.step_at(told) {
            self.hosts[slot].fault = Some(format!("{error:#}"));
            return self.kill(slot);
        }
        if node.has_arrived() {
            self.hosts[slot].arrivals += 1;
            self.kill(slot);
            return self.start(slot);
        }
        let outputs = std::mem::take(&mut self.hosts[slot].lines.borrow_mut().outputs);
        for output in outputs {
            match output {
                Output::ToNode { to, message } => self.send(slot, to, &message),
                Output::Receipt { receipt, .. } => self.hosts[slot].receipts.push(receipt),
                Output::Alarm(alarm) => self.hosts[slot].alarms.push(alarm),
                Output::Ban { peer, offence, .. } => self.hosts[slot].banned.push((peer, offence)),
                Output::Serve { .. } | Output::Decided(_) | Output::Settled(_) | Output::Log { .. } => {
                    panic!("not for others: {output:?}")
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, from: usize, to: Option<PeerId>, message: &NodeMessage) {
        let all: Vec<usize> = match to {
            Some(peer) => vec![peer.slot as usize],
            None => (0..self.hosts.len()).filter(|to| *to != from).collect(),
        };
        for to in all {
            if !self.is_up(to) || self.cut.contains(&from) || self.cut.contains(&to) {
                continue;
            }
            let message = match &mut self.tamper {
                Some(tamper) => tamper(from, to, message.clone()),
                None => Some(message.clone()),
            };
            let Some(message) = message else { continue };
            *self.said.entry(message.kind()).or_default() += 1;
            let mut bytes = Vec::new();
            encode_node(&message, &mut bytes);
            self.sent += 1;
            self.letters.insert((self.tick + 1, self.sent), Letter { from, to, bytes });
        }
    }

    pub fn steps(&mut self, ticks: u64) {
        (0..ticks).for_each(|_| self.step());
    }

    /// Steps until something holds; says whether it did in time.
    pub fn until(&mut self, ticks: u64, mut holds: impl FnMut(&mut Self) -> bool) -> bool {
        for _ in 0..ticks {
            if holds(self) {
                return true;
            }
            self.step();
        }
        holds(self)
    }

    /// A player's next intent, signed.
    pub fn intent(&mut self, player: u32, kind: IntentKind, fill: impl FnOnce(IntentBody) -> IntentBody) -> Intent {
        let key = self.keys.player(player);
        let expiry_s = (self.now_ms() / 1_000 + 30) as u32;
        let number = self.numbers.entry(key.public()).or_default();
        *number += 1;
        key.sign(fill(IntentBody::new(kind, key.public(), *number, expiry_s)), &self.setup.chain)
    }

    /// A client hands intents to a node.
    pub fn give(&mut self, slot: usize, intents: Vec<Intent>) {
        self.hosts[slot].lines.borrow_mut().inputs.push(Input::Intents { from: CLIENT, intents });
    }

    /// A player opens an account and sits down, at a node.
    pub fn seat(&mut self, player: u32, slot: usize) -> [Intent; 2] {
        let open = self.intent(player, IntentKind::Open, |body| body);
        let sit = self.intent(player, IntentKind::Sit, |body| body.at(TableId(player % 2)).amount(5_000));
        self.give(slot, vec![open, sit]);
        [open, sit]
    }

    /// Bets of seated players, each at a node; runs until the chain has the verdicts of all of them.
    pub fn bets(&mut self, players: u32, nodes: &[usize]) {
        let field = systems::catalogue::bet_named("field").expect("the catalogue has it");
        let given: Vec<Intent> = (0..players)
            .map(|player| {
                let at = TableId(player % 2);
                let bet = self.intent(player, IntentKind::Bet, |body| body.at(at).on(field, 0).amount(10));
                self.give(nodes[player as usize % nodes.len()], vec![bet]);
                bet
            })
            .collect();
        assert!(
            self.until(6_000, |cluster| given.iter().all(|bet| cluster.verdict(bet).is_some())),
            "bets are answered"
        );
    }

    /// What became of an intent, as whichever node says.
    pub fn verdict(&self, intent: &Intent) -> Option<Verdict> {
        let mut receipts = self.hosts.iter().flat_map(|host| &host.receipts);
        receipts.find(|receipt| receipt.id == intent.id()).map(|receipt| receipt.verdict)
    }

    /// The last height that a node has settled on its disk.
    pub fn settled(&self, slot: usize) -> Height {
        self.hosts[slot].lines.borrow().standing.settled
    }

    pub fn decided(&self, slot: usize) -> Height {
        self.hosts[slot].lines.borrow().standing.decided
    }

    /// The highest settled height of all.
    pub fn highest(&self) -> Height {
        (0..self.hosts.len()).filter(|slot| self.is_up(*slot)).map(|slot| self.settled(slot)).max().unwrap_or_default()
    }

    /// Whether every node that runs has settled a height.
    pub fn all_at(&self, height: Height) -> bool {
        (0..self.hosts.len()).filter(|slot| self.is_up(*slot)).all(|slot| self.settled(slot) >= height)
    }

    /// What a node's journal holds, by height.
    pub fn journal(&self, slot: usize) -> BTreeMap<Height, (Decided, Option<Settled>)> {
        let backend = Arc::new(self.hosts[slot].disk.copy()) as Arc<dyn Backend>;
        let mut reader = JournalReader::open_on(backend, Path::new(DIR), Height::GENESIS).expect("a session");
        let mut heights = BTreeMap::new();
        while let Some(frame) = reader.next_frame().expect("a whole journal") {
            match frame.kind {
                FrameKind::Decided => {
                    heights.insert(frame.height, (Decided::decode(&frame.body).expect("a block"), None));
                }
                FrameKind::Settled => {
                    let settled = Settled::decode(&frame.body).expect("a settled height");
                    heights.entry(frame.height).and_modify(|entry| entry.1 = Some(settled));
                }
                _ => {}
            }
        }
        heights
    }

    /// Every two nodes recorded the same blocks and states.
    pub fn check_records(&self) {
        let mut all: BTreeMap<Height, (Hash, Option<Hash>)> = BTreeMap::new();
        for slot in 0..self.hosts.len() {
            for (height, (decided, settled)) in self.journal(slot) {
                let block = decided.block.header.hash();
                let root = settled.map(|settled| settled.root_chain);
                let known = all.entry(height).or_insert((block, root));
                assert_eq!(known.0, block, "two blocks at height {height}");
                if let (Some(one), Some(other)) = (known.1, root) {
                    assert_eq!(one, other, "two states at height {height}");
                }
                known.1 = known.1.or(root);
            }
        }
        assert!(!all.is_empty());
    }
}
