//! Ways to forge a session with right hashes.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use audit::reading::ReadOptions;
use audit::walker::Walker;
use engine::image::group_value;
use engine::limits::{GROUP_BYTES, SYSTEM_MESSAGE_BYTES_MAX, SYSTEM_MESSAGES_MAX, TIME_MS_MAX};
use engine::message::block::{Block, Decided, intents_root, pledges_root};
use engine::message::certificate::{Beacon, ChainLink, Settled, verdicts_hash};
use engine::message::note::ChainNote;
use engine::message::vote::{VoteBody, VoteKind};
use engine::rules::DiceSource;
use engine::{Genesis, Hash, Height};
use load::dev::{DevConfig, apart, open};
use node::clock::Pace;
use node::snapshots::SnapshotPace;
use order::beacon::BeaconMessage;
use order::keys::{DevKeys, dev_keys};
use storage::backend::{Backend, FileBackend};
use storage::snapshot::{Catalog, StoredSnapshot};
use storage::{Disk, Frame, FrameKind, JournalReader, Session, Storage, SyncGroup, Synced, Writing};
use systems::exchange::beacon::EPOCH;

/// Numbers that are the same in every run.
pub struct Lot(pub u64);

impl Lot {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

pub fn keys() -> DevKeys {
    let mut seed = [0; 32];
    seed[0] = 1;
    dev_keys(&seed, NonZeroU32::MIN)
}

/// An honest session, to forge from.
pub struct Honest {
    pub dir: PathBuf,
    pub genesis: Vec<u8>,
    pub chain: Hash,
    pub frames: Vec<Frame>,
}

pub fn record(dir: &Path, heights: u64, writing: Writing) {
    record_with(dir, heights, DevConfig { tables: 2, players: 6, guests: 2, writing, ..DevConfig::default() });
}

/// Records a session whose players bring half of the dice.
pub fn record_pledged(dir: &Path, heights: u64) {
    let (dice, writing) = (DiceSource::Both, Writing { segment_bytes: 24 << 10, ..Writing::default() });
    record_with(dir, heights, DevConfig { tables: 2, players: 2, guests: 2, dice, writing, ..DevConfig::default() });
}

fn record_with(dir: &Path, heights: u64, config: DevConfig) {
    apart(|| {
        let snapshots = SnapshotPace { ticks: 1, heights: 1, ..SnapshotPace::default() };
        let config = DevConfig { threads: 1, pace: Pace::Max, snapshots, ..config };
        let mut opened = open(dir, &config).expect("a session");
        opened.node.run(Some(heights), &AtomicBool::new(false), |_, _, _| ()).expect("the session runs");
        opened.node.close();
    });
}

/// Records a session whose oldest bodies are given up when it is closed: even if all of its segments are compressed by then, they
/// are more than it may have.
pub fn record_given_up(dir: &Path) {
    let mut config = node::config::Config::default();
    config.storage.bytes_max = 32 << 10;
    record(dir, 900, Writing { segment_bytes: 16 << 10, ..config.writing() });
}

pub fn frames_of(dir: &Path) -> Vec<Frame> {
    let mut reader = JournalReader::open(dir).expect("a session");
    std::iter::from_fn(|| reader.next_frame().expect("a whole journal")).collect()
}

impl Honest {
    pub fn of(dir: &Path) -> Self {
        let genesis = fs::read(dir.join("genesis.json")).expect("a genesis");
        let (frames, chain) = (frames_of(dir), Genesis::chain_id(&genesis));
        Self { dir: dir.to_owned(), genesis, chain, frames }
    }

    pub fn copy_folder(&self, folder: &str, dir: &Path) {
        fs::create_dir_all(dir.join(folder)).expect("a folder");
        for file in fs::read_dir(self.dir.join(folder)).into_iter().flatten() {
            let path = file.expect("a file").path();
            fs::copy(&path, dir.join(folder).join(path.file_name().expect("a name"))).expect("copied");
        }
    }

    pub fn copy_to(&self, dir: &Path) {
        ["journal", "consensus", "snapshots"].iter().for_each(|folder| self.copy_folder(folder, dir));
        fs::write(dir.join("genesis.json"), &self.genesis).expect("written");
    }
}

/// A new session, and the thread that writes it.
fn begin(dir: &Path, genesis: &[u8]) -> Storage {
    let session = Session::create(dir, genesis).expect("new");
    Storage::of(Disk::open(session, Writing::default()).expect("empty").disk).expect("a thread")
}

/// A session of some frames, each under its right hash.
pub fn write(dir: &Path, genesis: &[u8], frames: Vec<Frame>) {
    let storage = begin(dir, genesis);
    for (id, frames) in (1..).zip(frames.chunks(16)) {
        storage.submit(SyncGroup { id, frames: frames.to_vec(), entries: vec![(Height(id), vec![1; 8])], fence: None });
    }
    storage.close();
}

/// Heights without an intent whose system sections are nearly as long as can be read: honest but for those, and for the heights
/// that they say.
pub fn bodies(honest: &Honest, heights: u64, dir: &Path) {
    let own = |kind, height| {
        let own = |frame: &&Frame| frame.kind == kind && frame.height == Height(height);
        honest.frames.iter().find(own).expect("a frame").body.clone()
    };
    // The first block carries no certificate, and every other one does.
    let blocks = [1, 2].map(|height| Decided::decode(&own(FrameKind::Decided, height)).expect("a block"));
    let settled = Settled::decode(&own(FrameKind::Settled, 1)).expect("a settled body");
    let pair = |height: u64| {
        let mut decided = blocks[usize::from(height > 1)].clone();
        decided.block.header.height = Height(height);
        (decided.block.header.intent_count, decided.block.intents, decided.block.pledges) = (0, Vec::new(), Vec::new());
        decided.block.system = vec![vec![0; SYSTEM_MESSAGE_BYTES_MAX]; SYSTEM_MESSAGES_MAX - 4];
        let settled = Settled { height: Height(height), ..settled.clone() };
        let (block, led_to) = (decided.encode(), settled.encode());
        [frame(FrameKind::Decided, Height(height), block), frame(FrameKind::Settled, Height(height), led_to)]
    };
    let storage = begin(dir, &honest.genesis);
    let all: Vec<u64> = (1..=heights).collect();
    for (id, heights) in (1..).zip(all.chunks(4)) {
        let frames = heights.iter().flat_map(|height| pair(*height)).collect();
        storage.submit(SyncGroup { id, frames, entries: vec![(Height(id), vec![1; 8])], fence: None });
        // One after another: what waits for the disk is in memory.
        assert_eq!(storage.synced().recv(), Ok(Synced::UpTo(id)));
    }
    storage.close();
}

/// A block with another header, decided and given a beacon by whoever holds the keys, with all hashes that follow.
pub fn resign(
    chain: &Hash,
    decided: &Decided,
    settled: &Settled,
    alter: impl FnOnce(&mut Block),
) -> (Decided, Settled) {
    let mut keys = keys();
    let mut decided = decided.clone();
    let before = decided.block.header.hash();
    alter(&mut decided.block);
    decided.block.header.intents = intents_root(&decided.block.intents);
    decided.block.header.pledges = pledges_root(&decided.block.pledges);
    let (height, block) = (decided.block.header.height, decided.block.header.hash());
    assert_ne!(before, block, "something was altered");
    let body = VoteBody::new(VoteKind::Precommit, height, decided.certificate.round, Some(block), 0);
    decided.certificate.block = block;
    decided.certificate.height = height;
    decided.certificate.signatures[0].signature = keys.votes[0].sign_vote(body, chain).signature;
    let signer = keys.beacons.pop().expect("one share");
    let beacon = signer.share(&BeaconMessage { chain: *chain, epoch: EPOCH, height, block }).signature;
    let (root, verdicts) = (settled.root, verdicts_hash(settled.verdicts.iter().copied()));
    let link = ChainLink { height, block: &block, beacon: &beacon, root: &root, verdicts: &verdicts };
    let root_chain = link.after(&[0; 32]);
    (decided, Settled { height, beacon, root_chain, ..settled.clone() })
}

/// What a decided block leads to behind the honest heights before it.
pub fn resettled(honest: &Honest, decided: &Decided, beacon: Beacon) -> Settled {
    apart(|| {
        let mut walker = Walker::open(&honest.dir, ReadOptions::default()).expect("a session");
        walker.walk_to(decided.block.header.height.back(1)).expect("an honest session");
        walker.into_machine().restore(decided, Some(beacon)).expect("it has a beacon")
    })
}

/// Another pledge or opening in a block that the validator decided: under a signature that is none, with all that follows from
/// it; or under its player's, with what the honest one led to.
pub fn openings(honest: &Honest, lot: &mut Lot, dir: &Path) {
    let of = |frame: &Frame| Decided::decode(&frame.body).expect("a block");
    let holds = |frame: &Frame| frame.kind == FrameKind::Decided && !of(frame).block.pledges.is_empty();
    let pledged: Vec<usize> = (0..honest.frames.len()).filter(|at| holds(&honest.frames[*at])).collect();
    let decided = of(&honest.frames[lot.pick(&pledged)]);
    let height = decided.block.header.height;
    let own = |frame: &&Frame| frame.kind == FrameKind::Settled && frame.height == height;
    let settled = Settled::decode(&honest.frames.iter().find(own).expect("settled").body).expect("a settled body");
    let (keys, byte, signs) = (keys(), lot.below(32) as usize, lot.below(2) == 0);
    let (row, kind) = (lot.below(decided.block.pledges.len() as u64) as usize, lot.below(5));
    let (decided, mut settled) = resign(&honest.chain, &decided, &settled, |block| {
        let row = &mut block.pledges[row];
        match kind {
            0 => row.value[byte] ^= 1,
            1 => row.block[byte] ^= 1,
            2 => row.roll += 1,
            3 => row.table ^= 1,
            _ => (row.kind, row.number) = if row.is_opening() { (1, 1 << 40) } else { (2, 0) },
        }
        let signer = (0..2).map(|player| keys.player(player)).find(|key| key.public() == row.key).filter(|_| signs);
        *row = signer.map_or(*row, |key| key.sign_pledge(*row, &honest.chain));
    });
    if !signs {
        settled = resettled(honest, &decided, settled.beacon);
    }
    let mut frames: Vec<Frame> = honest.frames.iter().filter(|frame| frame.height < height).cloned().collect();
    frames.push(frame(FrameKind::Decided, height, decided.encode()));
    frames.push(frame(FrameKind::Settled, height, settled.encode()));
    write(dir, &honest.genesis, frames);
}

pub fn frame(kind: FrameKind, height: Height, body: Vec<u8>) -> Frame {
    Frame { kind, height, body }
}

/// Block times, heights and rounds that sums overflow with, decided and signed.
pub fn times(honest: &Honest, lot: &mut Lot, dir: &Path) {
    let decided: Vec<usize> =
        (0..honest.frames.len()).filter(|at| honest.frames[*at].kind == FrameKind::Decided).collect();
    let at = lot.pick(&decided);
    let found = Decided::decode(&honest.frames[at].body).expect("a block");
    let height = found.block.header.height;
    let own = |frame: &&Frame| frame.kind == FrameKind::Settled && frame.height == height;
    let settled = Settled::decode(&honest.frames.iter().find(own).expect("settled").body).expect("a settled body");
    let time = lot.pick(&[0, 1, TIME_MS_MAX + 1, 1 << 63, u64::MAX - 1_000, u64::MAX]);
    let far = Height(lot.pick(&[0, height.0 + 2, (1 << 48) + 1, u64::MAX]));
    let kind = lot.below(3);
    let (decided, settled) = resign(&honest.chain, &found, &settled, |block| match kind {
        0 => block.header.height = far,
        1 => (block.header.time_ms, block.header.round) = (time, u32::MAX),
        _ => block.header.time_ms = time,
    });
    let mut frames: Vec<Frame> = honest.frames[..at].to_vec();
    frames.push(frame(FrameKind::Decided, height, decided.encode()));
    frames.push(frame(FrameKind::Settled, height, settled.encode()));
    write(dir, &honest.genesis, frames);
}

/// Frames whose bodies, heights, kinds and order are not what a node writes.
pub fn frames(honest: &Honest, lot: &mut Lot, dir: &Path) {
    let mut frames = honest.frames.clone();
    for _ in 0..1 + lot.below(3) {
        let at = lot.below(frames.len() as u64) as usize;
        match lot.below(7) {
            0 => {
                let byte = lot.below(frames[at].body.len() as u64) as usize;
                frames[at].body[byte] ^= 1 << lot.below(8);
            }
            1 => frames[at].height = Height(lot.pick(&[0, 1, frames[at].height.0 + 1, 1 << 48])),
            2 => frames[at].kind = lot.pick(&[FrameKind::Decided, FrameKind::Settled, FrameKind::Retired]),
            3 => _ = frames.remove(at),
            4 => frames.insert(at, frames[at].clone()),
            5 => {
                let other = lot.below(frames.len() as u64) as usize;
                frames.swap(at, other);
            }
            _ => {
                let cut = lot.below(frames[at].body.len() as u64) as usize;
                frames[at].body.truncate(cut);
            }
        }
    }
    write(dir, &honest.genesis, frames);
    honest.copy_folder("snapshots", dir);
}

/// Decided heights without end, none of them settled.
pub fn unsettled(honest: &Honest, lot: &mut Lot, dir: &Path) {
    let large = honest.frames.iter().max_by_key(|frame| frame.body.len()).expect("frames").clone();
    let count = 1_000 + lot.below(3_000);
    let many = (1..=count).map(|height| {
        frame(FrameKind::Decided, Height(height), {
            let mut body = large.body.clone();
            // The header's height: behind nine hashes.
            body[288..296].copy_from_slice(&height.to_le_bytes());
            body
        })
    });
    write(dir, &honest.genesis, many.collect());
}

/// A genesis with another number, or none at all; with the honest journal or with one of its own.
pub fn genesis(honest: &Honest, lot: &mut Lot, dir: &Path) {
    let mut value: serde_json::Value = serde_json::from_slice(&honest.genesis).expect("JSON");
    let fields: Vec<String> =
        value.as_object().expect("fields").iter().filter(|(_, v)| v.is_u64()).map(|(name, _)| name.clone()).collect();
    let name = fields[lot.below(fields.len() as u64) as usize].clone();
    let now = value[&name].as_u64().expect("a number");
    value[&name] = lot.pick(&[0, 1, now + 1, 1 << 20, 1 << 24, u64::from(u32::MAX), TIME_MS_MAX + 1, u64::MAX]).into();
    let bytes = match lot.below(5) {
        0 => vec![b'['; 100_000],
        1 => honest.genesis[..lot.below(honest.genesis.len() as u64) as usize].to_vec(),
        _ => serde_json::to_vec(&value).expect("JSON"),
    };
    match lot.below(3) {
        0 => write(dir, &bytes, Vec::new()),
        1 => write(dir, &bytes, honest.frames.clone()),
        _ => {
            honest.copy_to(dir);
            fs::write(dir.join("genesis.json"), bytes).expect("written");
        }
    }
}

/// A record of a pack, stored as it is, under its right hashes.
pub fn pack_record(kind: u8, moment: (u64, u64), bytes: &[u8], out: &mut Vec<u8>) -> Hash {
    let (start, name) = (out.len(), *blake3::hash(bytes).as_bytes());
    let length = u32::try_from(bytes.len()).expect("small").to_le_bytes();
    out.extend_from_slice(b"BCPR");
    out.extend_from_slice(&[kind, 0, 0, 0]);
    out.extend_from_slice(&length);
    out.extend_from_slice(&length);
    out.extend_from_slice(&moment.0.to_le_bytes());
    out.extend_from_slice(&moment.1.to_le_bytes());
    out.extend_from_slice(&name);
    let sum = *blake3::Hasher::new().update(&out[start..]).update(bytes).finalize().as_bytes();
    out.extend_from_slice(&sum);
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(8), 0);
    name
}

/// How a pack begins that holds nothing yet.
pub fn empty_pack(chain: &Hash) -> Vec<u8> {
    let mut out = b"BCPACK01".to_vec();
    // The version, and its number.
    out.extend_from_slice(&2u32.to_le_bytes());
    out.extend_from_slice(&1u32.to_le_bytes());
    out.extend_from_slice(chain);
    let hash = *blake3::hash(&out).as_bytes();
    out.extend_from_slice(&hash);
    out.resize(4_096, 0);
    out
}

/// A pack that holds one snapshot.
pub fn pack(chain: &Hash, note: &ChainNote, image: &[u8]) -> Vec<u8> {
    let mut out = empty_pack(chain);
    let names: Vec<Hash> = image.chunks(GROUP_BYTES).map(|group| pack_record(1, (0, 0), group, &mut out)).collect();
    let note_bytes = note.encode();
    let mut map = u32::try_from(note_bytes.len()).expect("small").to_le_bytes().to_vec();
    map.extend_from_slice(&u32::try_from(names.len()).expect("small").to_le_bytes());
    map.extend_from_slice(&note_bytes);
    map.resize(map.len().next_multiple_of(8), 0);
    for (index, (name, group)) in names.iter().zip(image.chunks(GROUP_BYTES)).enumerate() {
        map.extend_from_slice(name);
        map.extend_from_slice(&group_value(index, group));
    }
    pack_record(2, (note.height.0, note.time_ms), &map, &mut out);
    out
}

/// The snapshots of a session: note and image of each.
pub fn snapshots_of(honest: &Honest) -> BTreeMap<Height, (ChainNote, Vec<u8>)> {
    let backend: Arc<dyn Backend> = Arc::new(FileBackend);
    let catalog = Catalog::from_packs(&backend, &honest.dir, &honest.chain).expect("packs").0;
    let read = |height: &Height| {
        let stored = StoredSnapshot::open(&backend, &honest.dir, &catalog, *height).expect("a snapshot");
        let mut image = vec![0; stored.groups() * GROUP_BYTES];
        for (index, group) in image.chunks_mut(GROUP_BYTES).enumerate() {
            let group = group.try_into().expect("whole groups");
            stored.read_group(index, group).expect("a group");
        }
        (*height, (ChainNote::decode(&stored.note).expect("a note"), image))
    };
    catalog.snapshots.keys().map(read).collect()
}

/// A snapshot with another word in its image, whose root and note are right; some of them with a note that is altered too.
pub fn rows(honest: &Honest, lot: &mut Lot, dir: &Path) {
    // Rows that are in use lie at the beginning of each column.
    rows_at(honest, lot, dir, |lot, groups| lot.below(groups) as usize * GROUP_BYTES + 8 * lot.below(96) as usize);
}

/// The same in what two tables' players pledged: ends, blocks that closed bets, their beacons, deadlines and numbers. Pledges are
/// the last column, of one group.
pub fn pledge_rows(honest: &Honest, lot: &mut Lot, dir: &Path) {
    rows_at(honest, lot, dir, |lot, groups| (groups as usize - 1) * GROUP_BYTES + 8 * lot.below(32) as usize);
}

fn rows_at(honest: &Honest, lot: &mut Lot, dir: &Path, place: impl Fn(&mut Lot, u64) -> usize) {
    honest.copy_to(dir);
    let all = snapshots_of(honest);
    let heights: Vec<Height> = all.keys().copied().collect();
    let (mut note, mut image) = all[&lot.pick(&heights)].clone();
    let groups = (image.len() / GROUP_BYTES) as u64;
    for _ in 0..1 + lot.below(3) {
        let at = place(lot, groups);
        let word = u64::from_le_bytes(image[at..at + 8].try_into().expect("8 bytes"));
        let to = lot.pick(&[0, u64::MAX, word ^ 1, word.wrapping_add(1_000_000), 1 << 63, word ^ 0xff00]);
        image[at..at + 8].copy_from_slice(&to.to_le_bytes());
    }
    note.root = *blake3::hash(&image).as_bytes();
    match lot.below(6) {
        0 => note.time_ms = lot.pick(&[0, TIME_MS_MAX, note.time_ms + 1]),
        1 => note.root_chains[0][3] ^= 1,
        2 => note.receipts_from = Height(1),
        _ => {}
    }
    for file in fs::read_dir(dir.join("snapshots")).expect("a folder") {
        fs::remove_file(file.expect("a file").path()).expect("removed");
    }
    fs::write(dir.join("snapshots/00000001.pack"), pack(&honest.chain, &note, &image)).expect("written");
}

/// Folders of pages and indexes that say whatever the forger likes.
pub fn caches_and_indexes(honest: &Honest, lot: &mut Lot, dir: &Path) {
    honest.copy_to(dir);
    let mut noise = |count: u64| -> Vec<u8> { (0..count).map(|_| lot.below(256) as u8).collect() };
    fs::create_dir_all(dir.join("cache")).expect("a folder");
    for number in 0..3 {
        fs::write(dir.join(format!("cache/foyer-storage-direct-fs-0000000{number}")), noise(9_000)).expect("written");
    }
    let index = dir.join("snapshots/index.redb");
    let mut bytes = fs::read(&index).unwrap_or_default();
    for _ in 0..1 + lot.below(40) {
        if !bytes.is_empty() {
            let at = lot.below(bytes.len() as u64) as usize;
            bytes[at] = lot.below(256) as u8;
        }
    }
    bytes.truncate(lot.pick(&[usize::MAX, usize::MAX, 4_096, 100, 0]));
    fs::write(&index, bytes).expect("written");
}

/// Groups of the consensus log with right checksums that hold anything.
pub fn logs(honest: &Honest, lot: &mut Lot, dir: &Path) {
    honest.copy_to(dir);
    let mut log = Vec::new();
    for _ in 0..1 + lot.below(5) {
        let start = log.len();
        let payload: Vec<u8> = (0..16 * (1 + lot.below(40))).map(|_| lot.below(3) as u8).collect();
        log.extend_from_slice(b"BCCLOG02");
        log.extend_from_slice(&lot.pick(&[0, 7, u64::MAX]).to_le_bytes());
        log.extend_from_slice(&lot.pick(&[0u32, 1, u32::MAX]).to_le_bytes());
        log.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        log.extend_from_slice(&[0; 8]);
        let sum = *blake3::Hasher::new().update(&log[start..]).update(&payload).finalize().as_bytes();
        log.extend_from_slice(&sum);
        log.extend_from_slice(&payload);
        log.resize(log.len().next_multiple_of(4_096), 0);
    }
    fs::write(dir.join("consensus/00000001.log"), log).expect("written");
}

/// Files of a terabyte that take no room, pipes, devices, folders, links and numbers where files are expected.
pub fn sizes(honest: &Honest, lot: &mut Lot, dir: &Path) {
    honest.copy_to(dir);
    let last = fs::read_dir(dir.join("journal")).expect("a folder").count();
    let segment = format!("journal/{last:08}.seg");
    let targets = [
        "genesis.json",
        "journal/00000001.seg",
        &segment,
        "consensus/00000001.log",
        "snapshots/00000001.pack",
        "snapshots/index.redb",
        "LOCK",
    ];
    let path = dir.join(lot.pick(&targets));
    let away = || _ = fs::remove_file(&path);
    let number = lot.pick(&["4294967295", "4294967294", "+0000001", "1", "00000099"]);
    match lot.below(7) {
        0 => {
            let file = File::options().create(true).truncate(false).write(true).open(&path).expect("a file");
            file.set_len(1 << lot.pick(&[28, 30, 40, 42])).expect("sparse");
        }
        1 => {
            away();
            let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
            assert!(made.success(), "a pipe");
        }
        2 => {
            away();
            fs::create_dir(&path).expect("a folder");
        }
        3 => {
            away();
            std::os::unix::fs::symlink("/dev/zero", &path).expect("a link");
        }
        4 => {
            away();
            std::os::unix::fs::symlink(&path, &path).expect("a link to itself");
        }
        5 => {
            let ending = path.extension().map_or("seg".into(), |ending| ending.to_string_lossy().into_owned());
            let _ = fs::copy(&path, path.with_file_name(format!("{number}.{ending}")));
        }
        _ => {
            away();
            File::create(&path).expect("an empty file");
        }
    }
}
