//! Contradictions: what validators signed of which only one may be, as a session's node recorded it, for whoever judges them.

use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use aside::NewFile;
use engine::genesis::GenesisValidator;
use engine::message::evidence::Evidence;
use engine::{Hash, Height, hex};
use order::signature::SignedItem;
use serde::Serialize;
use storage::{FrameKind, JournalReader};
use words::Failure;

/// Two signed statements of which only one may be. A line of JSON.
#[derive(Serialize)]
struct Row<'a> {
    /// The last decided height when it was recorded.
    recorded_after: u64,
    /// The height that the statements speak of.
    height: u64,
    kind: &'static str,
    /// In which round; shares have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    round: Option<u32>,
    /// Whose they are.
    slot: u32,
    validator: &'a str,
    /// The key under which both verify.
    vote_key: String,
    /// The statements as they were signed, in hex.
    one: String,
    other: String,
}

/// Writes the contradictions that were recorded up to a height, a line for each, and returns how many there are. Each signature
/// is verified: what a session holds proves nothing by itself.
///
/// # Errors
/// If the journal is damaged, something that is no proof stands in it, or the file cannot be written.
pub fn write(dir: &Path, to: Height, file: NewFile, path: &Path) -> anyhow::Result<u64> {
    let (genesis, chain) = storage::read_genesis(dir)?;
    let mut journal = JournalReader::open(dir)?;
    let mut writer = BufWriter::new(file.file());
    let mut count = 0;
    while let Some(frame) = journal.next_frame()? {
        // What counts is when it was recorded, and not the height that it speaks of: an export to a height stays the
        // same later.
        if frame.kind != FrameKind::Evidence || frame.height > to {
            continue;
        }
        let no_proof =
            |why: String| Failure::Data(format!("evidence that was recorded after height {}: {why}", frame.height));
        let evidence = Evidence::decode(&frame.body).map_err(|error| no_proof(error.to_string()))?;
        let slot = evidence.slot();
        let validator =
            genesis.validators.get(slot as usize).ok_or_else(|| no_proof(format!("there is no validator {slot}")))?;
        if !holds(&evidence, &validator.vote_key.0, &chain) {
            return Err(no_proof(format!("validator {slot} did not sign both statements")).into());
        }
        let mut line = serde_json::to_vec(&row(&evidence, frame.height, validator))?;
        line.push(b'\n');
        writer.write_all(&line).with_context(|| path.display().to_string())?;
        count += 1;
    }
    writer.flush().with_context(|| path.display().to_string())?;
    drop(writer);
    file.publish().with_context(|| path.display().to_string())?;
    Ok(count)
}

/// Whether a key signed both statements.
fn holds(evidence: &Evidence, key: &[u8; 32], chain: &Hash) -> bool {
    match evidence {
        Evidence::Votes(one, other) => [one, other].iter().all(|vote| SignedItem::vote(vote, key, chain).verify()),
        Evidence::Proposals(one, other) => {
            [one, other].iter().all(|proposal| SignedItem::proposal(proposal, key, chain).verify())
        }
        Evidence::Shares(one, other) => [one, other].iter().all(|share| SignedItem::share(share, key, chain).verify()),
    }
}

fn row<'a>(evidence: &Evidence, recorded_after: Height, validator: &'a GenesisValidator) -> Row<'a> {
    let (kind, round) = match evidence {
        Evidence::Votes(one, _) => ("votes", Some(one.body.round)),
        Evidence::Proposals(one, _) => ("proposals", Some(one.body.round)),
        Evidence::Shares(..) => ("shares", None),
    };
    let [one, other] = match evidence {
        Evidence::Votes(one, other) => [one, other].map(|vote| hex(bytemuck::bytes_of(vote))),
        Evidence::Proposals(one, other) => [one, other].map(|proposal| hex(bytemuck::bytes_of(proposal))),
        Evidence::Shares(one, other) => [one, other].map(|share| hex(bytemuck::bytes_of(share))),
    };
    Row {
        recorded_after: recorded_after.0,
        height: evidence.height().0,
        kind,
        round,
        slot: evidence.slot(),
        validator: &validator.name,
        vote_key: hex(&validator.vote_key.0),
        one,
        other,
    }
}
