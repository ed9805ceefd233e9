//! Opening a session: a validator where its record left it.
//!
//! ```text
//!  newest good snapshot -> frames above it, executed -> consensus log, heard again -> ready to sign
//! ```

mod found;
mod restart;

use std::sync::Arc;

use anyhow::{Context, bail};
use engine::Height;
use engine::message::note::ChainNote;
use order::batch::BatchSecret;
use order::beacon::{BeaconGroup, BeaconSigner};
use order::signature::VoteKey;
use storage::snapshot::SnapshotsFound;
use storage::{Arrival, Disk, DiskOpened, JournalReader, LogFound, Session, Storage, Synced, Tail, Writing};
use systems::exchange::recover::logged_heights;
use systems::machine::{JoinError, Membership};
use systems::{Machine, Setup};

use crate::activity::ActivityRows;
use crate::record::UnsyncedReplies;
use crate::recording::{Driving, Recording};
use crate::serving::Serving;
use crate::snapshots::{Keeping, SnapshotPace};
use crate::stopped::StopNotes;
use words::{Failure, thousands};

pub use found::SessionFound;
use restart::execute;

/// How a validator's world begins: with a setup, so many workers, and what it takes part with. It is a pointer, so that no crate
/// above this one compiles the systems of a tick again.
pub type Begin = fn(Setup, usize, Membership) -> Result<Machine, JoinError>;

/// The keys of a validator.
#[derive(Clone)]
pub struct Keys {
    /// For votes and proposals.
    pub vote: VoteKey,
    /// The beacon's group.
    pub group: BeaconGroup,
    /// The validator's share of the group's key.
    pub beacon: BeaconSigner,
}

/// What a node is besides its session.
pub struct Options {
    /// The keys of its validator; none for a node that only follows.
    pub keys: Option<Keys>,
    /// Workers of the tick pool.
    pub threads: usize,
    /// Connections that it may have.
    pub peers: u32,
    /// How the session is written.
    pub writing: Writing,
    /// When snapshots are taken.
    pub pace: SnapshotPace,
    /// Who drives its disk.
    pub driving: Driving,
    /// The height from which it may sign again although its log is lost: its operator answers for it that it signed nothing
    /// there.
    pub sign_from: Option<Height>,
    /// The network key that its validator claims before other nodes; none where it speaks to no other.
    pub network: Option<[u8; 32]>,
}

/// A session that was begun or found.
pub struct StartedNode {
    /// The validator's or follower's machine.
    pub machine: Machine,
    /// Who writes the journal and the consensus log.
    pub storage: Box<dyn Recording>,
    /// Who takes snapshots and keeps them.
    pub snapshots: Keeping,
    /// What answers nodes that are behind.
    pub serving: Serving,
    /// Where the node leaves a note of why it stopped.
    pub stopped: StopNotes,
    /// What marks a session to which a snapshot of other nodes is coming.
    pub arrival: Arrival,
    /// What was found of a session that goes on; nothing if it begins.
    pub found: Option<SessionFound>,
}

/// Goes on with a session, or begins it if nothing was recorded yet: from its newest good snapshot, or genesis, and the
/// frames above it. `on_step` hears what it is at, for people.
///
/// # Errors
/// If the keys are not those of its genesis, or it is damaged.
pub fn open(
    session: Session,
    setup: Setup,
    options: Options,
    on_step: impl Fn(&str) + Send + Sync + 'static,
) -> anyhow::Result<StartedNode> {
    open_begun(session, setup, options, Machine::validator, Arc::new(on_step))
}

/// Goes on with a session, or begins it, as [`open`] does, with a validator whose world `begin` makes: a simulation plants faults
/// in it.
///
/// # Errors
/// As [`open`].
pub fn open_begun(
    session: Session,
    setup: Setup,
    options: Options,
    begin: Begin,
    on_step: Arc<dyn Fn(&str) + Send + Sync>,
) -> anyhow::Result<StartedNode> {
    let Options { keys, threads, peers, writing, pace, driving, network, sign_from } = options;
    let secret = BatchSecret::draw(getrandom::fill).context("the system gives no randomness")?;
    let signs = keys.is_some();
    let mut machine = match keys {
        Some(Keys { vote, group, beacon }) => {
            let member = Membership { vote, group, signer: beacon, secret, peers, network };
            begin(setup, threads, member)?
        }
        None => Machine::follower(setup, threads, secret, peers)?,
    };
    let mut found = SessionFound::default();

    let arrival = Arrival::of(&session);
    // This comes before any snapshot is looked at: one that has not come as a whole must not be loaded.
    if arrival.settle()? {
        found.repaired.push("a snapshot of other nodes had not arrived as a whole; it comes again".into());
    }
    on_step("opening the index of snapshots");
    let repairing = Arc::clone(&on_step);
    let snapshots = SnapshotsFound::open(&session, move |part| {
        repairing(&format!("repairing the index of snapshots: {:.0}%", part * 100.0));
    })?;
    found.repaired.extend(snapshots.repaired.clone());
    let note = load_newest(&mut machine, &snapshots, &mut found, &*on_step)?;
    // What was active up to the snapshot is not in the maps: whoever reads them must not take that for silence.
    machine.activity().loaded(found.snapshot.unwrap_or_default());

    // The journal is read from below the snapshot: an intent that is sent again must get the receipt that it had.
    let mut reader = JournalReader::of(&session, note.as_ref().map_or(Height::GENESIS, |note| note.receipts_from))?;
    let stopped = StopNotes::of(&session);
    let decided = execute(&mut machine, &mut reader, note.as_ref(), &mut found, &*on_step, &stopped)?;
    let stepped = matches!(driving, Driving::Stepped(_));
    let serving = Serving::of(&session, stepped);
    let DiskOpened { disk, end, log } = Disk::start(session, reader, writing)?;
    // Nobody was told of a group that was not written as a whole, so nothing is lost with it.
    if let Tail::Torn { at, bytes } = &end.tail {
        found.repaired.push(format!("{bytes} bytes of an unfinished group were cut off: {at}"));
    }
    let mut storage: Box<dyn Recording> = match driving {
        Driving::Threads => Box::new(Storage::of(disk)?),
        Driving::Stepped(drive) => drive(disk),
    };
    // Whoever signs nothing has no log to answer for.
    if signs {
        recover(&mut machine, &mut *storage, &log, decided, sign_from)?;
    } else if sign_from.is_some() {
        bail!(Failure::Usage("a node that follows signs nothing: --sign-from is for a validator".into()));
    }
    found.height = machine.chain().settled;
    let snapshots = match machine.activity().maps() {
        Some(maps) => snapshots.with_ranges(ActivityRows(Arc::clone(maps))),
        None => snapshots,
    };
    let kept = if stepped { snapshots.start_stepped(found.snapshot) } else { snapshots.start(found.snapshot)? };
    let snapshots = Keeping::new(kept, pace, note.as_ref());
    Ok(StartedNode {
        machine,
        storage,
        snapshots,
        serving,
        stopped,
        arrival,
        found: (decided > Height::GENESIS).then_some(found),
    })
}

/// Loads the newest snapshot that is good; the others are named.
fn load_newest(
    machine: &mut Machine,
    snapshots: &SnapshotsFound,
    found: &mut SessionFound,
    on_step: &dyn Fn(&str),
) -> anyhow::Result<Option<ChainNote>> {
    let mut failed = false;
    for info in snapshots.newest_first() {
        on_step(&format!("loading the snapshot at height {}", thousands(info.height.0)));
        let stored = snapshots.snapshot(info.height).map_err(anyhow::Error::from);
        match stored.and_then(|stored| {
            Ok(machine.load_stored(stored.height, &stored.note, stored.values(), |index, group| {
                stored.read_group(index, group)
            })?)
        }) {
            Ok(note) => {
                assert_eq!(note.height, info.height, "the snapshot that was loaded is the one that was asked for");
                assert_eq!(machine.chain().settled, note.height, "the chain stands at its snapshot");
                found.snapshot = Some(note.height);
                return Ok(Some(note));
            }
            // An older snapshot makes the start longer, and nothing else: it is tried before the start fails.
            Err(problem) => {
                tracing::warn!("snapshot {}: {problem:#}", info.height);
                found.repaired.push(format!("the snapshot at height {} cannot be loaded: {problem:#}", info.height));
                failed = true;
            }
        }
    }
    if failed {
        // What a snapshot left in the columns before it failed is of no height.
        machine.reset();
    }
    Ok(None)
}

/// Hears the consensus log again. A validator that cannot know what it signed may not sign: it follows, where the others can
/// tell it when that is over, or its operator answers for it.
fn recover(
    machine: &mut Machine,
    storage: &mut dyn Recording,
    log: &LogFound,
    decided: Height,
    sign_from: Option<Height>,
) -> anyhow::Result<()> {
    let mut held = UnsyncedReplies::at(machine.standing(0));
    let mut outputs = match (what_is_unknown(log, decided), sign_from) {
        (Some(problem), Some(from)) => {
            // A lone validator decides every height itself: one that began further up would leave those between to
            // nobody.
            if machine.validators_at(decided.next()).count() == 1 && from != decided.next() {
                bail!(Failure::Usage(format!(
                    "the only validator can sign from height {} on, and no other",
                    decided.next()
                )));
            }
            tracing::warn!("{problem}: it signs from height {from} on, because its operator said so");
            // Nothing is signed at the fence or below it, so it lies one below the first height that may be.
            machine.sign_above(from.back(1))
        }
        (Some(problem), None) if machine.follow() => {
            tracing::warn!(
                "{problem}: it votes on nothing until it is three heights above what a quorum of the others tells"
            );
            return Ok(());
        }
        (Some(problem), None) => bail!(Failure::Data(format!(
            "{problem}, so it may not go on; `replay` still checks the session. If it signed nothing above its last height, \
             `node --sign-from {} --i-accept` lets it sign again",
            decided.next()
        ))),
        (None, Some(_)) => bail!(Failure::Usage(
            "the consensus log is whole, so this validator knows what it signed; start it without --sign-from".into()
        )),
        (None, None) => {
            let (logged, fence) = match log {
                LogFound::Entries { entries, fence, .. } => {
                    (logged_heights(entries, decided).map_err(Failure::Data)?, *fence)
                }
                LogFound::Missing | LogFound::Damaged(_) => (Vec::new(), Height::GENESIS),
            };
            // The same log leads to the same place at every start.
            machine.recover(logged, fence).map_err(|fault| Failure::Data(format!("consensus log: {fault}")))?
        }
    };
    // What the log leads to, or the fence, is on disk before the first tick: a crash after that must not let it sign
    // again.
    if let Some(group) = held.record(0, &mut outputs) {
        storage.submit(group);
        match storage.wait(None)?.context("the disk has nothing to say")? {
            Synced::UpTo(_) => {}
            Synced::Full(problem) => bail!("the disk is full: {problem}; make room and start again"),
            Synced::Failed(problem) => bail!("the session cannot be written: {problem}"),
        }
    }
    Ok(())
}

/// Why this validator cannot know what it signed, if it cannot.
fn what_is_unknown(log: &LogFound, decided: Height) -> Option<String> {
    match log {
        // A height was decided above everything in this log, and above where nothing more is signed: that was without
        // this log, perhaps by another life of this validator.
        LogFound::Entries { entries, fence, .. } => {
            let is_old = entries.iter().all(|(height, _)| *height < decided) && *fence < decided;
            (is_old && decided > Height::GENESIS).then(|| {
                format!(
                    "the consensus log is older than the journal, which reaches height {decided}: this validator cannot \
                     know what it signed"
                )
            })
        }
        // A new session has an empty log: where there is none, a validator has lost its disk.
        LogFound::Missing => Some("the consensus log is missing: this validator cannot know what it signed".into()),
        LogFound::Damaged(damage) => Some(format!("{damage}; this validator cannot know what it signed")),
    }
}
