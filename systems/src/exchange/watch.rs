//! Watch: what changed, for those who look on. Tables are told when they roll and otherwise a few times a second, and
//! only what changed since the last time.

use std::collections::{BTreeMap, BTreeSet};

use bevy_ecs::resource::Resource;
use bevy_ecs::system::{Res, ResMut};
use bytemuck::Zeroable;
use engine::columns::{Columns, PeerColumns, Rows};
use engine::component::{Account, BetRow, Pledge, Seat, Table};
use engine::io::{Input, Output, SeatUpdate, TableUpdate, Watched};
use engine::limits::{WATCH_INTERVAL_MS, WATCHES_MAX};
use engine::{AccountId, Height, PeerId, TableId};

use super::chain::Closings;
use super::peers::row;
use super::tick::{Clock, Inbox, Outbox};
use crate::settle::block::{Current, Report};
use crate::state::accounts::AccountIndex;
use crate::state::setup::Setup;

/// Who watches what, and what they were told last.
#[derive(Resource, Default)]
pub struct Watches {
    tables: BTreeMap<TableId, Told>,
    accounts: BTreeMap<([u8; 32], PeerId), Option<ToldAccount>>,
    by_peer: BTreeMap<PeerId, Vec<Watched>>,
    count: usize,
    /// Those who have not seen the whole of what they watch. Each is told once a tick, however often it asks.
    newcomers: BTreeSet<(Watched, PeerId)>,
    /// The last height whose rolls were told.
    height: Height,
    /// When those who watch were last told of tables that did not roll, and of accounts.
    told_ms: u64,
}

/// A watched account as it was told last.
type ToldAccount = (AccountId, Account);

/// A watched table as it was told last.
struct Told {
    watchers: u32,
    table: Table,
    seats: Vec<(Seat, Vec<BetRow>)>,
    pledge: Option<Pledge>,
}

impl Watches {
    fn watch(&mut self, peer: PeerId, what: Watched, on: bool) {
        let own = self.by_peer.entry(peer).or_default();
        match (own.iter().position(|watched| *watched == what), on) {
            (Some(_), true) => _ = self.newcomers.insert((what, peer)),
            (None, true) if self.count < WATCHES_MAX => {
                own.push(what);
                self.count += 1;
                self.newcomers.insert((what, peer));
                if let Watched::Table(table) = what {
                    let unseen = || Told { watchers: 0, table: Table::zeroed(), seats: Vec::new(), pledge: None };
                    self.tables.entry(table).or_insert_with(unseen).watchers += 1;
                }
            }
            (Some(place), false) => {
                own.swap_remove(place);
                self.forget(peer, what);
            }
            _ => {}
        }
        if self.by_peer.get(&peer).is_some_and(Vec::is_empty) {
            self.by_peer.remove(&peer);
        }
        assert!(self.count <= WATCHES_MAX, "what all peers watch is bounded");
        assert!(self.tables.len() <= self.count, "a table is told of while somebody watches it");
        assert!(self.accounts.len() <= self.count, "an account is told of while somebody watches it");
        assert!(self.newcomers.len() <= self.count, "whoever waits for the whole of something watches it");
        assert_eq!(self.count == 0, self.by_peer.is_empty(), "what somebody watches is counted");
    }

    fn forget(&mut self, peer: PeerId, what: Watched) {
        assert!(self.count > 0, "what is watched was counted");
        self.count -= 1;
        // Where nobody watches any more nobody is told, and whoever came and went in one tick would stay here for ever.
        self.newcomers.remove(&(what, peer));
        match what {
            Watched::Table(table) => {
                let told = self.tables.get_mut(&table).expect("a watched table has its row");
                assert!(told.watchers > 0, "a table that nobody watches has no row");
                told.watchers -= 1;
                if told.watchers == 0 {
                    self.tables.remove(&table);
                }
            }
            Watched::Account(key) => {
                self.accounts.remove(&(key, peer));
            }
        }
    }

    fn leave(&mut self, peer: PeerId) {
        for what in self.by_peer.remove(&peer).unwrap_or_default() {
            self.forget(peer, what);
        }
        assert!(self.newcomers.len() <= self.count, "whoever waits for the whole of something watches it");
        assert_eq!(self.count == 0, self.by_peer.is_empty(), "what somebody watches is counted");
        assert!(self.tables.len() <= self.count, "a table is told of while somebody watches it");
        assert!(self.accounts.len() <= self.count, "an account is told of while somebody watches it");
    }
}

/// System: takes note of who watches what, and tells those who do what they have not seen.
pub fn tell_watchers(
    setup: Res<'_, Setup>,
    closings: Res<'_, Closings>,
    clock: Res<'_, Clock>,
    current: Res<'_, Current>,
    index: Res<'_, AccountIndex>,
    mut inbox: ResMut<'_, Inbox>,
    mut watches: ResMut<'_, Watches>,
    mut report: ResMut<'_, Report>,
    mut outbox: ResMut<'_, Outbox>,
    mut columns: Columns<'_, '_>,
    mut peers: PeerColumns<'_, '_>,
) {
    let (peers, _) = peers.rows();
    for input in inbox.watches.drain(..) {
        match input {
            // One that has left watches nothing: nobody would ever take its watch back.
            Input::Watch { peer, on: true, .. } if row(peers, peer).is_none() => {}
            Input::Watch { peer, what, on } => watches.watch(peer, what, on),
            Input::Left(peer) => watches.leave(peer),
            _ => unreachable!("ingress sorts them"),
        }
    }
    if watches.count == 0 {
        return;
    }
    let rows = columns.rows();
    let told = Telling { rows: &rows, setup: &setup, index: &index, outputs: &mut outbox.outputs };
    told.all(&mut watches, &mut report, &clock, current.height);
    for output in &mut outbox.outputs {
        let Output::Table(update) = output else { continue };
        let waits = update.pledge.filter(Pledge::is_frozen);
        update.closing = waits.and_then(|pledge| closings.of(&pledge.block)).map(Box::new);
    }
}

/// What watchers are told from, and where it goes.
struct Telling<'a, 'r> {
    rows: &'a Rows<'r>,
    setup: &'a Setup,
    index: &'a AccountIndex,
    outputs: &'a mut Vec<Output>,
}

impl Telling<'_, '_> {
    /// Rolls and closed bets of a height that nobody was told of, what else changed, and what newcomers have not seen.
    fn all(mut self, watches: &mut Watches, report: &mut Report, clock: &Clock, height: Height) {
        assert!(watches.height <= height, "a chain does not go back");
        let is_new = watches.height < height;
        // A height without rolls in its report was settled before anybody watched.
        let rolled = report.watch && is_new;
        report.watch = true;
        if rolled {
            self.rolls(&mut watches.tables, report);
        }
        // Whoever must open a roll hears of it at once; so does whoever forfeited one.
        if is_new {
            for id in &report.closed {
                self.table(watches.tables.get_mut(id), *id);
            }
        }
        // A clock that is set back must not keep anybody waiting.
        if clock.now_ms.abs_diff(watches.told_ms) >= WATCH_INTERVAL_MS {
            watches.told_ms = clock.now_ms;
            watches.tables.iter_mut().for_each(|(id, told)| self.table(Some(told), *id));
            self.accounts(&mut watches.accounts);
        }
        // The whole comes last: whoever asked for it drops what was told before.
        self.newcomers(watches);
        watches.height = height;
    }

    /// What changed at a table, if it is watched and something did.
    fn table(&mut self, told: Option<&mut Told>, id: TableId) {
        let update = told.and_then(|told| told.update(self.rows, id, self.setup));
        self.outputs.extend(update.map(|update| Output::Table(Box::new(update))));
    }

    fn rolls(&mut self, tables: &mut BTreeMap<TableId, Told>, report: &Report) {
        for roll in &report.rolls {
            let Some(told) = tables.get_mut(&roll.table) else { continue };
            let whole = || whole(self.rows, roll.table, None, self.setup);
            let mut update = told.update(self.rows, roll.table, self.setup).unwrap_or_else(whole);
            let first = report.resolutions.partition_point(|resolution| resolution.table < roll.table);
            let of_table = report.resolutions[first..].iter().take_while(|resolution| resolution.table == roll.table);
            update.roll = Some(*roll);
            update.resolutions = of_table.copied().collect();
            self.outputs.push(Output::Table(Box::new(update)));
        }
    }

    fn accounts(&mut self, accounts: &mut BTreeMap<([u8; 32], PeerId), Option<ToldAccount>>) {
        for ((key, to), told) in accounts {
            let account = account(self.rows, self.index, key);
            if account != *told {
                *told = account;
                self.outputs.push(Output::Account {
                    to: *to,
                    key: *key,
                    height: self.rows.house.height,
                    account: account.map(Box::new),
                });
            }
        }
    }

    /// The whole of what was watched since the last tick, for whoever watches it still.
    fn newcomers(&mut self, watches: &mut Watches) {
        let Watches { tables, accounts, newcomers, by_peer, .. } = watches;
        for (what, peer) in std::mem::take(newcomers) {
            if !by_peer.get(&peer).is_some_and(|own| own.contains(&what)) {
                continue;
            }
            match what {
                Watched::Table(id) if id.index() < self.rows.tables.len() => {
                    let told = tables.get_mut(&id).expect("a watched table has its row");
                    assert!(told.watchers > 0, "whoever is new watches it too");
                    // Those who watched before must not miss what changed since they were told.
                    if !told.seats.is_empty() {
                        self.table(Some(&mut *told), id);
                    }
                    told.remember(self.rows, id, self.setup);
                    self.outputs.push(Output::Table(Box::new(whole(self.rows, id, Some(peer), self.setup))));
                }
                Watched::Table(_) => {}
                Watched::Account(key) => {
                    let account = account(self.rows, self.index, &key);
                    accounts.insert((key, peer), account);
                    self.outputs.push(Output::Account {
                        to: peer,
                        key,
                        height: self.rows.house.height,
                        account: account.map(Box::new),
                    });
                }
            }
        }
    }
}

fn account(rows: &Rows<'_>, index: &AccountIndex, key: &[u8; 32]) -> Option<(AccountId, Account)> {
    index.find(key, rows.keys).map(|id| (id, rows.accounts[id.index()]))
}

fn seats<'a>(rows: &'a Rows<'_>, id: TableId) -> impl Iterator<Item = (Seat, Vec<BetRow>)> + use<'a> {
    let count = rows.seats_per_table();
    (id.index() * count..(id.index() + 1) * count)
        .map(|seat| (rows.seats[seat], rows.seat_bets(seat).iter().collect::<Vec<_>>()))
}

fn whole(rows: &Rows<'_>, id: TableId, to: Option<PeerId>, setup: &Setup) -> TableUpdate {
    let seats = seats(rows, id).enumerate().map(|(seat, (row, bets))| SeatUpdate { seat: seat as u8, row, bets });
    TableUpdate {
        to,
        id,
        height: rows.house.height,
        time_ms: rows.house.time_ms,
        table: rows.tables[id.index()],
        seats: seats.collect(),
        roll: None,
        resolutions: Vec::new(),
        pledge: pledge(rows, id, setup),
        closing: None,
    }
}

/// What the player of a pledged table pledged.
fn pledge(rows: &Rows<'_>, id: TableId, setup: &Setup) -> Option<Pledge> {
    setup.is_pledged(&rows.tables[id.index()]).then(|| rows.pledges[id.index()])
}

impl Told {
    fn remember(&mut self, rows: &Rows<'_>, id: TableId, setup: &Setup) {
        self.table = rows.tables[id.index()];
        self.seats = seats(rows, id).collect();
        self.pledge = pledge(rows, id, setup);
        assert_eq!(self.seats.len(), rows.seats_per_table(), "a table is told with all its seats");
    }

    /// What changed since the table was told last, if anything; it counts as told then. `None` too for a table that
    /// nobody was told of yet.
    fn update(&mut self, rows: &Rows<'_>, id: TableId, setup: &Setup) -> Option<TableUpdate> {
        let table = rows.tables.get(id.index())?;
        let mut changed = Vec::new();
        let first = id.index() * rows.seats_per_table();
        assert!(
            self.seats.is_empty() || self.seats.len() == rows.seats_per_table(),
            "a table is told with all its seats"
        );
        for (number, (row, bets)) in self.seats.iter_mut().enumerate() {
            let now = &rows.seats[first + number];
            let bets_now = rows.seat_bets(first + number);
            // An empty seat that stays empty has no bets to look at.
            if now == row && (now.spots.is_empty() || bets_now.iter().eq(bets.iter().copied())) {
                continue;
            }
            *row = *now;
            bets.clear();
            bets.extend(bets_now.iter());
            changed.push(SeatUpdate { seat: number as u8, row: *row, bets: bets.clone() });
        }
        let pledge = pledge(rows, id, setup);
        if self.seats.is_empty() || (changed.is_empty() && *table == self.table && pledge == self.pledge) {
            return None;
        }
        (self.table, self.pledge) = (*table, pledge);
        let (height, time_ms) = (rows.house.height, rows.house.time_ms);
        let (table, seats, resolutions) = (*table, changed, Vec::new());
        let (to, roll, closing) = (None, None, None);
        Some(TableUpdate { to, id, height, time_ms, table, seats, roll, resolutions, pledge, closing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_watches_no_more_waits_for_nothing() {
        let peer = |slot| PeerId { slot, generation: 1 };
        let (table, account) = (Watched::Table(TableId(3)), Watched::Account([7; 32]));
        let mut watches = Watches::default();
        for slot in 0..10 {
            watches.watch(peer(slot), table, true);
            watches.watch(peer(slot), account, true);
            watches.watch(peer(slot), table, true);
        }
        assert_eq!((watches.count, watches.newcomers.len()), (20, 20), "each waits once");
        (0..5).for_each(|slot| watches.leave(peer(slot)));
        (5..10).for_each(|slot| watches.watch(peer(slot), table, false));
        assert_eq!((watches.count, watches.newcomers.len()), (5, 5));
        (5..10).for_each(|slot| watches.watch(peer(slot), account, false));
        assert!(watches.newcomers.is_empty() && watches.tables.is_empty() && watches.by_peer.is_empty());
    }
}
