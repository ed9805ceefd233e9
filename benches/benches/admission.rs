//! Admission: how many intents a second enter a node, from its inbox to the queue for a block, against bare batch
//! verification of the same signatures in the same run.
//!
//! `cargo test` shrinks everything: then the figures mean nothing.

use std::num::NonZeroU32;

use benches::{middle, time, tiny};
use bevy_ecs::schedule::IntoScheduleConfigs;
use bevy_ecs::system::ResMut;
use ed25519_zebra::batch;
use engine::PeerId;
use engine::genesis::{GENESIS_VERSION, Genesis, HexBytes, KeySource, Opening};
use engine::io::Input;
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::{TableId, TableRules};
use order::batch::BatchSeed;
use order::keys::{DevKeys, dev_keys};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;
use systems::chained;
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
    let runs = if tiny() { 2 } else { 9 };
    let sizes: &[usize] = if tiny() { &[64] } else { &[64, 256, 1_024, 8_192] };
    let (setup, intents) = chain_and_intents(&keys(), sizes.iter().sum::<usize>() * runs);
    for threads in [1, 2] {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let pool = engine::pool::build(threads).expect("a pool");
                pool.install(|| admit(&setup, &intents, sizes, runs, threads));
            });
        });
    }
}

fn keys() -> DevKeys {
    dev_keys(&[1; 32], NonZeroU32::MIN)
}

fn chain_and_intents(keys: &DevKeys, count: usize) -> (Setup, Vec<Intent>) {
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
    let chain = [7; 32];
    let players: Vec<_> = (0..PLAYERS).map(|player| keys.player(player)).collect();
    let sign = |number: usize| {
        let key = &players[number % players.len()];
        let number = (number / players.len()) as u64;
        key.sign(IntentBody::new(IntentKind::Leave, key.public(), number, EXPIRY_S).at(TableId(0)), &chain)
    };
    let intents = (0..count).into_par_iter().map(sign).collect();
    (Setup::new(genesis, chain).expect("a genesis"), intents)
}

fn admit(setup: &Setup, intents: &[Intent], sizes: &[usize], runs: usize, threads: usize) {
    let keys = keys();
    let [vote] = <[_; 1]>::try_from(keys.votes).expect("one validator");
    let [signer] = <[_; 1]>::try_from(keys.beacons).expect("one share");
    let seed = BatchSeed::draw(getrandom::fill).expect("the system gives randomness");
    let member = Membership { vote, group: keys.group, signer, seed, peers: 1, network: None };
    let mut machine = Machine::validator(setup.clone(), threads, member).expect("a validator");
    let mut admission = chained();
    admission
        .add_systems((peers::update_peers, ingress::take_inputs, verify::verify_intents, peers::judge_peers).chain());
    let mut rest = intents;
    for size in sizes {
        let (mut node, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let (some, others) = rest.split_at(*size);
            rest = others;
            bare.push(time(|| verify_bare(some, &setup.chain)));
            let mut arrived = vec![Input::Intents { from: PeerId::LOCAL, intents: some.to_vec() }];
            let mut arrive = chained();
            arrive.add_systems(move |mut inbox: ResMut<'_, Inbox>| inbox.inputs.append(&mut arrived));
            machine.run(&mut arrive);
            node.push(time(|| machine.run(&mut admission)));
            let mut leave = chained();
            let count = *size;
            leave.add_systems(move |mut pending: ResMut<'_, Pending>| {
                assert_eq!(pending.queue.len(), count, "every intent was admitted");
                pending.queue.clear();
            });
            machine.run(&mut leave);
        }
        let (node, bare) = (middle(node), middle(bare));
        let per_s = |seconds: f64| *size as f64 / seconds;
        println!(
            "admission::verify/intents={size}/threads={threads}: {:.0}/s, {:.2} of bare batches ({:.0}/s, {:.1} us each)",
            per_s(node),
            bare / node,
            per_s(bare),
            1e6 * bare / *size as f64,
        );
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
