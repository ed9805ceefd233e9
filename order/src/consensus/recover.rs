//! Restart: the core hears its log again before it may propose or vote.

use engine::Height;
use engine::message::evidence::Evidence;

use super::context::{from_polka, from_proposal, from_vote};
use super::entry::LogEntry;
use super::message::{Effect, Message};
use super::shell::{Replay, from_timeout};
use super::{Consensus, ConsensusError, CoreInput, propose, proposed};
use crate::validators::Validators;

impl Consensus {
    /// Starts `height` with its validators from its logged entries, all of them, in logged order; without entries it just starts.
    ///
    /// The caller takes the effects as those of a step. If one of them is [`Effect::Decide`], it writes the frame and
    /// recovers the next height with that height's entries; inputs from outside come only after the last recovery.
    ///
    /// - Entries that the log holds are not logged again.
    /// - Own messages of the log are sent again as logged, then those that the replay led to beyond it.
    /// - A value that was asked for meanwhile is asked for, or answered with the logged one, only at the end, only if
    ///   its height, round and step still stand and no own proposal for it is logged.
    ///
    /// # Errors
    /// [`ConsensusError::Divergence`] if the log leads to another message than one that was signed: stop the node.
    /// An entry of another height, or a height that cannot follow.
    pub fn recover(
        &mut self,
        height: Height,
        validators: &Validators,
        entries: &[LogEntry],
        out: &mut Vec<Effect>,
    ) -> Result<(), ConsensusError> {
        // An entry of another height would be heard as one of this, under the keys of another set.
        if let Some(entry) = entries.iter().find(|entry| entry.height() != height) {
            return Err(ConsensusError::Height { expected: height, found: entry.height() });
        }
        assert!(self.shell.replay.is_none(), "one height is recovered after another");
        assert!(self.shell.logged.is_empty(), "what the log holds of another height would be taken for logged");
        self.shell.trusted.clear();
        self.shell.logged = entries.to_vec();
        self.shell.replay = Some(Replay::default());
        let from = out.len();
        let replayed = self.replay(height, validators, entries, out);
        // What the log led to at first may not be what was signed in the end.
        let leaves = |effect: &Effect| matches!(effect, Effect::Publish(_) | Effect::GetValue { .. });
        assert!(!out[from..].iter().any(leaves), "nothing leaves before the whole log was heard");
        let replay = self.shell.replay.take().expect("set above, taken only here");
        replayed?;
        assert_eq!(self.height(), height, "the log of a height leads to no other");
        self.send_again(entries, replay.messages, out);
        let answered = self.answer_asked(entries, replay.asked, out);
        self.shell.logged.clear();
        assert!(self.shell.replay.is_none(), "what is published from now on leaves at once");
        answered
    }

    fn replay(
        &mut self,
        height: Height,
        validators: &Validators,
        entries: &[LogEntry],
        out: &mut Vec<Effect>,
    ) -> Result<(), ConsensusError> {
        self.start_height(height, validators, out)?;
        let inputs: Vec<CoreInput> = entries.iter().map(from_entry).collect();
        // The core compares each message that it is about to sign with what the log holds of ours.
        self.state.index_wal_entries(&inputs);
        for (entry, input) in entries.iter().zip(inputs) {
            match entry {
                LogEntry::Vote(vote) => self.shell.trust(bytemuck::cast(vote.body), vote.signature),
                LogEntry::Proposal(proposal) => self.shell.trust(bytemuck::cast(proposal.body), proposal.signature),
                // It elapsed before: what the replay has scheduled anew must not elapse again.
                LogEntry::Timeout { timeout, .. } => out.push(Effect::Cancel(*timeout)),
                LogEntry::Value(_) | LogEntry::Polka(_) => {}
            }
            self.run(input, out)?;
        }
        // From here on the core signs for the first time: the log has nothing to compare that with.
        self.state.reset_entries_index();
        Ok(())
    }

    fn send_again(&self, entries: &[LogEntry], messages: Vec<Message>, out: &mut Vec<Effect>) {
        let own = self.shell.own_slot();
        // The power may have gone between signing and sending: what is logged may never have left.
        let logged: Vec<Message> = entries
            .iter()
            .filter_map(|entry| match entry {
                LogEntry::Vote(vote) if Some(vote.body.slot) == own => Some(Message::Vote(*vote)),
                LogEntry::Proposal(proposal) if Some(proposal.body.slot) == own => Some(Message::Proposal(*proposal)),
                _ => None,
            })
            .collect();
        let beyond = messages.into_iter().filter(|message| !logged.contains(message)).collect::<Vec<_>>();
        let stands = |message: &Message| !logged.iter().any(|said| contradicts(said, message));
        assert!(beyond.iter().all(stands), "the log leads to nothing that contradicts what was signed");
        out.extend(logged.into_iter().chain(beyond).map(Effect::Publish));
    }

    fn answer_asked(
        &mut self,
        entries: &[LogEntry],
        asked: Option<(Height, u32)>,
        out: &mut Vec<Effect>,
    ) -> Result<(), ConsensusError> {
        let Some((height, round)) = asked else { return Ok(()) };
        assert!(height <= self.height(), "the core asks for no value of a height that is not begun");
        // The log may lead past the question: an answer to it would be a proposal of a round that is over.
        let stands = self.height() == height && self.round() == Some(round) && self.state.driver.step_is_propose();
        let own = self.shell.own_slot();
        let is_own_proposal = |entry: &LogEntry| matches!(entry, LogEntry::Proposal(p) if Some(p.body.slot) == own && p.body.round == round);
        if !stands || entries.iter().any(is_own_proposal) {
            return Ok(());
        }
        // A value that was built before the restart was shown to nobody or to some; another one would contradict it.
        let built = entries.iter().find_map(|entry| match entry {
            LogEntry::Value(value) if Some(value.slot) == own && value.round == round => Some(value.block),
            _ => None,
        });
        match built {
            Some(block) => self.run(propose(height, round, block), out),
            None => {
                out.push(Effect::GetValue { height, round });
                Ok(())
            }
        }
    }
}

/// Whether two messages are votes or proposals of which a validator may sign only one.
fn contradicts(one: &Message, other: &Message) -> bool {
    match (one, other) {
        (Message::Vote(one), Message::Vote(other)) => Evidence::Votes(*one, *other).contradicts(),
        (Message::Proposal(one), Message::Proposal(other)) => Evidence::Proposals(*one, *other).contradicts(),
        _ => false,
    }
}

fn from_entry(entry: &LogEntry) -> CoreInput {
    match entry {
        LogEntry::Vote(vote) => CoreInput::Vote(from_vote(vote)),
        LogEntry::Proposal(proposal) => CoreInput::Proposal(from_proposal(proposal)),
        LogEntry::Value(value) => proposed(value),
        LogEntry::Polka(polka) => CoreInput::PolkaCertificate(from_polka(polka)),
        LogEntry::Timeout { timeout, .. } => CoreInput::TimeoutElapsed(from_timeout(*timeout)),
    }
}
