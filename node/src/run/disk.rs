//! The node and its disk: what a tick recorded, and what may be said once that is kept.

use std::time::{Duration, Instant};

use anyhow::bail;
use engine::PeerId;
use engine::io::{ChainProgress, Input, OrderProgress, Output};
use engine::limits::DISK_FULL_INPUTS_MAX;
use storage::Synced;

use super::{Node, waiting};
use crate::clock::QUANTUM_MS;

impl Node {
    /// Hears what the disk has to say by a moment between two ticks: what waited for it goes out at once.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn hear_disk(&mut self, at: Duration) -> anyhow::Result<()> {
        while let Some(synced) = self.storage.poll(at)? {
            self.synced(synced)?;
        }
        Ok(())
    }

    /// What the tick produced: the disk's goes to the storage thread, and the rest waits for it.
    pub(super) fn record(&mut self) {
        // The journal is about to begin at a snapshot of others then: what a tick did would stand before its beginning.
        assert!(self.base.is_none(), "nothing is recorded behind the base frame of a journal to come");
        if let Some(group) = self.held.record(self.clock.tick().0, &mut self.outputs) {
            self.recorder.handed(group.id);
            self.storage.submit(group);
        }
    }

    /// What is on disk lets its receipts out. In virtual time, everything is awaited.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        // A disk without room says nothing until it has some: it is waited for in the steps that follow, which tell of
        // it.
        while self.clock.waits_for_disk() && self.held.ticks() > 0 && self.totals.disk_full.is_none() {
            let Some(synced) = self.storage.wait(None)? else {
                unreachable!("a disk that was given a group says what has become of it")
            };
            self.synced(synced)?;
        }
        self.hear_disk(self.clock.at())?;
        self.check_standing();
        let told = self.told();
        if let Some(network) = &mut self.network {
            network.publish(told);
            network.publish_order(OrderProgress { receipts: self.totals.receipts, ..self.machine.order_progress() });
        }
        Ok(())
    }

    /// Compares where the disk stands with where the chain does.
    fn check_standing(&self) {
        let chain = self.machine.chain();
        assert!(self.standing.decided <= chain.decided, "nobody is told of a height that is not decided here");
        assert!(self.standing.settled <= chain.settled, "nobody is told of a height that is not settled here");
        // Whatever was lost between the two would be missing in the journal, and nobody would notice before a start.
        if self.held.ticks() == 0 {
            assert_eq!(self.standing.decided, chain.decided, "all that is decided is on disk, or waits for it");
            assert_eq!(self.standing.settled, chain.settled, "all that is settled is on disk, or waits for it");
            assert_eq!(
                self.standing.root_chain, chain.root_chains[0],
                "others are told the root that was settled here"
            );
        }
    }

    /// Where its chain stands and how it is, for the network. Whoever listens before it votes is of no more help to a quorum than
    /// one that lost its log.
    pub(super) fn told(&self) -> ChainProgress {
        ChainProgress {
            now_ms: self.clock.now_ms(),
            disk_full: self.totals.disk_full.is_some(),
            is_silent: !self.machine.is_voting(),
            ..self.standing
        }
    }

    /// While the disk has no room, nothing is decided or settled: what was recorded waits in memory, unsent. Intents are
    /// turned away, for as long as it takes; of what else the network says that is kept which is of use later.
    pub(super) fn wait_for_room(&mut self) -> anyhow::Result<()> {
        assert!(self.totals.disk_full.is_some(), "only a disk without room is waited for");
        assert!(self.outputs.is_empty(), "what the last tick gave out was recorded before its disk was full");
        // No tick begins, and time goes on: whoever connects meanwhile dates its intents by what it is told.
        self.clock.begin();
        self.tell_step();
        let heard = if self.clock.is_told() {
            self.storage.poll(self.clock.at())?
        } else {
            self.storage.wait(Some(Instant::now() + Duration::from_millis(QUANTUM_MS)))?
        };
        if let Some(synced) = heard {
            self.synced(synced)?;
        }
        let Some(network) = &mut self.network else { return Ok(()) };
        // What came before is kept in its order: only intents that come now are turned away, which whoever sent them
        // sends again.
        let kept = self.inputs.len();
        let mut took_intents = false;
        if network.is_flowing() {
            took_intents = match kept < DISK_FULL_INPUTS_MAX {
                true => network.take_inputs(&mut self.inputs),
                false => {
                    network.take_intents(&mut self.inputs);
                    true
                }
            };
        }
        let (gone, mut shed) = waiting::turn_away(&mut self.inputs, kept);
        // What is kept arrives with the tick that takes it.
        self.recorder.arrived(&gone, took_intents);
        shed.iter().for_each(|output| self.totals.add_output(output));
        // What is turned away waits for nothing: sent again, it counts from then.
        self.recorder.leaves(&shed);
        network.send(&mut shed);
        let told = self.told();
        self.network.iter_mut().for_each(|network| network.publish(told));
        Ok(())
    }

    /// The disk has a group, or says that it cannot have it.
    pub(super) fn synced(&mut self, synced: Synced) -> anyhow::Result<()> {
        assert!(self.released.is_empty(), "what was given out once is not given out again");
        let group = match synced {
            Synced::UpTo(group) => group,
            Synced::Full(problem) => {
                tracing::error!(
                    "the disk is full ({problem}): no intents are taken and nothing is settled until there is room; what \
                     was recorded is kept, and tried again each second"
                );
                // The disk says so once, and tries again by itself: the next word from it is that there is room.
                self.totals.disk_full = Some(problem);
                return Ok(());
            }
            Synced::Failed(problem) => bail!("the session cannot be written any more: {problem}"),
        };
        if self.totals.disk_full.take().is_some() {
            tracing::info!("the disk has room again: the node goes on");
            // Virtual time stood still meanwhile, and must not run after what it missed.
            if self.clock.waits_for_disk() {
                self.clock.go_on();
            }
        }
        // No tick, and no base frame, that the disk was not given can be on it.
        assert!(group <= self.clock.tick().0.max(self.base.unwrap_or(0)), "only what was recorded is on disk");
        self.recorder.synced(group);
        // From this frame on the journal begins at the snapshot: a crash does not lose it any more.
        self.arrived |= self.base.is_some_and(|base| base <= group);
        self.inputs.push(Input::Synced { group });
        let before = self.held.ticks();
        let mut released = std::mem::take(&mut self.released);
        if let Some(standing) = self.held.release(group, &mut released) {
            // Only a group moves where the chain stands: what did not wait for one was never recorded.
            assert!(self.held.ticks() < before, "the chain on disk moves with the ticks that reach it");
            self.standing = standing;
        }
        assert!(!self.arrived || self.held.ticks() == 0, "what stands before a base frame is on disk before it");
        self.tell(&mut released);
        released.clear();
        self.released = released;
        Ok(())
    }

    /// Gives what was released to whom it concerns.
    fn tell(&mut self, released: &mut Vec<Output>) {
        self.recorder.leaves(released);
        for output in &*released {
            self.totals.add_output(output);
            // Only now: a player who heard sooner could act on a receipt that a crash takes back.
            if let (Some(players), Output::Receipt { to: PeerId::LOCAL, receipt }) = (&mut self.players, output) {
                players.hear(receipt);
            }
        }
        if let Some(network) = &mut self.network {
            // Players of this process have heard theirs, and nobody is there for those of no one.
            released.retain(|output| !matches!(output, Output::Receipt { to: PeerId::LOCAL | PeerId::NONE, .. }));
            network.send(released);
        }
    }
}
