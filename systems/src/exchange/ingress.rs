//! Ingress: what came in, sorted.

use bevy_ecs::system::{Res, ResMut};
use engine::PeerId;
use engine::io::{Input, Output, ShedReason};
use engine::limits::PENDING_MAX;
use engine::message::intent::{Expiry, Intent};
use engine::message::refusal::Refusal;

use super::answers::{Answers, Known};
use super::chain::Chain;
use super::tick::{Clock, Inbox, Outbox, Pending};

/// System: sorts what came in. An intent that is known is answered as before; malformed and untimely ones are refused,
/// and what would overfill the queue is shed. The rest goes on to be verified.
pub fn take_inputs(
    clock: Res<'_, Clock>,
    chain: Res<'_, Chain>,
    mut inbox: ResMut<'_, Inbox>,
    mut answers: ResMut<'_, Answers>,
    mut pending: ResMut<'_, Pending>,
    mut outbox: ResMut<'_, Outbox>,
) {
    let Inbox { inputs, intents, senders, synced, watches, closed, .. } = &mut *inbox;
    intents.clear();
    senders.clear();
    let room = PENDING_MAX.saturating_sub(pending.queue.len());
    let mut take = |from: PeerId, intent: Intent| {
        let mut shed = |reason| {
            pending.shed += 1;
            outbox.shed(from, &intent, reason);
        };
        if intent.body.check_form().is_err() {
            return shed(ShedReason::Malformed);
        }
        match answers.look_up(&intent) {
            Known::Answered(receipt) => return outbox.outputs.push(Output::Receipt { to: from, receipt }),
            Known::NumberWaits => return shed(ShedReason::NumberWaits),
            Known::Waits => {
                if let Some(before) = answers.redirect(&intent, from) {
                    outbox.shed(before, &intent, ShedReason::Moved);
                }
                return outbox.acknowledge(from, &intent);
            }
            Known::New => {}
        }
        match intent.body.expiry(clock.now_ms) {
            Expiry::Passed => outbox.refuse(from, &intent, Refusal::Expired),
            Expiry::TooFar => outbox.refuse(from, &intent, Refusal::ExpiresTooLate),
            // Every block to come has a time above its parent's: none that this node makes now could take it.
            Expiry::Within if matches!(intent.body.expiry(chain.parent_time_ms + 1), Expiry::Passed) => {
                shed(ShedReason::ClockBehind);
            }
            Expiry::Within if *closed => shed(ShedReason::Closed),
            Expiry::Within if intents.len() == room => shed(ShedReason::Busy),
            Expiry::Within => {
                intents.push(intent);
                senders.push(from);
            }
        }
    };
    for input in inputs.drain(..) {
        match input {
            Input::Synced { group } => *synced = group.max(*synced),
            Input::Watch { .. } | Input::Left(_) => watches.push(input),
            Input::Intents { from, intents: arrived } => arrived.into_iter().for_each(|intent| take(from, intent)),
            // What else there is was taken by `update_peers`.
            Input::Joined { .. } | Input::Offended { .. } | Input::Told { .. } | Input::RoundTrip { .. } => {}
        }
    }
}
