//! What is asked of a node: how many players, how many intents a second, for how long, and who disturbs them.

use std::time::Duration;

/// A named load. The figures are those that the production plan asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Scenario {
    /// 100 users, 1,000 intents a second, 5 minutes.
    Baseline,
    /// 1,000 users, 10,000 intents a second, 10 minutes.
    Peak,
    /// 2,000 users, 20,000 intents a second, 15 minutes.
    Stress,
    /// 500 users, 5,000 intents a second, 4 hours.
    Endurance,
    /// 1,000 players at pledged tables and 1,000 at others, each with a table that rolls once a second, 1 minute.
    Pledged,
}

impl Scenario {
    /// The name by which `load` runs the scenario, and reports call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Peak => "peak",
            Self::Stress => "stress",
            Self::Endurance => "endurance",
            Self::Pledged => "pledged",
        }
    }

    /// Users, intents a second, seconds.
    pub const fn figures(self) -> (u32, u32, u64) {
        match self {
            Self::Baseline => (100, 1_000, 300),
            Self::Peak => (1_000, 10_000, 600),
            Self::Stress => (2_000, 20_000, 900),
            Self::Endurance => (500, 5_000, 4 * 3_600),
            Self::Pledged => (2_000, 2_000, 60),
        }
    }
}

/// Ways to be hostile.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum HostileKind {
    /// Intents whose signatures do not verify.
    BadSignatures,
    /// Bytes that are no message.
    Garbage,
    /// A length that no message has.
    Oversized,
    /// A message that comes a byte a second.
    SlowLoris,
    /// More intents than rate and credit allow.
    Intents,
    /// Another version of the protocol.
    Version,
    /// Everything that may wait in either direction, and then nothing: every window and queue is full.
    FullWindows,
    /// Asks again and again for the whole of a table that it watches.
    Watch,
    /// Watches one table after another.
    SwitchTables,
    /// Watches one account after another.
    SwitchAccounts,
    /// Asks again and again for the genesis.
    Genesis,
    /// Says that it is a node, and tells of nodes under signatures that do not verify.
    Peers,
    /// Says that it is a node, and tells again and again where it stands.
    Standings,
    /// Opens one account after another.
    Opens,
}

/// One load run, with every choice made.
#[derive(Clone, PartialEq, Debug)]
pub struct Load {
    /// Users who play: each has a key, an account, a seat, and a connection.
    pub users: u32,
    /// Intents a second, of all users together.
    pub rate: f64,
    /// Intents that a user sends at once, before the others have their turns; one or more.
    pub burst: u32,
    /// How long intents are sent.
    pub duration: Duration,
    /// How long the rate rises from nothing to its full height, at the start.
    pub ramp: Duration,
    /// Users who watch their table.
    pub watchers: u32,
    /// Connections that are dropped and made again, a second.
    pub churn: f64,
    /// Further connections that watch tables and never read.
    pub slow_readers: u32,
    /// Further connections that do what is forbidden, again and again.
    pub hostile: u32,
    /// What the hostile connections do; `None` for each kind in turn.
    pub hostile_kind: Option<HostileKind>,
    /// Further connections that say hello and nothing else.
    pub idle: u32,
    /// Craps tables at least; the users need one for eight of them.
    pub tables_min: u32,
    /// Decides the users' keys and bets.
    pub seed: u64,
}

/// The longest run: the report of a longer one, with a row for each second, could not be read to be compared.
pub const DURATION_MAX: Duration = Duration::from_secs(48 * 3_600);

/// Users at one table.
pub const USERS_PER_TABLE: u32 = 8;

/// Accounts, and connections, beside the users'.
const SPARE: u32 = 64;

fn with_room(connections: u32) -> u32 {
    connections + connections / 2 + SPARE
}

impl Load {
    /// Tables of its chain.
    pub fn tables(&self) -> u32 {
        self.users.div_ceil(USERS_PER_TABLE).max(self.tables_min)
    }

    /// Accounts of its chain.
    pub fn accounts(&self) -> u32 {
        self.users + SPARE
    }

    /// Connections that play, of which a node has room for half as many again: one that is nearly full tells those who watch less
    /// than it otherwise would, and warns its operator, which is not what a load is to show.
    pub fn playing(&self) -> u32 {
        with_room(self.users + self.slow_readers + self.hostile)
    }

    /// All connections, with the same room.
    pub fn connections(&self) -> u32 {
        self.playing() + with_room(self.idle)
    }

    /// Intents a second that a node takes of one connection: four times a user's part of them, so that no chance refuses one.
    pub fn intents_per_connection(&self) -> u32 {
        100.max((4.0 * self.rate / f64::from(self.users)).ceil() as u32)
    }

    /// When intent `number`, from 0, is due after the start: an open loop, which nothing that a node does can shift.
    pub fn due(&self, number: u64) -> Duration {
        // A burst goes out with its first one.
        let number = number - number % u64::from(self.burst);
        let (ramp, number) = (self.ramp.as_secs_f64(), number as f64);
        // While the rate rises evenly, half as many go out as at full rate.
        let in_ramp = self.rate * ramp / 2.0;
        let due = if number < in_ramp {
            (2.0 * number * ramp / self.rate).sqrt()
        } else {
            ramp + (number - in_ramp) / self.rate
        };
        Duration::from_secs_f64(due)
    }

    /// Whose intent `number` is, from 0, and how many that user has before it: the users take turns, each with a burst.
    pub fn turn(&self, number: u64) -> (usize, u64) {
        let (burst, users) = (u64::from(self.burst), u64::from(self.users));
        let (turn, within) = (number / burst, number % burst);
        ((turn % users) as usize, turn / users * burst + within)
    }

    /// How many intents are due within the run.
    pub fn intents(&self) -> u64 {
        let full = self.duration.as_secs_f64() - self.ramp.as_secs_f64();
        (self.rate * (full.max(0.0) + self.ramp.as_secs_f64() / 2.0)).round() as u64
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn load(rate: f64, ramp: u64) -> Load {
        Load {
            users: 10,
            rate,
            burst: 1,
            duration: Duration::from_secs(10),
            ramp: Duration::from_secs(ramp),
            watchers: 0,
            churn: 0.0,
            slow_readers: 0,
            hostile: 0,
            hostile_kind: None,
            idle: 0,
            tables_min: 0,
            seed: 1,
        }
    }

    #[test]
    fn intents_are_due_evenly_and_rise_evenly_in_a_ramp() {
        let even = load(100.0, 0);
        assert_eq!((even.intents(), even.due(0), even.due(250)), (1_000, Duration::ZERO, Duration::from_millis(2_500)));
        let ramp = load(100.0, 4);
        assert_eq!(ramp.intents(), 800);
        assert_eq!(ramp.due(50), Duration::from_secs(2), "a quarter of the ramp's intents in its first half");
        assert_eq!(ramp.due(200), Duration::from_secs(4));
        assert_eq!(ramp.due(800), Duration::from_secs(10));
        assert!((1..800).all(|number| ramp.due(number - 1) < ramp.due(number)));
    }

    #[test]
    fn a_burst_is_due_with_its_first_intent_and_every_user_has_the_same_in_the_end() {
        let even = load(100.0, 0);
        assert_eq!([0, 1, 9, 10, 25].map(|number| even.turn(number)), [(0, 0), (1, 0), (9, 0), (0, 1), (5, 2)]);
        let burst = Load { burst: 4, ..even };
        assert_eq!(
            [0, 3, 4, 39, 40, 43].map(|number| burst.turn(number)),
            [(0, 0), (0, 3), (1, 0), (9, 3), (0, 4), (0, 7)]
        );
        assert_eq!((burst.due(39), burst.due(40)), (Duration::from_millis(360), Duration::from_millis(400)));
        assert_eq!((burst.due(43), burst.intents()), (Duration::from_millis(400), 1_000));
        let mut turns: Vec<_> = (0..burst.intents()).map(|number| burst.turn(number)).collect();
        turns.sort_unstable();
        assert!(turns.into_iter().eq((0..10).flat_map(|user| (0..100).map(move |nth| (user, nth)))));
    }
}
