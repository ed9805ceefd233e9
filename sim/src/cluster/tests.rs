//! What a run says of itself: what its nodes did, and when it takes too long.

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
