//! Serving: what nodes that are behind ask for, read from the disk beside the tick.
//!
//! ```text
//!  Output::Serve, AskSnapshot, AskPart -> asked, one question of each peer, validators first -> a thread of its own, or a step a
//!    tick -> NodeMessage::Range, Snapshot, Part
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use engine::io::Output;
use engine::limits::{
    GROUP_BYTES, HEARTBEAT, RANGE_HEIGHTS_MAX, SERVED_AT_ONCE_MAX, SERVED_BODIES_BYTES_MAX, SERVED_QUESTIONS_MAX,
    VALIDATORS_MAX,
};
use engine::message::DecodeError;
use engine::message::block::Decided;
use engine::message::certificate::{Settled, verdicts_hash};
use engine::message::node::{NodeMessage, RangeEntry, RangeRow};
use engine::message::note::ChainNote;
use engine::message::snapshot::{Part, PartKind, PartRow, SnapshotProof};
use engine::{Height, PeerId};
use storage::snapshot::{SnapshotReader, StoredSnapshot};
use storage::{Past, PastReader, Session};
use systems::Machine;

use crate::threads::{BACKGROUND_PERIOD, WatchedThread};

/// How long files stay open that nobody asks for: the next question of whoever fetches over a slow link comes before.
const OPEN_FOR: Duration = Duration::from_secs(30);

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asker {
    /// The connection.
    pub peer: PeerId,
    /// Which validator it is, once it has proved that.
    pub validator: Option<u32>,
}

impl Asker {
    /// Who is behind a connection.
    pub fn of(machine: &Machine, peer: PeerId) -> Self {
        Self { peer, validator: machine.proven_of(peer).and_then(|(validator, _)| validator) }
    }

    /// Whether both are one node, whatever it connects with.
    fn is_same(&self, other: &Self) -> bool {
        self.peer == other.peer || (self.validator.is_some() && self.validator == other.validator)
    }
}

/// What a peer asks for.
#[derive(Clone, Copy)]
struct Question {
    of: Asker,
    what: Asked,
    /// The last decided height that this node has on its disk.
    last: Height,
}

/// What can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Decided heights.
    Range(RangeRow),
    /// What proves the snapshot of a height, or the newest.
    Snapshot(Height),
    /// A part of a snapshot.
    Part(PartRow),
}

/// What answers nodes that are behind.
pub struct Serving {
    /// Those of validators first.
    asked: VecDeque<Question>,
    reading: ReadBy,
    /// Turns of the thread, once there is one.
    turns: Arc<AtomicU64>,
}

/// Who reads what is asked for, since a tick must not wait for the disk.
enum ReadBy {
    /// Nobody asked yet, so there is no thread.
    Unstarted(Option<Sources>),
    /// Beside the tick.
    Thread(ReadingThread),
    /// One question each time that answers are asked for.
    Stepped(Box<Sources>),
}

/// Where answers come from.
struct Sources {
    past: PastReader,
    snapshots: SnapshotReader,
    /// The snapshot of which a part was asked for last.
    open: Option<StoredSnapshot>,
    /// When heights were asked for last, and a snapshot, while files may be open for that.
    past_asked: Option<Instant>,
    snapshot_asked: Option<Instant>,
}

struct ReadingThread {
    questions: Option<Sender<Question>>,
    answers: Receiver<(Asker, Option<NodeMessage>)>,
    thread: Option<JoinHandle<()>>,
    /// Whose questions are with the thread.
    busy: Vec<Asker>,
}

impl Serving {
    /// Answers from a session that this process writes; in steps, or with a thread that starts with the first question.
    pub fn of(session: &Session, stepped: bool) -> Self {
        let sources = Sources::of(session);
        let reading = if stepped { ReadBy::Stepped(Box::new(sources)) } else { ReadBy::Unstarted(Some(sources)) };
        Self { asked: VecDeque::new(), reading, turns: Arc::default() }
    }

    /// Takes a question of a peer that is behind, about what is on disk up to height `last`. One that comes too early is not
    /// answered.
    pub fn ask(&mut self, of: Asker, what: Asked, last: Height) {
        // One question of each peer at a time: one that asks faster than the disk reads must not keep the others out.
        let busy = if let ReadBy::Thread(thread) = &self.reading { &thread.busy[..] } else { &[] };
        if self.asked.iter().map(|question| &question.of).chain(busy).any(|known| known.is_same(&of)) {
            return;
        }
        let validators = self.asked.partition_point(|question| question.of.validator.is_some());
        let question = Question { of, what, last };
        if of.validator.is_some() {
            // Whoever is no validator is one of any number, and a chain goes on only with the validators that are level.
            self.asked.insert(validators, question);
            assert!(validators < VALIDATORS_MAX as usize, "each validator has one place");
        } else if self.asked.len() - validators < SERVED_QUESTIONS_MAX {
            self.asked.push_back(question);
        }
    }

    /// The thread that it has, or will have.
    pub(crate) fn threads(&self) -> Option<WatchedThread> {
        let is_stepped = matches!(self.reading, ReadBy::Stepped(_));
        (!is_stepped).then(|| WatchedThread::new("serving", BACKGROUND_PERIOD, Arc::clone(&self.turns)))
    }

    /// Whether nobody waits for an answer.
    pub fn is_idle(&self) -> bool {
        self.asked.is_empty() && !matches!(&self.reading, ReadBy::Thread(thread) if !thread.busy.is_empty())
    }

    /// Goes on, and appends what was read meanwhile.
    pub fn turn(&mut self, outputs: &mut Vec<Output>) {
        if let ReadBy::Unstarted(sources) = &mut self.reading {
            if self.asked.is_empty() {
                return;
            }
            let sources = sources.take().expect("taken only here");
            match ReadingThread::start(sources, Arc::clone(&self.turns)) {
                Ok(thread) => self.reading = ReadBy::Thread(thread),
                Err(unstarted) => {
                    let (sources, problem) = *unstarted;
                    tracing::warn!("nobody is served: {problem}");
                    // Whoever asked asks again, or another: a thread is not tried for in every tick.
                    (self.reading, self.asked) = (ReadBy::Unstarted(Some(sources)), VecDeque::new());
                    return;
                }
            }
        }
        match &mut self.reading {
            ReadBy::Stepped(sources) => {
                let Some(question) = self.asked.pop_front() else { return };
                outputs.extend(told(question.of, sources.answer(&question)));
            }
            ReadBy::Thread(thread) => thread.turn(&mut self.asked, outputs),
            ReadBy::Unstarted(_) => {}
        }
    }
}

impl ReadingThread {
    fn start(sources: Sources, turns: Arc<AtomicU64>) -> Result<Self, Box<(Sources, std::io::Error)>> {
        let (to_thread, questions) = bounded::<Question>(SERVED_AT_ONCE_MAX);
        let (from_thread, answers) = bounded(SERVED_AT_ONCE_MAX);
        let (give, take) = bounded(1);
        let _ = give.send(sources);
        let run = {
            let take = take.clone();
            move || {
                let Ok(mut sources): Result<Sources, _> = take.recv() else { return };
                loop {
                    turns.fetch_add(1, Ordering::Relaxed);
                    sources.rest(Instant::now());
                    let question = match questions.recv_timeout(HEARTBEAT) {
                        Ok(question) => question,
                        Err(RecvTimeoutError::Timeout) => continue,
                        Err(RecvTimeoutError::Disconnected) => return,
                    };
                    let answer = sources.answer(&question);
                    if from_thread.send((question.of, answer)).is_err() {
                        return;
                    }
                }
            }
        };
        match std::thread::Builder::new().name("serving".into()).spawn(run) {
            Ok(thread) => Ok(Self { questions: Some(to_thread), answers, thread: Some(thread), busy: Vec::new() }),
            Err(error) => Err(Box::new((take.recv().expect("no thread took it"), error))),
        }
    }

    fn turn(&mut self, asked: &mut VecDeque<Question>, outputs: &mut Vec<Output>) {
        while let Ok((of, answer)) = self.answers.try_recv() {
            assert!(self.busy.contains(&of), "only who asked is answered");
            self.busy.retain(|busy| *busy != of);
            outputs.extend(told(of, answer));
        }
        // The others wait here, where a validator that comes later goes before them.
        while self.busy.len() < SERVED_AT_ONCE_MAX
            && let Some(question) = asked.pop_front()
        {
            // The channel has as many places as may be with the thread, so it is never full: a question is lost only
            // where the thread has ended.
            if self.questions.as_ref().is_some_and(|questions| questions.try_send(question).is_ok()) {
                assert!(!self.busy.contains(&question.of), "a peer has one question with the thread");
                self.busy.push(question.of);
            }
        }
    }
}

impl Drop for ReadingThread {
    fn drop(&mut self) {
        self.questions = None;
        // The thread may be waiting to hand over an answer: without a receiver it ends, where joining it would take for
        // ever.
        let (_, nobody) = bounded(0);
        self.answers = nobody;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn told(to: Asker, answer: Option<NodeMessage>) -> Option<Output> {
    answer.map(|message| Output::ToNode { to: Some(to.peer), message: Box::new(message) })
}

impl Sources {
    fn of(session: &Session) -> Self {
        let (past, snapshots) = (PastReader::of(session), SnapshotReader::of(session));
        Self { past, snapshots, open: None, past_asked: None, snapshot_asked: None }
    }

    /// Closes what nobody has asked for lately. What is removed of the journal and of the packs gives its room back only once
    /// nobody has it open.
    fn rest(&mut self, now: Instant) {
        let is_over = |asked: &mut Instant| now.saturating_duration_since(*asked) > OPEN_FOR;
        if self.past_asked.take_if(is_over).is_some() {
            self.past = self.past.another();
        }
        if self.snapshot_asked.take_if(is_over).is_some() {
            self.open = None;
        }
    }

    /// What is on disk of what was asked for. Nothing where there is nothing to say; of heights that have gone, an empty range
    /// says so.
    fn answer(&mut self, question: &Question) -> Option<NodeMessage> {
        match question.what {
            Asked::Range(_) => self.past_asked = Some(Instant::now()),
            Asked::Snapshot(_) | Asked::Part(_) => self.snapshot_asked = Some(Instant::now()),
        }
        let answer = match question.what {
            // The height is about to be on disk, so nothing is said: an empty range would say that it is gone.
            Asked::Range(range) if range.from > question.last => Ok(None),
            Asked::Range(range) => self.range(range, question.last).map(|entries| Some(NodeMessage::Range(entries))),
            Asked::Snapshot(height) => self.proof(height, question.last),
            Asked::Part(row) => self.part(row),
        };
        answer.unwrap_or_else(|problem| {
            tracing::warn!("{:?} is not answered: {problem:#}", question.what);
            None
        })
    }

    fn range(&mut self, range: RangeRow, last: Height) -> anyhow::Result<Vec<RangeEntry>> {
        let count = (range.count as usize).min(RANGE_HEIGHTS_MAX);
        let found = self.past.read(range.from, count, last, SERVED_BODIES_BYTES_MAX)?;
        assert!(found.len() <= count, "no more is read than was asked for");
        Ok(found.into_iter().map(|past| entry(&past)).collect::<Result<_, _>>()?)
    }

    /// What proves a snapshot: it must be followed by two decided heights.
    fn proof(&mut self, height: Height, last: Height) -> anyhow::Result<Option<NodeMessage>> {
        let all = self.snapshots.heights()?;
        let is_proven = |found: &Height| found.next().next() <= last && (height == Height::GENESIS || *found == height);
        let Some(height) = all.into_iter().rev().find(is_proven) else { return Ok(None) };
        let stored = self.snapshots.open(height)?;
        let note = ChainNote::decode(&stored.note)?;
        // The reader of ranges stays where it is: a node that catches up goes on from there with its next question.
        let mut beside = self.past.another();
        let found = beside.read(height, 3, last, usize::MAX);
        // What that one has read through in the last segment nobody need read again.
        self.past.learn(&beside);
        let found = found?;
        let [own, next, last] = &found[..] else { return Ok(None) };
        let Some(settled) = own.settled.as_deref().map(Settled::decode).transpose()? else { return Ok(None) };
        let (own, next, last) =
            (Decided::decode(&own.decided)?, Decided::decode(&next.decided)?, Decided::decode(&last.decided)?);
        let proof = SnapshotProof {
            // Whoever begins at this snapshot has no receipts of heights before it.
            note: ChainNote { receipts_from: height, ..note },
            beacon: settled.beacon,
            verdicts: verdicts_hash(settled.verdicts.iter().copied()),
            headers: [own.block.header, next.block.header, last.block.header],
            certificate: last.certificate,
        };
        // Whoever has the proof asks for its parts next.
        self.open = Some(stored);
        Ok(Some(NodeMessage::Snapshot(Box::new(proof))))
    }

    fn part(&mut self, row: PartRow) -> anyhow::Result<Option<NodeMessage>> {
        if self.open.as_ref().is_none_or(|open| open.height != row.height) {
            // The index is read again: since the last question a snapshot may have come, and another one gone.
            if !self.snapshots.heights()?.contains(&row.height) {
                return Ok(None);
            }
            self.open = Some(self.snapshots.open(row.height)?);
        }
        let stored = self.open.as_ref().expect("opened above");
        let groups = row.first as usize..row.first as usize + row.count as usize;
        assert_eq!(stored.height, row.height, "a part is of the snapshot that was asked for");
        // The row is the word of another node, and may ask for more groups than there are.
        let Some(values) = stored.values().get(groups.clone()) else { return Ok(None) };
        let kind = row.check_form()?;
        let bytes = match kind {
            PartKind::Values => values.concat(),
            PartKind::Groups => {
                let mut bytes = Vec::with_capacity(groups.len() * GROUP_BYTES);
                let mut group = [0; GROUP_BYTES];
                for index in groups {
                    stored.read_group(index, &mut group)?;
                    bytes.extend_from_slice(&group);
                }
                bytes
            }
        };
        assert_eq!(bytes.len(), row.count as usize * kind.unit(), "a part is as long as its row says");
        Ok(Some(NodeMessage::Part(Part { row, bytes })))
    }
}

fn entry(past: &Past) -> Result<RangeEntry, DecodeError> {
    let decided = Box::new(Decided::decode(&past.decided)?);
    let settled = past.settled.as_deref().map(Settled::decode).transpose()?;
    Ok(RangeEntry { decided, beacon: settled.map(|settled| settled.beacon) })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// The last height of a session with snapshots, on a thread of its own, since a thread has one pool.
    fn played(dir: &Path) -> Height {
        let mut config = load::dev::DevConfig { threads: 1, ..load::dev::DevConfig::default() };
        (config.snapshots.ticks, config.snapshots.groups, config.snapshots.heights) = (0, 0, 1);
        std::thread::scope(|scope| {
            let play = || {
                let _pool = engine::pool::build(1).expect("a pool");
                let mut node = load::dev::open(dir, &config).expect("a session").node;
                node.run(Some(30), &AtomicBool::new(false), |_, _, _| ()).expect("it runs");
                node.close().height
            };
            scope.spawn(play).join().expect("no panic")
        })
    }

    /// Files of a session's folder that this process has open.
    fn open_files(folder: &Path) -> usize {
        let files = std::fs::read_dir("/proc/self/fd").expect("Linux tells").flatten();
        files.filter(|file| std::fs::read_link(file.path()).is_ok_and(|path| path.starts_with(folder))).count()
    }

    /// A session in a folder that is there for as long as it is kept, and its last height.
    fn begun() -> (tempfile::TempDir, Session, Height) {
        let dir = tempfile::tempdir().expect("a directory");
        let at = dir.path().canonicalize().expect("a path").join("session");
        let last = played(&at);
        let session = Session::open(&at).expect("the session");
        (dir, session, last)
    }

    /// What is answered in each turn, to whom, until nobody waits.
    fn answered(serving: &mut Serving) -> Vec<PeerId> {
        let (mut outputs, mut answered) = (Vec::new(), Vec::new());
        while !serving.is_idle() {
            serving.turn(&mut outputs);
            answered.extend(outputs.drain(..).map(|output| match output {
                Output::ToNode { to: Some(peer), message } if matches!(*message, NodeMessage::Range(_)) => peer,
                other => panic!("no range: {other:?}"),
            }));
        }
        answered
    }

    #[test]
    fn each_validator_has_a_place_before_whoever_else_asks_and_nobody_has_two() {
        let (_dir, session, last) = begun();
        let peer = |slot| PeerId { slot, generation: 1 };
        let range = Asked::Range(RangeRow { from: Height(1), count: 1, reserved: [0; 4] });
        for stepped in [true, false] {
            let mut serving = Serving::of(&session, stepped);
            let ask = |serving: &mut Serving, slot, validator| {
                serving.ask(Asker { peer: peer(slot), validator }, range, last);
            };
            // As many as have no place, before the validators come.
            let others = 2 * SERVED_QUESTIONS_MAX as u32 + 1;
            (0..others).for_each(|slot| ask(&mut serving, slot, None));
            (0..3).for_each(|slot| ask(&mut serving, 100 + slot, Some(slot)));
            // Of one node there is one question, however it is connected.
            (0..3).for_each(|slot| ask(&mut serving, 200 + slot, Some(slot)));
            let first = SERVED_QUESTIONS_MAX as u32;
            let expected: Vec<PeerId> = (100..103).chain(0..first).map(peer).collect();
            assert_eq!(answered(&mut serving), expected, "stepped: {stepped}");
            (0..20).for_each(|_| ask(&mut serving, 1, None));
            ask(&mut serving, 2, None);
            assert_eq!(answered(&mut serving), [peer(1), peer(2)], "stepped: {stepped}");
        }
    }

    /// What is with the thread cannot be overtaken, so that little is.
    #[test]
    fn a_validator_waits_for_few_of_those_who_asked_before_it() {
        let (_dir, session, last) = begun();
        let range = Asked::Range(RangeRow { from: Height(1), count: 1, reserved: [0; 4] });
        let mut serving = Serving::of(&session, false);
        let of = |slot, validator| Asker { peer: PeerId { slot, generation: 1 }, validator };
        (0..SERVED_QUESTIONS_MAX as u32).for_each(|slot| serving.ask(of(slot, None), range, last));
        serving.turn(&mut Vec::new());
        serving.ask(of(100, Some(0)), range, last);
        let place = answered(&mut serving).iter().position(|peer| peer.slot == 100).expect("an answer");
        assert!(place <= SERVED_AT_ONCE_MAX, "{place} before it");
    }

    #[test]
    fn what_nobody_asks_for_any_more_is_not_kept_open() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = dir.path().canonicalize().expect("a path").join("session");
        let last = played(&at);
        let session = Session::open(&at).expect("the session");
        let mut sources = Sources::of(&session);
        // Segments are mapped, or read and closed again, which no list of open files shows.
        let open = || open_files(&at.join("snapshots"));
        assert_eq!(open(), 0);
        let of = Asker { peer: PeerId::LOCAL, validator: None };
        let ask = |sources: &mut Sources, what| sources.answer(&Question { of, what, last });
        let range = Asked::Range(RangeRow { from: Height(1), count: 1, reserved: [0; 4] });
        for _ in 0..2 {
            assert!(matches!(ask(&mut sources, range), Some(NodeMessage::Range(found)) if found.len() == 1));
            let asked = Instant::now();
            assert!(matches!(ask(&mut sources, Asked::Snapshot(Height::GENESIS)), Some(NodeMessage::Snapshot(_))));
            sources.rest(asked + OPEN_FOR - Duration::from_secs(1));
            assert!(open() > 0, "whoever fetches goes on with them");
            sources.rest(Instant::now() + OPEN_FOR + Duration::from_secs(1));
            assert_eq!(open(), 0, "packs that are removed give their room back");
        }
    }
}
