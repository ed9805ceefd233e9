//! One simulated player.

use engine::columns::Rows;
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::message::pledge::PledgeRow;
use engine::{AccountId, Chips, Hash, TableId};
use order::signature::PlayerKey;
use systems::{Machine, Setup};

use super::chance::Chance;
use super::half::{AGAIN_MS, Half, WITHHOLDS};
use super::strategy::{self, Strategy, View};
use crate::users::expiry_s;

/// Seconds of block time until an intent expires.
const EXPIRY_S: u64 = 20;

/// How fast players act, and with how much they sit down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Habits {
    /// Shortest time between two intents of a player, in milliseconds.
    pub think_min_ms: u64,
    /// Longest time.
    pub think_max_ms: u64,
    /// Chips a player sits down with.
    pub buy_in: u64,
}

impl Default for Habits {
    fn default() -> Self {
        Self { think_min_ms: 150, think_max_ms: 1_500, buy_in: 4_000 }
    }
}

/// One simulated player.
pub(super) struct Player {
    pub key: PlayerKey,
    pub public: [u8; 32],
    pub strategy: Strategy,
    pub rng: Chance,
    /// The table they like.
    pub home: TableId,
    pub next_number: u64,
    pub account: Option<AccountId>,
    pub act_at_ms: u64,
    /// What it brings to the dice of a pledged table.
    pub half: Half,
}

impl Player {
    pub fn body(&mut self, kind: IntentKind, now_ms: u64) -> IntentBody {
        let number = self.next_number;
        self.next_number += 1;
        let expiry_s = expiry_s(now_ms / 1_000 + EXPIRY_S);
        IntentBody::new(kind, self.public, number, expiry_s)
    }

    pub fn open(&mut self, chain: &Hash, now_ms: u64) -> Intent {
        // Not refused for good: the number of an account that did not open is not used up.
        self.next_number = 1;
        let body = self.body(IntentKind::Open, now_ms);
        self.key.sign(body, chain)
    }

    #[expect(clippy::too_many_arguments, reason = "what a player sees, and where the intents go")]
    pub fn play(
        &mut self,
        machine: &mut Machine,
        account: AccountId,
        chain: &Hash,
        now_ms: u64,
        habits: &Habits,
        seats: usize,
        intents: &mut Vec<Intent>,
    ) {
        let home = self.home;
        let mut view = machine.read(|rows| View::of(rows, account, home, seats));
        if self.next_number <= view.number_highest {
            self.next_number = view.number_highest + 1;
        }
        let Some(seat) = view.seat.take() else {
            let chips = view.cage.min(Chips(habits.buy_in));
            let body = if chips.0 < 50 {
                return;
            } else {
                self.body(IntentKind::Sit, now_ms).at(self.home).amount(chips.0)
            };
            if view.table_full {
                self.home = TableId((self.home.0 + 1) % view.tables);
            }
            intents.push(self.key.sign(body, chain));
            return;
        };
        let broke = seat.rail.0 < 25 && seat.bets.is_empty();
        // The reckless see many tables, empty ones too.
        let stays = if self.strategy == Strategy::Reckless { 60 } else { 400 };
        let leaves = broke || self.rng.once_in(stays);
        let mut wishes = if leaves {
            vec![strategy::Wish::new(IntentKind::Leave)]
        } else {
            self.strategy.wishes(&view, &seat, &mut self.rng)
        };
        if seat.is_shooter && seat.may_roll(now_ms) && !leaves && self.rng.once_in(3) {
            wishes.push(strategy::Wish::new(IntentKind::Roll));
        }
        for wish in wishes {
            let body = wish.fill(self.body(wish.kind, now_ms)).at(self.home);
            intents.push(self.key.sign(body, chain));
        }
        if leaves {
            self.home = TableId((self.home.0 + 1) % view.tables);
        }
    }

    /// A pledge or an opening, if its table waits for one.
    pub fn bring_half(&mut self, rows: &Rows<'_>, setup: &Setup, now_ms: u64) -> Option<PledgeRow> {
        let (account, table) = (self.account?, self.home);
        let is_over = |late: &mut PledgeRow| rows.tables[late.table as usize].roll_number >= late.roll;
        if let Some(late) = self.half.late.take_if(is_over) {
            return Some(late);
        }
        let row = rows.tables.get(table.index()).filter(|row| setup.is_pledged(row))?;
        let seat = &rows.seats[table.index() * rows.seats_per_table()];
        if seat.account != account || !seat.is_seated() {
            return None;
        }
        let (pledge, roll) = (&rows.pledges[table.index()], row.roll_number + 1);
        let opens = pledge.is_frozen();
        let is_own = self.half.table == table && self.half.end(roll) == Some(&pledge.end);
        let was_sent = |(of, opened, at_ms)| (of, opened) == (roll, opens) && now_ms < at_ms + AGAIN_MS;
        if self.half.sent.is_some_and(was_sent) || self.half.withheld == Some(roll) || (opens && !is_own) {
            return None;
        }
        let value = self.half.end(roll + 1).copied().filter(|_| is_own);
        let unsigned = match value {
            Some(_) if !opens => return None,
            Some(value) => {
                let opening = PledgeRow::opening(self.public, table, roll, value, pledge.block);
                if self.strategy == Strategy::Reckless && self.rng.once_in(WITHHOLDS) {
                    self.half.withheld = Some(roll);
                    self.half.late = Some(self.key.sign_pledge(opening, &setup.chain));
                    return None;
                }
                opening
            }
            None => {
                self.half.begin(&setup.chain, table, &self.public, roll);
                let end = *self.half.end(roll).expect("the first roll");
                PledgeRow::pledge(self.public, table, roll, pledge.number + 1, end)
            }
        };
        self.half.sent = Some((roll, opens, now_ms));
        Some(self.key.sign_pledge(unsigned, &setup.chain))
    }
}
