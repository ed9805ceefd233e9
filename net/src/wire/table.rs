//! A table update: the table's row, a roll, the seats that changed with their bets, and what the roll did to bets.
//!
//! ```text
//!  prefix 32 | Table 64 | Roll 16, if any | seats x ( seat 8 | Seat 64 | bets x 8 ) | resolutions x 24
//! ```

use bytemuck::{Pod, Zeroable};
use engine::component::{BetRow, Seat, Table};
use engine::io::{BetResult, Resolution, RollReport, SeatUpdate, TableUpdate};
use engine::limits::{RULES_MAX, SEAT_BETS_MAX, SEATS_MAX, SPOTS};
use engine::{AccountId, Chips, Dice, Height, Puck, RollEvent, Spot, TableId};

use super::kind::Bounds;
use super::payload::Payload;
use super::{Kind, TABLE_BYTES_MAX, WireError, frame};

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
    reserved: [u8; 7],
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

    fn encode(&self, kind: Kind, out: &mut Vec<u8>) {
        frame(kind, out, |out| encode(&self.update, out));
    }

    fn decode(body: &[u8]) -> Result<Self, WireError> {
        let (update, whole) = decode(body)?;
        Ok(Self { update: Box::new(update), whole })
    }

    #[cfg(test)]
    fn sample() -> Self {
        Self { update: Box::new(super::tests::table()), whole: false }
    }
}

fn value(field: &'static str, found: impl Into<u64>) -> WireError {
    WireError::Value { field, found: found.into() }
}

pub(super) fn encode(update: &TableUpdate, out: &mut Vec<u8>) {
    let prefix = Prefix {
        height: update.height.0,
        time_ms: update.time_ms,
        table: update.id.0,
        resolutions: update.resolutions.len() as u16,
        seats: update.seats.len() as u8,
        whole: update.to.is_some().into(),
        rolled: update.roll.is_some().into(),
        reserved: [0; 7],
    };
    out.extend_from_slice(bytemuck::bytes_of(&prefix));
    out.extend_from_slice(bytemuck::bytes_of(&update.table));
    if let Some(roll) = &update.roll {
        let (number, dice, event) = (roll.roll_number, roll.dice.faces(), roll.event as u8);
        let roll = Roll { number, dice, event, puck: roll.puck.to_byte(), shooter: roll.shooter, reserved: [0; 7] };
        out.extend_from_slice(bytemuck::bytes_of(&roll));
    }
    for SeatUpdate { seat, row, bets } in &update.seats {
        let head = SeatHead { seat: *seat, bets: bets.len() as u8, reserved: [0; 6] };
        out.extend_from_slice(bytemuck::bytes_of(&head));
        out.extend_from_slice(bytemuck::bytes_of(row));
        out.extend_from_slice(bytemuck::cast_slice(bets));
    }
    for resolution in &update.resolutions {
        let (result, to) = match resolution.result {
            BetResult::Win => (1, 0),
            BetResult::Lose => (2, 0),
            BetResult::Push => (3, 0),
            BetResult::Return => (4, 0),
            BetResult::Travel(spot) => (5, spot.0),
        };
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

/// Takes records off the front.
struct Parts<'a>(&'a [u8]);

impl Parts<'_> {
    fn take<T: Pod>(&mut self) -> Result<T, WireError> {
        let (head, rest) = self
            .0
            .split_at_checked(size_of::<T>())
            .ok_or_else(|| value("bytes of a table update", self.0.len() as u64))?;
        self.0 = rest;
        Ok(bytemuck::pod_read_unaligned(head))
    }
}

/// The update, with `to` empty: whether it is the whole table is the second value.
pub(super) fn decode(body: &[u8]) -> Result<(TableUpdate, bool), WireError> {
    let mut parts = Parts(body);
    let prefix: Prefix = parts.take()?;
    if prefix.reserved != [0; 7] || prefix.whole > 1 || prefix.rolled > 1 {
        return Err(WireError::NotZero("table update"));
    }
    if u32::from(prefix.seats) > SEATS_MAX {
        return Err(value("seats", prefix.seats));
    }
    let table = check_table(parts.take()?)?;
    let id = TableId(prefix.table);
    let roll = if prefix.rolled == 1 { Some(decode_roll(id, parts.take()?)?) } else { None };
    let mut seats = Vec::with_capacity(prefix.seats.into());
    for _ in 0..prefix.seats {
        seats.push(decode_seat(&mut parts)?);
    }
    if !seats.iter().is_sorted_by(|a, b| a.seat < b.seat) {
        return Err(value("order of seats", prefix.seats));
    }
    let count = usize::from(prefix.resolutions);
    if parts.0.len() != count * size_of::<Resolved>() {
        return Err(value("bytes of a table update", parts.0.len() as u64));
    }
    let resolutions = (0..count).map(|_| decode_resolution(id, parts.take()?)).collect::<Result<_, _>>()?;
    let (height, time_ms) = (Height(prefix.height), prefix.time_ms);
    Ok((TableUpdate { to: None, id, height, time_ms, table, seats, roll, resolutions }, prefix.whole == 1))
}

/// A row that another program sent must not be one at which ours would stop.
fn check_table(table: Table) -> Result<Table, WireError> {
    Puck::from_byte(table.point).ok_or_else(|| value("point", table.point))?;
    if table.dice != [0; 2] && table.last_dice().is_none() {
        return Err(value("dice", table.dice[0]));
    }
    if usize::from(table.rules) >= RULES_MAX {
        return Err(value("rules", table.rules));
    }
    Ok(table)
}

fn decode_roll(table: TableId, roll: Roll) -> Result<RollReport, WireError> {
    if roll.reserved != [0; 7] {
        return Err(WireError::NotZero("roll"));
    }
    let events = [
        RollEvent::Natural,
        RollEvent::Craps,
        RollEvent::PointEstablished,
        RollEvent::PointMade,
        RollEvent::SevenOut,
        RollEvent::NoDecision,
    ];
    Ok(RollReport {
        table,
        roll_number: roll.number,
        dice: Dice::new(roll.dice[0], roll.dice[1]).ok_or_else(|| value("dice", roll.dice[0]))?,
        event: *events.get(usize::from(roll.event)).ok_or_else(|| value("event", roll.event))?,
        puck: Puck::from_byte(roll.puck).ok_or_else(|| value("puck", roll.puck))?,
        shooter: roll.shooter,
    })
}

fn decode_seat(parts: &mut Parts<'_>) -> Result<SeatUpdate, WireError> {
    let head: SeatHead = parts.take()?;
    let row: Seat = parts.take()?;
    if head.reserved != [0; 6] {
        return Err(WireError::NotZero("seat"));
    }
    if u32::from(head.seat) >= SEATS_MAX {
        return Err(value("seat", head.seat));
    }
    if usize::from(head.bets) > SEAT_BETS_MAX || u32::from(head.bets) != row.spots.count() {
        return Err(value("bets", head.bets));
    }
    let mut bets: Vec<BetRow> = Vec::with_capacity(head.bets.into());
    for spot in row.spots.iter() {
        let bet: BetRow = parts.take()?;
        if bet.spot != spot || usize::from(spot.0) >= SPOTS {
            return Err(value("spot", bet.spot.0));
        }
        bets.push(bet);
    }
    Ok(SeatUpdate { seat: head.seat, row, bets })
}

fn decode_resolution(table: TableId, resolved: Resolved) -> Result<Resolution, WireError> {
    let spot = |spot: u8| if usize::from(spot) < SPOTS { Ok(Spot(spot)) } else { Err(value("spot", spot)) };
    let result = match resolved.result {
        1 => BetResult::Win,
        2 => BetResult::Lose,
        3 => BetResult::Push,
        4 => BetResult::Return,
        5 => BetResult::Travel(spot(resolved.to)?),
        found => return Err(value("result", found)),
    };
    if resolved.reserved != [0; 4] || (resolved.result != 5 && resolved.to != 0) {
        return Err(WireError::NotZero("resolution"));
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
