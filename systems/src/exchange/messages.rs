//! Messages: the signatures of what nodes said, in one batch, and where it goes then.

use std::collections::BTreeSet;

use bevy_ecs::system::{Res, ResMut};
use engine::PeerId;
use engine::columns::PeerColumns;
use engine::component::PeerStatus;
use engine::io::{Alarm, Offence, Output};
use engine::limits::VALIDATORS_MAX;
use engine::message::evidence::Evidence;
use engine::message::node::Claim;
use engine::message::share::Share;
use engine::message::vote::{Proposal, Vote};
use order::signature::{SignedItem, verify_batch};
use order::validators::Validators;

use super::beacon::Shares;
use super::bodies::{Bodies, Present, Told};
use super::chain::Chain;
use super::evidence::EvidenceKept;
use super::fault::ExchangeError;
use super::nodes::{Heard, Nodes};
use super::order::Orderer;
use super::peers::row;
use super::tally::{Counted, Tally};
use super::tick::{Clock, Inbox, Outbox};
use super::verify::VerifySecret;
use crate::state::setup::Setup;

/// Milliseconds that a proposal waits for its body before it is asked for.
const BODY_WAIT_MS: u64 = 60;

/// What a signature is on.
enum Signed {
    Vote(Vote),
    Proposal(Proposal),
    Share(Share),
    Claim(Claim),
    /// The first of two statements; the second one's row follows.
    First(Evidence),
    Second(Evidence),
}

/// System: verifies what nodes signed, in one batch, after everything that is known or out of place was dropped; counts
/// votes, holds proposals and takes their bodies.
pub fn verify_messages(
    setup: Res<'_, Setup>,
    secret: Res<'_, VerifySecret>,
    clock: Res<'_, Clock>,
    chain: Res<'_, Chain>,
    mut heard: ResMut<'_, Heard>,
    mut inbox: ResMut<'_, Inbox>,
    mut orderer: ResMut<'_, Orderer>,
    mut nodes: ResMut<'_, Nodes>,
    mut tally: ResMut<'_, Tally>,
    mut bodies: ResMut<'_, Bodies>,
    mut shares: ResMut<'_, Shares>,
    mut evidence: ResMut<'_, EvidenceKept>,
    mut outbox: ResMut<'_, Outbox>,
    mut columns: PeerColumns<'_, '_>,
) {
    if nodes.rows().is_empty() {
        return;
    }
    let validators = orderer.validators.clone();
    let (decided, round) = (chain.decided, orderer.round);
    let own = orderer.own_slot();
    assert!(own.is_none_or(|slot| validators.key(slot).is_some()), "this validator is one of the set");
    let wanted = wanted(&mut heard, &tally, &bodies, &shares, &evidence, &validators, &chain, round);
    let items: Vec<SignedItem<'_>> = wanted.iter().map(|(_, signed)| item(signed, &validators, &setup)).collect();
    let mut verdicts = vec![false; items.len()];
    verify_batch(&items, &secret.0, &mut verdicts);
    let mut first_holds = true;
    for ((from, signed), holds) in wanted.iter().zip(verdicts) {
        // Two statements prove nothing unless both are signed: the first one's verdict waits for the second's.
        if matches!(signed, Signed::First(_)) {
            first_holds = holds;
            continue;
        }
        if !holds || (matches!(signed, Signed::Second(_)) && !first_holds) {
            inbox.offences.push((*from, Offence::BadSignature));
            continue;
        }
        match signed {
            Signed::Vote(vote) => {
                let own = own == Some(vote.body.slot);
                // It is not in this node's log: the vote key is in use elsewhere.
                let is_live = vote.body.height > decided.max(orderer.fence);
                if own && is_live && orderer.knows_its_votes() && !orderer.has_logged(vote) {
                    orderer.fault.get_or_insert(ExchangeError::OtherLife { vote: Box::new(*vote) });
                }
                if let Counted::Second(found) = tally.count(vote, &validators, false) {
                    evidence.keep(found, decided, &mut outbox);
                }
            }
            Signed::Proposal(proposal) => {
                // Two of one slot in one batch: the third is dropped here.
                if bodies.wants_proposal(proposal, decided, round)
                    && let Some(found) = bodies.hold(*proposal, *from, clock.elapsed_ms() + BODY_WAIT_MS)
                {
                    evidence.keep(found, decided, &mut outbox);
                }
            }
            Signed::Share(share) => {
                if let Some(found) = shares.add(share, *from) {
                    evidence.keep(found, decided, &mut outbox);
                }
            }
            Signed::Claim(claim) => take_claim(claim, *from, &mut nodes, &mut columns, &mut outbox, &mut inbox),
            Signed::Second(found) => evidence.keep(*found, decided, &mut outbox),
            Signed::First(_) => unreachable!("skipped above"),
        }
    }
    let present = Present { decided, round, validators: &validators, tally: &tally };
    take_bodies(&mut heard, &mut bodies, &nodes, present, &mut inbox);
}

/// Takes bodies that proposals name, and keeps those that overtook theirs.
fn take_bodies(heard: &mut Heard, bodies: &mut Bodies, nodes: &Nodes, present: Present<'_>, inbox: &mut Inbox) {
    bodies.take_early(present);
    for (from, block) in heard.bodies.drain(..) {
        if bodies.is_named(block.header.height, &block.header.hash()) {
            if bodies.take(*block, present) == Told::Forged {
                inbox.offences.push((from, Offence::Malformed));
            }
        } else if let Some(slot) = nodes.validator(from) {
            bodies.keep_early(slot, *block, present.decided);
        }
    }
}

/// What is worth a verification. Each statement once, whoever sent it first.
fn wanted(
    heard: &mut Heard,
    tally: &Tally,
    bodies: &Bodies,
    shares: &Shares,
    evidence: &EvidenceKept,
    validators: &Validators,
    chain: &Chain,
    round: u32,
) -> Vec<(PeerId, Signed)> {
    let (mut wanted, decided) = (Vec::new(), chain.decided);
    let mut seen: BTreeSet<[u8; 128]> = BTreeSet::new();
    for (from, vote) in heard.votes.drain(..) {
        if tally.wants(&vote, decided, validators) && seen.insert(bytemuck::cast(vote)) {
            wanted.push((from, Signed::Vote(vote)));
        }
    }
    for (from, proposal) in heard.proposals.drain(..) {
        let known = validators.key(proposal.body.slot).is_some();
        if known && bodies.wants_proposal(&proposal, decided, round) && seen.insert(bytemuck::cast(proposal)) {
            wanted.push((from, Signed::Proposal(proposal)));
        }
    }
    for (from, share) in heard.shares.drain(..) {
        if validators.key(share.body.slot).is_some() && shares.wants(&share, chain.settled, decided) {
            wanted.push((from, Signed::Share(share)));
        }
    }
    for (from, claim) in heard.claims.drain(..) {
        if validators.key(claim.body.slot).is_some() {
            wanted.push((from, Signed::Claim(claim)));
        }
    }
    for (from, found) in heard.evidence.drain(..) {
        if validators.key(found.slot()).is_some() && evidence.wants(&found, decided) {
            wanted.extend([(from, Signed::First(found)), (from, Signed::Second(found))]);
        }
    }
    wanted
}

fn item<'a>(signed: &'a Signed, validators: &'a Validators, setup: &'a Setup) -> SignedItem<'a> {
    let chain = &setup.chain;
    let key = |slot| validators.key(slot).expect("slots that nobody has were dropped");
    match signed {
        Signed::Vote(vote) => SignedItem::vote(vote, key(vote.body.slot), chain),
        Signed::Proposal(proposal) => SignedItem::proposal(proposal, key(proposal.body.slot), chain),
        Signed::Share(share) => SignedItem::share(share, key(share.body.slot), chain),
        Signed::Claim(claim) => SignedItem::claim(claim, key(claim.body.slot), chain),
        Signed::First(Evidence::Votes(vote, _)) | Signed::Second(Evidence::Votes(_, vote)) => {
            SignedItem::vote(vote, key(vote.body.slot), chain)
        }
        Signed::First(Evidence::Proposals(proposal, _)) | Signed::Second(Evidence::Proposals(_, proposal)) => {
            SignedItem::proposal(proposal, key(proposal.body.slot), chain)
        }
        Signed::First(Evidence::Shares(share, _)) | Signed::Second(Evidence::Shares(_, share)) => {
            SignedItem::share(share, key(share.body.slot), chain)
        }
    }
}

/// A connection proves which validator it is. Two that prove the same with different keys are two lives of one validator.
fn take_claim(
    claim: &Claim,
    from: PeerId,
    nodes: &mut Nodes,
    columns: &mut PeerColumns<'_, '_>,
    outbox: &mut Outbox,
    inbox: &mut Inbox,
) {
    let slot = claim.body.slot;
    let Some(node) = nodes.get(from) else { return };
    if node.key != claim.body.network {
        // Somebody else's claim, told again.
        return inbox.offences.push((from, Offence::FalsePeer));
    }
    let key = node.key;
    if nodes.rows().iter().any(|other| other.validator == Some(slot) && other.key != key) {
        outbox.outputs.push(Output::Alarm(Alarm::TwoLives { slot }));
    }
    if let Some(node) = nodes.get_mut(from) {
        node.validator = Some(slot);
    }
    if let Some(row) = row(columns.rows().0, from) {
        assert!(row.status != PeerStatus::Client as u8, "who claims to be a validator is a node");
        assert!(slot < VALIDATORS_MAX, "a claim is signed by a validator");
        row.validator = u16::try_from(slot).expect("slots are few");
    }
}
