use engine::limits::COMPRESSED_CHUNK_BYTES as CHUNK;
use proptest::prelude::*;

use super::*;
use crate::backend::{Fault, FaultyBackend, MemoryBackend};

const PATH: &str = "/m/journal/00000001.zst";

/// Bytes as a quiet session has them: a few that do not repeat, and zeros up to the end of a block.
fn segment(length: usize) -> Vec<u8> {
    let mixed = |at: usize| ((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    (0..length).map(|at| if at % 4_096 < 600 { mixed(at) } else { 0 }).collect()
}

fn compressed(segment: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut put = |bytes: &[u8]| {
        file.extend(bytes);
        Ok(())
    };
    assert!(compress(segment, &mut put, &|| true).expect("compressed"), "all of it");
    file
}

fn placed(bytes: &[u8]) -> MemoryBackend {
    let disk = MemoryBackend::default();
    disk.create_dir(Path::new("/m/journal")).expect("a folder");
    disk.write_new(Path::new(PATH), bytes).expect("a file");
    disk
}

fn read_back(file: &[u8]) -> io::Result<Vec<u8>> {
    read(&placed(file), Path::new(PATH), 0)
}

#[test]
fn any_part_of_a_compressed_segment_is_that_of_the_segment() {
    for length in [0, 1, 4_096, CHUNK, CHUNK + 1, 2 * CHUNK + 77_777] {
        let whole = segment(length);
        let file = compressed(&whole);
        assert!(length < CHUNK || file.len() < length / 4, "{} bytes of {length}", file.len());
        let disk = placed(&file);
        let handle = open(&disk, Path::new(PATH)).expect("open");
        assert_eq!(handle.len().expect("a length"), length as u64);
        for (from, count) in
            [(0, length), (length / 2, 5_000), (CHUNK.saturating_sub(3), 6), (length, 1), (length + 9, 9)]
        {
            let part = whole.get(from.min(length)..(from + count).min(length)).expect("a part");
            assert_eq!(
                handle.read_range(from as u64, count).expect("read"),
                part,
                "{count} bytes at {from} of {length}"
            );
        }
    }
}

#[test]
fn the_zstandard_tool_gives_the_segment_back() {
    let whole = segment(3 * CHUNK - 12_345);
    let file = compressed(&whole);
    assert_eq!(zstd::stream::decode_all(&*file).expect("frames, one after another, and one to skip"), whole);
}

#[test]
fn a_seek_table_that_lies_is_refused_before_anything_is_allocated_for_it() {
    let file = compressed(&segment(2 * CHUNK + 5));
    let rows = file.len() - FOOTER - 3 * TABLE_ROW;
    let altered = |at: usize, word: u32| {
        let mut file = file.clone();
        file[at..at + 4].copy_from_slice(&word.to_le_bytes());
        file
    };
    for (at, word, problem) in [
        (file.len() - FOOTER, u32::MAX, "says that it has 4294967295 frames"),
        (file.len() - FOOTER, 97, "says that it has 97 frames"),
        (file.len() - FOOTER, 2, "not that of its frames"),
        (file.len() - 4, 0, "has no seek table"),
        (rows, u32::MAX, "not that of its frames"),
        (rows + 4, u32::MAX, "not that of its frames"),
        (rows + 4, CHUNK as u32 - 1, "not that of its frames"),
        (rows + 2 * TABLE_ROW + 4, 0, "not that of its frames"),
        // The last chunk is as long as it can be, and is not.
        (rows + 2 * TABLE_ROW + 4, CHUNK as u32, "instead of 1048576"),
        (rows + 2 * TABLE_ROW + 4, 4, "cannot be decompressed"),
    ] {
        let error = read_back(&altered(at, word)).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains(problem), "{word} at {at}: {error}");
    }
    assert_eq!(read_back(&file).expect("as it was"), segment(2 * CHUNK + 5));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn altered_bytes_are_refused_or_say_the_same(at in 0.0..1.0f64, bit in 0u8..8, cut in prop::bool::weighted(0.2)) {
        let whole = segment(70_000);
        let mut file = compressed(&whole);
        let at = (at * file.len() as f64) as usize;
        if cut {
            file.truncate(at);
        } else {
            file[at] ^= 1 << bit;
        }
        // Some bits of a frame's header mean nothing, and a checksum covers what comes out.
        if let Ok(found) = read_back(&file) {
            prop_assert!(found == whole);
        }
    }

    #[test]
    fn any_bytes_are_a_segment_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_back(&bytes);
        let mut framed = bytes;
        let rows = [(framed.len() as u32).to_le_bytes(), 64u32.to_le_bytes()].concat();
        framed.extend([TABLE_MAGIC.to_le_bytes(), (17u32).to_le_bytes()].concat());
        framed.extend(rows);
        framed.extend(1u32.to_le_bytes());
        framed.push(0);
        framed.extend(FOOTER_MAGIC.to_le_bytes());
        let error = read_back(&framed).expect_err("no frame of 64 bytes with its checksum is found by chance");
        prop_assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

#[test]
fn every_sealed_segment_is_compressed_once_and_the_last_is_left_alone() {
    let disk = MemoryBackend::default();
    let (dir, folder) = (Path::new("/m"), Path::new("/m/journal"));
    disk.create_dir(folder).expect("a folder");
    for number in 1..=3u32 {
        disk.write_new(&folder.join(name(number, "seg")), &segment(50_000 + number as usize)).expect("a segment");
    }
    // One that was begun when the machine stopped.
    disk.write_new(&folder.join(name(1, ENDING)), b"begun").expect("a file");
    let compressor = Compressor::new(Arc::new(disk.clone()), dir);
    assert_eq!(compressor.compress_sealed(&|| false).expect("it was stopped"), [0u32; 0]);
    assert!(disk.list(folder).expect("a folder").iter().all(|path| !is_compressed(path)), "what was begun is not left");
    assert_eq!(compressor.compress_sealed(&|| true).expect("room"), [1, 2]);
    assert_eq!(compressor.compress_sealed(&|| true).expect("room"), [0u32; 0]);
    let names: Vec<_> = disk.list(folder).expect("a folder").iter().map(|path| path.display().to_string()).collect();
    assert_eq!(names, ["/m/journal/00000001.zst", "/m/journal/00000002.zst", "/m/journal/00000003.seg"]);
    for number in 1..=2u32 {
        let found = read(&disk, &folder.join(name(number, ENDING)), 0).expect("whole");
        assert_eq!(found, segment(50_000 + number as usize));
    }
}

/// A disk may say that it has written what it has not: the segment is the only other copy.
#[test]
fn a_segment_stays_where_its_compressed_file_is_not_what_was_written() {
    let disk = FaultyBackend::new(1);
    let (dir, folder) = (Path::new("/m"), Path::new("/m/journal"));
    disk.create_dir(folder).expect("a folder");
    for number in 1..=2u32 {
        disk.write_new(&folder.join(name(number, "seg")), &segment(50_000)).expect("a segment");
    }
    let compressor = Compressor::new(Arc::new(disk.clone()), dir);
    // The frame, and not the table behind it.
    disk.plan(disk.operations() + 1, Fault::Lose);
    compressor.compress_sealed(&|| true).expect_err("it was read again");
    assert!(disk.is_harmed(), "the write was lost");
    assert_eq!(read(&disk, &folder.join("00000001.seg"), 0).expect("a segment"), segment(50_000));
    assert!(disk.list(folder).expect("a folder").iter().all(|path| !is_compressed(path)), "what was begun is not left");
    assert_eq!(compressor.compress_sealed(&|| true).expect("nothing fails any more"), [1]);
}
