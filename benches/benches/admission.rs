//! Admission: how many intents a second enter a node, from its inbox to the queue for a block, against bare batch
//! verification of the same signatures in the same run.
//!
//! `cargo test` shrinks everything: then the figures mean nothing.

use std::cell::RefCell;
use std::num::NonZeroU32;

use benches::beside::{beside, group, pooled, readable, time};
use benches::tiny;
use bevy_ecs::schedule::IntoScheduleConfigs;
use bevy_ecs::system::ResMut;
use criterion::{Criterion, Throughput};
use ed25519_zebra::batch;
use engine::PeerId;
use engine::genesis::{GENESIS_VERSION, Genesis, HexBytes, KeySource, Opening};
use engine::io::Input;
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::{TableId, TableRules};
use order::batch::BatchSecret;
use order::keys::{DevKeys, dev_keys};
use order::signature::PlayerKey;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;
use systems::chained;
use systems::exchange::planted::Sound;
use systems::exchange::{Inbox, Pending, ingress, peers, verify};
use systems::machine::Membership;
use systems::{Machine, Setup};

/// Signatures of one bare batch: as many as the node takes together.
const BATCH: usize = 256;
/// Players whose intents arrive in turns.
const PLAYERS: u32 = 1_000;
/// The bench's time is zero, and no intent may expire.
const EXPIRY_S: u32 = 30;

fn main() {
    let sizes: &[usize] = if tiny() { &[64] } else { &[64, 256, 1_024, 8_192] };
    let setup = chain(&keys());
    for threads in [1, 2] {
        pooled(threads, |criterion| admit(criterion, &setup, sizes, threads));
    }
}

fn keys() -> DevKeys {
    dev_keys(&[1; 32], NonZeroU32::MIN)
}

fn chain(keys: &DevKeys) -> Setup {
    let mut genesis = Genesis {
        version: GENESIS_VERSION,
        name: "bench".into(),
        keys: KeySource::Seed,
        start_ms: 1,
        supply: 1 << 40,
        tables: 1,
        seats: 8,
        accounts: PLAYERS,
        grant: 1_000,
        opening: Opening::Free { per_height: PLAYERS },
        rules: vec![TableRules::default()],
        bank_target: 1 << 20,
        window_min_ms: 200,
        window_max_ms: 1_000,
        clock_phases: 1,
        idle_ms: 1 << 40,
        account_idle_ms: 1 << 40,
        idleness: Default::default(),
        block_interval_ms: 10,
        validators: Vec::new(),
        group_key: HexBytes([0; 96]),
    };
    keys.install(&mut genesis);
    Setup::new(genesis, [7; 32]).expect("a genesis")
}

/// Players whose intents are all new: one that is known would be answered without a signature.
struct Players {
    keys: Vec<PlayerKey>,
    signed: usize,
}

impl Players {
    fn new(keys: &DevKeys) -> Self {
        Self { keys: (0..PLAYERS).map(|player| keys.player(player)).collect(), signed: 0 }
    }

    fn sign(&mut self, count: usize, chain: &[u8; 32]) -> Vec<Intent> {
        let sign = |number: usize| {
            let key = &self.keys[number % self.keys.len()];
            let number = (number / self.keys.len()) as u64;
            key.sign(IntentBody::new(IntentKind::Leave, key.public(), number, EXPIRY_S).at(TableId(0)), chain)
        };
        let intents = (self.signed..self.signed + count).into_par_iter().map(sign).collect();
        self.signed += count;
        intents
    }
}

fn admit(criterion: &mut Criterion, setup: &Setup, sizes: &[usize], threads: usize) {
    let keys = keys();
    let players = RefCell::new(Players::new(&keys));
    let [vote] = <[_; 1]>::try_from(keys.votes).expect("one validator");
    let [signer] = <[_; 1]>::try_from(keys.beacons).expect("one share");
    let secret = BatchSecret::draw(getrandom::fill).expect("the system gives randomness");
    let member = Membership { vote, group: keys.group, signer, secret, peers: 1, network: None };
    let mut machine = Machine::validator(setup.clone(), threads, member).expect("a validator");
    let mut admission = chained();
    admission.add_systems(
        (peers::update_peers, ingress::take_inputs::<Sound>, verify::verify_intents, peers::judge_peers).chain(),
    );
    for &size in sizes {
        let name = format!("admission/threads={threads}");
        let mut group = group(criterion, name.clone(), Throughput::Elements(size as u64));
        let sign = || players.borrow_mut().sign(size, &setup.chain);
        let ours = || {
            let mut arrived = vec![Input::Intents { from: PeerId::LOCAL, intents: sign() }];
            let mut arrive = chained();
            arrive.add_systems(move |mut inbox: ResMut<'_, Inbox>| inbox.inputs.append(&mut arrived));
            machine.run(&mut arrive);
            let took = time(|| machine.run(&mut admission));
            let mut leave = chained();
            leave.add_systems(move |mut pending: ResMut<'_, Pending>| {
                assert_eq!(pending.queue.len(), size, "every intent was admitted");
                pending.queue.clear();
            });
            machine.run(&mut leave);
            took
        };
        let id = format!("intents={size}");
        let limit = || {
            let intents = sign();
            time(|| verify_bare(&intents, &setup.chain))
        };
        let admitted = beside(&mut group, &id, ours, limit);
        admitted.print(&format!("{name}/{id}"), "bare batches");
        if !admitted.ours.is_empty() {
            let each = |seconds: f64| readable(seconds / size as f64);
            println!(
                "{name}/{id}: {:.0} intents/s, {} each; in bare batches {} each",
                size as f64 / admitted.ours.median(),
                each(admitted.ours.median()),
                each(admitted.limit.median()),
            );
        }
        group.finish();
    }
}

/// The library's own batches over the same signatures, shared among the same workers.
fn verify_bare(intents: &[Intent], chain: &[u8; 32]) {
    intents.par_chunks(BATCH).enumerate().for_each(|(number, intents)| {
        let mut verifier = batch::Verifier::new();
        for intent in intents {
            verifier.queue((intent.body.key.into(), intent.signature.into(), &intent.body.signed_bytes(chain)));
        }
        let mut rng = ChaCha20Rng::seed_from_u64(number as u64);
        verifier.verify(&mut rng).expect("they were signed");
    });
}
