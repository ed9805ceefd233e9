//! What must hold, looked at from outside: by what nodes recorded and sent, over all their lives.

use std::collections::{BTreeMap, BTreeSet};

use engine::io::Verdict;
use engine::message::block::Block;
use engine::message::intent::Intent;
use engine::message::node::NodeMessage;
use engine::message::pledge::PledgeRow;
use engine::message::refusal::Refusal;
use engine::{Hash, Height};
use net::wire::{Answer, AnswerVerdict};

/// A property that a run broke.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Its name.
    pub property: Property,
    /// What was seen, in words.
    pub seen: String,
}

/// What must hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Property {
    /// No two nodes decide different blocks at a height, and none decides twice.
    Agreement,
    /// No honest validator says two things for one height, round and kind, in all its lives.
    OneVoice,
    /// No share of a beacon is released before its block is on the sender's disk.
    SharesWait,
    /// No honest node puts out an honest one, or holds that it lied.
    NoFalseBlame,
    /// All nodes have one root and one root chain at each height.
    EqualRoots,
    /// All chips are the supply, whatever the ledger says.
    Conserved,
    /// No roll is opened twice, and no player's program signs openings of one roll for two blocks.
    OneOpening,
    /// A receipt names the place of the very bytes that its receiver sent.
    ReceiptMatches,
    /// What was told to be final is not applied afterwards.
    FinalIsFinal,
    /// Once everything is healed, every player hears what became of each intent that it sent.
    LastWord,
    /// What was said to be on disk is there after a restart.
    Durable,
    /// No node stops but for a reason that the run gave it.
    NoFault,
    /// After everything is healed, heights go on.
    Progress,
    /// A node's session passes `replay`.
    Replays,
}

impl Property {
    /// Its name in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agreement => "agreement",
            Self::OneVoice => "one-voice",
            Self::SharesWait => "shares-wait",
            Self::NoFalseBlame => "no-false-blame",
            Self::EqualRoots => "equal-roots",
            Self::Conserved => "conserved",
            Self::OneOpening => "one-opening",
            Self::ReceiptMatches => "receipt-matches",
            Self::FinalIsFinal => "final-is-final",
            Self::LastWord => "last-word",
            Self::Durable => "durable",
            Self::NoFault => "no-fault",
            Self::Progress => "progress",
            Self::Replays => "replays",
        }
    }
}

/// Heights below the highest decided one of which it is remembered what validators said.
const SAID_HEIGHTS: u64 = 256;

/// Where a validator may say one thing: height, slot, round, kind of vote, or 0 for a proposal.
type SaidAt = (u64, u32, u32, u8);

fn broken(property: Property, seen: String) -> Result<(), Broken> {
    Err(Broken { property, seen })
}

/// An intent's bytes, told apart by the whole of them.
type Bytes = [u8; 128];

fn bytes(intent: &Intent) -> Bytes {
    bytemuck::cast(*intent)
}

/// What has been seen of a run.
#[derive(Default)]
pub struct Seen {
    /// The first block that was decided at each height.
    blocks: BTreeMap<u64, (Hash, Block)>,
    /// The first root chain of each height, and its verdicts.
    settled: BTreeMap<u64, (Hash, Vec<Verdict>)>,
    /// What honest validators said, over all their lives.
    said: BTreeMap<SaidAt, Hash>,
    /// Intents that were applied: where.
    applied: BTreeMap<Bytes, u64>,
    /// Intents of which somebody was told that they never will be.
    never: BTreeMap<Bytes, String>,
    /// The block for which each roll's opening was signed, by key, table and roll.
    signed: BTreeMap<([u8; 32], u32, u32), Hash>,
    /// The height whose block opened each roll, by table and roll.
    opened: BTreeMap<(u32, u32), u64>,
    /// Intents that stand in a decided block: the last one, and where in it.
    taken: BTreeMap<Bytes, (u64, usize)>,
    /// Intents that were decided once more, although the number of the first one was used up, or nobody knew what came of it.
    pub twice: u64,
    /// Receipts that were compared with the blocks they name.
    pub receipts: u64,
}

impl Seen {
    /// A node recorded a decided block.
    ///
    /// # Errors
    /// If another block was decided there.
    pub fn decided(&mut self, node: u32, block: &Block) -> Result<(), Broken> {
        let (height, hash) = (block.header.height.0, block.header.hash());
        if let Some((first, _)) = self.blocks.get(&height) {
            if *first != hash {
                let (first, other) = (engine::hex(first), engine::hex(&hash));
                return broken(
                    Property::Agreement,
                    format!("height {height} was decided as {first}, and node {node} decided {other}"),
                );
            }
            return Ok(());
        }
        for (index, intent) in block.intents.iter().enumerate() {
            let before = self.taken.insert(bytes(intent), (height, index));
            self.twice += u64::from(before.is_some_and(|before| !self.may_come_again(before)));
        }
        self.blocks.insert(height, (hash, block.clone()));
        Ok(())
    }

    /// Whether what stands at a place was refused, and left its number: whoever signed it may try again.
    fn may_come_again(&self, (height, index): (u64, usize)) -> bool {
        let verdict = self.settled.get(&height).and_then(|(_, verdicts)| verdicts.get(index));
        matches!(verdict, Some(Verdict::Refused(refusal)) if !refusal.uses_number() && *refusal != Refusal::NumberUsed)
    }

    /// An honest validator's node says something to others.
    ///
    /// # Errors
    /// If it said something else at the same height, round and kind before.
    pub fn said(&mut self, slot: u32, message: &NodeMessage) -> Result<(), Broken> {
        match message {
            NodeMessage::Votes(votes) => {
                for body in votes.iter().map(|vote| vote.body).filter(|body| body.slot == slot) {
                    let place = (body.height.0, slot, body.round, body.kind);
                    self.say(place, body.value().unwrap_or([0xff; 32]))?;
                }
            }
            NodeMessage::Proposal(proposal) if proposal.body.slot == slot => {
                let body = &proposal.body;
                self.say((body.height.0, slot, body.round, 0), body.block)?;
            }
            _ => {}
        }
        let first = self.blocks.last_key_value().map_or(0, |(height, _)| height.saturating_sub(SAID_HEIGHTS));
        while self.said.first_key_value().is_some_and(|((height, ..), _)| *height < first) {
            self.said.pop_first();
        }
        Ok(())
    }

    fn say(&mut self, place: SaidAt, value: Hash) -> Result<(), Broken> {
        let first = *self.said.entry(place).or_insert(value);
        if first == value {
            return Ok(());
        }
        let (height, slot, round, kind) = place;
        let what = ["a proposal", "a prevote", "a precommit"][usize::from(kind.min(2))];
        let (first, other) = (engine::hex(&first), engine::hex(&value));
        broken(
            Property::OneVoice,
            format!("validator {slot} signed {what} of {first} at height {height}, round {round}, and one of {other}"),
        )
    }

    /// A node recorded a settled height.
    ///
    /// # Errors
    /// If another node had another root chain there, or an intent was applied that never was to be.
    pub fn settled(&mut self, node: u32, height: Height, root_chain: Hash, verdicts: &[Verdict]) -> Result<(), Broken> {
        if let Some((first, _)) = self.settled.get(&height.0) {
            if *first != root_chain {
                let (first, other) = (engine::hex(first), engine::hex(&root_chain));
                return broken(
                    Property::EqualRoots,
                    format!("height {height} led to {first}, and on node {node} to {other}"),
                );
            }
            return Ok(());
        }
        self.settled.insert(height.0, (root_chain, verdicts.to_vec()));
        let Some((_, block)) = self.blocks.get(&height.0) else {
            return broken(Property::Agreement, format!("node {node} settled height {height}, which nobody decided"));
        };
        for (intent, verdict) in block.intents.iter().zip(verdicts) {
            let intent = bytes(intent);
            if let Verdict::Refused(refusal) = verdict {
                // Its number is used up with it, and its receipt says so: whoever reads that may sign another one instead.
                if refusal.uses_number() {
                    self.never.entry(intent).or_insert_with(|| format!("{} at height {height}", refusal.name()));
                }
                continue;
            }
            if let Some(told) = self.never.get(&intent) {
                return broken(
                    Property::FinalIsFinal,
                    format!("height {height} applied an intent of which a player had been told: {told}"),
                );
            }
            if let Some(first) = self.applied.insert(intent, height.0) {
                let seen = format!("height {height} applied an intent that height {first} had applied");
                return broken(Property::FinalIsFinal, seen);
            }
        }
        for (row, verdict) in block.pledges.iter().zip(verdicts.iter().skip(block.intents.len())) {
            if !row.is_opening() || *verdict != Verdict::Applied {
                continue;
            }
            if let Some(first) = self.opened.insert((row.table, row.roll), height.0) {
                let seen = format!("height {height} opened roll {}:{}, as height {first} had", row.table, row.roll);
                return broken(Property::OneOpening, seen);
            }
        }
        Ok(())
    }

    /// A player's program signed an opening.
    ///
    /// # Errors
    /// If it signed one of that roll for another block before.
    pub fn signed(&mut self, row: &PledgeRow) -> Result<(), Broken> {
        let first = *self.signed.entry((row.key, row.table, row.roll)).or_insert(row.block);
        if first == row.block {
            return Ok(());
        }
        let (player, first, other) = (engine::hex(&row.key[..4]), engine::hex(&first), engine::hex(&row.block));
        broken(
            Property::OneOpening,
            format!("player {player} opened roll {}:{} for block {first}, and for {other}", row.table, row.roll),
        )
    }

    /// A player heard an answer about a pledge or an opening that it sent.
    ///
    /// # Errors
    /// If the answer names a place at which another row stands, or another verdict than the block led to.
    pub fn pledge_answered(&mut self, node: u32, sent: &PledgeRow, answer: &Answer) -> Result<(), Broken> {
        let AnswerVerdict::Receipt { height, index, verdict } = answer.verdict else { return Ok(()) };
        let what = format!("node {node} told of roll {}:{} {verdict:?} of height {height}", sent.table, sent.roll);
        if height == Height::GENESIS {
            let is_refused = matches!(verdict, Verdict::Refused(_));
            return if is_refused { Ok(()) } else { broken(Property::ReceiptMatches, what) };
        }
        self.receipts += 1;
        let block = self.blocks.get(&height.0).map(|(_, block)| block);
        let place = block.and_then(|block| (index as usize).checked_sub(block.intents.len()));
        let found = block.zip(place).and_then(|(block, place)| block.pledges.get(place));
        let settled = self.settled.get(&height.0).and_then(|(_, verdicts)| verdicts.get(index as usize));
        if found == Some(sent) && settled == Some(&verdict) {
            return Ok(());
        }
        broken(Property::ReceiptMatches, format!("{what}, where {found:?} led to {settled:?}"))
    }

    /// The height of a block that some node has on its disk.
    pub fn height_of(&self, block: &Hash) -> Option<Height> {
        self.blocks.iter().rev().find(|(_, (hash, _))| hash == block).map(|(height, _)| Height(*height))
    }

    /// The block of a height.
    pub fn block(&self, height: Height) -> Option<&Block> {
        self.blocks.get(&height.0).map(|(_, block)| block)
    }

    /// A player heard an answer about an intent that it sent.
    ///
    /// # Errors
    /// If the answer is about other bytes, or says that what was applied never will be.
    pub fn answered(&mut self, node: u32, sent: &Intent, answer: &Answer) -> Result<(), Broken> {
        let AnswerVerdict::Receipt { height, index, verdict } = answer.verdict else { return Ok(()) };
        let what = || format!("intent {} of {}", sent.body.number, engine::hex(&sent.body.key[..4]));
        if height > Height::GENESIS {
            self.receipts += 1;
            let block = self.blocks.get(&height.0).map(|(_, block)| block);
            let found = block.and_then(|block| block.intents.get(index as usize));
            // One that no block took expires by the time of a settled block, and by no clock.
            let late = block.is_some_and(|block| block.header.time_ms > u64::from(sent.body.expiry_s) * 1_000);
            let is_expired = late && verdict == Verdict::Refused(Refusal::Expired);
            if found.map(bytes) != Some(bytes(sent)) && is_expired {
                return self.is_final(node, sent, Refusal::Expired);
            }
            // Nor is one in the block whose number went to another one there.
            let same = |other: &Intent| (other.body.key, other.body.number) == (sent.body.key, sent.body.number);
            let is_used = verdict == Verdict::Refused(Refusal::NumberUsed)
                && block.is_some_and(|block| block.intents.iter().any(same));
            if found.map(bytes) != Some(bytes(sent)) && is_used {
                return self.is_final(node, sent, Refusal::NumberUsed);
            }
            if found.map(bytes) != Some(bytes(sent)) {
                return broken(
                    Property::ReceiptMatches,
                    format!(
                        "node {node} told {} a receipt of height {height}, place {index}, which holds others",
                        what()
                    ),
                );
            }
            let settled = self.settled.get(&height.0).and_then(|(_, verdicts)| verdicts.get(index as usize));
            if settled != Some(&verdict) {
                return broken(
                    Property::ReceiptMatches,
                    format!("node {node} told {} {verdict:?}, and height {height} had {settled:?}", what()),
                );
            }
            return Ok(());
        }
        let Verdict::Refused(refusal) = verdict else {
            return broken(
                Property::ReceiptMatches,
                format!("node {node} told {} {verdict:?} without a height", what()),
            );
        };
        // What else is refused before a block may come again from a network that repeats itself, and is judged anew.
        if !matches!(refusal, Refusal::Expired | Refusal::BadSignature) {
            return Ok(());
        }
        self.is_final(node, sent, refusal)
    }

    /// A player was told that an intent will never be applied.
    fn is_final(&mut self, node: u32, sent: &Intent, refusal: Refusal) -> Result<(), Broken> {
        if let Some(applied) = self.applied.get(&bytes(sent)) {
            let what = format!("intent {} of {}", sent.body.number, engine::hex(&sent.body.key[..4]));
            return broken(
                Property::FinalIsFinal,
                format!("node {node} told {what} {}, and height {applied} had applied it", refusal.name()),
            );
        }
        self.never.insert(bytes(sent), format!("{} by node {node}", refusal.name()));
        Ok(())
    }

    /// A node has started again, and stands at `settled`, after it said that `promised` is on its disk.
    ///
    /// # Errors
    /// If it is not.
    pub fn restarted(&self, node: u32, decided: Height, promised: Height) -> Result<(), Broken> {
        if decided >= promised {
            return Ok(());
        }
        broken(
            Property::Durable,
            format!("node {node} had said that height {promised} is on its disk, and started again at {decided}"),
        )
    }

    /// The last height that any node settled, and its root chain.
    pub fn last(&self) -> (Height, Hash) {
        let last = self.settled.last_key_value();
        last.map(|(height, (root_chain, _))| (Height(*height), *root_chain)).unwrap_or_default()
    }

    /// Heights that nodes settled.
    pub fn heights(&self) -> BTreeSet<u64> {
        self.settled.keys().copied().collect()
    }
}
