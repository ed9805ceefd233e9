//! The table of signals: what says that a resource is scarce, and from where on. Bounds are shares of what a node may have wherever
//! there is such a bound, so that they need no tuning.

use engine::limits::{ANSWERS_QUEUE_BYTES, UPDATES_QUEUE_BYTES};
use net::transport::PLAYING_BYTES;

use super::level::{Bounds, Resource};
use crate::history::Expr::{self, Fixed, Growth, Less, Now, Quantile, Rate, Ratio, Sum};
use crate::tiles::{BUFFERS_USED, CPUS_BUSY};

/// One signal.
pub struct Signal {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub resource: Resource,
    /// What is compared.
    pub value: Expr,
    /// From where on it is medium, and high.
    pub bounds: Bounds,
    /// What it is, for people.
    pub title: &'static str,
}

const fn signal(name: &'static str, resource: Resource, value: Expr, bounds: [f64; 2], title: &'static str) -> Signal {
    let [medium, high] = bounds;
    Signal { name, resource, value, bounds: Bounds { medium, high }, title }
}

/// The signal of how much room the disk has: old bodies go early for want of room, and not because a disk is slow.
pub const ROOM: &str = "disk_room";

/// What of a playing connection's share its queues have while updates are of their usual size and one of each two queues is empty.
const QUEUED: f64 = (UPDATES_QUEUE_BYTES + ANSWERS_QUEUE_BYTES) as f64 / PLAYING_BYTES as f64;

/// All signals.
pub const SIGNALS: [Signal; 14] = [
    signal(
        "memory_process",
        Resource::Memory,
        Ratio(&Now("bitcraps_memory_bytes"), &Now("bitcraps_memory_budget_bytes")),
        [0.75, 0.9],
        "memory of the process by its budget",
    ),
    signal(
        "memory_group",
        Resource::Memory,
        Ratio(&Now("bitcraps_memory_group_bytes"), &Now("bitcraps_memory_group_max_bytes")),
        [0.85, 0.95],
        "memory of the control group, without what it takes back, by its bound",
    ),
    signal(
        "memory_growth",
        Resource::Memory,
        Ratio(
            &Growth("bitcraps_memory_bytes", 10),
            &Less(&Now("bitcraps_memory_budget_bytes"), &Now("bitcraps_memory_bytes")),
        ),
        // All of it within 30 s, within 5 s.
        [1.0 / 30.0, 1.0 / 5.0],
        "share of the memory left that is taken a second",
    ),
    signal(
        "memory_pressure",
        Resource::Memory,
        Now("bitcraps_pressure_memory_ratio"),
        // In version 1 of control groups it is the machine's, and others' fault as often as not: newcomers are refused for it last.
        [0.1, 0.9],
        "time in which something waited for memory",
    ),
    signal(
        "cpu_busy",
        Resource::Cpu,
        Ratio(&CPUS_BUSY, &Now("bitcraps_cpus")),
        [0.85, 0.95],
        "processor time by what there is",
    ),
    signal(
        "cpu_overruns",
        Resource::Cpu,
        Ratio(&Rate("bitcraps_ticks_overrun_total", 10), &Rate("bitcraps_ticks_total", 10)),
        [0.2, 0.5],
        "ticks that took longer than they have",
    ),
    signal(
        "cpu_queue",
        Resource::Cpu,
        Ratio(&Now("bitcraps_intents_unanswered"), &Fixed(engine::limits::PENDING_MAX as f64)),
        [0.25, 0.5],
        "intents that wait by how many may",
    ),
    signal(
        "cpu_pressure",
        Resource::Cpu,
        Now("bitcraps_pressure_cpu_ratio"),
        [0.6, 0.9],
        "time in which something waited for a processor",
    ),
    signal(
        "network_buffers",
        Resource::Network,
        BUFFERS_USED,
        [0.8, 0.95],
        "buffers that connections may fill by net.buffer_bytes_max",
    ),
    signal(
        "network_queues",
        Resource::Network,
        // A third and three fifths of what the queues of playing connections usually can hold.
        Ratio(&Now("bitcraps_net_held_bytes"), &Now("bitcraps_net_buffer_max_bytes")),
        [QUEUED / 3.0, QUEUED * 0.6],
        "bytes that wait for connections by net.buffer_bytes_max",
    ),
    signal(
        ROOM,
        Resource::Disk,
        // A full disk has no byte left, and by nothing nothing is divided.
        Ratio(&Now("bitcraps_disk_reserve_bytes"), &Sum(&Now("bitcraps_disk_free_bytes"), &Fixed(1.0))),
        [0.25, 0.5],
        "what is to stay free on the disk by what is free",
    ),
    signal(
        "disk_queue",
        Resource::Disk,
        Ratio(&Now("bitcraps_unsynced_ticks"), &Fixed(engine::limits::STALLING_TICKS as f64)),
        [0.5, 0.9],
        "ticks that wait for the disk by how many may",
    ),
    signal(
        "disk_sync",
        Resource::Disk,
        // Where blocks wait for the disk, few ticks do: the next block is decided when the one before is there.
        Ratio(&Quantile(0.95, "bitcraps_sync_seconds", 10), &Fixed(0.5)),
        [0.2, 1.0],
        "time until a block is on the disk, by half a second",
    ),
    signal(
        "disk_pressure",
        Resource::Disk,
        Now("bitcraps_pressure_io_ratio"),
        [0.6, 0.9],
        "time in which something waited for a disk",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiles::tests::assert_sound;

    #[test]
    fn signals_are_sound_and_each_resource_has_some() {
        for signal in &SIGNALS {
            assert_sound(&signal.value);
            assert!(0.0 < signal.bounds.medium && signal.bounds.medium < signal.bounds.high, "{}", signal.name);
            assert!(signal.name.starts_with(signal.resource.name()), "{}", signal.name);
            assert_eq!(SIGNALS.iter().filter(|other| other.name == signal.name).count(), 1, "{}", signal.name);
        }
        for resource in Resource::ALL {
            assert!(SIGNALS.iter().any(|signal| signal.resource == resource), "{}", resource.name());
        }
        assert_eq!(SIGNALS.iter().filter(|signal| signal.name == ROOM).count(), 1);
    }
}
