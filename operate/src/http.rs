//! What is answered over HTTP: the page, what it follows, metrics and health. Nothing that could be asked changes anything.
//!
//! A page of a stranger must not read a node that listens on loopback: whoever asks names a host that is an address or known,
//! which a name that was made to point here (DNS rebinding) is not.

use std::convert::Infallible;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::Router;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use engine::limits::{MONITOR_CONNECTIONS_MAX, MONITOR_HEAD_TIME, MONITOR_WRITE_TIME};
use futures_util::stream::{Stream, unfold};
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use node::startup::{Phase, PhaseTimes};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;

use crate::alerts::pages::html;
use crate::past::{PastError, PastQuestion};
use crate::resources::level::{Level, Resource};
use crate::text::exposition;
use crate::tiles::{SECTIONS, tiles};
use crate::watching::{Shared, Viewer};

/// How long a page waits for a reading: then it is told how the node is without one.
const READING_WITHIN: Duration = Duration::from_secs(2);

/// What the page may load, and from where: this node alone.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What those who ask may have of this node together.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once; whoever comes then waits until one ends.
    pub connections: usize,
    /// Time for the head of a request, and between two of them.
    pub head: Duration,
    /// Time for which nothing may be read of what is answered.
    pub write: Duration,
}

/// What those of a running node may have.
pub const BOUNDS: Bounds =
    Bounds { connections: MONITOR_CONNECTIONS_MAX, head: MONITOR_HEAD_TIME, write: MONITOR_WRITE_TIME };

/// Answers whoever connects, for as long as it is polled.
pub async fn serve(listener: TcpListener, routes: Router, bounds: Bounds) {
    let places = Arc::new(Semaphore::new(bounds.connections));
    let mut http = Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.head);
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
        let Ok((stream, _)) = listener.accept().await else {
            // No file is left for a connection, say: one may be in a moment.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Where nothing is read of an answer its place is wanted by others.
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(bounds.write));
        let answers = http.serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(routes.clone()));
        tokio::spawn(async move {
            // That somebody breaks off is no fault of this node.
            let _ = answers.await;
            drop(place);
        });
    }
}

/// Everything that is answered.
pub fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(|| file("text/html; charset=utf-8", include_str!("../../web/index.html"))))
        .route("/dashboard.js", get(|| file("text/javascript", include_str!("../../web/dashboard.js"))))
        .route("/dashboard.css", get(|| file("text/css", include_str!("../../web/dashboard.css"))))
        .route("/uplot.js", get(|| file("text/javascript", include_str!("../../web/uplot/uPlot.iife.min.js"))))
        .route("/uplot.css", get(|| file("text/css", include_str!("../../web/uplot/uPlot.min.css"))))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/healthz", get(healthz))
        .route("/runbook/{page}", get(runbook))
        .route("/events", get(events))
        .route("/api/page", get(page))
        .route("/api/now", get(now))
        .route("/api/history", get(history))
        .route("/api/game/{of}/{which}", get(game))
        .layer(from_fn_with_state(Arc::clone(&shared), guard))
        .with_state(shared)
}

async fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text)
}

/// What to do about an alert.
async fn runbook(Path(page): Path<String>) -> Response {
    match html(page.trim_end_matches(".md")) {
        Some(text) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response(),
        None => (StatusCode::NOT_FOUND, "no alert has a page of that name\n").into_response(),
    }
}

/// Refuses whoever names a host that this node is not, and says what a browser may do with what it gets.
async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let mut response = if is_known(request.headers(), |name| shared.is_named(name)) {
        next.run(request).await
    } else {
        let problem = "this node is not of that name; `monitoring.hosts` lists those that it has\n";
        (StatusCode::MISDIRECTED_REQUEST, problem).into_response()
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether a request names an address, this machine, or a name that the configuration lists.
fn is_known(headers: &HeaderMap, is_named: impl FnOnce(&str) -> bool) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost") || is_named(name)
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let began = Instant::now();
    let reading = shared.read_for_answer();
    let text = exposition(&reading);
    shared.scraped(began.elapsed());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn livez(State(shared): State<Arc<Shared>>) -> Response {
    match shared.health().live {
        true => (StatusCode::OK, "live\n").into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the tick's thread stands still\n").into_response(),
    }
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let health = shared.health();
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": health.ready, "reasons": health.reasons }))).into_response()
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    let health = shared.health();
    let status = if health.live && health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let resources = shared.resources();
    let levels = Resource::ALL.map(|resource| (resource.name(), resources.levels[resource as usize].name()));
    let mut body = json!(health);
    body["levels"] = levels.into_iter().map(|(name, level)| (name.to_owned(), json!(level))).collect();
    body["reactions"] = json!(resources.on);
    body["start_ms"] = json!(shared.start().map(start_ms));
    (status, Json(body)).into_response()
}

/// How long each phase of the start took, in milliseconds.
fn start_ms(times: PhaseTimes) -> Value {
    let phases = Phase::ALL.into_iter();
    phases.map(|phase| (phase.name().to_owned(), json!(milliseconds(times.of(phase))))).collect()
}

/// Milliseconds to the microsecond: a product with a fraction of seconds has digits that nobody measured.
fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// What the page consists of.
async fn page(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let sections: Vec<Value> = SECTIONS
        .iter()
        .map(|section| {
            let tiles = section.tiles.iter().map(|tile| {
                json!({
                    "id": tile.id,
                    "title": tile.title,
                    "unit": tile.unit.name(),
                    "per_second": tile.per_second,
                    "limit": tile.limit.as_ref().map(|limit| limit.kind),
                })
            });
            json!({ "title": section.title, "tiles": tiles.collect::<Vec<_>>() })
        })
        .collect();
    Json(json!({ "title": shared.title, "version": env!("CARGO_PKG_VERSION"), "sections": sections }))
}

/// What a page is told each second, once: values, limits and alerts.
async fn now(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(shared.event())
}

/// The last minutes, so that a page begins with full charts.
async fn history(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let history = shared.history();
    let times: Vec<u64> = history.all().map(|reading| reading.at_ms).collect();
    let values: serde_json::Map<String, Value> = tiles()
        .map(|tile| {
            let values: Vec<Option<f64>> = (0..times.len()).map(|at| tile.value.value_at(&history, at)).collect();
            (tile.id.to_owned(), json!(values))
        })
        .collect();
    Json(json!({ "times_ms": times, "values": values }))
}

/// What happened at a table, to a player or at a roll.
async fn game(
    State(shared): State<Arc<Shared>>,
    Path((of, which)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let question = match PastQuestion::parse(&of, &which, query.as_deref().unwrap_or_default()) {
        Ok(question) => question,
        Err(problem) => return refusal(StatusCode::BAD_REQUEST, &problem),
    };
    let answer = match &shared.past {
        None => Err(PastError::Nowhere),
        Some(_) if shared.resources().levels[Resource::Memory as usize] == Level::High => Err(PastError::Scarce),
        Some(past) => past.answer(&question).await,
    };
    match answer {
        Ok(answer) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        Err(problem) => {
            let status = match problem {
                PastError::Nowhere | PastError::None(_) => StatusCode::NOT_FOUND,
                PastError::Long => StatusCode::BAD_REQUEST,
                PastError::Busy | PastError::Scarce => StatusCode::SERVICE_UNAVAILABLE,
                PastError::Late => StatusCode::GATEWAY_TIMEOUT,
                PastError::Failed(ref why) => {
                    tracing::warn!("a question about the past was not answered: {why}");
                    StatusCode::INTERNAL_SERVER_ERROR
                }
            };
            refusal(status, &problem)
        }
    }
}

/// Why there is no answer, for programs and people.
fn refusal(status: StatusCode, problem: &dyn Display) -> Response {
    (status, Json(json!({ "error": problem.to_string() }))).into_response()
}

/// What happens, each second, for as long as the page is there. The bound keeps pages that nobody closes from adding up.
async fn events(State(shared): State<Arc<Shared>>) -> Response {
    let Some(viewer) = Viewer::enter(&shared) else {
        let problem = "as many pages follow this node as may\n";
        return (StatusCode::SERVICE_UNAVAILABLE, problem).into_response();
    };
    let keep = KeepAlive::new().interval(Duration::from_secs(15));
    Sse::new(follow(shared, viewer)).keep_alive(keep).into_response()
}

fn follow(shared: Arc<Shared>, viewer: Viewer) -> impl Stream<Item = Result<Event, Infallible>> {
    // The page that has just come is told at once.
    unfold((shared, viewer, true), |(shared, mut viewer, is_new)| async move {
        // Where no reading is taken, as when the system does not answer, the page would go on to show a node that is well: it is told
        // without one.
        if !is_new && tokio::time::timeout(READING_WITHIN, viewer.next()).await == Ok(false) {
            return None;
        }
        let event = Event::default().data(shared.event().to_string());
        Some((Ok(event), (shared, viewer, false)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Bytes;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    #[test]
    fn a_time_has_no_more_digits_than_were_measured() {
        assert_eq!(json!(milliseconds(Duration::from_nanos(1_147_463_553))).to_string(), "1147.463");
    }

    /// Where four connections at most are served, each within 50 ms: `/` is short, and `/long` longer than all buffers on the way.
    fn served() -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("an address");
        let within = Duration::from_millis(50);
        let bounds = Bounds { connections: 4, head: within, write: within };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                listener.set_nonblocking(true).expect("it is a socket");
                let listener = TcpListener::from_std(listener).expect("it is a socket");
                let long = Bytes::from(vec![b'x'; 64 << 20]);
                let routes =
                    Router::new().route("/", get(|| async { "here" })).route("/long", get(move || async move { long }));
                serve(listener, routes, bounds).await;
            });
        });
        at
    }

    /// Asks, and reads the answer in a time in which all who keep the places should have lost them.
    fn asks(at: SocketAddr) {
        let mut asks = TcpStream::connect(at).expect("a connection");
        asks.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
        asks.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        asks.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
    }

    /// Connections that say nothing have all places; somebody who asks gets one as soon as their time is over.
    #[test]
    fn those_who_say_nothing_keep_nobody_out() {
        let at = served();
        let silent: Vec<_> = (0..12).map(|_| TcpStream::connect(at).expect("a connection")).collect();
        asks(at);
        for mut one in silent {
            let mut rest = Vec::new();
            let _ = one.read_to_end(&mut rest);
            assert!(!rest.starts_with(b"HTTP/1.1 200"), "nothing was asked");
        }
    }

    /// The same where they ask, and read nothing of the answer.
    #[test]
    fn those_who_do_not_read_keep_nobody_out() {
        let at = served();
        let deaf = (0..12).map(|_| {
            let mut one = TcpStream::connect(at).expect("a connection");
            one.write_all(b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
            one
        });
        let deaf: Vec<_> = deaf.collect();
        asks(at);
        drop(deaf);
    }

    #[test]
    fn a_name_that_was_made_to_point_here_is_not_known() {
        let known = |host: &'static str| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            is_known(&headers, |name| name.eq_ignore_ascii_case("node.example"))
        };
        for host in ["127.0.0.1:7480", "localhost:7480", "LOCALHOST", "[::1]:7480", "10.1.2.3", "Node.Example:80"] {
            assert!(known(host), "{host}");
        }
        for host in ["evil.example:7480", "", "localhost.evil.example", "127.0.0.1.evil.example", "[evil"] {
            assert!(!known(host), "{host}");
        }
        assert!(!is_known(&HeaderMap::new(), |_| true), "a request without a host");
    }
}
