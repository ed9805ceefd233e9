//! A failing run made smaller: fewer faults, players and heights, as long as the same property breaks.

use crate::fault::Faults;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::properties::Property;

/// Makes a plan that breaks `property` smaller. `run` says what comes of a plan, and `look` hears of each step that was
/// kept. What is left breaks the same property.
pub fn minimise(
    plan: Plan,
    property: Property,
    mut run: impl FnMut(&Plan) -> anyhow::Result<Outcome>,
    mut look: impl FnMut(&Plan),
) -> anyhow::Result<Plan> {
    // From here on the faults are named: the seed draws none any more.
    let mut plan = Plan { faults: Faults::List(plan.drawn()), ..plan };
    loop {
        let mut smaller = None;
        for candidate in candidates(&plan) {
            if run(&candidate)?.broken.is_some_and(|broken| broken.property == property) {
                smaller = Some(candidate);
                break;
            }
        }
        let Some(candidate) = smaller else { return Ok(plan) };
        look(&candidate);
        plan = candidate;
    }
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
    use crate::properties::Broken;

    #[test]
    fn what_is_left_still_breaks_and_nothing_more_can_go() {
        // Breaks where the power is cut, from 40 heights on.
        let breaks = |plan: &Plan| plan.drawn().contains(&Fault::PowerCut) && plan.heights >= 40;
        let run = |plan: &Plan| {
            let broken = Broken { property: Property::Durable, seen: String::new() };
            Ok(Outcome {
                broken: breaks(plan).then_some(broken),
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
            })
        };
        let plan = Plan { faults: Faults::All, ..Plan::of(7) };
        let mut steps = 0;
        let left = minimise(plan, Property::Durable, run, |_| steps += 1).expect("it runs");
        assert_eq!(left.drawn().into_iter().collect::<Vec<_>>(), [Fault::PowerCut]);
        assert!(breaks(&left) && (left.heights, left.players) == (42, 1), "{left:?}");
        assert!(steps > 5);
    }
}
