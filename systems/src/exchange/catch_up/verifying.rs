//! Verifies heights that others told of, many at a time, before any of them counts as decided here.

use engine::PeerId;
use engine::io::Offence;
use engine::limits::{READY_MAX, VERIFY_HEIGHTS, VERIFY_SIGNATURES};
use engine::message::block::Decided;
use engine::message::certificate::Beacon;
use engine::message::node::RangeEntry;
use order::batch::BatchSecret;
use order::beacon::BeaconMessage;
use order::block::{BlockContext, BlockValidators, carried_items, check_block_form, intent_items, pledge_items};
use order::certificate::{certificate_items, check_certificate_form};
use order::signature::{SignedItem, verify_batch};
use order::validators::Validators;

use super::{CatchUp, beacon_message};
use crate::exchange::beacon::BeaconPart;
use crate::exchange::chain::Chain;
use crate::exchange::planted::Planted;
use crate::exchange::tick::Inbox;
use crate::exchange::verify::{VerifySecret, issuers};
use crate::state::setup::Setup;

impl CatchUp {
    /// Verifies heights that follow each other: every certificate, pledge, intent and beacon, in batches.
    pub(super) fn verify<P: Planted>(
        &mut self,
        setup: &Setup,
        secret: &VerifySecret,
        validators: &Validators,
        chain: &Chain,
        part: &BeaconPart,
        inbox: &mut Inbox,
    ) {
        let (batch, mut liar) = self.next_batch(setup, validators, chain);
        let mut good = batch.len();
        if good > 0
            && let Some(bad) = first_forged::<P>(&batch, setup, validators, part, &secret.0)
        {
            liar = Some(batch[bad].0);
            good = bad;
        }
        for (_, entry) in batch.into_iter().take(good) {
            // What is popped is the first that follows the chain: one out of order would hold up all behind it.
            let height = entry.decided.block.header.height;
            let ascends = self.ready.back().is_none_or(|(last, _)| last.block.header.height < height);
            assert!(ascends, "heights are verified one after another");
            self.ready.push_back((*entry.decided, entry.beacon));
        }
        assert!(self.ready.len() <= READY_MAX, "what waits to be executed is bounded");
        if let Some(liar) = liar {
            inbox.offences.push((liar, Offence::FalseChain));
            // Whatever else it sent may be as false: that is asked for again, of others.
            let false_ones = self.came.extract_if(.., |_, (from, _)| *from == liar);
            self.bytes -= false_ones.map(|(_, (_, entry))| entry.encoded_len()).sum::<usize>();
        }
        self.check_bytes();
    }

    /// The next heights that came and whose blocks follow each other; and who sent the first that cannot be, if one cannot.
    fn next_batch(
        &mut self,
        setup: &Setup,
        validators: &Validators,
        chain: &Chain,
    ) -> (Vec<(PeerId, RangeEntry)>, Option<PeerId>) {
        let issuers = issuers(setup);
        let (mut batch, mut signatures) = (Vec::new(), 0);
        let last = self.ready.back().map(|(last, _)| &last.block.header).filter(|last| last.height > chain.decided);
        let mut parent = last.map_or((chain.decided, chain.parent, chain.parent_time_ms), |last| {
            (last.height, last.hash(), last.time_ms)
        });
        while batch.len() < VERIFY_HEIGHTS && self.ready.len() + batch.len() < READY_MAX {
            let height = parent.0.next();
            let Some((_, entry)) = self.came.get(&height) else { break };
            let signed = entry.decided.block.pledges.len() + entry.decided.block.intents.len();
            // The first is taken however large it is: one block above the bound would otherwise hold up all behind it.
            if !batch.is_empty() && signatures + signed > VERIFY_SIGNATURES {
                break;
            }
            let (from, entry) = self.came.remove(&height).expect("looked at above");
            assert!(self.bytes >= entry.encoded_len(), "what came was counted");
            self.bytes -= entry.encoded_len();
            let header = &entry.decided.block.header;
            assert_eq!(header.height, height, "what came is kept at its own height");
            let context = BlockContext {
                chain: &setup.chain,
                height,
                parent: parent.1,
                parent_time_ms: parent.2,
                // This node's own root is compared before the height counts as decided here.
                root_chain: header.root_chain,
                validators: BlockValidators::unchanging(validators),
                issuers: &issuers,
                has_pledged: setup.genesis.has_pledged(),
            };
            let hash = header.hash();
            let holds = check_block_form(&entry.decided.block, &context).is_ok()
                && check_certificate_form(&entry.decided.certificate, validators, height, &hash).is_ok();
            if !holds {
                // Those before it stand by themselves, whoever sent them.
                return (batch, Some(from));
            }
            parent = (height, hash, header.time_ms);
            signatures += signed + 2 * validators.count();
            batch.push((from, entry));
        }
        (batch, None)
    }
}

/// The first height of a batch of which a signature or the beacon does not verify.
fn first_forged<P: Planted>(
    batch: &[(PeerId, RangeEntry)],
    setup: &Setup,
    validators: &Validators,
    part: &BeaconPart,
    secret: &BatchSecret,
) -> Option<usize> {
    // Of all but the first, the carried certificate is not looked at: its block is certified right before it.
    let follows = |pair: &[(PeerId, RangeEntry)]| {
        let [one, next] = [&pair[0], &pair[1]].map(|(_, entry)| entry.decided.block.header.height);
        one.next() == next
    };
    assert!(!batch.is_empty(), "something came");
    assert!(batch.windows(2).all(follows), "the heights of a batch follow each other");
    let issuers = issuers(setup);
    let (mut items, mut owners): (Vec<SignedItem<'_>>, Vec<usize>) = (Vec::new(), Vec::new());
    for (place, (_, entry)) in batch.iter().enumerate() {
        let Decided { block, certificate } = &*entry.decided;
        // The certificate that a block carries is its parent's: in a batch that one's own is verified.
        if place == 0 && !P::CERTIFICATE_UNCHECKED {
            carried_items(block, validators, &setup.chain, &mut items);
        }
        if !P::CERTIFICATE_UNCHECKED {
            items.extend(certificate_items(certificate, validators, &setup.chain));
        }
        pledge_items(block, &setup.chain, &mut items);
        if intent_items(block, &issuers, &setup.chain, &mut items).is_err() {
            return Some(place);
        }
        owners.resize(items.len(), place);
    }
    assert_eq!(owners.len(), items.len(), "a signature that does not verify is somebody's");
    let mut verdicts = vec![false; items.len()];
    verify_batch(&items, secret, &mut verdicts);
    let forged = verdicts.iter().position(|holds| !holds).map(|item| owners[item]);
    let of_place = |(place, (_, entry)): (usize, &(PeerId, RangeEntry))| {
        let header = &entry.decided.block.header;
        Some((place, (beacon_message(&setup.chain, header.height, header.hash()), entry.beacon?)))
    };
    let (places, beacons): (Vec<usize>, Vec<(BeaconMessage, Beacon)>) =
        batch.iter().enumerate().filter_map(of_place).unzip();
    let bad = part.verifier.verify_batch(&beacons, secret).first().map(|bad| places[*bad]);
    [forged, bad].into_iter().flatten().min()
}
