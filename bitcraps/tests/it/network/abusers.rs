//! Whoever abuses a node is refused with a code and counted, and the others do not notice.

use super::*;

fn hello() -> ToNode {
    ToNode::Hello(Hello { chain: None, program: "test".into(), role: Role::Client })
}

async fn raw(name: &str, from: [u8; 4], address: SocketAddr) -> Result<RawConnection, Lost> {
    let endpoint = socket((from, 0).into(), 1 << 20).expect("a socket");
    RawConnection::connect(&endpoint, &identity(&NetKey::from_seed(&seed(name))).expect("a key"), address).await
}

async fn closed_with(connection: &RawConnection) -> CloseCode {
    match tokio::time::timeout(PATIENCE, connection.closed()).await.expect("the node closes") {
        Lost::Closed { code, .. } => code,
        other => panic!("closed without a code: {other}"),
    }
}

#[test]
fn what_is_no_message_ends_the_connection_with_a_code() {
    let mut node = TestNode::start(&chain(1, 1_000), |bounds| bounds);
    let runtime = runtime();
    runtime.block_on(async {
        let mut welcome = Vec::new();
        hello().encode(&mut welcome);
        let mut late = welcome.clone();
        late.extend([64, 0]);
        let cases: [(&str, Vec<u8>, CloseCode); 8] = [
            ("garbage", vec![0xa5; 100], CloseCode::Version),
            ("another version", vec![64, 0, 0, 0, 1, 9, 0, 0], CloseCode::Version),
            ("unknown kind", vec![0, 0, 0, 0, 99, VERSION, 0, 0], CloseCode::Malformed),
            ("oversized", vec![0xff, 0xff, 0xff, 0x7f, 2, VERSION, 0, 0], CloseCode::Malformed),
            ("no hello first", vec![0, 0, 0, 0, 4, VERSION, 0, 0], CloseCode::Malformed),
            ("said twice", [&welcome[..], &welcome[..]].concat(), CloseCode::Malformed),
            ("silent", Vec::new(), CloseCode::Timeout),
            ("never finished", late, CloseCode::Timeout),
        ];
        for (what, bytes, code) in cases {
            let mut connection = raw(what, [127, 0, 0, 1], node.address).await.expect("let in");
            // Without a byte the stream does not exist for the node.
            if !bytes.is_empty() {
                connection.send(&bytes).await.expect("sent");
            }
            assert_eq!(closed_with(&connection).await, code, "{what}");
        }
        let mut connection = raw("chain", [127, 0, 0, 1], node.address).await.expect("let in");
        let other = Hello { chain: Some([9; 32]), program: "test".into(), role: Role::Client };
        connection.say(&ToNode::Hello(other)).await.expect("sent");
        assert_eq!(closed_with(&connection).await, CloseCode::Chain);

        let config = ClientConfig {
            address: node.address.to_string(),
            others: Vec::new(),
            node: None,
            chain: None,
            program: "test".into(),
            reconnect: false,
        };
        let endpoint = socket(([127, 0, 0, 1], 0).into(), 1 << 20).expect("a socket");
        let key = identity(&NetKey::from_seed(&seed("alpn"))).expect("a key");
        let client = Client::speaking(b"bitcraps/1", config, endpoint, &key).expect("a client");
        let (_commands, commands) = mpsc::channel(1);
        assert_eq!(client.run(commands, |_| ()).await, Err(Lost::Version));
    });
    drop(runtime);
    assert_eq!(node.count("closed"), 9);
    assert_eq!(node.stop().counts.bets_placed, 0);
}

#[test]
fn whoever_asks_for_the_status_gets_it_and_a_pledge_is_shed() {
    let mut node = TestNode::start(&chain(1, 1_000), |bounds| bounds);
    let runtime = runtime();
    runtime.block_on(async {
        let mut connection = raw("status", [127, 0, 0, 1], node.address).await.expect("let in");
        connection.say(&hello()).await.expect("sent");
        assert!(matches!(connection.hear().await, Ok(ToClient::Welcome(_))));
        connection.say(&ToNode::AskStatus).await.expect("sent");
        let Ok(ToClient::Status(status)) = connection.hear().await else { panic!("a status") };
        assert_eq!((status.connections, status.nodes, status.behind, status.unready()), (1, 0, 0, None));
        assert!(status.standing.settled <= status.standing.decided);
        assert_eq!(status.standing.certified, status.standing.decided.back(2));

        let pledge =
            PledgeRow { table: 3, roll: 9, kind: 1, value: [2; 32], signature: [7; 64], ..PledgeRow::zeroed() };
        connection.say(&ToNode::Pledges(vec![pledge])).await.expect("sent");
        let Ok(ToClient::Answers(answers)) = connection.hear().await else { panic!("an answer") };
        let verdict = AnswerVerdict::Shed(ShedReason::NoPledges);
        assert_eq!(answers, [Answer { id: pledge.id(), verdict }]);
        connection.say(&ToNode::Pledges(vec![PledgeRow { roll: 0, ..pledge }])).await.expect("sent");
        assert_eq!(closed_with(&connection).await, CloseCode::Malformed);
    });
    drop(runtime);
    node.stop();
}

/// Intents of a key that has no account: they verify, and are refused in a block.
fn strangers_intents(key: &PlayerKey, chain: &engine::Hash, numbers: std::ops::Range<u64>) -> Vec<Intent> {
    let body = |number| IntentBody::new(IntentKind::Leave, key.public(), number, expiry_s()).at(TableId(0));
    numbers.map(|number| key.sign(body(number), chain)).collect()
}

async fn answers(connection: &mut RawConnection) -> Vec<Answer> {
    match tokio::time::timeout(PATIENCE, connection.hear()).await.expect("an answer") {
        Ok(ToClient::Answers(answers)) => answers,
        Ok(ToClient::Welcome(_)) => Vec::new(),
        other => panic!("no answers: {other:?}"),
    }
}

async fn wait_for(connection: &mut RawConnection, verdict: impl Fn(&AnswerVerdict) -> bool) -> Answer {
    loop {
        if let Some(found) = answers(connection).await.into_iter().find(|answer| verdict(&answer.verdict)) {
            return found;
        }
    }
}

#[test]
fn false_signatures_and_floods_are_refused_then_banned_while_others_play() {
    let node = TestNode::start(&chain(1, 1_000), |bounds| bounds);
    let runtime = runtime();
    runtime.block_on(async {
        let mut player = TestPlayer::connect("honest", node.address, node.chain);
        player.sit(0).await;
        let refused = |refusal| {
            move |verdict: &AnswerVerdict| {
                matches!(verdict, AnswerVerdict::Receipt { verdict: Verdict::Refused(found), .. } if *found == refusal)
            }
        };
        // Another's signature, a key that is not canonical, a key of small order.
        let key = PlayerKey::from_seed(&seed("liar"));
        let mut forged = strangers_intents(&key, &node.chain, 1..2)[0];
        forged.signature[3] ^= 1;
        let mut odd = forged;
        odd.body.key = [0xff; 32];
        odd.body.number = 2;
        let mut small = forged;
        small.body.key = [0; 32];
        small.body.key[0] = 1;
        small.body.number = 3;
        // R of small order and s = 0: verifies under a key of small order, which must not enter all the same.
        small.signature = [0; 64];
        small.signature[0] = 1;
        let mut liar = raw("liar", [127, 0, 0, 1], node.address).await.expect("let in");
        liar.say(&hello()).await.expect("sent");
        for intent in [forged, odd, small] {
            liar.say(&ToNode::Intents(vec![intent])).await.expect("sent");
            let answer = wait_for(&mut liar, refused(Refusal::BadSignature)).await;
            assert_eq!(answer.id, intent.id());
        }
        // Ten are too many.
        let more = (10..20u64).map(|number| {
            let mut intent = strangers_intents(&key, &node.chain, number..number + 1)[0];
            intent.signature[9] ^= 4;
            intent
        });
        liar.say(&ToNode::Intents(more.collect())).await.expect("sent");
        assert_eq!(closed_with(&liar).await, CloseCode::Banned);
        // The handshake succeeds, since only it proves the key; what follows may or may not come before the close.
        let lost = match raw("liar", [127, 0, 0, 1], node.address).await {
            Ok(again) => again.closed().await,
            Err(lost) => lost,
        };
        assert!(matches!(lost, Lost::Closed { code: CloseCode::Banned, .. }), "{lost}");

        // Stale and untimely ones.
        let mut stale = raw("stale", [127, 0, 0, 1], node.address).await.expect("let in");
        stale.say(&hello()).await.expect("sent");
        let signed = |expiry_s: u64, number: u64| {
            let expiry_s = u32::try_from(expiry_s).expect("until 2106");
            key.sign(IntentBody::new(IntentKind::Leave, key.public(), number, expiry_s).at(TableId(0)), &node.chain)
        };
        let now_s = now_ms() / 1_000;
        for (expiry_s, number, refusal) in
            [(now_s - 5, 1, Refusal::Expired), (now_s + 300, 2, Refusal::ExpiresTooLate)]
        {
            stale.say(&ToNode::Intents(vec![signed(expiry_s, number)])).await.expect("sent");
            wait_for(&mut stale, refused(refusal)).await;
        }
        // A field that cannot be, and a number that two intents want.
        let mut malformed = signed(now_s + 20, 3);
        malformed.body.kind = 77;
        stale.say(&ToNode::Intents(vec![malformed])).await.expect("sent");
        wait_for(&mut stale, |verdict| *verdict == AnswerVerdict::Shed(ShedReason::Malformed)).await;

        // More than rate and credit allow.
        let mut flood = raw("flood", [127, 0, 0, 1], node.address).await.expect("let in");
        flood.say(&hello()).await.expect("sent");
        let mut shed = 0;
        'flood: for burst in 0..100u64 {
            let intents = strangers_intents(&key, &node.chain, 1_000 + burst * 64..1_064 + burst * 64);
            if flood.say(&ToNode::Intents(intents)).await.is_err() {
                break;
            }
            let mut left = 64;
            while left > 0 {
                match tokio::time::timeout(PATIENCE, flood.hear()).await.expect("something") {
                    Ok(ToClient::Answers(answers)) => {
                        left -= answers.iter().filter(|answer| answer.is_final()).count().min(left);
                        shed += answers.iter().filter(|answer| matches!(answer.verdict, AnswerVerdict::Shed(_))).count();
                    }
                    Ok(_) => {}
                    Err(_) => break 'flood,
                }
            }
        }
        assert_eq!(closed_with(&flood).await, CloseCode::Banned);
        assert!(shed >= 512, "{shed} were shed before the ban");

        // The honest one noticed nothing.
        for _ in 0..5 {
            let bet = player.bet(0, 1);
            player.send(vec![bet]).await;
            assert_eq!(player.receipt(bet.body.number).await.1, Verdict::Applied);
        }
    });
    drop(runtime);
    assert_eq!(node.count("banned"), 2);
    assert!(node.count("refused_banned") >= 1 && node.count("shed") >= 512);
    node.end();
}

/// The first packet of a handshake that nobody goes on with: it was meant for somebody who does not answer.
async fn first_packet(name: String) -> Vec<u8> {
    let silent = tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await.expect("a socket");
    let at = silent.local_addr().expect("an address");
    let begun = tokio::spawn(async move { raw(&name, [127, 0, 0, 1], at).await.err() });
    let mut packet = vec![0; 2_048];
    let (bytes, _) =
        tokio::time::timeout(PATIENCE, silent.recv_from(&mut packet)).await.expect("in time").expect("a packet");
    begun.abort();
    packet.truncate(bytes);
    packet
}

#[test]
fn connections_are_bounded_by_number_address_and_half_open_ones_end() {
    // Nine connections play, and as many handshakes may be open beside them as are begun below.
    const HALF_OPEN: usize = 20;
    let bounds = |bounds: ServerConfig| ServerConfig {
        connections_max: 9 + HALF_OPEN as u32,
        connections_per_address_max: 4,
        handshake_timeout: Duration::from_secs(3),
        ..bounds
    };
    let node = TestNode::start(&chain(1, 1_000), bounds);
    let runtime = runtime();
    runtime.block_on(async {
        let mut player = TestPlayer::connect("inside", node.address, node.chain);
        player.sit(0).await;
        let mut held = Vec::new();
        for number in 0..4 {
            let mut connection = raw(&format!("a{number}"), [127, 0, 0, 7], node.address).await.expect("let in");
            connection.say(&hello()).await.expect("sent");
            held.push(connection);
        }
        assert_eq!(raw("a5", [127, 0, 0, 7], node.address).await.err(), Some(Lost::Refused), "four of one address");
        for number in 0..4 {
            let mut connection = raw(&format!("b{number}"), [127, 0, 0, 8], node.address).await.expect("let in");
            connection.say(&hello()).await.expect("sent");
            held.push(connection);
        }
        // Handshakes that are begun and left, four from each address.
        let mut packets = Vec::new();
        for number in 0..HALF_OPEN {
            packets.push(first_packet(format!("half {number}")).await);
        }
        for (number, packet) in packets.iter().enumerate() {
            let address = std::net::Ipv4Addr::new(127, 0, 0, 20 + number as u8 / 4);
            let from = std::net::UdpSocket::bind((address, 0)).expect("a socket");
            from.send_to(packet, node.address).expect("sent");
        }
        // All of them are open: there is no place left, and before there were twenty.
        assert_eq!(raw("full", [127, 0, 0, 9], node.address).await.err(), Some(Lost::Refused), "every place is taken");
        assert!(node.count("refused_full") >= 1 && node.count("handshakes_failed") == 0);
        let bet = player.bet(0, 1);
        player.send(vec![bet]).await;
        assert_eq!(player.receipt(bet.body.number).await.1, Verdict::Applied);
        // They end, and their places are free again.
        let until = Instant::now() + PATIENCE;
        let mut late = loop {
            assert!(Instant::now() < until, "half-open connections never end");
            tokio::time::sleep(Duration::from_millis(100)).await;
            if let Ok(connection) = raw("late", [127, 0, 0, 10], node.address).await {
                break connection;
            }
        };
        late.say(&hello()).await.expect("sent");
        assert!(matches!(late.hear().await, Ok(ToClient::Welcome(_))));
        while node.count("handshakes_failed") < HALF_OPEN as u64 {
            assert!(Instant::now() < until, "some half-open connections never end");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    drop(runtime);
    assert!(node.count("refused_address") >= 1);
    assert_eq!(node.count("handshakes_failed"), HALF_OPEN as u64, "each of them was open, and ended");
    node.end();
}

#[test]
fn who_does_not_read_is_dropped_before_it_costs_memory() {
    let fast = |bounds: ServerConfig| ServerConfig {
        intents_per_connection_per_s: NonZeroU32::new(1_000_000).expect("not zero"),
        ..bounds
    };
    let node = TestNode::start(&chain(1, 1_000), fast);
    let runtime = runtime();
    runtime.block_on(async {
        let key = PlayerKey::from_seed(&seed("deaf"));
        let mut deaf = raw("deaf", [127, 0, 0, 1], node.address).await.expect("let in");
        deaf.say(&hello()).await.expect("sent");
        // Every receipt gives credit back, so there is always something more to answer.
        let mut number = 1;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let intents = strangers_intents(&key, &node.chain, number..number + 32);
            number += 32;
            if deaf.say(&ToNode::Intents(intents)).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        assert_eq!(closed_with(&deaf).await, CloseCode::SlowReader);
        let mut player = TestPlayer::connect("reader", node.address, node.chain);
        player.sit(0).await;
    });
    drop(runtime);
    assert_eq!(node.count("slow_readers"), 1);
    node.end();
}
