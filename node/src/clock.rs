//! The node's clock: ticks of a fixed quantum, from virtual time or from the clock on the wall.

use std::time::{Duration, Instant, SystemTime};

use engine::Tick;
use systems::exchange::Clock;

use crate::wall::WallClock;

/// Milliseconds of a tick.
pub const QUANTUM_MS: u64 = engine::limits::TICK_MS;

/// How long before it is due a tick may begin, where something arrived on which a height may wait. The one after it may then
/// be as much longer in coming, which intents wait for: with a whole tick, 5% of them are acknowledged after 10.5 ms and more.
const EARLY: Duration = Duration::from_micros(3_500);

const _: () = assert!(EARLY.as_millis() < QUANTUM_MS as u128, "no tick begins before the one before it is due");

/// How fast virtual time runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// As the clock on the wall.
    Real,
    /// As fast as the machine can.
    Max,
}

/// Where time comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Time {
    /// From the number of ticks; a tick begins when the group of the one before is on disk. That is what makes a
    /// session the same at any pace.
    Virtual(Pace),
    /// From the clock on the wall. Ticks that are missed are skipped and counted, and no tick waits for the disk.
    Wall,
    /// From whoever steps the node. Ticks go on while the disk is at it, as on the wall's time.
    Told,
}

/// The time of a tick, for a node that is told it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Told {
    /// The tick; those between it and the last are skipped.
    pub tick: Tick,
    /// What the node's clock shows, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// The moment of `now_ms` as the node's disk counts time.
    pub at: Duration,
}

/// The clock of one node.
pub(crate) struct NodeClock {
    time: Time,
    start_ms: u64,
    tick: Tick,
    /// The moment of this process at which tick `.1` began, and its number.
    began: (Instant, u64),
    now_ms: u64,
    wall: WallClock,
    /// Zero of the clock that cannot be set; the wall's clock is held against it to find out that it was set.
    started: Instant,
    /// By how many milliseconds the wall's clock was found to have been set, until it is told.
    step_ms: Option<i64>,
    told: Told,
}

impl NodeClock {
    /// A clock of a chain that began at `start_ms`, at the first tick that is not before `last_ms`.
    pub fn new(time: Time, start_ms: u64, last_ms: u64) -> Self {
        assert!(last_ms >= start_ms, "no block is older than its chain");
        // The tick is rounded up: a first tick before the last block would let virtual time go back.
        let tick = Tick((last_ms - start_ms).div_ceil(QUANTUM_MS));
        let (started, now_ms) = (Instant::now(), start_ms + tick.0 * QUANTUM_MS);
        let wall = WallClock::default();
        let mut clock = Self {
            time,
            start_ms,
            tick,
            began: (started, tick.0),
            now_ms,
            wall,
            started,
            step_ms: None,
            told: Told::default(),
        };
        clock.look();
        clock
    }

    /// Reads the wall's clock where time comes from it, outside of a tick too: what others are told of the time must not be of a
    /// tick that is long past, nor of the last block.
    pub fn look(&mut self) {
        if self.is_wall() {
            self.begin();
        }
    }

    /// Whether time comes from the clock on the wall.
    pub fn is_wall(&self) -> bool {
        self.time == Time::Wall
    }

    /// Whether the clock is told its time by whoever steps the node.
    pub fn is_told(&self) -> bool {
        self.time == Time::Told
    }

    /// Whether a tick begins only when what the last one recorded is on disk.
    pub fn waits_for_disk(&self) -> bool {
        matches!(self.time, Time::Virtual(_))
    }

    /// The time of the next tick.
    ///
    /// # Panics
    /// If it is not told its time, or time goes back.
    pub fn tell(&mut self, told: Told) {
        assert!(self.is_told() && told.tick > self.tick, "ticks come one after another");
        self.told = told;
    }

    /// The moment that it was told, as the disk counts.
    pub fn at(&self) -> Duration {
        self.told.at
    }

    /// The tick that is under way.
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// The time of this tick, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// When the chain began, in milliseconds since the Unix epoch.
    pub fn start_ms(&self) -> u64 {
        self.start_ms
    }

    /// Time that has passed since a tick began is measured from now on.
    pub fn go_on(&mut self) {
        self.began = (Instant::now(), self.tick.0);
    }

    /// Moves on to the next tick, which on the wall's time is the next that has not begun. Returns how many were missed.
    pub fn advance(&mut self) -> u64 {
        let next = self.tick.0 + 1;
        let tick = match self.time {
            Time::Virtual(_) => next,
            Time::Told => self.told.tick.0,
            // After a tick that began early the clock still shows the one before: the same tick must not be taken
            // twice.
            Time::Wall => next.max(self.began.1 + self.began.0.elapsed().as_millis() as u64 / QUANTUM_MS + 1),
        };
        assert!(tick >= next, "time does not go back");
        self.tick = Tick(tick);
        tick - next
    }

    /// The moment at which the tick begins; `None` if it begins at once.
    pub fn due(&self) -> Option<Instant> {
        let due = self.began.0 + Duration::from_millis((self.tick.0 - self.began.1) * QUANTUM_MS);
        matches!(self.time, Time::Virtual(Pace::Real) | Time::Wall).then_some(due)
    }

    /// The moment from which the tick may begin, though it is not due; `None` if it must not. A second has as many ticks as
    /// before: timers that count them are early by that once, and not by that each time.
    pub fn early(&self) -> Option<Instant> {
        let due = self.due().filter(|_| self.is_wall())?;
        due.checked_sub(EARLY)
    }

    /// By how many milliseconds the wall's clock was set, forward or back, since it was asked last; `None` if it was not.
    pub fn take_step(&mut self) -> Option<i64> {
        self.step_ms.take()
    }

    /// The tick begins: what the core sees of the time. The wall's clock is passed on as it is, also where it was set back:
    /// a block's time never goes back, and what it cannot take meanwhile is shed with a reason.
    pub fn begin(&mut self) -> Clock {
        self.now_ms = match self.time {
            Time::Virtual(_) => self.start_ms + self.tick.0 * QUANTUM_MS,
            Time::Told => self.told.now_ms,
            Time::Wall => {
                // A clock that is set before 1970 reads as 0, and is taken like any clock that was set back.
                let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let wall_ms = wall.as_millis() as u64;
                // A step that was not told yet is kept: a right reading after it says nothing of it.
                self.step_ms = self.wall.read(wall_ms, self.started.elapsed()).or(self.step_ms);
                wall_ms
            }
        };
        Clock { tick: self.tick, now_ms: self.now_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_that_begin_early_do_not_run_away_from_the_wall() {
        let mut clock = NodeClock::new(Time::Wall, 1_000, 1_000);
        clock.go_on();
        let began = Instant::now();
        for tick in 1..=20 {
            clock.advance();
            let early = clock.early().expect("time is the wall's");
            std::thread::sleep(early.saturating_duration_since(Instant::now()));
            let has_passed = began.elapsed() + EARLY;
            assert!(has_passed.as_millis() as u64 >= tick * QUANTUM_MS, "tick {tick} began after {has_passed:?}");
            assert!(clock.tick().0 >= tick, "a tick that was missed is skipped");
            clock.begin();
        }
    }

    /// Whoever connects before the first tick takes its time from here.
    #[test]
    fn a_clock_of_the_wall_shows_the_time_before_its_first_tick_and_between_ticks() {
        let wall_ms =
            || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis() as u64;
        let before_ms = wall_ms();
        let mut clock = NodeClock::new(Time::Wall, 1_000, 2_000);
        assert!((before_ms..=wall_ms()).contains(&clock.now_ms()), "{} at {before_ms}", clock.now_ms());
        let (tick, again_ms) = (clock.tick(), wall_ms());
        clock.look();
        assert!((again_ms..=wall_ms()).contains(&clock.now_ms()), "{} at {again_ms}", clock.now_ms());
        assert_eq!(clock.tick(), tick, "a look begins no tick");
        for time in [Time::Virtual(Pace::Max), Time::Told] {
            let mut clock = NodeClock::new(time, 1_000, 2_000);
            clock.look();
            assert_eq!(clock.now_ms(), 2_000, "{time:?}: it is the time of the last block");
        }
    }

    #[test]
    fn virtual_time_begins_no_tick_early() {
        for time in [Time::Virtual(Pace::Real), Time::Virtual(Pace::Max), Time::Told] {
            assert_eq!(NodeClock::new(time, 0, 0).early(), None, "{time:?}");
        }
    }
}
