//! Who comes in, from the first packet to the proven key, and who leaves.

use std::time::Duration;

use engine::io::{Input, Offence, Watched};
use engine::limits::{HALF_OPEN_MAX, TURN_HANDSHAKES_MAX};
use quinn_proto::Incoming;

use super::{Counters, Host, Peer, Stage};
use crate::server::admission::Allowance;
use crate::server::peer::Open;
use crate::server::talk::Talk;
use crate::server::visitors::{Departure, Kind, VISITOR, Visit, ending};
use crate::session::{Close, CloseCode, Session, SessionBounds};
use crate::tls::{Key, proven_key};
use crate::transport::address_bytes;

/// Why a newcomer is turned away with FULL, which has one code on the wire.
const SHORT: &str = "it is short of memory or of buffers, and takes no newcomers";
const CROWDED: &str = "it has as many connections as it takes";

impl Host {
    /// Looks at whoever wants in: each is let in, turned away, or asked to prove its address.
    pub(super) fn admit(&mut self) {
        while let Some(incoming) = self.quic.take_arrived() {
            let address = address_bytes(incoming.remote_address().ip());
            let counters = &self.common.counters;
            let is_unproven = !incoming.remote_address_validated();
            // Where many want in, or some of one address, that is proven before anything is counted for it: a flood of forged
            // ones would use up what others may have, or what those may whose address it is.
            if self.farewell.is_some() {
                self.quic.refuse(incoming);
            } else if is_unproven && (self.half_open >= HALF_OPEN_MAX || self.common.admission.must_prove(address)) {
                Counters::add(&counters.retried, 1);
                self.quic.retry(incoming);
            } else if let Err(code) = self.common.admission.admit(address, self.now) {
                let counter = match code {
                    CloseCode::Banned => &counters.refused_banned,
                    CloseCode::AddressLimit => &counters.refused_address,
                    _ => &counters.refused_full,
                };
                Counters::add(counter, 1);
                self.common.refused(self.now, (code.name(), code.sentence()), address, None);
                self.quic.refuse(incoming);
            } else {
                self.half_open += 1;
                if is_unproven {
                    self.common.admission.doubt(address);
                }
                self.waiting.push_back(incoming);
            }
        }
    }

    /// Begins handshakes, a few a turn. Says whether others wait.
    pub(super) fn accept(&mut self) -> bool {
        for _ in 0..TURN_HANDSHAKES_MAX {
            let Some(incoming) = self.waiting.pop_front() else { return false };
            self.begin(incoming);
        }
        assert!(self.half_open as usize >= self.waiting.len(), "whoever waits for a handshake is half open");
        !self.waiting.is_empty()
    }

    fn begin(&mut self, incoming: Incoming) {
        let address = address_bytes(incoming.remote_address().ip());
        let is_unproven = !incoming.remote_address_validated();
        match self.quic.accept(incoming, self.moment()) {
            Some(row) => {
                let (allowed, stage) = (Allowance::Idle, self.shaking());
                self.install(row, Peer { address, allowed, is_unproven, dialled: None, stage });
            }
            None => {
                self.shaken(address, is_unproven);
                self.common.failed(self.now, "its handshake failed", address);
                self.common.admission.release(address, Allowance::Idle);
            }
        }
    }

    /// A handshake that a peer began has ended, well or not.
    fn shaken(&mut self, address: [u8; 16], is_unproven: bool) {
        self.half_open -= 1;
        if is_unproven {
            self.common.admission.trust(address);
        }
    }

    /// A handshake that begins now.
    pub(super) fn shaking(&self) -> Stage {
        Stage::Handshake(self.now + self.common.config.handshake_timeout)
    }

    pub(super) fn install(&mut self, row: usize, peer: Peer) {
        if self.peers.len() <= row {
            self.peers.resize_with(row + 1, || None);
        }
        assert!(self.peers[row].replace(peer).is_none(), "a row has one connection");
    }

    /// A handshake has ended well.
    pub(super) fn connected(&mut self, row: usize) {
        let Some(peer) = self.peers[row].as_ref() else { return };
        let is_dialled = peer.dialled.is_some();
        let key = self.quic.line(row).and_then(|line| proven_key(line.crypto_session().peer_identity()));
        let Some(key) = key else { return self.fail(row, "its handshake failed") };
        // A node that was dialled is judged by other rules: this side wants it, and knows which key to expect.
        if is_dialled {
            return self.dialled(row, key);
        }
        if self.common.admission.is_banned(&key, self.now) {
            Counters::add(&self.common.counters.refused_banned, 1);
            return self.turn_away(row, key, CloseCode::Banned, CloseCode::Banned.sentence());
        }
        // Only the key tells who it is: two nodes that are both short would find each other no more if nobody came so
        // far.
        if self.throttle.is_closed() && !self.common.nodes.is_known(&key) {
            Counters::add(&self.common.counters.refused_short, 1);
            return self.turn_away(row, key, CloseCode::Full, SHORT);
        }
        let config = &self.common.config;
        let bounds = SessionBounds {
            intents_per_s: config.intents_per_connection_per_s,
            opens_per_min: config.opens_per_connection_per_min,
            patience: config.handshake_timeout,
        };
        let now = self.now;
        if !self.open(row, key, |id| Talk::Heard(Session::new(id, &bounds, now))) {
            Counters::add(&self.common.counters.refused_full, 1);
            return self.turn_away(row, key, CloseCode::Full, CROWDED);
        }
        Counters::add(&self.common.counters.accepted, 1);
    }

    /// Turns a connection away whose key is known now, and says why.
    fn turn_away(&mut self, row: usize, key: Key, code: CloseCode, why: &str) {
        let address = self.peers[row].as_ref().expect("it was let in").address;
        let reason = if why == SHORT { "SHORT" } else { code.name() };
        self.common.refused(self.now, (reason, why), address, Some(key));
        self.end(row, &Close::new(code, why));
    }

    /// Gives a connection whose key is proven a slot. Says whether there was one.
    pub(super) fn open(&mut self, row: usize, key: Key, talk: impl FnOnce(engine::PeerId) -> Talk) -> bool {
        // A slot is free only once the tick knows that the last one in it has left, so there may be none for a moment.
        let Some(id) = self.common.slots.take(row) else { return false };
        let peer = self.peers[row].as_mut().expect("it was let in");
        peer.stage = Stage::Open(Box::new(Open::new(id, key, talk(id), self.now)));
        if peer.dialled.is_none() {
            let (address, is_unproven) = (peer.address, peer.is_unproven);
            self.shaken(address, is_unproven);
        }
        true
    }

    /// A handshake has failed, or takes too long.
    pub(super) fn fail(&mut self, row: usize, problem: &str) {
        let Some(peer) = self.peers[row].as_ref() else { return };
        match &peer.dialled {
            Some(node) => tracing::debug!(node = node.address, problem, "no connection to another node"),
            None => self.common.failed(self.now, problem, peer.address),
        }
        self.end(row, &Close::new(CloseCode::Done, ""));
    }

    /// A connection ends: its peer is told why, and all that it held is given back.
    pub(super) fn end(&mut self, row: usize, close: &Close) {
        // It may have ended earlier in this turn: what it held is given back once.
        let Some(peer) = self.peers[row].take() else { return };
        self.quic.close(row, close, self.moment());
        // A connection that this node dialled was never counted among those that wait for a handshake.
        if matches!(peer.stage, Stage::Handshake(_)) && peer.dialled.is_none() {
            self.shaken(peer.address, peer.is_unproven);
        }
        let common = &mut self.common;
        common.admission.release(peer.address, peer.allowed);
        if let Stage::Open(open) = &peer.stage {
            // It may end while it is let in as a follower, before it counts as a node.
            common.followers -= u32::from(open.is_follower);
            if open.is_node {
                common.nodes.left(&open.key, open.id, self.now);
            }
        }
        if let Some(candidate) = &peer.dialled {
            common.nodes.hung_up(candidate, self.now);
        }
        let Stage::Open(mut open) = peer.stage else { return };
        common.held -= open.counted;
        for what in open.talk.watching() {
            if let Watched::Table(table) = what {
                common.unwatch(*table, open.id);
            }
        }
        if open.has_joined {
            // The tick keeps the score of a key: whoever sends what is no message again and again is banned.
            if close.code == CloseCode::Malformed {
                open.untold.tell(Input::Offended { peer: open.id, offence: Offence::Malformed }, &common.events);
            }
            open.untold.tell(Input::Left(open.id), &common.events);
        } else if close.code == CloseCode::Malformed {
            // The world keeps no score of a key that never said hello, and nothing that it sent was right.
            common.admission.ban(open.key, peer.address, self.now);
            Counters::add(&common.counters.banned, 1);
        }
        let put_out = (close.code != CloseCode::Done).then_some(close);
        let Departure { reason, text } = ending(put_out, open.broke.take());
        // Of two connections of its own this node ends one for the same reason.
        let is_told = put_out.is_none() && reason == CloseCode::KeyInUse.name();
        if let Some(candidate) = peer.dialled.filter(|_| is_told)
            && common.nodes.shut_out(&candidate, open.key)
        {
            tracing::error!(
                node = engine::hex(&open.key),
                "another process with this node's network key is connected there: its keys are in two places, or its directory \
                 is a copy; as long as no quorum is connected, this one signs nothing"
            );
        }
        // Whoever only asked how the node is does so every few seconds, and would fill the log.
        let is_visitor = peer.allowed == Allowance::Idle && !open.is_node && reason == CloseCode::Done.name();
        let reason = if is_visitor { VISITOR } else { reason };
        let visit = Visit { kind: Kind::Went, reason, text: &text, address: peer.address, key: Some(open.key) };
        common.visitors.note(self.now, &visit);
        // From here on nothing that is said to this connection finds it; its slot stays taken until the tick has heard.
        common.slots.end(open.id);
        self.leaving.push((open.id, open.untold));
    }

    /// The moment at which something is due for a peer though nothing arrives.
    pub(super) fn due(&self, row: usize) -> Option<Duration> {
        match &self.peers.get(row)?.as_ref()?.stage {
            Stage::Handshake(by) => Some(*by),
            Stage::Open(open) => open.due(),
        }
    }
}
