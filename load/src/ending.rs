//! How the nodes that a run started come to its end: whatever became of them, what was measured is kept.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use engine::hex;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::report::Goal;

/// How long the validators have to come to the height at which the highest one was.
const LEVEL: Duration = Duration::from_secs(10);
/// How often is looked whether they have.
const LOOKS: Duration = Duration::from_millis(100);

/// What the validators have come to.
pub(super) struct Ending {
    /// That all ran to the end and were level, and have one root chain where there are several.
    pub(super) goals: Vec<Goal>,
    /// The first one's session, and what it says of its root chain; none where that cannot be read.
    pub(super) recorded: Option<(PathBuf, Value)>,
}

/// Whether all nodes of a run ran to its end and were level, in words of what was not so, one for each node.
pub(super) fn goal(count: usize, problems: &[String]) -> Goal {
    let (name, wanted) = match count {
        1 => ("node at the end", "runs".to_owned()),
        _ => ("validators at the end", format!("{count} run and are level")),
    };
    let met = problems.is_empty();
    let found = if met { wanted.clone() } else { problems.join(", ") };
    Goal::new(name, wanted, found, met)
}

/// A goal that was not looked at, since something could not be read.
fn unread(name: &str, wanted: &str, problem: &anyhow::Error) -> Goal {
    Goal::new(name, wanted, format!("{problem:#}"), false)
}

/// Waits until the validators are level, for a time at most, ends them, and compares their sessions.
pub(super) fn end(cluster: &mut Cluster) -> Ending {
    let count = cluster.members.len();
    // They go on meanwhile, each by itself: none is ever at the height of the others in the same moment.
    let (height, until) = (cluster.highest(), Instant::now() + LEVEL);
    let mut problems = cluster.problems(height);
    while !problems.is_empty() && Instant::now() < until {
        std::thread::sleep(LOOKS);
        problems = cluster.problems(height);
    }
    problems.extend(cluster.stop().err().map(|problem| format!("{problem:#}")));
    let mut goals = vec![goal(count, &problems)];
    if count > 1 {
        let compared = cluster.compare();
        goals.push(match compared {
            Ok(compared) => compared.goal(),
            Err(problem) => unread("root chains", &format!("equal, all {count}"), &problem),
        });
    }
    let session = &cluster.members[0].session;
    let recorded = match audit::walker::last_settled(session) {
        Ok(last) => Some((session.clone(), json!({ "root_chain": last.map(|(_, root_chain)| hex(&root_chain)) }))),
        Err(problem) => {
            goals.push(unread("replay", "agrees", &problem));
            None
        }
    };
    Ending { goals, recorded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validator_that_died_or_stands_still_is_a_missed_target() {
        let level = goal(4, &[]);
        assert_eq!((level.found.as_str(), level.met), ("4 run and are level", true));
        let problems = ["validator 1 ended with signal: 9 (SIGKILL)", "validator 2 stands at height 156 of 315"];
        let missed = goal(4, &problems.map(str::to_owned));
        assert_eq!((missed.found, missed.met), (problems.join(", "), false));
        assert_eq!(
            (goal(1, &[]).name.as_str(), goal(1, &["ended with signal: 9".into()]).met),
            ("node at the end", false)
        );
    }
}
