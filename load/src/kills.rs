//! Validators that are killed in the middle of a run, one after another, and started again.
//!
//! ```text
//!  runs -> killed, away for seconds -> starts, on a thread of its own -> listens, comes to the others' height -> the next one
//! ```
//! A validator that does not come back is the last one that is killed: without another one the set may have no quorum.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::Height;

use super::report::Goal;
use super::scenario::Load;

/// How long a killed validator is away.
const AWAY: Duration = Duration::from_secs(5);
/// What one takes that is killed, until the next one may be: away, its start, and the heights that it missed.
const TAKES: Duration = Duration::from_secs(7);
/// How often is looked after the last intent.
const LOOKS: Duration = Duration::from_millis(50);

/// How long a run must be in which so many are killed, one after another, each before the last intent.
pub fn shortest_run(kills: u32) -> Duration {
    // The first one is killed after a part of the run, of which there is one more than there are kills.
    TAKES * kills.saturating_sub(1) * (kills + 1) / kills.max(1)
}

/// Starts a validator again and waits until it listens.
pub(super) type Starter<S> = Box<dyn FnOnce() -> anyhow::Result<S> + Send>;

/// Validators that can be killed and started again.
pub(super) trait Validators {
    /// A validator that was started.
    type Started: Send + 'static;

    /// Ends the validator of a slot at once.
    fn kill(&mut self, slot: usize);

    /// What starts the validator of a slot again, on whatever thread.
    fn starter(&self, slot: usize) -> Starter<Self::Started>;

    /// Takes a validator back that was started.
    fn put(&mut self, slot: usize, started: Self::Started);

    /// The height that the validator of a slot has settled; nothing while it does not answer.
    fn settled(&self, slot: usize) -> Option<Height>;

    /// The highest height that any validator has settled.
    fn highest(&self) -> Height;
}

/// What the validator does whose turn it is.
enum Stage<S> {
    /// The validator runs, and is killed next.
    Runs,
    /// The validator is away until this moment of the run.
    Away(Duration),
    /// The validator is being started, since then.
    Starts(Instant, JoinHandle<anyhow::Result<S>>),
    /// The validator was started then, listens, and has to come to this height.
    Comes(Instant, Height),
    /// No further one is killed.
    Over,
}

/// Which validator is away, and what came of those that were.
pub(super) struct Kills<S> {
    /// How many are to be killed.
    asked: u32,
    killed: u32,
    /// Killed validators that were level again. The next one is the validator of this slot.
    level: u32,
    /// When the next one is killed, before the run's end.
    next: Duration,
    every: Duration,
    end: Duration,
    /// The run's time when it was looked last.
    seen: Duration,
    stage: Stage<S>,
    /// What became of each.
    pub(super) notes: Vec<String>,
}

impl<S: Send + 'static> Kills<S> {
    pub(super) fn new(load: &Load, asked: u32) -> Self {
        let every = load.duration / (asked + 1);
        let stage = if asked > 0 { Stage::Runs } else { Stage::Over };
        let end = load.duration;
        Self { asked, killed: 0, level: 0, next: every, every, end, seen: Duration::ZERO, stage, notes: Vec::new() }
    }

    /// Does what is due. It waits for nothing: who sends the intents calls it.
    pub(super) fn turn(&mut self, elapsed: Duration, validators: &mut impl Validators<Started = S>) {
        let slot = self.level as usize;
        self.seen = elapsed;
        self.stage = match mem::replace(&mut self.stage, Stage::Over) {
            // Behind the last intent nobody would miss it.
            Stage::Runs if elapsed >= self.next && elapsed < self.end => {
                validators.kill(slot);
                self.notes.push(format!("validator {slot} was killed after {:.0} s.", elapsed.as_secs_f64()));
                (self.killed, self.next) = (self.killed + 1, elapsed + self.every);
                Stage::Away(elapsed + AWAY)
            }
            Stage::Away(until) if elapsed >= until => {
                Stage::Starts(Instant::now(), std::thread::spawn(validators.starter(slot)))
            }
            Stage::Starts(since, starting) if starting.is_finished() => {
                match starting.join().unwrap_or_else(|_| Err(anyhow::anyhow!("its thread panicked"))) {
                    Ok(started) => {
                        validators.put(slot, started);
                        Stage::Comes(since, validators.highest())
                    }
                    Err(problem) => {
                        self.notes.push(format!("validator {slot} did not start again: {problem:#}"));
                        Stage::Over
                    }
                }
            }
            Stage::Comes(since, height) if validators.settled(slot).is_some_and(|settled| settled >= height) => {
                let ms = since.elapsed().as_millis();
                self.notes.push(format!("validator {slot} was level again {ms} ms after its start."));
                self.level += 1;
                if self.level < self.asked { Stage::Runs } else { Stage::Over }
            }
            waiting => waiting,
        };
    }

    /// Goes on after the last intent until the one that was killed is level again, for `patience` at most; nothing but a start
    /// that is under way is waited for once `stop` is set. No further one is killed: that would measure nothing.
    pub(super) fn finish(
        &mut self,
        validators: &mut impl Validators<Started = S>,
        stop: &AtomicBool,
        patience: Duration,
    ) {
        let (began, from) = (Instant::now(), self.seen);
        while began.elapsed() < patience {
            match self.stage {
                Stage::Runs | Stage::Over => break,
                Stage::Away(_) | Stage::Comes(..) if stop.load(Ordering::Relaxed) => break,
                Stage::Away(_) | Stage::Starts(..) | Stage::Comes(..) => {}
            }
            self.turn(from + began.elapsed(), validators);
            std::thread::sleep(LOOKS);
        }
        let slot = self.level;
        self.notes.extend(match self.stage {
            Stage::Runs | Stage::Over => None,
            Stage::Away(_) => Some(format!("validator {slot} was still away at the end.")),
            Stage::Starts(since, _) => {
                Some(format!("validator {slot} did not listen {} s after its start.", since.elapsed().as_secs()))
            }
            Stage::Comes(since, height) => Some(format!(
                "validator {slot} was not level again {} s after its start: it had not come to height {height}.",
                since.elapsed().as_secs()
            )),
        });
        if self.killed < self.asked {
            self.notes.push(format!("{} of {} validators were killed, no more.", self.killed, self.asked));
        }
    }

    /// The goal that all validators who were to be killed came back; nothing where none was to be.
    pub(super) fn goal(&self) -> Option<Goal> {
        let Self { asked, level, .. } = *self;
        let (wanted, found) = (format!("{asked} of {asked}"), format!("{level} of {asked}"));
        (asked > 0).then(|| Goal::new("killed validators level again", wanted, found, level == asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::tests::load;

    struct Stub {
        starts: fn() -> anyhow::Result<()>,
        killed: Vec<usize>,
        put: Vec<usize>,
        settled: Height,
    }

    impl Stub {
        fn new(starts: fn() -> anyhow::Result<()>) -> Self {
            Self { starts, killed: Vec::new(), put: Vec::new(), settled: Height(7) }
        }
    }

    impl Validators for Stub {
        type Started = ();

        fn kill(&mut self, slot: usize) {
            self.killed.push(slot);
        }

        fn starter(&self, _: usize) -> Starter<()> {
            Box::new(self.starts)
        }

        fn put(&mut self, slot: usize, (): ()) {
            self.put.push(slot);
        }

        fn settled(&self, _: usize) -> Option<Height> {
            Some(self.settled)
        }

        fn highest(&self) -> Height {
            Height(7)
        }
    }

    fn kills(seconds: u64, asked: u32) -> Kills<()> {
        Kills::new(&Load { duration: Duration::from_secs(seconds), ..load(100.0, 0) }, asked)
    }

    /// Turns at a moment of the run until nothing changes any more; a start that is under way is waited for.
    fn at(kills: &mut Kills<()>, seconds: u64, stub: &mut Stub) {
        loop {
            let before = mem::discriminant(&kills.stage);
            kills.turn(Duration::from_secs(seconds), stub);
            if let Stage::Starts(_, starting) = &kills.stage {
                while !starting.is_finished() {
                    std::thread::yield_now();
                }
            } else if mem::discriminant(&kills.stage) == before {
                return;
            }
        }
    }

    fn found(kills: &Kills<()>) -> (String, bool) {
        kills.goal().map(|goal| (goal.found, goal.met)).expect("some are to be killed")
    }

    #[test]
    fn a_validator_that_is_away_at_the_last_intent_is_started_again_and_waited_for() {
        let (mut kills, mut stub) = (kills(8, 1), Stub::new(|| Ok(())));
        at(&mut kills, 4, &mut stub);
        at(&mut kills, 8, &mut stub);
        assert_eq!((&stub.killed[..], &stub.put[..], found(&kills)), (&[0][..], &[][..], ("0 of 1".into(), false)));
        kills.finish(&mut stub, &AtomicBool::new(false), Duration::from_secs(30));
        assert_eq!((&stub.put[..], found(&kills)), (&[0][..], ("1 of 1".into(), true)), "{:?}", kills.notes);
        assert!(kills.notes.iter().any(|note| note.starts_with("validator 0 was level again")), "{:?}", kills.notes);
        assert!(Kills::<()>::new(&load(100.0, 0), 0).goal().is_none(), "nobody asked for a kill");
    }

    #[test]
    fn each_is_killed_once_the_one_before_is_level() {
        let (mut kills, mut stub) = (kills(30, 2), Stub::new(|| Ok(())));
        for (seconds, killed) in [(9, 0), (10, 1), (14, 1), (15, 1), (19, 1), (20, 2), (25, 2), (29, 2)] {
            at(&mut kills, seconds, &mut stub);
            assert_eq!(stub.killed.len(), killed, "after {seconds} s");
        }
        kills.finish(&mut stub, &AtomicBool::new(false), Duration::ZERO);
        assert_eq!((&stub.killed[..], found(&kills)), (&[0, 1][..], ("2 of 2".into(), true)), "{:?}", kills.notes);
    }

    #[test]
    fn one_that_does_not_start_again_misses_the_target_and_is_the_last_that_is_killed() {
        let (mut kills, mut stub) = (kills(30, 2), Stub::new(|| anyhow::bail!("its disk is gone")));
        for seconds in [10, 15, 20, 25, 29] {
            at(&mut kills, seconds, &mut stub);
        }
        kills.finish(&mut stub, &AtomicBool::new(false), Duration::from_secs(30));
        assert_eq!((&stub.killed[..], found(&kills)), (&[0][..], ("0 of 2".into(), false)));
        let notes = kills.notes.join("\n");
        assert!(notes.contains("validator 0 did not start again: its disk is gone"), "{notes}");
        assert!(notes.contains("1 of 2 validators were killed"), "{notes}");
    }

    #[test]
    fn one_that_never_comes_level_is_named() {
        let (mut kills, mut stub) = (kills(30, 2), Stub::new(|| Ok(())));
        stub.settled = Height(6);
        for seconds in [10, 15, 20] {
            at(&mut kills, seconds, &mut stub);
        }
        kills.finish(&mut stub, &AtomicBool::new(false), Duration::from_millis(200));
        assert_eq!((&stub.killed[..], found(&kills)), (&[0][..], ("0 of 2".into(), false)));
        let notes = kills.notes.join("\n");
        assert!(notes.contains("validator 0 was not level again"), "{notes}");
    }

    #[test]
    fn nobody_who_sends_waits_for_a_validators_start() {
        static LISTENS: AtomicBool = AtomicBool::new(false);
        let starts = || {
            // It ends in any case, so that a turn that waits for it fails here and does not hang.
            let until = Instant::now() + Duration::from_secs(20);
            while !LISTENS.load(Ordering::Relaxed) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        };
        let (mut kills, mut stub) = (kills(30, 1), Stub::new(starts));
        for seconds in [15, 20, 21] {
            kills.turn(Duration::from_secs(seconds), &mut stub);
        }
        assert!(stub.put.is_empty(), "it does not listen yet");
        LISTENS.store(true, Ordering::Relaxed);
        // Whoever ends the run does not leave a process behind that is just starting.
        kills.finish(&mut stub, &AtomicBool::new(true), Duration::from_secs(30));
        assert_eq!(stub.put, [0]);
    }
}
