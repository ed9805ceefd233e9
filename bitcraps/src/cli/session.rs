use std::path::Path;

use audit::reading::{Origin, ReadOptions};
use audit::walker::{Identity, find_root_chain, identity, last_settled};
use bytesize::ByteSize;
use clap::Args;
use engine::limits::READER_MEMORY_MAX;
use engine::{Height, hex, unhex};
use net::settings::parse_size;
use serde_json::Value;

use super::args::RowsFormat;
use words::{Failure, thousands};

/// How somebody's session is read, and which one it must be.
#[derive(Args, Debug)]
pub struct SessionArgs {
    /// The chain that the session must be of; the chain id is the BLAKE3 of its genesis.
    #[arg(long, value_name = "HEX", value_parser = hash)]
    chain: Option<[u8; 32]>,
    /// The root chain that the session must lead to at its last height.
    #[arg(long, value_name = "HEX", value_parser = hash)]
    root_chain: Option<[u8; 32]>,
    /// Memory that the session's state may take.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(READER_MEMORY_MAX), value_parser = parse_size)]
    memory_max: ByteSize,
}

fn hash(text: &str) -> Result<[u8; 32], String> {
    unhex(text).ok_or_else(|| "write 64 hex digits".into())
}

impl SessionArgs {
    /// How the session is read.
    pub fn reading(&self, threads: usize, origin: Origin) -> ReadOptions {
        ReadOptions { threads, memory_max: self.memory_max.as_u64(), origin }
    }

    /// Says what the session is, before anything else is said of it, and refuses another chain than the expected one. Rows
    /// for programs are not mixed with it: there it goes to stderr.
    pub fn identify(&self, dir: &Path, output: impl Into<RowsFormat>) -> anyhow::Result<Identity> {
        let found = Self::describe(dir, output)?;
        match self.chain.map(|chain| hex(&chain)) {
            Some(expected) if expected != found.chain => {
                let text = format!("{} is of chain {}, not of {expected}", dir.display(), found.chain);
                Err(Failure::Mismatch(text).into())
            }
            _ => Ok(found),
        }
    }

    /// Says what a session is.
    pub fn describe(dir: &Path, output: impl Into<RowsFormat>) -> anyhow::Result<Identity> {
        let found = identity(dir)?;
        let lines = lines(dir, &found);
        match output.into() {
            RowsFormat::Table => say!("{lines}"),
            RowsFormat::Json => {}
            RowsFormat::Ndjson | RowsFormat::Csv => super::out::remark(format_args!("{lines}")),
        }
        Ok(found)
    }

    /// Refuses a session that does not lead to the expected root chain. `height` is the last one that is looked at; without
    /// it, the last settled one.
    pub fn check_root_chain(&self, dir: &Path, height: Option<Height>) -> anyhow::Result<()> {
        let Some(expected) = self.root_chain else { return Ok(()) };
        let Some((end, _)) = last_settled(dir)? else {
            return Err(Failure::Mismatch(format!(
                "{} has no settled height, and so no root chain to compare: give the session that --root-chain is of",
                dir.display()
            ))
            .into());
        };
        let last = height.unwrap_or(end).min(end);
        let (place, found) = find_root_chain(dir, &expected, last)?;
        if place == Some(last) && found == Some(expected) {
            return Ok(());
        }
        let (dir, last) = (dir.display(), thousands(last.0));
        let found = found.map_or_else(|| "unknown".to_owned(), |found| hex(&found));
        let text = match place {
            Some(place) => format!(
                "{dir} has the expected root chain at height {}, not at {last}, where it is {found}",
                thousands(place.0)
            ),
            None => format!(
                "{dir} ends at height {}, and the root chain after height {last} is {found}: the expected {} is at none of \
                 its heights. It was cut short, or it is another session",
                thousands(end.0),
                hex(&expected)
            ),
        };
        Err(Failure::Mismatch(text).into())
    }
}

/// What a session is, for people.
fn lines(dir: &Path, identity: &Identity) -> String {
    let Identity { chain, name, warning, .. } = identity;
    let keys = warning.map_or(String::new(), |warning| format!("\n  INSECURE KEYS {warning}"));
    format!("{}\n  chain         {chain}\n  name          {name}{keys}", dir.display())
}

/// Adds what a session is to an object for programs.
pub fn identified(mut value: Value, identity: &Identity) -> Value {
    value["chain"] = identity.chain.clone().into();
    value["name"] = identity.name.clone().into();
    value["keys"] = identity.keys.into();
    value["insecure_keys"] = identity.warning.is_some().into();
    value
}
