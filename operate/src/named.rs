//! What a node's configuration says of the other validators, held against its own keys and its chain: the node runs whatever is
//! wrong there, and would be alone, or shut out, without a word.

use std::collections::BTreeSet;

use net::server::ServerConfig;

/// Who a node is, on its chain.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// Its network key.
    pub key: [u8; 32],
    /// Validators of its chain.
    pub validators: usize,
    /// It has the keys of one of them, and may vote.
    pub is_validator: bool,
}

/// What its operator should know of the nodes that a configuration names: said at the start, and by `config check` before.
pub fn named_warnings(config: &ServerConfig, own: Own) -> Vec<String> {
    let named = || config.validators.iter().filter_map(|text| text.split_once('@'));
    let keys: Vec<[u8; 32]> = named().filter_map(|(key, _)| engine::unhex(key)).collect();
    let distinct: BTreeSet<[u8; 32]> = keys.iter().copied().filter(|key| *key != own.key).collect();
    let others = own.validators - usize::from(own.is_validator);
    // A validator is one to this node by its key, wherever that is named.
    let peers = config.peers.iter().filter_map(|text| engine::unhex(text.split_once('@')?.0));
    let known: BTreeSet<[u8; 32]> = peers.filter(|key| *key != own.key).chain(distinct.iter().copied()).collect();
    let lacks_some = known.len() < others;
    // One list for all nodes names each of them itself too; where the own key stands in the place of another's, that one is missing.
    let is_own_strange = keys.contains(&own.key) && (lacks_some || !own.is_validator);
    let own_named = is_own_strange.then(|| {
        format!(
            "net.validators names {}, which is this node's own network key: if another node has it too, the others know only one \
             of the two (KEY_IN_USE); each needs a key of its own in keys.net",
            engine::hex(&own.key)
        )
    });
    let count = match distinct.len() {
        found if own.is_validator && lacks_some => Some(format!(
            "net.validators names {found} of the {others} other validators of this chain: one that net.peers does not name \
             either gets what a player gets, unless net.followers_max has room for it"
        )),
        found if found > others => Some(format!(
            "net.validators names {found} other validators, and this chain has {others}: room is kept for nodes that never come"
        )),
        _ => None,
    };
    let twice_keys = twice(keys).into_iter().map(|key| {
        let key = engine::hex(&key);
        format!("net.validators names the key {key} more than once: each validator has one of its own")
    });
    let twice_at = twice(named().map(|(_, address)| address).collect()).into_iter().map(|address| {
        format!("net.validators names the address {address} more than once: one node alone can be reached there")
    });
    // Those who are told of this node are told a port, and with 0 it is another one at each start.
    let has_no_port = own.is_validator && own.validators > 1 && config.listen.port() == 0;
    let no_port = has_no_port.then(|| {
        format!("net.listen is {}: the other validators cannot name a port that is new each time", config.listen)
    });
    own_named.into_iter().chain(count).chain(twice_keys).chain(twice_at).chain(no_port).collect()
}

/// What is there more than once, each once.
fn twice<T: Ord + Copy>(all: Vec<T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    all.into_iter().filter(|one| !seen.insert(*one)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(named: &[(u8, u16)]) -> Vec<String> {
        named.iter().map(|(key, port)| format!("{}@127.0.0.1:{port}", engine::hex(&[*key; 32]))).collect()
    }

    /// What is said to validator 3 of 4, whose key is 3, or to a follower, of nodes of these keys at these ports.
    fn said(named: &[(u8, u16)], is_validator: bool) -> Vec<String> {
        let config = ServerConfig { validators: texts(named), ..ServerConfig::default() };
        named_warnings(&config, Own { key: [3; 32], validators: 4, is_validator })
    }

    #[test]
    fn a_list_that_is_not_the_other_validators_is_told() {
        assert_eq!(said(&[(0, 1), (1, 2), (2, 3)], true), [""; 0]);
        for (named, says) in [
            (&[][..], &["names 0 of the 3 other validators"][..]),
            (&[(0, 1), (1, 2)], &["names 2 of the 3 other validators"]),
            (&[(0, 1), (0, 2), (1, 3)], &["names 2 of the 3", "more than once: each validator has one of its own"]),
            (&[(0, 1), (1, 1), (2, 3)], &["names the address 127.0.0.1:1 more than once"]),
            (&[(0, 1), (1, 2), (2, 3), (3, 4)], &[]),
            (&[(0, 1), (1, 2), (3, 3)], &["this node's own network key", "names 2 of the 3 other validators"]),
            (&[(0, 1), (1, 2), (2, 3), (4, 4)], &["names 4 other validators, and this chain has 3"]),
        ] {
            let found = said(named, true);
            assert_eq!(found.len(), says.len(), "{named:?}: {found:?}");
            assert!(found.iter().zip(says).all(|(found, says)| found.contains(says)), "{named:?}: {found:?}");
        }
    }

    #[test]
    fn validators_that_are_named_among_the_peers_are_known() {
        let own = Own { key: [3; 32], validators: 4, is_validator: true };
        let said = |validators: &[(u8, u16)], peers: &[(u8, u16)]| {
            let (validators, mut peers) = (texts(validators), texts(peers));
            // Whose address alone is named may be anybody.
            peers.push("127.0.0.1:9".into());
            named_warnings(&ServerConfig { validators, peers, ..ServerConfig::default() }, own)
        };
        assert_eq!(said(&[], &[(0, 1), (1, 2), (2, 3)]), [""; 0]);
        assert_eq!(said(&[(0, 1), (1, 2)], &[(1, 2), (2, 3)]), [""; 0]);
        for peers in [&[(0, 1), (1, 2)][..], &[(0, 1), (1, 2), (3, 4)]] {
            let found = said(&[(1, 2)], peers);
            assert!(found.len() == 1 && found[0].contains("names 1 of the 3 other validators"), "{found:?}");
        }
    }

    #[test]
    fn who_follows_may_name_as_many_as_it_likes_and_a_lone_validator_nobody() {
        assert_eq!(said(&[(0, 1)], false), [""; 0]);
        assert_eq!(said(&[(0, 1), (1, 2), (2, 3), (4, 4)], false), [""; 0], "all four of the chain");
        assert!(said(&[(0, 1), (1, 2), (2, 3), (4, 4), (5, 5)], false)[0].contains("and this chain has 4"));
        let own = |validators| Own { key: [3; 32], validators, is_validator: true };
        let nowhere = ServerConfig { listen: ([127, 0, 0, 1], 0).into(), ..ServerConfig::default() };
        assert_eq!(named_warnings(&nowhere, own(1)), [""; 0]);
        assert!(named_warnings(&nowhere, own(2)).iter().any(|said| said.contains("net.listen is 127.0.0.1:0")));
    }
}
