//! States that somebody hands over: what no settled height can have is refused by name, and what is taken plays on.

use crate::common::{GRANT, Lot, Stage, genesis, play, session};
use engine::columns::Column;
use engine::component::{Account, House, Pledge, Seat, SeatStatus, Table};
use engine::image::ImageLayout;
use engine::io::Verdict;
use engine::limits::COUNTER_MAX;
use engine::message::intent::{IntentBody, IntentKind};
use engine::message::refusal::Refusal;
use engine::rules::DiceSource;
use engine::{AccountId, Chips, Genesis, Height, TableId, TableRules};
use systems::settle::block::BlockPart;
use systems::snapshot::LoadError;
use systems::{Draw, Machine, Setup};

const TABLES: u32 = 3;
const PLAYERS: u32 = 14;
const ACCOUNTS: u32 = 24;

fn world() -> Genesis {
    genesis(TABLES, 6, ACCOUNTS)
}

/// A machine in the middle of play, with its clock.
fn busy(seed: u64) -> Stage {
    let mut stage = Stage::new(world());
    let heights = session(&world(), PLAYERS, 160, seed);
    play(&mut stage, &heights);
    stage
}

fn empty() -> Machine {
    Machine::new(Setup::new(world(), [9; 32]).expect("a genesis"), 1)
}

fn place(layout: &ImageLayout, column: Column, row: usize) -> usize {
    layout.column_groups(column).start * engine::limits::GROUP_BYTES + row * column.row_bytes()
}

/// Changes one row of an image.
fn alter<T: bytemuck::Pod>(
    image: &[u8],
    layout: &ImageLayout,
    column: Column,
    row: usize,
    change: impl FnOnce(&mut T),
) -> Vec<u8> {
    let mut image = image.to_vec();
    let at = place(layout, column, row);
    let bytes = &mut image[at..at + size_of::<T>()];
    let mut value: T = bytemuck::pod_read_unaligned(bytes);
    change(&mut value);
    bytes.copy_from_slice(bytemuck::bytes_of(&value));
    image
}

/// Where each kind of row that is in use lies.
struct Used {
    table: usize,
    seat: usize,
    empty_seat: usize,
    account: usize,
    free_account: usize,
}

fn used(stage: &mut Stage) -> Used {
    let per_table = 6;
    stage.machine.read(|rows| {
        let shoots = |seat: usize| usize::from(rows.tables[seat / per_table].shooter) == seat % per_table;
        let holds =
            |seat: &usize| rows.seats[*seat].is_seated() && !rows.seats[*seat].spots.is_empty() && !shoots(*seat);
        let seat = (0..rows.seats.len()).find(holds).expect("somebody has bets");
        let account = rows.seats[seat].account.index();
        let free_account = rows.accounts.iter().position(|account| !account.is_open()).expect("a free slot");
        let empty_seat = rows.seats.iter().position(|seat| seat.status == 0).expect("an empty seat");
        Used { table: seat / per_table, seat, empty_seat, account, free_account }
    })
}

/// Each field of each column, set to what no settled height leads to: the error names the column, the row and the field.
#[test]
fn a_row_that_no_height_leads_to_is_refused_by_column_row_and_field() {
    let mut stage = busy(3);
    let (image, layout) = (stage.image(), stage.machine.layout().clone());
    let Used { table, seat, empty_seat, account, free_account } = used(&mut stage);
    let latest_ms =
        stage.machine.read(|rows| rows.house.time_ms) + world().account_idle_ms.max(2 * world().window_max_ms);
    let mut machine = empty();
    machine.import(&image).expect("the state itself");

    let mut refused = |image: Vec<u8>, column: Column, row: usize, field: &str| match machine.import(&image) {
        Err(LoadError::Row(error)) => {
            assert_eq!((error.column, error.row, error.field), (column, row, field), "{error}");
            let text = error.to_string();
            assert!(text.starts_with(&format!("{} row {row}, {field}: ", column.name())), "{text}");
        }
        other => panic!("{column:?} row {row}, {field}: {other:?}"),
    };
    macro_rules! house {
        ($field:literal, $change:expr) => {
            refused(alter::<House>(&image, &layout, Column::House, 0, $change), Column::House, 0, $field)
        };
    }
    house!("supply", |house| house.supply.0 += 1);
    house!("supply", |house| house.treasury.0 -= 1);
    house!("treasury", |house| house.treasury.0 = u64::MAX);
    house!("height", |house| house.height = Height(u64::MAX));
    house!("time_ms", |house| house.time_ms = u64::MAX - 1);
    house!("time_ms", |house| house.time_ms = 0);
    house!("reserved", |house| house.reserved[23] = 1);
    house!("reserved_after_accounts", |house| house.reserved_after_accounts[3] = 1);
    house!("opening_ms", |house| house.opening_ms = 1);
    house!("supply", |house| house.forfeited.0 += 1);
    house!("accounts_open", |house| house.accounts_open += 1);
    house!("rails", |house| {
        house.rails.0 += 1;
        house.treasury.0 -= 1;
    });
    house!("banks", |house| {
        house.banks.0 += 1;
        house.treasury.0 -= 1;
    });
    house!("cages", |house| {
        house.cages.0 -= 1;
        house.treasury.0 += 1;
    });
    macro_rules! constant {
        ($column:expr, $row:literal, $field:literal) => {
            let wrong = alter::<[u8; 32]>(&image, &layout, $column, $row, |bytes| bytes[7] ^= 1);
            refused(wrong, $column, $row, $field);
        };
    }
    constant!(Column::GroupKey, 0, "key");
    constant!(Column::Validators, 0, "vote_key");
    constant!(Column::Validators, 127, "vote_key");
    constant!(Column::NextValidators, 3, "vote_key");
    constant!(Column::Rules, 0, "hash");
    constant!(Column::Rules, 15, "hash");
    macro_rules! table {
        ($field:literal, $change:expr) => {
            refused(alter::<Table>(&image, &layout, Column::Tables, table, $change), Column::Tables, table, $field)
        };
    }
    table!("rules", |row| row.rules = 255);
    // The first table's too, at which the only row of pledges is looked at where no table is pledged.
    refused(alter::<Table>(&image, &layout, Column::Tables, 0, |row| row.rules = 64), Column::Tables, 0, "rules");
    table!("point", |row| row.point = 7);
    table!("dice", |row| row.dice = [7, 1]);
    table!("dice", |row| row.dice = [0, 0]);
    table!("roll_number", |row| row.roll_number = u32::MAX);
    table!("hand_number", |row| row.hand_number = u32::MAX);
    table!("opened_ms", |row| row.opened_ms = u64::MAX);
    table!("roll_called", |row| row.roll_called = 2);
    table!("wanted_ms", |row| row.wanted_ms = u64::MAX);
    table!("occupied", |row| row.occupied ^= 1 << 15);
    table!("shooter", |row| row.shooter = 6);
    table!("next_roll_ms", |row| row.next_roll_ms = u64::MAX);
    // A table that nobody looks at until long after would keep its players' bets.
    table!("next_roll_ms", |row| row.next_roll_ms = latest_ms + 1);
    table!("felt", |row| row.felt.0 += 1);
    table!("exposure", |row| row.exposure.0 += 1);
    table!("bank", |row| row.bank = Chips(row.exposure.0 - 1));
    macro_rules! seat {
        ($row:expr, $field:literal, $change:expr) => {
            refused(alter::<Seat>(&image, &layout, Column::Seats, $row, $change), Column::Seats, $row, $field)
        };
    }
    seat!(seat, "status", |row| row.status = 3);
    seat!(seat, "reserved", |row| row.reserved[2] = 1);
    seat!(seat, "spots", |row| row.spots.0[2] |= 1 << 63);
    seat!(seat, "spots", |row| row.spots.0[0] = u64::MAX);
    seat!(seat, "account", |row| row.account.0 = ACCOUNTS);
    seat!(seat, "account", |row| row.account.0 = free_account as u32);
    seat!(empty_seat, "account", |row| row.rail.0 = 1);
    seat!(seat, "rail", |row| row.rail.0 = u64::MAX);
    seat!(seat, "last_intent_ms", |row| row.last_intent_ms = u64::MAX);
    macro_rules! bet {
        ($column:expr, $at:literal, $field:literal, $change:expr) => {
            refused(alter::<[u8; 64]>(&image, &layout, $column, seat, $change), $column, seat, $field)
        };
    }
    // A bet is amount u32, progress u16, spot u8, flags u8.
    bet!(Column::Bets, 0, "amount", |row| row[..4].fill(0));
    bet!(Column::Bets, 0, "amount", |row| row[..4].fill(0xff));
    bet!(Column::Bets, 0, "progress", |row| row[4..6].fill(0xff));
    bet!(Column::Bets, 0, "spot", |row| row[6] ^= 1);
    bet!(Column::Bets, 0, "flags", |row| row[7] = 3);
    bet!(Column::Bets, 0, "flags", |row| row[7] |= 0x80);
    bet!(Column::MoreBets, 0, "rows", |row| row[63] = 1);
    macro_rules! account {
        ($row:expr, $field:literal, $change:expr) => {
            refused(alter::<Account>(&image, &layout, Column::Accounts, $row, $change), Column::Accounts, $row, $field)
        };
    }
    account!(free_account, "status", |row| row.status = 2);
    account!(account, "cage", |row| row.cage.0 = u64::MAX);
    account!(account, "granted", |row| row.granted.0 = u64::MAX);
    account!(account, "last_intent_ms", |row| row.last_intent_ms = u64::MAX);
    account!(account, "generation", |row| row.generation = u32::MAX);
    account!(account, "seats", |row| row.seats += 1);
    account!(account, "reserved", |row| row.reserved[2] = 1);
    account!(free_account, "cage", |row| row.cage.0 = 1);
    let key = |change: fn(&mut [u8; 64])| alter::<[u8; 64]>(&image, &layout, Column::AccountKeys, account, change);
    refused(key(|row| row[63] = 1), Column::AccountKeys, account, "reserved");
    refused(key(|row| row.fill(0)), Column::AccountKeys, account, "key");
    let other = alter::<[u8; 64]>(&image, &layout, Column::AccountKeys, free_account, |row| row[0] = 1);
    refused(other, Column::AccountKeys, free_account, "key");
    let twin = {
        let (from, to) =
            (place(&layout, Column::AccountKeys, account), place(&layout, Column::AccountKeys, account + 1));
        let mut image = image.clone();
        image.copy_within(from..from + 64, to);
        image
    };
    assert!(matches!(machine.import(&twin), Err(LoadError::Row(error)) if error.field == "key"));
    machine.import(&image).expect("the state itself, after all that was refused");
}

/// One alteration of an image: some bytes, a whole field, or chips that move between two rows so that sums stay true.
fn altered(image: &[u8], layout: &ImageLayout, lot: &mut Lot) -> Vec<u8> {
    let mut image = image.to_vec();
    for _ in 0..1 + lot.below(2) {
        let column = Column::ALL[lot.below(Column::ALL.len() as u64) as usize];
        let rows = layout.capacity.rows(column).min(24) as u64;
        let at = place(layout, column, lot.below(rows) as usize);
        let field = at + 8 * lot.below(column.row_bytes() as u64 / 8) as usize;
        let word: [u8; 8] = image[field..field + 8].try_into().expect("8 bytes");
        let word = u64::from_le_bytes(word);
        let to = match lot.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => word.wrapping_add(1),
            3 => word.wrapping_sub(1),
            4 => word ^ 1 << lot.below(64),
            5 => word ^ 0xff << (8 * lot.below(8)),
            6 => lot.below(1 << 32),
            _ => word | 1 << 63,
        };
        image[field..field + 8].copy_from_slice(&to.to_le_bytes());
    }
    image
}

/// Chips from one rail, cage or bank to the treasury, with the control accounts moved too: a state that sums up.
fn moved(image: &[u8], layout: &ImageLayout, lot: &mut Lot) -> Vec<u8> {
    let chips = 1 + lot.below(50);
    let (column, row, field, control) = match lot.below(3) {
        0 => (Column::Seats, lot.below(u64::from(TABLES) * 6), 0, 24),
        1 => (Column::Accounts, lot.below(ACCOUNTS.into()), 0, 16),
        _ => (Column::Tables, lot.below(TABLES.into()), 0, 40),
    };
    let mut image = image.to_vec();
    let mut add = |at: usize, chips: i64| {
        let word: [u8; 8] = image[at..at + 8].try_into().expect("8 bytes");
        let word = u64::from_le_bytes(word).wrapping_add_signed(chips);
        image[at..at + 8].copy_from_slice(&word.to_le_bytes());
    };
    let house = place(layout, Column::House, 0);
    add(place(layout, column, row as usize) + field, -(chips as i64));
    add(house + control, -(chips as i64));
    add(house + 8, chips as i64);
    image
}

/// By the thousand: an altered state is refused by its row and field, or it is one, and then it plays on.
#[test]
fn an_altered_state_is_refused_or_plays_on_without_a_panic() {
    let (mut refused, mut taken) = (0, 0);
    for seed in 0..6 {
        let mut stage = busy(seed);
        let (image, layout) = (stage.image(), stage.machine.layout().clone());
        let mut lot = Lot(seed ^ 0x5eed);
        for round in 0..500 {
            let altered =
                if round % 5 == 0 { moved(&image, &layout, &mut lot) } else { altered(&image, &layout, &mut lot) };
            let mut machine = empty();
            match machine.import(&altered) {
                Err(LoadError::Row(error)) => {
                    assert!(!error.field.is_empty() && !error.problem.is_empty());
                    refused += 1;
                    continue;
                }
                Err(other) => panic!("seed {seed}, round {round}: {other}"),
                Ok(()) => taken += 1,
            }
            let (height, time_ms) = machine.read(|rows| (rows.house.height, rows.house.time_ms));
            let mut on = Stage::new(world());
            (on.machine, on.height, on.time_ms) = (machine, height, time_ms);
            for made in session(&world(), PLAYERS, 12, seed + round) {
                let intents = made.intents.into_iter().map(|mut intent| {
                    intent.body.expiry_s = (on.time_ms / 1_000) as u32 + 30;
                    intent
                });
                let intents = intents.collect();
                on.settle_at(on.time_ms + 400, intents, Draw::Beacon(made.beacon));
            }
        }
    }
    assert!(refused > 1_500 && taken > 100, "{refused} refused, {taken} taken");
}

/// Table 0 is pledged where `is_pledged` says so, and players 0 and 1 have accounts; as many as it has seats for sit there.
fn seated(is_pledged: bool) -> Stage {
    let pledged = TableRules { dice: DiceSource::Both, open_ms: 5_000, ..TableRules::default() };
    let rules = vec![if is_pledged { pledged } else { TableRules::default() }];
    let genesis = Genesis { rules, idle_ms: 60_000, account_idle_ms: 120_000, ..genesis(1, 3, 8) };
    let mut stage = Stage::new(genesis);
    let opens = (0..2).map(|player| stage.intent(player, IntentKind::Open, |body| body)).collect();
    assert_eq!(stage.settle(opens), [Verdict::Applied; 2]);
    for player in 0..if is_pledged { 1 } else { 2 } {
        assert_eq!(stage.one(player, IntentKind::Sit, |body| body.at(TableId(0)).amount(5_000)), Verdict::Applied);
    }
    stage
}

/// Goes on from a state in which the first players wagered, at their seats and before, nearly all that the fields hold.
fn with_nearly_all_wagered(stage: &mut Stage, players: usize) {
    let (mut image, layout) = (stage.image(), stage.machine.layout().clone());
    for player in 0..players {
        image = alter::<Seat>(&image, &layout, Column::Seats, player, |row| row.wagered.0 = u64::MAX - 1);
        image = alter::<Account>(&image, &layout, Column::Accounts, player, |row| row.wagered.0 = u64::MAX - 1);
    }
    stage.machine.import(&image).expect("chips are wagered again and again, and no supply bounds how many");
}

fn wagered(stage: &mut Stage, account: usize) -> u64 {
    stage.machine.read(|rows| rows.accounts[account].wagered.0)
}

/// What was wagered is only compared with a grant: it stops where its field ends, wherever it is counted.
#[test]
fn what_was_wagered_is_counted_up_to_what_its_field_holds() {
    let mut stage = seated(false);
    for player in 0..2 {
        assert_eq!(stage.bet(player, "pass", 0, 10), Verdict::Applied);
    }
    stage.roll(2, 2);
    with_nearly_all_wagered(&mut stage, 2);
    let leave = |body: IntentBody| body.at(TableId(0));
    assert_eq!(stage.one(1, IntentKind::Leave, leave), Verdict::Applied);
    // The seven-out decides both bets and frees the seat of the player who left; the other one leaves after it.
    stage.roll(3, 4);
    assert_eq!(stage.machine.read(|rows| rows.seats[0].wagered.0), u64::MAX);
    assert_eq!(stage.machine.read(|rows| rows.accounts[1].seats), 0);
    assert_eq!(stage.one(0, IntentKind::Leave, leave), Verdict::Applied);
    assert_eq!([wagered(&mut stage, 0), wagered(&mut stage, 1)], [u64::MAX; 2]);
    let all = |body: IntentBody| body.to(AccountId(1)).amount(GRANT - 10);
    assert_eq!(stage.one(0, IntentKind::Transfer, all), Verdict::Applied, "the whole grant was wagered");

    // At a pledged table an absent player is seen off without a roll.
    let mut stage = seated(true);
    with_nearly_all_wagered(&mut stage, 1);
    while stage.machine.read(|rows| rows.accounts[0].seats) > 0 {
        stage.settle_at(stage.time_ms + 1_000, Vec::new(), Draw::Beacon([7; 48]));
    }
    assert_eq!(wagered(&mut stage, 0), u64::MAX);
}

/// As many rolls as are counted, at table 0 of a state that is old enough for them.
fn rolled(image: &[u8], layout: &ImageLayout, rolls: u32) -> Vec<u8> {
    let image = alter(image, layout, Column::House, 0, |house: &mut House| house.height = Height(COUNTER_MAX));
    alter(&image, layout, Column::Tables, 0, |row: &mut Table| row.roll_number = rolls)
}

/// A hand costs one intent or two, and a roll one height: whoever likes counts them up to where a state may hold no more.
#[test]
fn hands_and_rolls_are_counted_up_to_what_a_state_may_hold() {
    let most = u32::try_from(COUNTER_MAX).expect("half of its field");
    let mut stage = seated(false);
    let (image, layout) = (stage.image(), stage.machine.layout().clone());
    let image = alter(&rolled(&image, &layout, most), &layout, Column::Tables, 0, |row: &mut Table| {
        (row.hand_number, row.dice) = (most, [1, 2]);
    });
    stage.machine.import(&image).expect("as much as was ever counted");
    stage.height = Height(COUNTER_MAX);
    let at = |body: IntentBody| body.at(TableId(0));
    // Each way to begin a hand: the dice are passed, somebody comes to an empty table, a seven ends a hand with a point.
    assert_eq!(stage.one(0, IntentKind::PassDice, at), Verdict::Applied);
    for player in 0..2 {
        assert_eq!(stage.one(player, IntentKind::Leave, at), Verdict::Applied);
    }
    assert_eq!(stage.one(0, IntentKind::Sit, |body| at(body).amount(5_000)), Verdict::Applied);
    stage.roll(2, 2);
    stage.roll(3, 4);
    let table = stage.machine.read(|rows| rows.tables[0]);
    assert_eq!((table.hand_number, table.roll_number, table.dice), (most, most, [3, 4]));
    let image = stage.image();
    stage.machine.import(&image).expect("the chain goes on, and every node that restarts with it");
}

/// By its number a player's half of the dice is told from all others: two rolls of one number would share it.
#[test]
fn a_pledged_table_rolls_no_more_once_its_numbers_have_ended() {
    let most = u32::try_from(COUNTER_MAX).expect("half of its field");
    let mut stage = seated(true);
    assert_eq!(stage.bet(0, "pass", 0, 10), Verdict::Applied);
    stage.settle_at(stage.time_ms + 300, Vec::new(), Draw::Beacon([7; 48]));
    let (image, layout) = (stage.image(), stage.machine.layout().clone());
    let image = alter(&image, &layout, Column::Pledges, 0, |row: &mut Pledge| row.end = [5; 32]);
    for (rolls, verdict) in [(most, Verdict::Refused(Refusal::NotPledged)), (most - 1, Verdict::Applied)] {
        stage.machine.import(&rolled(&image, &layout, rolls)).expect("a state");
        stage.height = Height(COUNTER_MAX);
        stage.machine.of_block(BlockPart { hash: [4; 32], ..BlockPart::default() });
        assert_eq!(stage.one(0, IntentKind::Roll, |body| body.at(TableId(0))), verdict, "after {rolls} rolls");
    }
    // One that waits gets the next number, so that there must be one.
    let image = alter(&stage.image(), &layout, Column::Tables, 0, |row: &mut Table| row.roll_number = most);
    match stage.machine.import(&image) {
        Err(LoadError::Row(error)) => {
            assert_eq!((error.column, error.row, error.field), (Column::Tables, 0, "roll_number"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

/// Whoever leaves without a bet has left: at a pledged table nothing would be there to be forfeited in the end.
#[test]
fn a_seat_that_waits_for_bets_which_it_has_not_is_refused() {
    for is_pledged in [false, true] {
        let mut stage = seated(is_pledged);
        let (image, layout) = (stage.image(), stage.machine.layout().clone());
        let leaving = |row: &mut Seat| row.status = SeatStatus::Leaving as u8;
        let mut image = alter(&image, &layout, Column::Seats, 0, leaving);
        image = alter(&image, &layout, Column::Tables, 0, |row: &mut Table| row.shooter = Table::NO_SHOOTER);
        match stage.machine.import(&image) {
            Err(LoadError::Row(error)) => {
                assert_eq!((error.column, error.row, error.field), (Column::Seats, 0, "status"), "{error}");
            }
            other => panic!("{is_pledged}: {other:?}"),
        }
    }
}

/// Times are bounded where they enter, so that no sum with them overflows: here, and in every header.
#[test]
fn a_genesis_that_begins_after_the_year_2106_is_refused() {
    use engine::limits::TIME_MS_MAX;
    let at = |start_ms: u64| Setup::new(Genesis { start_ms, ..world() }, [9; 32]).map(|_| ());
    assert_eq!(at(TIME_MS_MAX), Ok(()));
    for start_ms in [TIME_MS_MAX + 1, u64::MAX] {
        assert_eq!(at(start_ms).expect_err("too late").field, "start_ms");
    }
    // The last moment there is still leaves room for every window.
    let mut stage = Stage::new(Genesis { start_ms: TIME_MS_MAX - 1_000, ..world() });
    stage.time_ms = TIME_MS_MAX - 1_000;
    play(
        &mut stage,
        &session(&world(), PLAYERS, 3, 5)
            .into_iter()
            .zip(1..)
            .map(|(mut made, number)| {
                made.time_ms = TIME_MS_MAX - 1_000 + 300 * number;
                made
            })
            .collect::<Vec<_>>(),
    );
}
