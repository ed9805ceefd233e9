//! One node of the simulation: its disk, its clock, and the lives that it leads one after another.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use engine::io::Input;
use engine::{Height, Tick, panics};
use node::clock::{QUANTUM_MS, Time as NodeTime, Told};
use node::open::{Begin, Keys, Options, open_begun};
use node::recording::Driving;
use node::run::Node;
use node::snapshots::SnapshotPace;
use storage::backend::{Backend, FaultyBackend};
use storage::{JournalReader, OpenError, Session, Writing};
use systems::exchange::ExchangeError;
use systems::{Machine, Setup};

use crate::draw::Draw;
use crate::edge::{Lines, SimEdge, network_key};
use crate::plan::Plant;
use crate::plants::{
    CertificateUnchecked, ClockOnReproposals, ExpiredByClock, ReceiptByNumber, ShareOnPrecommit, TooFewAgree,
};
use crate::queue::Time;
use crate::witness::{Shared, Spoiled, Witness, take_frame};

/// Microseconds of a tick.
pub const TICK: Time = QUANTUM_MS * 1_000;
/// Where a session is on its disk.
const DIR: &str = "/disk/session";

/// A node's clock on the wall, against the simulation's time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HostClock {
    /// Milliseconds that it is ahead.
    pub ahead_ms: i64,
    /// Microseconds that it gains in a second.
    pub drift: i64,
}

impl HostClock {
    /// What it shows, in milliseconds since `start_ms`.
    pub fn shows(&self, now: Time, start_ms: u64) -> u64 {
        let now_ms = (now / 1_000) as i64;
        let shown = start_ms as i64 + now_ms + self.ahead_ms + now_ms * self.drift / 1_000_000;
        shown.max(0) as u64
    }
}

/// Why a node does not run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// The power is off, or the disk failed: what the run did to it.
    Disk(String),
    /// It heard a vote of its validator that it did not send: there is another life of that, or somebody lies in its name.
    OtherLife(String),
    /// It panicked: no disk, lie or second life is a reason to do that.
    Panicked(String),
    /// For another reason of its own.
    Itself(String),
}

/// What does not change from life to life.
pub struct Home {
    /// The chain.
    pub setup: Setup,
    /// Its genesis file.
    pub genesis: Vec<u8>,
    /// When the simulation began, in milliseconds since the Unix epoch.
    pub start_ms: u64,
    /// Rows for connections.
    pub peers: u32,
    /// Snapshots of every node.
    pub pace: SnapshotPace,
    /// How sessions are written.
    pub writing: Writing,
}

/// One node.
pub struct Host {
    /// Its place among all processes: that of its validator's slot, or one behind them for a second life.
    pub place: u32,
    /// Its validator's slot.
    pub slot: u32,
    /// Its disk as it is in this life.
    pub disk: FaultyBackend,
    /// Between the node and the network.
    pub lines: Rc<RefCell<Lines>>,
    /// What was seen at its disk.
    pub record: Shared,
    /// Its clock.
    pub clock: HostClock,
    /// It stands still until then.
    pub paused: Time,
    /// How often it was started.
    pub lives: u32,
    /// When its next tick is, if one is awaited.
    pub wake: Option<Time>,
    /// When its disk is looked at next, if something is under way there.
    pub disk_due: Option<Time>,
    node: Option<Node>,
    /// What it had recorded and settled when that was last asked.
    did: (u64, Height),
    /// Operations of its disk that had failed when this life began.
    failures: u64,
    /// When this life began, and with which tick.
    began: (Time, u64),
    keys: Keys,
    draw: Draw,
}

impl Host {
    /// A node that never ran, with an empty disk.
    pub fn new(place: u32, slot: u32, seed: u64, keys: Keys) -> Self {
        let mut draw = Draw::new(seed, &format!("host {place}"));
        let disk = FaultyBackend::new(draw.bits());
        Self {
            place,
            slot,
            disk,
            lines: Rc::default(),
            record: Shared::default(),
            clock: HostClock::default(),
            paused: 0,
            lives: 0,
            wake: None,
            disk_due: None,
            node: None,
            did: (0, Height::GENESIS),
            failures: 0,
            began: (0, 0),
            keys,
            draw,
        }
    }

    /// Whether a process runs.
    pub fn is_up(&self) -> bool {
        self.node.is_some()
    }

    /// Its node, while it runs.
    pub fn node(&mut self) -> Option<&mut Node> {
        self.node.as_mut()
    }

    /// How it is, in words.
    pub fn stands(&mut self) -> String {
        let Some(node) = &self.node else { return format!("node {} is down", self.place) };
        let (chain, order) = (node.machine().chain(), node.machine().order_progress());
        let does = match node.machine().is_voting() {
            true => format!("votes in round {} of validator {}", order.round, order.proposer),
            false => "votes on nothing".into(),
        };
        let heard = order.heard.saturating_sub(1);
        format!("node {} stands at {} and {}, hears {heard}, {does}", self.place, chain.decided, chain.settled)
    }

    /// Starts it, as `open` does. Returns where its chain stands.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(&mut self, now: Time, home: &Home, plant: Option<Plant>) -> Result<Height, Stopped> {
        assert!(self.node.is_none(), "a process ends before the next begins");
        self.lives += 1;
        self.failures = self.disk.failures();
        *self.lines.borrow_mut() = Lines::default();
        let opened = at_work(|| {
            let node = self.open(home, plant)?;
            self.read_again()?;
            anyhow::Ok(node)
        });
        let node = match opened {
            Ok(Ok(node)) => node,
            Ok(Err(error)) => return Err(self.stopped(&error, self.failures)),
            Err(said) => return Err(Stopped::Panicked(said)),
        };
        let decided = node.machine().chain().decided;
        // A tick begins somewhere in the quantum of the simulation.
        self.began = (now + self.draw.below(TICK), node.tick().0);
        self.node = Some(node);
        (self.wake, self.disk_due) = (None, None);
        Ok(decided)
    }

    fn open(&mut self, home: &Home, plant: Option<Plant>) -> anyhow::Result<Node> {
        let (dir, backend) = (Path::new(DIR), Arc::new(self.disk.clone()) as Arc<dyn Backend>);
        // Who makes keys makes the session with them, before any process runs.
        let session = if self.lives == 1 {
            Session::create_on(backend, dir, &home.genesis)?
        } else {
            Session::open_on(backend, dir)?
        };
        let record = self.record.clone();
        let spoiled = match plant {
            Some(Plant::LogSkipped) => Spoiled::LogSkipped,
            Some(Plant::OwnLogOnly) => Spoiled::OwnLogOnly(self.slot),
            Some(Plant::SendBeforeSync) => Spoiled::SaidBeforeSync,
            Some(Plant::FenceIgnored) => Spoiled::FenceSkipped,
            _ => Spoiled::Not,
        };
        let driving = Driving::Stepped(Box::new(move |disk| Box::new(Witness::new(disk, record, spoiled))));
        let options = Options {
            keys: Some(self.keys.clone()),
            threads: 1,
            peers: home.peers,
            writing: home.writing.clone(),
            pace: home.pace,
            driving,
            sign_from: None,
            network: Some(network_key(self.place)),
        };
        let setup = home.setup.clone();
        let begin: Begin = match plant {
            Some(Plant::TooFewAgree) => Machine::planted::<TooFewAgree>,
            Some(Plant::ShareOnPrecommit) => Machine::planted::<ShareOnPrecommit>,
            Some(Plant::CertificateUnchecked) => Machine::planted::<CertificateUnchecked>,
            Some(Plant::ClockOnReproposals) => Machine::planted::<ClockOnReproposals>,
            Some(Plant::ExpiredByClock) => Machine::planted::<ExpiredByClock>,
            Some(Plant::ReceiptByNumber) => Machine::planted::<ReceiptByNumber>,
            // Those lie in what passes between the node and its disk.
            _ => Machine::validator,
        };
        let opened = open_begun(session, setup, options, begin, Arc::new(|_| ()))?;
        let mut node = opened.into_node(None, NodeTime::Told);
        node.listen(SimEdge(Rc::clone(&self.lines)));
        Ok(node)
    }

    /// What is on its disk from the last height on that was said to be there: a group may have reached the disk without
    /// anybody hearing of it.
    fn read_again(&self) -> Result<(), OpenError> {
        let mut record = self.record.get();
        // A block may have been there for some heights before what it led to.
        let from = record.promised;
        let near = Height(from.0.saturating_sub(4));
        let mut reader = JournalReader::open_on(Arc::new(self.disk.clone()), Path::new(DIR), near)?;
        let (mut decided, mut settled) = (Vec::new(), Vec::new());
        while let Some(frame) = reader.next_frame()? {
            take_frame(&frame, &mut decided, &mut settled);
        }
        for decided in &decided {
            record.keep(decided.block.header.height, decided.certificate.block);
        }
        record.decided.extend(decided.into_iter().filter(|decided| decided.block.header.height > from));
        record.settled.append(&mut settled);
        Ok(())
    }

    /// What an error that stopped it came from, where this many operations of its disk had failed before what it stopped in: those
    /// it had survived.
    fn stopped(&self, error: &anyhow::Error, survived: u64) -> Stopped {
        let problem = format!("{error:#}");
        let is_of_disk = self.disk.is_off() || self.disk.failures() > survived || self.disk.is_harmed();
        match error.downcast_ref::<ExchangeError>() {
            // What a machine holds against itself or against a quorum is no word of a disk, whatever was done to that.
            Some(ExchangeError::Order(_) | ExchangeError::Diverged(_) | ExchangeError::Poison { .. }) => {
                Stopped::Itself(problem)
            }
            // A log that lost a write does not know all that its validator signed.
            _ if is_of_disk => Stopped::Disk(problem),
            Some(ExchangeError::OtherLife { .. }) => Stopped::OtherLife(problem),
            None => Stopped::Itself(problem),
        }
    }

    /// Whether something that its disk was to do failed in this life.
    pub fn has_seen_failures(&self) -> bool {
        self.disk.failures() > self.failures
    }

    /// The first tick after `now`: its number and time.
    fn next_tick(&self, now: Time) -> (u64, Time) {
        let (began, first) = self.began;
        let passed = if now < began { 0 } else { (now - began) / TICK + 1 };
        (first + passed + 1, began + passed * TICK)
    }

    /// When its next tick after `now` is.
    pub fn next_tick_at(&self, now: Time) -> Time {
        self.next_tick(now).1
    }

    /// The tick that begins at `now`.
    ///
    /// # Errors
    /// If the node stops.
    pub fn tick(&mut self, now: Time, home: &Home) -> Result<(), Stopped> {
        let (tick, at) = self.next_tick(now.saturating_sub(1));
        assert_eq!(at, now, "ticks begin at multiples of the quantum");
        let now_ms = self.clock.shows(now, home.start_ms);
        let told = Told { tick: Tick(tick), now_ms, at: Duration::from_micros(now) };
        self.guarded(|node| node.step_at(told))
    }

    /// The disk may have something to say.
    ///
    /// # Errors
    /// If the node stops.
    pub fn hear_disk(&mut self, now: Time) -> Result<(), Stopped> {
        if self.disk_due == Some(now) {
            self.disk_due = None;
        }
        self.guarded(|node| node.hear_disk(Duration::from_micros(now)))
    }

    /// Lets it work, if it runs.
    ///
    /// # Errors
    /// If it stops.
    pub fn guarded(&mut self, work: impl FnOnce(&mut Node) -> anyhow::Result<()>) -> Result<(), Stopped> {
        let Some(node) = &mut self.node else { return Ok(()) };
        // The disk works inside of this, and what it cannot do stops the node here, or never does.
        let survived = self.disk.failures();
        match at_work(|| work(node)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.stopped(&error, survived)),
            Err(said) => Err(Stopped::Panicked(said)),
        }
    }

    /// Whether it said, recorded or settled something since this was asked last.
    pub fn take_did(&mut self) -> bool {
        let submitted = self.record.get().submitted;
        let settled = self.node.as_ref().map_or(Height::GENESIS, |node| node.machine().chain().settled);
        let before = std::mem::replace(&mut self.did, (submitted, settled));
        before != self.did || !self.lines.borrow().outputs.is_empty()
    }

    /// Something arrived for its next tick.
    pub fn arrived(&mut self, inputs: impl IntoIterator<Item = Input>) {
        self.lines.borrow_mut().inputs.extend(inputs);
    }

    /// The power goes now: what was not synced is torn, reordered or lost.
    pub fn cut_power(&mut self) {
        let left = self.disk.restart();
        self.die(left);
    }

    /// The process is killed: the system keeps what it wrote.
    pub fn kill(&mut self) {
        // Before the process' own destructors, which a kill does not run.
        let left = self.disk.copy();
        self.die(left);
    }

    /// The process ends, and its disk is replaced by one on which its operator put nothing but the genesis.
    ///
    /// # Panics
    /// If the new disk does not take it.
    pub fn lose_disk(&mut self, home: &Home) {
        let (disk, dir) = (FaultyBackend::new(self.draw.bits()), Path::new(DIR));
        let begin = || {
            disk.create_dir(&dir.join("journal"))?;
            disk.create_dir(&dir.join("consensus"))?;
            disk.write_new(&dir.join("genesis.json"), &home.genesis)?;
            disk.sync_dir(dir)
        };
        begin().expect("nothing is wrong with a new disk");
        self.replace_disk(disk);
    }

    /// Whoever holds this disk, a copy of another's, did not make its session.
    pub fn begin_with(&mut self, disk: FaultyBackend) {
        self.replace_disk(disk);
        self.lives = self.lives.max(1);
    }

    /// The process ends, and its disk is replaced by another: nothing that was promised on the old one holds there.
    pub fn replace_disk(&mut self, disk: FaultyBackend) {
        self.die(disk);
        self.record.get().wiped();
    }

    fn die(&mut self, left: FaultyBackend) {
        self.node = None;
        self.disk = left;
        (self.wake, self.disk_due) = (None, None);
        self.record.get().died();
        *self.lines.borrow_mut() = Lines::default();
    }

    /// Ends cleanly.
    pub fn close(&mut self) {
        if let Some(node) = self.node.take() {
            node.close();
        }
    }

    /// Writes its session into a directory, for whoever reads sessions.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn save(&self, to: &Path) -> std::io::Result<()> {
        save(&self.disk.copy(), Path::new(DIR), to)
    }
}

fn save(disk: &FaultyBackend, from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for path in disk.list(from)? {
        let target: PathBuf = to.join(path.file_name().expect("an entry has a name"));
        if disk.list(&path).is_ok() {
            save(disk, &path, &target)?;
        } else {
            std::fs::write(target, disk.read(&path, u64::MAX)?)?;
        }
    }
    // Who reads a session looks at this file for a writer.
    std::fs::File::create(to.join("LOCK")).map(drop)
}

thread_local! {
    /// Whether a node of this thread is at work.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
}

/// Whether a node of this thread is at work: a panic is the node's own then, caught, and told as what stopped it. At any other time
/// it is the simulation's, which nobody tells of but whoever panics.
pub fn is_at_work() -> bool {
    AT_WORK.get()
}

/// Lets a node work. Returns what it said, if it stopped by a panic.
fn at_work<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    assert!(!AT_WORK.replace(true), "one node works at a time");
    let done = catch_unwind(AssertUnwindSafe(work));
    assert!(AT_WORK.replace(false), "nobody else says that it works no more");
    done.map_err(|panic| panics::words(&*panic).unwrap_or("a panic without words").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_nodes_own_while_it_works_and_at_no_other_time() {
        assert!(!is_at_work());
        assert_eq!(at_work(is_at_work), Ok(true));
        let stopped = at_work::<()>(|| panic!("as planned, {}", is_at_work()));
        assert_eq!(stopped, Err("as planned, true".to_owned()));
        assert!(!is_at_work(), "after a panic too");
    }
}
