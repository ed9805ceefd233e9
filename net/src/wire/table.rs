//! A table update: the table's row, a roll, a pledge with the block that closed the bets, the seats that changed with their
//! bets, and what the roll did to bets.
//!
//! ```text
//!  prefix 32 | Table 64 | Roll 16, if any | Pledge 128, if any | header 384, certificate 48 + 68 n, if any | seats x ( seat 8 | Seat 64 | bets x 8 ) | resolutions x 24
//! ```

use bytemuck::{Pod, Zeroable};
use engine::bytes::{DecodeError, Reader};
use engine::component::{BetRow, Pledge, Seat, Table};
use engine::io::{BetResult, Closing, Resolution, RollReport, SeatUpdate, TableUpdate};
use engine::limits::{COUNTER_MAX, RULES_MAX, SEAT_BETS_MAX, SEATS_MAX, SPOTS};
use engine::message::block::Header;
use engine::message::certificate::Certificate;
use engine::message::check_height;
use engine::{AccountId, Chips, Dice, Height, Puck, RollEvent, Spot, TableId};

use super::frame::{Bounds, Head, frame};
use super::payload::Payload;

/// Bytes of the largest table update: all seats with all bets, and what a roll did to each of them.
pub const TABLE_BYTES_MAX: usize = size_of::<Prefix>()
    + size_of::<Table>()
    + size_of::<Roll>()
    + PLEDGED_BYTES_MAX
    + SEATS_MAX as usize * (size_of::<SeatHead>() + size_of::<Seat>() + SEAT_BETS_MAX * size_of::<BetRow>())
    + SEATS_MAX as usize * SEAT_BETS_MAX * size_of::<Resolved>();
/// Bytes of what a pledged table's update has beside, at most: its pledge, and the block that closed the bets with its certificate.
const PLEDGED_BYTES_MAX: usize = size_of::<Pledge>() + size_of::<Header>() + Certificate::BYTES_MAX;

/// Layout: 32 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Prefix {
    height: u64,
    time_ms: u64,
    table: u32,
    resolutions: u16,
    seats: u8,
    whole: u8,
    rolled: u8,
    /// 1 with a pledge, 2 with a pledge and the block that closed the bets.
    pledged: u8,
    reserved: [u8; 6],
}

/// Layout: 16 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Roll {
    number: u32,
    dice: [u8; 2],
    event: u8,
    puck: u8,
    shooter: u8,
    reserved: [u8; 7],
}

/// Layout: 8 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SeatHead {
    seat: u8,
    bets: u8,
    reserved: [u8; 6],
}

/// Layout: 24 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Resolved {
    credit: u64,
    account: u32,
    wager: u32,
    seat: u8,
    spot: u8,
    result: u8,
    to: u8,
    reserved: [u8; 4],
}

const _: () = assert!(size_of::<Prefix>() == 32 && size_of::<Roll>() == 16);
const _: () = assert!(size_of::<SeatHead>() == 8 && size_of::<Resolved>() == 24);

// Counts of an update are written in so many bits.
const _: () = assert!(SEATS_MAX <= u8::MAX as u32);
const _: () = assert!(SEAT_BETS_MAX <= u8::MAX as usize);
const _: () = assert!(TABLE_BYTES_MAX / size_of::<Resolved>() <= u16::MAX as usize);

/// A table update as it is received.
#[derive(Clone, PartialEq, Debug)]
pub struct TableMessage {
    /// What changed.
    pub update: Box<TableUpdate>,
    /// Whether it is the whole table: what was known before is dropped.
    pub whole: bool,
}

impl Payload for TableMessage {
    const BOUNDS: Bounds =
        Bounds { least: size_of::<Prefix>() + size_of::<Table>(), most: TABLE_BYTES_MAX, unit: size_of::<BetRow>() };

    fn encode(&self, head: Head, out: &mut Vec<u8>) {
        frame(head, out, |out| encode(&self.update, out));
    }

    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let (update, whole) = decode(body)?;
        Ok(Self { update: Box::new(update), whole })
    }

    #[cfg(test)]
    fn sample() -> Self {
        Self { update: Box::new(super::tests::table()), whole: false }
    }
}

pub(super) fn encode(update: &TableUpdate, out: &mut Vec<u8>) {
    assert!(update.seats.len() <= SEATS_MAX as usize, "an update has each seat once");
    let prefix = Prefix {
        height: update.height.0,
        time_ms: update.time_ms,
        table: update.id.0,
        resolutions: update.resolutions.len() as u16,
        seats: update.seats.len() as u8,
        whole: update.to.is_some().into(),
        rolled: update.roll.is_some().into(),
        pledged: u8::from(update.pledge.is_some()) + u8::from(update.closing.is_some()),
        reserved: [0; 6],
    };
    out.extend_from_slice(bytemuck::bytes_of(&prefix));
    out.extend_from_slice(bytemuck::bytes_of(&update.table));
    if let Some(roll) = &update.roll {
        let (number, dice, event) = (roll.roll_number, roll.dice.faces(), roll.event as u8);
        let roll = Roll { number, dice, event, puck: roll.puck.to_byte(), shooter: roll.shooter, reserved: [0; 7] };
        out.extend_from_slice(bytemuck::bytes_of(&roll));
    }
    assert!(update.pledge.is_some() || update.closing.is_none(), "only a pledged table's bets are closed by a block");
    update.pledge.iter().for_each(|pledge| out.extend_from_slice(bytemuck::bytes_of(pledge)));
    if let Some(closing) = &update.closing {
        out.extend_from_slice(bytemuck::bytes_of(&closing.header));
        closing.certificate.encode(out);
        // A certificate with an odd number of signatures ends in the middle of a word.
        out.resize(out.len() + padding(closing.certificate.encoded_len()), 0);
    }
    for SeatUpdate { seat, row, bets } in &update.seats {
        assert!(bets.len() <= SEAT_BETS_MAX, "the bets of a seat are bounded");
        let head = SeatHead { seat: *seat, bets: bets.len() as u8, reserved: [0; 6] };
        out.extend_from_slice(bytemuck::bytes_of(&head));
        out.extend_from_slice(bytemuck::bytes_of(row));
        out.extend_from_slice(bytemuck::cast_slice(bets));
    }
    for resolution in &update.resolutions {
        let [result, to] = resolution.result.to_bytes();
        let resolved = Resolved {
            credit: resolution.credit.0,
            account: resolution.account.0,
            wager: resolution.wager,
            seat: resolution.seat,
            spot: resolution.spot.0,
            result,
            to,
            reserved: [0; 4],
        };
        out.extend_from_slice(bytemuck::bytes_of(&resolved));
    }
}

/// Zeros behind a certificate of so many bytes.
fn padding(bytes: usize) -> usize {
    bytes.next_multiple_of(size_of::<BetRow>()) - bytes
}

fn read_closing(parts: &mut Reader<'_>) -> Result<Closing, DecodeError> {
    let header: Header = parts.row()?;
    let certificate = Certificate::read(parts)?;
    let zeros = parts.take(padding(certificate.encoded_len()))?;
    if zeros.iter().any(|byte| *byte != 0) {
        return Err(parts.wrong(DecodeError::NotZero { field: "certificate" }));
    }
    Ok(Closing { header, certificate })
}

/// The update, with `to` empty: whether it is the whole table is the second value.
pub(super) fn decode(body: &[u8]) -> Result<(TableUpdate, bool), DecodeError> {
    let mut parts = Reader::new("table update", body);
    let prefix: Prefix = parts.row()?;
    if prefix.reserved != [0; 6] || prefix.whole > 1 || prefix.rolled > 1 || prefix.pledged > 2 {
        return Err(parts.wrong(DecodeError::NotZero { field: "table update" }));
    }
    if u32::from(prefix.seats) > SEATS_MAX {
        return Err(parts.value("seats", prefix.seats));
    }
    let table = read_table(&mut parts)?;
    let id = TableId(prefix.table);
    let roll = if prefix.rolled == 1 { Some(read_roll(id, &table, &mut parts)?) } else { None };
    let pledge = if prefix.pledged > 0 { Some(parts.row()?) } else { None };
    let closing = if prefix.pledged > 1 { Some(Box::new(read_closing(&mut parts)?)) } else { None };
    let mut seats = Vec::with_capacity(prefix.seats.into());
    for _ in 0..prefix.seats {
        seats.push(read_seat(&mut parts)?);
    }
    // A seat that comes twice would be two truths about one place.
    if !seats.iter().is_sorted_by(|a, b| a.seat < b.seat) {
        return Err(parts.value("order of seats", prefix.seats));
    }
    let count = usize::from(prefix.resolutions);
    // The rest is compared before room is made for it: a count alone must not cost memory.
    if parts.left() != count * size_of::<Resolved>() {
        return Err(parts.value("resolutions", prefix.resolutions));
    }
    let resolutions = (0..count).map(|_| read_resolution(id, &mut parts)).collect::<Result<_, _>>()?;
    let height = check_height(Height(prefix.height)).map_err(|problem| parts.wrong(problem))?;
    let time_ms = prefix.time_ms;
    let update = TableUpdate { to: None, id, height, time_ms, table, seats, roll, resolutions, pledge, closing };
    Ok((update, prefix.whole == 1))
}

/// A row that another program sent must not be one at which ours would stop.
fn read_table(parts: &mut Reader<'_>) -> Result<Table, DecodeError> {
    let table: Table = parts.row()?;
    Puck::from_byte(table.point).ok_or_else(|| parts.value("point", table.point))?;
    // No dice at all stand for a table at which nobody has rolled yet.
    if table.dice != [0; 2] && table.last_dice().is_none() {
        return Err(parts.value("dice", table.dice[0]));
    }
    if usize::from(table.rules) >= RULES_MAX {
        return Err(parts.value("rules", table.rules));
    }
    // A player's program counts on from this number, and keeps what it has counted for good.
    if u64::from(table.roll_number) > COUNTER_MAX {
        return Err(parts.value("roll number", table.roll_number));
    }
    Ok(table)
}

/// The roll after which the table stands as its row says.
fn read_roll(id: TableId, table: &Table, parts: &mut Reader<'_>) -> Result<RollReport, DecodeError> {
    let roll: Roll = parts.row()?;
    if roll.reserved != [0; 7] {
        return Err(parts.wrong(DecodeError::NotZero { field: "roll" }));
    }
    // A number far ahead would hide from a player all rolls that come.
    if roll.number != table.roll_number {
        return Err(parts.value("number of the roll", roll.number));
    }
    Ok(RollReport {
        table: id,
        roll_number: roll.number,
        dice: Dice::new(roll.dice[0], roll.dice[1]).ok_or_else(|| parts.value("dice", roll.dice[0]))?,
        event: RollEvent::try_from(roll.event).map_err(|problem| parts.wrong(problem))?,
        puck: Puck::from_byte(roll.puck).ok_or_else(|| parts.value("puck", roll.puck))?,
        shooter: roll.shooter,
    })
}

fn read_seat(parts: &mut Reader<'_>) -> Result<SeatUpdate, DecodeError> {
    let head: SeatHead = parts.row()?;
    if head.reserved != [0; 6] {
        return Err(parts.wrong(DecodeError::NotZero { field: "seat" }));
    }
    if u32::from(head.seat) >= SEATS_MAX {
        return Err(parts.value("seat", head.seat));
    }
    let row: Seat = parts.row()?;
    if usize::from(head.bets) > SEAT_BETS_MAX || u32::from(head.bets) != row.spots.count() {
        return Err(parts.value("bets", head.bets));
    }
    let mut bets: Vec<BetRow> = Vec::with_capacity(head.bets.into());
    for spot in row.spots.iter() {
        let bet: BetRow = parts.row()?;
        if bet.spot != spot || usize::from(spot.0) >= SPOTS {
            return Err(parts.value("spot", bet.spot.0));
        }
        bets.push(bet);
    }
    Ok(SeatUpdate { seat: head.seat, row, bets })
}

fn read_resolution(table: TableId, parts: &mut Reader<'_>) -> Result<Resolution, DecodeError> {
    let resolved: Resolved = parts.row()?;
    let spot = |spot: u8| if usize::from(spot) < SPOTS { Ok(Spot(spot)) } else { Err(parts.value("spot", spot)) };
    let result = BetResult::of_bytes([resolved.result, resolved.to]).map_err(|problem| parts.wrong(problem))?;
    if resolved.reserved != [0; 4] {
        return Err(parts.wrong(DecodeError::NotZero { field: "resolution" }));
    }
    Ok(Resolution {
        table,
        seat: resolved.seat,
        account: AccountId(resolved.account),
        spot: spot(resolved.spot)?,
        wager: resolved.wager,
        credit: Chips(resolved.credit),
        result,
    })
}
