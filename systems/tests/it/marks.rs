//! Which groups a height may write is known before it does, wherever in their columns its rows lie: a snapshot that is under
//! way saves them first, and loses nothing.

use std::num::NonZeroU32;

use crate::common::{START_MS, Stage, bet, genesis, key};
use bytemuck::Zeroable;
use engine::genesis::{Genesis, Idleness};
use engine::image::Saved;
use engine::io::Verdict;
use engine::limits::{CHUNK_ACCOUNTS, CHUNK_TABLES, SEAT_BETS_HOT};
use engine::message::block::{Block, Header};
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::message::pledge::{PledgeRow, pledge_end};
use engine::message::refusal::Refusal;
use engine::rules::DiceSource;
use engine::{AccountId, Dice, Height, TableId, TableRules};
use systems::Draw;
use systems::settle::block::BlockPart;

const APPLIED: Verdict = Verdict::Applied;
/// A table of the last chunk, far from its first group of seats, with the beacon's dice.
const FAR: TableId = TableId(598);
/// A pledged one in the middle chunk.
const PLEDGED: TableId = TableId(301);
const OPEN_MS: u32 = 2_000;

/// Three chunks of tables, ten groups of seats, eight full ones of accounts; every other table is pledged, but not the first one.
fn world() -> Genesis {
    let pledged = TableRules { dice: DiceSource::Both, open_ms: OPEN_MS, ..TableRules::default() };
    Genesis {
        rules: vec![TableRules::default(), pledged],
        idle_ms: 20_000,
        idleness: Idleness { seat_ms: 40_000, ..Idleness::default() },
        ..genesis(600, 4, 2_048)
    }
}

/// Settles each height while a snapshot of everything is under way that has saved what the height was said to write.
trait Marking {
    fn height(&mut self, time_ms: u64, part: BlockPart, intents: Vec<Intent>) -> Vec<Verdict>;

    fn next(&mut self, intents: Vec<Intent>) -> Vec<Verdict>;

    fn act(&mut self, player: u32, kind: IntentKind, fill: impl FnOnce(IntentBody) -> IntentBody) -> Verdict;

    fn wait_until(&mut self, time_ms: u64);
}

impl Marking for Stage {
    fn height(&mut self, time_ms: u64, part: BlockPart, intents: Vec<Intent>) -> Vec<Verdict> {
        let count = intents.len() as u32;
        let header =
            Header { height: self.height.next(), time_ms, round: part.round, intent_count: count, ..Header::zeroed() };
        let (system, pledges) = (Vec::new(), part.pledges.clone());
        let block = Block { header, certificate: None, system, pledges, intents };
        assert!(self.machine.begin_saving() > 60, "all groups are of this snapshot");
        assert_eq!(self.machine.save_before(&block), Saved::All);
        self.machine.of_block(part);
        let verdicts = self.settle_at(time_ms, block.intents, Draw::Given(Dice::new(1, 3).expect("faces")));
        let saver = self.machine.saver();
        assert!(saver.left() > 0, "a height writes a part");
        let column = saver.spoiled().map(|group| (group, self.machine.layout().column_of(group)));
        assert_eq!(column, None, "height {} wrote a group that was not marked", self.height);
        self.machine.give_up_snapshot();
        let earliest = self.machine.read(|rows| rows.tables.iter().map(|table| table.next_roll_ms).min());
        let due_ms = self.machine.next_due_ms().unwrap_or(engine::component::Table::NEVER);
        assert_eq!(Some(due_ms), earliest, "height {}: the next height is due when a table is", self.height);
        verdicts
    }

    fn next(&mut self, intents: Vec<Intent>) -> Vec<Verdict> {
        self.height(self.time_ms + 1, BlockPart::default(), intents)
    }

    fn act(&mut self, player: u32, kind: IntentKind, fill: impl FnOnce(IntentBody) -> IntentBody) -> Verdict {
        let intent = self.intent(player, kind, fill);
        self.next(vec![intent])[0]
    }

    /// Heights of 1 s, and those at which a table is due.
    fn wait_until(&mut self, time_ms: u64) {
        while self.time_ms < time_ms {
            let due_ms = self.machine.next_due_ms().unwrap_or(time_ms);
            self.height(due_ms.min(time_ms).min(self.time_ms + 1_000), BlockPart::default(), Vec::new());
        }
    }
}

/// So many accounts, each player's with the player's number.
fn opened(genesis: Genesis, players: u32) -> Stage {
    let mut stage = Stage::new(genesis);
    // The first root hashes everything, written or not.
    stage.machine.root();
    let opens = (0..players).map(|player| stage.intent(player, IntentKind::Open, |body| body)).collect();
    assert!(stage.settle(opens).iter().all(|verdict| *verdict == APPLIED));
    stage
}

fn sit(stage: &mut Stage, player: u32, table: TableId) {
    assert_eq!(stage.act(player, IntentKind::Sit, |body| body.at(table).amount(5_000)), APPLIED);
}

fn put(stage: &mut Stage, player: u32, table: TableId, name: &str, amount: u64) {
    let fill = |body: IntentBody| body.at(table).on(bet(name), 0).amount(amount);
    assert_eq!(stage.act(player, IntentKind::Bet, fill), APPLIED, "{name}");
}

#[test]
fn an_intent_writes_its_table_its_seats_and_the_accounts_that_it_names() {
    let mut stage = opened(world(), 700);
    for (player, table) in [(0, TableId(0)), (300, FAR), (600, TableId(256))] {
        sit(&mut stage, player, table);
        put(&mut stage, player, table, "field", 2_000);
    }
    stage.wait_until(stage.time_ms + 1_500);
    assert_eq!(stage.act(0, IntentKind::Leave, |body| body.at(TableId(0))), APPLIED);
    // As much as was wagered may be sent, to an account of another group.
    assert_eq!(stage.act(0, IntentKind::Transfer, |body| body.to(AccountId(300)).amount(700)), APPLIED);
    // A block may name what there is not.
    for target in [2_048, u32::MAX] {
        let to = |body: IntentBody| body.to(AccountId(target)).amount(1);
        assert_eq!(stage.act(0, IntentKind::Transfer, to), Verdict::Refused(Refusal::UnknownRecipient));
    }
    for target in [600, u32::MAX] {
        let leave = |body: IntentBody| body.at(TableId(target));
        assert_eq!(stage.act(0, IntentKind::Leave, leave), Verdict::Refused(Refusal::UnknownTable));
    }
    for (player, table) in [(300, FAR), (600, TableId(256))] {
        assert_eq!(stage.act(player, IntentKind::Leave, |body| body.at(table)), APPLIED);
    }
    assert_eq!(stage.machine.next_due_ms(), None);
}

#[test]
fn a_roll_writes_all_bets_of_its_table_to_the_millisecond_at_which_it_is_due() {
    let mut stage = opened(world(), 400);
    sit(&mut stage, 300, FAR);
    let one_roll = systems::catalogue::BETS.iter().filter(|bet| {
        let name = bet.name;
        bet.family.placement() == systems::catalogue::Placement::Any && !name.starts_with("odds")
    });
    let names: Vec<&str> = one_roll.map(|bet| bet.name).take(30).collect();
    for name in &names {
        put(&mut stage, 300, FAR, name, 20);
    }
    let count = |stage: &mut Stage| stage.machine.read(|rows| rows.seats[598 * 4].spots.count() as usize);
    assert!(count(&mut stage) > SEAT_BETS_HOT + 8);
    let due_ms = stage.machine.next_due_ms().expect("somebody sits");
    stage.height(due_ms, BlockPart::default(), Vec::new());
    assert_eq!(stage.machine.report().counts.rolls, 1);
    assert!(stage.machine.report().counts.bets_resolved > 2);
    stage.wait_until(due_ms + 3_000);
}

#[test]
fn whoever_is_absent_in_the_way_or_about_to_leave_goes_at_a_roll_with_the_account_written() {
    // Absent before a seat may be given to others, and without a bet.
    let mut stage = opened(world(), 700);
    sit(&mut stage, 300, FAR);
    stage.wait_until(stage.time_ms + 21_100);
    assert_eq!(stage.machine.read(|rows| rows.seats[598 * 4].account), AccountId::NONE);

    // About to leave: what stayed is decided by a roll of 4, and the seat becomes free at once.
    sit(&mut stage, 300, FAR);
    put(&mut stage, 300, FAR, "pass", 10);
    stage.wait_until(stage.time_ms + 1_100);
    assert_eq!(stage.act(300, IntentKind::Leave, |body| body.at(FAR)), APPLIED);
    assert!(stage.machine.read(|rows| rows.seats[598 * 4].is_leaving()), "the pass line stays");
    stage.wait_until(stage.time_ms + 1_100);
    assert_eq!(stage.machine.read(|rows| rows.seats[598 * 4].account), AccountId::NONE);

    // In the way of others, but not absent: its bets are taken down before each roll.
    let idleness = Idleness { seat_ms: 3_000, ..Idleness::default() };
    let mut stage = opened(Genesis { idleness, ..world() }, 700);
    for player in 300..304 {
        sit(&mut stage, player, FAR);
    }
    stage.wait_until(stage.time_ms + 4_000);
    // In a block of its own, so that the roll's block names nobody of the table.
    let wants = |body: IntentBody| body.at(FAR).amount(100);
    assert_eq!(stage.act(600, IntentKind::Sit, wants), Verdict::Refused(Refusal::TableFull));
    stage.wait_until(stage.time_ms + 1_100);
    assert_eq!(stage.machine.read(|rows| rows.seats[598 * 4].account), AccountId::NONE);
}

#[test]
fn a_pledged_table_writes_its_pledge_its_bets_and_its_player_wherever_it_lies() {
    let (place, chain, hash) = (PLEDGED.index() * 4, [9; 32], [6; 32]);
    assert!(PLEDGED.index() > CHUNK_TABLES + 2);
    let mut stage = opened(world(), 700);
    sit(&mut stage, 300, PLEDGED);
    let ends: Vec<[u8; 32]> = (1..3).rev().fold(vec![[5; 32]], |mut ends, roll| {
        ends.push(pledge_end(&chain, PLEDGED, &key(300), roll, ends.last().expect("the secret")));
        ends
    });
    let part = |pledges: Vec<PledgeRow>| BlockPart { hash, pledges, ..BlockPart::default() };
    let pledge = PledgeRow::pledge(key(300), PLEDGED, 1, 1, ends[2]);
    stage.height(stage.time_ms + 300, part(vec![pledge]), Vec::new());
    put(&mut stage, 300, PLEDGED, "pass", 10);
    put(&mut stage, 300, PLEDGED, "field", 10);
    let call = stage.intent(300, IntentKind::Roll, |body| body.at(PLEDGED));
    assert_eq!(stage.height(stage.time_ms + 1, part(Vec::new()), vec![call]), [APPLIED]);
    // Waits for a while, and is looked at every second.
    stage.wait_until(stage.time_ms + 1_500);
    let opening = PledgeRow::opening(key(300), PLEDGED, 1, ends[1], hash);
    stage.height(stage.time_ms + 1, part(vec![opening]), Vec::new());
    assert_eq!(stage.machine.report().pledge_receipts[0].verdict, APPLIED);
    assert_eq!(stage.machine.read(|rows| rows.tables[PLEDGED.index()].roll_number), 1);

    // The next one is not opened: the block that forfeits the bets names nobody.
    stage.height(stage.time_ms + 300, part(Vec::new()), Vec::new());
    put(&mut stage, 300, PLEDGED, "field", 10);
    let call = stage.intent(300, IntentKind::Roll, |body| body.at(PLEDGED));
    assert_eq!(stage.height(stage.time_ms + 1, part(Vec::new()), vec![call]), [APPLIED]);
    let closed_ms = stage.time_ms;
    while stage.machine.report().counts.forfeits == 0 {
        let due_ms = stage.machine.next_due_ms().expect("it is awaited");
        stage.height(due_ms, BlockPart::default(), Vec::new());
    }
    assert_eq!(stage.time_ms, closed_ms + u64::from(OPEN_MS) + 1);
    assert_eq!(stage.machine.read(|rows| rows.seats[place].account), AccountId::NONE);
}

#[test]
fn one_block_opens_rolls_of_pledged_tables_in_several_chunks() {
    let (chain, hash, tables) = ([9; 32], [6; 32], [(0, TableId(1)), (300, PLEDGED), (600, TableId(599))]);
    let mut stage = opened(world(), 700);
    let part = |pledges: Vec<PledgeRow>| BlockPart { hash, pledges, ..BlockPart::default() };
    let mut pledges = Vec::new();
    for (player, table) in tables {
        sit(&mut stage, player, table);
        put(&mut stage, player, table, "field", 10);
        let end = pledge_end(&chain, table, &key(player), 1, &[5; 32]);
        pledges.push(PledgeRow::pledge(key(player), table, 1, 1, end));
    }
    stage.height(stage.time_ms + 300, part(pledges), Vec::new());
    let calls = tables.map(|(player, table)| stage.intent(player, IntentKind::Roll, |body| body.at(table)));
    assert_eq!(stage.height(stage.time_ms + 1, part(Vec::new()), calls.into()), [APPLIED; 3]);
    let opening = |(player, table)| PledgeRow::opening(key(player), table, 1, [5; 32], hash);
    stage.height(stage.time_ms + 1, part(tables.map(opening).into()), Vec::new());
    assert_eq!((stage.machine.report().counts.rolls, stage.machine.report().counts.bets_resolved), (3, 3));
}

#[test]
fn a_block_of_a_later_round_writes_the_validators() {
    let mut genesis = world();
    order::keys::dev_keys(&[1; 32], NonZeroU32::new(4).expect("not zero")).install(&mut genesis);
    let mut stage = opened(genesis, 1);
    let part = BlockPart { round: 1, ..BlockPart::default() };
    stage.height(stage.time_ms + 1, part, Vec::new());
    let skipped = stage.machine.read(|rows| rows.validators.iter().filter(|row| row.skipped_until > Height(0)).count());
    assert_eq!(skipped, 1, "whoever's round failed loses a turn");
}

#[test]
fn a_whole_part_of_the_accounts_may_become_free_at_once() {
    let idleness = Idleness { grant_ms: 20_000, ..Idleness::default() };
    let genesis = Genesis { idleness, ..genesis(600, 4, 2_048) };
    let mut stage = opened(genesis, CHUNK_ACCOUNTS as u32);
    stage.wait_until(START_MS + 90_000);
    assert!(stage.machine.read(|rows| rows.accounts.iter().all(|account| !account.is_open())));
    assert_eq!(stage.machine.read(|rows| rows.house.accounts_open), 0);
}
