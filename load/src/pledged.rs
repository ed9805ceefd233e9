//! What it costs that a player brings half of the dice: players at pledged tables, and as many at tables of the beacon alone, in
//! one chain and at one time. Each has a table of their own, and bets and calls the roll once a second.
//!
//! ```text
//!  due -> bet ........ receipt -> call ........ (opening) ........ dice -> until the next second
//!         bet to receipt          called roll to dice
//! ```

mod measured;
mod player;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use engine::TableId;
use engine::genesis::Genesis;
use engine::limits::LOAD_COMMANDS_MAX;
use engine::rules::{DiceSource, TableRules};
use hdrhistogram::Histogram;
use keys::identity;
use net::client::{Client, ClientConfig, Command, Event, socket};
use order::signature::{NetKey, PlayerKey};
use order::validators::Validators;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use self::measured::{CYCLE, Measured, times};
use self::player::Player;
use super::bringing::Bringing;
use super::cluster::Cluster;
use super::ending::{self, Ending};
use super::meter::{Meter, Meters, Seen};
use super::recorder::{Recorder, quantile_ms};
use super::report::{Goal, RECEIPT_TARGET, Report, Transport};
use super::run::{Judged, Progress, RunSite, judge, judge_also, look};
use super::scenario::Load;
use super::schedule::{Heard, LAST, lock};
use super::several::make;
use super::users::player_seed;

/// Milliseconds that bets must be open, and after which a table rolls by itself. That is at a moment of the clock, whoever called
/// meanwhile, and a call just after it is refused: it is as rare as a chain allows.
const WINDOW_MS: (u64, u64) = (250, 24 * 3_600_000);
/// Milliseconds to open a roll.
const OPEN_MS: u32 = 10_000;
/// What may be asked of a called roll at P95, in milliseconds beyond that at the other tables.
const DICE_MORE_MS: f64 = 100.0;
/// What a receipt may take at P95, against the other tables.
const RECEIPT_MORE: f64 = 1.1;
/// How long everyone may take to sit down and pledge.
const PATIENCE: Duration = Duration::from_secs(60);
/// The names of the targets for how many of all rolls came, at tables of the beacon alone and at pledged ones.
const ROLLS_TARGETS: [&str; 2] = ["rolls at the other tables", "rolls at pledged tables"];
/// Intents of one player that can be told apart.
const SLOTS: usize = 16;
/// Events that may wait for their player.
const EVENTS: usize = 256;

/// The genesis of a chain in which each user has a table; every other one is pledged.
fn played(load: &Load, genesis: Genesis) -> Genesis {
    let rules = vec![
        TableRules { max_bet: 5_000, ..TableRules::default() },
        TableRules { max_bet: 5_000, dice: DiceSource::Both, open_ms: OPEN_MS, ..TableRules::default() },
    ];
    let (tables, (window_min_ms, window_max_ms)) = (load.users, WINDOW_MS);
    let supply = genesis.supply + u64::from(tables) * genesis.bank_target;
    // Whoever waits for one roll is not absent, and an account outlives a seat.
    let idle_ms = genesis.idle_ms.max(window_max_ms);
    let account_idle_ms = genesis.account_idle_ms.max(idle_ms);
    Genesis { rules, tables, seats: 1, supply, window_min_ms, window_max_ms, idle_ms, account_idle_ms, ..genesis }
}

/// Connects the players, and lets each play from the moment that is said.
fn begin(
    load: &Load,
    cluster: &Cluster,
    measured: &Arc<Measured>,
    starts: &watch::Receiver<Option<Instant>>,
) -> anyhow::Result<()> {
    let validators = Arc::new(Validators::of_genesis(&cluster.genesis)?);
    let _inside = cluster.runtime().enter();
    let endpoint = socket(SocketAddr::from(([0, 0, 0, 0], 0)), 8 << 20).context("a UDP socket")?;
    for number in 0..load.users {
        let key = || PlayerKey::from_seed(&player_seed(load.seed, number));
        let net = NetKey::from_seed(blake3::hash(&key().public()).as_bytes());
        let client = Client::new(client_config(cluster, number), endpoint.clone(), &identity(&net)?)?;
        let (commands, events) = run_client(client, number, measured);
        let table = TableId(number);
        let is_pledged = cluster.genesis.is_pledged(number);
        let player = Player {
            number: number as usize,
            key: key(),
            chain: cluster.chain,
            table,
            half: is_pledged.then(|| Bringing::new(key(), cluster.chain, Arc::clone(&validators), table)),
            account: None,
            next: 1,
            measured: Arc::clone(measured),
            commands,
            events,
            rolled: 0,
        };
        // Neighbours are one of each kind: both kinds are spread over the second alike.
        let shift = CYCLE.mul_f64((number / 2) as f64 / f64::from(load.users.div_ceil(2)));
        tokio::spawn(player.take_part(starts.clone(), cluster.genesis.grant / 2, shift, load.duration));
    }
    Ok(())
}

/// Each node has as many players as the others.
fn client_config(cluster: &Cluster, number: u32) -> ClientConfig {
    let member = &cluster.members[number as usize % cluster.members.len()];
    ClientConfig {
        address: member.address.to_string(),
        node: None,
        others: Vec::new(),
        chain: Some(cluster.chain),
        program: concat!("bitcraps load ", env!("CARGO_PKG_VERSION")).into(),
        reconnect: true,
    }
}

/// Lets a client run. Gives where it is told what to do, and where it says what it hears.
fn run_client(client: Client, number: u32, measured: &Arc<Measured>) -> (mpsc::Sender<Command>, mpsc::Receiver<Event>) {
    let (commands, commands_in) = mpsc::channel(LOAD_COMMANDS_MAX);
    let (events_in, events) = mpsc::channel(EVENTS);
    let measured = Arc::clone(measured);
    tokio::spawn(async move {
        let hear = |event| {
            // A player that is done hears no more, and its client a moment later.
            if let Err(TrySendError::Full(_)) = events_in.try_send(event) {
                measured.heard.fail(format!("player {number} is too far behind to hear its node"));
            }
        };
        let _ = client.run(commands_in, hear).await;
    });
    (commands, events)
}

/// Runs the players and judges what they measured.
///
/// # Errors
/// If the nodes do not start, or not all players can sit down and pledge, or one cannot go on.
pub fn run(
    load: &Load,
    site: &RunSite,
    stop: &AtomicBool,
    mut on_progress: impl FnMut(&Progress),
) -> anyhow::Result<Report> {
    let mut cluster = Cluster::start(&make(load, site, |genesis| played(load, genesis))?)?;
    let measured = Arc::new(Measured {
        heard: Heard::new(load.users as usize, SLOTS),
        kinds: [times(), times()],
        ready: AtomicU64::new(0),
        skipped: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        over: AtomicBool::new(false),
    });
    let (starts_in, starts) = watch::channel(None);
    begin(load, &cluster, &measured, &starts)?;
    let ready = |_: &Heard| measured.ready.load(Ordering::Relaxed);
    measured.heard.wait_within("sit down and pledge", load.users.into(), PATIENCE, ready)?;
    // A table whose player has just sat down refuses a call until its window has opened.
    std::thread::sleep(2 * Duration::from_millis(WINDOW_MS.0));
    let mut meters = Meters::new(&cluster.pids())?;
    let mut own = Meter::new(std::process::id())?;
    let mut samples: Vec<Seen> = Vec::new();
    let (started, start) = (SystemTime::now(), Instant::now());
    *lock(&measured.heard.start) = start;
    starts_in.send(Some(start)).context("the players are gone")?;
    let lasts = load.duration + Duration::from_secs(1);
    while start.elapsed() < lasts && !stop.load(Ordering::Relaxed) && !cluster.pids().is_empty() {
        std::thread::sleep(Duration::from_millis(100));
        let sample = || Seen { node: meters.sample(&cluster.pids()), own: own.sample() };
        look(start.elapsed(), &measured.heard, &mut samples, sample, &mut on_progress);
        if let Some(problem) = lock(&measured.heard.problem).take() {
            anyhow::bail!(problem);
        }
    }
    let (asked, lasted) = (Instant::now(), start.elapsed());
    measured.over.store(true, Ordering::Relaxed);
    let stopped_after = (lasted < load.duration).then_some(lasted);
    let is_answered = || measured.heard.read(Recorder::unanswered) == 0;
    while !is_answered() && asked.elapsed() < LAST && !cluster.pids().is_empty() {
        std::thread::sleep(Duration::from_millis(100));
    }
    let Ending { goals: ended, recorded } = ending::end(&mut cluster);
    let (mut goals, mut notes) = found(lasted.min(load.duration), load.users, &measured);
    // The first and the last second of a run that was stopped are no whole ones, and roll fewer tables.
    goals.retain(|goal| stopped_after.is_none() || !ROLLS_TARGETS.contains(&goal.name.as_str()));
    if cluster.members.len() > 1 {
        notes.push("The processor time is that of all nodes, the memory that of the largest one.".into());
    }
    let (heard, tables, transport) = (&measured.heard, load.users, Transport::Quic);
    let judged = Judged { site, heard, samples: &samples, started, stopped_after, tables, transport, notes };
    let mut report = judge(load, judged, recorded.as_ref().map(|(session, said)| (session.as_path(), said)))?;
    // The bound of a few tables' receipts is not that of two thousand tables that roll each second, on any machine: the other
    // tables of the same run are.
    report.targets.retain(|target| target.name != RECEIPT_TARGET);
    judge_also(&mut report, goals.into_iter().chain(ended));
    Ok(report)
}

/// Both kinds of tables beside each other, of a run that lasted so long.
fn found(lasted: Duration, users: u32, measured: &Measured) -> (Vec<Goal>, Vec<String>) {
    let [beacon, pledged] = [0, 1].map(|kind| {
        let times = lock(&measured.kinds[kind]);
        let of = |times: &Histogram<u64>| [0.5, 0.95, 0.99].map(|quantile| quantile_ms(times, quantile));
        (of(&times.receipts), of(&times.dice), times.dice.len())
    });
    let line = |name: &str, (receipts, dice, rolls): ([f64; 3], [f64; 3], u64)| {
        let words = |[p50, p95, p99]: [f64; 3]| format!("P50 {p50:.1}, P95 {p95:.1}, P99 {p99:.1} ms");
        format!("{name}: {rolls} rolls; bet to receipt {}; called roll to dice {}.", words(receipts), words(dice))
    };
    let due_of = [users.div_ceil(2), users / 2].map(|tables| lasted.as_secs() * u64::from(tables));
    let due = due_of[0] + due_of[1];
    let (skipped, refused) = (measured.skipped.load(Ordering::Relaxed), measured.refused.load(Ordering::Relaxed));
    let notes = vec![
        line("Pledged tables", pledged),
        line("Tables of the beacon alone, in the same run", beacon),
        format!(
            "Each player has a table, bets and calls once a second; a bet's time counts from when it was due. Of {due} rolls \
             {skipped} were left out since the one before was not over, and {refused} calls were refused. A player verifies \
             the certificate before it opens; it keeps no book on the disk, which takes `play` one sync more."
        ),
    ];
    let more_ms = pledged.1[1] - beacon.1[1];
    let mut goals = vec![
        Goal::new(
            "bet to receipt at pledged tables, P95",
            format!("at most {RECEIPT_MORE} times that at the others"),
            format!("{:.1} ms, {:.1} ms", pledged.0[1], beacon.0[1]),
            pledged.2 > 0 && pledged.0[1] <= RECEIPT_MORE * beacon.0[1],
        ),
        Goal::new(
            "called roll to dice at pledged tables, P95",
            format!("at most {DICE_MORE_MS} ms more than at the others"),
            format!("{more_ms:.1} ms more"),
            pledged.2 > 0 && more_ms <= DICE_MORE_MS,
        ),
    ];
    // Each by itself: one kind without a loss would hide twice the loss of the other.
    goals.extend([beacon.2, pledged.2].into_iter().zip(due_of).zip(ROLLS_TARGETS).map(|((rolls, due), name)| {
        Goal::new(name, format!("95% of {due}"), rolls.to_string(), 100 * rolls >= 95 * due)
    }));
    (goals, notes)
}

#[cfg(test)]
mod tests {
    use engine::genesis::{HexBytes, KeySource};

    use super::*;
    use crate::run::new_chain;
    use crate::scenario::tests::load;

    #[test]
    fn no_table_rolls_by_itself_in_a_run_but_by_chance() {
        let load = Load { duration: Duration::from_secs(600), ..load(10.0, 0) };
        let made = new_chain(&load).genesis(KeySource::Dealer, Vec::new(), HexBytes([0; 96]), 0).expect("a chain");
        let Genesis { window_max_ms, idle_ms, account_idle_ms, .. } = played(&load, made);
        assert!(u128::from(window_max_ms) > 10 * load.duration.as_millis(), "{window_max_ms}");
        assert!(window_max_ms <= idle_ms && idle_ms <= account_idle_ms, "as a genesis must have them");
    }

    #[test]
    fn the_rolls_of_each_kind_of_table_are_judged_by_themselves() {
        let measured = Measured {
            heard: Heard::new(4, SLOTS),
            kinds: [times(), times()],
            ready: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            over: AtomicBool::new(false),
        };
        // Of twenty each, which are 95 of 100 together.
        for (kind, rolls) in [(0, 20), (1, 18)] {
            let mut times = lock(&measured.kinds[kind]);
            for _ in 0..rolls {
                times.dice.record(1_000).expect("within the bounds");
                times.receipts.record(1_000).expect("within the bounds");
            }
        }
        let (goals, _) = found(Duration::from_secs(10), 4, &measured);
        let rolls = |name: &str| {
            let goal = goals.iter().find(|goal| goal.name == name).expect("a target");
            (goal.wanted.clone(), goal.found.clone(), goal.met)
        };
        let wanted = || "95% of 20".to_owned();
        assert_eq!(ROLLS_TARGETS.map(rolls), [(wanted(), "20".into(), true), (wanted(), "18".into(), false)]);
    }
}
