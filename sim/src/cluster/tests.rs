//! What a run says of what its nodes did.

use super::*;
use crate::fault::Faults;

fn cluster(nodes: u32) -> Cluster {
    Cluster::new(Plan { nodes, faults: Faults::None, ..Plan::of(1) }).expect("a genesis")
}

#[test]
fn what_a_player_cannot_read_breaks_no_fault() {
    let packet = Packet { from: End::Node(0), to: End::Player(0), bytes: vec![0xff; 64] };
    let broken = cluster(1).arrive(packet).expect_err("these are no answers");
    assert_eq!(broken.property, Property::NoFault);
    assert!(broken.seen.starts_with("node 0 told a player what cannot be read"), "{broken:?}");
}
