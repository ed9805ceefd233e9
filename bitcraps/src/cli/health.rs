//! `health`: how nodes are, asked over QUIC by the status message.

mod together;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use engine::hex;
use engine::io::NodeStatus;
use serde_json::{Value, json};
use storage::read_genesis;

use self::together::{Asker, Found, Named, Together, others, own, problem_alone};

use super::args::OutputArgs;
use super::config::load;
use words::{Failure, counted, thousands};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps health 127.0.0.1:7400\n  bitcraps health --config my-node/bitcraps.toml --cluster\n  bitcraps health --config my-node/bitcraps.toml --before-restart && systemctl restart bitcraps\n  bitcraps health --config my-node/bitcraps.toml --after-restart\n\nExit codes: 0 if all is well, 7 if a node does not answer, is not ready, or the gate says wait."
)]
pub struct HealthArgs {
    /// The node: HOST:PORT. Without it, the one of --config.
    #[arg(value_name = "NODE")]
    node: Option<String>,
    /// A node's configuration: where it listens, and who the other validators are.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask every validator: who is behind, who is away, and how many more may go.
    #[arg(long, requires = "config")]
    cluster: bool,
    /// Whether this node may be stopped now: the others are a quorum without it, and level; or there are no others.
    #[arg(long, requires = "config", conflicts_with = "cluster")]
    before_restart: bool,
    /// Wait until this node is back: level with the others, and voting if it is a validator.
    #[arg(long, requires = "config", conflicts_with_all = ["cluster", "before_restart"])]
    after_restart: bool,
    /// Seconds that --after-restart waits at most.
    #[arg(long, default_value_t = 60, value_name = "S", requires = "after_restart",
          value_parser = clap::value_parser!(u64).range(..=TIMEOUT_MAX_S))]
    timeout: u64,
    #[command(flatten)]
    output: OutputArgs,
}

/// A day: whoever waits longer looks, and no clock counts as many seconds as fit into a number.
const TIMEOUT_MAX_S: u64 = 86_400;
/// How often a node is asked while it is waited for.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Runs the command.
pub fn run(args: &HealthArgs) -> anyhow::Result<()> {
    let config = args.config.as_deref().map(|file| load(file, &[])).transpose()?.map(|layered| layered.config);
    let asker = Asker::new()?;
    let node = match (&args.node, &config) {
        (Some(node), _) => Named { address: node.clone(), key: None },
        (None, Some(config)) => own(config),
        (None, None) => {
            let text = "say which node: HOST:PORT, or --config FILE for the one of that configuration";
            return Err(Failure::Usage(text.into()).into());
        }
    };
    if !node.address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        return Err(
            Failure::Usage(format!("{}: a node is named HOST:PORT, such as 127.0.0.1:7400", node.address)).into()
        );
    }
    let Some(config) = config.filter(|_| args.cluster || args.before_restart || args.after_restart) else {
        return one(args, &asker.ask(&[node])[0]);
    };
    // The chain of the configuration's session says who must be there, whoever answers.
    let (genesis, chain) = read_genesis(&config.node.data)?;
    let nodes: Vec<Named> = std::iter::once(node).chain(others(&config)).collect();
    let all = || Together::of(asker.ask(&nodes), chain, genesis.validators.len());
    if args.before_restart {
        return before_restart(args, &all());
    }
    if args.after_restart {
        return after_restart(args, all);
    }
    cluster(args, &all())
}

fn one(args: &HealthArgs, found: &Found) -> anyhow::Result<()> {
    let said = found.said.as_ref().map_err(|lost| Failure::Unreachable(format!("{}: {lost}", found.address)))?;
    let is = problem_alone(&said.status, said.status.standing.settled);
    if args.output.is_for_people() {
        say_node(found, is.as_deref())?;
    } else {
        say!("{}", object(found, is.as_deref()));
    }
    match is {
        None => Ok(()),
        Some(why) => Err(Failure::Unreachable(format!("{} is not ready: {why}", found.address)).into()),
    }
}

/// Says how a node is; a terminal seldom has room for it in one line.
fn say_node(found: &Found, problem: Option<&str>) -> std::io::Result<()> {
    super::out::hanging(&line(found, problem), 4)
}

/// A node in a line, with what is wrong with it.
fn line(found: &Found, problem: Option<&str>) -> String {
    let said = match &found.said {
        Ok(said) => said,
        Err(lost) => return format!("{:<24} away: {lost}", found.address),
    };
    let NodeStatus { standing, connections, nodes, order, .. } = said.status;
    let missing = match order.missing_shares.slots().next() {
        Some(_) => format!(", no share of the beacon from validators {}", order.missing_shares),
        None => String::new(),
    };
    let part =
        order.slot.map_or_else(|| "follower".to_owned(), |slot| format!("validator {slot} of {}", order.validators));
    let is = problem.unwrap_or("good");
    format!(
        "{:<24} {is}: `{}`, {part}, height {} ({} certified), round {}, proposer {}, {}, {}{missing}",
        found.address,
        said.name,
        thousands(standing.settled.0),
        thousands(standing.certified.0),
        order.round,
        order.proposer,
        counted(nodes.into(), "node"),
        counted(connections.into(), "connection"),
    )
}

fn object(found: &Found, problem: Option<&str>) -> Value {
    let said = match &found.said {
        Ok(said) => said,
        Err(lost) => return json!({"address": found.address, "ok": false, "problem": lost}),
    };
    let NodeStatus { standing, connections, nodes, behind, furthest, order } = said.status;
    json!({
        "address": found.address,
        "ok": problem.is_none(),
        "problem": problem,
        "key": hex(&said.key),
        "name": said.name,
        "chain": hex(&said.chain),
        "decided": standing.decided.0,
        "settled": standing.settled.0,
        "certified": standing.certified.0,
        "root_chain": hex(&standing.root_chain),
        "is_silent": standing.is_silent,
        "disk_full": standing.disk_full,
        "connections": connections,
        "nodes": nodes,
        "nodes_behind": behind,
        "furthest_behind": furthest.map(|(key, settled)| json!({"key": hex(&key), "settled": settled.0})),
        "round": order.round,
        "proposer": order.proposer,
        "slot": order.slot,
        "validators": order.validators,
        // Whoever comes or goes while its disk is full is not taken up.
        "validators_heard": (!standing.disk_full).then_some(order.heard),
        "missing_shares": order.missing_shares.slots().collect::<Vec<_>>(),
        "receipts": order.receipts,
    })
}

fn cluster(args: &HealthArgs, together: &Together) -> anyhow::Result<()> {
    if args.output.is_for_people() {
        for found in &together.found {
            say_node(found, together.problem_alone(found).as_deref())?;
        }
        say!("{}", together.verdict());
    } else {
        let nodes = together.found.iter().map(|found| object(found, together.problem_alone(found).as_deref()));
        say!(
            "{}",
            json!({
                "ok": together.is_well(),
                "nodes": nodes.collect::<Vec<Value>>(),
                "highest": together.highest.0,
                "validators": together.validators,
                "quorum": together.quorum,
                "good": together.good(),
                "may_go": together.may_go(),
            })
        );
    }
    if together.is_well() { Ok(()) } else { Err(Failure::Unreachable(together.verdict()).into()) }
}

/// Whether the first of the nodes may be stopped.
fn before_restart(args: &HealthArgs, together: &Together) -> anyhow::Result<()> {
    let (count, quorum, without) = (together.validators, together.quorum, together.good_without_own());
    let (has_no_slot, alone) = (together.own_has_no_slot(), together.own_is_alone());
    let may = has_no_slot || alone || without >= quorum;
    if !args.output.is_for_people() {
        say!(
            "{}",
            json!({"ok": may, "has_no_slot": has_no_slot, "alone": alone, "good_without_it": without, "quorum": quorum})
        );
    }
    let help = format!("without it {without} of {count} validators help to decide, and {quorum} must");
    if !may {
        return Err(Failure::Unreachable(format!("{help}: wait")).into());
    }
    if args.output.is_for_people() {
        let why = match (has_no_slot, alone) {
            (true, _) => "it follows, and the validators need it for nothing",
            (_, true) => {
                "it is the only validator: nothing is decided while it is stopped, and nobody can be waited for"
            }
            _ => &help,
        };
        say!("it may be stopped: {why}");
    }
    Ok(())
}

/// Waits until the first of the nodes is back.
fn after_restart(args: &HealthArgs, all: impl Fn() -> Together) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(args.timeout);
    loop {
        let together = all();
        let own = &together.found[0];
        let Some(missing) = together.problem_alone(own) else {
            if args.output.is_for_people() {
                say_node(own, None)?;
            } else {
                say!("{}", object(own, None));
            }
            return Ok(());
        };
        if Instant::now() >= until {
            return Err(Failure::Unreachable(format!("{} is not back: {missing}", own.address)).into());
        }
        std::thread::sleep(ASK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: HealthArgs,
    }

    #[test]
    fn a_time_that_no_clock_counts_is_refused() {
        let timeout = |text: &str| {
            let line = ["health", "--config", "a.toml", "--after-restart", "--timeout", text];
            Line::try_parse_from(line).map(|line| line.args.timeout).map_err(|error| error.to_string())
        };
        assert_eq!(timeout("0"), Ok(0));
        assert_eq!(timeout("86400"), Ok(86_400));
        for text in ["86401", "18446744073709551615"] {
            assert!(timeout(text).is_err_and(|said| said.contains("--timeout")), "{text}");
        }
    }
}
