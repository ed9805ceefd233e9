//! What a run says of itself: what befell it, and when it takes too long.

use storage::backend::Backend;

use super::*;
use crate::fault::Faults;
use crate::host::Stopped;

fn cluster(nodes: u32) -> Cluster {
    Cluster::new(Plan { nodes, faults: Faults::None, ..Plan::of(1) }).expect("a genesis")
}

#[test]
fn a_run_of_many_heights_does_not_fail_because_they_are_many() {
    let mut cluster = cluster(1);
    let heights = cluster.plan.heights;
    let mut at = |now: Time, height: u64| {
        (cluster.now, cluster.progress) = (now, (now, Height(height)));
        cluster.check_time()
    };
    let late = 3 * PATIENCE;
    assert_eq!((at(late, heights * 4 / 5), at(late, heights * 4 / 5)), (Ok(()), Ok(())), "it is healed, and goes on");
    let reached = 2 * late;
    assert_eq!((at(reached, heights), at(reached + PATIENCE, heights + 9)), (Ok(()), Ok(())));
    let broken = at(reached + PATIENCE + 1, heights + 10).expect_err("one has stayed behind");
    assert_eq!(broken.property, Property::Progress);
    assert!(
        broken.seen.contains(&format!("has not settled height {heights} 1800 s after the first did")),
        "{broken:?}"
    );
}

#[test]
fn what_a_player_cannot_read_breaks_no_fault() {
    let packet = Packet { from: End::Node(0), to: End::Player(0), bytes: vec![0xff; 64] };
    let broken = cluster(1).arrive(packet).expect_err("these are no answers");
    assert_eq!(broken.property, Property::NoFault);
    assert!(broken.seen.starts_with("node 0 told a player what cannot be read"), "{broken:?}");
}

#[test]
fn what_befalls_nobody_is_not_counted() {
    // No node has a second life or a disk to lose, there is nobody to be cut off from, and no process runs yet.
    let mut cluster = cluster(1);
    let of_nobody = [
        Fault::Partition,
        Fault::Clog,
        Fault::Kill,
        Fault::Stall,
        Fault::Pause,
        Fault::AllDown,
        Fault::LostDisk,
        Fault::TwoLives,
        Fault::BadWrites,
    ];
    for fault in of_nobody {
        assert_eq!(cluster.go_wrong(fault), Ok(()));
        assert!(cluster.faults.is_empty(), "{:?}", cluster.faults);
    }
    for fault in [Fault::Loss, Fault::PowerCut, Fault::Loss] {
        assert_eq!(cluster.go_wrong(fault), Ok(()));
    }
    assert_eq!(cluster.faults, BTreeMap::from([("loss", 2), ("power-cut", 1)]));
}

#[test]
fn a_kill_in_recovery_that_is_taken_back_is_no_state_that_was_reached() {
    let mut cluster = cluster(1);
    assert_eq!(cluster.go_wrong(Fault::KillInRecovery), Ok(()));
    cluster.heal();
    assert_eq!(cluster.reached("killed while it recovered"), 0);
}

#[test]
fn a_panic_breaks_no_fault_at_whoever_lies_too_and_another_life_only_at_others() {
    let plan = Plan { faults: "two-lives".parse().expect("a kind"), ..Plan::of(1) };
    let mut cluster = Cluster::new(plan).expect("a genesis");
    let weak = *cluster.weak.keys().next().expect("one of four may be faulty") as usize;
    let (honest, heard) = ((weak + 1) % 4, "a validator heard of its other life and stopped");
    let said = || "as planned".to_owned();
    assert_eq!(cluster.died(weak, Stopped::OtherLife(said())), Ok(()));
    assert_eq!(cluster.reached(heard), 1);
    for (slot, stopped) in [
        (weak, Stopped::Panicked(said())),
        (weak, Stopped::Itself(said())),
        (honest, Stopped::OtherLife(said())),
        (honest, Stopped::Panicked(said())),
    ] {
        let broken = cluster.died(slot, stopped.clone()).expect_err("nobody did that to it");
        assert_eq!((broken.property, cluster.reached(heard)), (Property::NoFault, 1), "{stopped:?}");
    }
}

/// Leads one node and two players through something, with nothing that goes wrong.
fn led<R: Send>(lead: impl FnOnce(Cluster) -> R + Send) -> R {
    let plan = Plan { nodes: 1, heights: 10, players: 2, faults: Faults::None, ..Plan::of(1) };
    let work = || {
        let _pool = engine::pool::build(1).expect("a pool");
        crate::remembering(plan.signatures, || lead(Cluster::new(plan.clone()).expect("a genesis")))
    };
    std::thread::scope(|scope| scope.spawn(work).join().expect("a thread of its own"))
}

#[test]
fn whoever_never_hears_the_last_word_breaks_that_and_figures_are_of_the_heights_that_were_asked_for() {
    let judged = |is_deaf: bool| {
        led(|mut cluster| {
            assert_eq!(cluster.live(&mut |_, _| ()), Ok(()));
            // What is told from now on gets lost, and not what is on its way.
            (0..2).for_each(|player| cluster.network.cut(End::Node(0), End::Player(player), is_deaf));
            assert_eq!(cluster.go_on(1_000), Ok(()));
            let waits = cluster.players.iter().any(|player| player.waits().next().is_some());
            assert!(waits || !is_deaf, "they were busy to the end");
            let (now, last) = (cluster.now, cluster.seen.last());
            let outcome = cluster.judge(Ok(()));
            assert_eq!((outcome.virtual_ms, outcome.height, outcome.root_chain), (now / 1_000, last.0, last.1));
            outcome.broken
        })
    };
    assert_eq!(judged(false), None);
    let broken = judged(true).expect("nobody tells them anything");
    assert_eq!(broken.property, Property::LastWord);
    assert!(broken.seen.contains("did not hear in 60 s what became of its intent"), "{broken:?}");
}

#[test]
fn a_write_that_found_no_room_excuses_no_later_error() {
    led(|mut cluster| {
        cluster.begin_schedule();
        assert_eq!(cluster.until(10_000, |cluster| cluster.settled(0) >= Height(3)), Ok(true));
        let disk = cluster.hosts[0].disk.clone();
        disk.set_room(Some(disk.used()));
        assert_eq!(cluster.until(60_000, |cluster| cluster.hosts[0].record.get().full > 0), Ok(true));
        disk.set_room(None);
        let from = cluster.settled(0);
        assert_eq!(cluster.until(10_000, |cluster| cluster.settled(0) > from), Ok(true), "it survived that");
        let stopped = cluster.hosts[0].guarded(|_| anyhow::bail!("of its own"));
        assert_eq!(stopped, Err(Stopped::Itself("of its own".into())));
        // What fails while it works stops it; but an invariant that is broken is nothing that a disk does.
        let mut stopped_by = |error: fn(std::io::Error) -> anyhow::Error| {
            disk.plan(disk.operations() + 1, storage::backend::Fault::Fail(std::io::ErrorKind::Other));
            let failed = disk.clone();
            cluster.hosts[0].guarded(move |_| failed.sync_dir(std::path::Path::new("/disk")).map_err(error))
        };
        let stopped = stopped_by(anyhow::Error::from);
        assert!(matches!(stopped, Err(Stopped::Disk(_))), "{stopped:?}");
        let poison = |_| {
            let problem = "as planned".to_owned();
            systems::exchange::ExchangeError::Poison { height: Height(4), block: [0; 32], problem }.into()
        };
        let stopped = stopped_by(poison);
        assert!(matches!(stopped, Err(Stopped::Itself(_))), "{stopped:?}");
    });
}
