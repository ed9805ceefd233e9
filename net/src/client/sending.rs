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

/// An intent without its last answer.
struct Unanswered {
    intent: Intent,
    /// How many were given before it.
    place: u64,
    /// It was sent over the present connection and is not answered.
    is_on_its_way: bool,
    /// It was sent over a connection before: a node may have it.
    was_sent: bool,
}

/// All intents of a client without their last answer.
pub(super) struct Sending {
    held: BTreeMap<IntentId, Unanswered>,
    /// Those that are to be sent, in the order in which they were given.
    line: BTreeMap<u64, IntentId>,
    given: u64,
    on_their_way: usize,
    credit: usize,
    /// There are other nodes, which take what one that ends does not.
    has_others: bool,
    paused_until: Duration,
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
        assert_eq!(self.line.len() + self.on_their_way, self.held.len(), "what is held waits or is on its way");
        sendable
    }

    /// When something that waits may be sent, if nothing else happens.
    pub(super) fn resumes_at(&self, now: Duration) -> Option<Duration> {
        (now < self.paused_until && !self.line.is_empty()).then_some(self.paused_until)
    }

    /// Takes an answer. Says whether it is one for whoever gave the intent.
    pub(super) fn answered(&mut self, answer: &Answer, now: Duration) -> bool {
        let id = answer.id;
        let Some(held) = self.held.get_mut(&id).filter(|_| answer.is_final()) else { return true };
        if std::mem::take(&mut held.is_on_its_way) {
            self.on_their_way -= 1;
        }
        let AnswerVerdict::Shed(reason) = answer.verdict else {
            return self.forget(&id);
        };
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
