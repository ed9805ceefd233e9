//! What agreeing costs: the tally of votes, and one step of the order of blocks in a set of 64.
//!
//! The tally's limit is a bare loop over the same rows: copied to their places, and counted. One step is one message that the
//! order of blocks hears, whose signature was verified in a batch with all others; what a batch takes for one is beside it.

use std::hint::black_box;
use std::time::Instant;

use benches::beside::{alone, beside, pooled, time};
use benches::tiny;
use criterion::{Criterion, Throughput};
use engine::message::vote::{NO_ROUND, ProposalBody, Vote, VoteBody, VoteKind};
use engine::{Hash, Height};
use order::batch::BatchSecret;
use order::consensus::{Consensus, ConsensusConfig, Effect, Input, ProposedValue, Quorum, TimeoutConfig};
use order::signature::{SignedItem, VoteKey, verify_batch};
use order::validators::Validators;
use systems::exchange::tally::Tally;

const CHAIN: Hash = [3; 32];
/// Heights whose votes are counted in one run of the tally, and that one run of the order of blocks decides.
const HEIGHTS: u64 = 50;
/// Validators of the order of blocks.
const SET: u32 = 64;

fn main() {
    let heights = if tiny() { 2 } else { HEIGHTS };
    pooled(1, |criterion| {
        for validators in [4, 16, 64, 128] {
            tally(criterion, validators, heights);
        }
    });
    pooled(1, |criterion| steps(criterion, heights));
}

fn keys(count: u32) -> Vec<VoteKey> {
    (0..count).map(|slot| VoteKey::from_seed(blake3::hash(&slot.to_le_bytes()).as_bytes())).collect()
}

fn set(keys: &[VoteKey]) -> Validators {
    Validators::new(keys.iter().map(VoteKey::public).collect()).expect("good keys")
}

fn batch_secret() -> BatchSecret {
    BatchSecret::draw(getrandom::fill).expect("the system gives randomness")
}

fn block(height: u64) -> Hash {
    *blake3::hash(&height.to_le_bytes()).as_bytes()
}

/// Every vote of a height: all prevote and precommit its block.
fn votes(height: u64, count: u32) -> impl Iterator<Item = Vote> {
    [VoteKind::Prevote, VoteKind::Precommit].into_iter().flat_map(move |kind| {
        (0..count).map(move |slot| {
            let body = VoteBody::new(kind, Height(height), 0, Some(block(height)), slot);
            Vote { body, signature: [slot as u8; 64] }
        })
    })
}

fn tally(criterion: &mut Criterion, validators: u32, heights: u64) {
    let set = set(&keys(validators));
    let all: Vec<Vote> = (1..=heights).flat_map(|height| votes(height, validators)).collect();
    let mut group = criterion.benchmark_group("order/tally");
    group.throughput(Throughput::Elements(all.len() as u64));
    let ours = || {
        let mut tally = Tally::default();
        time(|| {
            for height in 1..=heights {
                let of_height = 2 * validators as usize;
                for vote in &all[(height as usize - 1) * of_height..height as usize * of_height] {
                    assert!(tally.wants(vote, Height(height - 1), &set));
                    black_box(tally.count(vote, &set, true));
                }
                assert!(tally.quorum(Height(height), VoteKind::Precommit, set.quorum()).is_some());
                tally.forget_below(Height(height));
            }
        })
    };
    // The rows of a height by kind and slot, and how many are for its block.
    let limit = || {
        let mut rows: Vec<Vote> = all[..2 * validators as usize].to_vec();
        time(|| {
            for votes in all.chunks(2 * validators as usize) {
                rows.copy_from_slice(votes);
                let for_block = rows.iter().filter(|vote| vote.body.block == votes[0].body.block && vote.body.nil == 0);
                assert_eq!(black_box(for_block.count()), votes.len());
            }
        })
    };
    let name = format!("validators={validators}");
    beside(&mut group, &name, ours, limit).print(&format!("order/tally/{name}"), "a bare loop over the same rows");
}

/// The order of blocks of one validator of many: each step timed.
fn steps(criterion: &mut Criterion, heights: u64) {
    let keys = keys(SET);
    let set = set(&keys);
    let signed: Vec<Vec<Vote>> = (1..=heights)
        .map(|height| {
            votes(height, SET).map(|vote| keys[vote.body.slot as usize].sign_vote(vote.body, &CHAIN)).collect()
        })
        .collect();
    let mut group = criterion.benchmark_group("order/step");
    group.throughput(Throughput::Elements(heights * 2 * u64::from(SET)));
    let mut took: Vec<f64> = Vec::new();
    let name = format!("validators={SET}");
    alone(&mut group, &name, || {
        let began = Instant::now();
        decide(&keys, &set, &signed, &mut took);
        began.elapsed()
    });
    let secret = batch_secret();
    let of = |vote: &'_ Vote| set.key(vote.body.slot).expect("a validator voted");
    let items: Vec<SignedItem<'_>> = signed[0].iter().map(|vote| SignedItem::vote(vote, of(vote), &CHAIN)).collect();
    let mut verdicts = vec![false; items.len()];
    let batch = time(|| verify_batch(&items, &secret, &mut verdicts)).as_secs_f64() / items.len() as f64;
    assert!(verdicts.into_iter().all(|holds| holds));
    if took.is_empty() {
        return;
    }
    took.sort_by(f64::total_cmp);
    let at = |percent: usize| took[(took.len() - 1) * percent / 100] * 1e6;
    println!(
        "order/step/{name}: P50 {:.1}, P95 {:.1}, P99 {:.1}, longest {:.1} us; a signature in a batch {:.1} us",
        at(50),
        at(95),
        at(99),
        at(100),
        batch * 1e6
    );
}

/// Decides some heights as validator 0 of the set; adds what each step took.
fn decide(keys: &[VoteKey], set: &Validators, signed: &[Vec<Vote>], took: &mut Vec<f64>) {
    let config = ConsensusConfig {
        chain: CHAIN,
        validators: set.clone(),
        own: Some((0, keys[0].clone())),
        quorum: Quorum::TwoThirds,
        timeouts: TimeoutConfig::default(),
        secret: batch_secret(),
    };
    let mut consensus = Consensus::new(config, Height(1)).expect("the own key");
    let mut effects = Vec::new();
    for (height, votes) in (1..).map(Height).zip(signed) {
        let (block, slot) = (block(height.0), set.proposer(height, 0));
        assert_ne!(slot, 0, "fewer heights than validators");
        let body = ProposalBody { block, height, round: 0, slot, polka_round: NO_ROUND, reserved: [0; 12] };
        let proposal = keys[slot as usize].sign_proposal(body, &CHAIN);
        let (round, polka_round, valid, caught_up, reserved) = (0, NO_ROUND, 1, 0, [0; 10]);
        let value = ProposedValue { block, height, round, polka_round, slot, valid, caught_up, reserved };
        let mut inputs = vec![
            Input::StartHeight(height, set.clone()),
            Input::Proposal { proposal, verified: true },
            Input::ProposedValue(value),
        ];
        let others = votes.iter().filter(|vote| vote.body.slot != 0);
        inputs.extend(others.map(|vote| Input::Vote { vote: *vote, verified: true }));
        for input in inputs {
            let began = Instant::now();
            consensus.step(input, &mut effects).expect("good inputs");
            took.push(began.elapsed().as_secs_f64());
        }
        let decided = effects.drain(..).any(|effect| matches!(effect, Effect::Decide(_)));
        assert!(decided, "height {height} has every vote");
    }
}
