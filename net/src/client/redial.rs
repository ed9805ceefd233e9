//! Which node is tried next, and when.

use std::time::Duration;

use super::event::{ClientConfig, Event};
use super::lost::Lost;
use crate::tls::Key;

/// The first pause before another try, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The longest pause where there are several nodes: one of them is likely to be there.
const SEVERAL_PAUSE: Duration = Duration::from_secs(1);

const _: () = assert!(PAUSES.0.as_millis() < SEVERAL_PAUSE.as_millis());

/// The nodes of a client, and how often it has tried.
pub(super) struct Redial {
    /// The node that is tried now.
    pub(super) address: String,
    /// Its key, if it is known.
    pub(super) node: Option<Key>,
    others: Vec<(String, Option<Key>)>,
    reconnects: bool,
    /// Spreads the tries of clients that lost a node in the same moment.
    spread: u64,
    attempt: u32,
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
            refused: 0,
            pause: PAUSES.0,
        }
    }

    /// Another try begins.
    pub(super) fn begin(&mut self) -> Event {
        self.attempt += 1;
        Event::Connecting { attempt: self.attempt, address: self.address.clone() }
    }

    /// There is a connection. It ends the series: the next try comes soon, and what was refused before it is forgotten.
    pub(super) fn came_up(&mut self) {
        (self.attempt, self.pause, self.refused) = (0, PAUSES.0, 0);
    }

    /// The same node is tried anew, as if it were the first time.
    pub(super) fn again(&mut self) {
        self.attempt = 0;
    }

    /// A try has failed, or a connection was lost: goes on to the next node. How long the next try waits; `None` if there is none.
    pub(super) fn lost(&mut self, lost: &Lost) -> Option<Duration> {
        // Of several nodes, one that refuses this client for good is passed over while another may take it: only where all
        // of them did so, one after the other, is there nothing to wait for.
        self.refused = if lost.is_final() { self.refused + 1 } else { 0 };
        let nodes = 1 + self.others.len();
        if self.refused >= nodes || !self.reconnects {
            return None;
        }
        // A thousand clients that lost one node must not come back in the same moment: each has a key of its own.
        let jitter = (self.spread >> (self.attempt % 32)) % (self.pause.as_millis() as u64 / 2 + 1);
        let wait = self.pause + Duration::from_millis(jitter);
        // The pause grows once all nodes were tried.
        if nodes == 1 || (self.attempt as usize).is_multiple_of(nodes) {
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
            redial.lost(&silent()).expect("it is tried again")
        };
        let pauses: Vec<Duration> = (0..10).map(|_| pause(&mut redial)).collect();
        assert!(pauses[0] >= PAUSES.0 && pauses[0] <= PAUSES.0 * 3 / 2);
        assert!(pauses[9] >= PAUSES.1 && pauses[9] <= PAUSES.1 * 3 / 2, "half as much again at most");
        redial.came_up();
        assert!(pause(&mut redial) <= PAUSES.0 * 3 / 2);
    }

    #[test]
    fn nodes_take_turns_and_only_all_of_them_refuse_for_good() {
        let mut redial = redial(&["b", "c"], true);
        let mut tried = Vec::new();
        for lost in [silent(), Lost::Version, Lost::Version, silent(), Lost::Version, Lost::Version] {
            let Event::Connecting { address, .. } = redial.begin() else { panic!("a try begins") };
            tried.push(address);
            assert!(redial.lost(&lost).is_some_and(|wait| wait <= SEVERAL_PAUSE * 3 / 2));
        }
        assert_eq!(tried, ["a", "b", "c", "a", "b", "c"]);
        assert_eq!(redial.lost(&Lost::Version), None, "the third in a row");
    }

    #[test]
    fn who_does_not_want_another_try_has_none() {
        assert_eq!(redial(&["b"], false).lost(&silent()), None);
    }
}
