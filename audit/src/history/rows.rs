//! The rows of a page: fixed layouts, little-endian, no padding. Docs: docs/formats/history.md.

use bytemuck::{Pod, Zeroable};
use engine::Chips;
use engine::io::{BetResult, Lapse, Leaving, Receipt, Resolution, RollReport, Verdict};
use engine::message::intent::Intent;
use engine::message::pledge::PledgeRow;
use engine::{AccountId, Hash};

/// No table: what concerns only an account.
pub const NO_TABLE: u32 = u32::MAX;

/// Why somebody left: a roll that was not opened in time, or for which nobody called, took all bets.
pub const FORFEITED: u8 = 2;

/// Why somebody left: nobody used the account, whose grant or slot went back.
pub const LAPSED: u8 = 3;

/// How a page begins. Layout: 128 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct PageHeader {
    /// The chain id: a page of another chain is none.
    pub chain: Hash,
    /// Its root chain after the page's last height.
    pub root_chain: Hash,
    /// The page's number.
    pub page: u64,
    /// Which part of the tables it holds.
    pub part: u32,
    /// How many parts the page has.
    pub parts: u32,
    /// Rows of each kind: heights, intents, rolls, resolutions, leavings, balances.
    pub counts: [u32; KINDS],
    /// Zero.
    pub reserved: [u8; 24],
}

/// Kinds of rows.
pub const KINDS: usize = 6;
/// Bytes of a row of each kind, in the order in which they lie in a page.
pub const ROW_BYTES: [usize; KINDS] = [
    size_of::<HeightRow>(),
    size_of::<IntentRow>(),
    size_of::<RollRow>(),
    size_of::<ResolutionRow>(),
    size_of::<LeavingRow>(),
    size_of::<BalanceRow>(),
];

/// A height: its time, and where its rows end among those of each other kind. Layout: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct HeightRow {
    /// Block time in milliseconds.
    pub time_ms: u64,
    /// Ends of the rows: intents, rolls, resolutions, leavings, balances.
    pub ends: [u32; KINDS - 1],
    /// Zero.
    pub reserved: u32,
}

/// The kind of an intent's row that is a pledge of one.
pub const PLEDGE: u8 = 64;
/// The kind of an intent's row that is an opening.
pub const OPENING: u8 = 65;

/// An intent, a pledge or an opening of a known account. Layout: 40 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct IntentRow {
    /// The number that its player gave it, unused in the account's window before.
    pub number: u64,
    /// Chips, where the kind has some.
    pub amount: u64,
    /// Index of the account's row.
    pub account: u32,
    /// Table, recipient or issuer.
    pub target: u32,
    /// Its place in the block.
    pub index: u32,
    /// The roll that it was for, 0 for any.
    pub roll: u32,
    /// An [`engine::message::intent::IntentKind`], or `PLEDGE` or `OPENING`.
    pub kind: u8,
    /// A [`engine::BetId`] where the kind names a bet.
    pub bet: u8,
    /// The box number that the bet is on, 0 where it has none.
    pub box_number: u8,
    /// The working setting.
    pub working: u8,
    /// 0 applied, 1 applied with the odds returned, else 0x10 and the refusal's code.
    pub verdict: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// A roll. Layout: 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct RollRow {
    /// Index of the table's row.
    pub table: u32,
    /// The roll's number there.
    pub number: u32,
    /// The faces.
    pub dice: [u8; 2],
    /// An [`engine::RollEvent`].
    pub event: u8,
    /// The puck after the roll: 0 for OFF, or the point.
    pub puck: u8,
    /// The shooter's seat after the roll, 255 for nobody.
    pub shooter: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// What a roll did to a bet. Layout: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct ResolutionRow {
    /// Chips credited to the rail.
    pub credit: u64,
    /// Index of the table's row.
    pub table: u32,
    /// The number of the roll.
    pub roll: u32,
    /// Whose bet it was.
    pub account: u32,
    /// Chips that lay in the bet, without commission.
    pub wager: u32,
    /// Where the bet lay.
    pub spot: u8,
    /// What happened, as [`BetResult::to_bytes`] has it.
    pub result: u8,
    /// Where it travelled to, else 0.
    pub to: u8,
    /// The seat's number at its table, from 0.
    pub seat: u8,
    /// Zero.
    pub reserved: [u8; 4],
}

/// A player who left at a roll, or an account that nobody used. Layout: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct LeavingRow {
    /// Chips of bets that were returned to the rail, or forfeited; of a grant, those that went back to the treasury.
    pub returned: u64,
    /// The rail that went to the cage, if the seat became free.
    pub left_with: u64,
    /// Index of the table's row, or [`NO_TABLE`].
    pub table: u32,
    /// Index of the account's row.
    pub account: u32,
    /// The seat's number at its table, from 0; 255 without one.
    pub seat: u8,
    /// 1 if the player was absent, `FORFEITED` if the bets went to nobody, `LAPSED` if nobody used the account.
    pub absent: u8,
    /// 1 if the seat became free, or the account.
    pub freed: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

/// An account, and its seat at a table, after a height that touched them. Layout: 40 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BalanceRow {
    /// Chips in the cage.
    pub cage: u64,
    /// Chips on the rail; 0 without a seat.
    pub rail: u64,
    /// Chips in bets, with the commission that is held for them.
    pub felt: u64,
    /// Index of the account's row.
    pub account: u32,
    /// The table, or [`NO_TABLE`].
    pub table: u32,
    /// The seat, 255 without one.
    pub seat: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

const _: () = assert!(size_of::<PageHeader>() == 128);
const _: () = assert!(ROW_BYTES[0] == 32 && ROW_BYTES[1] == 40 && ROW_BYTES[2] == 16);
const _: () = assert!(ROW_BYTES[3] == 32 && ROW_BYTES[4] == 32 && ROW_BYTES[5] == 40);

impl IntentRow {
    /// The row of an intent and its answer.
    pub fn new(intent: &Intent, account: AccountId, receipt: &Receipt) -> Self {
        let body = &intent.body;
        Self {
            number: body.number,
            amount: body.amount,
            account: account.0,
            target: body.target,
            index: receipt.index,
            roll: body.roll,
            kind: body.kind,
            bet: body.bet,
            box_number: body.box_number,
            working: body.working,
            verdict: receipt.verdict.to_byte(),
            reserved: [0; 3],
        }
    }

    /// The row of a pledge or an opening and its answer.
    pub fn of_pledge(pledge: &PledgeRow, account: AccountId, receipt: &Receipt) -> Self {
        Self {
            number: pledge.number,
            account: account.0,
            target: pledge.table,
            index: receipt.index,
            roll: pledge.roll,
            kind: if pledge.is_opening() { OPENING } else { PLEDGE },
            verdict: receipt.verdict.to_byte(),
            ..Self::zeroed()
        }
    }

    /// Whether it is a pledge or an opening.
    pub fn is_pledge(&self) -> bool {
        self.kind == PLEDGE || self.kind == OPENING
    }

    /// What became of it; `None` where the byte has no meaning.
    pub fn verdict(&self) -> Option<Verdict> {
        Verdict::try_from(self.verdict).ok()
    }

    /// Whether it was applied.
    pub fn is_applied(&self) -> bool {
        self.verdict().is_some_and(|verdict| !matches!(verdict, Verdict::Refused(_)))
    }
}

impl From<&RollReport> for RollRow {
    fn from(roll: &RollReport) -> Self {
        Self {
            table: roll.table.0,
            number: roll.roll_number,
            dice: roll.dice.faces(),
            event: roll.event as u8,
            puck: roll.puck.to_byte(),
            shooter: roll.shooter,
            reserved: [0; 3],
        }
    }
}

impl ResolutionRow {
    /// The row of what roll number `roll` did to a bet.
    pub fn new(one: &Resolution, roll: u32) -> Self {
        let [result, to] = one.result.to_bytes();
        Self {
            credit: one.credit.0,
            table: one.table.0,
            roll,
            account: one.account.0,
            wager: one.wager,
            spot: one.spot.0,
            result,
            to,
            seat: one.seat,
            reserved: [0; 4],
        }
    }

    /// What happened to the bet.
    ///
    /// # Panics
    /// If the row is of no page: a page's rows were checked when it was read.
    pub fn result(&self) -> BetResult {
        BetResult::of_bytes([self.result, self.to]).expect("a page's rows were checked")
    }
}

impl From<&Lapse> for LeavingRow {
    fn from(lapse: &Lapse) -> Self {
        Self {
            returned: lapse.returned.0,
            left_with: 0,
            table: NO_TABLE,
            account: lapse.account.0,
            seat: u8::MAX,
            absent: LAPSED,
            freed: lapse.freed.into(),
            reserved: [0; 5],
        }
    }
}

impl From<&Leaving> for LeavingRow {
    fn from(leaving: &Leaving) -> Self {
        Self {
            returned: leaving.returned.0,
            left_with: leaving.left_with.unwrap_or(Chips::ZERO).0,
            table: leaving.table.0,
            account: leaving.account.0,
            seat: leaving.seat,
            absent: leaving.absent.into(),
            freed: leaving.left_with.is_some().into(),
            reserved: [0; 5],
        }
    }
}
