//! Ctrl-C and its kind, as commands that run on hear of them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;

/// Set by Ctrl-C or SIGTERM.
pub fn stop_signals() -> anyhow::Result<Arc<AtomicBool>> {
    stop_at(&[]).context("signals")
}

/// Set by Ctrl-C or SIGTERM, however often: for a process that another program started, which ends it at once with SIGKILL.
pub fn first_signal() -> anyhow::Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signals")?;
    }
    Ok(stop)
}

/// Set by Ctrl-C, SIGTERM, or one of `others`. A second signal ends the process at once: a session is whole at any moment.
pub fn stop_at(others: &[i32]) -> std::io::Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    keys::prompt::release_signals();
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM].iter().chain(others) {
        signal_hook::flag::register_conditional_shutdown(*signal, 130, Arc::clone(&stop))?;
        signal_hook::flag::register(*signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
