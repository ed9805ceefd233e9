//! What several nodes say at one moment, and what follows from it for their quorum.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use engine::io::NodeStatus;
use engine::message::vote::quorum;
use engine::{Hash, Height, hex};
use keys::{identity, keyfile};
use net::client::{Endpoint, any_socket, status::Asking};
use net::tls::Identity;
use node::config::Config;
use order::signature::NetKey;
use tokio::task::JoinSet;

use words::thousands;

/// Heights by which a node may be behind the highest and count as level: what is decided and on its way.
const LEVEL_HEIGHTS: u64 = 8;
/// How long a name may take to be looked up.
const LOOK_UP: Duration = Duration::from_secs(5);

/// Whom to ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Named {
    /// HOST:PORT.
    pub(super) address: String,
    /// The network key that it must prove, where somebody said it.
    pub(super) key: Option<[u8; 32]>,
}

/// What was found at one address.
pub(super) struct Found {
    pub(super) address: String,
    pub(super) said: Result<Said, String>,
}

/// What a node said.
pub(super) struct Said {
    pub(super) key: [u8; 32],
    pub(super) name: String,
    pub(super) chain: Hash,
    pub(super) status: NodeStatus,
}

/// Asks, as nobody in particular.
pub(super) struct Asker {
    runtime: tokio::runtime::Runtime,
    endpoint: Endpoint,
    identity: Identity,
}

impl Asker {
    pub(super) fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = {
            let _inside = runtime.enter();
            any_socket(1 << 20).context("a UDP socket")?
        };
        // A key for this question alone: nothing is asked as anybody.
        let identity = identity(&NetKey::from_seed(&*keyfile::draw()?))?;
        Ok(Self { runtime, endpoint, identity })
    }

    /// Asks all of them at once, so that heights of one moment are compared however long one of them is silent. What they
    /// said comes in the order in which they were named.
    pub(super) fn ask(&self, nodes: &[Named]) -> Vec<Found> {
        self.runtime.block_on(async {
            let mut asked = JoinSet::new();
            for (place, node) in nodes.iter().cloned().enumerate() {
                let (endpoint, identity) = (self.endpoint.clone(), self.identity.clone());
                asked.spawn(async move { (place, ask(&endpoint, &identity, node).await) });
            }
            let mut found = asked.join_all().await;
            found.sort_by_key(|(place, _)| *place);
            found.into_iter().map(|(_, found)| found).collect()
        })
    }
}

async fn ask(endpoint: &Endpoint, identity: &Identity, node: Named) -> Found {
    let said = async {
        let found = tokio::time::timeout(LOOK_UP, tokio::net::lookup_host(&node.address)).await;
        let mut found = found.map_err(|_| "the name is not found".to_owned())?.map_err(|error| error.to_string())?;
        let at = found.next().ok_or_else(|| "the name has no address".to_owned())?;
        // Whoever asked names the node beside what is said here.
        let at_it = format!(" at {}", node.address);
        let lost = |lost: net::client::Lost| lost.to_string().trim_end_matches(&at_it).to_owned();
        let mut asking = Asking::connect(endpoint, identity, at).await.map_err(lost)?;
        if let Some(expected) = node.key.filter(|key| *key != asking.key) {
            let problem =
                format!("another node answers: its key is {}, and {} is named", hex(&asking.key), hex(&expected));
            asking.close();
            return Err(problem);
        }
        let status = asking.ask().await.map_err(lost)?;
        let (key, chain, name) = (asking.key, asking.welcome.chain, asking.welcome.name.clone());
        asking.close();
        Ok(Said { key, name, chain, status })
    };
    let said = said.await;
    Found { address: node.address, said }
}

/// What a node and all validators say together.
pub(super) struct Together {
    /// The node whose configuration was read, and the other validators.
    pub(super) found: Vec<Found>,
    /// The highest height that one of the other validators at least has settled for certain, however many lie as a quorum allows;
    /// where no more of them answer than may lie, the highest one that any says.
    pub(super) highest: Height,
    /// Validators of the chain.
    pub(super) validators: usize,
    pub(super) quorum: usize,
    chain: Hash,
}

impl Together {
    /// By what was found of the validators of a chain.
    pub(super) fn of(found: Vec<Found>, chain: Hash, validators: usize) -> Self {
        let others = found.iter().skip(1).filter_map(|found| found.said.as_ref().ok());
        let of_chain = others.filter(|said| said.chain == chain);
        let mut words = BTreeMap::new();
        for NodeStatus { standing, order, .. } in of_chain.map(|said| &said.status) {
            if let Some(slot) = order.slot {
                let word: &mut Height = words.entry(slot).or_default();
                *word = standing.settled.max(*word);
            }
        }
        let mut words: Vec<Height> = words.into_values().collect();
        words.sort_unstable_by(|one, other| other.cmp(one));
        // Heights are what nodes say of themselves. As many words as validators may lie are passed over from above: one that
        // says a height that there is not would make all others look behind, and keep every gate shut. Of fewer words none is
        // passed over: nobody counts as level because too few answer.
        let highest = words.get(validators - quorum(validators)).or(words.first()).copied().unwrap_or_default();
        Self { found, highest, validators, quorum: quorum(validators), chain }
    }

    /// Why a node does not count as one that is of use; nothing if it does.
    fn problem(&self, found: &Found) -> Option<String> {
        let said = match &found.said {
            Ok(said) => said,
            Err(lost) => return Some(lost.clone()),
        };
        if said.chain != self.chain {
            return Some(format!("keeps another chain: {}", hex(&said.chain)));
        }
        problem(&said.status, self.highest)
    }

    /// Why a node is not as it should be, also where that is not its own fault; nothing if it is.
    pub(super) fn problem_alone(&self, found: &Found) -> Option<String> {
        self.problem(found).or_else(|| cut_off(&found.said.as_ref().ok()?.status))
    }

    fn slots(&self, found: &[Found], problem: impl Fn(&Found) -> Option<String>) -> BTreeSet<u32> {
        let good = found.iter().filter(|found| problem(found).is_none());
        good.filter_map(|found| found.said.as_ref().ok()?.status.order.slot).collect()
    }

    /// How many validators answer, vote and are level: however many addresses lead to one of them.
    pub(super) fn good(&self) -> usize {
        self.slots(&self.found, |found| self.problem(found)).len()
    }

    /// How many of those hear a quorum. They all answer whoever asks, and may still not reach each other.
    fn hearing(&self) -> usize {
        self.slots(&self.found, |found| self.problem_alone(found)).len()
    }

    /// How many of the good there are beside the node whose configuration was read.
    pub(super) fn good_without_own(&self) -> usize {
        let mut others = self.slots(&self.found[1..], |found| self.problem(found));
        if let Ok(Said { status: NodeStatus { order, .. }, .. }) = &self.found[0].said {
            order.slot.iter().for_each(|own| _ = others.remove(own));
        }
        others.len()
    }

    /// Whether that node votes on nothing by its operator's will: whether it runs is nothing to the others.
    pub(super) fn own_has_no_slot(&self) -> bool {
        self.found[0].said.as_ref().is_ok_and(|said| said.chain == self.chain && said.status.order.slot.is_none())
    }

    /// Whether nobody can be waited for while that node is stopped: it is the chain's only validator.
    pub(super) fn own_is_alone(&self) -> bool {
        let own = match &self.found[0].said {
            Ok(said) => said.chain == self.chain && said.status.order.slot.is_some(),
            // It is away, and its configuration names no other.
            Err(_) => self.found.len() == 1,
        };
        self.validators == 1 && own
    }

    /// How many more may go before heights are no longer decided; nothing if they are not now.
    pub(super) fn may_go(&self) -> Option<usize> {
        self.good().checked_sub(self.quorum).filter(|_| self.hearing() >= self.quorum)
    }

    /// Whether all of them are as they should be.
    pub(super) fn is_well(&self) -> bool {
        self.good() == self.validators && self.found.iter().all(|found| self.problem_alone(found).is_none())
    }

    /// What would break the quorum, in a sentence.
    pub(super) fn verdict(&self) -> String {
        let (good, count, quorum) = (self.good(), self.validators, self.quorum);
        let help = format!("{good} of {count} validators help to decide, and {quorum} must");
        match self.may_go() {
            None if good < quorum => format!("{help}: no heights are decided"),
            None => {
                let hearing = self.hearing();
                let hear = if hearing == 1 { "hears" } else { "hear" };
                format!("{help}, and only {hearing} {hear} a quorum: no heights are decided")
            }
            Some(0) => format!("{help}: no other may go"),
            Some(more) => format!("{help}: {more} more may go"),
        }
    }
}

/// Why a node does not count as one that is of use; nothing if it does.
fn problem(status: &NodeStatus, highest: Height) -> Option<String> {
    let behind = highest.0.saturating_sub(status.standing.settled.0);
    match status.unready() {
        Some(why) => Some(why.to_owned()),
        None if behind > LEVEL_HEIGHTS => Some(format!("{} heights behind", thousands(behind))),
        None => None,
    }
}

/// Why nothing is decided where a node is, although it does all that it can; nothing if something is. The words are those of `/readyz`.
fn cut_off(status: &NodeStatus) -> Option<String> {
    let (heard, validators, quorum) = (status.order.heard, status.order.validators, status.order.quorum());
    status.lacks_quorum().then(|| format!("it hears {heard} of {validators} validators, a quorum is {quorum}"))
}

/// Why a node that is looked at alone is not as it should be; nothing if it is.
pub(super) fn problem_alone(status: &NodeStatus, highest: Height) -> Option<String> {
    problem(status, highest).or_else(|| cut_off(status))
}

/// Where a node of this configuration is reached from this machine.
pub(super) fn own(config: &Config) -> Named {
    let mut at: SocketAddr = config.net.listen;
    if at.ip().is_unspecified() {
        at.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    Named { address: at.to_string(), key: None }
}

/// The other validators, as the configuration names them.
pub(super) fn others(config: &Config) -> impl Iterator<Item = Named> {
    let named = config.net.validators.iter().filter_map(|named| named.split_once('@'));
    named.map(|(key, address)| Named { address: address.to_owned(), key: engine::unhex(key) })
}

#[cfg(test)]
mod tests {
    use engine::io::{ChainProgress, OrderProgress};

    use super::*;

    const CHAIN: Hash = [2; 32];

    fn found(slot: impl Into<Option<u32>>, settled: u64, is_silent: bool) -> Found {
        let standing = ChainProgress { settled: Height(settled), is_silent, ..ChainProgress::default() };
        let order = OrderProgress { slot: slot.into(), validators: 4, heard: 4, ..OrderProgress::default() };
        let status = NodeStatus { standing, connections: 1, nodes: 3, behind: 0, furthest: None, order };
        Found { address: "a:1".into(), said: Ok(Said { key: [1; 32], name: "a".into(), chain: CHAIN, status }) }
    }

    fn away() -> Found {
        Found { address: "b:1".into(), said: Err("no node answers".into()) }
    }

    fn foreign(slot: u32) -> Found {
        let mut foreign = found(slot, 100, false);
        foreign.said.iter_mut().for_each(|said| said.chain = [3; 32]);
        foreign
    }

    fn of(found: Vec<Found>) -> Together {
        Together::of(found, CHAIN, 4)
    }

    #[test]
    fn what_would_break_the_quorum_is_said() {
        let good = |slot| found(slot, 100, false);
        assert!(of((0..4).map(good).collect()).verdict().ends_with("1 more may go"));
        assert!(of(vec![good(0), found(1, 99, false), good(2), away()]).verdict().ends_with("no other may go"));
        let behind = of(vec![good(0), found(1, 50, false), found(2, 100, true), good(3)]);
        assert!(behind.verdict().ends_with("no heights are decided"));
        assert!(of(vec![good(0), good(1), good(1), good(1)]).verdict().starts_with("2 of 4"), "one node thrice is one");
        assert!(of(vec![good(0), good(1), foreign(2), good(3)]).verdict().starts_with("3 of 4"), "of another chain");
        let liar = of(vec![good(0), found(1, 99, false), good(2), found(3, 1 << 48, false)]);
        assert!(liar.is_well() && liar.highest == Height(100), "{}", liar.verdict());
        let beside = of(vec![good(0), found(1, 50, false), good(2), found(3, 1 << 48, false)]);
        assert!(beside.verdict().starts_with("3 of 4"), "one that is behind is found beside one that lies");
        let lost = |slot: u32| Found { address: format!("a:{slot}"), said: Err("no answer".into()) };
        let few = of(vec![found(0, 50, false), good(1), lost(2), lost(3)]);
        assert!(few.problem(&few.found[0]).is_some(), "nobody is level because too few answer");
        let alone = Together::of(vec![found(0, 5, false)], CHAIN, 1);
        assert!(alone.verdict().ends_with("no other may go") && alone.is_well(), "one alone");
    }

    #[test]
    fn one_that_is_needed_may_not_be_stopped() {
        let without =
            |others: Vec<Found>| of(std::iter::once(found(0, 100, false)).chain(others).collect()).good_without_own();
        let good = |slot| found(slot, 100, false);
        assert_eq!(without(vec![good(1), good(2), away()]), 2);
        assert_eq!(without(vec![good(1), found(2, 100, true), good(3)]), 2);
        assert_eq!(without(vec![good(1), found(2, 20, false), good(3)]), 2);
        assert_eq!(without(vec![good(1), good(2), good(3)]), 3);
        assert_eq!(without(vec![good(1), good(1), good(1)]), 1, "three names of one node");
        assert_eq!(without(vec![good(0), good(2), good(3)]), 2, "its own address is among the others'");
        assert_eq!(without(vec![good(1), foreign(2), good(3)]), 2);
        assert_eq!(without(vec![good(1), good(2), found(3, 1 << 48, false)]), 3, "one that lies shuts no gate");
    }

    #[test]
    fn an_only_validator_waits_for_nobody() {
        let of = |found: Vec<Found>, validators| Together::of(found, CHAIN, validators).own_is_alone();
        assert!(of(vec![found(0, 100, false)], 1));
        assert!(of(vec![away()], 1), "it is stopped already");
        assert!(!of(vec![found(None, 100, true), found(0, 100, false)], 1), "a follower of it");
        assert!(!of(vec![foreign(0)], 1), "another chain's node");
        assert!(!of(vec![found(0, 100, false), away(), away(), away()], 4));
    }

    #[test]
    fn one_that_hears_no_quorum_is_not_said_to_have_lost_its_log() {
        let says = |heard| {
            let mut found = found(0, 100, true);
            let said = found.said.as_mut().expect("it answers");
            (said.status.order.validators, said.status.order.heard) = (4, heard);
            said.status.unready()
        };
        assert_eq!(says(2), Some("does not vote: it hears too few validators"));
        // Nothing is decided where nobody plays, so whoever waits for it would wait for ever.
        assert!(says(3).is_some_and(|why| why.contains("its log is lost") && why.contains("while somebody plays")));
    }

    /// Two of four are left: each does what it can, and nothing is decided.
    #[test]
    fn one_that_hears_too_few_is_not_well_and_counts_where_all_are_asked() {
        let hears = |slot, heard| {
            let mut found = found(slot, 100, false);
            found.said.iter_mut().for_each(|said| said.status.order.heard = heard);
            found
        };
        let left = of(vec![hears(0, 2), hears(1, 2), away(), away()]);
        let why = "it hears 2 of 4 validators, a quorum is 3";
        assert_eq!(left.problem_alone(&left.found[0]).as_deref(), Some(why), "`--after-restart`, and its line");
        let alone = |found: &Found| problem_alone(&found.said.as_ref().ok()?.status, Height(100));
        assert_eq!(alone(&left.found[0]).as_deref(), Some(why), "`health NODE`");
        assert_eq!(alone(&hears(0, 3)), None, "a quorum is enough");
        let mut follower = found(None, 100, true);
        follower.said.iter_mut().for_each(|said| said.status.order.heard = 0);
        assert_eq!(alone(&follower), None, "one that follows hears whom it likes");
        assert!(left.verdict().starts_with("2 of 4 validators help to decide"), "{}", left.verdict());
        // All of them answer here, and do not reach each other.
        let cut = of((0..4).map(|slot| hears(slot, 1 + slot / 3 * 3)).collect());
        assert_eq!((cut.good(), cut.may_go(), cut.is_well()), (4, None, false));
        assert!(cut.verdict().ends_with("and only 1 hears a quorum: no heights are decided"), "{}", cut.verdict());
        let restarted = of(vec![hears(0, 3), hears(1, 3), hears(2, 3), found(3, 100, true)]);
        assert_eq!((restarted.may_go(), restarted.good_without_own()), (Some(0), 2), "the gates are as they were");
    }

    #[test]
    fn a_node_that_follows_is_well_and_no_validator() {
        let follower = |settled| found(None, settled, true);
        let all = |own| of(std::iter::once(own).chain((0..4).map(|slot| found(slot, 100, false))).collect());
        assert!(all(follower(100)).is_well() && all(follower(100)).own_has_no_slot());
        assert!(all(follower(100)).verdict().starts_with("4 of 4"));
        assert!(!all(follower(50)).is_well(), "it is behind");
        assert!(!all(found(0, 100, true)).own_has_no_slot(), "a validator that listens, or cannot know what it signed");
    }
}
