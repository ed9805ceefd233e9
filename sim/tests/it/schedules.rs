//! Bugs that others had, each as a schedule that leads a cluster to where it was: a test is named after what must hold.

mod liars;
mod restarts;

use bevy_ecs::system::Query;
use engine::component::Account;
use engine::{Chips, Height};
use sim::cluster::script::{Meddling, Said};
use sim::fault::Faults;
use sim::properties::Property;
use sim::{Cluster, Plan, Signatures, remembering};

/// Leads a cluster of four through a schedule.
fn led(seed: u64, lead: impl FnOnce(Cluster) + Send) {
    led_with(Signatures::Simulated, seed, lead);
}

fn led_with(signatures: Signatures, seed: u64, lead: impl FnOnce(Cluster) + Send) {
    let plan = Plan { faults: Faults::None, signatures, ..Plan::of(seed) };
    std::thread::scope(|scope| {
        let work = || {
            let _pool = engine::pool::build(1).expect("a pool");
            remembering(signatures, || {
                let mut cluster = Cluster::new(plan).expect("a genesis");
                cluster.begin_schedule();
                lead(cluster);
            });
        };
        scope.spawn(work).join().expect("the schedule holds");
    });
}

/// No plant makes chips, and the invariants of a node would stop it one height later: the count from outside comes first.
#[test]
fn a_chip_out_of_nothing_breaks_conserved() {
    led(16, |mut cluster| {
        goes_on(&mut cluster, 3);
        let mut forge = systems::schedule::chained();
        forge.add_systems(|mut accounts: Query<'_, '_, &mut Account>| {
            accounts.iter_mut().next().expect("an account").cage += Chips(1);
        });
        assert_eq!(cluster.spoil(1, &mut forge), Ok(true));
        let broken = cluster.go_on(1_000).expect_err("a chip too many");
        assert_eq!(broken.property, Property::Conserved, "{}", broken.seen);
    });
}

/// Goes on until every node that runs has settled some more heights.
fn goes_on(cluster: &mut Cluster, more: u64) {
    let target = Height(cluster.highest().0 + more);
    let levelled = cluster.until(20_000, |cluster| cluster.all_settled(target)).expect("sound");
    assert!(levelled, "height {target} was not settled everywhere in 20 s; the highest is {}", cluster.highest());
}

/// Goes on until the nodes of honest validators, all but node 3, have settled some more heights.
fn the_others_go_on(cluster: &mut Cluster, more: u64, most_ms: u64) {
    let target = Height(cluster.highest().0 + more);
    let went_on = cluster.until(most_ms, |cluster| (0..3).all(|node| cluster.settled(node) >= target));
    assert!(went_on.expect("sound"), "height {target}: {}", cluster.stands());
}

/// Drops everything that a rule picks.
fn dropping(mut picks: impl FnMut(&Said<'_>) -> bool + 'static) -> Option<Meddling> {
    Some(Box::new(move |said| picks(&said).then(Vec::new)))
}
