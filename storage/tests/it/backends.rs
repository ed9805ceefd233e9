//! The three places where files can be do the same; the faulty one loses what was not synced, and nothing else.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use storage::backend::{Access, Backend, Fault, FaultyBackend, FileBackend, MemoryBackend};

/// What any backend does; gives back what it saw.
fn use_it(backend: &dyn Backend, dir: &Path) {
    backend.create_dir(&dir.join("a/b")).expect("made");
    assert_eq!(backend.list(&dir.join("missing")).expect_err("missing").kind(), ErrorKind::NotFound);
    let path = dir.join("a/b/file");
    assert_eq!(backend.create(&dir.join("no/file")).err().expect("no folder").kind(), ErrorKind::NotFound);
    let file = backend.create(&path).expect("new");
    assert_eq!(backend.create(&path).err().expect("there is one").kind(), ErrorKind::AlreadyExists);
    file.write_all_at(b"hello", 3).expect("written");
    file.write_all_at(&[7; 8_192], 4_096).expect("written");
    file.set_len(8_200).expect("cut");
    file.sync().expect("synced");
    file.sync_all().expect("synced");
    backend.sync_dir(&dir.join("a/b")).expect("synced");
    let reader = backend.open(&path, Access::Read).expect("there");
    assert!(reader.write_all_at(b"x", 0).is_err(), "it was opened for reading");
    assert_eq!(reader.len().expect("a length"), 8_200);
    let bytes = backend.read(&path, 1 << 20).expect("read");
    assert_eq!(&bytes[..10], b"\0\0\0hello\0\0");
    assert_eq!((&bytes[8..4_096], &bytes[4_096..]), (&[0; 4_088][..], &[7; 4_104][..]));
    assert_eq!(reader.read_range(8_198, 100).expect("the end"), [7, 7]);
    assert_eq!(backend.list(&dir.join("a")).expect("a folder"), [dir.join("a/b")]);
    assert_eq!(backend.list(&dir.join("a/b")).expect("a folder"), std::slice::from_ref(&path));
    assert!(backend.free_bytes(dir).expect("a number") > 8_192);
    let held = backend.lock(&dir.join("a/LOCK")).expect("free");
    assert_eq!(backend.lock(&dir.join("a/LOCK")).err().expect("held").kind(), ErrorKind::WouldBlock);
    drop(held);
    backend.lock(&dir.join("a/LOCK")).expect("free again");
    backend.remove(&path).expect("there");
    assert_eq!(backend.remove(&path).expect_err("gone").kind(), ErrorKind::NotFound);
    assert_eq!(backend.open(&path, Access::Read).err().expect("gone").kind(), ErrorKind::NotFound);
}

#[test]
fn files_memory_and_the_faulty_disk_do_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    use_it(&FileBackend, dir.path());
    use_it(&MemoryBackend::default(), Path::new("/m"));
    use_it(&FaultyBackend::new(1), Path::new("/m"));
}

/// What was synced is there; of what was not, every state that a disk may leave occurs.
#[test]
fn power_off_loses_only_what_was_not_synced() {
    let path = Path::new("/d/file");
    let mut seen = BTreeSet::new();
    for seed in 0..400 {
        let disk = FaultyBackend::new(seed);
        disk.create_dir(Path::new("/d")).expect("made");
        let file = disk.create(path).expect("new");
        file.write_all_at(&[1; 2_048], 0).expect("written");
        file.sync().expect("synced");
        disk.sync_dir(Path::new("/d")).expect("synced");
        file.write_all_at(&[2; 1_024], 512).expect("written");
        file.write_all_at(&[3; 1_024], 2_048).expect("written");
        disk.create(Path::new("/d/other")).expect("new");
        let after = disk.restart();
        assert!(file.sync().is_err() && disk.is_off(), "the old disk is dead");
        let bytes = after.read(path, 1 << 20).expect("its name was synced");
        assert!(bytes.len() >= 2_048, "its length was synced");
        assert!(bytes[..512].iter().chain(&bytes[1_536..2_048]).all(|byte| *byte == 1), "it was synced");
        let sectors = bytes.chunks(512).map(|sector| sector[0]).collect::<Vec<_>>();
        let other = after.open(Path::new("/d/other"), Access::Read).is_ok();
        seen.insert((sectors, other));
    }
    let lost = vec![1, 1, 1, 1];
    let kept = vec![1, 2, 2, 1, 3, 3];
    let reordered = vec![1, 1, 1, 1, 3, 3];
    let torn = vec![1, 2, 1, 1];
    for state in [lost, kept, reordered, torn] {
        assert!(seen.contains(&(state.clone(), true)) && seen.contains(&(state.clone(), false)), "{state:?}: {seen:?}");
    }
}

#[test]
fn faults_come_when_planned_and_room_ends() {
    let disk = FaultyBackend::new(3);
    let dir = Path::new("/d");
    disk.create_dir(dir).expect("made");
    let file = disk.create(&dir.join("file")).expect("new");
    let next = disk.operations() + 1;
    disk.plan(next, Fault::Fail(ErrorKind::Other));
    assert!(file.write_all_at(&[1; 4_096], 0).is_err());
    file.write_all_at(&[1; 4_096], 0).expect("only once");
    disk.set_room(Some(6_000));
    assert_eq!(disk.free_bytes(dir).expect("a number"), 6_000 - 4_096);
    assert_eq!(file.write_all_at(&[1; 4_096], 4_096).expect_err("full").kind(), ErrorKind::StorageFull);
    file.write_all_at(&[2; 4_096], 0).expect("no new bytes are needed");
    disk.set_room(None);
    file.write_all_at(&[1; 4_096], 4_096).expect("there is room");
    let next = disk.operations() + 1;
    disk.plan(next, Fault::PowerOff);
    assert!(file.sync().is_err() && disk.is_off());
    assert!(file.write_all_at(&[1], 0).is_err() && disk.create(&dir.join("other")).is_err());
}

/// Such a disk says that all is well: only who reads finds out.
#[test]
fn writes_that_are_lost_or_go_elsewhere_are_said_to_be_done() {
    for fault in [Fault::Lose, Fault::Misdirect] {
        for seed in 0..20 {
            let disk = FaultyBackend::new(seed);
            let path = Path::new("/d/file");
            disk.create_dir(Path::new("/d")).expect("made");
            let file = disk.create(path).expect("new");
            disk.sync_dir(Path::new("/d")).expect("synced");
            file.write_all_at(&[1; 16_384], 0).expect("written");
            disk.plan(disk.operations() + 1, fault);
            // It waits for a write.
            file.sync().expect("synced");
            assert!(!disk.is_harmed());
            file.write_all_at(&[2; 4_096], 4_096).expect("it says so");
            file.write_all_at(&[3; 100], 0).expect("the one after is sound");
            file.sync().expect("it says so");
            let bytes = disk.restart().read(path, 1 << 20).expect("its name");
            assert!(disk.is_harmed() && disk.restart().is_harmed() && disk.copy().is_harmed());
            assert_eq!((bytes[..100].to_vec(), bytes[4_096]), (vec![3; 100], 1), "seed {seed}");
            let elsewhere = bytes.chunks(4_096).filter(|block| block[4_095] == 2).count();
            assert_eq!(elsewhere, usize::from(fault == Fault::Misdirect), "seed {seed}");
        }
    }
}

/// What a stranger can put where a file is expected. None of it is waited for, and none is read.
#[test]
fn a_pipe_a_device_a_folder_and_an_endless_file_are_refused_before_they_are_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().expect("mkfifo runs").success());
    std::os::unix::fs::symlink("/dev/zero", path("device")).expect("a link");
    std::fs::create_dir(path("folder")).expect("a folder");
    for name in ["pipe", "device", "folder"] {
        let error = FileBackend.open(&path(name), Access::Read).err().expect("no file");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error}");
        assert!(FileBackend.read(&path(name), 1 << 20).is_err() && FileBackend.view(&path(name), 0, 1 << 20).is_err());
        assert!(FileBackend.lock(&path(name)).is_err(), "{name}");
    }
    let endless = std::fs::File::create(path("endless")).expect("a file");
    endless.set_len(1 << 42).expect("sparse");
    for error in [
        FileBackend.read(&path("endless"), 1 << 28).expect_err("too long"),
        FileBackend.view(&path("endless"), 1 << 41, 1 << 28).expect_err("too long"),
    ] {
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("4398046511104 bytes"), "{error}");
    }
}
