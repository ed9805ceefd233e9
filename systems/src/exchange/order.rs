//! Order: this node's part in the order of blocks.

use std::collections::BTreeMap;

use bevy_ecs::resource::Resource;
use bevy_ecs::system::{Res, ResMut, SystemParam};
use engine::io::{Offence, Output};
use engine::limits::{BODY_CHECKS_MAX, CLOSING_AFTER_MS, NODE_VOTES_MAX, START_GRACE_MS, UNSETTLED_MAX};
use engine::message::block::{Block, Decided};
use engine::message::certificate::Certificate;
use engine::message::node::NodeMessage;
use engine::message::vote::{Proposal, Vote, VoteKind};
use engine::{Height, PeerId};
use order::batch::BatchSecret;
use order::consensus::{
    Consensus, ConsensusConfig, ConsensusError, Effect, Input, LogEntry, Message, TimeoutKind, Timers,
};
use order::signature::PublicKey;
use order::validators::Validators;

use super::answers::Answers;
use super::bodies::Bodies;
use super::chain::Chain;
use super::evidence::EvidenceKept;
use super::fault::ExchangeError;
use super::logged::LoggedHeight;
use super::nodes::{Heard, Nodes};
use super::planted::Planted;
use super::tally::Tally;
use super::tick::{Clock, Inbox, Outbox, Pending};
use super::verify::{VerifySecret, issuers};
use crate::settle::turns::Turns;
use crate::state::due::DueTimes;
use crate::state::setup::Setup;

mod knowing;
mod hearing;
mod proposing;

pub(super) use self::hearing::polka_votes;

/// What comes before the bytes of a consensus log entry: a block's body, or an entry of the order itself.
pub(super) const BODY: u8 = 0;
pub(super) const ENTRY: u8 = 1;
/// The first round in which others are told what somebody may be locked on.
const HELP_ROUND: u32 = 1;

const _: () = assert!(BODY != ENTRY, "a restart reads what an entry of the log is off its first byte");
const _: () = assert!(HELP_ROUND > 0, "nobody can be locked on anything before the first round has failed");

/// This node's part in the order of blocks.
#[derive(Resource)]
pub struct Orderer {
    /// The state machine; none in a node that only follows.
    pub consensus: Option<Consensus>,
    /// What it was made of, for one that begins at another height.
    pub config: Option<ConsensusConfig>,
    /// The validators of the height that is being decided, or comes next.
    pub validators: Validators,
    /// Its timeouts, in milliseconds of ticks.
    pub timers: Timers,
    /// Whether the height before is finished, so that the next may start.
    pub idle: bool,
    /// The round of the present height.
    pub round: u32,
    /// A round of the present height that asks this validator for a block.
    pub asked: Option<u32>,
    /// When the next height may start, in milliseconds of ticks; unknown before the first tick.
    pub ready_ms: Option<u64>,
    /// Since when there is a reason to start the next height.
    reason_ms: Option<u64>,
    /// The height behind which a validator that follows up to its fence votes again.
    votes_behind: Option<Height>,
    /// The least height that each other validator told to be decided, since this one follows because it cannot know what it
    /// signed.
    told: BTreeMap<u32, Height>,
    /// What was decided of the present height while its body was missing, and when that is asked for again.
    bodiless: Option<(Certificate, u64)>,
    /// A start that listens before it votes, with what its log holds.
    listening: Option<Listening>,
    /// Nothing at or below it is signed, whatever the log holds.
    pub fence: Height,
    /// No height above it is started: the operators agreed to stop there.
    pub halt_at: Option<Height>,
    /// This validator lost its log, and its operator said at this start from where on it may sign again.
    pub by_operator: bool,
    /// Why this node must stop, once it must.
    pub fault: Option<ExchangeError>,
}

/// A validator that starts listens for as long as others take to say again what they said: if its key is in use elsewhere,
/// it hears of it before it adds to that.
struct Listening {
    logged: Vec<LoggedHeight>,
    /// When it ends, in milliseconds of ticks; unknown until a quorum is connected.
    until_ms: Option<u64>,
}

/// What a step of the order of blocks reads and writes.
pub(super) struct OrderStep<'a> {
    pub(super) clock: Clock,
    pub(super) setup: &'a Setup,
    pub(super) issuers: &'a [PublicKey],
    pub(super) secret: &'a BatchSecret,
    pub(super) chain: &'a mut Chain,
    pub(super) orderer: &'a mut Orderer,
    pub(super) answers: &'a mut Answers,
    pub(super) pending: &'a mut Pending,
    pub(super) tally: &'a mut Tally,
    pub(super) bodies: &'a mut Bodies,
    pub(super) evidence: &'a mut EvidenceKept,
    pub(super) outbox: &'a mut Outbox,
    /// Votes of this step, to be sent together.
    pub(super) votes: Vec<Vote>,
    /// Who sent a certificate that nobody signed.
    pub(super) offences: Vec<(PeerId, Offence)>,
    /// Signatures of pledges and intents that this step may still verify.
    pub(super) checks: usize,
}

/// What the order of blocks reads and writes in the world, whether it hears a tick or its own log.
#[derive(SystemParam)]
pub struct OrderParts<'w> {
    setup: Res<'w, Setup>,
    secret: Res<'w, VerifySecret>,
    pub(super) chain: ResMut<'w, Chain>,
    pub(super) orderer: ResMut<'w, Orderer>,
    answers: ResMut<'w, Answers>,
    pending: ResMut<'w, Pending>,
    tally: ResMut<'w, Tally>,
    bodies: ResMut<'w, Bodies>,
    evidence: ResMut<'w, EvidenceKept>,
}

impl OrderParts<'_> {
    /// The keys that may issue vouchers on this chain.
    pub(super) fn issuers(&self) -> Vec<PublicKey> {
        issuers(&self.setup)
    }

    /// A step at `clock` that verifies the signatures of up to `checks` pledges and intents, and says what it does into `outbox`.
    pub(super) fn step<'a>(
        &'a mut self,
        clock: Clock,
        issuers: &'a [PublicKey],
        outbox: &'a mut Outbox,
        checks: usize,
    ) -> OrderStep<'a> {
        OrderStep {
            clock,
            setup: &self.setup,
            issuers,
            secret: &self.secret.0,
            chain: &mut self.chain,
            orderer: &mut self.orderer,
            answers: &mut self.answers,
            pending: &mut self.pending,
            tally: &mut self.tally,
            bodies: &mut self.bodies,
            evidence: &mut self.evidence,
            outbox,
            votes: Vec::new(),
            offences: Vec::new(),
            checks,
        }
    }
}

/// System: one step of the order of blocks. Starts a height when there is something to decide, hears what others said of
/// it, builds a block when one is asked for, and takes note of what was decided.
pub fn order_blocks<P: Planted>(
    clock: Res<'_, Clock>,
    due: Res<'_, DueTimes>,
    turns: Res<'_, Turns>,
    nodes: Res<'_, Nodes>,
    mut heard: ResMut<'_, Heard>,
    mut inbox: ResMut<'_, Inbox>,
    mut parts: OrderParts<'_>,
    mut outbox: ResMut<'_, Outbox>,
) {
    let OrderParts { chain, orderer, tally, .. } = &mut parts;
    if !orderer.is_voting()
        && (orderer.is_listening() || !orderer.takes_part_again(&clock, &nodes, chain.decided, tally, &mut outbox))
    {
        heard.polkas.clear();
        heard.rounds.clear();
        return;
    }
    assert!(parts.orderer.is_voting(), "whoever only follows has returned");
    assert!(!parts.orderer.is_listening(), "whoever votes has listened before");
    let issuers = parts.issuers();
    let mut step = parts.step(*clock, &issuers, &mut outbox, BODY_CHECKS_MAX);
    step.first_tick();
    while let Some(timeout) = step.orderer.timers.elapsed(clock.elapsed_ms()) {
        step.input(Input::Timeout(timeout));
        if timeout.kind == TimeoutKind::Rebroadcast {
            step.send_again(timeout);
        }
    }
    step.start(&due, &turns);
    step.hear::<P>(&mut heard, &nodes);
    // Behind a height that was decided just now, the next one may be due at once: a tick less for each.
    step.start(&due, &turns);
    step.answer_asked();
    step.finish(&nodes);
    assert!(step.votes.is_empty(), "a vote that is logged is sent");
    inbox.offences.append(&mut step.offences);
    if P::RECEIPT_BY_NUMBER {
        let OrderParts { chain, answers, .. } = &mut parts;
        chain.unsettled.iter().flat_map(|block| &block.block.intents).for_each(|intent| answers.mistake(intent));
    }
}

impl Orderer {
    /// One that takes part in deciding, or one that only follows.
    ///
    /// # Errors
    /// If the own key is not the one of the own slot.
    pub fn new(validators: Validators, config: Option<ConsensusConfig>) -> Result<Self, ConsensusError> {
        let consensus = config.clone().map(|config| Consensus::new(config, Height(1))).transpose()?;
        let timers = Timers::default();
        Ok(Self {
            consensus,
            config,
            validators,
            timers,
            idle: true,
            round: 0,
            asked: None,
            ready_ms: None,
            reason_ms: None,
            votes_behind: None,
            told: BTreeMap::new(),
            bodiless: None,
            listening: None,
            fence: Height::GENESIS,
            halt_at: None,
            by_operator: false,
            fault: None,
        })
    }

    /// Whether this node votes.
    pub fn is_voting(&self) -> bool {
        self.consensus.is_some()
    }

    /// Whether time alone may change something: a height is under way, the first tick is still to come, or a period of
    /// play is not closed yet.
    pub fn awaits_time(&self, chain: &Chain) -> bool {
        let is_due = self.ready_ms.is_none() || self.reason_ms.is_some() || chain.last_live > chain.certified();
        (self.is_voting() && (!self.idle || is_due)) || self.is_listening()
    }

    /// Whether it votes on a height that is not decided yet.
    pub fn has_height_under_way(&self) -> bool {
        self.is_voting() && !self.idle
    }

    /// This validator's slot.
    pub fn own_slot(&self) -> Option<u32> {
        self.config.as_ref().and_then(|config| config.own.as_ref()).map(|(slot, _)| *slot)
    }

    /// Another node told what was decided up to a height above the present one: the order of blocks goes on behind it.
    pub fn pass(&mut self, clock: &Clock) {
        self.idle = true;
        self.asked = None;
        self.bodiless = None;
        self.reason_ms = None;
        self.round = 0;
        self.ready_ms = Some(clock.elapsed_ms());
        self.timers = Timers::default();
    }
}

impl OrderStep<'_> {
    /// What a restart scheduled runs from the first tick on, and the interval of the last block is not cut short.
    fn first_tick(&mut self) {
        if self.orderer.ready_ms.is_some() {
            return;
        }
        self.orderer.ready_ms = Some(self.ready_ms());
        self.orderer.timers.begin_at(self.clock.elapsed_ms());
    }

    /// When the next height may begin: the interval after the last block's time, and not after its decision, so that the
    /// milliseconds in which validators agree are a part of it. A proposer's clock that is ahead makes nobody wait longer
    /// than the interval.
    fn ready_ms(&self) -> u64 {
        let interval_ms = self.setup.genesis.block_interval_ms;
        let left_ms = (self.chain.parent_time_ms + interval_ms).saturating_sub(self.clock.now_ms).min(interval_ms);
        self.clock.elapsed_ms() + left_ms
    }

    /// Starts the next height if there is a reason to. The proposer of the first round starts by itself; the others wait
    /// for what it says, and a while longer than their own reason lasts.
    fn start(&mut self, due: &DueTimes, turns: &Turns) {
        let has_halted = self.orderer.halt_at.is_some_and(|halt| self.chain.decided >= halt);
        if !self.orderer.idle || has_halted || self.chain.unsettled.len() >= UNSETTLED_MAX {
            return;
        }
        let (height, now_ms) = (self.chain.decided.next(), self.clock.elapsed_ms());
        // A round or a question of the height before would be taken for one of this height.
        assert_eq!(self.orderer.round, 0, "a height begins at its first round");
        assert!(self.orderer.asked.is_none(), "nothing is asked for between two heights");
        // What is settled says whose turn it is.
        self.orderer.validators = turns.at(height);
        let ready_ms = self.orderer.ready_ms.expect("set at the first tick");
        // Closing at once would put two empty heights behind every roll of a quiet table.
        let closing = self.chain.last_live > self.chain.certified() && now_ms >= ready_ms + CLOSING_AFTER_MS;
        let table_due = due.earliest().is_some_and(|earliest| earliest <= self.clock.now_ms);
        // What one validator alone has a reason for may have come to nobody else. Its word is a reason like an own one, and no more: a
        // liar that says one for every height would let them follow each other without an interval.
        let is_named = self.tally.has(height) || self.bodies.has(height);
        let waits = is_named || !self.pending.queue.is_empty() || self.pending.pledges.waits();
        // While a height is still to be settled, it may roll what is due itself: only what waits for a block is a
        // reason then.
        let has_reason = waits || (self.chain.unsettled.is_empty() && (table_due || closing));
        let reason_ms = has_reason.then(|| self.orderer.reason_ms.unwrap_or(now_ms));
        self.orderer.reason_ms = reason_ms;
        let is_told = self.is_told(height);
        let own_turn = Some(self.orderer.validators.proposer(height, 0)) == self.orderer.own_slot();
        let grace_ms = if own_turn { 0 } else { START_GRACE_MS };
        let is_due = reason_ms.is_some_and(|since_ms| now_ms >= ready_ms && now_ms >= since_ms + grace_ms);
        if is_told || is_due {
            self.orderer.reason_ms = None;
            self.input(Input::StartHeight(height, self.orderer.validators.clone()));
        }
    }

    /// Whether a height is known to be under way: it was proposed by whose turn it is first, or voted on by more validators than may be
    /// faulty. Whoever hears of that has the others' reason to start it, and waits for nothing.
    fn is_told(&mut self, height: Height) -> bool {
        let validators = &self.orderer.validators;
        let (proposer, faulty_max) = (validators.proposer(height, 0), validators.faulty_max());
        let mut proposals = self.bodies.proposals(height).iter().map(|held| &held.proposal.body);
        proposals.any(|body| (body.round, body.slot) == (0, proposer)) || self.tally.voters(height) > faulty_max
    }

    /// Hands an input to the order of blocks. What is wrong with an input changes nothing; what is wrong with the order
    /// stops the node.
    fn input(&mut self, input: Input) {
        _ = self.try_input(input);
    }

    /// The same, and says what was wrong with the input.
    fn try_input(&mut self, input: Input) -> Result<(), ConsensusError> {
        let Some(consensus) = &mut self.orderer.consensus else { return Ok(()) };
        let mut effects = Vec::new();
        let result = consensus.step(input, &mut effects);
        effects.into_iter().for_each(|effect| self.take(effect));
        if let Some(error) = result.as_ref().err().filter(|error| error.is_fatal()) {
            self.orderer.fault.get_or_insert(error.clone().into());
        }
        result
    }

    pub(super) fn take(&mut self, effect: Effect) {
        self.orderer.timers.apply(&effect, self.clock.elapsed_ms());
        match effect {
            Effect::GetValue { round, .. } => self.orderer.asked = Some(round),
            Effect::Log(entry) => {
                // Every vote that the order counts is logged before: this node's own ones come to the tally here.
                if let LogEntry::Vote(vote) = &entry {
                    self.count(vote, true);
                }
                self.outbox.outputs.push(log_entry(&entry));
            }
            Effect::Decide(certificate) => self.decide(certificate),
            Effect::Finalized { evidence, .. } => {
                for found in evidence {
                    self.evidence.keep(found, self.chain.decided, self.outbox);
                }
            }
            Effect::StartedRound { round, .. } => {
                self.orderer.idle = false;
                self.orderer.round = round;
                self.tally.enter(round);
                if round >= HELP_ROUND {
                    self.tell_lock();
                }
            }
            Effect::Publish(Message::Vote(vote)) => self.votes.push(vote),
            Effect::Publish(Message::Proposal(proposal)) => {
                if proposal.body.height > self.chain.decided {
                    let known =
                        self.bodies.proposals(proposal.body.height).iter().any(|held| held.proposal == proposal);
                    // The order of blocks made it, so it is held as heard: it would be handed back as news otherwise.
                    if !known {
                        self.bodies.hold(proposal, PeerId::NONE, u64::MAX);
                        if let Some(held) = self.bodies.proposals(proposal.body.height).last_mut() {
                            held.heard = true;
                        }
                    }
                }
                self.outbox.tell(NodeMessage::Proposal(proposal));
            }
            Effect::Publish(Message::Polka(polka)) => self.outbox.tell(NodeMessage::Polka(polka)),
            Effect::Publish(Message::Round(round)) => self.outbox.tell(NodeMessage::Round(round)),
            // Whoever lacks the body of a block that is proposed again asks for it.
            Effect::SendBlock { .. } => {}
            Effect::Schedule { .. } | Effect::Cancel(_) | Effect::CancelAll => {}
        }
    }

    fn decide(&mut self, certificate: Certificate) {
        let (height, round, hash) = (certificate.height, certificate.round, certificate.block);
        let counted = self.tally.votes(height, round, VoteKind::Precommit, Some(hash));
        assert!(
            counted >= self.orderer.validators.quorum(),
            "height {height}, round {round}: the order of blocks decided with {counted} counted precommits"
        );
        assert!(certificate.signatures.len() >= self.orderer.validators.quorum(), "a certificate proves a quorum");
        assert_eq!(height, self.chain.decided.next(), "heights are decided one after another");
        let Some(block) = self.bodies.decide(height, &hash) else {
            // It made room for others in a later round, and is asked for until it comes: nobody else may know of the decision, so
            // that nobody could tell of it as to one that was away. Until then nothing is recorded, and no height is begun.
            self.orderer.asked = None;
            self.orderer.bodiless = Some((certificate, 0));
            return;
        };
        self.orderer.bodiless = None;
        let decided = Decided { block, certificate };
        self.outbox.outputs.push(Output::Decided(Box::new(decided.clone())));
        take_decided(self.chain, self.answers, self.pending, decided, self.clock.tick.0);
        assert_eq!(self.chain.decided, height, "one height was decided");
        assert_eq!(self.chain.parent, hash, "the block that was decided is the one that was voted for");
        self.tally.forget_below(height);
        self.evidence.forget(height);
        self.orderer.idle = true;
        self.orderer.asked = None;
        self.orderer.round = 0;
        self.orderer.ready_ms = Some(self.ready_ms());
    }

    /// Sends the step's votes together.
    pub(super) fn tell_votes(&mut self) {
        let votes = std::mem::take(&mut self.votes);
        for votes in votes.chunks(NODE_VOTES_MAX) {
            self.outbox.tell(NodeMessage::Votes(votes.to_vec()));
        }
    }

    /// Sends the step's votes together, and to nodes that connected what this validator said of the present height.
    fn finish(&mut self, nodes: &Nodes) {
        self.tell_votes();
        if nodes.joined.is_empty() || self.orderer.idle {
            return;
        }
        let height = self.chain.decided.next();
        let Some(own) = self.orderer.own_slot() else { return };
        let votes = self.tally.votes_of(height, own);
        let proposals: Vec<Proposal> = self
            .bodies
            .proposals(height)
            .iter()
            .map(|held| held.proposal)
            .filter(|proposal| proposal.body.slot == own)
            .collect();
        for peer in &nodes.joined {
            proposals.iter().for_each(|proposal| self.outbox.tell_one(*peer, NodeMessage::Proposal(*proposal)));
            for votes in votes.chunks(NODE_VOTES_MAX) {
                self.outbox.tell_one(*peer, NodeMessage::Votes(votes.to_vec()));
            }
        }
    }
}

/// Takes note of a decided block: its intents wait for their receipts, and go into no other block.
pub(super) fn take_decided(
    chain: &mut Chain,
    answers: &mut Answers,
    pending: &mut Pending,
    decided: Decided,
    group: u64,
) {
    let before = chain.unsettled.len();
    decided.block.intents.iter().for_each(|intent| answers.decide(intent));
    if !pending.queue.is_empty() {
        pending.retain(|intent| answers.is_open(&intent.id()));
    }
    pending.pledges.decide(&decided.block.pledges);
    chain.decide(decided, group);
    assert_eq!(chain.unsettled.len(), before + 1, "a block that is decided waits to be settled");
}

fn log_body(block: &Block) -> Output {
    let mut entry = Vec::with_capacity(1 + block.encoded_len());
    entry.push(BODY);
    block.encode(&mut entry);
    Output::Log { height: block.header.height, entry }
}

fn log_entry(entry: &LogEntry) -> Output {
    let mut bytes = vec![ENTRY];
    entry.encode(&mut bytes);
    Output::Log { height: entry.height(), entry: bytes }
}
