use commonware_cryptography::bls12381::primitives::group::Scalar;
use rand_chacha::rand_core::Rng;

use super::*;

fn message(height: u64) -> BeaconMessage {
    BeaconMessage { chain: [3; 32], epoch: 1, height: Height(height), block: [7; 32] }
}

fn group(count: u32) -> (BeaconGroup, Vec<BeaconSigner>) {
    deal(NonZeroU32::new(count).expect("not zero"), [11; 32])
}

/// Published in docs/formats/order.md; changes only on purpose.
#[test]
fn the_known_answers_hold() {
    let (group, signers) = group(1);
    let mut collector = BeaconCollector::new(group.clone(), message(1));
    let beacon = collector.add_own(&signers[0]).expect("our share").expect("one of one");
    assert_eq!(
        engine::hex(&group.key()),
        "a44faae6e081ca0c409691a1481c949eaa5d5a5274df6e20d8a2b465f241bcfa795ad42405653459cbce3cb900decf67093da1ce1882d8186d7b47a08a06b1440bdc6906e407ea3cb3e431c43f5b4858f0b852a1b3be1f64436366c9c66765fd"
    );
    assert_eq!(
        engine::hex(&message(1).bytes()),
        "0303030303030303030303030303030303030303030303030303030303030303010000000000000001000000000000000707070707070707070707070707070707070707070707070707070707070707"
    );
    assert_eq!(
        engine::hex(&beacon),
        "8dc849fa308255f1372000ee166483accf0d2a7a80fc78efad47c9b798c104866de06fcdf707c0212c940675c62ba148"
    );
    let verifier = BeaconVerifier::new(&group.key()).expect("a key");
    assert!(verifier.verify(&message(1), &beacon));
    let others = [
        BeaconMessage { chain: [4; 32], ..message(1) },
        BeaconMessage { epoch: 2, ..message(1) },
        BeaconMessage { block: [8; 32], ..message(1) },
        message(2),
    ];
    assert!(others.iter().all(|other| !verifier.verify(other, &beacon)));
}

/// Any q shares, in any order, make the same beacon: nobody can choose among several.
#[test]
fn any_quorum_makes_the_one_beacon() {
    let (group, signers) = group(4);
    assert_eq!(group.threshold(), 3);
    let verifier = BeaconVerifier::new(&group.key()).expect("a key");
    let mut beacons = Vec::new();
    for slots in [[0, 1, 2], [3, 1, 0], [2, 3, 1], [3, 2, 0]] {
        let mut collector = BeaconCollector::new(group.clone(), message(5));
        let shares = slots.map(|slot: usize| signers[slot].share(&message(5)));
        assert_eq!(collector.add(&shares[0]), Ok(None));
        assert_eq!(collector.add(&shares[0]), Ok(None), "a second time is no second share");
        assert_eq!(collector.add_own(&signers[slots[1]]), Ok(None));
        beacons.extend(collector.add(&shares[2]).expect("good shares"));
    }
    assert_eq!(beacons.len(), 4);
    assert!(beacons.iter().all(|beacon| *beacon == beacons[0]));
    assert!(verifier.verify(&message(5), &beacons[0]));
}

#[test]
fn wrong_shares_are_named_and_dropped() {
    let (group, signers) = group(4);
    let mut collector = BeaconCollector::new(group.clone(), message(5));
    let stranger = BeaconShare { slot: 4, ..signers[0].share(&message(5)) };
    assert_eq!(collector.add(&stranger), Err(BeaconError::UnknownSlot { slot: 4, count: 4 }));
    let garbage = BeaconShare { slot: 1, signature: [0xff; 48] };
    assert_eq!(collector.add(&garbage), Err(BeaconError::Point { slot: 1 }));
    assert_eq!(collector.add(&signers[0].share(&message(5))), Ok(None));
    assert_eq!(collector.add(&signers[1].share(&message(6))), Ok(None), "of another height");
    assert_eq!(collector.add(&signers[2].share(&message(5))), Err(BeaconError::Share { slot: 1 }));
    let beacon = collector.add(&signers[3].share(&message(5))).expect("good").expect("three good ones");
    assert!(BeaconVerifier::new(&group.key()).expect("a key").verify(&message(5), &beacon));
}

/// Batched verdicts are those of each alone, over several chunks and at any thread count.
#[test]
fn batches_find_every_wrong_beacon() {
    let (group, signers) = group(1);
    let verifier = BeaconVerifier::new(&group.key()).expect("a key");
    let mut items: Vec<(BeaconMessage, Beacon)> =
        (0..300).map(|height| (message(height), signers[0].share(&message(height)).signature)).collect();
    assert_eq!(verifier.verify_batch(&items, &BatchSecret::known([1; 32])), []);
    assert_eq!(verifier.verify_batch(&[], &BatchSecret::known([1; 32])), []);
    // Another point, two that cancel each other in a plain sum, no point, the point at infinity.
    items[0].1 = items[1].1;
    (items[130].1, items[131].1) = (items[131].1, items[130].1);
    items[200].1 = [0xff; 48];
    items[299].1 = [0; 48];
    items[299].1[0] = 0xc0;
    let alone: Vec<usize> = (0..300).filter(|place| !verifier.verify(&items[*place].0, &items[*place].1)).collect();
    assert_eq!(alone, [0, 130, 131, 200, 299]);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        assert_eq!(pool.install(|| verifier.verify_batch(&items, &BatchSecret::known([threads as u8; 32]))), alone);
    }
}

#[test]
fn a_group_key_that_is_no_point_is_refused() {
    assert_eq!(BeaconVerifier::new(&[1; 96]).map(|_| ()), Err(BeaconError::GroupKey));
}

/// Two beacons, each wrong by a multiple of the same point, so that the errors cancel under the coefficients of `rng`.
fn forge(signer: &BeaconSigner, mut rng: ChaCha20Rng) -> Vec<(BeaconMessage, Beacon)> {
    let mut coefficient = || {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        // The library takes the highest byte first.
        bytes.reverse();
        let value = u128::from_le_bytes(bytes);
        Scalar::from_limbs([value as u64, (value >> 64) as u64, 0, 0])
    };
    let (first, second) = (coefficient(), coefficient());
    let honest = |height| G1::decode(signer.share(&message(height)).signature.to_vec()).expect("a point");
    let (plus, minus) = (honest(3) * &second, -(honest(3) * &first));
    vec![(message(1), to_beacon(&(honest(1) + &plus))), (message(2), to_beacon(&(honest(2) + &minus)))]
}

/// As for Ed25519: coefficients follow from a secret and from the batch, so knowing one of them helps nobody.
#[test]
fn false_beacons_that_cancel_under_known_coefficients_are_refused() {
    let (group, signers) = group(1);
    let verifier = BeaconVerifier::new(&group.key()).expect("a key");
    let known = BatchSecret::known([9; 32]);
    let bare = || ChaCha20Rng::from_seed([9; 32]);
    let forged = forge(&signers[0], bare());
    let points: Vec<(usize, [u8; 80], G1)> = forged
        .iter()
        .enumerate()
        .map(|(place, (message, beacon))| (place, message.bytes(), G1::decode(beacon.to_vec()).expect("a point")))
        .collect();
    let mut bad = Vec::new();
    verifier.bisect(&points, &mut bare(), &mut bad);
    assert_eq!(bad, [], "the forgery is one: a known stream is fooled by it");
    assert_eq!(verifier.verify_batch(&forged, &known), [0, 1]);
    let again = forge(&signers[0], verifier.coefficients(&forged, &known));
    assert_eq!(verifier.verify_batch(&again, &known), [0, 1]);
}

#[test]
fn a_share_and_its_group_are_kept_as_bytes_and_no_other_share_passes_for_it() {
    let (group, signers) = group(4);
    let four = NonZeroU32::new(4).expect("not zero");
    let read = BeaconGroup::of_bytes(&group.to_bytes(), four).expect("the same group");
    assert_eq!(read, group);
    for signer in &signers {
        let again = BeaconSigner::of_secret(&read, signer.slot(), &signer.secret()).expect("its share");
        assert_eq!(again.share(&message(1)), signer.share(&message(1)));
    }
    let of_another = BeaconSigner::of_secret(&group, 1, &signers[0].secret()).map(|_| ());
    assert_eq!(of_another, Err(BeaconError::Share { slot: 1 }));
    assert_eq!(
        BeaconSigner::of_secret(&group, 9, &signers[0].secret()).map(|_| ()),
        Err(BeaconError::Share { slot: 9 })
    );
    let seven = NonZeroU32::new(7).expect("not zero");
    assert_eq!(BeaconGroup::of_bytes(&group.to_bytes(), seven), Err(BeaconError::Group { validators: 7 }));
    let mut cut = group.to_bytes();
    cut.pop();
    assert_eq!(BeaconGroup::of_bytes(&cut, four), Err(BeaconError::Group { validators: 4 }));
}
