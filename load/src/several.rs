//! A load run against several validators, some of which are killed meanwhile, over links that take their time.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use engine::Height;
use engine::genesis::{Genesis, KeySource};
use keys::keyfile;
use net::transport::PLAYING_BYTES;
use node::deal::deal;
use node::init::now_ms;

use super::cluster::{Cluster, free_places, local_config};
use super::delays::Links;
use super::drive::Driver;
use super::ending::{self, Ending};
use super::kills::{Kills, Starter, Validators};
use super::meter::{Meter, Meters, Seen};
use super::report::{RECEIPT_TARGET, Report, Transport};
use super::rogue::Rogue;
use super::run::{Judged, Progress, RunSite, judge, judge_also, look, meet, new_chain, receipt_goal};
use super::scenario::Load;
use super::schedule::goes_on;
use super::signing::SignedAhead;
use super::target::Target;
use super::users::Users;

/// Milliseconds from a bet to its receipt that are asked of several validators, for 95 of 100.
const LATENCY_MS: f64 = 150.0;
/// How long a validator that was killed has after the last intent to be level again: much longer than it takes.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// Makes the validators' directories; what the chain has for its load may be altered.
pub(super) fn make(load: &Load, site: &RunSite, alter: impl Fn(Genesis) -> Genesis) -> anyhow::Result<Vec<PathBuf>> {
    // All users may come to one node.
    let connections = load.connections();
    let mut base = local_config(site.threads, connections, load.intents_per_connection());
    base.net.buffer_bytes_max = u64::from(connections) * PLAYING_BYTES;
    let chain = new_chain(load);
    let genesis = |rows, group| Ok(alter(chain.genesis(KeySource::Dealer, rows, group, now_ms()?)?));
    let dealt = deal(&site.dir, &free_places(site.nodes)?, &base, None, |_, _| keyfile::draw(), genesis)?;
    Ok(dealt.nodes.into_iter().map(|node| node.config).collect())
}

impl Validators for Cluster {
    type Started = Target;

    fn kill(&mut self, slot: usize) {
        self.kill(slot);
    }

    fn starter(&self, slot: usize) -> Starter<Target> {
        Box::new(self.starter(slot))
    }

    fn put(&mut self, slot: usize, started: Target) {
        self.put(slot, started);
    }

    fn settled(&self, slot: usize) -> Option<Height> {
        self.members[slot].status().map(|status| status.standing.settled)
    }

    fn highest(&self) -> Height {
        self.highest()
    }
}

/// What a reader of the report should know of the cluster.
fn notes(site: &RunSite, honest: usize, rogue: Option<Rogue>) -> Vec<String> {
    let mut notes = vec![format!(
        "{} validators, each a process, and the generator share the machine; the processor time is that of all nodes, the \
         memory that of the largest one. Open loop: latency counts from when an intent was due.",
        site.nodes
    )];
    if let Some(delay_ms) = &site.delay_ms {
        notes.push(format!("A packet took {} to {} ms from one to another.", delay_ms.start(), delay_ms.end()));
    }
    if let Some(rogue) = rogue {
        let did = rogue.stop();
        notes.push(format!(
            "Validator {} was a rogue: it told all others {} messages, and was put out {} times.",
            honest, did.said, did.put_out
        ));
    }
    notes
}

/// Runs a load against several validators and judges it.
///
/// # Errors
/// If the nodes do not start, or not all users can connect.
pub fn run(
    load: &Load,
    site: &RunSite,
    stop: &AtomicBool,
    mut on_progress: impl FnMut(&Progress),
) -> anyhow::Result<Report> {
    let configs = make(load, site, |genesis| genesis)?;
    let links = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    if let Some(delay_ms) = &site.delay_ms {
        Links::between(&links, &configs, delay_ms)?;
    }
    let (honest, last) = configs.split_at(configs.len() - usize::from(site.rogue.is_some()));
    let mut cluster = Cluster::start(honest)?;
    let rogue = last.first().zip(site.rogue).map(|(config, kind)| Rogue::start(config, kind)).transpose()?;
    let addresses: Vec<_> = cluster.members.iter().map(|member| member.address).collect();
    let (welcome, house) = meet(addresses[0], load.seed)?;
    let users = Users::new(load.users, house, load.seed, welcome.standing.now_ms);
    let signed = SignedAhead::sign(load, &users, &site.dir, stop, |part| on_progress(&Progress::Signing(part)))?;
    let driver = Driver::connect(load, &addresses, users)?;
    let mut meters = Meters::new(&cluster.pids())?;
    let mut own = Meter::new(std::process::id())?;
    let mut samples: Vec<Seen> = Vec::new();
    let mut kills = Kills::new(load, site.kill);
    let started = SystemTime::now();
    let stopped_after = driver.run(load, signed, stop, |elapsed, heard| {
        kills.turn(elapsed, &mut cluster);
        let sample = || Seen { node: meters.sample(&cluster.pids()), own: own.sample() };
        look(elapsed, heard, &mut samples, sample, &mut on_progress);
        goes_on(!cluster.pids().is_empty())
    })?;
    kills.finish(&mut cluster, stop, BACK_WITHIN);
    let mut notes = notes(site, honest.len(), rogue);
    notes.append(&mut kills.notes);
    notes.push(driver.heard().connections().words());
    let heard = driver.close();
    let Ending { goals, recorded } = ending::end(&mut cluster);
    let (tables, transport) = (welcome.tables, Transport::Quic);
    let judged = Judged { site, heard: &heard, samples: &samples, started, stopped_after, tables, transport, notes };
    let mut report = judge(load, judged, recorded.as_ref().map(|(session, said)| (session.as_path(), said)))?;
    for target in report.targets.iter_mut().filter(|target| target.name == RECEIPT_TARGET) {
        *target = receipt_goal(&report.summary, LATENCY_MS);
    }
    judge_also(&mut report, kills.goal().into_iter().chain(goals));
    Ok(report)
}
