//! A panic of the thread that ticks: whoever is told of alerts hears of it before the process ends.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use engine::panics::words;
use operate::monitor::Monitor;

/// Runs a node that a monitor watches. A panic ends the process as it would without, once it has been told.
pub(super) fn watched(monitor: Monitor, run: impl FnOnce() -> anyhow::Result<()>) -> (Monitor, anyhow::Result<()>) {
    let tell = |monitor: Monitor, why: &str| {
        monitor.tell_stopped(why, false);
        // Nobody waits for those who are told once the process has unwound.
        drop(monitor.stop());
    };
    or_told(monitor, run, tell)
}

fn or_told<M>(
    monitor: M,
    run: impl FnOnce() -> anyhow::Result<()>,
    tell: impl FnOnce(M, &str),
) -> (M, anyhow::Result<()>) {
    // Nobody looks at what it was in the middle of: it is dropped as the unwinding goes on.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => (monitor, result),
        Err(panic) => {
            tell(
                monitor,
                &format!("the thread of its ticks panicked: {}", words(&*panic).unwrap_or("it gave no reason")),
            );
            resume_unwind(panic)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_and_goes_on() {
        let mut told = Vec::new();
        for height in [7, 8] {
            let run = || -> anyhow::Result<()> {
                assert_eq!(height, 0, "height {height} goes back");
                Ok(())
            };
            let ran =
                catch_unwind(AssertUnwindSafe(|| or_told(height, run, |of, why| told.push((of, why.to_owned())))));
            assert!(ran.is_err(), "the process ends by it as before");
        }
        assert_eq!(told.iter().map(|(of, _)| *of).collect::<Vec<_>>(), [7, 8]);
        assert!(
            told[1].1.starts_with("the thread of its ticks panicked: ") && told[1].1.contains("height 8 goes back")
        );
        let plain =
            catch_unwind(AssertUnwindSafe(|| or_told((), || panic!("plain"), |(), why| told.push((9, why.into())))));
        assert!(plain.is_err() && told[2].1.ends_with(": plain"));
    }

    #[test]
    fn what_ends_without_a_panic_is_told_by_whoever_ran_it() {
        let told = |(): (), why: &str| assert!(why.is_empty(), "{why}");
        assert!(or_told((), || Ok(()), told).1.is_ok());
        let failed = or_told((), || anyhow::bail!("the disk fails"), told).1;
        assert_eq!(failed.expect_err("it failed").to_string(), "the disk fails");
    }
}
