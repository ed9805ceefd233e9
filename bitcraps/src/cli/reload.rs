//! SIGHUP: a node's configuration is read again, and what may change while it runs is changed. The log has what that was.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use ::node::layers::{Changed, Layered};
use ::node::threads::WatchedThread;
use anyhow::Context;
use audit::db::journal_bytes;
use operate::doctor::warnings;
use operate::monitor::{Changer, Monitor};
use operate::service;
use operate::watching::MonitorConfig;
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::{Handle, Signals};

use super::config::{check_beside, monitor_config, without_lines_of_file};
use super::logs::{Logs, goes_over};

/// How often its thread looks for the signal, and how often it does so at least: what a reload takes is part of that.
const TURN: Duration = Duration::from_millis(250);
const THREAD_PERIOD: Duration = Duration::from_secs(2);

/// A configuration that is read again while its node runs.
pub struct Reload {
    state: Arc<Mutex<State>>,
    signals: Handle,
    /// Shows that the thread moves.
    turns: Arc<AtomicU64>,
    /// Whether the manager of services was told that the node is ready: what it is told of a reload ends with that word.
    is_ready: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What is read again, and who takes it.
struct State {
    path: PathBuf,
    set: Vec<String>,
    follows: bool,
    layered: Layered,
    logs: Logs,
    monitor: Option<Changer>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no panic while it is held")
}

impl State {
    /// Reads the configuration again and changes what may change. What changed is said, and what there is to know of it, as at
    /// a start.
    ///
    /// # Errors
    /// If a node would not start with it: then all stays as it was.
    fn reload(&mut self) -> anyhow::Result<(Vec<Changed>, Vec<String>)> {
        let new = Layered::load(&self.path, &self.set)?;
        check_beside(&new, &self.layered.config, self.follows)?;
        let changed = self.layered.changed(&new);
        let warned = warnings(&new.config, journal_bytes(&new.config.node.data).unwrap_or(0));
        let warned = new.warning.iter().cloned().chain(warned).collect();
        // What counts from the next start on is said each time, until there was one.
        self.layered = self.layered.while_running(new);
        self.logs.change(&self.layered.config.log)?;
        if let Some(monitor) = &self.monitor {
            monitor.change(monitor_config(&self.layered.config))?;
        }
        Ok((changed, warned))
    }
}

/// Says what changed, and where something else is what counts.
fn say_changed(changed: &Changed) {
    match goes_over(&changed.key) {
        Some(over) => tracing::info!("configuration: {changed}; {over} goes over it"),
        None => tracing::info!("configuration: {changed}"),
    }
}

impl Reload {
    /// Waits for SIGHUP from now on, which ends the process no more.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn start(path: PathBuf, set: Vec<String>, follows: bool, layered: Layered, logs: Logs) -> anyhow::Result<Self> {
        let mut signals = Signals::new([SIGHUP]).context("signals")?;
        let handle = signals.handle();
        let state = Arc::new(Mutex::new(State { path, set, follows, layered, logs, monitor: None }));
        let shared = Arc::clone(&state);
        let turns = Arc::new(AtomicU64::new(0));
        let turned = Arc::clone(&turns);
        let is_ready = Arc::new(AtomicBool::new(false));
        let is_told = Arc::clone(&is_ready);
        let run = move || {
            // It looks for the signal instead of waiting for it, so that whoever watches it sees it move.
            while !signals.is_closed() {
                turned.fetch_add(1, Ordering::Relaxed);
                if signals.pending().count() == 0 {
                    std::thread::park_timeout(TURN);
                    continue;
                }
                // Before the node is ready the manager waits for its first word, and a reload has none.
                let is_told = is_told.load(Ordering::Relaxed);
                if is_told {
                    service::reloading();
                }
                match lock(&shared).reload() {
                    Ok((changed, warned)) => {
                        if changed.is_empty() {
                            tracing::info!("the configuration is what it was");
                        }
                        changed.iter().for_each(say_changed);
                        warned.iter().for_each(|warning| tracing::warn!("{warning}"));
                    }
                    Err(error) => {
                        tracing::error!(
                            "the configuration stays as it was: {}",
                            without_lines_of_file(&format!("{error:#}"))
                        );
                    }
                }
                if is_told {
                    service::ready("running");
                }
            }
        };
        let thread = std::thread::Builder::new().name("reload".into()).spawn(run).context("a thread")?;
        Ok(Self { state, signals: handle, turns, is_ready, thread: Some(thread) })
    }

    /// Its thread, to be watched.
    pub fn thread(&self) -> WatchedThread {
        WatchedThread::new("reload", THREAD_PERIOD, Arc::clone(&self.turns))
    }

    /// The node takes intents now, and the manager of services hears of it.
    pub fn ready(&self) {
        service::ready("running");
        self.is_ready.store(true, Ordering::Relaxed);
    }

    /// Starts a monitor with what it is told now, and has it told of what changes from then on.
    ///
    /// # Errors
    /// If it does not start.
    pub fn watched_by<E>(&self, start: impl FnOnce(MonitorConfig) -> Result<Monitor, E>) -> Result<Monitor, E> {
        // No reload comes between the two.
        let mut state = lock(&self.state);
        let monitor = start(monitor_config(&state.layered.config))?;
        state.monitor = Some(monitor.changer());
        Ok(monitor)
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        self.signals.close();
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_file_is_not_logged() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("bitcraps.toml");
        std::fs::write(&path, "[alerts]\nwebhook = \"https://host/token\"\n").expect("a file");
        let error = Layered::load(&path, &[]).expect_err("it has no address of http://");
        assert!(format!("{error:#}").contains("host/token"), "people who look at the file see the line: {error:#}");
        let logged = without_lines_of_file(&format!("{error:#}"));
        assert!(logged.contains("line 2, column 11") && logged.contains("no address of http://"), "{logged}");
        assert!(!logged.contains("token") && !logged.contains('\n'), "{logged}");
    }
}
