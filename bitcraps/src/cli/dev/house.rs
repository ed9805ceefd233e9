//! Where a development node is found, and when nothing will happen in it any more.

use std::net::SocketAddr;
use std::path::Path;

use engine::Height;
use engine::limits::DEV_GUESTS_MAX;
use load::dev::{DevConfig, genesis, genesis_bytes};
use net::server::{Server, ServerConfig};
use operate::monitor::{Listening, MonitorError};
use order::signature::NetKey;
use words::Failure;

use super::args::{DevArgs, Pace};

/// Ports that are tried for one that is free.
const PORTS: std::ops::Range<u16> = 7_400..7_420;
/// Ports that are tried for the dashboard.
const DASHBOARD_PORTS: std::ops::Range<u16> = 7_480..7_500;

/// The first address on this machine that nobody listens at.
fn first_free() -> Option<SocketAddr> {
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    PORTS.map(at).find(|address| std::net::UdpSocket::bind(address).is_ok())
}

/// Where people can connect, if they can.
pub fn listen_at(args: &DevArgs) -> Result<Option<SocketAddr>, Failure> {
    match args.listen.as_deref() {
        None if args.pace == Pace::Max => Ok(None),
        None => Ok(first_free()),
        Some("none") => Ok(None),
        Some(text) => {
            let wrong =
                |_| Failure::Usage(format!("--listen {text}: expected an address such as 127.0.0.1:7400, or none"));
            text.parse().map(Some).map_err(wrong)
        }
    }
}

/// Where the dashboard is, if it is anywhere: whoever asked for an address is told if it cannot be had.
pub fn dashboard_at(args: &DevArgs) -> Result<Option<Listening>, MonitorError> {
    let mut ports = DASHBOARD_PORTS;
    match args.dashboard {
        Some(at) => at.address().map(Listening::at).transpose(),
        None if args.pace == Pace::Max => Ok(None),
        None => Ok(ports.find_map(|port| Listening::at(SocketAddr::from(([127, 0, 0, 1], port))).ok())),
    }
}

/// The bounds of its network.
pub fn server_config(dev: &DevConfig, address: SocketAddr) -> ServerConfig {
    ServerConfig {
        name: format!("dev, seed {}", dev.seed),
        connections_max: DEV_GUESTS_MAX,
        connections_per_address_max: DEV_GUESTS_MAX,
        listen: address,
        ..ServerConfig::default()
    }
}

/// Listens for the session that is there, or will be.
pub fn listen(dir: &Path, dev: &DevConfig, address: SocketAddr) -> anyhow::Result<Server> {
    let (seed, config) = (dev.seed, server_config(dev, address));
    let mut bytes = *b"bitcraps development network key";
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let (genesis, file) = match storage::read_genesis(dir) {
        Ok((genesis, _)) => (genesis, storage::genesis_bytes(dir)?),
        // A session that cannot be opened is named where it is opened.
        Err(_) => (genesis(dev), genesis_bytes(dev)?),
    };
    Ok(node::network::listen(&genesis, file, &NetKey::from_seed(&bytes), config)?)
}

/// Tells a table that is between two rolls from a house where nothing will happen any more.
pub struct Rest {
    last: Option<Height>,
    since_ms: u64,
    /// As long as anybody sits somewhere, a table rolls within its window.
    patience_ms: u64,
    /// Whether the run was ended for it.
    pub ended: bool,
}

impl Rest {
    pub fn new(window_ms: u64) -> Self {
        Self { last: None, since_ms: 0, patience_ms: (10 * window_ms).max(60_000), ended: false }
    }

    /// Whether no height has come for so long that none will. `waits` says that one may: somebody is connected, or the disk
    /// has no room.
    pub fn is_for_good(&mut self, height: Height, waits: bool, now_ms: u64) -> bool {
        if self.last != Some(height) || waits {
            (self.last, self.since_ms) = (Some(height), now_ms);
        }
        self.ended = now_ms - self.since_ms > self.patience_ms;
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_house_without_players_is_not_waited_for_and_one_with_people_is() {
        let mut rest = Rest::new(1_000);
        let mut ends = |height, waits, now_ms| rest.is_for_good(Height(height), waits, now_ms);
        assert!(!ends(0, false, 5_000), "the first look begins the wait");
        assert!(!ends(0, false, 65_000));
        assert!(!ends(1, false, 65_001), "a height came");
        assert!(!ends(1, false, 125_001));
        assert!(!ends(1, true, 190_000), "somebody is connected");
        assert!(!ends(1, false, 250_000));
        assert!(ends(1, false, 250_001));
    }
}
