//! Players whose node is killed and started again.

use node::config::ServedAt;

use super::*;

/// A node in a process of its own, which can be killed.
struct Killable {
    child: Child,
    address: SocketAddr,
}

impl Killable {
    fn start(config: &Path) -> Self {
        let mut child = Process::new(env!("CARGO_BIN_EXE_bitcraps"))
            .args(["node", "--output", "ndjson", "--config"])
            .arg(config)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let line = Lines::of(child.stdout.take().expect("piped")).next();
        let ready: serde_json::Value = serde_json::from_str(&line).expect("an object");
        let address = ready["listen"].as_str().expect("an address").parse().expect("an address");
        Self { child, address }
    }

    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

#[test]
fn clients_play_on_through_kills_and_nothing_is_lost_or_doubled() {
    let dir = tempfile::tempdir().expect("a folder");
    let created = create(&dir.path().join("n"), &chain(1, 300), Config::default(), None).expect("a node");
    let mut config = Layered::load(&created.config, &[]).expect("its configuration").config;
    // A port that stays the same from start to start.
    config.net.listen =
        std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    // A program beside this test may show its dashboard at the usual address.
    config.monitoring.listen = ServedAt::Off;
    std::fs::write(&created.config, config.text()).expect("written");
    let runtime = runtime();
    let mut node = Killable::start(&created.config);
    let address = node.address;
    let mut players: Vec<TestPlayer> = {
        let _inside = runtime.enter();
        (0..3).map(|number| TestPlayer::connect(&format!("survivor {number}"), address, created.chain)).collect()
    };
    runtime.block_on(async {
        for player in &mut players {
            player.sit(0).await;
        }
    });
    let mut placed = 0;
    for round in 0..4 {
        let mut sent: Vec<Vec<u64>> = Vec::new();
        runtime.block_on(async {
            for player in &mut players {
                let bets: Vec<Intent> = (0..10).map(|_| player.bet(0, 1)).collect();
                sent.push(bets.iter().map(|bet| bet.body.number).collect());
                player.send(bets).await;
            }
            tokio::time::sleep(Duration::from_millis(7 * round)).await;
        });
        node.kill();
        node = Killable::start(&created.config);
        runtime.block_on(async {
            for (player, numbers) in players.iter_mut().zip(&sent) {
                for number in numbers {
                    let (_, verdict) = player.receipt(*number).await;
                    // What was used before the kill and is forgotten since says so: it was applied once.
                    assert!(matches!(verdict, Verdict::Applied), "round {round}, intent {number}: {verdict:?}");
                    placed += 1;
                }
            }
        });
    }
    drop(runtime);
    node.kill();
    let outcome = audit(&config.node.data);
    let session = dir.path().join("n/session");
    assert_eq!(session.canonicalize().ok(), config.node.data.canonicalize().ok());
    assert_eq!((placed, outcome.counts.bets_placed), (120, 120));
}
