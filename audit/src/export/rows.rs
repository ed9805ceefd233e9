//! The rows of a height, and of the end.

use engine::component::Seat;
use engine::io::{BetResult, Lapse, Leaving, OpeningEnd, OpeningReport, Receipt, Resolution, RollReport, Verdict};
use engine::message::intent::{Intent, IntentKind, Working};
use engine::message::pledge::{PledgeRow, pledge_end};
use engine::rules::TableRules;
use engine::{AccountId, BetId, Chips, Height, TableId, hex};
use systems::Machine;
use systems::catalogue::{BETS as CATALOGUE, bet_of, number_of};
use systems::ledger::held;

use super::placed::{Placed, PlacedBets};
use super::schema::{
    ACTIONS, BALANCES, BETS, DEPARTURES, LAPSES, OPENINGS, PAYOUTS, PLEDGES, ROLLS, RULES, SESSION, SHEETS, TABLES,
    Value,
};
use super::sink::About;
use super::sinks::Sinks;
use crate::walker::Step;

/// The name of a request, as output and scenario files write it.
fn kind_name(kind: IntentKind) -> &'static str {
    match kind {
        IntentKind::Open => "open",
        IntentKind::OpenVoucher => "open_voucher",
        IntentKind::Sit => "sit",
        IntentKind::Leave => "leave",
        IntentKind::Bet => "bet",
        IntentKind::TakeDown => "take_down",
        IntentKind::SetAmount => "set_amount",
        IntentKind::SetWorking => "set_working",
        IntentKind::Roll => "roll",
        IntentKind::PassDice => "pass_dice",
        IntentKind::Transfer => "transfer",
    }
}

fn bet_name(bet: BetId) -> Value<'static> {
    CATALOGUE.get(bet.index()).map_or_else(|| Value::from(format!("unknown {bet}")), |spec| Value::from(spec.name))
}

/// Nothing for a number that says that there is none.
fn some(number: u32, none: u32) -> Option<u32> {
    (number != none).then_some(number)
}

/// Makes the rows of a session, height by height.
pub struct RowMaker {
    placed: PlacedBets,
}

impl RowMaker {
    /// Before the first exported height: the tables, and the rules that they play by.
    pub fn begin(machine: &mut Machine, sinks: &mut Sinks) -> anyhow::Result<Self> {
        let setup = machine.setup().clone();
        let rules_of: Vec<u8> = machine.read(|rows| rows.tables.iter().map(|table| table.rules).collect());
        for (table, rules) in (0u32..).zip(rules_of) {
            let hash = hex(&setup.catalogues[usize::from(rules)].hash());
            sinks.row(TABLES, &[table.into(), rules.into(), hash.into()])?;
        }
        for (id, rules) in (0u32..).zip(&setup.genesis.rules) {
            for (rule, setting) in settings(rules)? {
                sinks.row(RULES, &[id.into(), rule.into(), setting.into()])?;
            }
        }
        Ok(Self { placed: PlacedBets::before(machine) })
    }

    /// The rows of the height that was just executed.
    pub fn height(&mut self, step: &Step, machine: &mut Machine, sinks: &mut Sinks) -> anyhow::Result<()> {
        let at = Moment { height: step.settled.height, time_ms: step.decided.block.header.time_ms };
        // Requests come first: a bet may be placed and decided in one height, and its payout names the intent that
        // placed it.
        let receipts = machine.report().receipts.clone();
        for receipt in &receipts {
            let intent = &step.decided.block.intents[receipt.index as usize];
            let account = machine.account_of(&intent.body.key);
            let request = Request { at, index: receipt.index, account, intent, verdict: receipt.verdict };
            self.request(&request, sinks)?;
        }
        let report = machine.report();
        let (rolls, resolutions, leavings) =
            (report.rolls.clone(), report.resolutions.clone(), report.leavings.clone());
        let (openings, answers) = (report.openings.clone(), report.pledge_receipts.clone());
        for (pledge, receipt) in step.decided.block.pledges.iter().zip(&answers) {
            self::pledge(at, pledge, receipt, machine, sinks)?;
        }
        for opening in &openings {
            self::opening(at, opening, machine, sinks)?;
        }
        for roll in &rolls {
            self::roll(at, roll, sinks)?;
        }
        self.payouts(at, &rolls, &resolutions, machine, sinks)?;
        for leaving in &leavings {
            self.placed.seen_off(leaving.table, leaving.account);
            let forfeits = |opening: &OpeningReport| {
                opening.table == leaving.table && matches!(opening.end, OpeningEnd::Forfeited { .. })
            };
            departure(at, leaving, openings.iter().any(forfeits), machine, sinks)?;
        }
        for lapse in &machine.report().lapses {
            self::lapse(at, lapse, sinks)?;
        }
        self.placed.end_height(machine);
        Ok(())
    }

    /// What rolls did to bets: the bets of each table follow its roll.
    fn payouts(
        &mut self,
        at: Moment,
        rolls: &[RollReport],
        resolutions: &[Resolution],
        machine: &mut Machine,
        sinks: &mut Sinks,
    ) -> anyhow::Result<()> {
        let mut rolls = rolls.iter().peekable();
        let setup = machine.setup().clone();
        for one in resolutions {
            // Both are in the order of tables, and a table may roll without any bet.
            while rolls.next_if(|roll| roll.table < one.table).is_some() {}
            let roll = rolls.peek().expect("a bet is resolved by a roll of its table").roll_number;
            let (rules, key) =
                machine.read(|rows| (rows.tables[one.table.index()].rules, rows.keys[one.account.index()].key));
            let commission = setup.catalogues[usize::from(rules)].commission(one.spot);
            let held = held(one.wager, commission);
            let (to, net) = match one.result {
                // A bet that moves brings nothing in and takes nothing away: its chips lie on.
                BetResult::Travel(to) => (number_of(to), 0),
                _ => (None, signed(one.credit) - signed(held)),
            };
            let values = [
                Value::bounded(at.height.0),
                Value::time(at.time_ms),
                one.table.0.into(),
                roll.into(),
                one.seat.into(),
                one.account.0.into(),
                hex(&key).into(),
                self.placed.resolution(one).map(|placed| placed.to_string()).into(),
                bet_name(bet_of(one.spot)),
                number_of(one.spot).into(),
                one.wager.into(),
                (held - Chips(one.wager.into())).into(),
                one.result.name().into(),
                one.credit.into(),
                net.into(),
                to.into(),
            ];
            sinks.row(PAYOUTS, &values)?;
        }
        Ok(())
    }

    /// A request: of a bet, or any other.
    fn request(&mut self, request: &Request<'_>, sinks: &mut Sinks) -> anyhow::Result<()> {
        use IntentKind as K;
        let body = &request.intent.body;
        let kind = K::try_from(body.kind).expect("a block's intents have known kinds");
        let applied = matches!(request.verdict, Verdict::Applied | Verdict::OddsReturned);
        // What was refused has a column of its own: a sum over amounts must not count it.
        let refused = (!applied).then(|| Value::chosen(body.amount));
        if matches!(kind, K::Bet | K::TakeDown | K::SetAmount | K::SetWorking) {
            let intent = Placed { height: request.at.height, index: request.index };
            // A refused request changed no bet, and is joined to none.
            let account = request.account.filter(|_| applied);
            let placed = account.and_then(|account| self.placed.request(intent, account, body, kind, request.verdict));
            return self.bet(request, kind, placed, refused, sinks);
        }
        if let (K::Leave, true, Some(account)) = (kind, applied, request.account) {
            self.placed.leave(TableId(body.target), account);
        }
        let at_table = matches!(kind, K::Sit | K::Leave | K::Roll | K::PassDice);
        let has_amount = matches!(kind, K::Sit | K::Transfer);
        let [height, time, index, account, key, number] = request.head();
        let values = [
            height,
            time,
            index,
            account,
            key,
            number,
            kind_name(kind).into(),
            at_table.then_some(body.target).into(),
            (kind == K::Transfer).then_some(body.target).into(),
            if has_amount && applied { Value::bounded(body.amount) } else { Value::Nothing },
            refused.filter(|_| has_amount).unwrap_or(Value::Nothing),
            // A transfer has its recipient's generation there.
            some(body.roll, 0).filter(|_| kind != K::Transfer).into(),
            request.verdict.name().into(),
        ];
        sinks.row(ACTIONS, &values)
    }

    /// A request at a bet.
    fn bet(
        &self,
        request: &Request<'_>,
        kind: IntentKind,
        placed: Option<Placed>,
        refused: Option<Value<'_>>,
        sinks: &mut Sinks,
    ) -> anyhow::Result<()> {
        let body = &request.intent.body;
        let has_amount = matches!(kind, IntentKind::Bet | IntentKind::SetAmount);
        let amount_of = |of: IntentKind| {
            let applied = kind == of && refused.is_none();
            if applied { Value::bounded(body.amount) } else { Value::Nothing }
        };
        let working = match Working::try_from(body.working).expect("a block's intents have known settings") {
            Working::Default => None,
            Working::On => Some("on"),
            Working::Off => Some("off"),
        };
        let [height, time, index, account, key, number] = request.head();
        let values = [
            height,
            time,
            index,
            account,
            key,
            number,
            kind_name(kind).into(),
            body.target.into(),
            bet_name(BetId(body.bet)),
            some(body.box_number.into(), 0).into(),
            placed.map(|placed| placed.to_string()).into(),
            amount_of(IntentKind::Bet),
            amount_of(IntentKind::SetAmount),
            refused.filter(|_| has_amount).unwrap_or(Value::Nothing),
            working.into(),
            some(body.roll, 0).into(),
            request.verdict.name().into(),
        ];
        sinks.row(BETS, &values)
    }
}

/// A height and its time.
#[derive(Clone, Copy)]
struct Moment {
    height: Height,
    time_ms: u64,
}

/// A request with its answer.
struct Request<'a> {
    at: Moment,
    index: u32,
    account: Option<AccountId>,
    intent: &'a Intent,
    verdict: Verdict,
}

impl Request<'_> {
    /// The columns that all requests have: height, time, place in the block, account, its key, the intent's number.
    fn head(&self) -> [Value<'static>; 6] {
        let body = &self.intent.body;
        [
            Value::bounded(self.at.height.0),
            Value::time(self.at.time_ms),
            self.index.into(),
            self.account.map(|account| account.0).into(),
            hex(&body.key).into(),
            Value::chosen(body.number),
        ]
    }
}

fn signed(chips: Chips) -> i64 {
    i64::try_from(chips.0).expect("all chips together are fewer than 2^63")
}

fn roll(at: Moment, roll: &RollReport, sinks: &mut Sinks) -> anyhow::Result<()> {
    let [first, second] = roll.dice.faces();
    let values = [
        Value::bounded(at.height.0),
        Value::time(at.time_ms),
        roll.table.0.into(),
        roll.roll_number.into(),
        first.into(),
        second.into(),
        roll.event.name().into(),
        some(roll.puck.to_byte().into(), 0).into(),
        some(roll.shooter.into(), u8::MAX.into()).into(),
    ];
    sinks.row(ROLLS, &values)
}

fn pledge(
    at: Moment,
    row: &PledgeRow,
    receipt: &Receipt,
    machine: &mut Machine,
    sinks: &mut Sinks,
) -> anyhow::Result<()> {
    let values = [
        Value::bounded(at.height.0),
        Value::time(at.time_ms),
        receipt.index.into(),
        machine.account_of(&row.key).map(|account| account.0).into(),
        hex(&row.key).into(),
        if row.is_opening() { "opening" } else { "pledge" }.into(),
        row.table.into(),
        row.roll.into(),
        if row.is_opening() { Value::Nothing } else { Value::chosen(row.number) },
        hex(&row.value).into(),
        hex(&row.block).into(),
        receipt.verdict.name().into(),
    ];
    sinks.row(PLEDGES, &values)
}

/// What became of a roll that waited, or of bets that waited without one.
fn opening(at: Moment, opening: &OpeningReport, machine: &mut Machine, sinks: &mut Sinks) -> anyhow::Result<()> {
    let chain = machine.setup().chain;
    let key = machine.read(|rows| rows.keys[opening.account.index()].key);
    let (outcome, end, value, chips) = match opening.end {
        OpeningEnd::Opened(value) => {
            let end = pledge_end(&chain, opening.table, &key, opening.roll, &value);
            ("opened", end, Some(hex(&value)), Chips::ZERO)
        }
        OpeningEnd::Forfeited { chips, end } => ("forfeited", end, None, chips),
    };
    let waited = |text: String| (opening.roll != 0).then_some(text);
    let values = [
        Value::bounded(at.height.0),
        Value::time(at.time_ms),
        opening.table.0.into(),
        some(opening.roll, 0).into(),
        opening.account.0.into(),
        hex(&key).into(),
        outcome.into(),
        waited(hex(&opening.closed.0)).into(),
        waited(hex(&opening.closed.1)).into(),
        waited(hex(&end)).into(),
        value.into(),
        chips.into(),
    ];
    sinks.row(OPENINGS, &values)
}

fn departure(
    at: Moment,
    leaving: &Leaving,
    forfeits: bool,
    machine: &mut Machine,
    sinks: &mut Sinks,
) -> anyhow::Result<()> {
    let key = machine.read(|rows| rows.keys[leaving.account.index()].key);
    let values = [
        Value::bounded(at.height.0),
        Value::time(at.time_ms),
        leaving.table.0.into(),
        leaving.seat.into(),
        leaving.account.0.into(),
        hex(&key).into(),
        match leaving.absent {
            // Whoever forfeits may be there or not: that the bets are lost is what counts.
            _ if forfeits => "forfeited",
            true => "absent",
            false => "left",
        }
        .into(),
        leaving.returned.into(),
        leaving.left_with.into(),
    ];
    sinks.row(DEPARTURES, &values)
}

/// The key is that of the report: a slot that is free has none any more.
fn lapse(at: Moment, lapse: &Lapse, sinks: &mut Sinks) -> anyhow::Result<()> {
    let values = [
        Value::bounded(at.height.0),
        Value::time(at.time_ms),
        lapse.account.0.into(),
        hex(&lapse.key).into(),
        lapse.returned.into(),
        u8::from(lapse.freed).into(),
    ];
    sinks.row(LAPSES, &values)
}

/// The rules of a set, as words: a list has spaces between its numbers.
fn settings(rules: &TableRules) -> anyhow::Result<Vec<(String, String)>> {
    let serde_json::Value::Object(all) = serde_json::to_value(rules)? else {
        unreachable!("rules have fields");
    };
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(word) => word.clone(),
        serde_json::Value::Array(numbers) => numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    };
    Ok(all.iter().map(|(rule, setting)| (rule.clone(), text(setting))).collect())
}

/// What the session is and where the export ends: a row, and the same by name with the rules of all sets.
pub fn session(machine: &Machine, first: Height, sinks: &mut Sinks) -> anyhow::Result<About> {
    let (setup, chain) = (machine.setup(), machine.chain());
    let genesis = &setup.genesis;
    let values = [
        hex(&setup.chain).into(),
        genesis.name.as_str().into(),
        genesis.keys.name().into(),
        Value::bounded(first.0),
        Value::bounded(chain.settled.0),
        hex(&chain.root).into(),
        hex(&chain.root_chains[0]).into(),
        Value::bounded(genesis.supply),
        Value::bounded(genesis.grant),
    ];
    sinks.row(SESSION, &values)?;
    let text = |value: &Value<'_>| match value {
        Value::Integer(number) | Value::Time(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
        Value::Nothing => String::new(),
    };
    let names = SHEETS[SESSION].columns.iter().map(|column| column.name);
    let mut about: About = names.zip(values.iter().map(text)).collect();
    about.push(("rules", serde_json::to_string(&genesis.rules)?));
    Ok(about)
}

/// Who holds which chips after the last height: open accounts, tables, the treasury, and nobody what was forfeited. Together they are the supply.
pub fn balances(machine: &mut Machine, sinks: &mut Sinks) -> anyhow::Result<()> {
    let setup = machine.setup().clone();
    machine.read(|rows| {
        let per_table = rows.seats_per_table();
        let mut at_tables = vec![(Chips::ZERO, Chips::ZERO); rows.accounts.len()];
        // A player who is leaving still has chips at the table, which belong to the supply.
        for (index, seat) in rows.seats.iter().enumerate().filter(|(_, seat)| is_taken(seat)) {
            let catalogue = &setup.catalogues[usize::from(rows.tables[index / per_table].rules)];
            let bets = rows.seat_bets(index).iter();
            let (rail, felt) = &mut at_tables[seat.account.index()];
            *rail += seat.rail;
            *felt += bets.map(|bet| held(bet.amount, catalogue.commission(bet.spot))).sum();
        }
        let accounts = rows.accounts.iter().zip(rows.keys.iter()).zip(&at_tables).zip(0u32..);
        for (((account, key), (rail, felt)), id) in accounts.filter(|(((account, _), _), _)| account.is_open()) {
            let parts = [account.cage, *rail, *felt, Chips::ZERO];
            sinks.row(BALANCES, &balance("account", Some(id), Some(hex(&key.key)), parts))?;
        }
        for (table, id) in rows.tables.iter().zip(0u32..) {
            let parts = [Chips::ZERO, Chips::ZERO, Chips::ZERO, table.bank];
            sinks.row(BALANCES, &balance("table", Some(id), None, parts))?;
        }
        let parts = [Chips::ZERO, Chips::ZERO, Chips::ZERO, rows.house.treasury];
        sinks.row(BALANCES, &balance("treasury", None, None, parts))?;
        // Where nothing was forfeited nobody has anything, and needs no row.
        if rows.house.forfeited == Chips::ZERO {
            return Ok(());
        }
        let parts = [Chips::ZERO, Chips::ZERO, Chips::ZERO, rows.house.forfeited];
        sinks.row(BALANCES, &balance("nobody", None, None, parts))
    })
}

fn is_taken(seat: &Seat) -> bool {
    seat.is_seated() || seat.is_leaving()
}

/// A row of balances: cage, rail, felt, and what is the house's.
fn balance(holder: &'static str, id: Option<u32>, key: Option<String>, parts: [Chips; 4]) -> [Value<'static>; 8] {
    let [cage, rail, felt, house] = parts;
    let all: Chips = parts.into_iter().sum();
    [holder.into(), id.into(), key.into(), cage.into(), rail.into(), felt.into(), house.into(), all.into()]
}
