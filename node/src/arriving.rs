//! Arriving: a snapshot from other nodes, for a session that has nothing where no node has the first blocks any more.
//!
//! ```text
//!  proofs asked of all -> the highest one that holds -> chaining values of all groups, from one node -> they lead to the root
//!    -> groups, from all that have it, each against its value -> packs, synced -> the journal's base frame -> opened again
//! ```
//! Whoever gives what does not hold is put out, and the others go on.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use engine::image::{GroupBlock, group_value, root_of};
use engine::io::{Input, Offence, Output};
use engine::limits::{GROUP_BYTES, SNAPSHOT_SILENT_MAX};
use engine::message::node::{NodeMessage, NodeStanding};
use engine::message::note::ChainNote;
use engine::message::snapshot::{Part, PartKind, PartRow, SnapshotProof};
use engine::{Hash, Height, PeerId};
use storage::Arrival;
use systems::Machine;

use crate::snapshots::Keeping;

/// Milliseconds that nodes have to prove their newest snapshots, from the first question on.
const PROOFS_MS: u64 = 1_000;
/// Milliseconds until a snapshot that came to nothing is asked for again.
const REST_MS: u64 = 1_000;
/// Milliseconds that a node has for a part, before another is asked.
const PART_MS: u64 = 3_000;
/// Milliseconds for which a snapshot that came in part waits for someone who has the rest. Nodes keep one for longer.
const ALONE_MS: u64 = 60_000;

const _: () = assert!(PART_MS < ALONE_MS, "a part is asked of others before the snapshot is given up");

/// What an arriving snapshot reads and writes in a tick.
pub struct Turn<'a> {
    /// Milliseconds of ticks.
    pub now_ms: u64,
    /// The machine, which has nothing yet.
    pub machine: &'a Machine,
    /// Where the groups go.
    pub snapshots: &'a mut Keeping,
    /// Questions.
    pub outputs: &'a mut Vec<Output>,
    /// What nodes did that they may not do.
    pub inputs: &'a mut Vec<Input>,
}

/// A snapshot on its way.
pub struct Arriving {
    arrival: Arrival,
    stage: Stage,
    /// Who proved which snapshot.
    proofs: BTreeMap<PeerId, SnapshotProof>,
    /// Who proved one and did not give it, the last one behind: others are asked first.
    silent: VecDeque<Name>,
    /// Whether in this try validators that were silent come before whoever is none.
    is_validators_turn: bool,
}

/// Who a node is, whichever connection it has: one that connects again is no other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Name {
    /// It proved that it is the validator in a slot, under whatever key.
    Validator(u32),
    /// It proved a network key and nothing else.
    Key([u8; 32]),
}

impl Name {
    fn of(machine: &Machine, peer: PeerId) -> Option<Self> {
        let (validator, key) = machine.proven_of(peer)?;
        Some(validator.map_or(Self::Key(key), Self::Validator))
    }
}

enum Stage {
    /// Nodes are asked what they have; since when.
    Proofs(Option<u64>),
    /// One node is asked for the values of all groups.
    Values { note: ChainNote, of: (PeerId, Name), until_ms: u64, asked: Option<PartRow>, values: Vec<Hash> },
    /// All that have the snapshot are asked for its groups.
    Groups(Fetching),
    /// The snapshot came to nothing; it is asked for again then. Whether it had begun.
    Resting { until_ms: u64, has_begun: bool },
    /// Everything was handed over.
    Finishing(ChainNote),
    /// The snapshot is on disk, and the journal may begin at it.
    Arrived(ChainNote),
}

/// A snapshot whose groups are being fetched.
struct Fetching {
    note: ChainNote,
    /// Whose proof it was that this snapshot is fetched for.
    of: Name,
    /// The chaining value of each group.
    values: Vec<Hash>,
    missing: VecDeque<PartRow>,
    /// Of whom, which part, and until when it is waited for.
    asked: Vec<(PeerId, PartRow, u64)>,
    alone: Option<Alone>,
}

/// Nobody has the rest, or can be reached: who does is asked until it has been too long.
struct Alone {
    ask_ms: u64,
    until_ms: u64,
}

impl Arriving {
    /// Nothing was asked for yet.
    pub fn new(arrival: Arrival) -> Self {
        Self {
            arrival,
            stage: Stage::Proofs(None),
            proofs: BTreeMap::new(),
            silent: VecDeque::new(),
            is_validators_turn: true,
        }
    }

    /// Whether a proven snapshot is fetched now: the journal begins at it, and nothing may be decided before. While the values of
    /// its groups are asked for nothing is written yet, and whoever proved it may still leave.
    pub fn has_begun(&self) -> bool {
        !matches!(self.stage, Stage::Proofs(_) | Stage::Values { .. } | Stage::Resting { has_begun: false, .. })
    }

    /// Where the chain stands at the snapshot, once it is on disk.
    pub fn arrived(&self) -> Option<&ChainNote> {
        if let Stage::Arrived(note) = &self.stage { Some(note) } else { None }
    }

    /// Hears what another node says about snapshots.
    pub fn hear(&mut self, from: PeerId, message: NodeMessage, turn: &mut Turn<'_>) {
        match message {
            NodeMessage::Snapshot(proof) => self.hear_proof(from, *proof, turn),
            NodeMessage::Part(part) => self.hear_part(from, part, turn),
            _ => {}
        }
    }

    fn hear_proof(&mut self, from: PeerId, proof: SnapshotProof, turn: &mut Turn<'_>) {
        // One proof of each node is enough, and none that nobody asked for costs a signature.
        let wanted = match &self.stage {
            Stage::Proofs(Some(_)) => !self.proofs.contains_key(&from),
            Stage::Proofs(None) | Stage::Resting { .. } | Stage::Finishing(_) | Stage::Arrived(_) => false,
            // While a snapshot is fetched only a proof of the same one is of use: it names another node that has its
            // parts.
            Stage::Values { note, .. } | Stage::Groups(Fetching { note, .. }) => {
                note.height == proof.note.height
                    && self.proofs.get(&from).is_none_or(|known| known.note.height != note.height)
            }
        };
        if !wanted {
            return;
        }
        if turn.machine.is_proven(&proof) {
            self.proofs.insert(from, proof);
        } else {
            self.put_out(from, turn);
        }
    }

    /// A node gave what cannot be.
    fn put_out(&mut self, peer: PeerId, turn: &mut Turn<'_>) {
        self.proofs.remove(&peer);
        turn.inputs.push(Input::Offended { peer, offence: Offence::FalseChain });
    }

    fn hear_part(&mut self, from: PeerId, part: Part, turn: &mut Turn<'_>) {
        match &mut self.stage {
            // Only the answer to the open question counts: a late one would be appended behind values that it does not
            // follow.
            Stage::Values { of, asked, values, until_ms, .. } if of.0 == from && *asked == Some(part.row) => {
                let hashes = part.bytes.chunks_exact(size_of::<Hash>());
                values.extend(hashes.map(|hash| -> Hash { hash.try_into().expect("chunks of 32") }));
                (*asked, *until_ms) = (None, turn.now_ms + PART_MS);
            }
            Stage::Groups(Fetching { values, missing, asked, alone, .. }) => {
                // A part that nobody asked for, or that came too late, is dropped: another node was asked for it
                // meanwhile.
                let Some(place) = asked.iter().position(|(of, row, _)| *of == from && *row == part.row) else { return };
                asked.swap_remove(place);
                let groups = (part.row.first..).zip(part.bytes.chunks_exact(GROUP_BYTES));
                // Each group is compared with its value, and the values lead to the root that a quorum signed: no false
                // group reaches the disk.
                let holds =
                    groups.clone().all(|(index, bytes)| group_value(index as usize, bytes) == values[index as usize]);
                if holds {
                    turn.snapshots.take(GroupBlock::of(groups));
                    *alone = None;
                } else {
                    missing.push_back(part.row);
                    self.put_out(from, turn);
                }
            }
            _ => {}
        }
    }

    /// Goes on.
    pub fn turn(&mut self, turn: &mut Turn<'_>) {
        let nodes: BTreeMap<PeerId, NodeStanding> = turn.machine.nodes().collect();
        self.proofs.retain(|peer, _| nodes.contains_key(peer));
        self.stage = match std::mem::replace(&mut self.stage, Stage::Proofs(None)) {
            Stage::Proofs(since) => self.ask_proofs(since, &nodes, turn),
            Stage::Values { note, of, until_ms, asked, values } => {
                self.ask_values(note, (of, until_ms), asked, values, &nodes, turn)
            }
            Stage::Groups(fetching) => self.ask_groups(fetching, turn),
            Stage::Finishing(note) => match turn.snapshots.is_received() {
                None => Stage::Finishing(note),
                Some(true) => Stage::Arrived(note),
                // The disk could not keep it. What is there of it is of no use, so all of it is fetched again.
                Some(false) => self.again(turn),
            },
            Stage::Resting { until_ms, has_begun } if turn.now_ms < until_ms => Stage::Resting { until_ms, has_begun },
            Stage::Resting { .. } => Stage::Proofs(None),
            Stage::Arrived(note) => Stage::Arrived(note),
        };
    }

    /// From the beginning, after a while: whatever came so far is given up.
    fn again(&mut self, turn: &mut Turn<'_>) -> Stage {
        turn.snapshots.give_up_receiving();
        self.proofs.clear();
        Stage::Resting { until_ms: turn.now_ms + REST_MS, has_begun: true }
    }

    /// Whoever proved a snapshot and did not give it comes behind the others from now on, as long as so many others have not
    /// done so since: a proof costs nothing to pass on.
    fn put_behind(&mut self, name: Name) {
        self.silent.retain(|known| *known != name);
        if self.silent.len() == SNAPSHOT_SILENT_MAX {
            self.silent.pop_front();
        }
        self.silent.push_back(name);
        assert!(self.silent.len() <= SNAPSHOT_SILENT_MAX, "who is remembered is bounded");
    }

    /// Who is asked first: whoever comes last in this order. Whoever is no validator may come under another key each time, and has
    /// never been silent then: in every second try those come behind the validators, of which the one that was silent the longest
    /// ago goes first.
    fn rank(&self, (peer, name): (PeerId, Name), height: Height) -> impl Ord + use<> {
        let silent = self.silent.iter().position(|known| *known == name);
        let (is_turn, is_validator) = (self.is_validators_turn, matches!(name, Name::Validator(_)));
        let goes_first = silent.is_none() || (is_turn && is_validator);
        (goes_first, is_validator, silent.is_none(), is_turn.then_some(Reverse(silent)), height, peer)
    }

    fn ask_proofs(&mut self, since: Option<u64>, nodes: &BTreeMap<PeerId, NodeStanding>, turn: &mut Turn<'_>) -> Stage {
        let Some(since_ms) = since else {
            self.proofs.clear();
            let message = NodeMessage::AskSnapshot(Height::GENESIS);
            let ask = |peer: &PeerId| Output::ToNode { to: Some(*peer), message: Box::new(message.clone()) };
            turn.outputs.extend(nodes.keys().map(ask));
            return Stage::Proofs(Some(turn.now_ms));
        };
        let all_came = !nodes.is_empty() && self.proofs.len() == nodes.len();
        // The highest proof is known when all have answered; one that stays silent holds that up only for so long.
        if !all_came && turn.now_ms < since_ms + PROOFS_MS {
            return Stage::Proofs(since);
        }
        self.is_validators_turn = !self.is_validators_turn;
        let named =
            self.proofs.iter().filter_map(|(peer, proof)| Some(((*peer, Name::of(turn.machine, *peer)?), proof)));
        let Some((of, proof)) = named.max_by_key(|(of, proof)| self.rank(*of, proof.note.height)) else {
            return Stage::Proofs(None);
        };
        let note = proof.note.clone();
        // Nodes that proved another snapshot may have this one as well: they are asked for it by its height.
        for peer in nodes.keys() {
            if self.proofs.get(peer).is_none_or(|proof| proof.note.height != note.height) {
                turn.outputs
                    .push(Output::ToNode { to: Some(*peer), message: Box::new(NodeMessage::AskSnapshot(note.height)) });
            }
        }
        Stage::Values { note, of, until_ms: turn.now_ms + PART_MS, asked: None, values: Vec::new() }
    }

    fn ask_values(
        &mut self,
        note: ChainNote,
        (of, until_ms): ((PeerId, Name), u64),
        mut asked: Option<PartRow>,
        values: Vec<Hash>,
        nodes: &BTreeMap<PeerId, NodeStanding>,
        turn: &mut Turn<'_>,
    ) -> Stage {
        let (mut peer, name) = of;
        // Of two connections with one node one ends soon: it is asked again in the other one, and no longer waited for.
        let is_same = |other: &&PeerId| Name::of(turn.machine, **other) == Some(name);
        if !nodes.contains_key(&peer)
            && let Some(other) = nodes.keys().find(is_same)
        {
            (peer, asked) = (*other, None);
        }
        if turn.now_ms >= until_ms {
            self.put_behind(name);
            return Stage::Proofs(None);
        }
        let groups = turn.machine.layout().groups();
        if values.len() < groups {
            let first = values.len() as u32;
            let row =
                PartRow::new(note.height, PartKind::Values, first, PartKind::Values.most().min(groups as u32 - first));
            // The question goes out once: this is reached in every tick until its answer is here or its time is over.
            if asked.is_none() {
                turn.outputs.push(Output::ToNode { to: Some(peer), message: Box::new(NodeMessage::AskPart(row)) });
            }
            return Stage::Values { note, of: (peer, name), until_ms, asked: Some(row), values };
        }
        // A quorum signed the root: whoever gives values that lead to another one has no part of this snapshot to give.
        if root_of(&values) != note.root {
            self.put_out(peer, turn);
            return Stage::Proofs(None);
        }
        // The session is marked before the first group is written: a start after a crash must not load what came in
        // part.
        if let Err(error) = self.arrival.begin() {
            tracing::warn!("a snapshot of another node cannot be begun: {error}");
            // A disk that is full stays so for a while, and each try costs another node the values of all groups.
            return Stage::Resting { until_ms: turn.now_ms + REST_MS, has_begun: false };
        }
        turn.snapshots.receive(&note, groups);
        let part = |first: usize| {
            let count = (groups - first).min(PartKind::Groups.most() as usize);
            PartRow::new(note.height, PartKind::Groups, first as u32, count as u32)
        };
        let missing: VecDeque<PartRow> = (0..groups).step_by(PartKind::Groups.most() as usize).map(part).collect();
        // A group that nobody is asked for would be missing when all that were asked for have come.
        let count: usize = missing.iter().map(|row| row.count as usize).sum();
        assert_eq!(count, groups, "each group is asked for once");
        Stage::Groups(Fetching { note, of: name, values, missing, asked: Vec::new(), alone: None })
    }

    fn ask_groups(&mut self, mut fetching: Fetching, turn: &mut Turn<'_>) -> Stage {
        if turn.snapshots.is_received() == Some(false) {
            return self.again(turn);
        }
        let Fetching { note, missing, asked, alone, .. } = &mut fetching;
        for (of, row, _) in asked.extract_if(.., |(_, _, until_ms)| *until_ms <= turn.now_ms) {
            // The node may have left, or have dropped the snapshot: its part is asked of the others.
            self.proofs.remove(&of);
            missing.push_back(row);
        }
        if missing.is_empty() && asked.is_empty() {
            turn.snapshots.finish_receiving();
            return Stage::Finishing(fetching.note);
        }
        let has_it = |(peer, proof): (&PeerId, &SnapshotProof)| (proof.note.height == note.height).then_some(*peer);
        let sources: Vec<PeerId> = self.proofs.iter().filter_map(has_it).collect();
        // What was asked of a node that left or was put out is missing again, without waiting until its time is over.
        missing.extend(asked.extract_if(.., |(of, ..)| !sources.contains(of)).map(|(_, row, _)| row));
        // Only a part that comes is progress: one who proves the snapshot again and again and gives nothing holds up
        // nobody.
        if alone.as_ref().is_some_and(|alone| turn.now_ms >= alone.until_ms) {
            // It has a newer one to prove each time that is asked, and nobody else need have that one.
            self.put_behind(fetching.of);
            return self.again(turn);
        }
        if sources.is_empty() {
            let until_ms = turn.now_ms + ALONE_MS;
            let alone = alone.get_or_insert(Alone { ask_ms: turn.now_ms, until_ms });
            if turn.now_ms >= alone.ask_ms {
                alone.ask_ms = turn.now_ms + REST_MS;
                let message = NodeMessage::AskSnapshot(note.height);
                let ask = |(peer, _)| Output::ToNode { to: Some(peer), message: Box::new(message.clone()) };
                turn.outputs.extend(turn.machine.nodes().map(ask));
            }
            return Stage::Groups(fetching);
        }
        // A node has one part at a time to give, so that none of them is buried; and no more are asked for than may
        // wait for the disk, since each waits in memory.
        for source in sources {
            let is_free = asked.iter().all(|(of, ..)| *of != source) && asked.len() < turn.snapshots.room();
            if let Some(row) = missing.pop_front_if(|_| is_free) {
                turn.outputs.push(Output::ToNode { to: Some(source), message: Box::new(NodeMessage::AskPart(row)) });
                asked.push((source, row, turn.now_ms + PART_MS));
            }
        }
        assert!(asked.len() <= turn.snapshots.room(), "whatever was asked for has room when it comes");
        Stage::Groups(fetching)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use storage::Session;
    use storage::backend::MemoryBackend;

    use super::*;

    /// Whoever is no validator has another key in each try, and gives nothing.
    #[test]
    fn a_validator_that_was_silent_is_asked_again_however_many_strangers_come() {
        let session =
            Session::create_on(Arc::new(MemoryBackend::default()), Path::new("/s"), b"{}").expect("a session");
        let mut arriving = Arriving::new(Arrival::of(&session));
        [1, 0].into_iter().for_each(|slot| arriving.put_behind(Name::Validator(slot)));
        let first = |arriving: &mut Arriving, names: &[Name]| {
            arriving.is_validators_turn = !arriving.is_validators_turn;
            let rank = |name: &&Name| arriving.rank((PeerId::LOCAL, **name), Height(1));
            let first = *names.iter().max_by_key(rank).expect("there are some");
            arriving.put_behind(first);
            first
        };
        let mut asked = Vec::new();
        for key in 0..4 {
            let names = [Name::Key([key; 32]), Name::Validator(0), Name::Validator(1)];
            asked.push(first(&mut arriving, &names));
        }
        let expected = [Name::Key([0; 32]), Name::Validator(1), Name::Key([2; 32]), Name::Validator(0)];
        assert_eq!(asked, expected);
        for _ in 0..2 {
            let names = [Name::Key([9; 32]), Name::Validator(0), Name::Validator(2), Name::Validator(1)];
            assert_eq!(first(&mut arriving, &names), Name::Validator(2), "it was never silent");
            arriving.silent.retain(|name| *name != Name::Validator(2));
        }
    }
}
