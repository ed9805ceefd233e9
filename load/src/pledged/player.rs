//! One player of the run: it sits down, and bets and calls once a second.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use engine::io::{Verdict, Watched};
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::{AccountId, Hash, TableId};
use net::client::{Command, Event};
use net::wire::{Answer, AnswerVerdict};
use order::signature::PlayerKey;
use systems::catalogue::bet_named;
use tokio::sync::{mpsc, watch};

use super::measured::{CYCLE, Measured, micros};
use crate::bringing::Bringing;
use crate::schedule::lock;
use crate::users::{EXPIRY_S, expiry_s, now};

/// How long the dice of a called roll may take.
const DICE_WITHIN: Duration = Duration::from_secs(12);

/// One player.
pub(super) struct Player {
    pub(super) number: usize,
    pub(super) key: PlayerKey,
    pub(super) chain: Hash,
    pub(super) table: TableId,
    /// What it brings to the dice, at a pledged table.
    pub(super) half: Option<Bringing>,
    pub(super) account: Option<AccountId>,
    pub(super) next: u64,
    pub(super) measured: Arc<Measured>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) events: mpsc::Receiver<Event>,
    /// The last roll that was shown.
    pub(super) rolled: u32,
}

impl Player {
    fn intent(&mut self, kind: IntentKind, fill: impl FnOnce(IntentBody) -> IntentBody) -> Intent {
        let expiry_s = expiry_s(now().as_secs() + EXPIRY_S);
        let intent = self.key.sign(fill(IntentBody::new(kind, self.key.public(), self.next, expiry_s)), &self.chain);
        self.next += 1;
        intent
    }

    async fn say(&self, command: Command) -> anyhow::Result<()> {
        self.commands.send(command).await.context("a client has stopped")
    }

    /// Takes what the node says until it answers an intent for good.
    async fn receipt(&mut self, intent: &Intent) -> anyhow::Result<Answer> {
        self.say(Command::Send(vec![*intent])).await?;
        loop {
            let event = self.events.recv().await.context("a client has stopped")?;
            if let Some(answer) = self.hear(event).await?.filter(|answer| answer.id == intent.id()) {
                return Ok(answer);
            }
        }
    }

    /// Takes something that the node says, and sends what follows from it. Gives the last answer to an intent.
    async fn hear(&mut self, event: Event) -> anyhow::Result<Option<Answer>> {
        let mut last = None;
        match event {
            Event::Account(row) => self.account = row.account.map(|(id, _)| id),
            Event::Table { update, whole } => {
                self.rolled = update.table.roll_number;
                self.half.iter_mut().for_each(|half| half.show(&update, whole));
            }
            Event::Answer(answer) => {
                let start = *lock(&self.measured.heard.start);
                self.measured.heard.answered(self.number, start, &answer);
                last = Some(answer).filter(Answer::is_final);
            }
            _ => {}
        }
        self.bring().await?;
        Ok(last)
    }

    async fn bring(&mut self) -> anyhow::Result<()> {
        let row = self.account.and_then(|account| self.half.as_mut()?.next(account));
        if let Some(row) = row {
            self.say(Command::Pledge(vec![row])).await?;
        }
        Ok(())
    }

    /// Sits down, and plays from the moment that is said until `lasts` is over. A problem of one player ends the run.
    pub(super) async fn take_part(
        mut self,
        mut starts: watch::Receiver<Option<Instant>>,
        buy_in: u64,
        shift: Duration,
        lasts: Duration,
    ) {
        let plays = async {
            self.prepare(buy_in).await?;
            let start = self.await_start(&mut starts).await?;
            self.play(start, shift, lasts).await
        };
        let played: anyhow::Result<()> = plays.await;
        if let Err(problem) = played {
            self.measured.heard.fail(format!("player {}: {problem:#}", self.number));
        }
    }

    /// Hears the node until the moment is said from which everybody plays.
    async fn await_start(&mut self, starts: &mut watch::Receiver<Option<Instant>>) -> anyhow::Result<Instant> {
        loop {
            if let Some(start) = *starts.borrow_and_update() {
                return Ok(start);
            }
            tokio::select! {
                changed = starts.changed() => changed.context("the run is over")?,
                event = self.events.recv() => {
                    self.hear(event.context("a client has stopped")?).await?;
                }
            }
        }
    }

    /// Opens an account, sits down, and pledges where that is needed.
    async fn prepare(&mut self, buy_in: u64) -> anyhow::Result<()> {
        self.say(Command::Watch(Watched::Account(self.key.public()), true)).await?;
        self.say(Command::Watch(Watched::Table(self.table), true)).await?;
        let (open, table) = (self.intent(IntentKind::Open, |body| body), self.table);
        self.receipt(&open).await?;
        let sit = self.intent(IntentKind::Sit, |body| body.at(table).amount(buy_in));
        self.receipt(&sit).await?;
        while self.half.as_ref().is_some_and(|half| !self.account.is_some_and(|account| half.may_call(account))) {
            self.next_event(Duration::from_millis(200)).await?;
        }
        self.measured.ready.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Waits for something that the node says, for a time at most.
    async fn next_event(&mut self, within: Duration) -> anyhow::Result<()> {
        match tokio::time::timeout(within, self.events.recv()).await {
            Ok(event) => self.hear(event.context("a client has stopped")?).await.map(|_| ()),
            Err(_) => self.bring().await,
        }
    }

    async fn idle_until(&mut self, at: Instant) -> anyhow::Result<()> {
        while let Some(left) = at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.next_event(left).await?;
        }
        Ok(())
    }

    /// Bets and calls once in each second until `lasts` is over; each player begins at another moment of it.
    async fn play(&mut self, start: Instant, shift: Duration, lasts: Duration) -> anyhow::Result<()> {
        let mut due = shift;
        while due < lasts {
            self.idle_until(start + due).await?;
            if self.measured.over.load(Ordering::Relaxed) {
                break;
            }
            self.cycle(start, due).await?;
            due += CYCLE;
            while due < lasts && start.elapsed() > due {
                self.measured.skipped.fetch_add(1, Ordering::Relaxed);
                due += CYCLE;
            }
        }
        Ok(())
    }

    async fn cycle(&mut self, start: Instant, due: Duration) -> anyhow::Result<()> {
        let (table, kind) = (self.table, usize::from(self.half.is_some()));
        let field = bet_named("field").expect("the catalogue has it");
        let bet = self.intent(IntentKind::Bet, |body| body.at(table).on(field, 0).amount(4));
        self.measured.heard.offer(self.number, bet.body.number, due);
        let answer = self.receipt(&bet).await?;
        let took = start.elapsed().saturating_sub(due);
        if !is_applied(&answer) {
            return Ok(());
        }
        let _ = lock(&self.measured.kinds[kind]).receipts.record(micros(took));
        let (called, before) = (Instant::now(), self.rolled);
        let call = self.intent(IntentKind::Roll, |body| body.at(table));
        if !is_applied(&self.receipt(&call).await?) {
            self.measured.refused.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        while self.rolled <= before && called.elapsed() < DICE_WITHIN {
            self.next_event(Duration::from_millis(200)).await?;
        }
        // One that never came is no roll: it is missing among those that were due.
        if self.rolled > before {
            let _ = lock(&self.measured.kinds[kind]).dice.record(micros(called.elapsed()));
        }
        Ok(())
    }
}

fn is_applied(answer: &Answer) -> bool {
    matches!(answer.verdict, AnswerVerdict::Receipt { verdict: Verdict::Applied, .. })
}
