//! Workloads that the benches share.

pub mod beside;
pub mod raw;
pub mod trace;

use engine::genesis::{GENESIS_VERSION, Genesis, GenesisValidator, HexBytes, KeySource, Opening};
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::{BetId, Height, TableId, TableRules};
use systems::{Draw, Machine, Setup};

/// Intents of one block.
const BLOCK: usize = 7_000;
/// When bench worlds begin, in milliseconds.
const START_MS: u64 = 1_000_000;

/// Whether the benches are only to show that they run: `cargo bench` asks for figures, `cargo test` does not.
pub fn tiny() -> bool {
    std::env::args().all(|argument| argument != "--bench")
}

/// Four bets that players like, of which a roll decides about a fifth.
pub const FAVOURITES: [u8; 8] = [0, 66, 67, 26, 27, 9, 10, 82];

/// How many of them a player has.
const LIKED: usize = 4;

/// The favourites of a player.
pub fn favourites(player: u32) -> [u8; LIKED] {
    std::array::from_fn(|bet| FAVOURITES[(player as usize + bet * 3) % FAVOURITES.len()])
}

/// A world of `tables` full tables, every seat with four bets, all due at the same moment.
pub struct World {
    /// The machine.
    pub machine: Machine,
    /// The height that comes next.
    pub next: Height,
    /// The moment at which every table is due.
    pub due_ms: u64,
    numbers: u64,
}

/// A player's key.
pub fn key(player: u32) -> [u8; 32] {
    *blake3::hash(&player.to_le_bytes()).as_bytes()
}

fn genesis(tables: u32, seats: u32, phases: u32) -> Genesis {
    Genesis {
        version: GENESIS_VERSION,
        name: "bench".into(),
        keys: KeySource::Seed,
        start_ms: START_MS,
        supply: 1 << 60,
        tables,
        seats,
        accounts: tables * seats,
        grant: 1_000_000,
        opening: Opening::Free { per_height: u32::MAX },
        rules: vec![TableRules::default()],
        bank_target: 1 << 40,
        window_min_ms: 200,
        window_max_ms: 3_600_000,
        clock_phases: phases,
        idle_ms: 1 << 40,
        account_idle_ms: 1 << 40,
        idleness: Default::default(),
        block_interval_ms: 10,
        validators: vec![GenesisValidator {
            name: "bench".into(),
            vote_key: HexBytes([0; 32]),
            dkg_key: HexBytes([8; 32]),
        }],
        group_key: HexBytes([0; 96]),
    }
}

impl World {
    /// Opens every account, seats everybody, and places the bets, through intents like any others.
    pub fn new(tables: u32, seats: u32, phases: u32, workers: usize) -> Self {
        let setup = Setup::new(genesis(tables, seats, phases), [0; 32]).expect("a genesis");
        let machine = Machine::new(setup, workers);
        let mut world = Self { machine, next: Height(1), due_ms: 0, numbers: 0 };
        let players = tables * seats;
        world.all(players, |body, _| body, IntentKind::Open);
        world.all(players, |body, player| body.at(TableId(player / seats)).amount(100_000), IntentKind::Sit);
        for bet in 0..LIKED {
            let place = |body: IntentBody, player: u32| {
                body.at(TableId(player / seats)).on(BetId(favourites(player)[bet]), 0).amount(60)
            };
            world.all(players, place, IntentKind::Bet);
        }
        world.due_ms = world.machine.next_due_ms().expect("players sit");
        world
    }

    fn all(&mut self, players: u32, fill: impl Fn(IntentBody, u32) -> IntentBody, kind: IntentKind) {
        self.numbers += 1;
        let number = self.numbers;
        let expiry_s = (START_MS / 1_000 + 30) as u32;
        for first in (0..players).step_by(BLOCK) {
            let last = players.min(first + BLOCK as u32);
            let intents = (first..last).map(|player| {
                let body = fill(IntentBody::new(kind, key(player), number, expiry_s), player);
                Intent { body, signature: [0; 64] }
            });
            // Blocks of one millisecond each: no table is due before the world is complete.
            let time_ms = START_MS + self.next.0;
            let report = self.machine.settle(self.next, time_ms, intents.collect(), Draw::Beacon([1; 48]));
            assert_eq!(report.counts.applied, u64::from(last - first), "the workload is applied in full");
            self.next = self.next.next();
        }
    }

    /// The image of the world.
    pub fn image(&mut self) -> Vec<u8> {
        let mut image = Vec::with_capacity(self.machine.layout().bytes() as usize);
        let all: Result<(), ()> = self.machine.export(|part| {
            image.extend_from_slice(part);
            Ok(())
        });
        all.expect("writing to a vector cannot fail");
        image
    }
}

/// RssAnon and RssShmem of this process, in MiB.
pub fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0)
    };
    (kib("RssAnon:") + kib("RssShmem:")) / 1_024
}
