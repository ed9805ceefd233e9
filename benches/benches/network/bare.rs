//! The limit: quinn under the same load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use net::client::Endpoint;
use quinn::TokioRuntime;
use tokio::runtime::Runtime;

use super::counting::{Counting, Traffic};
use super::{SERVER, Service, runtime};

/// Bytes of a request and of its response: an intent's message and an answer's.
const REQUEST: usize = 8 + 128;
const RESPONSE: usize = 8 + 64;

/// quinn alone: one stream a connection, a response for each request, no message is looked at.
pub struct Bare {
    address: SocketAddr,
    client: quinn::ClientConfig,
    traffic: Arc<Traffic>,
    runtime: Runtime,
}

impl Bare {
    pub fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["bitcraps".to_owned()]).expect("a certificate");
        let certificate = made.cert.der().clone();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let server = quinn::ServerConfig::with_single_cert(vec![certificate.clone()], key.into()).expect("a server");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).expect("a root");
        let client = quinn::ClientConfig::with_root_certificates(Arc::new(roots)).expect("a client");
        let (runtime, traffic) = (runtime(SERVER), Arc::default());
        let address = {
            let _inside = runtime.enter();
            let (socket, address) = Counting::bind(&traffic);
            let (config, inside) = (quinn::EndpointConfig::default(), Arc::new(TokioRuntime));
            let endpoint = Endpoint::new_with_abstract_socket(config, Some(server), socket, inside);
            let endpoint = endpoint.expect("an endpoint");
            runtime.spawn(async move {
                while let Some(incoming) = endpoint.accept().await {
                    tokio::spawn(echo(incoming));
                }
            });
            address
        };
        Self { address, client, traffic, runtime }
    }
}

async fn echo(incoming: quinn::Incoming) {
    let Ok(connection) = incoming.await else { return };
    let Ok((mut send, mut recv)) = connection.accept_bi().await else { return };
    let (mut unfinished, response) = (0, [0; RESPONSE]);
    while let Ok(Some(chunk)) = recv.read_chunk(16 * 1024, true).await {
        unfinished += chunk.bytes.len();
        let responses = vec![response; unfinished / REQUEST].concat();
        unfinished %= REQUEST;
        if send.write_all(&responses).await.is_err() {
            return;
        }
    }
}

pub struct BareTalk {
    send: quinn::SendStream,
    recv: quinn::RecvStream,
    unfinished: usize,
}

impl Service for Bare {
    type Talk = BareTalk;

    async fn connect(&self, _number: usize, endpoint: Endpoint) -> BareTalk {
        let connecting = endpoint.connect_with(self.client.clone(), self.address, "bitcraps").expect("a connection");
        let (mut send, mut recv) = connecting.await.expect("a handshake").open_bi().await.expect("a stream");
        // As ours does: connected is who had an answer.
        send.write_all(&[0; REQUEST]).await.expect("sent");
        recv.read_exact(&mut [0; RESPONSE]).await.expect("a response");
        BareTalk { send, recv, unfinished: 0 }
    }

    async fn ask(talk: &mut BareTalk, _number: u64) {
        talk.send.write_all(&[0; REQUEST]).await.expect("sent");
    }

    async fn hear(talk: &mut BareTalk) -> usize {
        let chunk = talk.recv.read_chunk(16 * 1024, true).await.expect("a response").expect("the stream goes on");
        talk.unfinished += chunk.bytes.len();
        let responses = talk.unfinished / RESPONSE;
        talk.unfinished %= RESPONSE;
        responses
    }

    fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    fn end(self) {
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
