//! What others read of a node, and what it gives back when it is asked to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::limits::VALIDATORS_MAX;
use engine::{Height, Tick};
use systems::Machine;

use super::Node;
use crate::readings::{NodeState, Readings};
use crate::threads::WatchedThread;
use crate::throttles::Throttles;

/// How often a node is stepped, at least: a tick that takes longer than this has stopped moving.
const TICK_PERIOD: Duration = Duration::from_secs(1);

impl Node {
    /// What the tick measures, for any thread to read; published once a second.
    pub fn readings(&self) -> Arc<Readings> {
        self.recorder.shared()
    }

    /// Its threads, each of which shows that it moves: the one that steps it, and those beside it. The network's, and the
    /// workers of the pool, are with whoever started them.
    pub fn threads(&self) -> Vec<WatchedThread> {
        let own = WatchedThread::new("tick", TICK_PERIOD, Arc::clone(&self.recorder.shared().steps));
        let snapshots = self.snapshots.threads();
        let serving = self.serving.threads();
        [own].into_iter().chain(self.storage.threads()).chain(snapshots).chain(serving).collect()
    }

    /// What may be held back of its work beside the tick; the network's is with whoever started that.
    pub fn throttles(&self) -> Throttles {
        Throttles { tick: Arc::clone(&self.throttle), archive: self.storage.throttle() }
    }

    /// Gives back what the node holds in spare, if it was asked to.
    pub(super) fn trim(&mut self) {
        let Some(trim) = self.throttle.trim.take(&mut self.trimmed) else { return };
        let began = Instant::now();
        self.machine.trim();
        self.inputs.shrink_to_fit();
        self.outputs.shrink_to_fit();
        self.released.shrink_to_fit();
        trim();
        self.recorder.trimmed(began.elapsed());
    }

    /// Lets others read how it is, and what it has counted so far.
    pub(super) fn publish(&mut self) {
        let order = self.machine.order_progress();
        // One without a slot votes on nothing by its operator's will, and one whose log is whole only listens before it votes, for
        // as long as it hears no quorum: of neither an operator is told that it cannot know what it signed.
        let lost_its_votes = order.slot.is_some() && !self.machine.knows_its_votes();
        let now = NodeState {
            progress: self.standing,
            lost_its_votes,
            height_under_way: self.machine.has_height_under_way(),
            unanswered: self.machine.unanswered(),
            unsynced_ticks: self.held.ticks(),
            held: self.machine.held_bytes(),
            arenas: self.machine.arena_use(),
            missing_shares: order.missing_shares,
            validators: order.validators,
            heard: order.slot.map_or(0, |_| order.heard),
            known_keys_rests: self.machine.known_keys_rests(),
            block_interval_ms: self.machine.block_interval_ms(),
            behind: self.behind(order.validators),
            // One that has nothing yet fetches a snapshot: it needs nobody.
            past_gone: self.machine.past_is_gone() && self.machine.chain().decided > Height::GENESIS,
            snapshots: self.snapshots.counts.clone(),
        };
        self.recorder.publish(&self.totals, &now);
    }

    /// How many heights others have settled and this node has not. One more says so than may be liars.
    fn behind(&self, validators: u32) -> u64 {
        let mut told = [0; VALIDATORS_MAX as usize];
        let mut is_told = false;
        for (slot, standing) in self.machine.validators_told() {
            // A validator counts once, however many connections it has.
            let place = &mut told[slot as usize];
            *place = standing.settled.0.max(*place);
            is_told = true;
        }
        // Who follows nodes that follow hears of no validator. Whoever votes believes none but those who do: anybody may come as a
        // node and say that the chain is further.
        if !is_told && !self.machine.is_voting() {
            for (place, (_, standing)) in told.iter_mut().zip(self.machine.nodes()) {
                *place = standing.settled.0;
            }
        }
        heights_behind(&mut told, validators, self.standing.settled)
    }

    /// The world and its schedules, to be read between two ticks.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The world, for whoever looks at its columns: that needs it alone.
    pub fn machine_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// The number of the last tick.
    pub fn tick(&self) -> Tick {
        self.clock.tick()
    }

    /// Whether the next tick changes nothing unless something arrives, a table is due, or the disk has something to say.
    pub fn is_idle(&self) -> bool {
        self.held.ticks() == 0
            && self.totals.disk_full.is_none()
            && self.inputs.is_empty()
            && self.machine.unanswered() == 0
            && self.machine.chain().unsettled.is_empty()
            && !self.machine.awaits_time()
            && self.arriving.is_none()
            && self.serving.is_idle()
            && self.snapshots.is_idle()
    }

    /// The world alone: what it does from now on is not recorded any more.
    pub fn into_machine(self) -> Machine {
        self.machine
    }
}

/// How far `settled` lies below what one more validator told of than may be liars; places of those who told nothing are 0.
fn heights_behind(told: &mut [u64], validators: u32, settled: Height) -> u64 {
    let liars = validators.saturating_sub(1) as usize / 3;
    assert!(liars < told.len(), "somebody may say the truth");
    told.sort_unstable_by_key(|height| std::cmp::Reverse(*height));
    // Places without a validator come last: where too few are connected, nothing is behind.
    told[liars].saturating_sub(settled.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_may_lie_as_validators_may_be_faulty() {
        let behind = |told: &[u64], validators| {
            let mut places = [0; VALIDATORS_MAX as usize];
            places[..told.len()].copy_from_slice(told);
            heights_behind(&mut places, validators, Height(100))
        };
        assert_eq!(behind(&[900], 1), 800, "who follows a lone validator believes it");
        assert_eq!(behind(&[900, 104, 90], 4), 4, "one of four may lie");
        assert_eq!(behind(&[900, 100, 90], 4), 0);
        assert_eq!(behind(&[900], 4), 0, "too few are connected");
        assert_eq!(behind(&[900, 800, 107, 0, 0, 0], 7), 7, "two of seven may");
    }
}
