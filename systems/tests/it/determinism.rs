//! The same inputs give the same roots: for any number of threads, from any image, in any process.

use crate::common::{Made, Stage, genesis, image, play, session};
use engine::genesis::{Genesis, Idleness};
use engine::{Hash, Height, hex};
use systems::{Machine, Setup};

/// Changes only on purpose: with the rules, the dice, the layout of a component, or what an intent does.
const GOLDEN: &str = "9aaa5b1cb9759e37ba573a90324f902e1e8239a464304442092b16c0d1d4ee2d";

#[expect(clippy::disallowed_methods, reason = "each pool needs a calling thread that is no other pool's worker")]
fn roots(genesis: &Genesis, made: &[Made], workers: usize) -> Vec<Hash> {
    std::thread::scope(|scope| {
        let run = || {
            let pool = engine::pool::build(workers).expect("a pool");
            pool.install(|| play(&mut Stage::with_workers(genesis.clone(), workers), made))
        };
        scope.spawn(run).join().expect("no invariant is broken")
    })
}

#[test]
fn roots_are_the_same_for_any_number_of_threads() {
    let genesis = genesis(600, 5, 2_000);
    let made = session(&genesis, 1_500, 30, 5);
    let expected = roots(&genesis, &made, 1);
    for workers in [2, 3, 8] {
        assert_eq!(roots(&genesis, &made, workers), expected, "{workers} workers");
    }
    assert_eq!(hex(expected.last().expect("a height")), GOLDEN);
}

/// A world in which grants go back, seats are given up and gaps are cut all the time.
fn restless(tables: u32, seats: u32, accounts: u32) -> Genesis {
    let idleness = Idleness { gap_max_ms: 90, grant_ms: 2_000, seat_ms: 400 };
    Genesis { idleness, idle_ms: 1_500, account_idle_ms: 2_000, ..genesis(tables, seats, accounts) }
}

#[test]
fn idleness_is_the_same_for_any_number_of_threads() {
    let genesis = restless(300, 2, 1_000);
    let made = session(&genesis, 900, 120, 4);
    let mut stage = Stage::new(genesis.clone());
    let expected = play(&mut stage, &made);
    let (closed, wanted) = stage.machine.read(|rows| {
        let closed = rows.accounts.iter().filter(|row| row.generation > 0 && !row.is_open()).count();
        (closed, rows.tables.iter().filter(|row| row.wanted_ms > 0).count())
    });
    assert!(closed > 20 && wanted > 20, "{closed} accounts closed, {wanted} tables wanted");
    for workers in [2, 3] {
        assert_eq!(roots(&genesis, &made, workers), expected, "{workers} workers");
    }
}

#[test]
fn the_root_is_the_hash_of_the_image_at_every_height() {
    let genesis = genesis(300, 8, 600);
    let made = session(&genesis, 500, 60, 6);
    let mut stage = Stage::new(genesis);
    let mut rolls = 0;
    for (number, made) in made.iter().enumerate() {
        // Every other height has rolls only, so that what they touch is not touched by an intent as well.
        let intents = if number > 4 && number % 2 == 0 { Vec::new() } else { made.intents.clone() };
        let root = play(&mut stage, &[Made { intents, ..made.clone() }])[0];
        rolls += stage.machine.report().counts.rolls;
        assert_eq!(root, *blake3::hash(&stage.image()).as_bytes(), "height {}", stage.height);
    }
    assert!(rolls > 500, "{rolls} rolls");
}

#[test]
fn a_machine_restored_at_any_height_goes_on_as_one_that_never_stopped() {
    let genesis = restless(40, 3, 200);
    let made = session(&genesis, 160, 60, 7);
    let mut stage = Stage::new(genesis.clone());
    let mut images = vec![stage.image()];
    let mut expected = Vec::new();
    for made in &made {
        expected.extend(play(&mut stage, std::slice::from_ref(made)));
        images.push(stage.image());
    }
    for (height, image) in images.iter().enumerate() {
        let mut restored = Stage::new(genesis.clone());
        restored.machine.import(image).expect("an image of this genesis");
        restored.height = Height(height as u64);
        assert_eq!(play(&mut restored, &made[height..]), expected[height..], "restored at height {height}");
    }
}

#[test]
fn a_fresh_machine_has_the_root_of_its_image() {
    let setup = Setup::new(genesis(3, 8, 9), [9; 32]).expect("a genesis");
    let mut machine = Machine::new(setup, 1);
    assert_eq!(machine.root(), *blake3::hash(&image(&mut machine)).as_bytes());
}
