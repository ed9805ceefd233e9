//! The network between nodes and players, message by message: what is lost, late, doubled, overtaken, said again much
//! later, cut off and clogged.
//!
//! Bytes are the messages' own, as they go over a socket. A link keeps the order of its messages unless it is to be
//! broken: that is what a stream does.

use std::collections::{BTreeMap, BTreeSet};

use crate::draw::Draw;
use crate::queue::Time;

/// One end of the network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum End {
    /// A validator's node.
    Node(u32),
    /// A player's program.
    Player(u32),
}

/// A message on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Who sent it.
    pub from: End,
    /// Who gets it.
    pub to: End,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What befalls messages between nodes; times in microseconds, chances in a thousand.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Conditions {
    /// The shortest time on the way.
    pub delay: Time,
    /// How much longer it may be.
    pub jitter: Time,
    /// Lost.
    pub lost: u64,
    /// Said twice.
    pub doubled: u64,
    /// Free to overtake others.
    pub reordered: u64,
    /// Said again up to ten seconds later.
    pub replayed: u64,
}

/// How often something befell messages.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Traffic {
    /// Sent.
    pub sent: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Lost on the way.
    pub lost: u64,
    /// Said twice.
    pub doubled: u64,
    /// Free to overtake others.
    pub reordered: u64,
    /// Said again much later.
    pub replayed: u64,
    /// Cut off by a partition.
    pub cut: u64,
    /// Held back by a clogged link, and released later.
    pub clogged: u64,
}

/// The network.
pub struct Network {
    draw: Draw,
    /// What befalls messages now.
    pub conditions: Conditions,
    /// Ways that are cut: from, to.
    cut: BTreeSet<(End, End)>,
    /// Ways that are clogged, with what waits there.
    clogged: BTreeMap<(End, End), Vec<Packet>>,
    /// When the last message of each way arrives: the next one is not before it.
    last: BTreeMap<(End, End), Time>,
    /// What happened.
    pub traffic: Traffic,
}

impl Network {
    /// A network of a seed, in which nothing goes wrong yet.
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            draw: Draw::new(seed, "network"),
            conditions,
            cut: BTreeSet::new(),
            clogged: BTreeMap::new(),
            last: BTreeMap::new(),
            traffic: Traffic::default(),
        }
    }

    /// Sends a message. Appends when it arrives, or nothing, or more than once.
    pub fn send(&mut self, now: Time, packet: Packet, arrivals: &mut Vec<(Time, Packet)>) {
        let way = (packet.from, packet.to);
        self.traffic.sent += 1;
        self.traffic.bytes += packet.bytes.len() as u64;
        if self.cut.contains(&way) {
            self.traffic.cut += 1;
            return;
        }
        if let Some(waiting) = self.clogged.get_mut(&way) {
            self.traffic.clogged += 1;
            waiting.push(packet);
            return;
        }
        let Conditions { delay, jitter, lost, doubled, reordered, replayed } = self.conditions;
        if self.draw.in_thousand(lost) {
            self.traffic.lost += 1;
            return;
        }
        if self.draw.in_thousand(doubled) {
            self.traffic.doubled += 1;
            arrivals.push((now + delay + self.draw.below(2 * jitter + 1), packet.clone()));
        }
        if self.draw.in_thousand(replayed) {
            self.traffic.replayed += 1;
            arrivals.push((now + self.draw.between(200_000, 10_000_000), packet.clone()));
        }
        let mut at = now + delay + self.draw.below(jitter + 1);
        if self.draw.in_thousand(reordered) {
            self.traffic.reordered += 1;
            at += self.draw.below(4 * jitter + 1);
        } else {
            let last = self.last.entry(way).or_default();
            at = at.max(*last);
            *last = at;
        }
        arrivals.push((at, packet));
    }

    /// Cuts one way off, or lets it through again.
    pub fn cut(&mut self, from: End, to: End, cut: bool) {
        if cut {
            self.cut.insert((from, to));
        } else {
            self.cut.remove(&(from, to));
        }
    }

    /// Lets a way hold back what is sent over it.
    pub fn clog(&mut self, from: End, to: End) {
        self.clogged.entry((from, to)).or_default();
    }

    /// Lets a clogged way through again, in any order.
    pub fn unclog(&mut self, now: Time, from: End, to: End, arrivals: &mut Vec<(Time, Packet)>) {
        let mut waiting = self.clogged.remove(&(from, to)).unwrap_or_default();
        self.draw.shuffle(&mut waiting);
        for packet in waiting {
            arrivals.push((now + self.draw.below(self.conditions.jitter + 1), packet));
        }
    }

    /// Every way is free, and nothing goes wrong any more; what was held back arrives. Returns the ways that were cut.
    pub fn heal(&mut self, now: Time, arrivals: &mut Vec<(Time, Packet)>) -> Vec<(End, End)> {
        let cut = std::mem::take(&mut self.cut).into_iter().collect();
        let ways: Vec<(End, End)> = self.clogged.keys().copied().collect();
        for (from, to) in ways {
            self.unclog(now, from, to, arrivals);
        }
        let Conditions { delay, jitter, .. } = self.conditions;
        self.conditions = Conditions { delay, jitter, ..Conditions::default() };
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u8) -> Packet {
        Packet { from: End::Node(0), to: End::Node(1), bytes: vec![number] }
    }

    fn arrive(network: &mut Network, count: u8) -> Vec<(Time, Packet)> {
        let mut arrivals = Vec::new();
        (0..count).for_each(|number| network.send(u64::from(number), packet(number), &mut arrivals));
        arrivals.sort_by_key(|(at, _)| *at);
        arrivals
    }

    #[test]
    fn a_sound_network_brings_everything_once_and_in_order() {
        let mut network = Network::new(1, Conditions { delay: 10, jitter: 500, ..Conditions::default() });
        let order: Vec<u8> = arrive(&mut network, 200).iter().map(|(_, packet)| packet.bytes[0]).collect();
        assert_eq!(order, (0..200).collect::<Vec<u8>>());
    }

    #[test]
    fn each_fault_happens_and_healing_ends_it() {
        let bad = Conditions { delay: 10, jitter: 500, lost: 100, doubled: 100, reordered: 100, replayed: 50 };
        let mut network = Network::new(1, bad);
        let arrived = arrive(&mut network, 200);
        let Traffic { sent, lost, doubled, reordered, replayed, .. } = network.traffic;
        assert_eq!(arrived.len() as u64, sent - lost + doubled + replayed);
        assert!(lost > 0 && doubled > 0 && reordered > 0 && replayed > 0, "{:?}", network.traffic);
        let order: Vec<u8> = arrived.iter().map(|(_, packet)| packet.bytes[0]).collect();
        assert!(!order.is_sorted(), "some were overtaken");
        network.heal(0, &mut Vec::new());
        assert_eq!(arrive(&mut network, 200).len(), 200);
    }

    #[test]
    fn a_cut_way_loses_and_a_clogged_one_holds() {
        let mut network = Network::new(1, Conditions { delay: 10, jitter: 5, ..Conditions::default() });
        network.cut(End::Node(0), End::Node(1), true);
        assert_eq!(arrive(&mut network, 10).len(), 0);
        network.cut(End::Node(0), End::Node(1), false);
        network.clog(End::Node(0), End::Node(1));
        assert_eq!(arrive(&mut network, 10).len(), 0);
        let mut released = Vec::new();
        network.unclog(99, End::Node(0), End::Node(1), &mut released);
        assert_eq!(released.len(), 10);
        assert!(arrive(&mut network, 10).len() == 10 && network.traffic.cut == 10 && network.traffic.clogged == 10);
    }
}
