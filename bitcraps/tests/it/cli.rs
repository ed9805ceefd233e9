//! The program as a person or a script meets it: two processes, exit codes, bad input, Ctrl-C.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use storage::{FrameKind, JournalReader};

fn bitcraps(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bitcraps")).args(args).output().expect("the program runs")
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// The exit code and the message of a command that must fail.
fn failure(args: &[&str]) -> (i32, String) {
    let output = bitcraps(args);
    (output.status.code().expect("no signal"), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

/// Waits for something that must come, however busy the machine is.
fn wait_until(it_is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !it_is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "it did not come in a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Settled heights in a session, which a node may be writing.
fn settled(session: &Path) -> usize {
    let Ok(mut journal) = JournalReader::open(session) else { return 0 };
    let mut count = 0;
    while let Ok(Some(frame)) = journal.next_frame() {
        count += usize::from(frame.kind == FrameKind::Settled);
    }
    count
}

#[test]
fn two_processes_record_one_chain_and_a_third_confirms_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = |name: &str, threads: &str| {
        let session = dir.path().join(name);
        let args = ["dev", "--heights", "60", "--pace", "max", "--threads", threads, "--output", "json", "--data"];
        json(&bitcraps(&[&args[..], &[text(&session)]].concat()))
    };
    let (first, second) = (run("first", "1"), run("second", "2"));
    for field in
        ["height", "root", "root_chain", "rolls", "bets_placed", "bets_resolved", "refused", "tables", "players"]
    {
        assert!(!first[field].is_null(), "{field} is part of the contract");
        assert_eq!(first[field], second[field], "{field}");
    }
    let session = dir.path().join("first");
    let replayed = json(&bitcraps(&["replay", text(&session), "--output", "json"]));
    assert_eq!(
        (&replayed["ok"], &replayed["root"], &replayed["root_chain"]),
        (&true.into(), &first["root"], &first["root_chain"])
    );

    let image = dir.path().join("state.img");
    let exported = json(&bitcraps(&["export", text(&session), "--image", text(&image), "--output", "json"]));
    let bytes = std::fs::read(&image).expect("the image");
    assert_eq!(exported["bytes"], bytes.len());
    assert_eq!(exported["root"].as_str(), Some(blake3::hash(&bytes).to_hex().as_str()));
    assert_eq!(exported["root"], first["root"]);
    let (code, message) = failure(&["export", text(&session), "--image", text(&image)]);
    assert!(code == 4 && message.contains("nothing is overwritten"), "{code} {message}");
    for (height, code, says) in [("61", 4, "ends at height 60; --height 61 is beyond"), ("0", 2, "heights begin at 1")]
    {
        for what in ["--csv", "--image"] {
            let (found, message) = failure(&["export", text(&session), what, "x.img", "--height", height]);
            assert!(found == code && message.contains(says), "{what}, {height}: {found} {message}");
        }
    }
    for [one, other] in [["--csv", "--parquet"], ["--image", "--evidence"], ["--csv", "--image"]] {
        let (code, message) = failure(&["export", text(&session), one, "x", other, "./x"]);
        let says = format!("{one} and {other} both name ./x");
        assert!(code == 2 && message.contains(&says), "{code} {message}");
    }
}

#[test]
fn an_interrupt_leaves_a_session_that_replays() {
    let dir = tempfile::tempdir().expect("a directory");
    for (number, wait_ms) in [150, 600, 1_100].into_iter().enumerate() {
        let session = dir.path().join(number.to_string());
        let child = Command::new(env!("CARGO_BIN_EXE_bitcraps"))
            .args(["dev", "--output", "json", "--data", text(&session)])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        std::thread::sleep(Duration::from_millis(wait_ms));
        // It listens for signals before it makes its session.
        wait_until(|| session.join("journal").exists());
        let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
        assert!(signal.success());
        let ended = json(&child.wait_with_output().expect("it ends"));
        if ended["height"] == 0 {
            continue;
        }
        let replayed = json(&bitcraps(&["replay", text(&session), "--output", "json"]));
        assert_eq!((&replayed["ok"], &replayed["root"]), (&true.into(), &ended["root"]));
    }
}

#[test]
fn a_killed_process_leaves_a_session_that_replays_and_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let session = dir.path().join("s");
    for _ in 0..3 {
        let before = settled(&session);
        let mut child = Command::new(env!("CARGO_BIN_EXE_bitcraps"))
            .args(["dev", "--pace", "max", "--output", "json", "--data", text(&session)])
            .stdout(Stdio::null())
            .spawn()
            .expect("the program runs");
        std::thread::sleep(Duration::from_millis(700));
        // On a busy machine it may not have come that far yet.
        wait_until(|| settled(&session) > before);
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        let replayed = json(&bitcraps(&["replay", text(&session), "--output", "json"]));
        assert_eq!(replayed["ok"], true);
    }
}

#[test]
fn what_is_typed_wrong_is_usage_with_the_nearest_right_word() {
    for (args, near) in [
        (&["dev", "--table", "3"][..], "--tables"),
        (&["repaly", "x"][..], "replay"),
        (&["odds", "--bet", "hrad8"][..], "hard_8"),
        (&["odds", "--bet", "repeater"][..], "could be repeater_2"),
        (&["odds", "--rules", "barr=2"][..], "bar"),
        (&["odds", "--rules", "bar=4"][..], "12, 2 or 3"),
        (&["replay", "x", "--from", "9", "--to", "3"][..], "--to is not below --from"),
        (&["dev", "--tables", "0"][..], "1..=100000"),
    ] {
        let (code, message) = failure(args);
        assert!(code == 2 && message.contains(near), "{args:?}: {code} {message}");
    }
}

#[test]
fn a_bet_is_named_as_people_name_it_and_no_far_one_is_suggested() {
    for (name, bet) in [("yo", "yo_11"), ("place 6", "place_6"), ("hard8", "hard_8"), ("34", "fire"), ("fire", "fire")]
    {
        let odds = json(&bitcraps(&["odds", "--bet", name, "--output", "json"]));
        assert_eq!(odds["rows"][0]["bet"], bet, "{name}");
    }
    let (code, message) = failure(&["odds", "--bet", "xq"]);
    assert!(code == 2 && message.contains("there is no bet `xq`") && !message.contains("did you mean"), "{message}");
}

#[test]
fn what_is_no_session_or_no_scenario_file_is_a_data_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let (code, message) = failure(&["replay", text(dir.path())]);
    assert!(code == 4 && message.contains("no genesis.json"), "{code} {message}");
    let (code, message) = failure(&["dev", "--heights", "1", "--data", env!("CARGO_MANIFEST_DIR")]);
    assert!(code == 4 && message.contains("not empty"), "{code} {message}");

    let file = dir.path().join("scenario.json");
    std::fs::write(&file, "").expect("a file");
    for args in [&["replay"][..], &["export", "--image", "state.img"], &["db", "stats"]] {
        let (code, message) = failure(&[args, &[text(&file)]].concat());
        assert!(code == 4 && message.contains("is not a recorded session: it is a file"), "{args:?}: {code} {message}");
    }
    let session = dir.path().join("s");
    let dev = ["dev", "--heights", "2", "--pace", "max", "--output", "json", "--data", text(&session)];
    json(&bitcraps(&dev));
    let (code, message) = failure(&[&dev[..], &["--seed", "2"]].concat());
    assert!(
        code == 4 && message.contains("was begun with another seed than 2 (its genesis is `dev, seed 1`)"),
        "{message}"
    );
    assert!(!message.contains("not a recorded session"), "{message}");

    let check = |content: &str| {
        std::fs::write(&file, content).expect("a file");
        failure(&["script", text(&file), "--check"])
    };
    let scenario =
        |rest: &str| format!(r#"{{"format": 2, "scenarios": [{{"name": "mine", "players": {{"A": 100}}, {rest}}}]}}"#);
    for (content, what) in [
        ("{".to_owned(), "not JSON"),
        (r#"{"format": 3}"#.to_owned(), "format is 3"),
        (scenario(r#""rolls": [[1, 7]], "actions": []"#), "(mine): rolls.0"),
        (
            scenario(r#""rolls": [], "actions": [{"at_roll": 0, "player": "A", "op": "hop", "bet": "pass"}]"#),
            "actions.0.op",
        ),
        (scenario(r#""rolls": [], "actions": [], "extra": 1"#), "(mine): extra"),
        (scenario(r#""rolls": [], "actions": [], "rules": {"bar": 5}"#), "rules.bar"),
    ] {
        let (code, message) = check(&content);
        assert!(code == 4 && message.contains(what), "{code} {message}");
    }
    let wrong = scenario(r#""rolls": [], "actions": [], "expected": {"final_balances": {"A": 99}}"#);
    std::fs::write(&file, wrong).expect("a file");
    let output = bitcraps(&["script", text(&file), "--check"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stdout).contains("mine: final_balances.A: expected 99, found 100"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 of 1 scenario differs"), "{output:?}");
    let expected = r#"{"action_results": [], "rolls": [], "final_balances": {"A": 100}, "final_on_table": {"A": 0}}"#;
    let right = scenario(&format!(r#""rolls": [], "actions": [], "expected": {expected}"#));
    std::fs::write(&file, right).expect("a file");
    let output = bitcraps(&["script", text(&file), "--check"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 scenario, as expected\n", "{output:?}");
}

#[test]
fn a_session_is_looked_after_from_the_command_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = |name: &str| dir.path().join(name);
    let (session, copy, rows) = (place("s"), place("copy"), place("rows"));
    let ended =
        json(&bitcraps(&["dev", "--heights", "60", "--pace", "max", "--output", "json", "--data", text(&session)]));
    let stats = json(&bitcraps(&["db", "stats", text(&session), "--bytes-max", "1GB", "--output", "json"]));
    assert_eq!((&stats["settled"], &stats["live"], &stats["first"]), (&60.into(), &false.into(), &1.into()));
    assert!(stats["days_to_bytes_max"].as_f64().is_some_and(|days| days > 0.0), "{stats}");
    let checked = json(&bitcraps(&["db", "check", text(&session), "--output", "json"]));
    assert_eq!((&checked["ok"], &checked["settled"]), (&true.into(), &60.into()));

    let copied = json(&bitcraps(&["db", "backup", text(&session), text(&copy), "--output", "json"]));
    assert_eq!((&copied["root"], &copied["root_chain"]), (&ended["root"], &ended["root_chain"]));
    assert_eq!(json(&bitcraps(&["replay", text(&copy), "--output", "json"]))["root"], ended["root"]);
    let compared = json(&bitcraps(&["bisect", text(&session), text(&copy), "--output", "json"]));
    assert_eq!((&compared["ok"], &compared["agree"]), (&true.into(), &60.into()));
    let shown = bitcraps(&["db", "backup", text(&session), text(&place("for people"))]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("among others votes on nothing at first; one of one to three may not sign"), "{shown}");
    let compacted = json(&bitcraps(&["db", "compact", text(&session), "--output", "json"]));
    assert!(compacted["after"].as_u64() <= compacted["before"].as_u64(), "{compacted}");
    let exported =
        json(&bitcraps(&["export", text(&session), "--csv", text(&rows), "--height", "50", "--output", "json"]));
    assert_eq!((&exported["height"], exported["files"].as_array().map(Vec::len)), (&50.into(), Some(12)));
    let payouts = std::fs::read_to_string(rows.join("payouts.csv")).expect("a table");
    let (head, row) = payouts.split_once('\n').expect("a head");
    let at = head.split(',').position(|column| column == "block_time").expect("each row has its moment");
    let moment = row.split(',').nth(at).expect("a payout");
    assert!(moment.len() == "2026-01-01T00:00:00.000Z".len() && moment.ends_with('Z'), "{moment}");
    let help = String::from_utf8_lossy(&bitcraps(&["export", "--help"]).stdout).into_owned();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("moments in UTC: RFC 3339 in CSV, timestamps in Parquet."), "{help}");

    let segment = copy.join("journal/00000001.seg");
    let mut bytes = std::fs::read(&segment).expect("a segment");
    bytes[5_000] ^= 1;
    std::fs::write(&segment, &bytes).expect("written");
    let (code, message) = failure(&["db", "check", text(&copy)]);
    assert!(code == 4 && message.contains("journal/00000001.seg at byte"), "{code} {message}");
    let (code, message) = failure(&["export", text(&session)]);
    assert!(code == 2 && message.contains("--csv"), "{code} {message}");
    let (code, message) = failure(&["db", "backup", text(&session), text(&rows)]);
    assert!(code == 4 && message.contains("nothing is overwritten"), "{code} {message}");
    let (code, message) = failure(&["db", "stats", text(&session), "--bytes-max", "many"]);
    assert!(code == 2 && message.contains("512MB"), "{code} {message}");
}

/// A journal that nobody bounded would fill the disk in days: `init` decides on a bound, or is told one.
#[test]
fn init_bounds_the_journal() {
    let dir = tempfile::tempdir().expect("a directory");
    let init = |name: &str, more: &[&str]| {
        let node = dir.path().join(name);
        let args = [
            &["init", text(&node), "--plain-keys", "--listen", "127.0.0.1:0", "--dashboard", "off", "--output", "json"],
            more,
        ]
        .concat();
        (bitcraps(&args), node.join("bitcraps.toml"))
    };
    let (made, config) = init("told", &["--bytes-max", "20GiB"]);
    assert_eq!(json(&made)["bytes_max"], 20_u64 << 30);
    assert!(std::fs::read_to_string(&config).expect("a configuration").contains("bytes_max = \"20 GiB\""));
    // What the disk lasts for is told with the bounds of the node.
    let stats = |config: &Path| json(&bitcraps(&["db", "stats", "--config", text(config), "--output", "json"]));
    assert_eq!(
        (&stats(&config)["bytes_max"], &stats(&config)["min_free"]),
        (&(20_u64 << 30).into(), &(256 << 20).into())
    );
    let (made, config) = init("free", &["--bytes-max", "0"]);
    assert_eq!(json(&made)["bytes_max"], 0);
    assert!(stats(&config)["bytes_max"].is_null(), "no bound");
    assert!(bitcraps(&["config", "check", text(&config)]).status.success());
    let (made, config) = init("half", &[]);
    assert!(json(&made)["bytes_max"].as_u64() >= Some(128 << 20), "half of what is free");
    assert!(bitcraps(&["config", "check", text(&config)]).status.success());
    let (made, config) = init("small", &["--bytes-max", "1MiB"]);
    let message = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.code() == Some(2) && message.contains("0 is no bound"), "{message}");
    assert!(!config.exists(), "nothing was made");
}

#[test]
fn an_audit_of_dice_says_who_could_have_foreseen_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let session = dir.path().join("s");
    let args = ["dev", "--heights", "60", "--pace", "max", "--output", "json", "--data", text(&session)];
    let played = json(&bitcraps(&args));
    let audited = json(&bitcraps(&["audit-dice", text(&session), "--output", "json"]));
    assert_eq!((&audited["ok"], &audited["height"], &audited["rolls"]), (&true.into(), &60.into(), &played["rolls"]));
    assert_eq!(audited["foreseeable_by"]["whoever_knows_the_seed"], played["rolls"]);
    assert_eq!((&audited["foreseeable_by"]["operator"], &audited["threshold"]), (&0.into(), &1000.0.into()));
    assert_eq!(audited["tables"].as_array().map(Vec::len), played["tables"].as_u64().map(|tables| tables as usize));
    for field in ["log10_e", "faces_log10_e", "house_log10_e", "tables_log10_e", "proposers_log10_e"] {
        assert!(audited[field].is_f64(), "{field} is part of the contract");
    }
    let shown = bitcraps(&["audit-dice", text(&session), "--to", "30"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("in heights 1 to 30") && shown.contains("whoever knows the seed"), "{shown}");
    assert_eq!(failure(&["audit-dice", text(&session), "--to", "0"]).0, 2);
    let (code, message) = failure(&["audit-dice", text(&session), "--to", "61"]);
    assert!(code == 4 && message.contains("ends at height 60; --to 61 is beyond"), "{code} {message}");
    let segment = session.join("journal/00000001.seg");
    let mut bytes = std::fs::read(&segment).expect("the journal");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    assert_eq!(failure(&["audit-dice", text(&session)]).0, 4, "a damaged session");
}
