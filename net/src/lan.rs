//! The local network: a node announces itself by multicast DNS (RFC 6763), and whoever looks for one finds it. What is
//! found here is a hint; who it is, the handshake proves.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use engine::limits::LAN_FOUND_MAX;
use engine::{Hash, hex, unhex};
use mdns_sd::{IfKind, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::sync::mpsc;
use tracing::warn;

use crate::tls::Key;

const SERVICE: &str = "_bitcraps._udp.local.";

/// A node that says that it is on the local network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The key that it says it has.
    pub key: Key,
    /// The chain that it says it keeps.
    pub chain: Hash,
    /// The name that it says it has, for people: nothing in it moves a cursor or fills a screen.
    pub name: String,
    /// Where the node takes connections.
    pub address: SocketAddr,
}

/// The multicast daemon; its thread ends when this is dropped.
pub struct Lan(ServiceDaemon);

impl Drop for Lan {
    fn drop(&mut self) {
        let _ = self.0.shutdown();
    }
}

impl Lan {
    /// Starts the daemon. A system without multicast is told, and is no error: the rest works without. So is one that lists no
    /// interface: the daemon has nowhere to speak then, and says nothing of it. It looks again, so it is kept.
    pub fn start() -> Option<Self> {
        if let Some(problem) = unlisted(&if_addrs::get_if_addrs()) {
            warn!("{problem}");
        }
        let started = ServiceDaemon::new().and_then(|daemon| {
            daemon.enable_interface(IfKind::LoopbackV4)?;
            Ok(daemon)
        });
        started.map(Self).inspect_err(|error| warn!(%error, "no multicast DNS here")).ok()
    }

    /// Announces a node.
    pub fn announce(&self, key: Key, chain: Hash, name: &str, address: SocketAddr) {
        let short = hex(&key[..4]);
        let host = format!("bitcraps-{short}.local.");
        let instance = if name.is_empty() { short } else { format!("{name} {short}") };
        let properties = [("key", hex(&key)), ("chain", hex(&chain)), ("name", name.to_owned())];
        // A node that listens everywhere has no one address to announce: the daemon tells those that the machine has,
        // as they change.
        let info = if address.ip().is_unspecified() {
            ServiceInfo::new(SERVICE, &instance, &host, "", address.port(), &properties[..])
                .map(ServiceInfo::enable_addr_auto)
        } else {
            ServiceInfo::new(SERVICE, &instance, &host, address.ip(), address.port(), &properties[..])
        };
        if let Err(error) = info.and_then(|info| self.0.register(info)) {
            warn!(%error, "this node is not announced on the local network");
        }
    }

    /// Nodes as they are found, inside the caller's runtime.
    pub fn browse(&self) -> mpsc::Receiver<Found> {
        let (found, nodes) = mpsc::channel(LAN_FOUND_MAX);
        match self.0.browse(SERVICE) {
            Ok(events) => {
                tokio::spawn(async move {
                    while let Ok(event) = events.recv_async().await {
                        let ServiceEvent::ServiceResolved(service) = event else { continue };
                        let text = |name| service.get_property_val_str(name);
                        let key = text("key").and_then(unhex);
                        let chain = text("chain").and_then(unhex);
                        let ip = service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr).min();
                        if let (Some(key), Some(chain), Some(ip)) = (key, chain, ip) {
                            // A stranger gives the name, and a person reads it: nothing in it may move a cursor or fill
                            // a screen.
                            let plain = |c: &char| !c.is_control();
                            let name = text("name").unwrap_or("").chars().filter(plain).take(32).collect();
                            let address = SocketAddr::new(ip, service.port);
                            if found.send(Found { key, chain, name, address }).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
            Err(error) => warn!(%error, "cannot look for nodes on the local network"),
        }
        nodes
    }
}

/// What keeps a node off the local network, if the system lists no interface.
fn unlisted<T>(interfaces: &io::Result<Vec<T>>) -> Option<String> {
    let problem = match interfaces {
        Ok(interfaces) if !interfaces.is_empty() => return None,
        Ok(_) => "this machine has no network interface".into(),
        Err(error) => format!(
            "the system lists no network interfaces: {error}; a unit of systemd allows it with AF_NETLINK among its \
             RestrictAddressFamilies"
        ),
    };
    Some(format!("no node is announced or found on the local network: {problem}"))
}

/// The nodes that are found within `patience`.
pub async fn find(patience: Duration) -> Vec<Found> {
    let Some(lan) = Lan::start() else { return Vec::new() };
    let mut nodes = lan.browse();
    let mut found: Vec<Found> = Vec::new();
    let until = tokio::time::Instant::now() + patience;
    while let Ok(Some(node)) = tokio::time::timeout_at(until, nodes.recv()).await {
        if !found.contains(&node) {
            found.push(node);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_cannot_list_interfaces_is_told_that_nothing_is_found() {
        assert_eq!(unlisted(&Ok(vec!["lo"])), None);
        assert!(unlisted(&Ok(Vec::<&str>::new())).is_some_and(|said| said.ends_with("has no network interface")));
        let refused = unlisted(&Err::<Vec<&str>, _>(io::Error::from_raw_os_error(97))).expect("nothing is listed");
        assert!(refused.contains("os error 97") && refused.contains("AF_NETLINK"), "{refused}");
    }
}
