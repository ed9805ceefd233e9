//! A failing run made smaller: fewer faults, players and heights, as long as the same thing breaks.

use crate::fault::Faults;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::properties::{Broken, Property};

/// Makes a plan that breaks something smaller. `run` says what comes of a plan, and `look` hears of each step that was kept.
/// What is left breaks the same property, and where that is `no-fault`, by the same panic or error.
pub fn minimise(
    plan: Plan,
    broken: &Broken,
    mut run: impl FnMut(&Plan) -> anyhow::Result<Outcome>,
    mut look: impl FnMut(&Plan),
) -> anyhow::Result<Plan> {
    // From here on the faults are named: the seed draws none any more.
    let mut plan = Plan { faults: Faults::List(plan.drawn()), ..plan };
    loop {
        let mut smaller = None;
        for candidate in candidates(&plan) {
            if run(&candidate)?.broken.is_some_and(|other| is_same(broken, &other)) {
                smaller = Some(candidate);
                break;
            }
        }
        let Some(candidate) = smaller else { return Ok(plan) };
        look(&candidate);
        plan = candidate;
    }
}

/// Whether two runs broke the same. Every panic and error there is breaks `no-fault`: there the words count too, without what
/// has a digit in it, such as heights, nodes and hashes, which are others in a smaller run.
fn is_same(one: &Broken, other: &Broken) -> bool {
    let words = |broken: &Broken| -> Vec<String> {
        let words = broken.seen.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
        words.filter(|word| !word.contains(|letter: char| letter.is_ascii_digit())).map(str::to_owned).collect()
    };
    one.property == other.property && (one.property != Property::NoFault || words(one) == words(other))
}

/// What is a little smaller than a plan, the largest steps first.
fn candidates(plan: &Plan) -> Vec<Plan> {
    let mut candidates = Vec::new();
    for heights in [plan.heights / 4, plan.heights / 2, plan.heights * 3 / 4] {
        if heights >= 5 {
            candidates.push(Plan { heights, ..plan.clone() });
        }
    }
    if let Faults::List(faults) = &plan.faults {
        for fault in faults {
            let fewer = faults.iter().copied().filter(|other| other != fault).collect();
            candidates.push(Plan { faults: Faults::List(fewer), ..plan.clone() });
        }
    }
    if plan.players > 1 {
        candidates.push(Plan { players: plan.players / 2, ..plan.clone() });
    }
    candidates
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fault::Fault;

    fn broken(property: Property, seen: &str) -> Broken {
        Broken { property, seen: seen.into() }
    }

    fn outcome(broken: Option<Broken>) -> Outcome {
        Outcome {
            broken,
            height: Default::default(),
            root_chain: [0; 32],
            virtual_ms: 0,
            faults: BTreeMap::new(),
            marks: BTreeMap::new(),
            heard: BTreeMap::new(),
            traffic: Default::default(),
            events: 0,
            receipts: 0,
            twice: 0,
            replayed: 0,
        }
    }

    #[test]
    fn what_is_left_still_breaks_and_nothing_more_can_go() {
        // Breaks where the power is cut, from 40 heights on.
        let breaks = |plan: &Plan| plan.drawn().contains(&Fault::PowerCut) && plan.heights >= 40;
        let durable = broken(Property::Durable, "");
        let run = |plan: &Plan| Ok(outcome(breaks(plan).then_some(durable.clone())));
        let plan = Plan { faults: Faults::All, ..Plan::of(7) };
        let mut steps = 0;
        let left = minimise(plan, &durable, run, |_| steps += 1).expect("it runs");
        assert_eq!(left.drawn().into_iter().collect::<Vec<_>>(), [Fault::PowerCut]);
        assert!(breaks(&left) && (left.heights, left.players) == (42, 1), "{left:?}");
        assert!(steps > 5);
    }

    #[test]
    fn another_panic_is_not_what_is_made_smaller() {
        // From 40 heights on it is one panic, and below them another.
        let (first, second) = ("node 3 stopped: height 61 is above a5c0", "node 3 stopped: no chips are left");
        let run = |plan: &Plan| {
            let seen = if plan.heights >= 40 { "node 0 stopped: height 7 is above 77ff" } else { second };
            Ok(outcome(Some(broken(Property::NoFault, seen))))
        };
        let left = |seen| minimise(Plan::of(7), &broken(Property::NoFault, seen), run, |_| ()).expect("it runs");
        assert!((40..50).contains(&left(first).heights), "the panic that was found is led to by what is left");
        // Of other properties the words say how the nodes stand, and may be others.
        let run =
            |plan: &Plan| Ok(outcome(Some(broken(Property::Progress, if plan.heights < 40 { "a" } else { "b" }))));
        let left = minimise(Plan::of(7), &broken(Property::Progress, "b"), run, |_| ()).expect("it runs");
        assert!(left.heights < 10, "{left:?}");
    }
}
