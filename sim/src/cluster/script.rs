//! A cluster that a test leads through a schedule: who runs, who hears whom, what is said in whose name.

use bevy_ecs::schedule::Schedule;
use engine::message::node::NodeMessage;
use engine::{Height, PeerId};
use order::signature::{PlayerKey, VoteKey};
use storage::backend::{Fault as DiskFault, FaultyBackend};

pub use super::said::{Meddling, Said};
use super::{Cluster, keys};
use crate::host::HostClock;
use crate::network::{Conditions, End};
use crate::properties::Broken;

impl Cluster {
    /// Begins: processes start and players act. To be called once, before the other steps of a schedule.
    pub fn begin_schedule(&mut self) {
        self.begin();
    }

    /// Goes on until something holds, for some virtual milliseconds at most. Says whether it does.
    ///
    /// # Errors
    /// The property that broke.
    pub fn until(&mut self, most_ms: u64, mut holds: impl FnMut(&mut Self) -> bool) -> Result<bool, Broken> {
        let end = self.now + most_ms * 1_000;
        while !holds(self) {
            let Some((at, slot, event)) = self.queue.pop() else { return Ok(false) };
            if at > end {
                self.queue.push(at, slot, event);
                self.now = end;
                return Ok(false);
            }
            self.now = at;
            self.events += 1;
            self.handle(slot, event)?;
        }
        Ok(true)
    }

    /// Goes on for some virtual milliseconds.
    ///
    /// # Errors
    /// The property that broke.
    pub fn go_on(&mut self, for_ms: u64) -> Result<(), Broken> {
        self.until(for_ms, |_| false).map(|_| ())
    }

    /// Ends: every session is read again.
    ///
    /// # Errors
    /// The property that broke.
    pub fn finish(mut self) -> Result<(), Broken> {
        self.end()
    }

    /// Kills a node's process.
    pub fn take_down(&mut self, node: u32) {
        let host = &mut self.hosts[node as usize];
        if host.is_up() {
            host.kill();
            self.leave(node as usize, true);
        }
    }

    /// Cuts a node's power: what was not synced may be torn or lost.
    pub fn cut_power_of(&mut self, node: u32) {
        let host = &mut self.hosts[node as usize];
        if host.is_up() {
            host.cut_power();
            self.leave(node as usize, true);
        }
    }

    /// Starts a node.
    ///
    /// # Errors
    /// The property that broke.
    pub fn bring_up(&mut self, node: u32) -> Result<(), Broken> {
        self.start(node as usize)
    }

    /// Replaces a node's disk by an empty one; its process ends.
    pub fn lose_disk_of(&mut self, node: u32) {
        self.hosts[node as usize].lose_disk(&self.home);
        self.leave(node as usize, true);
    }

    /// A copy of a node's disk as it is now.
    pub fn copy_disk_of(&self, node: u32) -> FaultyBackend {
        self.hosts[node as usize].disk.copy()
    }

    /// Ends a node's process, and puts another disk in: a backup, or a copy. What was promised on the old one is not asked of
    /// it.
    pub fn replace_disk_of(&mut self, node: u32, disk: FaultyBackend) {
        self.hosts[node as usize].replace_disk(disk);
        self.leave(node as usize, true);
    }

    /// The power of a node goes at one of the next things that it writes.
    pub fn cut_power_at(&mut self, node: u32, operation: u64) {
        let disk = &self.hosts[node as usize].disk;
        disk.plan(disk.operations() + operation, DiskFault::PowerOff);
    }

    /// Whether a node's process runs.
    pub fn is_up(&self, node: u32) -> bool {
        self.hosts[node as usize].is_up()
    }

    /// Cuts the ways from some nodes to some others off, or lets them through again with new connections.
    pub fn cut_between(&mut self, from: &[u32], to: &[u32], cut: bool) {
        let ways: Vec<(End, End)> = from
            .iter()
            .flat_map(|from| to.iter().map(|to| (End::Node(*from), End::Node(*to))))
            .filter(|(from, to)| from != to)
            .collect();
        ways.iter().for_each(|(from, to)| self.network.cut(*from, *to, cut));
        if !cut {
            self.connect_again(&ways);
        }
    }

    /// Runs systems that no node has over a node's state, once it has settled a height that is not on its disk yet.
    ///
    /// # Errors
    /// The property that broke before.
    pub fn spoil(&mut self, node: u32, systems: &mut Schedule) -> Result<bool, Broken> {
        let slot = node as usize;
        let has_settled = |cluster: &mut Self| {
            let on_disk = cluster.hosts[slot].record.get().settled_to;
            cluster.hosts[slot].node().is_some_and(|node| node.machine().chain().settled > on_disk)
        };
        let came = self.until(10_000, has_settled)?;
        if let Some(node) = self.hosts[slot].node().filter(|_| came) {
            node.machine_mut().run(systems);
        }
        Ok(came)
    }

    /// Lets something happen to what nodes say from now on.
    pub fn meddle(&mut self, meddling: Option<Meddling>) {
        self.meddling = meddling;
    }

    /// Validators of whom a schedule says false things: what they sign is not held against them.
    pub fn distrust(&mut self, node: u32) {
        self.distrusted.insert(node);
    }

    /// Changes what befalls messages.
    pub fn conditions(&mut self, conditions: Conditions) {
        self.network.conditions = conditions;
    }

    /// Sets a node's clock.
    pub fn set_clock(&mut self, node: u32, clock: HostClock) {
        self.hosts[node as usize].clock = clock;
    }

    /// A validator's vote key.
    pub fn vote_key(&self, node: u32) -> VoteKey {
        keys(&self.plan).votes[node as usize].clone()
    }

    /// The chain.
    pub fn chain(&self) -> engine::Hash {
        self.home.setup.chain
    }

    /// Virtual milliseconds since the beginning.
    pub fn now_ms(&self) -> u64 {
        self.now / 1_000
    }

    /// The last settled height that a node has said is on its disk.
    pub fn settled(&self, node: u32) -> Height {
        self.hosts[node as usize].record.get().settled_to
    }

    /// The last decided height that a node has said is on its disk.
    pub fn decided(&self, node: u32) -> Height {
        self.hosts[node as usize].record.get().promised
    }

    /// Whether every node that runs has settled a height.
    pub fn all_settled(&self, height: Height) -> bool {
        let mut running = self.hosts.iter().filter(|host| host.is_up()).peekable();
        running.peek().is_some() && running.all(|host| host.record.get().settled_to >= height)
    }

    /// The highest settled height.
    pub fn highest(&self) -> Height {
        self.progress.1
    }

    /// How all nodes are, in words.
    pub fn stands(&mut self) -> String {
        let nodes: Vec<String> = self.hosts.iter_mut().map(|host| host.stands()).collect();
        nodes.join("; ")
    }

    /// Whether a node votes.
    pub fn votes(&mut self, node: u32) -> bool {
        self.hosts[node as usize].node().is_some_and(|node| node.machine().is_voting())
    }

    /// Whose turn it is at the height after the last decided one of a node, in some rounds, as it sees it: with the height.
    pub fn turns(&mut self, node: u32) -> Option<(Height, Vec<u32>)> {
        let machine = self.hosts[node as usize].node()?.machine();
        let height = machine.chain().decided.next();
        let validators = machine.validators_at(height);
        Some((height, (0..4).map(|round| validators.proposer(height, round)).collect()))
    }

    /// A player's key.
    pub fn player_key(&self, number: u32) -> PlayerKey {
        keys(&self.plan).player(number)
    }

    /// The wall's time where it is right, in milliseconds since the Unix epoch.
    pub fn wall_ms(&self) -> u64 {
        self.home.start_ms + self.now_ms()
    }

    /// The rare states that were reached so far.
    pub fn reached(&self, mark: &str) -> u64 {
        self.marks.times(mark)
    }

    /// Says something to a node in the name of another that is connected with it.
    pub fn say(&mut self, from: u32, to: u32, message: NodeMessage) {
        let Some(generation) = self.links.between(from, to) else { return };
        let from = PeerId { slot: from, generation };
        if self.hosts[to as usize].is_up() {
            self.hosts[to as usize].arrived([engine::io::Input::Node { from, message: Box::new(message) }]);
            self.wake(to as usize);
        }
    }
}
