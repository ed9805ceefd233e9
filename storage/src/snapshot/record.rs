//! What a pack holds: records of groups and of snapshots, each under a checksum of its own.

use bytemuck::{Pod, Zeroable};
use engine::bytes::Reader;
use engine::image::group_value;
use engine::limits::{GROUP_BYTES, HEIGHT_MAX, PACK_RECORD_BYTES_MAX, TIME_MS_MAX};
use engine::{Hash, Height};

use crate::journal::LZ4_RATIO_MAX;
use crate::{BLOCK, Problem};

/// First bytes of every pack.
pub const PACK_MAGIC: [u8; 8] = *b"BCPACK01";
/// The version of packs that this code writes and reads.
pub const PACK_VERSION: u32 = 2;
/// First bytes of every record.
pub const MAGIC: [u8; 4] = *b"BCPR";
/// Bytes of a record's header.
pub const HEADER: usize = 96;
/// Records start at multiples of this.
pub const ALIGN: usize = 8;
/// Bytes of a snapshot record before its note.
const MAP_HEAD: usize = 8;

/// How a pack begins: this row, and zeros to the end of the block. Layout: 80 bytes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct PackRow {
    magic: [u8; 8],
    version: u32,
    number: u32,
    chain: Hash,
    /// BLAKE3 of the 48 bytes before.
    hash: Hash,
}

const _: () = assert!(size_of::<PackRow>() == 80);
const _: () = assert!(size_of::<PackRow>() <= BLOCK as usize);

impl PackRow {
    fn hash(&self) -> Hash {
        *blake3::hash(&bytemuck::bytes_of(self)[..48]).as_bytes()
    }
}

/// How a pack begins: one block.
pub fn pack_header(number: u32, chain: &Hash) -> Vec<u8> {
    let (magic, version) = (PACK_MAGIC, PACK_VERSION);
    let mut row = PackRow { magic, version, number, chain: *chain, hash: [0; 32] };
    row.hash = row.hash();
    let mut bytes = bytemuck::bytes_of(&row).to_vec();
    bytes.resize(BLOCK as usize, 0);
    assert_eq!(check_pack_header(&bytes, number, chain), Ok(()), "a reader takes the header that is written");
    bytes
}

/// Looks at the first block of a pack.
///
/// # Errors
/// What is wrong with it, in words.
pub fn check_pack_header(bytes: &[u8], number: u32, chain: &Hash) -> Result<(), Problem> {
    let bytes = bytes.get(..BLOCK as usize).ok_or("the pack's header is cut short")?;
    let row: PackRow = Reader::new("pack header", bytes).row().map_err(|problem| problem.to_string())?;
    if row.magic != PACK_MAGIC {
        return Err("this is no pack".into());
    }
    if row.hash != row.hash() {
        return Err("the pack header's hash is wrong".into());
    }
    if row.version != PACK_VERSION {
        return Err(Problem::version("the pack", row.version, PACK_VERSION));
    }
    if row.chain != *chain {
        return Err("the pack belongs to another genesis".into());
    }
    if row.number != number {
        return Err(format!("the pack says that it is number {}", row.number).into());
    }
    if bytes[size_of::<PackRow>()..].iter().any(|byte| *byte != 0) {
        return Err("the pack header's padding is not zero".into());
    }
    Ok(())
}

/// What a record holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum RecordKind {
    /// A group of the image. Its name is the BLAKE3 of its bytes.
    Group = 1,
    /// A snapshot: where the chain stood, and the names of its groups.
    Snapshot = 2,
}

/// Which moment a snapshot is of.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SnapshotInfo {
    /// The settled height whose image it holds.
    pub height: Height,
    /// Its block's time.
    pub time_ms: u64,
}

/// How a record begins. Layout: 96 bytes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RecordRow {
    magic: [u8; 4],
    kind: u8,
    /// 0 as it is, 1 an LZ4 block.
    codec: u8,
    reserved: [u8; 2],
    length: u32,
    stored: u32,
    height: u64,
    time_ms: u64,
    /// BLAKE3 of the bytes.
    name: Hash,
    /// BLAKE3 of the 64 bytes before and of the stored bytes.
    sum: Hash,
}

const _: () = assert!(size_of::<RecordRow>() == HEADER);
const _: () = assert!(HEADER.is_multiple_of(ALIGN));
const _: () = assert!(PACK_RECORD_BYTES_MAX <= u32::MAX as usize && GROUP_BYTES <= PACK_RECORD_BYTES_MAX);

impl RecordRow {
    fn sum(&self, stored: &[u8]) -> Hash {
        *blake3::Hasher::new().update(&bytemuck::bytes_of(self)[..64]).update(stored).finalize().as_bytes()
    }
}

/// What a record's header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHeader {
    /// What it holds.
    pub kind: RecordKind,
    /// Whether it is an LZ4 block.
    pub lz4: bool,
    /// Bytes.
    pub length: usize,
    /// Bytes stored.
    pub stored: usize,
    /// A snapshot's height and its block's time; zero for groups.
    pub moment: SnapshotInfo,
    /// BLAKE3 of the bytes.
    pub name: Hash,
}

/// Appends a record; `out` ends at a multiple of [`ALIGN`] before and after.
pub fn encode_record(kind: RecordKind, moment: SnapshotInfo, bytes: &[u8], name: &Hash, out: &mut Vec<u8>) {
    assert!(bytes.len() <= PACK_RECORD_BYTES_MAX, "contents are bounded by the image");
    let start = out.len();
    assert!(start.is_multiple_of(ALIGN), "a record begins where a reader looks for one");
    assert!(
        kind == RecordKind::Snapshot || moment == SnapshotInfo::default(),
        "a group is of no moment: several snapshots name it"
    );
    out.resize(start + HEADER + lz4_flex::block::get_maximum_output_size(bytes.len()), 0);
    let packed = lz4_flex::block::compress_into(bytes, &mut out[start + HEADER..]).expect("the output is large enough");
    let lz4 = packed < bytes.len();
    let stored = if lz4 { packed } else { bytes.len() };
    if !lz4 {
        out[start + HEADER..start + HEADER + stored].copy_from_slice(bytes);
    }
    out.truncate(start + HEADER + stored);
    let length = |count: usize| u32::try_from(count).expect("contents are below 64 MiB");
    let mut row = RecordRow {
        magic: MAGIC,
        kind: kind as u8,
        codec: lz4.into(),
        reserved: [0; 2],
        length: length(bytes.len()),
        stored: length(stored),
        height: moment.height.0,
        time_ms: moment.time_ms,
        name: *name,
        sum: [0; 32],
    };
    row.sum = row.sum(&out[start + HEADER..]);
    out[start..start + HEADER].copy_from_slice(bytemuck::bytes_of(&row));
    let header = RecordHeader { kind, lz4, length: bytes.len(), stored, moment, name: *name };
    assert_eq!(decode_record_header(&out[start..]), Ok(header), "a reader takes the header that is written");
    out.resize(out.len().next_multiple_of(ALIGN), 0);
}

/// Reads a header. It says nothing about the bytes behind it, and its own checksum covers those.
///
/// # Errors
/// What is wrong with it, in words.
pub fn decode_record_header(bytes: &[u8]) -> Result<RecordHeader, String> {
    decode_row(bytes).map(|(header, _)| header)
}

fn decode_row(bytes: &[u8]) -> Result<(RecordHeader, RecordRow), String> {
    let row = Reader::new("record", bytes).row::<RecordRow>().map_err(|_| "the record's header is cut short")?;
    if row.magic != MAGIC {
        return Err("this is no record".into());
    }
    let kind = match row.kind {
        1 => RecordKind::Group,
        2 => RecordKind::Snapshot,
        other => return Err(format!("the record has kind {other}")),
    };
    if row.codec > 1 || row.reserved != [0; 2] {
        return Err("the record's header holds unknown values".into());
    }
    let (length, stored) = (row.length as usize, row.stored as usize);
    let fits = if kind == RecordKind::Group { length == GROUP_BYTES } else { length <= PACK_RECORD_BYTES_MAX };
    if !fits || stored > length || (row.codec == 0 && stored != length) {
        return Err(format!("the record says {length} bytes, {stored} stored"));
    }
    // No LZ4 block unpacks to more: a longer one would only have memory taken for it.
    if length > stored.saturating_mul(LZ4_RATIO_MAX) {
        return Err(format!("the record says that {stored} bytes unpack to {length}"));
    }
    let moment = SnapshotInfo { height: Height(row.height), time_ms: row.time_ms };
    if moment.height.0 > HEIGHT_MAX || moment.time_ms > TIME_MS_MAX {
        return Err(format!("the record is of height {}, time {}", moment.height, moment.time_ms));
    }
    if kind == RecordKind::Group && moment != SnapshotInfo::default() {
        return Err("the record's header holds unknown values".into());
    }
    Ok((RecordHeader { kind, lz4: row.codec == 1, length, stored, moment, name: row.name }, row))
}

/// Reads a whole record into `out`, which must have as many bytes as the header says.
fn decode_into(header: &RecordHeader, row: &RecordRow, record: &[u8], out: &mut [u8]) -> Result<(), String> {
    assert_eq!(out.len(), header.length, "whoever reads a record gives it the room that its header asks for");
    let stored = record.get(HEADER..HEADER + header.stored).ok_or("the record is cut short")?;
    if row.sum != row.sum(stored) {
        return Err("the record's checksum is wrong".into());
    }
    if header.lz4 {
        let count = lz4_flex::block::decompress_into(stored, out).map_err(|error| format!("the record: {error}"))?;
        if count != out.len() {
            return Err(format!("the record unpacks to {count} bytes"));
        }
    } else {
        out.copy_from_slice(stored);
    }
    if *blake3::hash(out).as_bytes() != header.name {
        return Err("the record's bytes have another hash than it says".into());
    }
    Ok(())
}

/// Reads the record of a group.
///
/// # Errors
/// What is wrong with it, in words.
pub fn decode_group(record: &[u8], name: &Hash, out: &mut [u8; GROUP_BYTES]) -> Result<(), String> {
    let (header, row) = decode_row(record)?;
    if header.kind != RecordKind::Group || header.name != *name {
        return Err("this is another record than the index says".into());
    }
    decode_into(&header, &row, record, out)
}

/// Reads a record.
///
/// # Errors
/// What is wrong with it, in words.
pub fn decode_record(record: &[u8]) -> Result<(RecordHeader, Vec<u8>), String> {
    let (header, row) = decode_row(record)?;
    if record.len() < HEADER + header.stored {
        return Err("the record is cut short".into());
    }
    let mut out = vec![0; header.length];
    decode_into(&header, &row, record, &mut out)?;
    Ok((header, out))
}

/// A group of a snapshot. Layout: 64 bytes, no padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct GroupRow {
    /// BLAKE3 of its bytes: which record has them.
    pub name: Hash,
    /// Their chaining value at the group's place in the image: what the root follows from, so that a group that came from
    /// another node can be checked against a root before the others are there.
    pub value: Hash,
}

const _: () = assert!(size_of::<GroupRow>() == 64);

impl GroupRow {
    /// The row of a group's bytes at its place in the image.
    pub fn of(index: usize, bytes: &[u8]) -> Self {
        Self { name: *blake3::hash(bytes).as_bytes(), value: group_value(index, bytes) }
    }
}

/// What a snapshot record holds: where the chain stood, as the node wrote it, and the groups in image order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotMap {
    /// The node's own bytes.
    pub note: Vec<u8>,
    /// All groups.
    pub groups: Vec<GroupRow>,
}

impl SnapshotMap {
    /// Length of the note u32, groups u32, the note, zeros to a multiple of 8, then 64 bytes a group: name and chaining
    /// value.
    pub fn encode(&self) -> Vec<u8> {
        let length = |count: usize| u32::try_from(count).expect("bounded by the image").to_le_bytes();
        let mut out = Vec::with_capacity(MAP_HEAD + self.note.len() + 8 + self.groups.len() * size_of::<GroupRow>());
        out.extend_from_slice(&length(self.note.len()));
        out.extend_from_slice(&length(self.groups.len()));
        out.extend_from_slice(&self.note);
        out.resize(out.len().next_multiple_of(8), 0);
        let names = (MAP_HEAD + self.note.len()).next_multiple_of(8);
        assert_eq!(out.len(), names, "rows begin where a reader looks for them");
        out.extend_from_slice(bytemuck::cast_slice(&self.groups));
        assert_eq!(out.len(), names + self.groups.len() * size_of::<GroupRow>());
        out
    }

    /// Reads exactly one map.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut head = Reader::new("snapshot's map", bytes);
        let mut length = || head.u32().map_err(|_| "the snapshot's map is cut short");
        let (note, count) = (length()? as usize, length()? as usize);
        let names = (MAP_HEAD + note).next_multiple_of(8);
        if bytes.len() != names + count * size_of::<GroupRow>() {
            return Err("the snapshot's map has another length than it says".into());
        }
        if bytes[MAP_HEAD + note..names].iter().any(|byte| *byte != 0) {
            return Err("the padding of the snapshot's map is not zero".into());
        }
        let groups = bytes[names..].chunks_exact(size_of::<GroupRow>()).map(bytemuck::pod_read_unaligned).collect();
        Ok(Self { note: bytes[MAP_HEAD..MAP_HEAD + note].to_vec(), groups })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn group(seed: u8) -> ([u8; GROUP_BYTES], Hash) {
        let mut bytes = [0; GROUP_BYTES];
        bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at / 64) as u8 ^ seed);
        (bytes, *blake3::hash(&bytes).as_bytes())
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_every_flipped_byte_is_found() {
        let (bytes, name) = group(7);
        let mut record = Vec::new();
        encode_record(RecordKind::Group, SnapshotInfo::default(), &bytes, &name, &mut record);
        let mut out = [0; GROUP_BYTES];
        assert_eq!(decode_group(&record, &name, &mut out), Ok(()));
        assert_eq!(out, bytes);
        let stored = HEADER + decode_record_header(&record).expect("a record").stored;
        for at in 0..stored {
            let mut flipped = record.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(decode_group(&flipped, &name, &mut out).is_err(), "byte {at}");
        }
        for cut in 0..stored {
            assert!(decode_group(&record[..cut], &name, &mut out).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn bytes_that_do_not_shrink_are_stored_as_they_are() {
        let map = SnapshotMap {
            note: b"note".to_vec(),
            groups: (0..40).map(|seed| GroupRow::of(seed.into(), &group(seed).0)).collect(),
        };
        let bytes = map.encode();
        let name = *blake3::hash(&bytes).as_bytes();
        let mut record = Vec::new();
        let moment = SnapshotInfo { height: Height(9), time_ms: 99 };
        encode_record(RecordKind::Snapshot, moment, &bytes, &name, &mut record);
        let (header, content) = decode_record(&record).expect("a record");
        assert!(!header.lz4);
        assert_eq!((header.kind, header.moment), (RecordKind::Snapshot, moment));
        assert_eq!(SnapshotMap::decode(&content), Ok(map));
    }

    #[test]
    fn any_bytes_are_no_record_and_a_map_has_one_encoding() {
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        static MAPS: AtomicUsize = AtomicUsize::new(0);
        type Fuzz = (Vec<u8>, Vec<u8>, Vec<(u16, u8)>, u8, Vec<u8>);
        bolero::check!().with_iterations(4_000).with_type::<Fuzz>().for_each(
            |(note, groups, edits, count, noise): &Fuzz| {
                MAPS.fetch_add(1, Ordering::Relaxed);
                // Each of these has a hash over all of it, which nobody finds by chance.
                assert!(decode_record(noise).is_err());
                assert!(decode_group(noise, &[0; 32], &mut [0; GROUP_BYTES]).is_err());
                assert!(check_pack_header(noise, 1, &[0; 32]).is_err());
                // A map says how long its parts are, which noise hardly ever does: so it is one with some bytes changed.
                let groups = groups.iter().take(4).map(|seed| GroupRow { name: [*seed; 32], value: [!*seed; 32] });
                let mut bytes = SnapshotMap { note: note.clone(), groups: groups.collect() }.encode();
                let length = bytes.len();
                for (at, byte) in edits.iter().take(usize::from(*count) % 4) {
                    bytes[usize::from(*at) % length] ^= byte;
                }
                for bytes in [&bytes, noise] {
                    if let Ok(map) = SnapshotMap::decode(bytes) {
                        assert_eq!(map.encode(), *bytes);
                        TAKEN.fetch_add(1, Ordering::Relaxed);
                    }
                }
            },
        );
        // A quarter of them is as it was written. How many there were is for whoever runs this to say.
        let (taken, maps) = (TAKEN.load(Ordering::Relaxed), MAPS.load(Ordering::Relaxed));
        assert!(taken > maps / 5, "only {taken} of {maps} maps were taken");
    }
}
