//! How both schedules are put together, and how long each system takes.

use bevy_ecs::resource::Resource;
use bevy_ecs::schedule::{IntoScheduleConfigs, LogLevel, Schedule, ScheduleBuildSettings, SystemSet};
use bevy_ecs::system::{ResMut, ScheduleSystem};

/// All systems, in the order in which a tick comes to them: those of the exchange, then those of a height that is settled.
pub const SYSTEMS: [&str; 22] = [
    "hear_nodes",
    "update_peers",
    "verify_messages",
    "take_inputs",
    "verify_intents",
    "take_pledges",
    "pass_on_intents",
    "order_blocks",
    "make_beacons",
    "catch_up",
    "judge_peers",
    "tell_watchers",
    "note_failed_rounds",
    "apply_intents",
    "roll_dice",
    "attend_pledged_tables",
    "note_felt",
    "resolve_bets",
    "settle_accounts",
    "free_idle_accounts",
    "check_invariants",
    "update_root",
];

/// How long each system took since that was last taken. The core has no clock: whoever wants to know lends it one, which counts
/// nanoseconds from any moment on, and nothing that a system does depends on it.
#[derive(Resource, Default)]
pub struct SystemTimes {
    clock: Option<fn() -> u64>,
    /// When the last system ended, or its schedule began.
    last_ns: u64,
    taken_ns: [u64; SYSTEMS.len()],
}

impl SystemTimes {
    /// Times every system from now on.
    pub fn lend(&mut self, clock: fn() -> u64) {
        self.clock = Some(clock);
    }

    /// Gives what each system took that ran, by its place in [`SYSTEMS`], and begins again.
    pub fn take(&mut self, mut hear: impl FnMut(usize, u64)) {
        for (place, taken_ns) in self.taken_ns.iter_mut().enumerate().filter(|(_, taken_ns)| **taken_ns > 0) {
            hear(place, std::mem::take(taken_ns));
        }
    }

    fn begins(&mut self) {
        if let Some(clock) = self.clock {
            self.last_ns = clock();
        }
    }

    fn ended(&mut self, place: usize) {
        if let Some(clock) = self.clock {
            let now_ns = clock();
            self.taken_ns[place] += now_ns.saturating_sub(self.last_ns);
            self.last_ns = now_ns;
        }
    }
}

/// Where a system stands among all: it runs after all that stand before it.
#[derive(SystemSet, Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Position(usize);

/// A schedule while it is put together: its systems run one after another, and after each it is noted how long it took.
pub struct ScheduleBuilder {
    schedule: Schedule,
    place: usize,
}

impl ScheduleBuilder {
    /// A schedule that begins with this system of [`SYSTEMS`].
    ///
    /// # Panics
    /// If no system has that name.
    pub fn beginning(name: &str) -> Self {
        let place = SYSTEMS.iter().position(|of| *of == name).expect("a system");
        let mut schedule = chained();
        schedule.add_systems((|mut times: ResMut<'_, SystemTimes>| times.begins()).in_set(Position(place)));
        Self { schedule, place }
    }

    /// Adds the next system.
    ///
    /// # Panics
    /// If it is not the next of [`SYSTEMS`].
    pub fn then<M>(mut self, name: &str, system: impl IntoScheduleConfigs<ScheduleSystem, M>) -> Self {
        let place = self.place;
        assert_eq!(SYSTEMS.get(place), Some(&name), "systems are listed in their order");
        let end = move |mut times: ResMut<'_, SystemTimes>| times.ended(place);
        self.schedule.add_systems((system, end).chain().after(Position(place)).in_set(Position(place + 1)));
        self.place += 1;
        self
    }

    /// The schedule, with all systems that were added.
    pub fn end(self) -> Schedule {
        self.schedule
    }
}

/// A schedule whose systems run one after another; two that could be swapped are an error.
pub fn chained() -> Schedule {
    let mut schedule = Schedule::default();
    schedule.set_build_settings(ScheduleBuildSettings { ambiguity_detection: LogLevel::Error, ..Default::default() });
    schedule
}

#[cfg(test)]
mod tests {
    use bevy_ecs::world::World;

    use super::*;

    /// Each look at it is a microsecond later.
    fn clock() -> u64 {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NOW: AtomicU64 = AtomicU64::new(0);
        NOW.fetch_add(1_000, Ordering::Relaxed)
    }

    #[test]
    fn each_system_that_ran_has_its_time_where_somebody_lends_a_clock() {
        let (mut world, mut ran) = (World::new(), Vec::new());
        world.init_resource::<SystemTimes>();
        let builder =
            ScheduleBuilder::beginning("check_invariants").then("check_invariants", || {}).then("update_root", || {});
        let mut schedule = builder.end();
        let mut run = |world: &mut World| {
            ran.clear();
            schedule.run(world);
            world.resource_mut::<SystemTimes>().take(|place, taken_ns| ran.push((SYSTEMS[place], taken_ns)));
            ran.clone()
        };
        assert_eq!(run(&mut world), [], "nobody wants to know");
        world.resource_mut::<SystemTimes>().lend(clock);
        assert_eq!(run(&mut world), [("check_invariants", 1_000), ("update_root", 1_000)]);
        assert_eq!(run(&mut world).len(), 2, "and again");
    }

    #[test]
    fn both_schedules_have_all_systems() {
        let exchange = SYSTEMS.iter().position(|name| *name == "note_failed_rounds").expect("where settling begins");
        // Beside each system the note of its end, and one of the beginning.
        let mut schedules =
            [crate::exchange::exchange_schedule::<crate::exchange::planted::Sound>(), crate::settle::settle_schedule()];
        let [first, second] = schedules.each_mut().map(|schedule| schedule.systems_len());
        assert_eq!((first, second), (2 * exchange + 1, 2 * (SYSTEMS.len() - exchange) + 1));
    }
}
