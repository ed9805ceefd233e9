//! The cluster: one loop over events, in the time of the simulation.
//!
//! ```text
//!  (time, node, sequence) -> tick, message, sync, player, fault -> what nodes recorded and sent is looked at -> more events
//! ```
//! First the faults of the seed, and safety; then everything is healed, and the chain must go on.

mod trouble;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use engine::columns::Rows;
use engine::genesis::{GENESIS_VERSION, Genesis, HexBytes, KeySource, Opening};
use engine::io::Input;
use engine::{Height, TableId, TableRules};
use node::open::Keys;
use node::snapshots::SnapshotPace;
use order::keys::{DevKeys, dev_keys};
use storage::Writing;
use systems::Setup;
use systems::catalogue::bet_named;

use crate::draw::Draw;
use crate::edge::{end, letter, network_key, peer, read_answers, read_letter, to_player};
use crate::fault::Fault;
use crate::heap::{Heap, Time};
use crate::host::{Home, Host, Stopped};
use crate::network::{Conditions, End, Network, Packet};
use crate::outcome::Outcome;
use crate::plan::{Plan, Plant};
use crate::players::Player;
use crate::properties::{Broken, Property, Seen};
use crate::witness::Spoiled;

/// When every simulated chain begins: 2026-01-01, midnight UTC.
const START_MS: u64 = 1_767_225_600_000;
/// Virtual time in which a healed cluster settles its next height.
const PROGRESS: Time = 10_000_000;
/// Virtual time after which a run has failed, whatever it was doing.
const PATIENCE: Time = 1_800_000_000;
/// Craps tables, and seats of each.
const TABLES: u32 = 2;
const SEATS: u32 = 4;
/// Chips a new account is granted, and a bank is filled to.
const GRANT: u64 = 10_000;
const BANK: u64 = 100_000;

/// What can happen.
#[derive(Debug)]
enum Event {
    /// A tick of a node.
    Tick,
    /// A node's disk may have something to say.
    Disk,
    /// A message arrives.
    Arrives(Packet),
    /// A node's process starts.
    Start,
    /// A player does something.
    Player(u32),
    /// Something goes wrong.
    Goes(Fault),
    /// It is over.
    Over(Fault, Undo),
}

/// What ends a fault.
#[derive(Debug)]
enum Undo {
    /// The clock is right again, or the disk has room, or is as fast as before.
    Node,
    /// These ways are free again.
    Ways(Vec<(End, End)>),
    /// The power goes, if it has not gone at a write.
    Power,
}

/// A cluster that is being simulated.
pub struct Cluster {
    plan: Plan,
    home: Home,
    hosts: Vec<Host>,
    players: Vec<Player>,
    network: Network,
    heap: Heap<Event>,
    now: Time,
    draw: Draw,
    seen: Seen,
    /// From when on nothing goes wrong any more.
    healed: Option<Time>,
    /// The last time that some node settled a height, and the height.
    progress: (Time, Height),
    faults: BTreeMap<&'static str, u64>,
    marks: BTreeMap<&'static str, u64>,
    events: u64,
}

fn keys(plan: &Plan) -> DevKeys {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&plan.seed.to_le_bytes());
    dev_keys(&seed, NonZeroU32::new(plan.nodes).expect("a cluster has nodes"))
}

fn genesis(plan: &Plan, keys: &DevKeys) -> Genesis {
    let players = u64::from(plan.players);
    let mut genesis = Genesis {
        version: GENESIS_VERSION,
        name: format!("sim, seed {}", plan.seed),
        keys: KeySource::Seed,
        start_ms: START_MS,
        supply: u64::from(TABLES) * BANK + (players + 2) * GRANT,
        tables: TABLES,
        seats: SEATS,
        accounts: plan.players + 4,
        grant: GRANT,
        opening: Opening::Free { per_height: 3 },
        rules: vec![TableRules { max_bet: 500, ..TableRules::default() }],
        bank_target: BANK,
        window_min_ms: 200,
        window_max_ms: 1_000,
        clock_phases: TABLES,
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

impl Cluster {
    /// A cluster whose processes have not started.
    ///
    /// # Errors
    /// If its genesis cannot be.
    pub fn new(plan: Plan) -> anyhow::Result<Self> {
        let keys = keys(&plan);
        let mut bytes = serde_json::to_vec_pretty(&genesis(&plan, &keys))?;
        bytes.push(b'\n');
        let chain = Genesis::chain_id(&bytes);
        let setup = Setup::new(serde_json::from_slice(&bytes)?, chain)?;
        let home = Home {
            setup,
            genesis: bytes,
            start_ms: START_MS,
            peers: plan.nodes + plan.players,
            pace: SnapshotPace { ticks: 600, ..SnapshotPace::default() },
            writing: Writing { segment_bytes: 256 << 10, log_bytes: 128 << 10, ..Writing::default() },
        };
        let hosts = (0..plan.nodes).map(|slot| {
            let plan = plan.clone();
            let keys = move || {
                let mut keys = self::keys(&plan);
                let beacon = keys.beacons.swap_remove(slot as usize);
                Keys { vote: keys.votes[slot as usize].clone(), group: keys.group, beacon }
            };
            Host::new(slot, plan_seed(&home, slot), Box::new(keys))
        });
        let hosts = hosts.collect();
        let bet = bet_named("field").expect("the catalogue has it");
        let players = (0..plan.players).map(|number| {
            let table = TableId(number % TABLES);
            Player::new(number, plan.seed, keys.player(number), chain, plan.nodes, table, bet, START_MS)
        });
        let players = players.collect();
        let sound = Conditions { delay: 500, jitter: 2_000, ..Conditions::default() };
        Ok(Self {
            network: Network::new(plan.seed, sound),
            draw: Draw::new(plan.seed, "cluster"),
            home,
            hosts,
            players,
            heap: Heap::default(),
            now: 0,
            seen: Seen::default(),
            healed: None,
            progress: (0, Height::GENESIS),
            faults: BTreeMap::new(),
            marks: BTreeMap::new(),
            events: 0,
            plan,
        })
    }

    /// Runs to the end, and says what came of it. `look` is called now and then with the height and the virtual time.
    pub fn run(mut self, mut look: impl FnMut(Height, u64)) -> Outcome {
        let broken = self.live(&mut look).and_then(|()| self.end()).err();
        let (height, root_chain) = self.seen.last();
        let mut heard = BTreeMap::new();
        for (name, count) in self.players.iter().flat_map(|player| &player.heard) {
            *heard.entry(*name).or_default() += count;
        }
        for host in &self.hosts {
            let record = host.record.get();
            for (mark, count) in [("ticks shared a sync", record.merged), ("no room on the disk", record.full)] {
                // A mark that stands in an outcome was reached.
                if count > 0 {
                    *self.marks.entry(mark).or_default() += count;
                }
            }
        }
        let replayed = if broken.is_none() { self.plan.nodes } else { 0 };
        Outcome {
            broken,
            height,
            root_chain,
            virtual_ms: self.now / 1_000,
            faults: self.faults,
            marks: self.marks,
            heard,
            traffic: self.network.traffic,
            events: self.events,
            receipts: self.seen.receipts,
            twice: self.seen.twice,
            replayed,
        }
    }

    fn live(&mut self, look: &mut impl FnMut(Height, u64)) -> Result<(), Broken> {
        self.begin();
        while let Some((at, slot, event)) = self.heap.pop() {
            assert!(at >= self.now, "time goes on");
            self.now = at;
            self.events += 1;
            if self.events.is_multiple_of(4_096) {
                look(self.progress.1, self.now / 1_000);
            }
            self.handle(slot, event)?;
            if self.is_done() {
                return Ok(());
            }
            self.check_time()?;
        }
        Ok(())
    }

    fn begin(&mut self) {
        for slot in 0..self.plan.nodes {
            self.heap.push(self.draw.below(2_000), slot, Event::Start);
        }
        for player in 0..self.plan.players {
            self.heap.push(self.players[player as usize].wakes(), self.plan.nodes, Event::Player(player));
        }
        for fault in self.plan.drawn() {
            self.next_fault(fault);
        }
    }

    /// Whether every node has the heights that were asked for.
    fn is_done(&self) -> bool {
        let heights = Height(self.plan.heights);
        self.healed.is_some() && self.hosts.iter().all(|host| host.is_up() && host.record.get().settled_to >= heights)
    }

    /// Heals when most of the run is over; a healed cluster that stands still is broken.
    fn check_time(&mut self) -> Result<(), Broken> {
        let (since, height) = self.progress;
        if self.healed.is_none() && (height.0 >= self.plan.heights * 4 / 5 || self.now > PATIENCE / 2) {
            self.heal();
        }
        let stuck = self.healed.is_some_and(|healed| self.now > healed.max(since) + PROGRESS);
        if stuck || self.now > PATIENCE {
            let seen = format!("no node settled a height above {height} in 10 s, although nothing goes wrong any more");
            return Err(Broken { property: Property::Progress, seen });
        }
        Ok(())
    }

    fn heal(&mut self) {
        self.healed = Some(self.now);
        let mut arrivals = Vec::new();
        self.network.heal(self.now, &mut arrivals);
        self.put_on_the_way(arrivals);
        for slot in 0..self.hosts.len() {
            let host = &mut self.hosts[slot];
            host.clock = Default::default();
            host.paused = 0;
            host.disk.set_room(None);
            host.disk.forget_faults();
            let up = host.is_up();
            self.wake(slot);
            if !up {
                self.heap.push(self.now + 1, slot as u32, Event::Start);
            }
        }
    }

    fn handle(&mut self, slot: u32, event: Event) -> Result<(), Broken> {
        match event {
            Event::Tick => self.tick(slot as usize),
            Event::Disk => {
                let heard = self.hosts[slot as usize].hear_disk(self.now);
                self.after(slot as usize, heard)
            }
            Event::Arrives(packet) => self.arrive(packet),
            Event::Start => self.start(slot as usize),
            Event::Player(player) => {
                self.act(player);
                Ok(())
            }
            Event::Goes(fault) => self.go_wrong(fault),
            Event::Over(fault, undo) => self.over(slot as usize, fault, undo),
        }
    }

    fn start(&mut self, slot: usize) -> Result<(), Broken> {
        if self.hosts[slot].is_up() {
            return Ok(());
        }
        let spoiled = match self.plan.plant {
            Some(Plant::LogSkipped) => Spoiled::LogSkipped,
            Some(Plant::SendBeforeSync) => Spoiled::SaidBeforeSync,
            None => Spoiled::Not,
        };
        let host = &mut self.hosts[slot];
        host.disk.set_delay(std::time::Duration::from_micros(2_000));
        match host.start(self.now, &self.home, spoiled) {
            Ok(decided) => {
                let promised = host.record.get().promised;
                self.seen.restarted(slot as u32, decided, promised)?;
                self.join(slot);
                self.look(slot)?;
                self.wake(slot);
                Ok(())
            }
            Err(stopped) => self.died(slot, stopped),
        }
    }

    /// Everyone has a connection to it.
    fn join(&mut self, slot: usize) {
        let nodes = self.plan.nodes;
        let others = (0..nodes).filter(|other| *other as usize != slot).map(End::Node);
        let ends: Vec<End> = others.chain((0..self.plan.players).map(End::Player)).collect();
        let joined = ends.into_iter().map(|end| {
            let peer = peer(end, nodes);
            let key = network_key(peer.slot);
            Input::Joined { peer, key, address: [0; 16], node: matches!(end, End::Node(_)) }
        });
        let joined: Vec<Input> = joined.collect();
        self.hosts[slot].arrived(joined);
    }

    fn tick(&mut self, slot: usize) -> Result<(), Broken> {
        let host = &mut self.hosts[slot];
        if host.wake != Some(self.now) || !host.is_up() {
            return Ok(());
        }
        host.wake = None;
        if host.paused > self.now {
            self.wake(slot);
            return Ok(());
        }
        let ticked = host.tick(self.now, &self.home);
        self.after(slot, ticked)?;
        self.sleep(slot);
        Ok(())
    }

    /// When a node's next tick is: at once if the last one left something to do, else when a table is due or something
    /// arrives. Ticks between change nothing.
    fn sleep(&mut self, slot: usize) {
        let (now, start_ms) = (self.now, self.home.start_ms);
        let host = &mut self.hosts[slot];
        let clock = host.clock;
        let Some(node) = host.node() else { return };
        if !node.is_idle() {
            return self.wake(slot);
        }
        let shown = clock.shows(now, start_ms);
        let due = node.machine().next_due_ms().map_or(1_000, |due| due.saturating_sub(shown).min(1_000));
        let next = host.next_tick_at(now + due * 1_000);
        self.wake_at(slot, next);
    }

    fn wake(&mut self, slot: usize) {
        let host = &self.hosts[slot];
        let next = host.next_tick_at(self.now.max(host.paused));
        self.wake_at(slot, next);
    }

    fn wake_at(&mut self, slot: usize, at: Time) {
        let host = &mut self.hosts[slot];
        if host.is_up() && host.wake.is_none_or(|wake| at < wake) {
            host.wake = Some(at);
            self.heap.push(at, slot as u32, Event::Tick);
        }
    }

    /// What follows from a tick or a sync: what was recorded is looked at, and what was sent goes on its way.
    fn after(&mut self, slot: usize, done: Result<(), Stopped>) -> Result<(), Broken> {
        self.look(slot)?;
        if let Err(stopped) = done {
            return self.died(slot, stopped);
        }
        self.send(slot);
        let due = self.hosts[slot].record.get().due;
        if let Some(due) = due {
            let due = u64::try_from(due.as_micros()).unwrap_or(u64::MAX).max(self.now + 1);
            self.heap.push(due, slot as u32, Event::Disk);
        }
        Ok(())
    }

    /// What a node recorded, held against what others did.
    fn look(&mut self, slot: usize) -> Result<(), Broken> {
        let node = slot as u32;
        let (decided, settled) = {
            let mut record = self.hosts[slot].record.get();
            (std::mem::take(&mut record.decided), std::mem::take(&mut record.settled))
        };
        for decided in &decided {
            self.seen.decided(node, &decided.block)?;
        }
        for settled in &settled {
            self.seen.settled(node, settled.height, settled.root_chain, &settled.verdicts)?;
            if settled.height > self.progress.1 {
                self.progress = (self.now, settled.height);
            }
        }
        if !settled.is_empty() {
            self.count_chips(slot)?;
        }
        Ok(())
    }

    /// Every chip, counted row by row without the ledger.
    fn count_chips(&mut self, slot: usize) -> Result<(), Broken> {
        let supply = self.home.setup.genesis.supply;
        let Some(node) = self.hosts[slot].node() else { return Ok(()) };
        let counted = node.machine_mut().read(count_chips);
        if counted == supply {
            return Ok(());
        }
        let seen = format!("node {slot} holds {counted} chips where {supply} were made");
        Err(Broken { property: Property::Conserved, seen })
    }

    fn send(&mut self, slot: usize) {
        let outputs = std::mem::take(&mut self.hosts[slot].lines.borrow_mut().outputs);
        let (from, nodes) = (End::Node(slot as u32), self.plan.nodes);
        let mut arrivals = Vec::new();
        for output in outputs {
            let Some((to, bytes)) = to_player(&output) else { continue };
            let Some(to) = end(to, nodes) else { continue };
            self.network.send(self.now, Packet { from, to, bytes }, &mut arrivals);
        }
        self.put_on_the_way(arrivals);
    }

    fn put_on_the_way(&mut self, arrivals: Vec<(Time, Packet)>) {
        for (at, packet) in arrivals {
            let slot = match packet.to {
                End::Node(slot) => slot,
                End::Player(_) => self.plan.nodes,
            };
            self.heap.push(at, slot, Event::Arrives(packet));
        }
    }

    fn arrive(&mut self, packet: Packet) -> Result<(), Broken> {
        let Packet { from, to, bytes } = packet;
        match (from, to) {
            (from, End::Node(slot)) => {
                let host = &mut self.hosts[slot as usize];
                // A process that does not run hears nothing.
                if host.is_up() {
                    let inputs = read_letter(peer(from, self.plan.nodes), &bytes);
                    host.arrived(inputs.expect("what players send is well formed"));
                    self.wake(slot as usize);
                }
            }
            (End::Node(node), End::Player(player)) => {
                for answer in read_answers(&bytes).expect("what nodes send is well formed") {
                    let sent = self.players[player as usize].hear(node, &answer);
                    if let Some(intent) = sent {
                        self.seen.answered(node, &intent, &answer)?;
                    }
                }
            }
            (End::Player(_), End::Player(_)) => unreachable!("players send to nodes"),
        }
        Ok(())
    }

    fn act(&mut self, player: u32) {
        let letters = self.players[player as usize].act(self.now);
        let from = End::Player(player);
        let mut arrivals = Vec::new();
        for (node, intents) in letters {
            let bytes = letter(self.home.setup.chain, intents);
            self.network.send(self.now, Packet { from, to: End::Node(node), bytes }, &mut arrivals);
        }
        self.put_on_the_way(arrivals);
        let wakes = self.players[player as usize].wakes().max(self.now + 1);
        self.heap.push(wakes, self.plan.nodes, Event::Player(player));
    }

    /// A node stopped: for what was done to its disk it starts again, for anything else the run is broken.
    fn died(&mut self, slot: usize, stopped: Stopped) -> Result<(), Broken> {
        match stopped {
            Stopped::Disk(_) => {
                self.mark("a node stopped because its disk failed");
                self.hosts[slot].cut_power();
                self.restart_later(slot);
                Ok(())
            }
            Stopped::Itself(problem) => {
                Err(Broken { property: Property::NoFault, seen: format!("node {slot} stopped: {problem}") })
            }
        }
    }

    fn restart_later(&mut self, slot: usize) {
        let after = if self.healed.is_some() { 1_000 } else { self.draw.between(1_000, 1_500_000) };
        self.heap.push(self.now + after, slot as u32, Event::Start);
    }

    fn mark(&mut self, mark: &'static str) {
        *self.marks.entry(mark).or_default() += 1;
    }

    /// The session of every node is read again by an auditor.
    fn end(&mut self) -> Result<(), Broken> {
        for host in &mut self.hosts {
            host.close();
        }
        let dir =
            tempfile::tempdir().map_err(|error| Broken { property: Property::Replays, seen: error.to_string() })?;
        for host in &self.hosts {
            let path = dir.path().join(format!("node-{}", host.slot));
            let failed =
                |seen: String| Broken { property: Property::Replays, seen: format!("node {}: {seen}", host.slot) };
            host.save(&path).map_err(|error| failed(error.to_string()))?;
            crate::audit::replay(&path).map_err(failed)?;
        }
        Ok(())
    }
}

/// All chips of all rows: cages, rails, bets, banks, treasury. No table of these rules takes a commission in advance.
fn count_chips(rows: &Rows<'_>) -> u64 {
    let cages: u64 = rows.accounts.iter().map(|account| account.cage.0).sum();
    let rails: u64 = rows.seats.iter().map(|seat| seat.rail.0).sum();
    let banks: u64 = rows.tables.iter().map(|table| table.bank.0).sum();
    let felts: u64 =
        (0..rows.seats.len()).flat_map(|seat| rows.seat_bets(seat).iter()).map(|bet| u64::from(bet.amount)).sum();
    cages + rails + banks + felts + rows.house.treasury.0
}

fn plan_seed(home: &Home, slot: u32) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&home.setup.chain).update(&slot.to_le_bytes());
    u64::from_le_bytes(std::array::from_fn(|byte| hasher.finalize().as_bytes()[byte]))
}
