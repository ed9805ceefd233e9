//! Whether this validator knows what it signed. One that does not could contradict itself, so it votes on nothing until it cannot.
//!
//! ```text
//!  its log is whole -> listens for a while ----------------------> hears its log again -> votes
//!  its log is ahead -> listens until all up to its fence is told -> hears its log again -> votes
//!  its log is lost  -> follows to three heights above what a quorum tells of -----------> votes, above a new fence
//!                      (any quorum of others: the one that tells of the least)
//! ```

use engine::Height;
use engine::io::Output;
use engine::message::certificate::Certificate;
use engine::message::vote::{Vote, VoteBody, VoteKind};
use order::consensus::{Consensus, LogEntry};

use super::{Listening, Orderer};
use crate::exchange::fault::ExchangeError;
use crate::exchange::logged::LoggedHeight;
use crate::exchange::nodes::Nodes;
use crate::exchange::tally::Tally;
use crate::exchange::tick::{Clock, Outbox};

/// Heights above what a quorum of others told, from which on a validator without its log votes again.
const FOLLOW_HEIGHTS: u64 = 3;

const _: () = assert!(FOLLOW_HEIGHTS > 1, "it may have voted at the height above the highest that is decided");

impl Orderer {
    /// This validator cannot know what it signed: it votes on nothing until it is far above that. Says whether there is a
    /// way back: in a set of which none may be faulty, only its operator knows one.
    pub fn follow(&mut self) -> bool {
        if self.validators.faulty_max() == 0 {
            return false;
        }
        (self.consensus, self.listening) = (None, None);
        // What bounded what it had signed when it last followed, bounds nothing that it signed since.
        self.votes_behind = None;
        self.told.clear();
        true
    }

    /// Votes on nothing before the height above `fence` is due: at or below it nothing more is signed.
    pub fn follow_up_to(&mut self, fence: Height) {
        (self.consensus, self.listening) = (None, None);
        self.fence = self.fence.max(fence);
        self.votes_behind = Some(self.fence);
    }

    /// Votes on nothing for a while, then goes on from its log. One that is alone has nobody to listen to.
    pub fn listen(&mut self, logged: Vec<LoggedHeight>) {
        assert!(self.validators.count() > 1, "whoever is alone does not wait");
        assert!(self.config.is_some(), "one that only follows has no log to go on from");
        self.consensus = None;
        self.listening = Some(Listening { logged, until_ms: None });
    }

    /// Whether this validator has started, and listens before it votes.
    pub fn is_listening(&self) -> bool {
        self.listening.is_some()
    }

    /// What the log holds, once this validator has listened for long enough to so many others that they make a quorum with
    /// it. Whoever hears fewer decides nothing, and may be another life of a validator that the others do hear.
    ///
    /// A group of the log may be on the disk and the frames that it was written with not: then the fence is above what is
    /// decided here, and what was signed behind it is heard again only when the others have told of all up to it.
    pub fn take_listened(&mut self, clock: &Clock, others: usize, decided: Height) -> Option<Vec<LoggedHeight>> {
        let (listening, config) = (self.listening.as_mut()?, self.config.as_ref()?);
        let now_ms = clock.elapsed_ms();
        if others + 1 < self.validators.quorum() {
            listening.until_ms = None;
            return None;
        }
        let until_ms = *listening.until_ms.get_or_insert(now_ms + config.timeouts.rebroadcast_ms);
        if now_ms < until_ms || decided < self.fence {
            return None;
        }
        assert!(self.consensus.is_none(), "whoever listens does not vote");
        self.listening.take().map(|listening| listening.logged)
    }

    /// Whether this validator knows all that it ever signed above its fence.
    pub fn knows_its_votes(&self) -> bool {
        self.is_voting() || self.is_listening()
    }

    /// Whether its log holds a vote that it listens with.
    pub fn has_logged(&self, vote: &Vote) -> bool {
        let entries = self.listening.iter().flat_map(|listening| &listening.logged).flat_map(|height| &height.entries);
        entries.into_iter().any(|entry| matches!(entry, LogEntry::Vote(logged) if logged.body == vote.body))
    }

    /// A precommit of this validator in a certificate, if it is not one of this life.
    pub fn signed_elsewhere(&self, certificate: &Certificate, tally: &Tally) -> Option<Vote> {
        let own = self.own_slot().filter(|_| self.knows_its_votes() && certificate.height > self.fence)?;
        let signature = certificate.signatures.iter().find(|entry| entry.slot == own)?.signature;
        let Certificate { height, round, block, .. } = *certificate;
        let vote = Vote { body: VoteBody::new(VoteKind::Precommit, height, round, Some(block), own), signature };
        let is_known = self.has_logged(&vote) || tally.has_precommitted(height, round, &block, own);
        (!is_known).then_some(vote)
    }

    /// The height behind which this validator can have signed nothing, once a quorum of others has told where it stands.
    ///
    /// It signed at a height only after the one before was decided, and whoever voted for that one has decided the one before
    /// it, durably, and tells of that at the least. Every quorum of others has an honest one of those voters in it. So the quorum
    /// that tells of the least will do: what one tells beyond it, true or not, keeps nobody out. Of four validators all three others
    /// are needed, so there a single one can, as it can by saying nothing.
    fn behind_told(&mut self, nodes: &Nodes) -> Option<Height> {
        let own = self.own_slot();
        for node in nodes.rows().iter().filter(|node| node.has_told && node.validator != own) {
            let Some(slot) = node.validator else { continue };
            // The least that it told: a chain does not go back, so each of its words is of what it had decided before.
            let least = self.told.entry(slot).or_insert(node.standing.decided);
            *least = (*least).min(node.standing.decided);
        }
        let mut told: Vec<Height> = self.told.values().copied().collect();
        told.sort_unstable();
        let quorum = self.validators.quorum();
        assert!(quorum > 0, "nobody's word bounds nothing");
        assert!(told.len() <= self.validators.count(), "each validator is heard once");
        told.get(quorum - 1).map(|height| Height(height.0.saturating_add(FOLLOW_HEIGHTS)))
    }

    /// A validator that follows votes again three heights above what a quorum of others has told of: it can have signed
    /// nothing there. Says whether it does now.
    pub(super) fn takes_part_again(
        &mut self,
        clock: &Clock,
        nodes: &Nodes,
        decided: Height,
        tally: &Tally,
        outbox: &mut Outbox,
    ) -> bool {
        assert!(!self.knows_its_votes(), "whoever takes part does not begin to");
        // Anew in each tick: others come, and whoever lied, and tells the truth on another connection, keeps this validator out no
        // longer.
        let behind = self.votes_behind.or_else(|| self.behind_told(nodes));
        let Some(config) = &self.config else { return false };
        if behind.is_none_or(|height| decided < height) {
            return false;
        }
        // It signed nothing there, and somebody did: a second vote beside that one would be this validator's contradiction.
        if let Some(vote) = self.own_slot().and_then(|own| tally.vote_above(decided, own)) {
            self.fault.get_or_insert(ExchangeError::OtherLife { vote: Box::new(vote) });
            return false;
        }
        match Consensus::new(config.clone(), decided.next()) {
            Ok(consensus) => self.consensus = Some(consensus),
            Err(error) => {
                self.fault.get_or_insert(error.into());
                return false;
            }
        }
        // A vote at the fence or below it could be the second one of its kind.
        assert!(decided >= self.fence, "nothing is signed at the fence or below it");
        self.pass(clock);
        self.fence = self.fence.max(decided);
        outbox.outputs.push(Output::Fence { height: self.fence });
        true
    }
}

#[cfg(test)]
mod tests {
    use engine::Tick;
    use engine::limits::{PAST_ROUNDS, TICK_MS};
    use engine::message::certificate::CertificateSignature;
    use order::consensus::{ConsensusConfig, Quorum, TimeoutConfig};
    use order::signature::VoteKey;
    use order::validators::Validators;

    use super::*;
    use crate::exchange::verify::VerifySecret;

    const OWN: u32 = 1;

    /// Validator 1 of 4, before its first tick.
    fn orderer() -> Orderer {
        let keys: Vec<VoteKey> = (0..4).map(|slot| VoteKey::from_seed(&[slot; 32])).collect();
        let validators = Validators::new(keys.iter().map(VoteKey::public).collect()).expect("keys");
        let config = ConsensusConfig {
            chain: [9; 32],
            validators: validators.clone(),
            own: Some((OWN, keys[OWN as usize].clone())),
            quorum: Quorum::TwoThirds,
            timeouts: TimeoutConfig::default(),
            secret: VerifySecret::known().0,
        };
        Orderer::new(validators, Some(config)).expect("its own key")
    }

    /// One of the others withholds its precommits of the first rounds, and shows them with this validator's own when those rounds are
    /// long past.
    #[test]
    fn an_own_precommit_of_a_round_that_is_long_past_is_not_one_of_another_life() {
        let (orderer, mut tally, height) = (orderer(), Tally::default(), Height(1));
        assert!(orderer.is_voting());
        let vote = |kind, round, slot| {
            let body = VoteBody::new(kind, height, round, Some([5; 32]), slot);
            Vote { body, signature: [slot as u8; 64] }
        };
        for round in 0..2 {
            let prevotes = (0..3).map(|slot| vote(VoteKind::Prevote, round, slot));
            let precommits = (1..3).map(|slot| vote(VoteKind::Precommit, round, slot));
            prevotes.chain(precommits).for_each(|vote| _ = tally.count(&vote, &orderer.validators, true));
        }
        let signatures: Vec<CertificateSignature> =
            (0..3).map(|slot| CertificateSignature { slot, signature: [slot as u8; 64] }).collect();
        let certificate = |round, block| Certificate { height, round, block, signatures: signatures.clone() };
        let elsewhere = |tally: &Tally, round, block| orderer.signed_elsewhere(&certificate(round, block), tally);
        tally.enter(PAST_ROUNDS + 2);
        tally.forget_rounds(height, orderer.own_slot(), orderer.validators.quorum());
        for round in 0..2 {
            assert_eq!(elsewhere(&tally, round, [5; 32]), None, "round {round}");
            let other = elsewhere(&tally, round, [6; 32]).expect("it precommitted another block");
            assert_eq!((other.body.slot, other.body.round, other.body.value()), (OWN, round, Some([6; 32])));
        }
        assert!(elsewhere(&tally, 2, [5; 32]).is_some(), "in that round it precommitted nothing");
    }

    /// A copy of its folder goes on elsewhere, and was heard while this one followed.
    #[test]
    fn whoever_follows_votes_on_no_height_in_which_its_key_was_used() {
        let votes_again = |heard: Option<u64>| {
            let (mut orderer, mut tally, mut outbox) = (orderer(), Tally::default(), Outbox::default());
            let decided = Height(9);
            orderer.follow_up_to(decided);
            if let Some(height) = heard {
                let body = VoteBody::new(VoteKind::Prevote, Height(height), 0, None, OWN);
                tally.count(&Vote { body, signature: [1; 64] }, &orderer.validators, false);
            }
            let again = orderer.takes_part_again(&Clock::default(), &Nodes::default(), decided, &tally, &mut outbox);
            assert_eq!(orderer.is_voting(), again);
            (again, matches!(orderer.fault, Some(ExchangeError::OtherLife { .. })))
        };
        assert_eq!(votes_again(None), (true, false));
        assert_eq!(votes_again(Some(9)), (true, false), "of a height that is decided nothing is signed any more");
        assert_eq!(votes_again(Some(10)), (false, true));
        assert_eq!(votes_again(Some(12)), (false, true));
    }

    /// It hears too few for a moment: whoever it did not hear then may have said what it has to hear.
    #[test]
    fn whoever_heard_too_few_listens_anew() {
        let mut orderer = orderer();
        orderer.listen(Vec::new());
        let rebroadcast_ms = orderer.config.as_ref().expect("it votes").timeouts.rebroadcast_ms;
        let ticks = rebroadcast_ms.div_ceil(TICK_MS);
        let mut hears = |tick: u64, others: usize| {
            let clock = Clock { tick: Tick(tick), ..Clock::default() };
            orderer.take_listened(&clock, others, Height::GENESIS).is_some()
        };
        assert!(!hears(1, 2) && !hears(ticks, 2) && !hears(ticks, 1));
        assert!(!hears(ticks + 1, 2), "what it heard before does not count");
        assert!(!hears(2 * ticks, 2) && hears(2 * ticks + 1, 2));
    }
}
