//! Whoever says one thing again and again.

use super::*;

/// What a flooder says again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flood {
    Intents,
    Watch,
    SwitchTables,
    SwitchAccounts,
    Genesis,
    FalsePeers,
    Standings,
}

const FLOODS: [Flood; 7] = [
    Flood::Intents,
    Flood::Watch,
    Flood::SwitchTables,
    Flood::SwitchAccounts,
    Flood::Genesis,
    Flood::FalsePeers,
    Flood::Standings,
];

impl Flood {
    fn role(self) -> Role {
        if matches!(self, Self::FalsePeers | Self::Standings) { Role::Node } else { Role::Client }
    }

    fn message(self, key: Key, round: u64) -> ToNode {
        let table = |number: u64| Watched::Table(TableId(number as u32 % 8));
        let account = |number: u64| Watched::Account(*blake3::hash(&number.to_le_bytes()).as_bytes());
        match self {
            Self::Intents => {
                let first = round * MESSAGE_INTENTS_MAX as u64;
                ToNode::Intents((first..first + MESSAGE_INTENTS_MAX as u64).map(|number| intent(key, number)).collect())
            }
            Self::Watch => ToNode::Watch(vec![(table(1), true)]),
            Self::SwitchTables => ToNode::Watch(vec![(table(round), true), (table(round), false)]),
            Self::SwitchAccounts => ToNode::Watch(vec![(account(round), true), (account(round), false)]),
            Self::Genesis => ToNode::AskGenesis,
            Self::FalsePeers => {
                let record = |number: u64| PeerRecord {
                    key: *blake3::hash(&(round * 8 + number).to_le_bytes()).as_bytes(),
                    time_s: 1,
                    ..PeerRecord::zeroed()
                };
                ToNode::Peers((0..8).map(record).collect())
            }
            Self::Standings => ToNode::Standing(ChainProgress::default()),
        }
    }
}

/// Says it until the node ends the connection, and reads what comes, so that it is no slow reader.
async fn flood(network: Network, host: u32, kind: Flood) -> Lost {
    let name = format!("flooder {host}");
    let mut connection = raw(&network, host, &name, kind.role()).await;
    let key = identity(&name).key;
    for round in 0.. {
        if connection.say(&kind.message(key, round)).await.is_err() {
            break;
        }
        while let Ok(heard) = tokio::time::timeout(Duration::from_micros(200), connection.hear()).await {
            if heard.is_err() {
                return connection.closed().await;
            }
        }
    }
    connection.closed().await
}

/// Packets overtake each other: a flooder's next window arrives before the word that it has read what it was told of the last.
const OVERTAKING: Conditions =
    Conditions { delay: (Duration::from_millis(1), Duration::from_micros(1_500)), ..Conditions::NONE };

#[test]
fn who_floods_and_reads_all_that_it_is_told_is_no_slow_reader() {
    for seed in 0..16 {
        run(seed, async |network| {
            network.set(OVERTAKING);
            let node = Node::start(&network, 1, |config| config);
            let flooders = (0..4).map(|n| spawn_local(flood(network.clone(), 10 + n, Flood::Intents)));
            for flooder in flooders.collect::<Vec<_>>() {
                let lost = tokio::time::timeout(Duration::from_secs(60), flooder).await.expect("it is banned in time");
                assert!(!matches!(lost, Ok(Lost::Closed { code: CloseCode::SlowReader, .. })), "{seed}: {lost:?}");
            }
            let node = node.borrow();
            assert_eq!((node.count("banned"), node.count("slow_readers")), (4, 0), "{seed}");
        });
    }
}

#[test]
fn who_reads_nothing_is_not_heard_after_a_while_and_is_put_out_ten_seconds_later() {
    run(0, async |network| {
        // Receipts give credit back whether or not anybody reads them: it is within its budget all the time.
        let node = Node::start(&network, 1, |config| ServerConfig {
            intents_per_connection_per_s: NonZeroU32::new(1_000_000).expect("not zero"),
            ..config
        });
        let mut deaf = raw(&network, 2, "deaf", Role::Client).await;
        let key = identity("deaf").key;
        let (began, mut number) = (Instant::now(), 0);
        while deaf
            .say(&ToNode::Intents((number..number + 16).map(|number| intent(key, number)).collect()))
            .await
            .is_ok()
        {
            number += 16;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let lost = deaf.closed().await;
        assert!(matches!(lost, Lost::Closed { code: CloseCode::SlowReader, .. }), "{lost}");
        assert!(began.elapsed() > Duration::from_secs(10), "it had the time to read");
        after(1).await;
        let node = node.borrow();
        let seen = &node.seen[&key];
        // What it was told lies in its own window, in the node's and in the queue; the rest was never taken.
        let told = (2 * RECEIVE_WINDOW + SEND_WINDOW) as usize / 72 + ANSWERS_QUEUE_BYTES / 72 + PEER_CREDIT as usize;
        assert!((200..told as u64).contains(&seen.intents), "{} of {told}", seen.intents);
        assert_eq!((seen.left, node.count("slow_readers")), (1, 1));
    });
}

#[test]
fn who_pledges_may_hold_what_a_player_may() {
    run(26, async |network| {
        let node = Node::start(&network, 1, |config| config);
        let mut one = raw(&network, 2, "one", Role::Client).await;
        after(1).await;
        assert!(node.borrow().server().reserved_bytes() < PLAYING_BYTES, "it only looks in");
        let row = PledgeRow::pledge(identity("one").key, TableId(0), 1, 1, [2; 32]);
        one.say(&ToNode::Pledges(vec![row])).await.expect("sent");
        after(1).await;
        let node = node.borrow();
        assert_eq!((node.server().reserved_bytes(), node.pledged.len()), (PLAYING_BYTES, 1));
    });
}

#[test]
fn who_pledges_beyond_its_credit_is_told_so_and_whoever_reads_its_answers_is_no_slow_reader() {
    const ROWS: usize = 320;
    run(24, async |network| {
        let node = Node::start(&network, 1, |config| config);
        let mut many = raw(&network, 2, "many", Role::Client).await;
        let key = identity("many").key;
        let row = |roll: u32| PledgeRow {
            signature: [roll as u8; 64],
            ..PledgeRow::pledge(key, TableId(0), roll, 1, [2; 32])
        };
        many.say(&ToNode::Pledges((1..=ROWS as u32).map(row).collect())).await.expect("sent");
        let heard = spawn_local(async move {
            let (mut shed, mut receipts) = (0, 0);
            while shed + receipts < ROWS {
                let ToClient::Answers(answers) = many.hear().await? else { continue };
                shed += answers.iter().filter(|one| one.verdict == AnswerVerdict::Shed(ShedReason::NoCredit)).count();
                let is_receipt = |one: &&Answer| matches!(one.verdict, AnswerVerdict::Receipt { .. });
                receipts += answers.iter().filter(is_receipt).count();
            }
            Ok::<_, Lost>((shed, receipts, many))
        });
        after(1).await;
        {
            let mut node = node.borrow_mut();
            assert_eq!(node.server().reserved_bytes(), PLAYING_BYTES, "who pledges plays");
            let waiting = std::mem::take(&mut node.pledged);
            assert_eq!(waiting.len(), PEER_PLEDGE_CREDIT as usize, "the tick was told of those");
            // All of them have their receipts in one tick.
            node.outputs.extend(waiting.into_iter().map(|(to, id)| {
                let receipt = Receipt { id, height: Height(1), index: 0, verdict: Verdict::Applied };
                Output::Receipt { to, receipt }
            }));
        }
        let heard = tokio::time::timeout(Duration::from_secs(5), heard).await.expect("in time").expect("no panic");
        let (shed, receipts, _many) = heard.expect("it is not put out");
        assert_eq!((shed, receipts), (ROWS - PEER_PLEDGE_CREDIT as usize, PEER_PLEDGE_CREDIT as usize));
        let node = node.borrow();
        assert_eq!((node.server().connections(), node.count("slow_readers")), (1, 0));
    });
}

#[test]
fn a_flood_of_any_kind_is_banned_costs_no_more_than_its_budget_and_takes_nothing_from_others() {
    for kind in FLOODS {
        run(kind as u64, async |network| {
            let node = Node::start(&network, 1, |config| config);
            let mut player = Player::connect(&network, 2, "honest");
            let flooders: Vec<_> = (0..4).map(|n| spawn_local(flood(network.clone(), 10 + n, kind))).collect();
            let mut next = 1;
            for _ in 0..200 {
                player.send(next..next + 5).await;
                next += 5;
                tokio::time::sleep(Duration::from_millis(100)).await;
                player.listen();
            }
            after(2).await;
            assert_eq!(player.listen(), next - 1, "{kind:?}: every intent has its receipt");
            assert_eq!(player.losses, 0, "{kind:?}");
            for flooder in flooders {
                let lost = flooder.await.expect("no panic");
                // Where the word that it is banned was lost in its own flood, it hears that there is no such connection.
                let is_banned = matches!(lost, Lost::Closed { code: CloseCode::Banned, .. } | Lost::Other(_));
                assert!(is_banned, "{kind:?}: {lost}");
            }
            let node = node.borrow();
            for number in 0..4 {
                let seen = &node.seen[&identity(&format!("flooder {}", 10 + number)).key];
                assert!(seen.banned && seen.left == 1, "{kind:?}: {seen:?}");
                let units = seen.intents * u64::from(INTENT_COST) + seen.watches * u64::from(WATCH_COST);
                let most = u64::from(ENTRY_COST) + (2 + 22) * u64::from(PER_S * INTENT_COST);
                assert!(units <= most, "{kind:?}: {units} of {most} units reached the tick");
            }
            // False records are an offence before they are too many.
            assert!(node.count("beyond_budget") > 0 || kind == Flood::FalsePeers, "{kind:?}");
            assert_eq!((node.count("banned"), node.count("slow_readers")), (4, 0), "{kind:?}");
        });
    }
}
