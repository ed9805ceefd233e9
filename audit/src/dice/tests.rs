//! The tests of dice against houses that are honest, and against some that are not.

use engine::component::BetRow;
use engine::dice::ROLLS;
use engine::{Dice, Puck, Spot, TableId, TableRules};
use systems::catalogue::{Transition, bet_named};
use systems::{Catalogue, FeltBet};

use super::{Evidence, Faces, Gains, HouseBettors, Worths};

/// Numbers that are the same in every run.
struct Lot(blake3::OutputReader);

impl Lot {
    fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    fn below(&mut self, bound: u32) -> u32 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % u64::from(bound)) as u32
    }

    fn dice(&mut self) -> Dice {
        Dice::new(self.below(6) as u8 + 1, self.below(6) as u8 + 1).expect("faces")
    }
}

/// Bets that players like, some of which last.
const LIKED: [&str; 12] = [
    "pass",
    "dont_pass",
    "come",
    "dont_come",
    "field",
    "place_6",
    "place_8",
    "hard_8",
    "next_7",
    "fire",
    "next_4",
    "buy_10",
];

/// A table of bets without chips to run out of: what lies on it, and the puck.
struct Felt {
    catalogue: Catalogue,
    puck: Puck,
    bets: Vec<BetRow>,
}

impl Felt {
    fn new() -> Self {
        let catalogue = Catalogue::new(&TableRules::default()).expect("CANON-1");
        Self { catalogue, puck: Puck::Off, bets: Vec::new() }
    }

    /// Some bets more; one roll in ten has one that is fifty times as large.
    fn bet(&mut self, lot: &mut Lot) {
        for _ in 0..lot.below(4) {
            let spot = Spot(bet_named(LIKED[lot.below(12) as usize]).expect("a bet").0);
            let amount = 10 * (1 + lot.below(10)) * if lot.below(10) == 0 { 50 } else { 1 };
            if self.bets.iter().all(|bet| bet.spot != spot) {
                self.bets.push(BetRow { amount, spot, ..BetRow::default() });
            }
        }
    }

    fn gains(&self, worths: &mut Worths) -> Gains {
        let laid = |bet: &BetRow| FeltBet { table: TableId(0), puck: self.puck, bet: *bet };
        worths.gains(&self.catalogue, self.bets.iter().map(laid).collect::<Vec<_>>().iter())
    }

    fn roll(&mut self, dice: Dice) {
        let Self { catalogue, puck, bets } = self;
        let (row, default) = (catalogue.row(*puck, dice), *catalogue.default_working(*puck));
        bets.retain_mut(|bet| {
            let works = bet.flags.works(default.contains(bet.spot));
            match catalogue.transition(row, bet.spot, bet.progress, works) {
                Transition::Stay => true,
                Transition::Advance(progress) => {
                    bet.progress = progress;
                    true
                }
                Transition::Travel(to) => {
                    bet.spot = to;
                    true
                }
                Transition::End(_) | Transition::Return => false,
            }
        });
        *puck = puck.roll(dice).1;
    }
}

/// Plays and hands every roll to both tests; returns the highest evidence of the faces, of the result, and of their mean, and
/// after how many rolls the mean came to 1,000.
fn play(
    rolls: u32,
    seed: u64,
    worths: &mut Worths,
    mut choose: impl FnMut(&Gains, &mut Lot) -> Dice,
) -> ([f64; 3], Option<u32>) {
    let (mut lot, mut felt, mut faces, mut house) =
        (Lot::new(seed), Felt::new(), Faces::default(), HouseBettors::default());
    let (mut highest, mut seen) = ([1.0f64; 3], None);
    for roll in 1..=rolls {
        felt.bet(&mut lot);
        let gains = felt.gains(worths);
        let dice = choose(&gains, &mut lot);
        faces.take(dice);
        house.take(&gains, dice);
        felt.roll(dice);
        let (of_faces, of_house) = (faces.evidence(), house.evidence());
        let both = Evidence::mean([of_faces, of_house].into_iter(), 0);
        for (highest, now) in highest.iter_mut().zip([of_faces, of_house, both]) {
            *highest = highest.max(now.value());
        }
        if both.value() >= super::UNUSUAL {
            seen.get_or_insert(roll);
        }
    }
    (highest, seen)
}

/// An operator who tries some blocks and takes the one whose dice gain the house most.
fn best_of(tries: u32, gains: &Gains, lot: &mut Lot) -> Dice {
    let most = |best: Dice, dice: Dice| if gains.at(dice) > gains.at(best) { dice } else { best };
    (0..tries).map(|_| lot.dice()).reduce(most).expect("one is tried")
}

#[test]
fn the_mean_over_all_36_next_rolls_is_what_it_was_before() {
    let (mut lot, mut felt, mut house, mut worths) =
        (Lot::new(7), Felt::new(), HouseBettors::default(), Worths::default());
    let mut moved = 0;
    for roll in 0..400 {
        felt.bet(&mut lot);
        let gains = felt.gains(&mut worths);
        let before = house.evidence().value();
        let after = |roll: usize| {
            let (mut next, dice) = (house, Dice::from_roll_index(roll));
            next.take(&gains, dice);
            next.evidence().value() * f64::from(dice.ways()) / 36.0
        };
        let mean: f64 = (0..ROLLS).map(after).sum();
        assert!((mean / before - 1.0).abs() < 1e-9, "after {roll} rolls: {before} becomes {mean}");
        let dice = lot.dice();
        house.take(&gains, dice);
        felt.roll(dice);
        moved += u32::from((house.evidence().value() / before - 1.0).abs() > 1e-3);
    }
    assert!(moved > 200, "most rolls change the evidence: {moved}");
}

#[test]
fn what_a_bet_is_worth_is_fair_while_it_works() {
    let (mut lot, mut felt, mut worths) = (Lot::new(8), Felt::new(), Worths::default());
    for _ in 0..400 {
        felt.bet(&mut lot);
        felt.bets.retain(|bet| felt.catalogue.default_working(felt.puck).contains(bet.spot));
        // A bet without a remainder, so that nothing is rounded.
        felt.bets.iter_mut().for_each(|bet| bet.amount = bet.amount.next_multiple_of(600));
        let gains = felt.gains(&mut worths);
        assert!(gains.mean().abs() < 1e-6, "{:?} with the puck {:?}", felt.bets, felt.puck);
        felt.roll(lot.dice());
    }
}

/// Of an honest house's sequences at most one in `c` comes to `c`, whenever one looks.
#[test]
fn an_honest_house_comes_to_odds_no_oftener_than_they_say() {
    const SEQUENCES: u64 = 4_000;
    let mut worths = Worths::default();
    let mut reached = [[0u64; 3]; 3];
    for seed in 0..SEQUENCES {
        let (highest, _) = play(150, seed, &mut worths, |_, lot| lot.dice());
        for (reached, bound) in reached.iter_mut().zip([5.0, 20.0, 100.0]) {
            reached.iter_mut().zip(highest).for_each(|(count, highest)| *count += u64::from(highest >= bound));
        }
    }
    println!("of {SEQUENCES} sequences came to 5, 20, 100: {reached:?} (faces, house, both)");
    for (reached, most) in reached.iter().zip([SEQUENCES / 5, SEQUENCES / 20, SEQUENCES / 100]) {
        assert!(reached.iter().all(|count| *count <= most), "{reached:?}, at most {most}");
    }
    assert!(reached[0][1] > 0, "some come to 5: the test bets at all");
}

/// The negative control: an operator who chooses among a few blocks is seen, soon.
#[test]
fn an_operator_who_chooses_among_blocks_is_seen() {
    const SEQUENCES: u64 = 100;
    let mut worths = Worths::default();
    for (tries, rolls) in [(2, 400), (4, 200), (16, 120)] {
        let found =
            (0..SEQUENCES).map(|seed| play(rolls, seed, &mut worths, |gains, lot| best_of(tries, gains, lot)).1);
        let mut found: Vec<u32> = found.map(|seen| seen.unwrap_or(u32::MAX)).collect();
        found.sort_unstable();
        println!("best of {tries}: seen after {} rolls (median), {} (95 of 100)", found[50], found[95]);
        assert!(found[95] <= rolls, "best of {tries}: {found:?}");
    }
}

/// Who only chooses where much lies on the felt is seen by the chips.
#[test]
fn an_operator_who_chooses_only_large_rolls_is_seen() {
    const SEQUENCES: u64 = 50;
    let mut worths = Worths::default();
    let large = |gains: &Gains| gains.variance().sqrt() > 1_000.0;
    let choose = |gains: &Gains, lot: &mut Lot| best_of(if large(gains) { 8 } else { 1 }, gains, lot);
    let mut found: Vec<u32> =
        (0..SEQUENCES).map(|seed| play(600, seed, &mut worths, choose).1.unwrap_or(u32::MAX)).collect();
    found.sort_unstable();
    println!("large rolls only: seen after {} rolls (median), {} (45 of 50)", found[25], found[45]);
    assert!(found[45] <= 600, "{found:?}");
}

/// Who favours a player by the dice is seen as well.
#[test]
fn an_operator_who_helps_the_players_is_seen() {
    let mut worths = Worths::default();
    let worst = |gains: &Gains, lot: &mut Lot| {
        let least = |best: Dice, dice: Dice| if gains.at(dice) < gains.at(best) { dice } else { best };
        (0..4).map(|_| lot.dice()).reduce(least).expect("four are tried")
    };
    assert!((0..20).all(|seed| play(300, seed, &mut worths, worst).1.is_some()));
}

/// A player who sees the dice first, and opens only what is good for the bets: forfeits make no evidence against the house. If
/// they were left out, they would.
#[test]
fn a_player_who_withholds_what_loses_makes_no_evidence_against_the_house() {
    const SEQUENCES: u64 = 300;
    let mut worths = Worths::default();
    let (mut reached, mut reached_without) = (0, 0);
    for seed in 0..SEQUENCES {
        let (mut lot, mut felt) = (Lot::new(seed), Felt::new());
        let (mut faces, mut house, mut without) = (Faces::default(), HouseBettors::default(), HouseBettors::default());
        let mut highest = [1.0f64; 2];
        for _ in 0..150 {
            felt.bet(&mut lot);
            let (gains, dice) = (felt.gains(&mut worths), lot.dice());
            if gains.at(dice) > 0.0 {
                faces.forfeit();
                house.forfeit(&gains);
                felt.bets.clear();
            } else {
                faces.take(dice);
                house.take(&gains, dice);
                without.take(&gains, dice);
                felt.roll(dice);
            }
            let both = Evidence::mean([faces.evidence(), house.evidence()].into_iter(), 0);
            highest = [highest[0].max(both.value()), highest[1].max(without.evidence().value())];
        }
        reached += u64::from(highest[0] >= 20.0);
        reached_without += u64::from(highest[1] >= 20.0);
    }
    println!("withholding: {reached} of {SEQUENCES} came to 20, without forfeits {reached_without}");
    assert!(reached <= SEQUENCES / 20, "{reached}");
    assert!(reached_without > SEQUENCES / 2, "the negative control: {reached_without}");
}
