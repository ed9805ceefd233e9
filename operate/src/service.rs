//! What the system's manager of services (systemd) is told, where one started this process and asks for it: that the node is
//! ready, that it is alive, that it reads its configuration again, that it ends. See sd_notify(3).

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Says something to whoever started this process, if that listens.
fn tell(state: &[NotifyState<'_>]) {
    // Nobody there is the usual case, and a manager that is gone is nothing that a node could mend.
    let _ = sd_notify::notify(state);
}

/// The node takes intents now.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The node ends, and takes the time that it needs.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The configuration is read again, until [`ready`] is said.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// Tells the manager that the node is alive, as often as it asks for.
pub struct Watchdog {
    every: Option<Duration>,
    last: Option<Instant>,
}

impl Watchdog {
    /// As the environment asks for it: never, where nobody does.
    pub fn asked_for() -> Self {
        // Twice in the time after which the manager takes the process for dead.
        Self { every: sd_notify::watchdog_enabled().map(|within| within / 2), last: None }
    }

    /// To be called several times in that time. A node that is not alive says nothing, and is ended and started again.
    pub fn look(&mut self, now: Instant, is_alive: impl FnOnce() -> bool) {
        let Some(every) = self.every else { return };
        let is_due = self.last.is_none_or(|last| now - last >= every);
        if is_due && is_alive() {
            tell(&[NotifyState::Watchdog]);
            self.last = Some(now);
        }
    }
}
