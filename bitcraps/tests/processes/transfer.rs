//! A whole state that comes from the others while these serve players.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use load::crowd::Crowd;
use load::delays::Links;
use node::clock::Time;
use node::open::{Options, open};
use node::recording::Driving;
use node::snapshots::SnapshotPace;
use storage::{FrameKind, JournalReader, Retention, Session, Writing};

use crate::{Cluster, PATIENCE};

/// A validator in this process, whose session gives up its first blocks after a minute and not after gigabytes.
struct Forgetful {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Forgetful {
    fn start(config: &Path) -> Self {
        let config = node::layers::Layered::load(config, &[]).expect("its configuration").config;
        let (keys, setup) = node::init::open_keys(&config, false).expect("its keys");
        let genesis = storage::genesis_bytes(&config.node.data).expect("its genesis");
        let retention = Retention { bytes_max: 64 << 10, retire: node::config::retire };
        let options = Options {
            keys: keys.validator,
            threads: 1,
            peers: config.net.connections_max,
            writing: Writing { segment_bytes: 256 << 10, retention: Some(retention), ..Writing::default() },
            pace: SnapshotPace { ticks: 1_000, ..SnapshotPace::default() },
            driving: Driving::Threads,
            sign_from: None,
            network: Some(keys.net.public()),
        };
        let session = Session::open(&config.node.data).expect("its session");
        let stop: Arc<AtomicBool> = Arc::default();
        let stopped = Arc::clone(&stop);
        let run = move || {
            let network = node::network::listen(&setup.genesis, genesis, &keys.net, config.net).expect("its address");
            let mut node = open(session, setup, options, |_| ()).expect("its session").into_node(None, Time::Wall);
            node.listen(network);
            node.run(None, &stopped, |_, _, _| ()).expect("nothing fails");
            node.close();
        };
        Self { stop, thread: std::thread::spawn(run) }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic");
    }
}

/// How many tables the state has: some here; `BITCRAPS_TABLES=100000` is the long run.
fn tables() -> u32 {
    std::env::var("BITCRAPS_TABLES").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000)
}

/// The kind of the first frame of a session.
fn first_frame(session: &Path) -> Option<FrameKind> {
    JournalReader::open(session).ok()?.next_frame().ok()?.map(|frame| frame.kind)
}

/// Where a chain and its players are at a moment.
struct Moment {
    at: Instant,
    settled: u64,
    applied: u64,
}

impl Moment {
    fn now(cluster: &Cluster, crowd: &Crowd) -> Self {
        let applied = crowd.counted.applied.load(Ordering::Relaxed);
        Self { at: Instant::now(), settled: cluster.settled(0).0, applied }
    }

    /// Heights and applied intents a second since then.
    fn pace_until(&self, later: &Self) -> [f64; 2] {
        let seconds = (later.at - self.at).as_secs_f64();
        [(self.settled, later.settled), (self.applied, later.applied)].map(|(from, to)| (to - from) as f64 / seconds)
    }
}

/// A validator that begins when the first blocks are gone everywhere fetches a snapshot from the others, is cut off from them twice
/// meanwhile, and comes on; their players have their answers all the time.
#[test]
fn a_large_state_comes_though_it_is_cut_off_twice_and_players_are_served_meanwhile() {
    let mut cluster = Cluster::with_tables(tables());
    let configs: Vec<PathBuf> = cluster.members.iter().map(|member| member.config.clone()).collect();
    let links = Links::between(&cluster.runtime, &configs, &(0..=1)).expect("links");
    let givers: Vec<Forgetful> = configs[..3].iter().map(|config| Forgetful::start(config)).collect();
    let crowd = cluster.crowd(&[0, 1, 2]);
    let sessions: Vec<PathBuf> = cluster.members.iter().map(|member| member.session.clone()).collect();
    // Blocks stay for as long as receipts are asked for: a minute.
    let end = Instant::now() + 2 * PATIENCE;
    while sessions[..3].iter().any(|session| first_frame(session) != Some(FrameKind::Retired)) {
        assert!(Instant::now() < end, "the first blocks are still there");
        std::thread::sleep(Duration::from_secs(1));
    }
    let before = Moment::now(&cluster, &crowd);
    std::thread::sleep(Duration::from_secs(5));
    let began = Moment::now(&cluster, &crowd);

    cluster.start(3);
    let arriving = sessions[3].join("ARRIVING");
    let mut cuts = 0;
    for _ in 0..2 {
        let end = Instant::now() + PATIENCE;
        while !arriving.exists() && first_frame(&sessions[3]).is_none() {
            assert!(Instant::now() < end, "nothing comes");
            std::thread::sleep(Duration::from_millis(5));
        }
        cuts += u32::from(arriving.exists());
        links.cut(|one, other| one == 3 || other == 3);
        // A connection is lost after three seconds of silence.
        std::thread::sleep(Duration::from_secs(5));
        links.cut(|_, _| false);
    }
    let highest = cluster.settled(0);
    cluster.until("it is level", |cluster| cluster.settled(3) >= highest);
    let ended = Moment::now(&cluster, &crowd);
    let (quiet, busy) = (before.pace_until(&began), began.pace_until(&ended));
    println!(
        "{} tables, cut off {cuts} times while they came: level after {:.1} s; heights and receipts a second before {quiet:.1?}, \
         meanwhile {busy:.1?}",
        tables(),
        (ended.at - began.at).as_secs_f64()
    );
    assert_eq!(first_frame(&sessions[3]), Some(FrameKind::Base), "its journal begins at a snapshot");
    assert!(cuts > 0, "it was cut off while the state came");
    assert!(busy[0] > quiet[0] / 4.0 && busy[1] > quiet[1] / 4.0, "players were served: {quiet:?}, {busy:?}");

    givers.into_iter().for_each(Forgetful::end);
    (0..3).for_each(|slot| cluster.start(slot));
    cluster.progress(&[0, 1, 2, 3], 3);
    cluster.finish(crowd);
}
