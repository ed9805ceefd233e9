//! Whose turn is lost stands in the rows: a machine that loads them counts on as one that never stopped.

use std::num::NonZeroU32;

use crate::common::{Stage, genesis};
use engine::Height;
use engine::genesis::Genesis;
use engine::limits::SKIP_HEIGHTS;
use order::keys::dev_keys;
use systems::settle::block::BlockPart;

/// Seven validators, of whom two may fail.
fn world() -> Genesis {
    let mut genesis = genesis(1, 4, 10);
    dev_keys(&[1; 32], NonZeroU32::new(7).expect("not zero")).install(&mut genesis);
    genesis
}

trait Turning {
    fn decided_in(&mut self, round: u32);

    fn skipped(&mut self) -> Vec<(usize, Height)>;
}

impl Turning for Stage {
    /// Settles a height whose block was first proposed in this round.
    fn decided_in(&mut self, round: u32) {
        self.machine.of_block(BlockPart { round, ..BlockPart::default() });
        self.settle(Vec::new());
    }

    /// Who loses turns, and before which height.
    fn skipped(&mut self) -> Vec<(usize, Height)> {
        self.machine.read(|rows| {
            let rows = rows.validators.iter().enumerate().map(|(slot, row)| (slot, row.skipped_until));
            rows.filter(|(_, until)| *until > Height::GENESIS).collect()
        })
    }
}

#[test]
fn whose_rounds_fail_loses_turns_for_a_while_and_the_rows_say_so() {
    let mut stage = Stage::new(world());
    let mut loaded = Stage::new(world());
    stage.decided_in(0);
    assert_eq!(stage.skipped(), [], "whoever was heard in the first round keeps its turn");
    let proposer = stage.machine.validators_at(Height(2)).proposer(Height(2), 0);
    stage.decided_in(1);
    let until = Height(2 + 2 + SKIP_HEIGHTS);
    assert_eq!(stage.skipped(), [(proposer as usize, until)]);

    loaded.machine.import(&stage.image()).expect("its own image");
    (loaded.height, loaded.time_ms) = (stage.height, stage.time_ms);
    for round in [0, 1, 0, 2] {
        for stage in [&mut stage, &mut loaded] {
            stage.decided_in(round);
        }
        let next = stage.height.next();
        let turns = |stage: &Stage| {
            let validators = stage.machine.validators_at(next);
            (0..7).map(|round| validators.proposer(next, round)).collect::<Vec<_>>()
        };
        assert_eq!(turns(&loaded), turns(&stage));
        assert_eq!(loaded.skipped(), stage.skipped());
        assert_eq!(loaded.machine.report().root, stage.machine.report().root, "after round {round}");
    }
    assert!(stage.skipped().len() > 1);
    // The row that loses its turns is written, and hashed again.
    loaded.machine.import(&stage.image()).expect("its own image");
    assert_eq!(loaded.machine.root(), stage.machine.report().root);
}
