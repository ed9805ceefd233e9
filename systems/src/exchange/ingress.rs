//! Ingress: what came in, sorted.

use bevy_ecs::system::{Res, ResMut};
use engine::io::Input;
use engine::limits::{EXPIRY_AHEAD_S_MAX, PENDING_MAX};
use engine::message::refusal::Refusal;

use super::{Clock, Inbox, Outbox, Pending};

/// System: sorts what came in. Malformed intents are dropped and counted, untimely ones refused, and what would
/// overfill the queue is shed and counted.
pub fn take_inputs(
    clock: Res<'_, Clock>,
    mut inbox: ResMut<'_, Inbox>,
    mut pending: ResMut<'_, Pending>,
    mut outbox: ResMut<'_, Outbox>,
) {
    let Inbox { inputs, intents, synced } = &mut *inbox;
    intents.clear();
    let mut room = PENDING_MAX.saturating_sub(pending.queue.len());
    for input in inputs.drain(..) {
        match input {
            Input::Synced { group } => *synced = group.max(*synced),
            Input::Intents(arrived) => {
                for intent in arrived {
                    if intent.body.check_form().is_err() {
                        pending.malformed += 1;
                        continue;
                    }
                    let expiry_ms = u64::from(intent.body.expiry_s) * 1_000;
                    match () {
                        () if expiry_ms < clock.now_ms => outbox.refuse(&intent, Refusal::Expired),
                        () if expiry_ms > clock.now_ms + EXPIRY_AHEAD_S_MAX * 1_000 => {
                            outbox.refuse(&intent, Refusal::ExpiresTooLate);
                        }
                        () if room == 0 => pending.shed += 1,
                        () => {
                            room -= 1;
                            intents.push(intent);
                        }
                    }
                }
            }
        }
    }
}
