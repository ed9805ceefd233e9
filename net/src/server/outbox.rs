//! Outbox: what waits to be written to the two streams of a connection, within bounds.

use std::time::Duration;

use engine::io::NodeStatus;
use engine::limits::{CONTROL_QUEUE_BYTES, MESSAGE_INTENTS_MAX, PEER_CREDIT, PEER_PLEDGE_CREDIT, UPDATES_QUEUE_BYTES};
use quinn_proto::{Connection, Dir, SendStream, StreamId, WriteError};

use crate::session::{Close, CloseCode};
use crate::transport::{ANSWERS_HELD_MAX, ANSWERS_QUEUED_MAX, UPDATES_BYTES_MAX, WRITTEN_BYTES_MAX, answers_bytes};
use crate::wire::{Answer, HEADER_BYTES, Kind, ToClient, encode_answers, genesis_header};

/// How long a peer may be behind with what it is told.
pub(super) const BEHIND: Duration = Duration::from_secs(10);
/// How often a peer is told the whole of what it watches while changes are left out.
const THIN: Duration = Duration::from_secs(1);

// Of an intent or a pledge within its credit one answer waits at most: the last one takes the place of its acknowledgement. Where no
// last answer waits there is room for those of a whole message beside them, so that what has begun to arrive can always be read to its
// end.
const _: () = assert!(ANSWERS_QUEUED_MAX >= (PEER_CREDIT + PEER_PLEDGE_CREDIT) as usize + MESSAGE_INTENTS_MAX);

/// Makes room for so many more in a list that has `most` at most. It grows as any list does, and not beyond that: a connection holds no
/// more than is counted for it, and a list that is filled again and again keeps its room.
fn grow<T>(list: &mut Vec<T>, more: usize, most: usize) {
    let needed = list.len() + more;
    if needed > list.capacity() {
        let room = (2 * list.capacity()).max(4).clamp(needed, needed.max(most));
        list.reserve_exact(room - list.len());
    }
}

fn not_read(what: &str) -> Close {
    Close::new(CloseCode::SlowReader, format!("{what} was not read"))
}

/// Bytes on their way into a stream.
#[derive(Default)]
struct Writing {
    bytes: Vec<u8>,
    written: usize,
    /// The peer wants no more of this stream.
    is_stopped: bool,
}

impl Writing {
    /// Writes what the stream takes. Says whether all of it is written.
    fn write(&mut self, stream: &mut SendStream<'_>) -> bool {
        let whole = self.write_from(stream, None);
        if whole {
            self.bytes.clear();
            self.written = 0;
        }
        whole
    }

    /// The same of bytes that lie elsewhere, from a place on that moves.
    fn write_from(&mut self, stream: &mut SendStream<'_>, other: Option<(&[u8], &mut usize)>) -> bool {
        let Self { bytes, written, is_stopped } = self;
        let (bytes, written) = other.unwrap_or((bytes, written));
        while *written < bytes.len() && !*is_stopped {
            match stream.write(&bytes[*written..]) {
                Ok(count) => *written += count,
                Err(WriteError::Blocked) => return false,
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => *is_stopped = true,
            }
        }
        !*is_stopped
    }
}

/// What goes over the stream that the client opened, or that this node opened to one that it dialled.
#[derive(Default)]
pub(super) struct Answers {
    /// Once it is there.
    pub(super) stream: Option<StreamId>,
    /// Whole messages, which go before answers.
    control: Vec<u8>,
    answers: Vec<Answer>,
    /// Acknowledgements that go with the next answer, unless that is their own receipt, and since when each is held.
    held: Vec<(Duration, Answer)>,
    /// Whether anything waits beside them.
    is_due: bool,
    genesis_wanted: bool,
    status_wanted: bool,
    /// Since when nothing more is heard, for want of room.
    full: Option<Duration>,
    writing: Writing,
    /// How much of the genesis is written, while it is.
    genesis: Option<usize>,
}

impl Answers {
    /// Bytes that wait.
    pub(super) fn held_bytes(&self) -> usize {
        let held = self.held.capacity() * size_of::<(Duration, Answer)>();
        self.control.capacity() + self.answers.capacity() * size_of::<Answer>() + held + self.writing.bytes.capacity()
    }

    /// Whether nothing waits but acknowledgements that are held.
    pub(super) fn is_written(&self) -> bool {
        !self.is_due && self.writing.bytes.is_empty() && self.genesis.is_none()
    }

    /// A message that goes before all answers.
    ///
    /// # Errors
    /// If the peer does not read them.
    pub(super) fn control(&mut self, message: &ToClient) -> Result<(), Close> {
        message.encode(&mut self.control);
        self.is_due = true;
        if self.control.len() > CONTROL_QUEUE_BYTES {
            return Err(not_read("what a node tells another"));
        }
        // A message grows the list as it is put together: what that took beyond the bound is given back.
        self.control.shrink_to(CONTROL_QUEUE_BYTES);
        Ok(())
    }

    /// Bytes of messages for a node that this one dialled.
    pub(super) fn tell(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.control);
        self.is_due = true;
    }

    /// An answer to an intent or a pledge.
    ///
    /// # Errors
    /// If the peer does not read them.
    pub(super) fn answer(&mut self, answer: Answer) -> Result<(), Close> {
        // The last answer says all that an acknowledgement would: one that still waits is left out. And what is asked again and
        // again before anything is read has one answer.
        self.answers.retain(|waits| waits.id != answer.id || waits.is_final() && *waits != answer);
        self.held.retain(|(_, acknowledged)| acknowledged.id != answer.id);
        grow(&mut self.answers, 1, ANSWERS_QUEUED_MAX);
        self.answers.push(answer);
        self.is_due = true;
        if self.answers.len() > ANSWERS_QUEUED_MAX { Err(not_read("answers")) } else { Ok(()) }
    }

    /// Intents that may be heard now, so that there is room for the last answer of each, and of what waits for its own.
    pub(super) fn room(&self, unanswered: usize) -> usize {
        let last = self.answers.iter().filter(|answer| answer.is_final()).count();
        ANSWERS_QUEUED_MAX.saturating_sub(last + unanswered)
    }

    /// Nobody will read what waits.
    pub(super) fn forget(&mut self) {
        self.answers.clear();
        self.held.clear();
    }

    /// Nothing more is heard, or something is again.
    ///
    /// # Errors
    /// If nothing could be heard for too long, since the peer does not read.
    pub(super) fn keep_time(&mut self, is_full: bool, now: Duration) -> Result<(), Close> {
        self.full = is_full.then(|| self.full.unwrap_or(now));
        if self.full.is_some_and(|since| now >= since + BEHIND) { Err(not_read("answers")) } else { Ok(()) }
    }

    /// When the peer is put out if it has read nothing, while nothing more is heard.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.full.map(|since| since + BEHIND)
    }

    /// An acknowledgement that goes with the next answer, unless that is its own receipt, or by [`Answers::release`].
    pub(super) fn hold(&mut self, acknowledged: Answer, now: Duration) {
        // This needs no bound of its own: no more of different ones can wait than the peer has credit for.
        if self.held.iter().all(|(_, held)| held.id != acknowledged.id) {
            grow(&mut self.held, 1, ANSWERS_HELD_MAX);
            self.held.push((now, acknowledged));
        }
    }

    /// What is held since that moment or before goes out. Says whether there is any.
    pub(super) fn release(&mut self, since: Duration) -> bool {
        let is_any = self.held.iter().any(|(held, _)| *held <= since);
        self.is_due |= is_any;
        is_any
    }

    /// The genesis is wanted. Asked again before it was written, it is written once.
    pub(super) fn ask_genesis(&mut self) {
        self.genesis_wanted = true;
        self.is_due = true;
    }

    /// The status is wanted; once, however often that is said before it is written.
    pub(super) fn ask_status(&mut self) {
        self.status_wanted = true;
        self.is_due = true;
    }

    /// Writes what the stream takes.
    pub(super) fn write(&mut self, line: &mut Connection, genesis: &[u8], status: impl Fn() -> NodeStatus) {
        let Some(stream) = self.stream else { return };
        let mut stream = line.send_stream(stream);
        while self.writing.write(&mut stream) {
            if let Some(written) = &mut self.genesis {
                // Written from where it lies: it may be larger than all that a connection may hold.
                if !self.writing.write_from(&mut stream, Some((genesis, written))) {
                    return;
                }
                self.genesis = None;
            }
            if !std::mem::take(&mut self.is_due) {
                return;
            }
            self.fill(genesis, &status);
        }
    }

    /// What waits is what is written next.
    fn fill(&mut self, genesis: &[u8], status: impl Fn() -> NodeStatus) {
        let (is_genesis, is_status) =
            (std::mem::take(&mut self.genesis_wanted), std::mem::take(&mut self.status_wanted));
        let status_bytes = if is_status { HEADER_BYTES + Kind::Status.spec().bounds.most } else { 0 };
        let rest = if is_genesis { HEADER_BYTES } else { answers_bytes(self.answers.len() + self.held.len()) };
        let bytes = &mut self.writing.bytes;
        grow(bytes, self.control.len() + status_bytes + rest, WRITTEN_BYTES_MAX);
        // Copied, since these are few: in exchange for them the list of those bytes would be as large as what is written.
        bytes.append(&mut self.control);
        if is_status {
            ToClient::Status(status()).encode(bytes);
        }
        if is_genesis {
            bytes.extend_from_slice(&genesis_header(genesis.len()));
            // Answers wait until the genesis is written: they would otherwise stand in the middle of it.
            self.genesis = Some(0);
            self.is_due = !self.answers.is_empty() || !self.held.is_empty();
        } else {
            grow(&mut self.answers, self.held.len(), ANSWERS_QUEUED_MAX);
            // They came before the answers with which they go.
            self.answers.splice(..0, self.held.drain(..).map(|(_, acknowledged)| acknowledged));
            encode_answers(&self.answers, bytes);
            self.answers.clear();
        }
    }
}

/// What goes over the stream that this node opens to whoever watches something.
#[derive(Default)]
pub(super) struct Updates {
    /// Whether the peer has watched anything.
    pub(super) is_wanted: bool,
    stream: Option<StreamId>,
    bytes: Vec<u8>,
    /// Since when updates were left out.
    behind: Option<Duration>,
    /// Before when the peer is not told the whole, though it has caught up.
    whole_at: Option<Duration>,
    writing: Writing,
}

impl Updates {
    /// Bytes that wait.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.writing.bytes.capacity()
    }

    /// What changed at something the peer watches. Says whether there was room for it; one that is behind gets the whole
    /// once it has caught up. Left out for want of room or, where changes are `thin`, in any case.
    ///
    /// # Errors
    /// If it has been behind for too long.
    pub(super) fn push(&mut self, bytes: &[u8], thin: bool, now: Duration) -> Result<bool, Close> {
        // One update always fits, however large it is: the whole of a table would otherwise never be told.
        let is_full = !self.bytes.is_empty() && self.bytes.len() + bytes.len() > UPDATES_QUEUE_BYTES;
        if is_full || thin {
            self.whole_at = self.whole_at.max(thin.then(|| self.behind.unwrap_or(now) + THIN));
            let behind = *self.behind.get_or_insert(now);
            return if now - behind > BEHIND { Err(not_read("what it watches")) } else { Ok(false) };
        }
        grow(&mut self.bytes, bytes.len(), UPDATES_BYTES_MAX);
        self.bytes.extend_from_slice(bytes);
        Ok(true)
    }

    /// Updates were left out: the peer is to be told the whole again.
    pub(super) fn miss(&mut self, now: Duration) {
        self.behind.get_or_insert(now);
    }

    /// When the peer is to be told the whole though nothing arrives.
    pub(super) fn due(&self) -> Option<Duration> {
        // While something waits to be written, the stream itself says when it takes more.
        self.whole_at.filter(|_| self.bytes.is_empty() && self.writing.bytes.is_empty())
    }

    /// Whether a peer to which all was written is to be told the whole now.
    fn take_behind(&mut self, now: Duration) -> bool {
        if self.whole_at.is_some_and(|at| now < at) {
            return false;
        }
        self.whole_at = None;
        self.behind.take().is_some()
    }

    /// Writes what the stream takes. Says whether a peer that was behind has caught up.
    pub(super) fn write(&mut self, line: &mut Connection, now: Duration) -> bool {
        // A stream is opened for those alone who watch: others would hold a window for nothing.
        if !self.is_wanted {
            return false;
        }
        self.stream = self.stream.or_else(|| line.streams().open(Dir::Uni));
        let Some(stream) = self.stream else { return false };
        let mut stream = line.send_stream(stream);
        while self.writing.write(&mut stream) {
            if self.bytes.is_empty() {
                return self.take_behind(now);
            }
            std::mem::swap(&mut self.writing.bytes, &mut self.bytes);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::ANSWERS_BYTES_MAX;
    use crate::wire::AnswerVerdict;
    use engine::Height;
    use engine::io::{ChainProgress, Verdict};
    use engine::message::intent::IntentId;

    fn answer(number: u64, verdict: AnswerVerdict) -> Answer {
        Answer { id: IntentId { key: [1; 32], number, mark: [2; 16] }, verdict }
    }

    fn receipt(number: u64) -> Answer {
        answer(number, AnswerVerdict::Receipt { height: Height(1), index: 0, verdict: Verdict::Applied })
    }

    #[test]
    fn an_acknowledgement_that_is_held_is_left_out_once_its_receipt_is_there() {
        let (mut answers, at) = (Answers::default(), Duration::from_millis);
        answers.hold(answer(1, AnswerVerdict::Acknowledged), at(10));
        answers.hold(answer(2, AnswerVerdict::Acknowledged), at(20));
        assert!(answers.is_written(), "what is held alone makes no packet");
        assert!(answers.answer(receipt(1)).is_ok());
        assert!(!answers.is_written());
        let mut said = Vec::new();
        answers.is_due = false;
        answers.fill(&[], || unreachable!("nobody asked"));
        encode_answers(&[answer(2, AnswerVerdict::Acknowledged), receipt(1)], &mut said);
        assert_eq!(answers.writing.bytes, said, "the other one goes along");
    }

    #[test]
    fn an_acknowledgement_is_held_for_its_own_time_and_not_for_that_of_one_before() {
        let (mut answers, at) = (Answers::default(), Duration::from_millis);
        answers.hold(answer(1, AnswerVerdict::Acknowledged), at(10));
        assert!(answers.answer(receipt(1)).is_ok());
        answers.is_due = false;
        answers.hold(answer(2, AnswerVerdict::Acknowledged), at(105));
        assert!(
            !answers.release(at(10)) && answers.is_written(),
            "the first has its receipt, and the second was held later"
        );
        assert!(answers.release(at(105)) && !answers.is_written());
    }

    #[test]
    fn what_is_asked_again_and_again_has_one_answer_that_waits() {
        let (mut answers, at) = (Answers::default(), Duration::from_millis);
        for ms in 0..1_000 {
            answers.hold(answer(1, AnswerVerdict::Acknowledged), at(ms));
            assert!(answers.answer(answer(2, AnswerVerdict::Acknowledged)).is_ok());
            assert!(answers.answer(receipt(3)).is_ok());
        }
        assert_eq!((answers.held.len(), answers.answers.len()), (1, 2));
        assert!(answers.release(at(0)), "it waits no longer for having come again");
        // Another last word takes no receipt's place.
        let shed = answer(3, AnswerVerdict::Shed(engine::io::ShedReason::RateLimit));
        assert!(answers.answer(shed).is_ok() && answers.answer(answer(3, AnswerVerdict::Acknowledged)).is_ok());
        assert!(answers.answers.contains(&receipt(3)) && answers.answers.contains(&shed));
    }

    #[test]
    fn a_peer_that_reads_nothing_is_put_out_at_the_bound_of_each_queue() {
        let mut answers = Answers::default();
        let accepted = (0..).take_while(|number| answers.answer(receipt(*number)).is_ok()).count();
        assert_eq!(accepted, ANSWERS_QUEUED_MAX);
        let (mut updates, late) = (Updates::default(), Duration::from_secs(100));
        let fits = (0..).take_while(|_| updates.push(&[0; 1_000], false, late) == Ok(true)).count();
        assert_eq!(fits, UPDATES_QUEUE_BYTES / 1_000);
        assert_eq!(updates.push(&[0; 1_000], false, late + BEHIND), Ok(false), "it has the time to catch up");
        let put_out = updates.push(&[0; 1_000], false, late + BEHIND + Duration::from_millis(1));
        assert_eq!(put_out.map_err(|close| close.code), Err(CloseCode::SlowReader));
    }

    #[test]
    fn what_waits_takes_no_more_memory_than_is_counted_for_it() {
        let mut updates = Updates::default();
        // After one that is a little smaller, the largest has a list that would grow to twice its size.
        for bytes in [UPDATES_BYTES_MAX - 8, UPDATES_BYTES_MAX] {
            for _ in 0..2 {
                updates.bytes.clear();
                assert_eq!(updates.push(&vec![0; bytes], false, Duration::ZERO), Ok(true));
                std::mem::swap(&mut updates.writing.bytes, &mut updates.bytes);
            }
        }
        assert!(updates.held_bytes() <= 2 * UPDATES_BYTES_MAX, "{} bytes of updates", updates.held_bytes());
        let mut answers = Answers::default();
        let standing = ToClient::Standing(ChainProgress::default());
        for _ in 0..3 {
            while answers.control.len() + 100 < CONTROL_QUEUE_BYTES {
                assert!(answers.control(&standing).is_ok());
            }
            for number in 0..ANSWERS_QUEUED_MAX as u64 {
                if number < ANSWERS_HELD_MAX as u64 {
                    answers.hold(answer(number, AnswerVerdict::Acknowledged), Duration::ZERO);
                } else {
                    assert!(answers.answer(receipt(number)).is_ok());
                }
            }
            answers.writing.bytes.clear();
            answers.fill(&[], || unreachable!("nobody asked"));
        }
        assert!(answers.held_bytes() <= ANSWERS_BYTES_MAX, "{} bytes of answers", answers.held_bytes());
    }

    #[test]
    fn what_is_held_goes_out_behind_a_genesis_that_is_asked_for_meanwhile() {
        let mut answers = Answers::default();
        answers.hold(answer(1, AnswerVerdict::Acknowledged), Duration::ZERO);
        assert!(answers.release(Duration::ZERO));
        answers.ask_genesis();
        answers.is_due = false;
        answers.fill(&[7; 100], || unreachable!("nobody asked"));
        assert!(answers.is_due, "it was to go out by itself");
    }

    #[test]
    fn where_changes_are_thin_the_whole_is_told_once_a_second() {
        let (mut updates, mut told) = (Updates::default(), Vec::new());
        for ms in (0..3_500).step_by(100) {
            let now = Duration::from_millis(ms);
            assert_eq!(updates.push(&[0; 1_000], true, now), Ok(false));
            if updates.take_behind(now) {
                told.push(ms);
            }
            assert!(updates.due().is_none_or(|due| due <= now + THIN), "nobody waits for longer");
        }
        assert_eq!(told, [1_000, 2_100, 3_200]);
        assert_eq!(updates.push(&[0; 1_000], false, Duration::from_secs(4)), Ok(true));
        assert!(updates.take_behind(Duration::from_secs(5)), "what was left out last is told too");
        assert_eq!(updates.due(), None);
    }
}
