//! Where changes of alerts go: the log always, and a webhook, a command and e-mail where the configuration names them. Each of
//! these has a thread of its own, so that neither the node nor its watching waits for anybody, nor one of them for another.

use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use engine::limits::ALERTS_WAITING_MAX;
use node::config::AlertsConfig;
use node::threads::WatchedThread;

use super::rules::AlertLevel;
use super::state::Change;
use super::telling::{ChannelError, PATIENCE, TURN, Telling, as_json};
use super::webhook::{server_of, webhook};
use crate::process::without_secrets;

const THREAD_PERIOD: Duration = Duration::from_secs(2);
/// What all threads of channels are called.
const THREAD: &str = "alerts";

/// How a channel tells a change.
type Tell = fn(&AlertsConfig, &str, &Change, &Telling) -> Result<(), ChannelError>;

/// A way on which changes are told, with a thread and a queue of its own.
struct Channel {
    /// The key that names it.
    key: &'static str,
    changes: Option<Sender<Change>>,
    telling: Arc<Telling>,
    /// Says, by its end, that the thread has ended.
    ended: Receiver<()>,
}

impl Channel {
    fn start(
        key: &'static str,
        tell: Tell,
        config: AlertsConfig,
        node: String,
        untold: Arc<AtomicU64>,
    ) -> std::io::Result<Self> {
        let (changes, heard) = bounded(ALERTS_WAITING_MAX);
        let (ends, ended) = bounded::<()>(0);
        let telling = Arc::new(Telling { untold, ..Telling::default() });
        let shared = Arc::clone(&telling);
        let run = move || {
            tell_all(tell, &config, &node, &heard, &shared);
            drop(ends);
        };
        std::thread::Builder::new().name(THREAD.into()).spawn(run)?;
        Ok(Self { key, changes: Some(changes), telling, ended })
    }

    /// Has a change told without waiting.
    fn tell(&self, change: Change) {
        self.telling.waiting.fetch_add(1, Ordering::Relaxed);
        if self.changes.as_ref().is_some_and(|changes| changes.try_send(change).is_err()) {
            self.telling.waiting.fetch_sub(1, Ordering::Relaxed);
            self.telling.untold.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("{ALERTS_WAITING_MAX} alerts wait to be told by `{}`; this one is not told by it", self.key);
        }
    }

    /// Waits until all is told that waits, as long as there is time: what is not told then stays so.
    fn end(&self, until: Instant) {
        if self.ended.recv_deadline(until) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        self.telling.is_over.store(true, Ordering::Relaxed);
        let waiting = self.telling.waiting.load(Ordering::Relaxed);
        tracing::warn!("alerts not told by the end of the node: {waiting} by `{}`; the log has them", self.key);
    }
}

/// Tells changes. Dropped, it tells what waits and is waited for by nobody.
pub struct Channels {
    config: AlertsConfig,
    /// The channels that the configuration names.
    channels: Vec<Channel>,
}

impl Channels {
    /// Tells them where the configuration says, and counts those that a channel does not take.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(config: AlertsConfig, node: &str, untold: &Arc<AtomicU64>) -> std::io::Result<Self> {
        let all: [(_, _, Tell); 3] = [
            ("alerts.webhook", !config.webhook.is_empty(), webhook),
            ("alerts.exec", !config.exec.is_empty(), command),
            ("alerts.mail_to", !config.mail_to.is_empty(), mail),
        ];
        let named = all.into_iter().filter(|(_, is_named, _)| *is_named);
        let start = |(key, _, tell)| Channel::start(key, tell, config.clone(), node.to_owned(), Arc::clone(untold));
        let channels = named.map(start).collect::<Result<_, _>>()?;
        Ok(Self { config, channels })
    }

    /// Whether they tell where this configuration says.
    pub fn are_of(&self, config: &AlertsConfig) -> bool {
        self.config == *config
    }

    /// Their threads, to be watched, all under one name.
    pub fn threads(&self) -> (&'static str, Vec<WatchedThread>) {
        let watched = |channel: &Channel| WatchedThread::new(THREAD, THREAD_PERIOD, Arc::clone(&channel.telling.turns));
        (THREAD, self.channels.iter().map(watched).collect())
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
        self.channels.iter().for_each(|channel| channel.tell(change.clone()));
    }

    /// Ends: what waits has `within` to be told, all of it together. The log says what was not.
    pub fn end(&mut self, within: Duration) {
        let until = Instant::now() + within;
        self.channels.iter_mut().for_each(|channel| channel.changes = None);
        self.channels.iter().for_each(|channel| channel.end(until));
    }
}

fn tell_all(tell: Tell, config: &AlertsConfig, node: &str, heard: &Receiver<Change>, telling: &Telling) {
    loop {
        if telling.is_over() {
            return;
        }
        let change = match heard.recv_timeout(TURN) {
            Ok(change) => change,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Err(error) = tell(config, node, &change, telling) {
            telling.untold.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("an alert was not told: {error}");
        }
        telling.waiting.fetch_sub(1, Ordering::Relaxed);
    }
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
pub(super) mod tests {
    use std::net::TcpListener;

    use super::*;

    pub(in crate::alerts) fn change() -> Change {
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
        let mut channels = Channels::start(config.clone(), "north", &Arc::default()).expect("a thread");
        (0..3).for_each(|_| channels.tell(change()));
        let began = Instant::now();
        channels.end(Duration::from_millis(200));
        assert!(began.elapsed() < Duration::from_secs(5), "it ended after {:?}", began.elapsed());
        assert_eq!(channels.channels[0].telling.waiting.load(Ordering::Relaxed), 3, "none of them was told");
        let channels = Channels::start(config, "north", &Arc::default()).expect("a thread");
        channels.tell(change());
        let began = Instant::now();
        drop(channels);
        assert!(began.elapsed() < Duration::from_secs(5), "other channels are used at once");
    }

    #[test]
    fn a_channel_that_does_not_answer_keeps_nothing_from_another() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("told");
        let (_listener, silent) = silent();
        let config = AlertsConfig { exec: writes(&file, "cat"), ..silent };
        let mut channels = Channels::start(config, "north", &Arc::default()).expect("threads");
        assert_eq!(channels.threads().1.len(), 2, "each has its own, and nobody asks for letters");
        channels.tell(change());
        channels.end(Duration::from_secs(2));
        let told = std::fs::read_to_string(&file).expect("the program was run");
        assert!(told.contains("\"rule\":\"MemoryHigh\""), "{told}");
    }

    #[test]
    fn what_a_channel_does_not_take_is_counted() {
        let config = AlertsConfig { exec: vec!["/no/such".into()], ..AlertsConfig::default() };
        let untold = Arc::new(AtomicU64::new(0));
        let mut channels = Channels::start(config, "north", &untold).expect("a thread");
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
