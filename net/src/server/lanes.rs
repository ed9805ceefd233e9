//! Lanes: what goes between two nodes, a stream each way for each of them, so that none waits for a later one.
//!
//! ```text
//!  the tick -> Parcel (encoded once) -> queue of each lane of each node (bounded) -> stream, by priority
//!  stream -> decoder -> as many as the tick has room for -> Intake -> the tick
//! ```
//! What a queue has no room for is left out by rules that lose nothing for good: votes and bodies of heights that are
//! decided go first, intents are the clients' to send again, and history is asked for again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use engine::io::Input;
use engine::limits::{AHEAD_HEIGHTS, LANE_BYTES_PER_MS, LANE_QUEUE_BYTES, LANE_UNTAKEN_BYTES, LANES, TICK_MS};
use engine::message::node::{Lane, NodeKind, NodeMessage};
use engine::{Height, PeerId};
use quinn_proto::{Connection, Dir, ReadError, StreamId, WriteError};

use crate::session::{Close, CloseCode};
use crate::wire::{Decoder, encode_node};

/// Bytes that are read of a stream at once.
const READ_BYTES: usize = 64 * 1024;
/// What a message counts for at least: what it takes in the tick's queue, however short it is.
const LEAST_BYTES: usize = 256;
/// How far a lane may be ahead of its pace when another message is read: what a tick may bring at once.
const AHEAD: Duration = Duration::from_millis(TICK_MS);
/// Time for a message between nodes, from its first byte to its last: the largest has two mebibytes.
const PATIENCE: Duration = Duration::from_secs(10);

/// How urgent each lane is to QUIC. The stream that both have beside the lanes lies between intents and history.
const PRIORITIES: [i32; LANES] = [4, 3, 2, 0];

/// Something that a node says to others, encoded once for all of them.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    bytes: Bytes,
    kind: NodeKind,
    /// The height that it helps to decide, if it is of no use once that is decided.
    height: Option<Height>,
    /// It answers a question, or greets: it goes to a node however far that is behind.
    is_for_one: bool,
}

impl Parcel {
    /// What is said, to one node or to all.
    pub(super) fn of(message: &NodeMessage, is_for_one: bool) -> Self {
        let mut bytes = Vec::new();
        encode_node(message, &mut bytes);
        let height = match message {
            NodeMessage::Votes(votes) => votes.iter().map(|vote| vote.body.height).max(),
            NodeMessage::Proposal(proposal) => Some(proposal.body.height),
            NodeMessage::Body(block) => Some(block.header.height),
            NodeMessage::Polka(polka) => Some(polka.height),
            NodeMessage::Round(round) => Some(round.height),
            _ => None,
        };
        Self { bytes: bytes.into(), kind: message.kind(), height, is_for_one }
    }

    fn is_over(&self, decided: Height) -> bool {
        self.height.is_some_and(|height| height <= decided)
    }
}

/// What waits for one lane of one node.
#[derive(Default)]
struct Queue {
    stream: Option<StreamId>,
    waiting: VecDeque<Parcel>,
    /// Bytes of those.
    bytes: usize,
    /// What is written now.
    writing: Option<Bytes>,
}

impl Queue {
    /// Takes a parcel. Says how many were left out for it, itself included.
    fn push(&mut self, parcel: Parcel, lane: Lane, decided: Height) -> u64 {
        let most = LANE_QUEUE_BYTES[lane as usize];
        let before = self.waiting.len();
        if parcel.kind == NodeKind::Standing {
            // Only the last one says where this node stands.
            self.retain(|waits| waits.kind != NodeKind::Standing);
        }
        // What helps to decide a height is of no use once that is decided: it goes before anything else does.
        if self.bytes + parcel.bytes.len() > most {
            self.retain(|waits| !waits.is_over(decided));
        }
        if lane == Lane::History && self.bytes + parcel.bytes.len() > most && !self.waiting.is_empty() {
            // Nobody waits for this answer alone: whoever asked asks again, or asks another node.
            return 1;
        }
        while self.bytes + parcel.bytes.len() > most {
            // A claim is made once for a connection: without it this node would be no validator to the other one.
            let Some(oldest) = self.waiting.iter().position(|waits| waits.kind != NodeKind::Claim) else { break };
            let left_out = self.waiting.remove(oldest).expect("found above");
            self.bytes -= left_out.bytes.len();
        }
        let left_out = before - self.waiting.len();
        self.bytes += parcel.bytes.len();
        self.waiting.push_back(parcel);
        left_out as u64
    }

    fn retain(&mut self, stays: impl Fn(&Parcel) -> bool) {
        self.waiting.retain(stays);
        self.bytes = self.waiting.iter().map(|parcel| parcel.bytes.len()).sum();
    }

    fn write(&mut self, line: &mut Connection, lane: usize) {
        assert_eq!(self.waiting.is_empty(), self.bytes == 0, "bytes are counted as parcels come and go");
        if self.writing.is_none() && self.waiting.is_empty() {
            return;
        }
        if self.stream.is_none() {
            // The other node allows the stream once it has taken this one for a node; until then everything waits.
            let Some(stream) = line.streams().open(Dir::Uni) else { return };
            let _ = line.send_stream(stream).set_priority(PRIORITIES[lane]);
            self.stream = Some(stream);
        }
        let Some(stream) = self.stream else { return };
        let mut stream = line.send_stream(stream);
        loop {
            let Some(mut bytes) = self.writing.take().or_else(|| {
                let next = self.waiting.pop_front()?;
                self.bytes -= next.bytes.len();
                Some(next.bytes)
            }) else {
                return;
            };
            let written = stream.write_chunks(std::slice::from_mut(&mut bytes));
            match written {
                Ok(_) if bytes.is_empty() => {}
                Ok(_) | Err(WriteError::Blocked) => {
                    self.writing = Some(bytes);
                    return;
                }
                // The connection is about to end.
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => return,
            }
        }
    }

    fn held_bytes(&self) -> usize {
        self.bytes + self.writing.as_ref().map_or(0, Bytes::len)
    }
}

/// Bytes of each lane that the tick has not taken yet.
#[derive(Default, Debug)]
struct Untaken([AtomicUsize; LANES]);

/// What a node said, for the tick.
pub(super) struct FromNode {
    input: Input,
    lane: Lane,
    bytes: usize,
    untaken: Arc<Untaken>,
}

/// Where what nodes say is put for the tick.
pub(super) struct Intake {
    said: Sender<FromNode>,
    urgent: Sender<()>,
}

/// Where what nodes say waits for the tick. It has no bound of its own: each lane of each node has one.
pub(super) struct Said {
    said: Receiver<FromNode>,
    urgent: Receiver<()>,
}

/// Where what came is put in, and where the tick takes it.
pub(super) fn intake() -> (Intake, Said) {
    let ((said_in, said), (urgent_in, urgent)) = (crossbeam_channel::unbounded(), crossbeam_channel::bounded(1));
    (Intake { said: said_in, urgent: urgent_in }, Said { said, urgent })
}

impl Intake {
    /// For the tick; one that is gone needs nothing.
    fn put(&self, one: FromNode) {
        // Votes and bodies let a height go on: the tick need not wait for its time to hear them.
        let is_urgent = matches!(one.lane, Lane::Order | Lane::Bodies);
        let _ = self.said.send(one);
        // The channel holds one sign: where one is there already, the tick hears this message with those before it.
        if is_urgent {
            let _ = self.urgent.try_send(());
        }
    }
}

impl Said {
    /// What waits now, in order.
    pub(super) fn take(&self) -> impl Iterator<Item = Input> {
        // The sign is taken before the messages are: what is put from here on gives a new one, and none is overlooked.
        let _ = self.urgent.try_recv();
        self.said.try_iter().take(self.said.len()).map(FromNode::take)
    }

    /// Says, once, that something waits on which a height may wait.
    pub(super) fn urgent(&self) -> &Receiver<()> {
        &self.urgent
    }
}

impl FromNode {
    /// The tick takes it: there is room for more.
    fn take(self) -> Input {
        let before = self.untaken.0[self.lane as usize].fetch_sub(self.bytes, Ordering::Relaxed);
        // Both sides count alike: a lane that counted below nothing would have no bound any more.
        assert!(before >= self.bytes, "the tick takes what was counted when it was put");
        self.input
    }
}

/// A stream that the other node opened.
struct Incoming {
    stream: StreamId,
    decoder: Decoder<NodeMessage>,
    /// When the message that has begun must be whole.
    deadline: Option<Duration>,
    /// When what was read so far would have come at the lane's pace.
    paced: Duration,
    is_stalled: bool,
}

impl Incoming {
    fn new(stream: StreamId) -> Self {
        let decoder = Decoder::between_nodes();
        Self { stream, decoder, deadline: None, paced: Duration::ZERO, is_stalled: false }
    }

    /// Whether another message, which may be the largest there is, may be read: the tick has room for it, and the lane is not
    /// ahead of its pace.
    fn may_read(&self, untaken: &Untaken, now: Duration) -> bool {
        let has_room =
            |lane: Lane| untaken.0[lane as usize].load(Ordering::Relaxed) < LANE_UNTAKEN_BYTES[lane as usize];
        self.decoder.lane().is_none_or(has_room) && self.paced <= now + AHEAD
    }

    /// So many bytes of a lane were read.
    fn note(&mut self, lane: Lane, bytes: usize, now: Duration) {
        let takes_ns = bytes as u64 * 1_000_000 / LANE_BYTES_PER_MS[lane as usize] as u64;
        // A lane that was silent has no credit for it: a burst after a pause is held to the pace like any other.
        self.paced = self.paced.max(now) + Duration::from_nanos(takes_ns);
    }
}

/// All lanes of one node.
pub(super) struct Lanes {
    queues: [Queue; LANES],
    incoming: Vec<Incoming>,
    untaken: Arc<Untaken>,
    /// The height that the other node told as decided; nothing before it told.
    pub(super) told: Option<Height>,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self { queues: Default::default(), incoming: Vec::new(), untaken: Arc::default(), told: None }
    }

    /// Takes a parcel for the other node. Says how many were left out. A node that is far behind is pushed nothing but
    /// standings: it asks.
    pub(super) fn say(&mut self, parcel: &Parcel, decided: Height) -> u64 {
        // The other one may say any height at all: whoever says the highest is ahead.
        let is_far = self.told.is_some_and(|told| told.0.saturating_add(AHEAD_HEIGHTS) < decided.0);
        // Votes of heights that it has not reached help it with nothing, and would fill its lanes while it catches up.
        if is_far && !parcel.is_for_one && parcel.kind != NodeKind::Standing {
            return 0;
        }
        let lane = parcel.kind.lane();
        self.queues[lane as usize].push(parcel.clone(), lane, decided)
    }

    /// Writes what the streams take, the most urgent first.
    pub(super) fn write(&mut self, line: &mut Connection) {
        for (lane, queue) in self.queues.iter_mut().enumerate() {
            queue.write(line, lane);
        }
    }

    /// Reads what there is, as far as the tick has room for it. `take` hears of each message first.
    ///
    /// # Errors
    /// What is no message, or comes on the wrong stream, or not in time.
    pub(super) fn read(
        &mut self,
        line: &mut Connection,
        (now, from): (Duration, PeerId),
        intake: &Intake,
        mut take: impl FnMut(&NodeMessage),
    ) -> Result<(), Close> {
        while let Some(stream) = line.streams().accept(Dir::Uni) {
            self.incoming.push(Incoming::new(stream));
        }
        let Self { incoming, untaken, told, .. } = self;
        for at in 0..incoming.len() {
            let has_lane = incoming[at].decoder.lane();
            let one = &mut incoming[at];
            loop {
                while one.may_read(untaken, now) {
                    let Some(message) = one.decoder.next_message()? else { break };
                    one.deadline = None;
                    if let NodeMessage::Standing(standing) = &message {
                        *told = Some(standing.decided);
                    }
                    take(&message);
                    let lane = message.kind().lane();
                    let bytes = one.decoder.last_bytes().max(LEAST_BYTES);
                    one.note(lane, bytes, now);
                    untaken.0[lane as usize].fetch_add(bytes, Ordering::Relaxed);
                    let input = Input::Node { from, message: Box::new(message) };
                    intake.put(FromNode { input, lane, bytes, untaken: Arc::clone(untaken) });
                }
                one.is_stalled = !one.may_read(untaken, now);
                // Its bytes stay in the window of QUIC, so that the other node stops sending.
                if one.is_stalled {
                    break;
                }
                let Some(bytes) = read(line, one.stream)? else { break };
                one.decoder.push(&bytes);
            }
            // One deadline for a message, however many pieces it comes in.
            one.deadline = match one.decoder.unfinished() > 0 && !one.is_stalled {
                true => one.deadline.or(Some(now + PATIENCE)),
                false => None,
            };
            if one.deadline.is_some_and(|deadline| deadline <= now) {
                return Err(Close::new(
                    CloseCode::Timeout,
                    format!("no whole message within {} s", PATIENCE.as_secs()),
                ));
            }
            let lane = incoming[at].decoder.lane();
            // Each stream may hold an unfinished message: with several of one lane there would be no bound on what a
            // node holds.
            if has_lane.is_none()
                && let Some(lane) = lane
                && incoming.iter().filter(|other| other.decoder.lane() == Some(lane)).count() > 1
            {
                return Err(Close::new(CloseCode::Malformed, "two streams of one lane"));
            }
        }
        Ok(())
    }

    /// Whether a lane may have more than may be read now.
    pub(super) fn is_stalled(&self) -> bool {
        self.incoming.iter().any(|incoming| incoming.is_stalled)
    }

    /// When a message that has begun must be whole.
    pub(super) fn due(&self) -> Option<Duration> {
        self.incoming.iter().filter_map(|incoming| incoming.deadline).min()
    }

    /// Bytes that wait in this process, to be read or to be written.
    pub(super) fn held_bytes(&self) -> usize {
        let untaken: usize = self.untaken.0.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum();
        let unfinished: usize = self.incoming.iter().map(|incoming| incoming.decoder.unfinished()).sum();
        untaken + unfinished + self.queues.iter().map(Queue::held_bytes).sum::<usize>()
    }
}

/// What a stream has to be read.
fn read(line: &mut Connection, stream: StreamId) -> Result<Option<Bytes>, Close> {
    let ended = || Close::new(CloseCode::Done, "a lane ended");
    let mut stream = line.recv_stream(stream);
    let Ok(mut chunks) = stream.read(true) else { return Err(ended()) };
    let read = match chunks.next(READ_BYTES) {
        Ok(Some(chunk)) => Ok(Some(chunk.bytes)),
        Ok(None) | Err(ReadError::Reset(_)) => Err(ended()),
        Err(ReadError::Blocked) => Ok(None),
    };
    // Whether QUIC has something to send now need not be remembered: whatever was moved is asked for what it has to
    // say.
    let _ = chunks.finalize();
    read
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;
    use engine::message::intent::Intent;
    use engine::message::node::{BlockRow, NodeStanding};
    use engine::message::vote::{Vote, VoteBody, VoteKind};

    use super::*;

    fn votes(height: u64, count: usize) -> Parcel {
        let body = VoteBody::new(VoteKind::Prevote, Height(height), 0, None, 1);
        Parcel::of(&NodeMessage::Votes(vec![Vote { body, signature: [1; 64] }; count]), false)
    }

    fn heights(queue: &Queue) -> Vec<u64> {
        queue.waiting.iter().filter_map(|parcel| parcel.height).map(|height| height.0).collect()
    }

    #[test]
    fn a_full_lane_leaves_out_what_is_decided_and_then_the_oldest() {
        let mut queue = Queue::default();
        let most = LANE_QUEUE_BYTES[Lane::Order as usize] / votes(1, 256).bytes.len();
        let left_out: u64 = (0..most as u64).map(|height| queue.push(votes(height, 256), Lane::Order, Height(0))).sum();
        assert_eq!((left_out, queue.waiting.len()), (0, most));
        assert_eq!(queue.push(votes(99, 256), Lane::Order, Height(2)), 3, "heights 0 to 2 are decided");
        assert_eq!(queue.push(votes(100, 256), Lane::Order, Height(2)), 0);
        assert_eq!(queue.push(votes(101, 256), Lane::Order, Height(2)), 0);
        assert_eq!(queue.push(votes(102, 256), Lane::Order, Height(2)), 1, "the oldest goes");
        assert_eq!(heights(&queue)[0], 4);
        assert!(queue.bytes <= LANE_QUEUE_BYTES[Lane::Order as usize]);
    }

    #[test]
    fn a_lane_is_read_at_its_pace() {
        let untaken = Untaken::default();
        for lane in Lane::ALL {
            let mut incoming = Incoming::new(StreamId::new(quinn_proto::Side::Client, Dir::Uni, 0));
            let (mut read, message) = (0, lane.bytes_max().min(100 * 1024));
            for ms in 1_000..2_000 {
                let now = Duration::from_millis(ms);
                while incoming.may_read(&untaken, now) {
                    incoming.note(lane, message, now);
                    read += message;
                }
            }
            let paced = 1_000 * LANE_BYTES_PER_MS[lane as usize];
            let ahead = TICK_MS as usize * LANE_BYTES_PER_MS[lane as usize] + message;
            assert!((paced..=paced + ahead).contains(&read), "{lane:?}: {read} of {paced}");
        }
    }

    #[test]
    fn of_standings_only_the_last_waits() {
        let mut lanes = Lanes::new();
        for height in 0..100 {
            let standing = NodeStanding { decided: Height(height), ..NodeStanding::default() };
            lanes.say(&Parcel::of(&NodeMessage::Standing(standing), false), Height(height));
        }
        assert_eq!(lanes.queues[Lane::Order as usize].waiting.len(), 1);
    }

    #[test]
    fn a_node_far_behind_is_pushed_nothing_and_answered_everything() {
        let mut lanes = Lanes::new();
        let ask = NodeMessage::AskBody(BlockRow { height: Height(9), block: [1; 32] });
        let count = |lanes: &Lanes| lanes.queues.iter().map(|queue| queue.waiting.len()).sum::<usize>();
        lanes.say(&votes(20, 1), Height(19));
        assert_eq!(count(&lanes), 1, "it has not told where it stands");
        lanes.told = Some(Height(10));
        lanes.say(&votes(20, 1), Height(19));
        lanes.say(&Parcel::of(&NodeMessage::Intents(vec![Intent::zeroed()]), false), Height(19));
        assert_eq!(count(&lanes), 1);
        lanes.say(&Parcel::of(&ask, true), Height(19));
        lanes.say(&Parcel::of(&NodeMessage::Standing(NodeStanding::default()), false), Height(19));
        assert_eq!(count(&lanes), 3);
        lanes.told = Some(Height(15));
        lanes.say(&votes(20, 1), Height(19));
        assert_eq!(count(&lanes), 4);
        lanes.told = Some(Height(u64::MAX));
        lanes.say(&votes(20, 1), Height(19));
        assert_eq!(count(&lanes), 5, "whatever it says, it is not behind");
    }
}
