//! Many who come in the same moment, or fill all that they may.

use super::*;

#[test]
fn a_thousand_who_come_in_the_same_moment_are_let_in_and_most_prove_their_address_first() {
    const COMERS: u32 = 1_000;
    run(8, async |network| {
        let node = Node::start(&network, 1, |config| config);
        let mut player = Player::connect(&network, 2, "honest");
        after(1).await;
        let come = |host: u32| {
            let network = network.clone();
            spawn_local(async move {
                let endpoint = endpoint(&network, 100 + host);
                let raw = RawConnection::connect(&endpoint, &identity(&format!("comer {host}")), at(1)).await;
                raw.map(|raw| (endpoint, raw))
            })
        };
        let comers: Vec<_> = (0..COMERS).map(come).collect();
        player.send(1..51).await;
        let mut inside = Vec::new();
        for comer in comers {
            inside.push(comer.await.expect("no panic").expect("let in"));
        }
        after(1).await;
        assert_eq!((player.listen(), player.losses), (50, 0), "whoever is in plays on");
        {
            let node = node.borrow();
            assert_eq!(node.server().connections(), COMERS + 1);
            assert_eq!(node.count("accepted"), u64::from(COMERS) + 1);
            let retried = node.count("retried");
            assert!(retried > u64::from(COMERS) / 2, "{retried} had to prove where they are");
            assert_eq!(node.count("handshakes_failed"), 0);
        }
        drop(inside);
        after(40).await;
        assert_eq!(node.borrow().server().connections(), 1, "and all of them are seen to leave");
    });
}

#[test]
fn handshakes_that_are_begun_in_the_name_of_an_address_do_not_keep_it_out() {
    const FORGED: usize = 100;
    run(25, async |network| {
        let node = Node::start(&network, 1, |config| ServerConfig { connections_per_address_max: 64, ..config });
        let way = Duration::from_millis(20);
        network.set(Conditions { delay: (way, way), ..Conditions::NONE });
        // Their first packets arrive, and nothing that the node says to them does.
        let forger = endpoint(&network, 2);
        let begun: Vec<_> = (0..FORGED)
            .map(|number| {
                let from = forger.clone();
                let name = format!("forged {number}");
                spawn_local(async move { RawConnection::connect(&from, &identity(&name), at(1)).await.is_ok() })
            })
            .collect();
        tokio::time::sleep(way / 2).await;
        network.cut(at(2), true);
        after(1).await;
        let (half_open, retried) = (node.borrow().server().connections(), node.borrow().count("retried"));
        assert_eq!(half_open, ADDRESS_UNPROVEN_MAX);
        assert!(retried >= FORGED as u64 - u64::from(ADDRESS_UNPROVEN_MAX), "{retried} had to prove where they are");
        begun.iter().for_each(|one| one.abort());
        after(1).await;
        network.cut(at(2), false);
        let honest = RawConnection::connect(&forger, &identity("honest"), at(1)).await;
        assert!(honest.is_ok(), "it has proven where it is: {:?}", honest.err());
        assert_eq!(node.borrow().count("refused_address"), 0);
    });
}

#[test]
fn two_thousand_who_fill_all_that_they_may_hold_no_more_than_the_bound() {
    const HOSTILE: u32 = 2_000;
    const BOUND: u64 = 48 << 20;
    run(3, async |network| {
        let node = Node::start(&network, 1, |config| ServerConfig { buffer_bytes_max: BOUND, ..config });
        let mut begun = Vec::new();
        for host in 0..HOSTILE {
            let network = network.clone();
            begun.push(spawn_local(async move {
                let name = format!("full {host}");
                let endpoint = endpoint(&network, 100 + host);
                let mut raw = RawConnection::connect(&endpoint, &identity(&name), at(1)).await.ok()?;
                raw.say(&ToNode::Hello(Hello { chain: None, program: "x".into(), role: Role::Client })).await.ok()?;
                for _ in 0..4 {
                    raw.say(&ToNode::AskGenesis).await.ok()?;
                }
                let watch = (0..8).map(|table| (Watched::Table(TableId(table)), true));
                raw.say(&ToNode::Watch(watch.collect())).await.ok()?;
                let mut bytes = Vec::new();
                ToNode::Intents(vec![Intent::zeroed(); MESSAGE_INTENTS_MAX]).encode(&mut bytes);
                bytes.pop();
                raw.send(&bytes).await.ok()?;
                Some((endpoint, raw))
            }));
        }
        let account = |peer: &PeerId| Output::Account { to: *peer, key: [1; 32], height: Height(1), account: None };
        let (mut most_held, mut most_reserved) = (0, 0);
        // While they still come: those who were first may be gone before the last is there.
        for _ in 0..60 {
            {
                let mut node = node.borrow_mut();
                let peers: Vec<PeerId> = node.present.keys().copied().collect();
                let many = peers.iter().flat_map(|peer| std::iter::repeat_with(|| account(peer)).take(40));
                node.outputs.extend(many.collect::<Vec<_>>());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            let node = node.borrow();
            most_held = most_held.max(node.server().held_bytes() as u64);
            most_reserved = most_reserved.max(node.server().reserved_bytes());
        }
        let mut held = Vec::new();
        for connection in begun {
            held.extend(connection.await.expect("no panic"));
        }
        assert!(most_reserved <= BOUND, "{most_reserved} reserved of {BOUND}");
        assert!(most_held <= most_reserved, "{most_held} held of {most_reserved} reserved");
        assert!(most_held > BOUND / 16, "they did fill their queues: {most_held}");
        let refused = node.borrow().count("refused_full");
        assert!(refused > 1_000, "{refused} had no room");
        drop(held);
    });
}

#[test]
fn an_address_asks_for_a_few_accounts_a_minute_however_many_connections_it_has() {
    const MOST: u32 = 12;
    const CONNECTIONS: u32 = 10;
    const EACH: u64 = 4;
    run(26, async |network| {
        let opens_per_address_per_min = NonZeroU32::new(MOST).expect("not zero");
        let node = Node::start(&network, 1, |config| ServerConfig { opens_per_address_per_min, ..config });
        let open = async |from: &Endpoint, name: &str| {
            let key = identity(name).key;
            let mut raw = RawConnection::connect(from, &identity(name), at(1)).await.expect("let in");
            raw.say(&ToNode::Hello(Hello { chain: None, program: "test".into(), role: Role::Client }))
                .await
                .expect("sent");
            let asks = (1..=EACH).map(|number| {
                let body = IntentBody::new(IntentKind::Open, key, number, 1_000_000);
                Intent { body, signature: [3; 64] }
            });
            raw.say(&ToNode::Intents(asks.collect())).await.expect("sent");
            let (mut receipts, mut shed) = (0, 0);
            while receipts + shed < EACH {
                let ToClient::Answers(answers) = raw.hear().await.expect("answers") else { continue };
                for answer in answers {
                    match answer.verdict {
                        AnswerVerdict::Receipt { .. } => receipts += 1,
                        AnswerVerdict::Shed(ShedReason::OpenRate) => shed += 1,
                        other => panic!("{other:?}"),
                    }
                }
            }
            (raw, receipts, shed)
        };
        let (one, other) = (endpoint(&network, 2), endpoint(&network, 3));
        let (mut inside, mut reached, mut turned_away) = (Vec::new(), 0, 0);
        for number in 0..CONNECTIONS {
            let (raw, receipts, shed) = open(&one, &format!("opener {number}")).await;
            inside.push(raw);
            (reached, turned_away) = (reached + receipts, turned_away + shed);
        }
        assert_eq!((reached, turned_away), (u64::from(MOST), u64::from(CONNECTIONS) * EACH - u64::from(MOST)));
        assert_eq!(node.borrow().count("shed"), turned_away);
        let told: u64 = node.borrow().seen.values().map(|seen| seen.intents).sum();
        assert_eq!(told, reached, "no more of them come to the tick");
        let (_raw, receipts, _) = open(&other, "elsewhere").await;
        assert_eq!(receipts, EACH, "another address has its own");
    });
}

#[test]
fn a_closed_door_turns_newcomers_away_and_keeps_nobody_from_playing() {
    run(21, async |network| {
        let known = engine::hex(&identity("known").key);
        let peers = vec![format!("{known}@{}", at(99))];
        let node = Node::start(&network, 1, |config| ServerConfig { peers, ..config });
        let mut player = Player::connect(&network, 2, "honest");
        after(1).await;
        let throttle = node.borrow().server().throttle();
        throttle.close(true);
        let lost = match RawConnection::connect(&endpoint(&network, 3), &identity("newcomer"), at(1)).await {
            Ok(newcomer) => newcomer.closed().await,
            Err(lost) => lost,
        };
        assert!(matches!(lost, Lost::Closed { code: CloseCode::Full, .. }), "{lost}");
        assert_eq!(node.borrow().count("refused_short"), 1);
        let _other = raw(&network, 5, "known", Role::Node).await;
        after(1).await;
        assert_eq!(node.borrow().server().connections(), 2, "nodes find each other though both are short");
        player.send(1..51).await;
        after(1).await;
        assert_eq!((player.listen(), player.losses), (50, 0), "whoever is in plays on");
        throttle.close(false);
        let _inside = raw(&network, 4, "newcomer", Role::Client).await;
        after(1).await;
        assert_eq!(node.borrow().server().connections(), 3);
    });
}
