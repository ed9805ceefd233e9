//! A load without sockets: the node runs in this process, and intents and answers go through memory. For as many players
//! as there is memory for.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, bounded};
use engine::PeerId;
use engine::io::{ChainProgress, Input, Output};
use engine::limits::LOAD_INPUTS_MAX;
use engine::message::intent::Intent;
use net::wire::{Answer, AnswerVerdict};
use serde_json::json;
use storage::Session;

use super::ending;
use super::meter::{Meter, Seen};
use super::report::{Report, Transport};
use super::run::{Judged, Progress, RunSite, judge, judge_also, look, new_chain};
use super::scenario::Load;
use super::schedule::{self, Heard, goes_on, lock};
use super::signing::SignedAhead;
use super::users::{FIRST_BET, PlayedChain, Users, now};
use node::clock::Time;
use node::config::Config;
use node::edge::Edge;
use node::init::{create, open_keys};
use node::open::{self, Options, StartedNode};
use node::recording::Driving;
use node::snapshots::SnapshotPace;
use node::totals::Totals;

/// Intents of the preparation that may be without their receipt: as many as a node holds, with room to spare.
const UNDER_WAY: u64 = 30_000;

/// What the node sees of the users: who sends is a user's number, and what comes back is recorded at once.
struct Link {
    inputs: Receiver<Input>,
    heard: Arc<Heard>,
    began: Instant,
    start: Option<Instant>,
}

impl Link {
    fn hear(&mut self, to: PeerId, answer: &Answer) {
        // The clock starts anew once, after the preparation.
        let start = if answer.id.number < FIRST_BET {
            self.began
        } else {
            *self.start.get_or_insert_with(|| *lock(&self.heard.start))
        };
        self.heard.answered(to.slot as usize, start, answer);
    }
}

impl Edge for Link {
    fn take_inputs(&mut self, inputs: &mut Vec<Input>) -> bool {
        inputs.extend(self.inputs.try_iter().take(LOAD_INPUTS_MAX));
        true
    }

    fn send(&mut self, outputs: &mut Vec<Output>) -> bool {
        for output in outputs.drain(..) {
            match output {
                Output::Acknowledged { to, id } => {
                    self.hear(to, &Answer { id, verdict: AnswerVerdict::Acknowledged });
                }
                Output::Receipt { to, receipt } => self.hear(to, &Answer::receipt(&receipt)),
                Output::Shed { to, id, reason } => {
                    self.hear(to, &Answer { id, verdict: AnswerVerdict::Shed(reason) });
                }
                _ => {}
            }
        }
        true
    }

    fn publish(&mut self, _standing: ChainProgress) {}

    fn close(self: Box<Self>) {}
}

fn send(inputs: &Sender<Input>, user: usize, intent: Intent) -> bool {
    let from = PeerId { slot: user as u32, generation: 0 };
    inputs.try_send(Input::Intents { from, intents: vec![intent] }).is_ok()
}

/// Opens every account and takes every seat, as fast as the node settles them.
fn prepare(load: &Load, users: &Users, heard: &Heard, inputs: &Sender<Input>) -> anyhow::Result<()> {
    let count = u64::from(load.users);
    let each = |what: &str, before: u64, intent: &dyn Fn(usize) -> Intent| -> anyhow::Result<()> {
        for user in 0..load.users as usize {
            let needed = (before + user as u64).saturating_sub(UNDER_WAY);
            heard.wait(what, needed, |heard| heard.prepared.load(Ordering::Relaxed))?;
            let from = PeerId { slot: user as u32, generation: 0 };
            inputs.send(Input::Intents { from, intents: vec![intent(user)] }).context("the node has stopped")?;
        }
        heard.wait(what, before + count, |heard| heard.prepared.load(Ordering::Relaxed))
    };
    each("open an account", 0, &|user| users.open(user))?;
    each("sit down", count, &|user| users.sit(user))
}

/// A node in this process that has just begun its session.
struct Begun {
    session: PathBuf,
    opened: StartedNode,
    played: PlayedChain,
}

fn begin(load: &Load, site: &RunSite) -> anyhow::Result<Begun> {
    let mut config = Config::default();
    config.node.threads = site.threads;
    create(&site.dir, &new_chain(load), config.clone(), None)?;
    let session = site.dir.join("session");
    config.node.data.clone_from(&session);
    for path in [&mut config.keys.validator, &mut config.keys.dkg, &mut config.keys.beacon, &mut config.keys.net] {
        *path = site.dir.join(&*path);
    }
    let (keys, setup) = open_keys(&config, false)?;
    let played = PlayedChain { chain: setup.chain, tables: setup.genesis.tables, grant: setup.genesis.grant };
    let options = Options {
        keys: keys.validator,
        threads: site.threads,
        peers: 0,
        writing: config.writing(),
        pace: SnapshotPace::default(),
        driving: Driving::Threads,
        sign_from: None,
        network: None,
    };
    let opened = open::open(Session::open(&session)?, setup, options, |_| ())?;
    Ok(Begun { session, opened, played })
}

/// The node on a thread of its own, until it is told to end.
fn start(opened: StartedNode, link: Link, threads: usize, end: Arc<AtomicBool>) -> JoinHandle<anyhow::Result<Totals>> {
    std::thread::spawn(move || {
        let _pool = engine::pool::build(threads)?;
        let mut node = opened.into_node(None, Time::Wall);
        node.listen(link);
        let result = node.run(None, &end, |_, _, _| {});
        let totals = node.close();
        result.map(|()| totals)
    })
}

/// Runs a load in this process and judges it.
///
/// # Errors
/// If the node cannot be made, or the users cannot take part.
pub fn run(
    load: &Load,
    site: &RunSite,
    stop: &AtomicBool,
    mut on_progress: impl FnMut(&Progress),
) -> anyhow::Result<Report> {
    let Begun { session, opened, played } = begin(load, site)?;
    let users = Arc::new(Users::new(load.users, played, load.seed, now().as_millis() as u64));
    let heard = Arc::new(Heard::new(load.users as usize, schedule::slots(load)));
    let (inputs_in, inputs) = bounded(LOAD_INPUTS_MAX);
    let end = Arc::new(AtomicBool::new(false));
    let link = Link { inputs, heard: Arc::clone(&heard), began: Instant::now(), start: None };
    let node = start(opened, link, site.threads, Arc::clone(&end));
    let mut meter = Meter::new(std::process::id())?;
    let mut samples: Vec<Seen> = Vec::new();
    let started = SystemTime::now();
    let (mut signed_count, mut prepared_in) = (0, Duration::ZERO);
    let signed = SignedAhead::sign(load, &users, &site.dir, stop, |part| on_progress(&Progress::Signing(part)));
    let ran = signed.and_then(|signed| {
        signed_count = signed.count;
        let began = Instant::now();
        prepare(load, &users, &heard, &inputs_in)?;
        prepared_in = began.elapsed();
        let send = |_, due: Option<(usize, Intent)>| {
            if let Some((user, intent)) = due
                && !send(&inputs_in, user, intent)
            {
                // What does not fit was offered all the same, and is lost.
                heard.unsent.fetch_add(1, Ordering::Relaxed);
            }
        };
        schedule::run(load, &users, signed, &heard, stop, send, |elapsed, heard| {
            let sample = || Seen { node: meter.sample(), own: None };
            look(elapsed, heard, &mut samples, sample, &mut on_progress);
            goes_on(!node.is_finished())
        })
    });
    end.store(true, Ordering::Relaxed);
    let totals = node.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the node panicked")));
    let stopped_after = ran?;
    let problem = totals.as_ref().err().map(|problem| format!("{problem:#}"));
    let notes = vec![
        "Open loop: intent n is due at its time whatever the node does, and its latency counts from then. A receipt is \
         given after its height is on disk."
            .to_owned(),
        format!("{} users opened accounts and sat down in {:.1} s.", load.users, prepared_in.as_secs_f64()),
        format!(
            "Node and generator are one process: memory and processor time are those of both. {signed_count} intents were \
             signed before the first was due."
        ),
    ];
    let said = totals.ok().map(|totals| json!({ "root_chain": engine::hex(&totals.root_chain) }));
    let (tables, transport) = (played.tables, Transport::InProcess);
    let judged = Judged { site, heard: &heard, samples: &samples, started, stopped_after, tables, transport, notes };
    let mut report = judge(load, judged, said.as_ref().map(|said| (session.as_path(), said)))?;
    judge_also(&mut report, [ending::goal(1, problem.as_slice())]);
    Ok(report)
}
