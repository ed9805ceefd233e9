//! A thing beside its limit: Criterion measures the thing, and the limit is measured after each run of it, so that a
//! machine that slows down slows both.

use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};

/// Runs benches with a Criterion of their own, as the arguments of the program say.
pub fn criterion() -> Criterion {
    Criterion::default().without_plots().sample_size(10).configure_from_args()
}

/// Runs benches in a pool of this many workers, of which the calling thread is one: each pool needs a thread of its own.
///
/// # Panics
/// If the system refuses the threads.
pub fn pooled(threads: usize, benches: impl FnOnce(&mut Criterion) + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let pool = engine::pool::build(threads).expect("a pool");
            pool.install(|| benches(&mut criterion()));
        });
    });
}

/// A group of benches whose runs are long: each sample is as many runs as any other, and mostly one.
pub fn group<'a>(criterion: &'a mut Criterion, name: String, elements: Throughput) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat).throughput(elements);
    group
}

/// What some work takes.
pub fn time(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// Seconds of each run of something that Criterion counts too.
#[derive(Default)]
pub struct Runs {
    seconds: Vec<f64>,
    /// How many runs Criterion asked for last, while it warms up.
    asked: Option<u64>,
    is_warm: bool,
}

impl Runs {
    /// Criterion asks for some runs. While it warms up these are twice as many each time: the first call that asks for no more
    /// than the one before is its first sample, and what ran before is forgotten, as Criterion forgets it.
    fn ask(&mut self, times: u64) {
        if !self.is_warm && self.asked.is_some_and(|before| times <= before) {
            self.is_warm = true;
            self.seconds.clear();
        }
        self.asked = Some(times);
    }

    fn push(&mut self, took: Duration) {
        self.seconds.push(took.as_secs_f64());
    }

    /// What belongs to these, of something that every run added one to.
    ///
    /// # Panics
    /// If some run added none.
    pub fn counted<'a, T>(&self, all: &'a [T]) -> &'a [T] {
        assert!(all.len() >= self.seconds.len(), "every run added one");
        &all[all.len() - self.seconds.len()..]
    }

    /// Whether it was not asked for: the arguments chose other benches.
    pub fn is_empty(&self) -> bool {
        self.seconds.is_empty()
    }

    /// Seconds that so many of 100 runs did not exceed.
    ///
    /// # Panics
    /// If there was no run.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[(sorted.len() - 1) * percent / 100]
    }

    /// Seconds of the middle run.
    ///
    /// # Panics
    /// If there was no run.
    pub fn median(&self) -> f64 {
        self.percentile(50)
    }
}

/// Benches something that has no limit but zero. `run` says what the part of a run took that counts.
pub fn alone(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut run: impl FnMut() -> Duration) -> Runs {
    let mut runs = Runs::default();
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| {
            runs.ask(times);
            let timed = (0..times).map(|_| {
                let took = run();
                runs.push(took);
                took
            });
            timed.sum()
        });
    });
    runs
}

/// Seconds of a thing and of its limit.
pub struct Beside {
    /// The thing.
    pub ours: Runs,
    /// The limit.
    pub limit: Runs,
}

/// Benches a thing with its limit after each run. Both say what the part of a run took that counts.
pub fn beside(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut ours: impl FnMut() -> Duration,
    mut limit: impl FnMut() -> Duration,
) -> Beside {
    let mut limits = Runs::default();
    let ours = alone(group, name, || {
        let took = ours();
        limits.push(limit());
        took
    });
    limits.seconds = ours.counted(&limits.seconds).to_vec();
    Beside { ours, limit: limits }
}

impl Beside {
    /// Prints how the thing stands to its limit: the medians, and the limit's speed that it reaches.
    pub fn print(&self, name: &str, limit: &str) {
        if self.ours.is_empty() {
            return;
        }
        let (ours, limits) = (self.ours.median(), self.limit.median());
        println!("{name}: {}; {limit} {}: {:.2} of the limit's speed", readable(ours), readable(limits), limits / ours);
    }

    /// The same where the slow runs matter too: how many times as long as the limit it takes, by percentiles.
    pub fn print_percentiles(&self, name: &str, limit: &str) {
        if self.ours.is_empty() {
            return;
        }
        let parts = [50, 95, 99].map(|percent| {
            let (ours, limits) = (self.ours.percentile(percent), self.limit.percentile(percent));
            format!("P{percent} {} ({:.2} times {limit}, {})", readable(ours), ours / limits, readable(limits))
        });
        println!("{name}: {}", parts.join(", "));
    }
}

/// Seconds in a unit that a person reads.
pub fn readable(seconds: f64) -> String {
    match seconds {
        1.0.. => format!("{seconds:.2} s"),
        1e-3.. => format!("{:.3} ms", seconds * 1e3),
        1e-6.. => format!("{:.2} us", seconds * 1e6),
        _ => format!("{:.2} ns", seconds * 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_before_the_first_sample_is_in_no_figure() {
        let counted = |calls: &[u64]| {
            let (mut runs, mut others) = (Runs::default(), Vec::new());
            for (call, times) in (0_u64..).zip(calls) {
                runs.ask(*times);
                for _ in 0..*times {
                    runs.push(Duration::from_secs(call));
                    others.push(call as f64);
                }
            }
            assert_eq!(runs.counted(&others), runs.seconds, "what stands beside them is of the same runs");
            (runs.seconds.len(), runs.percentile(0))
        };
        assert_eq!(counted(&[1]), (1, 0.0), "a run of the tests has no warm-up");
        assert_eq!(counted(&[1, 2, 4, 3, 3, 3]), (9, 3.0), "samples of one length");
        assert_eq!(counted(&[1, 2, 4, 1, 2, 3]), (6, 3.0), "samples that grow");
        assert_eq!(counted(&[1, 1, 1, 1]), (3, 1.0), "runs so long that one is a warm-up");
    }
}
