//! Sessions against a slow, obvious ledger: maps of amounts, moved one by one as receipts and resolutions say.

use std::collections::BTreeMap;

use crate::common::{Stage, genesis, session};
use engine::io::{BetResult, Verdict};
use engine::message::intent::{Intent, IntentKind};
use engine::rules::Commission;
use engine::{AccountId, Height, Spot, TableRules};
use proptest::prelude::*;
use systems::catalogue::{BETS, Family, odds_on, standing_spot};
use systems::{Catalogue, Draw};

/// Where every chip lies, as a clerk would write it down.
#[derive(Default)]
struct Clerk {
    cages: BTreeMap<AccountId, u64>,
    rails: BTreeMap<(u32, AccountId), u64>,
    bets: BTreeMap<(u32, AccountId, Spot), u64>,
}

/// Commission held with a wager, from R1: buy ceil(wager / 20), lay ceil(wager * num / (20 * den)).
fn held(rules: &TableRules, spot: Spot, wager: u64) -> u64 {
    if rules.commission == Commission::OnWin {
        return wager;
    }
    wager
        + match BETS[systems::catalogue::bet_of(spot).index()].family {
            Family::Buy(_) => wager.div_ceil(20),
            Family::Lay(4 | 10) => wager.div_ceil(40),
            Family::Lay(5 | 9) => (wager * 2).div_ceil(60),
            Family::Lay(_) => (wager * 5).div_ceil(120),
            _ => 0,
        }
}

impl Clerk {
    fn set_bet(&mut self, rules: &TableRules, at: (u32, AccountId), spot: Spot, wager: u64) {
        let before = self.bets.remove(&(at.0, at.1, spot)).unwrap_or(0);
        let rail = self.rails.get_mut(&at).expect("a player who bets sits");
        *rail = *rail + held(rules, spot, before) - held(rules, spot, wager);
        if wager > 0 {
            self.bets.insert((at.0, at.1, spot), wager);
        }
    }

    fn applied(&mut self, rules: &TableRules, id: AccountId, intent: &Intent, verdict: Verdict) {
        let body = &intent.body;
        let at = (body.target, id);
        let spot = || standing_spot(engine::BetId(body.bet), body.box_number).expect("an applied bet has a spot");
        match IntentKind::try_from(body.kind).expect("a known kind") {
            IntentKind::Open | IntentKind::OpenVoucher => drop(self.cages.insert(id, crate::common::GRANT)),
            IntentKind::Sit => {
                *self.cages.get_mut(&id).expect("an account") -= body.amount;
                *self.rails.entry(at).or_default() += body.amount;
            }
            IntentKind::Bet => {
                let spot = systems::catalogue::spot_of(engine::BetId(body.bet), body.box_number).expect("a spot");
                let before = self.bets.get(&(at.0, at.1, spot)).copied().unwrap_or(0);
                self.set_bet(rules, at, spot, before + body.amount);
            }
            IntentKind::SetAmount => self.set_bet(rules, at, spot(), body.amount),
            IntentKind::TakeDown => {
                self.set_bet(rules, at, spot(), 0);
                if verdict == Verdict::OddsReturned {
                    self.set_bet(rules, at, odds_on(spot()).expect("odds went back"), 0);
                }
            }
            _ => {}
        }
    }
}

/// Plays a session and keeps the clerk's book beside it.
fn audit(rules: TableRules, seed: u64) {
    let mut genesis = genesis(5, 4, 40);
    genesis.rules = vec![rules.clone(), TableRules::default()];
    genesis.idle_ms = 6_000;
    let made = session(&genesis, 20, 80, seed);
    let mut stage = Stage::new(genesis);
    stage.machine.watch(true);
    let mut clerk = Clerk::default();
    let catalogues = [rules.clone(), TableRules::default()].map(|rules| Catalogue::new(&rules).expect("rules"));
    let mut resolved = 0;
    for made in &made {
        let verdicts = stage.settle_at(made.time_ms, made.intents.clone(), Draw::Beacon(made.beacon));
        for (intent, verdict) in made.intents.iter().zip(verdicts) {
            if matches!(verdict, Verdict::Refused(_)) {
                continue;
            }
            let id = stage.machine.account_of(&intent.body.key).expect("an applied intent has an account");
            let rules = catalogues[intent.body.target as usize % 2].rules().clone();
            clerk.applied(&rules, id, intent, verdict);
        }
        let report = stage.machine.report();
        // What travels comes to lie only when the roll has cleared the spot: a come bet may go where an older one was just
        // decided, and the report is in the order of spots.
        let mut travelled = BTreeMap::new();
        for resolution in &report.resolutions {
            let (table, id) = (resolution.table.0, resolution.account);
            let wager = clerk.bets.remove(&(table, id, resolution.spot)).expect("only a bet that lies there resolves");
            assert_eq!(wager, u64::from(resolution.wager));
            if let BetResult::Travel(to) = resolution.result {
                travelled.insert((table, id, to), wager);
            }
            *clerk.rails.get_mut(&(table, id)).expect("a seat") += resolution.credit.0;
            resolved += 1;
        }
        for (at, wager) in travelled {
            assert_eq!(clerk.bets.insert(at, wager), None, "a bet travels to a spot that the roll has cleared");
        }
        compare(&mut stage, &mut clerk, &catalogues);
    }
    assert_eq!(stage.height, Height(80));
    assert!(resolved > 20, "{resolved} bets resolved");
}

/// What the rows say is what the clerk says; seats that were left are the one thing the clerk reads off, since chips then
/// go back from bets and rail at once, and none of them may be lost.
fn compare(stage: &mut Stage, clerk: &mut Clerk, catalogues: &[Catalogue; 2]) {
    stage.machine.read(|rows| {
        let seats = rows.seats_per_table();
        for table in 0..rows.tables.len() as u32 {
            let rules = catalogues[table as usize % 2].rules();
            let players: Vec<AccountId> = clerk.rails.keys().filter(|key| key.0 == table).map(|key| key.1).collect();
            for id in players {
                let seat =
                    (0..seats).map(|seat| table as usize * seats + seat).find(|seat| rows.seats[*seat].account == id);
                let left = seat.is_none_or(|seat| rows.seats[seat].is_leaving());
                let standing: Vec<Spot> =
                    clerk.bets.keys().filter(|key| (key.0, key.1) == (table, id)).map(|key| key.2).collect();
                if left {
                    let stays = |spot: Spot| seat.is_some_and(|seat| rows.seats[seat].spots.contains(spot));
                    for spot in standing.into_iter().filter(|spot| !stays(*spot)) {
                        clerk.set_bet(rules, (table, id), spot, 0);
                    }
                }
                if seat.is_none() {
                    let rail = clerk.rails.remove(&(table, id)).expect("listed above");
                    *clerk.cages.get_mut(&id).expect("an account") += rail;
                }
            }
        }
        let mut bets = BTreeMap::new();
        let mut rails = BTreeMap::new();
        for (seat, row) in rows.seats.iter().enumerate().filter(|(_, row)| row.account != AccountId::NONE) {
            let at = ((seat / seats) as u32, row.account);
            rails.insert(at, row.rail.0);
            bets.extend(rows.seat_bets(seat).iter().map(|bet| ((at.0, at.1, bet.spot), u64::from(bet.amount))));
        }
        assert_eq!(bets, clerk.bets);
        assert_eq!(rails, clerk.rails);
        for (id, cage) in &clerk.cages {
            assert_eq!(rows.accounts[id.index()].cage.0, *cage, "account {id}");
        }
        let felt: u64 = bets
            .iter()
            .map(|((table, _, spot), wager)| held(catalogues[*table as usize % 2].rules(), *spot, *wager))
            .sum();
        assert_eq!(rows.house.felts.0, felt);
        let players = clerk.cages.values().sum::<u64>() + rails.values().sum::<u64>() + felt;
        assert_eq!(players + rows.house.banks.0 + rows.house.treasury.0, rows.house.supply.0);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sessions_agree_with_a_slow_ledger(seed in any::<u64>(), upfront in any::<bool>(), bar in 0usize..3) {
        let commission = if upfront { Commission::Upfront } else { Commission::OnWin };
        audit(TableRules { commission, bar: [12, 2, 3][bar], ..TableRules::default() }, seed);
    }
}

/// In this session a don't come bet travels to the number on which the same roll takes an older one.
#[test]
fn a_bet_travels_to_the_spot_that_the_same_roll_clears() {
    audit(TableRules { commission: Commission::Upfront, bar: 2, ..TableRules::default() }, 867_062_194_131_495_014);
}
