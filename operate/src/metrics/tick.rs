//! What the tick's thread counts: its own steps, the chain, intents and the game.

use engine::message::refusal::Refusal;
use node::readings::TickReadings;

use super::metric::{Metric, Source, counter, gauge, times};
use super::unit::Unit;

/// Seconds that a receipt may take: until the next block may begin, as genesis says, and 40 ms to settle and sync it, or among several
/// validators 110 ms, for what goes back and forth between them. Nothing where nothing is known.
fn receipt_target(tick: &TickReadings) -> Option<f64> {
    let behind_ms = match tick.validators {
        0 => return None,
        1 => 40,
        _ => 110,
    };
    Some((tick.block_interval_ms + behind_ms) as f64 / 1e3)
}

/// How many validators a validator hears, which hears itself; nothing for a node that is none of them, or votes on nothing by its
/// operator's will: who does not listen misses nobody. Nor for one whose disk is full: it takes up nobody who comes or goes meanwhile,
/// and would call those away that it is connected with.
fn validators_heard(tick: &TickReadings) -> Option<f64> {
    (tick.heard > 0 && (tick.disk_full == 0 || tick.validators == 1)).then_some(tick.heard as f64)
}

/// How far it is behind. While its disk is full it takes up nothing that others tell, and would call itself level for ever.
fn heights_behind(tick: &TickReadings) -> Option<f64> {
    (tick.disk_full == 0).then_some(tick.behind as f64)
}

/// Its lines, in the order in which they are shown.
pub(super) const METRICS: &[Metric] = &[
    // Ticks.
    counter("bitcraps_ticks_total", tick!(ticks), "Ticks that were run."),
    counter(
        "bitcraps_ticks_missed_total",
        tick!(ticks_missed),
        "Ticks that the clock passed by, beyond those that left their intents to the one before.",
    ),
    counter(
        "bitcraps_ticks_stalled_total",
        tick!(ticks_stalled),
        "Ticks that were skipped because the disk was behind.",
    ),
    counter(
        "bitcraps_ticks_overrun_total",
        tick!(ticks_overrun),
        "Ticks whose work took longer than a tick has: 5 ms, and as much for each tick that left its intents to it.",
    ),
    times("bitcraps_tick_seconds", |reading| &reading.tick.tick, "A tick's work, from its inputs to its end."),
    times(
        "bitcraps_exchange_seconds",
        |reading| &reading.tick.exchange,
        "The exchange of a tick: verifying, ordering, answering.",
    ),
    times(
        "bitcraps_answer_seconds",
        |reading| &reading.tick.answer,
        "Of a tick what goes out before a height is settled.",
    ),
    times("bitcraps_settle_seconds", |reading| &reading.tick.settle, "Settling in a tick that settled."),
    times(
        "bitcraps_record_seconds",
        |reading| &reading.tick.record,
        "Of a tick handing over to the disk what it gets.",
    ),
    times("bitcraps_flush_seconds", |reading| &reading.tick.flush, "Of a tick sending what the disk has."),
    times("bitcraps_snapshot_seconds", |reading| &reading.tick.snapshot, "Of a tick a snapshot's share."),
    Metric {
        name: "bitcraps_system_seconds",
        unit: Unit::Seconds,
        source: Source::LabelledTimes("system", |reading| &reading.systems),
        help: "A system in a tick in which it ran, each of those that make up the exchange and, from `note_failed_rounds` on, settling.",
    },
    times(
        "bitcraps_acknowledgement_seconds",
        |reading| &reading.tick.acknowledgement,
        "From an intent's arrival here until it is acknowledged: its way to the tick and its signature. Where many come, that goes out with the receipt.",
    ),
    times(
        "bitcraps_receipt_seconds",
        |reading| &reading.tick.receipt,
        "From an intent's arrival here until its receipt leaves: what players wait for, without their network. Counted from the last tick that took any before it, so that where many come the mean is up to 10 ms too high, and P95 hardly.",
    ),
    gauge(
        "bitcraps_receipt_target_seconds",
        Unit::Seconds,
        |reading| receipt_target(&reading.tick),
        "What one in twenty receipts may take at most: the interval of blocks that genesis has, and 0.04 with one validator, 0.11 with several. That is 0.05 and 0.15 as `init` makes a chain.",
    ),
    times(
        "bitcraps_decision_seconds",
        |reading| &reading.tick.decision,
        "From a block's time to its decision here, among several validators; a lone one decides at once, and none is counted.",
    ),
    times(
        "bitcraps_block_seconds",
        |reading| &reading.tick.block,
        "From a block's time until it is decided and on this disk; what was decided elsewhere and is caught up with is not counted.",
    ),
    times(
        "bitcraps_sync_seconds",
        |reading| &reading.tick.sync,
        "From handing a tick's record to the disk until it is synced.",
    ),
    // The chain.
    gauge("bitcraps_height_decided", Unit::Count, tick!(now decided), "The last decided height on this node's disk."),
    gauge("bitcraps_height_settled", Unit::Count, tick!(now settled), "The last settled height on this node's disk."),
    gauge(
        "bitcraps_height_certified",
        Unit::Count,
        tick!(now certified),
        "The last height whose root a quorum answers for.",
    ),
    gauge(
        "bitcraps_heights_behind",
        Unit::Count,
        |reading| heights_behind(&reading.tick),
        "Heights that others have settled and this node has not, as more of them say than may be liars; left out while its disk is full, since it does not hear them.",
    ),
    gauge("bitcraps_validators", Unit::Count, tick!(now validators), "Validators that decide."),
    gauge(
        "bitcraps_validators_heard",
        Unit::Count,
        |reading| validators_heard(&reading.tick),
        "Those of them that are connected, this one included; left out where it is none of them, and while its disk is full, since it takes up nobody who comes or goes.",
    ),
    gauge(
        "bitcraps_validators_quorum",
        Unit::Count,
        |reading| Some(reading.tick.quorum() as f64),
        "Those of them that must agree for a height to be decided.",
    ),
    gauge(
        "bitcraps_follows",
        Unit::Count,
        tick!(now lost_its_votes),
        "1 while a validator votes on nothing, since it cannot know what it signed.",
    ),
    gauge(
        "bitcraps_past_gone",
        Unit::Count,
        tick!(now past_gone),
        "1 while nodes that are ahead say that they have given up the block that comes next here, and no other tells it.",
    ),
    gauge(
        "bitcraps_intents_unanswered",
        Unit::Count,
        tick!(now unanswered),
        "Intents that were acknowledged and have no receipt yet.",
    ),
    counter(
        "bitcraps_alarms_total",
        tick!(alarms),
        "Alarms: something was seen that must not happen, such as two votes of one validator.",
    ),
    // Intents.
    counter("bitcraps_intents_arrived_total", tick!(arrived), "Intents, pledges and openings that reached the tick."),
    counter(
        "bitcraps_intents_verified_total",
        tick!(acknowledged),
        "Intents whose signature held and that were acknowledged.",
    ),
    counter(
        "bitcraps_known_keys_rests_total",
        tick!(known_keys_rests),
        "Times that a signature which was false, or which only ZIP-215 takes, made the keys that are known rest for the next 64 batches of intents: each costs more meanwhile.",
    ),
    counter("bitcraps_intents_applied_total", tick!(applied), "Intents that blocks applied."),
    counter("bitcraps_intents_shed_total", tick!(shed), "Intents, pledges and openings that the tick did not take."),
    counter(
        "bitcraps_intents_short_total",
        tick!(short),
        "Of them, those that the node had no room or no time for, which may be sent again: BUSY, CLOSED, DISK_FULL and CLOCK_BEHIND.",
    ),
    counter("bitcraps_receipts_total", tick!(receipts), "Receipts that went out, settled and refused."),
    Metric {
        name: "bitcraps_intents_refused_total",
        unit: Unit::Count,
        source: Source::Labelled("code", |reading| {
            let codes = Refusal::ALL.iter().zip(reading.tick.refused);
            codes.map(|((_, code, _), count)| ((*code).to_owned(), count as f64)).collect()
        }),
        help: "Receipts that went out and refused an intent, by code.",
    },
    // The game.
    counter("bitcraps_rolls_total", tick!(rolls), "Rolls of all tables."),
    counter("bitcraps_bets_placed_total", tick!(bets_placed), "Bets placed or raised."),
    counter("bitcraps_bets_resolved_total", tick!(bets_resolved), "Bets won, lost, pushed or returned."),
    Metric {
        name: "bitcraps_paid_chips_total",
        unit: Unit::Chips,
        source: Source::Counter(tick!(paid_chips)),
        help: "Chips that players won beyond their wagers.",
    },
    Metric {
        name: "bitcraps_lost_chips_total",
        unit: Unit::Chips,
        source: Source::Counter(tick!(lost_chips)),
        help: "Wagers that players lost, and commissions of bets that were decided.",
    },
];

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::{TickReadings, heights_behind, receipt_target, validators_heard};

    #[test]
    fn a_validator_says_how_many_it_hears() {
        let heard = |validators, heard| validators_heard(&TickReadings { validators, heard, ..TickReadings::zeroed() });
        assert_eq!((heard(4, 4), heard(4, 1), heard(1, 1)), (Some(4.0), Some(1.0), Some(1.0)), "itself at least");
        assert_eq!((heard(4, 0), heard(0, 0)), (None, None), "without a slot, not known yet");
    }

    #[test]
    fn one_whose_disk_is_full_says_nothing_of_others() {
        let full =
            |validators| TickReadings { validators, heard: 1, behind: 3, disk_full: 1, ..TickReadings::zeroed() };
        assert_eq!((validators_heard(&full(4)), heights_behind(&full(4))), (None, None));
        assert_eq!(validators_heard(&full(1)), Some(1.0), "it is alone");
        assert_eq!(heights_behind(&TickReadings { disk_full: 0, ..full(4) }), Some(3.0));
    }

    #[test]
    fn a_receipt_may_take_the_interval_of_blocks_and_what_lies_behind_it() {
        let target = |validators, block_interval_ms| {
            receipt_target(&TickReadings { validators, block_interval_ms, ..TickReadings::zeroed() })
        };
        assert_eq!(target(0, 0), None, "nothing is known yet");
        assert_eq!((target(1, 10), target(4, 40)), (Some(0.05), Some(0.15)), "as `init` makes a chain");
        assert_eq!(target(1, 50), Some(0.09), "as `dev` makes one");
    }
}
