//! A passphrase that is typed: without an echo, at a terminal that has its echo back whatever ends the program.

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, unregister};
use signal_hook::{SigId, flag};
use zeroize::Zeroizing;

/// What ends a program at a terminal.
const ENDS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// What makes signals end the process again after a passphrase was typed: the library never gives a signal back.
static DEFAULTS: Mutex<Vec<SigId>> = Mutex::new(Vec::new());

/// Gives signals to whoever wants to handle them from now on: until then they end the process.
pub fn release_signals() {
    for id in DEFAULTS.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        unregister(id);
    }
}

/// Asks for a passphrase.
pub(crate) fn passphrase(prompt: &str) -> io::Result<Zeroizing<String>> {
    let terminal = File::open("/dev/tty")?;
    let as_it_was = tcgetattr(&terminal)?;
    let restore = move || _ = tcsetattr(&terminal, OptionalActions::Now, &as_it_was);
    restoring(restore, || rpassword::prompt_password(prompt))?.map(Zeroizing::new)
}

/// Does something during which a signal that ends the process calls `restore` first.
fn restoring<T>(restore: impl FnOnce() + Send + 'static, run: impl FnOnce() -> T) -> io::Result<T> {
    let mut signals = Signals::new(ENDS)?;
    let handle = signals.handle();
    let watcher = std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            restore();
            let _ = emulate_default_handler(signal);
        }
    });
    let done = run();
    let mut defaults = DEFAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    if defaults.is_empty() {
        for signal in ENDS {
            defaults.push(flag::register_conditional_default(signal, Arc::new(AtomicBool::new(true)))?);
        }
    }
    drop(defaults);
    handle.close();
    // It ends, or ends the process.
    let _ = watcher.join();
    Ok(done)
}
