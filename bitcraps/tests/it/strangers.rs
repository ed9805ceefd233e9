//! A session that somebody else hands over: what it is, stands first; what is forged in it, shows in every command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use audit::recorded::Recorded;
use engine::limits::GROUP_BYTES;
use engine::message::block::{Decided, Retired};
use engine::message::certificate::{ChainLink, Settled, verdicts_hash};
use engine::message::note::ChainNote;
use engine::message::pledge::PledgeRow;
use engine::{Height, TableId, hex};
use serde_json::Value;
use storage::snapshot::SnapshotsFound;
use storage::{Frame, FrameKind, Session, Writing};

#[path = "../hostile/forge.rs"]
mod forge;
mod packs;

use forge::{Honest, frame, pack, record, record_given_up, resettled, resign, snapshots_of, write};

/// A session of 40 heights, whose cache folder is beside it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new(heights: u64, writing: Writing) -> (Self, Honest) {
        let place = Self { dir: tempfile::tempdir().expect("a directory") };
        let path = place.path("honest");
        record(&path, heights, writing);
        (place, Honest::of(&path))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitcraps"));
        command.env("XDG_CACHE_HOME", self.path("user")).args(args).output().expect("the program runs")
    }

    /// What a command prints.
    fn printed(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The exit code and the message of a command that must fail.
    fn failure(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        (output.status.code().expect("no signal"), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

/// The four commands that say what is in a session, with what each needs beside it.
fn commands<'a>(session: &'a str, image: &'a str) -> [Vec<&'a str>; 4] {
    [
        vec!["replay", session],
        vec!["history", session, "--table", "0"],
        vec!["export", session, "--image", image],
        vec!["bisect", session],
    ]
}

#[test]
fn which_session_it_is_stands_first_and_another_one_is_refused() {
    let (place, honest) = Place::new(40, Writing::default());
    let chain = hex(&honest.chain);
    let Recorded::Settled(last) = Recorded::of(honest.frames.last().expect("frames")).expect("a frame") else {
        panic!("a session that was closed is settled")
    };
    let (root_chain, other) = (hex(&last.root_chain), "ab".repeat(32));
    for (number, command) in commands(text(&honest.dir), text(&place.path("image"))).into_iter().enumerate() {
        let shown = place.printed(&command);
        let lines: Vec<&str> = shown.lines().take(4).map(str::trim).collect();
        assert_eq!(lines[0], text(&honest.dir), "{command:?}");
        assert_eq!(lines[1], format!("chain         {chain}"), "{command:?}");
        assert_eq!(lines[2], "name          dev, seed 1", "{command:?}");
        assert!(lines[3].starts_with("INSECURE KEYS"), "{command:?}: {shown}");
        let again = |extra: &[&'static str]| {
            let _ = fs::remove_file(place.path("image"));
            [&command[..], extra].concat()
        };
        let value: Value = serde_json::from_str(&place.printed(&again(&["--output", "json"]))).expect("JSON");
        assert_eq!((&value["chain"], &value["insecure_keys"]), (&chain.clone().into(), &true.into()), "{number}");
        assert_eq!(value["name"], "dev, seed 1");
        let expect = |what, hash: &str| {
            let _ = fs::remove_file(place.path("image"));
            place.run(&[&command[..], &[what, hash]].concat()).status.code()
        };
        assert_eq!(expect("--chain", &chain), Some(0), "{command:?}");
        assert_eq!(expect("--chain", &other), Some(5), "{command:?}");
        assert_eq!(expect("--root-chain", &root_chain), Some(0), "{command:?}");
        assert_eq!(expect("--root-chain", &other), Some(5), "{command:?}");
        assert_eq!(expect("--chain", "ab"), Some(2), "{command:?}");
    }
}

/// Whoever made the session chose its name: the terminal must not act on it.
#[test]
fn a_name_cannot_move_the_cursor() {
    let (place, honest) = Place::new(10, Writing::default());
    let mut genesis: Value = serde_json::from_slice(&honest.genesis).expect("JSON");
    genesis["name"] = "\u{1b}[2Jclean\r\nchain   forged".into();
    let path = place.path("named");
    write(&path, &serde_json::to_vec(&genesis).expect("JSON"), Vec::new());
    let output = place.run(&["replay", text(&path)]);
    let shown = String::from_utf8(output.stdout).expect("text");
    assert!(!shown.contains('\u{1b}') && !shown.contains('\r'), "{shown:?}");
    assert!(shown.contains("\\u{1b}[2Jclean\\r\\nchain"), "{shown}");
}

#[test]
fn a_session_that_was_cut_is_called_that_where_a_longer_one_was_expected() {
    let (place, honest) = Place::new(40, Writing::default());
    let cut = place.path("cut");
    let short: Vec<Frame> = honest.frames.iter().filter(|frame| frame.height <= Height(3)).cloned().collect();
    write(&cut, &honest.genesis, short);
    let whole: Value =
        serde_json::from_str(&place.printed(&["replay", text(&honest.dir), "--output", "json"])).expect("JSON");
    assert_eq!(
        (&whole["height"], &whole["verified_from"], &whole["session_height"]),
        (&40.into(), &1.into(), &40.into())
    );
    let root_chain = whole["root_chain"].as_str().expect("hex");

    assert!(place.printed(&["replay", text(&cut)]).contains("same root at height 3"), "it is a session");
    for command in commands(text(&cut), text(&place.path("image"))) {
        let (code, message) = place.failure(&[&command[..], &["--root-chain", root_chain]].concat());
        assert_eq!(code, 5, "{command:?}: {message}");
        assert!(message.contains("ends at height 3") && message.contains("cut short"), "{command:?}: {message}");
    }
    let longer = ["replay", text(&honest.dir), "--to", "30", "--root-chain", root_chain];
    let (code, message) = place.failure(&longer);
    assert!(code == 5 && message.contains("at height 40, not at 30"), "{code} {message}");
    for (command, what) in [
        (vec!["replay", text(&cut), "--to", "10"], "--to 10 is beyond"),
        (vec!["replay", text(&cut), "--from", "4"], "--from 4 is beyond"),
        (vec!["history", text(&cut), "--table", "0", "--to", "4"], "--to 4 is beyond"),
        (vec!["history", text(&cut), "--table", "0", "--from", "9"], "--from 9 is beyond"),
        (vec!["export", text(&cut), "--image", text(&place.path("image")), "--height", "4"], "ends at height 3"),
    ] {
        let (code, message) = place.failure(&command);
        assert!(code == 4 && message.contains(what), "{command:?}: {code} {message}");
    }
}

/// An intent that its player never signed, in a block that the validator decided, with all hashes and dice that follow.
fn with_forged_intent(honest: &Honest, path: &Path) -> u64 {
    let of = |frame: &Frame| Decided::decode(&frame.body).expect("a block");
    let holds = |frame: &&Frame| frame.kind == FrameKind::Decided && !of(frame).block.intents.is_empty();
    let at = honest.frames.iter().rposition(|frame| holds(&frame)).expect("somebody acts");
    let decided = of(&honest.frames[at]);
    let height = decided.block.header.height;
    let own = |frame: &&Frame| frame.kind == FrameKind::Settled && frame.height == height;
    let Recorded::Settled(settled) = Recorded::of(honest.frames.iter().find(own).expect("settled")).expect("a frame")
    else {
        panic!("a settled frame")
    };
    let forge = |block: &mut engine::message::block::Block| block.intents[0].signature[40] ^= 1;
    let (decided, settled) = resign(&honest.chain, &decided, &settled, forge);
    let settled = resettled(honest, &decided, settled.beacon);
    let mut frames: Vec<Frame> = honest.frames.iter().filter(|frame| frame.height < height).cloned().collect();
    frames.push(frame(FrameKind::Decided, height, decided.encode()));
    frames.push(frame(FrameKind::Settled, height, settled.encode()));
    write(path, &honest.genesis, frames);
    height.0
}

#[test]
fn a_forged_intent_shows_as_such_in_every_command() {
    let (place, honest) = Place::new(40, Writing::default());
    let path = place.path("forged");
    let height = with_forged_intent(&honest, &path);
    let says = format!("height {height}: Intent row 0, signature: expected one that verifies, found one that does not");
    for command in commands(text(&path), text(&place.path("image"))) {
        let (code, message) = place.failure(&command);
        assert!(code == 5 && message.contains(&says), "{command:?}: {code} {message}");
    }
    let (code, message) = place.failure(&["bisect", text(&path), text(&path)]);
    assert!(code == 5 && message.contains(&says), "of two equal ones too: {code} {message}");
}

#[test]
fn a_frame_of_another_height_than_its_body_is_refused() {
    let (place, honest) = Place::new(20, Writing::default());
    for kind in [FrameKind::Decided, FrameKind::Settled] {
        let path = place.path(&format!("{kind:?}"));
        let mut frames = honest.frames.clone();
        let own = frames.iter_mut().find(|frame| frame.kind == kind && frame.height == Height(7)).expect("a frame");
        own.height = Height(8);
        write(&path, &honest.genesis, frames);
        for command in commands(text(&path), text(&place.path("image"))) {
            let (code, message) = place.failure(&command);
            let says = format!("the {kind:?} frame of height 8");
            assert!(code == 4 && message.contains(&says) && message.contains("of height 7, not 8"), "{code} {message}");
        }
    }
}

#[test]
fn a_record_that_decides_without_end_is_refused() {
    let (place, honest) = Place::new(80, Writing::default());
    let path = place.path("endless");
    let decided: Vec<Frame> = honest.frames.iter().filter(|frame| frame.kind == FrameKind::Decided).cloned().collect();
    write(&path, &honest.genesis, decided);
    let (code, message) = place.failure(&["replay", text(&path)]);
    assert!(code == 4 && message.contains("67 heights in a row are decided and not settled"), "{code} {message}");
}

/// A restart decides what its log has before it settles anything.
#[test]
fn a_record_of_a_restart_that_decided_several_heights_from_its_log_is_whole() {
    let (place, honest) = Place::new(20, Writing::default());
    let path = place.path("restarted");
    let (mut frames, again) = (honest.frames.clone(), Height(10)..=Height(14));
    let first = frames.iter().position(|frame| frame.height == Height(10)).expect("a frame of height 10");
    let mut of_restart: Vec<Frame> = frames.extract_if(.., |frame| again.contains(&frame.height)).collect();
    of_restart.sort_by_key(|frame| (frame.kind != FrameKind::Decided, frame.height));
    frames.splice(first..first, of_restart);
    write(&path, &honest.genesis, frames);
    for command in [["replay", text(&path)].as_slice(), &["db", "check", text(&path)]] {
        place.printed(command);
    }
}

/// A session whose oldest bodies were given up.
fn given_up() -> (Place, Honest) {
    let place = Place { dir: tempfile::tempdir().expect("a directory") };
    let path = place.path("honest");
    record_given_up(&path);
    let honest = Honest::of(&path);
    assert!(honest.frames.iter().any(|frame| frame.kind == FrameKind::Retired), "bodies were given up");
    (place, honest)
}

/// The same with altered frames, and the honest snapshots.
fn altered(place: &Place, honest: &Honest, name: &str, alter: impl FnOnce(&mut Vec<Frame>)) -> PathBuf {
    let path = place.path(name);
    let mut frames = honest.frames.clone();
    alter(&mut frames);
    write(&path, &honest.genesis, frames);
    honest.copy_folder("snapshots", &path);
    path
}

/// What a block holds is compared, not only its header: a record may keep the header and change what it hashes.
#[test]
fn records_that_differ_behind_equal_headers_differ() {
    let (place, honest) = Place::new(40, Writing::default());
    let of = |frame: &Frame| Decided::decode(&frame.body).expect("a block");
    let acts = |frame: &&Frame| {
        frame.kind == FrameKind::Decided && frame.height > Height(1) && !of(frame).block.intents.is_empty()
    };
    let height = honest.frames.iter().find(acts).expect("somebody acts").height;
    let with = |name: &str, alter: &dyn Fn(&mut Decided, &mut Settled)| {
        altered(&place, &honest, name, |frames| {
            let own = |kind| frames.iter().position(|frame| frame.kind == kind && frame.height == height);
            let (block, led_to) =
                (own(FrameKind::Decided).expect("decided"), own(FrameKind::Settled).expect("settled"));
            let mut decided = of(&frames[block]);
            let mut settled = Settled::decode(&frames[led_to].body).expect("a settled body");
            alter(&mut decided, &mut settled);
            frames[block].body = decided.encode();
            frames[led_to].body = settled.encode();
        })
    };
    let pledged = |number: u64| {
        move |decided: &mut Decided, _: &mut Settled| {
            decided.block.pledges = vec![PledgeRow::pledge([3; 32], TableId(0), 1, number, [5; 32])];
        }
    };
    let amount = with("amount", &|decided, _| decided.block.intents[0].body.amount ^= 1);
    let carried = with("carried", &|decided, _| {
        decided.block.certificate.as_mut().expect("behind height 1").signatures[0].signature[9] ^= 1;
    });
    let system = with("system", &|decided, _| decided.block.system.push(vec![7]));
    let verdicts = with("verdicts", &|_, settled| _ = settled.verdicts.pop());
    let (pledge, other) = (with("pledge", &pledged(1)), with("other pledge", &pledged(2)));
    for (one, path, says) in [
        (&honest.dir, &amount, "Intent row 0, amount: expected"),
        (&honest.dir, &carried, "Certificate row 0, carried: expected"),
        (&honest.dir, &system, "Block row 0, system_count: expected 0, found 1"),
        (&honest.dir, &verdicts, "Settled row 0, verdicts: expected"),
        (&honest.dir, &pledge, "Block row 0, pledge_count: expected 0, found 1"),
        (&pledge, &other, "Pledge row 0, number: expected 1, found 2"),
    ] {
        let args = ["bisect", text(one), text(path)];
        let (code, message) = place.failure(&args);
        let says = format!("height {height}: {says}");
        assert!(code == 5 && message.contains(&says), "{}: {code} {message}", path.display());
        // It is no row of the state, and so it is not told as one.
        let shown = String::from_utf8(place.run(&args).stdout).expect("text");
        let in_record = format!("\n  in the record  {says}");
        assert!(shown.contains(&in_record) && !shown.contains("in the state"), "{}: {shown}", path.display());
    }
}

#[test]
fn heads_of_given_up_heights_are_checked_and_it_is_said_from_where_all_was() {
    let (place, honest) = given_up();
    let shown = place.printed(&["replay", text(&honest.dir)]);
    let value: Value =
        serde_json::from_str(&place.printed(&["replay", text(&honest.dir), "--output", "json"])).expect("JSON");
    let base = value["headers_only_to"].as_u64().expect("a height");
    assert!(base > 100 && value["verified_from"] == base + 1, "{value}");
    assert!(shown.contains(&format!("verified from height {}; before it only headers", base + 1)), "{shown}");
    assert_eq!(value["beacons"], 900, "those of given-up heights too");
    for to in ["50", &base.to_string()] {
        let (code, message) = place.failure(&["replay", text(&honest.dir), "--to", to]);
        let says = format!("executed from height {} on; --to {to} lies before", base + 1);
        assert!(code == 4 && message.contains(&says), "{code} {message}");
    }
    let early = place.path("early");
    for command in [
        ["export", text(&honest.dir), "--csv", text(&early), "--height", "50"].as_slice(),
        &["export", text(&honest.dir), "--image", text(&early), "--height", "50"],
        &["audit-dice", text(&honest.dir), "--to", "50"],
    ] {
        let (code, message) = place.failure(command);
        let says = format!("executed from height {} on; {} 50 lies before", base + 1, command[command.len() - 2]);
        assert!(code == 4 && message.contains(&says) && !early.exists(), "{command:?}: {code} {message}");
    }
    let (rows, more) = (place.path("rows"), place.path("more"));
    let shown = place.printed(&["export", text(&honest.dir), "--csv", text(&rows)]);
    assert!(shown.contains(&format!("verified from height {}; before it only headers", base + 1)), "{shown}");
    let exported = place.printed(&["export", text(&honest.dir), "--csv", text(&more), "--output", "json"]);
    let exported: Value = serde_json::from_str(&exported).expect("JSON");
    assert_eq!(exported["verified_from"], base + 1, "{exported}");

    let at = Height(50);
    let head = |frames: &mut Vec<Frame>, alter: &dyn Fn(&mut Retired)| {
        let own = |frame: &&mut Frame| frame.kind == FrameKind::Retired && frame.height == at;
        let frame = frames.iter_mut().find(own).expect("height 50 was given up");
        let mut retired = Retired::decode(&frame.body).expect("a head");
        alter(&mut retired);
        frame.body = retired.encode();
    };
    let settled = |frames: &mut Vec<Frame>, alter: &dyn Fn(&mut Settled)| {
        let own = |frame: &&mut Frame| frame.kind == FrameKind::Settled && frame.height == at;
        let frame = frames.iter_mut().find(own).expect("it was settled");
        let mut settled = Settled::decode(&frame.body).expect("a settled body");
        alter(&mut settled);
        frame.body = settled.encode();
    };
    let forgeries: [(&str, PathBuf); 5] = [
        (
            "Certificate row 0, signature",
            altered(&place, &honest, "signature", |frames| {
                head(frames, &|head| head.certificate.signatures[0].signature[9] ^= 1);
            }),
        ),
        (
            "Certificate row 0, signatures",
            altered(&place, &honest, "time", |frames| {
                head(frames, &|head| head.header.time_ms += 1);
            }),
        ),
        (
            "Settled row 0, root_chain",
            altered(&place, &honest, "root", |frames| {
                settled(frames, &|settled| settled.root[3] ^= 1);
            }),
        ),
        (
            "Settled row 0, root_chain",
            altered(&place, &honest, "chain", |frames| {
                settled(frames, &|settled| settled.root_chain[3] ^= 1);
            }),
        ),
        (
            "Settled row 0, root_chain",
            altered(&place, &honest, "beacon", |frames| {
                settled(frames, &|settled| settled.beacon[9] ^= 1);
            }),
        ),
    ];
    for (says, path) in forgeries {
        for command in [vec!["replay", text(&path)], vec!["bisect", text(&path)]] {
            let (code, message) = place.failure(&command);
            assert!(code == 5 && message.contains(&format!("height 50: {says}")), "{command:?}: {code} {message}");
        }
    }
}

/// A snapshot under its own right root, which is not the one that the record has there.
#[test]
fn a_snapshot_whose_chips_were_moved_is_no_state_of_the_record() {
    let (place, honest) = given_up();
    let all = snapshots_of(&honest);
    let (height, (note, image)) = all.into_iter().next_back().expect("a snapshot");
    let (mut note, image) = with_moved_chips(note, image);
    let path = place.path("moved");
    // The record ends with the snapshot, so that no later height contradicts it.
    let frames: Vec<Frame> = honest.frames.iter().filter(|frame| frame.height <= height).cloned().collect();
    write_with_snapshot(&honest, &path, frames.clone(), &note, &image);
    assert_shows_nothing(&place, &path);

    // Nor is it where the record's own root is rewritten, which nobody signed: there is no header that names it, or only one of
    // the height that comes too early to.
    let own = |frame: &Frame| frame.kind == FrameKind::Settled && frame.height == height;
    let settled = frames.iter().find(|frame| own(frame)).expect("it is settled");
    let mut settled = Settled::decode(&settled.body).expect("a settled body");
    settled.root = note.root;
    let verdicts = verdicts_hash(settled.verdicts.iter().copied());
    let Settled { beacon, root, .. } = &settled;
    let link = ChainLink { height, block: &note.block, beacon, root, verdicts: &verdicts };
    settled.root_chain = link.after(&note.root_chains[1]);
    note.root_chains[0] = settled.root_chain;
    let rewritten =
        |frame: &Frame| if own(frame) { Frame { body: settled.encode(), ..frame.clone() } } else { frame.clone() };
    for (name, decided) in [("rewritten", height), ("and one decided", height.next())] {
        let within =
            |frame: &&Frame| frame.height <= height || frame.height <= decided && frame.kind == FrameKind::Decided;
        let frames = honest.frames.iter().filter(within).map(rewritten).collect();
        write_with_snapshot(&honest, &place.path(name), frames, &note, &image);
        assert_shows_nothing(&place, &place.path(name));
    }
}

/// A snapshot in which chips were moved from the treasury to the cage of account 0, and in the control accounts: the state adds up.
fn with_moved_chips(mut note: ChainNote, mut image: Vec<u8>) -> (ChainNote, Vec<u8>) {
    // The last columns are accounts, their keys, and pledges, a group each.
    let accounts = image.len() - 3 * GROUP_BYTES;
    let mut add = |at: usize, chips: i64| {
        let word = u64::from_le_bytes(image[at..at + 8].try_into().expect("8 bytes"));
        image[at..at + 8].copy_from_slice(&word.wrapping_add_signed(chips).to_le_bytes());
    };
    add(8, -5);
    add(16, 5);
    add(accounts, 5);
    note.root = *blake3::hash(&image).as_bytes();
    (note, image)
}

fn write_with_snapshot(honest: &Honest, path: &Path, frames: Vec<Frame>, note: &ChainNote, image: &[u8]) {
    write(path, &honest.genesis, frames);
    fs::create_dir_all(path.join("snapshots")).expect("a folder");
    fs::write(path.join("snapshots/00000001.pack"), pack(&honest.chain, note, image)).expect("written");
}

/// No command begins with the only snapshot that a session has.
fn assert_shows_nothing(place: &Place, path: &Path) {
    for command in commands(text(path), text(&place.path("image"))) {
        let output = place.run(&command);
        // History has nothing to begin with, and shows nothing.
        let nothing = String::from_utf8_lossy(&output.stdout).contains("nothing happened there in these heights");
        let code = output.status.code().expect("no signal");
        assert!(
            code == 4 || code == 5 || (command[0] == "history" && nothing),
            "{command:?} of {}: {code}",
            path.display()
        );
    }
}

/// No header names it yet: every session that ends there has such a snapshot, and a warning of it would look like damage.
#[test]
fn a_snapshot_at_the_end_of_a_session_is_passed_over_without_a_word() {
    let (place, honest) = Place::new(200, Writing::default());
    let newest = *snapshots_of(&honest).keys().next_back().expect("a snapshot");
    for behind in [0, 1] {
        let end = Height(newest.0 + behind);
        let name = format!("ends {behind} above");
        let path = altered(&place, &honest, &name, |frames| frames.retain(|frame| frame.height <= end));
        let output = place.run(&["history", text(&path), "--table", "0"]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && message.is_empty(), "{name}: {message}");
    }
}

/// A journal that begins at a snapshot has no root of its height but the note's, and the next heights must prove it.
#[test]
fn a_journal_that_begins_at_a_snapshot_is_begun_with_where_later_headers_prove_it() {
    let (place, honest) = Place::new(200, Writing::default());
    let (height, (note, image)) = snapshots_of(&honest).into_iter().next_back().expect("a snapshot");
    // The session goes on, so that much follows the snapshot, the beginning of a page of history too.
    let last = Height(300);
    record(&honest.dir, last.0, Writing::default());
    let honest = Honest::of(&honest.dir);
    let joined = |name: &str, to: Height, note: &ChainNote, image: &[u8]| {
        let path = place.path(name);
        let behind = honest.frames.iter().filter(|frame| frame.height > height && frame.height <= to).cloned();
        let begins = frame(FrameKind::Base, height, note.encode());
        write_with_snapshot(&honest, &path, [begins].into_iter().chain(behind).collect(), note, image);
        path
    };
    let whole = joined("joined", last, &note, &image);
    for command in commands(text(&whole), text(&place.path("honest image"))) {
        place.printed(&command);
    }
    let (note, image) = with_moved_chips(note, image);
    let (at, image_path) = (height.to_string(), place.path("image"));
    for (name, to) in [("forged", last), ("forged and cut", Height(height.0 + 2))] {
        let path = joined(name, to, &note, &image);
        assert_shows_nothing(&place, &path);
        let args = ["export", text(&path), "--image", text(&image_path), "--height", &at];
        let (code, message) = place.failure(&args);
        assert!(code == 4 || code == 5, "{name}: {code} {message}");
    }
}

fn files(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let (path, meta) = entry.map(|entry| (entry.path(), entry.metadata().expect("a file"))).expect("an entry");
            if meta.is_dir() {
                folders.push(path);
            } else {
                files.push((path, meta.len()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn looking_at_a_session_adds_nothing_to_it() {
    let (place, honest) = Place::new(300, Writing::default());
    let before = files(&honest.dir);
    for command in commands(text(&honest.dir), text(&place.path("image"))) {
        place.printed(&command);
    }
    place.printed(&["db", "check", text(&honest.dir)]);
    place.printed(&["db", "stats", text(&honest.dir)]);
    assert_eq!(files(&honest.dir), before);
    let pages = place.path("user").join("bitcraps/history").join(hex(&honest.chain)).join("verified");
    assert!(pages.is_dir(), "pages are in the user's cache folder, by chain");
}

/// An index that says that nobody was ever active: a stranger hides every line with it.
#[test]
fn the_index_of_a_strangers_session_hides_nothing() {
    let (place, honest) = Place::new(300, Writing::default());
    let lines = |extra: &[&str]| {
        let args = ["history", text(&honest.dir), "--table", "0", "--limit", "100000", "--output", "ndjson"];
        place.printed(&[&args[..], extra].concat())
    };
    let honest_lines = lines(&[]);
    assert!(honest_lines.lines().count() > 100);
    let session = Session::open(&honest.dir).expect("a session");
    let found = SnapshotsFound::open(&session, |_| ()).expect("an index");
    // Rows are only ever added to; the forger begins with an empty index.
    drop(found);
    fs::remove_file(honest.dir.join("snapshots/index.redb")).expect("removed");
    let found = SnapshotsFound::open(&session, |_| ()).expect("an index");
    assert!(found.add_ranges(Vec::new(), (Height(1), Height(300))).expect("an index of nothing"));
    drop((found, session));
    assert_eq!(lines(&[]), honest_lines);
    assert!(lines(&["--own"]).lines().count() < honest_lines.lines().count() / 2, "the index is one that hides");
}

/// `--memory-max` is said in what is refused, before memory is set aside.
#[test]
fn a_state_that_needs_more_memory_than_is_allowed_is_refused() {
    let (place, honest) = Place::new(20, Writing::default());
    for command in commands(text(&honest.dir), text(&place.path("image"))) {
        let (code, message) = place.failure(&[&command[..], &["--memory-max", "64MiB"]].concat());
        assert!(code == 4 && message.contains("--memory-max allows more"), "{command:?}: {code} {message}");
    }
}
