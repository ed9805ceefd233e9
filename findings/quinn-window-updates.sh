#!/usr/bin/env bash
# quinn with a small receive window: a client asks with 1,088 bytes and waits for an answer of 576, which its server writes 5 ms
# later, two hundred times on one stream. How many packets does the server send for an answer?
#
# Guess before the run: one, whatever the window is. That there is room again can wait for the answer, as acknowledgements do.
# Seen with quinn 0.11.12 (quinn-proto 0.11.19): 1.0 with the usual window, 1.5 with `receive_window` at 16 KiB. Once an eighth of
# the window has been read, MAX_DATA goes out at once in a packet of its own, and that packet is one to be acknowledged: with small
# windows, which bound what a stranger can make a server hold, a third of all packets say nothing else.
#
# Needs cargo, a C compiler and crates.io. Talks to itself on loopback.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat > "$work/Cargo.toml" <<'TOML'
[package]
name = "windows"
version = "0.0.0"
edition = "2024"
[dependencies]
quinn = { version = "=0.11.12", default-features = false, features = ["runtime-tokio", "rustls-ring"] }
quinn-proto = { version = "=0.11.19", default-features = false }
rcgen = "=0.14.5"
rustls = { version = "0.23", default-features = false, features = ["ring", "std"] }
tokio = { version = "1", features = ["rt-multi-thread", "macros", "time"] }
TOML
cat > "$work/src/main.rs" <<'RUST'
use std::{sync::Arc, time::Duration};

const ROUNDS: u64 = 200;

async fn packets_of_the_server_for_an_answer(window: Option<u32>) -> f64 {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut server = quinn::ServerConfig::with_single_cert(vec![made.cert.der().clone()], key.into()).unwrap();
    let mut transport = quinn::TransportConfig::default();
    // Probes for larger packets would be counted too.
    transport.mtu_discovery_config(None);
    if let Some(window) = window {
        transport.receive_window(window.into());
    }
    server.transport_config(Arc::new(transport));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let endpoint = quinn::Endpoint::server(server, "127.0.0.1:0".parse().unwrap()).unwrap();
    let at = endpoint.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        let mut ask = [0; 1_088];
        recv.read_exact(&mut ask).await.unwrap();
        send.write_all(&[0; 576]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = connection.stats().udp_tx.datagrams;
        for _ in 0..ROUNDS {
            recv.read_exact(&mut ask).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
            send.write_all(&[0; 576]).await.unwrap();
        }
        let count = connection.stats().udp_tx.datagrams - before;
        tokio::time::sleep(Duration::from_millis(100)).await;
        count as f64 / ROUNDS as f64
    });
    let mut client = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    client.set_default_client_config(quinn::ClientConfig::with_root_certificates(Arc::new(roots)).unwrap());
    let connection = client.connect(at, "localhost").unwrap().await.unwrap();
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(&[0; 1_088]).await.unwrap();
    recv.read_exact(&mut [0; 576]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    for _ in 0..ROUNDS {
        send.write_all(&[0; 1_088]).await.unwrap();
        recv.read_exact(&mut [0; 576]).await.unwrap();
    }
    serving.await.unwrap()
}

#[tokio::main]
async fn main() {
    let usual = packets_of_the_server_for_an_answer(None).await;
    let small = packets_of_the_server_for_an_answer(Some(16 * 1024)).await;
    println!("packets of the server for an answer: usual window {usual:.2}, 16 KiB {small:.2}");
    assert!((0.9..1.2).contains(&usual) && (1.4..1.8).contains(&small), "it is otherwise now");
}
RUST
CARGO_TARGET_DIR="$work/target" cargo run --quiet --manifest-path "$work/Cargo.toml"
