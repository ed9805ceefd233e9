//! What makes an owner turn: packets, whoever tells it something, and time. The same in virtual time and on a thread of its own.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Who owns connections, and moves them in turns. Moments are counted from its start.
pub(crate) trait Turning {
    /// The start.
    fn started(&self) -> Instant;

    /// When the next turn is due though nothing arrives.
    fn next_due(&self) -> Duration;

    /// When the last turn was, or something arrived since.
    fn last_turn(&self) -> Duration;

    /// How long the next turn waits after the last one.
    fn waits(&self) -> Duration;

    /// Takes some of what has arrived, if anything has; the task is woken once something does.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// One turn.
    fn turn(&mut self, cx: &mut Context<'_>);

    /// Whether there will be no further turn.
    fn has_ended(&self) -> bool;
}

/// How an owner rests between two turns.
#[derive(Clone, Copy)]
pub(crate) enum Rest {
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

/// Turns an owner until it has ended.
pub(crate) async fn drive(mut owner: impl Turning, wake: Arc<Notify>, rest: Rest) {
    while !owner.has_ended() {
        let due = owner.started() + owner.next_due();
        tokio::select! {
            biased;
            () = wake.notified() => {}
            () = poll_fn(|cx| owner.poll_receive(cx)) => {}
            () = sleep_until(due) => {}
        }
        // What arrives in this pause is taken with what woke the owner: each turn costs the same, however much it finds.
        rest.until(owner.started() + owner.last_turn() + owner.waits()).await;
        // Others of this runtime, the system's events among them, have their turn too.
        tokio::task::yield_now().await;
        poll_fn(|cx| {
            owner.turn(cx);
            Poll::Ready(())
        })
        .await;
    }
}
