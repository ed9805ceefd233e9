//! The table of rules. Thresholds are shares of what the node may have wherever it has a bound, so that they need no tuning.

use serde::Serialize;

use crate::history::Expr::{self, Fixed, Increase, Less, Now, Quantile, Rate, Ratio, Sum};
use crate::metrics::Unit;
use crate::tiles::{BUFFERS_USED, CPUS_BUSY};

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertLevel {
    /// All is well.
    None,
    /// Somebody should look today.
    Warning,
    /// Somebody should look now.
    Critical,
}

impl AlertLevel {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// On which side of a threshold it is bad.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Above it.
    Above,
    /// Below it.
    Below,
}

/// What is too much, and for how long it must be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Threshold {
    /// The value beyond which it is.
    pub value: f64,
    /// Seconds for which it must be beyond without a break.
    pub seconds: u32,
}

/// One rule.
pub struct Rule {
    /// Its name, as Prometheus shows it; the page is named after it.
    pub name: &'static str,
    /// What is compared.
    pub value: Expr,
    /// What that is counted in.
    pub unit: Unit,
    /// On which side it is bad.
    pub side: Side,
    /// From where on it is a warning.
    pub warning: Option<Threshold>,
    /// From where on it is critical.
    pub critical: Option<Threshold>,
    /// What is the matter, in a few words.
    pub title: &'static str,
    /// What it means for those who play, and for the node.
    pub meaning: &'static str,
    /// What to look at and what to do, in the order in which to do it.
    pub steps: &'static [&'static str],
}

impl Rule {
    /// The name of its page: `MemoryHigh` is `memory-high`.
    pub fn page(&self) -> String {
        let mut page = String::new();
        for letter in self.name.chars() {
            if letter.is_ascii_uppercase() && !page.is_empty() {
                page.push('-');
            }
            page.push(letter.to_ascii_lowercase());
        }
        page
    }

    /// A value of it, for people.
    pub fn written(&self, value: f64) -> String {
        let per = if matches!(self.value, Rate(..)) { "/s" } else { "" };
        format!("{}{per}", self.unit.written(value))
    }

    /// In which seconds it happened, for what is counted over a while.
    pub fn within(&self) -> String {
        match self.value {
            Increase(_, seconds) => format!(" in {seconds} s"),
            _ => String::new(),
        }
    }

    /// Its thresholds, the worse first.
    pub fn thresholds(&self) -> impl Iterator<Item = (AlertLevel, Threshold)> {
        let critical = self.critical.map(|threshold| (AlertLevel::Critical, threshold));
        critical.into_iter().chain(self.warning.map(|threshold| (AlertLevel::Warning, threshold)))
    }
}

const fn at(value: f64, seconds: u32) -> Option<Threshold> {
    Some(Threshold { value, seconds })
}

const HOUR: f64 = 3_600.0;
const GIB: f64 = (1_u64 << 30) as f64;

/// The share that is away of as many validators as end the quorum by their absence.
const VALIDATORS_AWAY: Expr = Ratio(
    &Less(&Now("bitcraps_validators"), &Now("bitcraps_validators_heard")),
    &Sum(&Less(&Now("bitcraps_validators"), &Now("bitcraps_validators_quorum")), &Fixed(1.0)),
);

/// Intents that the network turned away because the tick, which was behind, had no room: they do not arrive there.
const EDGE_BUSY: Expr = Rate("bitcraps_net_intents_busy_total", 30);

/// All rules, the worst first.
pub const RULES: &[Rule] = &[
    Rule {
        name: "NoProgress",
        value: Now("bitcraps_stalled_seconds"),
        unit: Unit::Seconds,
        side: Side::Above,
        warning: at(10.0, 0),
        critical: at(30.0, 0),
        title: "nothing goes on",
        meaning: "Intents or bets wait and no block is decided here, a decided block has no beacon, or the disk has no room. Bets stay as they are; nothing is lost.",
        steps: &[
            "`/readyz` says what stands still: which thread, the disk, or which height.",
            "Among several validators: enough of them must be reachable. Look at the others' `/readyz`, and at the clocks.",
            "Alone: look at the log for the disk, and restart the node if a thread does not move.",
        ],
    },
    Rule {
        name: "ThreadFrozen",
        value: Now("bitcraps_threads_frozen"),
        unit: Unit::Count,
        side: Side::Above,
        warning: None,
        critical: at(0.0, 0),
        title: "a thread stands still",
        meaning: "One thread of the node has not moved for longer than any of its work takes. What depends on it waits.",
        steps: &[
            "`/readyz` names the thread. `storage`: the disk does not answer; look at the kernel's log and at other writers.",
            "`disk`, which asks for the room there: the session's disk hangs, or is very slow. `monitor`: the system does not say how it is. `dashboard`, which answers: only the log can say it.",
            "`snapshots`, `archive` or `serving`: the disk is slow, or something else reads and writes much. Play goes on; meanwhile there are no snapshots, full segments are not compressed, or nodes that are behind get no answers.",
            "`alerts` or `reload`: play goes on. Meanwhile the webhook, the program or the letters of `[alerts]` do not tell what changes, which the log has, or SIGHUP is not followed; look whether the file of the passphrase and the programs of `[alerts]` lie where nothing answers. Restart once it suits.",
            "`net`, `tick` or a worker: the machine is short of processors, or the program hangs. Keep `gdb -p PID -batch -ex 'thread apply all bt'`, then restart.",
        ],
    },
    Rule {
        name: "DiskFull",
        value: Now("bitcraps_disk_full"),
        unit: Unit::Count,
        side: Side::Above,
        warning: None,
        critical: at(0.0, 0),
        title: "the disk has no room",
        meaning: "This node stands still, and intents that it is sent are answered with DISK_FULL. A lone validator's chain stands still with it; of several, the others go on while they are a quorum. Nothing is lost; it goes on once there is room.",
        steps: &[
            "Make room on the disk of the session; the node tries again every second.",
            "`bitcraps db stats` shows what takes the room; where that are whole segments, lower `storage.bytes_max` before the next start.",
            "Heads (`journal/*.head`) are bounded by nothing: where they take the room, what helps is a larger disk, or, where other nodes have the chain, an empty session that begins at their snapshot (docs/operating.md, a lost log).",
        ],
    },
    Rule {
        name: "Alarm",
        value: Increase("bitcraps_alarms_total", 300),
        unit: Unit::Count,
        side: Side::Above,
        warning: None,
        critical: at(0.0, 0),
        title: "something was seen that must not happen",
        meaning: "A validator contradicted itself or runs twice, or another state than this node's was proposed or certified. The log says which.",
        steps: &[
            "Read the log for the line of level ERROR; it names the validator and the height.",
            "`bitcraps replay` checks this node's own record; `bitcraps bisect` finds the first difference to another's.",
            "Tell the other operators. A validator that contradicts itself runs twice, or lies.",
        ],
    },
    Rule {
        name: "PastGone",
        value: Now("bitcraps_past_gone"),
        unit: Unit::Count,
        side: Side::Above,
        warning: None,
        critical: at(0.0, 60),
        title: "nobody has the blocks that this node lacks",
        meaning: "It was away for longer than the others keep blocks: of those that are ahead, more than may be faulty say that they have given up the one that comes next here, and no other tells it. What it has is whole, and it does not go on by itself.",
        steps: &[
            "`bitcraps health --config FILE --cluster` shows where each of them stands.",
            "Ask the other operators whether one of them keeps more (`storage.bytes_max`): once that node is connected, this one goes on.",
            "Otherwise it begins anew, as after a disk that is lost: `A lost log` in docs/operating.md. It gets a snapshot from the others; keep the old directory until it is level.",
        ],
    },
    Rule {
        name: "ValidatorsAway",
        value: VALIDATORS_AWAY,
        unit: Unit::Ratio,
        side: Side::Above,
        warning: at(0.0, 60),
        // All of them together are 100 %, and one less of 128 validators' is 98 %.
        critical: at(0.99, 30),
        title: "other validators are not heard",
        meaning: "This validator is not connected with all others. It is 100 % where so many are away that the rest are no quorum: then nothing is decided.",
        steps: &[
            "`bitcraps health --config FILE --cluster` says who is away, and how many more may go.",
            "Where all others are away, look at this node's own network: the firewall, `net.listen`, and the addresses in `net.validators`.",
            "Tell the operators of those that are away. One whose process runs twice is refused by the others: its log says so.",
        ],
    },
    Rule {
        name: "MemoryHigh",
        value: Ratio(&Now("bitcraps_memory_bytes"), &Now("bitcraps_memory_budget_bytes")),
        unit: Unit::Ratio,
        side: Side::Above,
        warning: at(0.78, 60),
        critical: at(0.98, 60),
        title: "memory is nearly used up",
        meaning: "The process has most of the memory that it may have. Beyond it the system may end it; it comes back with all that had a receipt.",
        steps: &[
            "Look at connections and buffers on the dashboard: `net.buffer_bytes_max` bounds what they hold.",
            "Lower `net.buffer_bytes_max` and `net.connections_max` and restart, or raise `memory.budget_bytes` and the control group's bound.",
            "Tables and accounts have theirs from the start, `bitcraps_memory_columns_bytes`: genesis says how many there are, and no setting makes it less.",
            "If it grows without more connections or tables, keep the metrics and report it.",
        ],
    },
    Rule {
        name: "ConnectionsHigh",
        value: Ratio(&Now("bitcraps_connections"), &Now("bitcraps_connections_max")),
        unit: Unit::Ratio,
        side: Side::Above,
        warning: at(0.80, 10),
        critical: at(0.95, 10),
        title: "connections are nearly used up",
        meaning: "Soon nobody else can come in: further connections are refused before the handshake.",
        steps: &[
            "`bitcraps_net_refused_address_total` and the log tell a crowd from one address that connects too often.",
            "Raise `net.connections_max`, and `net.buffer_bytes_max` with it (165 KiB a playing connection), and restart.",
        ],
    },
    Rule {
        name: "BuffersHigh",
        value: BUFFERS_USED,
        unit: Unit::Ratio,
        side: Side::Above,
        warning: at(0.80, 10),
        critical: at(0.95, 10),
        title: "connection buffers are nearly used up",
        meaning: "A further connection is refused, and one that begins to play is closed with FULL.",
        steps: &["Raise `net.buffer_bytes_max`: 165 KiB for each that plays, 13 KiB for each that is idle; restart."],
    },
    Rule {
        name: "ReceiptSlow",
        value: Ratio(&Quantile(0.95, "bitcraps_receipt_seconds", 30), &Now("bitcraps_receipt_target_seconds")),
        unit: Unit::Ratio,
        side: Side::Above,
        warning: at(1.0, 30),
        critical: at(2.0, 30),
        title: "receipts take longer than they may",
        meaning: "One in twenty intents waits longer for its receipt than 50 ms with one validator, or 150 ms with several, where genesis has the interval of blocks that `init` writes, 10 or 40 ms; a longer one is added. That is 100 %. Players see it.",
        steps: &[
            "Look at the tick, at disk syncs and, among several validators, at decisions: they are the parts of it.",
            "Look at processors busy and at intents without a receipt: a crowd that sends more than the node can do waits.",
            "Take fewer intents (`net.intents_per_connection_per_s`), or a machine with more cores.",
        ],
    },
    Rule {
        name: "DecisionSlow",
        value: Quantile(0.95, "bitcraps_decision_seconds", 30),
        unit: Unit::Seconds,
        side: Side::Above,
        warning: at(0.05, 30),
        critical: at(0.1, 30),
        title: "blocks are decided slowly",
        meaning: "Among several validators, one in twenty blocks takes longer than this from its time to its decision. Players wait for receipts as much longer. A lone validator decides at once and has no such alert.",
        steps: &[
            "Compare the clocks of the validators: the time is measured from the proposer's clock.",
            "Look at the tick and at disk syncs: both are part of it.",
            "Look at round trips to the other validators.",
        ],
    },
    Rule {
        name: "SyncSlow",
        value: Quantile(0.95, "bitcraps_sync_seconds", 30),
        unit: Unit::Seconds,
        side: Side::Above,
        warning: at(0.02, 30),
        critical: at(0.2, 30),
        title: "the disk syncs slowly",
        meaning: "Receipts and dice wait for the disk. Beyond 48 ticks that wait, ticks are skipped.",
        steps: &[
            "`bitcraps_pressure_io_ratio` and `iostat -x 1` tell whether others write to the same disk.",
            "A disk with power-loss protection syncs in less than a millisecond; a network disk seldom does.",
        ],
    },
    Rule {
        name: "TicksOverrun",
        value: Ratio(&Rate("bitcraps_ticks_overrun_total", 30), &Rate("bitcraps_ticks_total", 30)),
        unit: Unit::Ratio,
        side: Side::Above,
        warning: at(0.05, 30),
        critical: at(0.5, 30),
        title: "ticks take longer than they have",
        meaning: "The work of a tick does not fit into 5 ms. Latency grows first, then intents are shed.",
        steps: &[
            "Look at processors busy and at `bitcraps_pressure_cpu_ratio`: the machine may be shared.",
            "Raise `node.threads` where there are cores, or take fewer intents (`net.intents_per_connection_per_s`).",
        ],
    },
    Rule {
        name: "TicksMissed",
        value: Rate("bitcraps_ticks_missed_total", 30),
        unit: Unit::Count,
        side: Side::Above,
        warning: at(2.0, 30),
        critical: at(100.0, 30),
        title: "ticks are missed",
        meaning: "The node was not run when it was due: its processor was taken, or ticks overran. 200 a second is all of them.",
        steps: &["As for ticks that overrun.", "On a virtual machine, look at stolen time (`vmstat 1`, column st)."],
    },
    Rule {
        name: "Shedding",
        value: Ratio(
            &Sum(&Rate("bitcraps_intents_short_total", 30), &EDGE_BUSY),
            &Sum(&Rate("bitcraps_intents_arrived_total", 30), &EDGE_BUSY),
        ),
        unit: Unit::Ratio,
        side: Side::Above,
        warning: at(0.01, 30),
        critical: at(0.1, 30),
        title: "intents are not taken",
        meaning: "The node has no room for them, or no time: queues are full, its disk is, it ends, or its clock was set back. Clients are told, and send them again. What a sender is to blame for is not counted.",
        steps: &[
            "Look at intents without a receipt, at disk syncs and at ticks: what is slow fills the queue before it.",
            "If one connection sends most of them, lower `net.intents_per_connection_per_s`.",
        ],
    },
    Rule {
        name: "IntentsWaiting",
        value: Ratio(&Now("bitcraps_intents_unanswered"), &Fixed(engine::limits::PENDING_MAX as f64)),
        unit: Unit::Ratio,
        side: Side::Above,
        warning: at(0.5, 10),
        critical: at(0.9, 10),
        title: "many intents wait for a block",
        meaning: "More intents come than blocks take. What is beyond the queue is shed with BUSY.",
        steps: &[
            "As for slow receipts; one of their parts is the cause, unless a crowd sends more than the node can do.",
        ],
    },
    Rule {
        name: "CpuHigh",
        value: Ratio(&CPUS_BUSY, &Now("bitcraps_cpus")),
        unit: Unit::Ratio,
        side: Side::Above,
        warning: at(0.70, 300),
        critical: at(0.95, 60),
        title: "processors are nearly used up",
        meaning: "There is little room for a burst.",
        steps: &[
            "`bitcraps_thread_cpu_seconds_total` says which thread it is.",
            "Take fewer intents, or a machine with more cores.",
        ],
    },
    Rule {
        name: "DiskLow",
        value: Now("bitcraps_disk_room_bytes"),
        unit: Unit::Bytes,
        side: Side::Below,
        warning: at(2.0 * GIB, 60),
        critical: at(0.5 * GIB, 60),
        title: "little is free on the disk beyond what is to stay free",
        meaning: "When that is used up this node stands still, and with it the chain of a lone validator, or of several that are no quorum without it. Snapshots pause before that, and restarts take longer.",
        steps: &[
            "`bitcraps db stats --config FILE` shows what takes the room and when it is used up.",
            "Make room, or lower `storage.bytes_max` where whole segments take it.",
            "Heads (`journal/*.head`) are bounded by nothing: where they take the room, what helps is a larger disk, or, where other nodes have the chain, an empty session that begins at their snapshot (docs/operating.md, a lost log).",
        ],
    },
    Rule {
        name: "DiskFilling",
        value: Now("bitcraps_disk_fills_seconds"),
        unit: Unit::Seconds,
        side: Side::Below,
        warning: at(7.0 * 24.0 * HOUR, 300),
        critical: at(24.0 * HOUR, 300),
        title: "the disk will be full soon",
        meaning: "At its pace of the last five minutes the session fills what is free; once it has come to `storage.bytes_max`, at that of the last six hours. Where that bound stops it before, there is no such alert.",
        steps: &[
            "Set `storage.bytes_max` below what the disk has; where it has been reached, snapshots, caches and heads need room beside it.",
            "`bitcraps db stats --config FILE` projects when the bound is reached and when heads fill the disk behind it, and shows what takes the room.",
            "Heads (`journal/*.head`) are bounded by nothing: where they take the room, what helps is a larger disk, or, where other nodes have the chain, an empty session that begins at their snapshot (docs/operating.md, a lost log).",
        ],
    },
    Rule {
        name: "SnapshotsFail",
        value: Increase("bitcraps_snapshots_failed_total", 600),
        unit: Unit::Count,
        side: Side::Above,
        warning: at(0.0, 0),
        critical: None,
        title: "a snapshot came to nothing",
        meaning: "The next restart begins at an older one and takes longer. Nothing is lost.",
        steps: &[
            "The log says why; most often there was no room.",
            "`bitcraps db check` looks at those that there are.",
            "Keep `snapshots/`: where `bitcraps db stats` says that the heights begin above 1, no node starts without it.",
        ],
    },
    Rule {
        name: "SnapshotsPaused",
        value: Now("bitcraps_snapshots_paused"),
        unit: Unit::Count,
        side: Side::Above,
        warning: at(0.0, 600),
        critical: None,
        title: "no snapshot was begun for a while",
        meaning: "Memory or the disk is scarce, so snapshots wait. The next restart executes as much more, and old blocks stay longer.",
        steps: &[
            "`/healthz` and the log say which of the two it is, and since when.",
            "Memory: raise `memory.budget_bytes` or the control group's bound, or lower `net.buffer_bytes_max`. Disk: make room.",
        ],
    },
    Rule {
        name: "NewcomersRefused",
        value: Increase("bitcraps_net_refused_short_total", 60),
        unit: Unit::Count,
        side: Side::Above,
        warning: at(0.0, 0),
        critical: None,
        title: "newcomers are refused, because the node is short of memory or buffers",
        meaning: "Those who are in play on. Whoever tries to come in is told that there is no room, until the level falls.",
        steps: &["As for memory that is nearly used up, or for buffers: whichever of the two is high by `/healthz`."],
    },
    Rule {
        name: "Follows",
        value: Now("bitcraps_follows"),
        unit: Unit::Count,
        side: Side::Above,
        warning: at(0.0, 60),
        critical: None,
        title: "a validator does not vote",
        meaning: "Its consensus log is lost or old, so it cannot know what it signed. It votes again three heights above what a quorum of the others told.",
        steps: &[
            "Wait while heights grow: they do while somebody plays, and while a quorum of the others runs.",
            "Where nobody plays, place some bets: eight heights or so are enough.",
            "Alone, or where too many lost theirs, read `A lost log` in docs/operating.md.",
        ],
    },
    Rule {
        name: "NodeBehind",
        value: Now("bitcraps_heights_behind"),
        unit: Unit::Count,
        side: Side::Above,
        warning: at(100.0, 30),
        critical: at(1_000.0, 60),
        title: "the node is behind the others",
        meaning: "Others have settled heights that this node has not. It serves what is old, and a validator that is behind does not vote.",
        steps: &[
            "Wait while the number falls: a node that was away catches up by itself.",
            "If it does not fall, look at processors busy, at disk syncs, and at the packets that arrive.",
            "`bitcraps health --config FILE --cluster` shows where each of them stands.",
        ],
    },
    Rule {
        name: "FilesHigh",
        value: Ratio(&Now("bitcraps_open_files"), &Now("bitcraps_open_files_max")),
        unit: Unit::Ratio,
        side: Side::Above,
        warning: at(0.80, 60),
        critical: at(0.95, 60),
        title: "open files are nearly used up",
        meaning: "A file that cannot be opened stops the node. Connections need none; they share one socket.",
        steps: &[
            "Raise the limit (`ulimit -n`, `LimitNOFILE=` of the unit).",
            "If it grows by itself, keep `ls -l /proc/PID/fd` and report it.",
        ],
    },
    Rule {
        name: "SwitchesHigh",
        value: Rate("bitcraps_context_switches_total", 60),
        unit: Unit::Count,
        side: Side::Above,
        warning: at(10_000.0, 60),
        critical: None,
        title: "threads are switched often",
        meaning: "Processor time goes to switching. Usually others on the machine ask for the same cores.",
        steps: &[
            "Look for other processes that are busy.",
            "Lower `node.threads` to the cores that the node has for itself.",
        ],
    },
    Rule {
        name: "MemoryPressure",
        value: Now("bitcraps_pressure_memory_ratio"),
        unit: Unit::Ratio,
        side: Side::Above,
        warning: at(0.1, 30),
        critical: at(0.4, 30),
        title: "the machine is short of memory",
        meaning: "Tasks of the machine wait for memory, this node among them, and soon the system ends one of them.",
        steps: &[
            "Look which process grows.",
            "Give the node a control group of its own with a bound, and `memory.budget_bytes` below it.",
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiles::tests::assert_sound;

    #[test]
    fn rules_are_sound_and_worse_is_farther() {
        for rule in RULES {
            assert_sound(&rule.value);
            assert_eq!(RULES.iter().filter(|other| other.name == rule.name).count(), 1, "{}", rule.name);
            assert!(!rule.steps.is_empty() && rule.thresholds().next().is_some(), "{}", rule.name);
            if let (Some(warning), Some(critical)) = (rule.warning, rule.critical) {
                let is_worse = if rule.side == Side::Above {
                    critical.value > warning.value
                } else {
                    critical.value < warning.value
                };
                assert!(is_worse, "{}", rule.name);
            }
        }
        assert_eq!(RULES[0].page(), "no-progress");
    }
}
