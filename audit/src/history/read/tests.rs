use std::sync::atomic::AtomicBool;

use engine::io::{Leaving, OpeningEnd, Receipt, Resolution, RollReport};
use engine::message::intent::Intent;

use super::*;
use crate::history::{BalanceRow, NO_TABLE, TierReport, chips_of, event_name};
use crate::walker::walk_to;
use engine::TableId;
use engine::image::GroupBlock;
use engine::rules::DiceSource;
use load::dev::{DevConfig, apart, open};
use load::players::Habits;
use node::clock::Pace;
use node::snapshots::SnapshotPace;
use storage::Session;
use storage::snapshot::{KeeperEvent, SnapshotInfo, SnapshotsFound};

/// A development session of so many heights, whose players come and go.
fn session(dir: &Path, heights: u64) {
    session_with(dir, heights, storage::Writing::default());
}

fn session_with(dir: &Path, heights: u64, writing: storage::Writing) {
    let habits = Habits { think_min_ms: 200, think_max_ms: 900, ..Habits::default() };
    // Snapshots as fast as they come, so that walks begin at many places.
    let snapshots = SnapshotPace { ticks: 12, heights: 1, ..SnapshotPace::default() };
    let pace = Pace::Max;
    let config =
        DevConfig { tables: 3, players: 14, threads: 1, pace, habits, snapshots, writing, ..DevConfig::default() };
    apart(|| {
        let mut opened = open(dir, &config).expect("a session");
        opened.node.run(Some(heights), &AtomicBool::new(false), |_, _, _| ()).expect("the session runs");
        opened.node.close();
    });
}

/// What a height did, kept as the engine told it.
struct Told {
    height: Height,
    intents: Vec<(Intent, Receipt, Option<AccountId>)>,
    rolls: Vec<RollReport>,
    resolutions: Vec<Resolution>,
    leavings: Vec<Leaving>,
    /// By account: the cage, and by table the rail.
    cages: Vec<u64>,
    rails: Vec<(u32, u32, u64)>,
}

fn model(dir: &Path) -> Vec<Told> {
    let mut walker = Walker::open(dir, ReadOptions::default()).expect("a session");
    walker.machine().watch(true);
    let mut heights = Vec::new();
    while let Some(step) = walker.step().expect("a whole session") {
        let machine = walker.machine();
        let report = machine.report();
        let (receipts, rolls) = (report.receipts.clone(), report.rolls.clone());
        let (resolutions, leavings) = (report.resolutions.clone(), report.leavings.clone());
        let intents = receipts.iter().map(|receipt| {
            let intent = step.decided.block.intents[receipt.index as usize];
            (intent, *receipt, machine.account_of(&intent.body.key))
        });
        let intents = intents.collect();
        let (cages, rails) = machine.read(|rows| {
            let per_table = rows.seats_per_table();
            let taken = rows.seats.iter().enumerate().filter(|(_, seat)| seat.account != AccountId::NONE);
            let rails = taken.map(|(at, seat)| ((at / per_table) as u32, seat.account.0, seat.rail.0));
            (rows.accounts.iter().map(|account| account.cage.0).collect(), rails.collect())
        });
        heights.push(Told { height: step.settled.height, intents, rolls, resolutions, leavings, cages, rails });
    }
    heights
}

/// A cache beside the session.
fn config(session: &Path, disk_bytes: u64) -> CacheConfig {
    CacheConfig { memory_bytes: 1 << 20, disk_bytes, folder: Some(session.with_extension("cache")) }
}

fn all(subject: Subject) -> Question {
    Question { subject, from: Height(1), to: None, limit: usize::MAX, opened: false }
}

/// The whole history of a subject, in answers of about `limit` entries.
fn paged(history: &History, subject: Subject, limit: usize) -> Vec<Entry> {
    let (mut entries, mut to) = (Vec::new(), None);
    loop {
        let answer = history.answer(&Question { to, limit, ..all(subject) }).expect("an answer");
        assert!(!answer.entries.is_empty() || answer.older.is_none(), "a page that says there is more has something");
        entries.splice(0..0, answer.entries);
        match answer.older {
            None => return entries,
            older => to = older,
        }
    }
}

fn rails_at(model: &[Told], entry: &Entry, row: &BalanceRow) -> u64 {
    let height = &model[entry.height.0 as usize - 1];
    let seat = height.rails.iter().find(|(table, account, _)| *table == row.table && *account == row.account);
    seat.map_or(0, |(_, _, rail)| *rail)
}

/// Compares everything that the history says of one account with what the engine told.
fn check_account(history: &History, model: &[Told], account: u32) {
    let id = AccountId(account);
    let entries = history.answer(&all(Subject::Account(id))).expect("an answer").entries;
    let intents: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry.event {
            Event::Intent(row) => Some((entry.height, row.number, row.index, row.verdict())),
            _ => None,
        })
        .collect();
    let told = model.iter().flat_map(|height| height.intents.iter().filter(|(_, _, owner)| *owner == Some(id)));
    let told: Vec<_> = told
        .map(|(intent, receipt, _)| (receipt.height, intent.body.number, receipt.index, Some(receipt.verdict)))
        .collect();
    assert_eq!(intents, told);
    let resolutions: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry.event {
            Event::Resolution(row) => Some((entry.height, row.report())),
            _ => None,
        })
        .collect();
    let told = model.iter().flat_map(|height| height.resolutions.iter().map(|one| (height.height, *one)));
    assert_eq!(resolutions, told.filter(|(_, one)| one.account == id).collect::<Vec<_>>());
    let mut last = None;
    for entry in &entries {
        let Some(row) = entry.balance else {
            let refused = matches!(entry.event, Event::Intent(row) if !row.is_applied());
            assert!(refused, "what moved chips has a balance: {entry:?}");
            continue;
        };
        assert_eq!(row.cage, model[entry.height.0 as usize - 1].cages[account as usize], "{entry:?}");
        if row.table != NO_TABLE {
            assert_eq!(row.rail, rails_at(model, entry, &row), "{entry:?}");
        }
        last = Some(row);
    }
    let last = last.expect("every account did something");
    assert_eq!(last.cage, model.last().expect("heights").cages[account as usize], "the last cage is the present one");
}

fn check_table(history: &History, model: &[Told], table: u32) {
    let entries = history.answer(&all(Subject::Table(TableId(table)))).expect("an answer").entries;
    let rolls: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry.event {
            Event::Roll(row) => Some((entry.height, row.report().expect("a roll"))),
            _ => None,
        })
        .collect();
    let told = model.iter().flat_map(|height| height.rolls.iter().map(|roll| (height.height, *roll)));
    assert_eq!(rolls, told.filter(|(_, roll)| roll.table.0 == table).collect::<Vec<_>>());
    let count = |wanted: fn(&Event) -> bool| entries.iter().filter(|entry| wanted(&entry.event)).count();
    let told = model.iter().flat_map(|height| &height.resolutions).filter(|one| one.table.0 == table).count();
    assert_eq!(count(|event| matches!(event, Event::Resolution(_))), told);
    let told = model.iter().flat_map(|height| &height.leavings).filter(|one| one.table.0 == table).count();
    assert_eq!(count(|event| matches!(event, Event::Leaving(_))), told);
}

/// What the entries of an account won and cost, together, is what the account has: what it was granted and never bet went back.
#[test]
fn chips_of_a_history_are_what_the_account_has_where_grants_go_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let config = DevConfig { threads: 1, pace: Pace::Max, ..DevConfig::default() };
    let mut genesis = load::dev::genesis(&config);
    genesis.idleness.grant_ms = 2_000;
    drop(Session::create(&path, &serde_json::to_vec_pretty(&genesis).expect("plain data")).expect("a session"));
    apart(|| {
        let mut opened = open(&path, &config).expect("a session");
        opened.node.run(Some(450), &AtomicBool::new(false), |_, _, _| ()).expect("the session runs");
        opened.node.close();
    });
    apart(|| {
        let history = History::open(&path, ReadOptions::default(), self::config(&path, 4 << 20)).expect("a history");
        let mut machine = walk_to(&path, None, ReadOptions::default()).expect("a state").into_machine();
        let accounts = machine.read(|rows| rows.accounts.to_vec());
        let mut lapses = 0;
        for (id, account) in (0..).zip(accounts).filter(|(_, account)| account.generation > 0) {
            let (cage, seats) = (account.cage.0, account.seats);
            let entries = history.answer(&all(Subject::Account(AccountId(id)))).expect("an answer").entries;
            let lapse = |entry: &&Entry| event_name(&entry.event) == "lapse";
            lapses += entries.iter().filter(lapse).count();
            let chips = entries.iter().filter_map(|entry| chips_of(&entry.event, Some(id), history.setup()));
            // Chips of one who sits somewhere lie at tables too.
            let chips: i128 = chips.sum();
            assert!(
                if seats == 0 { chips == cage.into() } else { chips >= cage.into() },
                "account {id}: {chips} of {cage}"
            );
        }
        assert!(lapses > 0, "strangers open accounts and never bet");
    });
}

#[test]
fn the_history_is_what_the_engine_told_from_every_tier() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    session(&path, 450);
    apart(|| {
        let model = model(&path);
        let history = History::open(&path, ReadOptions::default(), config(&path, 4 << 20)).expect("a history");
        let check = |history: &History| {
            (0..14).for_each(|account| check_account(history, &model, account));
            (0..3).for_each(|table| check_table(history, &model, table));
        };
        check(&history);
        let first = history.cache().counts().report();
        assert!(first.cold >= 8 && first.damaged == 0, "{first:?}");
        drop(history);

        // Whole pages come from disk now, and only the last one is made again.
        let history = History::open(&path, ReadOptions::default(), config(&path, 4 << 20)).expect("a history");
        let question = Question { to: Some(Height(448)), ..all(Subject::Table(TableId(0))) };
        let from_disk = history.answer(&question).expect("an answer");
        assert_eq!(history.cache().counts().report(), TierReport { disk: 7, ..TierReport::default() });
        let again = history.answer(&question).expect("an answer");
        assert_eq!(history.cache().counts().report(), TierReport { disk: 7, memory: 7, ..TierReport::default() });
        assert_eq!(from_disk, again);
        check(&history);
    });
}

#[test]
fn answers_of_any_length_are_parts_of_one_history() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    session(&path, 300);
    apart(|| {
        let history = History::open(&path, ReadOptions::default(), config(&path, 4 << 20)).expect("a history");
        for subject in [Subject::Table(TableId(1)), Subject::Account(AccountId(5)), Subject::Account(AccountId(99))] {
            let whole = history.answer(&all(subject)).expect("an answer");
            assert_eq!(whole.older, None);
            for limit in [1, 7, 100] {
                assert_eq!(paged(&history, subject, limit), whole.entries, "{subject:?}, {limit}");
            }
            for (from, to) in [(1, 1), (60, 70), (129, 300), (200, 5_000), (299, 299)] {
                let question = Question { from: Height(from), to: Some(Height(to)), ..all(subject) };
                let part = history.answer(&question).expect("an answer");
                let within = |entry: &&Entry| (from..=to).contains(&entry.height.0);
                let expected: Vec<Entry> = whole.entries.iter().filter(within).copied().collect();
                assert_eq!(
                    part,
                    Answer { entries: expected, older: None, given_up: false },
                    "{subject:?}, {from} to {to}"
                );
            }
        }
        let opened = Question { opened: true, ..all(Subject::Account(AccountId(5))) };
        let entries = history.answer(&opened).expect("an answer").entries;
        assert!(matches!(&entries[0].event, Event::Intent(row) if row.kind() == IntentKind::Open), "{:?}", entries[0]);
    });
}

#[test]
fn the_index_names_every_page_on_which_something_happened() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    // Twice, so that the second process goes on with the rows of the first.
    session(&path, 150);
    let first = Ranges::open(&path, &read_genesis(&path).expect("a genesis").1).expect("an index").told()[0];
    session(&path, 420);
    apart(|| {
        let chain = read_genesis(&path).expect("a genesis").1;
        let ranges = Ranges::open(&path, &chain).expect("an index");
        let &[(from, to)] = ranges.told() else { panic!("{:?} has a gap", ranges.told()) };
        assert_eq!((first.0, from), (Height(1), Height(1)));
        assert!(to > first.1 && to.0 > 200, "{first:?}, up to {to}");
        let mut history = History::open(&path, ReadOptions::default(), config(&path, 4 << 20)).expect("a history");
        history.ranges = None;
        let (mut active, mut idle) = (0, 0);
        for subject in
            (0..40).map(|id| Subject::Account(AccountId(id))).chain((0..3).map(|id| Subject::Table(TableId(id))))
        {
            let entries = history.answer(&all(subject)).expect("an answer").entries;
            history.ranges = Ranges::open(&path, &chain);
            assert_eq!(history.answer(&all(subject)).expect("an answer").entries, entries, "{subject:?}");
            for page in 0..to.0 / PAGE_HEIGHTS {
                let named = history.active(&subject, page) == Some(page);
                let something = entries.iter().any(|entry| page_of(entry.height) == page);
                assert!(named || !something, "{subject:?}, page {page}");
                active += u32::from(named);
                idle += u32::from(!named);
            }
            history.ranges = None;
        }
        assert!(active > 20 && idle > 20, "{active} pages with something, {idle} without");
    });
}

#[test]
fn an_index_that_is_lost_is_made_again_by_one_walk() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    session(&path, 400);
    apart(|| {
        let chain = read_genesis(&path).expect("a genesis").1;
        let kept = Ranges::open(&path, &chain).expect("an index").told()[0];
        let history = History::open(&path, ReadOptions::default(), config(&path, 4 << 20)).expect("a history");
        let pages = |ranges: &Ranges, kind: u8, id: u32, to: u64| -> Vec<bool> {
            (0..to / PAGE_HEIGHTS).map(|page| ranges.active_at_or_below(kind, id, page) == Some(page)).collect()
        };
        let ids = || (0..3).map(|id| (0, id)).chain((0..40).map(|id| (1, id)));
        let read = |to| {
            let ranges = Ranges::open(&path, &chain).expect("an index");
            ids().map(|(kind, id)| pages(&ranges, kind, id, to)).collect::<Vec<_>>()
        };
        let before = read(kept.1.0);
        std::fs::remove_file(path.join("snapshots/index.redb")).expect("the index");
        let made = crate::history::reindex(&path, &history).expect("an index");
        assert_eq!(Ranges::open(&path, &chain).expect("an index").told(), [made]);
        assert!(made.0 == Height(1) && made.1 >= kept.1, "{made:?}, before {kept:?}");
        // The node may have named a page more where somebody came to nothing; the walk names what the pages hold.
        for (before, after) in before.into_iter().flatten().zip(read(kept.1.0).into_iter().flatten()) {
            assert!(before || !after);
        }
    });
    // The node goes on with it.
    let made = {
        let chain = read_genesis(&path).expect("a genesis").1;
        session(&path, 600);
        Ranges::open(&path, &chain).expect("an index").told()[0]
    };
    assert!(made.0 == Height(1) && made.1 > Height(400), "{made:?}");
}

/// A session of which the oldest bodies were given up.
fn shortened(path: &Path) {
    let mut config_file = node::config::Config::default();
    config_file.storage.bytes_max = 100 << 10;
    let writing = storage::Writing { segment_bytes: 32 << 10, ..config_file.writing() };
    session_with(path, 1_600, writing.clone());
    session_with(path, 2_400, writing);
}

#[test]
fn an_index_is_made_again_of_what_the_journal_still_has() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    shortened(&path);
    apart(|| {
        let chain = read_genesis(&path).expect("a genesis").1;
        std::fs::remove_file(path.join("snapshots/index.redb")).expect("the index");
        let history = History::open(&path, ReadOptions::default(), config(&path, 4 << 20)).expect("a history");
        assert!(history.ranges.is_none());
        let made = crate::history::reindex(&path, &history).expect("an index of what is left");
        assert!(made.0 > Height(64) && made.1 > Height(2_200), "{made:?}");
        assert_eq!(Ranges::open(&path, &chain).expect("an index").told(), [made]);
    });
}

#[test]
fn a_history_ends_where_the_journal_gave_up_what_is_older() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    shortened(&path);
    apart(|| {
        let history = History::open(&path, ReadOptions::default(), config(&path, 0)).expect("a history");
        let whole = history.answer(&all(Subject::Table(TableId(0)))).expect("what is left");
        assert!(whole.given_up && whole.older.is_none(), "the oldest blocks are gone");
        let (first, last) = (whole.entries[0].height, whole.entries[whole.entries.len() - 1].height);
        assert!(first > Height(64) && last > Height(2_300), "{first} to {last}");
        let Some(Event::Roll(roll)) =
            whole.entries.iter().rev().map(|entry| entry.event).find(|event| matches!(event, Event::Roll(_)))
        else {
            panic!("a table rolls");
        };
        assert!(history.height_of_roll(TableId(0), roll.number).is_ok());
        assert!(!history.roll(TableId(0), roll.number).expect("the last roll").given_up, "the roll before is there");
        // The bets before the first roll that is left lie partly on a page that is gone.
        let first = whole.entries.iter().find_map(|entry| match entry.event {
            Event::Roll(roll) => Some(roll.number),
            _ => None,
        });
        let first = history.roll(TableId(0), first.expect("a table rolls")).expect("what is left before it");
        assert!(first.given_up && !first.entries.is_empty(), "nobody knows what came before");
        let gone = history.height_of_roll(TableId(0), 1).expect_err("it is gone").to_string();
        assert!(gone.contains("not in what is left"), "{gone}");
    });
}

#[test]
fn every_roll_is_found_by_its_number() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    session(&path, 400);
    apart(|| {
        let model = model(&path);
        let history = History::open(&path, ReadOptions::default(), config(&path, 4 << 20)).expect("a history");
        let mut rolls = 0;
        for height in &model {
            // Each table's first rolls, and some of the others: every search walks the session.
            for roll in height.rolls.iter().filter(|roll| roll.roll_number < 3 || roll.roll_number % 9 == 0) {
                let found = history.height_of_roll(roll.table, roll.roll_number).expect("a roll");
                assert_eq!(found, height.height, "{}:{}", roll.table, roll.roll_number);
                rolls += 1;
            }
        }
        assert!(rolls > 9);
        let missing = history.height_of_roll(TableId(0), 100_000).expect_err("no such roll").to_string();
        assert!(missing.contains("has rolled"), "{missing}");
        let missing = history.height_of_roll(TableId(3), 1).expect_err("no such table").to_string();
        assert!(missing.contains("numbered 0 to 2"), "{missing}");
    });
}

/// What a pledged table's player did not open has a number and no dice.
#[test]
fn every_roll_that_was_forfeited_is_found_by_its_number() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let dice = DiceSource::Both;
    let dev = DevConfig { tables: 6, players: 6, threads: 1, pace: Pace::Max, dice, ..DevConfig::default() };
    apart(|| {
        let mut opened = open(&path, &dev).expect("a session");
        opened.node.run(Some(2_500), &AtomicBool::new(false), |_, _, _| ()).expect("the session runs");
        opened.node.close();
    });
    apart(|| {
        let own = ReadOptions { origin: Origin::Own, ..ReadOptions::default() };
        let mut walker = Walker::open(&path, own).expect("a session");
        walker.machine().watch(true);
        // By table, the heights of its rolls in the order of their numbers, and whether they had dice.
        let mut tables = vec![Vec::new(); 6];
        while let Some(step) = walker.step().expect("a whole session") {
            for opening in walker.machine().report().openings.iter().filter(|opening| opening.roll > 0) {
                let rolls: &mut Vec<(Height, bool)> = &mut tables[opening.table.index()];
                rolls.push((step.settled.height, matches!(opening.end, OpeningEnd::Opened(_))));
                assert_eq!(opening.roll as usize, rolls.len(), "every number is used up once");
            }
        }
        let history = History::open(&path, own, config(&path, 4 << 20)).expect("a history");
        let mut forfeits = 0;
        for (table, rolls) in (0..).map(TableId).zip(&tables) {
            // Those without dice, and each that follows one.
            let is_asked =
                |place: &usize| rolls[place.saturating_sub(1)..=*place].iter().any(|(_, has_dice)| !has_dice);
            for place in (0..rolls.len()).filter(is_asked) {
                let (height, has_dice) = rolls[place];
                let number = place as u32 + 1;
                assert_eq!(history.height_of_roll(table, number).expect("a roll"), height, "{table}:{number}");
                let entries = history.roll(table, number).expect("a roll").entries;
                let before = place.checked_sub(1).map_or(Height::GENESIS, |before| rolls[before].0);
                assert!(
                    entries.iter().all(|entry| entry.height > before && entry.height <= height),
                    "{table}:{number}"
                );
                let events: Vec<&str> = entries.iter().map(|entry| event_name(&entry.event)).collect();
                let (with, without) = if has_dice { ("roll", "forfeit") } else { ("forfeit", "roll") };
                assert!(events.contains(&"call_roll") && events.contains(&with), "{table}:{number}: {events:?}");
                assert!(has_dice || !events.contains(&without), "{table}:{number}: {events:?}");
                forfeits += u32::from(!has_dice);
            }
        }
        assert!(forfeits > 0, "some players do not open their rolls");
    });
}

/// Leaves a session one snapshot: of its last height.
fn only_snapshot(dir: &Path) -> Height {
    std::fs::remove_dir_all(dir.join("snapshots")).expect("removed");
    let mut machine = walk_to(dir, None, ReadOptions::default()).expect("a state").into_machine();
    let session = Session::open(dir).expect("nobody writes it");
    let snapshots = SnapshotsFound::open(&session, |_| ()).expect("a place").start(None).expect("a thread");
    let (note, groups) = machine.begin_snapshot().expect("heights were settled");
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
    note.height
}

/// Behind the newest snapshot nothing follows then, and the newest page ends with it.
#[test]
fn a_session_that_ends_with_a_page_and_its_newest_snapshot_has_its_history() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    session(&path, 448);
    apart(|| {
        let model = model(&path);
        assert_eq!(only_snapshot(&path), Height(7 * PAGE_HEIGHTS));
        // A stranger's snapshot is not begun with there: no header behind it names its root.
        let own = ReadOptions { origin: Origin::Own, ..ReadOptions::default() };
        let history = History::open(&path, own, config(&path, 4 << 20)).expect("a history");
        let whole = history.answer(&all(Subject::Table(TableId(0)))).expect("an answer");
        assert!(!whole.given_up && whole.older.is_none() && !whole.entries.is_empty(), "{}", whole.given_up);
        (0..14).for_each(|account| check_account(&history, &model, account));
        (0..3).for_each(|table| check_table(&history, &model, table));
        for height in &model {
            for roll in height.rolls.iter().filter(|roll| roll.roll_number < 3 || roll.roll_number % 9 == 0) {
                let found = history.height_of_roll(roll.table, roll.roll_number).expect("a roll");
                assert_eq!(found, height.height, "{}:{}", roll.table, roll.roll_number);
            }
        }
        assert_eq!(history.at_end(|machine| machine.chain().settled).expect("a state"), Height(448));
    });
}

#[test]
fn a_session_that_is_written_keeps_no_page_that_could_still_change() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    session(&path, 330);
    apart(|| {
        let held = Session::open(&path).expect("the session");
        let history = History::open(&path, ReadOptions::default(), config(&path, 4 << 20)).expect("a history");
        let whole = history.answer(&all(Subject::Table(TableId(0)))).expect("an answer");
        // Pages 0 to 2 end at least 128 heights before 330.
        let kept = |history: &History| (0..6).map(|page| history.cached(page).is_some()).collect::<Vec<_>>();
        assert_eq!(kept(&history), [true, true, true, false, false, false]);
        drop(held);
        drop(history);
        let history = History::open(&path, ReadOptions::default(), config(&path, 4 << 20)).expect("a history");
        assert_eq!(history.answer(&all(Subject::Table(TableId(0)))).expect("an answer"), whole);
        assert_eq!(kept(&history), [true, true, true, true, true, false]);
    });
}
