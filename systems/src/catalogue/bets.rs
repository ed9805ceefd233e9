//! The catalogue itself: RULES.md R11, one row a bet. A new bet is a new row, and a family if none describes it.

use engine::BetId;

use super::family::Family::{self, *};
use super::family::{Collect, Flat};
use super::pay::{Pay, win};
use super::rolls::totals;

/// One bet of the catalogue. Everything else about it follows from its family.
#[derive(Clone, Copy, Debug)]
pub struct BetSpec {
    /// The bet's number in every message and file, 0 to 144.
    pub id: BetId,
    /// The name that commands, files and output use.
    pub name: &'static str,
    /// The kind of bet, from which follows what a roll does to it.
    pub family: Family,
    /// What the bet pays under CANON-1, in words.
    pub pays: &'static str,
}

const fn bet(id: u8, name: &'static str, family: Family, pays: &'static str) -> BetSpec {
    BetSpec { id: BetId(id), name, family, pays }
}

/// The catalogue, by bet id.
#[rustfmt::skip]
pub const BETS: [BetSpec; engine::limits::BETS] = [
    bet(0, "pass", Pass, "1:1"),
    bet(1, "dont_pass", DontPass, "1:1, bar 12"),
    bet(2, "come", Come, "1:1"),
    bet(3, "dont_come", DontCome, "1:1, bar 12"),
    bet(4, "field", Field, "2->2:1, 12->3:1, 3/4/9/10/11->1:1"),
    bet(5, "yes_2", Yes(2), "147:25"),
    bet(6, "yes_3", Yes(3), "147:50"),
    bet(7, "yes_4", Yes(4), "49:25"),
    bet(8, "yes_5", Yes(5), "147:100"),
    bet(9, "yes_6", Yes(6), "147:125"),
    bet(10, "yes_8", Yes(8), "147:125"),
    bet(11, "yes_9", Yes(9), "147:100"),
    bet(12, "yes_10", Yes(10), "49:25"),
    bet(13, "yes_11", Yes(11), "147:50"),
    bet(14, "yes_12", Yes(12), "147:25"),
    bet(15, "no_2", No(2), "49:300"),
    bet(16, "no_3", No(3), "49:150"),
    bet(17, "no_4", No(4), "49:100"),
    bet(18, "no_5", No(5), "49:75"),
    bet(19, "no_6", No(6), "49:60"),
    bet(20, "no_8", No(8), "49:60"),
    bet(21, "no_9", No(9), "49:75"),
    bet(22, "no_10", No(10), "49:100"),
    bet(23, "no_11", No(11), "49:150"),
    bet(24, "no_12", No(12), "49:300"),
    bet(25, "hard_4", Hard(4), "7:1"),
    bet(26, "hard_6", Hard(6), "9:1"),
    bet(27, "hard_8", Hard(8), "9:1"),
    bet(28, "hard_10", Hard(10), "7:1"),
    bet(29, "odds_pass", Odds(Flat::Pass), "2:1 / 3:2 / 6:5"),
    bet(30, "odds_dont_pass", Odds(Flat::DontPass), "1:2 / 2:3 / 5:6"),
    bet(31, "odds_come", Odds(Flat::Come), "2:1 / 3:2 / 6:5"),
    bet(32, "odds_dont_come", Odds(Flat::DontCome), "1:2 / 2:3 / 5:6"),
    bet(33, "hot_roller", HotRoller, "2->5 3->10 4->20 5->50 6->200"),
    bet(34, "fire", Fire, "4->24 5->249 6->999"),
    bet(35, "twice_hard", TwiceHard, "15:1"),
    bet(36, "ride_line", RideLine, "3->1 4->2 5->3 6->6 7->10 8->20 9->30 10->40 11+->100"),
    bet(37, "muggsy", Muggsy, "come-out 7->2:1, point-7->3:1"),
    bet(38, "bonus_small", Collect(Collect::Small), "30:1"),
    bet(39, "bonus_tall", Collect(Collect::Tall), "30:1"),
    bet(40, "bonus_all", Collect(Collect::All), "150:1"),
    bet(41, "replay", Replay, "4/10 3x->120 4x->1000; 5/9 3x->95 4x->500; 6/8 3x->70 4x->100"),
    bet(42, "different_doubles", Collect(Collect::Doubles), "3->4 4->8 5->15 6->100"),
    bet(43, "next_2", Next(2), "343:10"),
    bet(44, "next_3", Next(3), "833:50"),
    bet(45, "next_4", Next(4), "539:50"),
    bet(46, "next_5", Next(5), "196:25"),
    bet(47, "next_6", Next(6), "1519:250"),
    bet(48, "next_7", Next(7), "49:10"),
    bet(49, "next_8", Next(8), "1519:250"),
    bet(50, "next_9", Next(9), "196:25"),
    bet(51, "next_10", Next(10), "539:50"),
    bet(52, "next_11", Next(11), "833:50"),
    bet(53, "next_12", Next(12), "343:10"),
    bet(54, "repeater_2", Repeater(2), "2x -> 40:1"),
    bet(55, "repeater_3", Repeater(3), "3x -> 50:1"),
    bet(56, "repeater_4", Repeater(4), "4x -> 65:1"),
    bet(57, "repeater_5", Repeater(5), "5x -> 80:1"),
    bet(58, "repeater_6", Repeater(6), "6x -> 90:1"),
    bet(59, "repeater_8", Repeater(8), "6x -> 90:1"),
    bet(60, "repeater_9", Repeater(9), "5x -> 80:1"),
    bet(61, "repeater_10", Repeater(10), "4x -> 65:1"),
    bet(62, "repeater_11", Repeater(11), "3x -> 50:1"),
    bet(63, "repeater_12", Repeater(12), "2x -> 40:1"),
    bet(64, "place_4", Place(4), "9:5"),
    bet(65, "place_5", Place(5), "7:5"),
    bet(66, "place_6", Place(6), "7:6"),
    bet(67, "place_8", Place(8), "7:6"),
    bet(68, "place_9", Place(9), "7:5"),
    bet(69, "place_10", Place(10), "9:5"),
    bet(70, "place_lose_4", PlaceLose(4), "5:11"),
    bet(71, "place_lose_5", PlaceLose(5), "5:8"),
    bet(72, "place_lose_6", PlaceLose(6), "4:5"),
    bet(73, "place_lose_8", PlaceLose(8), "4:5"),
    bet(74, "place_lose_9", PlaceLose(9), "5:8"),
    bet(75, "place_lose_10", PlaceLose(10), "5:11"),
    bet(76, "buy_4", Buy(4), "2:1 less 5% of wager on a win = 39:20"),
    bet(77, "buy_5", Buy(5), "3:2 less 5% of wager on a win = 29:20"),
    bet(78, "buy_6", Buy(6), "6:5 less 5% of wager on a win = 23:20"),
    bet(79, "buy_8", Buy(8), "6:5 less 5% of wager on a win = 23:20"),
    bet(80, "buy_9", Buy(9), "3:2 less 5% of wager on a win = 29:20"),
    bet(81, "buy_10", Buy(10), "2:1 less 5% of wager on a win = 39:20"),
    bet(82, "lay_4", Lay(4), "1:2 less 5% of win = 19:40"),
    bet(83, "lay_5", Lay(5), "2:3 less 5% of win = 19:30"),
    bet(84, "lay_6", Lay(6), "5:6 less 5% of win = 19:24"),
    bet(85, "lay_8", Lay(8), "5:6 less 5% of win = 19:24"),
    bet(86, "lay_9", Lay(9), "2:3 less 5% of win = 19:30"),
    bet(87, "lay_10", Lay(10), "1:2 less 5% of win = 19:40"),
    bet(88, "put_4", Put(4), "1:1"),
    bet(89, "put_5", Put(5), "1:1"),
    bet(90, "put_6", Put(6), "1:1"),
    bet(91, "put_8", Put(8), "1:1"),
    bet(92, "put_9", Put(9), "1:1"),
    bet(93, "put_10", Put(10), "1:1"),
    bet(94, "odds_put", Odds(Flat::Put), "2:1 / 3:2 / 6:5"),
    bet(95, "big_6", Big(6), "1:1"),
    bet(96, "big_8", Big(8), "1:1"),
    bet(97, "any_seven", OneRoll(&[(totals(&[7]), win(4, 1))]), "4:1"),
    bet(98, "any_craps", OneRoll(&[(totals(&[2, 3, 12]), win(7, 1))]), "7:1"),
    bet(99, "craps_2", OneRoll(&[(totals(&[2]), win(30, 1))]), "30:1"),
    bet(100, "craps_3", OneRoll(&[(totals(&[3]), win(15, 1))]), "15:1"),
    bet(101, "yo_11", OneRoll(&[(totals(&[11]), win(15, 1))]), "15:1"),
    bet(102, "craps_12", OneRoll(&[(totals(&[12]), win(30, 1))]), "30:1"),
    bet(103, "hi_lo", OneRoll(&[(totals(&[2, 12]), win(29, 2))]), "split 2/12: 29:2"),
    bet(104, "hi_lo_yo", OneRoll(&[(totals(&[2, 12]), win(28, 3)), (totals(&[11]), win(13, 3))]), "split 2/11/12: 28:3, yo 13:3"),
    bet(105, "three_way", OneRoll(&[(totals(&[2, 12]), win(28, 3)), (totals(&[3]), win(13, 3))]), "split 2/3/12: 28:3, 3 13:3"),
    bet(106, "c_and_e", OneRoll(&[(totals(&[2, 3, 12]), win(3, 1)), (totals(&[11]), win(7, 1))]), "split: craps 3:1, 11 7:1"),
    bet(107, "horn", OneRoll(&[(totals(&[2, 12]), win(27, 4)), (totals(&[3, 11]), win(3, 1))]), "split: 2/12 27:4, 3/11 3:1"),
    bet(108, "horn_high_2", OneRoll(&[(totals(&[2]), win(57, 5)), (totals(&[12]), win(26, 5)), (totals(&[3, 11]), win(11, 5))]), "5 units, 2 on the high number"),
    bet(109, "horn_high_3", OneRoll(&[(totals(&[3]), win(27, 5)), (totals(&[11]), win(11, 5)), (totals(&[2, 12]), win(26, 5))]), "5 units, 2 on the high number"),
    bet(110, "horn_high_11", OneRoll(&[(totals(&[11]), win(27, 5)), (totals(&[3]), win(11, 5)), (totals(&[2, 12]), win(26, 5))]), "5 units, 2 on the high number"),
    bet(111, "horn_high_12", OneRoll(&[(totals(&[12]), win(57, 5)), (totals(&[2]), win(26, 5)), (totals(&[3, 11]), win(11, 5))]), "5 units, 2 on the high number"),
    bet(112, "world", OneRoll(&[(totals(&[2, 12]), win(26, 5)), (totals(&[3, 11]), win(11, 5)), (totals(&[7]), Pay::Push)]), "split: 2/12 26:5, 3/11 11:5, 7 push"),
    bet(113, "hop_11", Hop(1, 1), "30:1"),
    bet(114, "hop_22", Hop(2, 2), "30:1"),
    bet(115, "hop_33", Hop(3, 3), "30:1"),
    bet(116, "hop_44", Hop(4, 4), "30:1"),
    bet(117, "hop_55", Hop(5, 5), "30:1"),
    bet(118, "hop_66", Hop(6, 6), "30:1"),
    bet(119, "hop_12", Hop(1, 2), "15:1"),
    bet(120, "hop_13", Hop(1, 3), "15:1"),
    bet(121, "hop_14", Hop(1, 4), "15:1"),
    bet(122, "hop_15", Hop(1, 5), "15:1"),
    bet(123, "hop_16", Hop(1, 6), "15:1"),
    bet(124, "hop_23", Hop(2, 3), "15:1"),
    bet(125, "hop_24", Hop(2, 4), "15:1"),
    bet(126, "hop_25", Hop(2, 5), "15:1"),
    bet(127, "hop_26", Hop(2, 6), "15:1"),
    bet(128, "hop_34", Hop(3, 4), "15:1"),
    bet(129, "hop_35", Hop(3, 5), "15:1"),
    bet(130, "hop_36", Hop(3, 6), "15:1"),
    bet(131, "hop_45", Hop(4, 5), "15:1"),
    bet(132, "hop_46", Hop(4, 6), "15:1"),
    bet(133, "hop_56", Hop(5, 6), "15:1"),
    bet(134, "under_7", OneRoll(&[(totals(&[2, 3, 4, 5, 6]), win(1, 1))]), "1:1"),
    bet(135, "over_7", OneRoll(&[(totals(&[8, 9, 10, 11, 12]), win(1, 1))]), "1:1"),
    bet(136, "low_dice", OneRoll(&[(totals(&[2]), win(5, 1)), (totals(&[3, 4, 5, 6]), win(1, 1))]), "3-6 1:1, 2 5:1"),
    bet(137, "high_dice", OneRoll(&[(totals(&[12]), win(5, 1)), (totals(&[8, 9, 10, 11]), win(1, 1))]), "8-11 1:1, 12 5:1"),
    bet(138, "point_seven", PointSeven, "7:1"),
    bet(139, "seven_point", SevenPoint, "7:1"),
    bet(140, "seven_point_seven", SevenPointSeven, "50:1"),
    bet(141, "hot_shooter", HotShooter, "rolls in hand 8+ push 16+ 2:1 24+ 4:1 32+ 6:1 40+ 11:1 45+ 29:1 51+ 99:1"),
    bet(142, "flaming_four", Collect(Collect::FlamingFour), "70:1"),
    bet(143, "sizzling_six", Collect(Collect::SizzlingSix), "12:1"),
    bet(144, "hot_hand", Collect(Collect::HotHand), "9 of 10 20:1, 10 of 10 80:1"),
];

// Intents name a bet by its row.
const _: () = {
    let mut row = 0;
    while row < BETS.len() {
        assert!(BETS[row].id.0 as usize == row);
        row += 1;
    }
};

/// The bet with this name.
pub fn bet_named(name: &str) -> Option<BetId> {
    BETS.iter().find(|bet| bet.name == name).map(|bet| bet.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_rows_and_names_are_distinct() {
        for (row, bet) in BETS.iter().enumerate() {
            assert_eq!(bet.id.index(), row);
            assert_eq!(bet_named(bet.name), Some(bet.id));
        }
    }
}
