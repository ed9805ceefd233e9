//! Playing by script, as the page about playing shows it.

use super::*;

/// Plays a script: the exit code, and the events.
pub(super) fn play(address: &str, key: &Path, script: impl AsRef<[u8]>) -> (i32, Vec<Value>, String) {
    let (code, out, err) = play_script(address, key, script);
    let events = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (code, events, err)
}

pub(super) fn events<'a>(events: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| event["event"] == kind)
}

/// The script on the page about playing, as it stands there.
fn example_of_the_page() -> String {
    let page = include_str!("../../../../docs/play.md");
    let example = page.split("```").find(|part| part.contains("wait receipt\nsit 1000")).expect("an example");
    example.trim_start().to_owned()
}

#[test]
fn the_example_of_the_page_about_playing_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let dev = Dev::start(&dir.path().join("s"), "127.0.0.1:0", &[]);
    let key = dir.path().join("player.pem");
    let (code, all, err) = play(&dev.address, &key, example_of_the_page());
    assert_eq!(code, 0, "{err}");
    // What a person reads in the log before the first line of the script.
    assert!(err.contains("a new key was made: ") && err.contains("this node's key is "), "{err}");
    let receipts: Vec<&Value> = events(&all, "receipt").collect();
    assert_eq!(receipts.len(), 3, "open, sit, pass: {receipts:?}");
    assert!(receipts.iter().all(|receipt| receipt["result"] == "applied"), "{receipts:?}");
    assert!(events(&all, "roll").count() >= 1);
    assert!(events(&all, "table").any(|table| table["may_roll_ms"].is_u64()), "it says when the shooter may roll");
    // With the account there already, and with nothing at all between the lines.
    let (code, all, err) =
        play(&dev.address, &key, "open\nopen\nwait receipt\nfield 5\nfield 5\nleave\nwait receipt\nquit\n");
    assert_eq!(code, 0, "{err}");
    let mut numbers: Vec<u64> = events(&all, "sent").map(|sent| sent["number"].as_u64().expect("a number")).collect();
    // An account that is being opened is not opened once more: both have one number, and one receipt. Where the first has
    // its receipt already, the second is another intent.
    assert!(numbers.len() == 5 && numbers[1] - numbers[0] <= 1, "{numbers:?}");
    numbers.dedup();
    assert!(numbers.is_sorted_by(|one, next| one < next), "no two others have one number: {numbers:?}");
    assert_eq!(events(&all, "receipt").count(), numbers.len());
    // A key that is new, and a script that does not wait.
    let (code, all, _) = play(&dev.address, &dir.path().join("other.pem"), "open\nopen\nsit 100\nwait receipt\nquit\n");
    let mut sent = numbers_of(&all, "sent");
    sent.dedup();
    assert_eq!((code, numbers_of(&all, "receipt")), (0, sent), "{all:?}");
}

fn numbers_of(all: &[Value], kind: &str) -> Vec<u64> {
    events(all, kind).map(|event| event["number"].as_u64().expect("a number")).collect()
}

#[test]
fn a_script_that_only_looks_opens_no_account_and_what_opens_one_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let dev = Dev::start(&dir.path().join("s"), "127.0.0.1:0", &[]);
    let key = dir.path().join("player.pem");
    let (code, all, err) = play(&dev.address, &key, "wait receipt\ntable 1\nsleep 500\nquit\n");
    let told = ["sent", "receipt", "unanswered", "account"].map(|kind| events(&all, kind).count());
    assert_eq!((code, told), (0, [0; 4]), "{err} {all:?}");
    let (code, all, err) = play(&dev.address, &key, "sit 1000\nwait receipt\nquit\n");
    assert_eq!(
        (code, numbers_of(&all, "sent"), numbers_of(&all, "receipt")),
        (0, vec![1, 2], vec![1, 2]),
        "{err} {all:?}"
    );
    assert_eq!(events(&all, "sent").next().expect("the first")["words"], "open an account");
    assert!(events(&all, "receipt").all(|receipt| receipt["result"] == "applied"), "{all:?}");
}

#[test]
fn a_line_that_is_no_text_is_wrong_and_those_after_it_are_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let dev = Dev::start(&dir.path().join("s"), "127.0.0.1:0", &[]);
    let script = b"open\nwait receipt\n\xff\xfe 5\nsit 100\nwait receipt\nquit\n";
    let (code, all, err) = play(&dev.address, &dir.path().join("player.pem"), script);
    let wrong: Vec<&Value> = events(&all, "error").collect();
    assert!(matches!(wrong[..], [error] if error["line"] == 3), "{wrong:?}");
    assert!(code == 2 && err.contains("1 of 6 lines were no commands"), "{code} {err}");
    assert_eq!(events(&all, "receipt").count(), 2, "{all:?}");
}

/// Both commands as the README has them: a table has one seat, and simulated players leave some.
#[test]
fn at_tables_of_one_seat_a_person_finds_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let session = dir.path().join("s");
    let mut child = program()
        .args(["dev", "--dice", "both", "--window", "1000", "--listen", "127.0.0.1:0", "--data", text(&session)])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let lines = Lines::of(child.stdout.take().expect("piped"));
    let address =
        lines.until("listens").split_whitespace().nth(1).expect("an address").trim_end_matches(':').to_owned();
    let dev = Dev { child, lines, address };
    // Long enough for the players to sit down: one of them likes table 0.
    std::thread::sleep(Duration::from_secs(5));
    let (code, all, err) =
        play(&dev.address, &dir.path().join("player.pem"), "open\nwait receipt\nsit 1000\nwait receipt\n");
    assert_eq!(code, 0, "{err}");
    let sat = events(&all, "receipt").last().expect("a receipt");
    assert_eq!(sat["result"], "applied", "{sat}");
    let table = |event: &Value| event["table"].as_u64().expect("a table");
    let (first, last) = (events(&all, "table").next(), events(&all, "table").last());
    assert!(first.map(table) == Some(0) && last.map(table) > Some(0), "the first table was full: {first:?} {last:?}");
}

#[test]
fn a_table_that_does_not_exist_is_refused_with_the_range() {
    let dir = tempfile::tempdir().expect("a directory");
    let dev = Dev::start(&dir.path().join("s"), "127.0.0.1:0", &[]);
    let key = dir.path().join("player.pem");
    let (code, all, err) = play(&dev.address, &key, "table 99\ntable 1\nquit\n");
    let problem = events(&all, "error").next().expect("an error");
    assert!(problem["message"].as_str().is_some_and(|text| text.contains("the tables are 0 to 1")), "{problem}");
    assert!(code == 2 && err.contains("1 of 3 lines"), "{code} {err}");
    let output = bitcraps(&["play", &dev.address, "--script", "--table", "2", "--key", text(&key)]);
    let (code, _, err) = said(&output);
    assert!(code == 2 && err.contains("the tables are 0 to 1"), "{code} {err}");
}

/// Every `dev` with another seed is another chain, and each listens where the one before did.
#[test]
fn another_chain_at_the_same_address_is_another_game() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("player.pem");
    let dev = Dev::start(&dir.path().join("a"), "127.0.0.1:0", &["--seed", "1"]);
    let address = dev.address.clone();
    assert_eq!(play(&address, &key, "open\nwait receipt\nquit\n").0, 0);
    drop(dev);
    let dev = Dev::start(&dir.path().join("b"), &address, &["--seed", "2"]);
    let (code, all, err) = play(&address, &key, "open\nwait receipt\nquit\n");
    assert_eq!(code, 0, "{err}");
    let opened: Vec<&Value> = events(&all, "receipt").collect();
    assert!(matches!(opened[..], [receipt] if receipt["result"] == "applied"), "an account of its own: {opened:?}");
    drop(dev);
    // The same chain under another key is not: somebody may pretend to be the node.
    let known = dir.path().join("known_nodes");
    let lines = fs::read_to_string(&known).expect("known nodes");
    assert_eq!(lines.lines().count(), 2, "{lines}");
    let first = lines.lines().next().expect("a line");
    let (kept, _) = first.rsplit_once(' ').expect("a key");
    fs::write(&known, format!("{kept} {}\n", "ab".repeat(32))).expect("written");
    let dev = Dev::start(&dir.path().join("a"), &address, &["--seed", "1"]);
    let (code, _, err) = play(&dev.address, &key, "quit\n");
    assert!(code == 7 && err.contains("was expected"), "{code} {err}");
}

#[test]
fn a_node_that_falls_silent_is_said_to_be_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let dev = Dev::start(&dir.path().join("s"), "127.0.0.1:0", &[]);
    let mut child = program()
        .args(["play", &dev.address, "--script", "--key", text(&dir.path().join("player.pem"))])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let lines = Lines::of(child.stdout.take().expect("piped"));
    lines.until(r#""event":"table""#);
    signal(&dev.child, "-STOP");
    let lost = lines.until(r#""state":"down""#);
    signal(&dev.child, "-CONT");
    assert!(lost.contains("no node answers"), "{lost}");
    lines.until(r#""state":"up""#);
    drop(child.stdin.take());
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn of_several_nodes_that_are_not_there_each_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let silent = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a socket"));
    let [one, other] = silent.each_ref().map(|socket| socket.local_addr().expect("an address").to_string());
    let (code, _, err) = run(&["play", &one, &other, "--script", "--key", text(&dir.path().join("player.pem"))]);
    assert!(code == 7 && err.contains(&format!("{one}; the next node is tried")), "{code} {err}");
    let last = err.lines().last().expect("why it ends");
    assert!(last.contains(&one) && last.contains(&other) && last.contains("are the nodes running"), "{err}");
}

/// The node of a chain is gone, and another chain is where it was.
#[test]
fn what_was_sent_to_a_node_that_does_not_come_back_is_said_to_be_unanswered() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut dev = Dev::start(&dir.path().join("a"), "127.0.0.1:0", &["--seed", "1"]);
    let address = dev.address.clone();
    let mut child = program()
        .args(["play", &address, "--script", "--key", text(&dir.path().join("player.pem"))])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut script = child.stdin.take().expect("piped");
    let lines = Lines::of(child.stdout.take().expect("piped"));
    writeln!(script, "open").expect("it reads");
    lines.until(r#""event":"account""#);
    dev.child.kill().expect("it runs");
    dev.child.wait().expect("it ends");
    writeln!(script, "sit 100").expect("it reads");
    let sent: Value = serde_json::from_str(&lines.until(r#""event":"sent""#)).expect("JSON");
    let _other = Dev::start(&dir.path().join("b"), &address, &["--seed", "2"]);
    let unanswered: Value = serde_json::from_str(&lines.until(r#""event":"unanswered""#)).expect("JSON");
    assert_eq!((&unanswered["number"], &unanswered["words"]), (&sent["number"], &sent["words"]));
    let (code, _, err) = said(&end(child));
    assert!(code == 7 && err.contains(&format!("{address}: the node keeps another chain")), "{code} {err}");
    assert!(err.contains("start `play` again for the new game there"), "{err}");
}

/// As many intents go out as an account has numbers for; the lines after them wait for an answer, and are none of the intents that
/// the end leaves without one.
#[test]
fn a_script_that_gets_no_answer_sends_no_more_than_it_keeps_in_mind() {
    let dir = tempfile::tempdir().expect("a directory");
    let dev = Dev::start(&dir.path().join("s"), "127.0.0.1:0", &[]);
    let mut child = program()
        .args(["play", &dev.address, "--script", "--key", text(&dir.path().join("player.pem"))])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut script = child.stdin.take().expect("piped");
    let lines = Lines::of(child.stdout.take().expect("piped"));
    // The account is open: nothing else is without an answer.
    writeln!(script, "open").expect("it reads");
    lines.until(r#""event":"receipt""#);
    signal(&dev.child, "-STOP");
    script.write_all("bet field 1\n".repeat(70).as_bytes()).expect("it reads");
    let numbers: Vec<Value> = (0..64)
        .map(|_| serde_json::from_str::<Value>(&lines.until(r#""event":"sent""#)).expect("JSON")["number"].clone())
        .collect();
    // Time enough for the lines after them.
    std::thread::sleep(Duration::from_millis(500));
    signal(&child, "-TERM");
    let rest = lines.rest();
    let rest: Vec<Value> = rest.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events(&rest, "sent").count(), 0, "{rest:?}");
    let unanswered: Vec<Value> = events(&rest, "unanswered").map(|event| event["number"].clone()).collect();
    assert_eq!(unanswered, numbers);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_key_is_made_in_no_folder_that_nobody_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut play = program();
    play.args(["play", "127.0.0.1:1", "--script"]).current_dir(dir.path());
    let (code, _, err) = said(&play.env_remove("HOME").env_remove("XDG_DATA_HOME").output().expect("the program runs"));
    assert!(code == 2 && err.contains("name it with --key"), "{code} {err}");
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0, "nothing was made");
}

#[test]
fn a_script_that_is_named_as_a_node_is_told_from_a_wrong_address() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = dir.path().join("script.txt");
    let play = || run(&["play", "--script", text(&script)]);
    let (code, _, err) = play();
    assert!(code == 2 && err.contains("is no address") && !err.contains("standard input"), "{code} {err}");
    fs::write(&script, "quit\n").expect("written");
    let (code, _, err) = play();
    assert!(code == 2 && err.contains("is no address") && err.contains("`--script <FILE`"), "{code} {err}");
}
