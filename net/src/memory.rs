//! A network in memory: sockets that lose, delay, reorder and duplicate packets, and addresses that are cut off from each
//! other, all from a seed. QUIC and everything above it is the same code as over the system's sockets.
//!
//! Under a paused tokio clock time is virtual: an hour of loss takes seconds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::transport::{Carrier, endpoint};

/// Packets that may wait at a socket; what comes on top is lost, as in a full buffer of the system.
const QUEUE: usize = 4_096;

/// What befalls packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conditions {
    /// Packets lost, in a thousand.
    pub lost: u32,
    /// Packets that arrive twice, in a thousand.
    pub doubled: u32,
    /// The shortest way, and the longest: where they differ, packets overtake each other.
    pub delay: (Duration, Duration),
}

impl Conditions {
    /// Nothing befalls them, and they take no time.
    pub const NONE: Self = Self { lost: 0, doubled: 0, delay: (Duration::ZERO, Duration::ZERO) };
}

/// What happened to packets so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Traffic {
    /// Packets that were sent.
    pub sent: u64,
    /// Lost on the way, or cut off.
    pub lost: u64,
    /// Arrived twice.
    pub doubled: u64,
    /// Arrived after one that was sent later.
    pub overtaken: u64,
}

/// A network of one process, whose packets are lost, late or doubled as its conditions say.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

struct State {
    rng: ChaCha8Rng,
    conditions: Conditions,
    cut: BTreeSet<SocketAddr>,
    boxes: BTreeMap<SocketAddr, Mailbox>,
    traffic: Traffic,
}

#[derive(Default)]
struct Mailbox {
    arrived: VecDeque<(SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
    newest: u64,
}

/// A lock that a panicking holder left is still good: every change under it is a single step.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    /// A network whose every choice follows from `seed`.
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        let (cut, boxes, traffic) = (BTreeSet::new(), BTreeMap::new(), Traffic::default());
        Self(Arc::new(Mutex::new(State { rng: ChaCha8Rng::seed_from_u64(seed), conditions, cut, boxes, traffic })))
    }

    /// A socket at an address that nobody has yet.
    pub fn socket(&self, address: SocketAddr) -> Carrier {
        lock(&self.0).boxes.insert(address, Mailbox::default());
        Carrier::Other(Arc::new(Socket { network: self.clone(), address }))
    }

    /// What clients at an address that nobody has yet share, as they share a socket of the system.
    ///
    /// # Errors
    /// If it cannot be made. Must be called inside a runtime.
    pub fn endpoint(&self, address: SocketAddr) -> io::Result<quinn::Endpoint> {
        endpoint(self.socket(address))
    }

    /// Changes what befalls packets from now on.
    pub fn set(&self, conditions: Conditions) {
        lock(&self.0).conditions = conditions;
    }

    /// Cuts an address off from all others, or joins it again.
    pub fn cut(&self, address: SocketAddr, off: bool) {
        let mut state = lock(&self.0);
        if off {
            state.cut.insert(address);
        } else {
            state.cut.remove(&address);
        }
    }

    /// What happened so far.
    pub fn traffic(&self) -> Traffic {
        lock(&self.0).traffic
    }

    fn send(&self, from: SocketAddr, to: SocketAddr, packet: &[u8]) {
        let mut state = lock(&self.0);
        let number = state.traffic.sent;
        state.traffic.sent += 1;
        let Conditions { lost, doubled, delay } = state.conditions;
        let mut once_in_thousand = |times: u32| state.rng.next_u64() % 1_000 < u64::from(times);
        // Both are drawn for every packet, whatever becomes of it: the draws of later ones do not depend on who is cut
        // off.
        let (is_lost, is_doubled) = (once_in_thousand(lost), once_in_thousand(doubled));
        if is_lost || state.cut.contains(&from) || state.cut.contains(&to) {
            state.traffic.lost += 1;
            return;
        }
        state.traffic.doubled += u64::from(is_doubled);
        let spread = (delay.1 - delay.0).as_micros() as u64 + 1;
        for _ in 0..1 + u32::from(is_doubled) {
            let after = delay.0 + Duration::from_micros(state.rng.next_u64() % spread);
            if after.is_zero() {
                state.arrive(from, to, packet.to_vec(), number);
                continue;
            }
            let (network, packet) = (self.clone(), packet.to_vec());
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                lock(&network.0).arrive(from, to, packet, number);
            });
        }
    }
}

impl State {
    fn arrive(&mut self, from: SocketAddr, to: SocketAddr, packet: Vec<u8>, number: u64) {
        // The socket may have been closed while the packet was on its way.
        let Some(mailbox) = self.boxes.get_mut(&to) else { return };
        if mailbox.arrived.len() >= QUEUE || self.cut.contains(&to) {
            self.traffic.lost += 1;
            return;
        }
        self.traffic.overtaken += u64::from(number < mailbox.newest);
        mailbox.newest = mailbox.newest.max(number);
        mailbox.arrived.push_back((from, packet));
        if let Some(waker) = mailbox.waker.take() {
            waker.wake();
        }
    }
}

struct Socket {
    network: Network,
    address: SocketAddr,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket({})", self.address)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        lock(&self.network.0).boxes.remove(&self.address);
    }
}

/// Always ready: what does not fit is lost.
#[derive(Debug)]
struct Ready;

impl UdpPoller for Ready {
    fn poll_writable(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Ready)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        transmit.contents.chunks(size).for_each(|packet| self.network.send(self.address, transmit.destination, packet));
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.network.0);
        let Some(mailbox) = state.boxes.get_mut(&self.address) else { return Poll::Pending };
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta.iter_mut()) {
            let Some((from, packet)) = mailbox.arrived.pop_front() else { break };
            let len = packet.len().min(buf.len());
            buf[..len].copy_from_slice(&packet[..len]);
            *meta = RecvMeta { addr: from, len, stride: len, ecn: None, dst_ip: None };
            count += 1;
        }
        // The waker is left under the same lock under which packets arrive, so that none comes in between unseen.
        if count == 0 {
            mailbox.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}
