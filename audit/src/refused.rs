//! Blocks and certificates that a chain cannot have: what it demands, and what the session has in its place.

use engine::hex;
use engine::message::block::{BLOCK_VERSION, Block, Header, intents_root, pledges_root, system_hash};
use engine::message::certificate::Certificate;
use order::block::{BlockContext, BlockError};
use order::certificate::CertificateError;
use order::validators::Validators;

use crate::difference::Difference;

/// A field of a header as its format names it, what it must be, and what it is.
type Field = (&'static str, String, String);

/// The difference that a block is which cannot follow. `turns` are the validators who propose at its height.
pub fn refused_block(block: &Block, context: &BlockContext<'_>, turns: &Validators, error: &BlockError) -> Difference {
    let header = &block.header;
    let named = match error {
        BlockError::Header { field } => section(field, block).or_else(|| turn(field, header, turns)),
        _ => None,
    };
    match named {
        Some(field) => difference(context, field),
        None => refused_head(header, block.certificate.as_ref(), context, error),
    }
}

/// Both values of the field for which a header without the body that it had was refused.
pub fn refused_head(
    header: &Header,
    carried: Option<&Certificate>,
    context: &BlockContext<'_>,
    error: &BlockError,
) -> Difference {
    let named = match error {
        BlockError::Header { field } => chained(field, header, carried, context),
        BlockError::Time { parent, found } => Some(("time_ms", format!("more than {parent}"), found.to_string())),
        _ => None,
    };
    difference(
        context,
        named.unwrap_or_else(|| {
            let found = format!("block {}: {error}", hex(&header.hash()));
            ("header", "one that can follow".into(), found)
        }),
    )
}

/// The difference that a certificate is which does not prove that its block was decided.
pub fn refused_certificate(height: u64, certificate: &Certificate, error: &CertificateError) -> Difference {
    let found = format!("certificate {}: {error}", hex(&certificate.hash()));
    let expected = "those of a quorum for the block".into();
    Difference { height, component: "Certificate", row: 0, field: "signatures".into(), expected, found }
}

fn difference(context: &BlockContext<'_>, (field, expected, found): Field) -> Difference {
    Difference { height: context.height.0, component: "Block", row: 0, field: field.into(), expected, found }
}

/// What a header says of the sections behind it, and what they are.
fn section(field: &str, block: &Block) -> Option<Field> {
    let header = &block.header;
    Some(match field {
        "system section" => ("system", hex(&system_hash(&block.system)), hex(&header.system)),
        "pledges" => ("pledges", hex(&pledges_root(&block.pledges)), hex(&header.pledges)),
        "intent count" => ("intent_count", block.intents.len().to_string(), header.intent_count.to_string()),
        "intents root" => ("intents", hex(&intents_root(&block.intents)), hex(&header.intents)),
        _ => return None,
    })
}

fn turn(field: &str, header: &Header, turns: &Validators) -> Option<Field> {
    let expected = turns.proposer(header.height, header.round);
    (field == "proposer").then(|| ("proposer", expected.to_string(), header.proposer.to_string()))
}

/// What a header must repeat of the chain before it.
fn chained(field: &str, header: &Header, carried: Option<&Certificate>, context: &BlockContext<'_>) -> Option<Field> {
    let carried = carried.map_or([0; 32], Certificate::hash);
    Some(match field {
        "version" => ("version", BLOCK_VERSION.to_string(), header.version.to_string()),
        "height" => ("height", context.height.to_string(), header.height.to_string()),
        "chain" => ("chain", hex(context.chain), hex(&header.chain)),
        "parent" => ("parent", hex(&context.parent), hex(&header.parent)),
        "validators" => ("validators", hex(&context.validators.own.hash()), hex(&header.validators)),
        "next validators" => ("next_validators", hex(&context.validators.next.hash()), hex(&header.next_validators)),
        "root chain" => ("root_chain", hex(&context.root_chain), hex(&header.root_chain)),
        "certificate" => ("certificate", hex(&carried), hex(&header.certificate)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use engine::Height;
    use order::block::{BlockValidators, check_block_form, check_turn};
    use systems::Setup;

    use super::*;
    use crate::recording::Recording;
    use crate::verify::Verifier;

    type Change = fn(&mut Header);

    #[test]
    fn both_values_of_a_field_of_the_header_are_told() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/session-2");
        let (genesis, chain) = storage::read_genesis(&dir).expect("a session");
        let verifier = Verifier::new(&Setup::new(genesis, chain).expect("sound")).expect("sound");
        let mut recording = Recording::open(&dir).expect("a session");
        let steps: Vec<_> = std::iter::from_fn(|| recording.read().expect("sound")).collect();
        let (before, block) = (&steps[3].decided.block, &steps[4].decided.block);
        let validators = verifier.validators();
        let context = BlockContext {
            chain: &chain,
            height: block.header.height,
            parent: before.header.hash(),
            parent_time_ms: before.header.time_ms,
            root_chain: block.header.root_chain,
            validators: BlockValidators::unchanging(validators),
            issuers: &[],
            has_pledged: false,
        };
        assert_eq!(check_block_form(block, &context), Ok(()));
        let changes: [(&str, Change); 13] = [
            ("version", |h| h.version = 1),
            ("chain", |h| h.chain[0] ^= 1),
            ("height", |h| h.height = Height(9)),
            ("parent", |h| h.parent[0] ^= 1),
            ("validators", |h| h.validators[0] ^= 1),
            ("next_validators", |h| h.next_validators[0] ^= 1),
            ("root_chain", |h| h.root_chain[0] ^= 1),
            ("certificate", |h| h.certificate[0] ^= 1),
            ("time_ms", |h| h.time_ms = 7),
            ("system", |h| h.system[0] ^= 1),
            ("pledges", |h| h.pledges[0] ^= 1),
            ("intent_count", |h| h.intent_count += 1),
            ("intents", |h| h.intents[0] ^= 1),
        ];
        for (field, change) in changes {
            let mut changed = block.clone();
            change(&mut changed.header);
            let error = check_block_form(&changed, &context).expect_err(field);
            let told = refused_block(&changed, &context, validators, &error);
            assert_eq!((told.height, told.component, told.field.as_str()), (5, "Block", field));
            let text = told.to_string();
            assert!(told.expected != told.found && !text.contains("demands"), "{text}");
        }
        let mut later = block.clone();
        later.header.height = Height(9);
        let error = check_block_form(&later, &context).expect_err("another height");
        let told = refused_block(&later, &context, validators, &error).to_string();
        assert_eq!(told, "height 5: Block row 0, height: expected 5, found 9");
        let mut others = block.clone();
        others.header.proposer += 1;
        let error = check_turn(&others.header, validators).expect_err("another's turn");
        let told = refused_block(&others, &context, validators, &error);
        assert_eq!((told.field.as_str(), told.expected.as_str(), told.found.as_str()), ("proposer", "0", "1"));
        let told = refused_block(block, &context, validators, &BlockError::System { found: 2 });
        assert_eq!((told.field.as_str(), told.expected.as_str()), ("header", "one that can follow"));
        assert!(told.found.ends_with(": the block has 2 system messages, and this chain has none"), "{told}");
    }
}
