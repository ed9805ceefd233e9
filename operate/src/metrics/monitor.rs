//! What is done about what is scarce, and the monitor itself.

use super::metric::{Metric, Source, counter, gauge};
use super::unit::Unit;
use crate::resources::level::Resource;
use crate::resources::reactions::PAUSE_SNAPSHOTS;

/// How scarce something is.
macro_rules! level {
    ($resource:ident) => {
        |reading| Some(f64::from(reading.resources.levels[Resource::$resource as usize] as u8))
    };
}

/// Its lines, in the order in which they are shown.
pub(super) const METRICS: &[Metric] = &[
    // Resources.
    gauge(
        "bitcraps_memory_level",
        Unit::Level,
        level!(Memory),
        "How scarce memory is: 0 low, 1 medium, 2 high. What follows is in the guide.",
    ),
    gauge("bitcraps_cpu_level", Unit::Level, level!(Cpu), "The same for processors."),
    gauge("bitcraps_network_level", Unit::Level, level!(Network), "The same for buffers of connections."),
    gauge("bitcraps_disk_level", Unit::Level, level!(Disk), "The same for the disk, its room and its speed."),
    Metric {
        name: "bitcraps_reactions_total",
        unit: Unit::Count,
        source: Source::Labelled("reaction", |reading| {
            reading.resources.begun.iter().map(|(name, count)| ((*name).to_owned(), *count as f64)).collect()
        }),
        help: "Times that the node began to hold something back because a resource was scarce, by what.",
    },
    gauge(
        "bitcraps_reactions",
        Unit::Count,
        |reading| Some(reading.resources.on.len() as f64),
        "What the node holds back now; /healthz names it.",
    ),
    gauge(
        "bitcraps_snapshots_paused",
        Unit::Count,
        |reading| Some(f64::from(u8::from(reading.resources.on.contains(&PAUSE_SNAPSHOTS)))),
        "1 while no snapshot begins because memory or the disk is scarce.",
    ),
    counter("bitcraps_trims_total", tick!(trims), "Times that the tick gave back memory that it did not need."),
    gauge(
        "bitcraps_trim_longest_seconds",
        Unit::Seconds,
        |reading| Some(reading.tick.trim_longest_us as f64 / 1e6),
        "The longest that it was held by that.",
    ),
    // The monitor.
    gauge("bitcraps_alerts", Unit::Count, |reading| Some(reading.alerts as f64), "Alerts that are on."),
    counter(
        "bitcraps_alerts_untold_total",
        |reading| Some(reading.own.untold),
        "Times that a webhook, a command or a letter did not take an alert; the log says why.",
    ),
    counter("bitcraps_scrapes_total", |reading| Some(reading.own.scrapes), "Answers of /metrics."),
    gauge(
        "bitcraps_scrape_seconds",
        Unit::Seconds,
        |reading| Some(reading.own.scrape_seconds),
        "How long the last one took to make.",
    ),
    gauge(
        "bitcraps_dashboard_viewers",
        Unit::Count,
        |reading| Some(reading.own.viewers as f64),
        "Pages that follow this node now.",
    ),
];
