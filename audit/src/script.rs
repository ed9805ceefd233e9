//! Craps scenarios through the real engine: the same intents, systems and ledger as a node's, with given dice.
//!
//! A scenario is one table from empty felt. Its players open accounts and sit down with their chips; each action is an
//! intent in a block, each roll a height. docs/scenarios.md has the file format.

mod format;

use std::convert::Infallible;

use bytemuck::Pod;
use engine::columns::Column;
use engine::component::{Account, House, Seat};
use engine::genesis::{Genesis, GenesisValidator, HexBytes, Idleness, KeySource, Opening};
use engine::io::{BetResult, Resolution, Verdict};
use engine::limits::{GROUP_BYTES, IDLE_MS_MAX, SEATS_MAX, SUPPLY_MAX};
use engine::message::intent::{Intent, IntentBody, IntentKind, Working};
use engine::{BetId, Chips, Dice, Height, TableId};
use serde_json::{Map, Value, json};
use systems::catalogue::{BETS, bet_named, bet_of, number_of};
use systems::ledger::held;
use systems::{Draw, Machine, Setup};

use format::CHIPS_MAX;
pub use format::{Action, FormatError, Op, Scenario, read_scenarios};

/// Chips that no scenario exhausts.
const PLENTY: u64 = 1 << 60;
/// The table's window: every roll comes this long after the one before.
const WINDOW_MS: u64 = 1_000;

// What is not the bank's is enough for the players and the stranger, each of whom is granted as much as the richest needs.
const _: () = assert!((SEATS_MAX as u64 + 1) * CHIPS_MAX <= SUPPLY_MAX - PLENTY);
const _: () = assert!(u32::MAX as u64 <= CHIPS_MAX);

/// One scenario's table, while it is played.
struct Stage<'a> {
    scenario: &'a Scenario,
    machine: Machine,
    time_ms: u64,
    height: Height,
    numbers: Vec<u64>,
    action_results: Vec<Value>,
}

/// Plays a scenario and returns its result, in the shape of `expected`.
///
/// # Errors
/// A sentence, if no table can have the scenario's rules or players.
pub fn play(scenario: &Scenario) -> Result<Value, String> {
    let mut stage = Stage::open(scenario)?;
    let rolls: Vec<Value> = (0..scenario.rolls.len()).map(|index| stage.roll(index)).collect();
    // Actions behind the last roll have a block of their own.
    stage.act(scenario.rolls.len(), None);
    let mut on_table = Map::new();
    stage.machine.read(|rows| {
        let catalogue = &stage.scenario.rules;
        let catalogue = systems::Catalogue::new(catalogue).expect("the stage was built with these rules");
        for (seat, (name, _)) in scenario.players.iter().enumerate() {
            let chips: Chips =
                rows.seat_bets(seat).iter().map(|bet| held(bet.amount, catalogue.commission(bet.spot))).sum();
            on_table.insert(name.clone(), chips.0.into());
        }
    });
    Ok(json!({
        "action_results": stage.action_results,
        "rolls": rolls,
        "final_balances": stage.balances(),
        "final_on_table": on_table,
    }))
}

fn genesis(scenario: &Scenario) -> Genesis {
    let players = scenario.players.len() as u32;
    Genesis {
        version: engine::genesis::GENESIS_VERSION,
        name: "script".into(),
        keys: KeySource::Seed,
        start_ms: WINDOW_MS,
        supply: SUPPLY_MAX,
        tables: 1,
        seats: players,
        // One account more than players: the stranger, for actions of a name that is not at the table.
        accounts: players + 1,
        grant: scenario.players.iter().map(|(_, chips)| buy_in(scenario, *chips)).max().unwrap_or(0),
        opening: Opening::Free { per_height: u32::MAX },
        rules: vec![scenario.rules.clone()],
        bank_target: PLENTY,
        window_min_ms: 0,
        window_max_ms: WINDOW_MS,
        clock_phases: 1,
        idle_ms: IDLE_MS_MAX,
        account_idle_ms: IDLE_MS_MAX,
        // The stranger never bets and keeps account and grant all the same: who is not at the table is refused by R3 alone,
        // however many rolls come before.
        idleness: Idleness { grant_ms: IDLE_MS_MAX, seat_ms: IDLE_MS_MAX, ..Idleness::default() },
        block_interval_ms: 10,
        validators: vec![GenesisValidator {
            name: "script".into(),
            vote_key: HexBytes([0; 32]),
            dkg_key: HexBytes([8; 32]),
        }],
        group_key: HexBytes([0; 96]),
    }
}

/// What a player who has so many chips sits down with: less than the smallest bet buys no seat.
fn buy_in(scenario: &Scenario, chips: u64) -> u64 {
    chips.max(scenario.rules.min_bet.into())
}

/// A script's keys sign nothing: its intents come from the file, not from a network.
fn key(player: usize) -> [u8; 32] {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(player as u64 + 1).to_le_bytes());
    key
}

impl<'a> Stage<'a> {
    fn open(scenario: &'a Scenario) -> Result<Self, String> {
        let setup = Setup::new(genesis(scenario), [0; 32]).map_err(|error| error.to_string())?;
        let mut machine = Machine::new(setup, 1);
        machine.watch(true);
        let players = scenario.players.len();
        let numbers = vec![0; players + 1];
        let mut stage = Self {
            scenario,
            machine,
            time_ms: WINDOW_MS,
            height: Height::GENESIS,
            numbers,
            action_results: Vec::new(),
        };
        let opens: Vec<Intent> =
            (0..=players).map(|player| stage.intent(player, IntentKind::Open, |body| body)).collect();
        stage.settle(opens, None);
        let sits = (0..players).map(|player| {
            let chips = buy_in(scenario, scenario.players[player].1);
            stage.intent(player, IntentKind::Sit, |body| body.at(TableId(0)).amount(chips))
        });
        let sits = sits.collect();
        stage.settle(sits, None);
        let receipts = &stage.machine.report().receipts;
        assert_eq!(receipts.len(), players, "everybody sits down");
        assert!(
            receipts.iter().all(|receipt| receipt.verdict == Verdict::Applied),
            "everybody brings the table's buy-in"
        );
        stage.take_off_rails();
        Ok(stage)
    }

    /// Whoever has less than the smallest buy-in, which is the engine's and no rule of the game, keeps what the scenario says. The
    /// rest goes back to the cage, where no action of a scenario reaches it.
    fn take_off_rails(&mut self) {
        let scenario = self.scenario;
        let above = |chips: u64| buy_in(scenario, chips) - chips;
        if scenario.players.iter().all(|(_, chips)| above(*chips) == 0) {
            return;
        }
        let mut image = Vec::new();
        let Ok(()) = self.machine.export(|part| {
            image.extend_from_slice(part);
            Ok::<(), Infallible>(())
        });
        let accounts: Vec<usize> =
            self.machine.read(|rows| rows.seats.iter().map(|seat| seat.account.index()).collect());
        for (seat, (_, chips)) in scenario.players.iter().enumerate() {
            let moved = Chips(above(*chips));
            self.alter(&mut image, Column::Seats, seat, |row: &mut Seat| row.rail -= moved);
            self.alter(&mut image, Column::Accounts, accounts[seat], |row: &mut Account| row.cage += moved);
            self.alter(&mut image, Column::House, 0, |house: &mut House| {
                house.rails -= moved;
                house.cages += moved;
            });
        }
        self.machine.import(&image).expect("chips moved between a rail and a cage are in one place each");
    }

    /// Changes a row of the machine's image.
    fn alter<T: Pod>(&self, image: &mut [u8], column: Column, row: usize, change: impl FnOnce(&mut T)) {
        assert_eq!(size_of::<T>(), column.row_bytes(), "a column's rows have its size");
        let at = self.machine.layout().column_groups(column).start * GROUP_BYTES + row * size_of::<T>();
        let bytes = &mut image[at..at + size_of::<T>()];
        let mut value: T = bytemuck::pod_read_unaligned(bytes);
        change(&mut value);
        bytes.copy_from_slice(bytemuck::bytes_of(&value));
    }

    fn intent(&mut self, player: usize, kind: IntentKind, fill: impl FnOnce(IntentBody) -> IntentBody) -> Intent {
        self.numbers[player] += 1;
        let expiry_s = u32::try_from(self.time_ms / 1_000 + 30).expect("a script's clock starts at zero");
        let body = fill(IntentBody::new(kind, key(player), self.numbers[player], expiry_s));
        Intent { body, signature: [0; 64] }
    }

    /// Settles one height: with dice if the table is to roll, else shortly after the last one.
    fn settle(&mut self, intents: Vec<Intent>, dice: Option<Dice>) {
        self.height = self.height.next();
        self.time_ms = match dice {
            Some(_) => self.machine.next_due_ms().expect("players sit at the table"),
            None => self.time_ms + 1,
        };
        // In a height at which no table is due the dice are not looked at.
        let dice = dice.unwrap_or(Dice::from_roll_index(0));
        self.machine.settle(self.height, self.time_ms, intents, Draw::Given(dice));
    }

    /// The actions before roll `index`, in one block, with that roll if there is one.
    fn act(&mut self, index: usize, dice: Option<Dice>) {
        let scenario = self.scenario;
        let actions = scenario.actions.iter().filter(|action| action.at_roll == index);
        let intents: Vec<Intent> = actions.map(|action| self.action(action)).collect();
        self.settle(intents, dice);
        for receipt in &self.machine.report().receipts {
            self.action_results.push(match receipt.verdict {
                Verdict::Applied => "ok".into(),
                Verdict::OddsReturned => "ok+odds_returned".into(),
                Verdict::Refused(refusal) => refusal.name().into(),
            });
        }
    }

    fn action(&mut self, action: &Action) -> Intent {
        let players = &self.scenario.players;
        let player = players.iter().position(|(name, _)| *name == action.player).unwrap_or(players.len());
        // 255 is no bet: the engine itself answers UNKNOWN_BET.
        let bet = bet_named(&action.bet).unwrap_or(BetId(u8::MAX));
        let number = action.number.unwrap_or(0);
        let (kind, amount, working) = match action.op {
            Op::Bet { amount, working: None } => (IntentKind::Bet, amount, Working::Default),
            Op::Bet { amount, working: Some(on) } => (IntentKind::Bet, amount, setting(Some(on))),
            Op::TakeDown => (IntentKind::TakeDown, 0, Working::Default),
            Op::SetAmount { amount } => (IntentKind::SetAmount, amount, Working::Default),
            Op::Working { value } => (IntentKind::SetWorking, 0, setting(value)),
        };
        self.intent(player, kind, |body| body.at(TableId(0)).on(bet, number).amount(amount).working(working))
    }

    fn roll(&mut self, index: usize) -> Value {
        let dice = self.scenario.rolls[index];
        self.act(index, Some(dice));
        let report = self.machine.report();
        let roll = *report.rolls.first().expect("the table was due");
        let mut resolutions = report.resolutions.clone();
        let name = |resolution: &Resolution| BETS[bet_of(resolution.spot).index()].name;
        // Results are listed by name: in which order the engine decides bets is no part of a scenario.
        resolutions.sort_by_key(|resolution| (resolution.seat, name(resolution), number_of(resolution.spot)));
        let bets: Vec<Value> = resolutions.iter().map(|resolution| self.resolution(resolution)).collect();
        json!({
            "dice": roll.dice.faces(),
            "event": roll.event.name(),
            "point_after": match roll.puck { engine::Puck::Off => Value::Null, engine::Puck::On(point) => point.into() },
            "shooter_after": self.scenario.players[usize::from(roll.shooter)].0,
            "bets": bets,
            "balances": self.balances(),
        })
    }

    fn resolution(&self, resolution: &Resolution) -> Value {
        let mut entry = json!({
            "player": self.scenario.players[usize::from(resolution.seat)].0,
            "bet": BETS[bet_of(resolution.spot).index()].name,
            "result": resolution.result.name(),
            "wager": resolution.wager,
        });
        if let Some(number) = number_of(resolution.spot) {
            entry["number"] = number.into();
        }
        match resolution.result {
            BetResult::Travel(to) => entry["to"] = number_of(to).into(),
            _ => entry["credit"] = resolution.credit.0.into(),
        }
        entry
    }

    fn balances(&mut self) -> Value {
        let scenario = self.scenario;
        self.machine.read(|rows| {
            let players = scenario.players.iter().enumerate();
            Value::Object(players.map(|(seat, (name, _))| (name.clone(), rows.seats[seat].rail.0.into())).collect())
        })
    }
}

fn setting(value: Option<bool>) -> Working {
    match value {
        Some(true) => Working::On,
        Some(false) => Working::Off,
        None => Working::Default,
    }
}

/// The first place where two results differ: a path, what was expected there, what was found.
pub fn first_difference(expected: &Value, found: &Value) -> Option<(String, Value, Value)> {
    match (expected, found) {
        (Value::Object(left), Value::Object(right)) => {
            let keys = left.keys().chain(right.keys().filter(|key| !left.contains_key(*key)));
            keys.into_iter().find_map(|key| below(key, left.get(key), right.get(key)))
        }
        (Value::Array(left), Value::Array(right)) => (0..left.len().max(right.len()))
            .find_map(|index| below(&index.to_string(), left.get(index), right.get(index))),
        _ => (expected != found).then(|| (String::new(), expected.clone(), found.clone())),
    }
}

fn below(key: &str, expected: Option<&Value>, found: Option<&Value>) -> Option<(String, Value, Value)> {
    let absent = Value::String("(absent)".into());
    let (expected, found) = (expected.unwrap_or(&absent), found.unwrap_or(&absent));
    first_difference(expected, found).map(|(path, left, right)| {
        let path = if path.is_empty() { key.to_owned() } else { format!("{key}.{path}") };
        (path, left, right)
    })
}
