use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use engine::Height;
use engine::io::Verdict;
use engine::message::intent::{Intent, IntentId};
use net::wire::{Answer, AnswerVerdict};

use super::*;
use crate::ending;
use crate::meter::Sample;
use crate::rogue::RogueKind;
use crate::scenario::tests::load;
use crate::schedule::{self, goes_on};
use crate::signing::SignedAhead;
use crate::users::{PlayedChain, Users};

/// Something that answers as a node does, and a generator.
struct Stub {
    /// How long after an intent came it is applied.
    takes: Duration,
    /// How long the generator needs to send one.
    sends_in: Duration,
    /// When the run is stopped, if it is.
    stopped_at: Duration,
    /// When the node dies, if it does.
    dies_at: Duration,
}

impl Default for Stub {
    fn default() -> Self {
        Self { takes: Duration::ZERO, sends_in: Duration::ZERO, stopped_at: Duration::MAX, dies_at: Duration::MAX }
    }
}

/// What was heard in a run against something that applies each intent so long after it came, and after how long it was
/// stopped. It is stopped, if it is, at `stopped_at`.
fn run_against_a_stub(load: &Load, takes: Duration, stopped_at: Duration) -> (Heard, Option<Duration>) {
    run_against(load, &Stub { takes, stopped_at, ..Stub::default() })
}

/// What was heard in a run against a stub, and after how long it was ended.
fn run_against(load: &Load, stub: &Stub) -> (Heard, Option<Duration>) {
    let dir = tempfile::tempdir().expect("a folder");
    let played = PlayedChain { chain: [5; 32], tables: 2, grant: 1_000 };
    let users = Arc::new(Users::new(load.users, played, load.seed, 1_800_000_000_000));
    let stop = AtomicBool::new(false);
    let signed = SignedAhead::sign(load, &users, dir.path(), &stop, |_| ()).expect("signed");
    let heard = Heard::new(load.users as usize, schedule::slots(load));
    let waiting: RefCell<VecDeque<(Duration, usize, IntentId)>> = RefCell::default();
    let answer = |now: Duration| {
        if now >= stub.dies_at {
            return;
        }
        let start = *lock(&heard.start);
        let is_due = |(at, ..): &mut (Duration, usize, IntentId)| *at <= now;
        while let Some((_, user, id)) = waiting.borrow_mut().pop_front_if(is_due) {
            let verdict = AnswerVerdict::Receipt { height: Height(1), index: 0, verdict: Verdict::Applied };
            heard.answered(user, start, &Answer { id, verdict });
        }
    };
    let send = |now: Duration, due: Option<(usize, Intent)>| {
        std::thread::sleep(due.as_ref().map_or(Duration::ZERO, |_| stub.sends_in));
        waiting.borrow_mut().extend(due.map(|(user, intent)| (now + stub.takes, user, intent.id())));
        answer(now);
    };
    let look = |now: Duration, _: &Heard| -> ControlFlow<()> {
        stop.store(now >= stub.stopped_at, Ordering::Relaxed);
        answer(now);
        goes_on(now < stub.dies_at)
    };
    let stopped_after = schedule::run(load, &users, signed, &heard, &stop, send, look).expect("a run");
    (heard, stopped_after)
}

/// What came of a run at a site.
fn report_of(load: &Load, site: &RunSite, heard: &Heard, stopped_after: Option<Duration>) -> Report {
    let node = Some(Sample { memory_mb: 64.0, cpu_percent: 50.0 });
    let samples = [Seen { node, own: Some(Sample::default()) }];
    let (started, tables, transport) = (SystemTime::UNIX_EPOCH, 2, Transport::Quic);
    let judged =
        Judged { site, heard, samples: &samples, started, stopped_after, tables, transport, notes: Vec::new() };
    judge(load, judged, None).expect("judged")
}

fn site() -> RunSite {
    RunSite { target: None, dir: PathBuf::new(), threads: 1, nodes: 1, kill: 0, delay_ms: None, rogue: None }
}

#[test]
fn a_run_that_was_stopped_is_judged_by_the_time_it_lasted_and_did_not_pass() {
    let load = load(100.0, 0);
    let (heard, stopped_after) = run_against_a_stub(&load, Duration::ZERO, Duration::from_secs(1));
    let report = report_of(&load, &site(), &heard, stopped_after);
    // By the time that it lasted, however long a busy machine took to stop it, and not by the ten seconds that were asked for.
    let lasted = report.load.duration_s;
    assert!((1.0..10.0).contains(&lasted) && report.summary.settled > 0, "{lasted} s, {}", report.summary.settled);
    assert_eq!(report.summary.rate, report.summary.settled as f64 / lasted);
    let missed: Vec<&str> =
        report.targets.iter().filter(|target| !target.met).map(|target| target.name.as_str()).collect();
    assert!(missed.contains(&"run to its end") && !report.summary.ok, "{missed:?}");
    assert!(report.targets.iter().all(|target| target.name != SETTLED_TARGET), "{:?}", report.targets);
    assert!(report.notes.iter().any(|note| note.contains("was stopped after")), "{:?}", report.notes);
}

#[test]
fn a_run_that_came_to_its_end_is_judged_by_all_of_it() {
    let load = Load { duration: Duration::from_secs(1), ..load(100.0, 0) };
    let (heard, stopped_after) = run_against_a_stub(&load, Duration::from_millis(5), Duration::MAX);
    let report = report_of(&load, &site(), &heard, stopped_after);
    assert_eq!((report.summary.settled, report.summary.rate, report.load.duration_s), (100, 100.0, 1.0));
    assert!(report.targets.iter().any(|target| target.name == SETTLED_TARGET && target.met), "{:?}", report.targets);
    assert!(report.notes.iter().all(|note| note.starts_with("Intents left the generator")), "{:?}", report.notes);
}

#[test]
fn a_run_whose_node_dies_ends_then_and_keeps_what_was_measured() {
    let load = load(100.0, 0);
    let began = Instant::now();
    let dies_at = Duration::from_secs(1);
    let (heard, stopped_after) =
        run_against(&load, &Stub { takes: Duration::from_millis(50), dies_at, ..Stub::default() });
    assert!(stopped_after.is_some_and(|after| after >= dies_at), "{stopped_after:?}");
    assert!(heard.read(Recorder::unanswered) > 0, "what was under way has no answer, and is not waited for");
    assert!(began.elapsed() < Duration::from_secs(9), "nobody waits for a node that is gone: {:?}", began.elapsed());
    heard.fail("user 7 lost its connection for good: banned".into());
    let mut report = report_of(&load, &site(), &heard, stopped_after);
    judge_also(&mut report, [ending::goal(1, &["the node of session ended with signal: 9".into()])]);
    let missed: Vec<&str> =
        report.targets.iter().filter(|target| !target.met).map(|target| target.name.as_str()).collect();
    assert!(missed.contains(&"run to its end") && missed.contains(&"node at the end"), "{missed:?}");
    let Summary { settled, rss_mb, replay_ok, ok, .. } = report.summary;
    assert!(settled > 0 && rss_mb == Some(64.0) && replay_ok.is_none() && !ok, "{:?}", report.summary);
    assert!(report.notes.iter().any(|note| note.contains("user 7 lost its connection for good")), "{:?}", report.notes);
}

#[test]
fn a_session_that_cannot_be_read_is_a_missed_target() {
    let load = load(100.0, 0);
    let dir = tempfile::tempdir().expect("a folder");
    let (samples, site, heard) = ([Seen::default()], site(), Heard::new(1, 1));
    let judged = Judged {
        site: &site,
        heard: &heard,
        samples: &samples,
        started: SystemTime::UNIX_EPOCH,
        stopped_after: None,
        tables: 2,
        transport: Transport::Quic,
        notes: Vec::new(),
    };
    let said = serde_json::json!({ "root_chain": null });
    let report = judge(&load, judged, Some((&dir.path().join("none"), &said))).expect("what was measured is kept");
    let replay = report.targets.iter().find(|target| target.name == "replay").expect("it was asked for");
    assert!(!replay.met && report.summary.replay_ok == Some(false), "{replay:?}");
}

#[test]
fn how_late_the_generator_was_is_told_and_is_no_nodes_delay() {
    let load = Load { duration: Duration::from_secs(1), ..load(40.0, 0) };
    let late = run_against(&load, &Stub { sends_in: Duration::from_millis(50), ..Stub::default() }).0;
    let report = report_of(&load, &site(), &late, None);
    // The last of forty is due after 975 ms, and has left after two seconds.
    assert!(report.lateness.max_ms > 900.0 && report.lateness.p95_ms > 800.0, "{:?}", report.lateness);
    assert!(report.notes.iter().any(|note| note.contains("more than a fifth")), "{:?}", report.notes);
    // What the node needs is not what the generator does.
    let slow = run_against(&load, &Stub { takes: Duration::from_secs(2), ..Stub::default() }).0;
    let report = report_of(&load, &site(), &slow, None);
    assert!(report.lateness.p95_ms < report.summary.p95_ms / 2.0, "{:?}", report.lateness);
}

#[test]
fn seconds_that_were_not_sampled_have_no_sample() {
    let load = Load { duration: Duration::from_secs(2), ..load(20.0, 0) };
    let (heard, _) = run_against_a_stub(&load, Duration::ZERO, Duration::MAX);
    let seconds = report_of(&load, &site(), &heard, None).seconds;
    assert_eq!((seconds[0].rss_mb, seconds[0].own_cpu_percent), (Some(64.0), Some(0.0)));
    assert_eq!((seconds[1].rss_mb, seconds[1].own_cpu_percent), (None, None));
}

#[test]
fn each_bound_that_a_run_is_judged_by_is_one_that_plots_draw() {
    let load = load(100.0, 0);
    let report = report_of(&load, &site(), &Heard::new(1, 1), None);
    let limit = |name: &str| report.targets.iter().find(|target| target.name == name).and_then(|target| target.limit);
    assert_eq!((limit(RECEIPT_TARGET), limit(MEMORY_TARGET)), (Some(LATENCY_TARGET_MS), Some(MEMORY_TARGET_MB)));
    assert_eq!(limit("lost"), None);
}

#[test]
fn every_answer_of_a_few_fast_users_is_counted() {
    let load = Load { users: 5, duration: Duration::from_secs(1), ..load(2_500.0, 0) };
    let (heard, _) = run_against_a_stub(&load, Duration::from_millis(100), Duration::MAX);
    let report = report_of(&load, &site(), &heard, None);
    assert_eq!((report.summary.settled, report.summary.lost), (2_500, 0));
    let slots = |users, rate, burst| schedule::slots(&Load { users, burst, ..self::load(rate, 0) });
    assert_eq!([slots(1_000_000, 20_000.0, 1), slots(100, 1_000.0, 1), slots(10, 300.0, 64)], [16, 601, 1_864]);
}

#[test]
fn what_ran_elsewhere_was_not_measured() {
    let load = load(100.0, 0);
    let elsewhere = RunSite { target: Some(([127, 0, 0, 1], 7_400).into()), ..site() };
    let report = report_of(&load, &elsewhere, &Heard::new(1, 1), None);
    let Summary { rss_mb, cpu_percent, replay_ok, .. } = report.summary;
    assert_eq!((rss_mb, cpu_percent, replay_ok), (None, None, None));
    assert!(report.targets.iter().all(|target| target.name != "memory" && target.name != "replay"));
    assert!(report.load.options.contains(&("node that ran already".into(), "127.0.0.1:7400".into())));
}

#[test]
fn every_condition_of_a_run_is_one_of_its_options() {
    let alone = (load(100.0, 0), site());
    let with_site = |site| (alone.0.clone(), site);
    let differences = |(load, site): &(Load, RunSite)| {
        let [a, b] =
            [(&alone.0, &alone.1), (load, site)].map(|(load, site)| report_of(load, site, &Heard::new(1, 1), None));
        crate::report::Comparison::of(&a, &b).differences.join("\n")
    };
    assert_eq!(differences(&with_site(site())), "");
    let kinds = Load { hostile: 1, hostile_kind: Some(crate::scenario::HostileKind::SlowLoris), ..load(100.0, 0) };
    for (run, says) in [
        (with_site(RunSite { nodes: 4, ..site() }), "validators=4"),
        (with_site(RunSite { nodes: 4, kill: 2, ..site() }), "validators that are killed=2"),
        (with_site(RunSite { nodes: 4, delay_ms: Some(5..=15), ..site() }), "delay between them=5 to 15 ms"),
        (with_site(RunSite { nodes: 4, rogue: Some(RogueKind::Bodies), ..site() }), "rogue=bodies"),
        (with_site(RunSite { threads: 7, ..site() }), "workers of a node=7"),
        ((kinds, site()), "what hostile clients do=slow-loris"),
    ] {
        let found = differences(&run);
        assert!(found.contains(says), "{says}: {found}");
    }
}
