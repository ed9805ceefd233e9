//! Asking a node's monitor, as a program beside it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{Request, Response, header};
use engine::limits::MONITOR_ANSWER_BYTES_MAX;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for a path; the answer's body comes as it is sent. What came of it, in words, if nothing did.
pub(crate) async fn open(address: SocketAddr, path: &str) -> Result<Response<Incoming>, String> {
    let said = |error: &dyn std::error::Error| error.to_string();
    let stream = TcpStream::connect(address).await.map_err(|error| said(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| said(&error))?;
    let request = Request::get(path).header(header::HOST, address.to_string()).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| said(&error))?;
    // It ends with the runtime, if not before.
    drop(tokio::spawn(connection));
    sender.send_request(request).await.map_err(|error| said(&error))
}

/// The whole body of an answer, whatever its status: a node that is not ready says why.
///
/// # Errors
/// In words, if there is none in time, or it is no text of a node.
pub fn get(address: SocketAddr, path: &str) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let body = async {
        let body = Limited::new(open(address, path).await?.into_body(), MONITOR_ANSWER_BYTES_MAX);
        let bytes = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        String::from_utf8(bytes.into()).map_err(|_| "the answer is no text".to_owned())
    };
    let within = runtime.block_on(async { tokio::time::timeout(PATIENCE, body).await });
    within.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}
