//! Where changes of alerts go: the log always, and a webhook, a command and e-mail where the configuration names them. A
//! thread of its own does it, so that neither the node nor its watching waits for anybody.

use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::{Request, Uri, header};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use engine::limits::ALERTS_WAITING_MAX;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use node::config::AlertsConfig;
use node::threads::WatchedThread;
use thiserror::Error;
use tokio::net::TcpStream;

use super::rules::AlertLevel;
use super::state::Change;
use crate::process::without_secrets;

/// How long one channel may take for one change.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often its thread turns, and how often it does so at least.
const TURN: Duration = Duration::from_millis(500);
const THREAD_PERIOD: Duration = Duration::from_secs(2);

/// Why a change was not told somewhere.
#[derive(Error, Debug)]
pub enum ChannelError {
    /// A program cannot be run.
    #[error("{program}: {error}")]
    Run {
        /// The program.
        program: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// A program ended with a fault, or was ended because it took too long.
    #[error("{program}: {status}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
    },
    /// A webhook did not take it.
    #[error("the webhook: {problem}")]
    Webhook {
        /// What became of the request.
        problem: String,
    },
}

/// What those who tell changes share with those who have them told.
#[derive(Default)]
struct Telling {
    /// Changes that are not told yet.
    waiting: AtomicU64,
    /// Times that a channel did not take one, since the node started.
    untold: Arc<AtomicU64>,
    /// Nobody waits any more: what has not been told stays so.
    is_over: AtomicBool,
    /// Shows that the thread moves, also while a channel takes its time.
    turns: Arc<AtomicU64>,
}

impl Telling {
    fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.turn();
        self.is_over.load(Ordering::Relaxed)
    }
}

/// Tells changes, on a thread of its own. Dropped, it tells what waits and is waited for by nobody.
pub struct Channels {
    config: AlertsConfig,
    changes: Option<Sender<Change>>,
    telling: Arc<Telling>,
    /// Says, by its end, that the thread has ended.
    ended: Receiver<()>,
}

impl Channels {
    /// Tells them where the configuration says, and counts those that a channel does not take.
    ///
    /// # Errors
    /// If the system refuses the thread.
    pub fn start(config: AlertsConfig, node: String, untold: Arc<AtomicU64>) -> std::io::Result<Self> {
        let (changes, heard) = bounded(ALERTS_WAITING_MAX);
        let (ends, ended) = bounded::<()>(0);
        let telling = Arc::new(Telling { untold, ..Telling::default() });
        let (shared, own) = (Arc::clone(&telling), config.clone());
        let run = move || {
            tell_all(&config, &node, &heard, &shared);
            drop(ends);
        };
        std::thread::Builder::new().name("alerts".into()).spawn(run)?;
        Ok(Self { config: own, changes: Some(changes), telling, ended })
    }

    /// Whether they tell where this configuration says.
    pub fn are_of(&self, config: &AlertsConfig) -> bool {
        self.config == *config
    }

    /// Its thread, to be watched.
    pub fn thread(&self) -> WatchedThread {
        WatchedThread::new("alerts", THREAD_PERIOD, Arc::clone(&self.telling.turns))
    }

    /// Logs a change, and has it told elsewhere without waiting.
    pub fn tell(&self, change: Change) {
        let Change { rule, title, why, page, level, before, .. } = &change;
        match level {
            AlertLevel::None => tracing::info!("alert over: {rule}, {title} ({why})"),
            AlertLevel::Warning if before > level => {
                tracing::warn!("alert less severe, now a warning: {rule}, {title} ({why}); docs/{page}");
            }
            AlertLevel::Warning => tracing::warn!("alert: {rule}, {title} ({why}); docs/{page}"),
            AlertLevel::Critical => tracing::error!("alert: {rule}, {title} ({why}); docs/{page}"),
        }
        self.telling.waiting.fetch_add(1, Ordering::Relaxed);
        if self.changes.as_ref().is_some_and(|changes| changes.try_send(change).is_err()) {
            self.telling.waiting.fetch_sub(1, Ordering::Relaxed);
            self.telling.untold.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("{ALERTS_WAITING_MAX} alerts wait to be told; this one is in the log alone");
        }
    }

    /// Ends: what waits has `within` to be told, all of it together. The rest is in the log alone, which says so.
    pub fn end(&mut self, within: Duration) {
        self.changes = None;
        if self.ended.recv_timeout(within) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        self.telling.is_over.store(true, Ordering::Relaxed);
        let waiting = self.telling.waiting.load(Ordering::Relaxed);
        tracing::warn!("alerts not told by the end of the node: {waiting}; the log alone has them");
    }
}

fn tell_all(config: &AlertsConfig, node: &str, heard: &Receiver<Change>, telling: &Telling) {
    let channels = [webhook, command, mail];
    loop {
        telling.turn();
        let change = match heard.recv_timeout(TURN) {
            Ok(change) => change,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        for tell in channels {
            if telling.is_over() {
                return;
            }
            if let Err(error) = tell(config, node, &change, telling) {
                telling.untold.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("an alert was not told: {error}");
            }
        }
        telling.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What programs read of a change.
fn as_json(node: &str, change: &Change) -> String {
    let mut value = serde_json::to_value(change).expect("a change is plain data");
    value["node"] = node.into();
    value.to_string()
}

fn webhook(config: &AlertsConfig, node: &str, change: &Change, telling: &Telling) -> Result<(), ChannelError> {
    if config.webhook.is_empty() {
        return Ok(());
    }
    let problem = |problem: String| ChannelError::Webhook { problem };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| problem(error.to_string()))?;
    let body = as_json(node, change);
    let sent = runtime.block_on(async {
        let turn = async {
            while !telling.is_over() {
                tokio::time::sleep(TURN).await;
            }
        };
        tokio::select! {
            sent = tokio::time::timeout(PATIENCE, post(&config.webhook, body)) => sent.ok(),
            () = turn => None,
        }
    });
    // A name that is still looked up holds nobody up: the system may take minutes until it gives up.
    runtime.shutdown_background();
    sent.unwrap_or_else(|| Err(format!("no answer within {} s, or by the end of the node", PATIENCE.as_secs())))
        .map_err(problem)
}

/// Whether what the configuration names could be a webhook, a command and a program that sends letters. It is asked of a file
/// too, so what is wrong begins with its key; none of it is repeated, for it may hold a secret.
///
/// # Errors
/// What is wrong.
pub fn check(config: &AlertsConfig) -> Result<(), String> {
    if !config.webhook.is_empty() {
        server_of(&config.webhook).map_err(|problem| format!("alerts.webhook: {problem}"))?;
    }
    let is_nameless = |program: &String| program.trim().is_empty();
    if config.exec.first().is_some_and(is_nameless) {
        return Err("alerts.exec: the program has no name; [] is none".into());
    }
    if !config.mail_to.is_empty() && is_nameless(&config.sendmail) {
        return Err("alerts.sendmail: the program has no name, and alerts.mail_to asks for letters".into());
    }
    Ok(())
}

/// The address of a webhook, with its host and port.
fn server_of(url: &str) -> Result<(Uri, String, u16), String> {
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
async fn post(url: &str, body: String) -> Result<(), String> {
    let (uri, host, port) = server_of(url)?;
    let stream = TcpStream::connect((&*host, port));
    let stream = stream.await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let authority = uri.authority().expect("it has a host").as_str().to_owned();
    let request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    // It ends with the runtime, if not before.
    drop(tokio::spawn(connection));
    let status = sender.send_request(request).await.map_err(|error| error.to_string())?.status();
    if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
}

/// Runs the operator's command: the change is its standard input, and in its environment.
fn command(config: &AlertsConfig, node: &str, change: &Change, telling: &Telling) -> Result<(), ChannelError> {
    let Some((program, args)) = config.exec.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(args);
    command.env("BITCRAPS_ALERT", change.rule).env("BITCRAPS_ALERT_LEVEL", change.level.name());
    command.env("BITCRAPS_ALERT_WHY", &change.why).env("BITCRAPS_ALERT_NODE", node);
    run(program, command, &as_json(node, change), telling)
}

/// Hands a letter to the system's sendmail.
fn mail(config: &AlertsConfig, node: &str, change: &Change, telling: &Telling) -> Result<(), ChannelError> {
    if config.mail_to.is_empty() {
        return Ok(());
    }
    let program = &config.sendmail;
    let mut command = Command::new(program);
    command.args(["-i", "-t"]);
    let level = subject(change);
    // Neither a rule's words nor a node's name have a line break, so no header can be made up.
    let letter = format!(
        "To: {}\nSubject: [{level}] {node}: {}\nContent-Type: text/plain; charset=utf-8\n\n{}: {}\n{}\n\ndocs/{} says what to do, as the dashboard does at /{}.\n",
        config.mail_to.join(", "),
        change.title,
        change.rule,
        change.title,
        change.why,
        change.page,
        change.page.trim_end_matches(".md")
    );
    run(program, command, &letter, telling)
}

/// How bad it is, as the subject of a letter has it.
fn subject(change: &Change) -> &'static str {
    match change.level {
        AlertLevel::None => "over",
        AlertLevel::Warning if change.before == AlertLevel::Critical => "less severe, now a warning",
        level => level.name(),
    }
}

/// Runs a program to its end, with text as its standard input, for as long as it may take.
fn run(program: &str, mut command: Command, input: &str, telling: &Telling) -> Result<(), ChannelError> {
    let failed = |error| ChannelError::Run { program: program.to_owned(), error };
    without_secrets(&mut command);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // What it does not read it does not want. The text is shorter than a pipe, so nothing waits here.
        let _ = stdin.write_all(input.as_bytes());
    }
    match wait(&mut child, telling).map_err(failed)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(ChannelError::Failed { program: program.to_owned(), status: status.to_string() }),
        None => {
            let status =
                format!("it did not end within {} s, or by the end of the node, and was ended", PATIENCE.as_secs());
            Err(ChannelError::Failed { program: program.to_owned(), status })
        }
    }
}

/// How a program ended, or nothing if it took too long and was ended.
fn wait(child: &mut Child, telling: &Telling) -> std::io::Result<Option<ExitStatus>> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && !telling.is_over() {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::net::TcpListener;

    use super::*;

    fn change() -> Change {
        Change {
            rule: "MemoryHigh",
            title: "memory is nearly used up",
            level: AlertLevel::Critical,
            before: AlertLevel::None,
            why: "99.0 %; critical is above 98.0 % for 60 s".into(),
            at_ms: 7,
            page: "runbook/memory-high.md".into(),
        }
    }

    /// A shell that writes what it was given to a file.
    fn writes(file: &std::path::Path, what: &str) -> Vec<String> {
        ["/bin/sh", "-c", &format!("{what} > '{}'", file.display())].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_command_gets_the_change_as_json_and_in_its_environment() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("told");
        let exec = writes(&file, "(echo $BITCRAPS_ALERT $BITCRAPS_ALERT_LEVEL; cat)");
        let config = AlertsConfig { exec, ..AlertsConfig::default() };
        command(&config, "north", &change(), &Telling::default()).expect("a shell");
        let told = std::fs::read_to_string(&file).expect("it wrote");
        let (first, json) = told.split_once('\n').expect("two lines");
        assert_eq!(first, "MemoryHigh critical");
        let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
        assert_eq!((json["node"].as_str(), json["level"].as_str()), (Some("north"), Some("critical")));
        let config = AlertsConfig { exec: vec!["/bin/false".into()], ..AlertsConfig::default() };
        assert!(matches!(command(&config, "north", &change(), &Telling::default()), Err(ChannelError::Failed { .. })));
        let config = AlertsConfig { exec: vec!["/no/such".into()], ..AlertsConfig::default() };
        assert!(matches!(command(&config, "north", &change(), &Telling::default()), Err(ChannelError::Run { .. })));
    }

    #[test]
    fn the_guide_names_every_variable_that_a_command_gets() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("told");
        let config = AlertsConfig { exec: writes(&file, "env | grep ^BITCRAPS_ALERT"), ..AlertsConfig::default() };
        command(&config, "north", &change(), &Telling::default()).expect("a shell");
        let told = std::fs::read_to_string(&file).expect("it wrote");
        let names: Vec<&str> = told.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        assert_eq!(names.len(), 4, "{told}");
        let guide = include_str!("../../../docs/operating.md");
        assert!(names.iter().all(|name| guide.contains(&format!("`{name}`"))), "{names:?}");
    }

    #[test]
    fn a_letter_has_its_headers_and_the_page() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let (program, file) = (dir.path().join("sendmail"), dir.path().join("letter"));
        std::fs::write(&program, format!("#!/bin/sh\n(echo \"$@\"; cat) > '{}'\n", file.display())).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("its own file");
        let config = AlertsConfig {
            mail_to: vec!["a@example.org".into(), "b@example.org".into()],
            sendmail: program.display().to_string(),
            ..AlertsConfig::default()
        };
        mail(&config, "north", &change(), &Telling::default()).expect("a program");
        let letter = std::fs::read_to_string(&file).expect("it wrote");
        let head = "-i -t\nTo: a@example.org, b@example.org\nSubject: [critical] north: memory is nearly used up\n";
        assert!(letter.starts_with(head), "{letter}");
        assert!(letter.contains("docs/runbook/memory-high.md"), "{letter}");
    }

    #[test]
    fn a_webhook_is_posted_to_and_must_answer() {
        for (status, is_taken) in [("204 No Content", true), ("500 Oh No", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let url = format!("http://{}/hook?of=me", listener.local_addr().expect("an address"));
            let server = std::thread::spawn(move || {
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
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").expect("an answer");
                (head, String::from_utf8(body).expect("text"))
            });
            let config = AlertsConfig { webhook: url, ..AlertsConfig::default() };
            let told = webhook(&config, "north", &change(), &Telling::default());
            assert_eq!(told.is_ok(), is_taken, "{told:?}");
            let (head, body) = server.join().expect("it answered");
            assert!(head.starts_with("POST /hook?of=me HTTP/1.1\r\n"), "{head}");
            assert!(body.contains("\"rule\":\"MemoryHigh\"") && body.contains("\"node\":\"north\""), "{body}");
        }
    }

    #[test]
    fn what_could_be_no_channel_is_found_before_there_is_an_alert() {
        let hooked = |webhook: &str| check(&AlertsConfig { webhook: webhook.into(), ..AlertsConfig::default() });
        for good in ["", "http://127.0.0.1:9/x?of=me", "http://host.example", "http://[::1]:65535/", "http://[::1]/"] {
            assert_eq!(hooked(good), Ok(()), "{good}");
        }
        for (bad, says) in [
            ("http://user:word@127.0.0.1:9/x", "a user and a password in an address are not sent"),
            ("http://word@host.example/", "a user and a password in an address are not sent"),
            ("http://127.0.0.1:99999/x", "a port is a number from 1 to 65535"),
            ("http://127.0.0.1:0/x", "a port is a number from 1 to 65535"),
            ("http://[::1]:99999/", "a port is a number from 1 to 65535"),
            ("https://host.example/", "no address of http://"),
            ("word", "no address of http://"),
        ] {
            let problem = hooked(bad).expect_err(bad);
            assert!(problem.starts_with(&format!("alerts.webhook: {says}")), "{bad}: {problem}");
            assert!(!problem.contains("word@") && !problem.contains("user:"), "{problem}");
        }
        let of = |exec: &[&str], mail_to: &[&str], sendmail: &str| {
            let list = |of: &[&str]| of.iter().map(|&one| one.to_owned()).collect();
            let (exec, mail_to) = (list(exec), list(mail_to));
            check(&AlertsConfig { exec, mail_to, sendmail: sendmail.into(), ..AlertsConfig::default() })
        };
        assert_eq!(of(&["/bin/true", ""], &[], ""), Ok(()), "an argument may be empty");
        assert!(of(&[""], &[], "x").expect_err("no program").starts_with("alerts.exec: the program has no name"));
        assert!(of(&[" ", "x"], &[], "x").is_err());
        assert!(of(&[], &["a@b"], "").expect_err("no program").starts_with("alerts.sendmail: the program has no name"));
    }

    /// What hears a webhook and never answers.
    fn silent() -> (TcpListener, AlertsConfig) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let webhook = format!("http://{}/", listener.local_addr().expect("an address"));
        (listener, AlertsConfig { webhook, ..AlertsConfig::default() })
    }

    #[test]
    fn nobody_waits_long_for_a_channel_that_does_not_answer() {
        let (_listener, config) = silent();
        let mut channels = Channels::start(config.clone(), "north".into(), Arc::default()).expect("a thread");
        (0..3).for_each(|_| channels.tell(change()));
        let began = Instant::now();
        channels.end(Duration::from_millis(200));
        assert!(began.elapsed() < Duration::from_secs(5), "it ended after {:?}", began.elapsed());
        assert_eq!(channels.telling.waiting.load(Ordering::Relaxed), 3, "none of them was told");
        let channels = Channels::start(config, "north".into(), Arc::default()).expect("a thread");
        channels.tell(change());
        let began = Instant::now();
        drop(channels);
        assert!(began.elapsed() < Duration::from_secs(5), "other channels are used at once");
    }

    #[test]
    fn what_a_channel_does_not_take_is_counted() {
        let config = AlertsConfig { exec: vec!["/no/such".into()], ..AlertsConfig::default() };
        let untold = Arc::new(AtomicU64::new(0));
        let mut channels = Channels::start(config, "north".into(), Arc::clone(&untold)).expect("a thread");
        (0..2).for_each(|_| channels.tell(change()));
        channels.end(PATIENCE);
        assert_eq!(untold.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_fall_is_told_apart_from_a_rise() {
        let fell = Change { level: AlertLevel::Warning, before: AlertLevel::Critical, ..change() };
        assert_eq!(subject(&fell), "less severe, now a warning");
        assert_eq!(subject(&Change { before: AlertLevel::None, ..fell }), "warning");
    }
}
