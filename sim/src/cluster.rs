//! The cluster: one loop over events, in the time of the simulation.
//!
//! ```text
//!  (time, node, sequence) -> tick, message, sync, player, fault -> what nodes recorded and sent is looked at -> more events
//! ```
//! First the faults of the seed, and safety; then everything is healed, and the chain must go on.

pub mod script;
mod lives;
mod traffic;
mod said;
mod trouble;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use engine::genesis::{GENESIS_VERSION, Genesis, HexBytes, KeySource, Opening};
use engine::message::pledge::PledgeRow;
use engine::rules::DiceSource;
use engine::{Height, TableId, TableRules};
use node::open::Keys;
use node::snapshots::SnapshotPace;
use order::keys::{DevKeys, dev_keys};
use storage::{Retention, Writing};
use systems::Setup;
use systems::catalogue::bet_named;

use crate::draw::Draw;
use crate::fault::Fault;
use crate::host::{Home, Host};
use crate::liars::Liar;
use crate::links::Links;
use crate::marks::Marks;
use crate::network::{Conditions, End, Network, Packet};
use crate::outcome::Outcome;
use crate::plan::{Plan, Plant};
use crate::players::Player;
use crate::properties::{Broken, Property, Seen};
use crate::queue::{Queue, Time};

/// When every simulated chain begins: 2026-01-01, midnight UTC.
const START_MS: u64 = 1_767_225_600_000;
/// Virtual time in which a healed cluster settles its next height; and what each validator that lies adds, whose round fails.
const PROGRESS: Time = 10_000_000;
const PROGRESS_LIAR: Time = 6_000_000;
/// Virtual time without a height after which all is healed for a while: rounds grow longer with each that fails.
const STANDSTILL: Time = 8_000_000;
/// Virtual time that the last node has for the heights that were asked for, once the first has them. It begins there, since a run
/// of many heights takes as long as it takes: each of them has a bound of its own.
const PATIENCE: Time = 1_800_000_000;
/// Craps tables, every other one a pledged one, and seats of each.
const TABLES: u32 = 4;
const SEATS: u32 = 4;
/// Milliseconds that the player of a pledged table has to open a roll.
const OPEN_MS: u32 = 3_000;
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
    /// Both ends notice that a connection is gone.
    Ends(Link),
    /// A connection over which something was lost is made anew.
    Again(Link),
    /// A player does something.
    Player(u32),
    /// Something goes wrong, unless all was healed since this was planned.
    Goes(Fault, u32),
    /// It is over.
    Over(Fault, Undo),
}

/// A connection: two nodes, and its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Link {
    pair: (u32, u32),
    number: u32,
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
    /// The process is killed, and starts again.
    Process,
}

/// A cluster that is being simulated.
pub struct Cluster {
    plan: Plan,
    home: Home,
    hosts: Vec<Host>,
    players: Vec<Player>,
    network: Network,
    links: Links,
    /// The last connection of each way over which something was lost.
    lost_over: BTreeMap<(u32, u32), u32>,
    queue: Queue<Event>,
    now: Time,
    draw: Draw,
    seen: Seen,
    /// What the validators that may be faulty do, where they do something: as many as may be.
    weak: BTreeMap<u32, Fault>,
    liars: BTreeMap<u32, Liar>,
    /// What a schedule does to what nodes say.
    meddling: Option<said::Meddling>,
    /// Validators in whose name a schedule says false things.
    distrusted: BTreeSet<u32>,
    /// Pairs of which one has put the other out.
    put_out: BTreeSet<(u32, u32)>,
    /// Since when nothing goes wrong.
    healed: Option<Time>,
    /// How often all was healed.
    rests: u32,
    /// The last time that some node settled a height, and the height.
    progress: (Time, Height),
    /// Since when some node has the heights that were asked for.
    reached: Option<Time>,
    faults: BTreeMap<&'static str, u64>,
    marks: Marks,
    /// The last opening in a block, by table: what anybody may copy.
    last_openings: BTreeMap<u32, PledgeRow>,
    /// The most chips that a node held as forfeited.
    forfeited: u64,
    events: u64,
    /// Sessions that passed `replay`.
    replayed: u32,
}

fn keys(plan: &Plan) -> DevKeys {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&plan.seed.to_le_bytes());
    dev_keys(&seed, NonZeroU32::new(plan.nodes).expect("a cluster has nodes"))
}

/// What each validator that may be faulty does, where the faults of the seed have something for it.
fn weak(plan: &Plan) -> BTreeMap<u32, Fault> {
    let kinds: Vec<Fault> = plan.drawn().into_iter().filter(|fault| fault.is_of_the_weak()).collect();
    if kinds.is_empty() {
        return BTreeMap::new();
    }
    let mut draw = Draw::new(plan.seed, "weak");
    let mut slots: Vec<u32> = (0..plan.nodes).collect();
    draw.shuffle(&mut slots);
    slots.truncate((plan.nodes as usize - 1) / 3);
    slots.into_iter().map(|slot| (slot, *draw.pick(&kinds))).collect()
}

/// Validators of whom a second process may run.
fn twins(weak: &BTreeMap<u32, Fault>) -> impl Iterator<Item = u32> {
    weak.iter().filter(|(_, fault)| **fault == Fault::TwoLives).map(|(slot, _)| *slot)
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
        rules: vec![
            TableRules { max_bet: 500, ..TableRules::default() },
            TableRules { max_bet: 500, dice: DiceSource::Both, open_ms: OPEN_MS, ..TableRules::default() },
        ],
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

/// What every process of the cluster begins with.
fn home(plan: &Plan, weak: &BTreeMap<u32, Fault>, setup: Setup, genesis: Vec<u8>) -> Home {
    Home {
        setup,
        genesis,
        start_ms: START_MS,
        peers: plan.nodes + twins(weak).count() as u32 + plan.players,
        pace: SnapshotPace { ticks: 600, ..SnapshotPace::default() },
        // Little is kept, so that who begins late finds the first blocks gone.
        writing: Writing {
            segment_bytes: 64 << 10,
            log_bytes: 128 << 10,
            retention: Some(Retention { bytes_max: 128 << 10, retire: node::config::retire }),
            ..Writing::default()
        },
    }
}

/// The players, each at a table.
fn players(plan: &Plan, keys: &DevKeys, home: &Home) -> Vec<Player> {
    let bet = bet_named("field").expect("the catalogue has it");
    let player = |number| {
        let table = TableId(number % TABLES);
        let key = keys.player(number);
        let mut player = Player::new(number, plan.seed, key, home.setup.chain, plan.nodes, table, bet, START_MS);
        if home.setup.genesis.is_pledged(table.0) {
            player.bring_half();
        }
        if plan.plant == Some(Plant::ReceiptByNumber) {
            player.look_at_numbers();
        }
        player
    };
    (0..plan.players).map(player).collect()
}

impl Cluster {
    /// A cluster whose processes have not started.
    ///
    /// # Errors
    /// If its genesis cannot be.
    pub fn new(plan: Plan) -> anyhow::Result<Self> {
        let (keys, weak) = (keys(&plan), weak(&plan));
        let mut bytes = serde_json::to_vec_pretty(&genesis(&plan, &keys))?;
        bytes.push(b'\n');
        let chain = Genesis::chain_id(&bytes);
        let setup = Setup::new(serde_json::from_slice(&bytes)?, chain)?;
        let home = home(&plan, &weak, setup, bytes);
        let hosts = (0..).zip((0..plan.nodes).chain(twins(&weak))).map(|(place, slot)| {
            let (vote, beacon) = (keys.votes[slot as usize].clone(), keys.beacons[slot as usize].clone());
            Host::new(place, slot, plan_seed(&home, place), Keys { vote, group: keys.group.clone(), beacon })
        });
        let hosts = hosts.collect();
        let players = players(&plan, &keys, &home);
        let sound = Conditions { delay: 500, jitter: 2_000, ..Conditions::default() };
        let lying = weak.iter().filter(|(_, fault)| fault.is_a_lie());
        let liars = lying
            .map(|(slot, lie)| (*slot, Liar::new(*lie, *slot, keys.votes[*slot as usize].clone(), chain, plan.seed)));
        let liars = liars.collect();
        Ok(Self {
            network: Network::new(plan.seed, sound),
            links: Links::default(),
            lost_over: BTreeMap::new(),
            draw: Draw::new(plan.seed, "cluster"),
            home,
            hosts,
            players,
            queue: Queue::default(),
            now: 0,
            seen: Seen::default(),
            weak,
            liars,
            meddling: None,
            distrusted: BTreeSet::new(),
            put_out: BTreeSet::new(),
            healed: None,
            rests: 0,
            progress: (0, Height::GENESIS),
            reached: None,
            faults: BTreeMap::new(),
            marks: Marks::default(),
            last_openings: BTreeMap::new(),
            forfeited: 0,
            events: 0,
            replayed: 0,
            plan,
        })
    }

    /// Ends, and says what came of a run that broke a property or none. Its figures are those of the heights that were asked for;
    /// what players hear afterwards is judged, and counted nowhere.
    pub(crate) fn judge(mut self, lived: Result<(), Broken>) -> Outcome {
        let mut outcome = self.outcome();
        outcome.broken = lived.and_then(|()| self.hear_last_words()).and_then(|()| self.end()).err();
        outcome.replayed = self.replayed;
        outcome
    }

    fn outcome(&mut self) -> Outcome {
        let (height, root_chain) = self.seen.last();
        let mut heard = BTreeMap::new();
        for (name, count) in self.players.iter().flat_map(|player| &player.heard) {
            *heard.entry(*name).or_default() += count;
        }
        for host in &self.hosts {
            let record = host.record.get();
            self.marks.add("ticks shared a sync", record.merged);
            self.marks.add("no room on the disk", record.full);
        }
        Outcome {
            broken: None,
            height,
            root_chain,
            virtual_ms: self.now / 1_000,
            faults: self.faults.clone(),
            marks: std::mem::take(&mut self.marks).reached(),
            heard,
            traffic: self.network.traffic,
            events: self.events,
            receipts: self.seen.receipts,
            twice: self.seen.twice,
            replayed: self.replayed,
        }
    }

    /// Runs until all that was asked for is done. `look` is called now and then with the height and the virtual time.
    pub(crate) fn live(&mut self, look: &mut impl FnMut(Height, u64)) -> Result<(), Broken> {
        self.begin();
        while let Some((at, slot, event)) = self.queue.pop() {
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
            self.queue.push(self.draw.below(2_000), slot, Event::Start);
        }
        for player in 0..self.plan.players {
            self.queue.push(self.players[player as usize].wakes(), self.plan.nodes, Event::Player(player));
        }
        self.let_go_wrong();
        for lie in self.weak.values().filter(|fault| fault.is_a_lie()) {
            *self.faults.entry(lie.name()).or_default() += 1;
        }
    }

    /// Plans the faults of the seed, from now on.
    fn let_go_wrong(&mut self) {
        for fault in self.plan.drawn().into_iter().filter(|fault| !fault.is_a_lie()) {
            self.next_fault(fault);
        }
    }

    /// Whether most heights are settled, so that nothing goes wrong any more once all is healed.
    fn is_late(&self) -> bool {
        self.progress.1.0 >= self.plan.heights * 4 / 5
    }

    /// Whether every node whose validator does not lie has the heights that were asked for.
    fn is_done(&self) -> bool {
        let heights = Height(self.plan.heights);
        let mut honest = self.hosts.iter().filter(|host| self.is_trusted(host.place));
        self.healed.is_some()
            && self.is_late()
            && honest.all(|host| host.is_up() && host.record.get().settled_to >= heights)
    }

    /// Heals when most of the run is over, or nothing was settled for a while; a healed cluster that stands still is broken.
    fn check_time(&mut self) -> Result<(), Broken> {
        let (since, height) = self.progress;
        if height.0 >= self.plan.heights {
            self.reached.get_or_insert(since);
        }
        let Some(healed) = self.healed else {
            if self.is_late() || self.now > since + STANDSTILL {
                self.heal();
            }
            return Ok(());
        };
        if since > healed && !self.is_late() {
            self.healed = None;
            self.let_go_wrong();
            return Ok(());
        }
        let unreliable = self.weak.values().filter(|fault| fault.spoils_words()).count();
        let allowed = PROGRESS + PROGRESS_LIAR * unreliable as Time;
        let is_one_behind = self.reached.is_some_and(|reached| self.now > reached.max(healed) + PATIENCE);
        if self.now <= healed.max(since) + allowed && !is_one_behind {
            return Ok(());
        }
        let seen = if is_one_behind {
            let (patience, heights) = (PATIENCE / 1_000_000, self.plan.heights);
            format!(
                "a node has not settled height {heights} {patience} s after the first did, although nothing goes wrong"
            )
        } else {
            format!("no node settled a height above {height} in {} s, although nothing goes wrong", allowed / 1_000_000)
        };
        Err(Broken { property: Property::Progress, seen: format!("{seen}; {}", self.stands()) })
    }

    fn heal(&mut self) {
        self.healed = Some(self.now);
        self.rests += 1;
        let mut arrivals = Vec::new();
        let cut = self.network.heal(self.now, &mut arrivals);
        self.put_on_the_way(arrivals);
        self.connect_again(&cut);
        for slot in 0..self.hosts.len() {
            let host = &mut self.hosts[slot];
            host.clock = Default::default();
            host.paused = 0;
            host.disk.set_room(None);
            host.disk.forget_faults();
            let is_down = !host.is_up() && host.lives > 0;
            self.wake(slot);
            if is_down {
                self.queue.push(self.now + 1, slot as u32, Event::Start);
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
            Event::Ends(link) => {
                self.end_link(link);
                Ok(())
            }
            Event::Again(link) => {
                self.make_again(link);
                Ok(())
            }
            Event::Player(player) => self.act(player),
            Event::Goes(_, rests) if rests != self.rests => Ok(()),
            Event::Goes(fault, _) => self.go_wrong(fault),
            Event::Over(fault, undo) => self.over(slot as usize, fault, undo),
        }
    }
}

impl Cluster {
    /// Whether what is said at a place is its validator's own word, and must hold.
    fn is_trusted(&self, place: u32) -> bool {
        let slot = self.hosts[place as usize].slot;
        !self.liars.contains_key(&slot) && !self.distrusted.contains(&slot) && !self.has_two_lives(slot)
    }

    /// Whether a second process may run with a validator's key.
    fn has_two_lives(&self, slot: u32) -> bool {
        self.weak.get(&slot) == Some(&Fault::TwoLives)
    }

    /// Processes of nodes that there may be: peers of each other, before players.
    fn ends(&self) -> u32 {
        self.hosts.len() as u32
    }
}

fn plan_seed(home: &Home, slot: u32) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&home.setup.chain).update(&slot.to_le_bytes());
    u64::from_le_bytes(std::array::from_fn(|byte| hasher.finalize().as_bytes()[byte]))
}
