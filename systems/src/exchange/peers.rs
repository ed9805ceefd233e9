//! Peers: who is connected, what they did, and who is put out.

use std::collections::{BTreeMap, BTreeSet};

use bevy_ecs::resource::Resource;
use bevy_ecs::system::{Res, ResMut};
use bytemuck::Zeroable;
use engine::PeerId;
use engine::columns::PeerColumns;
use engine::component::{Peer, PeerKey, PeerStatus};
use engine::io::{Input, Offence, Output};
use engine::limits::{DEPARTED_SCORES_MAX, SCORE_BAN};

use super::tick::{Clock, Inbox, Outbox};

/// Penalty points of an offence. A peer that reaches [`SCORE_BAN`] is put out.
pub const fn points(offence: Offence) -> u32 {
    match offence {
        Offence::BadSignature => 10,
        Offence::Flood => 25,
        Offence::Malformed | Offence::FalsePeer => 50,
        Offence::FalseChain => SCORE_BAN,
    }
}

// An offence costs something, and one alone puts nobody out but where it says so; then nothing costs more than that.
const _: () = {
    let mut index = 0;
    while index < Offence::ALL.len() {
        let points = points(Offence::ALL[index]);
        assert!(points > 0, "an offence that costs nothing is none");
        assert!(points <= SCORE_BAN, "no offence costs more than to be put out");
        index += 1;
    }
};

/// Scores of keys that left with some: coming back does not clear them. Bounded: the lowest is forgotten first.
#[derive(Resource, Default)]
pub struct DepartedScores {
    by_key: BTreeMap<[u8; 32], Score>,
    /// The same by score, so that the lowest is found without a walk over all of them.
    by_score: BTreeSet<(Score, [u8; 32])>,
}

/// Points, and up to when they have decayed, in milliseconds of ticks: a clock on the wall that is set neither forgives nor keeps any.
type Score = (u32, u64);

impl DepartedScores {
    fn insert(&mut self, key: [u8; 32], score: Score) {
        if score.0 == 0 {
            return;
        }
        assert!(score.0 < SCORE_BAN, "whoever is put out is remembered elsewhere");
        self.take(&key);
        self.by_key.insert(key, score);
        self.by_score.insert((score, key));
        if self.by_key.len() > DEPARTED_SCORES_MAX {
            let (_, lowest) = self.by_score.pop_first().expect("there are many");
            self.by_key.remove(&lowest);
        }
        assert_eq!(self.by_key.len(), self.by_score.len(), "both say the same");
        assert!(self.by_key.len() <= DEPARTED_SCORES_MAX, "what others make a node hold is bounded");
    }

    fn take(&mut self, key: &[u8; 32]) -> Option<Score> {
        let score = self.by_key.remove(key)?;
        assert!(self.by_score.remove(&(score, *key)), "both say the same");
        Some(score)
    }
}

/// System: rows of peers that came, went, told something, or did at the edge what they may not do; in the order in
/// which it happened: a row may be left by one peer and taken by another in the same tick.
pub fn update_peers(
    clock: Res<'_, Clock>,
    inbox: Res<'_, Inbox>,
    mut departed: ResMut<'_, DepartedScores>,
    mut outbox: ResMut<'_, Outbox>,
    mut columns: PeerColumns<'_, '_>,
) {
    let (peers, keys) = columns.rows();
    for input in &inbox.inputs {
        match input {
            Input::Joined { peer, key, address, node } => {
                let status = if *node { PeerStatus::Node } else { PeerStatus::Client };
                let row = &mut peers[peer.slot as usize];
                assert!(row.status == PeerStatus::Free as u8, "a peer leaves its row before another takes it");
                assert!(keys[peer.slot as usize].key == [0; 32], "whoever left has taken the key along");
                let (score, scored_ms) = departed.take(key).unwrap_or((0, clock.elapsed_ms()));
                *row = Peer {
                    joined_ms: clock.now_ms,
                    scored_ms,
                    score,
                    generation: peer.generation,
                    validator: Peer::NO_VALIDATOR,
                    status: status as u8,
                    ..Peer::zeroed()
                };
                keys[peer.slot as usize] = PeerKey { key: *key, address: *address, reserved: [0; 16] };
            }
            Input::Left(peer) => {
                if let Some(row) = row(peers, *peer) {
                    let key = &mut keys[peer.slot as usize];
                    if row.is_connected() {
                        departed.insert(key.key, (row.score, row.scored_ms));
                    }
                    *row = Peer { generation: peer.generation, ..Peer::zeroed() };
                    *key = PeerKey::zeroed();
                }
            }
            Input::Offended { peer, offence } => judge(peers, keys, *peer, *offence, clock.elapsed_ms(), &mut outbox),
            Input::Told { peer, decided, settled } => {
                if let Some(row) = row(peers, *peer) {
                    (row.decided, row.settled) = (decided.0, settled.0);
                }
            }
            Input::RoundTrip { peer, micros } => {
                if let Some(row) = row(peers, *peer) {
                    row.rtt_us = *micros;
                }
            }
            Input::Intents { .. } | Input::Pledges { .. } | Input::Node { .. } => {}
            Input::Watch { .. } | Input::Synced { .. } => {}
        }
    }
}

/// System: what verification found in this tick is held against whoever sent it.
pub fn judge_peers(
    clock: Res<'_, Clock>,
    inbox: Res<'_, Inbox>,
    mut outbox: ResMut<'_, Outbox>,
    mut columns: PeerColumns<'_, '_>,
) {
    let (peers, keys) = columns.rows();
    for (peer, offence) in &inbox.offences {
        judge(peers, keys, *peer, *offence, clock.elapsed_ms(), &mut outbox);
    }
}

/// Holds an offence against a peer, and puts it out if it is one too many.
fn judge(peers: &mut [Peer], keys: &[PeerKey], peer: PeerId, offence: Offence, now_ms: u64, outbox: &mut Outbox) {
    let Some(row) = row(peers, peer) else { return };
    if row.is_connected() && hold_against(row, offence, now_ms) {
        row.status = PeerStatus::Banned as u8;
        let PeerKey { key, address, .. } = keys[peer.slot as usize];
        outbox.outputs.push(Output::Ban { peer, key, address, offence });
    }
}

/// Adds an offence's points to a score that a point leaves every second. Says whether it is one too many.
fn hold_against(row: &mut Peer, offence: Offence, now_ms: u64) -> bool {
    assert!(row.score < SCORE_BAN, "whoever is put out is judged no more");
    let seconds = now_ms.saturating_sub(row.scored_ms) / 1_000;
    // Whole seconds only: the rest counts the next time, or offences in quick succession would never decay.
    row.scored_ms += seconds * 1_000;
    row.score = row.score.saturating_sub(u32::try_from(seconds).unwrap_or(u32::MAX)) + points(offence);
    row.score >= SCORE_BAN
}

/// The row of a connection, unless it has left.
pub fn row(peers: &mut [Peer], peer: PeerId) -> Option<&mut Peer> {
    let row = peers.get_mut(peer.slot as usize)?;
    (row.generation == peer.generation && row.status != PeerStatus::Free as u8).then_some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_score_is_forgotten_first() {
        let mut departed = DepartedScores::default();
        let key = |number: u32| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_le_bytes());
            key
        };
        for number in 0..DEPARTED_SCORES_MAX as u32 + 100 {
            departed.insert(key(number), (1 + number % 90, 1_000));
        }
        assert_eq!(departed.by_key.len(), DEPARTED_SCORES_MAX);
        assert_eq!(departed.take(&key(0)), None);
        assert_eq!(departed.take(&key(89)), Some((90, 1_000)));
        let stranger = key(u32::MAX);
        departed.insert(stranger, (0, 1_000));
        assert_eq!(departed.take(&stranger), None, "nothing is nothing to keep");
        departed.insert(key(89), (7, 2_000));
        departed.insert(key(89), (8, 3_000));
        assert_eq!(departed.take(&key(89)), Some((8, 3_000)));
    }

    #[test]
    fn offences_add_up_faster_than_time_forgives() {
        let mut row = Peer { status: PeerStatus::Client as u8, ..Peer::zeroed() };
        let banned = (0..20u64).position(|second| hold_against(&mut row, Offence::BadSignature, second * 1_000));
        assert_eq!(banned, Some(10));
        let mut row = Peer { status: PeerStatus::Client as u8, ..Peer::zeroed() };
        assert!((0..1_000u64).all(|times| !hold_against(&mut row, Offence::BadSignature, times * 10_000)));
    }
}
