//! Clients of several nodes, some of which are behind, away or not what was asked for.

use super::*;

/// The addresses at which a client came up since it was asked last, and whether a node was too far behind for it.
fn came_up(player: &mut Player) -> (Vec<String>, bool) {
    let (mut ups, mut is_behind) = (Vec::new(), false);
    while let Ok(event) = player.events.try_recv() {
        match event {
            Event::Up { address, .. } => ups.push(address),
            Event::Down { reason: Lost::Behind(by), .. } => {
                assert_eq!(by, 201);
                is_behind = true;
            }
            Event::Account(row) => assert_eq!(row.height, Height(1_000), "nothing older is shown"),
            _ => {}
        }
    }
    (ups, is_behind)
}

#[test]
fn a_client_stays_at_no_node_that_is_far_behind_what_it_has_seen() {
    run(41, async |network| {
        let (first, second) = (Node::start(&network, 1, |config| config), Node::start(&network, 2, |config| config));
        let settled = |settled: u64| ChainProgress { settled: Height(settled), ..ChainProgress::default() };
        second.borrow().server().publish(settled(799), Instant::now());
        let mut player = Player::among(&network, 3, "player", vec![(at(2).to_string(), None)]);
        after(1).await;
        let key = player.key;
        let peer = *first.borrow().present.keys().next().expect("the player is connected");
        player.commands.send(Command::Watch(Watched::Account(key), true)).await.expect("the client runs");
        after(1).await;
        let row = Output::Account { to: peer, key, height: Height(1_000), account: None };
        first.borrow_mut().outputs.push(row);
        after(1).await;
        assert_eq!(player_seen(&mut player), Some(Height(1_000)));
        network.cut(at(1), true);
        after(60).await;
        assert_eq!(came_up(&mut player), (Vec::new(), true), "201 heights behind, and the other one is away");
        second.borrow().server().publish(settled(800), Instant::now());
        after(30).await;
        assert_eq!(came_up(&mut player).0, [at(2).to_string()], "200 are caught up with soon");
    });
}

/// The highest height of its account that a client has shown.
fn player_seen(player: &mut Player) -> Option<Height> {
    let mut seen = None;
    while let Ok(event) = player.events.try_recv() {
        if let Event::Account(row) = event {
            seen = seen.max(Some(row.height));
        }
    }
    seen
}

#[test]
fn a_client_waits_for_a_node_that_is_away_although_the_other_one_refuses_it_for_good() {
    run(42, async |network| {
        let _nodes = [1, 2].map(|host| Node::start(&network, host, |config| config));
        network.cut(at(1), true);
        let mut player = Player::among(&network, 3, "player", vec![(at(2).to_string(), Some([9; 32]))]);
        after(60).await;
        assert_eq!(came_up(&mut player).0, Vec::<String>::new());
        network.cut(at(1), false);
        after(30).await;
        assert_eq!(came_up(&mut player).0, [at(1).to_string()]);
    });
}

#[test]
fn a_client_leaves_a_node_that_lives_and_says_what_became_of_nothing() {
    run(43, async |network| {
        let [first, second] = [1, 2].map(|host| Node::start(&network, host, |config| config));
        first.borrow_mut().withholds = true;
        let mut player = Player::among(&network, 3, "player", vec![(at(2).to_string(), None)]);
        after(1).await;
        player.send(1..6).await;
        after(9).await;
        assert_eq!((player.listen(), player.losses), (0, 0), "it may have much to do");
        after(3).await;
        assert_eq!((player.listen(), player.losses), (5, 1), "the next one has them");
        assert_eq!(second.borrow().seen[&player.key].intents, 5);
        // Where there is no other one, a client waits.
        let mut alone = Player::connect(&network, 4, "alone");
        after(1).await;
        alone.send(1..6).await;
        after(300).await;
        assert_eq!((alone.listen(), alone.losses), (0, 0));
    });
}

#[test]
fn a_client_that_is_to_leave_its_node_goes_to_the_next_one_and_stays_where_there_is_none() {
    run(44, async |network| {
        let _nodes = [1, 2].map(|host| Node::start(&network, host, |config| config));
        let mut player = Player::among(&network, 3, "player", vec![(at(2).to_string(), None)]);
        let mut alone = Player::connect(&network, 4, "alone");
        after(1).await;
        for commands in [&player.commands, &alone.commands] {
            commands.send(Command::Leave("it lacks a block")).await.expect("the client runs");
        }
        after(2).await;
        assert_eq!(came_up(&mut player).0, [at(1).to_string(), at(2).to_string()]);
        assert_eq!(came_up(&mut alone).0, [at(1).to_string()]);
    });
}
