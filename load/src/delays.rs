//! Delays: links of some milliseconds between nodes of one machine, packet by packet.
//!
//! ```text
//!  node i -> socket that i was told of -> wait -> node j
//!         <- wait <-
//! ```
//! A link keeps the order of its packets, as most do.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::net::UdpSocket;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::players::Chance;

/// Bytes of the largest packet.
const PACKET_BYTES: usize = 65_536;
/// Packets that may be on one way; more are lost, as on a link.
const UNDER_WAY_MAX: usize = 4_096;
/// What the system is asked for, for each socket.
const SOCKET_BYTES: usize = 4 << 20;

/// A way to a node that takes so many milliseconds in each direction. Gives the address that stands for the node.
///
/// # Errors
/// If there is no socket.
pub fn link(
    runtime: &Runtime,
    to: SocketAddr,
    delay_ms: &RangeInclusive<u64>,
    seed: u64,
) -> anyhow::Result<SocketAddr> {
    let _inside = runtime.enter();
    let bound = || -> anyhow::Result<Arc<UdpSocket>> {
        let bound = net::transport::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SOCKET_BYTES)?;
        bound.socket.set_nonblocking(true)?;
        Ok(Arc::new(UdpSocket::from_std(bound.socket)?))
    };
    let (near, far) = (bound().context("a UDP socket")?, bound().context("a UDP socket")?);
    let address = near.local_addr().context("a UDP socket")?;
    // Whoever speaks first on this side is the one that is answered.
    let from: Arc<AtomicU64> = Arc::default();
    let there =
        Way { from: Arc::clone(&near), to: Arc::clone(&far), chance: Chance::new(seed, 0), delay_ms: delay_ms.clone() };
    let back = Way { from: far, to: near, chance: Chance::new(seed, 1), delay_ms: delay_ms.clone() };
    let heard = Arc::clone(&from);
    tokio::spawn(there.carry(move |sender| {
        heard.store(port_of(sender), Ordering::Relaxed);
        Some(to)
    }));
    tokio::spawn(back.carry(move |_| {
        let port = u16::try_from(from.load(Ordering::Relaxed)).ok().filter(|port| *port > 0)?;
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }));
    Ok(address)
}

fn port_of(address: SocketAddr) -> u64 {
    address.port().into()
}

/// One direction.
struct Way {
    from: Arc<UdpSocket>,
    to: Arc<UdpSocket>,
    chance: Chance,
    delay_ms: RangeInclusive<u64>,
}

impl Way {
    /// Carries packets to whom `to` says, for as long as the runtime lives.
    async fn carry(mut self, to: impl Fn(SocketAddr) -> Option<SocketAddr> + Send + 'static) {
        let (sender, mut under_way) = mpsc::channel::<(Instant, SocketAddr, Vec<u8>)>(UNDER_WAY_MAX);
        let out = Arc::clone(&self.to);
        tokio::spawn(async move {
            while let Some((at, to, bytes)) = under_way.recv().await {
                tokio::time::sleep_until(at).await;
                // A packet that the system does not take is lost.
                let _ = out.send_to(&bytes, to).await;
            }
        });
        let mut room = vec![0; PACKET_BYTES];
        let mut last = Instant::now();
        loop {
            // A port that is closed is reported to whoever sent there.
            let Ok((count, from)) = self.from.recv_from(&mut room).await else { continue };
            let Some(to) = to(from) else { continue };
            last = last.max(Instant::now() + self.delay());
            let _ = sender.try_send((last, to, room[..count].to_vec()));
        }
    }

    fn delay(&mut self) -> Duration {
        let span = (self.delay_ms.end() - self.delay_ms.start()) * 1_000 + 1;
        Duration::from_micros(self.delay_ms.start() * 1_000 + self.chance.below(span))
    }
}
