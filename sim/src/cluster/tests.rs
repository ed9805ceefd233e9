//! What a run says of itself: what befell it, and when it takes too long.

use super::*;
use crate::fault::Faults;

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
