//! Which node is tried next, and when. Time is an argument.

use std::time::Duration;

use super::event::{ClientConfig, Event};
use super::lost::Lost;
use crate::tls::Key;

/// The first pause before another try, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The longest pause where there are several nodes: one of them is likely to be there.
const SEVERAL_PAUSE: Duration = Duration::from_secs(1);
/// How long a connection must stand for the pause after it to be the shortest again.
pub(super) const STOOD: Duration = Duration::from_secs(10);

const _: () = assert!(PAUSES.0.as_millis() < SEVERAL_PAUSE.as_millis());

/// The nodes of a client, and how often it has tried.
pub(super) struct Redial {
    /// The node that is tried now.
    pub(super) address: String,
    /// The key that this node must prove, if it is known.
    pub(super) node: Option<Key>,
    others: Vec<(String, Option<Key>)>,
    reconnects: bool,
    /// Spreads the tries of clients that lost a node in the same moment.
    spread: u64,
    /// Tries since the last connection.
    attempt: u32,
    /// Tries since the last connection that stood for a while.
    tries: u32,
    /// Since when there is a connection.
    up_since: Option<Duration>,
    /// Nodes in a row that refused this client for good.
    refused: usize,
    pause: Duration,
}

impl Redial {
    pub(super) fn new(config: &ClientConfig, key: &Key) -> Self {
        Self {
            address: config.address.clone(),
            node: config.node,
            others: config.others.clone(),
            reconnects: config.reconnect,
            spread: u64::from_le_bytes(key[..8].try_into().expect("32 bytes")),
            attempt: 0,
            tries: 0,
            up_since: None,
            refused: 0,
            pause: PAUSES.0,
        }
    }

    /// Another try begins.
    pub(super) fn begin(&mut self) -> Event {
        self.attempt += 1;
        self.tries += 1;
        Event::Connecting { attempt: self.attempt, address: self.address.clone() }
    }

    /// There is a connection: what was refused before it is forgotten. The next try comes soon if it stands for a while: a node that
    /// welcomes everybody and puts them out at once would otherwise be dialled ten times a second.
    pub(super) fn came_up(&mut self, now: Duration) {
        (self.attempt, self.refused, self.up_since) = (0, 0, Some(now));
    }

    /// The same node is tried anew, as if it were the first time.
    pub(super) fn again(&mut self) {
        (self.attempt, self.tries, self.up_since, self.pause) = (0, 0, None, PAUSES.0);
    }

    /// A try has failed, or a connection was lost: goes on to the next node. How long the next try waits; `None` if there is none.
    pub(super) fn lost(&mut self, lost: &Lost, now: Duration) -> Option<Duration> {
        if self.up_since.take().is_some_and(|since| now >= since + STOOD) {
            (self.tries, self.pause) = (0, PAUSES.0);
        }
        // Of several nodes, one that refuses this client for good is passed over while another may take it: only where all
        // of them did so, one after the other, is there nothing to wait for.
        self.refused = if lost.is_final() { self.refused + 1 } else { 0 };
        let nodes = 1 + self.others.len();
        if self.refused >= nodes || !self.reconnects {
            return None;
        }
        // A thousand clients that lost one node must not come back in the same moment: each has a key of its own.
        let jitter = (self.spread >> (self.tries % 32)) % (self.pause.as_millis() as u64 / 2 + 1);
        let wait = self.pause + Duration::from_millis(jitter);
        // The pause grows once all nodes were tried.
        if nodes == 1 || (self.tries as usize).is_multiple_of(nodes) {
            self.pause = (self.pause * 2).min(if nodes == 1 { PAUSES.1 } else { SEVERAL_PAUSE });
        }
        if !self.others.is_empty() {
            let (next, key) = self.others.remove(0);
            let before = (std::mem::replace(&mut self.address, next), std::mem::replace(&mut self.node, key));
            self.others.push(before);
        }
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn redial(others: &[&str], reconnect: bool) -> Redial {
        let config = ClientConfig {
            address: "a".into(),
            node: None,
            others: others.iter().map(|other| ((*other).to_owned(), None)).collect(),
            chain: None,
            program: "test".into(),
            reconnect,
        };
        Redial::new(&config, &[7; 32])
    }

    fn silent() -> Lost {
        Lost::Silent("a".into())
    }

    #[test]
    fn pauses_grow_and_end_with_a_connection() {
        let mut redial = redial(&[], true);
        let pause = |redial: &mut Redial| {
            let _ = redial.begin();
            redial.lost(&silent(), NOW).expect("it is tried again")
        };
        let pauses: Vec<Duration> = (0..10).map(|_| pause(&mut redial)).collect();
        assert!(pauses[0] >= PAUSES.0 && pauses[0] <= PAUSES.0 * 3 / 2);
        assert!(pauses[9] >= PAUSES.1 && pauses[9] <= PAUSES.1 * 3 / 2, "half as much again at most");
        redial.came_up(NOW - STOOD);
        assert!(pause(&mut redial) <= PAUSES.0 * 3 / 2);
    }

    #[test]
    fn pauses_grow_where_nodes_welcome_a_client_and_put_it_out_until_one_keeps_it_for_a_while() {
        for others in [&[][..], &["b", "c"]] {
            let (mut redial, mut now) = (redial(others, true), NOW);
            let mut lost_after = |redial: &mut Redial, stood: Duration| {
                let Event::Connecting { attempt, .. } = redial.begin() else { panic!("a try begins") };
                assert_eq!(attempt, 1, "the first since the last connection");
                redial.came_up(now);
                now += stood;
                redial.lost(&silent(), now).expect("it is tried again")
            };
            let longest = if others.is_empty() { PAUSES.1 } else { SEVERAL_PAUSE };
            let pauses: Vec<Duration> =
                (0..30).map(|_| lost_after(&mut redial, STOOD - Duration::from_millis(1))).collect();
            assert!(pauses[0] <= PAUSES.0 * 3 / 2 && pauses[29] >= longest, "{pauses:?}");
            assert!(lost_after(&mut redial, STOOD) <= PAUSES.0 * 3 / 2);
        }
    }

    #[test]
    fn nodes_take_turns_and_only_all_of_them_refuse_for_good() {
        let mut redial = redial(&["b", "c"], true);
        let mut tried = Vec::new();
        for lost in [silent(), Lost::Version, Lost::Version, silent(), Lost::Version, Lost::Version] {
            let Event::Connecting { address, .. } = redial.begin() else { panic!("a try begins") };
            tried.push(address);
            assert!(redial.lost(&lost, NOW).is_some_and(|wait| wait <= SEVERAL_PAUSE * 3 / 2));
        }
        assert_eq!(tried, ["a", "b", "c", "a", "b", "c"]);
        assert_eq!(redial.lost(&Lost::Version, NOW), None, "the third in a row");
    }

    #[test]
    fn who_does_not_want_another_try_has_none() {
        assert_eq!(redial(&["b"], false).lost(&silent(), NOW), None);
    }
}
