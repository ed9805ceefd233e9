//! Which of a client's intents are on their way, and which wait: for a connection, for credit, or because the node was
//! busy. None is lost, and no more are on their way than the node gives credit for. Time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::io::ShedReason;
use engine::limits::{CLIENT_INTENTS_MAX, PEER_CREDIT};
use engine::message::intent::{Intent, IntentId};

use crate::wire::{Answer, AnswerVerdict};

/// How long a client waits after a node was too busy to take an intent again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a client of several nodes waits at one that neither says what became of anything nor shows anything newer: such a one is cut
/// off from the others, or stands. As long again at each further node, since all of them may stand, and no longer than that.
const SILENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(80));
/// So many times as long it waits at one that does show what is newer: it may have much to do, and it may keep this client's intents back.
const SILENCE_SHOWN: u32 = 6;

/// An intent without its last answer.
struct Unanswered {
    intent: Intent,
    /// How many were given before it.
    place: u64,
    /// The intent was sent over the present connection and is not answered.
    is_on_its_way: bool,
    /// The intent was sent over a connection before: a node may have it.
    was_sent: bool,
}

/// All intents of a client without their last answer.
pub(super) struct Sending {
    held: BTreeMap<IntentId, Unanswered>,
    /// Intents that are to be sent, in the order in which they were given.
    line: BTreeMap<u64, IntentId>,
    given: u64,
    on_their_way: usize,
    credit: usize,
    /// There are other nodes, which take what one that ends does not.
    has_others: bool,
    paused_until: Duration,
    /// Since when something is on its way and nothing was answered for good, while that is so.
    unanswered_since: Option<Duration>,
    /// When the node showed something newer than before.
    shown_at: Duration,
    /// How long a node may be silent.
    patience: Duration,
}

impl Sending {
    pub(super) fn new(has_others: bool) -> Self {
        Self {
            held: BTreeMap::new(),
            line: BTreeMap::new(),
            given: 0,
            on_their_way: 0,
            credit: PEER_CREDIT as usize,
            has_others,
            paused_until: Duration::ZERO,
            unanswered_since: None,
            shown_at: Duration::ZERO,
            patience: SILENCE.0,
        }
    }

    /// Takes an intent to send. Says whether there was room for it.
    pub(super) fn give(&mut self, intent: Intent) -> bool {
        let id = intent.id();
        if self.held.contains_key(&id) {
            return true;
        }
        if self.held.len() == CLIENT_INTENTS_MAX {
            return false;
        }
        let place = self.given;
        self.given += 1;
        self.line.insert(place, id);
        self.held.insert(id, Unanswered { intent, place, is_on_its_way: false, was_sent: false });
        assert!(self.held.len() <= CLIENT_INTENTS_MAX, "what a client holds is bounded");
        assert_eq!(self.line.len() + self.on_their_way, self.held.len(), "what is held waits or is on its way");
        true
    }

    /// There is a new connection, whose node gives so much credit: everything is sent again.
    pub(super) fn connected(&mut self, credit: u32) {
        // Without any, nothing would ever be sent, and no answer would ever give credit back.
        self.credit = (credit as usize).max(1);
        self.on_their_way = 0;
        self.paused_until = Duration::ZERO;
        self.unanswered_since = None;
        for (id, held) in &mut self.held {
            // The node of the connection before may have it: what this one says of being busy is not the last word
            // then.
            held.was_sent |= std::mem::take(&mut held.is_on_its_way);
            self.line.insert(held.place, *id);
        }
        assert_eq!(self.line.len(), self.held.len(), "nothing is on its way over a new connection");
    }

    /// Intents that may be sent now. They are on their way from now on.
    pub(super) fn take_sendable(&mut self, now: Duration) -> Vec<Intent> {
        let mut sendable = Vec::new();
        while self.on_their_way < self.credit && now >= self.paused_until {
            let Some((_, id)) = self.line.pop_first() else { break };
            let held = self.held.get_mut(&id).expect("what is in the line is held");
            assert!(!held.is_on_its_way, "nothing is sent twice over one connection");
            held.is_on_its_way = true;
            self.on_their_way += 1;
            sendable.push(held.intent);
        }
        if self.on_their_way > 0 {
            self.unanswered_since.get_or_insert(now);
        }
        assert_eq!(self.line.len() + self.on_their_way, self.held.len(), "what is held waits or is on its way");
        sendable
    }

    /// When something that waits may be sent, or the node has been silent for too long, if nothing else happens.
    pub(super) fn resumes_at(&self, now: Duration) -> Option<Duration> {
        let paused = (now < self.paused_until && !self.line.is_empty()).then_some(self.paused_until);
        paused.into_iter().chain(self.silent_at()).min()
    }

    /// The node has shown something newer than what was seen before.
    pub(super) fn shown(&mut self, now: Duration) {
        self.shown_at = now;
    }

    /// When the node has been silent for too long. A client without others waits for ever.
    pub(super) fn silent_at(&self) -> Option<Duration> {
        let since = self.unanswered_since.filter(|_| self.has_others)?;
        Some((self.shown_at.max(since) + self.patience).min(since + self.patience * SILENCE_SHOWN))
    }

    /// Whether the node has been silent for too long: another one is to be tried.
    pub(super) fn gives_up(&mut self, now: Duration) -> bool {
        let gives_up = self.silent_at().is_some_and(|at| at <= now);
        if gives_up {
            self.unanswered_since = None;
            self.patience = (self.patience * 2).min(SILENCE.1);
        }
        gives_up
    }

    /// Takes an answer. Says whether it is one for whoever gave the intent.
    pub(super) fn answered(&mut self, answer: &Answer, now: Duration) -> bool {
        let id = answer.id;
        let Some(held) = self.held.get_mut(&id).filter(|_| answer.is_final()) else { return true };
        if std::mem::take(&mut held.is_on_its_way) {
            self.on_their_way -= 1;
        }
        if self.on_their_way == 0 {
            self.unanswered_since = None;
        }
        let AnswerVerdict::Shed(reason) = answer.verdict else {
            self.patience = SILENCE.0;
            self.unanswered_since = self.unanswered_since.map(|_| now);
            return self.forget(&id);
        };
        // One that only turns away what is new may be one whose tick stands: what is on its way to it waits as before.
        // A node may have it from before: only a receipt says what became of it. But one that cannot be so was taken
        // nowhere, and the receipt of one that moved goes elsewhere.
        let may_be_taken = held.was_sent && !matches!(reason, ShedReason::Malformed | ShedReason::Moved);
        // A node that ends closes the connection soon: the next one gets it.
        let is_for_another = self.has_others && reason == ShedReason::Closed;
        if !may_be_taken && !is_for_another {
            return self.forget(&id);
        }
        self.line.insert(held.place, id);
        self.paused_until = now + PAUSE;
        assert_eq!(self.line.len() + self.on_their_way, self.held.len(), "what is held waits or is on its way");
        false
    }

    fn forget(&mut self, id: &IntentId) -> bool {
        let held = self.held.remove(id).expect("only what is held is forgotten");
        self.line.remove(&held.place);
        assert_eq!(self.line.len() + self.on_their_way, self.held.len(), "what is held waits or is on its way");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Height;
    use engine::io::Verdict;
    use engine::message::intent::{IntentBody, IntentKind};

    const NOW: Duration = Duration::from_secs(9);

    fn intent(number: u64) -> Intent {
        Intent { body: IntentBody::new(IntentKind::Roll, [1; 32], number, 50), signature: [2; 64] }
    }

    fn answer(number: u64, verdict: AnswerVerdict) -> Answer {
        Answer { id: intent(number).id(), verdict }
    }

    fn receipt(number: u64) -> Answer {
        answer(number, AnswerVerdict::Receipt { height: Height(1), index: 0, verdict: Verdict::Applied })
    }

    fn numbers(intents: &[Intent]) -> Vec<u64> {
        intents.iter().map(|intent| intent.body.number).collect()
    }

    #[test]
    fn what_is_above_the_credit_follows_as_receipts_come() {
        let mut sending = Sending::new(false);
        assert!((1..=90).all(|number| sending.give(intent(number))));
        sending.connected(64);
        assert_eq!(numbers(&sending.take_sendable(NOW)), (1..=64).collect::<Vec<_>>());
        assert!(sending.take_sendable(NOW).is_empty());
        assert!(sending.answered(&answer(3, AnswerVerdict::Acknowledged), NOW));
        assert!(sending.take_sendable(NOW).is_empty(), "an acknowledgement gives no credit back");
        let mut sent: Vec<u64> = (1..=64).collect();
        let mut answered = Vec::new();
        while let Some(number) = sent.pop() {
            assert!(sending.answered(&receipt(number), NOW));
            answered.push(number);
            sent.extend(numbers(&sending.take_sendable(NOW)));
            assert!(sent.len() <= 64);
        }
        answered.sort_unstable();
        assert_eq!(answered, (1..=90).collect::<Vec<_>>());
        assert!(sending.held.is_empty() && sending.line.is_empty() && sending.on_their_way == 0);
    }

    #[test]
    fn what_was_sent_before_is_sent_again_until_its_receipt_and_the_new_may_be_shed() {
        let mut sending = Sending::new(false);
        sending.connected(4);
        assert!((1..=3).all(|number| sending.give(intent(number))));
        assert_eq!(numbers(&sending.take_sendable(NOW)), [1, 2, 3]);
        assert!(sending.give(intent(4)) && sending.give(intent(1)), "what is held is not taken twice");
        sending.connected(4);
        assert_eq!(numbers(&sending.take_sendable(NOW)), [1, 2, 3, 4], "in the order in which they were given");
        // The node may have 2 from the connection before: that it is too busy now says nothing about it.
        assert!(!sending.answered(&answer(2, AnswerVerdict::Shed(ShedReason::Busy)), NOW));
        assert!(sending.take_sendable(NOW).is_empty());
        assert_eq!(sending.resumes_at(NOW), Some(NOW + PAUSE));
        assert_eq!(numbers(&sending.take_sendable(NOW + PAUSE)), [2]);
        assert!(sending.answered(&receipt(2), NOW));
        // 4 was sent here only: whoever gave it decides.
        assert!(sending.answered(&answer(4, AnswerVerdict::Shed(ShedReason::Busy)), NOW));
        assert!(sending.answered(&answer(1, AnswerVerdict::Shed(ShedReason::Malformed)), NOW));
        assert_eq!(sending.held.len(), 1);
        assert!(sending.answered(&receipt(77), NOW), "an answer to nothing is told and changes nothing");
        assert_eq!(sending.on_their_way, 1);
    }

    #[test]
    fn that_a_node_does_not_take_what_another_may_have_is_no_last_word() {
        for (reason, name, _) in ShedReason::ALL {
            let mut sending = Sending::new(false);
            assert!(sending.give(intent(1)));
            for _ in 0..2 {
                sending.connected(4);
                assert_eq!(numbers(&sending.take_sendable(NOW)), [1]);
            }
            let is_last = sending.answered(&answer(1, AnswerVerdict::Shed(reason)), NOW);
            assert_eq!(is_last, matches!(reason, ShedReason::Malformed | ShedReason::Moved), "{name}");
            assert_eq!(numbers(&sending.take_sendable(NOW + PAUSE)).len(), usize::from(!is_last), "{name}");
        }
    }

    #[test]
    fn what_a_node_that_ends_does_not_take_is_for_the_next_one() {
        for has_others in [false, true] {
            let mut sending = Sending::new(has_others);
            sending.connected(4);
            assert!(sending.give(intent(1)));
            assert_eq!(numbers(&sending.take_sendable(NOW)), [1]);
            let is_told = sending.answered(&answer(1, AnswerVerdict::Shed(ShedReason::Closed)), NOW);
            assert_eq!((is_told, sending.held.len()), (!has_others, usize::from(has_others)));
            sending.connected(4);
            assert_eq!(sending.take_sendable(NOW).len(), usize::from(has_others));
        }
    }

    /// When a client gives up each of so many nodes in a row that do nothing but what `each_second` says.
    fn gave_up(sending: &mut Sending, nodes: usize, mut each_second: impl FnMut(&mut Sending, Duration)) -> Vec<u64> {
        let (mut seconds, mut now) = (Vec::new(), NOW);
        for _ in 0..nodes {
            sending.connected(4);
            let came = now;
            assert!(!sending.take_sendable(now).is_empty());
            while !sending.gives_up(now) && now < came + Duration::from_secs(100) {
                assert!(sending.silent_at().is_none_or(|at| sending.resumes_at(now).is_some_and(|due| due <= at)));
                now += Duration::from_secs(1);
                each_second(sending, now);
                sending.take_sendable(now);
            }
            seconds.push((now - came).as_secs());
        }
        seconds
    }

    #[test]
    fn a_node_that_answers_nothing_is_given_up_where_there_are_others_and_each_one_later() {
        let mut sending = Sending::new(true);
        assert!(sending.give(intent(1)));
        assert_eq!(gave_up(&mut sending, 5, |_, _| {}), [10, 20, 40, 80, 80]);
        // An answer ends that.
        let receipt_once = |sending: &mut Sending, now| _ = sending.answered(&receipt(1), now);
        assert!(sending.give(intent(2)));
        assert_eq!(gave_up(&mut sending, 1, receipt_once), [11], "since the answer");
        let mut alone = Sending::new(false);
        assert!(alone.give(intent(1)));
        assert_eq!(gave_up(&mut alone, 1, |_, _| {}), [100], "nobody else could be asked");
        assert_eq!(alone.resumes_at(NOW), None);
    }

    #[test]
    fn a_node_that_is_slow_and_shows_what_is_new_or_turns_intents_away_is_not_given_up_soon() {
        let mut sending = Sending::new(true);
        assert!(sending.give(intent(1)));
        assert_eq!(gave_up(&mut sending, 1, |sending, now| sending.shown(now)), [60], "yet it may keep intents back");
        // What one before may have is turned away here again and again, and waits for its receipt.
        let busy = |sending: &mut Sending, now| {
            _ = sending.answered(&answer(1, AnswerVerdict::Shed(ShedReason::Busy)), now - PAUSE);
        };
        assert_eq!(gave_up(&mut sending, 1, busy), [100]);
        // A node whose tick stands turns away what is new and answers nothing that it took.
        let mut stands = Sending::new(true);
        assert!(stands.give(intent(2)) && stands.give(intent(1)));
        assert_eq!(gave_up(&mut stands, 1, busy), [10]);
        let mut idle = Sending::new(true);
        idle.connected(4);
        assert!(!idle.gives_up(NOW + Duration::from_secs(999)) && idle.resumes_at(NOW).is_none(), "nothing was sent");
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut sending = Sending::new(false);
        assert!((0..CLIENT_INTENTS_MAX as u64).all(|number| sending.give(intent(number))));
        assert!(!sending.give(intent(CLIENT_INTENTS_MAX as u64)));
        sending.connected(64);
        sending.take_sendable(NOW);
        assert!(sending.answered(&receipt(5), NOW));
        assert!(sending.give(intent(CLIENT_INTENTS_MAX as u64)));
    }
}
