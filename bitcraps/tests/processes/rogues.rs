//! A validator that lies or floods, and a second life of one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use audit::reading::ReadOptions;
use audit::replay::{ReplayConfig, replay};
use bytemuck::Zeroable;
use engine::Height;
use engine::limits::{TICK_MS, UNPROVEN_MAX, UNPROVEN_PER_TICK};
use engine::message::node::NodeMessage;
use engine::message::vote::Vote;
use load::rogue::{Rogue, RogueKind};
use net::client::{Endpoint, Lost, RawConnection};
use net::session::CloseCode;
use net::tls::Identity;
use net::wire::{Hello, Role, ToNode, encode_node};
use tokio::task::JoinHandle;

use crate::{Cluster, copy, free_addresses, start, times};

/// A peer with a validator's network key that lies: about its height, with blocks and certificates that nobody signed, and by
/// asking for everything again and again.
#[test]
fn a_validator_that_lies_holds_up_nobody() {
    let mut cluster = Cluster::started();
    let crowd = cluster.crowd(&[0, 1, 2]);
    cluster.progress(&[0, 1, 2, 3], 2);
    cluster.kill(3);
    let config = node::layers::Layered::load(&cluster.members[3].config, &[]).expect("its configuration").config;
    let (keys, setup) = node::init::open_keys(&config, true).expect("its network key");
    let genesis = storage::genesis_bytes(&config.node.data).expect("its genesis");
    let mut liar = node::network::listen(&setup.genesis, genesis, &keys.net, config.net.clone()).expect("its address");
    let mut lie_for = |seconds, height| {
        let (mut heard, mut connected) = (0, Vec::new());
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            let mut inputs = Vec::new();
            liar.take_inputs(&mut inputs, Instant::now().into());
            for input in inputs {
                match input {
                    engine::io::Input::Node { .. } => heard += 1,
                    engine::io::Input::Joined { key, .. } => connected.push(engine::hex(&key)),
                    _ => {}
                }
            }
            liar.send(&mut lies(height));
            std::thread::sleep(Duration::from_millis(20));
        }
        (heard, connected)
    };
    let before = cluster.highest();
    assert!(lie_for(5, before).0 > 0, "the others took it for a validator at first");
    let lied_to = cluster.highest();
    assert!(lied_to > before, "heights come");
    // One that starts knows nobody's lies, and hears them before it knows where the others are.
    cluster.kill(2);
    cluster.start(2);
    // It may ban the liar in the tick in which that came, and have said nothing by then.
    let address = format!("@{}", cluster.members[2].address);
    let started = config.net.validators.iter().find_map(|named| named.strip_suffix(&address)).expect("it is named");
    let (_, connected) = lie_for(5, lied_to);
    assert!(connected.iter().any(|key| key == started), "it was lied to as well: {connected:?}");
    cluster.progress(&[0, 1, 2], 3);
    liar.close();
    // The key is banned for what it did; its operator waits until that is over, or a restart forgets it.
    cluster.restart(&[0, 1, 2]);
    cluster.start(3);
    cluster.progress(&[0, 1, 2, 3], 3);
    cluster.finish(crowd);
}

/// What a liar says.
fn lies(height: Height) -> Vec<engine::io::Output> {
    use engine::message::certificate::{Certificate, CertificateSignature};
    use engine::message::node::{NodeMessage, NodeStanding, RangeEntry, RangeRow};
    use engine::message::vote::{Vote, VoteBody, VoteKind};
    let standing = NodeStanding { decided: Height(1 << 60), settled: Height(1 << 60), ..NodeStanding::default() };
    let signatures = (0..3).map(|slot| CertificateSignature { slot, signature: [3; 64] }).collect();
    let certificate = Certificate { height: height.next(), round: 0, block: [9; 32], signatures };
    let header = engine::message::block::Header {
        height: height.next(),
        version: engine::message::block::BLOCK_VERSION,
        ..Zeroable::zeroed()
    };
    let block = engine::message::block::Block {
        header,
        certificate: None,
        system: Vec::new(),
        pledges: Vec::new(),
        intents: Vec::new(),
    };
    let decided = engine::message::block::Decided { block: block.clone(), certificate: certificate.clone() };
    let votes = (0..64)
        .map(|round| Vote {
            body: VoteBody::new(VoteKind::Precommit, height.next(), round, Some([round as u8; 32]), 3),
            signature: [1; 64],
        })
        .collect();
    let said = [
        NodeMessage::Standing(standing),
        NodeMessage::Polka(certificate),
        NodeMessage::Body(Box::new(block)),
        NodeMessage::Votes(votes),
        NodeMessage::AskRange(RangeRow::new(Height(1), 256)),
        NodeMessage::Range(vec![RangeEntry { decided: Box::new(decided), beacon: Some([5; 48]) }]),
    ];
    said.into_iter().map(|message| engine::io::Output::ToNode { to: None, message: Box::new(message) }).collect()
}

/// A validator with true keys that says nothing, or as much as a line carries: the others go on, no intent of theirs is lost, and none
/// of them holds more than it may.
#[test]
fn a_validator_that_floods_the_others_takes_nothing_from_them() {
    let mut cluster = Cluster::started();
    let crowd = cluster.crowd(&[0, 1, 2]);
    cluster.progress(&[0, 1, 2, 3], 2);
    cluster.kill(3);
    let mut began = Instant::now();
    for kind in [RogueKind::Silent, RogueKind::Votes, RogueKind::Bodies, RogueKind::Intents] {
        began = Instant::now();
        let rogue = Rogue::start(&cluster.members[3].config, kind).expect("it takes the validator's place");
        let is_silent = matches!(kind, RogueKind::Silent);
        if is_silent {
            // Also one that starts waits for nothing that it does not say.
            cluster.kill(2);
            cluster.start(2);
        }
        let end = Instant::now() + Duration::from_secs(4);
        while Instant::now() < end {
            cluster.progress(&[0, 1, 2], 2);
            for slot in 0..3 {
                let held = memory(cluster.process(slot).0.id());
                assert!(held < MEMORY_BYTES, "{kind:?}: node {slot} holds {held} bytes");
            }
        }
        let did = rogue.stop();
        // Of two connections that both ends opened one is given up; a ban puts it out again and again.
        assert!(is_silent || did.said > 100, "{kind:?}: {did:?}");
        assert!(did.put_out <= 3, "{kind:?} is looked at, and no offence: {did:?}");
    }
    cluster.end(0);
    let session = &cluster.members[0].session;
    let seen = replay(session, &ReplayConfig::all(ReadOptions::default()), |_| {}).expect("a session").counts.refused;
    // What each of three looked at by now, and some of the players' own.
    let most = 3 * (UNPROVEN_MAX + UNPROVEN_PER_TICK * began.elapsed().as_millis() as u64 / TICK_MS) + 1_000;
    assert!((1_000..most).contains(&seen), "intents of the flood were looked at: {seen} are in blocks, {most} at most");
    cluster.start(0);
    cluster.start(3);
    cluster.progress(&[0, 1, 2, 3], 3);
    cluster.finish(crowd);
}

/// What a node may hold of a machine's memory.
const MEMORY_BYTES: u64 = 512 << 20;

/// What a process holds of it now.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of Linux");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("what is resident");
    let kib: u64 = resident.trim().trim_end_matches(" kB").parse().expect("KiB");
    kib << 10
}

/// A validator with true keys of which a byte a second comes: one that starts puts it out as one that runs does, and nobody waits for it.
#[test]
fn a_validator_that_says_a_byte_a_second_is_put_out_and_waited_for_by_nobody() {
    let mut cluster = Cluster::started();
    let crowd = cluster.crowd(&[0, 1, 2]);
    cluster.progress(&[0, 1, 2, 3], 2);
    cluster.kill(3);
    let config = node::layers::Layered::load(&cluster.members[3].config, &[]).expect("its configuration").config;
    let (keys, _) = node::init::open_keys(&config, true).expect("its network key");
    let identity = keys::identity(&keys.net).expect("a key");
    // Nobody else may have its place while it is believed to be there.
    cluster.until("it is missed", |cluster| cluster.status(0).is_some_and(|status| status.nodes == 2));
    cluster.kill(2);
    cluster.start(2);
    let slow = [0, 2].map(|slot| {
        let (endpoint, identity, address) = (cluster.endpoint.clone(), identity.clone(), cluster.members[slot].address);
        cluster.runtime.spawn(async move { drip(&endpoint, &identity, address).await })
    });
    while !slow.iter().all(JoinHandle::is_finished) {
        cluster.progress(&[0, 1, 2], 3);
    }
    for (slot, lost) in slow.into_iter().enumerate() {
        let lost = cluster.runtime.block_on(lost).expect("no panic");
        assert!(matches!(lost, Lost::Closed { code: CloseCode::Timeout, .. }), "{slot}: {lost}");
    }
    cluster.start(3);
    cluster.progress(&[0, 1, 2, 3], 3);
    cluster.finish(crowd);
}

/// Says hello as a node, opens a lane, and sends a byte of votes a second, until that is ended or has lasted for too long.
async fn drip(endpoint: &Endpoint, identity: &Identity, at: SocketAddr) -> Lost {
    let mut votes = Vec::new();
    encode_node(&NodeMessage::Votes(vec![Vote::zeroed(); 16]), &mut votes);
    let mut slow = RawConnection::connect(endpoint, identity, at).await.expect("it is let in");
    let hello = Hello { chain: None, program: "slow".into(), role: Role::Node };
    slow.say(&ToNode::Hello(hello)).await.expect("said");
    slow.open_lane().await.expect("a validator has lanes");
    for byte in votes.into_iter().take(60) {
        if slow.send(&[byte]).await.is_err() {
            return slow.closed().await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Lost::Other("nobody minds a byte a second".into())
}

#[test]
fn a_copied_directory_signs_nothing_beside_the_original() {
    let cluster = Cluster::started();
    let crowd = cluster.crowd(&[0, 1, 2]);
    cluster.progress(&[0, 1, 2, 3], 2);
    for moment in 0..times(3) {
        std::thread::sleep(Duration::from_millis((moment * 397) % 900));
        let folder = cluster.dir.path().join(format!("copy-{moment}"));
        copy(cluster.members[3].config.parent().expect("a folder"), &folder);
        let address = free_addresses(1)[0];
        let config = folder.join("bitcraps.toml");
        let text = std::fs::read_to_string(&config).expect("its configuration");
        let text = text.replace(&cluster.members[3].address.to_string(), &address.to_string());
        std::fs::write(&config, text).expect("its configuration");
        let (second, _) = start(&config, &[]);
        cluster.progress(&[0, 1, 2, 3], 5);
        // It has stopped by itself, or it votes on nothing.
        let status = cluster.status_at(address);
        assert!(status.is_none_or(|status| status.standing.is_silent), "moment {moment}: {status:?}");
        drop(second);
    }
    for slot in 0..4 {
        let log = cluster.members[slot].session.join("stopped");
        assert!(!log.exists(), "node {slot} did not stop for what the copy did");
        cluster.until("the originals vote", |cluster| {
            cluster.status(slot).is_some_and(|status| !status.standing.is_silent)
        });
    }
    assert_eq!(cluster.finish(crowd).contradictions, 0);
}

/// A validator whose folder is an older copy of it: it has signed what its log does not know, and finds that in the certificates of
/// the others. It votes again once that is behind it, and contradicts itself never.
#[test]
fn a_restored_directory_signs_nothing_until_what_it_signed_is_behind_it() {
    let mut cluster = Cluster::started();
    let crowd = cluster.crowd(&[0, 1, 2]);
    for moment in 0..times(1) {
        cluster.progress(&[0, 1, 2, 3], 2);
        cluster.end(3);
        let session = cluster.members[3].session.clone();
        let kept = cluster.dir.path().join(format!("kept-{moment}"));
        copy(&session, &kept);
        cluster.start(3);
        // With three of four its votes are in each certificate.
        cluster.kill(2);
        cluster.progress(&[0, 1, 3], 5 + moment % 7);
        cluster.kill(3);
        std::fs::remove_dir_all(&session).expect("its session");
        copy(&kept, &session);
        // Two that vote are no quorum: nothing is decided while it does not vote. What was decided before is settled with its share.
        cluster.until_still();
        let decided = |cluster: &Cluster| cluster.status(0).map(|status| status.standing.decided);
        let still = decided(&cluster).expect("it runs");
        cluster.start(3);
        cluster.until("it follows, and is level", |cluster| {
            cluster.status(3).is_some_and(|status| status.standing.is_silent && status.standing.settled >= still)
        });
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(decided(&cluster), Some(still), "moment {moment}: it does not vote");
        cluster.start(2);
        cluster.until("it votes again", |cluster| cluster.status(3).is_some_and(|status| !status.standing.is_silent));
    }
    cluster.progress(&[0, 1, 2, 3], 3);
    let sessions: Vec<_> = cluster.members.iter().map(|member| member.session.clone()).collect();
    assert!(sessions.iter().all(|session| !session.join("stopped").exists()));
    assert_eq!(cluster.finish(crowd).contradictions, 0);
}
