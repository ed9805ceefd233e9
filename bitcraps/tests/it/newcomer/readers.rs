//! Output whose reader goes away.

use super::playing::{events, play};
use super::*;

/// A pipe whose reader has gone.
fn gone() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

#[test]
fn a_reader_of_standard_output_that_goes_away_changes_no_exit_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, other) = (session(dir.path(), "one", 1), session(dir.path(), "other", 2));
    let scenarios = concat!(env!("CARGO_MANIFEST_DIR"), "/../audit/tests/data/scenarios.json");
    let (one, other) = (text(&one), text(&other));
    let copy = dir.path().join("copy");
    for (args, code) in [
        (&["odds"][..], 0),
        (&["odds", "--output", "csv"], 0),
        (&["odds", "--output", "ndjson"], 0),
        (&["script", scenarios], 0),
        (&["script", scenarios, "--check"], 0),
        (&["replay", one], 0),
        (&["history", one, "--table", "0"], 0),
        (&["history", one, "--table", "0", "--output", "csv"], 0),
        (&["history", one, "--table", "0", "--output", "ndjson"], 0),
        (&["db", "stats", one], 0),
        (&["db", "stats", one, "--output", "csv"], 0),
        (&["db", "check", one, "--output", "csv"], 0),
        (&["db", "backup", one, text(&copy)], 0),
        (&["bisect", one, other], 5),
        (&["replay", "no such session"], 4),
        (&["dev", "--heights", "3", "--pace", "max", "--data", text(&dir.path().join("third"))], 0),
        (&["--help"], 0),
    ] {
        let output = program().args(args).stdout(gone()).output().expect("the program runs");
        let (found, _, err) = said(&output);
        assert_eq!(found, code, "{args:?}: {err}");
        // Beside rows, what the session says of itself is a note.
        let rows = args[0] == "history" && args.contains(&"--output");
        let notes =
            if rows { said(&program().args(args).output().expect("the program runs")).2 } else { String::new() };
        assert!(code != 0 || err == notes, "{args:?} is not quiet: {err}");
    }
}

#[test]
fn a_reader_of_standard_error_that_goes_away_changes_no_exit_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = session(dir.path(), "one", 1);
    for (args, code) in [
        (&["replay", "no such session"][..], 4),
        (&["odds", "--bet", "no such bet"], 2),
        (&["no such command"], 2),
        (&["history", text(&one), "--table", "0", "--stats"], 0),
        (&["bisect", text(&one), "no such session"], 4),
        (&["dev", "--players", "0", "--heights", "1"], 2),
    ] {
        let output = program().args(args).stderr(gone()).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn a_node_whose_readers_have_gone_goes_on_and_ends_cleanly() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("node");
    let config = made_node(&place, &["--window", "1000"]);
    let mut child = program()
        .args(["node", "--config", text(&config), "--output", "ndjson"])
        .env("BITCRAPS_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(gone())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let mut ready = String::new();
    lines.read_line(&mut ready).expect("text");
    let ready: Value = serde_json::from_str(&ready).expect("a ready line");
    drop(lines);
    // It logs, into nothing, and serves.
    let address = ready["listen"].as_str().expect("an address");
    let (code, all, err) =
        play(address, &dir.path().join("player.pem"), "wait receipt\nsit 1000\nwait receipt\nquit\n");
    assert_eq!((code, events(&all, "receipt").count()), (0, 2), "{err}");
    signal(&child, "-TERM");
    assert_eq!(end(child).status.code(), Some(0));
}
