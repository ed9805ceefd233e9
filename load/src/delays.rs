//! Delays: links of some milliseconds between nodes of one machine, packet by packet.
//!
//! ```text
//!  node i -> socket that i was told of -> wait -> node j
//!         <- wait <-
//! ```
//! A link keeps the order of its packets, as most do, and takes equally long for those of a tenth of a second: one that drew for
//! each packet would take nearly the longest for all of them, since none overtakes another. One that is cut loses all of them, as
//! a network does that falls apart.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use node::config::Config;
use node::layers::Layered;
use tokio::net::UdpSocket;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::players::Chance;

/// Bytes of the largest packet.
const PACKET_BYTES: usize = 65_536;
/// Packets that may be on one way; more are lost, as on a link.
const UNDER_WAY_MAX: usize = 4_096;
/// How long a link takes equally long for each packet.
const STEADY: Duration = Duration::from_millis(100);
/// What the system is asked for, for each socket.
const SOCKET_BYTES: usize = 4 << 20;

/// Links between every two of some nodes, each of which may be cut.
pub struct Links {
    /// By the slot of who dials, and of who is dialled.
    cut: Vec<Vec<Arc<AtomicBool>>>,
}

impl Links {
    /// Puts a link between every two nodes that takes so many milliseconds in each direction: writes into the configuration
    /// of each where the others are for it. They carry for as long as the runtime lives.
    ///
    /// # Errors
    /// If a configuration cannot be read or written, or there is no socket.
    pub fn between(runtime: &Runtime, configs: &[PathBuf], delay_ms: &RangeInclusive<u64>) -> anyhow::Result<Self> {
        let load = |path: &PathBuf| -> anyhow::Result<Config> { Ok(Layered::load(path, &[])?.config.absolute()?) };
        let mut loaded = configs.iter().map(load).collect::<anyhow::Result<Vec<Config>>>()?;
        let places: Vec<SocketAddr> = loaded.iter().map(|config| config.net.listen).collect();
        let count = configs.len();
        let cut: Vec<Vec<Arc<AtomicBool>>> = (0..count).map(|_| (0..count).map(|_| Arc::default()).collect()).collect();
        let mut seed = 1;
        for (from, (config, path)) in loaded.iter_mut().zip(configs).enumerate() {
            for named in &mut config.net.validators {
                let (key, at) = named.split_once('@').context("a validator is named with its key")?;
                let at: SocketAddr = at.parse()?;
                let to = places.iter().position(|place| *place == at).context("it is one of the nodes")?;
                seed += 1;
                *named = format!("{key}@{}", link(runtime, at, delay_ms, seed, &cut[from][to])?);
            }
            std::fs::write(path, config.text()).with_context(|| path.display().to_string())?;
        }
        Ok(Self { cut })
    }

    /// From now on no packet goes between two nodes of which `apart` says so, and every packet between all others.
    pub fn cut(&self, apart: impl Fn(usize, usize) -> bool) {
        for (from, row) in self.cut.iter().enumerate() {
            for (to, is_cut) in row.iter().enumerate() {
                is_cut.store(apart(from, to) || apart(to, from), Ordering::Relaxed);
            }
        }
    }
}

/// A way to a node that takes so many milliseconds in each direction, while it is not cut. Gives the address that stands for
/// the node.
fn link(
    runtime: &Runtime,
    to: SocketAddr,
    delay_ms: &RangeInclusive<u64>,
    seed: u64,
    is_cut: &Arc<AtomicBool>,
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
    let way = |from: &Arc<UdpSocket>, to: &Arc<UdpSocket>, direction| Way {
        from: Arc::clone(from),
        to: Arc::clone(to),
        chance: Chance::new(seed, direction),
        delay_ms: delay_ms.clone(),
        is_cut: Arc::clone(is_cut),
        steady: (Instant::now(), Duration::ZERO),
    };
    let (there, back) = (way(&near, &far, 0), way(&far, &near, 1));
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
    is_cut: Arc<AtomicBool>,
    /// Until when a packet takes how long.
    steady: (Instant, Duration),
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
            if self.is_cut.load(Ordering::Relaxed) {
                continue;
            }
            let now = Instant::now();
            last = last.max(now + self.delay(now));
            let _ = sender.try_send((last, to, room[..count].to_vec()));
        }
    }

    fn delay(&mut self, now: Instant) -> Duration {
        if now >= self.steady.0 {
            let span = (self.delay_ms.end() - self.delay_ms.start()) * 1_000 + 1;
            let delay = Duration::from_micros(self.delay_ms.start() * 1_000 + self.chance.below(span));
            self.steady = (now + STEADY, delay);
        }
        self.steady.1
    }
}
