//! The schedule: intents go out when they are due, whatever comes back, and what comes back is timed from then.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use engine::io::{ShedReason, Verdict};
use engine::limits::EXPIRY_AHEAD_S_MAX;
use engine::message::intent::Intent;
use engine::message::refusal::Refusal;
use net::client::Event;
use net::wire::{Answer, AnswerVerdict};
use words::Failure;

use super::connections::{Connections, Counted};
use super::recorder::Recorder;
use super::scenario::Load;
use super::signing::{HANDED_AT_ONCE, SignedAhead};
use super::users::{Due, FIRST_BET, Users};

/// Seconds for which intents wait to be due; they were signed before, or are signed then.
const WAITING_S: f64 = 2.0;
/// Intents due at once that are few.
const FEW: u64 = 2;
/// How long the schedule rests after few.
const SHORT_REST: Duration = Duration::from_micros(500);
/// How long it does after more.
const REST: Duration = Duration::from_millis(1);
/// How long nothing may move in the preparation.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long what is under way at the end may take: longer than any intent may be applied. How long before it is due an intent was
/// signed is planned, and no bound; which expiries a node takes is one.
pub(super) const LAST: Duration = Duration::from_secs(EXPIRY_AHEAD_S_MAX + 5);
const _: () = assert!(LAST.as_secs() > EXPIRY_AHEAD_S_MAX, "whatever is lost is not applied a moment later");

/// Intents of one user that can be told apart, at least: a million users send one now and then.
const SLOTS_MIN: usize = 16;

/// Intents of one user that can be told apart while they are under way: as many as are due until the first of them has expired,
/// whatever the rate. An answer to an older one would not be counted, and the intent be called lost.
pub(super) fn slots(load: &Load) -> usize {
    let due = load.rate / f64::from(load.users) * EXPIRY_AHEAD_S_MAX as f64;
    SLOTS_MIN.max(due.ceil() as usize + load.burst as usize)
}

/// What clients write and the driver reads.
pub struct Heard {
    /// Where time begins.
    pub(super) start: Mutex<Instant>,
    recorder: Mutex<Recorder>,
    due: Due,
    pub(super) connections: Mutex<Connections>,
    pub(super) prepared: AtomicU64,
    updates: AtomicU64,
    /// Intents that never left this process.
    pub(super) unsent: AtomicU64,
    pub(super) problem: Mutex<Option<String>>,
}

/// A guard of a lock whose holder may have panicked: what it guards is counts.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What to do about a user who is refused an account or a seat.
fn why_refused(refusal: Refusal) -> String {
    let sentence = match refusal {
        Refusal::NumberUsed => "a run before this one opened this user's account; another --seed has other users",
        other => other.sentence(),
    };
    format!("{sentence} ({})", refusal.name())
}

/// What to do about a user whose account or seat is not even asked for.
fn why_shed(reason: ShedReason) -> String {
    let sentence = match reason {
        ShedReason::OpenRate => {
            "the node lets one address open a few accounts a minute only; net.opens_per_address_per_min and \
             net.opens_per_connection_per_min in its configuration say how many"
        }
        other => other.sentence(),
    };
    format!("{sentence} ({})", reason.name())
}

impl Heard {
    pub(super) fn new(users: usize, slots: usize) -> Self {
        Self {
            start: Mutex::new(Instant::now()),
            recorder: Mutex::default(),
            due: Due::new(users, slots),
            connections: Mutex::new(Connections::new(users)),
            prepared: AtomicU64::new(0),
            updates: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            problem: Mutex::default(),
        }
    }

    pub(super) fn fail(&self, problem: String) {
        lock(&self.problem).get_or_insert(problem);
    }

    /// An intent goes out that was due so long after the start.
    pub(super) fn offer(&self, user: usize, number: u64, due: Duration) {
        self.due.set(user, number, due.as_micros() as u64);
        lock(&self.recorder).offered(due);
    }

    pub(super) fn hear(&self, user: usize, start: Instant, event: Event) {
        match event {
            Event::Up { .. } | Event::Down { .. } | Event::Connecting { .. } => {
                lock(&self.connections).hear(user, &event);
            }
            Event::Table { .. } => _ = self.updates.fetch_add(1, Ordering::Relaxed),
            Event::Answer(answer) => self.answered(user, start, &answer),
            Event::Genesis(_) | Event::Account(_) | Event::ClockSet { .. } | Event::Status(_) => {}
        }
    }

    /// What became of an intent. Those before the first bet are the preparation.
    pub(super) fn answered(&self, user: usize, start: Instant, answer: &Answer) {
        if answer.id.number < FIRST_BET {
            match answer.verdict {
                AnswerVerdict::Acknowledged => {}
                AnswerVerdict::Receipt { verdict: Verdict::Applied | Verdict::OddsReturned, .. } => {
                    self.prepared.fetch_add(1, Ordering::Relaxed);
                }
                AnswerVerdict::Receipt { verdict: Verdict::Refused(refusal), .. } => {
                    self.fail(format!("user {user} cannot take part: {}", why_refused(refusal)));
                }
                AnswerVerdict::Shed(reason) => {
                    self.fail(format!("user {user} cannot take part: {}", why_shed(reason)));
                }
            }
            return;
        }
        let due = if answer.is_final() {
            self.due.finish(user, answer.id.number)
        } else {
            self.due.acknowledge(user, answer.id.number).map(|due| (due, true))
        };
        let Some((due, first)) = due else { return };
        lock(&self.recorder).answered(answer.verdict, first, Duration::from_micros(due), start.elapsed());
    }

    /// Waits for a part of the preparation.
    ///
    /// # Errors
    /// If it is not done in time, or somebody cannot take part.
    pub(super) fn wait(&self, what: &str, count: u64, done: impl Fn(&Self) -> u64) -> anyhow::Result<()> {
        self.wait_within(what, count, PATIENCE, done)
    }

    /// Waits for a part of the preparation, until nothing has moved for `patience`.
    ///
    /// # Errors
    /// As [`Heard::wait`].
    pub(super) fn wait_within(
        &self,
        what: &str,
        count: u64,
        patience: Duration,
        done: impl Fn(&Self) -> u64,
    ) -> anyhow::Result<()> {
        let (mut last, mut moved) = (0, Instant::now());
        while done(self) < count {
            if let Some(problem) = lock(&self.problem).take() {
                return Err(Failure::Unreachable(problem).into());
            }
            if done(self) != last {
                (last, moved) = (done(self), Instant::now());
            }
            if moved.elapsed() > patience {
                bail!("only {last} of {count} users could {what}; nothing came for {} s", patience.as_secs());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Looks at what was recorded so far.
    pub fn read<R>(&self, read: impl FnOnce(&Recorder) -> R) -> R {
        read(&lock(&self.recorder))
    }

    /// What became of the users' connections.
    pub fn connections(&self) -> Counted {
        lock(&self.connections).counted
    }

    /// Updates of watched tables that arrived.
    pub fn updates(&self) -> u64 {
        self.updates.load(Ordering::Relaxed)
    }
}

/// Whether a run goes on: not without a node, for hours in which nothing can answer.
pub(super) fn goes_on(a_node_runs: bool) -> ControlFlow<()> {
    if a_node_runs { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// Sends every intent when it is due, by `send`, which is also called with nothing from time to time. `on_progress` is called
/// about ten times a second with the time since the start. Gives after how long that or `stop` ended it, where that was before the
/// last intent.
///
/// # Errors
/// If the signing thread stopped.
pub(super) fn run(
    load: &Load,
    users: &Arc<Users>,
    signed: SignedAhead,
    heard: &Heard,
    stop: &AtomicBool,
    mut send: impl FnMut(Duration, Option<(usize, Intent)>),
    mut on_progress: impl FnMut(Duration, &Heard) -> ControlFlow<()>,
) -> anyhow::Result<Option<Duration>> {
    let count = load.intents();
    let waiting = (WAITING_S * load.rate) as usize / HANDED_AT_ONCE as usize + 1;
    let (handed_in, handed) = mpsc::sync_channel(waiting);
    let (load_of, users_of) = (load.clone(), Arc::clone(users));
    // Ends with its receiver.
    let handing = std::thread::spawn(move || signed.hand_over(&load_of, &users_of, &handed_in));
    let mut next = Vec::new().into_iter();
    // A moment, until some wait.
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    *lock(&heard.start) = start;
    let mut number = 0;
    let (mut looked, mut is_over) = (Duration::ZERO, false);
    while number < count && !is_over && !stop.load(Ordering::Relaxed) {
        let now = start.elapsed();
        let first = number;
        while number < count && load.due(number) <= now {
            let (user, intent): (usize, Intent) = match next.next() {
                Some(intent) => intent,
                None => {
                    next = handed.recv().context("no more intents are handed over")?.into_iter();
                    next.next().context("an empty part of the schedule")?
                }
            };
            heard.due.set(user, intent.body.number, load.due(number).as_micros() as u64);
            send(now, Some((user, intent)));
            number += 1;
        }
        if number > first {
            let mut recorder = lock(&heard.recorder);
            let left = start.elapsed();
            (first..number).for_each(|number| {
                recorder.offered(load.due(number));
                recorder.left(load.due(number), left);
            });
        }
        send(now, None);
        if now >= looked {
            looked = now + Duration::from_millis(100);
            is_over = on_progress(now, heard).is_break();
        }
        // Each rest costs the same, and an intent that goes out late counts as the node's delay: how late is recorded.
        std::thread::sleep(if number - first <= FEW { SHORT_REST } else { REST });
    }
    let stopped_after = (number < count).then(|| start.elapsed());
    drop(handed);
    handing.join().map_err(|_| anyhow::anyhow!("the thread that hands over intents panicked"))??;
    let asked = Instant::now();
    while heard.read(Recorder::unanswered) > 0 && !is_over && asked.elapsed() < LAST {
        is_over = on_progress(start.elapsed(), heard).is_break();
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(stopped_after)
}
