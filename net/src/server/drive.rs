//! What makes a host turn: packets, the tick, and time. The same in virtual time and on a thread of its own.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::host::Host;

/// How a host rests between two turns.
#[derive(Clone, Copy)]
pub(super) enum Rest {
    /// As its runtime does, in whatever time that has.
    Awaited,
    /// Its thread sleeps. A runtime that awaits is woken by each packet that arrives, only to find that it is no time yet.
    Asleep,
}

impl Rest {
    async fn until(self, moment: Instant) {
        match self {
            Self::Awaited => sleep_until(moment).await,
            Self::Asleep => std::thread::sleep(moment.saturating_duration_since(Instant::now())),
        }
    }
}

/// Turns a host until its node ends.
pub(super) async fn drive(mut host: Host, wake: Arc<Notify>, rest: Rest) {
    while !host.has_ended() {
        let due = host.at(host.next_due());
        tokio::select! {
            biased;
            () = wake.notified() => {}
            () = poll_fn(|cx| host.poll_receive(cx)) => {}
            () = sleep_until(due) => {}
        }
        // What arrives in this pause is taken with what woke the host: each turn costs the same, however much it finds.
        rest.until(host.last_turn() + host.waits()).await;
        // Others of this runtime, the system's events among them, have their turn too.
        tokio::task::yield_now().await;
        poll_fn(|cx| {
            host.turn(cx);
            Poll::Ready(())
        })
        .await;
    }
}
