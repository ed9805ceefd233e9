//! Answers: which intents wait for their receipt and who waits with them, and the receipts of those that had one lately.
//!
//! A client that lost its connection sends its intents again, the same bytes. One that still waits is not taken twice;
//! its receipt goes to whoever sent it last. One that has its receipt is told so again. Nothing here is replicated: what
//! is forgotten is answered by the account's window of used numbers.

use bevy_ecs::resource::Resource;
use engine::io::{Output, Receipt, Verdict};
use engine::limits::{BLOCK_INTENTS_MAX, PENDING_MAX, RECEIPTS_KEPT_MAX, UNSETTLED_MAX};
use engine::message::intent::{Intent, IntentId};
use engine::message::refusal::Refusal;
use engine::{Height, PeerId};
use hashbrown::HashTable;

/// Intents that wait, by key and number, and the last receipts.
#[derive(Resource)]
pub struct Answers {
    waiting: HashTable<Waiting>,
    /// A ring: the oldest is overwritten.
    kept: Vec<Receipt>,
    oldest: usize,
    by_intent: HashTable<u32>,
}

struct Waiting {
    id: IntentId,
    to: PeerId,
}

impl Waiting {
    fn has_number_of(&self, id: &IntentId) -> bool {
        self.id.number == id.number && self.id.key == id.key
    }
}

/// What is known about an intent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// Nothing.
    New,
    /// It waits for its receipt.
    Waits,
    /// Another one with its key and number waits.
    NumberWaits,
    /// It had this receipt.
    Answered(Receipt),
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            waiting: HashTable::with_capacity(PENDING_MAX + UNSETTLED_MAX * BLOCK_INTENTS_MAX),
            kept: Vec::with_capacity(RECEIPTS_KEPT_MAX),
            oldest: 0,
            by_intent: HashTable::new(),
        }
    }
}

/// Keys are uniform for whoever does not choose them; whoever does only slows the look-up of his own intents, of which
/// few may wait.
fn place(id: &IntentId) -> u64 {
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| id.key[at + byte]));
    let mixed = (word(0) ^ id.number.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29 ^ word(8).rotate_left(17) ^ word(16)).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ word(24)
}

/// Whether a receipt says that the number is used up: only then may the same intent never be applied again.
fn is_final(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Applied | Verdict::OddsReturned => true,
        Verdict::Refused(refusal) => refusal.uses_number(),
    }
}

impl Answers {
    /// What is known about an intent whose signature was not checked yet.
    pub fn look_up(&self, intent: &Intent) -> Known {
        let id = intent.id();
        let hash = place(&id);
        if let Some(waiting) = self.waiting.find(hash, |waiting| waiting.has_number_of(&id)) {
            return if waiting.id == id { Known::Waits } else { Known::NumberWaits };
        }
        let is = |row: &u32| self.kept[*row as usize].id == id;
        self.by_intent.find(hash, is).map_or(Known::New, |row| Known::Answered(self.kept[*row as usize]))
    }

    /// A verified intent waits from now on, and `to` waits with it. Says what was known, and changes nothing unless that
    /// is nothing.
    pub fn wait(&mut self, intent: &Intent, to: PeerId) -> Known {
        let known = self.look_up(intent);
        if known == Known::New {
            self.insert(Waiting { id: intent.id(), to });
        }
        known
    }

    fn insert(&mut self, waiting: Waiting) {
        self.waiting.insert_unique(place(&waiting.id), waiting, |other| place(&other.id));
    }

    /// An intent was decided: it waits for its receipt, whoever proposed it. If another one with its key and number waited,
    /// that one can no longer be applied before it, and whoever waits for it hears that the number is used.
    pub fn decide(&mut self, intent: &Intent) -> Option<Output> {
        let id = intent.id();
        let waiting = self.waiting.find_mut(place(&id), |waiting| waiting.has_number_of(&id));
        let Some(waiting) = waiting else {
            self.insert(Waiting { id, to: PeerId::NONE });
            return None;
        };
        if waiting.id == id {
            return None;
        }
        let Waiting { id, to } = std::mem::replace(waiting, Waiting { id, to: PeerId::NONE });
        let verdict = Verdict::Refused(Refusal::NumberUsed);
        Some(Output::Receipt { to, receipt: Receipt { id, height: Height::GENESIS, index: 0, verdict } })
    }

    /// The receipt of an intent that waits goes to another peer from now on. Returns the one that waited before, if
    /// there was another.
    pub fn redirect(&mut self, intent: &Intent, to: PeerId) -> Option<PeerId> {
        let id = intent.id();
        let waiting = self.waiting.find_mut(place(&id), |waiting| waiting.id == id)?;
        let before = std::mem::replace(&mut waiting.to, to);
        (before != to && before != PeerId::NONE).then_some(before)
    }

    /// An intent has its receipt. Returns who waits for it; nobody waits for it who waits for another with its number.
    pub fn answer(&mut self, receipt: &Receipt) -> PeerId {
        let hash = place(&receipt.id);
        let Ok(entry) = self.waiting.find_entry(hash, |waiting| waiting.id == receipt.id) else {
            return PeerId::NONE;
        };
        let (Waiting { to, .. }, _) = entry.remove();
        if is_final(receipt.verdict) {
            self.keep(*receipt, hash);
        }
        to
    }

    /// How many intents wait for their receipt.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn keep(&mut self, kept: Receipt, hash: u64) {
        let row = self.oldest as u32;
        if self.kept.len() < RECEIPTS_KEPT_MAX {
            self.kept.push(kept);
        } else {
            let old = std::mem::replace(&mut self.kept[self.oldest], kept);
            if let Ok(entry) = self.by_intent.find_entry(place(&old.id), |other| *other == row) {
                entry.remove();
            }
        }
        self.oldest = (self.oldest + 1) % RECEIPTS_KEPT_MAX;
        let rows = &self.kept;
        self.by_intent.insert_unique(hash, row, |row| place(&rows[*row as usize].id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    fn intent(key: u8, number: u64, mark: u8) -> Intent {
        let mut intent = Intent::zeroed();
        intent.body.key = [key; 32];
        intent.body.number = number;
        intent.signature = [mark; 64];
        intent
    }

    fn receipt(of: &Intent, height: u64, verdict: Verdict) -> Receipt {
        Receipt { id: of.id(), height: Height(height), index: 0, verdict }
    }

    const A: PeerId = PeerId { slot: 1, generation: 1 };
    const B: PeerId = PeerId { slot: 2, generation: 1 };

    #[test]
    fn an_intent_sent_again_is_taken_once_and_answered_where_it_was_sent_last() {
        let mut answers = Answers::default();
        let bet = intent(1, 7, 9);
        assert_eq!(answers.wait(&bet, A), Known::New);
        assert_eq!(answers.wait(&bet, B), Known::Waits);
        assert_eq!(answers.redirect(&bet, B), Some(A));
        assert_eq!(answers.redirect(&bet, B), None);
        let applied = receipt(&bet, 3, Verdict::Applied);
        assert_eq!(answers.answer(&applied), B);
        assert_eq!(answers.answer(&applied), PeerId::NONE);
        assert_eq!(answers.look_up(&bet), Known::Answered(applied));
        assert_eq!(answers.waiting(), 0);
    }

    #[test]
    fn another_intent_with_the_same_number_is_another() {
        let mut answers = Answers::default();
        answers.wait(&intent(1, 7, 9), A);
        assert_eq!(answers.look_up(&intent(1, 7, 8)), Known::NumberWaits);
        answers.answer(&receipt(&intent(1, 7, 9), 3, Verdict::Applied));
        assert_eq!(answers.look_up(&intent(1, 7, 8)), Known::New);
    }

    #[test]
    fn whoever_waits_for_another_intent_with_the_number_of_a_decided_one_hears_that_it_is_used() {
        let mut answers = Answers::default();
        let (mine, theirs) = (intent(1, 7, 9), intent(1, 7, 8));
        answers.wait(&mine, A);
        let verdict = Verdict::Refused(Refusal::NumberUsed);
        let used = Receipt { id: mine.id(), height: Height::GENESIS, index: 0, verdict };
        assert_eq!(answers.decide(&theirs), Some(Output::Receipt { to: A, receipt: used }));
        assert_eq!(answers.decide(&theirs), None);
        assert_eq!(answers.waiting(), 1);
        let applied = receipt(&theirs, 3, Verdict::Applied);
        assert_eq!(answers.answer(&receipt(&mine, 3, Verdict::Applied)), PeerId::NONE, "a receipt for other bytes");
        assert_eq!(answers.answer(&applied), PeerId::NONE, "nobody here sent them");
        assert_eq!(answers.look_up(&theirs), Known::Answered(applied));
        assert_eq!(answers.look_up(&mine), Known::New, "the account's window answers that one");
        // One that waits here and is decided keeps whoever waits for it.
        answers.wait(&intent(2, 7, 9), B);
        assert_eq!(answers.decide(&intent(2, 7, 9)), None);
        assert_eq!(answers.answer(&receipt(&intent(2, 7, 9), 4, Verdict::Applied)), B);
    }

    #[test]
    fn a_refusal_that_left_the_number_unused_is_not_the_last_word() {
        let mut answers = Answers::default();
        let open = intent(1, 1, 1);
        answers.wait(&open, A);
        assert_eq!(answers.answer(&receipt(&open, 3, Verdict::Refused(Refusal::OpenLimit))), A);
        assert_eq!(answers.look_up(&open), Known::New);
    }

    #[test]
    fn the_oldest_receipts_are_forgotten_and_no_other() {
        let mut answers = Answers::default();
        let over = 1_000;
        for number in 0..(RECEIPTS_KEPT_MAX + over) as u64 {
            let bet = intent((number % 7) as u8, number, 1);
            assert_eq!(answers.wait(&bet, A), Known::New);
            answers.answer(&receipt(&bet, number, Verdict::Applied));
        }
        for number in [0, over as u64 - 1] {
            assert_eq!(answers.look_up(&intent((number % 7) as u8, number, 1)), Known::New);
        }
        for number in [over as u64, (RECEIPTS_KEPT_MAX + over) as u64 - 1] {
            assert!(matches!(answers.look_up(&intent((number % 7) as u8, number, 1)), Known::Answered(_)));
        }
    }
}
