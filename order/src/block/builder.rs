//! Building a block.

use std::collections::BTreeMap;

use engine::Height;
use engine::limits::{BLOCK_ACCOUNT_INTENTS_MAX, BLOCK_BYTES_MAX, BLOCK_INTENTS_MAX, BLOCK_PLEDGES_MAX, TIME_MS_MAX};
use engine::message::block::{BLOCK_VERSION, Block, Header, intents_root, pledges_root, system_hash};
use engine::message::certificate::Certificate;
use engine::message::intent::Intent;
use engine::message::pledge::PledgeRow;
use thiserror::Error;

use super::{BlockContext, BlockError, IntentProblem, check_intent};
use crate::signature::PublicKey;

/// Bytes of a block with the largest certificate and nothing else: header, certificate, and the counts of two empty sections.
const HEAD_BYTES_MAX: usize = size_of::<Header>() + Certificate::BYTES_MAX + 2 * size_of::<u32>();

// However many validators there are, a block takes as many of either as the limits say.
const _: () = assert!(HEAD_BYTES_MAX + BLOCK_INTENTS_MAX * size_of::<Intent>() <= BLOCK_BYTES_MAX);
const _: () = assert!(HEAD_BYTES_MAX + BLOCK_PLEDGES_MAX * size_of::<PledgeRow>() <= BLOCK_BYTES_MAX);
// One key alone does not fill a block.
const _: () = assert!(BLOCK_ACCOUNT_INTENTS_MAX < BLOCK_INTENTS_MAX);

/// Builds a block from verified intents, in the order they are pushed.
#[derive(Debug)]
pub struct BlockBuilder<'a> {
    context: BlockContext<'a>,
    block: Block,
    bytes: usize,
    numbers: BTreeMap<PublicKey, Vec<u64>>,
}

/// Why an intent was not taken into a block that is being built.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum PushError {
    /// The block is full; the intent fits into a later one.
    #[error("the block is full")]
    Full,
    /// The key has as many intents as one may have; this one fits into a later block.
    #[error("the key has 64 intents in the block")]
    AccountFull,
    /// The intent fits into no block of this time or later.
    #[error("{0}")]
    Never(BlockError),
    /// The intent fits only into a later block: it expires too far ahead of this one.
    #[error("the intent expires more than 60 s after the block")]
    Later,
}

impl<'a> BlockBuilder<'a> {
    /// The time of a block that is built while the clock shows `clock_ms`, behind one of `parent_time_ms`; `None` if no block can
    /// have it: nobody would read that block, nor would whoever built it, once it starts again.
    pub fn time_ms(parent_time_ms: u64, clock_ms: u64) -> Option<u64> {
        // A clock that was set back builds a block of the least time that is valid, not one that everybody refuses.
        let time_ms = clock_ms.max(parent_time_ms.saturating_add(1));
        (time_ms <= TIME_MS_MAX).then_some(time_ms)
    }

    /// An empty block that `round` of the context's height proposes, carrying the certificate of the height before.
    ///
    /// # Panics
    /// If [`BlockBuilder::time_ms`] has no time for it.
    pub fn new(context: BlockContext<'a>, round: u32, time_ms: u64, certificate: Option<Certificate>) -> Self {
        assert!(context.height > Height::GENESIS, "genesis is no block");
        let header = Header {
            chain: *context.chain,
            parent: context.parent,
            validators: context.validators.own.hash(),
            next_validators: context.validators.next.hash(),
            intents: [0; 32],
            certificate: certificate.as_ref().map_or([0; 32], Certificate::hash),
            system: system_hash(&[]),
            pledges: pledges_root(&[]),
            root_chain: context.root_chain,
            height: context.height,
            time_ms: Self::time_ms(context.parent_time_ms, time_ms).expect("whoever builds a block asked for its time"),
            round,
            proposer: context.validators.own.proposer(context.height, round),
            intent_count: 0,
            version: BLOCK_VERSION,
            reserved: [0; 64],
        };
        let block = Block { header, certificate, system: Vec::new(), pledges: Vec::new(), intents: Vec::new() };
        let bytes = block.encoded_len();
        assert!(bytes <= HEAD_BYTES_MAX, "an empty block with the largest certificate leaves room for intents");
        assert!((header.proposer as usize) < context.validators.own.count(), "a turn is a validator's");
        Self { context, block, bytes, numbers: BTreeMap::new() }
    }

    /// How many intents it holds.
    pub fn len(&self) -> usize {
        self.block.intents.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.block.intents.is_empty()
    }

    /// Takes a pledge or an opening whose signature and key were verified; says whether there was room.
    ///
    /// # Panics
    /// If an intent was pushed before: these go first, so that intents leave them room.
    pub fn push_pledge(&mut self, row: &PledgeRow) -> bool {
        assert!(self.block.intents.is_empty(), "pledges go before intents");
        assert!(self.context.has_pledged, "only where a table takes them is a block with pledges valid");
        let bytes = self.bytes + size_of::<PledgeRow>();
        if self.block.pledges.len() >= BLOCK_PLEDGES_MAX || bytes > BLOCK_BYTES_MAX {
            return false;
        }
        self.bytes = bytes;
        self.block.pledges.push(*row);
        assert!(self.block.pledges.len() <= BLOCK_PLEDGES_MAX, "others read no more pledges of a block");
        assert!(self.bytes <= BLOCK_BYTES_MAX, "others look at no larger block");
        true
    }

    /// Takes an intent whose signature and key were verified.
    ///
    /// # Errors
    /// Whether it may be tried again in a later block.
    pub fn push(&mut self, intent: &Intent) -> Result<(), PushError> {
        let index = self.block.intents.len();
        match check_intent(intent, self.block.header.time_ms, self.context.issuers.len()) {
            Ok(()) => {}
            // It waits for a block of a later time; every other fault stays.
            Err(IntentProblem::ExpiresTooLate) => return Err(PushError::Later),
            Err(problem) => return Err(PushError::Never(problem.at(index))),
        }
        let bytes = self.bytes + size_of::<Intent>();
        if index >= BLOCK_INTENTS_MAX || bytes > BLOCK_BYTES_MAX {
            return Err(PushError::Full);
        }
        let numbers = self.numbers.entry(intent.body.key).or_default();
        // Two that claim one number: the block would be refused for the second, and every other intent with it.
        if numbers.contains(&intent.body.number) {
            return Err(PushError::Never(BlockError::Duplicate { index }));
        }
        if numbers.len() >= BLOCK_ACCOUNT_INTENTS_MAX {
            return Err(PushError::AccountFull);
        }
        // Counted only once it is taken: what was refused may come in again.
        numbers.push(intent.body.number);
        assert!(numbers.len() <= BLOCK_ACCOUNT_INTENTS_MAX, "a window has no more numbers");
        self.bytes = bytes;
        self.block.intents.push(*intent);
        assert!(self.block.intents.len() <= BLOCK_INTENTS_MAX, "others read no more intents of a block");
        assert!(self.bytes <= BLOCK_BYTES_MAX, "others look at no larger block");
        Ok(())
    }

    /// The block. The intents of one key stand in it by number ascending, where that key's intents were pushed: one that
    /// builds on another comes after it, whichever way the two came here.
    pub fn finish(mut self) -> Block {
        let counted: usize = self.numbers.values().map(Vec::len).sum();
        assert_eq!(counted, self.block.intents.len(), "each intent that was taken counts for its key");
        self.sort_numbers();
        let mut block = self.block;
        block.header.pledges = pledges_root(&block.pledges);
        block.header.intents = intents_root(&block.intents);
        block.header.intent_count =
            u32::try_from(block.intents.len()).expect("bounded by the limit on a block's intents");
        assert_eq!(block.encoded_len(), self.bytes, "its bytes were counted as it grew");
        assert!(block.pledges.is_empty() || self.context.has_pledged, "everybody would refuse the block for them");
        block
    }

    fn sort_numbers(&mut self) {
        // Most keys have one intent, or send theirs in order: only the others are moved.
        let unsorted = self.numbers.iter().filter(|(_, numbers)| !numbers.is_sorted());
        let mut places: BTreeMap<PublicKey, Vec<usize>> = unsorted.map(|(key, _)| (*key, Vec::new())).collect();
        if places.is_empty() {
            return;
        }
        for (place, intent) in self.block.intents.iter().enumerate() {
            if let Some(places) = places.get_mut(&intent.body.key) {
                places.push(place);
            }
        }
        for (key, places) in places {
            // An intent that was passed over would stay where it is, ahead of what it builds on.
            assert_eq!(places.len(), self.numbers[&key].len(), "every intent of the key is found");
            let mut intents: Vec<Intent> = places.iter().map(|place| self.block.intents[*place]).collect();
            intents.sort_unstable_by_key(|intent| intent.body.number);
            let rising = intents.is_sorted_by(|one, next| one.body.number < next.body.number);
            assert!(rising, "a second intent of one number was refused when it was pushed");
            places.into_iter().zip(intents).for_each(|(place, intent)| self.block.intents[place] = intent);
        }
    }
}
