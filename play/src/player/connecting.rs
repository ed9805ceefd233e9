//! A player's first connection: to whichever node answers, up to the model of what it told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Context;
use engine::io::Watched;
use engine::limits::PLAY_EVENTS_MAX;
use engine::{Genesis, TableId};
use keys::identity;
use net::client::{Client, ClientConfig, Command, Event, Lost, any_socket};
use net::wire::Welcome;
use order::validators::Validators;
use systems::Setup;
use tokio::sync::mpsc;
use words::Failure;

use super::uncertified::Uncertified;
use super::{Clock, Heard, NodeAt, Player, SILENCE};
use crate::model::{Game, Link};
use crate::player_keys::PlayerKeys;
use crate::pledging::Pledging;
use crate::problems::{Problems, words_at};

/// How long the first connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the first connection brought.
struct First {
    welcome: Welcome,
    /// Where the node is, and the key that it proved.
    met: (String, [u8; 32]),
    rtt: Duration,
    genesis: Vec<u8>,
}

impl Player {
    /// Connects to a node, learns its genesis, and watches a table and the player's account. `say` hears of each node that
    /// cannot be had, as soon as that is known.
    ///
    /// # Errors
    /// If there is no node, or it is another than `node`.
    pub fn connect(
        nodes: &[NodeAt],
        keys: PlayerKeys,
        table: TableId,
        say: &mut dyn FnMut(&str),
    ) -> anyhow::Result<(Self, Game)> {
        let mut player = Self::start(nodes, keys, table)?;
        match player.learn(nodes, table, say) {
            Ok(game) => Ok((player, game)),
            // A node that let it in is told, and need not find out by its silence.
            Err(error) => {
                player.close();
                Err(error)
            }
        }
    }

    /// Learns the chain of the node that answers, and watches a table and the player's account.
    fn learn(&mut self, nodes: &[NodeAt], table: TableId, say: &mut dyn FnMut(&str)) -> anyhow::Result<Game> {
        let First { welcome, met, rtt, genesis } = self.first(nodes, say)?;
        let chain = Genesis::chain_id(&genesis);
        if chain != welcome.chain {
            return Err(Failure::Mismatch("the node's genesis is not that of the chain it names".into()).into());
        }
        let genesis: Genesis = serde_json::from_slice(&genesis).context("the node's genesis")?;
        self.chain = chain;
        if genesis.has_pledged() {
            self.bring_pledges(&genesis, nodes.len() - 1)?;
        }
        let address = met.0.clone();
        self.uncertified.connected(met.1);
        self.met.insert(met.0, met.1);
        let name = if welcome.name.is_empty() { "node".into() } else { welcome.name.clone() };
        let mut game = Game::new(Setup::new(genesis, chain)?, name, address, self.keys.public());
        game.check_table(table).map_err(Failure::Usage)?;
        game.watch(table);
        game.set_link(Link::Up { rtt_ms: rtt.as_millis() as u32 });
        self.tell(Command::Watch(Watched::Account(self.keys.public()), true));
        self.tell(Command::Watch(Watched::Table(table), true));
        self.watch_seats(&game);
        Ok(game)
    }

    /// Begins to connect, on a thread of its own. Nothing is known of the chain yet.
    fn start(nodes: &[NodeAt], keys: PlayerKeys, table: TableId) -> anyhow::Result<Self> {
        let first = nodes.first().context("a node")?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let inside = runtime.enter();
        let endpoint = any_socket(1 << 20).context("a UDP socket")?;
        let config = ClientConfig {
            address: first.address.clone(),
            others: nodes[1..].iter().map(|node| (node.address.clone(), node.key)).collect(),
            node: first.key,
            chain: None,
            program: concat!("bitcraps play ", env!("CARGO_PKG_VERSION")).into(),
            reconnect: true,
        };
        let client = Client::new(config, endpoint, &identity(&keys.net)?)?.lost_after(SILENCE);
        let (commands, commands_in) = mpsc::channel(PLAY_EVENTS_MAX);
        let (events_in, events) = crossbeam_channel::bounded(PLAY_EVENTS_MAX);
        let client = runtime.spawn(async move {
            let ended = events_in.clone();
            let hear = move |event| _ = events_in.send(Heard::Event(Box::new(event)));
            if let Err(lost) = client.run(commands_in, hear).await {
                let _ = ended.send(Heard::Ended(lost));
            }
        });
        drop(inside);
        Ok(Self {
            runtime,
            client,
            commands,
            events,
            keys,
            chain: [0; 32],
            at: first.address.clone(),
            met: BTreeMap::new(),
            clock: Clock::told(0),
            wanted: table,
            asked: Instant::now(),
            uncertified: Uncertified::default(),
            pledging: None,
            also: BTreeSet::new(),
            later: Vec::new(),
        })
    }

    /// Brings the player's half of the dice, on a chain that has such tables, where there are so many other nodes.
    fn bring_pledges(&mut self, genesis: &Genesis, others: usize) -> anyhow::Result<()> {
        let validators = Validators::of_genesis(genesis).context("the node's genesis")?;
        let key = self.keys.public();
        self.pledging = Some(Pledging::new(&self.keys.path, key, self.chain, validators, others));
        self.find_waiting(genesis);
        Ok(())
    }

    /// The book of pledges names tables at which a roll may wait for its opening: they are watched too, once the account's seats
    /// are known.
    pub(super) fn find_waiting(&mut self, genesis: &Genesis) {
        let Some(pledging) = &self.pledging else { return };
        let is_new = |of: &TableId| *of != self.wanted && !self.also.contains(of);
        self.later = pledging.tables();
        self.later.retain(|of| is_new(of) && of.0 < genesis.tables && genesis.is_pledged(of.0));
        self.later.reverse();
    }

    /// The first connection and the genesis.
    fn first(&mut self, nodes: &[NodeAt], say: &mut dyn FnMut(&str)) -> anyhow::Result<First> {
        let nodes = nodes.iter().map(|node| &node.address).collect::<BTreeSet<_>>().len();
        let next = if nodes > 1 { "the next node is tried" } else { "it is tried again" };
        let mut until = Instant::now() + PATIENCE;
        let mut up = None;
        let mut problems = Problems::default();
        loop {
            match self.events.recv_deadline(until) {
                Ok(Heard::Event(event)) => match *event {
                    Event::Connecting { address, .. } => self.at = address,
                    Event::Up { welcome, node, address, rtt } => {
                        self.clock = Clock::told(welcome.standing.now_ms);
                        up = Some((welcome, (address, node), rtt));
                        self.tell(Command::AskGenesis);
                    }
                    Event::Genesis(genesis) => {
                        if let Some((welcome, met, rtt)) = up {
                            return Ok(First { welcome, met, rtt, genesis });
                        }
                    }
                    Event::Down { reason, .. } => {
                        let is_news = problems.0.insert(self.at.clone(), reason.clone()).as_ref() != Some(&reason);
                        // The names do not exist: waiting does not help a person who mistyped.
                        let mistyped = problems.0.values().all(|lost| matches!(lost, Lost::Address { .. }));
                        if mistyped && problems.0.len() == nodes {
                            return Err(problems.unreachable(&self.at).into());
                        }
                        // Each is tried once, however long those before it took.
                        if problems.0.len() < nodes {
                            until = until.max(Instant::now() + PATIENCE);
                        }
                        if is_news {
                            say(&format!("{}; {next}", words_at(&self.at, &reason)));
                        }
                    }
                    _ => {}
                },
                Ok(Heard::Ended(lost)) => {
                    problems.0.insert(self.at.clone(), lost);
                    return Err(Failure::Unreachable(problems.words()).into());
                }
                Err(_) => return Err(problems.unreachable(&self.at).into()),
            }
        }
    }
}
