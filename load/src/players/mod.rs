//! Simulated players: strategies that look at their table and send signed intents, as a client over the network would.
//!
//! Everything they do follows from the session's seed and from what they see, so that the same seed gives the same
//! session at any pace.

mod fault;
mod strategy;

use engine::io::{Receipt, Verdict};
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::message::refusal::Refusal;
use engine::{AccountId, Chips, Hash, TableId};
use node::run::LocalPlayers;
use order::keys::DevKeys;
use order::signature::PlayerKey;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use systems::Machine;

pub use strategy::Strategy;
use strategy::View;

/// Seconds of block time until an intent expires.
const EXPIRY_S: u64 = 20;
/// Strangers whose accounts the reckless try to open beside their own.
const STRANGERS: u32 = 8;

/// How players think.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Temper {
    /// Shortest time between two intents of a player, in milliseconds.
    pub think_min_ms: u64,
    /// Longest time.
    pub think_max_ms: u64,
    /// Chips a player sits down with.
    pub buy_in: u64,
}

impl Default for Temper {
    fn default() -> Self {
        Self { think_min_ms: 150, think_max_ms: 1_500, buy_in: 4_000 }
    }
}

/// One simulated player.
struct Player {
    key: PlayerKey,
    public: [u8; 32],
    strategy: Strategy,
    rng: Dice,
    /// The table they like.
    home: TableId,
    next_number: u64,
    account: Option<AccountId>,
    act_at_ms: u64,
}

/// Randomness of one player.
pub struct Dice(ChaCha8Rng);

impl Dice {
    fn new(seed: u64, player: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(player);
        Self(rng)
    }

    /// A number below `bound`, which is not zero. The bias of 64 bits is nothing to a simulated player.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of a list that is not empty.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}

/// All players of a session.
pub struct Players {
    chain: Hash,
    temper: Temper,
    players: Vec<Player>,
    by_key: std::collections::BTreeMap<[u8; 32], usize>,
    /// How often the reckless tried to open the account of a stranger.
    strangers: u32,
    keys: DevKeys,
    seats: usize,
    tables: u32,
}

impl Players {
    /// `count` players at `tables` tables; each strategy has its share.
    pub fn new(keys: DevKeys, chain: Hash, count: u32, tables: u32, seats: u32, seed: u64, temper: Temper) -> Self {
        let company = (count / tables).clamp(1, seats.min(6));
        let player = |number: u32| {
            let key = keys.player(number);
            let mut rng = Dice::new(seed, number.into());
            let strategy = Strategy::ALL[number as usize % Strategy::ALL.len()];
            // Neighbours sit together, so that small sessions have company too.
            let home = TableId((number / company) % tables);
            let act_at_ms = rng.below(200);
            Player { public: key.public(), key, strategy, rng, home, next_number: 1, account: None, act_at_ms }
        };
        let players: Vec<Player> = (0..count).map(player).collect();
        let by_key = players.iter().enumerate().map(|(index, player)| (player.public, index)).collect();
        Self { chain, temper, players, by_key, strangers: 0, keys, seats: seats as usize, tables }
    }
}

impl LocalPlayers for Players {
    fn hear(&mut self, receipt: &Receipt) {
        let Some(player) = self.by_key.get(&receipt.key).map(|index| &mut self.players[*index]) else { return };
        if receipt.verdict == Verdict::Refused(Refusal::NumberAhead) {
            // Intents in between were lost; the window has not moved so far.
            player.next_number = player.next_number.saturating_sub(engine::limits::NUMBER_WINDOW / 2).max(1);
        }
    }

    fn act(&mut self, machine: &mut Machine, now_ms: u64, start_ms: u64) -> Vec<Intent> {
        let mut intents = Vec::new();
        let since_start = now_ms - start_ms;
        if self.players.iter().all(|player| player.act_at_ms > since_start) {
            return intents;
        }
        let players_count = self.players.len() as u32;
        let Self { chain, temper, players, strangers, keys, seats, tables, .. } = self;
        for player in players.iter_mut().filter(|player| player.act_at_ms <= since_start) {
            let span = temper.think_max_ms - temper.think_min_ms + 1;
            player.act_at_ms = since_start + temper.think_min_ms + player.rng.below(span);
            if player.account.is_none() {
                player.account = machine.account_of(&player.public);
            }
            let before = intents.len();
            match player.account {
                None => intents.push(player.open(chain, now_ms)),
                Some(account) => player.play(machine, account, chain, now_ms, temper, *seats, &mut intents),
            }
            if player.strategy == Strategy::Reckless && player.rng.once_in(3) {
                // Most slots are for people: a few strangers take turns.
                let stranger = keys.player(players_count + *strangers % STRANGERS);
                if let Some(used) = fault::inject(player, &stranger, *tables, chain, now_ms, &mut intents) {
                    *strangers = strangers.wrapping_add(used);
                }
            }
            debug_assert!(intents.len() >= before);
        }
        intents
    }
}

impl Player {
    fn body(&mut self, kind: IntentKind, now_ms: u64) -> IntentBody {
        let number = self.next_number;
        self.next_number += 1;
        let expiry_s = u32::try_from(now_ms / 1_000 + EXPIRY_S).expect("seconds since 1970 fit until 2106");
        IntentBody::new(kind, self.public, number, expiry_s)
    }

    fn open(&mut self, chain: &Hash, now_ms: u64) -> Intent {
        // Not refused for good: the number of an account that did not open is not used up.
        self.next_number = 1;
        let body = self.body(IntentKind::Open, now_ms);
        self.key.sign(body, chain)
    }

    #[expect(clippy::too_many_arguments, reason = "what a player sees, and where the intents go")]
    fn play(
        &mut self,
        machine: &mut Machine,
        account: AccountId,
        chain: &Hash,
        now_ms: u64,
        temper: &Temper,
        seats: usize,
        intents: &mut Vec<Intent>,
    ) {
        let home = self.home;
        let mut view = machine.read(|rows| View::of(rows, account, home, seats));
        if self.next_number <= view.number_highest {
            self.next_number = view.number_highest + 1;
        }
        let Some(seat) = view.seat.take() else {
            let chips = view.cage.min(Chips(temper.buy_in));
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
}
