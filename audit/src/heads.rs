//! Heads: what the journal keeps of heights whose bodies it gave up, checked as far as they go.
//!
//! ```text
//!  header -> header: parent, time, validators, carried certificate      every signature and beacon verified
//!  root chain: (before, height, block, beacon, root) -> the next; the header two heights on repeats it
//! ```
//! Without the intents nothing is executed: that a root is the one that the blocks led to is not known. That the validators
//! certified it is, from two heights on. Whose turn it was is not known either: that follows from the state.

use std::path::Path;

use engine::limits::HEADS_TOGETHER;
use engine::message::block::Retired;
use engine::message::certificate::{ChainLink, Settled, verdicts_hash};
use engine::message::note::ChainNote;
use engine::{Hash, Height, hex};
use order::block::{BlockContext, BlockValidators, check_head};
use order::certificate::check_certificate_form;
use storage::JournalReader;
use systems::Setup;
use words::Failure;

use crate::difference::Difference;
use crate::recorded::Recorded;
use crate::recording::check_waiting;
use crate::refused::{refused_certificate, refused_head};
use crate::verify::Verifier;

/// What checking heads came to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct HeadsChecked {
    /// The last height that was looked at.
    pub last: Height,
    /// Signatures that were verified.
    pub signatures: u64,
    /// Beacons that were verified.
    pub beacons: u64,
    /// The first thing that is wrong.
    pub difference: Option<Difference>,
}

/// The root chain after a settled height, as it follows from what the record says of it.
fn chained(block: &Hash, settled: &Settled, before: &Hash) -> Hash {
    let Settled { height, beacon, root, verdicts, .. } = settled;
    let verdicts = verdicts_hash(verdicts.iter().copied());
    ChainLink { height: *height, block, beacon, root, verdicts: &verdicts }.after(before)
}

/// Where the chain of heads stands.
struct HeadChain<'a> {
    setup: &'a Setup,
    verifier: &'a Verifier,
    height: Height,
    parent: Hash,
    parent_time_ms: u64,
    /// Root chains of the last height and of the one before it.
    root_chains: [Hash; 2],
    root: Hash,
}

impl HeadChain<'_> {
    /// Stands where a journal begins that was begun at another node's snapshot: what came before is nowhere in it.
    fn begin(&mut self, note: &ChainNote) {
        (self.height, self.parent, self.parent_time_ms) = (note.height, note.block, note.time_ms);
        (self.root_chains, self.root) = (note.root_chains, note.root);
    }

    /// Takes the next height.
    fn take(&mut self, head: &Retired, settled: &Settled) -> Result<(), Difference> {
        let Retired { header, carried, certificate } = head;
        let height = self.height.next();
        let differs = |component, field: &str, expected: String, found: String| Difference {
            height: height.0,
            component,
            row: 0,
            field: field.into(),
            expected,
            found,
        };
        let validators = self.verifier.validators();
        let context = BlockContext {
            chain: &self.setup.chain,
            height,
            parent: self.parent,
            parent_time_ms: self.parent_time_ms,
            // The state two heights before: the first place where a validator certified a root.
            root_chain: self.root_chains[1],
            validators: BlockValidators::unchanging(validators),
            issuers: &[],
            has_pledged: self.setup.genesis.has_pledged(),
        };
        let block = header.hash();
        check_head(header, carried.as_ref(), &context)
            .map_err(|error| refused_head(header, carried.as_ref(), &context, &error))?;
        check_certificate_form(certificate, validators, height, &block)
            .map_err(|error| refused_certificate(height.0, certificate, &error))?;
        let chained = chained(&block, settled, &self.root_chains[0]);
        // Whoever changes anything of a height changes every root chain behind it, and a quorum has signed those in the
        // headers.
        if chained != settled.root_chain {
            return Err(differs("Settled", "root_chain", hex(&chained), hex(&settled.root_chain)));
        }
        // Without the intents only the number of verdicts can be compared.
        if !header.fits_verdicts(settled.verdicts.len()) {
            let (intents, verdicts) = (header.intent_count.to_string(), settled.verdicts.len().to_string());
            return Err(differs("Settled", "verdicts", intents, verdicts));
        }
        (self.height, self.parent, self.parent_time_ms) = (height, block, header.time_ms);
        self.root_chains = [chained, self.root_chains[0]];
        self.root = settled.root;
        Ok(())
    }

    /// Whether a snapshot is the state that the record has here.
    fn check_note(&self, note: &ChainNote) -> Result<(), Difference> {
        let fields = [
            ("height", note.height.0.to_string(), self.height.0.to_string()),
            ("block", hex(&note.block), hex(&self.parent)),
            ("time_ms", note.time_ms.to_string(), self.parent_time_ms.to_string()),
            ("root", hex(&note.root), hex(&self.root)),
            ("root_chain", hex(&note.root_chains[0]), hex(&self.root_chains[0])),
            ("root_chain before", hex(&note.root_chains[1]), hex(&self.root_chains[1])),
        ];
        match fields.into_iter().find(|(_, found, recorded)| found != recorded) {
            None => Ok(()),
            Some((field, found, expected)) => {
                let (height, field) = (self.height.0, field.into());
                Err(Difference { height, component: "Snapshot", row: 0, field, expected, found })
            }
        }
    }
}

/// Checks the heads of all heights up to that of a snapshot, and that the snapshot is the state that they have there.
///
/// # Errors
/// If the journal is damaged, or does not reach that height from the first. What differs is in the result.
pub fn check_heads(dir: &Path, setup: &Setup, verifier: &Verifier, note: &ChainNote) -> anyhow::Result<HeadsChecked> {
    let mut journal = JournalReader::open(dir)?;
    let parent_time_ms = setup.genesis.start_ms;
    let (height, parent, root, root_chains) = (Height::GENESIS, [0; 32], [0; 32], [[0; 32]; 2]);
    let mut chain = HeadChain { setup, verifier, height, parent, parent_time_ms, root_chains, root };
    let mut checked = HeadsChecked::default();
    let (mut waiting, mut batch) = (std::collections::VecDeque::new(), Vec::new());
    while chain.height < note.height {
        let Some(frame) = journal.next_frame()? else {
            let text =
                format!("the journal ends at height {}, before its snapshot of height {}", chain.height, note.height);
            return Err(Failure::Data(text).into());
        };
        let settled = match Recorded::of(&frame)? {
            Recorded::Retired(head) => {
                waiting.push_back(head);
                None
            }
            Recorded::Decided(decided) => {
                waiting.push_back(Retired::of(decided));
                None
            }
            Recorded::Settled(settled) => Some(settled),
            Recorded::Base(note) if chain.height == Height::GENESIS => {
                chain.begin(&note);
                None
            }
            Recorded::Base(note) => {
                let text =
                    format!("a journal begins at a snapshot with its first frame; this one says so at {}", note.height);
                return Err(Failure::Data(text).into());
            }
            Recorded::Evidence => None,
        };
        check_waiting(waiting.len())?;
        let Some(settled) = settled else { continue };
        let head = waiting.pop_front().filter(|head: &Retired| head.header.height == settled.height);
        let head =
            head.ok_or_else(|| Failure::Data(format!("height {} is settled but not decided", settled.height)))?;
        if let Err(difference) = chain.take(&head, &settled) {
            checked.difference = Some(difference);
            break;
        }
        checked.last = chain.height;
        batch.push((head, settled));
        if batch.len() == HEADS_TOGETHER {
            verify(verifier, &mut batch, &mut checked);
            // A forged signature lies before whatever was looked at since.
            if checked.difference.is_some() {
                return Ok(checked);
            }
        }
    }
    // What waits in the batch lies below the difference, so what is forged there comes first.
    let difference = checked.difference.take();
    verify(verifier, &mut batch, &mut checked);
    checked.difference = checked.difference.or(difference);
    if checked.difference.is_none() {
        checked.difference = chain.check_note(note).err();
    }
    Ok(checked)
}

/// Checks that a snapshot is the state that the record has at its height, and that what the record says there belongs
/// together. Says whether the record has the height itself: a journal that begins at a snapshot has no more of it than a note,
/// and the heights that follow prove it, whose headers name its block and its root chain.
///
/// # Errors
/// If the journal is damaged, has not that height, or has something else there.
pub fn check_snapshot(dir: &Path, note: &ChainNote, verifier: Option<&Verifier>) -> anyhow::Result<bool> {
    if let Some(base) = base_at(dir, note.height)? {
        let same = (base.block, base.time_ms, base.root, base.root_chains)
            == (note.block, note.time_ms, note.root, note.root_chains);
        // Nothing else is left of this height: the headers of the next two prove what the note says.
        anyhow::ensure!(same, "the journal begins at another snapshot of height {}", note.height);
        return Ok(false);
    }
    let head = head_at(dir, note.height)?;
    let (Retired { header, .. }, settled) = &head;
    let chained = chained(&note.block, settled, &note.root_chains[1]);
    let fields = [
        ("block", note.block == header.hash()),
        ("time", note.time_ms == header.time_ms),
        ("root", note.root == settled.root),
        ("root chain", note.root_chains[0] == settled.root_chain && settled.root_chain == chained),
    ];
    if let Some((field, _)) = fields.into_iter().find(|(_, holds)| !holds) {
        anyhow::bail!("the journal has another {field} at height {}", note.height);
    }
    if let Some(forged) = verifier.and_then(|verifier| verifier.heads(&[head]).forged) {
        anyhow::bail!("{forged}");
    }
    Ok(true)
}

/// What a journal that begins at the snapshot of a height says of it; nothing if it begins elsewhere.
fn base_at(dir: &Path, height: Height) -> anyhow::Result<Option<ChainNote>> {
    let mut journal = JournalReader::open_at(dir, height)?;
    while let Some(frame) = journal.next_frame()?.filter(|frame| frame.height <= height) {
        if let Recorded::Base(note) = Recorded::of(&frame)?
            && note.height == height
        {
            return Ok(Some(note));
        }
    }
    Ok(None)
}

/// The head of a height, and what it led to.
fn head_at(dir: &Path, height: Height) -> anyhow::Result<(Retired, Settled)> {
    let mut journal = JournalReader::open_at(dir, height)?;
    let mut found = None;
    while let Some(frame) = journal.next_frame()? {
        if frame.height != height {
            continue;
        }
        match (Recorded::of(&frame)?, found.take()) {
            (Recorded::Settled(settled), Some(head)) => return Ok((head, settled)),
            // What the block led to is there, and the block is not: reading began between the two, or it is gone.
            (Recorded::Settled(_), None) => break,
            (Recorded::Decided(decided), _) => found = Some(Retired::of(decided)),
            (Recorded::Retired(head), _) => found = Some(head),
            (Recorded::Base(_) | Recorded::Evidence, before) => found = before,
        }
    }
    anyhow::bail!("the journal has no height {height}")
}

fn verify(verifier: &Verifier, batch: &mut Vec<(Retired, Settled)>, checked: &mut HeadsChecked) {
    let verified = verifier.heads(batch);
    checked.signatures += verified.signatures;
    checked.beacons += verified.beacons;
    checked.difference = verified.forged;
    batch.clear();
}
