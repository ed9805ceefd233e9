//! Packets, many at a time: a turn takes all that have arrived, and what it sends leaves in batches.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use engine::limits::{PACKET_SEGMENTS_MAX, PACKETS_WAITING_MAX};
use quinn::udp::{self, BATCH_SIZE, RecvMeta};
use quinn::{AsyncUdpSocket, EcnCodepoint, Runtime, TokioRuntime, Transmit};
use tracing::warn;

use crate::transport::Carrier;

/// Bytes of the largest packet that is taken: QUIC says so to every peer.
const PACKET_BYTES: usize = 1_472;

/// The socket, and what is to be sent over it.
pub(crate) struct Packets {
    socket: Arc<dyn AsyncUdpSocket>,
    /// Room for what the system hands over at once.
    room: Box<[u8]>,
    waiting: VecDeque<(Transmit, Vec<u8>)>,
    /// Buffers to be filled again.
    spare: Vec<Vec<u8>>,
    /// Whether the socket failed the last time.
    fails: bool,
    /// Whether the system had no room for what waits.
    is_blocked: bool,
}

/// A packet that arrived.
pub(crate) struct Arrived<'a> {
    pub(crate) meta: RecvMeta,
    pub(crate) bytes: &'a [u8],
}

impl Arrived<'_> {
    pub(crate) fn ecn(&self) -> Option<EcnCodepoint> {
        self.meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8))
    }
}

impl Packets {
    /// Over what carries packets, inside the caller's runtime.
    pub(crate) fn over(carrier: Carrier) -> io::Result<Self> {
        let socket = match carrier {
            Carrier::Udp(socket) => TokioRuntime.wrap_udp_socket(socket)?,
            Carrier::Other(socket) => socket,
        };
        let room = vec![0; PACKET_BYTES * socket.max_receive_segments() * BATCH_SIZE].into();
        let (waiting, spare) = (VecDeque::new(), Vec::new());
        Ok(Self { socket, room, waiting, spare, fails: false, is_blocked: false })
    }

    /// The address of the socket.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Whether no packet of ours is cut into pieces on its way.
    pub(crate) fn keeps_whole(&self) -> bool {
        !self.socket.may_fragment()
    }

    /// Segments of one connection that a packet to be sent may have.
    pub(crate) fn segments(&self) -> usize {
        self.socket.max_transmit_segments().min(PACKET_SEGMENTS_MAX)
    }

    /// Takes as many packets as the system hands over at once; how many they were. If none is there, the task is woken once
    /// there is.
    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>, mut take: impl FnMut(Arrived<'_>)) -> Poll<usize> {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut parts = self.room.chunks_mut(self.room.len() / BATCH_SIZE).map(IoSliceMut::new);
        let mut room: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| parts.next().expect("the room has a part for each"));
        let received = match self.socket.poll_recv(cx, &mut room, &mut metas) {
            Poll::Ready(received) => received,
            Poll::Pending => return Poll::Pending,
        };
        let was_failing = std::mem::replace(&mut self.fails, received.is_err());
        let buffers = match received {
            Ok(buffers) => buffers,
            Err(error) => {
                // Anybody can make the system report that a port is closed.
                if error.kind() != io::ErrorKind::ConnectionReset && !was_failing {
                    warn!(%error, "nothing is received");
                }
                return Poll::Ready(0);
            }
        };
        let mut count = 0;
        for (meta, buffer) in metas.into_iter().zip(&room).take(buffers) {
            // The system may hand over several packets of one sender as one buffer.
            for bytes in buffer[..meta.len].chunks(meta.stride.max(1)) {
                take(Arrived { meta, bytes });
                count += 1;
            }
        }
        Poll::Ready(count)
    }

    /// Whether another packet may be made.
    pub(crate) fn has_room(&mut self) -> bool {
        if self.waiting.len() >= PACKETS_WAITING_MAX {
            self.send();
        }
        self.waiting.len() < PACKETS_WAITING_MAX
    }

    /// An empty buffer for a packet.
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Sends a packet with all that wait.
    pub(crate) fn push(&mut self, transmit: Transmit, bytes: Vec<u8>) {
        assert!(self.waiting.len() < PACKETS_WAITING_MAX, "no packet is made without room for it");
        self.waiting.push_back((transmit, bytes));
    }

    /// Takes back a buffer that is not needed.
    pub(crate) fn give_back(&mut self, mut buffer: Vec<u8>) {
        // More buffers than packets may wait are of no use: a burst must not keep its memory.
        if self.spare.len() < PACKETS_WAITING_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Whether the system has no room for what waits.
    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Sends what waits, as far as the system has room. Gives the packets sent.
    pub(crate) fn send(&mut self) {
        self.is_blocked = false;
        while let Some((transmit, bytes)) = self.waiting.pop_front() {
            let sent = self.socket.try_send(&udp::Transmit {
                destination: transmit.destination,
                ecn: transmit.ecn.and_then(|ecn| udp::EcnCodepoint::from_bits(ecn as u8)),
                contents: &bytes[..transmit.size],
                segment_size: transmit.segment_size,
                src_ip: transmit.src_ip,
            });
            if sent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                // The packet goes first the next time: the order in which a connection sent is kept.
                self.waiting.push_front((transmit, bytes));
                self.is_blocked = true;
                return;
            }
            // Any other error is one packet less, as if it had been lost on the way.
            self.give_back(bytes);
        }
    }
}
