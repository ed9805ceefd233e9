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

/// Seconds of each run of something.
#[derive(Default)]
pub struct Runs(Vec<f64>);

impl Runs {
    fn push(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64());
    }

    /// Whether it was not asked for: the arguments chose other benches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Seconds that so many of 100 runs did not exceed.
    ///
    /// # Panics
    /// If there was no run.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
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
