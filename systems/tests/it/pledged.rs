//! Pledged tables: what their players may do, what becomes of a roll that is not opened, and that nobody gains by it.

mod leaving;
mod random;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use crate::common::{GRANT, Lot, START_MS, Stage, bet, genesis, key};
use bytemuck::Zeroable;
use engine::columns::Column;
use engine::component::{House, Pledge};
use engine::image::Saved;
use engine::io::{Leaving, OpeningEnd, Verdict};
use engine::message::block::{Block, Header};
use engine::message::intent::{IntentBody, IntentKind};
use engine::message::pledge::{PledgeRow, pledge_end};
use engine::message::refusal::Refusal;
use engine::rules::{Commission, DiceSource};
use engine::{AccountId, BetId, Chips, Genesis, Hash, Height, TableId, TableRules};
use order::dice::dice_of_both;
use systems::settle::block::BlockPart;
use systems::snapshot::LoadError;
use systems::{Counts, Draw, Machine, Setup};

const TABLE: TableId = TableId(0);
const OPEN_MS: u32 = 5_000;
const CHAIN: Hash = [9; 32];

/// Table 0 is pledged, table 1 has the beacon's dice alone, and so on in turn.
fn world() -> Genesis {
    let rules = TableRules { dice: DiceSource::Both, open_ms: OPEN_MS, ..TableRules::default() };
    Genesis {
        rules: vec![rules, TableRules::default()],
        idle_ms: 60_000,
        account_idle_ms: 120_000,
        ..genesis(4, 3, 40)
    }
}

/// A player's chain of hashes at one table, from a first roll on.
struct Chain {
    key: [u8; 32],
    table: TableId,
    /// The ends, that of the first roll first; the last one is the secret.
    ends: Vec<Hash>,
    first: u32,
}

impl Chain {
    fn new(player: u32, table: TableId, first: u32, secret: u8) -> Self {
        let mut ends = vec![[secret; 32]];
        for roll in (first..first + 20).rev() {
            ends.push(pledge_end(&CHAIN, table, &key(player), roll, ends.last().expect("the secret")));
        }
        ends.reverse();
        Self { key: key(player), table, ends, first }
    }

    fn end(&self, roll: u32) -> Hash {
        self.ends[(roll - self.first) as usize]
    }

    fn pledge(&self, roll: u32, number: u64) -> PledgeRow {
        PledgeRow::pledge(self.key, self.table, roll, number, self.end(roll))
    }

    fn opening(&self, roll: u32, block: Hash) -> PledgeRow {
        PledgeRow::opening(self.key, self.table, roll, self.end(roll + 1), block)
    }
}

/// The hash of a height's block, in tests.
fn block_hash(height: u64) -> Hash {
    *blake3::hash(&height.to_le_bytes()).as_bytes()
}

trait Pledging {
    fn height_with(&mut self, after_ms: u64, pledges: Vec<PledgeRow>, kinds: Vec<IntentKind>) -> Vec<Verdict>;
    fn pledged(&mut self, pledges: Vec<PledgeRow>) -> Vec<Verdict>;
    fn pledge_row(&mut self) -> Pledge;
    fn house(&mut self) -> House;
    fn closed(&self) -> Hash;
    fn assert_root(&mut self);
}

impl Pledging for Stage {
    /// Settles a height with these pledges, and with an intent of each kind of player 0 at table 0; verdicts of intents first.
    fn height_with(&mut self, after_ms: u64, pledges: Vec<PledgeRow>, kinds: Vec<IntentKind>) -> Vec<Verdict> {
        let intents = kinds.into_iter().map(|kind| self.intent(0, kind, |body| filled(body, kind))).collect();
        let hash = block_hash(self.height.next().0);
        self.machine.of_block(BlockPart { round: 0, hash, pledges });
        let time_ms = self.time_ms + after_ms;
        let mut verdicts = self.settle_at(time_ms, intents, Draw::Beacon([self.height.next().0 as u8; 48]));
        verdicts.extend(self.machine.report().pledge_receipts.iter().map(|receipt| receipt.verdict));
        let house = self.house();
        assert!(house.is_conserved(), "{house:?}");
        verdicts
    }

    fn pledged(&mut self, pledges: Vec<PledgeRow>) -> Vec<Verdict> {
        self.height_with(1, pledges, Vec::new())
    }

    fn pledge_row(&mut self) -> Pledge {
        self.machine.read(|rows| rows.pledges[0])
    }

    fn house(&mut self) -> House {
        self.machine.read(|rows| *rows.house)
    }

    /// The block of the last height.
    fn closed(&self) -> Hash {
        block_hash(self.height.0)
    }

    /// Every group that the last height wrote was hashed again.
    fn assert_root(&mut self) {
        let genesis = self.machine.setup().genesis.as_ref().clone();
        let mut loaded = Machine::new(Setup::new(genesis, CHAIN).expect("a genesis"), 1);
        loaded.import(&self.image()).expect("its own image");
        assert_eq!(self.machine.report().root, loaded.root(), "height {}", self.height);
    }
}

/// An intent of each kind that would be accepted at a table with the puck OFF, if it were not frozen.
fn filled(body: IntentBody, kind: IntentKind) -> IntentBody {
    let pass = |body: IntentBody| body.at(TABLE).on(bet("pass"), 0);
    match kind {
        IntentKind::Open | IntentKind::OpenVoucher => body,
        IntentKind::Transfer => body.amount(1).to(AccountId(1)),
        IntentKind::Sit => body.at(TABLE).amount(5),
        IntentKind::Bet => pass(body).amount(10),
        IntentKind::SetAmount => pass(body).amount(20),
        IntentKind::TakeDown => pass(body),
        IntentKind::SetWorking => body.at(TABLE).on(bet("hard_6"), 0).working(engine::message::intent::Working::Off),
        IntentKind::Leave | IntentKind::Roll | IntentKind::PassDice => body.at(TABLE),
    }
}

/// Player 0 sits at the pledged table with 1,000 chips; what the window's minimum is for has passed.
fn seated() -> Stage {
    seated_in(world())
}

fn seated_in(genesis: Genesis) -> Stage {
    let mut stage = Stage::new(genesis);
    let opens = (0..3).map(|player| stage.intent(player, IntentKind::Open, |body| body)).collect();
    stage.settle(opens);
    assert_eq!(stage.one(0, IntentKind::Sit, |body| body.at(TABLE).amount(1_000)), Verdict::Applied);
    stage.settle_at(stage.time_ms + 300, Vec::new(), Draw::Beacon([7; 48]));
    stage
}

/// The same with a pledge for roll 1, 10 chips on the pass line, and the roll called: it waits for its opening.
fn waiting() -> (Stage, Chain) {
    let (mut stage, chain) = (seated(), Chain::new(0, TABLE, 1, 5));
    let verdicts = stage.height_with(1, vec![chain.pledge(1, 1)], vec![IntentKind::Bet, IntentKind::Roll]);
    assert_eq!(verdicts, [Verdict::Applied; 3]);
    assert!(stage.pledge_row().is_frozen());
    (stage, chain)
}

const REFUSED: fn(Refusal) -> Verdict = Verdict::Refused;

#[test]
fn an_opened_roll_has_dice_of_both_halves_and_leaves_the_next_end() {
    let (mut stage, chain) = waiting();
    let (closed, row) = (stage.closed(), stage.pledge_row());
    assert_eq!((row.block, row.beacon), (closed, [stage.height.0 as u8; 48]));
    stage.machine.watch(true);
    assert_eq!(stage.pledged(vec![chain.opening(1, closed)]), [Verdict::Applied]);
    let rules = stage.machine.setup().catalogues[0].hash();
    let dice = dice_of_both(&row.beacon, &chain.end(2), TABLE, 1, &rules);
    let table = stage.machine.read(|rows| rows.tables[0]);
    assert_eq!((table.roll_number, table.dice, table.roll_called), (1, dice.faces(), 0));
    assert_eq!(table.opened_ms, stage.time_ms, "the next window starts with the opening");
    assert_eq!(stage.pledge_row(), Pledge { end: chain.end(2), number: 1, ..Pledge::zeroed() });
    let report = stage.machine.report();
    let [opening] = report.openings[..] else { panic!("{:?}", report.openings) };
    assert_eq!((opening.roll, opening.end), (1, OpeningEnd::Opened(chain.end(2))));
    assert_eq!(opening.closed, (closed, row.beacon));
    assert_eq!(report.rolls.len(), 1);
    // No second pledge is needed for the next roll.
    stage.height_with(300, Vec::new(), vec![IntentKind::Bet]);
    let field = stage.intent(0, IntentKind::Bet, |body| body.at(TABLE).on(bet("field"), 0).amount(5));
    stage.settle(vec![field]);
    assert_eq!(stage.height_with(1, Vec::new(), vec![IntentKind::Roll]), [Verdict::Applied]);
    let opening = chain.opening(2, stage.closed());
    assert_eq!(stage.pledged(vec![opening]), [Verdict::Applied]);
    assert_eq!(stage.machine.read(|rows| rows.tables[0].roll_number), 2);
}

#[test]
fn a_pledged_table_rolls_only_for_its_own_player_with_a_pledge_and_a_bet() {
    let (mut stage, chain) = (seated(), Chain::new(0, TABLE, 1, 5));
    assert_eq!(stage.refused(1, IntentKind::Sit, |body| body.at(TABLE).amount(100)), Refusal::TableFull);
    assert_eq!(stage.refused(1, IntentKind::Roll, |body| body.at(TABLE)), Refusal::UnknownPlayer);
    assert_eq!(stage.refused(0, IntentKind::Roll, |body| body.at(TABLE)), Refusal::NotPledged);
    assert_eq!(stage.pledged(vec![chain.pledge(1, 1)]), [Verdict::Applied]);
    assert_eq!(stage.refused(0, IntentKind::Roll, |body| body.at(TABLE)), Refusal::NoBet);
    assert_eq!(stage.refused(0, IntentKind::PassDice, |body| body.at(TABLE)), Refusal::NoOtherPlayer);
    stage.bet(0, "pass", 0, 10);
    // Many windows later it has not rolled by itself.
    for _ in 0..20 {
        stage.settle_at(stage.time_ms + 2_000, Vec::new(), Draw::Beacon([7; 48]));
    }
    assert_eq!(stage.machine.read(|rows| (rows.tables[0].roll_number, rows.tables[0].felt.0)), (0, 10));
    assert_eq!(stage.one(0, IntentKind::Roll, |body| body.at(TABLE)), Verdict::Applied);
}

#[test]
fn whatever_is_asked_while_a_roll_waits_is_refused_by_code() {
    for kind in IntentKind::ALL {
        let (mut stage, _) = waiting();
        let before = stage.machine.read(|rows| (rows.tables[0], rows.seats[0], rows.pledges[0], rows.house.felts));
        let expected = match kind {
            // No account's business at a table.
            IntentKind::Transfer => {
                let wagered = stage.height_with(1, Vec::new(), vec![kind]);
                assert_eq!(wagered, [REFUSED(Refusal::GrantLocked)], "granted chips, whatever the table does");
                continue;
            }
            IntentKind::Open => Refusal::AccountExists,
            IntentKind::OpenVoucher => Refusal::AccountExists,
            IntentKind::Sit => Refusal::AlreadySeated,
            _ => Refusal::Frozen,
        };
        assert_eq!(stage.height_with(1, Vec::new(), vec![kind]), [REFUSED(expected)], "{kind:?}");
        let after = stage.machine.read(|rows| (rows.tables[0], rows.seats[0], rows.pledges[0], rows.house.felts));
        assert_eq!(before, after, "{kind:?} changed something");
    }
    let (mut stage, chain) = waiting();
    assert_eq!(stage.refused(1, IntentKind::Sit, |body| body.at(TABLE).amount(100)), Refusal::TableFull);
    assert_eq!(stage.refused(1, IntentKind::Bet, |body| filled(body, IntentKind::Bet)), Refusal::Frozen);
    assert_eq!(stage.pledged(vec![chain.pledge(1, 2)]), [REFUSED(Refusal::Frozen)], "no pledge while a roll waits");
    // The block of the opening is one in which nothing else is accepted.
    let opening = chain.opening(1, stage.pledge_row().block);
    let kinds = vec![IntentKind::TakeDown, IntentKind::Leave];
    let verdicts = stage.height_with(1, vec![opening, chain.pledge(1, 3)], kinds);
    let frozen = REFUSED(Refusal::Frozen);
    assert_eq!(verdicts, [frozen, frozen, Verdict::Applied, frozen]);
}

#[test]
fn a_wrong_opening_is_refused_by_code_and_the_right_one_still_counts() {
    let (mut stage, chain) = waiting();
    let (closed, other) = (stage.closed(), Chain::new(1, TABLE, 1, 5));
    let right = chain.opening(1, closed);
    let elsewhere = Chain::new(0, TableId(2), 1, 5);
    for (row, expected) in [
        (PledgeRow { key: key(9), ..right }, Refusal::UnknownAccount),
        (PledgeRow { table: 77, ..right }, Refusal::UnknownTable),
        (PledgeRow { table: 1, ..right }, Refusal::TakesNoPledge),
        (PledgeRow { roll: 2, ..right }, Refusal::StaleRoll),
        (PledgeRow { key: key(1), ..right }, Refusal::UnknownPlayer),
        (other.opening(1, closed), Refusal::UnknownPlayer),
        (PledgeRow { block: [3; 32], ..right }, Refusal::OtherBlock),
        (PledgeRow { value: other.end(2), ..right }, Refusal::WrongValue),
        (PledgeRow { value: elsewhere.end(2), ..right }, Refusal::WrongValue),
        (PledgeRow { value: chain.end(1), ..right }, Refusal::WrongValue),
        (PledgeRow { value: chain.end(3), ..right }, Refusal::WrongValue),
    ] {
        assert_eq!(stage.pledged(vec![row]), [REFUSED(expected)], "{row:?}");
    }
    // Twice in one block, and once more in the next.
    assert_eq!(stage.pledged(vec![right, right]), [Verdict::Applied, REFUSED(Refusal::NothingToOpen)]);
    assert_eq!(stage.pledged(vec![right]), [REFUSED(Refusal::StaleRoll)]);
    // Before anything is called: early.
    let early = chain.opening(2, stage.closed());
    assert_eq!(stage.pledged(vec![early]), [REFUSED(Refusal::NothingToOpen)]);
}

#[test]
fn an_old_pledge_replaces_no_newer_one() {
    let (mut stage, one, two) = (seated(), Chain::new(0, TABLE, 1, 5), Chain::new(0, TABLE, 1, 6));
    assert_eq!(stage.pledged(vec![one.pledge(1, 5), two.pledge(1, 6)]), [Verdict::Applied; 2]);
    assert_eq!(stage.pledged(vec![one.pledge(1, 5)]), [REFUSED(Refusal::PledgeBehind)]);
    assert_eq!(stage.pledged(vec![one.pledge(1, 6)]), [REFUSED(Refusal::PledgeBehind)]);
    assert_eq!(stage.pledge_row().end, two.end(1));
}

/// Where everything of the player and of the house is.
fn chips(stage: &mut Stage) -> [u64; 6] {
    stage.machine.read(|rows| {
        let House { treasury, felts, banks, forfeited, .. } = *rows.house;
        [rows.accounts[0].cage.0, rows.seats[0].rail.0, felts.0, banks.0, treasury.0, forfeited.0]
    })
}

#[test]
fn what_is_not_opened_in_time_goes_to_nobody_and_the_player_is_seen_off() {
    let (mut stage, chain) = waiting();
    let [cage, rail, felts, banks, treasury, forfeited] = chips(&mut stage);
    assert_eq!((cage, rail, felts, forfeited), (GRANT - 1_000, 990, 10, 0));
    stage.machine.watch(true);
    let right = chain.opening(1, stage.closed());
    for _ in 0..5 {
        stage.height_with(1_000, Vec::new(), Vec::new());
        assert_eq!(chips(&mut stage), [cage, rail, felts, banks, treasury, 0], "its time has not passed");
    }
    // One millisecond after the deadline, in the block that carries the opening.
    assert_eq!(stage.pledged(vec![right]), [REFUSED(Refusal::OpenedLate)]);
    assert_eq!(chips(&mut stage), [cage + rail, 0, 0, banks, treasury, 10]);
    let [opening] = stage.machine.report().openings[..] else { panic!("one forfeit") };
    assert_eq!(opening.end, OpeningEnd::Forfeited { chips: Chips(10), end: chain.end(1) });
    assert_eq!((opening.roll, opening.account), (1, AccountId(0)));
    assert!(stage.machine.report().rolls.is_empty(), "a forfeit is no roll");
    let (table, account) = stage.machine.read(|rows| (rows.tables[0], rows.accounts[0]));
    assert_eq!((table.roll_number, table.dice, table.occupied, table.exposure.0), (1, [0, 0], 0, 0));
    assert_eq!(account.wagered, Chips::ZERO, "what was forfeited was not wagered");
    assert_eq!(stage.machine.report().counts.lost, 10, "and it was lost");
    // Later still the roll number is used up.
    assert_eq!(stage.pledged(vec![right]), [REFUSED(Refusal::StaleRoll)]);
    // The player may sit again, and pledges anew for the next roll.
    assert_eq!(stage.one(0, IntentKind::Sit, |body| body.at(TABLE).amount(500)), Verdict::Applied);
    assert_eq!(stage.pledge_row(), Pledge::zeroed());
    assert_eq!(stage.pledged(vec![chain.pledge(2, 9)]), [Verdict::Applied]);
}

#[test]
fn a_deadline_that_ends_at_the_block_of_the_opening_is_kept() {
    let (mut stage, chain) = waiting();
    let right = chain.opening(1, stage.closed());
    for _ in 0..4 {
        stage.height_with(1_000, Vec::new(), Vec::new());
    }
    let open_until_ms = stage.pledge_row().open_until_ms;
    assert_eq!(stage.house().opening_ms + 1_000, open_until_ms);
    assert_eq!(stage.height_with(1_000, vec![right], Vec::new()), [Verdict::Applied]);
    assert_eq!(stage.house().opening_ms, open_until_ms);
    assert_eq!(stage.machine.read(|rows| rows.tables[0].roll_number), 1);
}

#[test]
fn a_node_that_stood_still_forfeits_nobodys_bets() {
    let (mut stage, chain) = waiting();
    let right = chain.opening(1, stage.closed());
    // An hour in which there was no block counts one second.
    stage.height_with(3_600_000, Vec::new(), Vec::new());
    stage.height_with(3_600_000, Vec::new(), Vec::new());
    assert!(stage.pledge_row().is_frozen());
    assert_eq!(stage.pledged(vec![right]), [Verdict::Applied]);
}

#[test]
fn while_a_roll_waits_there_is_a_reason_for_a_height_each_second() {
    let (mut stage, _) = waiting();
    for second in 1..=5 {
        let due_ms = stage.machine.next_due_ms().expect("the table waits");
        assert_eq!(due_ms, stage.time_ms + 1_000, "second {second}");
        stage.settle_at(due_ms, Vec::new(), Draw::Beacon([7; 48]));
    }
    let due_ms = stage.machine.next_due_ms().expect("the table waits");
    assert_eq!(due_ms, stage.time_ms + 1, "the first millisecond after the deadline");
    stage.settle_at(due_ms, Vec::new(), Draw::Beacon([7; 48]));
    assert_eq!(stage.house().forfeited, Chips(10));
    assert_eq!(stage.machine.next_due_ms(), None);
}

#[test]
fn whoever_pledges_anothers_end_cannot_open_it() {
    // Player 0 shows a chain, and leaves; player 1 sits down and copies what was pledged and what was opened.
    let mut stage = seated();
    let chain = Chain::new(0, TABLE, 1, 5);
    assert_eq!(stage.pledged(vec![chain.pledge(1, 1)]), [Verdict::Applied]);
    assert_eq!(stage.one(0, IntentKind::Leave, |body| body.at(TABLE)), Verdict::Applied);
    assert_eq!(stage.one(1, IntentKind::Sit, |body| body.at(TABLE).amount(100)), Verdict::Applied);
    assert_eq!(stage.pledge_row().end, [0; 32], "an end of the player before is not the next one's");
    let copied = PledgeRow { key: key(1), ..chain.pledge(1, 2) };
    assert_eq!(stage.pledged(vec![copied]), [Verdict::Applied]);
    assert_eq!(stage.bet(1, "pass", 0, 10), Verdict::Applied);
    stage.settle_at(stage.time_ms + 300, Vec::new(), Draw::Beacon([7; 48]));
    let roll = stage.intent(1, IntentKind::Roll, |body| body.at(TABLE));
    stage.machine.of_block(BlockPart { hash: [4; 32], ..BlockPart::default() });
    assert_eq!(stage.settle_at(stage.time_ms + 1, vec![roll], Draw::Beacon([7; 48])), [Verdict::Applied]);
    let opening = PledgeRow { key: key(1), ..chain.opening(1, [4; 32]) };
    assert_eq!(stage.pledged(vec![opening]), [REFUSED(Refusal::WrongValue)]);
    for _ in 0..6 {
        stage.height_with(1_000, Vec::new(), Vec::new());
    }
    assert_eq!(stage.house().forfeited, Chips(10));
}

#[test]
fn commission_that_was_held_is_forfeited_with_its_bet() {
    let mut world = world();
    world.rules[0].commission = Commission::Upfront;
    let mut stage = Stage::seated(world, 1, 1_000);
    stage.settle_at(stage.time_ms + 300, Vec::new(), Draw::Beacon([7; 48]));
    let chain = Chain::new(0, TABLE, 1, 5);
    assert_eq!(stage.bet(0, "buy_4", 0, 100), Verdict::Applied);
    assert_eq!(stage.rail(0), 895);
    assert_eq!(stage.height_with(1, vec![chain.pledge(1, 1)], vec![IntentKind::Roll]), [Verdict::Applied; 2]);
    for _ in 0..6 {
        stage.height_with(1_000, Vec::new(), Vec::new());
    }
    assert_eq!(stage.house().forfeited, Chips(105));
    assert_eq!(stage.machine.read(|rows| rows.accounts[0].cage.0), GRANT - 105);
}

#[test]
fn an_opening_beside_as_many_intents_as_a_block_holds_counts() {
    let mut world = world();
    world.accounts = 8_000;
    let mut stage = Stage::new(world);
    let opens = (0..7_902).map(|player| stage.intent(player, IntentKind::Open, |body| body)).collect();
    stage.settle(opens);
    assert_eq!(stage.one(0, IntentKind::Sit, |body| body.at(TABLE).amount(1_000)), Verdict::Applied);
    stage.settle_at(stage.time_ms + 300, Vec::new(), Draw::Beacon([7; 48]));
    let chain = Chain::new(0, TABLE, 1, 5);
    stage.height_with(1, vec![chain.pledge(1, 1)], vec![IntentKind::Bet, IntentKind::Roll]);
    let opening = chain.opening(1, stage.closed());
    let sits: Vec<_> = (1..=7_900)
        .map(|player| stage.intent(player, IntentKind::Sit, |body| body.at(TableId(player % 4)).amount(10)))
        .collect();
    stage.machine.of_block(BlockPart { hash: [4; 32], pledges: vec![opening], round: 0 });
    let verdicts = stage.settle_at(stage.time_ms + 1, sits, Draw::Beacon([7; 48]));
    assert_eq!(verdicts.len(), 7_900);
    assert_eq!(stage.machine.report().pledge_receipts[0].verdict, Verdict::Applied);
    assert_eq!(stage.machine.read(|rows| rows.tables[0].roll_number), 1);
}

/// Readers of history skip pages of 64 heights on which nothing was done: what a pledge names is noted, even if it was refused.
#[test]
fn a_pledge_is_noted_for_its_account_and_for_its_table_if_there_is_one() {
    let mut genesis = world();
    order::keys::dev_keys(&[1; 32], NonZeroU32::MIN).install(&mut genesis);
    let mut stage = Stage::new(genesis.clone());
    let mut drawn = 0;
    let secret = order::batch::BatchSecret::draw(|bytes| {
        drawn += 1;
        bytes.fill(drawn);
        Ok::<(), std::convert::Infallible>(())
    });
    let setup = Setup::new(genesis, CHAIN).expect("a genesis");
    stage.machine = Machine::follower(setup, 1, secret.expect("it cannot fail"), 1).expect("a follower");
    let opens = (0..3).map(|player| stage.intent(player, IntentKind::Open, |body| body)).collect();
    stage.settle(opens);
    while stage.height < Height(64) {
        stage.settle(Vec::new());
    }
    let nobodys = Chain::new(2, TableId(2), 1, 5).pledge(1, 1);
    let verdicts = stage.pledged(vec![nobodys, PledgeRow { table: 77, ..nobodys }]);
    assert_eq!(verdicts, [REFUSED(Refusal::UnknownPlayer), REFUSED(Refusal::UnknownTable)]);
    let maps = stage.machine.activity().maps().expect("a node keeps them");
    let [span] = &maps.read(Height(1), stage.height).expect("both pages")[..] else { panic!("one span") };
    assert_eq!(span.tables, [0, 0, 0b10, 0], "on the second page");
    assert_eq!(span.accounts[..4], [0b01, 0b01, 0b11, 0]);
}
