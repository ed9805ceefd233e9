//! What nodes say to each other.
//!
//! Every message is bounded, and its decoder total: whatever a peer sends is a message or an error.

mod rows;
mod body;

pub use self::rows::{
    BeaconRow, BlockRow, CLAIM_DOMAIN, Claim, ClaimBody, NodeStanding, RangeEntry, RangeRow, RoundCertificate,
};

use self::body::{Body, Lengths, coded, fixed, lists};
use self::rows::rows;
use super::block::{Block, Header};
use super::certificate::Certificate;
use super::evidence::Evidence;
use super::intent::{INTENT_DOMAIN, Intent};
use super::pledge::{PLEDGE_DOMAIN, PledgeRow};
use super::share::{SHARE_DOMAIN, Share};
use super::snapshot::{Part, PartRow, SnapshotProof};
use super::vote::{PRECOMMIT_DOMAIN, PREVOTE_DOMAIN, PROPOSAL_DOMAIN, Proposal, Vote};
use super::{DecodeError, Hash, decode_pod};
use crate::ids::Height;
use crate::limits::{
    BLOCK_BYTES_MAX, GROUP_BYTES, LANE_QUEUE_BYTES, LANES, NODE_INTENTS_MAX, NODE_PLEDGES_MAX, NODE_VOTES_MAX,
    PART_GROUPS_MAX, PART_VALUES_MAX, RANGE_BYTES_MAX, VALIDATORS_MAX,
};

/// Makes everything that follows from the table of messages. A row has the kind's number and name, and what it carries; the
/// lane; whether it says something that must be on the sender's disk first, or may leave at once; and the lengths of its body.
macro_rules! node_messages {
    ($($(#[$doc:meta])* $number:literal $kind:ident($body:ty) = $lane:ident, $leaves:ident, $lengths:expr;)+) => {
        /// What one node says to another.
        #[derive(Clone, PartialEq, Debug)]
        pub enum NodeMessage { $($(#[$doc])* $kind($body),)+ }

        /// What a message is. The numbers never change meaning.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        #[repr(u8)]
        pub enum NodeKind { $($(#[$doc])* $kind = $number,)+ }

        impl NodeKind {
            /// All kinds, in the order of their numbers.
            pub const ALL: [Self; [$($number),+].len()] = [$(Self::$kind),+];

            /// Which messages wait behind which: a lane keeps its order, and a full one holds up no lane before it.
            pub const fn lane(self) -> Lane {
                match self {
                    $(Self::$kind => Lane::$lane,)+
                }
            }

            const fn lengths(self) -> Lengths {
                match self {
                    $(Self::$kind => $lengths,)+
                }
            }
        }

        impl NodeMessage {
            /// What it is.
            pub const fn kind(&self) -> NodeKind {
                match self {
                    $(Self::$kind(_) => NodeKind::$kind,)+
                }
            }

            /// Whether it says something that must be on the sender's disk first: what was signed, and what is said to be
            /// decided. The rest may leave at once.
            pub const fn awaits_disk(&self) -> bool {
                match self {
                    $(Self::$kind(_) => node_messages!(@awaits_disk $leaves),)+
                }
            }

            /// Appends the body: rows one after another, or as `docs/formats/node.md` draws it.
            pub fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$kind(body) => Body::encode(body, out),)+
                }
            }

            /// Reads exactly one message of a kind. Says nothing about signatures.
            ///
            /// # Errors
            /// More bytes than the kind may have, no message of the kind, or fields that cannot be so.
            pub fn decode(kind: NodeKind, bytes: &[u8]) -> Result<Self, DecodeError> {
                let (most, found) = (kind.bytes_max(), bytes.len());
                // Before anything of it is kept: a row takes as much memory again as its bytes do.
                if found > most {
                    return Err(DecodeError::TooMany { what: "bytes of a node message", most, found });
                }
                match kind {
                    $(NodeKind::$kind => Body::decode(bytes).map(Self::$kind),)+
                }
            }
        }
    };
    (@awaits_disk synced) => { true };
    (@awaits_disk at_once) => { false };
}

node_messages! {
    /// Votes, of one or of several validators.
    1 Votes(Vec<Vote>) = Order, synced, Lengths::list::<Vote>(NODE_VOTES_MAX);
    /// A proposal; the block's body travels beside.
    2 Proposal(Proposal) = Order, synced, Lengths::one::<Proposal>();
    /// The body of a proposed block.
    // Behind its proposal, without which nobody takes it. In a lane of its own: a megabyte of it holds up no vote, and a flood of
    // intents holds up no block.
    3 Body(Box<Block>) = Bodies, synced, Lengths::between(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX, 1);
    /// A quorum of prevotes for one block: a certificate of prevotes.
    4 Polka(Certificate) = Order, synced,
        Lengths::between(Certificate::HEAD, Certificate::BYTES_MAX, Certificate::ENTRY);
    /// Votes that let a round be entered.
    5 Round(RoundCertificate) = Order, synced, ROUND_LENGTHS;
    /// A share of the beacon over a decided block.
    // This block, and those of beacons and ranges, were on the disk before.
    6 Share(Share) = Order, at_once, Lengths::one::<Share>();
    /// A beacon, whole: for those who lack it.
    7 Beacon(BeaconRow) = Order, at_once, Lengths::one::<BeaconRow>();
    /// Intents of the sender's own clients. One hop: whoever receives them passes them on to nobody.
    8 Intents(Vec<Intent>) = Intents, at_once, Lengths::list::<Intent>(NODE_INTENTS_MAX);
    /// Where the sender's chain stands, on its disk.
    9 Standing(NodeStanding) = Order, synced, Lengths::one::<NodeStanding>();
    /// Asks for the body of a proposed block.
    10 AskBody(BlockRow) = Order, at_once, Lengths::one::<BlockRow>();
    /// Asks for decided blocks, with their beacons.
    11 AskRange(RangeRow) = Order, at_once, Lengths::one::<RangeRow>();
    /// Decided blocks, one height after another.
    // Empty, it says that the heights were given up.
    12 Range(Vec<RangeEntry>) = History, at_once, Lengths::between(0, RANGE_BYTES_MAX, 1);
    /// Two statements of one validator of which only one may be.
    13 Evidence(Evidence) = Order, at_once, EVIDENCE_LENGTHS;
    /// Says which validator the sender is.
    14 Claim(Claim) = Order, at_once, Lengths::one::<Claim>();
    /// Asks for what proves a snapshot: the one of a height, or the newest for height 0.
    15 AskSnapshot(Height) = Order, at_once, Lengths::one::<Height>();
    /// What proves a snapshot that the sender has.
    16 Snapshot(Box<SnapshotProof>) = History, at_once, SNAPSHOT_LENGTHS;
    /// Asks for a part of a snapshot.
    17 AskPart(PartRow) = Order, at_once, Lengths::one::<PartRow>();
    /// A part of a snapshot.
    18 Part(Part) = History, at_once, PART_LENGTHS;
    /// Pledges and openings of the sender's own clients, as intents.
    19 Pledges(Vec<PledgeRow>) = Intents, at_once, Lengths::list::<PledgeRow>(NODE_PLEDGES_MAX);
}

// How the bytes of each of them are made and read.
fixed! { Proposal Share BeaconRow NodeStanding BlockRow RangeRow Claim PartRow }

lists! {
    "votes": Vote, Vote::decode;
    // Nothing about an intent is checked here: the tick does that.
    "intents": Intent, |row| decode_pod("intent", row);
    "pledges": PledgeRow, PledgeRow::decode;
}

coded! { Block RoundCertificate Evidence SnapshotProof Part }

/// Bytes of a block without certificate, messages, pledges and intents.
const BLOCK_BYTES_MIN: usize = size_of::<Header>() + 8;
/// Bytes before a round certificate's votes.
const ROUND_HEAD: usize = 16;

/// A round certificate has at least one vote, and at most one of each validator.
const ROUND_LENGTHS: Lengths = Lengths::between(
    ROUND_HEAD + size_of::<Vote>(),
    ROUND_HEAD + VALIDATORS_MAX as usize * size_of::<Vote>(),
    size_of::<Vote>(),
);
/// Evidence has two rows of one kind: votes and proposals have one length, shares another.
const EVIDENCE_LENGTHS: Lengths = Lengths::between(
    8 + 2 * size_of::<Vote>(),
    8 + 2 * size_of::<Share>(),
    2 * (size_of::<Share>() - size_of::<Vote>()),
);
/// What proves a snapshot has two certificates.
const SNAPSHOT_LENGTHS: Lengths = Lengths::between(
    SnapshotProof::BYTES_MIN,
    SnapshotProof::BYTES_MIN + 2 * VALIDATORS_MAX as usize * Certificate::ENTRY,
    Certificate::ENTRY,
);
/// A part has values or groups behind its row, at least one.
const PART_LENGTHS: Lengths = Lengths::between(
    size_of::<PartRow>() + size_of::<Hash>(),
    size_of::<PartRow>() + PART_GROUPS_MAX as usize * GROUP_BYTES,
    size_of::<Hash>(),
);

const _: () = assert!(PART_VALUES_MAX as usize * size_of::<Hash>() <= PART_GROUPS_MAX as usize * GROUP_BYTES);

// Whoever checks a length before the bytes come knows which lengths a kind may have.
const _: () = {
    let mut index = 0;
    while index < NodeKind::ALL.len() {
        let kind = NodeKind::ALL[index];
        assert!(kind as usize == index + 1, "a list of all kinds that lacks one would refuse its byte");
        assert!(kind.bytes_min() <= kind.bytes_max());
        assert!((kind.bytes_max() - kind.bytes_min()).is_multiple_of(kind.bytes_unit()));
        index += 1;
    }
};

// A message that its lane has no room for could never leave.
const _: () = assert!(Lane::ALL.len() == LANES);
const _: () = {
    let mut index = 0;
    while index < LANES {
        assert!(Lane::ALL[index] as usize == index, "a lane has the bounds of its own number");
        assert!(Lane::ALL[index].bytes_max() <= LANE_QUEUE_BYTES[index]);
        index += 1;
    }
};

/// What signatures cover first, of all kinds that this crate knows.
const DOMAINS: [[u8; 32]; 7] =
    [INTENT_DOMAIN, PLEDGE_DOMAIN, PREVOTE_DOMAIN, PRECOMMIT_DOMAIN, PROPOSAL_DOMAIN, SHARE_DOMAIN, CLAIM_DOMAIN];

// A signature that were valid for two kinds would let anybody make a vote of a proposal, or an intent of a pledge.
const _: () = {
    let mut one = 0;
    while one < DOMAINS.len() {
        let mut other = one + 1;
        while other < DOMAINS.len() {
            let mut byte = 0;
            while byte < 32 && DOMAINS[one][byte] == DOMAINS[other][byte] {
                byte += 1;
            }
            assert!(byte < 32);
            other += 1;
        }
        one += 1;
    }
};

impl NodeKind {
    /// Bytes of a body of this kind, at most: to be checked before a byte of it is kept.
    pub const fn bytes_max(self) -> usize {
        self.lengths().most
    }

    /// Bytes of a body of this kind, at least.
    pub const fn bytes_min(self) -> usize {
        self.lengths().least
    }

    /// What a body of this kind grows by above the least.
    pub const fn bytes_unit(self) -> usize {
        self.lengths().unit
    }
}

/// The lanes between two nodes, the most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Lane {
    /// Votes, proposals, shares, and short questions.
    Order = 0,
    /// Bodies of proposed blocks.
    Bodies = 1,
    /// Intents, pledges and openings of clients.
    Intents = 2,
    /// Decided blocks for those who are behind.
    History = 3,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Order, Self::Bodies, Self::Intents, Self::History];

    /// Its name in output and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Bodies => "bodies",
            Self::Intents => "intents",
            Self::History => "history",
        }
    }

    /// Bytes of the largest body that it carries.
    pub const fn bytes_max(self) -> usize {
        let (mut most, mut index) = (0, 0);
        while index < NodeKind::ALL.len() {
            let kind = NodeKind::ALL[index];
            if kind.lane() as u8 == self as u8 && kind.bytes_max() > most {
                most = kind.bytes_max();
            }
            index += 1;
        }
        most
    }
}

impl TryFrom<u8> for NodeKind {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        let known = Self::ALL.into_iter().find(|kind| *kind as u8 == byte);
        known.ok_or(DecodeError::Value { field: "node message kind", found: byte.into() })
    }
}

#[cfg(test)]
mod tests;
