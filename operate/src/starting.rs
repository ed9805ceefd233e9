//! What is answered while a node starts: that it is alive, and which phase of its start it is at. A long start, after much that is
//! executed again, would otherwise leave whoever asks without a word.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::limits::STARTING_QUESTION_BYTES_MAX;
use node::startup::Phase;
use serde_json::json;

/// How long whoever connects may take to ask, all of it, and how often it is looked whether somebody has connected.
const ASKS_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Answers until it is dropped, on a thread of its own, one after another.
pub struct Starting {
    phase: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Starting {
    /// Answers whoever connects there.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn at(listener: TcpListener) -> std::io::Result<Self> {
        let (phase, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (shown, ends) = (Arc::clone(&phase), Arc::clone(&is_over));
        let run = move || {
            while !ends.load(Ordering::Relaxed) {
                match listener.accept() {
                    // That somebody breaks off is no fault of this node.
                    Ok((stream, _)) => _ = answer(stream, Phase::ALL[shown.load(Ordering::Relaxed)], &ends),
                    Err(_) => std::thread::park_timeout(LOOK_EVERY),
                }
            }
        };
        let thread = Some(std::thread::Builder::new().name("starting".into()).spawn(run)?);
        Ok(Self { phase, is_over, thread })
    }

    /// The start is at this phase now.
    pub fn is_at(&self, phase: Phase) {
        let place = Phase::ALL.iter().position(|of| *of == phase).expect("all of them are listed");
        self.phase.store(place, Ordering::Relaxed);
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, phase: Phase, is_over: &AtomicBool) -> std::io::Result<()> {
    // Of the whole question: whoever sends it byte by byte would hold up the start, which waits for this thread at its end.
    let until = Instant::now() + ASKS_WITHIN;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(ASKS_WITHIN))?;
    let (mut question, mut length) = ([0; STARTING_QUESTION_BYTES_MAX], 0);
    while length < question.len() && !question[..length].windows(4).any(|end| end == b"\r\n\r\n") {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || is_over.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut question[length..])? {
            0 => break,
            count => length += count,
        }
    }
    // Whoever asks for the head alone asks the same, and gets no body.
    let head = question.strip_prefix(b"HEAD ");
    let path = head.or_else(|| question.strip_prefix(b"GET "));
    let (status, kind, body) = match path.is_some_and(|path| path.starts_with(b"/livez ")) {
        true => ("200 OK", "text/plain", "live\n".to_owned()),
        false => {
            let reason = format!("starting: {}", phase.name());
            ("503 Service Unavailable", "application/json", json!({ "ready": false, "reasons": [reason] }).to_string())
        }
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
        body.len(),
        if head.is_some() { "" } else { body.as_str() }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: std::net::SocketAddr, question: &str) -> String {
        let mut stream = TcpStream::connect(address).expect("it listens");
        write!(stream, "{question} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    #[test]
    fn a_node_that_starts_says_which_phase_it_is_at() {
        let listening = crate::monitor::Listening::at(([127, 0, 0, 1], 0).into()).expect("a port");
        let starting = listening.while_starting().expect("a thread");
        starting.is_at(Phase::Core);
        let answer = ask(listening.address(), "GET /readyz");
        assert!(
            answer.starts_with("HTTP/1.1 503 ")
                && answer.ends_with("{\"ready\":false,\"reasons\":[\"starting: core\"]}"),
            "{answer}"
        );
        let live = ask(listening.address(), "GET /livez");
        assert!(live.starts_with("HTTP/1.1 200 ") && live.ends_with("\r\n\r\nlive\n"), "{live}");
        let head = ask(listening.address(), "HEAD /livez");
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("Content-Length: 5\r\nConnection: close\r\n\r\n"));
        assert!(ask(listening.address(), "HEAD /readyz").ends_with("\r\n\r\n"), "a head has no body");
        assert!(ask(listening.address(), "POST /livez").starts_with("HTTP/1.1 503 "));
        let _silent = TcpStream::connect(listening.address()).expect("it listens");
        let began = Instant::now();
        drop(starting);
        assert!(began.elapsed() < 8 * ASKS_WITHIN, "whoever asks nothing holds up no start for long");
    }

    #[test]
    fn whoever_asks_byte_by_byte_holds_up_no_start() {
        let listening = crate::monitor::Listening::at(([127, 0, 0, 1], 0).into()).expect("a port");
        let starting = listening.while_starting().expect("a thread");
        let mut slow = TcpStream::connect(listening.address()).expect("it listens");
        slow.write_all(b"G").expect("it reads");
        let stop = Arc::new(AtomicBool::new(false));
        let (stops, began) = (Arc::clone(&stop), Instant::now());
        let asking = std::thread::spawn(move || {
            // It ends in any case, so that a start that it holds up fails here and does not hang.
            while !stops.load(Ordering::Relaxed) && began.elapsed() < 10 * ASKS_WITHIN {
                std::thread::sleep(ASKS_WITHIN / 10);
                let _ = slow.write_all(b"E");
            }
        });
        assert!(ask(listening.address(), "GET /livez").ends_with("live\n"), "the next one has its turn");
        assert!(began.elapsed() < 8 * ASKS_WITHIN, "after {:?}", began.elapsed());
        let _silent = TcpStream::connect(listening.address()).expect("it listens");
        drop(starting);
        assert!(began.elapsed() < 8 * ASKS_WITHIN, "after {:?}", began.elapsed());
        stop.store(true, Ordering::Relaxed);
        asking.join().expect("it ends");
    }
}
