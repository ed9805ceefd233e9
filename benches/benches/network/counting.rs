//! A server's socket that counts what goes through it.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use net::transport::bind;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime, UdpPoller};

use super::{LOCAL, SOCKET_BYTES};

/// A server's socket that counts.
#[derive(Debug)]
pub struct Counting {
    socket: Arc<dyn AsyncUdpSocket>,
    traffic: Arc<Traffic>,
}

/// Packets in and out, and calls of the socket that the system answered.
#[derive(Default, Debug)]
pub struct Traffic([AtomicU64; 3]);

impl Traffic {
    fn add(&self, which: usize, count: usize) {
        self.0[which].fetch_add(count as u64, Ordering::Relaxed);
    }

    pub fn read(&self) -> [u64; 3] {
        std::array::from_fn(|which| self.0[which].load(Ordering::Relaxed))
    }
}

impl Counting {
    /// A socket at a free port, inside the caller's runtime; where it is.
    pub fn bind(traffic: &Arc<Traffic>) -> (Arc<Self>, SocketAddr) {
        let bound = bind(LOCAL, SOCKET_BYTES).expect("a socket");
        let socket = TokioRuntime.wrap_udp_socket(bound.socket).expect("a socket of the runtime");
        (Arc::new(Self { socket, traffic: Arc::clone(traffic) }), bound.address)
    }
}

impl AsyncUdpSocket for Counting {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let packets = transmit.segment_size.map_or(1, |size| transmit.contents.len().div_ceil(size));
        self.traffic.add(1, packets);
        self.traffic.add(2, 1);
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.socket.poll_recv(cx, buffers, metas);
        if let Poll::Ready(Ok(count)) = &received {
            let packets = metas[..*count].iter().map(|meta| meta.len.div_ceil(meta.stride.max(1))).sum();
            self.traffic.add(0, packets);
            self.traffic.add(2, 1);
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}
