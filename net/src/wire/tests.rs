use std::sync::atomic::{AtomicUsize, Ordering};

use bolero::check;
use bytemuck::Zeroable;
use engine::bytes::DecodeError;
use engine::component::{BetRow, Pledge, Seat, Table};
use engine::io::{BetResult, Closing, Resolution, RollReport, SeatUpdate, TableUpdate};
use engine::{AccountId, Chips, Dice, Height, PeerId, Puck, RollEvent, Spot, TableId};
use proptest::prelude::*;

use engine::message::block::Header;
use engine::message::certificate::{Certificate, CertificateSignature};
use engine::message::node::{Lane, NodeKind, NodeMessage};

use super::kind::samples::samples as one_way;
use super::*;

mod node;

/// A message of every kind as it is sent, and what its hash must begin with.
fn samples() -> Vec<(Kind, Vec<u8>, &'static str)> {
    let mut samples = one_way();
    for kind in NodeKind::ALL {
        let mut bytes = Vec::new();
        encode_node(&node::sample(kind), &mut bytes);
        samples.push((Kind::Between(kind), bytes, node::pinned(kind)));
    }
    samples
}

pub(super) fn table() -> TableUpdate {
    let mut row = Table { bank: Chips(990_000), felt: Chips(30), roll_number: 5, occupied: 0b11, ..Table::zeroed() };
    (row.dice, row.point, row.shooter) = ([4, 2], 6, 1);
    let bet = |spot: u8, amount| BetRow { amount, spot: Spot(spot), ..BetRow::zeroed() };
    let bets = vec![bet(0, 10), bet(7, 5)];
    let seat = Seat {
        rail: Chips(485),
        account: AccountId(9),
        status: 1,
        spots: bets.iter().map(|bet| bet.spot).collect(),
        ..Seat::EMPTY
    };
    let empty = SeatUpdate { seat: 0, row: Seat::EMPTY, bets: Vec::new() };
    let resolved = |result, credit| Resolution {
        table: TableId(3),
        seat: 1,
        account: AccountId(9),
        spot: Spot(2),
        wager: 5,
        credit: Chips(credit),
        result,
    };
    let results = [BetResult::Win, BetResult::Lose, BetResult::Push, BetResult::Return, BetResult::Travel(Spot(7))];
    TableUpdate {
        to: None,
        id: TableId(3),
        height: Height(11),
        time_ms: 1_800_000_000_100,
        table: row,
        seats: vec![empty, SeatUpdate { seat: 1, row: seat, bets }],
        roll: Some(RollReport {
            table: TableId(3),
            roll_number: 5,
            dice: Dice::new(4, 2).expect("faces"),
            event: RollEvent::PointEstablished,
            puck: Puck::from_byte(6).expect("a point"),
            shooter: 1,
        }),
        resolutions: results
            .into_iter()
            .zip([10, 0, 5, 5, 0])
            .map(|(result, credit)| resolved(result, credit))
            .collect(),
        pledge: None,
        closing: None,
    }
}

/// Decodes as whichever side takes the kind, and encodes again.
fn again(kind: Kind, body: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::new();
    match kind.spec().direction {
        Direction::ToNode => ToNode::decode(kind, body)?.encode(&mut bytes),
        Direction::ToClient => {
            let mut message = ToClient::decode(kind, body)?;
            if let ToClient::Table(TableMessage { update, whole: true }) = &mut message {
                // A whole table goes to one peer.
                update.to = Some(PeerId::LOCAL);
            }
            message.encode(&mut bytes);
        }
        Direction::Between => encode_node(&<NodeMessage as Message>::decode(kind, body)?, &mut bytes),
    }
    Ok(bytes)
}

#[test]
fn every_kind_is_pinned_and_read_as_it_was_written() {
    let samples = samples();
    assert_eq!(samples.iter().map(|(kind, ..)| *kind).collect::<Vec<_>>(), Kind::ALL);
    // A changed hash is a changed protocol: another version, and another drawing in docs/formats/protocol.md.
    let pins = samples.iter().map(|(kind, bytes, _)| (*kind, blake3::hash(bytes).to_hex()[..16].to_owned()));
    let pinned: Vec<(Kind, String)> = samples.iter().map(|(kind, _, pinned)| (*kind, (*pinned).to_owned())).collect();
    assert_eq!(pins.collect::<Vec<_>>(), pinned);
    for (kind, bytes, _) in samples {
        assert_eq!(again(kind, &bytes[HEADER_BYTES..]), Ok(bytes), "{kind:?}");
    }
}

#[test]
fn the_number_of_a_kind_says_which_way_it_goes() {
    for kind in Kind::ALL {
        let way = match kind.number() {
            ..64 => Direction::ToNode,
            64..128 => Direction::ToClient,
            128.. => Direction::Between,
        };
        assert_eq!(kind.spec().direction, way, "{kind:?}");
        assert_eq!(matches!(kind, Kind::Between(_)), way == Direction::Between);
        assert_eq!(Kind::try_from(kind.number()), Ok(kind));
    }
}

/// `PeersToNode` as the page writes it: `peers to node`.
fn words(kind: Kind) -> String {
    let mut words = String::new();
    for letter in kind.to_string().chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

#[test]
fn the_page_has_the_table_of_messages() {
    let page = include_str!("../../../docs/formats/protocol.md");
    let table = page.split("| kind | name |").nth(1).expect("the page has the table");
    let page: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    let code: Vec<String> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let Spec { direction, order, roles, lane, bounds: Bounds { least, most, unit } } = kind.spec();
            let way = match direction {
                Direction::ToNode => "to the node",
                Direction::ToClient => "from the node",
                Direction::Between => "both",
            };
            let when = if order == Order::First { "first" } else { "then" };
            let roles: Vec<&str> =
                roles.iter().map(|role| if *role == Role::Client { "client" } else { "node" }).collect();
            let bytes = if least == most {
                least.to_string()
            } else if unit == 1 && least != 1 {
                format!("{least} to {most}")
            } else if unit == least {
                format!("{unit} x 1 to {}", most / unit)
            } else {
                format!("{least} to {most}, in steps of {unit}")
            };
            let (roles, lane) = (roles.join(", "), lane.map_or("", Lane::name));
            format!("| {} | {} | {way} | {when} | {roles} | {lane} | {bytes} |", kind.number(), words(kind))
        })
        .collect();
    assert_eq!(page, code);
}

#[test]
fn a_whole_table_says_so_and_the_largest_one_fits() {
    let whole = TableUpdate { to: Some(PeerId::LOCAL), ..table() };
    let mut bytes = Vec::new();
    encode_table(&whole, &mut bytes);
    let read = ToClient::decode(Kind::Table, &bytes[HEADER_BYTES..]).expect("a table");
    assert_eq!(read, ToClient::Table(TableMessage { update: Box::new(table()), whole: true }));
    let bets: Vec<BetRow> = (0..32).map(|spot| BetRow { amount: 5, spot: Spot(spot), ..BetRow::zeroed() }).collect();
    let row = Seat { status: 1, spots: bets.iter().map(|bet| bet.spot).collect(), ..Seat::EMPTY };
    let seats = (0..16).map(|seat| SeatUpdate { seat, row, bets: bets.clone() }).collect();
    let resolutions = vec![table().resolutions[0]; 16 * 32];
    bytes.clear();
    let signatures = (0..128).map(|slot| CertificateSignature { slot, signature: [7; 64] }).collect();
    let certificate = Certificate { height: Height(9), round: 0, block: [2; 32], signatures };
    let closing = Some(Box::new(Closing { header: Header::zeroed(), certificate }));
    let pledge = Some(Pledge::zeroed());
    encode_table(&TableUpdate { seats, resolutions, pledge, closing, ..table() }, &mut bytes);
    assert_eq!(bytes.len(), HEADER_BYTES + TABLE_BYTES_MAX);
}

#[test]
fn a_roll_that_is_not_the_tables_last_one_is_refused() {
    let mut bytes = Vec::new();
    for number in [0, 4, 6, u32::MAX] {
        let roll = table().roll.map(|roll| RollReport { roll_number: number, ..roll });
        bytes.clear();
        encode_table(&TableUpdate { roll, ..table() }, &mut bytes);
        let read = ToClient::decode(Kind::Table, &bytes[HEADER_BYTES..]);
        assert!(read.is_err(), "the table has had 5 rolls, and not {number}");
    }
}

/// Whatever a decoder takes off a stream that comes in these parts, as bytes again.
fn decode_all<M: Message>(
    mut decoder: Decoder<M>,
    encode: impl Fn(&M, &mut Vec<u8>),
    parts: &[&[u8]],
) -> Result<Vec<u8>, WireError> {
    let mut found = Vec::new();
    for part in parts {
        decoder.push(part);
        while let Some(message) = decoder.next_message()? {
            encode(&message, &mut found);
        }
    }
    assert_eq!(decoder.unfinished(), 0);
    Ok(found)
}

/// The samples that may be said on the connections of a role, in one direction, as one stream.
fn stream(direction: Direction, role: Role) -> Vec<u8> {
    let mut stream = Vec::new();
    for (kind, mut bytes, _) in samples() {
        let spec = kind.spec();
        if spec.direction == direction && spec.roles.contains(&role) {
            if kind == Kind::Hello {
                bytes[HEADER_BYTES + 56] = role as u8;
            }
            stream.extend(bytes);
        }
    }
    stream
}

#[test]
fn a_stream_is_read_the_same_however_it_arrives() {
    for role in [Role::Client, Role::Node] {
        let (to_node, to_client) = (stream(Direction::ToNode, role), stream(Direction::ToClient, role));
        for step in [1, 2, 3, 7, 8, 9, 63, 64, 100, 1_000, 10_000] {
            let parts: Vec<&[u8]> = to_node.chunks(step).collect();
            assert_eq!(decode_all(Decoder::for_node(), ToNode::encode, &parts), Ok(to_node.clone()), "{step}");
            let parts: Vec<&[u8]> = to_client.chunks(step).collect();
            let decoder = Decoder::for_opener(role);
            assert_eq!(decode_all(decoder, ToClient::encode, &parts), Ok(to_client.clone()), "{step}");
        }
    }
}

/// What a decoder says of bytes after the messages that come before them.
fn next<M: Message>(mut decoder: Decoder<M>, before: &[u8], bytes: &[u8]) -> Result<bool, WireError> {
    decoder.push(before);
    while decoder.next_message().expect("what comes before is good").is_some() {}
    assert_eq!(decoder.unfinished(), 0);
    decoder.push(bytes);
    decoder.next_message().map(|found| found.is_some())
}

fn hello(role: Role) -> Vec<u8> {
    let mut bytes = Vec::new();
    ToNode::Hello(Hello { chain: None, program: "test".into(), role }).encode(&mut bytes);
    bytes
}

fn welcome() -> Vec<u8> {
    samples().into_iter().find(|(kind, ..)| *kind == Kind::Welcome).expect("a sample").1
}

/// What the side that takes a kind says of its header, where the first message and the role allow the kind.
fn header_where_it_may_come(kind: Kind, header: &[u8]) -> Result<bool, WireError> {
    let Spec { direction, order, roles, .. } = kind.spec();
    let (role, first) = (roles[0], order == Order::First);
    let before = |message: Vec<u8>| if first { Vec::new() } else { message };
    match direction {
        Direction::ToNode => next(Decoder::for_node(), &before(hello(role)), header),
        Direction::ToClient => next(Decoder::for_opener(role), &before(welcome()), header),
        Direction::Between => next(Decoder::between_nodes(), &[], header),
    }
}

#[test]
fn a_header_that_cannot_be_is_refused_before_its_body() {
    for (kind, bytes, _) in samples() {
        let header: [u8; 8] = bytes[..8].try_into().expect("a header");
        let cut = |header: &[u8]| header_where_it_may_come(kind, header);
        let is_whole = kind.spec().bounds.most == 0;
        assert_eq!(cut(&header), Ok(is_whole), "{kind:?} waits for its body");
        let changed = |at: usize, to: u8| {
            let mut header = header;
            header[at] = to;
            cut(&header)
        };
        assert_eq!(changed(5, VERSION + 1), Err(WireError::Version { found: VERSION + 1 }));
        assert_eq!(changed(5, 0), Err(WireError::Version { found: 0 }));
        assert_eq!(changed(6, 1), Err(DecodeError::NotZero { field: "header" }.into()));
        assert_eq!(changed(7, 1), Err(DecodeError::NotZero { field: "header" }.into()));
        assert_eq!(changed(4, 0), Err(WireError::Kind(0)));
        assert_eq!(changed(4, 255), Err(WireError::Kind(255)));
        let Bounds { least, most, unit } = kind.spec().bounds;
        let mut lengths = vec![most + unit, u32::MAX as usize];
        lengths.extend(least.checked_sub(1));
        if unit > 1 {
            lengths.push(least + 1);
        }
        for length in lengths {
            let mut header = header;
            header[..4].copy_from_slice(&(length as u32).to_le_bytes());
            assert_eq!(cut(&header), Err(WireError::Length { kind, found: length, least, most }), "{kind:?}");
        }
    }
}

#[test]
fn direction_order_and_role_are_checked_before_a_body_comes() {
    let roles = [Role::Client, Role::Node];
    let mut refused = [0; 3];
    for (kind, bytes, _) in samples() {
        let (header, spec) = (&bytes[..HEADER_BYTES], kind.spec());
        let expected = |direction: Direction, is_first: bool, role: Option<Role>| {
            if spec.direction != direction {
                Some(WireError::Direction(kind))
            } else if (spec.order == Order::First) != is_first {
                Some(WireError::Order(kind))
            } else {
                role.filter(|role| !spec.roles.contains(role)).map(|_| WireError::Role(kind))
            }
        };
        let mut check = |found: Result<bool, WireError>, expected: Option<WireError>| {
            match &expected {
                Some(WireError::Direction(_)) => refused[0] += 1,
                Some(WireError::Order(_)) => refused[1] += 1,
                Some(_) => refused[2] += 1,
                None => {}
            }
            assert_eq!(found.err(), expected, "{kind:?}");
        };
        check(next(Decoder::for_node(), &[], header), expected(Direction::ToNode, true, None));
        for role in roles {
            let some = Some(role);
            check(next(Decoder::for_node(), &hello(role), header), expected(Direction::ToNode, false, some));
            check(next(Decoder::for_opener(role), &[], header), expected(Direction::ToClient, true, some));
            check(next(Decoder::for_opener(role), &welcome(), header), expected(Direction::ToClient, false, some));
            check(next(Decoder::for_updates(role), &[], header), expected(Direction::ToClient, false, some));
        }
        let node = Some(Role::Node);
        check(next(Decoder::between_nodes(), &[], header), expected(Direction::Between, false, node));
    }
    assert!(refused.iter().all(|count| *count > 10), "{refused:?} refusals by direction, order, role");
}

#[test]
fn a_body_that_goes_the_other_way_is_no_message() {
    for (kind, bytes, _) in samples() {
        let (body, way) = (&bytes[HEADER_BYTES..], kind.spec().direction);
        let errors = [
            (Direction::ToNode, ToNode::decode(kind, body).err()),
            (Direction::ToClient, ToClient::decode(kind, body).err()),
            (Direction::Between, <NodeMessage as Message>::decode(kind, body).err()),
        ];
        for (other, error) in errors {
            assert_eq!(error, (other != way).then_some(WireError::Direction(kind)), "{kind:?}");
        }
    }
}

#[test]
fn what_goes_between_two_nodes_is_read_the_same_however_it_arrives() {
    for lane in Lane::ALL {
        let of_lane = samples().into_iter().filter(|(kind, ..)| kind.spec().lane == Some(lane));
        let whole: Vec<u8> = of_lane.flat_map(|(_, bytes, _)| bytes).collect();
        for step in [1, 7, 8, 9, 100, 10_000] {
            let parts: Vec<&[u8]> = whole.chunks(step).collect();
            let read = decode_all(Decoder::between_nodes(), encode_node, &parts);
            assert!(read.as_ref() == Ok(&whole), "{lane:?}, {step}");
        }
    }
}

#[test]
fn a_stream_carries_one_lane() {
    for (first, one, _) in samples().into_iter().filter(|(kind, ..)| matches!(kind, Kind::Between(_))) {
        for (second, other, _) in samples().into_iter().filter(|(kind, ..)| matches!(kind, Kind::Between(_))) {
            let mut decoder = Decoder::between_nodes();
            decoder.push(&one);
            assert!(matches!(decoder.next_message(), Ok(Some(_))), "{first:?}");
            // Its header is enough.
            decoder.push(&other[..HEADER_BYTES]);
            let is_same = first.spec().lane == second.spec().lane;
            let refused = decoder.next_message().err();
            assert_eq!(refused, (!is_same).then_some(WireError::Lane(second)), "{first:?}, then {second:?}");
        }
    }
}

/// Bytes of every kind, changed at any place: another message, or none. A decoder that takes nothing but what was written would
/// pass every check of what it takes, and one that takes everything those of what it refuses.
#[test]
fn changed_messages_are_others_or_none() {
    let mut refused = 0;
    for (kind, bytes, _) in samples() {
        let mut read = 0;
        for at in 0..bytes.len() - HEADER_BYTES {
            for flip in [1, 0x41, 0xff] {
                let mut changed = bytes[HEADER_BYTES..].to_vec();
                changed[at] ^= flip;
                match again(kind, &changed) {
                    Ok(read_again) => {
                        assert_eq!(read_again[HEADER_BYTES..], changed, "{kind}, byte {at}");
                        read += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
        }
        // The least is a lone height, of whose eight bytes two are zero in every one that a chain can have.
        assert!(read >= 18 || bytes.len() == HEADER_BYTES, "{kind}: {read} read");
    }
    assert!(refused > 1_000, "{refused} refused");
}

#[test]
fn text_is_utf_8_without_controls_and_cut_between_characters() {
    let mut bytes = Vec::new();
    let hello = |program: &str| ToNode::Hello(Hello { chain: None, program: program.into(), role: Role::Node });
    hello(&"ü".repeat(20)).encode(&mut bytes);
    assert_eq!(ToNode::decode(Kind::Hello, &bytes[8..]), Ok(hello(&"ü".repeat(12))));
    for text in [&b"\x1b[2J"[..], b"a\0b", b"\xff\xfe", b"line\n"] {
        let mut body = [0; 64];
        body[56] = 1;
        body[32..32 + text.len()].copy_from_slice(text);
        assert!(ToNode::decode(Kind::Hello, &body).is_err(), "{text:?}");
    }
}

#[test]
fn no_single_byte_makes_two_readings() {
    for (kind, bytes, _) in samples() {
        for at in HEADER_BYTES..bytes.len() {
            for flip in [1, 2, 0x10, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                if let Ok(read) = again(kind, &changed[HEADER_BYTES..]) {
                    assert_eq!(read, changed, "{kind:?}, byte {at}");
                }
            }
        }
    }
}

/// Decoders take every byte string, and what they take has one encoding. `cargo bolero test --package net` with the name of this
/// test lets coverage choose the bytes.
#[test]
fn decoders_are_total_and_exact() {
    let samples = samples();
    static SAMPLES: AtomicUsize = AtomicUsize::new(0);
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    // Noise or a sample, which kind, what is changed and by how many units it is longer or shorter, the noise.
    type Fuzz = (bool, u8, Vec<(u16, u8)>, i8, Vec<u8>);
    check!().with_iterations(8_000).with_type::<Fuzz>().for_each(|(is_noise, which, edits, grow, noise): &Fuzz| {
        let (kind, sample, _) = &samples[usize::from(*which) % samples.len()];
        let Bounds { least, most, unit } = kind.spec().bounds;
        let mut body = if *is_noise { noise.clone() } else { sample[HEADER_BYTES..].to_vec() };
        if *is_noise {
            let _ = again(*kind, &body);
            // Noise of a length that the kind may have gets past the first check.
            let fitting = least + (body.len().saturating_sub(least) / unit) * unit;
            body.resize(fitting.min(most), 0);
        } else {
            let length = (body.len() as i64 + i64::from(*grow % 3) * unit as i64).max(0);
            body.resize(length as usize, 1);
        }
        if !body.is_empty() {
            let length = body.len();
            let some = edits.len() % 7;
            edits.iter().take(some).for_each(|(at, byte)| body[usize::from(*at) % length] = *byte);
        }
        let message = again(*kind, &body);
        if let Ok(bytes) = &message {
            assert_eq!(bytes[HEADER_BYTES..], body, "{kind}");
        }
        if !is_noise {
            SAMPLES.fetch_add(1, Ordering::Relaxed);
            TAKEN.fetch_add(message.is_ok().into(), Ordering::Relaxed);
        }
        // Whatever comes off a connection is no panic either.
        let (mut node, mut client) = (Decoder::for_node(), Decoder::for_opener(Role::Client));
        let mut between = Decoder::between_nodes();
        for part in noise.chunks(37) {
            node.push(part);
            while let Ok(Some(_)) = node.next_message() {}
            client.push(part);
            while let Ok(Some(_)) = client.next_message() {}
            between.push(part);
            while let Ok(Some(_)) = between.next_message() {}
        }
    });
    // A third keeps its length, and of those a seventh all of its bytes; of many kinds most bytes may be anything.
    let (taken, samples) = (TAKEN.load(Ordering::Relaxed), SAMPLES.load(Ordering::Relaxed));
    assert!(taken > samples / 25, "only {taken} of {samples} changed samples were taken");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A decoder takes every stream, and never holds more than one message that may come, whatever its header says.
    #[test]
    fn decoders_hold_at_most_one_message(
        node in any::<bool>(), kind in any::<prop::sample::Index>(), length in 0_u32..600_000, part in 1_usize..2_000,
    ) {
        let role = if node { Role::Node } else { Role::Client };
        let mut decoder = Decoder::for_node();
        decoder.push(&hello(role));
        prop_assert!(matches!(decoder.next_message(), Ok(Some(ToNode::Hello(_)))));
        let [a, b, c, d] = length.to_le_bytes();
        decoder.push(&[a, b, c, d, kind.get(&Kind::ALL).number(), VERSION, 0, 0]);
        let most = HEADER_BYTES + Kind::body_bytes_max(Direction::ToNode, role);
        while let Ok(None) = decoder.next_message() {
            prop_assert!(decoder.unfinished() <= most, "{} bytes of at most {most}", decoder.unfinished());
            decoder.push(&vec![0; part]);
        }
    }
}

/// What a pledged table's player must see to open a roll comes through, whatever the number of signatures.
#[test]
fn a_pledge_and_the_block_that_closed_the_bets_come_through() {
    use engine::message::block::BLOCK_VERSION;
    let pledge = Pledge { end: [1; 32], block: [2; 32], beacon: [3; 48], open_until_ms: 4, number: 5 };
    for count in 0..4 {
        let signatures = (0..count).map(|slot| CertificateSignature { slot, signature: [7; 64] }).collect();
        let certificate = Certificate { height: Height(9), round: 0, block: [2; 32], signatures };
        let header = Header { height: Height(9), version: BLOCK_VERSION, ..Header::zeroed() };
        for closing in [None, Some(Box::new(Closing { header, certificate }))] {
            let update = TableUpdate { pledge: Some(pledge), closing, ..table() };
            let mut bytes = Vec::new();
            encode_table(&update, &mut bytes);
            let message = ToClient::decode(Kind::Table, &bytes[HEADER_BYTES..]).expect("a table");
            assert_eq!(message, ToClient::Table(TableMessage { update: Box::new(update), whole: false }));
            assert_eq!(again(Kind::Table, &bytes[HEADER_BYTES..]), Ok(bytes));
        }
    }
}

/// What a sample says with another number at a place of its body.
fn read_with(kind: Kind, place: usize, number: u64) -> Result<(), WireError> {
    let (_, bytes, _) = samples().into_iter().find(|(of, ..)| *of == kind).expect("a sample");
    let mut body = bytes[HEADER_BYTES..].to_vec();
    body[place..place + 8].copy_from_slice(&number.to_le_bytes());
    again(kind, &body).map(drop)
}

/// Sums with a height, a time or a number that is read do not overflow, and what a client has seen cannot be beyond what any
/// chain has.
#[test]
fn what_no_chain_can_have_is_refused_wherever_a_node_says_it() {
    use engine::limits::{HEIGHT_MAX, NUMBER_MAX, TIME_MS_MAX};
    let places = [
        (HEIGHT_MAX, Kind::Answers, vec![72 + 56]),
        (HEIGHT_MAX, Kind::Account, vec![32]),
        (HEIGHT_MAX, Kind::Table, vec![0]),
        (HEIGHT_MAX, Kind::Welcome, vec![40, 48, 56]),
        (HEIGHT_MAX, Kind::Standing, vec![8, 16, 24]),
        (HEIGHT_MAX, Kind::StandingToNode, vec![8, 16, 24]),
        (HEIGHT_MAX, Kind::Status, vec![8, 16, 24, 120]),
        (TIME_MS_MAX, Kind::Welcome, vec![32]),
        (TIME_MS_MAX, Kind::Standing, vec![0]),
        (TIME_MS_MAX, Kind::StandingToNode, vec![0]),
        (TIME_MS_MAX, Kind::Status, vec![0]),
        (NUMBER_MAX, Kind::Account, vec![48 + 8]),
    ];
    for (most, kind, places) in places {
        for place in places {
            assert_eq!(read_with(kind, place, most), Ok(()), "{kind:?} at {place}");
            assert!(matches!(read_with(kind, place, most + 1), Err(WireError::Bytes(_))), "{kind:?} at {place}");
            assert!(matches!(read_with(kind, place, u64::MAX), Err(WireError::Bytes(_))), "{kind:?} at {place}");
        }
    }
}
