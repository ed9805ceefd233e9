//! Several validators as somebody meets them who deals, runs and follows them.

use super::*;
use crate::manifests::root;

/// What `init` takes so that it asks for nothing.
const QUIET: [&str; 5] = ["--plain-keys", "--dashboard", "off", "--bytes-max", "0"];

/// Addresses on this machine that nobody has, as a file for `init`.
fn addresses(dir: &Path, count: usize) -> PathBuf {
    let held: Vec<UdpSocket> = (0..count).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port")).collect();
    let lines: String = held.iter().map(|one| format!("{}\n", one.local_addr().expect("an address"))).collect();
    let file = dir.join("addresses.txt");
    fs::write(&file, lines).expect("written");
    file
}

/// Deals a chain; the exit code, and both outputs.
fn deal(place: &Path, count: &str, addresses: &Path) -> (i32, String, String) {
    run(&[&["init", text(place), "--validators", count, "--addresses", text(addresses)], &QUIET[..]].concat())
}

/// A node that follows; the exit code, and both outputs.
fn follow(place: &Path, genesis: &Path, addresses: &Path, more: &[&str]) -> (i32, String, String) {
    let args = ["init", text(place), "--follow", text(genesis), "--addresses", text(addresses), "--listen"];
    run(&[&args, &["127.0.0.1:0"][..], &QUIET, more].concat())
}

#[test]
fn a_file_that_is_no_list_of_addresses_is_told_what_one_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let (place, file) = (dir.path().join("chain"), dir.path().join("list"));
    let wrong = |file: &Path, code: i32, says: &str| {
        let (found, _, err) = deal(&place, "2", file);
        assert!(found == code && err.contains(says) && err.contains(text(file)), "{says}: {found} {err}");
        assert!(err.contains("craps.example.org:7400"), "it shows a line: {err}");
        assert!(!place.exists(), "nothing was made");
    };
    wrong(&file, 4, "No such file");
    wrong(dir.path(), 4, "Is a directory");
    fs::write(&file, b"\xff\xfe").expect("written");
    wrong(&file, 4, "it is not UTF-8");
    fs::write(&file, "# nothing\n").expect("written");
    wrong(&file, 2, "names no validator");
    fs::write(&file, "{\n").expect("written");
    wrong(&file, 2, "line 1: `{` is no HOST:PORT");
}

#[test]
fn one_address_by_two_names_is_one_validator() {
    let dir = tempfile::tempdir().expect("a directory");
    let (place, file) = (dir.path().join("chain"), dir.path().join("list"));
    fs::write(&file, "127.0.0.1:8600\nlocalhost:8600\n").expect("written");
    let (code, _, err) = deal(&place, "2", &file);
    assert!(code == 2 && err.contains("line 2: localhost:8600 is 127.0.0.1:8600") && err.contains("line 1"), "{err}");
    fs::write(&file, "127.0.0.1:8600\n127.0.0.1:8601 127.0.0.1:8600\n").expect("written");
    let (code, _, err) = deal(&place, "2", &file);
    assert!(code == 2 && err.contains("line 2: it listens at 127.0.0.1:8600, as line 1 does"), "{err}");
    assert!(!place.exists(), "nothing was made");
}

#[test]
fn one_validator_is_dealt_and_called_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let (code, out, err) = deal(&dir.path().join("chain"), "1", &addresses(dir.path(), 1));
    assert!(code == 0 && out.contains("and one validator."), "{code} {out} {err}");
    let hashes = out.lines().filter(|line| line.split(' ').any(|word| engine::unhex::<32>(word).is_some()));
    assert!(hashes.clone().count() > 0 && hashes.clone().all(|line| line.len() <= 80), "whole at 80 columns: {out}");
    assert!(out.contains("its operator sets `storage.bytes_max`"), "the dealer's disk is not theirs: {out}");
    assert!(!out.contains("1 validators") && !out.contains("of 1"), "{out}");
}

#[test]
fn whoever_follows_is_told_where_the_keys_are_from_and_how_to_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let chain = dir.path().join("chain");
    assert_eq!(deal(&chain, "2", &addresses(dir.path(), 2)).0, 0);
    let (genesis, list) = (chain.join("node-0/session/genesis.json"), chain.join("validators.txt"));
    let eyes = dir.path().join("eyes");
    let (code, out, err) = follow(&eyes, &genesis, &list, &[]);
    assert!(code == 0 && out.contains("keys         dealer: one person dealt"), "{code} {out} {err}");
    let (_, out, _) = follow(&dir.path().join("more"), &genesis, &list, &["--output", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&out).expect("JSON")["keys"], "dealer");
    let config = eyes.join("bitcraps.toml");
    for command in [&["node", "--config"][..], &["config", "check"]] {
        let (code, _, err) = run(&[command, &[text(&config)]].concat());
        assert!(code == 3 && err.contains("no validator's key; `--follow` runs it as a follower"), "{code} {err}");
    }
    // What lost one key of three is a validator still.
    let lost = chain.join("node-1/keys/validator.pem");
    fs::remove_file(&lost).expect("it was there");
    let (code, _, err) = run(&["node", "--config", text(&chain.join("node-1/bitcraps.toml"))]);
    assert!(code == 3 && err.contains(text(&lost)) && !err.contains("--follow"), "{code} {err}");
}

#[test]
fn a_file_that_is_no_genesis_is_told_where_one_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let (place, list) = (dir.path().join("eyes"), addresses(dir.path(), 1));
    for (genesis, says) in [
        (list.clone(), "this is no genesis"),
        (dir.path().join("none"), "No such file"),
        (dir.path().to_owned(), "Is a directory"),
    ] {
        let (code, _, err) = follow(&place, &genesis, &list, &[]);
        assert!(code == 4 && err.contains(says) && err.contains("node-0/session/genesis.json"), "{says}: {code} {err}");
        assert!(!place.exists(), "nothing was made");
    }
}

/// What another program wrote is not what was lost, however many others there are to follow.
#[test]
fn a_consensus_log_of_another_version_is_refused_among_others_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let chain = dir.path().join("chain");
    assert_eq!(deal(&chain, "4", &addresses(dir.path(), 4)).0, 0);
    let (config, log) = (chain.join("node-1/bitcraps.toml"), chain.join("node-1/session/consensus/00000001.log"));
    let check = |more: &[&str]| run(&[&["config", "check", text(&config)], more].concat());
    let whole = fs::read(&log).expect("a new session has its log");
    let mut newer = whole.clone();
    newer[..8].copy_from_slice(b"BCCLOG03");
    for more in [&[][..], &["--follow"]] {
        fs::write(&log, &newer).expect("written");
        let (code, _, err) = check(more);
        assert!(code == 4 && err.contains("the group has version 03, this program reads version 2"), "{code} {err}");
        assert!(!err.contains("--sign-from"), "that would not help: {err}");
        fs::write(&log, &whole).expect("written");
        assert_eq!(check(more).0, 0);
    }
}

#[test]
fn of_the_keys_of_two_validators_the_odd_one_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let chain = dir.path().join("chain");
    assert_eq!(deal(&chain, "4", &addresses(dir.path(), 4)).0, 0);
    let keys = |slot: u32| chain.join(format!("node-{slot}/keys"));
    let config = chain.join("node-1/bitcraps.toml");
    let check = || run(&["config", "check", text(&config)]);
    assert_eq!(check().0, 0);
    for (name, key) in [("validator", "validator"), ("dkg", "dkg"), ("beacon", "beacon")] {
        let (own, others) = (keys(1).join(format!("{name}.pem")), keys(2).join(format!("{name}.pem")));
        let kept = fs::read(&own).expect("a key");
        fs::copy(&others, &own).expect("copied");
        let (code, _, err) = check();
        let says = format!("`keys.{key}` is the key of validator 2, and the other keys here are those of validator 1");
        assert!(code == 3 && err.contains(text(&own)) && err.contains(&says), "{name}: {code} {err}");
        fs::write(&own, kept).expect("written");
    }
    assert_eq!(check().0, 0);
    // All three of another one are a whole validator: that it runs twice, the others see.
    for name in ["validator.pem", "dkg.pem"] {
        fs::copy(keys(2).join(name), keys(1).join(name)).expect("copied");
    }
    fs::copy(keys(3).join("dkg.pem"), keys(1).join("dkg.pem")).expect("copied");
    let (code, _, err) = check();
    assert!(code == 3 && err.contains("`keys.dkg` of validator 3, and `keys.beacon` of validator 1"), "{code} {err}");
}

#[test]
fn a_list_of_validators_that_is_not_the_chains_others_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let chain = dir.path().join("chain");
    assert_eq!(deal(&chain, "4", &addresses(dir.path(), 4)).0, 0);
    let config = chain.join("node-3/bitcraps.toml");
    let check =
        |set: &str| run(&[&["config", "check", text(&config), "--output", "json"], &["--set", set][..]].concat());
    let list = fs::read_to_string(chain.join("validators.txt")).expect("a list");
    let told = |named: &[usize]| {
        let named: Vec<&str> = named.iter().filter_map(|slot| list.lines().nth(*slot)).collect();
        let (code, out, err) = check(&format!("net.validators={named:?}"));
        assert_eq!(code, 0, "the node starts with it: {err}");
        serde_json::from_str::<Value>(&out).expect("JSON")["warnings"].to_string()
    };
    assert!(!told(&[0, 1, 2]).contains("net.validators"));
    assert!(told(&[]).contains("names 0 of the 3 other validators"));
    assert!(told(&[0, 1]).contains("names 2 of the 3 other validators"));
    assert!(told(&[0, 1, 1]).contains("more than once"));
    assert!(!told(&[0, 1, 2, 3]).contains("net.validators"), "one list for all of them");
    // Somebody copied one folder's key into another: the list is as it was dealt.
    let (own, others) = (chain.join("node-3/keys/net.pem"), chain.join("node-2/keys/net.pem"));
    fs::copy(others, own).expect("copied");
    assert!(told(&[0, 1, 2]).contains("this node's own network key"));
}

#[test]
fn validators_that_settle_nothing_end_well_and_say_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("d");
    for heights in [&["--heights", "3"][..], &["--heights", "3", "--output", "json"]] {
        let (code, _, err) =
            run(&[&["dev", "--nodes", "2", "--players", "0", "--data", text(&path)], heights].concat());
        assert!(code == 2 && err.contains("--players 0 with --heights") && !path.exists(), "{code} {err}");
    }
    let (code, _, err) = run(&["dev", "--nodes", "2", "--dashboard", "127.0.0.1:0", "--data", text(&path)]);
    assert!(code == 2 && err.contains("--dashboard") && !path.exists(), "{code} {err}");
    let _ports = crate::PORTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut child = program()
        .args(["dev", "--nodes", "2", "--players", "0", "--tables", "2", "--data", text(&path)])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let lines = Lines::of(child.stdout.take().expect("piped"));
    lines.until("Ctrl-C ends all");
    signal(&child, "-TERM");
    let rest = lines.rest();
    assert!(child.wait().expect("it ends").success() && rest.contains("nothing was settled"), "{rest}");
    assert!(!rest.contains("DIFFER") && !rest.contains("REPLAY"), "{rest}");

    let log = fs::read_to_string(path.join("node-1/node.log")).expect("a log");
    assert!(log.contains("the dashboard is at http://127.0.0.1:"), "{log}");

    // What it left is called what it is.
    let again = |args: &[&str]| run(&[args, &["--pace", "real", "--data", text(&path)]].concat());
    let (code, _, err) = again(&["dev"]);
    assert!(code == 4 && err.contains("a cluster of 2 validators: say --nodes 2"), "{code} {err}");
    let (code, _, err) = again(&["dev", "--nodes", "3"]);
    assert!(code == 4 && err.contains("2 validators, and --nodes is 3: say --nodes 2"), "{code} {err}");
    let (code, _, err) = again(&["dev", "--nodes", "2", "--seed", "7"]);
    assert!(code == 4 && err.contains("was begun with another seed than 7"), "{code} {err}");
    let (code, _, err) = again(&["dev", "--nodes", "2", "--tables", "5"]);
    assert!(code == 4 && err.contains("was begun with --tables 2, and --tables is 5"), "{code} {err}");
    let one = session(dir.path(), "one", 1);
    let (code, _, err) = run(&["dev", "--nodes", "2", "--data", text(&one)]);
    assert!(code == 4 && err.contains("leave out --nodes"), "{code} {err}");
    let (code, _, err) = run(&["dev", "--pace", "max", "--window", "700", "--data", text(&one)]);
    assert!(code == 4 && err.contains("was begun with --window 1000, and --window is 700"), "{code} {err}");

    // A node that does not start is asked why.
    let config = path.join("node-1/bitcraps.toml");
    let written = fs::read_to_string(&config).expect("a configuration");
    let listen = written.lines().find_map(|line| line.strip_prefix("listen = \"127.0.0.1:")).expect("an address");
    let listen = format!("127.0.0.1:{}", listen.trim_end_matches('"'));
    // A node of another test that has it serves as well.
    let _holder = UdpSocket::bind(&listen);
    let (code, _, err) = again(&["dev", "--nodes", "2", "--heights", "5"]);
    let says = format!("cannot listen on {listen}");
    assert!(code != 0 && err.contains(&says) && err.contains("node-1/node.log"), "{code} {err}");
}

#[test]
fn a_validator_with_another_key_than_configured_is_told_of_in_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let chain = dir.path().join("chain");
    assert_eq!(deal(&chain, "1", &addresses(dir.path(), 1)).0, 0);
    let node = |config: &Path, more: &[&str]| {
        let mut command = program();
        command.args(["node", "--ends-with-input", "--output", "ndjson", "--config", text(config)]).args(more);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs")
    };
    let mut validator = node(&chain.join("node-0/bitcraps.toml"), &[]);
    Lines::of(validator.stdout.take().expect("piped")).until("ready");
    let list = fs::read_to_string(chain.join("validators.txt")).expect("a list");
    let (key, at) = list.trim().split_once('@').expect("a key");
    let (altered, eyes) = (dir.path().join("altered.txt"), dir.path().join("eyes"));
    fs::write(&altered, format!("{}@{at}\n", "ab".repeat(32))).expect("written");
    let (code, _, err) = follow(&eyes, &chain.join("node-0/session/genesis.json"), &altered, &[]);
    assert_eq!(code, 0, "{err}");
    let mut follower = node(&eyes.join("bitcraps.toml"), &["--follow"]);
    let said = Lines::of(follower.stderr.take().expect("piped")).until("another key than net.validators says");
    assert!(said.contains(at) && said.contains(key) && said.contains(&"ab".repeat(32)), "{said}");
    for mut one in [follower, validator] {
        drop(one.stdin.take());
        assert!(one.wait().expect("it ends").success());
    }
}

#[test]
fn a_session_that_somebody_writes_is_nobody_elses_and_the_advice_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let _dev = Dev::start(&path, "127.0.0.1:0", &[]);
    let (code, _, err) = run(&["dev", "--heights", "1", "--pace", "max", "--data", text(&path)]);
    assert!(
        code == 8 && err.contains("in use by another process") && err.contains("end that one first"),
        "{code} {err}"
    );
    // `node` and `history --reindex` say the same, and for them there is no other directory.
    assert!(!err.contains("another directory"), "{err}");
}

/// The unit tries again after this code, so a service that is started beside `db compact` runs once that one has ended.
#[test]
fn a_node_whose_session_is_in_use_says_in_which_phase_its_start_ends_and_that_it_may_be_tried_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("node");
    let config = made_node(&place, &[]);
    let held = storage::Session::open(&place.join("session")).expect("nobody has it");
    for args in [&["node", "--config", text(&config)][..], &["db", "compact", text(&place.join("session"))]] {
        let (code, _, err) = run(args);
        assert!(code == 8 && err.contains("in use"), "{args:?}: {code} {err}");
        assert!(args[0] != "node" || err.contains("the start ends in its phase `core`"), "{err}");
    }
    drop(held);
    let unit = fs::read_to_string(root().join("packaging/systemd/bitcraps.service")).expect("a unit");
    assert!(unit.contains("\nRestart=on-failure\n") && unit.contains("\nRestartPreventExitStatus=2 3 4 5\n"), "{unit}");
}
