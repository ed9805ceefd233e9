//! What the protocol says of each kind of message: the table from which kinds, checks and both enums of messages follow.

use std::fmt;

use thiserror::Error;

use super::frame::{Bounds, HEADER_BYTES, Head, VERSION, frame, header};
use super::payload::{Payload, encode_list};
use super::{AccountRow, Answer, Hello, PeerRecord, Role, TableMessage, Welcome, table};
use engine::bytes::DecodeError;
use engine::io::{ChainProgress, NodeStatus, TableUpdate, Watched};
use engine::message::intent::Intent;
use engine::message::node::{Lane, NodeKind};
use engine::message::pledge::PledgeRow;

/// Which way a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// To whoever was connected to.
    ToNode,
    /// To whoever opened the connection.
    ToClient,
    /// Either way between two nodes, on streams that carry nothing else.
    Between,
}

/// When a message may be said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// As the first of its stream, and never again.
    First,
    /// After the first.
    Then,
}

/// What the protocol says of one kind of message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spec {
    /// Which way it goes.
    pub direction: Direction,
    /// When it may be said.
    pub order: Order,
    /// The roles on whose connections it may be said.
    pub roles: &'static [Role],
    /// The lane that carries it, if it goes between two nodes.
    pub lane: Option<Lane>,
    /// Bytes of its body.
    pub bounds: Bounds,
}

/// Makes everything that follows from the table of messages. A row has the kind's number and name; the variant that
/// carries it, with what it carries; when it may be said, and on whose connections; and the first 64 bits of the BLAKE3 of
/// its sample, which pin its encoding. What goes between two nodes is listed where it is made, in [`NodeKind`].
macro_rules! messages {
    ($($(#[$message_doc:meta])* $message:ident {
        $($(#[$doc:meta])* $number:literal $kind:ident: $variant:ident $(($value:ident: $payload:ty))?
            = $order:ident, $($role:ident)|+, $pinned:literal;)+
    })+) => {
        /// What a message is. The numbers never change meaning; those below 64 go to a node, those from 64 come from one,
        /// those from 128 go between two.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Kind {
            $($($(#[$doc])* $kind,)+)+
            /// What one node says to another.
            Between(NodeKind),
        }

        /// Kinds that go one way.
        const ONE_WAY: [Kind; [$($($number),+),+].len()] = [$($(Kind::$kind),+),+];

        impl Kind {
            /// The number in a header.
            pub const fn number(self) -> u8 {
                match self {
                    $($(Self::$kind => $number,)+)+
                    Self::Between(kind) => BETWEEN + kind as u8,
                }
            }

            /// What the protocol says of it.
            pub const fn spec(self) -> Spec {
                match self {
                    $($(Self::$kind => Spec {
                        direction: Direction::$message,
                        order: Order::$order,
                        roles: &[$(Role::$role),+],
                        lane: None,
                        bounds: <messages!(@payload $($payload)?) as Payload>::BOUNDS,
                    },)+)+
                    Self::Between(kind) => between(kind),
                }
            }
        }

        $(
            $(#[$message_doc])*
            #[derive(Clone, PartialEq, Debug)]
            pub enum $message { $($(#[$doc])* $variant $(($payload))?,)+ }

            impl $message {
                /// Appends the message, cut in as many as its list needs.
                pub fn encode(&self, out: &mut Vec<u8>) {
                    match self {
                        $(Self::$variant $(($value))? => {
                            Payload::encode(messages!(@value $($value)?), Kind::$kind.head(), out);
                        })+
                    }
                }

                /// Reads the body of a message.
                ///
                /// # Errors
                /// If the kind goes the other way, the length is not one of its own, or a field cannot be so.
                pub fn decode(kind: Kind, body: &[u8]) -> Result<Self, WireError> {
                    kind.check_length(body.len())?;
                    match kind {
                        $(Kind::$kind => Ok(Self::$variant $(({
                            let $value = <$payload as Payload>::decode(body)?;
                            $value
                        }))?),)+
                        other => Err(WireError::Direction(other)),
                    }
                }
            }
        )+

        #[cfg(test)]
        pub(super) mod samples {
            use super::*;

            /// A message of every kind that goes one way, as it is sent, and what its hash must begin with.
            pub(in crate::wire) fn samples() -> Vec<(Kind, Vec<u8>, &'static str)> {
                let mut samples = Vec::new();
                $($({
                    let mut bytes = Vec::new();
                    <messages!(@payload $($payload)?) as Payload>::sample().encode(Kind::$kind.head(), &mut bytes);
                    samples.push((Kind::$kind, bytes, $pinned));
                })+)+
                samples
            }
        }
    };
    (@payload) => { () };
    (@payload $payload:ty) => { $payload };
    (@value) => { &() };
    (@value $value:ident) => { $value };
}

messages! {
    /// What a node can be told.
    ToNode {
        /// The first message.
        1 Hello: Hello(hello: Hello) = First, Client | Node, "e62eef7d2ecab63b";
        /// Signed intents; nothing about them was checked but their length.
        2 Intents: Intents(intents: Vec<Intent>) = Then, Client, "e9964f5816ae5d4a";
        /// What to watch from now on, or no longer.
        3 Watch: Watch(watches: Vec<(Watched, bool)>) = Then, Client, "cca33a45662ffab9";
        /// Asks for the genesis.
        4 AskGenesis: AskGenesis = Then, Client, "d71e1398e8da73b0";
        /// Nodes that the sender, a node, knows.
        5 PeersToNode: Peers(peers: Vec<PeerRecord>) = Then, Node, "396bb0b9b869d147";
        /// Where the sender, a node, stands.
        6 StandingToNode: Standing(standing: ChainProgress) = Then, Node, "78dd68f31c2920ee";
        /// Signed pledges and openings.
        7 Pledges: Pledges(pledges: Vec<PledgeRow>) = Then, Client, "f4e7584de342cbf0";
        /// Asks how the node is.
        8 AskStatus: AskStatus = Then, Client, "0fc453b43157d273";
    }
    /// What a node can tell.
    ToClient {
        /// The first message.
        64 Welcome: Welcome(welcome: Welcome) = First, Client | Node, "3ab603f8a5a74e73";
        /// What became of intents.
        65 Answers: Answers(answers: Vec<Answer>) = Then, Client, "04ff0b0a5f93ee02";
        /// The genesis' bytes.
        66 Genesis: Genesis(bytes: Vec<u8>) = Then, Client, "2c7076f0967b1391";
        /// A watched account.
        67 Account: Account(account: AccountRow) = Then, Client, "bfef2a3531706f7d";
        /// What changed at a watched table, or all of it.
        68 Table: Table(table: TableMessage) = Then, Client, "547a30c1e412c473";
        /// Nodes that this node knows.
        69 Peers: Peers(peers: Vec<PeerRecord>) = Then, Node, "589c5625ce1a7180";
        /// Where this node stands.
        70 Standing: Standing(standing: ChainProgress) = Then, Client | Node, "be77d52dccb02fb8";
        /// How this node is.
        71 Status: Status(status: NodeStatus) = Then, Client, "7bdf8610b9d05b6a";
    }
}

/// Numbers of kinds that go between two nodes lie above this.
const BETWEEN: u8 = 128;

/// What the protocol says of what goes between two nodes.
const fn between(kind: NodeKind) -> Spec {
    let bounds = Bounds { least: kind.bytes_min(), most: kind.bytes_max(), unit: kind.bytes_unit() };
    Spec { direction: Direction::Between, order: Order::Then, roles: &[Role::Node], lane: Some(kind.lane()), bounds }
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; ONE_WAY.len() + NodeKind::ALL.len()] = {
        let (mut all, mut at) = ([Self::Hello; ONE_WAY.len() + NodeKind::ALL.len()], 0);
        while at < all.len() {
            all[at] = if at < ONE_WAY.len() { ONE_WAY[at] } else { Self::Between(NodeKind::ALL[at - ONE_WAY.len()]) };
            at += 1;
        }
        all
    };

    /// Bytes of the largest body that goes one way on the connections of a role.
    pub const fn body_bytes_max(direction: Direction, role: Role) -> usize {
        let (mut most, mut index) = (0, 0);
        while index < Self::ALL.len() {
            let spec = Self::ALL[index].spec();
            if spec.direction as u8 == direction as u8 && spec.is_for(role) && spec.bounds.most > most {
                most = spec.bounds.most;
            }
            index += 1;
        }
        most
    }

    /// Whether a body of this kind may have so many bytes.
    pub(super) fn check_length(self, found: usize) -> Result<(), WireError> {
        let bounds = self.spec().bounds;
        let Bounds { least, most, .. } = bounds;
        if bounds.allow(found) { Ok(()) } else { Err(WireError::Length { kind: self, found, least, most }) }
    }

    /// What a header says of it.
    pub(super) const fn head(self) -> Head {
        Head { number: self.number(), bounds: self.spec().bounds }
    }
}

impl Spec {
    const fn is_for(&self, role: Role) -> bool {
        let mut index = 0;
        while index < self.roles.len() {
            if self.roles[index] as u8 == role as u8 {
                return true;
            }
            index += 1;
        }
        false
    }

    /// Whether a message may come now, before a byte of its body is kept.
    pub(super) fn check(
        self,
        kind: Kind,
        direction: Direction,
        is_first: bool,
        role: Option<Role>,
    ) -> Result<(), WireError> {
        if self.direction != direction {
            return Err(WireError::Direction(kind));
        }
        if (self.order == Order::First) != is_first {
            return Err(WireError::Order(kind));
        }
        // Before the first message no role was said, and it may say any that it has.
        match role {
            Some(role) if !self.is_for(role) => Err(WireError::Role(kind)),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between(kind) => write!(f, "{kind:?}"),
            one_way => write!(f, "{one_way:?}"),
        }
    }
}

impl TryFrom<u8> for Kind {
    type Error = WireError;

    fn try_from(byte: u8) -> Result<Self, WireError> {
        Self::ALL.into_iter().find(|kind| kind.number() == byte).ok_or(WireError::Kind(byte))
    }
}

/// Appends answers without taking them.
pub fn encode_answers(answers: &[Answer], out: &mut Vec<u8>) {
    encode_list(answers, Kind::Answers.head(), out);
}

/// Appends a table update without taking it; one for a single peer is the whole table.
pub fn encode_table(update: &TableUpdate, out: &mut Vec<u8>) {
    frame(Kind::Table.head(), out, |out| table::encode(update, out));
}

/// What stands before a genesis of this length, whose bytes follow.
///
/// # Panics
/// If it is longer than a message may be: a node checks that when it starts.
pub fn genesis_header(length: usize) -> [u8; HEADER_BYTES] {
    header(Kind::Genesis.head(), length)
}

/// Bytes that are no message.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum WireError {
    /// Another version of the protocol.
    #[error("the message is of version {found} of the protocol, and this program speaks version {VERSION}")]
    Version {
        /// The version it says.
        found: u8,
    },
    /// A kind that does not exist.
    #[error("no message has kind {0}")]
    Kind(u8),
    /// A kind that goes the other way.
    #[error("a {0} message goes the other way")]
    Direction(Kind),
    /// A first message that is not one, or a second that is.
    #[error("a {0} message comes out of order: hello and welcome come first, and once")]
    Order(Kind),
    /// A kind that this role neither says nor is told.
    #[error("a {0} message is not for this role: some are for players' programs, others for nodes")]
    Role(Kind),
    /// A kind that another stream between two nodes carries.
    #[error("a {0} message goes over the stream of another lane")]
    Lane(Kind),
    /// A length that the kind does not have.
    #[error("a {kind} message of {found} bytes: it has {least} to {most}")]
    Length {
        /// The kind.
        kind: Kind,
        /// The length it says.
        found: usize,
        /// The least.
        least: usize,
        /// The most.
        most: usize,
    },
    /// Bytes of a header or a body that are not what they should be.
    #[error(transparent)]
    Bytes(#[from] DecodeError),
}
