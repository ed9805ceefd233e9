//! Rare states: which were reached, and how often. A simulation that never reaches one proves nothing about it.

use std::collections::{BTreeMap, BTreeSet};

use engine::Height;
use engine::io::Verdict;
use engine::message::block::{Block, Decided};
use engine::message::node::NodeMessage;
use engine::message::refusal::Refusal;
use net::wire::AnswerVerdict;

use crate::fault::Faults;
use crate::half::{Row, Wrong};
use crate::plan::Plan;

/// Every state that is counted: first those that one validator alone can reach, then those of two or three, of whom none may be
/// faulty and each must agree.
const MARKS: [&str; 27] = [
    "ticks shared a sync",
    "no room on the disk",
    "killed while it recovered",
    "a node stopped because its disk failed",
    "an opening was decided",
    "a roll was forfeited",
    "a late opening was kept without effect",
    "a foreign or copied opening was refused",
    "a player pledged anew",
    "a client that was restored opened nothing",
    "decided in a later round",
    "a round was entered by a certificate",
    "a certificate of prevotes was told",
    "a body was asked for",
    "a whole beacon was told",
    "several heights told at once",
    "all nodes were down at once",
    "a block of an earlier round was proposed again and decided",
    "a proposer lost its first turn",
    "a fence let a validator sign again",
    "a validator that lost its log follows",
    "a snapshot was transferred",
    "a validator was proven to have said two things",
    "a liar was put out",
    "a validator heard of its other life and stopped",
    "a disk was found to have lost a write",
    "a share that was none was told",
];

/// How many of [`MARKS`] a set of one can reach, and one of two or three.
const MARKS_ALONE: usize = 10;
const MARKS_ALL_AGREE: usize = 17;

/// The states that a set of so many validators can reach.
pub fn reachable(nodes: u32) -> &'static [&'static str] {
    match nodes {
        1 => &MARKS[..MARKS_ALONE],
        2 | 3 => &MARKS[..MARKS_ALL_AGREE],
        _ => &MARKS,
    }
}

/// The states that many seeds of a plan must reach. They say that the simulation as it is usually run meets what is rare: where
/// somebody chose what goes wrong, or asked for fewer players or heights, nothing is to be met.
pub fn asked(plan: &Plan) -> &'static [&'static str] {
    let usual = Plan::of(plan.seed);
    let is_usual = plan.players >= usual.players && plan.heights >= usual.heights;
    match plan.faults {
        Faults::Some | Faults::All if is_usual => reachable(plan.nodes),
        _ => &[],
    }
}

/// Counts by name.
#[derive(Default)]
pub struct Marks {
    counts: BTreeMap<&'static str, u64>,
    /// The last height whose block was looked at.
    looked: Height,
    /// Who pledged at which table.
    pledged: BTreeSet<([u8; 32], u32)>,
}

impl Marks {
    /// It happened.
    pub fn count(&mut self, mark: &'static str) {
        self.add(mark, 1);
    }

    /// It happened so many times.
    ///
    /// # Panics
    /// If it is not on the list.
    pub fn add(&mut self, mark: &'static str, times: u64) {
        assert!(MARKS.contains(&mark), "`{mark}` is not on the list of what may be counted");
        *self.counts.entry(mark).or_default() += times;
    }

    /// How often something was reached.
    pub fn times(&self, mark: &str) -> u64 {
        self.counts.get(mark).copied().unwrap_or_default()
    }

    /// What was reached at all.
    pub fn reached(self) -> BTreeMap<&'static str, u64> {
        self.counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// A node said something to others.
    pub fn hear(&mut self, message: &NodeMessage) {
        match message {
            NodeMessage::Round(_) => self.count("a round was entered by a certificate"),
            NodeMessage::Polka(_) => self.count("a certificate of prevotes was told"),
            NodeMessage::AskBody(_) => self.count("a body was asked for"),
            NodeMessage::Range(entries) if entries.len() > 1 => self.count("several heights told at once"),
            NodeMessage::Beacon(_) => self.count("a whole beacon was told"),
            _ => {}
        }
    }

    /// A height was settled for the first time: what its pledges and openings came to.
    pub fn settled(&mut self, block: &Block, verdicts: &[Verdict]) {
        for (row, verdict) in block.pledges.iter().zip(verdicts.iter().skip(block.intents.len())) {
            match (row.is_opening(), verdict) {
                (true, Verdict::Applied) => self.count("an opening was decided"),
                (true, Verdict::Refused(Refusal::StaleRoll | Refusal::OpenedLate)) => {
                    self.count("a late opening was kept without effect");
                }
                (false, Verdict::Applied) if !self.pledged.insert((row.key, row.table)) => {
                    self.count("a player pledged anew");
                }
                _ => {}
            }
        }
    }

    /// A player heard of a row on which something was wrong.
    pub fn heard(&mut self, row: &Row, verdict: AnswerVerdict) {
        let is_refused = matches!(verdict, AnswerVerdict::Receipt { verdict: Verdict::Refused(_), .. });
        if row.wrong == Some(Wrong::Foreign) && is_refused {
            self.count("a foreign or copied opening was refused");
        }
    }

    /// A node recorded a decided block, of a set of so many.
    pub fn decided(&mut self, decided: &Decided, nodes: u32) {
        let header = &decided.block.header;
        if header.height <= self.looked {
            return;
        }
        self.looked = header.height;
        let round = decided.certificate.round;
        if round > 0 {
            self.count("decided in a later round");
        }
        if round > header.round {
            self.count("a block of an earlier round was proposed again and decided");
        }
        if header.round == 0 && u64::from(header.proposer) != header.height.0 % u64::from(nodes) {
            self.count("a proposer lost its first turn");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_asked_for_what_it_can_reach() {
        let plan = |nodes, faults: &str| Plan { nodes, faults: faults.parse().expect("faults"), ..Plan::of(1) };
        let (liar, later) = ("a liar was put out", "decided in a later round");
        for (nodes, faults, count, is_of_liars, is_of_rounds) in [
            (1, "some", 10, false, false),
            (2, "some", 17, false, true),
            (3, "all", 17, false, true),
            (4, "some", 27, true, true),
            (13, "all", 27, true, true),
            (1, "none", 0, false, false),
            (4, "none", 0, false, false),
            (4, "kill,two-lives", 0, false, false),
        ] {
            let asked = asked(&plan(nodes, faults));
            let of = (asked.len(), asked.contains(&liar), asked.contains(&later));
            assert_eq!(of, (count, is_of_liars, is_of_rounds), "{nodes} nodes, {faults}");
        }
        let usual = plan(4, "some");
        for fewer in [Plan { players: 5, ..usual.clone() }, Plan { heights: 299, ..usual }] {
            assert!(asked(&fewer).is_empty(), "{fewer:?}");
        }
    }

    #[test]
    fn only_what_happened_was_reached() {
        let mut marks = Marks::default();
        marks.add(MARKS[0], 0);
        marks.count(MARKS[1]);
        marks.count(MARKS[1]);
        assert_eq!(marks.reached(), BTreeMap::from([(MARKS[1], 2)]));
    }
}
