//! Pledges: what players bring to the dice of pledged tables, on its way into a block.
//!
//! An opening has a deadline, so pledges wait in a queue of their own, which no flood of intents fills, and go into a block
//! before its intents, openings first. One that comes again takes the place of itself; one that no block took in time is let
//! go, and its player sends it again.

use bevy_ecs::system::{Res, ResMut};
use engine::Height;
use engine::PeerId;
use engine::io::{Offence, Output, Receipt, ShedReason, Verdict};
use engine::limits::NODE_PLEDGES_MAX;
use engine::message::node::NodeMessage;
use engine::message::refusal::Refusal;
use order::signature::{SignedItem, encoding_is_acceptable, verify_batch};

use super::tick::{Clock, Inbox, Origin, Outbox, Pending};
use super::verify::VerifySeed;
use crate::state::setup::Setup;

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
    if pledges.is_empty() && waiting.is_empty() {
        return;
    }
    waiting.let_go(now_ms, |to, id| outbox.shed_id(to, id, ShedReason::Busy));
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
