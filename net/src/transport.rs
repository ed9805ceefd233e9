//! QUIC: budgets, sockets, endpoints. What bounds a connection (`engine/src/limits.rs`) is added up here.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use engine::limits::{
    ANSWERS_QUEUE_BYTES, CONTROL_QUEUE_BYTES, IDLE_MESSAGE_BYTES, IDLE_WINDOW, LANE_QUEUE_BYTES, LANE_UNTAKEN_BYTES,
    LANE_WINDOW, LANES, MESSAGE_ANSWERS_MAX, MESSAGE_INTENTS_MAX, NODE_SEND_WINDOW, NODE_WINDOW, PEER_CREDIT,
    PEER_PLEDGE_CREDIT, RECEIVE_WINDOW, SEND_WINDOW, UPDATES_QUEUE_BYTES,
};
use engine::message::intent::Intent;
use engine::message::node::Lane;
use quinn::{EndpointConfig, IdleTimeout, Runtime as _, TokioRuntime, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::wire::{Answer, Direction, HEADER_BYTES, Kind, Role, TABLE_BYTES_MAX};

/// Bytes of the largest message that a node takes from a player; no more are read ahead of its end.
pub(crate) const MESSAGE_BYTES: usize = HEADER_BYTES + Kind::body_bytes_max(Direction::ToNode, Role::Client);

/// What an idle connection may hold: its windows, the beginning of a message, a welcome and an answer or two. As much again as the
/// beginning may be read with it, and a list of bytes that grows may have room for twice of what is in it.
pub const IDLE_BYTES: u64 = 2 * IDLE_WINDOW as u64 + 4 * IDLE_MESSAGE_BYTES as u64 + 1024;
/// Bytes of updates that wait, at most: one always fits, however large it is.
pub(crate) const UPDATES_BYTES_MAX: usize = {
    let largest = HEADER_BYTES + TABLE_BYTES_MAX;
    if largest > UPDATES_QUEUE_BYTES { largest } else { UPDATES_QUEUE_BYTES }
};
/// Answers that wait, at most.
pub(crate) const ANSWERS_QUEUED_MAX: usize = ANSWERS_QUEUE_BYTES / size_of::<Answer>();
/// Acknowledgements of them that are held: no more than there is credit for.
pub(crate) const ANSWERS_HELD_MAX: usize = (PEER_CREDIT + PEER_PLEDGE_CREDIT) as usize;
/// Bytes of all that waits for the stream of answers, as it is written.
pub(crate) const WRITTEN_BYTES_MAX: usize =
    CONTROL_QUEUE_BYTES + HEADER_BYTES + Kind::Status.spec().bounds.most + answers_bytes(ANSWERS_QUEUED_MAX);
/// What waits for that stream: whole messages, answers, those that are held, and all of it as it is written.
pub(crate) const ANSWERS_BYTES_MAX: usize =
    CONTROL_QUEUE_BYTES + ANSWERS_QUEUE_BYTES + ANSWERS_HELD_MAX * size_of::<(Duration, Answer)>() + WRITTEN_BYTES_MAX;
/// The queues of a connection. That of updates is there twice: while one is written, the next one fills.
const QUEUES_BYTES: u64 = (2 * UPDATES_BYTES_MAX + ANSWERS_BYTES_MAX) as u64;
/// What a playing connection may hold: its windows, its queues, and one unfinished message, in a list that may have twice the room.
pub const PLAYING_BYTES: u64 = RECEIVE_WINDOW as u64 + SEND_WINDOW as u64 + QUEUES_BYTES + 2 * MESSAGE_BYTES as u64;

/// Bytes of a handshake that QUIC may hold out of their order: a peer may send such as long as the connection stands.
const CRYPTO_WINDOW: u32 = 16 * 1024;
/// What QUIC may hold of any connection beside its windows: packets, whole, of which no more than a byte each may be in a window.
pub const IDLE_PACKETS_BYTES: u64 = CRYPTO_WINDOW as u64 + packets_bytes(CRYPTO_WINDOW) + packets_bytes(IDLE_WINDOW);
/// What QUIC may hold of a connection that plays beside its windows, in the same way.
pub const PLAYING_PACKETS_BYTES: u64 =
    CRYPTO_WINDOW as u64 + packets_bytes(CRYPTO_WINDOW) + packets_bytes(RECEIVE_WINDOW);

/// Bytes of so many answers as they are written, in as many messages as they need.
pub(crate) const fn answers_bytes(count: usize) -> usize {
    count * Kind::Answers.spec().bounds.unit + count.div_ceil(MESSAGE_ANSWERS_MAX) * HEADER_BYTES
}

/// Bytes of packets that QUIC may hold for one window beyond what is in it: from there on it copies what it waits for out of them
/// (`Assembler::insert` of `quinn-proto` 0.11).
const fn packets_bytes(window: u32) -> u64 {
    let beyond = window as u64 * 3 / 2;
    if beyond > 32 * 1024 { beyond } else { 32 * 1024 }
}

/// What the lanes of a node may hold beside its windows: what waits for it, what waits for the tick, and of each lane one
/// message that is written, one that is read, and one that the tick was given above its bound.
const LANES_BYTES: u64 = {
    let (mut bytes, mut lane) = (0, 0);
    while lane < LANES {
        bytes += LANE_QUEUE_BYTES[lane] + LANE_UNTAKEN_BYTES[lane] + 3 * (HEADER_BYTES + Lane::ALL[lane].bytes_max());
        lane += 1;
    }
    bytes as u64
};
/// What a connection with another node may hold.
pub const NODE_BYTES: u64 =
    NODE_WINDOW as u64 + NODE_SEND_WINDOW as u64 + QUEUES_BYTES + 2 * MESSAGE_BYTES as u64 + LANES_BYTES;

// A lane has room for its largest message where it waits, and so much of it passes at once.
const _: () = {
    let mut lane = 0;
    while lane < LANES {
        let message = HEADER_BYTES + Lane::ALL[lane].bytes_max();
        assert!(message <= LANE_QUEUE_BYTES[lane], "the largest message of a lane fits its queue");
        lane += 1;
    }
};
// What one connection may hold of an unfinished message is inside its share, before hello and after, and whichever side
// opened it.
const _: () = assert!(HEADER_BYTES + Kind::Hello.spec().bounds.most <= IDLE_MESSAGE_BYTES);
const _: () = assert!(HEADER_BYTES + Kind::body_bytes_max(Direction::ToNode, Role::Node) <= MESSAGE_BYTES);
const _: () = assert!(HEADER_BYTES + Kind::body_bytes_max(Direction::ToClient, Role::Node) <= MESSAGE_BYTES);

// No message to a node is larger than one of intents: it can be read to its end where there is room for the answers to those.
const _: () = assert!(MESSAGE_BYTES == HEADER_BYTES + MESSAGE_INTENTS_MAX * size_of::<Intent>());

// Who is allowed more may hold more: what a connection held before counts towards what it may hold then.
const _: () = assert!(IDLE_BYTES <= PLAYING_BYTES);
const _: () = assert!(PLAYING_BYTES <= NODE_BYTES);

/// How often a client shows that it lives, well below the idle time of any node.
const KEEP_ALIVE: Duration = Duration::from_secs(8);
/// How often a node shows another that it lives, and the silence after which their connection is lost.
const NODE_KEEP_ALIVE: Duration = Duration::from_secs(1);
const NODE_IDLE: Duration = Duration::from_secs(3);

// One sign of life may be lost before a connection counts as such.
const _: () = assert!(2 * NODE_KEEP_ALIVE.as_millis() < NODE_IDLE.as_millis());

fn shared(receive: u32, idle: Duration) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u32(receive))
        .max_idle_timeout(Some(IdleTimeout::try_from(idle).expect("an idle time of minutes fits")))
        .datagram_receive_buffer_size(None)
        // Messages are smaller than a packet: larger ones are not worth a probe on each of a thousand connections.
        .mtu_discovery_config(None);
    config
}

/// For a node: one stream that the client opens.
pub(crate) fn node_transport(idle: Duration) -> Arc<TransportConfig> {
    // What a stream may carry at once is fixed before anybody has said who it is; the window of all streams of a
    // connection, which is not, is what bounds it.
    let mut config = shared(LANE_WINDOW, idle);
    config
        .receive_window(VarInt::from_u32(IDLE_WINDOW))
        .send_window(IDLE_WINDOW.into())
        .crypto_buffer_size(CRYPTO_WINDOW as usize)
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0));
    Arc::new(config)
}

/// The name that a handshake asks for. All nodes have it: which of them answers, its key says.
pub(crate) const SERVER_NAME: &str = "bitcraps";

/// For a client: one stream that the node opens, for what is watched.
pub(crate) fn client_transport(window: u32, idle: Duration) -> Arc<TransportConfig> {
    let mut config = shared(window, idle);
    config
        .receive_window(VarInt::from_u32(2 * window))
        .send_window(window.into())
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .keep_alive_interval(Some(KEEP_ALIVE.min(idle / 3)));
    Arc::new(config)
}

/// For a node that opens a connection to another.
pub(crate) fn lanes_transport() -> Arc<TransportConfig> {
    let mut config = shared(LANE_WINDOW, NODE_IDLE);
    config
        .receive_window(VarInt::from_u32(NODE_WINDOW))
        .send_window(NODE_SEND_WINDOW.into())
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(LANES as u32))
        .keep_alive_interval(Some(NODE_KEEP_ALIVE));
    Arc::new(config)
}

/// A bound UDP socket, and the buffers that the system gave it.
pub struct BoundSocket {
    /// The socket, with the buffers that it was asked for, if the system gives as much.
    pub socket: std::net::UdpSocket,
    /// The address that the socket is bound to: its port is known even where the system chose it.
    pub address: SocketAddr,
    /// Bytes of its receive buffer.
    pub receive_bytes: usize,
    /// Bytes of its send buffer.
    pub send_bytes: usize,
}

/// Binds a UDP socket and asks for large buffers: with the usual ones, a thousand clients that connect at once lose most
/// of their packets.
///
/// # Errors
/// If the address cannot be bound. That the system gives smaller buffers is no error; the caller tells.
pub fn bind(address: SocketAddr, buffer_bytes: usize) -> io::Result<BoundSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // All addresses of this machine, those of IPv4 too.
        socket.set_only_v6(false)?;
    }
    // The system may refuse this, or give less: what it gave is read back below.
    let _ = socket.set_recv_buffer_size(buffer_bytes);
    let _ = socket.set_send_buffer_size(buffer_bytes);
    socket.bind(&address.into())?;
    let (receive_bytes, send_bytes) = (socket.recv_buffer_size()?, socket.send_buffer_size()?);
    let socket: std::net::UdpSocket = socket.into();
    let address = socket.local_addr()?;
    Ok(BoundSocket { socket, address, receive_bytes, send_bytes })
}

/// How many packets of one connection the system takes, and gives, with one call at most.
///
/// # Errors
/// If the system refuses the socket.
pub fn segments(socket: std::net::UdpSocket) -> io::Result<(usize, usize)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _inside = runtime.enter();
    socket.set_nonblocking(true)?;
    let socket = TokioRuntime.wrap_udp_socket(socket)?;
    Ok((socket.max_transmit_segments(), socket.max_receive_segments()))
}

/// An endpoint for clients, inside the caller's runtime.
pub(crate) fn endpoint(socket: Carrier) -> io::Result<quinn::Endpoint> {
    let (config, runtime) = (EndpointConfig::default(), Arc::new(TokioRuntime));
    match socket {
        Carrier::Udp(socket) => quinn::Endpoint::new(config, None, socket, runtime),
        Carrier::Other(socket) => quinn::Endpoint::new_with_abstract_socket(config, None, socket, runtime),
    }
}

/// What carries packets.
pub enum Carrier {
    /// The system.
    Udp(std::net::UdpSocket),
    /// A network in memory.
    Other(Arc<dyn quinn::AsyncUdpSocket>),
}

/// The first of some addresses that a socket can reach, as that socket names it. A name often has one of each family, and the
/// resolver gives those first that this machine has a way to.
pub(crate) fn reachable(local: IpAddr, found: impl IntoIterator<Item = SocketAddr>) -> Option<SocketAddr> {
    found.into_iter().find_map(|at| match (local, at.ip().to_canonical()) {
        (IpAddr::V4(_), IpAddr::V4(v4)) => Some((v4, at.port()).into()),
        // A socket of all addresses speaks IPv4 too, in addresses of IPv6. What comes back has such a one, and QUIC takes it for
        // an answer only from exactly where it asked.
        (IpAddr::V6(own), IpAddr::V4(v4)) if own.is_unspecified() => Some((v4.to_ipv6_mapped(), at.port()).into()),
        (IpAddr::V6(_), IpAddr::V6(_)) => Some(at),
        _ => None,
    })
}

/// An address as 16 bytes, IPv4 mapped.
pub fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_takes_the_first_address_that_it_can_reach_and_names_it_as_it_is_answered() {
        let chosen = |local: &str, found: &[&str]| {
            let found = found.iter().map(|at| at.parse::<SocketAddr>().expect("an address"));
            reachable(local.parse().expect("an address"), found).map(|at| at.to_string())
        };
        let (v4, v6, mapped) = ("192.0.2.1:7400", "[2001:db8::1]:7400", "[::ffff:192.0.2.1]:7400");
        for local in ["0.0.0.0", "127.0.0.1"] {
            assert_eq!(chosen(local, &[v6, v4, "192.0.2.2:7400"]).as_deref(), Some(v4), "{local}");
            assert_eq!(chosen(local, &[mapped]).as_deref(), Some(v4), "{local}");
            assert_eq!(chosen(local, &[v6]), None, "{local}");
        }
        assert_eq!(chosen("::", &[v4, v6]).as_deref(), Some(mapped));
        assert_eq!(chosen("::", &[v6, v4]).as_deref(), Some(v6), "in the order of the resolver");
        assert_eq!(chosen("::", &[mapped]).as_deref(), Some(mapped));
        assert_eq!(chosen("::1", &[v4, mapped, v6]).as_deref(), Some(v6), "that socket speaks no IPv4");
        assert_eq!(
            chosen("::1", &["[fe80::1%3]:7400"]).as_deref(),
            Some("[fe80::1%3]:7400"),
            "over the interface it names"
        );
        assert_eq!(chosen("::", &[]), None);
    }
}
