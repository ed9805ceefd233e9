//! What became of the connections of a run's users.

use net::client::Event;

/// Where a user's connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// The user had none yet.
    None,
    /// The user has one.
    Up,
    /// The user had one.
    Away,
}

/// What became of all of them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counted {
    /// Users who were connected at all.
    pub users: u64,
    /// Connections that were to be dropped.
    pub asked: u64,
    /// Connections that were dropped, as was asked.
    pub dropped: u64,
    /// Connections that were lost, and nobody had asked for that.
    pub lost: u64,
    /// Connections of users who had lost or dropped one.
    pub again: u64,
}

/// The connections of all users.
pub(super) struct Connections {
    standings: Vec<Standing>,
    pub(super) counted: Counted,
}

impl Connections {
    /// Nobody is connected yet.
    pub(super) fn new(users: usize) -> Self {
        Self { standings: vec![Standing::None; users], counted: Counted::default() }
    }

    /// What a user's client says of its connection. One that was asked to make another says of that only that it connects.
    pub(super) fn hear(&mut self, user: usize, event: &Event) {
        let (standing, counted) = (&mut self.standings[user], &mut self.counted);
        match (event, *standing) {
            (Event::Up { .. }, Standing::None) => (*standing, counted.users) = (Standing::Up, counted.users + 1),
            (Event::Up { .. }, Standing::Away) => (*standing, counted.again) = (Standing::Up, counted.again + 1),
            (Event::Connecting { .. }, Standing::Up) => {
                (*standing, counted.dropped) = (Standing::Away, counted.dropped + 1);
            }
            (Event::Down { .. }, Standing::Up) => (*standing, counted.lost) = (Standing::Away, counted.lost + 1),
            // A try that failed is no further loss.
            _ => {}
        }
    }
}

impl Counted {
    /// What a reader of the report is told.
    pub(super) fn words(&self) -> String {
        let Self { asked, dropped, lost, again, .. } = self;
        match asked {
            0 => format!("{lost} connections of users were lost, {again} were made again."),
            _ => format!(
                "{asked} connections were to be dropped and {dropped} were; {lost} more were lost, {again} were made again."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine::genesis::KeySource;
    use engine::io::ChainProgress;
    use net::client::Lost;
    use net::wire::Welcome;

    use super::*;

    #[test]
    fn what_was_dropped_lost_and_made_again_are_three_figures() {
        let address = || "127.0.0.1:9".to_owned();
        let connecting = Event::Connecting { attempt: 1, address: address() };
        let down = Event::Down { reason: Lost::Silent(address()), pause: Duration::ZERO };
        let welcome = Welcome {
            chain: [0; 32],
            standing: ChainProgress::default(),
            name: String::new(),
            tables: 1,
            seats: 8,
            credit: 64,
            intents_per_s: 100,
            keys: KeySource::Dealer,
        };
        let up = Event::Up { welcome, node: [0; 32], address: address(), rtt: Duration::ZERO };
        let mut connections = Connections::new(2);
        let mut hear = |user: usize, events: &[&Event]| {
            events.iter().for_each(|event| connections.hear(user, event));
            connections.counted
        };
        let begun = hear(0, &[&connecting, &down, &connecting, &up]);
        assert_eq!(begun, Counted { users: 1, ..Counted::default() }, "a first connection is none that was made again");
        assert_eq!(hear(1, &[&connecting, &up]).users, 2);
        let dropped = hear(0, &[&connecting, &up]);
        assert_eq!((dropped.dropped, dropped.lost, dropped.again, dropped.users), (1, 0, 1, 2));
        // The node is gone for two tries.
        let lost = hear(1, &[&down, &connecting, &down, &connecting, &down]);
        assert_eq!((lost.dropped, lost.lost, lost.again), (1, 1, 1));
        assert_eq!(hear(1, &[&connecting, &up]).again, 2);
        assert_eq!(lost.words(), "1 connections of users were lost, 1 were made again.");
        let words = Counted { asked: 3, ..lost }.words();
        assert_eq!(words, "3 connections were to be dropped and 1 were; 1 more were lost, 1 were made again.");
    }
}
