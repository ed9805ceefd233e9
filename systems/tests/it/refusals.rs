//! Every refusal, in the order of its precedence, and what a refusal leaves untouched.

use crate::common::{GRANT, Stage, bet, genesis};
use engine::component::{Account, Seat, Table};
use engine::genesis::{Genesis, Opening};
use engine::io::Verdict;
use engine::message::intent::{IntentBody, IntentKind, Working};
use engine::message::refusal::Refusal;
use engine::rules::Commission;
use engine::{AccountId, TableId, TableRules};

const TABLE: TableId = TableId(0);

fn stage() -> Stage {
    Stage::seated(genesis(1, 4, 6), 2, 5_000)
}

fn on(name: &'static str, number: u8, amount: u64) -> impl Fn(IntentBody) -> IntentBody {
    move |body| body.at(TABLE).on(bet(name), number).amount(amount)
}

#[test]
fn accounts_numbers_and_expiry_come_first() {
    let mut stage = stage();
    // A stranger, whatever else is wrong.
    assert_eq!(
        stage.refused(9, IntentKind::Leave, |body| IntentBody { expiry_s: 1, ..body.at(TableId(77)) }),
        Refusal::UnknownAccount
    );
    assert_eq!(
        stage.refused(0, IntentKind::Leave, |body| IntentBody { expiry_s: 1, ..body.at(TableId(77)) }),
        Refusal::Expired
    );
    let late = (stage.time_ms / 1_000 + 70) as u32;
    assert_eq!(
        stage.refused(0, IntentKind::Leave, |body| IntentBody { expiry_s: late, ..body }),
        Refusal::ExpiresTooLate
    );
    assert_eq!(
        stage.refused(0, IntentKind::Leave, |body| IntentBody { number: 1, ..body.at(TableId(77)) }),
        Refusal::NumberUsed
    );
    assert_eq!(
        stage.refused(0, IntentKind::Leave, |body| IntentBody { number: 200, ..body.at(TableId(77)) }),
        Refusal::NumberAhead
    );
    // Up to 64 above the highest used is fine; what is then 64 behind is not.
    let highest = stage.machine.read(|rows| rows.accounts[0].number_highest);
    assert_eq!(
        stage.refused(0, IntentKind::Leave, |body| IntentBody { number: highest + 64, ..body.at(TableId(77)) }),
        Refusal::UnknownTable
    );
    assert_eq!(
        stage.refused(0, IntentKind::Leave, |body| IntentBody { number: highest, ..body }),
        Refusal::NumberBehind
    );
}

#[test]
fn an_expiry_counts_to_its_last_millisecond() {
    let mut stage = stage();
    let expiry_s = (stage.time_ms / 1_000 + 1) as u32;
    let leave = |body: IntentBody| IntentBody { expiry_s, ..body.at(TableId(77)) };
    let first = stage.intent(0, IntentKind::Leave, leave);
    let second = stage.intent(0, IntentKind::Leave, leave);
    let at = u64::from(expiry_s) * 1_000;
    let draw = systems::Draw::Beacon([1; 48]);
    assert_eq!(stage.settle_at(at, vec![first], draw), [Verdict::Refused(Refusal::UnknownTable)]);
    assert_eq!(stage.settle_at(at + 1, vec![second], draw), [Verdict::Refused(Refusal::Expired)]);
}

#[test]
fn accounts_open_as_genesis_says() {
    let mut genesis = genesis(1, 4, 3);
    genesis.opening = Opening::Free { per_height: 2 };
    // The last grant takes all that the treasury has.
    genesis.supply = genesis.bank_target + 2 * GRANT;
    let mut stage = Stage::new(genesis);
    let opens = (0..3).map(|player| stage.intent(player, IntentKind::Open, |body| body)).collect();
    let applied = Verdict::Applied;
    assert_eq!(stage.settle(opens), [applied, applied, Verdict::Refused(Refusal::OpenLimit)]);
    assert_eq!(stage.refused(0, IntentKind::Open, |body| body), Refusal::AccountExists);
    assert_eq!(stage.refused(3, IntentKind::Open, |body| body), Refusal::TreasuryEmpty);
    assert_eq!(stage.refused(3, IntentKind::OpenVoucher, |body| body), Refusal::VoucherNeeded);

    let issuer = engine::genesis::HexBytes(order::signature::IssuerKey::from_seed(&[5; 32]).public());
    let voucher = |listed: u32| Genesis {
        opening: Opening::Voucher { issuers: vec![issuer; listed as usize] },
        ..crate::common::genesis(1, 4, 1)
    };
    let mut stage = Stage::new(voucher(2));
    assert_eq!(stage.refused(0, IntentKind::Open, |body| body), Refusal::VoucherNeeded);
    assert_eq!(
        stage.refused(1, IntentKind::OpenVoucher, |body| IntentBody { target: 2, ..body }),
        Refusal::VoucherNeeded
    );
    assert_eq!(stage.one(2, IntentKind::OpenVoucher, |body| IntentBody { target: 1, ..body }), applied);
    assert_eq!(stage.refused(3, IntentKind::OpenVoucher, |body| body), Refusal::HouseFull);
}

#[test]
fn a_genesis_with_a_weak_issuer_is_refused() {
    // The neutral point: canonical, but of order one, so that anybody can sign for it.
    let mut weak = [0; 32];
    weak[0] = 1;
    let opening = Opening::Voucher { issuers: vec![engine::genesis::HexBytes(weak)] };
    let error = systems::Setup::new(Genesis { opening, ..genesis(1, 4, 6) }, [0; 32]).err().expect("refused");
    assert_eq!(error.field, "opening.issuers");
}

#[test]
fn transfers_move_what_was_wagered() {
    let mut stage = stage();
    let to = |account: u32, amount: u64| move |body: IntentBody| body.to(AccountId(account)).amount(amount);
    assert_eq!(stage.refused(0, IntentKind::Transfer, to(5, 0)), Refusal::UnknownRecipient);
    assert_eq!(stage.refused(0, IntentKind::Transfer, to(0, 1)), Refusal::UnknownRecipient);
    assert_eq!(stage.refused(0, IntentKind::Transfer, to(1, 0)), Refusal::NothingToTransfer);
    assert_eq!(stage.refused(0, IntentKind::Transfer, to(1, 1)), Refusal::GrantLocked);
    assert_eq!(stage.refused(0, IntentKind::Transfer, to(1, GRANT + 1)), Refusal::InsufficientFunds);
    // 4,000 lost and 1,000 that win 2,000, seen when the seat is left: as much of the grant is free as was wagered, of what is left.
    assert_eq!(stage.bet(0, "any_seven", 0, 4_000), Verdict::Applied);
    assert_eq!(stage.bet(0, "field", 0, 1_000), Verdict::Applied);
    stage.roll(1, 1);
    assert_eq!(stage.one(0, IntentKind::Leave, |body| body.at(TABLE)), Verdict::Applied);
    assert_eq!(stage.refused(0, IntentKind::Transfer, to(1, 0)), Refusal::NothingToTransfer);
    assert_eq!(stage.refused(0, IntentKind::Transfer, to(1, 3_001)), Refusal::GrantLocked);
    let accounts = |stage: &mut Stage| {
        stage.machine.read(|rows| [0, 1].map(|id| (rows.accounts[id].cage.0, rows.accounts[id].wagered.0)))
    };
    assert_eq!(accounts(&mut stage), [(GRANT - 2_000, 5_000), (GRANT - 5_000, 0)]);
    assert_eq!(stage.one(0, IntentKind::Transfer, to(1, 3_000)), Verdict::Applied);
    assert_eq!(accounts(&mut stage), [(GRANT - 5_000, 5_000), (GRANT - 2_000, 0)], "what was sent is the recipient's");
    assert_eq!(stage.refused(0, IntentKind::Transfer, to(1, 1)), Refusal::GrantLocked);
}

#[test]
fn seats_are_taken_once_and_paid_for() {
    let mut genesis = genesis(2, 2, 6);
    genesis.rules = vec![TableRules { min_bet: 10, ..TableRules::default() }];
    let mut stage = Stage::seated(genesis, 4, 5_000);
    let sit = |table: u32, amount: u64| move |body: IntentBody| body.at(TableId(table)).amount(amount);
    assert_eq!(stage.refused(0, IntentKind::Sit, sit(9, 50)), Refusal::UnknownTable);
    assert_eq!(stage.refused(0, IntentKind::Sit, |body| sit(0, 50)(body).roll(7)), Refusal::StaleRoll);
    assert_eq!(stage.refused(0, IntentKind::Sit, sit(0, 1)), Refusal::AlreadySeated);
    assert_eq!(stage.refused(2, IntentKind::Sit, sit(0, 1)), Refusal::TableFull);
    assert_eq!(stage.refused(2, IntentKind::Sit, sit(1, 9)), Refusal::BuyInTooSmall);
    assert_eq!(stage.refused(2, IntentKind::Sit, sit(1, GRANT + 1)), Refusal::InsufficientFunds);
    assert_eq!(stage.one(0, IntentKind::Sit, sit(1, 10)), Verdict::Applied, "several tables are fine");
    assert_eq!(stage.refused(3, IntentKind::Leave, |body| body.at(TABLE)), Refusal::UnknownPlayer);
}

#[test]
fn a_bet_is_refused_in_the_order_of_r3() {
    let mut genesis = genesis(1, 4, 6);
    genesis.rules = vec![TableRules { min_bet: 5, max_bet: 4_000, ..TableRules::default() }];
    genesis.bank_target = 60_000;
    let mut stage = Stage::seated(genesis, 2, 5_000);
    let refused = |stage: &mut Stage, player: u32, name: &'static str, number: u8, amount: u64| {
        stage.refused(player, IntentKind::Bet, on(name, number, amount))
    };
    assert_eq!(stage.refused(5, IntentKind::Open, |body| IntentBody { number: 99, ..body }), Refusal::NumberAhead);
    assert_eq!(
        stage.refused(0, IntentKind::Bet, |body| IntentBody { bet: engine::limits::BETS as u8, ..body.at(TABLE) }),
        Refusal::UnknownBet
    );
    assert_eq!(stage.one(5, IntentKind::Open, |body| IntentBody { number: 3, ..body }), Verdict::Applied);
    assert_eq!(
        stage.refused(5, IntentKind::Bet, |body| IntentBody {
            bet: engine::limits::BETS as u8,
            number: 4,
            ..body.at(TABLE)
        }),
        Refusal::UnknownBet
    );
    assert_eq!(
        stage.refused(5, IntentKind::Bet, |body| IntentBody { number: 5, ..on("come", 0, 0)(body) }),
        Refusal::UnknownPlayer
    );
    assert_eq!(refused(&mut stage, 0, "come", 0, 4), Refusal::BetTooSmall);
    assert_eq!(refused(&mut stage, 0, "come", 0, 4_001), Refusal::BetTooLarge);
    assert_eq!(refused(&mut stage, 0, "come", 0, 4_000), Refusal::WrongPhase);
    assert_eq!(refused(&mut stage, 0, "odds_come", 7, 100), Refusal::BadTarget);
    assert_eq!(refused(&mut stage, 0, "odds_come", 6, 100), Refusal::NoParentBet);
    assert_eq!(refused(&mut stage, 0, "fire", 0, 61), Refusal::BankLimit);
    assert_eq!(stage.bet(0, "pass", 0, 100), Verdict::Applied);
    assert_eq!(stage.bet(0, "fire", 0, 5), Verdict::Applied);
    stage.roll(2, 2);
    assert_eq!(refused(&mut stage, 0, "pass", 0, 5), Refusal::WrongPhase);
    assert_eq!(refused(&mut stage, 0, "odds_pass", 0, 301), Refusal::OddsLimitExceeded);
    assert_eq!(stage.bet(0, "odds_pass", 0, 300), Verdict::Applied);
    assert_eq!(refused(&mut stage, 0, "odds_pass", 0, 1), Refusal::OddsLimitExceeded);
    // With money gone before the bank is asked, and a setting that the bet cannot have last of all.
    assert_eq!(stage.bet(0, "place_lose_4", 0, 4_000), Verdict::Applied);
    assert_eq!(refused(&mut stage, 0, "craps_2", 0, 4_000), Refusal::InsufficientFunds);
    let off = |body: IntentBody| on("field", 0, 5)(body).working(Working::Off);
    assert_eq!(stage.refused(0, IntentKind::Bet, off), Refusal::NotToggleable);
}

#[test]
fn standing_bets_answer_in_their_own_order() {
    let mut stage = stage();
    for name in ["pass", "dont_pass", "fire", "place_6"] {
        assert_eq!(stage.bet(0, name, 0, 10), Verdict::Applied);
    }
    let set = |name, amount| move |body: IntentBody| on(name, 0, amount)(body);
    assert_eq!(
        stage.refused(0, IntentKind::SetAmount, |body| IntentBody { bet: 200, ..body.at(TABLE) }),
        Refusal::NoSuchBet
    );
    assert_eq!(stage.refused(1, IntentKind::SetAmount, set("pass", 0)), Refusal::NoSuchBet);
    assert_eq!(stage.refused(0, IntentKind::SetAmount, set("pass", 0)), Refusal::BetTooSmall);
    assert_eq!(stage.refused(0, IntentKind::SetAmount, set("pass", 10_000_001)), Refusal::BetTooLarge);
    stage.roll(1, 3);
    assert_eq!(stage.refused(0, IntentKind::SetAmount, set("pass", 20)), Refusal::WrongPhase);
    assert_eq!(stage.refused(0, IntentKind::SetAmount, set("pass", 5)), Refusal::ContractBet);
    assert_eq!(stage.refused(0, IntentKind::SetAmount, set("fire", 5)), Refusal::LockedBet);
    assert_eq!(stage.one(0, IntentKind::SetAmount, set("pass", 10)), Verdict::Applied, "the present amount is fine");
    assert_eq!(stage.refused(0, IntentKind::TakeDown, set("pass", 0)), Refusal::ContractBet);
    assert_eq!(stage.refused(0, IntentKind::TakeDown, set("fire", 0)), Refusal::LockedBet);
    assert_eq!(stage.bet(0, "odds_dont_pass", 0, 60), Verdict::Applied);
    assert_eq!(stage.refused(0, IntentKind::SetAmount, set("dont_pass", 9)), Refusal::OddsLimitExceeded);
    assert_eq!(stage.one(0, IntentKind::TakeDown, set("dont_pass", 0)), Verdict::OddsReturned);
    assert_eq!(stage.refused(0, IntentKind::SetWorking, set("hard_8", 0)), Refusal::NoSuchBet);
    assert_eq!(stage.refused(0, IntentKind::SetWorking, set("pass", 0)), Refusal::NotToggleable);
    assert_eq!(
        stage.one(0, IntentKind::SetWorking, |body| set("place_6", 0)(body).working(Working::Off)),
        Verdict::Applied
    );
    // A come bet that has travelled is a contract: its number names it.
    assert_eq!(stage.bet(0, "come", 0, 10), Verdict::Applied);
    stage.roll(2, 4);
    let travelled = |amount| move |body: IntentBody| on("come", 6, amount)(body);
    assert_eq!(stage.refused(0, IntentKind::SetAmount, travelled(20)), Refusal::ContractBet);
    assert_eq!(stage.refused(0, IntentKind::TakeDown, travelled(0)), Refusal::ContractBet);
}

#[test]
fn a_seat_holds_32_bets() {
    let mut stage = stage();
    let names =
        systems::catalogue::BETS.iter().filter(|bet| bet.family.placement() == systems::catalogue::Placement::Any);
    let names: Vec<&str> = names.map(|bet| bet.name).filter(|name| !name.starts_with("odds")).collect();
    for name in &names[..32] {
        assert_eq!(stage.bet(0, name, 0, 1), Verdict::Applied, "{name}");
    }
    assert_eq!(stage.refused(0, IntentKind::Bet, on(names[32], 0, 1)), Refusal::TooManyBets);
    assert_eq!(stage.bet(0, names[31], 0, 1), Verdict::Applied, "an occupied spot takes more");
}

#[test]
fn only_the_shooter_rolls_and_not_too_early() {
    let mut stage = stage();
    let at = |body: IntentBody| body.at(TABLE);
    assert_eq!(stage.refused(1, IntentKind::Roll, at), Refusal::NotShooter);
    assert_eq!(stage.refused(0, IntentKind::Roll, at), Refusal::WindowOpen);
    let opened = stage.machine.read(|rows| rows.tables[0].opened_ms);
    let twice = vec![stage.intent(0, IntentKind::Roll, at), stage.intent(0, IntentKind::Roll, at)];
    let draw = systems::Draw::Given(engine::Dice::new(1, 3).expect("faces"));
    assert_eq!(stage.settle_at(opened + 200, twice, draw), [Verdict::Applied, Verdict::Refused(Refusal::RollCalled)]);
    assert_eq!(stage.machine.read(|rows| rows.tables[0].roll_number), 1);
    assert_eq!(stage.refused(0, IntentKind::PassDice, at), Refusal::WrongPhase);
    stage.roll(3, 4);
    assert_eq!(stage.refused(0, IntentKind::PassDice, at), Refusal::NotShooter, "a seven-out passes the dice");
    assert_eq!(stage.one(1, IntentKind::PassDice, at), Verdict::Applied);
    assert_eq!(stage.one(1, IntentKind::Leave, at), Verdict::Applied);
    assert_eq!(stage.refused(0, IntentKind::PassDice, at), Refusal::NoOtherPlayer);
}

/// What a refusal must leave as it is, but for the number of player 0.
#[derive(PartialEq, Debug)]
struct State {
    tables: Vec<Table>,
    seats: Vec<Seat>,
    bets: Vec<[u8; 64]>,
    accounts: Vec<Account>,
    number: u64,
}

fn state(stage: &mut Stage) -> State {
    stage.machine.read(|rows| {
        let mut accounts = rows.accounts.to_vec();
        let number = std::mem::take(&mut accounts[0].number_highest);
        accounts[0].numbers_used = 0;
        let bets = rows.bets.iter().map(|bets| bytemuck::cast(*bets)).collect();
        State { tables: rows.tables.to_vec(), seats: rows.seats.to_vec(), bets, accounts, number }
    })
}

/// Whatever is refused changes nothing but the number, and before the number not even that; somebody who is refused a seat
/// because all are taken is remembered by the table.
#[test]
fn a_refusal_changes_nothing_but_the_number() {
    let mut stage = stage();
    assert_eq!(stage.bet(0, "pass", 0, 10), Verdict::Applied);
    let at = |body: IntentBody| body.at(TABLE);
    let before = state(&mut stage);
    let refused = [
        stage.refused(0, IntentKind::Bet, on("come", 0, 10)),
        stage.refused(0, IntentKind::TakeDown, on("field", 0, 0)),
        stage.refused(0, IntentKind::SetAmount, on("pass", 0, 0)),
        stage.refused(0, IntentKind::Roll, at),
        stage.refused(0, IntentKind::Sit, |body| at(body).amount(10)),
        stage.refused(0, IntentKind::Transfer, |body| body.to(AccountId(1)).amount(1)),
        stage.refused(0, IntentKind::Leave, |body| body.at(TableId(77))),
    ];
    let expected = {
        use Refusal as R;
        [R::WrongPhase, R::NoSuchBet, R::BetTooSmall, R::WindowOpen, R::AlreadySeated, R::GrantLocked, R::UnknownTable]
    };
    assert_eq!(refused, expected);
    let after = state(&mut stage);
    assert_eq!(after, State { number: before.number + refused.len() as u64, ..before });
    stage.refused(0, IntentKind::Bet, |body| IntentBody { expiry_s: 1, ..on("pass", 0, 10)(body) });
    assert_eq!(state(&mut stage), after);

    let mut stage = Stage::seated(genesis(1, 1, 6), 2, 5_000);
    let before = state(&mut stage);
    assert_eq!(stage.refused(1, IntentKind::Sit, |body| at(body).amount(10)), Refusal::TableFull);
    let after = state(&mut stage);
    let waits = Table { wanted_ms: after.tables[0].wanted_ms, ..before.tables[0] };
    assert!(waits.wanted_ms > 0, "somebody waits");
    assert_eq!((after.tables, after.seats, after.bets), (vec![waits], before.seats, before.bets));
}

/// Whoever asks for an account that is open has used the number up if the owner signed it, and no other number is.
#[test]
fn an_account_that_exists_uses_up_the_number_of_its_own_open_alone() {
    let mut stage = stage();
    let number = |stage: &mut Stage| stage.machine.read(|rows| rows.accounts[0].number_highest);
    let before = number(&mut stage);
    assert_eq!(stage.refused(0, IntentKind::Open, |body| body), Refusal::AccountExists);
    assert_eq!(number(&mut stage), before + 1);
    assert_eq!(stage.refused(0, IntentKind::OpenVoucher, |body| body), Refusal::AccountExists);
    assert_eq!(number(&mut stage), before + 1);
}

#[test]
fn commission_in_advance_is_held_and_given_back() {
    let mut genesis = genesis(1, 4, 6);
    genesis.rules = vec![TableRules { commission: Commission::Upfront, ..TableRules::default() }];
    let mut stage = Stage::seated(genesis, 1, 5_000);
    assert_eq!(stage.bet(0, "buy_4", 0, 101), Verdict::Applied);
    assert_eq!(stage.rail(0), 5_000 - 101 - 6);
    assert_eq!(stage.one(0, IntentKind::SetAmount, on("buy_4", 0, 20)), Verdict::Applied);
    assert_eq!(stage.rail(0), 5_000 - 20 - 1);
    assert_eq!(stage.one(0, IntentKind::TakeDown, on("buy_4", 0, 0)), Verdict::Applied);
    assert_eq!(stage.rail(0), 5_000);
}

/// Leaving and vanishing: what can be returned returns, contract and locked bets stay and are decided, then the seat is
/// free and every chip is in the cage.
#[test]
fn nobody_loses_chips_by_leaving() {
    for vanishes in [false, true] {
        let mut genesis = genesis(1, 4, 6);
        genesis.idle_ms = 2_500;
        let mut stage = Stage::seated(genesis, 2, 5_000);
        for (name, amount) in [("pass", 100), ("fire", 10), ("place_6", 60)] {
            assert_eq!(stage.bet(0, name, 0, amount), Verdict::Applied);
        }
        stage.roll(2, 2);
        assert_eq!(stage.bet(0, "odds_pass", 0, 50), Verdict::Applied);
        if !vanishes {
            assert_eq!(stage.one(0, IntentKind::Leave, |body| body.at(TABLE)), Verdict::Applied);
        }
        for _ in 0..4 {
            stage.bet(1, "field", 0, 1);
            stage.roll(1, 2);
        }
        stage.machine.read(|rows| {
            assert!(rows.seats[0].is_leaving());
            let left: Vec<u32> = rows.seat_bets(0).iter().map(|bet| bet.amount).collect();
            assert_eq!(left, [100, 10], "pass and fire stay; odds and place returned");
            assert_eq!((rows.seats[0].rail.0, rows.tables[0].shooter), (4_890, 1));
        });
        stage.bet(1, "field", 0, 1);
        stage.roll(3, 1);
        stage.bet(1, "field", 0, 1);
        stage.roll(4, 3);
        stage.bet(1, "field", 0, 1);
        stage.roll(3, 1);
        stage.bet(1, "field", 0, 1);
        stage.roll(4, 3);
        stage.machine.read(|rows| {
            assert_eq!(rows.seats[0].account, AccountId::NONE);
            // The line won 100 on the point made; the fire bet lost its 10 on the seven-out.
            assert_eq!(rows.accounts[0].cage.0, GRANT + 100 - 10);
            assert_eq!((rows.accounts[0].wagered.0, rows.accounts[0].seats), (110, 0));
        });
    }
}

#[test]
fn an_empty_table_is_never_due() {
    let mut stage = stage();
    assert!(stage.machine.next_due_ms().is_some());
    for player in [0, 1] {
        assert_eq!(stage.one(player, IntentKind::Leave, |body| body.at(TABLE)), Verdict::Applied);
    }
    assert_eq!(stage.machine.next_due_ms(), None);
    let later = stage.time_ms + 1_000_000;
    stage.settle_at(later, Vec::new(), systems::Draw::Beacon([0; 48]));
    assert_eq!(stage.machine.report().counts.rolls, 0);
}

#[test]
fn tables_of_a_phase_roll_together_and_no_window_is_too_short_or_too_long() {
    let mut stage = Stage::seated(genesis(8, 4, 40), 32, 1_000);
    let sits: Vec<_> = (1..8)
        .map(|table| stage.intent(table * 4 - 1, IntentKind::Sit, |body| body.at(TableId(table)).amount(500)))
        .collect();
    stage.settle(sits);
    let mut last = vec![0; 8];
    for round in 0..60 {
        let due = stage.machine.next_due_ms().expect("players sit");
        // Now and then the shooter of table 3 is in a hurry.
        let early = stage.machine.read(|rows| rows.tables[3].opened_ms) + 200;
        let hurry = round % 7 == 0 && early > stage.time_ms && early < due;
        let intents =
            if hurry { vec![stage.intent(11, IntentKind::Roll, |body| body.at(TableId(3)))] } else { Vec::new() };
        let before: Vec<u64> = stage.machine.read(|rows| rows.tables.iter().map(|table| table.opened_ms).collect());
        stage.settle_at(if hurry { early } else { due }, intents, systems::Draw::Beacon([round; 48]));
        let now = stage.time_ms;
        let rolled: Vec<usize> =
            stage.machine.read(|rows| (0..8).filter(|table| rows.tables[*table].opened_ms == now).collect());
        assert!(!rolled.is_empty());
        for table in &rolled {
            let window = now - before[*table];
            assert!((200..=1_000).contains(&window), "table {table}: {window} ms");
            last[*table] += 1;
        }
        if !hurry && !rolled.contains(&3) {
            let phase = rolled[0] / 2;
            assert!(rolled.iter().all(|table| table / 2 == phase), "{rolled:?} are of one phase");
        }
    }
    assert!(last.iter().all(|rolls| *rolls >= 10), "{last:?}");
}
