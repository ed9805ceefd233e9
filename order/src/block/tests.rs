use std::num::NonZeroU32;

use bytemuck::Zeroable;
use engine::message::certificate::CertificateSignature;
use engine::message::intent::IntentBody;
use engine::message::pledge::PledgeRow;
use engine::message::vote::{VoteBody, VoteKind};

use super::*;
use crate::keys::{DevKeys, dev_keys};
use crate::signature::IssuerKey;

const CHAIN: Hash = [3; 32];
const PARENT: Hash = [5; 32];
const TIME_MS: u64 = 1_000_000;

type HeaderChange = fn(&mut Header);

struct World {
    keys: DevKeys,
    validators: Validators,
    /// Another set, so that one hash does not pass for the other.
    next_validators: Validators,
    issuers: Vec<PublicKey>,
}

fn world() -> World {
    let keys = dev_keys(&[1; 32], NonZeroU32::new(4).expect("not zero"));
    let set = |count| Validators::new(keys.votes.iter().take(count).map(|key| key.public()).collect());
    let (validators, next_validators) = (set(4).expect("four keys"), set(3).expect("three keys"));
    World { keys, validators, next_validators, issuers: vec![IssuerKey::from_seed(&[1; 32]).public()] }
}

/// Checks a block in full but for the proposer's turn, every signature in one batch. The first thing that is wrong.
fn check_block(block: &Block, context: &BlockContext<'_>, secret: &BatchSecret) -> Result<(), BlockError> {
    check_block_form(block, context)?;
    let mut items = Vec::with_capacity(block.intents.len() + context.validators.parent.count());
    let carried = carried_items(block, context.validators.parent, context.chain, &mut items);
    pledge_items(block, context.chain, &mut items);
    let before_intents = items.len();
    intent_items(block, context.issuers, context.chain, &mut items)?;
    // A verdict is found by its place: the carried certificate's first, then one for each pledge and each intent.
    assert_eq!(before_intents, carried + block.pledges.len(), "every pledge has one signer");
    assert_eq!(items.len(), before_intents + block.intents.len(), "every intent has one signer");
    let mut verdicts = vec![false; items.len()];
    verify_batch(&items, secret, &mut verdicts);
    match verdicts.iter().position(|holds| !holds) {
        None => Ok(()),
        Some(place) if place < carried => Err(CertificateError::Signature { height: context.height.back(1) }.into()),
        Some(place) if place < before_intents => Err(BlockError::PledgeSignature { index: place - carried }),
        Some(place) => Err(BlockError::Signature { index: place - before_intents }),
    }
}

impl World {
    fn context(&self, height: u64) -> BlockContext<'_> {
        BlockContext {
            chain: &CHAIN,
            height: Height(height),
            parent: PARENT,
            parent_time_ms: TIME_MS - 1,
            root_chain: [6; 32],
            validators: BlockValidators {
                own: &self.validators,
                next: &self.next_validators,
                parent: &self.validators,
            },
            issuers: &self.issuers,
            has_pledged: false,
        }
    }

    fn certificate(&self, height: u64) -> Certificate {
        let sign = |slot: u32| {
            let body = VoteBody::new(VoteKind::Precommit, Height(height), 0, Some(PARENT), slot);
            CertificateSignature { slot, signature: self.keys.votes[slot as usize].sign_vote(body, &CHAIN).signature }
        };
        Certificate { height: Height(height), round: 0, block: PARENT, signatures: (1..4).map(sign).collect() }
    }

    fn intent(&self, player: u32, number: u64) -> Intent {
        let key = self.keys.player(player);
        key.sign(IntentBody::new(IntentKind::Open, key.public(), number, 1_030), &CHAIN)
    }

    fn voucher(&self, issuer: &IssuerKey) -> Intent {
        let mut body = IntentBody::new(IntentKind::OpenVoucher, self.keys.player(9).public(), 1, 1_030);
        body.target = 0;
        issuer.sign(body, &CHAIN)
    }

    /// A valid block of height 8 with three intents.
    fn block(&self) -> Block {
        let mut builder = BlockBuilder::new(self.context(8), 2, TIME_MS, Some(self.certificate(7)));
        for intent in [self.intent(0, 1), self.intent(1, 1), self.intent(0, 2)] {
            builder.push(&intent).expect("valid");
        }
        builder.push(&self.voucher(&IssuerKey::from_seed(&[1; 32]))).expect("valid");
        builder.finish()
    }

    fn check(&self, block: &Block) -> Result<(), BlockError> {
        check_block(block, &self.context(8), &BatchSecret::known([9; 32]))
    }
}

/// The block with its intents changed, and a header that fits them.
fn with_intents(block: &Block, change: impl FnOnce(&mut Vec<Intent>)) -> Block {
    let mut block = block.clone();
    change(&mut block.intents);
    block.header.intents = intents_root(&block.intents);
    block.header.intent_count = block.intents.len() as u32;
    block
}

#[test]
fn a_built_block_is_valid() {
    let world = world();
    let block = world.block();
    assert_eq!(world.check(&block), Ok(()));
    assert_eq!(
        Block::decode(&{
            let mut bytes = Vec::new();
            block.encode(&mut bytes);
            bytes
        }),
        Ok(block.clone())
    );
    let parent_ms = TIME_MS - 20;
    assert_eq!(check_clock(&block.header, parent_ms, TIME_MS + 500), Ok(()));
    let error = BlockError::Clock { clock: TIME_MS + 501, found: TIME_MS };
    assert_eq!(check_clock(&block.header, parent_ms, TIME_MS + 501), Err(error));
    assert_eq!(check_clock(&block.header, TIME_MS - 1, TIME_MS + 5_000), Ok(()), "the least time that may follow");
    let first = BlockBuilder::new(world.context(1), 0, 0, None).finish();
    assert_eq!(check_block(&first, &world.context(1), &BatchSecret::known([9; 32])), Ok(()));
    assert_eq!(first.header.time_ms, TIME_MS, "above its parent's, whatever the clock says");
}

#[test]
fn every_field_of_the_header_is_checked() {
    let world = world();
    let block = world.block();
    let changes: [(&str, HeaderChange); 13] = [
        ("version", |h| h.version = 1),
        ("reserved bytes", |h| h.reserved[63] = 1),
        ("chain", |h| h.chain[0] ^= 1),
        ("height", |h| h.height = Height(9)),
        ("parent", |h| h.parent[0] ^= 1),
        ("validators", |h| h.validators[0] ^= 1),
        ("next validators", |h| h.next_validators = h.validators),
        ("system section", |h| h.system[0] ^= 1),
        ("pledges", |h| h.pledges[0] ^= 1),
        ("root chain", |h| h.root_chain[0] ^= 1),
        ("intent count", |h| h.intent_count += 1),
        ("intents root", |h| h.intents[0] ^= 1),
        ("certificate", |h| h.certificate[0] ^= 1),
    ];
    for (field, change) in changes {
        let mut changed = block.clone();
        change(&mut changed.header);
        assert_eq!(world.check(&changed), Err(BlockError::Header { field }));
    }
    let context = world.context(1);
    let changed = |change: fn(&mut Header)| {
        let mut header = block.header;
        change(&mut header);
        check_turn(&header, context.validators.own)
    };
    assert_eq!(changed(|_| ()), Ok(()));
    let turn = Err(BlockError::Header { field: "proposer" });
    assert_eq!([changed(|h| h.round += 1), changed(|h| h.proposer += 1)], [turn.clone(), turn]);
    let mut late = block.clone();
    late.header.time_ms = TIME_MS - 1;
    assert_eq!(world.check(&late), Err(BlockError::Time { parent: TIME_MS - 1, found: TIME_MS - 1 }));
    for found in [TIME_MS_MAX + 1, u64::MAX] {
        let mut after = block.clone();
        after.header.time_ms = found;
        assert_eq!(world.check(&after), Err(BlockError::TooLate { found }), "no sum with a time overflows");
    }
}

#[test]
fn a_block_is_built_only_at_a_time_that_a_block_can_have() {
    let world = world();
    for clock_ms in [0, TIME_MS - 1, TIME_MS, TIME_MS + 9, TIME_MS_MAX] {
        let time_ms = BlockBuilder::time_ms(TIME_MS - 1, clock_ms).expect("the chain has not ended");
        assert_eq!(time_ms, clock_ms.max(TIME_MS));
        let block = BlockBuilder::new(world.context(8), 2, clock_ms, Some(world.certificate(7))).finish();
        assert_eq!((block.header.time_ms, world.check(&block)), (time_ms, Ok(())));
    }
    let none = [(TIME_MS, TIME_MS_MAX + 1), (TIME_MS, u64::MAX), (TIME_MS_MAX, TIME_MS), (u64::MAX, 0)];
    for (parent_time_ms, clock_ms) in none {
        assert_eq!(BlockBuilder::time_ms(parent_time_ms, clock_ms), None);
    }
}

#[test]
fn sections_of_what_does_not_exist_yet_are_refused_though_their_hashes_hold() {
    let world = world();
    let mut block = world.block();
    block.pledges.push(PledgeRow { roll: 1, kind: 1, value: [1; 32], ..PledgeRow::zeroed() });
    block.header.pledges = pledges_root(&block.pledges);
    assert_eq!(world.check(&block), Err(BlockError::Pledges { found: 1 }));
    block.system.extend([vec![7; 9], vec![]]);
    block.header.system = system_hash(&block.system);
    assert_eq!(world.check(&block), Err(BlockError::System { found: 2 }));
    let mut bytes = Vec::new();
    block.encode(&mut bytes);
    assert_eq!(bytes.len(), block.encoded_len());
    assert_eq!(Block::decode(&bytes), Ok(block.clone()), "what is refused is read as it was written");
    block.system = vec![vec![0; 1]; 65];
    bytes.clear();
    block.encode(&mut bytes);
    let many = DecodeError::TooMany { what: "system messages", most: 64, found: 65 };
    let at = DecodeError::At { what: "block", offset: 636, problem: Box::new(many) };
    assert_eq!(Block::decode(&bytes), Err(at));
    assert_ne!(system_hash(&[vec![1, 2], vec![]]), system_hash(&[vec![1], vec![2]]), "lengths count");
}

/// A block of a chain with pledged tables: as many intents as fit, and the pledges before them.
#[test]
fn pledges_and_openings_are_checked_and_have_room_beside_as_many_intents_as_a_block_holds() {
    let world = world();
    let context = BlockContext { has_pledged: true, ..world.context(8) };
    let secret = BatchSecret::known([9; 32]);
    let key = world.keys.player(3);
    let signed = |row: PledgeRow| key.sign_pledge(row, &CHAIN);
    let pledge = signed(PledgeRow::pledge(key.public(), engine::TableId(0), 1, 1, [4; 32]));
    let opening = signed(PledgeRow::opening(key.public(), engine::TableId(0), 1, [5; 32], PARENT));
    let mut builder = BlockBuilder::new(context, 2, TIME_MS, Some(world.certificate(7)));
    assert!(builder.push_pledge(&opening) && builder.push_pledge(&pledge));
    builder.push(&world.intent(0, 1)).expect("valid");
    let block = builder.finish();
    assert_eq!(check_block(&block, &context, &secret), Ok(()));
    assert_eq!(check_block_head(&block, &context, &secret), Ok(()));
    let mut bytes = Vec::new();
    block.encode(&mut bytes);
    assert_eq!(Block::decode(&bytes), Ok(block.clone()));
    let with = |change: fn(&mut PledgeRow)| {
        let mut block = block.clone();
        change(&mut block.pledges[1]);
        block.header.pledges = pledges_root(&block.pledges);
        (check_block(&block, &context, &secret), check_block_head(&block, &context, &secret))
    };
    // Signatures are left to whoever verifies them in parts.
    let forged = (Err(BlockError::PledgeSignature { index: 1 }), Ok(()));
    for change in [
        (|row: &mut PledgeRow| row.value[0] ^= 1) as fn(&mut PledgeRow),
        |row| row.block[0] ^= 1,
        |row| row.roll += 1,
        |row| row.table += 1,
        |row| row.number += 1,
        |row| row.signature[0] ^= 1,
    ] {
        assert_eq!(with(change), forged);
    }
    let key = Err(BlockError::PledgeKey { index: 1 });
    assert_eq!(with(|row| row.key = [0; 32]), (key.clone(), key));

    // Openings first: what fills a block leaves them their room.
    let mut builder = BlockBuilder::new(context, 2, TIME_MS, Some(world.certificate(7)));
    assert!(builder.push_pledge(&opening));
    let mut row = world.intent(0, 1);
    for number in 0..7_900u32 {
        row.body.key[..4].copy_from_slice(&number.to_le_bytes());
        builder.push(&row).expect("there is room");
    }
    assert_eq!(builder.push(&world.intent(1, 1)), Err(PushError::Full));
    let block = builder.finish();
    assert_eq!((block.pledges.len(), block.intents.len()), (1, 7_900));
}

#[test]
fn the_carried_certificate_is_checked() {
    let world = world();
    let carrying = |certificate: Option<Certificate>| {
        let mut block = world.block();
        block.header.certificate = certificate.as_ref().map_or([0; 32], Certificate::hash);
        block.certificate = certificate;
        world.check(&block)
    };
    assert_eq!(carrying(None), Err(BlockError::CertificateMissing));
    let old = CertificateError::Height { expected: Height(7), found: Height(6) };
    assert_eq!(carrying(Some(world.certificate(6))), Err(old.into()));
    let mut forged = world.certificate(7);
    forged.signatures[2].signature[0] ^= 1;
    let error = CertificateError::Signature { height: Height(7) };
    assert_eq!(carrying(Some(forged)), Err(error.into()));
    let mut short = world.certificate(7);
    short.signatures.pop();
    assert_eq!(carrying(Some(short)), Err(CertificateError::Quorum { quorum: 3, found: 2 }.into()));
    let first = BlockBuilder::new(world.context(1), 0, TIME_MS, Some(world.certificate(0))).finish();
    assert_eq!(
        check_block(&first, &world.context(1), &BatchSecret::known([9; 32])),
        Err(BlockError::CertificateMissing)
    );
}

#[test]
fn every_wrong_intent_is_refused_for_its_reason() {
    let world = world();
    let block = world.block();
    let key = world.keys.player(0);
    let resigned = |change: fn(&mut IntentBody)| {
        let mut body = world.intent(0, 1).body;
        change(&mut body);
        world.check(&with_intents(&block, |intents| intents[0] = key.sign(body, &CHAIN)))
    };
    assert_eq!(resigned(|_| {}), Ok(()));
    let problem = DecodeError::Value { field: "amount", found: 1 };
    assert_eq!(resigned(|body| body.amount = 1), Err(BlockError::Form { index: 0, problem }));
    assert_eq!(resigned(|body| body.expiry_s = 999), Err(BlockError::Expired { index: 0 }));
    assert_eq!(resigned(|body| body.expiry_s = 1_000), Ok(()));
    assert_eq!(resigned(|body| body.expiry_s = 1_060), Ok(()));
    assert_eq!(resigned(|body| body.expiry_s = 1_061), Err(BlockError::ExpiresTooLate { index: 0 }));
    let again = with_intents(&block, |intents| intents[2] = intents[0]);
    assert_eq!(world.check(&again), Err(BlockError::Duplicate { index: 2 }));
    let weak = with_intents(&block, |intents| {
        intents[1].body.key = [0; 32];
        intents[1].signature = [0; 64];
    });
    assert_eq!(world.check(&weak), Err(BlockError::Key { index: 1 }));
    let forged = with_intents(&block, |intents| intents[1].signature[0] ^= 1);
    assert_eq!(world.check(&forged), Err(BlockError::Signature { index: 1 }));
    let issuer = with_intents(&block, |intents| intents[3].body.target = 1);
    assert_eq!(world.check(&issuer), Err(BlockError::Issuer { index: 3, issuer: 1, count: 1 }));
    let stranger = with_intents(&block, |intents| intents[3] = world.voucher(&IssuerKey::from_seed(&[2; 32])));
    assert_eq!(world.check(&stranger), Err(BlockError::Signature { index: 3 }));
    let many = with_intents(&block, |intents| intents.extend((10..74).map(|number| world.intent(1, number))));
    assert_eq!(world.check(&many), Err(BlockError::AccountIntents { index: 67 }));
    let large = with_intents(&block, |intents| intents.resize(8_200, Intent::zeroed()));
    let found = large.encoded_len();
    assert_eq!(world.check(&large), Err(BlockError::Size { most: 1 << 20, found }));
}

#[test]
fn the_builder_takes_what_is_valid_and_says_when_to_try_again() {
    let world = world();
    let mut builder = BlockBuilder::new(world.context(8), 2, TIME_MS, Some(world.certificate(7)));
    for number in 0..64 {
        assert_eq!(builder.push(&world.intent(0, number)), Ok(()));
    }
    assert_eq!(builder.push(&world.intent(0, 64)), Err(PushError::AccountFull));
    assert_eq!(builder.push(&world.intent(0, 3)), Err(PushError::Never(BlockError::Duplicate { index: 64 })));
    let mut late = world.intent(1, 1);
    late.body.expiry_s = 1_061;
    assert_eq!(builder.push(&late), Err(PushError::Later));
    late.body.expiry_s = 999;
    assert_eq!(builder.push(&late), Err(PushError::Never(BlockError::Expired { index: 64 })));
    let fill = |number: u32| {
        let mut intent = world.intent(1, 1);
        intent.body.key[..4].copy_from_slice(&number.to_le_bytes());
        intent
    };
    let taken = (0..9_000).take_while(|number| builder.push(&fill(*number)).is_ok()).count();
    assert_eq!(taken, 7_900 - 64);
    assert_eq!(builder.push(&fill(9_001)), Err(PushError::Full));
    assert!(builder.finish().encoded_len() <= BLOCK_BYTES_MAX);
}
