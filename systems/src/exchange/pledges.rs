//! Pledges: what players bring to the dice of pledged tables, on its way into a block.
//!
//! An opening has a deadline, so pledges wait in a queue of their own, which no flood of intents fills, and go into a block
//! before its intents, openings first. One that comes again takes the place of itself; one that no block took in time is let
//! go, and its player sends it again.

use bevy_ecs::system::{Res, ResMut};
use engine::Height;
use engine::PeerId;
use engine::io::{Offence, Output, Receipt, ShedReason, Verdict};
use engine::limits::{NODE_PLEDGES_MAX, PLEDGE_WAITS_MS, PLEDGES_PENDING_MAX};
use engine::message::intent::IntentId;
use engine::message::node::NodeMessage;
use engine::message::pledge::PledgeRow;
use engine::message::refusal::Refusal;
use order::signature::{SignedItem, encoding_is_acceptable, verify_batch};

use super::tick::{Clock, Inbox, Origin, Outbox, Pending, Sender};
use super::verify::VerifySeed;
use crate::state::setup::Setup;

/// A verified pledge or opening that waits for a block, or is in one and waits for its receipt.
#[derive(Clone, Copy, Debug)]
struct WaitingPledge {
    row: PledgeRow,
    origin: Origin,
    /// Who waits with it here.
    to: PeerId,
    /// When it came, in milliseconds of ticks.
    since_ms: u64,
    is_decided: bool,
}

/// Verified pledges and openings that wait. Bounded: those of this node's clients, and as many again of all other nodes.
#[derive(Default, Debug)]
pub struct PendingPledges {
    queue: Vec<WaitingPledge>,
}

impl PendingPledges {
    /// Whether one waits for a block.
    pub fn waits(&self) -> bool {
        self.queue.iter().any(|waiting| !waiting.is_decided)
    }

    /// Those that wait for a block, openings first.
    pub(super) fn to_propose(&self) -> impl Iterator<Item = &PledgeRow> {
        let of = |opening: bool| {
            let rows = self.queue.iter().filter(|waiting| !waiting.is_decided).map(|waiting| &waiting.row);
            rows.filter(move |row| row.is_opening() == opening)
        };
        of(true).chain(of(false))
    }

    /// They are in a decided block, and go into no other.
    pub(super) fn decide(&mut self, rows: &[PledgeRow]) {
        for row in rows {
            if let Some(waiting) = self.queue.iter_mut().find(|waiting| waiting.row == *row) {
                waiting.is_decided = true;
            }
        }
    }

    /// One has its receipt: says who waits for that here.
    pub(crate) fn answer(&mut self, id: &IntentId) -> Option<PeerId> {
        let place = self.queue.iter().position(|waiting| waiting.is_decided && waiting.row.id() == *id)?;
        Some(self.queue.remove(place).to).filter(|to| *to != PeerId::NONE)
    }

    /// Takes one whose signature verifies. Says whether there was room.
    fn take(&mut self, row: &PledgeRow, sender: Sender, now_ms: u64) -> bool {
        let to = sender.waits();
        if let Some(waiting) = self.queue.iter_mut().find(|waiting| waiting.row == *row) {
            waiting.to = if to == PeerId::NONE { waiting.to } else { to };
            return true;
        }
        let is_here = sender.origin == Origin::Here;
        let taken = self.queue.iter().filter(|waiting| (waiting.origin == Origin::Here) == is_here).count();
        if taken >= PLEDGES_PENDING_MAX {
            return false;
        }
        self.queue.push(WaitingPledge { row: *row, origin: sender.origin, to, since_ms: now_ms, is_decided: false });
        true
    }
}

/// System: verifies what came in, passes on what entered here, and lets go what waited too long.
pub fn take_pledges(
    setup: Res<'_, Setup>,
    clock: Res<'_, Clock>,
    seed: Res<'_, VerifySeed>,
    mut inbox: ResMut<'_, Inbox>,
    mut pending: ResMut<'_, Pending>,
    mut outbox: ResMut<'_, Outbox>,
) {
    let now_ms = clock.elapsed_ms();
    let Inbox { pledges, offences, closed, .. } = &mut *inbox;
    let waiting = &mut pending.pledges;
    if pledges.is_empty() && waiting.queue.is_empty() {
        return;
    }
    waiting.queue.retain(|waiting| {
        let stays = waiting.is_decided || now_ms < waiting.since_ms + PLEDGE_WAITS_MS;
        if !stays && waiting.to != PeerId::NONE {
            outbox.shed_id(waiting.to, waiting.row.id(), ShedReason::Busy);
        }
        stays
    });
    let items: Vec<SignedItem<'_>> = pledges.iter().map(|(_, row)| SignedItem::pledge(row, &setup.chain)).collect();
    let mut verdicts = vec![false; items.len()];
    if setup.has_pledged() {
        verify_batch(&items, &seed.0, &mut verdicts);
    }
    drop(items);
    let mut passed_on = Vec::new();
    for ((sender, row), holds) in pledges.drain(..).zip(verdicts) {
        let (to, id) = (sender.waits(), row.id());
        let shed = match () {
            () if !setup.has_pledged() => Some(ShedReason::NoPledges),
            () if *closed => Some(ShedReason::Closed),
            () if !holds || !encoding_is_acceptable(&row.key) => {
                offences.push((sender.peer, Offence::BadSignature));
                if to != PeerId::NONE {
                    let verdict = Verdict::Refused(Refusal::BadSignature);
                    let receipt = Receipt { id, height: Height::GENESIS, index: 0, verdict };
                    outbox.outputs.push(Output::Receipt { to, receipt });
                }
                continue;
            }
            () if !waiting.take(&row, sender, now_ms) => Some(ShedReason::Busy),
            () => None,
        };
        match shed {
            Some(reason) if to != PeerId::NONE => outbox.shed_id(to, id, reason),
            Some(_) => {}
            None if sender.origin == Origin::Here => {
                outbox.outputs.push(Output::Acknowledged { to, id });
                passed_on.push(row);
            }
            None => {}
        }
    }
    for rows in passed_on.chunks(NODE_PLEDGES_MAX) {
        outbox.tell(NodeMessage::Pledges(rows.to_vec()));
    }
}
