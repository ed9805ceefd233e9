//! Audits of dice over whole sessions: an honest one, and one whose operator chose among blocks.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use audit::dice::{DiceAudit, DiceConfig, Foresight, UNUSUAL, audit_dice};
use audit::reading::ReadOptions;
use audit::replay::{ReplayConfig, replay};
use audit::walker::walk_to;
use engine::genesis::KeySource;
use engine::message::block::{Block, Decided};
use engine::message::certificate::{Beacon, Certificate, CertificateSignature};
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::message::vote::{VoteBody, VoteKind};
use engine::{Dice, Genesis, Height, Puck, TableId};
use load::dev::{DevConfig, apart, genesis, open};
use node::clock::Pace;
use order::beacon::{BeaconMessage, BeaconSigner};
use order::block::{BlockBuilder, BlockContext, BlockValidators};
use order::keys::{DevKeys, dev_keys};
use order::signature::PlayerKey;
use order::validators::Validators;
use storage::{Disk, Frame, FrameKind, Session, Storage, SyncGroup, Writing};
use systems::catalogue::bet_named;
use systems::exchange::beacon::EPOCH;
use systems::{Machine, Setup};

/// The only table.
const TABLE: TableId = TableId(0);

/// An operator who holds all keys, and writes a session without a node.
struct Operator {
    machine: Machine,
    validators: Validators,
    keys: DevKeys,
    signer: BeaconSigner,
    player: PlayerKey,
    number: u64,
    certificate: Option<Certificate>,
    frames: Vec<Frame>,
    /// Blocks that it tries for each roll.
    tries: u64,
}

impl Operator {
    fn new(setup: Setup, tries: u64) -> Self {
        let mut seed = [0; 32];
        seed[0] = 1;
        let mut keys = dev_keys(&seed, NonZeroU32::MIN);
        let signer = keys.beacons.pop().expect("a group of one has one share");
        Self {
            validators: Validators::of_genesis(&setup.genesis).expect("validators"),
            player: keys.player(0),
            machine: Machine::new(setup, 1),
            keys,
            signer,
            number: 0,
            certificate: None,
            frames: Vec::new(),
            tries,
        }
    }

    fn intent(&mut self, kind: IntentKind, fill: impl FnOnce(IntentBody) -> IntentBody) -> Intent {
        self.number += 1;
        let expiry_s = u32::try_from(self.machine.chain().parent_time_ms / 1_000 + 30).expect("before 2106");
        let body = fill(IntentBody::new(kind, self.player.public(), self.number, expiry_s));
        self.player.sign(body, &self.machine.setup().chain)
    }

    fn bet(&mut self, name: &str, amount: u64) -> Intent {
        let bet = bet_named(name).expect("a bet");
        self.intent(IntentKind::Bet, |body| body.at(TABLE).on(bet, 0).amount(amount))
    }

    /// A block of some time, and the beacon over it, which the operator alone can make.
    fn block(&self, time_ms: u64, intents: &[Intent]) -> (Block, Beacon) {
        let (chain, validators) = (self.machine.chain(), &self.validators);
        let height = chain.decided.next();
        let context = BlockContext {
            chain: &self.machine.setup().chain,
            height,
            parent: chain.parent,
            parent_time_ms: chain.parent_time_ms,
            root_chain: chain.root_chain_for(height),
            validators: BlockValidators::unchanging(validators),
            issuers: &[],
            has_pledged: false,
        };
        let mut builder = BlockBuilder::new(context, 0, time_ms, self.certificate.clone());
        intents.iter().for_each(|intent| builder.push(intent).expect("it fits"));
        let block = builder.finish();
        let message =
            BeaconMessage { chain: self.machine.setup().chain, epoch: EPOCH, height, block: block.header.hash() };
        let beacon = self.signer.share(&message).signature;
        (block, beacon)
    }

    /// Decides a height: of the blocks that it tries, which differ by a millisecond, the one whose dice it likes most.
    fn height(&mut self, intents: &[Intent]) {
        let setup = self.machine.setup().clone();
        let (puck, roll) = self.machine.read(|rows| (rows.tables[0].puck(), rows.tables[0].roll_number + 1));
        let time_ms = self.machine.next_due_ms().unwrap_or(self.machine.chain().parent_time_ms + 1);
        let liked = |beacon: &Beacon| liked(puck, order::dice::dice(beacon, TABLE, roll, &setup.catalogues[0].hash()));
        let tried = (0..self.tries).map(|later| self.block(time_ms + later, intents));
        let (block, beacon) = tried.max_by_key(|(_, beacon)| liked(beacon)).expect("one is tried");
        let (height, hash) = (block.header.height, block.header.hash());
        let body = VoteBody::new(VoteKind::Precommit, height, 0, Some(hash), 0);
        let signature = self.keys.votes[0].sign_vote(body, &setup.chain).signature;
        let signatures = vec![CertificateSignature { slot: 0, signature }];
        let certificate = Certificate { height, round: 0, block: hash, signatures };
        self.certificate = Some(certificate.clone());
        let decided = Decided { block, certificate };
        let settled = self.machine.restore(&decided, Some(beacon)).expect("its beacon is known");
        let frame = |kind, body| Frame { kind, height, body };
        self.frames.push(frame(FrameKind::Decided, decided.encode()));
        self.frames.push(frame(FrameKind::Settled, settled.encode()));
    }
}

/// How much a house likes a roll whose player has the field and the pass line: what it gains at once.
fn liked(puck: Puck, dice: Dice) -> i32 {
    let line = match (puck, dice.total()) {
        (Puck::On(_), 7) | (Puck::Off, 2 | 3 | 12) => 1,
        (Puck::Off, 7 | 11) => -1,
        (Puck::On(point), total) if point == total => -1,
        _ => 0,
    };
    line + if (5..=8).contains(&dice.total()) { 1 } else { -1 }
}

/// Writes a session of one player, who bets on the field at each roll and on the pass line at each come-out.
fn record(dir: &Path, tries: u64, rolls: u32) {
    let config = DevConfig { tables: 1, players: 1, guests: 1, ..DevConfig::default() };
    let genesis = Genesis { keys: KeySource::Own, ..genesis(&config) };
    let bytes = serde_json::to_vec(&genesis).expect("plain data");
    let mut operator = Operator::new(Setup::new(genesis, Genesis::chain_id(&bytes)).expect("a genesis"), tries);
    let open = operator.intent(IntentKind::Open, |body| body);
    let sit = operator.intent(IntentKind::Sit, |body| body.at(TABLE).amount(10_000));
    operator.height(&[open, sit]);
    for _ in 0..rolls {
        let puck = operator.machine.read(|rows| rows.tables[0].puck());
        let mut bets = vec![operator.bet("field", 10)];
        if puck == Puck::Off {
            bets.push(operator.bet("pass", 10));
        }
        operator.height(&bets);
    }
    let storage =
        Storage::of(Disk::open(Session::create(dir, &bytes).expect("new"), Writing::default()).expect("empty").disk)
            .expect("a thread");
    for (id, frames) in (1..).zip(operator.frames.chunks(16)) {
        storage.submit(SyncGroup { id, frames: frames.to_vec(), entries: vec![(Height(id), vec![1; 8])], fence: None });
    }
    storage.close();
}

fn audited(dir: &Path, to: Option<Height>) -> DiceAudit {
    apart(|| audit_dice(dir, &DiceConfig { to, ..DiceConfig::default() }, |_| ())).expect("a session")
}

#[test]
fn an_operator_who_chooses_among_four_blocks_replays_and_is_seen() {
    let place = tempfile::tempdir().expect("a directory");
    let (honest, chosen) = (place.path().join("honest"), place.path().join("chosen"));
    apart(|| record(&honest, 1, 200));
    apart(|| record(&chosen, 4, 200));
    for dir in [&honest, &chosen] {
        let outcome = apart(|| replay(dir, &ReplayConfig::all(ReadOptions::default()), |_| ())).expect("a session");
        assert_eq!((outcome.difference, outcome.height), (None, Height(201)), "a replay sees nothing wrong in either");
    }
    let honest = audited(&honest, None);
    assert_eq!((honest.rolls(), honest.foreseen), (200, [0, 200, 0]), "the operator alone could foresee all of them");
    assert_eq!(honest.tables[0].0, Foresight::Operator);
    assert!(!honest.is_unusual(), "{honest:?}");
    let found = audited(&chosen, None);
    println!("seen: {:?}", found.highest);
    assert!(found.is_unusual() && found.tables[0].1.house.beyond() > 500.0, "{found:?}");
    assert!(found.by_table().value() > UNUSUAL && found.by_proposer().value() > UNUSUAL);
    // Whoever looked before saw the same, as far as it went.
    let early = audited(&chosen, Some(Height(60)));
    assert_eq!((early.height, early.rolls()), (Height(60), 59));
    assert!(early.highest.evidence <= found.highest.evidence);
}

/// The chips that players hold at the end, and those that they were granted.
fn players(dir: &Path) -> (u64, u64) {
    let mut machine = walk_to(dir, None, ReadOptions::default()).expect("a session").into_machine();
    let setup = machine.setup().clone();
    machine.read(|rows| {
        let felts = rows.tables.iter().map(|table| table.felt.0).sum::<u64>();
        let rails = rows.seats.iter().map(|seat| seat.rail.0).sum::<u64>();
        let open = rows.accounts.iter().filter(|account| account.is_open());
        let cages = open.clone().map(|account| account.cage.0).sum::<u64>();
        (felts + rails + cages, open.count() as u64 * setup.genesis.grant)
    })
}

#[test]
fn an_audit_counts_what_the_session_has() {
    let place = tempfile::tempdir().expect("a directory");
    let dir = place.path().join("s");
    let totals = apart(|| {
        let config = DevConfig { pace: Pace::Max, threads: 1, ..DevConfig::default() };
        let mut opened = open(&dir, &config).expect("a session");
        opened.node.run(Some(200), &AtomicBool::new(false), |_, _, _| ()).expect("the session runs");
        opened.node.close()
    });
    let audit = audited(&dir, None);
    assert_eq!((audit.height, audit.rolls()), (Height(200), totals.counts.rolls));
    assert_eq!(audit.foreseen, [0, 0, totals.counts.rolls], "its keys follow from a seed");
    let won: i64 = audit.tables.iter().map(|(_, table)| table.won).sum();
    // What the house won is what the players have less than they were granted: in cages, on rails, and in bets that still lie.
    let (held, granted) = apart(|| players(&dir));
    assert_eq!(won, granted as i64 - held as i64);
    assert_eq!(audit.proposers[0].won, won);
    assert_eq!(audit.tables.iter().map(|(_, table)| table.rolls).sum::<u64>(), audit.rolls());
    let beyond: f64 = audit.tables.iter().map(|(_, table)| table.house.beyond()).sum();
    assert!((beyond - audit.proposers[0].house.beyond()).abs() < 1e-6);
    assert!(!audit.is_unusual());
    let error = apart(|| audit_dice(&dir, &DiceConfig { to: Some(Height(201)), ..DiceConfig::default() }, |_| ()));
    assert!(error.expect_err("it ends before").to_string().contains("the session ends at height 200"));
}
