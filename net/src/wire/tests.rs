use bytemuck::Zeroable;
use engine::component::{Account, BetRow, Seat, Table};
use engine::io::{BetResult, Resolution, RollReport, SeatUpdate, ShedReason, Standing, TableUpdate, Verdict, Watched};
use engine::message::intent::{Intent, IntentBody, IntentId, IntentKind};
use engine::message::refusal::Refusal;
use engine::{AccountId, Chips, Dice, Height, PeerId, Puck, RollEvent, Spot, TableId};
use proptest::prelude::*;

use super::*;

const fn standing() -> Standing {
    Standing { now_ms: 1_800_000_000_123, decided: Height(12), settled: Height(11), root_chain: [6; 32] }
}

fn intent(number: u64) -> Intent {
    let body = IntentBody::new(IntentKind::Sit, [2; 32], number, 1_800_000_030).at(TableId(3)).amount(500);
    Intent { body, signature: [7; 64] }
}

fn peer() -> PeerRecord {
    let address = std::net::Ipv4Addr::new(10, 0, 0, 9).to_ipv6_mapped().octets();
    PeerRecord { key: [4; 32], address, time_s: 1_800_000_000, port: 4_100, reserved: [0; 6], signature: [5; 64] }
}

fn table() -> TableUpdate {
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
    }
}

fn answers() -> Vec<Answer> {
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
        .map(|(verdict, number)| Answer { id: IntentId { key: [2; 32], number, mark: [3; 16] }, verdict })
        .collect()
}

/// A message of each kind that goes to a node.
fn to_node() -> Vec<(Kind, ToNode)> {
    let hello = Hello { chain: Some([1; 32]), program: "bitcraps 0.1.0".into(), role: Role::Client };
    let watches = vec![(Watched::Table(TableId(3)), true), (Watched::Account([2; 32]), false)];
    vec![
        (Kind::Hello, ToNode::Hello(hello)),
        (Kind::Intents, ToNode::Intents(vec![intent(1), intent(2)])),
        (Kind::Watch, ToNode::Watch(watches)),
        (Kind::AskGenesis, ToNode::AskGenesis),
        (Kind::PeersToNode, ToNode::Peers(vec![peer()])),
        (Kind::StandingToNode, ToNode::Standing(standing())),
    ]
}

/// A message of each kind that comes from a node.
fn to_client() -> Vec<(Kind, ToClient)> {
    let welcome = Welcome {
        chain: [1; 32],
        standing: standing(),
        name: "Tisch Süd".into(),
        tables: 4,
        seats: 8,
        credit: 64,
        intents_per_s: 100,
        insecure_keys: false,
    };
    let account = Account { cage: Chips(9_500), number_highest: 7, seats: 1, status: 1, ..Account::zeroed() };
    vec![
        (Kind::Welcome, ToClient::Welcome(welcome)),
        (Kind::Answers, ToClient::Answers(answers())),
        (Kind::Genesis, ToClient::Genesis(b"{\"version\":1}".to_vec())),
        (
            Kind::Account,
            ToClient::Account(AccountRow { key: [2; 32], height: Height(11), account: Some((AccountId(9), account)) }),
        ),
        (Kind::Table, ToClient::Table { update: Box::new(table()), whole: false }),
        (Kind::Peers, ToClient::Peers(vec![peer(), peer()])),
        (Kind::Standing, ToClient::Standing(standing())),
    ]
}

/// The bytes of a message of each kind.
fn samples() -> Vec<(Kind, Vec<u8>)> {
    let bytes = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        bytes
    };
    let to_node = to_node().into_iter().map(|(kind, message)| (kind, bytes(&|out| message.encode(out))));
    let to_client = to_client().into_iter().map(|(kind, message)| (kind, bytes(&|out| message.encode(out))));
    to_node.chain(to_client).collect()
}

/// Decodes as whichever side takes the kind, and encodes again.
fn again(kind: Kind, body: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::new();
    if (kind as u8) < Kind::Welcome as u8 {
        ToNode::decode(kind, body)?.encode(&mut bytes);
    } else {
        let mut message = ToClient::decode(kind, body)?;
        if let ToClient::Table { update, whole: true } = &mut message {
            // A whole table goes to one peer.
            update.to = Some(PeerId::LOCAL);
        }
        message.encode(&mut bytes);
    }
    Ok(bytes)
}

#[test]
fn every_kind_is_pinned_and_read_as_it_was_written() {
    // A changed hash is a changed protocol: another version, and another drawing in docs/formats/protocol.md.
    let pinned = [
        (Kind::Hello, 72, "afb93ef54579a0e6"),
        (Kind::Intents, 264, "9b1d9eec5223ce5b"),
        (Kind::Watch, 88, "bfb86ce5f63b1070"),
        (Kind::AskGenesis, 8, "428b283a84585ff5"),
        (Kind::PeersToNode, 136, "326a5b9626b5f4b4"),
        (Kind::StandingToNode, 64, "f437ffe953c745da"),
        (Kind::Welcome, 144, "70fa61f8b448b719"),
        (Kind::Answers, 328, "3cbed434522a4cc8"),
        (Kind::Genesis, 21, "3b67438c7b4e1cc1"),
        (Kind::Account, 120, "de9c55d3a366b037"),
        (Kind::Table, 400, "34b41db4d357ea98"),
        (Kind::Peers, 264, "d52cf6d3857792dd"),
        (Kind::Standing, 64, "205395d0f50e731d"),
    ];
    let found: Vec<(Kind, usize, String)> = samples()
        .into_iter()
        .map(|(kind, bytes)| (kind, bytes.len(), blake3::hash(&bytes).to_hex()[..16].to_owned()))
        .collect();
    let pinned: Vec<(Kind, usize, String)> =
        pinned.into_iter().map(|(kind, length, hash)| (kind, length, hash.to_owned())).collect();
    assert_eq!(found, pinned);
    assert_eq!(found.iter().map(|(kind, ..)| *kind).collect::<Vec<_>>(), Kind::ALL);
    for (kind, message) in to_node() {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert_eq!(ToNode::decode(kind, &bytes[HEADER_BYTES..]), Ok(message));
    }
    for (kind, message) in to_client() {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert_eq!(ToClient::decode(kind, &bytes[HEADER_BYTES..]), Ok(message));
    }
}

#[test]
fn a_whole_table_says_so_and_the_largest_one_fits() {
    let whole = TableUpdate { to: Some(PeerId::LOCAL), ..table() };
    let mut bytes = Vec::new();
    ToClient::encode_table(&whole, &mut bytes);
    let read = ToClient::decode(Kind::Table, &bytes[HEADER_BYTES..]).expect("a table");
    assert_eq!(read, ToClient::Table { update: Box::new(table()), whole: true });
    let bets: Vec<BetRow> = (0..32).map(|spot| BetRow { amount: 5, spot: Spot(spot), ..BetRow::zeroed() }).collect();
    let row = Seat { status: 1, spots: bets.iter().map(|bet| bet.spot).collect(), ..Seat::EMPTY };
    let seats = (0..16).map(|seat| SeatUpdate { seat, row, bets: bets.clone() }).collect();
    let resolutions = vec![table().resolutions[0]; 16 * 32];
    bytes.clear();
    ToClient::encode_table(&TableUpdate { seats, resolutions, ..table() }, &mut bytes);
    assert_eq!(bytes.len(), HEADER_BYTES + TABLE_BYTES_MAX);
}

#[test]
fn a_stream_is_cut_the_same_however_it_arrives() {
    let samples = samples();
    let stream: Vec<u8> = samples.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    for step in [1, 2, 3, 7, 8, 9, 63, 64, 100, 1_000, stream.len()] {
        let mut cutter = Cutter::default();
        let mut found = Vec::new();
        for part in stream.chunks(step) {
            cutter.push(part);
            while let Some((kind, body)) = cutter.cut().expect("messages") {
                found.push((kind, body.to_vec()));
            }
        }
        assert_eq!(cutter.unfinished(), 0);
        let expected: Vec<_> = samples.iter().map(|(kind, bytes)| (*kind, bytes[HEADER_BYTES..].to_vec())).collect();
        assert_eq!(found, expected, "in parts of {step}");
    }
}

fn cut(bytes: &[u8]) -> Result<bool, WireError> {
    let mut cutter = Cutter::default();
    cutter.push(bytes);
    cutter.cut().map(|found| found.is_some())
}

#[test]
fn a_header_that_cannot_be_is_refused_before_its_body() {
    for (kind, bytes) in samples() {
        let header: [u8; 8] = bytes[..8].try_into().expect("a header");
        assert_eq!(cut(&header), Ok(kind == Kind::AskGenesis), "{kind:?} waits for its body");
        let changed = |at: usize, to: u8| {
            let mut header = header;
            header[at] = to;
            cut(&header)
        };
        assert_eq!(changed(5, VERSION + 1), Err(WireError::Version { found: VERSION + 1 }));
        assert_eq!(changed(5, 0), Err(WireError::Version { found: 0 }));
        assert_eq!(changed(6, 1), Err(WireError::NotZero("header")));
        assert_eq!(changed(7, 1), Err(WireError::NotZero("header")));
        assert_eq!(changed(4, 0), Err(WireError::Kind(0)));
        assert_eq!(changed(4, 255), Err(WireError::Kind(255)));
        let Bounds { least, most, unit } = kind.bounds();
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
fn a_message_that_goes_the_other_way_has_no_place() {
    for (kind, bytes) in samples() {
        let body = &bytes[HEADER_BYTES..];
        let wrong =
            if (kind as u8) < 64 { ToClient::decode(kind, body).err() } else { ToNode::decode(kind, body).err() };
        assert_eq!(wrong, Some(WireError::Place(kind)));
    }
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
    for (kind, bytes) in samples() {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Decoders take every byte string, and what they take has one encoding.
    #[test]
    fn decoders_are_total_and_exact(
        kind in 0..Kind::ALL.len(),
        noise in proptest::collection::vec(any::<u8>(), 0..600),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        grow in -2_i32..3,
    ) {
        let (kind, sample) = samples().swap_remove(kind);
        let _ = again(kind, &noise);
        // Noise of a length that the kind may have gets past the first check.
        let Bounds { least, most, unit } = kind.bounds();
        let fitting = least + (noise.len().saturating_sub(least) / unit) * unit;
        let mut body = noise;
        body.resize(fitting.min(most), 0);
        if let Ok(bytes) = again(kind, &body) {
            prop_assert_eq!(&bytes[HEADER_BYTES..], &body[..]);
        }
        let mut body = sample[HEADER_BYTES..].to_vec();
        let length = (body.len() as i32 + grow * unit as i32).max(0) as usize;
        body.resize(length, 1);
        if !body.is_empty() {
            edits.iter().for_each(|(at, byte)| *at.get_mut(&mut body) = *byte);
        }
        if let Ok(bytes) = again(kind, &body) {
            prop_assert_eq!(&bytes[HEADER_BYTES..], &body[..]);
        }
    }

    /// So does the cutter, which never holds more than one message.
    #[test]
    fn the_cutter_is_total(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
        let mut cutter = Cutter::default();
        for part in parts {
            cutter.push(&part);
            while let Ok(Some(_)) = cutter.cut() {}
            prop_assert!(cutter.unfinished() <= HEADER_BYTES + BODY_BYTES_MAX);
        }
    }
}
