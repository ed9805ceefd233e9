//! Where two records of a height differ: the first field that says most about why.

use engine::message::block::{Block, Header};
use engine::message::certificate::{Certificate, Settled};
use engine::message::intent::IntentBody;
use engine::message::pledge::PledgeRow;
use engine::{Hash, hex};

use crate::difference::Difference;
use crate::recording::Step;

/// A place that differs: component, row, field, and both values.
type FieldAt = (&'static str, usize, &'static str, String, String);

/// The first thing in which two records of a height differ. The certificates by which their nodes saw it decided may: each node
/// has its own.
pub(super) fn record_difference(a: &Step, b: &Step) -> Option<Difference> {
    let (left, right) = (&a.decided.block, &b.decided.block);
    let place = header_difference(left, right)
        .or_else(|| body_difference(left, right))
        .or_else(|| settled_difference(&a.settled, &b.settled));
    let (component, row, field, expected, found) = place?;
    Some(Difference { height: a.settled.height.0, component, row: row as u64, field: field.into(), expected, found })
}

fn header_difference(left: &Block, right: &Block) -> Option<FieldAt> {
    let (field, first, second) = header_field(&left.header, &right.header)?;
    // That the hashes of the intents differ says little: the first intent that differs says more.
    let inside = match field {
        "intents" => intents_difference(left, right),
        "pledges" => pledges_difference(left, right),
        _ => None,
    };
    Some(inside.unwrap_or(("Block", 0, field, first, second)))
}

/// Where two blocks differ whose headers are the same. A header has the hashes of all that follows it, but neither of them was
/// compared with what does: one of the sessions may hold something that was never decided.
fn body_difference(left: &Block, right: &Block) -> Option<FieldAt> {
    intents_difference(left, right)
        .or_else(|| pledges_difference(left, right))
        .or_else(|| system_difference(left, right))
        .or_else(|| carried_difference(left, right))
}

fn intents_difference(left: &Block, right: &Block) -> Option<FieldAt> {
    let (one, other) = (&left.intents, &right.intents);
    if let Some(row) = one.iter().zip(other).position(|(one, other)| one != other) {
        let (one, other) = (&one[row], &other[row]);
        let (field, one, other) = intent_field(&one.body, &other.body)
            .unwrap_or_else(|| ("signature", hex(&one.signature), hex(&other.signature)));
        return Some(("Intent", row, field, one, other));
    }
    counts_differ("Block", "intent_count", one.len(), other.len())
}

fn pledges_difference(left: &Block, right: &Block) -> Option<FieldAt> {
    let (one, other) = (&left.pledges, &right.pledges);
    if let Some(row) = one.iter().zip(other).position(|(one, other)| one != other) {
        let (field, one, other) = pledge_field(&one[row], &other[row]);
        return Some(("Pledge", row, field, one, other));
    }
    counts_differ("Block", "pledge_count", one.len(), other.len())
}

fn system_difference(left: &Block, right: &Block) -> Option<FieldAt> {
    let (one, other) = (&left.system, &right.system);
    if let Some(row) = one.iter().zip(other).position(|(one, other)| one != other) {
        // A message may be long: its hash says that it is another.
        let hash = |message: &[u8]| hex(blake3::hash(message).as_bytes());
        return Some(("System", row, "message", hash(&one[row]), hash(&other[row])));
    }
    counts_differ("Block", "system_count", one.len(), other.len())
}

fn carried_difference(left: &Block, right: &Block) -> Option<FieldAt> {
    let hash = |carried: &Option<Certificate>| carried.as_ref().map_or("none".to_owned(), |it| hex(&it.hash()));
    let (one, other) = (&left.certificate, &right.certificate);
    (one != other).then(|| ("Certificate", 0, "carried", hash(one), hash(other)))
}

fn settled_difference(left: &Settled, right: &Settled) -> Option<FieldAt> {
    if left.beacon != right.beacon {
        return Some(("Settled", 0, "beacon", hex(&left.beacon), hex(&right.beacon)));
    }
    if left.root != right.root {
        return Some(("Settled", 0, "root", hex(&left.root), hex(&right.root)));
    }
    if left.root_chain != right.root_chain {
        return Some(("Settled", 0, "root_chain", hex(&left.root_chain), hex(&right.root_chain)));
    }
    let (one, other) = (&left.verdicts, &right.verdicts);
    if let Some(row) = one.iter().zip(other).position(|(one, other)| one != other) {
        return Some(("Settled", row, "verdict", one[row].name().into(), other[row].name().into()));
    }
    counts_differ("Settled", "verdicts", one.len(), other.len())
}

/// Where one list is the beginning of the other, only their lengths differ.
fn counts_differ(component: &'static str, field: &'static str, one: usize, other: usize) -> Option<FieldAt> {
    (one != other).then(|| (component, 0, field, one.to_string(), other.to_string()))
}

/// The hashes and the numbers of a header, each under its name.
type Fields = ([(&'static str, Hash); 9], [(&'static str, u64); 6]);

fn fields(header: &Header) -> Fields {
    // Taken apart whole, so that no field is forgotten. What is reserved is zero in every block that can be read.
    let Header {
        chain,
        parent,
        validators,
        next_validators,
        intents,
        certificate,
        system,
        pledges,
        root_chain,
        height,
        time_ms,
        round,
        proposer,
        intent_count,
        version,
        reserved: _,
    } = *header;
    // Hashes come first, in the order of cause and effect: a header with another parent differs in the rest for that alone.
    let hashes = [
        ("parent", parent),
        ("root_chain", root_chain),
        ("validators", validators),
        ("next_validators", next_validators),
        ("intents", intents),
        ("pledges", pledges),
        ("system", system),
        ("certificate", certificate),
        ("chain", chain),
    ];
    let numbers = [
        ("height", height.0),
        ("time_ms", time_ms),
        ("round", round.into()),
        ("proposer", proposer.into()),
        ("intent_count", intent_count.into()),
        ("version", version.into()),
    ];
    (hashes, numbers)
}

/// The first field in which two headers differ that says most about why.
fn header_field(a: &Header, b: &Header) -> Option<(&'static str, String, String)> {
    let ((hashes, numbers), (other_hashes, other_numbers)) = (fields(a), fields(b));
    let hash = hashes.into_iter().zip(other_hashes).find(|(one, other)| one != other);
    let hash = hash.map(|((name, one), (_, other))| (name, hex(&one), hex(&other)));
    let number = numbers.into_iter().zip(other_numbers).find(|(one, other)| one != other);
    hash.or_else(|| number.map(|((name, one), (_, other))| (name, one.to_string(), other.to_string())))
}

/// The first field in which two intents differ.
fn intent_field(a: &IntentBody, b: &IntentBody) -> Option<(&'static str, String, String)> {
    if a.key != b.key {
        return Some(("key", hex(&a.key), hex(&b.key)));
    }
    let numbers = [
        ("number", a.number, b.number),
        ("kind", a.kind.into(), b.kind.into()),
        ("target", a.target.into(), b.target.into()),
        ("bet", a.bet.into(), b.bet.into()),
        ("box_number", a.box_number.into(), b.box_number.into()),
        ("amount", a.amount, b.amount),
        ("working", a.working.into(), b.working.into()),
        ("roll", a.roll.into(), b.roll.into()),
        ("expiry_s", a.expiry_s.into(), b.expiry_s.into()),
    ];
    let number = numbers.into_iter().find(|(_, one, other)| one != other);
    number.map(|(name, one, other)| (name, one.to_string(), other.to_string()))
}

/// The first field in which two pledges or openings differ that are not the same.
fn pledge_field(a: &PledgeRow, b: &PledgeRow) -> (&'static str, String, String) {
    let numbers = [
        ("table", a.table.into(), b.table.into()),
        ("roll", a.roll.into(), b.roll.into()),
        ("kind", a.kind.into(), b.kind.into()),
        ("number", a.number, b.number),
    ];
    let number = numbers.into_iter().find(|(_, one, other)| one != other);
    match number {
        _ if a.key != b.key => ("key", hex(&a.key), hex(&b.key)),
        Some((name, one, other)) => (name, one.to_string(), other.to_string()),
        None if a.value != b.value => ("value", hex(&a.value), hex(&b.value)),
        None if a.block != b.block => ("block", hex(&a.block), hex(&b.block)),
        None => ("signature", hex(&a.signature), hex(&b.signature)),
    }
}
