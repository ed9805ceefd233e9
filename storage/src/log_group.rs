//! Log group: how one group of the consensus log lies in its file.

use bytemuck::{Pod, Zeroable};
use engine::Height;
use engine::bytes::Reader;
use engine::limits::LOG_GROUP_BYTES_MAX;

use crate::{BLOCK, Problem};

/// First bytes of every group; the last two digits are the version.
pub(crate) const MAGIC: [u8; 8] = *b"BCCLOG02";
/// The version that this code writes and reads.
const VERSION: u32 = 2;
const _: () = assert!(MAGIC[6] == b'0' && MAGIC[7] as u32 == b'0' as u32 + VERSION);
const _: () = assert!(LOG_GROUP_BYTES_MAX <= u32::MAX as usize);

/// Bytes of a group's header.
pub(crate) const HEADER: usize = 64;

/// One group's entries.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LogGroup {
    /// The last height whose decided frame was synced before this group.
    pub synced: Height,
    /// The fence: nothing more will be signed at or below this height, whatever the log holds of it.
    pub fence: Height,
    /// Entries with their heights, in logged order.
    pub entries: Vec<(Height, Vec<u8>)>,
}

/// How a group begins. Layout: 64 bytes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct LogGroupRow {
    pub(crate) magic: [u8; 8],
    /// The last height whose decided frame was synced before.
    synced: u64,
    /// Entries.
    entries: u32,
    /// Their bytes, with what each begins with.
    pub(crate) payload: u32,
    fence: u64,
    /// BLAKE3 of the 32 bytes before and of the payload.
    sum: [u8; 32],
}

/// How an entry begins. Layout: 16 bytes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct EntryRow {
    height: u64,
    length: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<LogGroupRow>() == HEADER && size_of::<EntryRow>() == 16);

impl LogGroupRow {
    fn sum(&self, payload: &[u8]) -> [u8; 32] {
        *blake3::Hasher::new().update(&bytemuck::bytes_of(self)[..32]).update(payload).finalize().as_bytes()
    }
}

pub(crate) fn encode(group: &LogGroup, out: &mut Vec<u8>) {
    let start = out.len();
    let length = |count: usize| u32::try_from(count).expect("groups are bounded");
    let payload: usize = group.entries.iter().map(|(_, bytes)| size_of::<EntryRow>() + bytes.len()).sum();
    assert!(payload <= LOG_GROUP_BYTES_MAX, "a tick's entries are bounded");
    let mut row = LogGroupRow {
        magic: MAGIC,
        synced: group.synced.0,
        entries: length(group.entries.len()),
        payload: length(payload),
        fence: group.fence.0,
        sum: [0; 32],
    };
    out.resize(start + HEADER, 0);
    for (height, bytes) in &group.entries {
        let entry = EntryRow { height: height.0, length: length(bytes.len()), reserved: 0 };
        out.extend_from_slice(bytemuck::bytes_of(&entry));
        out.extend_from_slice(bytes);
    }
    assert_eq!(out.len() - start, HEADER + payload, "a group has the bytes that it says");
    row.sum = row.sum(&out[start + HEADER..]);
    out[start..start + HEADER].copy_from_slice(bytemuck::bytes_of(&row));
}

/// The group at the start of `bytes`, and its length.
pub(crate) fn decode(bytes: &[u8]) -> Result<(LogGroup, usize), Problem> {
    let mut reader = Reader::new("group", bytes);
    let row: LogGroupRow = reader.row().map_err(|_| "the group header is cut short")?;
    // A write that was torn in the middle of them leaves zeros, which are no digits.
    let has_version = row.magic[..6] == MAGIC[..6] && row.magic[6..].iter().all(u8::is_ascii_digit);
    if has_version && row.magic != MAGIC {
        let found = String::from_utf8_lossy(&row.magic[6..]).into_owned();
        return Err(Problem::version("the group", found, VERSION));
    }
    if row.magic != MAGIC {
        return Err("this is no group".into());
    }
    let length = row.payload as usize;
    let payload = reader.take(length).ok().filter(|_| length <= LOG_GROUP_BYTES_MAX).ok_or("the group is cut short")?;
    if row.sum != row.sum(payload) {
        return Err("the group's checksum is wrong".into());
    }
    let mut entries = Vec::new();
    let mut rest = Reader::new("entries", payload);
    while rest.left() > 0 {
        let cut = |_| "an entry is cut short";
        let entry: EntryRow = rest.row().map_err(cut)?;
        let bytes = rest.take(entry.length as usize).map_err(cut)?;
        if entry.reserved != 0 {
            return Err("an entry's padding is not zero".into());
        }
        entries.push((Height(entry.height), bytes.to_vec()));
    }
    if entries.len() != row.entries as usize {
        return Err("the group has another number of entries than it says".into());
    }
    let (synced, fence) = (Height(row.synced), Height(row.fence));
    Ok((LogGroup { synced, fence, entries }, HEADER + length))
}

/// The first block of the log of a validator that has signed nothing: a group that says no more than that the log is whole.
pub(crate) fn first_block() -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&LogGroup::default(), &mut bytes);
    assert!(bytes.len() <= BLOCK as usize, "nothing of it is cut off");
    // A start that could not read it would take the log of a new validator for one that was damaged, and never sign.
    assert_eq!(decode(&bytes), Ok((LogGroup::default(), bytes.len())), "a reader takes the group that is written");
    bytes.resize(BLOCK as usize, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_group_is_read_as_it_was_written_and_any_other_bytes_are_none() {
        static ENTRIES: AtomicU32 = AtomicU32::new(0);
        type Fuzz = (u32, u32, Vec<(u32, Vec<u8>)>, u16, u8);
        bolero::check!().with_type::<Fuzz>().for_each(|(synced, fence, entries, at, flip): &Fuzz| {
            let entries: Vec<_> =
                entries.iter().map(|(height, entry)| (Height((*height).into()), entry.clone())).collect();
            let group = LogGroup { synced: Height((*synced).into()), fence: Height((*fence).into()), entries };
            let mut bytes = Vec::new();
            encode(&group, &mut bytes);
            let length = bytes.len();
            ENTRIES.fetch_add(group.entries.len() as u32, Ordering::Relaxed);
            assert_eq!(decode(&bytes), Ok((group, length)));
            bytes[usize::from(*at) % length] ^= flip | 1;
            assert!(decode(&bytes).is_err());
            assert!(decode(&bytes[..length - 1]).is_err());
        });
        assert!(ENTRIES.load(Ordering::Relaxed) > 100, "groups with entries were read");
    }
}
