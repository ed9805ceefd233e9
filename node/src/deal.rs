//! Dealing: several nodes of one chain at once, each with its folder, and nodes that follow a chain.
//!
//! ```text
//!  addresses -> keys of every role for each -> one genesis -> a folder for each validator, which names the others
//! ```
//! Whoever deals has seen every share of the beacon key: genesis says so, and every output repeats it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::Context;
use aside::{NewDir, Readers, write_new};
use engine::genesis::{Genesis, GenesisValidator, HexBytes, KeySource};
use engine::limits::{ADDRESSES_BYTES_MAX, FOLLOWERS_MAX, GENESIS_BYTES_MAX, VALIDATORS_MAX};
use engine::{Hash, hex, unhex};
use keys::keyfile::{self, KeyFileError, Passphrase, Seed};
use net::transport::NODE_BYTES;
use order::beacon::deal as deal_beacon;
use order::keys::{NodeSeeds, node_keys};
use order::signature::{DkgKey, NetKey, VoteKey};
use storage::Session;
use systems::Setup;
use words::Failure;

use crate::config::Config;
use crate::init::{CONFIG, make_keys_dir};

const _: () = assert!(FOLLOWERS_MAX >= VALIDATORS_MAX);

/// The file in a dealt folder that names its validators, for those who follow them.
pub const VALIDATORS: &str = "validators.txt";

/// Where a validator is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValidatorAddress {
    /// The validator's network key, where that is known.
    pub key: Option<[u8; 32]>,
    /// Where others reach it: `host:port`.
    pub reach: String,
    /// The address at which the validator itself listens.
    pub listen: SocketAddr,
}

impl ValidatorAddress {
    /// On this machine.
    pub fn here(listen: SocketAddr) -> Self {
        Self { key: None, reach: listen.to_string(), listen }
    }

    /// A line of a file of addresses: `HOST:PORT`, or `KEY@HOST:PORT`; behind it, where the node listens if that is
    /// elsewhere.
    fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        let (key, reach) = match first.split_once('@') {
            None => (None, first),
            Some((key, reach)) => {
                let known = unhex(key).ok_or_else(|| format!("`{key}` is no network key: it has 64 hex digits"))?;
                (Some(known), reach)
            }
        };
        let wrong = || format!("`{reach}` is no HOST:PORT, such as craps.example.org:7400 or 192.0.2.7:7400");
        let (host, port) = reach.rsplit_once(':').ok_or_else(wrong)?;
        // Port 0 has the system choose one, which nobody else could be told.
        let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        if host.is_empty() {
            return Err(wrong());
        }
        let host: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let listen = match words.next() {
            None => SocketAddr::new(host.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port),
            Some(text) => text.parse().map_err(|_| {
                format!("`{text}` is no address to listen at, such as 0.0.0.0:7400; leave it out to listen at {reach}")
            })?,
        };
        match words.next() {
            None => Ok(Self { key, reach: reach.to_owned(), listen }),
            Some(more) => {
                Err(format!("`{more}` is one word too many: HOST:PORT, and where it listens if that is elsewhere"))
            }
        }
    }

    fn named(&self, key: &[u8; 32]) -> String {
        format!("{}@{}", hex(key), self.reach)
    }
}

/// Reads a file of addresses: a line for each validator, in the order of their slots. Empty lines and those that begin with
/// `#` say nothing.
///
/// # Errors
/// If it cannot be read, or with the line that is wrong and what it should be.
pub fn read_addresses(path: &Path) -> Result<Vec<ValidatorAddress>, Failure> {
    let name = path.display();
    let text = words::text::read(path, ADDRESSES_BYTES_MAX)
        .map_err(|error| Failure::Data(format!("--addresses {name}: {error}; {LINES_WANTED}")))?;
    let places = parse_addresses(&text).and_then(|places| check_apart(&places, addresses_of).map(|()| places));
    let places =
        places.map_err(|(line, problem)| Failure::Usage(format!("--addresses {name}, line {line}: {problem}")))?;
    if places.is_empty() {
        return Err(Failure::Usage(format!("--addresses {name} names no validator; {LINES_WANTED}")));
    }
    Ok(places.into_iter().map(|(_, place)| place).collect())
}

/// What a file of addresses is, for whoever gave something else.
const LINES_WANTED: &str = "the file has a line for each validator, such as `craps.example.org:7400`, and where it listens \
                            behind that if it is elsewhere; for --follow it is the chain's validators.txt, with lines \
                            KEY@HOST:PORT";

/// The addresses that a `host:port` leads to, as far as this machine knows. A name may be known elsewhere only.
fn addresses_of(reach: &str) -> Vec<SocketAddr> {
    reach.to_socket_addrs().map(Iterator::collect).unwrap_or_default()
}

/// Whether several machines can have an address, each in a network of its own.
fn may_be_anywhere(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_unspecified() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Refuses lines that are one validator's, however they are written: with one key, with names that lead to one address, or
/// with one address to listen at.
fn check_apart(
    places: &[(usize, ValidatorAddress)],
    resolve: impl Fn(&str) -> Vec<SocketAddr> + Sync,
) -> Result<(), (usize, String)> {
    // All at once: a name that nobody knows may take seconds.
    let led_to: Vec<Vec<SocketAddr>> = std::thread::scope(|scope| {
        let lookups: Vec<_> = places.iter().map(|(_, place)| scope.spawn(|| resolve(&place.reach))).collect();
        lookups.into_iter().map(|lookup| lookup.join().expect("looking up a name does not panic")).collect()
    });
    for (at, (number, place)) in places.iter().enumerate() {
        for ((first, other), others) in places[..at].iter().zip(&led_to) {
            if place.key.is_some() && place.key == other.key {
                return Err((*number, format!("line {first} has this key too: every validator has a key of its own")));
            }
            let (reach, of_first) = (&place.reach, &other.reach);
            if let Some(address) = led_to[at].iter().find(|address| others.contains(address)) {
                return Err((
                    *number,
                    format!(
                        "{reach} is {address}, and so is {of_first} on line {first}: every validator has an address of its own"
                    ),
                ));
            }
            // Two machines in networks of their own may have the same private address; a public one is that of one
            // machine.
            if place.listen == other.listen && !may_be_anywhere(place.listen.ip()) {
                return Err((
                    *number,
                    format!(
                        "it listens at {}, as line {first} does: every validator has an address of its own",
                        place.listen
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// The places with the numbers of their lines.
fn parse_addresses(text: &str) -> Result<Vec<(usize, ValidatorAddress)>, (usize, String)> {
    let mut places: Vec<(usize, ValidatorAddress)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = ValidatorAddress::parse(line).map_err(|problem| (number, problem))?;
        // Names that nobody knows here are compared as they stand.
        if let Some((first, _)) = places.iter().find(|(_, other)| other.reach.eq_ignore_ascii_case(&place.reach)) {
            return Err((
                number,
                format!("{} is on line {first} too: every validator has an address of its own", place.reach),
            ));
        }
        if places.len() == VALIDATORS_MAX as usize {
            return Err((number, format!("at most {VALIDATORS_MAX} validators")));
        }
        places.push((number, place));
    }
    Ok(places)
}

/// What the secrets of a chain's validators are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Votes and proposals.
    Vote,
    /// Dealing shares of the beacon key.
    Dkg,
    /// The beacon key, which is dealt: one secret for all.
    Beacon,
    /// The network.
    Net,
}

/// A node that was made.
#[derive(Clone, Debug)]
pub struct Dealt {
    /// The file of the node's configuration.
    pub config: PathBuf,
    /// The node's network key.
    pub net_key: [u8; 32],
    /// Where the node listens, and where others reach it.
    pub place: ValidatorAddress,
}

/// A chain of several validators that was made.
#[derive(Clone, Debug)]
pub struct DealtChain {
    /// The chain id.
    pub chain: Hash,
    /// The chain's validators, by slot.
    pub nodes: Vec<Dealt>,
}

/// A node that follows a chain, as it was made.
#[derive(Clone, Debug)]
pub struct Follower {
    /// The chain id.
    pub chain: Hash,
    /// Where the keys of the chain's validators are from.
    pub keys: KeySource,
    /// The files and the address of the node.
    pub node: Dealt,
}

/// The folder of a validator in that of the chain.
pub fn folder(slot: usize) -> String {
    format!("node-{slot}")
}

/// Followers that a dealt node takes, unless its operator says otherwise.
const FOLLOWERS: u32 = 4;
const _: () = assert!(FOLLOWERS <= FOLLOWERS_MAX);

/// Room for the connections of the other validators, and of a few followers.
fn give_room(config: &mut Config) {
    // What other nodes may hold is added to the bound: it would otherwise be taken from the connections of players.
    config.net.followers_max = FOLLOWERS;
    let nodes = config.net.reserved_bytes() + u64::from(FOLLOWERS) * NODE_BYTES;
    // Whole mebibytes, which the file says with their unit.
    config.net.buffer_bytes_max = (config.net.buffer_bytes_max + nodes).next_multiple_of(1 << 20);
}

/// Makes the validators of a chain in a folder that is empty or not there: all of them, or nothing. Nothing is overwritten.
/// `secret` gives each secret, and `genesis` the genesis of the validators with their group key.
///
/// # Errors
/// If something is there, the chain cannot be so, or a file cannot be written.
pub fn deal(
    dir: &Path,
    places: &[ValidatorAddress],
    base: &Config,
    passphrase: Option<&Passphrase>,
    mut secret: impl FnMut(Role, u32) -> Result<Seed, KeyFileError>,
    genesis: impl FnOnce(Vec<GenesisValidator>, HexBytes<96>) -> anyhow::Result<Genesis>,
) -> anyhow::Result<DealtChain> {
    let count = u32::try_from(places.len()).ok().and_then(NonZeroU32::new).context("no validator was named")?;
    let beacon = secret(Role::Beacon, 0)?;
    let seeds = |role, secret: &mut dyn FnMut(Role, u32) -> Result<Seed, KeyFileError>| {
        (0..count.get()).map(|slot| secret(role, slot)).collect::<Result<Vec<Seed>, _>>()
    };
    let (votes, dealers) = (seeds(Role::Vote, &mut secret)?, seeds(Role::Dkg, &mut secret)?);
    let nets = seeds(Role::Net, &mut secret)?;
    let (group, shares) = match (&votes[..], &dealers[..]) {
        // A validator of one keeps the seed of the whole key, as `init` writes it.
        ([vote], [dealer]) => (node_keys(NodeSeeds { vote, dealer, beacon: &beacon }).group, vec![beacon]),
        _ => {
            let (group, shares) = deal_beacon(count, *beacon);
            (group, shares.iter().map(|share| Seed::new(share.secret())).collect())
        }
    };
    assert_eq!(shares.len(), places.len(), "each validator has a share of the beacon key");
    let rows = votes.iter().zip(&dealers).enumerate().map(|(slot, (vote, dealer))| GenesisValidator {
        name: folder(slot),
        vote_key: HexBytes(VoteKey::from_seed(vote).public()),
        dkg_key: HexBytes(DkgKey::from_seed(dealer).public()),
    });
    let genesis = genesis(rows.collect(), HexBytes(group.key()))?;
    // Everything that can be wrong is found before anything is written.
    genesis.check().map_err(|error| Failure::Usage(error.to_string()))?;
    // The chain id is the hash of these bytes: every folder gets the very same ones.
    let mut bytes = serde_json::to_vec_pretty(&genesis).context("genesis is plain data")?;
    bytes.push(b'\n');
    let net_keys: Vec<[u8; 32]> = nets.iter().map(|net| NetKey::from_seed(net).public()).collect();

    let failed = |error| Failure::Data(format!("{}: {error}", dir.display()));
    // All folders are written aside and get their names together at the end: a failure half way leaves no part of a
    // chain.
    let new_dir = NewDir::create(dir).map_err(failed)?;
    let mut nodes = Vec::with_capacity(places.len());
    let words = passphrase.map(|passphrase| passphrase.as_str());
    for (slot, place) in places.iter().enumerate() {
        let at = new_dir.place().join(folder(slot));
        std::fs::create_dir(&at).map_err(failed)?;
        make_keys_dir(&at).map_err(failed)?;
        let store = |path: &Path, seed: &Seed| keyfile::store(&at.join(path), seed, words);
        store(&base.keys.validator, &votes[slot])?;
        store(&base.keys.dkg, &dealers[slot])?;
        store(&base.keys.net, &nets[slot])?;
        store(&base.keys.beacon, &shares[slot])?;
        let public = format!("{}\n", hex(&group.to_bytes()));
        write_new(&at.join(&base.keys.group), public.as_bytes(), Readers::Usual).map_err(failed)?;
        // The session is let go of at once: the node that opens it needs its lock.
        drop(Session::create(&at.join(&base.node.data), &bytes)?);
        let mut config = base.clone();
        config.net.listen = place.listen;
        config.net.name = folder(slot);
        let others = places.iter().zip(&net_keys).enumerate().filter(|(other, _)| *other != slot);
        config.net.validators = others.map(|(_, (place, key))| place.named(key)).collect();
        give_room(&mut config);
        std::fs::write(at.join(CONFIG), config.text()).map_err(failed)?;
        let config = dir.join(folder(slot)).join(CONFIG);
        nodes.push(Dealt { config, net_key: net_keys[slot], place: place.clone() });
    }
    let named: String = nodes.iter().map(|node| format!("{}\n", node.place.named(&node.net_key))).collect();
    write_new(&new_dir.place().join(VALIDATORS), named.as_bytes(), Readers::Usual).map_err(failed)?;
    new_dir.publish().map_err(failed)?;
    Ok(DealtChain { chain: Genesis::chain_id(&bytes), nodes })
}

/// Makes a node that follows a chain: a network key of its own, the chain's genesis, and where its validators are.
///
/// # Errors
/// If something is there, or a file cannot be written or is no genesis.
pub fn follower(
    dir: &Path,
    genesis: &Path,
    validators: &[ValidatorAddress],
    mut config: Config,
    passphrase: Option<&Passphrase>,
) -> anyhow::Result<Follower> {
    let name = genesis.display();
    let no_genesis = |error: &dyn std::fmt::Display| {
        Failure::Data(format!(
            "--follow {name}: {error}; it takes the chain's genesis.json, as any of its operators has it, such as \
             node-0/session/genesis.json"
        ))
    };
    let text = words::text::read(genesis, GENESIS_BYTES_MAX).map_err(|error| no_genesis(&error))?;
    let bytes = text.into_bytes();
    let parsed: Genesis =
        serde_json::from_slice(&bytes).map_err(|error| no_genesis(&format!("this is no genesis ({error})")))?;
    let (chain, keys) = (Genesis::chain_id(&bytes), parsed.keys);
    Setup::new(parsed, chain).with_context(|| name.to_string())?;
    config.net.validators = validators
        .iter()
        .map(|place| place.key.map(|key| place.named(&key)).ok_or(&place.reach))
        .collect::<Result<_, _>>()
        .map_err(|reach| {
            Failure::Usage(format!("{reach} has no network key: a follower is told KEY@HOST:PORT, as in {VALIDATORS}"))
        })?;
    give_room(&mut config);
    let failed = |error| Failure::Data(format!("{}: {error}", dir.display()));
    let new_dir = NewDir::create(dir).map_err(failed)?;
    let at = new_dir.place();
    make_keys_dir(at).map_err(failed)?;
    let seed = keyfile::create(&at.join(&config.keys.net), passphrase.map(|passphrase| passphrase.as_str()))?;
    let net_key = NetKey::from_seed(&seed).public();
    drop(Session::create(&at.join(&config.node.data), &bytes)?);
    std::fs::write(at.join(CONFIG), config.text()).map_err(failed)?;
    new_dir.publish().map_err(failed)?;
    let node = Dealt { config: dir.join(CONFIG), net_key, place: ValidatorAddress::here(config.net.listen) };
    Ok(Follower { chain, keys, node })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_for_nodes_is_written_with_its_unit() {
        let mut config = Config::default();
        let before = config.net.buffer_bytes_max;
        give_room(&mut config);
        assert!(config.net.buffer_bytes_max >= before + u64::from(FOLLOWERS) * NODE_BYTES);
        let text = config.text();
        let line = text.lines().find(|line| line.starts_with("buffer_bytes_max = ")).expect("its line");
        assert!(line.ends_with(" MiB\""), "{line}");
    }

    #[test]
    fn a_file_of_addresses_is_read_line_by_line() {
        let key = "ab".repeat(32);
        let text =
            format!("# four\n\n127.0.0.1:7400\ncraps.example.org:7401\n[::1]:7402\n{key}@10.0.0.1:7403 0.0.0.0:9\n");
        let places: Vec<ValidatorAddress> =
            parse_addresses(&text).expect("four places").into_iter().map(|(_, place)| place).collect();
        let listens: Vec<String> = places.iter().map(|place| place.listen.to_string()).collect();
        assert_eq!(listens, ["127.0.0.1:7400", "0.0.0.0:7401", "[::1]:7402", "0.0.0.0:9"]);
        assert_eq!((places[1].reach.as_str(), places[3].key), ("craps.example.org:7401", Some([0xab; 32])));
    }

    #[test]
    fn a_wrong_line_is_named_with_what_it_should_be() {
        for (text, line, says) in [
            ("127.0.0.1:1\nhost\n", 2, "`host` is no HOST:PORT, such as"),
            ("a:1\n\na:0\n", 3, "`a:0` is no HOST:PORT"),
            (":7400", 1, "no HOST:PORT"),
            ("a:1\n# again\na:1\n", 3, "a:1 is on line 1 too"),
            ("a.org:1\nA.ORG:1\n", 2, "A.ORG:1 is on line 1 too"),
            ("xx@a:1", 1, "`xx` is no network key"),
            ("a:1 here", 1, "`here` is no address to listen at"),
            ("a:1 0.0.0.0:1 b", 1, "`b` is one word too many"),
        ] {
            let (found, problem) = parse_addresses(text).expect_err(text);
            assert_eq!(found, line, "{text}");
            assert!(problem.contains(says), "{text}: {problem}");
        }
    }

    #[test]
    fn two_lines_for_one_validator_are_refused_however_they_are_written() {
        let key = "ab".repeat(32);
        let resolve = |reach: &str| match reach {
            "nobody.example:1" | "nowhere.example:1" => Vec::new(),
            "here.example:1" => ["[::1]:1", "127.0.0.1:1"].map(|at| at.parse().expect("an address")).to_vec(),
            "there.example:1" => vec!["192.0.2.1:1".parse().expect("an address")],
            other => other.parse().into_iter().collect(),
        };
        let apart = |text: &str| check_apart(&parse_addresses(text).expect("places"), resolve);
        for text in [
            "here.example:1\nthere.example:1\nnobody.example:1\nnowhere.example:1\n",
            "127.0.0.1:1\n127.0.0.1:2\n[::1]:1\n",
            // Each in a network of its own.
            "192.0.2.1:1 10.0.0.7:7400\n192.0.2.2:1 10.0.0.7:7400\n",
        ] {
            assert_eq!(apart(text), Ok(()), "{text}");
        }
        for (text, line, says) in [
            ("127.0.0.1:1\n\nhere.example:1\n", 3, "here.example:1 is 127.0.0.1:1, and so is 127.0.0.1:1 on line 1"),
            ("here.example:1\n[::1]:1\n", 2, "[::1]:1 is [::1]:1, and so is here.example:1 on line 1"),
            ("127.0.0.1:1\n127.0.0.1:01\n", 2, "is 127.0.0.1:1, and so is 127.0.0.1:1 on line 1"),
            ("127.0.0.1:1\nthere.example:1 127.0.0.1:1\n", 2, "it listens at 127.0.0.1:1, as line 1 does"),
            ("a:1 192.0.2.9:5\nb:1 192.0.2.9:5\n", 2, "it listens at 192.0.2.9:5, as line 1 does"),
            (&format!("{key}@a:1\n{key}@b:1\n"), 2, "line 1 has this key too"),
        ] {
            let (found, problem) = apart(text).expect_err(text);
            assert!(found == line && problem.contains(says), "{text}: line {found}: {problem}");
        }
    }
}
