//! `health`: how nodes are, asked over QUIC by the status message.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use engine::io::NodeStatus;
use engine::{Hash, Height, hex};
use net::client::{Endpoint, any_socket, status::Asking};
use net::tls::Identity;
use node::config::Config;
use node::layers::Layered;
use order::signature::NetKey;
use serde_json::{Value, json};

use super::args::OutputArgs;
use super::{Failure, thousands};
use keys::{identity, keyfile};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps health 127.0.0.1:7400\n  bitcraps health --config my-node/bitcraps.toml --cluster\n  bitcraps health --config my-node/bitcraps.toml --before-restart && systemctl restart bitcraps\n  bitcraps health --config my-node/bitcraps.toml --after-restart\n\nExit codes: 0 if all is well, 7 if a node does not answer, is not ready, or the gate says wait."
)]
pub struct HealthArgs {
    /// The node: HOST:PORT. Without it, the one of --config.
    #[arg(value_name = "NODE", required_unless_present = "config")]
    node: Option<String>,
    /// A node's configuration: where it listens, and who the other validators are.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask every validator: who is behind, who is away, and how many more may go.
    #[arg(long, requires = "config")]
    cluster: bool,
    /// Whether this node may be stopped now: the others are a quorum without it, and level.
    #[arg(long, requires = "config", conflicts_with = "cluster")]
    before_restart: bool,
    /// Wait until this node is back: level with the others, and voting if it is a validator.
    #[arg(long, requires = "config", conflicts_with_all = ["cluster", "before_restart"])]
    after_restart: bool,
    /// Seconds that --after-restart waits at most.
    #[arg(long, default_value_t = 60, value_name = "S", requires = "after_restart")]
    timeout: u64,
    #[command(flatten)]
    output: OutputArgs,
}

/// Heights by which a node may be behind the highest and count as level: what is decided and on its way.
const LEVEL_HEIGHTS: u64 = 8;
/// How often a node is asked while it is waited for.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// What was found at one address.
struct Found {
    address: String,
    said: Result<Said, String>,
}

/// What a node said.
struct Said {
    key: [u8; 32],
    name: String,
    chain: Hash,
    status: NodeStatus,
}

/// Whom to ask, and as whom.
struct Asker {
    runtime: tokio::runtime::Runtime,
    endpoint: Endpoint,
    identity: Identity,
}

impl Asker {
    fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = {
            let _inside = runtime.enter();
            any_socket(1 << 20).context("a UDP socket")?
        };
        // A key for this question alone: nothing is asked as anybody.
        let identity = identity(&NetKey::from_seed(&*keyfile::draw()?))?;
        Ok(Self { runtime, endpoint, identity })
    }

    fn ask(&self, address: &str) -> Found {
        let said = self.runtime.block_on(async {
            let mut found = tokio::net::lookup_host(address).await.map_err(|error| error.to_string())?;
            let at = found.next().ok_or_else(|| "the name has no address".to_owned())?;
            let said = |lost: net::client::Lost| lost.to_string();
            let mut asking = Asking::connect(&self.endpoint, &self.identity, at).await.map_err(said)?;
            let status = asking.ask().await.map_err(said)?;
            let (key, chain, name) = (asking.key, asking.welcome.chain, asking.welcome.name.clone());
            asking.close();
            Ok(Said { key, name, chain, status })
        });
        Found { address: address.to_owned(), said }
    }
}

/// What all validators say together.
struct Together {
    found: Vec<Found>,
    highest: Height,
    quorum: usize,
    /// Validators that answer, vote and are level.
    good: usize,
}

impl Together {
    fn of(found: Vec<Found>) -> Self {
        let count = found.len();
        let said = || found.iter().filter_map(|found| found.said.as_ref().ok());
        let highest = said().map(|said| said.status.standing.settled).max().unwrap_or_default();
        let quorum = count - (count.saturating_sub(1)) / 3;
        let good = said().filter(|said| problem(&said.status, highest).is_none()).count();
        Self { found, highest, quorum, good }
    }

    /// How many help to decide if one of them does not.
    fn good_without(&self, one: usize) -> usize {
        let good = |found: &Found| found.said.as_ref().is_ok_and(|said| problem(&said.status, self.highest).is_none());
        self.found.iter().enumerate().filter(|(at, found)| *at != one && good(found)).count()
    }

    /// How many more may go before heights are no longer decided; nothing if they are not now.
    fn may_go(&self) -> Option<usize> {
        self.good.checked_sub(self.quorum)
    }
}

/// Why a node does not count as one that helps to decide.
fn problem(status: &NodeStatus, highest: Height) -> Option<String> {
    let behind = highest.0.saturating_sub(status.standing.settled.0);
    match status.unready() {
        Some(why) => Some(why.to_owned()),
        None if behind > LEVEL_HEIGHTS => Some(format!("{} heights behind", thousands(behind))),
        None => None,
    }
}

/// Where a node of this configuration is reached from this machine.
fn own_address(config: &Config) -> String {
    let mut at: SocketAddr = config.net.listen;
    if at.ip().is_unspecified() {
        at.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    at.to_string()
}

/// The other validators, as the configuration names them.
fn others(config: &Config) -> Vec<String> {
    config
        .net
        .validators
        .iter()
        .filter_map(|named| named.split_once('@'))
        .map(|(_, address)| address.to_owned())
        .collect()
}

/// Runs the command.
pub fn run(args: &HealthArgs) -> anyhow::Result<()> {
    let config = args.config.as_deref().map(|file| Layered::load(file, &[])).transpose()?.map(|layered| layered.config);
    let asker = Asker::new()?;
    let own = match (&args.node, &config) {
        (Some(node), _) => node.clone(),
        (None, Some(config)) => own_address(config),
        (None, None) => return Err(Failure::Usage("say a node, or --config".into()).into()),
    };
    let Some(config) = config.filter(|_| args.cluster || args.before_restart || args.after_restart) else {
        return one(args, &asker.ask(&own));
    };
    let all = || {
        let addresses = std::iter::once(own.clone()).chain(others(&config));
        Together::of(addresses.map(|address| asker.ask(&address)).collect())
    };
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
    if args.output.is_for_people() {
        say!("{}", line(found, said.status.standing.settled));
    } else {
        say!("{}", object(found, said.status.standing.settled));
    }
    match said.status.unready() {
        None => Ok(()),
        Some(why) => Err(Failure::Unreachable(format!("{} is not ready: {why}", found.address)).into()),
    }
}

fn line(found: &Found, highest: Height) -> String {
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
    let is = problem(&said.status, highest).unwrap_or_else(|| "good".to_owned());
    format!(
        "{:<24} {is}: `{}`, {part}, height {} ({} certified), round {}, proposer {}, {nodes} nodes, {connections} connections{missing}",
        found.address,
        said.name,
        thousands(standing.settled.0),
        thousands(standing.certified.0),
        order.round,
        order.proposer,
    )
}

fn object(found: &Found, highest: Height) -> Value {
    let said = match &found.said {
        Ok(said) => said,
        Err(lost) => return json!({"address": found.address, "ok": false, "problem": lost}),
    };
    let NodeStatus { standing, connections, nodes, behind, furthest, order } = said.status;
    let problem = problem(&said.status, highest);
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
        "follows": standing.follows,
        "disk_full": standing.disk_full,
        "connections": connections,
        "nodes": nodes,
        "nodes_behind": behind,
        "furthest_behind": furthest.map(|(key, settled)| json!({"key": hex(&key), "settled": settled.0})),
        "round": order.round,
        "proposer": order.proposer,
        "slot": order.slot,
        "validators": order.validators,
        "validators_heard": order.heard,
        "missing_shares": order.missing_shares.slots().collect::<Vec<_>>(),
        "receipts": order.receipts,
    })
}

/// What would break the quorum, in a sentence.
fn verdict(together: &Together) -> String {
    let Together { found, quorum, good, .. } = together;
    let count = found.len();
    match together.may_go() {
        None => format!("{good} of {count} validators help to decide, and {quorum} must: no heights are decided"),
        Some(0) => format!("{good} of {count} validators help to decide, and {quorum} must: no other may go"),
        Some(more) => format!("{good} of {count} validators help to decide, and {quorum} must: {more} more may go"),
    }
}

fn cluster(args: &HealthArgs, together: &Together) -> anyhow::Result<()> {
    let highest = together.highest;
    let chains: Vec<Hash> = together.found.iter().filter_map(|found| Some(found.said.as_ref().ok()?.chain)).collect();
    let one_chain = chains.windows(2).all(|pair| pair[0] == pair[1]);
    if args.output.is_for_people() {
        for found in &together.found {
            say!("{}", line(found, highest));
        }
        say!("{}", verdict(together));
    } else {
        let nodes: Vec<Value> = together.found.iter().map(|found| object(found, highest)).collect();
        let ok = together.good == together.found.len() && one_chain;
        say!(
            "{}",
            json!({"ok": ok, "nodes": nodes, "highest": highest.0, "quorum": together.quorum, "good": together.good, "may_go": together.may_go()})
        );
    }
    if !one_chain {
        return Err(Failure::Unreachable("the validators keep different chains".into()).into());
    }
    if together.good == together.found.len() { Ok(()) } else { Err(Failure::Unreachable(verdict(together)).into()) }
}

/// Whether the first of the nodes may be stopped.
fn before_restart(args: &HealthArgs, together: &Together) -> anyhow::Result<()> {
    let count = together.found.len();
    let without = together.good_without(0);
    let may = without >= together.quorum;
    if !args.output.is_for_people() {
        say!("{}", json!({"ok": may, "good_without_it": without, "quorum": together.quorum}));
    }
    if !may {
        let text =
            format!("without it {without} of {count} validators help to decide, and {} must: wait", together.quorum);
        return Err(Failure::Unreachable(text).into());
    }
    if args.output.is_for_people() {
        say!(
            "it may be stopped: without it {without} of {count} validators help to decide, and {} must",
            together.quorum
        );
    }
    Ok(())
}

/// Waits until the first of the nodes is back.
fn after_restart(args: &HealthArgs, all: impl Fn() -> Together) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(args.timeout);
    loop {
        let together = all();
        let own = &together.found[0];
        let missing = match &own.said {
            Err(lost) => Some(lost.clone()),
            Ok(said) => problem(&said.status, together.highest),
        };
        let Some(missing) = missing else {
            if args.output.is_for_people() {
                say!("{}", line(own, together.highest));
            } else {
                say!("{}", object(own, together.highest));
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
    use engine::io::{ChainProgress, OrderProgress};

    use super::*;

    fn found(settled: u64, follows: bool) -> Found {
        let standing = ChainProgress { settled: Height(settled), follows, ..ChainProgress::default() };
        let order = OrderProgress::default();
        let status = NodeStatus { standing, connections: 1, nodes: 3, behind: 0, furthest: None, order };
        Found { address: "a:1".into(), said: Ok(Said { key: [1; 32], name: "a".into(), chain: [2; 32], status }) }
    }

    fn away() -> Found {
        Found { address: "b:1".into(), said: Err("no node answers".into()) }
    }

    #[test]
    fn what_would_break_the_quorum_is_said() {
        let say = |found| verdict(&Together::of(found));
        assert!(say((0..4).map(|_| found(100, false)).collect()).ends_with("1 more may go"));
        assert!(say(vec![found(100, false), found(99, false), found(100, false), away()]).ends_with("no other may go"));
        let behind = vec![found(100, false), found(50, false), found(100, true), found(100, false)];
        assert!(say(behind).ends_with("no heights are decided"));
        assert!(say(vec![found(5, false)]).ends_with("no other may go"), "one alone");
    }

    #[test]
    fn one_that_is_needed_may_not_be_stopped() {
        let may = |others: Vec<Found>| {
            let together = Together::of(std::iter::once(found(100, false)).chain(others).collect());
            (together.good_without(0), together.quorum)
        };
        assert_eq!(may(vec![found(100, false), found(100, false), away()]), (2, 3));
        assert_eq!(may(vec![found(100, false), found(100, true), found(100, false)]), (2, 3));
        assert_eq!(may(vec![found(100, false), found(20, false), found(100, false)]), (2, 3));
        assert_eq!(may(vec![found(100, false), found(100, false), found(100, false)]), (3, 3));
    }
}
