//! Validators that are killed, stopped, cut off, or lose what they had.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use load::delays::Links;

use crate::{Cluster, Member, bitcraps, times};

#[test]
fn four_processes_agree_though_each_is_killed_in_turn_and_then_all_at_once() {
    let mut cluster = Cluster::started();
    let crowd = cluster.crowd(&[0, 1, 2, 3]);
    cluster.progress(&[0, 1, 2, 3], 3);
    for _ in 0..times(1) {
        for slot in 0..4 {
            cluster.kill(slot);
            let others: Vec<usize> = (0..4).filter(|other| *other != slot).collect();
            cluster.progress(&others, 3);
            cluster.start(slot);
            let highest = cluster.highest();
            cluster.until("it is level again", |cluster| cluster.settled(slot) >= highest);
            let votes = |cluster: &Cluster| cluster.status(slot).is_some_and(|status| status.unready().is_none());
            cluster.until("it votes again", votes);
        }
        (0..4).for_each(|slot| cluster.kill(slot));
        (0..4).for_each(|slot| cluster.start(slot));
        cluster.progress(&[0, 1, 2, 3], 3);
    }
    assert_eq!(cluster.finish(crowd).contradictions, 0, "a life knows what the one before it signed");
}

#[test]
fn one_that_stands_still_is_done_without_and_comes_back() {
    let cluster = Cluster::started();
    let crowd = cluster.crowd(&[0, 1, 2, 3]);
    cluster.progress(&[0, 1, 2, 3], 2);
    cluster.process(2).signal(rustix::process::Signal::STOP);
    let stopped = Instant::now();
    cluster.progress(&[0, 1, 3], 10);
    std::thread::sleep(Duration::from_secs(20).saturating_sub(stopped.elapsed()));
    cluster.process(2).signal(rustix::process::Signal::CONT);
    let highest = cluster.highest();
    cluster.until("it is level again", |cluster| cluster.settled(2) >= highest);
    cluster.finish(crowd);
}

/// Two halves are no quorum and decide nothing; three that lost one go on; and all agree once they hear each other again.
#[test]
fn a_network_that_falls_apart_decides_once_and_goes_on_when_it_is_whole() {
    let mut cluster = Cluster::new();
    let configs: Vec<PathBuf> = cluster.members.iter().map(|member| member.config.clone()).collect();
    let links = Links::between(&cluster.runtime, &configs, &(0..=1)).expect("links");
    (0..4).for_each(|slot| cluster.start(slot));
    let crowd = cluster.crowd(&[0, 1, 2, 3]);
    cluster.progress(&[0, 1, 2, 3], 3);

    for _ in 0..times(1) {
        links.cut(|one, other| one / 2 != other / 2);
        let still = cluster.until_still();
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(cluster.highest(), still, "no half is a quorum");
        links.cut(|_, _| false);
        let healed = Instant::now();
        cluster.progress(&[0, 1, 2, 3], 1);
        println!("two halves: the next height {} ms after they were whole", healed.elapsed().as_millis());

        links.cut(|one, other| one == 3 && other != 3);
        cluster.progress(&[0, 1, 2], 10);
        links.cut(|_, _| false);
        let (healed, highest) = (Instant::now(), cluster.highest());
        cluster.until("it is level again", |cluster| cluster.settled(3) >= highest);
        println!("one apart: level {} ms after it was back", healed.elapsed().as_millis());
        cluster.progress(&[0, 1, 2, 3], 3);
    }
    assert_eq!(cluster.finish(crowd).contradictions, 0);
}

/// All connections between validators are lost in one moment, and made again in one moment, several times.
#[test]
fn connections_that_are_all_lost_again_and_again_are_all_had_again() {
    let mut cluster = Cluster::new();
    let configs: Vec<PathBuf> = cluster.members.iter().map(|member| member.config.clone()).collect();
    let links = Links::between(&cluster.runtime, &configs, &(0..=1)).expect("links");
    (0..4).for_each(|slot| cluster.start(slot));
    let crowd = cluster.crowd(&[0, 1, 2, 3]);
    cluster.progress(&[0, 1, 2, 3], 2);
    for _ in 0..times(3) {
        links.cut(|_, _| true);
        // A connection is lost after three seconds of silence.
        cluster.until("nobody hears anybody", |cluster| {
            (0..4).all(|slot| cluster.status(slot).is_some_and(|status| status.nodes == 0))
        });
        links.cut(|_, _| false);
        cluster.progress(&[0, 1, 2, 3], 2);
    }
    cluster.finish(crowd);
}

/// A validator whose disk is damaged says where and does not start; the others go on; with nothing left of its session but the
/// genesis it gets the rest from them, and votes when it may.
#[test]
fn one_whose_disk_is_damaged_does_not_start_and_gets_all_from_the_others() {
    let mut cluster = Cluster::started();
    let crowd = cluster.crowd(&[0, 1, 2]);
    cluster.progress(&[0, 1, 2, 3], 5);
    cluster.end(3);
    let Member { session, config, .. } = &cluster.members[3];
    let segment = session.join("journal/00000001.seg");
    let mut bytes = std::fs::read(&segment).expect("a segment");
    // Behind the header of the segment, and long before its end.
    bytes[4_096 + 200] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    let said = bitcraps().args(["node", "--config"]).arg(config).output().expect("the program runs");
    let problem = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.code() == Some(4) && problem.contains("journal/00000001.seg"), "{problem}");
    for folder in ["journal", "consensus", "snapshots"] {
        let folder = session.join(folder);
        for file in std::fs::read_dir(&folder).into_iter().flatten() {
            std::fs::remove_file(file.expect("a file").path()).expect("a file");
        }
    }
    cluster.progress(&[0, 1, 2], 5);
    cluster.start(3);
    let highest = cluster.highest();
    cluster.until("it has all", |cluster| cluster.settled(3) >= highest);
    cluster.until("it votes again", |cluster| cluster.status(3).is_some_and(|status| !status.standing.is_silent));
    cluster.finish(crowd);
}

/// A validator whose log is gone cannot know what it signed: it votes on nothing until the others are far above.
#[test]
fn one_whose_log_is_lost_follows_until_it_may_vote_again() {
    let mut cluster = Cluster::started();
    let crowd = cluster.crowd(&[0, 1, 2]);
    cluster.progress(&[0, 1, 2, 3], 3);
    cluster.kill(3);
    for file in std::fs::read_dir(cluster.members[3].session.join("consensus")).expect("its log") {
        std::fs::remove_file(file.expect("a file").path()).expect("a file");
    }
    // Two that vote are no quorum: no height comes, so that the third one stays as it is.
    cluster.kill(2);
    cluster.start(3);
    cluster.until("it follows", |cluster| cluster.status(3).is_some_and(|status| status.standing.is_silent));
    cluster.start(2);
    cluster.until("it votes again", |cluster| cluster.status(3).is_some_and(|status| !status.standing.is_silent));
    cluster.kill(1);
    cluster.progress(&[0, 2, 3], 3);
    cluster.start(1);
    cluster.finish(crowd);
}
