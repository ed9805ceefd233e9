//! The webhook: a change is posted as JSON, over plain HTTP, and again while nobody is there to take it.

use std::time::Duration;

use axum::http::{Request, Uri, header};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use node::config::AlertsConfig;
use tokio::net::TcpStream;

use super::state::Change;
use super::telling::{ChannelError, PATIENCE, TURN, Telling, as_json};

/// How long after one try comes the next: a receiver that is restarted is back in some seconds.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Why a change was not taken.
struct Untaken {
    problem: String,
    /// The same may be taken a moment later.
    may_be_later: bool,
}

/// Posts a change until it is taken, for as long as one may take.
pub(super) fn webhook(
    config: &AlertsConfig,
    node: &str,
    change: &Change,
    telling: &Telling,
) -> Result<(), ChannelError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ChannelError::Webhook { problem: error.to_string() })?;
    let body = as_json(node, change);
    let mut last = "no answer".to_owned();
    let sent = runtime.block_on(async {
        let turn = async {
            while !telling.is_over() {
                tokio::time::sleep(TURN).await;
            }
        };
        tokio::select! {
            sent = tokio::time::timeout(PATIENCE, post_until_taken(&config.webhook, &body, &mut last)) => sent.ok(),
            () = turn => None,
        }
    });
    // A name that is still looked up holds nobody up: the system may take minutes until it gives up.
    runtime.shutdown_background();
    let within = || Err(format!("{last} within {} s, or by the end of the node", PATIENCE.as_secs()));
    sent.unwrap_or_else(within).map_err(|problem| ChannelError::Webhook { problem })
}

/// Posts again and again where that may help. Only changes are told: one that meets a receiver that is restarted is lost for good.
async fn post_until_taken(url: &str, body: &str, last: &mut String) -> Result<(), String> {
    loop {
        match post(url, body.to_owned()).await {
            Ok(()) => return Ok(()),
            Err(Untaken { problem, may_be_later: false }) => return Err(problem),
            Err(Untaken { problem, .. }) => *last = format!("{problem}; nothing better"),
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// The address of a webhook, with its host and port.
pub(super) fn server_of(url: &str) -> Result<(Uri, String, u16), String> {
    let uri: Uri = url.parse().map_err(|error| format!("no address: {error}"))?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("no address of http://".into());
    };
    if authority.as_str().contains('@') {
        let instead = "put a token into the path, or have `exec` run a program that sends them";
        return Err(format!("a user and a password in an address are not sent; {instead}"));
    }
    let host = authority.host();
    let port = match authority.as_str().strip_prefix(host).unwrap_or_default() {
        "" => 80,
        port => port
            .strip_prefix(':')
            .and_then(|port| port.parse().ok())
            .filter(|port| *port > 0)
            .ok_or("a port is a number from 1 to 65535")?,
    };
    let host = host.trim_matches(['[', ']']).to_owned();
    Ok((uri, host, port))
}

/// Posts JSON to an address of plain HTTP, and wants an answer of success.
async fn post(url: &str, body: String) -> Result<(), Untaken> {
    let never = |problem: String| Untaken { problem, may_be_later: false };
    let not_now = |problem: String| Untaken { problem, may_be_later: true };
    let (uri, host, port) = server_of(url).map_err(never)?;
    let stream = TcpStream::connect((&*host, port));
    let stream = stream.await.map_err(|error| not_now(error.to_string()))?;
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| not_now(error.to_string()))?;
    let authority = uri.authority().expect("it has a host").as_str().to_owned();
    let request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| never(error.to_string()))?;
    // It ends with the runtime, if not before.
    drop(tokio::spawn(connection));
    // Whether one that broke off has taken it nobody knows: an alert that is told twice is better than one that is not.
    let status = sender.send_request(request).await.map_err(|error| not_now(error.to_string()))?.status();
    match status {
        status if status.is_success() => Ok(()),
        status if status.is_server_error() => Err(not_now(format!("it answered {status}"))),
        status => Err(never(format!("it answered {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use super::super::channels::tests::change;
    use super::*;

    /// Posts to a receiver that gives these answers, one after another: what came of it, and the head and body of each request.
    fn posted(answers: &'static [&str]) -> (Result<(), ChannelError>, Vec<(String, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/hook?of=me", listener.local_addr().expect("an address"));
        let server = std::thread::spawn(move || answers.iter().map(|status| heard(&listener, status)).collect());
        let config = AlertsConfig { webhook: url, ..AlertsConfig::default() };
        let told = webhook(&config, "north", &change(), &Telling::default());
        (told, server.join().expect("it answered"))
    }

    /// Takes a request, and answers it; the head and body that came.
    fn heard(listener: &TcpListener, status: &str) -> (String, String) {
        let (mut stream, _) = listener.accept().expect("somebody comes");
        let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            if let Some(bytes) = line.to_lowercase().strip_prefix("content-length:") {
                length = bytes.trim().parse().expect("a number");
            }
            head.push_str(&line);
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        if !status.is_empty() {
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").expect("an answer");
        }
        (head, String::from_utf8(body).expect("text"))
    }

    #[test]
    fn a_webhook_is_posted_to_and_must_answer() {
        for (answers, is_taken) in [(&["204 No Content"], true), (&["404 Not Here"], false)] {
            let (told, heard) = posted(answers);
            assert_eq!(told.is_ok(), is_taken, "{told:?}");
            let (head, body) = &heard[0];
            assert!(head.starts_with("POST /hook?of=me HTTP/1.1\r\n"), "{head}");
            assert!(body.contains("\"rule\":\"MemoryHigh\"") && body.contains("\"node\":\"north\""), "{body}");
        }
    }

    /// Broken off without an answer, then not ready, then there.
    #[test]
    fn a_receiver_that_is_restarted_meanwhile_hears_it() {
        let (told, heard) = posted(&["", "503 Not Yet", "204 No Content"]);
        assert!(told.is_ok(), "{told:?}");
        assert!(heard.windows(2).all(|pair| pair[0].1 == pair[1].1), "the same each time: {heard:?}");
    }
}
