//! Answers that come late: which question an answer belongs to, when the node has been asked for something else since, or for nothing.
//!
//! A range takes longer over a narrow line than another node is waited for. What it brings is as good as before: if it were thrown away,
//! a node behind such a line would fetch most heights twice and more.

use engine::{Height, PeerId};

use super::{ASK_MS, Asked, CatchUp};

/// Milliseconds after which nobody waits for the answer any more.
const LATE_MS: u64 = 30_000;
/// Questions to one node that lapsed and may still be answered: the last ones.
const LATE_OF_NODE_MAX: usize = 2;

const _: () = assert!(ASK_MS < LATE_MS, "whoever is late has longer than whoever is not");

impl CatchUp {
    /// Puts those questions aside that have lapsed: others are asked now, and these may still be answered.
    pub(super) fn put_lapsed_aside(&mut self, now_ms: u64, is_here: impl Fn(PeerId) -> bool, settled: Height) {
        let has_lapsed = |asked: &mut Asked| asked.until_ms <= now_ms;
        for lapsed in self.asked.extract_if(.., has_lapsed) {
            let of_node = |other: &Asked| other.of == lapsed.of;
            if self.late.iter().filter(|other| of_node(other)).count() == LATE_OF_NODE_MAX {
                let oldest = self.late.iter().position(of_node).expect("counted above");
                self.late.remove(oldest);
            }
            self.late.push(Asked { until_ms: now_ms + LATE_MS, ..lapsed });
        }
        self.asked.retain(|asked| is_here(asked.of));
        let is_of_use = |late: &Asked| late.until_ms > now_ms && !late.range_ends_by(settled);
        self.late.retain(|late| is_of_use(late) && is_here(late.of));
    }

    /// The question to a node that an answer belongs to, which is asked no more, and whether it was open: by the first height that the
    /// answer tells. One that nobody asked for answers nothing, and leaves the question open that the node has yet to answer.
    pub(super) fn take_question(&mut self, from: PeerId, first: Height) -> Option<(Asked, bool)> {
        let begins = |asked: &Asked| asked.of == from && asked.range.from == first;
        let covers = |asked: &Asked| asked.of == from && asked.covers(first);
        // A late question may cover what an open one begins with, and the other way round.
        for is_it in [&begins as &dyn Fn(&Asked) -> bool, &covers] {
            if let Some(place) = self.asked.iter().position(is_it) {
                return Some((self.asked.swap_remove(place), true));
            }
            if let Some(place) = self.late.iter().position(is_it) {
                return Some((self.late.remove(place), false));
            }
        }
        None
    }
}
