//! Where sessions differ: the height, the row and the field, with the values that the two states really have.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use audit::bisect::{BisectConfig, Bisected, bisect, bisect_replay};
use audit::reading::{Origin, ReadOptions};
use audit::walker::{Recording, Step, walk_to};
use engine::columns::Column;
use engine::image::GroupBlock;
use engine::io::Verdict;
use engine::limits::GROUP_BYTES;
use engine::message::block::{Decided, intents_root};
use engine::message::certificate::{ChainLink, Settled, verdicts_hash};
use engine::message::intent::{Intent, IntentKind};
use engine::message::note::ChainNote;
use engine::{Height, hex};
use load::dev::{DevConfig, apart, open};
use node::clock::Pace;
use storage::read_genesis;
use storage::snapshot::{KeeperEvent, SnapshotInfo, SnapshotsFound};
use storage::{Disk, Frame, FrameKind, Session, Storage, SyncGroup, Writing};
use systems::{Machine, Setup};

static STOP: AtomicBool = AtomicBool::new(false);

fn dev(dir: &Path, seed: u64, heights: u64) {
    apart(|| {
        let config = DevConfig { pace: Pace::Max, threads: 1, seed, ..DevConfig::default() };
        let mut opened = open(dir, &config).expect("a session");
        opened.node.run(Some(heights), &STOP, |_, _, _| ()).expect("the session runs");
        opened.node.close();
    });
}

fn steps(dir: &Path) -> Vec<Step> {
    let mut recording = Recording::open(dir).expect("a session");
    std::iter::from_fn(|| recording.read().expect("a whole session")).collect()
}

/// A session with the intents of another one, altered, and everything that follows from that: blocks, roots, chain.
fn rewrite(from: &Path, alter: impl Fn(Height, &mut Vec<Intent>)) -> (Machine, Vec<Step>) {
    let (genesis, chain) = read_genesis(from).expect("a genesis");
    let mut machine = Machine::new(Setup::new(genesis, chain).expect("a setup"), 1);
    let mut carried = None;
    let mut rewritten = Vec::new();
    for Step { decided: Decided { mut block, mut certificate }, settled } in steps(from) {
        let height = block.header.height;
        alter(height, &mut block.intents);
        block.header.intents = intents_root(&block.intents);
        block.header.intent_count = block.intents.len() as u32;
        block.header.parent = machine.chain().parent;
        block.header.root_chain = machine.chain().root_chain_for(height);
        block.header.certificate = carried.as_ref().map_or([0; 32], engine::message::certificate::Certificate::hash);
        block.certificate = carried;
        certificate.block = block.header.hash();
        carried = Some(certificate.clone());
        let decided = Decided { block, certificate };
        let settled = machine.restore(&decided, Some(settled.beacon)).expect("it has a beacon");
        rewritten.push(Step { decided, settled });
    }
    (machine, rewritten)
}

fn write(dir: &Path, genesis_of: &Path, steps: &[Step]) -> Session {
    let genesis = std::fs::read(genesis_of.join("genesis.json")).expect("a genesis");
    let storage =
        Storage::of(Disk::open(Session::create(dir, &genesis).expect("new"), Writing::default()).expect("empty").disk)
            .expect("a thread");
    let frame = |kind, height, body| Frame { kind, height, body };
    let frames = steps.iter().flat_map(|Step { decided, settled }| {
        let height = settled.height;
        [frame(FrameKind::Decided, height, decided.encode()), frame(FrameKind::Settled, height, settled.encode())]
    });
    storage.submit(SyncGroup { id: 1, frames: frames.collect(), ..SyncGroup::default() });
    storage.close()
}

fn config() -> BisectConfig {
    BisectConfig { reading: ReadOptions::default(), images: None }
}

fn compared(a: &Path, b: &Path) -> Bisected {
    apart(|| bisect(a, b, &config(), |_| ())).expect("two sessions")
}

#[test]
fn two_sessions_differ_at_the_first_height_and_row_that_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let (a, b, short) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("short"));
    dev(&a, 1, 80);
    let honest = steps(&a);
    // The first bet from height 20 on that was placed.
    let placed = honest.iter().skip(20).find_map(|step| {
        let intents = step.decided.block.intents.iter().zip(&step.settled.verdicts);
        let place = intents.enumerate().find(|(_, (intent, verdict))| {
            intent.body.kind == IntentKind::Bet as u8 && **verdict == Verdict::Applied && intent.body.amount % 2 == 0
        });
        place.map(|(row, (intent, _))| (step.settled.height, row, intent.body.target, intent.body.amount))
    });
    let (height, row, table, amount) = placed.expect("somebody bets");
    let altered = apart(|| {
        let alter = |at: Height, intents: &mut Vec<Intent>| {
            if at == height {
                intents[row].body.amount -= 1;
            }
        };
        rewrite(&a, alter).1
    });
    write(&b, &a, &altered);
    let result = compared(&a, &b);
    assert_eq!((result.ok, result.agree, result.heights), (false, height.0 - 1, [80, 80]));
    let cause = result.cause.clone().expect("a cause");
    assert_eq!((cause.component, cause.row, cause.field.as_str()), ("Intent", row as u64, "amount"));
    assert_eq!((cause.expected, cause.found), (amount.to_string(), (amount - 1).to_string()));

    let first = result.first_difference.clone().expect("a difference");
    let at_table = |session: &Path| {
        // What was rewritten has no signatures that hold: read as one's own.
        let reading = ReadOptions { origin: Origin::Own, ..ReadOptions::default() };
        apart(|| {
            let mut machine = walk_to(session, Some(height), reading).expect("a state").into_machine();
            machine.read(|rows| rows.tables[table as usize])
        })
    };
    let (left, right) = (at_table(&a), at_table(&b));
    assert_eq!((first.height, first.component, first.row), (height.0, "Table", u64::from(table)));
    let value = |row: &engine::component::Table| match first.field.as_str() {
        "bank" => row.bank.0,
        "exposure" => row.exposure.0,
        "felt" => row.felt.0,
        other => panic!("{other} does not follow from a bet"),
    };
    assert_eq!((first.expected.clone(), first.found.clone()), (value(&left).to_string(), value(&right).to_string()));
    assert_ne!(left, right);
    assert!(result.others.iter().any(|other| other.component == "Seat"), "{:?}", result.others);
    let mirrored = compared(&b, &a).first_difference.expect("a difference");
    assert_eq!((mirrored.expected, mirrored.found), (first.found, first.expected));

    // What is shorter does not differ, and what replays does not differ from its replay. What was rewritten has no signature
    // that holds, and that shows where it begins.
    write(&short, &a, &honest[..50]);
    let result = compared(&a, &short);
    assert!(result.ok && result.heights == [80, 50] && result.agree == 50, "{result:?}");
    let result = apart(|| bisect_replay(&a, &config(), |_| ())).expect("a session");
    assert!(result.ok && result.agree == 80, "{result:?}");
    let result = apart(|| bisect_replay(&b, &config(), |_| ())).expect("a session");
    let cause = result.cause.clone().expect("a cause");
    assert_eq!(
        (result.ok, result.agree, cause.component, cause.height),
        (false, height.0 - 1, "Certificate", height.0)
    );

    let other = dir.path().join("other");
    dev(&other, 2, 3);
    let difference = compared(&a, &other).first_difference.expect("another genesis");
    assert_eq!((difference.component, difference.height), ("Genesis", 0));
}

/// Of two sessions that share no height nothing was compared, and so nothing was found equal.
#[test]
fn two_sessions_without_a_height_in_common_are_not_called_equal() {
    let dir = tempfile::tempdir().expect("a directory");
    let (a, early, late) = (dir.path().join("a"), dir.path().join("early"), dir.path().join("late"));
    dev(&a, 1, 30);
    let honest = steps(&a);
    write(&early, &a, &honest[..11]);
    write(&late, &a, &honest[14..]);
    for [one, other] in [[&early, &late], [&late, &early]] {
        let error = apart(|| bisect(one, other, &config(), |_| ())).expect_err("nothing to compare").to_string();
        assert!(error.contains("no height in common"), "{error}");
    }
    // Where some heights are in both, those are compared.
    let result = compared(&a, &late);
    assert!(result.ok && result.heights == [30, 30] && result.agree == 30, "{result:?}");
}

/// Writes a snapshot of a machine's columns under a root that the chain is said to have had.
fn snapshot(session: &Session, machine: &mut Machine, settled: &Settled) {
    let snapshots = SnapshotsFound::open(session, |_| ()).expect("a place").start(None).expect("a thread");
    let (note, groups) = machine.begin_snapshot().expect("heights were settled");
    let note = ChainNote { root: settled.root, root_chains: [settled.root_chain, note.root_chains[1]], ..note };
    let info = SnapshotInfo { height: note.height, time_ms: note.time_ms };
    snapshots.begin(info, note.encode(), machine.layout().groups(), groups);
    while machine.saver().left() > 0 {
        machine.sweep_snapshot(16);
        let mut blocks: Vec<GroupBlock> = Vec::new();
        machine.take_blocks(&mut blocks);
        blocks.into_iter().for_each(|block| snapshots.put(block));
    }
    machine.end_snapshot();
    snapshots.finish();
    loop {
        match snapshots.kept().recv().expect("the thread lives") {
            KeeperEvent::Done(_) => break,
            KeeperEvent::Block(block) => machine.give_back_block(block),
            KeeperEvent::Failed(problem) => panic!("{problem}"),
        }
    }
    snapshots.close();
}

/// A node whose memory was wrong: it recorded the root of another state, and a snapshot of that state.
#[test]
fn a_wrong_state_is_found_down_to_the_field_if_a_snapshot_has_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (a, wrong) = (dir.path().join("a"), dir.path().join("wrong"));
    dev(&a, 1, 40);
    let expected = apart(|| {
        let (mut machine, mut steps) = rewrite(&a, |_, _| ());
        let before = machine.read(|rows| rows.accounts[3].wagered.0);
        let place = machine.layout().column_groups(Column::Accounts).start * GROUP_BYTES + 3 * 64 + 32;
        let mut image = Vec::new();
        machine
            .export(|part| {
                image.extend_from_slice(part);
                Ok::<(), std::convert::Infallible>(())
            })
            .expect("memory takes everything");
        image[place..place + 8].copy_from_slice(&(before + 1).to_le_bytes());
        machine.import(&image).expect("the same genesis");
        let root = machine.root();
        let previous = steps[38].settled.root_chain;
        let Step { decided, settled } = steps.last_mut().expect("40 heights");
        settled.root = root;
        settled.root_chain = ChainLink {
            height: settled.height,
            block: &decided.block.header.hash(),
            beacon: &settled.beacon,
            root: &root,
            verdicts: &verdicts_hash(settled.verdicts.iter().copied()),
        }
        .after(&previous);
        let settled = settled.clone();
        let session = write(&wrong, &a, &steps);
        snapshot(&session, &mut machine, &settled);
        before
    });
    let images = dir.path().join("images");
    let config = BisectConfig { reading: ReadOptions::default(), images: Some(images.clone()) };
    let result = apart(|| bisect_replay(&wrong, &config, |_| ())).expect("a session");
    let first = result.first_difference.clone().expect("a difference");
    assert_eq!((first.height, first.component, first.row, first.field.as_str()), (40, "Account", 3, "wagered"));
    assert_eq!((first.expected, first.found), (expected.to_string(), (expected + 1).to_string()));
    assert!(result.others.is_empty() && result.agree == 39, "{result:?}");
    let cause = result.cause.expect("a cause");
    let root = |name: &str| hex(blake3::hash(&std::fs::read(images.join(name)).expect("an image")).as_bytes());
    assert_eq!((root("expected-40.img"), root("found-40.img")), (cause.expected, cause.found));

    // The other honest session says so too, and so does the program, by its exit code.
    let (text, honest) = (wrong.to_str().expect("text"), a.to_str().expect("text"));
    for args in [&["replay", text][..], &["bisect", text], &["bisect", honest, text]] {
        let output = Command::new(env!("CARGO_BIN_EXE_bitcraps"))
            .args(args)
            .args(["--output", "json", "--threads", "1"])
            .output()
            .expect("the program runs");
        assert_eq!(output.status.code(), Some(5), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        assert_eq!(value["ok"], false);
        assert_eq!(value["first_difference"]["component"], "Account", "{args:?}: {value}");
        assert_eq!(
            (&value["first_difference"]["row"], &value["first_difference"]["field"]),
            (&3.into(), &"wagered".into())
        );
    }
    // Without the snapshot the root is the last word.
    std::fs::remove_dir_all(wrong.join("snapshots")).expect("removed");
    let result = apart(|| bisect_replay(&wrong, &self::config(), |_| ())).expect("a session");
    let first = result.first_difference.expect("a difference");
    assert_eq!((first.component, first.field.as_str()), ("Settled", "root"));
    assert!(result.notes.iter().any(|note| note.contains("no snapshot")), "{:?}", result.notes);
}
