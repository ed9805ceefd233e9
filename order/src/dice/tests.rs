use super::*;

/// Published in docs/formats/order.md: beacon byte, table, roll, rules byte, faces.
const VECTORS: [(u8, u32, u32, u8, [u8; 2]); 7] = [
    (0, 0, 1, 0, [5, 3]),
    (0, 1, 1, 0, [3, 5]),
    (0, 0, 2, 0, [1, 1]),
    (1, 0, 1, 0, [1, 6]),
    (0, 0, 1, 1, [3, 3]),
    (0xff, u32::MAX, u32::MAX, 0xff, [6, 1]),
    (0, 0, 173, 0, [2, 6]),
];

fn roll(vector: (u8, u32, u32, u8)) -> [u8; 2] {
    let (beacon, table, roll, rules) = vector;
    dice(&[beacon; 48], TableId(table), roll, &[rules; 32]).faces()
}

/// The stream as a reader of the specification would write it.
fn stream(beacon: u8, table: u32, roll: u32, rules: u8) -> [u8; 64] {
    let mut input = vec![beacon; 48];
    input.extend([rules; 32]);
    input.extend(table.to_le_bytes());
    input.extend(roll.to_le_bytes());
    let mut bytes = [0; 64];
    blake3::Hasher::new_derive_key("bitcraps dice 1").update(&input).finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn the_known_answers_hold() {
    for (beacon, table, number, rules, faces) in VECTORS {
        assert_eq!(roll((beacon, table, number, rules)), faces, "{beacon} {table} {number} {rules}");
    }
}

/// Rolls of table 0 under beacon 0 whose stream begins with a byte that must be passed over.
#[test]
fn bytes_from_252_on_are_passed_over() {
    let mut tried = 0;
    for number in 1..2_000 {
        let bytes = stream(0, 0, number, 0);
        let kept: Vec<u8> = bytes.into_iter().filter(|byte| *byte < 252).collect();
        assert_eq!(roll((0, 0, number, 0)), [kept[0] % 6 + 1, kept[1] % 6 + 1]);
        tried += u32::from(bytes[0] >= 252 || bytes[1] >= 252);
    }
    assert!(tried > 30);
    let first = (1..).find(|number| stream(0, 0, *number, 0)[0] >= 252).expect("one in 64");
    assert_eq!((first, stream(0, 0, first, 0)[0], roll((0, 0, first, 0))), (173, 255, [2, 6]));
}

/// A stream that gives one face a block: the rejected bytes of both blocks are passed over, the face is kept.
#[test]
fn a_stream_of_rejected_bytes_goes_on_in_the_next_block() {
    let mut blocks = 0;
    let dice = two_faces(|block| {
        *block = [252 + blocks; 64];
        if blocks > 0 {
            block[63] = 6 * blocks + blocks;
        }
        blocks += 1;
    });
    assert_eq!((blocks, dice.faces()), (3, [2, 3]));
}

/// Pearson's statistic over the 36 ordered rolls of a million stays under the bound that chance passes once in 10^6.
#[test]
fn faces_are_uniform() {
    let roller = DiceRoller::new(&[5; 48], &[6; 32]);
    let mut counts = [0u64; 36];
    for table in 0..1_000 {
        for number in 0..1_000 {
            let [one, other] = roller.dice(TableId(table), number).faces();
            counts[usize::from(one - 1) * 6 + usize::from(other - 1)] += 1;
        }
    }
    // Sum of (36 n - N)^2 / (36 N), in whole numbers; 35 degrees of freedom.
    let squares: u64 = counts.iter().map(|count| (36 * count).abs_diff(1_000_000).pow(2)).sum();
    assert!(squares / 36_000_000 < 94, "{counts:?}");
}

/// Published in docs/formats/order.md: beacon byte, value byte, table, roll, rules byte, faces.
const BOTH_VECTORS: [(u8, u8, u32, u32, u8); 4] =
    [(0, 0, 0, 1, 0), (0, 1, 0, 1, 0), (1, 0, 0, 1, 0), (0xff, 0xff, u32::MAX, u32::MAX, 0xff)];

/// The stream as a reader of the specification would write it.
#[test]
fn dice_of_both_follow_from_all_that_they_are_said_to() {
    for (beacon, value, table, number, rules) in BOTH_VECTORS {
        let mut input = vec![beacon; 48];
        input.extend([value; 32]);
        input.extend([rules; 32]);
        input.extend(table.to_le_bytes());
        input.extend(number.to_le_bytes());
        let mut bytes = [0; 64];
        blake3::Hasher::new_derive_key("bitcraps dice of both 1").update(&input).finalize_xof().fill(&mut bytes);
        let kept: Vec<u8> = bytes.into_iter().filter(|byte| *byte < 252).collect();
        let dice = dice_of_both(&[beacon; 48], &[value; 32], TableId(table), number, &[rules; 32]);
        assert_eq!(dice.faces(), [kept[0] % 6 + 1, kept[1] % 6 + 1]);
    }
}

/// An operator with all keys, who knows the beacon of every block that it could propose, tries ten contents a roll and proposes
/// one that suits it: a million contents. The beacon is a function of the block's hash that only the operator knows: here another
/// hash of it, since a signature would take a thousand times as long and nothing depends on which function it is.
#[test]
fn an_operator_that_tries_a_million_blocks_gains_nothing_at_a_pledged_table_and_much_at_another() {
    use bytemuck::Zeroable;
    use engine::message::block::Header;
    const ROLLS: u32 = 100_000;
    const TRIES: u64 = 10;
    let rules = [3; 32];
    let (mut alone, mut both, mut faces) = (0u32, 0u32, [0u32; 36]);
    for roll in 1..=ROLLS {
        let value = blake3::derive_key("a player's secret", &roll.to_le_bytes());
        // Its best guess is as good as any other: the value that the player opened last.
        let guess = blake3::derive_key("a player's secret", &(roll - 1).to_le_bytes());
        let suits = |dice: Dice| dice.total() == 7;
        let beacons = (0..TRIES).map(|content| {
            let header = Header { time_ms: u64::from(roll) * 1_000 + content, ..Header::zeroed() };
            let mut beacon = [0; 48];
            blake3::Hasher::new_derive_key("the operator's signature")
                .update(&header.hash())
                .finalize_xof()
                .fill(&mut beacon);
            beacon
        });
        let beacons: Vec<Beacon> = beacons.collect();
        let at_beacon = |beacon: &Beacon| dice(beacon, TableId(0), roll, &rules);
        let chosen = beacons.iter().find(|beacon| suits(at_beacon(beacon))).unwrap_or(&beacons[0]);
        alone += u32::from(suits(at_beacon(chosen)));
        let guessed = |beacon: &Beacon| dice_of_both(beacon, &guess, TableId(0), roll, &rules);
        let chosen = beacons.iter().find(|beacon| suits(guessed(beacon))).unwrap_or(&beacons[0]);
        let rolled = dice_of_both(chosen, &value, TableId(0), roll, &rules);
        both += u32::from(suits(rolled));
        faces[usize::from(rolled.faces()[0] - 1) * 6 + usize::from(rolled.faces()[1] - 1)] += 1;
    }
    // Six standard deviations, of the root of 5/36 of the rolls, around one in six; where it knows the dice it has
    // 1 - (5/6)^10, five in six.
    let rolls = u64::from(ROLLS);
    let beyond = (6 * u64::from(both)).abs_diff(rolls);
    assert!(beyond.pow(2) < 180 * rolls, "{both} of {ROLLS} at the pledged table");
    assert!(
        60 * u64::from(alone) > 49 * rolls,
        "{alone} of {ROLLS} at the other: the grinding of this test grinds nothing"
    );
    // All faces, against their odds: chi squared with 35 degrees of freedom, beyond 100 once in 10^7. Here 36 rolls times it.
    let chi: u64 = faces.iter().map(|count| (36 * u64::from(*count)).abs_diff(rolls).pow(2)).sum();
    assert!(chi < 100 * 36 * rolls, "chi squared {} of {faces:?}", chi / (36 * rolls));
}
