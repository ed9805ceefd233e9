//! Exported rows: the same in every format, and together the whole session.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use audit::dice::{DiceConfig, audit_dice};
use audit::export::{ExportConfig, Exported, Kind, SHEETS, export};
use audit::reading::ReadOptions;
use audit::walker::walk_to;
use engine::Height;
use engine::message::evidence::Evidence;
use engine::message::vote::{Vote, VoteBody, VoteKind};
use load::dev::{DevConfig, apart, genesis, open};
use node::clock::Pace;
use node::totals::Totals;
use parquet::basic::{Compression, LogicalType, TimeUnit, Type as PhysicalType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use storage::{Disk, Frame, FrameKind, Session, SyncGroup, Synced, Writing};

static STOP: AtomicBool = AtomicBool::new(false);

fn dev(dir: &Path, heights: u64) -> Totals {
    apart(|| {
        let config = DevConfig { pace: Pace::Max, threads: 1, ..DevConfig::default() };
        let mut opened = open(dir, &config).expect("a session");
        opened.node.run(Some(heights), &STOP, |_, _, _| ()).expect("the session runs");
        opened.node.close()
    })
}

fn all(dir: &Path, height: Option<u64>) -> ExportConfig {
    let (csv, parquet) = (Some(dir.join("csv")), Some(dir.join("parquet")));
    let image = Some(dir.join("state.img"));
    ExportConfig { csv, parquet, image, evidence: None, height: height.map(Height), reading: ReadOptions::default() }
}

/// A sheet's rows by column name.
fn rows(dir: &Path, sheet: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(dir.join(format!("csv/{sheet}.csv"))).expect("a CSV file");
    reader.deserialize().map(|row| row.expect("a row")).collect()
}

fn parquet_cells(path: &Path) -> Vec<Vec<String>> {
    let reader = SerializedFileReader::new(std::fs::File::open(path).expect("a file")).expect("a Parquet file");
    let text = |field: &Field| match field {
        Field::Null => String::new(),
        Field::Long(number) => number.to_string(),
        Field::TimestampMillis(time_ms) => {
            let moment = jiff::Timestamp::from_millisecond(*time_ms).expect("a moment");
            moment.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
        }
        Field::Str(text) => text.clone(),
        other => panic!("{other} has a type of its own"),
    };
    let row = |row: parquet::record::Row| row.get_column_iter().map(|(_, field)| text(field)).collect();
    reader.get_row_iter(None).expect("rows").map(|found| row(found.expect("a row"))).collect()
}

fn csv_cells(path: &Path) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_path(path).expect("a CSV file");
    reader.records().map(|row| row.expect("a row").iter().map(str::to_owned).collect()).collect()
}

fn sum(rows: &[BTreeMap<String, String>], column: &str) -> u64 {
    rows.iter().map(|row| row[column].parse::<u64>().expect("a number")).sum()
}

/// The number in a cell; zero where there is nothing, as sums take it.
fn cell(row: &BTreeMap<String, String>, column: &str) -> i64 {
    if row[column].is_empty() { 0 } else { row[column].parse().expect("a number") }
}

#[test]
fn rows_are_the_session_in_every_format() {
    let dir = tempfile::tempdir().expect("a directory");
    let session = dir.path().join("s");
    let totals = dev(&session, 300);
    let exported: Exported = apart(|| export(&session, &all(dir.path(), None), |_| ())).expect("an export");
    assert_eq!((exported.height, exported.root), (Height(300), totals.root));
    let image = std::fs::read(dir.path().join("state.img")).expect("the image");
    assert_eq!(blake3::hash(&image).as_bytes(), &totals.root);

    for (sheet, (name, count)) in SHEETS.iter().zip(&exported.rows) {
        let csv = csv_cells(&dir.path().join(format!("csv/{name}.csv")));
        assert_eq!((csv.len() as u64, csv.iter().all(|row| row.len() == sheet.columns.len())), (*count, true));
        assert_eq!(csv, parquet_cells(&dir.path().join(format!("parquet/{name}.parquet"))), "{name}");
    }
    let counts: BTreeMap<&str, u64> = exported.rows.iter().copied().collect();
    assert_eq!(counts["rolls"], totals.counts.rolls);
    assert_eq!(counts["bets"] + counts["actions"], totals.counts.applied + totals.counts.refused);
    let [rolls, bets, payouts, balances] = ["rolls", "bets", "payouts", "balances"].map(|name| rows(dir.path(), name));
    let resolved = payouts.iter().filter(|row| row["outcome"] != "travel").count() as u64;
    assert_eq!(resolved, totals.counts.bets_resolved);
    assert!(bets.iter().any(|row| row["request"] == "bet" && row["verdict"] == "applied"));
    for row in &rolls {
        let dice: u8 = ["die_1", "die_2"].iter().map(|die| row[*die].parse::<u8>().expect("a face")).sum();
        assert!((2..=12).contains(&dice));
    }
    // What rolls paid beyond wagers, and what they took, is what the node counted.
    let paid: u64 = payouts
        .iter()
        .filter(|row| row["outcome"] == "win")
        .map(|row| row["credit"].parse::<u64>().expect("chips") - row["wager"].parse::<u64>().expect("chips"))
        .sum();
    assert_eq!(paid, totals.counts.paid);
    let net: i64 = payouts.iter().map(|row| cell(row, "net")).sum();
    assert_eq!(
        totals.counts.paid as i64 - totals.counts.lost as i64,
        net,
        "what players have more, commissions and all"
    );
    let lost: Vec<_> = payouts.into_iter().filter(|row| row["outcome"] == "lose").collect();
    assert!(totals.counts.lost > sum(&lost, "wager"), "some bet had a commission");
    let supply = apart(|| walk_to(&session, None, ReadOptions::default()))
        .expect("a state")
        .into_machine()
        .read(|rows| rows.house.supply);
    assert_eq!(sum(&balances, "chips"), supply.0);
}

#[test]
fn an_export_ends_where_it_is_told_and_overwrites_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let session = dir.path().join("s");
    dev(&session, 60);
    let place = |name: &str| -> PathBuf { dir.path().join(name) };
    std::fs::create_dir(place("a")).expect("a directory");
    let exported = apart(|| export(&session, &all(&place("a"), Some(40)), |_| ())).expect("an export");
    let (mut machine, root) = apart(|| {
        let mut machine = walk_to(&session, Some(Height(40)), ReadOptions::default()).expect("a state").into_machine();
        let root = machine.root();
        (machine, root)
    });
    assert_eq!((exported.height, exported.root), (Height(40), root));
    assert!(rows(&place("a"), "actions").iter().all(|row| row["height"].parse::<u64>().expect("a height") <= 40));
    let cages = machine.read(|rows| rows.house.cages);
    assert_eq!(sum(&rows(&place("a"), "balances"), "cage"), cages.0);

    let error = apart(|| export(&session, &all(&place("a"), None), |_| ())).expect_err("files are there").to_string();
    assert!(error.contains("nothing is overwritten"), "{error}");
    std::fs::create_dir(place("b")).expect("a directory");
    let error = apart(|| export(&session, &all(&place("b"), Some(61)), |_| ())).expect_err("too far").to_string();
    assert!(error.contains("ends at height 60"), "{error}");
    assert!(std::fs::read_dir(place("b")).expect("the directory").next().is_none(), "half a file is left");
    assert!(!place("b/state.img").exists());
}

/// What was certified before a journal was damaged can still be saved as rows.
#[test]
fn an_export_ends_below_a_damaged_place_where_it_is_told_to() {
    let dir = tempfile::tempdir().expect("a directory");
    let session = dir.path().join("s");
    dev(&session, 120);
    let journal = session.join("journal/00000001.seg");
    let mut bytes = std::fs::read(&journal).expect("a segment");
    // Whole groups follow it, so it is no end that was cut off; what is zero may be room between groups.
    let written = bytes.iter().rposition(|byte| *byte != 0).expect("frames");
    let place = (written / 4 * 3..written).find(|place| bytes[*place] != 0).expect("frames");
    bytes[place] ^= 0x10;
    std::fs::write(&journal, bytes).expect("a segment");
    let place = |name: &str| -> PathBuf {
        let place = dir.path().join(name);
        std::fs::create_dir(&place).expect("a directory");
        place
    };
    let below = place("below");
    let exported = apart(|| export(&session, &all(&below, Some(15)), |_| ())).expect("an export");
    assert_eq!(exported.height, Height(15));
    assert!(!rows(&below, "actions").is_empty());
    let config = DiceConfig { to: Some(Height(15)), ..DiceConfig::default() };
    let audit = apart(|| audit_dice(&session, &config, |_| ())).expect("an audit");
    assert_eq!(audit.height, Height(15));
    for height in [Some(119), None] {
        let beyond = place(&format!("beyond-{height:?}"));
        let error = apart(|| export(&session, &all(&beyond, height), |_| ())).expect_err("it is damaged");
        assert!(format!("{error:#}").contains("is damaged at byte"), "{error:#}");
    }
}

/// What a player has is what was granted and transferred, and the sum of `net`: no reader has to know the rules for it.
#[test]
fn sums_of_the_sheets_are_what_every_player_has() {
    check_sums(false);
}

/// The same where nobody keeps for long a grant that was never bet: what went back is told of, and whose it was.
#[test]
fn sums_of_the_sheets_are_what_every_player_has_where_grants_go_back() {
    check_sums(true);
}

/// A session whose genesis lets grants that were never bet go back after two seconds.
fn begin_with_short_grants(session: &Path) {
    let mut genesis = genesis(&DevConfig { pace: Pace::Max, threads: 1, ..DevConfig::default() });
    genesis.idleness.grant_ms = 2_000;
    let bytes = serde_json::to_vec_pretty(&genesis).expect("plain data");
    drop(Session::create(session, &bytes).expect("a session"));
}

fn check_sums(lapse: bool) {
    let dir = tempfile::tempdir().expect("a directory");
    let session = dir.path().join("s");
    if lapse {
        begin_with_short_grants(&session);
    }
    dev(&session, 500);
    apart(|| export(&session, &all(dir.path(), None), |_| ())).expect("an export");
    let of = |name: &str| rows(dir.path(), name);
    let grant = cell(&of("session")[0], "account_grant");
    let (mut has, mut ids) = (BTreeMap::<String, i64>::new(), BTreeMap::new());
    for row in of("actions").iter().filter(|row| row["verdict"] == "applied") {
        match row["request"].as_str() {
            "open" | "open_voucher" => {
                *has.entry(row["account_key"].clone()).or_default() += grant;
                ids.insert(row["account_id"].clone(), row["account_key"].clone());
            }
            "transfer" => {
                *has.get_mut(&row["account_key"]).expect("an account") -= cell(row, "amount");
                let to = ids.get(&row["recipient_id"]).expect("an account");
                *has.get_mut(to).expect("an account") += cell(row, "amount");
            }
            _ => {}
        }
    }
    let payouts = of("payouts");
    assert!(payouts.iter().any(|row| cell(row, "commission") > 0), "no table charges commission in advance");
    for row in &payouts {
        *has.get_mut(&row["account_key"]).expect("an account") += cell(row, "net");
        // A number that became free may have been another key's since.
        assert!(lapse || ids[&row["account_id"]] == row["account_key"]);
    }
    let lapses = of("lapses");
    assert_eq!(!lapses.is_empty(), lapse, "strangers open accounts and never bet");
    for row in &lapses {
        *has.get_mut(&row["account_key"]).expect("an account") -= cell(row, "returned");
    }
    let balances = of("balances");
    let accounts: Vec<_> = balances.iter().filter(|row| row["holder"] == "account").collect();
    for row in &accounts {
        let chips = has.remove(&row["account_key"]).expect("an account");
        assert_eq!(cell(row, "chips"), chips, "account {}", row["holder_id"]);
    }
    // Whose slot is free has nothing left.
    assert!(has.values().all(|chips| *chips == 0) && (lapse || has.is_empty()), "{has:?}");
}

/// A bet's name joins what was put on it to what became of it, through raises, take-downs and travels.
#[test]
fn every_payout_names_the_bet_that_was_placed() {
    let dir = tempfile::tempdir().expect("a directory");
    let session = dir.path().join("s");
    dev(&session, 500);
    apart(|| export(&session, &all(dir.path(), None), |_| ())).expect("an export");
    let (bets, payouts) = (rows(dir.path(), "bets"), rows(dir.path(), "payouts"));
    let (mut total, mut placed) = (BTreeMap::<String, i64>::new(), BTreeMap::new());
    let mut events: Vec<(i64, u8, &BTreeMap<String, String>)> = Vec::new();
    events.extend(bets.iter().filter(|row| !row["bet_id"].is_empty()).map(|row| (cell(row, "height"), 0, row)));
    events.extend(payouts.iter().map(|row| (cell(row, "height"), 1, row)));
    // Within a height the requests come first; a stable sort keeps the order of each sheet.
    events.sort_by_key(|(height, sheet, _)| (*height, *sheet));
    let mut travelled = 0;
    for (_, sheet, row) in events {
        let id = row["bet_id"].clone();
        assert!(!id.is_empty(), "a payout of a bet that nobody placed");
        if sheet == 0 {
            match row["request"].as_str() {
                "bet" => {
                    *total.entry(id.clone()).or_default() += cell(row, "amount_added");
                    placed.entry(id).or_insert_with(|| (row["account_key"].clone(), row["bet"].clone()));
                }
                "set_amount" => _ = total.insert(id, cell(row, "amount_total")),
                "take_down" => _ = total.remove(&id),
                _ => {}
            }
            continue;
        }
        assert_eq!(placed[&id], (row["account_key"].clone(), row["bet"].clone()), "bet {id} is another's");
        assert_eq!(total[&id], cell(row, "wager"), "bet {id} has another wager");
        travelled += i64::from(row["outcome"] == "travel");
        if row["outcome"] != "travel" {
            total.remove(&id);
        }
    }
    assert!(travelled > 0 && placed.len() > 100, "{travelled} travelled, {} bets", placed.len());
}

/// Sums stay right in readers that add in the column's own width, and a difference may be negative.
#[test]
fn parquet_says_whose_it_is_in_types_that_every_reader_adds() {
    let dir = tempfile::tempdir().expect("a directory");
    let session = dir.path().join("s");
    let totals = dev(&session, 40);
    let exported = apart(|| export(&session, &all(dir.path(), None), |_| ())).expect("an export");
    for sheet in SHEETS {
        let path = dir.path().join(format!("parquet/{}.parquet", sheet.name));
        let reader = SerializedFileReader::new(std::fs::File::open(path).expect("a file")).expect("a Parquet file");
        let file = reader.metadata().file_metadata();
        let about: BTreeMap<_, _> = file
            .key_value_metadata()
            .expect("metadata")
            .iter()
            .map(|pair| (pair.key.as_str(), pair.value.clone().expect("a value")))
            .collect();
        assert_eq!(about["bitcraps.root"], engine::hex(&exported.root));
        assert_eq!(about["bitcraps.root_chain"], engine::hex(&totals.root_chain));
        assert_eq!(about["bitcraps.last_height"], "40");
        assert!(about["bitcraps.rules"].contains("\"max_bet\""));
        for (column, expected) in file.schema_descr().columns().iter().zip(sheet.columns) {
            let found = (column.physical_type(), column.logical_type_ref().cloned());
            let moment = LogicalType::timestamp(true, TimeUnit::MILLIS);
            let wanted = match expected.kind {
                Kind::Integer => (PhysicalType::INT64, None),
                Kind::Time => (PhysicalType::INT64, Some(moment)),
                Kind::Text => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
            };
            assert_eq!(found, wanted, "{}.{}", sheet.name, expected.name);
        }
        for group in reader.metadata().row_groups() {
            assert!(group.columns().iter().all(|column| column.compression() == Compression::SNAPPY));
        }
    }
}

/// Column names that a statement could take for its own words would have to be quoted in every query.
#[test]
fn no_column_is_named_as_a_word_of_sql() {
    let words = [
        "all", "and", "as", "by", "case", "cast", "column", "create", "default", "desc", "event", "from", "group",
        "in", "index", "key", "kind", "like", "limit", "not", "null", "number", "on", "or", "order", "result", "row",
        "rows", "select", "set", "show", "table", "time", "to", "type", "union", "user", "using", "value", "values",
        "when", "where", "with",
    ];
    for sheet in SHEETS {
        for column in sheet.columns {
            assert!(!words.contains(&column.name), "{}.{}", sheet.name, column.name);
        }
    }
}

/// The page about sheets has a section for each, which names every column.
#[test]
fn docs_name_every_column_of_every_sheet() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/formats/sheets.md");
    let text = std::fs::read_to_string(page).expect("the page");
    for sheet in SHEETS {
        let section = text.split("\n## ").find(|section| section.starts_with(&format!("{}\n", sheet.name)));
        let section = section.unwrap_or_else(|| panic!("no section about {}", sheet.name));
        let named: Vec<&str> = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split(" |").next())
            .flat_map(|cell| cell.split(", ").map(|name| name.trim_matches('`')))
            .collect();
        let columns: Vec<&str> = sheet.columns.iter().map(|column| column.name).collect();
        assert_eq!(named, columns, "{}", sheet.name);
    }
}

/// Appends a frame to a session that has ended.
fn append(dir: &Path, frame: Frame) {
    let session = Session::open(dir).expect("a session");
    let mut disk = Disk::open(session, Writing::default()).expect("it goes on").disk;
    disk.submit(SyncGroup { id: 1, frames: vec![frame], ..SyncGroup::default() });
    assert_eq!(disk.finish(), [Synced::UpTo(1)]);
}

#[test]
fn evidence_is_exported_with_both_statements_and_only_if_both_are_signed() {
    let dir = tempfile::tempdir().expect("a directory");
    let session = dir.path().join("s");
    dev(&session, 20);
    let key = load::dev::keys(DevConfig::default().seed).votes[0].clone();
    let chain = storage::read_genesis(&session).expect("a genesis").1;
    let vote =
        |block: Option<[u8; 32]>| key.sign_vote(VoteBody::new(VoteKind::Prevote, Height(9), 2, block, 0), &chain);
    let [one, other] = [vote(None), vote(Some([7; 32]))];
    let frame = |evidence: Evidence| {
        let mut body = Vec::new();
        evidence.encode(&mut body);
        Frame { kind: FrameKind::Evidence, height: Height(20), body }
    };
    let written = |name: &str| {
        let path = dir.path().join(name);
        let config = ExportConfig { evidence: Some(path.clone()), ..ExportConfig::default() };
        apart(|| export(&session, &config, |_| ()))
            .map(|exported| (exported.evidence, std::fs::read_to_string(path).expect("a file")))
    };
    assert_eq!(written("none").expect("an export"), (Some(0), String::new()));
    append(&session, frame(Evidence::Votes(one, other)));
    let (count, lines) = written("one").expect("an export");
    let row: serde_json::Value = serde_json::from_str(lines.trim_end()).expect("one line");
    assert_eq!((count, &row["kind"], &row["slot"], &row["height"]), (Some(1), &"votes".into(), &0.into(), &9.into()));
    assert_eq!((&row["round"], &row["recorded_after"]), (&2.into(), &20.into()));
    let [first, second] = [one, other].map(|vote| engine::hex(bytemuck::bytes_of(&vote)));
    assert_eq!((&row["one"], &row["other"]), (&first.into(), &second.into()));
    // A session can hold anything.
    let forged = Vote { signature: [3; 64], ..other };
    append(&session, frame(Evidence::Votes(one, forged)));
    let error = written("forged").expect_err("one signature is none").to_string();
    assert!(error.contains("validator 0 did not sign both") && !dir.path().join("forged").exists(), "{error}");
}
