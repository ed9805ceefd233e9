//! What a tick's workers cost before they do anything: memory from a worker's arena, and items handed out to a pool; and what of
//! the arenas a height uses.
//!
//! The limit of the arena is a bare `bumpalo` arena that is reset as often, and the same slices from the global allocator
//! are beside it; the limit of the pool is rayon's own split of the same items. `cargo test` shrinks everything.

use std::alloc::Layout;
use std::hint::black_box;
use std::time::Duration;

use benches::beside::{alone, beside, pooled, readable, time};
use benches::{World, tiny};
use bumpalo::Bump;
use criterion::{Criterion, Throughput};
use engine::pool::Arenas;
use rayon::prelude::*;
use systems::Draw;

/// Slices that are asked for between two resets: as many as a chunk of tables needs for its postings, about.
const SLICES: usize = 1_000;
/// Words of one, small and medium: 64 bytes and 1 KiB. What a plan for the arenas asked of them: nanoseconds for each.
const SIZES: [(&str, usize, f64); 2] = [("small", 8, 10.0), ("medium", 128, 100.0)];
/// Seats of a table of the world whose heights are looked at.
const SEATS: u32 = 8;
/// Times that everything is done in one run, so that a clock's own cost does not count.
const TIMES: usize = 100;

fn main() {
    let times = if tiny() { 2 } else { TIMES };
    pooled(1, |criterion| {
        SIZES.into_iter().for_each(|size| allocation(criterion, times, size));
    });
    for tables in if tiny() { [10, 200] } else { [1_000, 100_000] } {
        [false, true].into_iter().for_each(|watch| heights(tables, watch));
    }
    for threads in [1, 2] {
        pooled(threads, |criterion| execution(criterion, threads, times));
    }
}

/// Room for so many words, as any allocator gives it: nothing is written to it.
fn allocation(criterion: &mut Criterion, times: usize, (size, words, asked_ns): (&str, usize, f64)) {
    let mut group = criterion.benchmark_group("pool/arena allocation");
    group.throughput(Throughput::Elements((times * SLICES) as u64));
    let layout = Layout::array::<u64>(words).expect("it is small");
    let give = |arena: &Bump| {
        for _ in 0..SLICES {
            black_box(arena.alloc_layout(layout));
        }
    };
    let mut arenas = Arenas::new(1);
    let ours = || {
        time(|| {
            for _ in 0..times {
                // One item, as a chunk is one: what is timed is its slices.
                arenas.map(std::iter::once(()), |arena, ()| give(arena));
                arenas.reset();
            }
        })
    };
    let mut bare = Bump::with_capacity(64 * 1024);
    let limit = || {
        time(|| {
            for _ in 0..times {
                give(&bare);
                bare.reset();
            }
        })
    };
    let name = format!("{size}={words} words");
    let done = beside(&mut group, &name, ours, limit);
    let global = alone(&mut group, &format!("{name} from the global allocator"), || {
        time(|| {
            for _ in 0..times {
                black_box((0..SLICES).map(|_| Vec::with_capacity(words)).collect::<Vec<Vec<u64>>>());
            }
        })
    });
    group.finish();
    let name = format!("pool/arena allocation/{name}");
    done.print(&name, "a bare arena");
    if !done.ours.is_empty() && !global.is_empty() {
        let each = |seconds: f64| readable(seconds / (times * SLICES) as f64);
        let [ours, limit, global] = [&done.ours, &done.limit, &global].map(|runs| each(runs.median()));
        println!(
            "{name}: {ours} each (asked: under {asked_ns} ns); a bare arena {limit}, the global allocator {global}"
        );
    }
}

/// What of the arenas a height uses in which every table rolls, and what of that holds nothing at its end: as a node settles it, and
/// watched, as by whoever reads history and wants each roll and each bet.
fn heights(tables: u32, watch: bool) {
    let mut world = World::new(tables, SEATS, 1, 1);
    world.machine.watch(watch);
    let report = world.machine.settle(world.next, world.due_ms, Vec::new(), Draw::Beacon([1; 48]));
    assert_eq!(report.counts.rolls, u64::from(tables), "every table rolls");
    let used = world.machine.arena_use();
    let kib = |bytes: usize| bytes as f64 / 1_024.0;
    let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    println!(
        "pool/arena use/tables={tables}/watched={watch}: {:.1} KiB given of {:.0} KiB held, {:.1}% used (asked: over 85%); {:.1} KiB, {:.1}% of what \
         was given, lost (asked: under 5%)",
        kib(used.given),
        kib(used.held),
        share(used.given, used.held),
        kib(used.lost()),
        share(used.lost(), used.given),
    );
}

/// Items of so much arithmetic each: nothing, and about what a chunk of tables that hardly roll is.
fn execution(criterion: &mut Criterion, threads: usize, times: usize) {
    let mut group = criterion.benchmark_group(format!("pool/execution/threads={threads}"));
    for (chunks, rounds) in [(4, 1), (400, 1), (400, 2_000)] {
        group.throughput(Throughput::Elements((times * chunks) as u64));
        let mut arenas = Arenas::new(threads);
        let ours = || -> Duration {
            time(|| {
                for _ in 0..times {
                    black_box(arenas.map(0..chunks as u64, |_, seed| work(seed, rounds)));
                    arenas.reset();
                }
            })
        };
        let limit = || {
            time(|| {
                for _ in 0..times {
                    let done: Vec<u64> = (0..chunks as u64).into_par_iter().map(|seed| work(seed, rounds)).collect();
                    black_box(done);
                }
            })
        };
        let name = format!("chunks={chunks}/rounds={rounds}");
        let done = beside(&mut group, &name, ours, limit);
        done.print(&format!("pool/execution/threads={threads}/{name}"), "rayon's own split");
    }
    group.finish();
}

/// Arithmetic that takes about a nanosecond a round and depends on all before it.
fn work(seed: u64, rounds: u64) -> u64 {
    (0..rounds).fold(seed, |sum, round| (sum ^ round).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17))
}
