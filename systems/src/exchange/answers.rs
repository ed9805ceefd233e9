//! Answers: which intents wait for their receipt and who waits with them, and the receipts of those that had one lately.
//!
//! A client that lost its connection sends its intents again, the same bytes. One that still waits is not taken twice;
//! its receipt goes to whoever sent it last. One that has its receipt is told so again, if that was the last word: a refusal that
//! left the number is not kept, since anybody can have as many of those as a block holds; of the last ones it is known that a copy may
//! be on its way. Nothing here is replicated: what is
//! forgotten is answered by the account's window of used numbers.

use std::hash::BuildHasher;

use bevy_ecs::resource::Resource;
use engine::io::{Receipt, Verdict};
use engine::limits::{BLOCK_INTENTS_MAX, NUMBER_WINDOW, PENDING_MAX, RECEIPTS_KEPT_MAX, UNSETTLED_MAX};
use engine::message::intent::{Intent, IntentId, is_past};
use engine::message::refusal::Refusal;
use engine::{Genesis, PeerId};
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::refused::Refused;
use super::sender::{Origin, Sender};

const _: () = assert!(RECEIPTS_KEPT_MAX <= u32::MAX as usize, "a row of the ring is numbered in 32 bits");

/// Intents that wait, by key and number, and the last receipts.
#[derive(Resource)]
pub struct Answers {
    waiting: HashTable<Waiting>,
    /// A ring: the oldest is overwritten.
    kept: Vec<Receipt>,
    oldest: usize,
    by_intent: HashTable<u32>,
    refused: Refused,
}

struct Waiting {
    id: IntentId,
    to: PeerId,
    /// Who sent it first.
    sender: Sender,
    expiry_s: u32,
    /// It is in a decided block.
    decided: bool,
    /// Another one with its number, which is in a decided block too and waits in its place once it has its receipt.
    next: Option<Box<Self>>,
}

impl Waiting {
    /// One that is in a decided block, and of which nobody here waits to hear.
    fn decided(intent: &Intent) -> Self {
        let expiry_s = intent.body.expiry_s;
        Self { id: intent.id(), to: PeerId::NONE, sender: Sender::NOBODY, expiry_s, decided: true, next: None }
    }

    fn has_number_of(&self, id: &IntentId) -> bool {
        self.id.number == id.number && self.id.key == id.key
    }
}

/// What is known about an intent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// Nothing; or it was refused and its number left unused, and until it expires it may be tried again.
    New,
    /// It waits for its receipt.
    Waits,
    /// Another one with its key and number waits.
    NumberWaits,
    /// It had this receipt, and is never applied again.
    Answered(Receipt),
}

/// Who hears of a receipt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hears {
    /// Who waits for it.
    pub to: PeerId,
    /// Who waits for another intent with its key and number, which can never be applied now.
    pub other: Option<(PeerId, IntentId)>,
    /// Who sent it first, if it waited here.
    pub sender: Option<Sender>,
}

impl Default for Answers {
    fn default() -> Self {
        let (waiting, by_intent) = (HashTable::new(), HashTable::new());
        Self { waiting, kept: Vec::new(), oldest: 0, by_intent, refused: Refused::default() }
    }
}

/// The bucket of an intent: those with one key and number share it, of which few may wait.
///
/// Whoever chooses keys that collide only slows the look-up of his own intents. The mark is no part of it: all intents with one key and number are in one bucket.
fn bucket_of(id: &IntentId) -> u64 {
    FixedState::default().hash_one((id.key, id.number))
}

/// Whether a receipt says that the number is used up, by this intent or by another one: only then may the same intent never
/// be applied again.
fn is_final(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Applied | Verdict::OddsReturned => true,
        Verdict::Refused(refusal) => refusal.uses_number() || refusal == Refusal::NumberUsed,
    }
}

impl Answers {
    /// With room for all that the accounts of a genesis may send at a time. Keys without an account may send too: then it
    /// grows, up to the bounds of what waits and what is kept.
    pub fn of(genesis: &Genesis) -> Self {
        let all = genesis.accounts as usize * NUMBER_WINDOW as usize;
        Self {
            waiting: HashTable::with_capacity(all.min(PENDING_MAX + UNSETTLED_MAX * BLOCK_INTENTS_MAX)),
            kept: Vec::with_capacity(all.min(RECEIPTS_KEPT_MAX)),
            ..Self::default()
        }
    }

    /// What is known about an intent whose signature was not checked yet.
    pub fn look_up(&self, intent: &Intent) -> Known {
        let id = intent.id();
        let hash = bucket_of(&id);
        // What waits counts before a receipt: one that was refused and left its number may wait a second time.
        if let Some(waiting) = self.waiting.find(hash, |waiting| waiting.has_number_of(&id)) {
            return if waiting.id == id { Known::Waits } else { Known::NumberWaits };
        }
        self.kept(&id).map_or(Known::New, Known::Answered)
    }

    fn kept(&self, id: &IntentId) -> Option<Receipt> {
        let is = |row: &u32| self.kept[*row as usize].id == *id;
        self.by_intent.find(bucket_of(id), is).map(|row| self.kept[*row as usize])
    }

    /// Whether an intent of which nothing is known is a copy that another node sent before it could know that a block refused it.
    pub fn is_late_copy(&mut self, intent: &Intent, sender: &Sender) -> bool {
        sender.origin != Origin::Here && self.refused.is_late(&intent.id(), sender.peer)
    }

    /// A verified intent waits from now on, and whoever sent it here waits with it. Says what was known, and changes nothing if it waits,
    /// or another one with its number does, or it was answered for good.
    pub fn wait(&mut self, intent: &Intent, sender: &Sender) -> Known {
        let known = self.look_up(intent);
        if known == Known::New {
            let (id, expiry_s) = (intent.id(), intent.body.expiry_s);
            self.insert(Waiting { id, to: sender.waits(), sender: *sender, expiry_s, decided: false, next: None });
        }
        known
    }

    fn insert(&mut self, waiting: Waiting) {
        self.waiting.insert_unique(bucket_of(&waiting.id), waiting, |other| bucket_of(&other.id));
    }

    /// An intent was decided: it waits for its receipt, whoever proposed it, and goes into no other block.
    pub fn decide(&mut self, intent: &Intent) {
        let id = intent.id();
        if let Some(waiting) = self.waiting.find_mut(bucket_of(&id), |waiting| waiting.has_number_of(&id)) {
            // Where another one with its number waits, the height's verdict says which of them the number went to.
            if waiting.id == id {
                waiting.decided = true;
            } else {
                waiting.next = Some(Box::new(Waiting::decided(intent)));
            }
        } else if self.kept(&id).is_none() {
            self.insert(Waiting::decided(intent));
        }
    }

    /// Takes a decided intent for the one with its number that waits: what [`super::planted`] may have a simulation do.
    pub(super) fn mistake(&mut self, intent: &Intent) {
        let id = intent.id();
        if let Some(waiting) = self.waiting.find_mut(bucket_of(&id), |waiting| waiting.has_number_of(&id)) {
            (waiting.id, waiting.decided) = (id, true);
        }
    }

    /// Whether an intent waits and is in no decided block.
    pub fn is_open(&self, id: &IntentId) -> bool {
        let waiting = self.waiting.find(bucket_of(id), |waiting| waiting.id == *id);
        waiting.is_some_and(|waiting| !waiting.decided)
    }

    /// The receipt of an intent that waits goes to another peer from now on. Returns the one that waited before, if
    /// there was another.
    pub fn redirect(&mut self, intent: &Intent, to: PeerId) -> Option<PeerId> {
        let id = intent.id();
        let waiting = self.waiting.find_mut(bucket_of(&id), |waiting| waiting.id == id)?;
        let before = std::mem::replace(&mut waiting.to, to);
        (before != to && before != PeerId::NONE).then_some(before)
    }

    /// An intent has its receipt. Returns who hears of it.
    pub fn answer(&mut self, receipt: &Receipt) -> Hears {
        let hash = bucket_of(&receipt.id);
        if is_final(receipt.verdict) {
            self.keep(*receipt, hash);
        } else {
            let waiting = self.waiting.find(hash, |waiting| waiting.id == receipt.id);
            let copied = waiting.map(|waiting| waiting.sender).filter(|sender| sender.origin != Origin::Here);
            self.refused.keep(receipt.id, copied.map_or(PeerId::NONE, |sender| sender.peer));
        }
        let nobody = Hears { to: PeerId::NONE, other: None, sender: None };
        let Ok(mut entry) = self.waiting.find_entry(hash, |waiting| waiting.has_number_of(&receipt.id)) else {
            return nobody;
        };
        entry.get_mut().next.take_if(|next| next.id == receipt.id);
        // The other one was refused and left the number: the one that waits may still be applied.
        if entry.get().id != receipt.id && !is_final(receipt.verdict) {
            return nobody;
        }
        let (Waiting { id, to, sender, next, .. }, _) = entry.remove();
        // A block above that is not settled yet holds it: whoever sends it again waits for that.
        if let Some(next) = next {
            assert!(next.decided, "only one that is in a block waits behind another");
            assert!(next.next.is_none(), "no more than one waits behind another");
            assert_eq!(next.id.number, id.number, "those that wait behind each other have one number");
            self.insert(*next);
        }
        match id == receipt.id {
            true => Hears { to, sender: Some(sender), ..nobody },
            false => Hears { other: Some((to, id)), ..nobody },
        }
    }

    /// Those whose expiry the time of a settled block has passed, and that are in no decided block: nothing can apply them
    /// any more. They wait no longer.
    pub fn expire(&mut self, time_ms: u64) -> Vec<(PeerId, IntentId)> {
        let is_late = |waiting: &mut Waiting| !waiting.decided && is_past(waiting.expiry_s, time_ms);
        let gone: Vec<Waiting> = self.waiting.extract_if(is_late).collect();
        let mut late: Vec<(PeerId, IntentId)> = gone.iter().map(|waiting| (waiting.to, waiting.id)).collect();
        for next in gone.into_iter().filter_map(|waiting| waiting.next) {
            // It would expire with the one before it otherwise, and its block would find nobody to answer.
            assert!(next.decided, "only one that is in a block waits behind another");
            self.insert(*next);
        }
        late.sort_unstable_by_key(|(_, id)| *id);
        assert!(late.is_sorted_by(|(_, one), (_, next)| one < next), "an intent waits once");
        late
    }

    /// How many intents wait for their receipt.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn keep(&mut self, kept: Receipt, hash: u64) {
        assert!(is_final(kept.verdict), "what may still be applied has not had its last word");
        let is = |row: &u32| self.kept[*row as usize].id == kept.id;
        // The first one holds: a block that includes the intent again changes nothing.
        if self.by_intent.find(hash, is).is_some() {
            return;
        }
        let row = self.oldest as u32;
        assert!(self.oldest < RECEIPTS_KEPT_MAX, "the oldest receipt has a row of the ring");
        if self.kept.len() < RECEIPTS_KEPT_MAX {
            assert_eq!(self.oldest, self.kept.len(), "until the ring is full, its rows are numbered as they come");
            self.kept.push(kept);
        } else {
            let old = std::mem::replace(&mut self.kept[self.oldest], kept);
            if let Ok(entry) = self.by_intent.find_entry(bucket_of(&old.id), |other| *other == row) {
                entry.remove();
            }
        }
        self.oldest = (self.oldest + 1) % RECEIPTS_KEPT_MAX;
        let rows = &self.kept;
        self.by_intent.insert_unique(hash, row, |row| bucket_of(&rows[*row as usize].id));
        assert_eq!(self.by_intent.len(), self.kept.len(), "every receipt that is kept is found, and no other");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;
    use engine::Height;
    use engine::limits::REFUSED_KEPT_MAX;

    fn intent(key: u8, number: u64, mark: u8) -> Intent {
        let mut intent = Intent::zeroed();
        intent.body.key = [key; 32];
        intent.body.number = number;
        intent.signature = [mark; 64];
        intent
    }

    fn wait(answers: &mut Answers, intent: &Intent, peer: PeerId) -> Known {
        answers.wait(intent, &Sender { peer, origin: Origin::Here })
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
        assert_eq!(wait(&mut answers, &bet, A), Known::New);
        assert_eq!(wait(&mut answers, &bet, B), Known::Waits);
        assert_eq!(answers.redirect(&bet, B), Some(A));
        assert_eq!(answers.redirect(&bet, B), None);
        let applied = receipt(&bet, 3, Verdict::Applied);
        assert_eq!(answers.answer(&applied).to, B);
        assert_eq!(answers.answer(&applied).to, PeerId::NONE);
        assert_eq!(answers.look_up(&bet), Known::Answered(applied));
        assert_eq!(answers.waiting(), 0);
    }

    #[test]
    fn another_intent_with_the_same_number_is_another() {
        let mut answers = Answers::default();
        wait(&mut answers, &intent(1, 7, 9), A);
        assert_eq!(answers.look_up(&intent(1, 7, 8)), Known::NumberWaits);
        answers.answer(&receipt(&intent(1, 7, 9), 3, Verdict::Applied));
        assert_eq!(answers.look_up(&intent(1, 7, 8)), Known::New);
    }

    #[test]
    fn what_was_refused_for_its_number_is_proposed_by_nobody_again() {
        let mut answers = Answers::default();
        let (first, second) = (intent(1, 7, 9), intent(1, 7, 8));
        answers.decide(&first);
        answers.answer(&receipt(&first, 3, Verdict::Applied));
        answers.decide(&second);
        let used = receipt(&second, 4, Verdict::Refused(Refusal::NumberUsed));
        answers.answer(&used);
        assert_eq!(wait(&mut answers, &second, A), Known::Answered(used));
        assert_eq!(answers.waiting(), 0);
    }

    /// Two intents with one number in two blocks, of which the first is settled: the second one is in a block still.
    #[test]
    fn what_is_decided_behind_another_with_its_number_goes_into_no_other_block() {
        let mut answers = Answers::default();
        let (first, second) = (intent(1, 7, 9), intent(1, 7, 8));
        answers.decide(&first);
        answers.decide(&second);
        answers.answer(&receipt(&first, 3, Verdict::Applied));
        assert_eq!(wait(&mut answers, &second, A), Known::Waits);
        assert!(!answers.is_open(&second.id()));
        assert_eq!(answers.redirect(&second, A), None);
        let used = receipt(&second, 4, Verdict::Refused(Refusal::NumberUsed));
        assert_eq!(answers.answer(&used).to, A);
        assert_eq!((answers.waiting(), answers.look_up(&second)), (0, Known::Answered(used)));
        // One that was refused and left its number is in no block any more.
        wait(&mut answers, &intent(3, 7, 1), B);
        answers.decide(&intent(3, 7, 2));
        answers.answer(&receipt(&intent(3, 7, 2), 4, Verdict::Refused(Refusal::NumberAhead)));
        answers.answer(&receipt(&intent(3, 7, 1), 5, Verdict::Applied));
        assert_eq!(answers.waiting(), 0);
        // The same where a third one waited in vain until it was too late.
        wait(&mut answers, &intent(2, 7, 1), B);
        answers.decide(&intent(2, 7, 2));
        assert_eq!(answers.expire(1_000_000), [(B, intent(2, 7, 1).id())]);
        assert_eq!(answers.look_up(&intent(2, 7, 2)), Known::Waits);
    }

    #[test]
    fn whoever_waits_for_another_intent_with_a_used_number_hears_of_it() {
        let mut answers = Answers::default();
        let (mine, theirs) = (intent(1, 7, 9), intent(1, 7, 8));
        wait(&mut answers, &mine, A);
        answers.decide(&theirs);
        assert!(answers.is_open(&mine.id()), "the other one may be refused and leave the number");
        let left = receipt(&theirs, 2, Verdict::Refused(Refusal::NumberAhead));
        assert_eq!(answers.answer(&left), Hears { to: PeerId::NONE, other: None, sender: None });
        answers.decide(&theirs);
        let applied = receipt(&theirs, 3, Verdict::Applied);
        assert_eq!(answers.answer(&applied), Hears { to: PeerId::NONE, other: Some((A, mine.id())), sender: None });
        assert_eq!(answers.look_up(&theirs), Known::Answered(applied));
        assert_eq!(answers.look_up(&mine), Known::New, "the account's window answers that one");
        assert_eq!(answers.waiting(), 0);
    }

    #[test]
    fn what_is_decided_goes_into_no_other_block_and_keeps_whoever_waits() {
        let mut answers = Answers::default();
        let bet = intent(2, 7, 9);
        wait(&mut answers, &bet, B);
        assert!(answers.is_open(&bet.id()));
        answers.decide(&bet);
        assert!(!answers.is_open(&bet.id()));
        assert_eq!(answers.expire(1_000_000), []);
        let applied = receipt(&bet, 4, Verdict::Applied);
        assert_eq!(answers.answer(&applied).to, B);
        // A faulty proposer includes it again.
        answers.decide(&bet);
        assert_eq!(answers.waiting(), 0);
        answers.answer(&receipt(&bet, 5, Verdict::Refused(Refusal::NumberUsed)));
        assert_eq!(answers.look_up(&bet), Known::Answered(applied));
    }

    #[test]
    fn only_the_time_of_a_settled_block_ends_an_intent() {
        let mut answers = Answers::default();
        let late = |number, expiry_s| {
            let mut late = intent(1, number, 1);
            late.body.expiry_s = expiry_s;
            late
        };
        wait(&mut answers, &late(2, 50), B);
        wait(&mut answers, &late(1, 50), A);
        wait(&mut answers, &late(3, 51), A);
        assert_eq!(answers.expire(50_999), []);
        assert_eq!(answers.expire(51_000), [(A, late(1, 50).id()), (B, late(2, 50).id())]);
        assert_eq!(answers.waiting(), 1);
    }

    #[test]
    fn a_refusal_that_left_the_number_unused_is_not_the_last_word() {
        let mut answers = Answers::default();
        let open = intent(1, 1, 1);
        wait(&mut answers, &open, A);
        let refused = receipt(&open, 3, Verdict::Refused(Refusal::OpenLimit));
        assert_eq!(answers.answer(&refused).to, A);
        assert_eq!(answers.look_up(&open), Known::New);
        assert_eq!(wait(&mut answers, &open, A), Known::New);
        let applied = receipt(&open, 4, Verdict::Applied);
        assert_eq!(answers.answer(&applied).to, A);
        assert_eq!(answers.look_up(&open), Known::Answered(applied));
    }

    /// A block holds thousands of intents of keys without an account: whoever proposes such blocks makes nobody forget anything.
    #[test]
    fn refusals_that_cost_nothing_wash_out_no_receipt() {
        let mut answers = Answers::default();
        let bet = intent(1, 1, 1);
        answers.decide(&bet);
        let applied = receipt(&bet, 1, Verdict::Applied);
        answers.answer(&applied);
        for number in 0..RECEIPTS_KEPT_MAX as u64 + 1 {
            let junk = intent((number % 7) as u8, number, 2);
            answers.decide(&junk);
            answers.answer(&receipt(&junk, number, Verdict::Refused(Refusal::UnknownAccount)));
        }
        assert_eq!(answers.look_up(&bet), Known::Answered(applied));
        assert_eq!(answers.waiting(), 0);
    }

    /// What a node sent on before it could know of the refusal is not the client's next try; what it sends on after that is.
    #[test]
    fn a_late_copy_of_what_was_refused_is_not_taken() {
        let mut answers = Answers::default();
        let [open, other] = [intent(1, 1, 1), intent(1, 1, 2)];
        let from = |peer, origin| Sender { peer, origin };
        let (here, one, follower) = (from(A, Origin::Here), from(A, Origin::Validator(1)), from(B, Origin::Follower));
        assert!(!answers.is_late_copy(&open, &one), "nothing is known of it");
        answers.decide(&open);
        answers.answer(&receipt(&open, 3, Verdict::Refused(Refusal::OpenLimit)));
        assert!(!answers.is_late_copy(&open, &here), "whoever asks here may try again");
        assert!(answers.is_late_copy(&open, &one) && !answers.is_late_copy(&open, &one));
        assert!(answers.is_late_copy(&open, &follower) && !answers.is_late_copy(&other, &follower));
        // Here the copy of that node has come before.
        assert_eq!(answers.wait(&other, &follower), Known::New);
        answers.answer(&receipt(&other, 4, Verdict::Refused(Refusal::OpenLimit)));
        assert!(!answers.is_late_copy(&other, &follower));
        // A node forgets it behind many others.
        answers.answer(&receipt(&open, 5, Verdict::Refused(Refusal::OpenLimit)));
        for number in 0..REFUSED_KEPT_MAX as u64 {
            answers.answer(&receipt(&intent(2, number, 2), 6, Verdict::Refused(Refusal::UnknownAccount)));
        }
        assert!(!answers.is_late_copy(&open, &one));
    }

    #[test]
    fn the_oldest_receipts_are_forgotten_and_no_other() {
        let mut answers = Answers::default();
        let over = 1_000;
        for number in 0..(RECEIPTS_KEPT_MAX + over) as u64 {
            let bet = intent((number % 7) as u8, number, 1);
            assert_eq!(wait(&mut answers, &bet, A), Known::New);
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
