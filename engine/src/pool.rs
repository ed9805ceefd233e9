//! The tick's workers: a rayon pool whose worker 0 is the tick thread itself, and an arena for each of them.

use std::sync::Mutex;

use bevy_ecs::resource::Resource;
use bumpalo::Bump;
use rayon::prelude::*;
use thiserror::Error;

use crate::limits::WORKERS_MAX;

/// Bytes that an arena begins with; the allocator rounds them up a little.
const ARENA_BYTES: usize = 64 * 1024;

/// The pool could not be built.
#[derive(Error, Debug)]
#[error("cannot start {threads} workers: {source}")]
pub struct PoolError {
    threads: usize,
    source: rayon::ThreadPoolBuildError,
}

/// The pool of the thread that calls; it becomes worker 0, so that small stages run where they are.
///
/// # Errors
/// If the system refuses the threads, or the calling thread is a worker of another pool already.
pub fn build(threads: usize) -> Result<rayon::ThreadPool, PoolError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.max(1))
        .use_current_thread()
        .thread_name(|worker| format!("worker-{worker}"))
        .build()
        .map_err(|source| PoolError { threads, source })
}

/// Answers that a worker gives in one turn, at most.
const ANSWERS_MAX: usize = 64;

/// Does what each worker of the pool was asked by itself. The tick's thread comes to it nowhere else where its stages are small, and
/// whoever asks the workers whether they move asks it too.
pub fn answer() {
    for _ in 0..ANSWERS_MAX {
        if rayon::yield_local() != Some(rayon::Yield::Executed) {
            break;
        }
    }
}

/// An arena for each worker, for what lives no longer than a tick. Reset keeps the memory, so that a steady tick asks
/// the global allocator for none.
#[derive(Resource)]
pub struct Arenas {
    workers: Vec<Arena>,
    joined: Arena,
    /// Bytes that were handed on since the last reset.
    kept: usize,
    last: ArenaUse,
}

/// What all arenas together held and gave out between two resets. Units: bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ArenaUse {
    /// What they had of the allocator, used or not.
    pub held: usize,
    /// What they gave out of it.
    pub given: usize,
    /// What of that held results at the end. The rest went to lists that grew and left their place, to room at a list's end, and
    /// to alignment.
    pub kept: usize,
}

impl ArenaUse {
    /// What was given out and held nothing at the end.
    pub fn lost(self) -> usize {
        self.given.saturating_sub(self.kept)
    }
}

/// A bump arena that the world may hold: it is only reached through `&mut`, so the lock is never taken.
struct Arena(Mutex<Bump>);

impl Arena {
    fn new() -> Self {
        Self(Mutex::new(Bump::with_capacity(ARENA_BYTES)))
    }

    fn get(&mut self) -> &mut Bump {
        self.0.get_mut().expect("a worker's panic stops the node")
    }

    /// Bytes that it gave out since its last reset.
    fn given(&mut self) -> usize {
        self.get().iter_allocated_chunks().map(<[_]>::len).sum()
    }
}

/// What one worker did: the results with their items' numbers.
type Done<'a, R> = &'a [(usize, R)];

impl Arenas {
    /// Arenas for this many workers.
    pub fn new(workers: usize) -> Self {
        let workers = (0..workers.clamp(1, WORKERS_MAX)).map(|_| Arena::new()).collect();
        Self { workers, joined: Arena::new(), kept: 0, last: ArenaUse::default() }
    }

    /// Notes bytes of results that whoever asked for them has handed on.
    pub fn note_kept(&mut self, bytes: usize) {
        self.kept += bytes;
    }

    /// What they held and gave out before the last reset.
    pub fn last_use(&self) -> ArenaUse {
        self.last
    }

    /// Frees everything at once.
    pub fn reset(&mut self) {
        // Before the arenas are reset: afterwards nothing says what they gave.
        let given = self.workers.iter_mut().chain([&mut self.joined]).map(Arena::given).sum();
        self.last = ArenaUse { held: self.allocated_bytes(), given, kept: std::mem::take(&mut self.kept) };
        self.workers.iter_mut().chain([&mut self.joined]).for_each(|arena| arena.get().reset());
    }

    /// Gives back what a large height needed: each arena is as it was at the start.
    pub fn trim(&mut self) {
        for arena in self.workers.iter_mut().chain([&mut self.joined]) {
            // A reset keeps the largest chunk: only a new arena gives the memory of a large height back.
            if arena.get().allocated_bytes() > ARENA_BYTES {
                *arena = Arena::new();
            } else {
                arena.get().reset();
            }
        }
    }

    /// Bytes that all arenas hold, used or not.
    pub fn allocated_bytes(&mut self) -> usize {
        self.workers.iter_mut().chain([&mut self.joined]).map(|arena| arena.get().allocated_bytes()).sum()
    }

    /// Runs `work` on every item, in parallel, each worker with its own arena, and returns the results in the items'
    /// order, whichever worker did which. Items are handed out one by one, so that their size, not the number of
    /// workers, decides how the work is split. Where there can be only one, it runs on the calling thread.
    pub fn map<'a, T: Send, R: Copy + Send + Sync + 'a>(
        &'a mut self,
        items: impl Iterator<Item = T> + Send,
        work: impl Fn(&'a Bump, T) -> R + Sync,
    ) -> &'a [R] {
        let Self { workers, joined, .. } = self;
        assert!(workers.len() <= WORKERS_MAX, "each worker has a place for what it did");
        let joined: &'a Bump = joined.get();
        // To wake other workers costs more than one item does, whatever it is.
        if workers.len() == 1 || items.size_hint().1.is_some_and(|most| most <= 1) {
            let arena: &'a Bump = workers[0].get();
            let mut results = bumpalo::collections::Vec::new_in(joined);
            results.extend(items.map(|item| work(arena, item)));
            return results.into_bump_slice();
        }
        let queue = Mutex::new(items.enumerate());
        let mut done: [Done<'a, R>; WORKERS_MAX] = [&[]; WORKERS_MAX];
        // A worker each: two that ran on one thread, one after the other, would leave another thread without any.
        workers.par_iter_mut().zip(&mut done).with_max_len(1).for_each(|(arena, done)| {
            let arena: &'a Bump = arena.get();
            let mut results = bumpalo::collections::Vec::new_in(arena);
            loop {
                let item = queue.lock().expect("the queue outlives no panic").next();
                let Some((index, item)) = item else { break };
                results.push((index, work(arena, item)));
            }
            *done = results.into_bump_slice();
        });
        let count = done.iter().map(|results| results.len()).sum();
        let mut all = bumpalo::collections::Vec::with_capacity_in(count, joined);
        done.iter().for_each(|results| all.extend_from_slice(results));
        assert_eq!(all.len(), count, "what each worker did is joined");
        // Whichever worker was faster: nothing that is computed from the results may depend on that.
        all.sort_unstable_by_key(|(index, _)| *index);
        let once = all.iter().enumerate().all(|(place, (index, _))| place == *index);
        assert!(once, "each item was worked on once, by one worker");
        joined.alloc_slice_fill_iter(all.into_iter().map(|(_, result)| result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "each pool needs a calling thread that is no other pool's worker")]
    fn results_keep_the_items_order_for_any_number_of_workers() {
        for threads in [1, 2, 3, 8] {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let pool = build(threads).expect("a pool");
                    let mut arenas = Arenas::new(threads);
                    let found = pool.install(|| {
                        arenas.map((0..500).collect::<Vec<u32>>().into_iter(), |arena, n| *arena.alloc(n * n)).to_vec()
                    });
                    assert_eq!(found, (0..500).map(|n| n * n).collect::<Vec<u32>>());
                });
            });
        }
    }

    #[test]
    fn reset_keeps_the_memory() {
        let mut arenas = Arenas::new(1);
        let held = |arenas: &mut Arenas| {
            arenas.map((0..1_000u64).collect::<Vec<_>>().into_iter(), |arena, n| *arena.alloc([n; 64]));
            arenas.reset();
            arenas.allocated_bytes()
        };
        held(&mut arenas);
        let steady = held(&mut arenas);
        assert_eq!(held(&mut arenas), steady);
    }

    #[test]
    fn what_was_given_out_is_what_was_asked_for_and_what_lists_left_behind() {
        let mut arenas = Arenas::new(1);
        let found = arenas.map([0, 1].into_iter(), |arena, n: u64| &*arena.alloc_slice_fill_copy(100, n));
        let kept = size_of_val(found) + found.iter().map(|slice| size_of_val(*slice)).sum::<usize>();
        assert_eq!(kept, 2 * size_of::<&[u64]>() + 1_600);
        arenas.note_kept(kept);
        arenas.reset();
        let exact = arenas.last_use();
        assert_eq!((exact.kept, exact.held), (kept, arenas.allocated_bytes()));
        assert!(exact.lost() < 64 && exact.given < exact.held, "{exact:?}");

        // Two lists that grow in turn leave their places.
        arenas.map(std::iter::once(0_u64), |arena, n| {
            let mut lists = [bumpalo::collections::Vec::new_in(arena), bumpalo::collections::Vec::new_in(arena)];
            (0..100).for_each(|more| lists.iter_mut().for_each(|list| list.push(n + more)));
        });
        arenas.note_kept(1_600);
        arenas.reset();
        assert!(arenas.last_use().lost() > 400, "{:?}", arenas.last_use());
        arenas.reset();
        assert_eq!((arenas.last_use().given, arenas.last_use().kept), (0, 0), "nothing since");
    }

    #[test]
    fn trimmed_arenas_are_as_new_ones_and_work_on() {
        let mut arenas = Arenas::new(2);
        let least = arenas.allocated_bytes();
        let sum = |arenas: &mut Arenas| {
            let found = arenas.map((0..4_000u64).collect::<Vec<_>>().into_iter(), |arena, n| arena.alloc([n; 64])[7]);
            found.iter().sum::<u64>()
        };
        let first = sum(&mut arenas);
        assert!(arenas.allocated_bytes() > 2 * least);
        arenas.trim();
        assert_eq!(arenas.allocated_bytes(), least);
        assert_eq!(sum(&mut arenas), first);
    }
}
