//! The lives of nodes: they start, tick, sleep, die; what they recorded is looked at.

use engine::Height;
use engine::columns::Rows;

use super::{Cluster, Event};
use crate::audit::Wrong;
use crate::host::{Stopped, TICK};
use crate::players::Player;
use crate::properties::{Broken, Property};
use crate::queue::Time;

/// The longest that a sync takes where nothing is wrong with the disk.
pub(super) const SYNC: std::time::Duration = std::time::Duration::from_millis(2);
/// The longest that a node sleeps, in milliseconds.
const SLEEP_MS: u64 = 1_000;
/// Ticks from one in which a node did nothing, and waits for a timeout or an answer, to the next.
const WAITING_TICKS: Time = 4;
/// Virtual time after the heights that were asked for in which players hear the last words on what they sent: longer than an
/// intent lives, and than it takes to ask as many nodes in vain as may be faulty.
const LAST_WORDS: Time = 60_000_000;

impl Cluster {
    pub(super) fn start(&mut self, slot: usize) -> Result<(), Broken> {
        if self.hosts[slot].is_up() {
            return Ok(());
        }
        let mut first_lives = self.hosts[..self.plan.nodes as usize].iter();
        if first_lives.all(|host| !host.is_up() && host.lives > 0) && self.plan.nodes > 1 {
            self.marks.count("all nodes were down at once");
        }
        let host = &mut self.hosts[slot];
        host.disk.set_delay(SYNC);
        match host.start(self.now, &self.home, self.plan.plant) {
            Ok(decided) => {
                let (promised, fenced) = {
                    let record = host.record.get();
                    (record.promised, record.logged_to < decided && record.fence >= decided)
                };
                if host.node().is_some_and(|node| !node.machine().knows_its_votes()) {
                    self.marks.count("a validator that lost its log follows");
                } else if fenced {
                    self.marks.count("a fence let a validator sign again");
                }
                if !self.hosts[slot].disk.is_harmed() {
                    self.seen.restarted(slot as u32, decided, promised)?;
                }
                self.join(slot);
                self.look(slot)?;
                self.wake(slot);
                Ok(())
            }
            Err(stopped) => {
                // Planned it may be long before, and be taken back.
                if host.lives > 1 && host.disk.is_off() {
                    self.marks.count("killed while it recovered");
                }
                self.died(slot, stopped)
            }
        }
    }

    pub(super) fn tick(&mut self, slot: usize) -> Result<(), Broken> {
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
        self.after(slot, ticked)
    }

    /// When a node's next tick is: the next one if this one did something; a few later if it waits for some time to pass, so
    /// that timeouts are up to 12 ms late; else when a table is due or something arrives, since ticks between change nothing.
    fn sleep(&mut self, slot: usize, did: bool) {
        let (now, start_ms) = (self.now, self.home.start_ms);
        let host = &mut self.hosts[slot];
        let clock = host.clock;
        let Some(node) = host.node() else { return };
        if did {
            return self.wake(slot);
        }
        if !node.is_idle() {
            let next = host.next_tick_at(now + (WAITING_TICKS - 1) * TICK);
            return self.wake_at(slot, next);
        }
        let shown = clock.shows(now, start_ms);
        let due_ms = node.machine().next_due_ms().map_or(SLEEP_MS, |due| due.saturating_sub(shown).min(SLEEP_MS));
        let next = host.next_tick_at((now + due_ms * 1_000).saturating_sub(1).max(now));
        self.wake_at(slot, next);
    }

    pub(super) fn wake(&mut self, slot: usize) {
        let host = &self.hosts[slot];
        let next = host.next_tick_at(self.now.max(host.paused));
        self.wake_at(slot, next);
    }

    fn wake_at(&mut self, slot: usize, at: Time) {
        let host = &mut self.hosts[slot];
        if host.is_up() && host.wake.is_none_or(|wake| at < wake) {
            host.wake = Some(at);
            self.queue.push(at, slot as u32, Event::Tick);
        }
    }

    /// What follows from a tick or a sync: what was recorded is looked at, and what was sent goes on its way.
    pub(super) fn after(&mut self, slot: usize, done: Result<(), Stopped>) -> Result<(), Broken> {
        self.look(slot)?;
        if let Err(stopped) = done {
            return self.died(slot, stopped);
        }
        let did = self.hosts[slot].take_did();
        self.send(slot)?;
        if self.hosts[slot].node().is_some_and(|node| node.has_arrived()) {
            return self.begin_at_snapshot(slot);
        }
        let due = self.hosts[slot].record.get().due;
        if let Some(due) = due {
            let due = u64::try_from(due.as_micros()).unwrap_or(u64::MAX).max(self.now + 1);
            if self.hosts[slot].disk_due != Some(due) {
                self.hosts[slot].disk_due = Some(due);
                self.queue.push(due, slot as u32, Event::Disk);
            }
        }
        self.sleep(slot, did);
        Ok(())
    }

    /// A snapshot of other nodes is on a node's disk: its process ends, and the next one begins there.
    fn begin_at_snapshot(&mut self, slot: usize) -> Result<(), Broken> {
        self.marks.count("a snapshot was transferred");
        self.hosts[slot].close();
        self.hosts[slot].kill();
        self.leave(slot, true);
        self.start(slot)
    }

    /// What a node recorded, held against what others did.
    fn look(&mut self, slot: usize) -> Result<(), Broken> {
        let node = slot as u32;
        let (decided, settled, blamed) = {
            let mut record = self.hosts[slot].record.get();
            let blamed = std::mem::take(&mut record.blamed);
            (std::mem::take(&mut record.decided), std::mem::take(&mut record.settled), blamed)
        };
        for decided in &decided {
            self.seen.decided(node, &decided.block)?;
            self.marks.decided(decided, self.plan.nodes);
        }
        for settled in &settled {
            let is_first = settled.height > self.seen.last().0;
            self.seen.settled(node, settled.height, settled.root_chain, &settled.verdicts)?;
            if let Some(block) = self.seen.block(settled.height).filter(|_| is_first) {
                self.marks.settled(block, &settled.verdicts);
                self.last_openings
                    .extend(block.pledges.iter().filter(|row| row.is_opening()).map(|row| (row.table, *row)));
            }
            if settled.height > self.progress.1 {
                self.progress = (self.now, settled.height);
            }
        }
        if blamed.iter().any(|blamed| !self.is_trusted(*blamed)) {
            self.marks.count("a validator was proven to have said two things");
        }
        if let Some(blamed) = blamed.iter().find(|blamed| self.is_trusted(**blamed)) {
            let seen = format!("node {slot} holds that validator {blamed}, which is honest, said two things");
            return Err(Broken { property: Property::NoFalseBlame, seen });
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
        let (counted, forfeited) = node.machine_mut().read(|rows| (count_chips(rows), rows.house.forfeited.0));
        if forfeited > self.forfeited {
            self.forfeited = forfeited;
            self.marks.count("a roll was forfeited");
        }
        if counted == supply {
            return Ok(());
        }
        let seen = format!("node {slot} holds {counted} chips where {supply} were made");
        Err(Broken { property: Property::Conserved, seen })
    }

    /// A node stopped: for what was done to its disk it starts again, for anything else the run is broken.
    pub(super) fn died(&mut self, slot: usize, stopped: Stopped) -> Result<(), Broken> {
        match stopped {
            // Its operator finds that it is not what was written.
            Stopped::Disk(_) if self.hosts[slot].disk.is_harmed() && !self.hosts[slot].disk.is_off() => {
                self.marks.count("a disk was found to have lost a write");
                self.hosts[slot].lose_disk(&self.home);
                self.leave(slot, true);
                self.restart_later(slot);
                Ok(())
            }
            Stopped::Disk(_) => {
                self.marks.count("a node stopped because its disk failed");
                self.hosts[slot].cut_power();
                self.leave(slot, false);
                self.restart_later(slot);
                Ok(())
            }
            // It hears of its own lies, or of its other life.
            Stopped::OtherLife(_) if !self.is_trusted(slot as u32) => {
                if self.has_two_lives(self.hosts[slot].slot) {
                    self.marks.count("a validator heard of its other life and stopped");
                }
                // Seeds in which the disk of one of them had failed before are runs in which its power goes then.
                let by_power = self.hosts[slot].has_seen_failures();
                if by_power {
                    self.hosts[slot].cut_power();
                } else {
                    self.hosts[slot].kill();
                }
                self.leave(slot, !by_power);
                self.restart_later(slot);
                Ok(())
            }
            // Whoever lies or has two lives runs the same code, and that holds there too.
            Stopped::OtherLife(problem) | Stopped::Panicked(problem) | Stopped::Itself(problem) => {
                Err(Broken { property: Property::NoFault, seen: format!("node {slot} stopped: {problem}") })
            }
        }
    }

    pub(super) fn restart_later(&mut self, slot: usize) {
        let after = if self.healed.is_some() { 1_000 } else { self.draw.between(1_000, 1_500_000) };
        self.queue.push(self.now + after, slot as u32, Event::Start);
    }

    /// Players begin nothing more, and the run goes on until each of them has heard the last word on all that it sent.
    pub(super) fn hear_last_words(&mut self) -> Result<(), Broken> {
        self.players.iter_mut().for_each(Player::begin_nothing_more);
        let heard_all = |cluster: &mut Self| cluster.players.iter().all(|player| player.waits().next().is_none());
        if self.until(LAST_WORDS / 1_000, heard_all)? {
            return Ok(());
        }
        let mut waiting =
            (0_u32..).zip(&self.players).flat_map(|(number, player)| player.waits().map(move |sent| (number, sent)));
        let (player, (number, nodes)) = waiting.next().expect("one of them waits still");
        let seen = format!(
            "player {player} did not hear in {} s what became of its intent {number}, sent to the nodes {nodes:?}, although \
             nothing goes wrong",
            LAST_WORDS / 1_000_000
        );
        Err(Broken { property: Property::LastWord, seen })
    }

    /// The session of every node is read again by an auditor. One that lies may have settled nothing: then there is nothing
    /// to read.
    pub(super) fn end(&mut self) -> Result<(), Broken> {
        for host in &mut self.hosts {
            host.close();
        }
        let dir =
            tempfile::tempdir().map_err(|error| Broken { property: Property::Replays, seen: error.to_string() })?;
        for host in &self.hosts {
            if !self.is_trusted(host.place) && host.record.get().settled_to == Height::GENESIS {
                continue;
            }
            let path = dir.path().join(format!("node-{}", host.place));
            let failed =
                |seen: String| Broken { property: Property::Replays, seen: format!("node {}: {seen}", host.place) };
            host.save(&path).map_err(|error| failed(error.to_string()))?;
            match crate::audit::replay(&path) {
                Ok(()) => self.replayed += 1,
                // What its disk did to it is found, whoever reads it.
                Err(Wrong::Unreadable(_)) if host.disk.is_harmed() => {}
                Err(Wrong::Unreadable(seen) | Wrong::Differs(seen)) => return Err(failed(seen)),
            }
        }
        Ok(())
    }
}

/// All chips of all rows: cages, rails, bets, banks, treasury, and those that nobody can spend. No table of these rules takes a commission in advance.
fn count_chips(rows: &Rows<'_>) -> u64 {
    let cages: u64 = rows.accounts.iter().map(|account| account.cage.0).sum();
    let rails: u64 = rows.seats.iter().map(|seat| seat.rail.0).sum();
    let banks: u64 = rows.tables.iter().map(|table| table.bank.0).sum();
    let felts: u64 =
        (0..rows.seats.len()).flat_map(|seat| rows.seat_bets(seat).iter()).map(|bet| u64::from(bet.amount)).sum();
    cages + rails + banks + felts + rows.house.treasury.0 + rows.house.forfeited.0
}
