//! Several machines in one thread: their messages through the real encoders, their ticks in turn, and what they recorded on
//! disks that sync a little later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::num::NonZeroU32;

use engine::io::{Alarm, Input, Output, Receipt, Verdict};
use engine::limits::TICK_MS;
use engine::message::block::Decided;
use engine::message::certificate::Settled;
use engine::message::divergence::Divergence;
use engine::message::evidence::Evidence;
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::message::node::{NodeKind, NodeMessage, RangeEntry, RangeRow};
use engine::message::vote::VoteBody;
use engine::{Genesis, Hash, Height, PeerId, TableId, Tick};
use order::batch::BatchSecret;
use order::beacon::BeaconGroup;
use order::consensus::LogEntry;
use order::keys::{DevKeys, dev_keys};
use systems::exchange::recover::logged_heights;
use systems::exchange::{Clock, ExchangeError};
use systems::machine::Membership;
use systems::{Machine, Setup};

use crate::common::{Lot, START_MS, genesis};

/// The chain of all clusters.
pub const CHAIN: Hash = [9; 32];
/// Ticks until a group is on disk.
const SYNC_TICKS: u64 = 1;

/// Where the coefficients of a node's batches come from, here without entropy.
fn secret() -> BatchSecret {
    let mut drawn = 0;
    let secret = BatchSecret::draw(|bytes| {
        drawn += 1;
        bytes.fill(drawn);
        Ok::<(), Infallible>(())
    });
    secret.expect("it cannot fail")
}

/// One node: its machine, and what its disk holds.
pub struct Host {
    pub machine: Option<Machine>,
    pub follows: bool,
    pub decided: BTreeMap<Height, Decided>,
    pub settled: BTreeMap<Height, Settled>,
    log: Vec<(Height, Vec<u8>)>,
    groups: VecDeque<Group>,
    pub inputs: Vec<Input>,
    generation: u32,
    /// Milliseconds by which its clock is wrong.
    pub skew_ms: i64,
    pub receipts: Vec<Receipt>,
    pub alarms: Vec<Alarm>,
    pub divergences: Vec<Divergence>,
    pub evidence: Vec<Evidence>,
    pub fault: Option<ExchangeError>,
    pub log_is_lost: bool,
    /// Nothing more is signed at or below it.
    pub fence: Height,
}

/// What a tick recorded, and what waits for it.
struct Group {
    id: u64,
    due: u64,
    disk: Vec<Output>,
    messages: Vec<(Option<PeerId>, NodeMessage)>,
    receipts: Vec<Receipt>,
}

/// A message under way.
struct Wire {
    from: usize,
    to: usize,
    kind: NodeKind,
    bytes: Vec<u8>,
}

type Tamper = Box<dyn FnMut(usize, usize, NodeMessage) -> Option<NodeMessage>>;

/// A cluster.
pub struct Cluster {
    pub hosts: Vec<Host>,
    pub keys: DevKeys,
    setup: Setup,
    wire: BTreeMap<(u64, u64), Wire>,
    sent: u64,
    pub tick: u64,
    pub lot: Lot,
    /// Ticks that a message takes: the least, and how many more.
    pub delay: (u64, u64),
    /// Messages of a hundred that get lost.
    pub loss: u64,
    /// Pairs between which nothing passes, in this direction.
    pub cut: BTreeSet<(usize, usize)>,
    /// What becomes of a message: from, to, and what it says.
    pub tamper: Option<Tamper>,
    /// What honest validators said: one value for each height, round and kind, over all lives.
    said: BTreeMap<(u32, Height, u32, u8), Hash>,
    /// Those who are not what they should be, and whose record is not compared.
    pub liars: BTreeSet<u32>,
    numbers: BTreeMap<[u8; 32], u64>,
}

pub fn cluster_genesis(validators: u32, keys: &DevKeys) -> Genesis {
    let mut genesis = genesis(2, 4, 64);
    keys.install(&mut genesis);
    assert_eq!(genesis.validators.len() as u32, validators);
    genesis
}

impl Cluster {
    pub fn new(validators: u32, followers: usize, seed: u64) -> Self {
        Self::with(validators, followers, seed, |_| ())
    }

    /// The same with a genesis that was changed.
    pub fn with(validators: u32, followers: usize, seed: u64, change: impl FnOnce(&mut Genesis)) -> Self {
        let keys = dev_keys(&[7; 32], NonZeroU32::new(validators).expect("at least one"));
        let mut genesis = cluster_genesis(validators, &keys);
        change(&mut genesis);
        let setup = Setup::new(genesis, CHAIN).expect("a genesis");
        let mut cluster = Self {
            hosts: Vec::new(),
            keys,
            setup,
            wire: BTreeMap::new(),
            sent: 0,
            tick: 0,
            lot: Lot(seed),
            delay: (1, 3),
            loss: 0,
            cut: BTreeSet::new(),
            tamper: None,
            said: BTreeMap::new(),
            liars: BTreeSet::new(),
            numbers: BTreeMap::new(),
        };
        for slot in 0..validators as usize + followers {
            cluster.hosts.push(Host {
                machine: None,
                follows: slot >= validators as usize,
                decided: BTreeMap::new(),
                settled: BTreeMap::new(),
                log: Vec::new(),
                groups: VecDeque::new(),
                inputs: Vec::new(),
                generation: 0,
                skew_ms: 0,
                receipts: Vec::new(),
                alarms: Vec::new(),
                divergences: Vec::new(),
                evidence: Vec::new(),
                fault: None,
                log_is_lost: false,
                fence: Height::GENESIS,
            });
        }
        (0..cluster.hosts.len()).for_each(|slot| cluster.start(slot));
        cluster
    }

    fn signers(&self) -> (BeaconGroup, Vec<order::beacon::BeaconSigner>) {
        // Signers are secret and not cloned: each life is dealt the same ones again.
        let count = NonZeroU32::new(self.keys.votes.len() as u32).expect("at least one");
        let again = dev_keys(&[7; 32], count);
        assert_eq!(again.group, self.keys.group);
        (again.group, again.beacons)
    }

    /// A machine at genesis that votes on nothing.
    pub fn follower(&self) -> Machine {
        Machine::follower(self.setup.clone(), 1, secret(), self.hosts.len() as u32 + 1).expect("a genesis")
    }

    /// Starts a node from its disk, and connects it with all others that run.
    pub fn start(&mut self, slot: usize) {
        let peers = self.hosts.len() as u32 + 1;
        let mut machine = if self.hosts[slot].follows {
            self.follower()
        } else {
            let (group, beacons) = self.signers();
            let signer = beacons.into_iter().nth(slot).expect("a share for each slot");
            let vote = self.keys.votes[slot].clone();
            let network = Some(network_key(slot));
            let member = Membership { vote, group, signer, secret: secret(), peers, network };
            Machine::validator(self.setup.clone(), 1, member).expect("a validator of genesis")
        };
        let host = &mut self.hosts[slot];
        for (height, decided) in &host.decided {
            let settled = host.settled.get(height);
            let again = machine.restore(decided, settled.map(|settled| settled.beacon));
            assert_eq!(again.as_ref(), settled, "node {slot}, height {height}: another state than before");
        }
        let decided = machine.chain().decided;
        let outputs = if host.log_is_lost {
            assert!(machine.follow(), "there is a way back");
            Vec::new()
        } else {
            let logged = logged_heights(&host.log, decided).expect("its own log");
            machine.recover(logged, host.fence).expect("its own log")
        };
        host.generation += 1;
        host.machine = Some(machine);
        self.record(slot, outputs);
        for other in (0..self.hosts.len()).filter(|other| *other != slot) {
            if self.hosts[other].machine.is_some() {
                self.connect(slot, other);
                self.connect(other, slot);
            }
        }
    }

    fn connect(&mut self, at: usize, peer: usize) {
        let id = self.id(peer);
        let joined = Input::Joined { peer: id, key: network_key(peer), address: [0; 16], node: true };
        self.hosts[at].inputs.push(joined);
    }

    /// Ends a node: what is not on its disk is gone.
    pub fn stop(&mut self, slot: usize) {
        self.hosts[slot].machine = None;
        self.hosts[slot].groups.clear();
        self.hosts[slot].inputs.clear();
        let id = self.id(slot);
        for (other, host) in self.hosts.iter_mut().enumerate() {
            if other != slot && host.machine.is_some() {
                host.inputs.push(Input::Left(id));
            }
        }
        self.wire.retain(|_, wire| wire.from != slot && wire.to != slot);
    }

    /// What the others call a node's connection.
    pub fn id(&self, slot: usize) -> PeerId {
        PeerId { slot: slot as u32, generation: self.hosts[slot].generation }
    }

    pub fn is_up(&self, slot: usize) -> bool {
        self.hosts[slot].machine.is_some()
    }

    pub fn machine(&mut self, slot: usize) -> &mut Machine {
        self.hosts[slot].machine.as_mut().expect("the node runs")
    }

    pub fn now_ms(&self) -> u64 {
        START_MS + self.tick * TICK_MS
    }

    /// One tick of every node that runs.
    pub fn step(&mut self) {
        self.tick += 1;
        while self.wire.first_key_value().is_some_and(|((due, _), _)| *due <= self.tick) {
            let (_, wire) = self.wire.pop_first().expect("looked at above");
            let message = NodeMessage::decode(wire.kind, &wire.bytes).expect("a node says what can be read");
            let from = self.id(wire.from);
            if self.is_up(wire.to) {
                self.hosts[wire.to].inputs.push(Input::Node { from, message: Box::new(message) });
            }
        }
        for slot in 0..self.hosts.len() {
            self.sync(slot);
            self.run(slot);
        }
        self.check();
    }

    pub fn steps(&mut self, ticks: u64) {
        (0..ticks).for_each(|_| self.step());
    }

    /// Steps until something holds; says whether it did in time.
    pub fn until(&mut self, ticks: u64, holds: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..ticks {
            if holds(self) {
                return true;
            }
            self.step();
        }
        holds(self)
    }

    fn sync(&mut self, slot: usize) {
        while self.hosts[slot].groups.front().is_some_and(|group| group.due <= self.tick) {
            let host = &mut self.hosts[slot];
            let group = host.groups.pop_front().expect("looked at above");
            for output in group.disk {
                match output {
                    Output::Decided(decided) => {
                        _ = host.decided.insert(decided.block.header.height, *decided);
                    }
                    Output::Settled(settled) => _ = host.settled.insert(settled.height, *settled),
                    Output::Log { height, entry } => host.log.push((height, entry)),
                    Output::Evidence(evidence) => host.evidence.push(*evidence),
                    Output::Fence { height } => host.fence = host.fence.max(height),
                    other => unreachable!("not for the disk: {other:?}"),
                }
            }
            host.receipts.extend(group.receipts);
            host.inputs.push(Input::Synced { group: group.id });
            group.messages.into_iter().for_each(|(to, message)| self.send(slot, to, message));
        }
    }

    fn run(&mut self, slot: usize) {
        let tick = self.tick;
        let now_ms = (self.now_ms() as i64 + self.hosts[slot].skew_ms) as u64;
        let host = &mut self.hosts[slot];
        let Some(machine) = &mut host.machine else { return };
        let mut outputs = Vec::new();
        if let Err(fault) = machine.exchange(Clock { tick: Tick(tick), now_ms }, &mut host.inputs, &mut outputs) {
            host.fault = Some(fault);
            self.stop(slot);
            return;
        }
        for _ in 0..64 {
            match machine.settle_ready(&mut outputs) {
                Ok(settled) if settled && machine.is_behind() => {}
                Ok(_) => break,
                Err(fault) => {
                    host.fault = Some(fault);
                    return self.stop(slot);
                }
            }
        }
        self.record(slot, outputs);
    }

    fn record(&mut self, slot: usize, outputs: Vec<Output>) {
        let (id, due) = (self.tick, self.tick + SYNC_TICKS);
        let mut group = Group { id, due, disk: Vec::new(), messages: Vec::new(), receipts: Vec::new() };
        for output in outputs {
            match output {
                Output::ToNode { to, message } if message.awaits_disk() => group.messages.push((to, *message)),
                Output::ToNode { to, message } => self.send(slot, to, *message),
                Output::Receipt { to: PeerId::LOCAL, receipt } => group.receipts.push(receipt),
                Output::Alarm(alarm) => self.hosts[slot].alarms.push(alarm),
                Output::Diverged(divergence) => self.hosts[slot].divergences.push(*divergence),
                Output::Serve { to, range } => self.serve(slot, to, range),
                Output::Decided(_)
                | Output::Settled(_)
                | Output::Log { .. }
                | Output::Evidence(_)
                | Output::Fence { .. } => {
                    group.disk.push(output);
                }
                _ => {}
            }
        }
        self.hosts[slot].groups.push_back(group);
    }

    fn serve(&mut self, slot: usize, to: PeerId, range: RangeRow) {
        let host = &self.hosts[slot];
        let heights = range.from.0..range.from.0 + u64::from(range.count);
        let entries = heights.map_while(|height| {
            let decided = Box::new(host.decided.get(&Height(height))?.clone());
            let beacon = host.settled.get(&Height(height)).map(|settled| settled.beacon);
            Some(RangeEntry { decided, beacon })
        });
        let entries: Vec<RangeEntry> = entries.collect();
        self.send(slot, Some(to), NodeMessage::Range(entries));
    }

    fn send(&mut self, from: usize, to: Option<PeerId>, message: NodeMessage) {
        self.note_said(from, &message);
        let all: Vec<usize> = match to {
            Some(peer) => vec![peer.slot as usize],
            None => (0..self.hosts.len()).filter(|to| *to != from).collect(),
        };
        for to in all {
            if !self.is_up(to) || self.cut.contains(&(from, to)) || self.lot.below(100) < self.loss {
                continue;
            }
            let message = match &mut self.tamper {
                Some(tamper) => tamper(from, to, message.clone()),
                None => Some(message.clone()),
            };
            let Some(message) = message else { continue };
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            let due = self.tick + self.delay.0 + self.lot.below(self.delay.1 + 1);
            self.sent += 1;
            self.wire.insert((due, self.sent), Wire { from, to, kind: message.kind(), bytes });
        }
    }

    /// An honest validator says one thing for each height, round and kind, in all its lives; and releases no share of a
    /// block that is not on its disk.
    fn note_said(&mut self, from: usize, message: &NodeMessage) {
        let mut said: Vec<((u32, Height, u32, u8), Hash)> = Vec::new();
        match message {
            NodeMessage::Votes(votes) => said.extend(votes.iter().map(|vote| {
                let body = vote.body;
                ((body.slot, body.height, body.round, body.kind), body.value().unwrap_or([0xff; 32]))
            })),
            NodeMessage::Proposal(proposal) => {
                let body = proposal.body;
                said.push(((body.slot, body.height, body.round, 0), body.block));
            }
            NodeMessage::Share(share) => {
                let (height, block) = (share.body.height, share.body.block);
                let on_disk = self.hosts[from].decided.get(&height).map(|decided| decided.certificate.block);
                assert_eq!(on_disk, Some(block), "node {from}: a share of height {height} before it is on disk");
            }
            _ => {}
        }
        for (place, value) in said {
            let first = *self.said.entry(place).or_insert(value);
            let (slot, height, round, kind) = place;
            assert_eq!(
                first, value,
                "validator {slot} contradicts itself: height {height}, round {round}, kind {kind}"
            );
        }
    }

    /// Every node that recorded a height recorded the same block and the same state.
    fn check(&self) {
        let mut decided: BTreeMap<Height, Hash> = BTreeMap::new();
        let mut settled: BTreeMap<Height, Hash> = BTreeMap::new();
        let honest = self.hosts.iter().enumerate().filter(|(slot, _)| !self.liars.contains(&(*slot as u32)));
        for (_, host) in honest {
            for (height, block) in host.decided.iter().rev().take(8) {
                let hash = block.certificate.block;
                assert_eq!(*decided.entry(*height).or_insert(hash), hash, "two blocks at height {height}");
            }
            for (height, row) in host.settled.iter().rev().take(8) {
                let chain = row.root_chain;
                assert_eq!(*settled.entry(*height).or_insert(chain), chain, "two states at height {height}");
            }
        }
    }

    /// A player's next intent, signed.
    pub fn intent(&mut self, player: u32, kind: IntentKind, fill: impl FnOnce(IntentBody) -> IntentBody) -> Intent {
        let key = self.keys.player(player);
        let expiry_s = (self.now_ms() / 1_000 + 30) as u32;
        let number = self.numbers.entry(key.public()).or_default();
        *number += 1;
        key.sign(fill(IntentBody::new(kind, key.public(), *number, expiry_s)), &CHAIN)
    }

    /// A client hands intents to a node.
    pub fn give(&mut self, slot: usize, intents: Vec<Intent>) {
        self.hosts[slot].inputs.push(Input::Intents { from: PeerId::LOCAL, intents });
    }

    /// A player opens an account and sits down, at a node.
    pub fn seat(&mut self, player: u32, slot: usize) -> Vec<Intent> {
        let open = self.intent(player, IntentKind::Open, |body| body);
        let table = TableId(player % 2);
        let sit = self.intent(player, IntentKind::Sit, |body| body.at(table).amount(10_000));
        self.give(slot, vec![open, sit]);
        vec![open, sit]
    }

    pub fn verdict(&self, slot: usize, intent: &Intent) -> Option<Verdict> {
        let receipts = &self.hosts[slot].receipts;
        receipts.iter().find(|receipt| receipt.id == intent.id()).map(|receipt| receipt.verdict)
    }

    /// The last height that a node has settled on its disk.
    pub fn settled(&self, slot: usize) -> Height {
        self.hosts[slot].settled.last_key_value().map_or(Height::GENESIS, |(height, _)| *height)
    }

    pub fn root_chain(&self, slot: usize) -> Option<Hash> {
        self.hosts[slot].settled.last_key_value().map(|(_, settled)| settled.root_chain)
    }

    /// The votes of a height that a node's log holds.
    pub fn logged_votes(&self, slot: usize, height: Height) -> Vec<VoteBody> {
        let logged = logged_heights(&self.hosts[slot].log, height.back(1)).expect("its own log");
        let entries = logged.into_iter().filter(|logged| logged.height == height).flat_map(|logged| logged.entries);
        entries.filter_map(|entry| if let LogEntry::Vote(vote) = entry { Some(vote.body) } else { None }).collect()
    }

    /// Every applied receipt is of an intent that stands in the block of its height, at its place.
    pub fn check_receipts(&self) {
        for host in &self.hosts {
            for receipt in host.receipts.iter().filter(|receipt| receipt.verdict == Verdict::Applied) {
                let block = &host.decided[&receipt.height].block;
                assert_eq!(block.intents[receipt.index as usize].id(), receipt.id);
            }
        }
    }

    /// Whether every node that runs has settled the same, and has nothing more to do than `height`.
    pub fn all_at(&self, height: Height) -> bool {
        (0..self.hosts.len()).filter(|slot| self.is_up(*slot)).all(|slot| self.settled(slot) >= height)
    }
}

pub fn network_key(slot: usize) -> [u8; 32] {
    [slot as u8 + 1; 32]
}
