//! Bodies of fixed size, and what they mean.

use bytemuck::{Pod, Zeroable};
use engine::bytes::{DecodeError, zeros};
use engine::component::Account;
use engine::genesis::KeySource;
use engine::io::{ChainProgress, NodeStatus, OrderProgress, Receipt, ShedReason, SlotList, Verdict, Watched};
use engine::limits::{
    GENESIS_BYTES_MAX, MESSAGE_ANSWERS_MAX, MESSAGE_INTENTS_MAX, MESSAGE_PLEDGES_MAX, MESSAGE_RECORDS_MAX,
    PEER_WATCHES_MAX,
};
use engine::message::intent::{Intent, IntentId};
use engine::message::pledge::PledgeRow;
use engine::message::refusal::Refusal;
use engine::message::signed::signed_bytes;
use engine::{AccountId, Hash, Height, TableId};

use super::payload::Body;

/// Text in a fixed field: UTF-8, zeros after it.
pub(super) fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut end = text.len().min(N);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut field = [0; N];
    field[..end].copy_from_slice(&text.as_bytes()[..end]);
    field
}

fn read_text(field: &'static str, bytes: &[u8]) -> Result<String, DecodeError> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    zeros(field, &bytes[end..])?;
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| DecodeError::Text { field })?;
    // Whoever prints it may trust that it moves no cursor.
    if text.chars().any(char::is_control) { Err(DecodeError::Text { field }) } else { Ok(text.to_owned()) }
}

fn value(field: &'static str, found: impl Into<u64>) -> DecodeError {
    DecodeError::Value { field, found: found.into() }
}

/// Layout: 64 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct HelloBody {
    chain: [u8; 32],
    program: [u8; 24],
    role: u8,
    reserved: [u8; 7],
}

/// Layout: 40 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct WatchBody {
    key: [u8; 32],
    table: u32,
    what: u8,
    on: u8,
    reserved: [u8; 2],
}

/// Layout: 72 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct StandingBody {
    now_ms: u64,
    decided: u64,
    settled: u64,
    certified: u64,
    root_chain: [u8; 32],
    follows: u8,
    disk_full: u8,
    reserved: [u8; 6],
}

/// Layout: 168 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct StatusBody {
    standing: StandingBody,
    connections: u32,
    nodes: u32,
    behind: u32,
    round: u32,
    furthest_key: [u8; 32],
    furthest_settled: u64,
    receipts: u64,
    proposer: u32,
    slot: u32,
    validators: u32,
    heard: u32,
    missing_shares: [u8; 16],
}

/// Layout: 152 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct WelcomeBody {
    chain: [u8; 32],
    standing: StandingBody,
    name: [u8; 32],
    tables: u32,
    credit: u32,
    intents_per_s: u32,
    seats: u8,
    keys: u8,
    reserved: [u8; 2],
}

/// Layout: 72 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct AnswerBody {
    key: [u8; 32],
    number: u64,
    mark: [u8; 16],
    height: u64,
    index: u32,
    verdict: u8,
    code: u8,
    reserved: [u8; 2],
}

/// Layout: 112 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct AccountBody {
    key: [u8; 32],
    height: u64,
    id: u32,
    reserved: u32,
    account: [u64; 8],
}

/// Where a node can be found, signed by its network key. Layout: 128 bytes, no padding; the signature covers the first 64
/// under [`PeerRecord::DOMAIN`] and the chain id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct PeerRecord {
    /// The node's network key.
    pub key: [u8; 32],
    /// Its IP address, IPv4 as IPv4-mapped IPv6.
    pub address: [u8; 16],
    /// When it signed, in seconds since the Unix epoch.
    pub time_s: u64,
    /// Its UDP port.
    pub port: u16,
    /// Zero.
    pub reserved: [u8; 6],
    /// Ed25519.
    pub signature: [u8; 64],
}

const _: () = assert!(size_of::<HelloBody>() == 64 && size_of::<WatchBody>() == 40);
const _: () =
    assert!(size_of::<StatusBody>() == 168 && size_of::<StandingBody>() == 72 && size_of::<WelcomeBody>() == 152);
const _: () =
    assert!(size_of::<AnswerBody>() == 72 && size_of::<AccountBody>() == 112 && size_of::<PeerRecord>() == 128);

impl PeerRecord {
    /// What a record's signature covers first.
    pub const DOMAIN: [u8; 32] = *b"bitcraps peer 1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

    /// What the signature covers: domain, chain id, the first 64 bytes.
    pub fn signed_bytes(&self, chain: &Hash) -> [u8; 128] {
        let body = bytemuck::bytes_of(self).first_chunk().expect("a record is longer than what it signs");
        signed_bytes(&Self::DOMAIN, chain, body)
    }
}

/// Who opens a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Role {
    /// A player's program.
    Client = 1,
    /// Another node.
    Node = 2,
}

/// The first message to a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The chain it is about, or `None` for whichever the node keeps.
    pub chain: Option<Hash>,
    /// Name and version of the program, at most 24 bytes of UTF-8.
    pub program: String,
    /// Who opens the connection.
    pub role: Role,
}

impl Body for Hello {
    type Bytes = HelloBody;

    fn to_bytes(&self) -> HelloBody {
        let chain = self.chain.unwrap_or_default();
        HelloBody { chain, program: text(&self.program), role: self.role as u8, reserved: [0; 7] }
    }

    fn of_bytes(body: &HelloBody) -> Result<Self, DecodeError> {
        zeros("hello", &body.reserved)?;
        let role = match body.role {
            1 => Role::Client,
            2 => Role::Node,
            found => return Err(value("role", found)),
        };
        let chain = (body.chain != [0; 32]).then_some(body.chain);
        Ok(Self { chain, program: read_text("program", &body.program)?, role })
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        vec![Self { chain: Some([1; 32]), program: "bitcraps 0.1.0".into(), role: Role::Client }]
    }
}

/// The first message from a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// The chain that the node keeps.
    pub chain: Hash,
    /// Where it stands.
    pub standing: ChainProgress,
    /// The node's name, at most 32 bytes of UTF-8.
    pub name: String,
    /// Craps tables.
    pub tables: u32,
    /// Seats of each.
    pub seats: u8,
    /// Intents that may be without an answer.
    pub credit: u32,
    /// Intents a second that the connection may send.
    pub intents_per_s: u32,
    /// Where the keys come from.
    pub keys: KeySource,
}

impl Body for Welcome {
    type Bytes = WelcomeBody;

    fn to_bytes(&self) -> WelcomeBody {
        WelcomeBody {
            chain: self.chain,
            standing: self.standing.to_bytes(),
            name: text(&self.name),
            tables: self.tables,
            credit: self.credit,
            intents_per_s: self.intents_per_s,
            seats: self.seats,
            keys: self.keys as u8,
            reserved: [0; 2],
        }
    }

    fn of_bytes(body: &WelcomeBody) -> Result<Self, DecodeError> {
        zeros("welcome", &body.reserved)?;
        if body.seats == 0 || u32::from(body.seats) > engine::limits::SEATS_MAX {
            return Err(value("seats", body.seats));
        }
        Ok(Self {
            chain: body.chain,
            standing: ChainProgress::of_bytes(&body.standing)?,
            name: read_text("name", &body.name)?,
            tables: body.tables,
            seats: body.seats,
            credit: body.credit,
            intents_per_s: body.intents_per_s,
            keys: KeySource::try_from(body.keys).map_err(|_| value("key source", body.keys))?,
        })
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        vec![Self {
            chain: [1; 32],
            standing: ChainProgress::samples()[0],
            name: "Tisch Süd".into(),
            tables: 4,
            seats: 8,
            credit: 64,
            intents_per_s: 100,
            keys: KeySource::Dealer,
        }]
    }
}

fn switch(byte: u8, field: &'static str) -> Result<bool, DecodeError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(value(field, found)),
    }
}

impl Body for ChainProgress {
    type Bytes = StandingBody;

    fn to_bytes(&self) -> StandingBody {
        StandingBody {
            now_ms: self.now_ms,
            decided: self.decided.0,
            settled: self.settled.0,
            certified: self.certified.0,
            root_chain: self.root_chain,
            follows: self.follows.into(),
            disk_full: self.disk_full.into(),
            reserved: [0; 6],
        }
    }

    fn of_bytes(body: &StandingBody) -> Result<Self, DecodeError> {
        zeros("standing", &body.reserved)?;
        Ok(Self {
            now_ms: body.now_ms,
            decided: Height(body.decided),
            settled: Height(body.settled),
            certified: Height(body.certified),
            root_chain: body.root_chain,
            follows: switch(body.follows, "follows")?,
            disk_full: switch(body.disk_full, "disk_full")?,
        })
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        vec![Self {
            now_ms: 1_800_000_000_123,
            decided: Height(12),
            settled: Height(11),
            certified: Height(10),
            root_chain: [6; 32],
            follows: true,
            disk_full: true,
        }]
    }
}

/// The slot of a node that is no validator.
const NO_SLOT: u32 = u32::MAX;

impl Body for NodeStatus {
    type Bytes = StatusBody;

    fn to_bytes(&self) -> StatusBody {
        let (furthest_key, furthest_settled) = self.furthest.map_or(([0; 32], 0), |(key, height)| (key, height.0));
        StatusBody {
            standing: self.standing.to_bytes(),
            connections: self.connections,
            nodes: self.nodes,
            behind: self.behind,
            round: self.order.round,
            furthest_key,
            furthest_settled,
            receipts: self.order.receipts,
            proposer: self.order.proposer,
            slot: self.order.slot.unwrap_or(NO_SLOT),
            validators: self.order.validators,
            heard: self.order.heard,
            missing_shares: self.order.missing_shares.0.to_le_bytes(),
        }
    }

    fn of_bytes(body: &StatusBody) -> Result<Self, DecodeError> {
        if body.behind == 0 {
            zeros("nobody behind", &body.furthest_key)?;
            zeros("nobody behind", &body.furthest_settled.to_le_bytes())?;
        }
        let furthest = (body.furthest_key, Height(body.furthest_settled));
        Ok(Self {
            standing: ChainProgress::of_bytes(&body.standing)?,
            connections: body.connections,
            nodes: body.nodes,
            behind: body.behind,
            furthest: (body.behind > 0).then_some(furthest),
            order: OrderProgress {
                round: body.round,
                proposer: body.proposer,
                slot: (body.slot != NO_SLOT).then_some(body.slot),
                validators: body.validators,
                heard: body.heard,
                receipts: body.receipts,
                missing_shares: SlotList(u128::from_le_bytes(body.missing_shares)),
            },
        })
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        let furthest = Some(([8; 32], Height(3)));
        let order = OrderProgress {
            round: 1,
            proposer: 3,
            slot: Some(2),
            validators: 4,
            heard: 3,
            receipts: 77,
            missing_shares: SlotList(0b1010),
        };
        vec![Self { standing: ChainProgress::samples()[0], connections: 40, nodes: 4, behind: 2, furthest, order }]
    }
}

/// Nothing about a pledge is checked here but its form.
impl Body for PledgeRow {
    type Bytes = Self;
    const LIST_MAX: usize = MESSAGE_PLEDGES_MAX;

    fn to_bytes(&self) -> Self {
        *self
    }

    fn of_bytes(bytes: &Self) -> Result<Self, DecodeError> {
        bytes.check_form().map(|_| *bytes)
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        vec![Self {
            key: [2; 32],
            table: 3,
            roll: 9,
            kind: 1,
            reserved: [0; 7],
            number: 0,
            reserved_after: [0; 8],
            value: [5; 32],
            block: [6; 32],
            signature: [7; 64],
        }]
    }
}

impl Body for (Watched, bool) {
    type Bytes = WatchBody;
    const LIST_MAX: usize = PEER_WATCHES_MAX;

    fn to_bytes(&self) -> WatchBody {
        let (what, on) = *self;
        let body = WatchBody { on: on.into(), ..WatchBody::zeroed() };
        match what {
            Watched::Table(table) => WatchBody { what: 1, table: table.0, ..body },
            Watched::Account(key) => WatchBody { what: 2, key, ..body },
        }
    }

    fn of_bytes(body: &WatchBody) -> Result<Self, DecodeError> {
        zeros("watch", &body.reserved)?;
        let what = match body.what {
            1 => {
                zeros("watch of a table", &body.key)?;
                Watched::Table(TableId(body.table))
            }
            2 => {
                zeros("watch of an account", &body.table.to_le_bytes())?;
                Watched::Account(body.key)
            }
            found => return Err(value("what to watch", found)),
        };
        Ok((what, switch(body.on, "watch")?))
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        vec![(Watched::Table(TableId(3)), true), (Watched::Account([2; 32]), false)]
    }
}

/// Nothing about an intent is checked here: the tick does that.
impl Body for Intent {
    type Bytes = Self;
    const LIST_MAX: usize = MESSAGE_INTENTS_MAX;

    fn to_bytes(&self) -> Self {
        *self
    }

    fn of_bytes(bytes: &Self) -> Result<Self, DecodeError> {
        Ok(*bytes)
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        use engine::message::intent::{IntentBody, IntentKind};
        let body = |number| IntentBody::new(IntentKind::Sit, [2; 32], number, 1_800_000_030).at(TableId(3)).amount(500);
        [1, 2].map(|number| Self { body: body(number), signature: [7; 64] }).to_vec()
    }
}

impl Body for PeerRecord {
    type Bytes = Self;
    const LIST_MAX: usize = MESSAGE_RECORDS_MAX;

    fn to_bytes(&self) -> Self {
        *self
    }

    fn of_bytes(bytes: &Self) -> Result<Self, DecodeError> {
        zeros("peer", &bytes.reserved)?;
        Ok(*bytes)
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        let address = std::net::Ipv4Addr::new(10, 0, 0, 9).to_ipv6_mapped().octets();
        vec![
            Self { key: [4; 32], address, time_s: 1_800_000_000, port: 4_100, reserved: [0; 6], signature: [5; 64] };
            2
        ]
    }
}

/// The genesis, byte for byte as its file is.
impl Body for u8 {
    type Bytes = Self;
    const LIST_MAX: usize = GENESIS_BYTES_MAX as usize;

    fn to_bytes(&self) -> Self {
        *self
    }

    fn of_bytes(bytes: &Self) -> Result<Self, DecodeError> {
        Ok(*bytes)
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        b"{\"version\":1}".to_vec()
    }
}

/// What became of an intent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Which intent it answers.
    pub id: IntentId,
    /// What became of it.
    pub verdict: AnswerVerdict,
}

/// What a node can answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerVerdict {
    /// It waits for a block; it may still die with this node.
    Acknowledged,
    /// Its receipt: durable.
    Receipt {
        /// The height that applied or refused it; genesis where it was refused before any block.
        height: Height,
        /// Its place in the block.
        index: u32,
        /// What became of it.
        verdict: Verdict,
    },
    /// This node did not take it.
    Shed(ShedReason),
}

impl Answer {
    /// A receipt.
    pub fn receipt(receipt: &Receipt) -> Self {
        let Receipt { id, height, index, verdict } = *receipt;
        Self { id, verdict: AnswerVerdict::Receipt { height, index, verdict } }
    }

    /// Whether it is the last word: a receipt, or nothing was taken.
    pub fn is_final(&self) -> bool {
        self.verdict != AnswerVerdict::Acknowledged
    }
}

impl Body for Answer {
    type Bytes = AnswerBody;
    const LIST_MAX: usize = MESSAGE_ANSWERS_MAX;

    fn to_bytes(&self) -> AnswerBody {
        let IntentId { key, number, mark } = self.id;
        let body = AnswerBody { key, number, mark, ..AnswerBody::zeroed() };
        match self.verdict {
            AnswerVerdict::Acknowledged => AnswerBody { verdict: 1, ..body },
            AnswerVerdict::Receipt { height, index, verdict } => {
                let (verdict, code) = match verdict {
                    Verdict::Applied => (2, 0),
                    Verdict::OddsReturned => (3, 0),
                    Verdict::Refused(refusal) => (4, refusal as u8),
                };
                AnswerBody { height: height.0, index, verdict, code, ..body }
            }
            AnswerVerdict::Shed(reason) => AnswerBody { verdict: 5, code: reason as u8, ..body },
        }
    }

    fn of_bytes(body: &AnswerBody) -> Result<Self, DecodeError> {
        zeros("answer", &body.reserved)?;
        if body.verdict == 1 || body.verdict == 5 {
            zeros("answer without a receipt", &body.height.to_le_bytes())?;
            zeros("answer without a receipt", &body.index.to_le_bytes())?;
        }
        if body.verdict < 4 {
            zeros("answer without a code", &[body.code])?;
        }
        let receipt = |verdict| AnswerVerdict::Receipt { height: Height(body.height), index: body.index, verdict };
        let code = |field| value(field, body.code);
        let verdict = match body.verdict {
            1 => AnswerVerdict::Acknowledged,
            2 => receipt(Verdict::Applied),
            3 => receipt(Verdict::OddsReturned),
            4 => {
                let known = Refusal::ALL.into_iter().find(|(refusal, ..)| *refusal as u8 == body.code);
                receipt(Verdict::Refused(known.ok_or_else(|| code("refusal"))?.0))
            }
            5 => AnswerVerdict::Shed(ShedReason::try_from(body.code).map_err(|_| code("reason of shedding"))?),
            found => return Err(value("verdict", found)),
        };
        Ok(Self { id: IntentId { key: body.key, number: body.number, mark: body.mark }, verdict })
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        let receipt = |verdict| AnswerVerdict::Receipt { height: Height(11), index: 3, verdict };
        let verdicts = [
            AnswerVerdict::Acknowledged,
            receipt(Verdict::Applied),
            receipt(Verdict::OddsReturned),
            receipt(Verdict::Refused(Refusal::NumberUsed)),
            AnswerVerdict::Shed(ShedReason::NoCredit),
        ];
        verdicts
            .into_iter()
            .zip(1..)
            .map(|(verdict, number)| Self { id: IntentId { key: [2; 32], number, mark: [3; 16] }, verdict })
            .collect()
    }
}

/// A watched account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccountRow {
    /// Its key.
    pub key: [u8; 32],
    /// The last settled height.
    pub height: Height,
    /// The account, if one is open.
    pub account: Option<(AccountId, Account)>,
}

impl Body for AccountRow {
    type Bytes = AccountBody;

    fn to_bytes(&self) -> AccountBody {
        let (id, account) = self.account.unwrap_or((AccountId::NONE, Account::zeroed()));
        let account = bytemuck::cast(account);
        AccountBody { key: self.key, height: self.height.0, id: id.0, reserved: 0, account }
    }

    fn of_bytes(body: &AccountBody) -> Result<Self, DecodeError> {
        zeros("account", &body.reserved.to_le_bytes())?;
        let account: Account = bytemuck::cast(body.account);
        let open = AccountId(body.id) != AccountId::NONE;
        if open != account.is_open() {
            return Err(value("account status", account.status));
        }
        if !open {
            // A message has one encoding: where there is no account, its row is zero.
            zeros("account without an id", bytemuck::bytes_of(&body.account))?;
        }
        let account = open.then_some((AccountId(body.id), account));
        Ok(Self { key: body.key, height: Height(body.height), account })
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        let account =
            Account { cage: engine::Chips(9_500), number_highest: 7, seats: 1, status: 1, ..Account::zeroed() };
        vec![Self { key: [2; 32], height: Height(11), account: Some((AccountId(9), account)) }]
    }
}
