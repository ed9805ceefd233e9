//! Opening a session: a validator where its record left it.
//!
//! ```text
//!  newest good snapshot -> frames above it, executed -> consensus log, heard again -> ready to sign
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context, bail};
use engine::Height;
use engine::limits::UNSETTLED_RECORDED_MAX;
use engine::message::block::Decided;
use engine::message::certificate::Settled;
use engine::message::note::ChainNote;
use engine::message::{DecodeError, expect_height};
use order::batch::BatchSecret;
use order::beacon::{BeaconGroup, BeaconSigner};
use order::signature::VoteKey;
use storage::snapshot::SnapshotsFound;
use storage::{Arrival, Disk, Frame, FrameKind, JournalReader, LogFound, Session, Storage, Synced, Tail, Writing};
use systems::exchange::recover::logged_heights;
use systems::machine::{JoinError, Membership};
use systems::{Machine, Setup};

use crate::activity::ActivityRows;
use crate::clock::Time;
use crate::edge::LocalPlayers;
use crate::record::UnsyncedReplies;
use crate::recording::{Driving, Recording};
use crate::run::Node;
use crate::serving::Serving;
use crate::snapshots::{Keeping, SnapshotPace};
use crate::stopped::StopNotes;
use words::{Failure, thousands};

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
    /// The validator.
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

impl StartedNode {
    /// The node that goes on with the session.
    pub fn into_node(self, players: Option<Box<dyn LocalPlayers>>, time: Time) -> Node {
        let mut node = Node::new(self.machine, self.storage, players, time);
        node.keep(self.snapshots);
        node.serve(self.serving);
        node.note_stops(self.stopped);
        node.let_arrive(self.arrival);
        node
    }
}

/// What a session was when it was opened.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SessionFound {
    /// The last settled height.
    pub height: Height,
    /// The snapshot that the start began with; genesis if there is none.
    pub snapshot: Option<Height>,
    /// Heights that were executed again, above it.
    pub executed: u64,
    /// What was cut, damaged or put right, in words.
    pub repaired: Vec<String>,
}

impl SessionFound {
    /// How the start went, in a line.
    pub fn path(&self) -> String {
        let from = match self.snapshot {
            Some(height) => format!("from the snapshot at height {}", thousands(height.0)),
            None => "from genesis".into(),
        };
        format!("{from}, {} heights executed again", thousands(self.executed))
    }
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
    let storage::OpenedAs { storage: disk, end, log, .. } = Disk::start(session, reader, writing)?;
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

/// Whether a block is the next one of the chain.
fn follows(machine: &Machine, decided: &Decided) -> bool {
    let (header, chain) = (&decided.block.header, machine.chain());
    header.height == chain.decided.next() && header.parent == chain.parent && header.time_ms > chain.parent_time_ms
}

/// Takes the journal's frames: those of the last minute before the snapshot for their receipts, those above it to be
/// executed. Returns the last decided height.
fn execute(
    machine: &mut Machine,
    reader: &mut JournalReader,
    note: Option<&ChainNote>,
    found: &mut SessionFound,
    on_step: &dyn Fn(&str),
    stopped: &StopNotes,
) -> anyhow::Result<Height> {
    let mut restart = Restart::at(machine, note, found);
    while let Some(Frame { kind, height, body }) = reader.next_frame()? {
        match kind {
            FrameKind::Decided => restart.decided(height, &body)?,
            FrameKind::Settled => restart.settled(height, &body, on_step)?,
            FrameKind::Base => restart.base(height, &body)?,
            // Evidence changes no state, so there is nothing to execute.
            FrameKind::Evidence => {}
            // A start needs nothing below its snapshot: what was given up is met only where no snapshot could be
            // loaded.
            FrameKind::Retired => bail!(given_up(height, restart.found)),
        }
    }
    restart.end(stopped)
}

/// A machine on its way from a snapshot, or genesis, through the frames of its journal.
struct Restart<'a> {
    machine: &'a mut Machine,
    /// The snapshot that was loaded, if one was, and its height.
    note: Option<&'a ChainNote>,
    from: Height,
    found: &'a mut SessionFound,
    /// Blocks that were decided, and of which the journal has not said yet what they led to.
    unsettled: VecDeque<Decided>,
    /// Whether the journal reached the snapshot, or begins at it: one that did neither lacks heights above it.
    reached: bool,
}

impl<'a> Restart<'a> {
    fn at(machine: &'a mut Machine, note: Option<&'a ChainNote>, found: &'a mut SessionFound) -> Self {
        let from = note.map_or(Height::GENESIS, |note| note.height);
        Self { machine, note, from, found, unsettled: VecDeque::new(), reached: note.is_none() }
    }

    /// A block waits until the journal says what it led to.
    fn decided(&mut self, height: Height, body: &[u8]) -> anyhow::Result<()> {
        let decided = Decided::decode(body).map_err(wrong(FrameKind::Decided, height))?;
        expect_height(decided.block.header.height, height).map_err(wrong(FrameKind::Decided, height))?;
        self.unsettled.push_back(decided);
        // A node writes no such record; one that is read must not fill the memory all the same.
        if self.unsettled.len() > UNSETTLED_RECORDED_MAX {
            bail!(Failure::Data(format!(
                "the journal has more than {UNSETTLED_RECORDED_MAX} decided heights that are not settled"
            )));
        }
        Ok(())
    }

    /// A journal that begins at a snapshot has no block of that height to compare with it: the base frame stands for it.
    fn base(&mut self, height: Height, body: &[u8]) -> anyhow::Result<()> {
        if self.note.is_none() {
            bail!(base_lost(height, self.found));
        }
        self.reached |= begins_at(body, self.note).map_err(wrong(FrameKind::Base, height))?;
        Ok(())
    }

    /// A height is whole: what the snapshot has of it is recalled, what it has not is executed.
    fn settled(&mut self, height: Height, body: &[u8], on_step: &dyn Fn(&str)) -> anyhow::Result<()> {
        let settled = Settled::decode(body).map_err(wrong(FrameKind::Settled, height))?;
        expect_height(settled.height, height).map_err(wrong(FrameKind::Settled, height))?;
        // The reader may begin between a block and what it led to: such a height lies below all that a start needs.
        if self.unsettled.front().is_none_or(|decided| decided.block.header.height > height) && height <= self.from {
            return Ok(());
        }
        let decided = self.unsettled.pop_front().filter(|decided| decided.block.header.height == height);
        let Some(decided) = decided else {
            bail!(Failure::Data(format!("the journal says what height {height} led to, but not what it is")));
        };
        if height <= self.from {
            // The snapshot has the state of these heights: only their receipts are taken up, for intents that are sent
            // again.
            let recall = self.machine.recall(&decided, &settled);
            recall.map_err(|error| Failure::Data(format!("height {height}: {error}; `db check` looks further")))?;
            self.reached |= height == self.from;
            return Ok(());
        }
        settle_again(self.machine, &decided, &settled)?;
        self.found.executed += 1;
        if self.found.executed.is_multiple_of(64) {
            on_step(&format!("executing height {}", thousands(height.0)));
        }
        Ok(())
    }

    /// The journal has no further frame: what it does not settle is decided again. Returns the last decided height.
    fn end(self, stopped: &StopNotes) -> anyhow::Result<Height> {
        let Self { machine, from, found, unsettled, reached, .. } = self;
        if !reached {
            bail!(Failure::Data(format!(
                "the journal ends before height {from}, whose snapshot was taken when the journal had it on disk: journal/ is \
                 damaged, or from a backup that is older than snapshots/"
            )));
        }
        let chain = machine.chain();
        assert_eq!(chain.settled.0, from.0 + found.executed, "each height above the snapshot was executed once");
        assert_eq!(chain.decided, chain.settled, "what is decided and not settled still waits");
        decide_again(machine, &unsettled, stopped)?;
        let waiting = machine.chain().unsettled.len();
        assert_eq!(waiting, unsettled.len(), "what the record does not settle waits for its beacon");
        Ok(machine.chain().decided)
    }
}

/// Why a session cannot go on that has such a frame.
fn wrong(kind: FrameKind, height: Height) -> impl FnOnce(DecodeError) -> Failure {
    move |error| Failure::Data(format!("the {kind:?} frame of height {height}: {error}"))
}

/// Why a session cannot go on whose journal begins at a snapshot that is damaged or gone.
fn base_lost(height: Height, found: &SessionFound) -> Failure {
    Failure::Data(format!(
        "the journal begins at the snapshot of height {height}, which cannot be loaded; with an empty directory, the \
         same genesis and keys the others give one again; {}",
        found.repaired.join("; ")
    ))
}

/// Why a session cannot go on whose journal has retired what leads to its last height, and whose snapshots are damaged or gone.
fn given_up(height: Height, found: &SessionFound) -> Failure {
    Failure::Data(format!(
        "the journal gave up what height {height} decided (storage.bytes_max), and no snapshot above it can be loaded: \
         restore the session from a backup; {}",
        found.repaired.join("; ")
    ))
}

/// Executes a height that the record has in whole, and compares what comes out.
fn settle_again(machine: &mut Machine, decided: &Decided, settled: &Settled) -> anyhow::Result<()> {
    let height = settled.height;
    if !follows(machine, decided) {
        bail!(Failure::Data(format!("the block of height {height} does not follow the one before it")));
    }
    let led_to = machine.restore(decided, Some(settled.beacon));
    if led_to.as_ref() != Some(settled) {
        bail!(Failure::Mismatch(format!(
            "height {height}: the record leads to another state than it says; `replay` shows where"
        )));
    }
    assert_eq!(machine.chain().settled, height, "what was executed is the height that the record has");
    Ok(())
}

/// Takes decided heights of which the record does not say what they led to: their beacons are put together again.
fn decide_again(machine: &mut Machine, unsettled: &VecDeque<Decided>, stopped: &StopNotes) -> anyhow::Result<()> {
    for decided in unsettled {
        let (height, block) = (decided.block.header.height, decided.block.header.hash());
        if !follows(machine, decided) {
            bail!(Failure::Data(format!("the block of height {height} does not follow the one before it")));
        }
        // Settling it again would stop the node again, at each start, before anybody can look into it.
        if let Some(note) = stopped.poison(height, &block).map_err(Failure::Data)? {
            bail!(
                "{}; this node does not settle it again while stopped/poison-{height}.json says so: remove that file to \
                 try with a mended program",
                note.problem
            );
        }
        machine.restore(decided, None);
    }
    Ok(())
}

/// Whether a journal that was begun at a snapshot from another node begins at the one that was loaded: it has no frames of
/// that height, and the snapshot's root is all that there is to compare.
fn begins_at(base: &[u8], note: Option<&ChainNote>) -> Result<bool, DecodeError> {
    let base = ChainNote::decode(base)?;
    let same =
        |note: &&ChainNote| (note.height, note.block, note.root_chains) == (base.height, base.block, base.root_chains);
    Ok(note.is_some_and(|note| same(&note)))
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
                "{problem}: it votes on nothing until it is three heights behind what a quorum of the others tells"
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
        (None, None) => match log {
            LogFound::Entries { entries, fence, .. } => {
                machine.recover(logged_heights(entries, decided).map_err(Failure::Data)?, *fence)?
            }
            LogFound::Missing | LogFound::Damaged(_) => machine.recover(Vec::new(), Height::GENESIS)?,
        },
    };
    let mut held = UnsyncedReplies::default();
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
