//! Snapshots that are taken while heights go on: each is the image of the moment it began, and a machine that loads it
//! goes on as one that never stopped.

use std::convert::Infallible;

use crate::common::{GRANT, Lot, Stage, genesis, key};
use bytemuck::Zeroable;
use engine::genesis::Idleness;
use engine::image::Saved;
use engine::io::Verdict;
use engine::limits::GROUP_BYTES;
use engine::message::block::{Block, Header};
use engine::message::intent::{Intent, IntentKind};
use engine::{BetId, Genesis, TableId};
use systems::Draw;

/// Players come and go with few chips, so that seats and accounts become free all the time.
fn world() -> Genesis {
    Genesis {
        grant: 60,
        idleness: Idleness { gap_max_ms: 5_000, grant_ms: 1_800, seat_ms: 400 },
        idle_ms: 1_500,
        account_idle_ms: 2_000,
        // Two chunks of tables, four phases.
        ..genesis(600, 4, 3_000)
    }
}

fn intents(stage: &mut Stage, lot: &mut Lot, players: u32) -> Vec<Intent> {
    let count = lot.below(80);
    (0..count)
        .map(|_| {
            let player = lot.below(players.into()) as u32;
            let table = TableId(lot.below(600) as u32);
            let own = TableId(player % 600);
            match lot.below(12) {
                0 | 1 => stage.intent(player, IntentKind::Open, |body| body),
                2 | 3 => stage.intent(player, IntentKind::Sit, |body| body.at(own).amount(60)),
                4 => stage.intent(player, IntentKind::Leave, |body| body.at(own)),
                5 => stage.intent(player, IntentKind::Roll, |body| body.at(own)),
                6 => stage.intent(player, IntentKind::Transfer, |body| body.at(table).amount(5)),
                7 => stage.intent(player, IntentKind::Sit, |body| body.at(table).amount(10)),
                _ => {
                    let (bet, amount) =
                        (BetId(lot.below(engine::limits::BETS as u64) as u8), [7, 60][lot.below(2) as usize]);
                    stage.intent(player, IntentKind::Bet, |body| body.at(own).on(bet, 6).amount(amount))
                }
            }
        })
        .collect()
}

fn block(stage: &Stage, time_ms: u64, intents: Vec<Intent>) -> Block {
    let header =
        Header { height: stage.height.next(), time_ms, intent_count: intents.len() as u32, ..Header::zeroed() };
    Block { header, certificate: None, system: Vec::new(), pledges: Vec::new(), intents }
}

#[test]
fn no_height_writes_a_group_that_was_not_marked_and_snapshots_hold() {
    let mut stage = Stage::new(world());
    // The first root hashes everything, written or not.
    stage.machine.root();
    let mut lot = Lot(11);
    let layout = stage.machine.layout().clone();
    let mut saved = vec![0; layout.bytes() as usize];
    let (mut expected, mut blocks) = (Vec::new(), Vec::new());
    let (mut snapshots, mut swept, mut applied) = (0, 0, 0);
    for _ in 0..1_200 {
        if !stage.machine.saver().is_running() {
            expected = stage.image();
            stage.machine.begin_saving();
        }
        let time_ms = stage.time_ms + 20 + lot.below(60);
        stage.time_ms = time_ms;
        let intents = intents(&mut stage, &mut lot, 1_000);
        let block = block(&stage, time_ms, intents);
        while stage.machine.save_before(&block) != Saved::All {
            assert!(stage.machine.saver().left() > 0, "the pool is far from full");
        }
        let verdicts = stage.settle_at(time_ms, block.intents, Draw::Beacon([lot.below(256) as u8; 48]));
        applied += verdicts.iter().filter(|verdict| **verdict == Verdict::Applied).count();
        let spoiled = stage.machine.saver().spoiled().map(|group| (group, layout.column_of(group)));
        assert_eq!(spoiled, None, "height {} wrote a group that was not marked", stage.height);
        swept += stage.machine.sweep_snapshot(lot.below(3) as usize);
        stage.machine.take_blocks(&mut blocks);
        for block in blocks.drain(..) {
            for (index, bytes) in block.groups() {
                saved[index as usize * GROUP_BYTES..][..GROUP_BYTES].copy_from_slice(bytes);
            }
            stage.machine.give_back_block(block);
        }
        if stage.machine.saver().left() == 0 {
            stage.machine.end_snapshot();
            snapshots += 1;
            assert!(saved == expected, "snapshot {snapshots} is the image of the moment it began");
        }
    }
    assert!(snapshots > 10 && swept > 100, "{snapshots} snapshots, {swept} groups swept");
    let reused = stage.machine.read(|rows| rows.accounts.iter().filter(|account| account.generation > 1).count());
    assert!(
        applied > 5_000 && reused > 5,
        "{applied} intents applied, {reused} accounts became free and were opened again"
    );
}

#[test]
fn a_machine_that_loads_a_snapshot_has_its_state_and_refuses_another() {
    use engine::message::certificate::Certificate;
    use engine::message::note::ChainNote;
    use systems::snapshot::LoadError;

    let mut stage = Stage::new(genesis(300, 4, 600));
    let opens = (0..40).map(|player| stage.intent(player, IntentKind::Open, |body| body)).collect();
    stage.settle(opens);
    let image = stage.image();
    let certificate = Certificate { height: stage.height, round: 0, block: [3; 32], signatures: Vec::new() };
    let note = ChainNote {
        height: stage.height,
        time_ms: stage.time_ms,
        receipts_from: stage.height,
        block: [3; 32],
        root: stage.machine.report().root,
        root_chains: [[4; 32], [5; 32]],
        validators: [[6; 32], [7; 32]],
        certificate,
    };
    let read = |index: usize, group: &mut [u8; GROUP_BYTES]| {
        group.copy_from_slice(&image[index * GROUP_BYTES..][..GROUP_BYTES]);
        Ok::<(), Infallible>(())
    };
    let mut loaded = Stage::new(genesis(300, 4, 600));
    assert!(
        loaded
            .machine
            .load(&ChainNote { root: [1; 32], ..note.clone() }, read)
            .is_err_and(|error| matches!(error, LoadError::Root))
    );
    assert_eq!(loaded.machine.load(&note, |_, _| Err("gone")).map_err(|error| error.to_string()), Err("gone".into()));
    loaded.machine.reset();
    assert_eq!(loaded.image(), Stage::new(genesis(300, 4, 600)).image(), "back at genesis");

    // Chaining values are compared before a group is read.
    let groups = image.chunks_exact(GROUP_BYTES).enumerate();
    let values: Vec<engine::Hash> = groups.map(|(index, group)| engine::image::group_value(index, group)).collect();
    assert_eq!(engine::image::root_of(&values), note.root);
    let mut wrong = values.clone();
    wrong[5][0] ^= 1;
    let unread = |_: usize, _: &mut [u8; GROUP_BYTES]| -> Result<(), Infallible> { panic!("no group is read") };
    let bytes = note.encode();
    let error = loaded.machine.load_stored(note.height, &bytes, &wrong, unread).expect_err("another root");
    assert!(matches!(error, LoadError::Values), "{error}");
    let error = loaded.machine.load_stored(note.height, &bytes, &values[1..], unread).expect_err("too few");
    assert!(matches!(error, LoadError::Groups { .. }), "{error}");

    loaded.machine.load_stored(note.height, &bytes, &values, read).expect("the snapshot");
    assert_eq!(loaded.machine.chain().note(), Some(note.clone()));
    assert_eq!(loaded.image(), image);
    assert_eq!(loaded.machine.account_of(&key(7)), stage.machine.account_of(&key(7)));
    (loaded.height, loaded.time_ms) = (stage.height, stage.time_ms);
    let next = stage.intent(3, IntentKind::Sit, |body| body.at(TableId(9)).amount(GRANT));
    assert_eq!(loaded.settle(vec![next]), stage.settle(vec![next]));
    assert_eq!(loaded.image(), stage.image());
    assert!(loaded.machine.begin_saving() < 8, "only what changed since the snapshot is in the next one");
}
