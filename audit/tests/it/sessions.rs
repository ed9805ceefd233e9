//! Whole sessions: players, blocks, beacons, the record, and its replay.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use audit::reading::ReadOptions;
use audit::replay::{Outcome, ReplayConfig, replay};
use engine::message::refusal::Refusal;
use engine::{Hash, Height};
use load::dev::{DevConfig, apart, open};
use node::clock::Pace;
use node::totals::Totals;

static STOP: AtomicBool = AtomicBool::new(false);

/// Runs `dev` on a directory until `heights`, on a thread of its own, since a thread has one pool.
fn dev(dir: &Path, config: &DevConfig, heights: u64) -> Totals {
    std::thread::scope(|scope| {
        let run = || {
            let _pool = engine::pool::build(config.threads).expect("a pool");
            let mut opened = open(dir, config).expect("a session");
            opened.node.run(Some(heights), &STOP, |_, _, _| ()).expect("the session runs");
            opened.node.close()
        };
        scope.spawn(run).join().expect("the node does not panic")
    })
}

fn check(dir: &Path, threads: usize) -> anyhow::Result<Outcome> {
    std::thread::scope(|scope| {
        let run = || {
            let _pool = engine::pool::build(threads).expect("a pool");
            let config = ReplayConfig::all(ReadOptions::stranger(threads));
            replay(dir, &config, |_| ())
        };
        scope.spawn(run).join().expect("the replay does not panic")
    })
}

fn config() -> DevConfig {
    DevConfig { pace: Pace::Max, threads: 1, ..DevConfig::default() }
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

#[test]
fn a_session_replays_to_the_same_root_at_any_thread_count() {
    let dir = temp();
    let totals = dev(&dir.path().join("s"), &config(), 200);
    assert_eq!(totals.height, Height(200));
    assert!(totals.counts.rolls > 50 && totals.counts.bets_resolved > 100);
    for threads in [1, 2, 3, 8] {
        let outcome = check(&dir.path().join("s"), threads).expect("a whole session");
        assert_eq!(outcome.difference, None);
        assert_eq!((outcome.root, outcome.root_chain), (totals.root, totals.root_chain));
        assert_eq!(outcome.counts, totals.counts);
        assert_eq!(outcome.beacons, 200);
    }
}

#[test]
fn one_seed_gives_one_root_chain_at_any_pace_and_thread_count() {
    let root_chain = |config: &DevConfig| -> Hash {
        let dir = temp();
        dev(&dir.path().join("s"), config, 40).root_chain
    };
    let expected = root_chain(&config());
    assert_eq!(root_chain(&DevConfig { pace: Pace::Real, ..config() }), expected);
    assert_eq!(root_chain(&DevConfig { threads: 3, ..config() }), expected);
    assert_ne!(root_chain(&DevConfig { seed: 2, ..config() }), expected);
}

#[test]
fn a_session_goes_on_where_it_ended() {
    let dir = temp();
    let session = dir.path().join("s");
    dev(&session, &config(), 60);
    let totals = dev(&session, &config(), 120);
    assert_eq!(totals.height, Height(120));
    let outcome = check(&session, 2).expect("a whole session");
    assert_eq!((outcome.difference, outcome.height, outcome.root), (None, Height(120), totals.root));
}

/// Every prefix of the record is a session: it replays to a height that the whole one had, and goes on from there.
#[test]
fn a_session_cut_anywhere_replays_and_goes_on() {
    let dir = temp();
    let whole = dir.path().join("whole");
    dev(&whole, &config(), 30);
    let segment = std::fs::read(whole.join("journal/00000001.seg")).expect("a segment");
    let mut reached = Vec::new();
    for (number, cut) in (4_096..segment.len()).step_by(3_001).enumerate() {
        let part = dir.path().join(format!("part-{number}"));
        for folder in ["journal", "consensus"] {
            std::fs::create_dir_all(part.join(folder)).expect("a folder");
        }
        std::fs::copy(whole.join("genesis.json"), part.join("genesis.json")).expect("genesis");
        std::fs::write(part.join("journal/00000001.seg"), &segment[..cut]).expect("a segment");
        match check(&part, 1) {
            Ok(outcome) => {
                assert_eq!(outcome.difference, None);
                reached.push(outcome.height);
            }
            Err(error) => assert!(error.to_string().contains("holds no settled height"), "{error}"),
        }
    }
    assert!(reached.windows(2).all(|pair| pair[0] <= pair[1]));
    assert!(reached.len() > 20);
}

/// The players of one long session place every bet of the catalogue and meet every refusal that a node with free
/// accounts can give.
#[test]
fn players_exercise_every_bet_and_every_refusal_slow() {
    let dir = temp();
    let mut placed = std::collections::BTreeSet::new();
    // Without room for people the strangers fill the house and empty the treasury.
    let config = DevConfig { tables: 12, players: 60, guests: 0, ..config() };
    let totals = apart(|| {
        let mut opened = open(&dir.path().join("s"), &config).expect("a session");
        let look = |_: &Totals, machine: &mut systems::Machine, _: u64| {
            machine.read(|rows| {
                for seat in 0..rows.seats.len() {
                    placed.extend(rows.seats[seat].spots.iter());
                }
            });
        };
        opened.node.run(Some(18_000), &STOP, look).expect("the session runs");
        opened.node.close()
    });
    let bets: std::collections::BTreeSet<_> = placed.iter().map(|spot| systems::catalogue::bet_of(*spot)).collect();
    let missing: Vec<_> =
        systems::catalogue::BETS.iter().filter(|bet| !bets.contains(&bet.id)).map(|bet| bet.name).collect();
    assert!(missing.is_empty(), "never placed: {missing:?}");
    let met = |refusal: &Refusal| totals.refusals.contains_key(refusal.name());
    // Those of pledged tables, which this house has none of; `systems/tests/pledged` meets each.
    let of_pledges = |refusal: &Refusal| {
        use Refusal as R;
        *refusal >= R::TakesNoPledge || matches!(refusal, R::Frozen | R::NotPledged | R::NoBet)
    };
    let all = Refusal::ALL.iter().map(|entry| entry.0).filter(|refusal| !of_pledges(refusal));
    let unmet: Vec<_> = all.filter(|refusal| !met(refusal)).collect();
    assert!(unmet.is_empty(), "never met: {unmet:?}");
}

#[test]
fn an_altered_session_is_named_not_accepted() {
    let dir = temp();
    let session = dir.path().join("s");
    dev(&session, &config(), 20);
    let genesis = session.join("genesis.json");
    let text = std::fs::read_to_string(&genesis).expect("genesis");
    std::fs::write(&genesis, text.replace("\"grant\": 10000", "\"grant\": 10001")).expect("genesis");
    let error = check(&session, 1).expect_err("another genesis is another chain").to_string();
    assert!(error.contains("journal/00000001.seg") && error.contains("another genesis"), "{error}");
}

/// A forger who can write a well-formed journal is still found out, at the height and the field that was forged.
#[test]
fn a_forged_session_is_named_by_height_component_row_and_field() {
    use engine::message::block::Decided;
    use engine::message::certificate::Settled;
    use storage::{Disk, Frame, FrameKind, JournalReader, Session, SyncGroup, Writing};

    let dir = temp();
    let honest = dir.path().join("honest");
    dev(&honest, &config(), 30);
    let mut reader = JournalReader::open(&honest).expect("a session");
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame().expect("a whole journal") {
        frames.push(frame);
    }
    let genesis = std::fs::read(honest.join("genesis.json")).expect("genesis");
    let mut number = 0;
    let mut forged = |forge: &dyn Fn(&mut Decided, &mut Settled)| {
        number += 1;
        let path = dir.path().join(format!("forged-{number}"));
        let session = Session::create(&path, &genesis).expect("new");
        let mut disk = Disk::open(session, Writing::default()).expect("empty").disk;
        let mut altered = frames.clone();
        for frame in altered.iter_mut().filter(|frame| frame.height == Height(20)) {
            let mut decided = None;
            let mut settled = None;
            match frame.kind {
                FrameKind::Decided => decided = Some(Decided::decode(&frame.body).expect("a block")),
                FrameKind::Settled => settled = Some(Settled::decode(&frame.body).expect("a settled height")),
                other => unreachable!("{other:?}: nothing was given up, and nobody lied"),
            }
            let blank = || Decided::decode(&frames[0].body).expect("a block");
            let zero = || Settled {
                height: Height(20),
                beacon: [0; 48],
                root: [0; 32],
                root_chain: [0; 32],
                verdicts: Vec::new(),
            };
            let (mut d, mut s) = (decided.clone().unwrap_or_else(blank), settled.unwrap_or_else(zero));
            forge(&mut d, &mut s);
            frame.body = if decided.is_some() { d.encode() } else { s.encode() };
        }
        let frames: Vec<Frame> = altered;
        disk.submit(SyncGroup { id: 1, frames, ..SyncGroup::default() });
        drop(disk.close());
        let difference = check(&path, 2).expect("a well-formed session").difference.expect("it was forged");
        assert!(!difference.to_string().contains("Refused"), "refusals have names: {difference}");
        (difference.height, difference.component, difference.field)
    };
    let with_intents = |decided: &mut Decided| decided.block.header.height == Height(20);
    assert_eq!(forged(&|_, settled| settled.root[3] ^= 1), (20, "Settled", "root".into()));
    assert_eq!(forged(&|_, settled| settled.root_chain[3] ^= 1), (20, "Settled", "root_chain".into()));
    assert_eq!(forged(&|_, settled| settled.beacon[9] ^= 1), (20, "Settled", "beacon".into()));
    let verdict = forged(&|_, settled| {
        if let Some(verdict) = settled.verdicts.first_mut() {
            *verdict = engine::io::Verdict::Refused(Refusal::BankLimit);
        }
    });
    assert_eq!(verdict, (20, "Settled", "verdict".into()));
    let certificate = forged(&|decided, _| {
        if with_intents(decided) {
            decided.certificate.signatures[0].signature[7] ^= 1;
        }
    });
    assert_eq!(certificate, (20, "Certificate", "signature".into()));
    let header = forged(&|decided, _| {
        if with_intents(decided) {
            decided.block.header.time_ms += 1;
        }
    });
    assert_eq!(header.0, 20);
    let intent = forged(&|decided, _| {
        if with_intents(decided) && !decided.block.intents.is_empty() {
            decided.block.intents[0].body.amount += 1;
        } else if with_intents(decided) {
            decided.block.header.round += 1;
        }
    });
    assert_eq!(intent.0, 20);
}

/// A validator that cannot know what it signed does not go on; its session is still there to be checked.
#[test]
fn a_session_without_its_consensus_log_is_only_replayed() {
    let dir = temp();
    let session = dir.path().join("s");
    dev(&session, &config(), 10);
    let log = session.join("consensus/00000001.log");
    let early = std::fs::read(&log).expect("a log");
    dev(&session, &config(), 30);
    let refused = || {
        let error = open(&session, &config()).err().expect("it may not go on").to_string();
        assert!(check(&session, 1).expect("a whole session").difference.is_none());
        error
    };
    std::fs::write(&log, &early).expect("an older log");
    assert!(refused().contains("older than the journal"));
    let mut altered = early.clone();
    altered[100] ^= 1;
    std::fs::write(&log, &altered).expect("an altered log");
    assert!(refused().contains("damaged"));
    std::fs::remove_file(&log).expect("removed");
    assert!(refused().contains("missing"));
}
