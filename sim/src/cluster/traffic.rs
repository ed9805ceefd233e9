//! Who is connected with whom, and what they say.

use std::collections::BTreeSet;

use engine::PeerId;
use engine::io::{Input, Offence, Output};
use engine::message::node::NodeMessage;

use super::said::Said;
use super::{Cluster, Event, Link};
use crate::edge::{letter, network_key, player, player_peer, read_answers, read_letter, read_node, to_node, to_player};
use crate::half::Look;
use crate::network::{End, Packet};
use crate::players::Letter;
use crate::properties::{Broken, Property};
use crate::queue::Time;

/// Until a node notices that another is gone, at most: the idle time of a connection.
const IDLE: Time = 3_000_000;

impl Cluster {
    /// Everyone connects to a node that has started.
    pub(super) fn join(&mut self, slot: usize) {
        let nodes = self.ends();
        let clients = (0..self.plan.players).map(|number| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_le_bytes());
            key[31] = 1;
            Input::Joined { peer: player_peer(number, nodes), key, address: [0; 16], node: false }
        });
        let clients: Vec<Input> = clients.collect();
        self.hosts[slot].arrived(clients);
        for other in (0..nodes).filter(|other| *other as usize != slot) {
            if self.hosts[other as usize].is_up() {
                self.connect(slot as u32, other);
            }
        }
    }

    /// Connects two nodes that run, unless one has put the other out; each hears that the connection before is gone.
    fn connect(&mut self, one: u32, other: u32) {
        if self.put_out.contains(&(one.min(other), one.max(other))) {
            return;
        }
        let (before, now) = self.links.open(one, other);
        for (at, of) in [(one, other), (other, one)] {
            let peer = PeerId { slot: of, generation: now };
            let left = before.map(|generation| Input::Left(PeerId { slot: of, generation }));
            let joined = Input::Joined { peer, key: network_key(of), address: [0; 16], node: true };
            self.hosts[at as usize].arrived(left.into_iter().chain([joined]));
            self.wake(at as usize);
        }
    }

    /// Nodes between which nothing got through make new connections.
    pub(super) fn connect_again(&mut self, ways: &[(End, End)]) {
        let pair = |way: &(End, End)| match way {
            (End::Node(one), End::Node(other)) => Some(((*one).min(*other), (*one).max(*other))),
            _ => None,
        };
        let pairs: BTreeSet<(u32, u32)> = ways.iter().filter_map(pair).collect();
        for (one, other) in pairs {
            if self.hosts[one as usize].is_up() && self.hosts[other as usize].is_up() {
                self.connect(one, other);
            }
        }
    }

    /// A node is gone: the others notice sooner or later.
    pub(super) fn leave(&mut self, slot: usize, at_once: bool) {
        let slot = slot as u32;
        for other in (0..self.ends()).filter(|other| *other != slot) {
            let Some(number) = self.links.between(slot, other) else { continue };
            let after = if at_once { 1 } else { self.draw.below(IDLE) };
            self.queue.push(self.now + after, other, Event::Ends(Link { pair: (slot, other), number }));
        }
    }

    /// Both ends of a connection notice that it is gone.
    pub(super) fn end_link(&mut self, Link { pair: (one, other), number }: Link) {
        if self.links.between(one, other) != Some(number) {
            return;
        }
        self.links.close(one, other);
        for (at, of) in [(one, other), (other, one)] {
            if self.hosts[at as usize].is_up() {
                self.hosts[at as usize].arrived([Input::Left(PeerId { slot: of, generation: number })]);
                self.wake(at as usize);
            }
        }
    }

    /// A stream that lost something is no stream: its connection is made anew.
    pub(super) fn make_again(&mut self, Link { pair: (one, other), number }: Link) {
        let both = self.hosts[one as usize].is_up() && self.hosts[other as usize].is_up();
        if both && self.links.between(one, other) == Some(number) {
            self.connect(one, other);
        }
    }

    /// What a node gave out goes on its way.
    pub(super) fn send(&mut self, slot: usize) -> Result<(), Broken> {
        let outputs = std::mem::take(&mut self.hosts[slot].lines.borrow_mut().outputs);
        let (from, nodes) = (End::Node(slot as u32), self.ends());
        let mut arrivals = Vec::new();
        if let Some(liar) = self.liars.get_mut(&(slot as u32)) {
            liar.prepare(&outputs);
        }
        for output in outputs {
            match output {
                Output::ToNode { to, message } => self.tell(slot, to, &message, &mut arrivals)?,
                Output::Ban { peer, offence, .. } => self.put_out(slot, peer, offence.name())?,
                other => {
                    let Some((to, bytes)) = to_player(&other) else { continue };
                    let Some(to) = player(to, nodes) else { continue };
                    self.network.send(self.now, Packet { from, to: End::Player(to), bytes }, &mut arrivals);
                }
            }
        }
        self.put_on_the_way(arrivals);
        Ok(())
    }

    /// A node says something to one other, or to all.
    fn tell(
        &mut self,
        slot: usize,
        to: Option<PeerId>,
        message: &NodeMessage,
        arrivals: &mut Vec<(Time, Packet)>,
    ) -> Result<(), Broken> {
        self.look_at(slot, message)?;
        let from = slot as u32;
        let mut bytes = Vec::new();
        for other in (0..self.ends()).filter(|other| *other != from) {
            let Some(number) = self.links.between(from, other) else { continue };
            if to.is_some_and(|peer| peer != PeerId { slot: other, generation: number }) {
                continue;
            }
            let link = Link { pair: (from, other), number };
            let said = Said { now: self.now, from, to: other, message };
            if let Some(instead) = self.meddling.as_mut().and_then(|meddling| meddling(said)) {
                instead.iter().for_each(|message| self.carry(link, to_node(message), arrivals));
                continue;
            }
            if let Some(liar) = self.liars.get_mut(&from) {
                for lie in liar.tells(other, message) {
                    if matches!((&lie, message), (NodeMessage::Share(told), NodeMessage::Share(own)) if told != own) {
                        self.marks.count("a share that was none was told");
                    }
                    self.carry(link, to_node(&lie), arrivals);
                }
                continue;
            }
            if bytes.is_empty() {
                bytes = to_node(message);
            }
            self.carry(link, bytes.clone(), arrivals);
        }
        Ok(())
    }

    fn carry(&mut self, link: Link, bytes: Vec<u8>, arrivals: &mut Vec<(Time, Packet)>) {
        let (from, to) = link.pair;
        let lost = self.network.traffic.lost;
        self.network.send(self.now, Packet { from: End::Node(from), to: End::Node(to), bytes }, arrivals);
        if self.network.traffic.lost > lost && self.lost_over.insert(link.pair, link.number) != Some(link.number) {
            let after = self.draw.between(50_000, IDLE);
            self.queue.push(self.now + after, to, Event::Again(link));
        }
    }

    /// What an honest node says, held against what it said before, and against its disk.
    fn look_at(&mut self, slot: usize, message: &NodeMessage) -> Result<(), Broken> {
        self.marks.hear(message);
        if !self.is_trusted(slot as u32) {
            return Ok(());
        }
        self.seen.said(slot as u32, message)?;
        let NodeMessage::Share(share) = message else { return Ok(()) };
        let (height, block) = (share.body.height, share.body.block);
        let kept = self.hosts[slot].record.get().kept.get(&height).copied();
        if kept == Some(block) {
            return Ok(());
        }
        let seen = format!("node {slot} released its share of height {height} before the block was on its disk");
        Err(Broken { property: Property::SharesWait, seen })
    }

    /// A node puts another out: honest ones never do that to each other.
    fn put_out(&mut self, slot: usize, peer: PeerId, offence: &str) -> Result<(), Broken> {
        if player(peer, self.ends()).is_some() {
            return Ok(());
        }
        let (slot, who) = (slot as u32, peer.slot);
        if !self.is_trusted(who) || !self.is_trusted(slot) {
            self.marks.count("a liar was put out");
            self.put_out.insert((slot.min(who), slot.max(who)));
            self.end_link(Link { pair: (slot, who), number: peer.generation });
            return Ok(());
        }
        let seen = format!("node {slot} put out node {who}, which is honest: {offence}");
        Err(Broken { property: Property::NoFalseBlame, seen })
    }

    pub(super) fn put_on_the_way(&mut self, arrivals: Vec<(Time, Packet)>) {
        for (at, packet) in arrivals {
            let slot = match packet.to {
                End::Node(slot) => slot,
                End::Player(_) => self.plan.nodes,
            };
            self.queue.push(at, slot, Event::Arrives(packet));
        }
    }

    pub(super) fn arrive(&mut self, packet: Packet) -> Result<(), Broken> {
        let Packet { from, to, bytes } = packet;
        match (from, to) {
            (End::Player(player), End::Node(slot)) => {
                let from = player_peer(player, self.ends());
                let inputs = read_letter(from, &bytes).expect("what players send is well formed");
                self.arrive_at(slot, inputs);
            }
            (End::Node(from), End::Node(slot)) => {
                // What comes over no connection is heard by nobody.
                let Some(generation) = self.links.between(from, slot) else { return Ok(()) };
                let peer = PeerId { slot: from, generation };
                let inputs = match read_node(&bytes) {
                    Ok(messages) => messages
                        .into_iter()
                        .map(|message| Input::Node { from: peer, message: Box::new(message) })
                        .collect(),
                    Err(_) if !self.is_trusted(from) => vec![Input::Offended { peer, offence: Offence::Malformed }],
                    Err(error) => {
                        let seen = format!("node {from} said what cannot be read: {error}");
                        return Err(Broken { property: Property::NoFault, seen });
                    }
                };
                self.arrive_at(slot, inputs);
            }
            (End::Node(node), End::Player(player)) => {
                // No lie is told to players: whoever sent it, a node wrote it.
                let answers = read_answers(&bytes).map_err(|error| {
                    let seen = format!("node {node} told a player what cannot be read: {error}");
                    Broken { property: Property::NoFault, seen }
                })?;
                for answer in answers {
                    let sent = self.players[player as usize].hear(node, &answer);
                    if let Some(intent) = sent {
                        self.seen.answered(node, &intent, &answer)?;
                    } else if let Some(row) = self.players[player as usize].hear_pledge(&answer) {
                        self.marks.heard(&row, answer.verdict);
                        self.seen.pledge_answered(node, &row.row, &answer)?;
                    }
                }
            }
            (End::Player(_), End::Player(_)) => unreachable!("players send to nodes"),
        }
        Ok(())
    }

    fn arrive_at(&mut self, slot: u32, inputs: Vec<Input>) {
        let host = &mut self.hosts[slot as usize];
        // A process that does not run hears nothing.
        if host.is_up() {
            host.arrived(inputs);
            self.wake(slot as usize);
        }
    }

    pub(super) fn act(&mut self, player: u32) -> Result<(), Broken> {
        let mut letters = self.players[player as usize].act(self.now);
        letters.append(&mut self.bring_half(player)?);
        let from = End::Player(player);
        let mut arrivals = Vec::new();
        for Letter { node, intents, pledges } in letters {
            let bytes = letter(self.home.setup.chain, intents, pledges);
            self.network.send(self.now, Packet { from, to: End::Node(node), bytes }, &mut arrivals);
        }
        self.put_on_the_way(arrivals);
        let wakes = self.players[player as usize].wakes().max(self.now + 1);
        self.queue.push(wakes, self.plan.nodes, Event::Player(player));
        Ok(())
    }

    /// What a player pledges and opens, after a look at its table as a node shows it.
    fn bring_half(&mut self, number: u32) -> Result<Vec<Letter>, Broken> {
        let player = &mut self.players[number as usize];
        let Some(table) = player.pledged_table() else { return Ok(Vec::new()) };
        let node = player.looks_at();
        let (last, seen) = (self.last_openings.get(&table.0).copied(), &self.seen);
        let Some(running) = self.hosts[node as usize].node() else { return Ok(Vec::new()) };
        let look = running.machine_mut().read(|rows| {
            let (row, pledge) = (&rows.tables[table.index()], rows.pledges[table.index()]);
            let seat = &rows.seats[table.index() * rows.seats_per_table()];
            let seated = seat.is_seated().then(|| rows.keys[seat.account.index()].key);
            Look { roll: row.roll_number + 1, pledge, seated, closed_at: seen.height_of(&pledge.block), last }
        });
        let before = player.unsure();
        let (rows, letters) = player.bring(self.now, node, &look);
        if player.unsure() > before {
            self.marks.count("a client that was restored opened nothing");
        }
        for row in rows.iter().filter(|row| row.wrong.is_none() && row.row.is_opening()) {
            self.seen.signed(&row.row)?;
        }
        Ok(letters)
    }
}
