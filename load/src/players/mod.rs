//! Simulated players: strategies that look at their table and send signed intents, as a client over the network would.
//!
//! Everything they do follows from the session's seed and from what they see, so that the same seed gives the same
//! session at any pace.

mod chance;
mod strategy;
mod half;
mod player;
mod fault;

use engine::io::{Receipt, Verdict};
use engine::message::intent::Intent;
use engine::message::pledge::PledgeRow;
use engine::message::refusal::Refusal;
use engine::{Hash, TableId};
use node::edge::LocalPlayers;
use order::keys::DevKeys;
use systems::Machine;

pub(crate) use chance::Chance;
pub(crate) use half::Half;
pub use player::Habits;
use player::Player;
pub use strategy::Strategy;

/// Strangers whose accounts the reckless try to open beside their own.
const STRANGERS: u32 = 8;

/// All players of a session.
pub struct Players {
    chain: Hash,
    habits: Habits,
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
    pub fn new(keys: DevKeys, chain: Hash, count: u32, tables: u32, seats: u32, seed: u64, habits: Habits) -> Self {
        let players_per_table = (count / tables).clamp(1, seats.min(6));
        let player = |number: u32| {
            let key = keys.player(number);
            let mut rng = Chance::new(seed, number.into());
            let strategy = Strategy::ALL[number as usize % Strategy::ALL.len()];
            // Neighbours sit together, so that small sessions have company too.
            let home = TableId((number / players_per_table) % tables);
            let act_at_ms = rng.below(200);
            let half = Half::default();
            Player { public: key.public(), key, strategy, rng, home, next_number: 1, account: None, act_at_ms, half }
        };
        let players: Vec<Player> = (0..count).map(player).collect();
        let by_key = players.iter().enumerate().map(|(index, player)| (player.public, index)).collect();
        Self { chain, habits, players, by_key, strangers: 0, keys, seats: seats as usize, tables }
    }
}

impl LocalPlayers for Players {
    fn hear(&mut self, receipt: &Receipt) {
        let Some(player) = self.by_key.get(&receipt.id.key).map(|index| &mut self.players[*index]) else { return };
        if receipt.verdict == Verdict::Refused(Refusal::NumberAhead) {
            // Intents in between were lost; the window has not moved so far.
            player.next_number = player.next_number.saturating_sub(engine::limits::NUMBER_WINDOW / 2).max(1);
        }
    }

    fn pledge(&mut self, machine: &mut Machine, now_ms: u64) -> Vec<PledgeRow> {
        if !machine.setup().has_pledged() {
            return Vec::new();
        }
        let setup = machine.setup().clone();
        let Self { players, .. } = self;
        machine.read(|rows| players.iter_mut().filter_map(|player| player.bring_half(rows, &setup, now_ms)).collect())
    }

    fn act(&mut self, machine: &mut Machine, now_ms: u64, start_ms: u64) -> Vec<Intent> {
        let mut intents = Vec::new();
        let since_start = now_ms - start_ms;
        if self.players.iter().all(|player| player.act_at_ms > since_start) {
            return intents;
        }
        let players_count = self.players.len() as u32;
        let Self { chain, habits, players, strangers, keys, seats, tables, .. } = self;
        for player in players.iter_mut().filter(|player| player.act_at_ms <= since_start) {
            let span = habits.think_max_ms - habits.think_min_ms + 1;
            player.act_at_ms = since_start + habits.think_min_ms + player.rng.below(span);
            if player.account.is_none() {
                player.account = machine.account_of(&player.public);
            }
            match player.account {
                None => intents.push(player.open(chain, now_ms)),
                Some(account) => player.play(machine, account, chain, now_ms, habits, *seats, &mut intents),
            }
            if player.strategy == Strategy::Reckless && player.rng.once_in(3) {
                // Most slots are for people: a few strangers take turns.
                let stranger = keys.player(players_count + *strangers % STRANGERS);
                if let Some(used) = fault::inject(player, &stranger, *tables, chain, now_ms, &mut intents) {
                    *strangers = strangers.wrapping_add(used);
                }
            }
        }
        intents
    }
}
