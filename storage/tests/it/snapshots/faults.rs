//! Snapshots on a disk of which one operation fails.

use std::path::Path;
use std::sync::Arc;

use storage::Session;
use storage::backend::{Backend, Fault, FaultyBackend};

use super::{Stage, check, found};

/// Whatever operation of a snapshot fails: it alone comes to nothing, and the next one is kept. redb takes nothing more after an
/// error of the system, and may or may not have what it was given.
#[test]
fn a_snapshot_for_which_the_disk_failed_is_the_only_one_that_is_lost() {
    let (mut failed, mut operation) = (0, 1);
    loop {
        let (disk, path) = (FaultyBackend::new(operation), Path::new("/disk/s"));
        let backend: Arc<dyn Backend> = Arc::new(disk.clone());
        let session = Session::create_on(backend, path, b"{}").expect("a new session");
        let mut stage = Stage::new();
        let snapshots = found(&session).start_stepped(None);
        stage.take(&snapshots, 1_000).expect("nothing is wrong yet");
        let before = disk.operations();
        disk.plan(before + operation, Fault::Fail(std::io::ErrorKind::Other));
        if let Err(problem) = stage.take(&snapshots, 2_000) {
            failed += 1;
            let names = problem.starts_with("/disk/s/snapshots") || problem.starts_with("snapshots/index.redb: ");
            assert!(names, "operation {operation}: an operator hears which file it is: {problem}");
        }
        let is_past = disk.operations() < before + operation;
        disk.forget_faults();
        stage.take(&snapshots, 3_000).unwrap_or_else(|problem| panic!("operation {operation}: {problem}"));
        snapshots.close();
        let again = found(&session);
        assert!(again.repaired.is_none(), "operation {operation}: {:?}", again.repaired);
        assert!(check(&again, &stage) >= 2, "operation {operation}");
        if is_past {
            break;
        }
        operation += 1;
    }
    assert!(failed > 5, "{failed} of {operation} operations");
}

/// What a start writes of snapshots that it could not load fails: the next snapshot is kept all the same, or is said to have come to
/// nothing. Whoever takes it waits for one of the two.
#[test]
fn a_start_for_which_the_disk_failed_keeps_the_next_snapshot_or_says_why_not() {
    let (mut kept, mut refused, mut operation) = (0, 0, 1);
    loop {
        let (disk, path) = (FaultyBackend::new(operation), Path::new("/disk/s"));
        let backend: Arc<dyn Backend> = Arc::new(disk.clone());
        let session = Session::create_on(backend, path, b"{}").expect("a new session");
        let snapshots = found(&session).start_stepped(None);
        let mut stage = Stage::new();
        stage.take(&snapshots, 1_000).expect("nothing is wrong yet");
        snapshots.close();
        let again = found(&session);
        let before = disk.operations();
        disk.plan(before + operation, Fault::Fail(std::io::ErrorKind::Other));
        // As if it could not be loaded: it goes, and all of its groups.
        let snapshots = again.start_stepped(None);
        let is_past = disk.operations() < before + operation;
        disk.forget_faults();
        let mut stage = Stage { height: 1, images: stage.images, ..Stage::new() };
        let is_kept = stage.take(&snapshots, 2_000).is_ok();
        *if is_kept { &mut kept } else { &mut refused } += 1;
        snapshots.close();
        let left = check(&found(&session), &stage);
        assert!(left == 1 || !is_kept, "operation {operation}: {left} snapshots");
        if is_past {
            break;
        }
        operation += 1;
    }
    // Opening the last pack fails for good; writing the index does not.
    assert!(kept > 3 && refused <= 4, "{kept} kept, {refused} refused");
}
