//! Waiting: what is kept of what the network says while the disk has no room, which may be for days.
//!
//! ```text
//!  intents                                    turned away
//!  pledges, openings                          kept up to a bound, turned away beyond it
//!  connections that come, go, offend, watch   kept; of one that came and went meanwhile nothing
//!  a node's claim, and its standing          the last of each
//!  all else of nodes, round trips             dropped: it is said again, or asked for again
//! ```

use std::collections::BTreeSet;

use engine::PeerId;
use engine::io::{Input, Output, ShedReason};
use engine::limits::DISK_FULL_PLEDGES_MAX;
use engine::message::intent::IntentId;
use engine::message::node::NodeMessage;
use engine::message::pledge::PledgeRow;

// A crowd's openings have room, and no more than a few MiB of it.
const _: () = assert!(DISK_FULL_PLEDGES_MAX * size_of::<PledgeRow>() <= 4 << 20);

/// Keeps of the inputs from place `from` on what is of use once there is room again. Gives what goes, and what those hear whose
/// intents, or pledges, were not taken.
pub(super) fn turn_away(inputs: &mut Vec<Input>, from: usize) -> (Vec<Input>, Vec<Output>) {
    assert!(from <= inputs.len(), "what was kept before is kept");
    if from == inputs.len() {
        return (Vec::new(), Vec::new());
    }
    let mut shed = Vec::new();
    let mut turn = |to: PeerId, id: IntentId| shed.push(Output::Shed { to, id, reason: ShedReason::DiskFull });
    let mut room = DISK_FULL_PLEDGES_MAX - pledges(&inputs[..from]).min(DISK_FULL_PLEDGES_MAX);
    let (mut said, mut left) = (false, false);
    // What is turned away is answered.
    let goes = |input: &mut Input| match input {
        Input::Intents { from, intents } => {
            intents.iter().for_each(|intent| turn(*from, intent.id()));
            true
        }
        Input::Pledges { from, pledges } => {
            let has_room = pledges.len() <= room;
            match has_room {
                true => room -= pledges.len(),
                false => pledges.iter().for_each(|row| turn(*from, row.id())),
            }
            !has_room
        }
        Input::Node { message, .. } => {
            let stays = is_last_word(message);
            said |= stays;
            !stays
        }
        Input::Told { .. } | Input::RoundTrip { .. } => true,
        Input::Left(_) => {
            left = true;
            false
        }
        Input::Joined { .. } | Input::Offended { .. } | Input::Watch { .. } | Input::Synced { .. } => false,
    };
    let gone = inputs.extract_if(from.., goes).collect();
    if said {
        keep_last_said(inputs);
    }
    if left {
        forget_gone(inputs);
    }
    (gone, shed)
}

/// Whether a node says it once, of itself, and not again until it changes.
fn is_last_word(message: &NodeMessage) -> bool {
    matches!(message, NodeMessage::Claim(_) | NodeMessage::Standing(_))
}

/// How many pledges and openings there are.
fn pledges(inputs: &[Input]) -> usize {
    let of = |input: &Input| if let Input::Pledges { pledges, .. } = input { pledges.len() } else { 0 };
    inputs.iter().map(of).sum()
}

/// Keeps of each node the last claim and the last standing: each says all that the ones before it said.
fn keep_last_said(inputs: &mut Vec<Input>) {
    let mut seen = BTreeSet::new();
    let mut is_last = |input: &Input| match input {
        Input::Node { from, message } if is_last_word(message) => seen.insert((*from, message.kind())),
        _ => true,
    };
    inputs.reverse();
    inputs.retain(|input| is_last(input));
    inputs.reverse();
}

/// Forgets those who came and went: nobody else has heard of them. One that offended is remembered, for when it comes again.
fn forget_gone(inputs: &mut Vec<Input>) {
    let (mut came, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for input in &*inputs {
        match input {
            Input::Joined { peer, .. } => _ = came.insert(*peer),
            Input::Offended { peer, .. } => _ = came.remove(peer),
            Input::Left(peer) if came.contains(peer) => {
                gone.insert(*peer);
            }
            _ => {}
        }
    }
    let of = |input: &Input| match input {
        Input::Joined { peer, .. } | Input::Left(peer) | Input::Watch { peer, .. } => Some(*peer),
        Input::Node { from, .. } | Input::Pledges { from, .. } | Input::Intents { from, .. } => Some(*from),
        Input::Offended { peer, .. } | Input::Told { peer, .. } | Input::RoundTrip { peer, .. } => Some(*peer),
        Input::Synced { .. } => None,
    };
    inputs.retain(|input| !of(input).is_some_and(|peer| gone.contains(&peer)));
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;
    use engine::Height;
    use engine::io::{Offence, Watched};
    use engine::message::node::NodeStanding;

    use super::*;

    fn peer(slot: u32) -> PeerId {
        PeerId { slot, generation: 3 }
    }

    fn joined(slot: u32) -> Input {
        Input::Joined { peer: peer(slot), key: [7; 32], address: [1; 16], node: true }
    }

    fn standing(slot: u32, decided: u64) -> Input {
        let standing = NodeStanding { decided: Height(decided), ..NodeStanding::default() };
        Input::Node { from: peer(slot), message: Box::new(NodeMessage::Standing(standing)) }
    }

    fn watches(slot: u32) -> Input {
        Input::Watch { peer: peer(slot), what: Watched::Account([1; 32]), on: true }
    }

    #[test]
    fn what_is_said_again_is_dropped_and_what_was_kept_stays() {
        let votes = |slot| Input::Node { from: peer(slot), message: Box::new(NodeMessage::Votes(Vec::new())) };
        let told = Input::Told { peer: peer(1), decided: Height(1), settled: Height(1) };
        let mut inputs = vec![Input::RoundTrip { peer: peer(1), micros: 1 }, joined(1), standing(1, 4)];
        for round in 5..10 {
            let from = inputs.len();
            let more =
                [votes(1), Input::RoundTrip { peer: peer(1), micros: 2 }, told.clone(), standing(1, round), watches(1)];
            inputs.extend(more);
            assert!(turn_away(&mut inputs, from).1.is_empty(), "nobody waits for an answer");
        }
        let before = Input::RoundTrip { peer: peer(1), micros: 1 };
        let kept = [before, joined(1), watches(1), watches(1), watches(1), watches(1), standing(1, 9), watches(1)];
        assert_eq!(inputs, kept);
    }

    #[test]
    fn of_those_who_come_and_go_nothing_is_kept() {
        let mut inputs = vec![joined(0)];
        for slot in 1..100 {
            let from = inputs.len();
            inputs.extend([joined(slot), standing(slot, 7), watches(slot), Input::Left(peer(slot))]);
            assert!(turn_away(&mut inputs, from).1.is_empty());
        }
        assert_eq!(inputs, [joined(0)]);
        let more = [joined(5), Input::Offended { peer: peer(5), offence: Offence::BadSignature }];
        inputs.extend(more.into_iter().chain([Input::Left(peer(5)), Input::Left(peer(9))]));
        assert!(turn_away(&mut inputs, 1).1.is_empty());
        assert_eq!(inputs.len(), 5, "what one did is held against it, and one that was there before has left");
    }

    #[test]
    fn pledges_are_kept_up_to_a_bound() {
        let pledges = |count| Input::Pledges { from: peer(1), pledges: vec![PledgeRow::zeroed(); count] };
        let mut inputs = vec![pledges(DISK_FULL_PLEDGES_MAX - 5)];
        inputs.extend([pledges(3), pledges(3), pledges(2)]);
        let (gone, shed) = turn_away(&mut inputs, 1);
        assert_eq!(gone, [pledges(3)]);
        assert_eq!((shed.len(), self::pledges(&inputs)), (3, DISK_FULL_PLEDGES_MAX));
        let is_told = |output: &Output| matches!(output, Output::Shed { reason: ShedReason::DiskFull, .. });
        assert!(shed.iter().all(is_told), "whoever sent them hears it");
    }
}
