use engine::io::BetResult;

use super::*;

/// A page with something of everything: three heights, the second of them empty.
pub fn sample() -> Page {
    let mut rows = Rows::default();
    let mut heights = Vec::new();
    for place in 0..3u32 {
        if place != 1 {
            let intent =
                |verdict| IntentRow { account: 7, target: 3, index: 1, kind: 5, verdict, ..Zeroable::zeroed() };
            rows.intents.extend([intent(0), intent(0x10 + 72)]);
            let roll =
                RollRow { table: 3, number: 40 + place, dice: [3, 4], event: 4, shooter: 2, ..Zeroable::zeroed() };
            rows.rolls.push(roll);
            let resolution = |result, to| ResolutionRow {
                credit: 20,
                table: 3,
                roll: 40 + place,
                account: 7,
                wager: 10,
                spot: 2,
                result,
                to,
                ..Zeroable::zeroed()
            };
            rows.resolutions.extend([resolution(5, 150), resolution(1, 0)]);
            rows.leavings.push(LeavingRow { left_with: 90, table: 3, account: 7, freed: 1, ..Zeroable::zeroed() });
            rows.balances.push(BalanceRow { cage: 90, account: 7, table: 3, seat: 255, ..Zeroable::zeroed() });
        }
        heights.push(HeightRow { time_ms: 1_000 + u64::from(place), ends: rows.ends(), reserved: 0 });
    }
    let header = PageHeader { chain: [5; 32], root_chain: [6; 32], ..PageHeader::of(PageKey { page: 9, part: 0 }, 1) };
    Page::new(header, &heights, &rows)
}

#[test]
fn a_page_gives_back_its_rows_height_by_height() {
    let page = Page::decode(&sample().encode()).expect("a page");
    assert_eq!(page, sample());
    let heights: Vec<_> = page.iter().collect();
    assert_eq!(heights.iter().map(|rows| rows.height.0).collect::<Vec<_>>(), [577, 578, 579]);
    assert_eq!(heights.iter().map(|rows| rows.intents.len()).collect::<Vec<_>>(), [2, 0, 2]);
    assert!(heights[1].rolls.is_empty() && heights[1].resolutions.is_empty() && heights[1].balances.is_empty());
    assert_eq!(heights[2].resolutions[0].result(), BetResult::Travel(engine::Spot(150)));
    assert_eq!(heights[2].leavings.len(), 1);
    assert_eq!((page.rolls_of(TableId(3)), page.rolls_of(TableId(4))), (Some((40, 42)), None));
    assert!(!page.is_whole() && !page.is_empty());
}

#[test]
fn heights_and_tables_have_one_page_and_part_each() {
    for (height, page) in [(1, 0), (64, 0), (65, 1), (128, 1), (129, 2)] {
        assert_eq!(page_of(Height(height)), page);
        assert!(heights_of(page).contains(&height));
    }
    assert_eq!([1, 4_096, 4_097, 100_000].map(parts_of), [1, 1, 2, 25]);
    assert_eq!([0, 4_095, 4_096, NO_TABLE].map(part_of), [0, 0, 1, 0]);
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let bytes = sample().encode();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(Page::decode(&flipped).is_err(), "bit {bit} of byte {at}");
        }
    }
    for length in 0..bytes.len() {
        assert!(Page::decode(&bytes[..length]).is_err(), "{length} bytes");
    }
    assert!(Page::decode(&[&bytes[..], &[0]].concat()).is_err());
}

/// Seals bytes as a stored page, whatever they are.
fn sealed(plain: &[u8], key: PageKey) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let length = u32::try_from(plain.len()).expect("short").to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&length);
    out.extend_from_slice(&key.page.to_le_bytes());
    out.extend_from_slice(&key.part.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let hash = blake3::Hasher::new().update(&out).update(plain).finalize();
    out.extend_from_slice(hash.as_bytes());
    out.extend_from_slice(plain);
    out
}

#[test]
fn whole_bytes_that_cannot_be_a_page_are_refused() {
    let page = sample();
    let plain = page.bytes().to_vec();
    assert_eq!(Page::decode(&sealed(&plain, page.key())), Ok(page.clone()));
    let (first, intents) = (page.starts[0], page.starts[1]);
    for (at, value, what) in [
        (104, 1, PageError::Value("header")),
        (76, 0, PageError::Value("header")),
        (80, 65, PageError::Value("counts")),
        (84, 5, PageError::Value("counts")),
        (first + 28, 1, PageError::Value("heights")),
        (first + 32 + 8, 1, PageError::Value("heights")),
        (intents + 36, 2, PageError::Value("intents")),
        (page.starts[2] + 10, 6, PageError::Value("rolls")),
        (page.starts[3] + 25, 6, PageError::Value("resolutions")),
        (page.starts[3] + 26, 200, PageError::Value("resolutions")),
        (intents + 32, 66, PageError::Value("intents")),
        (page.starts[4] + 25, 4, PageError::Value("leavings")),
        (page.starts[5] + 33, 1, PageError::Value("balances")),
        (64, 8, PageError::Value("number")),
    ] {
        let mut plain = plain.clone();
        plain[at] = value;
        assert_eq!(Page::decode(&sealed(&plain, page.key())), Err(what), "byte {at}");
    }
}

#[test]
fn a_decoder_takes_any_bytes_without_a_panic() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = Page::decode(bytes);
        // Behind a right hash, so that the rows are looked at too.
        let _ = Page::decode(&sealed(bytes, PageKey { page: 0, part: 0 }));
        let mut plain = sample().bytes().to_vec();
        for (at, byte) in bytes.iter().enumerate() {
            let place = (at * 131 + usize::from(*byte)) % plain.len();
            plain[place] ^= byte;
        }
        if let Ok(page) = Page::decode(&sealed(&plain, sample().key())) {
            assert_eq!(page.bytes(), plain, "what was read is what was there");
            page.iter().for_each(drop);
        }
    });
}
