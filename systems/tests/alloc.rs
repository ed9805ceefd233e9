//! A steady settled height asks the global allocator for nothing.
#![expect(unsafe_code, reason = "a global allocator that counts is the only way to see every allocation")]

#[expect(dead_code, reason = "one test needs little of what all others share")]
#[path = "it/common.rs"]
mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Stage, genesis};
use engine::TableId;
use engine::message::intent::IntentKind;
use systems::Draw;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system allocator as it came; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// 1,200 full tables in four phases; bets come in as they are decided. Returns the allocations of each of the last
/// heights, counted from the moment the block is handed over.
fn steady(workers: usize) -> Vec<u64> {
    let pool = engine::pool::build(workers).expect("a pool");
    pool.install(|| {
        let (tables, seats) = (1_200, 4);
        let mut stage = Stage::with_workers(genesis(tables, seats, tables * seats), workers);
        let players = tables * seats;
        let opens = (0..players).map(|player| stage.intent(player, IntentKind::Open, |body| body)).collect();
        stage.settle(opens);
        let sit = |player: u32| TableId(player / seats);
        let sits = (0..players)
            .map(|player| stage.intent(player, IntentKind::Sit, |body| body.at(sit(player)).amount(10_000)))
            .collect();
        stage.settle(sits);
        let mut counted = Vec::new();
        for round in 0..60u8 {
            let intents: Vec<_> = (0..500)
                .map(|index| {
                    let player = (index * 37 + u32::from(round) * 11) % players;
                    let on = |body: engine::message::intent::IntentBody| {
                        body.at(sit(player)).on(engine::BetId([4, 43, 66, 98][index as usize % 4]), 0).amount(10)
                    };
                    stage.intent(player, IntentKind::Bet, on)
                })
                .collect();
            let due = stage.machine.next_due_ms().expect("players sit");
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            stage.machine.settle(stage.height.next(), due, intents, Draw::Beacon([round; 48]));
            counted.push(ALLOCATIONS.load(Ordering::Relaxed) - before);
            (stage.height, stage.time_ms) = (stage.height.next(), due);
            assert!(stage.machine.report().counts.rolls >= 300);
        }
        counted.split_off(40)
    })
}

#[test]
fn a_steady_height_allocates_nothing() {
    for workers in [1, 2] {
        // A pool belongs to its thread, so each number of workers has a thread of its own.
        #[expect(clippy::disallowed_methods, reason = "a pool belongs to its thread: the test needs a fresh one")]
        let counted = std::thread::spawn(move || steady(workers)).join().expect("no invariant is broken");
        assert_eq!(counted, vec![0; counted.len()], "{workers} workers");
    }
}
