//! Opening a session: a validator where its record left it, frames first, then the consensus log.

use std::path::Path;

use anyhow::{Context, bail};
use engine::message::block::Decided;
use engine::message::certificate::Settled;
use engine::{Genesis, Hash, Height};
use order::beacon::{BeaconGroup, BeaconSigner};
use order::signature::VoteKey;
use storage::{Frame, FrameKind, LogFound, Session, Storage, Tail};
use systems::exchange::order::logged_heights;
use systems::machine::Membership;
use systems::{Machine, Setup};

use crate::cli::Failure;
use crate::record::Held;

/// The keys of a validator.
pub struct Keys {
    /// For votes and proposals.
    pub vote: VoteKey,
    /// The beacon's group.
    pub group: BeaconGroup,
    /// Its share of the group's key.
    pub beacon: BeaconSigner,
}

/// What a validator is besides its session.
pub struct Options {
    /// Its keys.
    pub keys: Keys,
    /// Randomness for batch verification.
    pub seed: [u8; 32],
    /// Workers of the tick pool.
    pub threads: usize,
    /// Connections that it may have.
    pub peers: u32,
}

/// A session that was begun or found.
pub struct Opened {
    /// The validator.
    pub machine: Machine,
    /// Its disk.
    pub storage: Storage,
    /// The last settled height that was found, if the session goes on.
    pub found: Option<Height>,
    /// What was cut off a torn journal, in words.
    pub cut: Option<String>,
}

/// Reads a session's genesis.
///
/// # Errors
/// If there is none, or it cannot be read.
pub fn read_genesis(dir: &Path) -> anyhow::Result<(Genesis, Hash)> {
    genesis_of(dir, &storage::genesis_bytes(dir)?)
}

/// What the bytes of a session's genesis say.
///
/// # Errors
/// If they cannot be read.
pub fn genesis_of(dir: &Path, bytes: &[u8]) -> anyhow::Result<(Genesis, Hash)> {
    let genesis: Genesis = serde_json::from_slice(bytes)
        .map_err(|error| Failure::Data(format!("{}: {error}", dir.join("genesis.json").display())))?;
    Ok((genesis, Genesis::chain_id(bytes)))
}

/// Goes on with a session, or begins it if nothing was recorded yet.
///
/// # Errors
/// If the keys are not those of its genesis, or it is damaged.
pub fn open(session: Session, setup: Setup, options: Options) -> anyhow::Result<Opened> {
    let storage::Opened { storage, frames, end, log } = Storage::open(session)?;
    let (machine, found) = restore(setup, options, &frames, &log, &storage)?;
    let cut = match &end.tail {
        Tail::Torn { at, bytes } => Some(format!("{bytes} bytes of an unfinished group were cut off: {at}")),
        Tail::Clean => None,
    };
    Ok(Opened { machine, storage, found, cut })
}

/// A machine where the record left it: frames first, then the consensus log.
fn restore(
    setup: Setup,
    options: Options,
    frames: &[Frame],
    log: &LogFound,
    storage: &Storage,
) -> anyhow::Result<(Machine, Option<Height>)> {
    let decided = frames.iter().filter(|frame| frame.kind == FrameKind::Decided).map(|frame| frame.height).max();
    let decided = decided.unwrap_or_default();
    let Options { keys: Keys { vote, group, beacon }, seed, threads, peers } = options;
    let member = Membership { vote, group, signer: beacon, seed, peers };
    let mut machine = Machine::validator(setup, threads, member)?;
    let mut settled_frames = frames.iter().filter(|frame| frame.kind == FrameKind::Settled).peekable();
    for frame in frames.iter().filter(|frame| frame.kind == FrameKind::Decided) {
        let block = Decided::decode(&frame.body).context("a decided frame of the journal")?;
        let settled = match settled_frames.peek() {
            Some(next) if next.height == frame.height => {
                let settled = Settled::decode(&next.body).context("a settled frame of the journal")?;
                settled_frames.next();
                Some(settled)
            }
            _ => None,
        };
        let led_to = machine.restore(&block, settled.as_ref().map(|settled| settled.beacon));
        if led_to != settled {
            bail!(Failure::Mismatch(format!(
                "height {}: the record leads to another state than it says; `replay` shows where",
                frame.height
            )));
        }
    }
    match log {
        LogFound::Entries { entries, .. }
            if entries.iter().all(|(height, _)| *height < decided) && decided > Height::GENESIS =>
        {
            bail!(Failure::Data(format!(
                "the consensus log is older than the journal, which reaches height {decided}: this validator cannot know \
                 what it signed, so it may not go on; `replay` still checks the session"
            )))
        }
        LogFound::Entries { entries, .. } => {
            let logged = logged_heights(entries, decided).map_err(Failure::Data)?;
            let mut outputs = machine.recover(logged)?;
            let mut held = Held::default();
            if let Some(group) = held.record(0, &mut outputs) {
                storage.submit(group);
                storage.synced().recv().context("the storage thread has stopped")?;
            }
        }
        LogFound::Missing if decided == Height::GENESIS => _ = machine.recover(Vec::new())?,
        LogFound::Missing => bail!(Failure::Data(
            "the consensus log is missing: this validator cannot know what it signed, so it may not go on; \
             `replay` still checks the session"
                .into()
        )),
        LogFound::Damaged(damage) => bail!(Failure::Data(format!(
            "{damage}; this validator cannot know what it signed, so it may not go on; `replay` still checks the session"
        ))),
    }
    let settled = machine.chain().settled;
    Ok((machine, (decided > Height::GENESIS).then_some(settled)))
}
