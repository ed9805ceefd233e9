//! Messages in both directions.

use bytemuck::{Pod, pod_read_unaligned};
use engine::io::{Standing, TableUpdate, Watched};
use engine::message::intent::Intent;

use super::record::{self, AccountRow, Answer, Hello, PeerRecord, Welcome};
use super::{ANSWERS_MAX, INTENTS_MAX, Kind, PEERS_MAX, WireError, frame, table};

/// What a node can be told.
#[derive(Clone, PartialEq, Debug)]
pub enum ToNode {
    /// The first message.
    Hello(Hello),
    /// Signed intents; nothing about them was checked but their length.
    Intents(Vec<Intent>),
    /// What to watch from now on, or no longer.
    Watch(Vec<(Watched, bool)>),
    /// Asks for the genesis.
    AskGenesis,
    /// Nodes that the sender, a node, knows.
    Peers(Vec<PeerRecord>),
    /// Where the sender, a node, stands.
    Standing(Standing),
}

/// What a node can tell.
#[derive(Clone, PartialEq, Debug)]
pub enum ToClient {
    /// The first message.
    Welcome(Welcome),
    /// What became of intents.
    Answers(Vec<Answer>),
    /// The genesis' bytes.
    Genesis(Vec<u8>),
    /// A watched account.
    Account(AccountRow),
    /// What changed at a watched table, or all of it.
    Table {
        /// What changed.
        update: Box<TableUpdate>,
        /// Whether it is the whole table: what was known before is dropped.
        whole: bool,
    },
    /// Nodes that this node knows.
    Peers(Vec<PeerRecord>),
    /// Where this node stands.
    Standing(Standing),
}

fn list<T: Pod>(body: &[u8]) -> impl Iterator<Item = T> + use<'_, T> {
    body.chunks_exact(size_of::<T>()).map(pod_read_unaligned)
}

fn records<T: Pod>(kind: Kind, records: impl Iterator<Item = T>, out: &mut Vec<u8>) {
    frame(kind, out, |out| records.for_each(|record| out.extend_from_slice(bytemuck::bytes_of(&record))));
}

fn peers(body: &[u8]) -> Result<Vec<PeerRecord>, WireError> {
    let peers: Vec<PeerRecord> = list(body).collect();
    if peers.iter().any(|peer| peer.reserved != [0; 6]) { Err(WireError::NotZero("peer")) } else { Ok(peers) }
}

impl ToNode {
    /// Appends the message, cut in as many as its list needs.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => records(Kind::Hello, std::iter::once(hello.encode()), out),
            Self::Intents(intents) => {
                intents.chunks(INTENTS_MAX).for_each(|some| records(Kind::Intents, some.iter().copied(), out));
            }
            Self::Watch(watches) => {
                for some in watches.chunks(engine::limits::PEER_WATCHES_MAX) {
                    records(Kind::Watch, some.iter().map(|(what, on)| record::watch_body(*what, *on)), out);
                }
            }
            Self::AskGenesis => frame(Kind::AskGenesis, out, |_| {}),
            Self::Peers(peers) => {
                peers.chunks(PEERS_MAX).for_each(|some| records(Kind::PeersToNode, some.iter().copied(), out));
            }
            Self::Standing(standing) => {
                records(Kind::StandingToNode, std::iter::once(record::standing_body(standing)), out);
            }
        }
    }

    /// Reads a body that [`super::Cutter`] cut, so that its length fits its kind.
    ///
    /// # Errors
    /// If a field cannot be so, or the kind goes the other way.
    pub fn decode(kind: Kind, body: &[u8]) -> Result<Self, WireError> {
        super::check_length(kind, body.len())?;
        Ok(match kind {
            Kind::Hello => Self::Hello(Hello::decode(&pod_read_unaligned(body))?),
            Kind::Intents => Self::Intents(list(body).collect()),
            Kind::Watch => Self::Watch(list(body).map(|watch| record::watch(&watch)).collect::<Result<_, _>>()?),
            Kind::AskGenesis => Self::AskGenesis,
            Kind::PeersToNode => Self::Peers(peers(body)?),
            Kind::StandingToNode => Self::Standing(record::standing(&pod_read_unaligned(body))),
            other => return Err(WireError::Place(other)),
        })
    }
}

impl ToClient {
    /// Appends the message, cut in as many as its list needs.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Welcome(welcome) => records(Kind::Welcome, std::iter::once(welcome.encode()), out),
            Self::Answers(answers) => Self::encode_answers(answers, out),
            Self::Genesis(bytes) => frame(Kind::Genesis, out, |out| out.extend_from_slice(bytes)),
            Self::Account(account) => records(Kind::Account, std::iter::once(account.encode()), out),
            Self::Table { update, .. } => Self::encode_table(update, out),
            Self::Peers(peers) => {
                peers.chunks(PEERS_MAX).for_each(|some| records(Kind::Peers, some.iter().copied(), out));
            }
            Self::Standing(standing) => {
                records(Kind::Standing, std::iter::once(record::standing_body(standing)), out);
            }
        }
    }

    /// Appends answers without taking them.
    pub fn encode_answers(answers: &[Answer], out: &mut Vec<u8>) {
        answers.chunks(ANSWERS_MAX).for_each(|some| records(Kind::Answers, some.iter().map(Answer::encode), out));
    }

    /// What stands before a genesis of this length, whose bytes follow.
    ///
    /// # Panics
    /// If it is longer than a message may be: a node checks that when it starts.
    pub fn genesis_header(length: usize) -> [u8; super::HEADER_BYTES] {
        super::header(Kind::Genesis, length)
    }

    /// Appends a table update without taking it; one for a single peer is the whole table.
    pub fn encode_table(update: &TableUpdate, out: &mut Vec<u8>) {
        frame(Kind::Table, out, |out| table::encode(update, out));
    }

    /// Reads a body that [`super::Cutter`] cut, so that its length fits its kind.
    ///
    /// # Errors
    /// If a field cannot be so, or the kind goes the other way.
    pub fn decode(kind: Kind, body: &[u8]) -> Result<Self, WireError> {
        super::check_length(kind, body.len())?;
        Ok(match kind {
            Kind::Welcome => Self::Welcome(Welcome::decode(&pod_read_unaligned(body))?),
            Kind::Answers => Self::Answers(list(body).map(|answer| Answer::decode(&answer)).collect::<Result<_, _>>()?),
            Kind::Genesis => Self::Genesis(body.to_vec()),
            Kind::Account => Self::Account(AccountRow::decode(&pod_read_unaligned(body))?),
            Kind::Table => {
                let (update, whole) = table::decode(body)?;
                Self::Table { update: Box::new(update), whole }
            }
            Kind::Peers => Self::Peers(peers(body)?),
            Kind::Standing => Self::Standing(record::standing(&pod_read_unaligned(body))),
            other => return Err(WireError::Place(other)),
        })
    }
}
