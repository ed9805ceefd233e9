//! What a tick's workers cost before they do anything: memory from a worker's arena, and items handed out to a pool.
//!
//! The limit of the arena is a bare `bumpalo` arena that is reset as often, and the same slices from the global allocator
//! are beside it; the limit of the pool is rayon's own split of the same items. `cargo test` shrinks everything.

use std::hint::black_box;
use std::time::Duration;

use benches::beside::{alone, beside, pooled, time};
use benches::tiny;
use criterion::{Criterion, Throughput};
use engine::pool::Arenas;
use rayon::prelude::*;

/// Slices that a chunk of tables needs for its postings, about.
const SLICES: usize = 1_000;
/// Words of one.
const WORDS: usize = 8;
/// Times that everything is done in one run, so that a clock's own cost does not count.
const TIMES: usize = 100;

fn main() {
    let times = if tiny() { 2 } else { TIMES };
    pooled(1, |criterion| allocation(criterion, times));
    for threads in [1, 2] {
        pooled(threads, |criterion| execution(criterion, threads, times));
    }
}

fn allocation(criterion: &mut Criterion, times: usize) {
    let mut group = criterion.benchmark_group("pool/arena allocation");
    group.throughput(Throughput::Elements((times * SLICES) as u64));
    let mut arenas = Arenas::new(1);
    let ours = || {
        time(|| {
            for _ in 0..times {
                // One item, as a chunk is one: what is timed is its slices.
                arenas.map(std::iter::once(0_u64), |arena, seed| {
                    (0..SLICES as u64).map(|number| arena.alloc_slice_copy(&[seed ^ number; WORDS])[0]).sum::<u64>()
                });
                arenas.reset();
            }
        })
    };
    let mut bare = bumpalo::Bump::with_capacity(64 * 1024);
    let limit = || {
        time(|| {
            for _ in 0..times {
                let sum: u64 = (0..SLICES as u64).map(|number| bare.alloc_slice_copy(&[number; WORDS])[0]).sum();
                black_box(sum);
                bare.reset();
            }
        })
    };
    let name = format!("slices={SLICES}");
    beside(&mut group, &name, ours, limit).print(&format!("pool/arena allocation/{name}"), "a bare arena");
    alone(&mut group, &format!("{name} from the global allocator"), || {
        time(|| {
            for _ in 0..times {
                let slices: Vec<Box<[u64]>> = (0..SLICES as u64).map(|number| Box::from([number; WORDS])).collect();
                black_box(slices);
            }
        })
    });
    group.finish();
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
