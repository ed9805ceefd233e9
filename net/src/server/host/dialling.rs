//! Other nodes that this one opens a connection to. Each is counted, bounded and banned as one that a peer opened.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::io::{Input, Offence};
use quinn_proto::ClientConfig;
use tracing::{debug, warn};

use super::{Host, Peer, Stage};
use crate::server::admission::Allowance;
use crate::server::errands::Done;
use crate::server::lanes::Lanes;
use crate::server::nodes::{Candidate, Second, TRY_EVERY};
use crate::server::talk::Talk;
use crate::server::visitors::{Kind, Visit};
use crate::session::{Close, CloseCode, Inflow};
use crate::tls::Key;
use crate::transport::{address_bytes, lanes_transport};
use crate::wire::{ALPN, Decoder, Hello, Role, ToNode};

/// Why a node that was only learnt of is not taken.
const FOLLOWED: &str = "there are as many followers as net.followers_max allows";
/// Time for a handshake with another node: one that starts in the meantime is tried anew.
const HANDSHAKE: Duration = Duration::from_secs(2);

impl Host {
    /// Takes what errands brought.
    pub(super) fn run_errands(&mut self) {
        while let Some(done) = self.common.errands.take() {
            match done {
                Done::Resolved(candidate, at) => {
                    let tried = at.and_then(|at| self.try_node(&candidate, at));
                    if let Err(problem) = tried {
                        debug!(node = candidate.address, problem, "no connection to another node");
                        self.common.nodes.hung_up(&candidate, self.now);
                    }
                }
                Done::Verified { peer, held, has_false } => {
                    held.into_iter().for_each(|record| self.common.nodes.remember(record));
                    if has_false {
                        self.offended(peer);
                    }
                }
                Done::Nearby(node) => {
                    // Anybody on the local network may say anything: the handshake proves the key, and the hello the
                    // chain.
                    if node.chain == self.common.chain.id && node.key != self.common.identity.key {
                        self.common.nodes.see(node.key, node.address, self.now);
                    }
                }
            }
        }
    }

    /// A peer told of nodes what no node signed.
    fn offended(&mut self, peer: engine::PeerId) {
        // Whoever has left meanwhile is judged no more.
        let Some(row) = self.common.slots.row(peer) else { return };
        if let Some(Peer { stage: Stage::Open(open), .. }) = &mut self.peers[row] {
            open.untold.tell(Input::Offended { peer, offence: Offence::FalsePeer }, &self.common.events);
            self.quic.mark(row);
        }
    }

    /// Looks for nodes to connect to.
    pub(super) fn dial(&mut self) {
        if self.now < self.next.0 || self.farewell.is_some() {
            return;
        }
        self.next.0 = self.now + TRY_EVERY;
        for candidate in self.common.nodes.take_due(self.now) {
            self.common.errands.resolve(candidate, self.common.own);
        }
    }

    fn try_node(&mut self, candidate: &Candidate, at: SocketAddr) -> Result<(), String> {
        if self.farewell.is_some() {
            return Err("the node ends".into());
        }
        let (address, now, common) = (address_bytes(at.ip()), self.now, &mut self.common);
        if common.nodes.key_of(candidate).is_some_and(|key| common.admission.is_banned(&key, now)) {
            return Err("its key is banned".into());
        }
        common.admission.admit_dialled(address, now).map_err(|code| code.sentence().to_owned())?;
        let mut allowed = Allowance::Idle;
        match self.connect(candidate, at, &mut allowed) {
            Ok(row) => {
                let by = self.now + HANDSHAKE.min(self.common.config.handshake_timeout);
                let dialled = Some(candidate.clone());
                let (is_unproven, stage) = (false, Stage::Handshake(by));
                self.install(row, Peer { address, allowed, is_unproven, dialled, stage });
                Ok(())
            }
            Err(problem) => {
                // It was counted when it was let in, a few lines above: without this the place would be lost for ever.
                self.common.admission.release(address, allowed);
                Err(problem)
            }
        }
    }

    /// Opens a connection that admission has let in. Gives its row.
    fn connect(&mut self, candidate: &Candidate, at: SocketAddr, allowed: &mut Allowance) -> Result<usize, String> {
        let wanted = if candidate.is_validator { Allowance::Validator } else { Allowance::Node };
        if !candidate.is_configured && self.common.followers >= self.common.config.followers_max {
            return Err(FOLLOWED.into());
        }
        self.common.promote(allowed, wanted).map_err(|close| close.to_string())?;
        let crypto = self.common.identity.client_config(ALPN).map_err(|error| error.to_string())?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(lanes_transport());
        self.quic.connect(config, at, self.moment()).map_err(|error| error.to_string())
    }

    /// Whether a connection with a node that was dialled is the only one, or takes the other one's place; if not, it is ended.
    fn is_only(&mut self, row: usize, key: &Key) -> bool {
        match self.common.nodes.second(key, true, self.now) {
            Second::None => true,
            Second::Stays { ends } => {
                if let Some(other) = self.common.slots.row(ends) {
                    self.give_place(other, Some(row));
                }
                true
            }
            Second::Ends { stays } => {
                // If that one's peer is gone, what comes back ends it, and this one is free to come again.
                if let Some(other) = self.common.slots.row(stays) {
                    self.quic.ping(other);
                }
                self.end(row, &Close::new(CloseCode::KeyInUse, CloseCode::KeyInUse.sentence()));
                false
            }
        }
    }

    /// A node that was dialled has proven its key.
    pub(super) fn dialled(&mut self, row: usize, key: Key) {
        let peer = self.peers[row].as_ref().expect("it was dialled");
        let (candidate, address) = (peer.dialled.clone().expect("it was dialled"), peer.address);
        if let Some(expected) = candidate.key.filter(|expected| *expected != key) {
            let (node, found, expected) = (&candidate.address, engine::hex(&key), engine::hex(&expected));
            if self.common.nodes.is_stranger_told(&candidate, self.now) {
                let of = if candidate.is_validator { "net.validators" } else { "net.peers" };
                warn!(node, found, expected, "the node there has another key than {of} says: none of the two is heard");
            } else {
                debug!(node, found, expected, "it has another key than expected");
            }
            return self.end(row, &Close::new(CloseCode::Done, "another key was expected"));
        }
        let common = &mut self.common;
        if common.admission.is_banned(&key, self.now) {
            return self.end(row, &Close::new(CloseCode::Banned, CloseCode::Banned.sentence()));
        }
        if candidate.is_configured {
            // From now on this node is known by its key, also where it connects itself.
            common.nodes.prove(&candidate.address, key);
        }
        // An address that was named or learnt may be one of this node.
        if key == common.identity.key {
            return self.end(row, &Close::new(CloseCode::Done, "it is this node"));
        }
        if !self.is_only(row, &key) {
            return;
        }
        let common = &mut self.common;
        // Several are dialled at once, and others may have come meanwhile: the first of them to get here have the places.
        if !candidate.is_configured && common.followers >= common.config.followers_max {
            return self.end(row, &Close::new(CloseCode::Done, FOLLOWED));
        }
        let (per_s, patience) = (common.config.intents_per_connection_per_s, common.config.handshake_timeout);
        let inflow = Inflow::new(Decoder::for_opener(Role::Node), per_s, patience, self.now);
        if !self.open(row, key, |_| Talk::Dialled(inflow)) {
            return self.end(row, &Close::new(CloseCode::Full, CloseCode::Full.sentence()));
        }
        let common = &mut self.common;
        let came = Visit { kind: Kind::Came, reason: "node that was dialled", text: "", address, key: Some(key) };
        common.visitors.note(self.now, &came);
        let Some(Peer { stage: Stage::Open(open), .. }) = &mut self.peers[row] else { return };
        common.nodes.joined(key, open.id, true, self.now);
        // Lanes are there at once. Their streams open when the other node has taken this one for a node.
        open.lanes = Some(Box::new(Lanes::new()));
        open.is_follower = !candidate.is_configured;
        common.followers += u32::from(open.is_follower);
        open.untold.tell(Input::Joined { peer: open.id, key, address, node: true }, &common.events);
        let program = concat!("bitcraps ", env!("CARGO_PKG_VERSION")).to_owned();
        let hello = ToNode::Hello(Hello { chain: Some(common.chain.id), program, role: Role::Node });
        open.answers.tell(|bytes| hello.encode(bytes));
    }
}
