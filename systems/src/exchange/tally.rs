//! Tally: votes as rows, counted by bits.
//!
//! ```text
//!  votes -> bounds, known rows dropped -> (signatures, in one batch) -> row and bit -> the order of blocks, sorted
//! ```
//! The order of blocks counts too, on its own; every decision that it makes is held against the count here. Rows are what
//! certificates for those who are behind, and evidence, are made of.

use std::collections::BTreeMap;

use bevy_ecs::resource::Resource;
use bytemuck::Zeroable;
use engine::limits::{AHEAD_HEIGHTS, AHEAD_ROUNDS, OWN_PRECOMMITS_MAX, PAST_ROUNDS};
use engine::message::certificate::{Certificate, CertificateSignature};
use engine::message::evidence::Evidence;
use engine::message::vote::{Vote, VoteKind};
use engine::{Hash, Height};
use order::validators::{Slots, Validators};

/// Votes of the heights from the last decided one on. Bounded: heights, rounds and slots are, and a slot has one row, and
/// a second one if it contradicts itself; beyond that only what the order of blocks has heard, which hears few of them. Of
/// this validator's own precommits there are as many more as limits say.
#[derive(Resource, Default)]
pub struct Tally {
    heights: BTreeMap<Height, HeightVotes>,
    /// The present round of the height that is being decided.
    round: u32,
}

#[derive(Default)]
struct HeightVotes {
    rounds: BTreeMap<u32, [KindVotes; 2]>,
    /// The blocks that this validator precommitted in rounds that were forgotten.
    precommitted: BTreeMap<u32, Hash>,
    /// Votes that the order of blocks has not heard.
    unheard: Vec<Vote>,
}

/// The votes of one height, round and kind: a row for each slot, and who voted for what.
#[derive(Default)]
struct KindVotes {
    rows: Box<[Vote]>,
    present: Slots,
    /// Votes of those who voted for something else before: one for each slot, and those that the order of blocks has heard.
    seconds: Vec<Vote>,
    values: Vec<(Option<Hash>, Slots)>,
}

/// What a vote was to the tally.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    /// It counts.
    New,
    /// It counts, and contradicts what its voter said before.
    Second(Evidence),
    /// It is known, or one too many of its voter, or too far away.
    Dropped,
}

impl KindVotes {
    fn row(&self, slot: u32) -> Option<&Vote> {
        self.present.contains(slot).then(|| &self.rows[slot as usize])
    }

    fn has_second(&self, slot: u32) -> bool {
        self.seconds.iter().any(|vote| vote.body.slot == slot)
    }

    /// A slot's vote for a value.
    fn vote_for(&self, slot: u32, value: Option<Hash>) -> Option<&Vote> {
        let seconds = self.seconds.iter().filter(|vote| vote.body.slot == slot);
        self.row(slot).into_iter().chain(seconds).find(|vote| vote.body.value() == value)
    }

    fn slots_for(&self, value: Option<Hash>) -> Slots {
        self.values.iter().find(|(other, _)| *other == value).map_or(Slots::default(), |(_, slots)| *slots)
    }

    fn mark(&mut self, vote: &Vote) {
        assert!(self.present.contains(vote.body.slot), "only whoever has a row is counted");
        let value = vote.body.value();
        match self.values.iter_mut().find(|(other, _)| *other == value) {
            Some((_, slots)) => _ = slots.insert(vote.body.slot),
            None => {
                let mut slots = Slots::default();
                slots.insert(vote.body.slot);
                self.values.push((value, slots));
            }
        }
        assert!(self.values.len() <= self.present.count() + self.seconds.len(), "somebody voted for each value");
    }

    /// Every vote for a value, by slot ascending.
    fn votes_for(&self, value: Option<Hash>) -> impl Iterator<Item = &Vote> {
        self.slots_for(value).iter().filter_map(move |slot| self.vote_for(slot, value))
    }
}

fn place(kind: VoteKind) -> usize {
    kind as usize - 1
}

fn kind_of(vote: &Vote) -> usize {
    usize::from(vote.body.kind == VoteKind::Precommit as u8)
}

impl Tally {
    /// The order of blocks has entered a round of the height that is being decided.
    pub fn enter(&mut self, round: u32) {
        self.round = round;
    }

    /// Whether a vote whose signature was not verified could count: its height and round are near, its slot has fewer than
    /// two votes of its kind there, and it is none of them.
    pub fn wants(&self, vote: &Vote, decided: Height, validators: &Validators) -> bool {
        let (height, round, slot) = (vote.body.height, vote.body.round, vote.body.slot);
        // A late vote on the last decided height counts nothing any more, but may contradict another one.
        let near = height >= decided && height.0 <= decided.0 + AHEAD_HEIGHTS && height > Height::GENESIS;
        let own = if height == decided.next() { self.round } else { 0 };
        if !near || slot as usize >= validators.count() || round > own.saturating_add(AHEAD_ROUNDS) {
            return false;
        }
        if round.saturating_add(PAST_ROUNDS) < own {
            return false;
        }
        let Some(kinds) = self.heights.get(&height).and_then(|votes| votes.rounds.get(&round)) else { return true };
        let votes = &kinds[kind_of(vote)];
        votes.row(slot).is_none_or(|row| row.body != vote.body && !votes.has_second(slot))
    }

    /// Counts a vote whose signature was verified. `heard` says that the order of blocks has heard it: then it counts for its
    /// value whatever else its voter said, since it may be the one that counts there.
    pub fn count(&mut self, vote: &Vote, validators: &Validators, heard: bool) -> Counted {
        let slot = vote.body.slot;
        assert!((slot as usize) < validators.count(), "a vote is counted for a validator");
        let votes = self.heights.entry(vote.body.height).or_default();
        let kinds = votes.rounds.entry(vote.body.round).or_default();
        let kind = &mut kinds[kind_of(vote)];
        assert!(kind.rows.is_empty() || kind.rows.len() == validators.count(), "every validator has its row");
        let counted = match kind.row(slot) {
            None => {
                if kind.rows.is_empty() {
                    kind.rows = vec![Vote::zeroed(); validators.count()].into();
                }
                kind.rows[slot as usize] = *vote;
                kind.present.insert(slot);
                Counted::New
            }
            Some(_) if kind.vote_for(slot, vote.body.value()).is_some() => return Counted::Dropped,
            // Two are proof of a lie; a third one proves no more.
            Some(_) if kind.has_second(slot) && !heard => return Counted::Dropped,
            Some(first) => {
                let evidence = Evidence::Votes(*first, *vote);
                kind.seconds.push(*vote);
                Counted::Second(evidence)
            }
        };
        // Both votes of one that contradicts itself count, each for its value: others may have heard only the second,
        // and their certificate must find its votes here too.
        kind.mark(vote);
        if !heard {
            votes.unheard.push(*vote);
        }
        counted
    }

    /// The votes of a height that the order of blocks has not heard, in an order that does not depend on how they came.
    pub fn take_unheard(&mut self, height: Height) -> Vec<Vote> {
        let Some(votes) = self.heights.get_mut(&height) else { return Vec::new() };
        let mut unheard = std::mem::take(&mut votes.unheard);
        unheard.sort_unstable_by_key(|vote| {
            let body = &vote.body;
            (body.round, body.kind, body.slot, body.nil, body.block)
        });
        unheard
    }

    /// Whether there is any vote of a height.
    pub fn has(&self, height: Height) -> bool {
        self.heights.contains_key(&height)
    }

    /// How many voted at a height, for whatever and in whichever round.
    pub fn voters(&self, height: Height) -> usize {
        let Some(votes) = self.heights.get(&height) else { return 0 };
        let mut voters = Slots::default();
        votes.rounds.values().flatten().flat_map(|kind| kind.present.iter()).for_each(|slot| _ = voters.insert(slot));
        voters.count()
    }

    /// How many voted so.
    pub fn votes(&self, height: Height, round: u32, kind: VoteKind, value: Option<Hash>) -> usize {
        let kinds = self.heights.get(&height).and_then(|votes| votes.rounds.get(&round));
        kinds.map_or(0, |kinds| kinds[place(kind)].slots_for(value).count())
    }

    /// The last round of a height in which a block has a quorum of `kind`, with the block.
    pub fn quorum(&self, height: Height, kind: VoteKind, quorum: usize) -> Option<(u32, Hash)> {
        assert!(quorum > 0, "votes of nobody decide nothing");
        let votes = self.heights.get(&height)?;
        votes.rounds.iter().rev().find_map(|(round, kinds)| {
            let value =
                kinds[place(kind)].values.iter().find(|(value, slots)| value.is_some() && slots.count() >= quorum);
            value.and_then(|(value, _)| value.map(|block| (*round, block)))
        })
    }

    /// Every vote of a slot at a height, by round and kind.
    pub fn votes_of(&self, height: Height, slot: u32) -> Vec<Vote> {
        let Some(votes) = self.heights.get(&height) else { return Vec::new() };
        let kinds = votes.rounds.values().flatten();
        kinds.filter_map(|kind| kind.row(slot)).copied().collect()
    }

    /// A vote of a validator on a height above one, if there is any.
    pub fn vote_above(&self, height: Height, slot: u32) -> Option<Vote> {
        let kinds = self.heights.range(height.next()..).flat_map(|(_, votes)| votes.rounds.values().flatten());
        kinds.filter_map(|kind| kind.row(slot)).next().copied()
    }

    /// Whether this validator, whose slot is `own`, precommitted a block in a round of a height, however long past that round is.
    pub fn has_precommitted(&self, height: Height, round: u32, block: &Hash, own: u32) -> bool {
        let Some(votes) = self.heights.get(&height) else { return false };
        let precommits = votes.rounds.get(&round).map(|kinds| &kinds[place(VoteKind::Precommit)]);
        precommits.is_some_and(|precommits| precommits.vote_for(own, Some(*block)).is_some())
            || votes.precommitted.get(&round) == Some(block)
    }

    /// Whether a block has a quorum of prevotes in any round of a height.
    pub fn has_polka(&self, height: Height, block: &Hash, quorum: usize) -> bool {
        assert!(quorum > 0, "votes of nobody prove nothing");
        let Some(votes) = self.heights.get(&height) else { return false };
        let prevotes = votes.rounds.values().map(|kinds| &kinds[place(VoteKind::Prevote)]);
        prevotes.into_iter().any(|prevotes| prevotes.slots_for(Some(*block)).count() >= quorum)
    }

    /// The votes for a block as a certificate: of prevotes, or of precommits. `None` while they are no quorum.
    pub fn certificate(
        &self,
        height: Height,
        round: u32,
        kind: VoteKind,
        block: Hash,
        quorum: usize,
    ) -> Option<Certificate> {
        assert!(quorum > 0, "votes of nobody prove nothing");
        let kinds = self.heights.get(&height)?.rounds.get(&round)?;
        let votes = kinds[place(kind)].votes_for(Some(block));
        let signatures: Vec<CertificateSignature> =
            votes.map(|vote| CertificateSignature { slot: vote.body.slot, signature: vote.signature }).collect();
        // Whoever reads a certificate refuses one with a slot out of order or twice.
        assert!(signatures.is_sorted_by(|one, next| one.slot < next.slot), "each slot once, in order");
        assert_eq!(signatures.len(), kinds[place(kind)].slots_for(Some(block)).count(), "bits and rows say the same");
        (signatures.len() >= quorum).then_some(Certificate { height, round, block, signatures })
    }

    /// Forgets what is below the last decided height, whose late votes may still contradict each other.
    pub fn forget_below(&mut self, decided: Height) {
        self.heights = self.heights.split_off(&decided);
        if let Some(votes) = self.heights.get_mut(&decided) {
            votes.unheard = Vec::new();
        }
        self.round = 0;
    }

    /// Forgets rounds of the present height that are long past, but for the last of them in which a quorum of prevotes was for a
    /// block: it may be proposed again for those, however many rounds later, and only they outweigh the clock. What this validator,
    /// whose slot is `own`, precommitted in them stays known: others may hold those votes back, and show them in a certificate when
    /// it could no longer tell them from ones that its key signed elsewhere.
    pub fn forget_rounds(&mut self, height: Height, own: Option<u32>, quorum: usize) {
        assert!(quorum > 0, "votes of nobody are no quorum");
        let first = self.round.saturating_sub(PAST_ROUNDS);
        let Some(HeightVotes { rounds, precommitted, .. }) = self.heights.get_mut(&height) else { return };
        if rounds.first_key_value().is_none_or(|(round, _)| *round >= first) {
            return;
        }
        let has_polka = |kinds: &[KindVotes; 2]| {
            let values = &kinds[place(VoteKind::Prevote)].values;
            values.iter().any(|(value, slots)| value.is_some() && slots.count() >= quorum)
        };
        let polka = rounds.range(..first).rev().find(|(_, kinds)| has_polka(kinds)).map(|(round, _)| *round);
        for (round, kinds) in rounds.extract_if(..first, |round, _| Some(*round) != polka) {
            let vote = own.and_then(|own| kinds[place(VoteKind::Precommit)].row(own));
            if let Some(block) = vote.and_then(|vote| vote.body.value()) {
                precommitted.insert(round, block);
            }
        }
        while precommitted.len() > OWN_PRECOMMITS_MAX {
            precommitted.pop_first();
        }
        assert!(rounds.range(..first).count() <= 1, "of rounds that are long past one is kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::message::vote::VoteBody;
    use order::signature::VoteKey;

    fn set(count: u32) -> Validators {
        Validators::new((0..count).map(|slot| VoteKey::from_seed(&[slot as u8; 32]).public()).collect()).expect("keys")
    }

    fn vote(slot: u32, height: u64, round: u32, block: Option<u8>) -> Vote {
        let value = block.map(|byte| [byte; 32]);
        let body = VoteBody::new(VoteKind::Precommit, Height(height), round, value, slot);
        Vote { body, signature: [slot as u8; 64] }
    }

    #[test]
    fn a_vote_counts_once_and_a_second_one_is_evidence() {
        let (set, mut tally) = (set(4), Tally::default());
        let first = vote(2, 5, 0, Some(1));
        assert!(tally.wants(&first, Height(4), &set));
        assert_eq!(tally.count(&first, &set, false), Counted::New);
        assert!(!tally.wants(&first, Height(4), &set));
        assert_eq!(tally.count(&first, &set, false), Counted::Dropped);
        let second = vote(2, 5, 0, None);
        assert!(tally.wants(&second, Height(4), &set));
        assert_eq!(tally.count(&second, &set, false), Counted::Second(Evidence::Votes(first, second)));
        assert_eq!(
            [4, 5].map(|height| tally.voters(Height(height))),
            [0, 1],
            "its voter is one however often it votes"
        );
        let third = vote(2, 5, 0, Some(3));
        assert!(!tally.wants(&third, Height(4), &set));
        assert_eq!(tally.count(&third, &set, false), Counted::Dropped);
        let votes = |block: Option<u8>| tally.votes(Height(5), 0, VoteKind::Precommit, block.map(|byte| [byte; 32]));
        assert_eq!([votes(Some(1)), votes(None), votes(Some(3))], [1, 1, 0]);
    }

    /// Of one that contradicts itself the order of blocks counts the vote that it hears first, which may be the third one here.
    #[test]
    fn what_the_order_of_blocks_has_heard_counts_whatever_came_before() {
        let (set, mut tally) = (set(4), Tally::default());
        for (slot, block) in [(2, Some(1)), (2, None), (0, Some(3)), (1, Some(3))] {
            assert_ne!(tally.count(&vote(slot, 5, 0, block), &set, false), Counted::Dropped);
        }
        let third = vote(2, 5, 0, Some(3));
        assert_eq!(tally.count(&third, &set, false), Counted::Dropped);
        assert_eq!(tally.count(&third, &set, true), Counted::Second(Evidence::Votes(vote(2, 5, 0, Some(1)), third)));
        assert_eq!(tally.count(&third, &set, true), Counted::Dropped, "once");
        let votes = |block: Option<u8>| tally.votes(Height(5), 0, VoteKind::Precommit, block.map(|byte| [byte; 32]));
        assert_eq!([votes(Some(1)), votes(None), votes(Some(3))], [1, 1, 3]);
        let certificate = tally.certificate(Height(5), 0, VoteKind::Precommit, [3; 32], 3).expect("three of four");
        assert_eq!(certificate.signatures.iter().map(|entry| entry.slot).collect::<Vec<u32>>(), [0, 1, 2]);
        assert_eq!(tally.take_unheard(Height(5)).len(), 4, "it is not handed over again");
    }

    #[test]
    fn of_rounds_that_are_long_past_the_last_quorum_for_a_block_is_kept() {
        let (set, mut tally) = (set(4), Tally::default());
        for (round, block) in [(0, Some(1)), (1, Some(2)), (2, None)] {
            for slot in 0..3 {
                let value = block.map(|byte| [byte; 32]);
                let body = VoteBody::new(VoteKind::Prevote, Height(5), round, value, slot);
                tally.count(&Vote { body, signature: [0; 64] }, &set, true);
            }
        }
        tally.enter(PAST_ROUNDS + 3);
        tally.forget_rounds(Height(5), None, 3);
        let has = |byte: u8| tally.has_polka(Height(5), &[byte; 32], 3);
        assert_eq!([has(1), has(2)], [false, true]);
        assert_eq!(tally.heights[&Height(5)].rounds.len(), 1);
    }

    /// Whoever holds it back shows it in a certificate, however many rounds later.
    #[test]
    fn what_this_validator_precommitted_in_a_round_that_is_long_past_stays_known() {
        let (set, mut tally) = (set(4), Tally::default());
        let rounds = [(0, Some(1)), (1, None), (2, Some(2)), (3, Some(1))];
        for (round, block) in rounds {
            (0..2).for_each(|slot| _ = tally.count(&vote(slot, 5, round, block), &set, true));
        }
        let known = |tally: &Tally, own: u32, byte: u8| -> Vec<u32> {
            (0..4).filter(|round| tally.has_precommitted(Height(5), *round, &[byte; 32], own)).collect()
        };
        assert_eq!([known(&tally, 1, 1), known(&tally, 1, 2)], [vec![0, 3], vec![2]]);
        tally.enter(PAST_ROUNDS + 3);
        tally.forget_rounds(Height(5), Some(1), 3);
        assert_eq!(tally.heights[&Height(5)].rounds.keys().copied().collect::<Vec<u32>>(), [3]);
        assert_eq!([known(&tally, 1, 1), known(&tally, 1, 2)], [vec![0, 3], vec![2]]);
        tally.forget_below(Height(6));
        assert!(known(&tally, 1, 1).is_empty() && known(&tally, 1, 2).is_empty(), "the height is over");
    }

    #[test]
    fn what_is_far_away_is_not_wanted() {
        let (set, mut tally) = (set(4), Tally::default());
        let wants = |tally: &Tally, height, round| tally.wants(&vote(1, height, round, None), Height(10), &set);
        let near: Vec<u64> = (0..20).filter(|height| wants(&tally, *height, 0)).collect();
        assert_eq!(near, [10, 11, 12, 13, 14]);
        assert!(wants(&tally, 11, AHEAD_ROUNDS) && !wants(&tally, 11, AHEAD_ROUNDS + 1));
        assert!(!tally.wants(&vote(4, 11, 0, None), Height(10), &set), "nobody has the slot");
        tally.enter(70);
        assert!(wants(&tally, 11, 80) && !wants(&tally, 11, 81) && !wants(&tally, 11, 5) && wants(&tally, 11, 6));
        assert!(wants(&tally, 12, 5) && !wants(&tally, 12, 11), "the round is that of the present height");
    }

    #[test]
    fn a_certificate_holds_the_voters_of_its_block_only() {
        let (set, mut tally) = (set(4), Tally::default());
        for (slot, block) in [(3, 7), (0, 7), (1, 8), (1, 7)] {
            tally.count(&vote(slot, 5, 2, Some(block)), &set, false);
        }
        let certificate = tally.certificate(Height(5), 2, VoteKind::Precommit, [7; 32], 3).expect("three of four");
        let slots: Vec<u32> = certificate.signatures.iter().map(|entry| entry.slot).collect();
        assert_eq!(slots, [0, 1, 3]);
        assert_eq!(tally.quorum(Height(5), VoteKind::Precommit, 3), Some((2, [7; 32])));
        assert_eq!(tally.quorum(Height(5), VoteKind::Prevote, 3), None);
        assert!(tally.certificate(Height(5), 2, VoteKind::Precommit, [8; 32], 3).is_none());
    }

    #[test]
    fn votes_are_heard_in_one_order_however_they_came() {
        let set = set(4);
        let votes: Vec<Vote> =
            (0..4).flat_map(|slot| [vote(slot, 5, 1, None), vote(slot, 5, 0, Some(slot as u8))]).collect();
        let heard = |order: &[Vote]| {
            let mut tally = Tally::default();
            order.iter().for_each(|vote| _ = tally.count(vote, &set, false));
            tally.take_unheard(Height(5))
        };
        let backwards: Vec<Vote> = votes.iter().rev().copied().collect();
        assert_eq!(heard(&votes), heard(&backwards));
        assert_eq!(heard(&votes).len(), 8);
    }

    /// The slow obvious model: a list of all votes.
    #[test]
    fn the_bits_say_what_a_list_of_votes_says() {
        let (set, mut tally, mut lot) = (set(7), Tally::default(), 3u64);
        let mut list: Vec<Vote> = Vec::new();
        for _ in 0..2_000 {
            lot = lot.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let draw = |from: u32, below: u64| (lot >> from) % below;
            let block = Some(draw(33, 4) as u8).filter(|block| *block > 0);
            let vote = vote(draw(36, 7) as u32, 5 + draw(40, 2), draw(44, 3) as u32, block);
            let same = |other: &&Vote| {
                let (one, other) = (&vote.body, &other.body);
                (one.slot, one.height, one.round) == (other.slot, other.height, other.round)
            };
            let before: Vec<&Vote> = list.iter().filter(same).collect();
            let counts = before.len() < 2 && before.iter().all(|other| other.body != vote.body);
            assert_eq!(tally.wants(&vote, Height(4), &set), counts);
            assert_eq!(tally.count(&vote, &set, false) != Counted::Dropped, counts);
            if counts {
                list.push(vote);
            }
        }
        for (height, round, block) in (5..7).flat_map(|h| (0..3).flat_map(move |r| (0..4u8).map(move |b| (h, r, b)))) {
            let value = Some([block; 32]).filter(|_| block > 0);
            let is =
                |vote: &&Vote| (vote.body.height, vote.body.round, vote.body.value()) == (Height(height), round, value);
            let found = tally.votes(Height(height), round, VoteKind::Precommit, value);
            assert_eq!(found, list.iter().filter(is).count());
        }
        assert!(list.len() > 50);
    }
}
