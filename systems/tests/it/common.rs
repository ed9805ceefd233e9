//! A table world for tests: genesis, players who sit, and heights to settle.

use engine::genesis::{GENESIS_VERSION, Genesis, GenesisValidator, HexBytes, KeySource, Opening};
use engine::io::Verdict;
use engine::message::certificate::Beacon;
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::message::refusal::Refusal;
use engine::{BetId, Dice, Hash, Height, TableId, TableRules};
use systems::catalogue::bet_named;
use systems::{Draw, Machine, Setup};

pub const START_MS: u64 = 1_000_000;
pub const GRANT: u64 = 100_000;

pub fn genesis(tables: u32, seats: u32, accounts: u32) -> Genesis {
    Genesis {
        version: GENESIS_VERSION,
        name: "test".into(),
        keys: KeySource::Seed,
        start_ms: START_MS,
        supply: 1 << 50,
        tables,
        seats,
        accounts,
        grant: GRANT,
        opening: Opening::Free { per_height: u32::MAX },
        rules: vec![TableRules::default()],
        bank_target: 100_000_000,
        window_min_ms: 200,
        window_max_ms: 1_000,
        clock_phases: tables.min(4),
        idle_ms: 3_600_000,
        account_idle_ms: 3_600_000,
        idleness: Default::default(),
        block_interval_ms: 10,
        validators: vec![GenesisValidator {
            name: "test".into(),
            vote_key: HexBytes([1; 32]),
            dkg_key: HexBytes([8; 32]),
        }],
        group_key: HexBytes([2; 96]),
    }
}

pub fn key(player: u32) -> [u8; 32] {
    *blake3::hash(&player.to_le_bytes()).as_bytes()
}

pub fn bet(name: &str) -> BetId {
    bet_named(name).expect("a bet of the catalogue")
}

/// A machine, its clock, and the numbers its players have used.
pub struct Stage {
    pub machine: Machine,
    pub height: Height,
    pub time_ms: u64,
    numbers: std::collections::BTreeMap<[u8; 32], u64>,
}

impl Stage {
    pub fn new(genesis: Genesis) -> Self {
        Self::with_workers(genesis, 1)
    }

    pub fn with_workers(genesis: Genesis, workers: usize) -> Self {
        let time_ms = genesis.start_ms;
        let machine = Machine::new(Setup::new(genesis, [9; 32]).expect("a genesis"), workers);
        Self { machine, height: Height::GENESIS, time_ms, numbers: Default::default() }
    }

    /// `players` accounts, of which the first ones sit at table 0, each with `chips`.
    pub fn seated(genesis: Genesis, players: u32, chips: u64) -> Self {
        let mut stage = Self::new(genesis);
        let opens = (0..players).map(|player| stage.intent(player, IntentKind::Open, |body| body)).collect();
        stage.settle(opens);
        let seats = stage.machine.setup().genesis.seats.min(players);
        let sit = |body: IntentBody| body.at(TableId(0)).amount(chips);
        let sits = (0..seats).map(|player| stage.intent(player, IntentKind::Sit, sit)).collect();
        assert!(stage.settle(sits).iter().all(|verdict| *verdict == Verdict::Applied));
        stage
    }

    /// An intent with the player's next number.
    pub fn intent(&mut self, player: u32, kind: IntentKind, fill: impl FnOnce(IntentBody) -> IntentBody) -> Intent {
        let number = self.numbers.entry(key(player)).or_default();
        *number += 1;
        let expiry_s = u32::try_from(self.time_ms / 1_000 + 30).expect("test time");
        let body = fill(IntentBody::new(kind, key(player), *number, expiry_s));
        Intent { body, signature: [0; 64] }
    }

    /// Settles a height one millisecond on; no table is due then unless its window ends.
    pub fn settle(&mut self, intents: Vec<Intent>) -> Vec<Verdict> {
        self.settle_at(self.time_ms + 1, intents, Draw::Beacon([7; 48]))
    }

    /// Settles a height at a time.
    pub fn settle_at(&mut self, time_ms: u64, intents: Vec<Intent>, draw: Draw) -> Vec<Verdict> {
        self.height = self.height.next();
        self.time_ms = time_ms;
        let report = self.machine.settle(self.height, time_ms, intents, draw);
        report.receipts.iter().map(|receipt| receipt.verdict).collect()
    }

    /// Settles one intent.
    pub fn one(&mut self, player: u32, kind: IntentKind, fill: impl FnOnce(IntentBody) -> IntentBody) -> Verdict {
        let intent = self.intent(player, kind, fill);
        self.settle(vec![intent])[0]
    }

    /// Settles one intent that must be refused.
    pub fn refused(&mut self, player: u32, kind: IntentKind, fill: impl FnOnce(IntentBody) -> IntentBody) -> Refusal {
        match self.one(player, kind, fill) {
            Verdict::Refused(refusal) => refusal,
            verdict => panic!("{verdict:?} where a refusal was due"),
        }
    }

    /// Bets at table 0.
    pub fn bet(&mut self, player: u32, name: &str, number: u8, amount: u64) -> Verdict {
        self.one(player, IntentKind::Bet, |body| body.at(TableId(0)).on(bet(name), number).amount(amount))
    }

    /// Lets table 0 roll these dice at its time.
    pub fn roll(&mut self, first: u8, second: u8) {
        let time_ms = self.machine.next_due_ms().expect("somebody sits");
        let dice = Dice::new(first, second).expect("faces");
        self.settle_at(time_ms, Vec::new(), Draw::Given(dice));
    }

    pub fn rail(&mut self, seat: usize) -> u64 {
        self.machine.read(|rows| rows.seats[seat].rail.0)
    }

    pub fn image(&mut self) -> Vec<u8> {
        image(&mut self.machine)
    }
}

pub fn image(machine: &mut Machine) -> Vec<u8> {
    let mut image = Vec::new();
    let all: Result<(), ()> = machine.export(|part| {
        image.extend_from_slice(part);
        Ok(())
    });
    all.expect("writing to a vector cannot fail");
    image
}

/// Numbers that are the same in every run.
pub struct Lot(pub u64);

impl Lot {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// One decided height of a made-up session.
#[derive(Clone)]
pub struct Made {
    pub time_ms: u64,
    pub intents: Vec<Intent>,
    pub beacon: Beacon,
}

/// A session of `heights` in which players open, sit, bet, change their minds, roll and leave at all tables.
pub fn session(genesis: &Genesis, players: u32, heights: u64, seed: u64) -> Vec<Made> {
    let mut lot = Lot(seed);
    let mut stage = Stage::new(genesis.clone());
    let mut made = Vec::new();
    for height in 1..=heights {
        stage.time_ms += 20 + lot.below(200);
        let mut intents = Vec::new();
        for player in 0..players {
            let table = TableId(player % genesis.tables);
            let kind = match height {
                1 => IntentKind::Open,
                2 => IntentKind::Sit,
                _ if lot.below(3) > 0 => continue,
                _ => [
                    IntentKind::Bet,
                    IntentKind::Bet,
                    IntentKind::Bet,
                    IntentKind::Bet,
                    IntentKind::TakeDown,
                    IntentKind::SetAmount,
                    IntentKind::SetWorking,
                    IntentKind::Roll,
                    IntentKind::Leave,
                    IntentKind::Sit,
                ][lot.below(10) as usize],
            };
            let leaves = kind == IntentKind::Leave && lot.below(4) > 0;
            let (bet, number) =
                (BetId(lot.below(engine::limits::BETS as u64) as u8), [0, 4, 5, 6, 8, 9, 10][lot.below(7) as usize]);
            let (amount, working) = (1 + lot.below(200), lot.below(3) as u8);
            intents.push(stage.intent(player, if leaves { IntentKind::Bet } else { kind }, |body| match kind {
                IntentKind::Open => body,
                IntentKind::Sit => body.at(table).amount(10_000),
                IntentKind::Leave if leaves => body.at(table).on(BetId(0), 0).amount(amount),
                IntentKind::Bet | IntentKind::SetAmount => body.at(table).on(bet, number).amount(amount),
                IntentKind::TakeDown => body.at(table).on(bet, number),
                IntentKind::SetWorking => IntentBody { working, ..body.at(table).on(bet, number) },
                _ => body.at(table),
            }));
        }
        let beacon = std::array::from_fn(|_| lot.below(256) as u8);
        made.push(Made { time_ms: stage.time_ms, intents, beacon });
    }
    made
}

/// Settles made-up heights and returns the root after each.
pub fn play(stage: &mut Stage, made: &[Made]) -> Vec<Hash> {
    made.iter()
        .map(|made| {
            stage.settle_at(made.time_ms, made.intents.clone(), Draw::Beacon(made.beacon));
            stage.machine.report().root
        })
        .collect()
}
