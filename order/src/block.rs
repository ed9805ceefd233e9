//! Blocks: building them, and whether one is valid. Validity is stateless: it needs the chain's headers, not accounts.

mod builder;

use engine::limits::{BLOCK_ACCOUNT_INTENTS_MAX, BLOCK_BYTES_MAX, CLOCK_SKEW_MS_MAX, EXPIRY_AHEAD_S_MAX, TIME_MS_MAX};
use engine::message::DecodeError;
use engine::message::block::{BLOCK_VERSION, Block, Header, intents_root, pledges_root, system_hash};
use engine::message::certificate::Certificate;
use engine::message::intent::{Expiry, Intent, IntentKind};
use engine::message::pledge::PledgeRow;
use engine::{Hash, Height};
use thiserror::Error;

use crate::batch::BatchSecret;
use crate::certificate::{CertificateError, certificate_items, check_certificate_form};
use crate::signature::{PublicKey, SignedItem, encoding_is_acceptable, verify_batch};
use crate::validators::Validators;

pub use self::builder::{BlockBuilder, PushError};

// What the words of the errors below say.
const _: () = assert!(BLOCK_ACCOUNT_INTENTS_MAX == 64);
const _: () = assert!(CLOCK_SKEW_MS_MAX == 500);
const _: () = assert!(EXPIRY_AHEAD_S_MAX == 60);
// The second in which the last intent can expire lies in the year 2106, with 365.2425 days to a year.
const _: () = assert!(TIME_MS_MAX / 1_000 / 31_556_952 + 1970 == 2106);

/// What a block is checked against: all of it follows from the chain before it.
#[derive(Clone, Copy, Debug)]
pub struct BlockContext<'a> {
    /// The chain id.
    pub chain: &'a Hash,
    /// The block's height.
    pub height: Height,
    /// Hash of the block before; zero at height 1.
    pub parent: Hash,
    /// `time_ms` of the block before; the start of genesis at height 1.
    pub parent_time_ms: u64,
    /// `root_chain(height - 2)`; zero at heights 1 and 2.
    pub root_chain: Hash,
    /// The validators around the block.
    pub validators: BlockValidators<'a>,
    /// The keys that may issue vouchers; empty where accounts open freely.
    pub issuers: &'a [PublicKey],
    /// Whether some table of the chain takes pledges.
    pub has_pledged: bool,
}

/// The validators around a block.
#[derive(Clone, Copy, Debug)]
pub struct BlockValidators<'a> {
    /// Those of the block's height.
    pub own: &'a Validators,
    /// Those of the height after.
    pub next: &'a Validators,
    /// Those of the height before, whose certificate the block carries.
    pub parent: &'a Validators,
}

impl<'a> BlockValidators<'a> {
    /// Those of a chain whose validators never change.
    pub fn unchanging(validators: &'a Validators) -> Self {
        Self { own: validators, next: validators, parent: validators }
    }
}

/// Why a block is not valid.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum BlockError {
    /// A field of the header is not what the chain before it demands.
    #[error("the header's {field} is not what the chain demands")]
    Header {
        /// The field.
        field: &'static str,
    },
    /// Its time is not above its parent's.
    #[error("the block's time {found} ms is not above its parent's {parent} ms")]
    Time {
        /// The parent's.
        parent: u64,
        /// The block's.
        found: u64,
    },
    /// Its time is later than any block's can be.
    #[error("the block's time {found} ms is after the year 2106")]
    TooLate {
        /// The block's.
        found: u64,
    },
    /// Its time is too far from this validator's clock.
    #[error("the block's time {found} ms is more than 500 ms from the clock's {clock} ms")]
    Clock {
        /// The validator's clock.
        clock: u64,
        /// The block's.
        found: u64,
    },
    /// It is too large.
    #[error("the block has {found} bytes, {most} are allowed")]
    Size {
        /// The bound.
        most: usize,
        /// Its size.
        found: usize,
    },
    /// It carries no certificate although it must, or one although it must not.
    #[error("height 1 carries no certificate, every other height carries one")]
    CertificateMissing,
    /// It holds what changes validators or keys, and nothing does yet.
    #[error("the block has {found} system messages, and this chain has none")]
    System {
        /// How many it holds.
        found: usize,
    },
    /// It holds a player's half of a table's dice, and no table has such dice.
    #[error("the block has {found} pledges, and no table of this chain takes them")]
    Pledges {
        /// How many it holds.
        found: usize,
    },
    /// The carried certificate proves nothing.
    #[error("the carried certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// An intent is not well formed.
    #[error("intent {index}: {problem}")]
    Form {
        /// Its place in the block.
        index: usize,
        /// What is wrong.
        problem: DecodeError,
    },
    /// An intent is past its expiry.
    #[error("intent {index} is past its expiry")]
    Expired {
        /// Its place in the block.
        index: usize,
    },
    /// An intent's expiry lies too far ahead.
    #[error("intent {index} expires more than 60 s after the block")]
    ExpiresTooLate {
        /// Its place in the block.
        index: usize,
    },
    /// An intent's key is not canonical or of small order.
    #[error("the key of intent {index} is not acceptable")]
    Key {
        /// Its place in the block.
        index: usize,
    },
    /// A voucher of an issuer that genesis does not list.
    #[error("intent {index} names issuer {issuer}, there are {count}")]
    Issuer {
        /// Its place in the block.
        index: usize,
        /// The issuer named.
        issuer: u32,
        /// How many are listed.
        count: usize,
    },
    /// The key of a pledge is not canonical or of small order.
    #[error("the key of pledge {index} is not acceptable")]
    PledgeKey {
        /// Its place among the block's pledges.
        index: usize,
    },
    /// The signature of a pledge or an opening does not verify.
    #[error("the signature of pledge {index} does not verify")]
    PledgeSignature {
        /// Its place among the block's pledges.
        index: usize,
    },
    /// A key has too many intents.
    #[error("the key of intent {index} has more than 64 intents in the block")]
    AccountIntents {
        /// The place of one of them.
        index: usize,
    },
    /// A key has two intents with one number.
    #[error("intent {index} has the key and number of another")]
    Duplicate {
        /// The place of one of them.
        index: usize,
    },
    /// A signature does not verify.
    #[error("the signature of intent {index} does not verify")]
    Signature {
        /// Its place in the block.
        index: usize,
    },
}

/// Checks all of a block but the signatures of its pledges and intents, and the proposer's turn: [`check_block_form`], and the
/// certificate that it carries. For those who verify the others in parts.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_block_head(block: &Block, context: &BlockContext<'_>, secret: &BatchSecret) -> Result<(), BlockError> {
    check_block_form(block, context)?;
    let mut items = Vec::with_capacity(context.validators.parent.count());
    let carried = carried_items(block, context.validators.parent, context.chain, &mut items);
    // One whose slot has no key would be left out, and count all the same.
    let certified = block.certificate.as_ref().map_or(0, |certificate| certificate.signatures.len());
    assert_eq!(carried, certified, "slots are checked before signatures");
    let mut verdicts = vec![false; items.len()];
    verify_batch(&items, secret, &mut verdicts);
    let holds = verdicts.into_iter().all(|holds| holds);
    if holds { Ok(()) } else { Err(CertificateError::Signature { height: context.height.back(1) }.into()) }
}

/// Checks all of a block but signatures and the proposer's turn ([`check_turn`]).
///
/// # Errors
/// The first thing that is wrong: size, header, certificate, sections, then the intents in order.
pub fn check_block_form(block: &Block, context: &BlockContext<'_>) -> Result<(), BlockError> {
    let found = block.encoded_len();
    // First of all: what is too large is not hashed and not looked through.
    if found > BLOCK_BYTES_MAX {
        return Err(BlockError::Size { most: BLOCK_BYTES_MAX, found });
    }
    check_head(&block.header, block.certificate.as_ref(), context)?;
    check_sections(block)?;
    // A section that nothing reads yet is refused with the right hash too: a later version would give it a meaning that this
    // one has not checked.
    if !block.system.is_empty() {
        return Err(BlockError::System { found: block.system.len() });
    }
    check_pledges(&block.pledges, context.has_pledged)?;
    check_intents(&block.intents, block.header.time_ms, context.issuers.len())
}

fn check_pledges(pledges: &[PledgeRow], has_pledged: bool) -> Result<(), BlockError> {
    if !has_pledged && !pledges.is_empty() {
        return Err(BlockError::Pledges { found: pledges.len() });
    }
    // That the rows are well formed was said when they were read, or signed.
    match pledges.iter().position(|row| !encoding_is_acceptable(&row.key)) {
        Some(index) => Err(BlockError::PledgeKey { index }),
        None => Ok(()),
    }
}

/// Checks that a block holds what its header says of it. Its hash is that of the header alone: whoever tells a block may have put
/// something else behind the header, and that speaks against the teller, not against the block.
///
/// # Errors
/// The first section that is another than the header says.
pub fn check_sections(block: &Block) -> Result<(), BlockError> {
    let header = &block.header;
    let fields = [
        ("certificate", header.certificate == block.certificate.as_ref().map_or([0; 32], Certificate::hash)),
        ("system section", header.system == system_hash(&block.system)),
        ("pledges", header.pledges == pledges_root(&block.pledges)),
        ("intent count", header.intent_count as usize == block.intents.len()),
        ("intents root", header.intents == intents_root(&block.intents)),
    ];
    match fields.into_iter().find(|(_, holds)| !holds) {
        Some((field, _)) => Err(BlockError::Header { field }),
        None => Ok(()),
    }
}

/// Checks that the proposer had its turn in the header's round. `validators` must be those of the height, with whom it
/// skips: that follows from the state two heights before, which whoever checks blocks ahead of it does not have.
///
/// # Errors
/// If it was another's turn.
pub fn check_turn(header: &Header, validators: &Validators) -> Result<(), BlockError> {
    let turn = validators.proposer(header.height, header.round);
    assert!(validators.key(turn).is_some(), "a turn is a validator's");
    let holds = header.proposer == turn;
    if holds { Ok(()) } else { Err(BlockError::Header { field: "proposer" }) }
}

/// Checks a proposed block's time against this validator's clock. Only for a vote on a first proposal: replay has no
/// clock, and a block that others have voted for must not be lost because time went on. The least time that the parent
/// leaves always passes: where the clocks of all stand behind the chain, nothing else could be proposed.
///
/// # Errors
/// More than 500 ms apart.
pub fn check_clock(header: &Header, parent_time_ms: u64, clock_ms: u64) -> Result<(), BlockError> {
    let found = header.time_ms;
    // Where the clocks of all stand behind the chain, only the least time that the parent leaves can be proposed.
    if found != parent_time_ms.saturating_add(1) && found.abs_diff(clock_ms) > CLOCK_SKEW_MS_MAX {
        return Err(BlockError::Clock { clock: clock_ms, found });
    }
    Ok(())
}

/// Checks all of a block but its intents: its header, and the form of the certificate that it carries. What is left of a block
/// whose body was given up can be checked so far.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_head(
    header: &Header,
    carried: Option<&Certificate>,
    context: &BlockContext<'_>,
) -> Result<(), BlockError> {
    check_header(header, carried, context)?;
    check_carried(carried, context)
}

fn check_header(header: &Header, carried: Option<&Certificate>, context: &BlockContext<'_>) -> Result<(), BlockError> {
    let fields = [
        ("version", header.version == BLOCK_VERSION),
        ("reserved bytes", header.reserved == [0; 64]),
        ("chain", header.chain == *context.chain),
        ("height", header.height == context.height),
        ("parent", header.parent == context.parent),
        ("validators", header.validators == context.validators.own.hash()),
        ("next validators", header.next_validators == context.validators.next.hash()),
        ("root chain", header.root_chain == context.root_chain),
        ("certificate", header.certificate == carried.map_or([0; 32], Certificate::hash)),
    ];
    if let Some((field, _)) = fields.into_iter().find(|(_, holds)| !holds) {
        return Err(BlockError::Header { field });
    }
    let (parent, found) = (context.parent_time_ms, header.time_ms);
    // Time that stands still or goes back would let expired intents in again.
    if found <= parent {
        return Err(BlockError::Time { parent, found });
    }
    if found > TIME_MS_MAX { Err(BlockError::TooLate { found }) } else { Ok(()) }
}

fn check_carried(carried: Option<&Certificate>, context: &BlockContext<'_>) -> Result<(), BlockError> {
    match carried {
        // The first block has no parent that anybody could have certified.
        None if context.height == Height(1) => Ok(()),
        Some(certificate) if context.height > Height(1) => {
            let (set, height) = (context.validators.parent, context.height.back(1));
            Ok(check_certificate_form(certificate, set, height, &context.parent)?)
        }
        _ => Err(BlockError::CertificateMissing),
    }
}

fn check_intents(intents: &[Intent], time_ms: u64, issuers: usize) -> Result<(), BlockError> {
    for (index, intent) in intents.iter().enumerate() {
        check_intent(intent, time_ms, issuers).map_err(|problem| problem.at(index))?;
    }
    let mut rows: Vec<(&PublicKey, u64, usize)> =
        intents.iter().enumerate().map(|(index, intent)| (&intent.body.key, intent.body.number, index)).collect();
    // Sorted, so that two of a kind stand together: comparing each with each would be quadratic in the block's size.
    rows.sort_unstable();
    if let Some(pair) = rows.windows(2).find(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1)) {
        return Err(BlockError::Duplicate { index: pair[1].2 });
    }
    for run in rows.chunk_by(|row, next| row.0 == next.0) {
        // Once for all intents of a key; that it is a point at all, its signatures say.
        if !encoding_is_acceptable(run[0].0) {
            return Err(BlockError::Key { index: run[0].2 });
        }
        // An account's window has as many numbers: more of them could not all be applied.
        if let Some(row) = run.get(BLOCK_ACCOUNT_INTENTS_MAX) {
            return Err(BlockError::AccountIntents { index: row.2 });
        }
    }
    Ok(())
}

/// Why one intent may not be in a block of a given time; [`BlockError`] adds its place.
enum IntentProblem {
    Form(DecodeError),
    Expired,
    ExpiresTooLate,
    Issuer(u32, usize),
}

impl IntentProblem {
    fn at(self, index: usize) -> BlockError {
        match self {
            Self::Form(problem) => BlockError::Form { index, problem },
            Self::Expired => BlockError::Expired { index },
            Self::ExpiresTooLate => BlockError::ExpiresTooLate { index },
            Self::Issuer(issuer, count) => BlockError::Issuer { index, issuer, count },
        }
    }
}

fn check_intent(intent: &Intent, time_ms: u64, issuers: usize) -> Result<(), IntentProblem> {
    let (kind, body) = (intent.body.check_form().map_err(IntentProblem::Form)?, &intent.body);
    match body.expiry_in_block(time_ms) {
        Expiry::Passed => Err(IntentProblem::Expired),
        Expiry::TooFar => Err(IntentProblem::ExpiresTooLate),
        Expiry::Within if kind == IntentKind::OpenVoucher && body.target as usize >= issuers => {
            Err(IntentProblem::Issuer(body.target, issuers))
        }
        Expiry::Within => Ok(()),
    }
}

/// Appends the precommits of the carried certificate, to be verified in one batch with others; returns how many.
pub fn carried_items<'a>(
    block: &'a Block,
    parent_validators: &'a Validators,
    chain: &'a Hash,
    items: &mut Vec<SignedItem<'a>>,
) -> usize {
    let before = items.len();
    if let Some(certificate) = &block.certificate {
        items.extend(certificate_items(certificate, parent_validators, chain));
    }
    let carried = items.len() - before;
    assert!(block.certificate.is_some() || carried == 0, "only a certificate carries signatures");
    carried
}

/// Appends the signatures of pledges and openings in order, each under the key that it names.
pub fn pledge_items<'a>(block: &'a Block, chain: &'a Hash, items: &mut Vec<SignedItem<'a>>) {
    let before = items.len();
    items.extend(block.pledges.iter().map(|row| SignedItem::pledge(row, chain)));
    assert_eq!(items.len() - before, block.pledges.len(), "every pledge has one signer");
}

/// Appends the intents' signatures in order, each under the key that must have signed it.
///
/// # Errors
/// A voucher of an unknown issuer, which [`check_block_form`] refuses too.
pub fn intent_items<'a>(
    block: &'a Block,
    issuers: &'a [PublicKey],
    chain: &'a Hash,
    items: &mut Vec<SignedItem<'a>>,
) -> Result<(), BlockError> {
    let before = items.len();
    for (index, intent) in block.intents.iter().enumerate() {
        let key = signer(intent, issuers).map_err(|problem| problem.at(index))?;
        items.push(SignedItem::intent(intent, key, chain));
    }
    // Verdicts are told by their place: an intent left out would be given the verdict of the next.
    assert_eq!(items.len() - before, block.intents.len(), "every intent has one signer");
    Ok(())
}

/// Who must have signed an intent: the account, or the issuer of a voucher.
fn signer<'a>(intent: &'a Intent, issuers: &'a [PublicKey]) -> Result<&'a PublicKey, IntentProblem> {
    if intent.body.kind != IntentKind::OpenVoucher as u8 {
        return Ok(&intent.body.key);
    }
    let issuer = intent.body.target;
    issuers.get(issuer as usize).ok_or(IntentProblem::Issuer(issuer, issuers.len()))
}

/// The key that must have signed an intent, or none for a voucher of an unknown issuer.
pub fn intent_signer<'a>(intent: &'a Intent, issuers: &'a [PublicKey]) -> Option<&'a PublicKey> {
    signer(intent, issuers).ok()
}

#[cfg(test)]
mod tests;
