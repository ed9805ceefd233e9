//! Games for tests: a house of four tables, and a player with a name at none, one or many of its bets.

use engine::component::{Account, BetFlags, BetRow, Seat, SeatStatus, SpotMask, Table};
use engine::genesis::{GENESIS_VERSION, Genesis, GenesisValidator, HexBytes, KeySource, Opening};
use engine::io::{BetResult, Resolution, RollReport};
use engine::message::intent::IntentId;
use engine::rules::{Commission, DiceSource};
use engine::{AccountId, Chips, Dice, Height, Puck, Spot, TableId, TableRules};
use systems::Setup;
use systems::catalogue::{bet_named, standing_spot};

use super::model::{Game, Link, SeatView};

/// The player's account.
pub const OWN: AccountId = AccountId(17);
/// When the fixture's chain begins.
pub const START_MS: u64 = 1_767_225_600_000;

pub fn spot(name: &str, number: u8) -> Spot {
    standing_spot(bet_named(name).expect("a bet"), number).expect("a spot")
}

/// The intent of the player's with a number.
pub fn id(number: u64) -> IntentId {
    IntentId { key: [7; 32], number, mark: [number as u8; 16] }
}

/// A node that was never reached.
pub fn game() -> Game {
    game_of(1)
}

/// The same of a chain with so many validators.
fn game_of(validators: u8) -> Game {
    let upfront = TableRules { commission: Commission::Upfront, min_bet: 5, ..TableRules::default() };
    game_with(validators, vec![TableRules::default(), upfront])
}

fn game_with(validators: u8, rules: Vec<TableRules>) -> Game {
    let genesis = Genesis {
        version: GENESIS_VERSION,
        name: "fixture".into(),
        keys: KeySource::Seed,
        start_ms: START_MS,
        supply: 1 << 40,
        tables: 4,
        seats: 16,
        accounts: 64,
        grant: 10_000,
        opening: Opening::Free { per_height: 8 },
        rules,
        bank_target: 200_000,
        window_min_ms: 2_000,
        window_max_ms: 10_000,
        clock_phases: 1,
        idle_ms: 60_000,
        account_idle_ms: 3_600_000,
        idleness: Default::default(),
        block_interval_ms: 50,
        validators: (0..validators)
            .map(|slot| GenesisValidator {
                name: format!("validator {slot}"),
                vote_key: HexBytes([slot; 32]),
                dkg_key: HexBytes([slot + 8; 32]),
            })
            .collect(),
        group_key: HexBytes([0; 96]),
    };
    let setup = Setup::new(genesis, [0xAB; 32]).expect("a genesis");
    Game::new(setup, "dev-alpha".into(), "127.0.0.1:4433".into(), [7; 32])
}

fn account(cage: u64) -> Account {
    use bytemuck::Zeroable;
    Account { cage: Chips(cage), granted: Chips(10_000), status: 1, seats: 1, ..Account::zeroed() }
}

/// A seat with bets `(name, box number, amount, working)`.
pub fn seat(account: AccountId, rail: u64, bets: &[(&str, u8, u32, u8)]) -> SeatView {
    let mut rows: Vec<BetRow> = bets
        .iter()
        .map(|(name, number, amount, working)| BetRow {
            amount: *amount,
            progress: 0,
            spot: spot(name, *number),
            flags: BetFlags(*working),
        })
        .collect();
    rows.sort_by_key(|row| row.spot);
    let spots: SpotMask = rows.iter().map(|row| row.spot).collect();
    let seat = Seat { rail: Chips(rail), account, spots, status: SeatStatus::Seated as u8, ..Seat::EMPTY };
    SeatView { seat, bets: rows }
}

pub fn empty_seat() -> SeatView {
    SeatView { seat: Seat::EMPTY, bets: Vec::new() }
}

fn row(point: u8, shooter: u8) -> Table {
    use bytemuck::Zeroable;
    Table {
        bank: Chips(200_000),
        next_roll_ms: START_MS + 20_000,
        opened_ms: START_MS + 10_000,
        roll_number: 421,
        hand_number: 60,
        dice: [5, 3],
        point,
        shooter,
        ..Table::zeroed()
    }
}

/// Connected, with an account, at a table of others.
pub fn standing() -> Game {
    standing_of(1)
}

/// The same of a chain with so many validators.
pub fn standing_of(validators: u8) -> Game {
    let mut game = game_of(validators);
    game.set_link(Link::Up { rtt_ms: 12 });
    game.settled(Height(12_345));
    game.set_account(Some((OWN, account(10_000))));
    game.time(START_MS + 15_800);
    let others = seat(AccountId(4), 12_345, &[("pass", 0, 30, 0), ("place_6", 0, 1_200, 0), ("field", 0, 5, 0)]);
    game.set_table(TableId(0), row(0, 1), vec![empty_seat(), others, empty_seat()]);
    game
}

/// Seated at a pledged table, with bets that hold 32 and a roll that waits for its opening.
pub fn waiting() -> Game {
    let dice = TableRules { dice: DiceSource::Both, open_ms: 15_000, ..TableRules::default() };
    let mut game = game_with(1, vec![TableRules { commission: Commission::Upfront, ..dice }]);
    game.set_account(Some((OWN, account(9_000))));
    game.time(START_MS + 15_800);
    let row = Table { roll_called: 1, occupied: 1, ..row(6, 0) };
    game.set_table(TableId(0), row, vec![seat(OWN, 968, &[("pass", 0, 11, 0), ("buy_4", 0, 20, 0)])]);
    game
}

/// A roll of table 0.
pub fn roll(number: u32, faces: [u8; 2], before: Puck) -> RollReport {
    let dice = Dice::new(faces[0], faces[1]).expect("faces");
    let (event, puck) = before.roll(dice);
    RollReport { table: TableId(0), roll_number: number, dice, event, puck, shooter: 2 }
}

pub fn resolution(name: &str, number: u8, wager: u32, credit: u64, result: BetResult) -> Resolution {
    Resolution {
        table: TableId(0),
        seat: 2,
        account: OWN,
        spot: spot(name, number),
        wager,
        credit: Chips(credit),
        result,
    }
}

/// Seated with several bets, the point on 6, some rolls behind.
pub fn playing() -> Game {
    let mut game = standing();
    let own = [
        ("pass", 0, 10, 0),
        ("odds_pass", 0, 50, 0),
        ("come", 9, 10, 0),
        ("odds_come", 9, 20, 0),
        ("place_6", 0, 12, 0),
        ("place_8", 0, 12, 2),
        ("field", 0, 5, 0),
        ("hard_8", 0, 1, 0),
        ("fire", 0, 5, 4),
    ];
    let mut seats: Vec<SeatView> = vec![
        seat(AccountId(4), 12_345, &[("pass", 0, 30, 0), ("place_6", 0, 1_200, 0), ("field", 0, 5, 0)]),
        seat(AccountId(9), 480, &[("dont_pass", 0, 100, 0), ("lay_4", 0, 40, 0)]),
        seat(OWN, 1_250, &own),
        seat(AccountId(33), 77, &[("hop_34", 0, 1, 0), ("any_seven", 0, 5, 0)]),
        empty_seat(),
        seat(AccountId(60), 1_000_000, &[]),
    ];
    seats[3].seat.status = SeatStatus::Leaving as u8;
    game.set_table(TableId(0), row(6, 2), seats);
    let rolls = [[3, 4], [5, 5], [6, 4], [2, 2], [3, 3], [4, 3], [1, 1], [4, 2], [5, 3]];
    let mut puck = Puck::Off;
    for (index, faces) in rolls.into_iter().enumerate() {
        let report = roll(413 + index as u32, faces, puck);
        puck = report.puck;
        let news = match index {
            1 => vec![resolution("field", 0, 5, 10, BetResult::Win)],
            5 => {
                vec![resolution("pass", 0, 10, 0, BetResult::Lose), resolution("odds_pass", 0, 20, 0, BetResult::Lose)]
            }
            8 => vec![resolution("come", 0, 10, 0, BetResult::Travel(spot("come", 9)))],
            _ => Vec::new(),
        };
        game.rolled(report, news);
    }
    game
}

/// The same, once the player has left, with bets that had to stay.
pub fn leaving() -> Game {
    let mut game = playing();
    let mut view = game.table.clone().expect("a table");
    view.seats[2].seat.status = SeatStatus::Leaving as u8;
    (view.row.occupied, view.row.shooter) = (u16::MAX, 0);
    game.set_table(TableId(0), view.row, view.seats);
    game
}
