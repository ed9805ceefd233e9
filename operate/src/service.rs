//! What the system's manager of services (systemd) is told, where one started this process and asks for it: that the node is
//! ready, that its start goes on, that it is alive, that it reads its configuration again, that it ends. See sd_notify(3).
//!
//! The words are the library's, and the socket is ours: a socket of datagrams that nobody reads is full after ten, and the
//! library waits then for as long as it takes.

use std::ffi::OsStr;
use std::io;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
#[cfg(target_os = "linux")]
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// How long a manager is waited for that does not read: as long as the node itself can wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where a manager listens: at a path, or on Linux at a name that no file has, which is written with an `@`.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = name.as_bytes().strip_prefix(b"@") {
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(name)
}

/// Says something to whoever listens there, in one datagram.
///
/// # Errors
/// If nobody listens, or has no room for it within `patience`; without that, at once.
fn send(to: &SocketAddr, state: &[NotifyState<'_>], patience: Option<Duration>) -> io::Result<()> {
    let text: String = state.iter().map(|state| format!("{state}\n")).collect();
    let socket = UnixDatagram::unbound()?;
    match patience {
        Some(_) => socket.set_write_timeout(patience)?,
        None => socket.set_nonblocking(true)?,
    }
    socket.send_to_addr(text.as_bytes(), to)?;
    Ok(())
}

/// Says something to whoever started this process, if that listens; whether it was taken, or nobody is there to take it.
fn tell(state: &[NotifyState<'_>], patience: Option<Duration>) -> bool {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return true };
    match address(&name).and_then(|to| send(&to, state, patience)) {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!("the manager of services was not told: {error}");
            false
        }
    }
}

/// Says something that counts, and that is not said again.
fn tell_once(state: &[NotifyState<'_>]) {
    if !tell(state, Some(PATIENCE)) {
        tracing::warn!("the manager of services does not listen: it was not told {}", state[0]);
    }
}

/// The node takes intents now.
pub fn ready(status: &str) {
    tell_once(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The node ends, and takes the time that it needs.
pub fn stopping() {
    tell_once(&[NotifyState::Stopping]);
}

/// The configuration is read again, until [`ready`] is said.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell_once(&[NotifyState::Reloading, now]);
    }
}

/// Tells the manager that a start goes on, so that one which takes longer than a start may is waited for while it does: a
/// start that was ended would begin again where it began.
#[derive(Default)]
pub struct StartGoesOn(Mutex<Option<Instant>>);

/// What may pass until a start says again that it goes on: no step of it takes that long.
const STEP_MAX: Duration = Duration::from_secs(120);

/// How often it says so at most.
const STEP_TOLD: Duration = Duration::from_secs(1);

const _: () = assert!(STEP_MAX.as_micros() <= u32::MAX as u128, "the word for it has 32 bits");

impl StartGoesOn {
    /// The start has taken a step. Never held up: a manager that had no room for this hears it with a later step.
    pub fn step(&self, now: Instant) {
        if self.is_due(now) {
            tell(&[NotifyState::ExtendTimeoutUsec(STEP_MAX.as_micros() as u32)], None);
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().expect("nothing panics that holds it");
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= STEP_TOLD);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

/// Tells the manager that the node is alive, as often as it asks for.
pub struct Watchdog {
    every: Option<Duration>,
    last: Option<Instant>,
}

impl Watchdog {
    /// As the environment asks for it: never, where nobody does.
    pub fn asked_for() -> Self {
        // Twice in the time after which the manager takes the process for dead.
        Self { every: sd_notify::watchdog_enabled().map(|within| within / 2), last: None }
    }

    /// To be called several times in that time, and never held up. A node that is not alive says nothing, and is ended and
    /// started again; a manager that had no room for it is told at the next look.
    pub fn look(&mut self, now: Instant, is_alive: impl FnOnce() -> bool) {
        let Some(every) = self.every else { return };
        let is_due = self.last.is_none_or(|last| now - last >= every);
        if is_due && is_alive() && tell(&[NotifyState::Watchdog], None) {
            self.last = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// More than any system lets wait at a socket of datagrams.
    const MORE_THAN_FIT: usize = 100_000;

    #[test]
    fn a_manager_that_does_not_read_holds_nobody_up_and_hears_the_next_word_once_it_reads() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let to = address(path.as_os_str()).expect("an address");
        let tell = |patience| send(&to, &[NotifyState::Ready, NotifyState::Status("on")], patience);
        // On a thread, so that one that waits fails this test and holds up no other.
        let (count, counted) = mpsc::channel();
        let fills = to.clone();
        std::thread::spawn(move || {
            let fits = |_: &usize| send(&fills, &[NotifyState::Ready], None).is_ok();
            count.send((0..MORE_THAN_FIT).take_while(fits).count())
        });
        let taken = counted.recv_timeout(Duration::from_secs(60)).expect("it does not wait");
        assert!((1..MORE_THAN_FIT).contains(&taken), "{taken} datagrams");
        for patience in [None, Some(Duration::from_millis(1))] {
            let full = tell(patience).expect_err("it is full");
            assert_eq!(full.kind(), io::ErrorKind::WouldBlock, "{full}");
        }
        let mut bytes = [0; 64];
        let length = manager.recv(&mut bytes).expect("a datagram");
        assert_eq!(&bytes[..length], b"READY=1\n");
        tell(None).expect("there is room again");
        drop(manager);
        assert_eq!(tell(None).expect_err("nobody listens").kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_start_says_with_its_steps_that_it_goes_on_and_not_with_all_of_them() {
        let (start, began) = (StartGoesOn::default(), Instant::now());
        let told = (0..100).filter(|step| start.is_due(began + Duration::from_millis(100 * step)));
        assert_eq!(told.collect::<Vec<u64>>(), [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
        assert!(start.is_due(began + STEP_MAX), "a long step is told of at its end");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_that_no_file_has_is_an_address_too() {
        let name = format!("bitcraps-notify-{}", std::process::id());
        let manager = SocketAddr::from_abstract_name(&name).and_then(|at| UnixDatagram::bind_addr(&at));
        let manager = manager.expect("a socket");
        let to = address(OsStr::new(&format!("@{name}"))).expect("an address");
        send(&to, &[NotifyState::Watchdog], None).expect("it listens");
        let mut bytes = [0; 64];
        let length = manager.recv(&mut bytes).expect("a datagram");
        assert_eq!(&bytes[..length], b"WATCHDOG=1\n");
    }
}
