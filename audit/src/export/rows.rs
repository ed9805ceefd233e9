//! The rows of a height, and of the end.

use engine::component::Seat;
use engine::io::{BetResult, Verdict};
use engine::message::intent::{Intent, IntentKind, Working};
use engine::{BetId, Chips, hex};
use systems::Machine;
use systems::catalogue::{BETS as CATALOGUE, bet_of, number_of};
use systems::ledger::held;

use super::Sinks;
use super::schema::{ACTIONS, BALANCES, BETS, DEPARTURES, PAYOUTS, ROLLS, Value};
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

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Applied => "applied",
        Verdict::OddsReturned => "odds_returned",
        Verdict::Refused(refusal) => refusal.name(),
    }
}

fn bet_name(bet: BetId) -> Value<'static> {
    CATALOGUE.get(bet.index()).map_or_else(|| Value::from(format!("unknown {bet}")), |spec| Value::from(spec.name))
}

/// Nothing for a number that says that there is none.
fn some(number: u32, none: u32) -> Option<u32> {
    (number != none).then_some(number)
}

/// The rows of the height that was just executed.
pub fn height(step: &Step, machine: &mut Machine, sinks: &mut Sinks) -> anyhow::Result<()> {
    let (height, time_ms) = (step.settled.height.0, step.decided.block.header.time_ms);
    let receipts = machine.report().receipts.clone();
    for receipt in &receipts {
        let intent = &step.decided.block.intents[receipt.index as usize];
        let account = machine.account_of(&intent.body.key).map(|account| account.0);
        request(height, time_ms, receipt.index, account, intent, receipt.verdict, sinks)?;
    }
    let report = machine.report();
    for roll in &report.rolls {
        let [first, second] = roll.dice.faces();
        let values = [
            height.into(),
            time_ms.into(),
            roll.table.0.into(),
            roll.roll_number.into(),
            first.into(),
            second.into(),
            roll.event.name().into(),
            some(roll.puck.to_byte().into(), 0).into(),
            some(roll.shooter.into(), u8::MAX.into()).into(),
        ];
        sinks.row(ROLLS, &values)?;
    }
    let mut rolls = report.rolls.iter().peekable();
    for one in &report.resolutions {
        while rolls.next_if(|roll| roll.table < one.table).is_some() {}
        let roll = rolls.peek().expect("a bet is resolved by a roll of its table").roll_number;
        let to = if let BetResult::Travel(to) = one.result { number_of(to) } else { None };
        let values = [
            height.into(),
            time_ms.into(),
            one.table.0.into(),
            roll.into(),
            one.seat.into(),
            one.account.0.into(),
            bet_name(bet_of(one.spot)),
            number_of(one.spot).into(),
            one.wager.into(),
            one.result.name().into(),
            one.credit.0.into(),
            to.into(),
        ];
        sinks.row(PAYOUTS, &values)?;
    }
    for leaving in &report.leavings {
        let values = [
            height.into(),
            time_ms.into(),
            leaving.table.0.into(),
            leaving.seat.into(),
            leaving.account.0.into(),
            if leaving.absent { "absent" } else { "left" }.into(),
            leaving.returned.0.into(),
            leaving.left_with.map(|chips| chips.0).into(),
        ];
        sinks.row(DEPARTURES, &values)?;
    }
    Ok(())
}

/// A request: of a bet, or any other.
fn request(
    height: u64,
    time_ms: u64,
    index: u32,
    account: Option<u32>,
    intent: &Intent,
    verdict: Verdict,
    sinks: &mut Sinks,
) -> anyhow::Result<()> {
    use IntentKind as K;
    let body = &intent.body;
    let kind = K::try_from(body.kind).expect("a block's intents have known kinds");
    let key = hex(&body.key);
    if matches!(kind, K::Bet | K::TakeDown | K::SetAmount | K::SetWorking) {
        let working = match Working::try_from(body.working).expect("a block's intents have known settings") {
            Working::Default => None,
            Working::On => Some("on"),
            Working::Off => Some("off"),
        };
        let values = [
            height.into(),
            time_ms.into(),
            index.into(),
            account.into(),
            key.into(),
            body.number.into(),
            kind_name(kind).into(),
            body.target.into(),
            bet_name(BetId(body.bet)),
            some(body.box_number.into(), 0).into(),
            body.amount.into(),
            working.into(),
            some(body.roll, 0).into(),
            verdict_name(verdict).into(),
        ];
        return sinks.row(BETS, &values);
    }
    let at_table = matches!(kind, K::Sit | K::Leave | K::Roll | K::PassDice);
    let values = [
        height.into(),
        time_ms.into(),
        index.into(),
        account.into(),
        key.into(),
        body.number.into(),
        kind_name(kind).into(),
        at_table.then_some(body.target).into(),
        (kind == K::Transfer).then_some(body.target).into(),
        body.amount.into(),
        some(body.roll, 0).into(),
        verdict_name(verdict).into(),
    ];
    sinks.row(ACTIONS, &values)
}

/// Who holds which chips after the last height: open accounts, tables, the treasury. Together they are the supply.
pub fn balances(machine: &mut Machine, sinks: &mut Sinks) -> anyhow::Result<()> {
    let setup = machine.setup().clone();
    machine.read(|rows| {
        let per_table = rows.seats_per_table();
        let mut at_tables = vec![(Chips::ZERO, Chips::ZERO); rows.accounts.len()];
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
        sinks.row(BALANCES, &balance("treasury", None, None, parts))
    })
}

fn is_taken(seat: &Seat) -> bool {
    seat.is_seated() || seat.is_leaving()
}

/// A row of balances: cage, rail, felt, and what is the house's.
fn balance(holder: &'static str, id: Option<u32>, key: Option<String>, parts: [Chips; 4]) -> [Value<'static>; 8] {
    let [cage, rail, felt, house] = parts.map(|chips| chips.0);
    let all: Chips = parts.into_iter().sum();
    [holder.into(), id.into(), key.into(), cage.into(), rail.into(), felt.into(), house.into(), all.0.into()]
}
