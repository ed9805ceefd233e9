//! A lone validator crashes at every effect of every height, and again while it recovers.
//!
//! The crash keeps what was logged before it; what was published before it, and whatever the log holds, others have
//! seen. No two of those may contradict each other, and a decision stands.

use std::collections::BTreeMap;

use engine::message::block::{BLOCK_VERSION, Header};
use engine::message::vote::{Proposal, Vote};
use engine::{Hash, Height};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::batch::BatchSecret;
use crate::signature::VoteKey;
use crate::validators::Validators;

const CHAIN: Hash = [3; 32];

/// Which entries the node under test writes; all but the first are planted bugs.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Logging {
    Everything,
    OwnMessages,
    Nothing,
}

/// What the world outside has seen of the validator: it outlives every crash.
#[derive(Default)]
struct Seen {
    said: BTreeMap<(u64, u32, u8), Hash>,
    decided: BTreeMap<u64, Hash>,
    contradictions: usize,
    built: u64,
}

impl Seen {
    fn vote(&mut self, vote: &Vote) {
        let body = vote.body;
        self.say((body.height.0, body.round, body.kind), body.value().unwrap_or([0xff; 32]));
    }

    fn proposal(&mut self, proposal: &Proposal) {
        self.say((proposal.body.height.0, proposal.body.round, 0), proposal.body.block);
    }

    fn say(&mut self, key: (u64, u32, u8), block: Hash) {
        let said = *self.said.entry(key).or_insert(block);
        self.contradictions += usize::from(said != block);
    }

    fn decide(&mut self, height: u64, block: Hash) {
        let decided = *self.decided.entry(height).or_insert(block);
        self.contradictions += usize::from(decided != block);
    }

    fn entry(&mut self, entry: &LogEntry) {
        match entry {
            LogEntry::Vote(vote) => self.vote(vote),
            LogEntry::Proposal(proposal) => self.proposal(proposal),
            _ => {}
        }
    }

    /// A block that was never built before: a restarted validator has other pending intents.
    fn build(&mut self, height: Height, round: u32) -> Box<Header> {
        self.built += 1;
        let mut header: Header = bytemuck::Zeroable::zeroed();
        header.chain = CHAIN;
        header.height = height;
        header.round = round;
        header.time_ms = self.built;
        header.version = BLOCK_VERSION;
        Box::new(header)
    }
}

struct Run {
    logging: Logging,
    key: VoteKey,
    validators: Validators,
    rng: ChaCha20Rng,
    log: Vec<LogEntry>,
    seen: Seen,
}

/// How a life of the process ended.
enum Ended {
    Finalized,
    Crashed,
    Stopped,
}

impl Run {
    fn new(seed: u64, logging: Logging) -> Self {
        let key = VoteKey::from_seed(&[1; 32]);
        let validators = Validators::new(vec![key.public()]).expect("one key");
        let rng = ChaCha20Rng::seed_from_u64(seed);
        Self { logging, key, validators, rng, log: Vec::new(), seen: Seen::default() }
    }

    fn start(&self, height: Height) -> Consensus {
        let config = ConsensusConfig {
            chain: CHAIN,
            validators: self.validators.clone(),
            own: Some((0, self.key.clone())),
            timeouts: TimeoutConfig::default(),
            quorum: Quorum::TwoThirds,
            secret: BatchSecret::known([9; 32]),
        };
        Consensus::new(config, height).expect("the own key is in the set")
    }

    /// One life: recovers from the log, then goes on until the height is finalized, or until `lives` effects passed.
    fn live(&mut self, height: Height, mut lives: usize) -> Ended {
        let mut consensus = self.start(height);
        let (mut timers, mut now_ms, mut effects) = (Timers::default(), 0, Vec::new());
        let entries = self.log.clone();
        if consensus.recover(height, &self.validators, &entries, &mut effects).is_err() {
            return Ended::Stopped;
        }
        for _ in 0..200 {
            let mut asked = None;
            for effect in effects.drain(..) {
                if lives == 0 {
                    return Ended::Crashed;
                }
                lives -= 1;
                timers.apply(&effect, now_ms);
                match effect {
                    Effect::Log(entry) => self.write(entry),
                    Effect::Publish(Message::Vote(vote)) => self.seen.vote(&vote),
                    Effect::Publish(Message::Proposal(proposal)) => self.seen.proposal(&proposal),
                    Effect::Decide(certificate) => self.seen.decide(certificate.height.0, certificate.block),
                    Effect::GetValue { height, round } => asked = Some((height, round)),
                    _ => {}
                }
            }
            if consensus.is_decided() {
                return Ended::Finalized;
            }
            // Sometimes nothing is built in time and the round fails.
            let input = match asked {
                Some((height, round)) if !self.rng.next_u32().is_multiple_of(4) => {
                    Input::Value { round, header: self.seen.build(height, round) }
                }
                _ => {
                    let Some(due_ms) = timers.next_ms() else { return Ended::Stopped };
                    now_ms = due_ms;
                    Input::Timeout(timers.elapsed(now_ms).expect("one is due"))
                }
            };
            if consensus.step(input, &mut effects).is_err() {
                return Ended::Stopped;
            }
        }
        Ended::Stopped
    }

    /// What a crash leaves is what was written; others may have seen any own message among it.
    fn write(&mut self, entry: LogEntry) {
        let own = matches!(entry, LogEntry::Vote(_) | LogEntry::Proposal(_));
        let kept = match self.logging {
            Logging::Everything => true,
            Logging::OwnMessages => own,
            Logging::Nothing => false,
        };
        if kept {
            self.seen.entry(&entry);
            let read = LogEntry::decode(&entry.to_bytes()).expect("what was written can be read");
            self.log.push(read);
        }
    }
}

/// Decides `heights` heights; in each the first life ends after `crash` effects, later ones at random.
/// Returns contradictions, crashes, and lives that could not go on.
fn run(seed: u64, crash: usize, heights: u64, logging: Logging) -> (usize, usize, usize) {
    let (mut run, mut crashes, mut stopped) = (Run::new(seed, logging), 0, 0);
    for height in 1..=heights {
        run.log.clear();
        let mut lives = crash;
        for life in 0.. {
            match run.live(Height(height), lives) {
                Ended::Finalized => break,
                Ended::Crashed => crashes += 1,
                Ended::Stopped => stopped += 1,
            }
            if stopped > 0 {
                return (run.seen.contradictions, crashes, stopped);
            }
            // Crashes end at last, or no height would.
            lives = if life < 8 { run.rng.next_u32() as usize % 30 } else { usize::MAX };
        }
        // The last life decided; others that crashed after the decision must agree, which `decide` counted.
        assert!(run.seen.decided.contains_key(&height) || logging != Logging::Everything);
    }
    (run.seen.contradictions, crashes, stopped)
}

fn totals(logging: Logging) -> (usize, usize, usize) {
    let mut sum = (0, 0, 0);
    for seed in 0..80 {
        for crash in 0..40 {
            let (contradictions, crashes, stopped) = run(seed, crash, 5, logging);
            sum = (sum.0 + contradictions, sum.1 + crashes, sum.2 + stopped);
        }
    }
    sum
}

#[test]
fn a_validator_that_logs_everything_never_contradicts_itself() {
    let (contradictions, crashes, stopped) = totals(Logging::Everything);
    assert!(crashes > 10_000, "{crashes} crashes tried too little");
    assert_eq!((contradictions, stopped), (0, 0), "in {crashes} crashes");
    println!("{crashes} crashes");
}

/// The negative control: the same test must find both bugs.
#[test]
fn a_validator_that_logs_too_little_is_caught() {
    let nothing = totals(Logging::Nothing);
    assert!(nothing.0 > 100, "{nothing:?}");
    let own = totals(Logging::OwnMessages);
    assert!(own.0 > 100, "{own:?}");
    println!("contradictions, crashes, stops: no log {nothing:?}, own messages only {own:?}");
}

/// No recursion: each height is two steps of one machine, so a chain of any length needs one frame of stack.
#[test]
fn a_lone_validator_decides_each_height_in_two_steps() {
    let mut run = Run::new(1, Logging::Everything);
    let (mut consensus, mut out) = (run.start(Height(1)), Vec::new());
    for height in 1..=2_000 {
        consensus.step(Input::StartHeight(Height(height), run.validators.clone()), &mut out).expect("the next height");
        assert!(out.contains(&Effect::GetValue { height: Height(height), round: 0 }));
        assert!(!consensus.is_decided());
        out.clear();
        let header = run.seen.build(Height(height), 0);
        let block = header.hash();
        consensus.step(Input::Value { round: 0, header }, &mut out).expect("the answer");
        let certificate = out.iter().find_map(|effect| match effect {
            Effect::Decide(certificate) => Some(certificate.clone()),
            _ => None,
        });
        let certificate = certificate.expect("decided in the same step");
        let checked = crate::certificate::check_certificate(
            &certificate,
            &run.validators,
            &CHAIN,
            Height(height),
            &block,
            &BatchSecret::known([1; 32]),
        );
        assert_eq!(checked, Ok(()));
        let logged = out.iter().filter(|effect| matches!(effect, Effect::Log(_))).count();
        assert_eq!(logged, 4, "the block, the proposal, the prevote, the precommit");
        assert!(out.contains(&Effect::Finalized { height: Height(height), evidence: vec![] }));
        out.clear();
    }
}

#[test]
fn a_height_starts_once_and_above_those_before() {
    let mut run = Run::new(1, Logging::Everything);
    let (mut consensus, mut out) = (run.start(Height(5)), Vec::new());
    let refused = |expected, found| Err(ConsensusError::Height { expected: Height(expected), found: Height(found) });
    assert_eq!(consensus.step(Input::StartHeight(Height(4), run.validators.clone()), &mut out), refused(5, 4));
    consensus.step(Input::StartHeight(Height(5), run.validators.clone()), &mut out).expect("the first");
    let header = run.seen.build(Height(5), 0);
    let foreign = Box::new(Header { chain: [4; 32], ..*header });
    let error = consensus.step(Input::Value { round: 0, header: foreign }, &mut out);
    assert_eq!(error, Err(ConsensusError::ForeignBlock { height: Height(5) }));
    // A block of another proposer may be proposed again in a later round, never as this round's own.
    let of_another = Box::new(Header { proposer: 1, ..*header });
    let error = consensus.step(Input::Value { round: 0, header: of_another }, &mut out);
    assert_eq!(error, Err(ConsensusError::ForeignBlock { height: Height(5) }));
    consensus.step(Input::Value { round: 0, header }, &mut out).expect("ours");
    assert_eq!(consensus.step(Input::StartHeight(Height(5), run.validators.clone()), &mut out), refused(6, 5));
    consensus.step(Input::StartHeight(Height(6), run.validators.clone()), &mut out).expect("the next");
    // Another node told what heights 6 to 8 decided.
    assert!(!consensus.is_decided());
    out.clear();
    consensus.step(Input::StartHeight(Height(9), run.validators.clone()), &mut out).expect("one far above");
    assert!(out.contains(&Effect::GetValue { height: Height(9), round: 0 }));
    assert_eq!(consensus.step(Input::StartHeight(Height(9), run.validators.clone()), &mut out), refused(10, 9));
}

#[test]
fn what_is_of_another_height_is_not_heard() {
    let run = Run::new(1, Logging::Everything);
    let (mut consensus, mut out) = (run.start(Height(5)), Vec::new());
    let vote = |height| {
        let kind = engine::message::vote::VoteKind::Precommit;
        let body = engine::message::vote::VoteBody::new(kind, Height(height), 0, None, 0);
        Input::Vote { vote: run.key.sign_vote(body, &CHAIN), verified: false }
    };
    let refused = |found| Err(ConsensusError::Height { expected: Height(5), found: Height(found) });
    assert_eq!(consensus.step(vote(5), &mut out), refused(5), "not begun yet");
    consensus.step(Input::StartHeight(Height(5), run.validators.clone()), &mut out).expect("the first");
    out.clear();
    assert_eq!(consensus.step(vote(6), &mut out), refused(6));
    assert_eq!(consensus.step(vote(4), &mut out), Ok(()), "it may have been sent again");
    assert_eq!(out, []);
}

/// A log that leads elsewhere than to what was signed: the prevote of the log is for a block that is not in it.
#[test]
fn a_log_that_does_not_lead_to_what_was_signed_stops_the_node() {
    let mut run = Run::new(1, Logging::Everything);
    assert!(matches!(run.live(Height(1), usize::MAX), Ended::Finalized));
    let other = engine::message::vote::VoteBody::new(
        engine::message::vote::VoteKind::Precommit,
        Height(1),
        0,
        Some([8; 32]),
        0,
    );
    for entry in &mut run.log {
        if let LogEntry::Vote(vote) = entry
            && vote.body.kind == other.kind
        {
            *vote = run.key.sign_vote(other, &CHAIN);
        }
    }
    let entries = run.log.clone();
    let error = run.start(Height(1)).recover(Height(1), &run.validators, &entries, &mut Vec::new());
    let (kind, height) = ("precommit", Height(1));
    assert!(
        matches!(&error, Err(e @ ConsensusError::Divergence { kind: k, height: h, .. }) if e.is_fatal() && (*k, *h) == (kind, height))
    );
}

#[test]
fn messages_that_are_not_signed_are_refused_and_change_nothing() {
    let run = Run::new(1, Logging::Everything);
    let (mut consensus, mut out) = (run.start(Height(1)), Vec::new());
    consensus.step(Input::StartHeight(Height(1), run.validators.clone()), &mut out).expect("the first");
    out.clear();
    let body = engine::message::vote::VoteBody::new(
        engine::message::vote::VoteKind::Precommit,
        Height(1),
        0,
        Some([8; 32]),
        0,
    );
    let forged = VoteKey::from_seed(&[2; 32]).sign_vote(body, &CHAIN);
    let error = consensus.step(Input::Vote { vote: forged, verified: false }, &mut out);
    assert_eq!(error, Err(ConsensusError::Signature { slot: 0 }));
    let stranger = Vote { body: engine::message::vote::VoteBody { slot: 1, ..body }, ..forged };
    let error = consensus.step(Input::Vote { vote: stranger, verified: true }, &mut out);
    assert_eq!(error, Err(ConsensusError::Signature { slot: 1 }));
    let polka = Certificate {
        height: Height(1),
        round: 0,
        block: [8; 32],
        signatures: vec![engine::message::certificate::CertificateSignature { slot: 0, signature: forged.signature }],
    };
    let error = consensus.step(Input::Polka(polka), &mut out);
    assert_eq!(error, Err(ConsensusError::Certificate(CertificateError::Signature { height: Height(1) })));
    let votes = vec![forged];
    let round = RoundCertificate { height: Height(1), round: 0, precommits: true, votes };
    let error = consensus.step(Input::Round(round), &mut out);
    assert_eq!(error, Err(ConsensusError::Certificate(CertificateError::Signature { height: Height(1) })));
    assert_eq!(out, []);
    assert_eq!(consensus.round(), Some(0));
}

/// What a restart asks for, logs and sends, at every cut of a log that holds a failed round and a decision.
#[test]
fn a_restart_sends_again_what_is_logged_and_asks_only_for_what_is_not() {
    let mut run = Run::new(1, Logging::Everything);
    let (mut consensus, mut out) = (run.start(Height(1)), Vec::new());
    consensus.step(Input::StartHeight(Height(1), run.validators.clone()), &mut out).expect("the first");
    let propose = Timeout { kind: TimeoutKind::Propose, round: 0 };
    consensus.step(Input::Timeout(propose), &mut out).expect("nothing was built in time");
    let precommit = Timeout { kind: TimeoutKind::Precommit, round: 0 };
    consensus.step(Input::Timeout(precommit), &mut out).expect("the round failed");
    let header = run.seen.build(Height(1), 1);
    consensus.step(Input::Value { round: 1, header }, &mut out).expect("built in the second round");
    assert!(consensus.is_decided());
    let log: Vec<LogEntry> = out
        .drain(..)
        .filter_map(|effect| match effect {
            Effect::Log(entry) => Some(entry),
            _ => None,
        })
        .collect();
    assert_eq!(log.len(), 8, "two timeouts, two votes for nil, the block, its proposal, two votes");
    for cut in 0..=log.len() {
        let mut effects = Vec::new();
        run.start(Height(1)).recover(Height(1), &run.validators, &log[..cut], &mut effects).expect("a log of ours");
        let logged: Vec<&LogEntry> =
            effects.iter().filter_map(|e| if let Effect::Log(entry) = e { Some(entry) } else { None }).collect();
        assert!(logged.iter().all(|entry| !log[..cut].contains(entry)), "cut {cut}: logged twice");
        let sent: Vec<&Message> = effects
            .iter()
            .filter_map(|e| if let Effect::Publish(message) = e { Some(message) } else { None })
            .collect();
        let own = log[..cut].iter().filter_map(|entry| match entry {
            LogEntry::Vote(vote) => Some(Message::Vote(*vote)),
            LogEntry::Proposal(proposal) => Some(Message::Proposal(*proposal)),
            _ => None,
        });
        let own: Vec<Message> = own.collect();
        assert!(sent.iter().copied().take(own.len()).eq(&own), "cut {cut}: not sent again as logged");
        let asked: Vec<u32> = effects
            .iter()
            .filter_map(|e| if let Effect::GetValue { round, .. } = e { Some(*round) } else { None })
            .collect();
        let expected: &[u32] = match cut {
            0 => &[0],
            4 => &[1],
            _ => &[],
        };
        assert_eq!(asked, expected, "cut {cut}");
        assert_eq!(effects.iter().any(|e| matches!(e, Effect::Decide(_))), cut > 4, "cut {cut}");
    }
}
