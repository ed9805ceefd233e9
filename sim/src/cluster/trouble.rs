//! What goes wrong in a cluster, when, and how it ends.

use std::io::ErrorKind;
use std::time::Duration;

use engine::Height;
use storage::backend::Fault as DiskFault;

use super::lives::SYNC;
use super::{Cluster, Event, Undo};
use crate::fault::Fault;
use crate::network::End;
use crate::properties::Broken;
use crate::queue::Time;

/// The height from which on a disk may be lost.
const BEGUN: Height = Height(8);

/// How often a kind happens: microseconds between two, at least and at most.
fn every(fault: Fault) -> (Time, Time) {
    match fault {
        // From the first moment, until all is healed.
        Fault::Loss | Fault::Delay | Fault::Duplication | Fault::Reorder | Fault::Replay | Fault::ClockDrift => (0, 0),
        Fault::Clog | Fault::Stall | Fault::Pause => (500_000, 4_000_000),
        Fault::Partition | Fault::ClockStep | Fault::Full => (1_000_000, 8_000_000),
        Fault::Silence | Fault::Equivocation | Fault::Withholding | Fault::GarbageShares | Fault::FalseHistory => {
            (0, 0)
        }
        Fault::LostDisk | Fault::TwoLives | Fault::BadWrites => (1_500_000, 10_000_000),
        Fault::AllDown => (3_000_000, 25_000_000),
        Fault::PowerCut | Fault::Kill | Fault::KillInRecovery | Fault::FailedSync => (1_000_000, 15_000_000),
    }
}

impl Cluster {
    /// When a kind happens next.
    pub(super) fn next_fault(&mut self, fault: Fault) {
        let (least, most) = every(fault);
        let at = self.now + self.draw.between(least, most);
        self.queue.push(at, self.plan.nodes, Event::Goes(fault, self.rests));
    }

    /// Something goes wrong, unless nothing does any more.
    pub(super) fn go_wrong(&mut self, fault: Fault) -> Result<(), Broken> {
        if self.healed.is_some() {
            return Ok(());
        }
        let slot = self.draw.below(u64::from(self.plan.nodes)) as usize;
        let happens = self.happen(fault, slot);
        // A run that is reported to have gone through what befell nobody proves less than it says.
        if !matches!(happens, Ok(false)) {
            *self.faults.entry(fault.name()).or_default() += 1;
        }
        happens?;
        if every(fault) != (0, 0) {
            self.next_fault(fault);
        }
        Ok(())
    }

    /// Does a fault, to a node where it is of one. Says whether it befell anybody; of what is planned for the next things that a
    /// disk does, that it was planned.
    fn happen(&mut self, fault: Fault, slot: usize) -> Result<bool, Broken> {
        match fault {
            Fault::Loss => self.network.conditions.lost = self.draw.between(5, 120),
            Fault::Delay => self.network.conditions.jitter = self.draw.between(5_000, 80_000),
            Fault::Duplication => self.network.conditions.doubled = self.draw.between(5, 100),
            Fault::Reorder => self.network.conditions.reordered = self.draw.between(5, 200),
            Fault::Replay => self.network.conditions.replayed = self.draw.between(2, 30),
            Fault::Partition => return Ok(self.part()),
            Fault::Clog => return Ok(self.clog()),
            Fault::ClockStep => {
                let ahead = self.draw.between(1, 5_000) as i64;
                self.hosts[slot].clock.ahead_ms = if self.draw.below(2) == 0 { ahead } else { -ahead };
                self.later(slot, fault, 500_000, 5_000_000, Undo::Node);
            }
            Fault::ClockDrift => {
                for host in &mut self.hosts {
                    host.clock.drift = self.draw.below(1_000) as i64 - 500;
                }
            }
            Fault::PowerCut => {
                let disk = &self.hosts[slot].disk;
                disk.plan(disk.operations() + 1 + self.draw.below(40), DiskFault::PowerOff);
                self.later(slot, fault, 100_000, 1_500_000, Undo::Power);
            }
            Fault::Kill => return Ok(self.kill(slot)),
            Fault::KillInRecovery => {
                // Where it is down already, it is so when it starts for another reason.
                self.kill(slot);
                // At one of the first things that it writes when it starts again.
                let disk = &self.hosts[slot].disk;
                disk.plan(disk.operations() + 1 + self.draw.below(6), DiskFault::PowerOff);
            }
            Fault::FailedSync => {
                let disk = &self.hosts[slot].disk;
                disk.plan(disk.operations() + 1 + self.draw.below(20), DiskFault::Fail(ErrorKind::Other));
            }
            Fault::Full => {
                let disk = &self.hosts[slot].disk;
                disk.set_room(Some(disk.used() + self.draw.below(48 << 10)));
                self.later(slot, fault, 300_000, 3_000_000, Undo::Node);
            }
            Fault::Stall => {
                let longest = self.draw.between(20_000, 400_000);
                self.hosts[slot].disk.set_delay(Duration::from_micros(longest));
                self.later(slot, fault, 300_000, 3_000_000, Undo::Node);
                // A process that starts has a disk as fast as it was made.
                return Ok(self.hosts[slot].is_up());
            }
            Fault::AllDown => return Ok(self.all_down()),
            Fault::LostDisk => return Ok(self.lose_disk()),
            Fault::TwoLives => return self.begin_second_life(),
            Fault::BadWrites => return Ok(self.let_write_badly()),
            Fault::Silence | Fault::Equivocation | Fault::Withholding | Fault::GarbageShares | Fault::FalseHistory => {
                unreachable!("a validator lies from the beginning")
            }
            Fault::Pause => {
                self.hosts[slot].paused = self.now + self.draw.between(50_000, 3_000_000);
                return Ok(self.hosts[slot].is_up());
            }
        }
        Ok(true)
    }

    fn later(&mut self, slot: usize, fault: Fault, least: Time, most: Time, undo: Undo) {
        let at = self.now + self.draw.between(least, most);
        self.queue.push(at, slot as u32, Event::Over(fault, undo));
    }

    /// Kills a process. Says whether there was one.
    fn kill(&mut self, slot: usize) -> bool {
        let is_up = self.hosts[slot].is_up();
        if is_up {
            self.hosts[slot].kill();
            // The system closes its sockets.
            self.leave(slot, true);
            self.restart_later(slot);
        }
        is_up
    }

    /// A disk is lost: only those lose one of whom it was drawn, since no rule is safe where more do than may be faulty; and
    /// only once the chain has begun, since nobody could know of one at genesis that it had signed something there. Says whether
    /// one was lost.
    fn lose_disk(&mut self) -> bool {
        let Some(slot) = self.weak_with(Fault::LostDisk) else { return false };
        self.hosts[slot].lose_disk(&self.home);
        self.leave(slot, true);
        self.restart_later(slot);
        true
    }

    /// One of those validators of whom something was drawn, that runs and has begun.
    fn weak_with(&mut self, kind: Fault) -> Option<usize> {
        let slots: Vec<u32> = self.weak.iter().filter(|(_, fault)| **fault == kind).map(|(slot, _)| *slot).collect();
        if slots.is_empty() {
            return None;
        }
        let slot = *self.draw.pick(&slots) as usize;
        let has_begun = self.hosts[slot].record.get().settled_to >= BEGUN;
        (has_begun && self.hosts[slot].is_up()).then_some(slot)
    }

    /// A validator's directory is copied while it runs, and a second process starts with the copy; the one of before ends. Says
    /// whether there was one to copy.
    fn begin_second_life(&mut self) -> Result<bool, Broken> {
        let Some(slot) = self.weak_with(Fault::TwoLives) else { return Ok(false) };
        let copy = self.hosts[slot].disk.copy();
        let mut behind = self.plan.nodes as usize..self.hosts.len();
        let place = behind.find(|place| self.hosts[*place].slot == slot as u32).expect("it has a place");
        if self.hosts[place].is_up() {
            self.leave(place, true);
        }
        self.hosts[place].begin_with(copy);
        self.start(place)?;
        Ok(true)
    }

    /// One of the next writes of a disk is said to be done, and is not where it should be. Who reads it again finds out. Says
    /// whether there was such a disk.
    fn let_write_badly(&mut self) -> bool {
        let Some(slot) = self.weak_with(Fault::BadWrites) else { return false };
        let fault = if self.draw.below(2) == 0 { DiskFault::Lose } else { DiskFault::Misdirect };
        let disk = &self.hosts[slot].disk;
        disk.plan(disk.operations() + 1 + self.draw.below(40), fault);
        self.distrusted.insert(slot as u32);
        self.later(slot, Fault::BadWrites, 200_000, 3_000_000, Undo::Process);
        true
    }

    /// Every node goes down at once, some by the power; they come up in any order. Says whether one was up.
    fn all_down(&mut self) -> bool {
        let mut was_one_up = false;
        for slot in 0..self.hosts.len() {
            if self.hosts[slot].is_up() {
                was_one_up = true;
                if self.draw.below(2) == 0 {
                    self.hosts[slot].kill()
                } else {
                    self.hosts[slot].cut_power()
                }
                self.leave(slot, true);
                self.restart_later(slot);
            }
        }
        was_one_up
    }

    /// Two parts that do not hear each other, or of which one does not hear the other. Says whether there are two.
    fn part(&mut self) -> bool {
        let nodes: Vec<u32> = (0..self.ends()).collect();
        let alone = self.draw.below(3) == 0;
        let one_way = self.draw.below(3) == 0;
        let lonely = *self.draw.pick(&nodes);
        let apart: Vec<u32> = nodes
            .iter()
            .copied()
            .filter(|node| if alone { *node == lonely } else { self.draw.below(2) == 0 })
            .collect();
        let mut ways = Vec::new();
        for from in &nodes {
            for to in &nodes {
                if apart.contains(from) != apart.contains(to) && !(one_way && apart.contains(to)) {
                    ways.push((End::Node(*from), End::Node(*to)));
                }
            }
        }
        ways.iter().for_each(|(from, to)| self.network.cut(*from, *to, true));
        let are_two = !ways.is_empty();
        self.later(0, Fault::Partition, 300_000, 6_000_000, Undo::Ways(ways));
        are_two
    }

    /// A way between two nodes is clogged. Says whether there is one.
    fn clog(&mut self) -> bool {
        let nodes = u64::from(self.plan.nodes);
        let from = self.draw.below(nodes);
        let to = (from + 1 + self.draw.below(nodes.saturating_sub(1))) % nodes;
        if from != to {
            let way = (End::Node(from as u32), End::Node(to as u32));
            self.network.clog(way.0, way.1);
            self.later(0, Fault::Clog, 200_000, 3_000_000, Undo::Ways(vec![way]));
        }
        from != to
    }

    /// A fault is over.
    pub(super) fn over(&mut self, slot: usize, fault: Fault, undo: Undo) -> Result<(), Broken> {
        let host = &mut self.hosts[slot];
        match undo {
            Undo::Node => match fault {
                Fault::ClockStep => host.clock.ahead_ms = 0,
                Fault::Full => host.disk.set_room(None),
                _ => host.disk.set_delay(SYNC),
            },
            Undo::Power => {
                // It wrote nothing meanwhile, or the power went already.
                if self.healed.is_none() && host.is_up() && host.disk.forget_faults() {
                    host.cut_power();
                    self.leave(slot, false);
                    self.restart_later(slot);
                }
            }
            Undo::Process => _ = self.kill(slot),
            Undo::Ways(ways) => {
                let mut arrivals = Vec::new();
                for (from, to) in &ways {
                    match fault {
                        Fault::Clog => self.network.unclog(self.now, *from, *to, &mut arrivals),
                        _ => self.network.cut(*from, *to, false),
                    }
                }
                self.put_on_the_way(arrivals);
                if fault == Fault::Partition {
                    self.connect_again(&ways);
                }
            }
        }
        Ok(())
    }
}
