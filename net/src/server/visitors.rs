//! What a node's log says of its connections: who came, went, was refused or banned, and why.
//!
//! ```text
//!  connections, tick -> Visit -> a few lines a second of each kind -> the log
//!                                  the rest, counted by reason, a line a second
//! ```
//! Strangers decide how often this happens, so a flood of them must not become a flood of lines.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv6Addr;
use std::time::Duration;

use engine::limits::VISITOR_LINES_PER_S_MAX;
use quinn_proto::ConnectionError;
use tracing::{debug, info, warn};

use crate::session::{Close, CloseCode};
use crate::tls::Key;

/// What a connection did, or what was done to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// It said hello.
    Came,
    /// It ended.
    Went,
    /// It was turned away before it could say hello.
    Refused,
    /// Its key stays out for a while.
    Banned,
}

// What was told is counted in an array, by the number of its kind.
const _: () = assert!(Kind::Banned as usize + 1 == Kind::COUNT);

impl Kind {
    const COUNT: usize = 4;

    fn name(self) -> &'static str {
        match self {
            Self::Came => "came",
            Self::Went => "went",
            Self::Refused => "refused",
            Self::Banned => "banned",
        }
    }
}

/// Who came: another node, somebody who plays or watches a table, somebody who only looked how the node is.
pub(super) const NODE: &str = "node";
pub(super) const PLAYER: &str = "player";
pub(super) const VISITOR: &str = "visitor";

/// One thing that the log may tell.
pub(super) struct Visit<'a> {
    /// What happened.
    pub kind: Kind,
    /// Why, in a word of a small set: what is not told is counted by it.
    pub reason: &'static str,
    /// The reason in words for a person, or nothing.
    pub text: &'a str,
    /// The IP address, IPv4 as IPv4-mapped IPv6.
    pub address: [u8; 16],
    /// The key that it proved; none before that.
    pub key: Option<Key>,
}

/// What the log has told in the present second, and what it has not.
#[derive(Default)]
struct Ration {
    second: u64,
    told: [u32; Kind::COUNT],
    untold: BTreeMap<(Kind, &'static str), u64>,
}

impl Ration {
    /// A new second begins: says what was not told in the one before.
    fn turn(&mut self, now: Duration) -> Option<String> {
        if now.as_secs() == self.second {
            return None;
        }
        (self.second, self.told) = (now.as_secs(), [0; Kind::COUNT]);
        let untold = std::mem::take(&mut self.untold);
        let mut line = String::new();
        for ((kind, reason), count) in untold {
            let comma = if line.is_empty() { "" } else { ", " };
            write!(line, "{comma}{count} {} ({reason})", kind.name()).expect("a string takes everything");
        }
        (!line.is_empty()).then_some(line)
    }

    /// Whether there is a line for it in this second; if not, it is counted.
    fn allows(&mut self, kind: Kind, reason: &'static str) -> bool {
        let told = &mut self.told[kind as usize];
        if *told < VISITOR_LINES_PER_S_MAX {
            *told += 1;
            return true;
        }
        *self.untold.entry((kind, reason)).or_default() += 1;
        false
    }
}

/// The part of the log that is about connections.
#[derive(Default)]
pub(super) struct Visitors(Ration);

impl Visitors {
    /// Tells of a visit, or counts it.
    pub(super) fn note(&mut self, now: Duration, visit: &Visit<'_>) {
        self.tell_untold(now);
        if !self.0.allows(visit.kind, visit.reason) {
            return;
        }
        let (address, reason, text) = (Ipv6Addr::from(visit.address).to_canonical(), visit.reason, visit.text);
        let key = visit.key.map_or_else(|| "unproven".to_owned(), |key| engine::hex(&key));
        match visit.kind {
            Kind::Came if reason == VISITOR => debug!(%address, key, "a visitor came"),
            Kind::Went if reason == VISITOR => debug!(%address, key, "a visitor left: {text}"),
            Kind::Came => info!(%address, key, "a {reason} came"),
            Kind::Went => info!(%address, key, reason, "a connection ended: {text}"),
            Kind::Refused => info!(%address, key, reason, "a connection was refused: {text}"),
            Kind::Banned => warn!(%address, key, reason, "a key was banned: {text}"),
        }
    }

    /// When what was only counted is to be told, if anything was.
    pub(super) fn next_due(&self) -> Option<Duration> {
        (!self.0.untold.is_empty()).then(|| Duration::from_secs(self.0.second + 1))
    }

    /// Tells how much of the last second was only counted.
    pub(super) fn tell_untold(&mut self, now: Duration) {
        if let Some(untold) = self.0.turn(now) {
            info!("connections in one second, beside those told: {untold}");
        }
    }
}

/// Why a connection ended, as far as this side knows: what it was put out for, or how it broke.
pub(super) fn ending(put_out: Option<&Close>, broke: Option<ConnectionError>) -> Departure {
    // What this side put it out for counts, even where the other side has gone in the same moment.
    if let Some(close) = put_out {
        return Departure::from(close);
    }
    match broke {
        Some(ConnectionError::ApplicationClosed(closed)) => {
            let code = CloseCode::of(closed.error_code.into_inner()).unwrap_or(CloseCode::Done);
            Departure { reason: code.name(), text: "the other side closed it".to_owned() }
        }
        Some(ConnectionError::TimedOut) => Departure { reason: "SILENT", text: "nothing came any more".to_owned() },
        Some(error) => Departure { reason: "BROKEN", text: error.to_string() },
        None => Departure { reason: CloseCode::Done.name(), text: "the other side ended its stream".to_owned() },
    }
}

/// Why a connection ended, in a word and in a sentence.
pub(super) struct Departure {
    /// A name of [`CloseCode`], or `SILENT` or `BROKEN`.
    pub reason: &'static str,
    /// For a person.
    pub text: String,
}

impl From<&Close> for Departure {
    fn from(close: &Close) -> Self {
        Self { reason: close.code.name(), text: close.text.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_millis(7_100);

    #[test]
    fn a_flood_is_counted_by_reason_and_told_in_one_line_a_second() {
        let mut ration = Ration::default();
        assert_eq!(ration.turn(AT), None);
        let told = (0..1_000).filter(|_| ration.allows(Kind::Refused, "FULL")).count();
        assert_eq!(told, VISITOR_LINES_PER_S_MAX as usize);
        assert!(!ration.allows(Kind::Refused, "ADDRESS_LIMIT"), "every reason is paid from the same lines");
        assert_eq!(ration.turn(AT), None, "the second has not ended");
        let next = Duration::from_millis(8_000);
        assert_eq!(ration.turn(next).as_deref(), Some("1 refused (ADDRESS_LIMIT), 995 refused (FULL)"));
        assert_eq!(ration.turn(Duration::from_millis(9_000)), None, "nothing is told twice");
    }

    #[test]
    fn a_flood_of_one_kind_hides_no_other() {
        let mut ration = Ration::default();
        ration.turn(AT);
        (0..1_000).for_each(|_| _ = ration.allows(Kind::Came, "player"));
        assert!(ration.allows(Kind::Banned, "flood"));
        assert!(ration.allows(Kind::Went, "DONE"));
    }

    #[test]
    fn each_second_has_its_lines() {
        let mut ration = Ration::default();
        for second in 0..10 {
            ration.turn(Duration::from_secs(second));
            assert!(ration.allows(Kind::Went, "DONE"));
        }
        assert!(ration.untold.is_empty());
    }

    #[test]
    fn whoever_is_put_out_went_for_that() {
        let slow = Close::new(CloseCode::SlowReader, "answers was not read");
        let late = Close::new(CloseCode::Timeout, "no stream");
        let why = |put_out: Option<&Close>, broke| ending(put_out, broke).reason;
        assert_eq!(why(Some(&slow), Some(ConnectionError::TimedOut)), "SLOW_READER");
        assert_eq!(why(Some(&late), None), "TIMEOUT");
        assert_eq!(why(None, Some(ConnectionError::TimedOut)), "SILENT");
        assert_eq!(why(None, Some(ConnectionError::Reset)), "BROKEN");
        assert_eq!(why(None, None), "DONE");
    }
}
