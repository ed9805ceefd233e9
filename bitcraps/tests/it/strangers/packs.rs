//! Packs of a stranger that hold very many of what takes few bytes.

use std::fs;
use std::sync::Arc;

use engine::limits::{CHECK_PROBLEMS_MAX, SNAPSHOTS_TRIED_MAX};
use serde_json::Value;
use storage::backend::{Backend, FileBackend};
use storage::snapshot::{Catalog, SnapshotsFound, check_packs};
use storage::{Session, Writing};

use super::forge::{empty_pack, pack_record, write};
use super::{Place, text};

/// A damaged place takes fewer bytes of a pack than what is said of it.
#[test]
fn damaged_places_of_packs_are_told_up_to_a_bound_and_counted_beyond() {
    let (place, honest) = Place::new(10, Writing::default());
    let path = place.path("padded");
    write(&path, &honest.genesis, honest.frames.clone());
    let (mut pack, count) = (empty_pack(&honest.chain), 3 * CHECK_PROBLEMS_MAX);
    for height in 1..=count as u64 {
        // Four bytes, and four of padding.
        pack_record(2, (height, 1), &[0; 4], &mut pack);
        *pack.last_mut().expect("a record") = 1;
    }
    fs::create_dir_all(path.join("snapshots")).expect("a folder");
    fs::write(path.join("snapshots/00000001.pack"), pack).expect("written");
    let backend: Arc<dyn Backend> = Arc::new(FileBackend);
    let (catalog, damages) = Catalog::from_packs(&backend, &path, &honest.chain).expect("packs");
    assert_eq!((catalog.snapshots.len(), damages.told.len()), (count, CHECK_PROBLEMS_MAX));
    assert_eq!(damages.more as usize, count - CHECK_PROBLEMS_MAX);
    assert_eq!(check_packs(&backend, &path, &honest.chain).expect("packs"), (count as u64, damages));
    let shown = place.run(&["db", "check", text(&path)]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(&format!("and {} more damaged places", count - CHECK_PROBLEMS_MAX)), "{shown}");
}

/// A snapshot without a group is a hundred bytes: a reader makes no state for it, and does not try all that there are.
#[test]
fn snapshots_without_groups_are_tried_up_to_a_bound() {
    let (place, honest) = Place::new(40, Writing::default());
    let path = place.path("many");
    write(&path, &honest.genesis, honest.frames.clone());
    let (mut pack, count) = (empty_pack(&honest.chain), 2 * CHECK_PROBLEMS_MAX);
    for height in 1..=count as u64 {
        // The lengths of its note and of its list of groups.
        pack_record(2, (height, 1), &[0; 8], &mut pack);
    }
    fs::create_dir_all(path.join("snapshots")).expect("a folder");
    fs::write(path.join("snapshots/00000001.pack"), pack).expect("written");
    let output = place.run(&["history", text(&path), "--table", "0"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let tried = said.matches("does not serve").count();
    assert!(output.status.success() && said.contains("it has 0 groups, and an image"), "{said}");
    assert!((1..8 * SNAPSHOTS_TRIED_MAX).contains(&tried), "{tried} of {count} were tried");

    // Its own index names them all, and a check looks at each.
    let session = Session::open(&path).expect("a session");
    drop(SnapshotsFound::open(&session, |_| ()).expect("an index"));
    drop(session);
    let shown = place.run(&["db", "check", text(&path), "--output", "json"]);
    let report: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    let findings = report["findings"].as_array().expect("findings");
    assert!(findings.len() < CHECK_PROBLEMS_MAX + 100, "{} findings", findings.len());
    assert_eq!((&report["ok"], &report["snapshots"]), (&false.into(), &0.into()));
}
