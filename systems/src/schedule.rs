//! How both schedules are put together.

use bevy_ecs::schedule::{LogLevel, Schedule, ScheduleBuildSettings};

/// A schedule whose systems run one after another; two that could be swapped are an error.
pub fn chained() -> Schedule {
    let mut schedule = Schedule::default();
    schedule.set_build_settings(ScheduleBuildSettings { ambiguity_detection: LogLevel::Error, ..Default::default() });
    schedule
}
