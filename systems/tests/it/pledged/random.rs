//! Random play at pledged tables: every state of it holds, loads, and is the same on two machines.

use super::*;

/// Players at all tables who do everything there is, at random, with many openings that are late, lost or wrong.
struct Random {
    stage: Stage,
    lot: Lot,
    /// By player: the chain, and the number of the last pledge.
    chains: BTreeMap<u32, (Chain, u64)>,
    secrets: u8,
}

impl Random {
    fn new(seed: u64) -> Self {
        let world = Genesis { idle_ms: 2_000, account_idle_ms: 4_000, ..world() };
        let mut stage = Stage::new(world);
        let opens = (0..8).map(|player| stage.intent(player, IntentKind::Open, |body| body)).collect();
        stage.settle(opens);
        Self { stage, lot: Lot(seed), chains: BTreeMap::new(), secrets: 0 }
    }

    fn pledges(&mut self) -> Vec<PledgeRow> {
        let mut rows = Vec::new();
        for player in 0..8u32 {
            let table = TableId(player % 4);
            let (row, roll) = self
                .stage
                .machine
                .read(|rows| (rows.pledges[table.index()], rows.tables[table.index()].roll_number + 1));
            let known = self.chains.get(&player).filter(|(chain, _)| (chain.first..chain.first + 20).contains(&roll));
            match (known, self.lot.below(8)) {
                (Some((chain, _)), 0..2) if row.is_frozen() => rows.push(chain.opening(roll, row.block)),
                (Some((chain, _)), 4) => rows.push(chain.opening(roll, [8; 32])),
                (Some((chain, _)), 5) if !row.is_frozen() => rows.push(chain.opening(roll, row.block)),
                (_, 6..8) if !row.is_frozen() => {
                    self.secrets = self.secrets.wrapping_add(1);
                    let number = self.chains.get(&player).map_or(1, |(_, number)| number + 1);
                    let chain = Chain::new(player, table, roll, self.secrets);
                    rows.push(chain.pledge(roll, number));
                    self.chains.insert(player, (chain, number));
                }
                _ => {}
            }
        }
        rows
    }

    fn height(&mut self) {
        self.height_of(|_, _| {});
    }

    /// A height; `before` hears of its block before it is settled.
    fn height_of(&mut self, before: impl FnOnce(&mut Machine, &Block)) {
        let pledges = self.pledges();
        let mut intents = Vec::new();
        for player in 0..8u32 {
            let table = TableId(player % 4);
            let kind = match self.lot.below(12) {
                0 | 1 => IntentKind::Sit,
                2 => IntentKind::Leave,
                3..6 => IntentKind::Roll,
                6..9 => IntentKind::Bet,
                9 => IntentKind::TakeDown,
                _ => continue,
            };
            let (bet, number) =
                (BetId(self.lot.below(engine::limits::BETS as u64) as u8), [0, 4, 6, 8][self.lot.below(4) as usize]);
            let amount = 10 + self.lot.below(50);
            intents.push(self.stage.intent(player, kind, |body| match kind {
                IntentKind::Sit => body.at(table).amount(amount),
                IntentKind::Bet => body.at(table).on(bet, number).amount(amount / 5),
                IntentKind::TakeDown => body.at(table).on(bet, number),
                _ => body.at(table),
            }));
        }
        let after_ms = [1, 40, 300, 1_500][self.lot.below(4) as usize];
        let (hash, time_ms) = (block_hash(self.stage.height.next().0), self.stage.time_ms + after_ms);
        let header = Header { height: self.stage.height.next(), time_ms, ..Header::zeroed() };
        let block = Block { header, certificate: None, system: Vec::new(), pledges, intents };
        before(&mut self.stage.machine, &block);
        let Block { pledges, intents, .. } = block;
        self.stage.machine.of_block(BlockPart { round: 0, hash, pledges });
        let beacon = std::array::from_fn(|_| self.lot.below(256) as u8);
        self.stage.settle_at(time_ms, intents, Draw::Beacon(beacon));
    }
}

/// A snapshot that is under way loses nothing of what pledges, openings and forfeits write.
#[test]
fn no_height_writes_a_group_that_was_not_marked() {
    let mut play = Random::new(9);
    play.stage.machine.root();
    let (mut blocks, mut snapshots) = (Vec::new(), 0);
    for _ in 0..1_500 {
        if !play.stage.machine.saver().is_running() {
            play.stage.machine.begin_saving();
        }
        play.height_of(|machine, block| {
            while machine.save_before(block) != Saved::All {
                assert!(machine.saver().left() > 0, "the pool is far from full");
            }
        });
        let machine = &mut play.stage.machine;
        let spoiled = machine.saver().spoiled().map(|group| machine.layout().column_of(group));
        assert_eq!(spoiled, None, "height {} wrote a group that was not marked", play.stage.height);
        machine.sweep_snapshot(1);
        machine.take_blocks(&mut blocks);
        blocks.drain(..).for_each(|block| machine.give_back_block(block));
        if machine.saver().left() == 0 {
            machine.end_snapshot();
            snapshots += 1;
        }
    }
    assert!(snapshots > 10, "{snapshots} snapshots");
}

/// In the middle of it every state is one that is taken from others, and goes on as where it came from.
#[test]
fn random_play_conserves_chips_and_every_state_of_it_loads() {
    let (mut rolls, mut forfeits, mut waited) = (0, 0, 0);
    for seed in 1..=6 {
        let mut play = Random::new(seed);
        let mut loaded =
            Machine::new(Setup::new(play.stage.machine.setup().genesis.as_ref().clone(), CHAIN).expect("a genesis"), 1);
        for _ in 0..500 {
            play.height();
            let counts = play.stage.machine.report().counts;
            (rolls, forfeits) = (rolls + counts.rolls, forfeits + counts.forfeits);
            let frozen = play.stage.machine.read(|rows| rows.pledges.iter().filter(|row| row.is_frozen()).count());
            waited += frozen;
            let house = play.stage.house();
            assert!(house.is_conserved());
            if play.lot.below(10) == 0 {
                let image = play.stage.image();
                loaded.import(&image).unwrap_or_else(|error| panic!("height {}: {error}", play.stage.height));
                assert_eq!(loaded.root(), play.stage.machine.root());
                assert_eq!(loaded.next_due_ms(), play.stage.machine.next_due_ms());
            }
        }
        assert!(play.stage.time_ms > START_MS);
    }
    assert!(rolls > 500 && forfeits > 20 && waited > 500, "{rolls} rolls, {forfeits} forfeits, {waited} waits");
}

#[test]
fn two_machines_of_one_record_agree_whatever_their_workers() {
    let roots = |workers| {
        let mut play = Random::new(7);
        play.stage = Stage::with_workers(play.stage.machine.setup().genesis.as_ref().clone(), workers);
        (0..300)
            .map(|_| {
                play.height();
                play.stage.machine.report().root
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(roots(1), roots(3));
}

/// Each field of the column, and what follows from it for the table, set to what no height leads to.
#[test]
fn a_pledge_that_no_height_leads_to_is_refused_by_column_row_and_field() {
    let (mut stage, _) = waiting();
    let image = stage.image();
    let latest_ms = stage.house().time_ms + engine::limits::OPENING_GAP_MS_MAX;
    let layout = stage.machine.layout().clone();
    let genesis = stage.machine.setup().genesis.as_ref().clone();
    let mut machine = Machine::new(Setup::new(genesis, CHAIN).expect("a genesis"), 1);
    machine.import(&image).expect("the state itself");
    let mut refused = |column: Column, row: usize, field: &str, byte: usize, value: &[u8]| {
        let at = layout.column_groups(column).start * engine::limits::GROUP_BYTES + row * column.row_bytes() + byte;
        let mut image = image.clone();
        image[at..at + value.len()].copy_from_slice(value);
        match machine.import(&image) {
            Err(LoadError::Row(error)) => {
                assert_eq!((error.column, error.row, error.field), (column, row, field), "{error}")
            }
            other => panic!("{column:?} row {row}, {field}: {other:?}"),
        }
    };
    refused(Column::Pledges, 0, "end", 0, &[0; 32]);
    refused(Column::Pledges, 0, "open_until_ms", 112, &u64::MAX.to_le_bytes());
    refused(Column::Pledges, 0, "open_until_ms", 112, &1u64.to_le_bytes());
    // A table of the beacon alone takes none, and one that does not wait has no block.
    refused(Column::Pledges, 1, "end", 0, &[1]);
    refused(Column::Pledges, 2, "block", 32, &[1]);
    refused(Column::Pledges, 2, "beacon", 64, &[1]);
    refused(Column::Tables, 0, "roll_called", 55, &[0]);
    // A roll that waits is looked at a second later at the latest, or its deadline would pass unseen.
    refused(Column::Tables, 0, "next_roll_ms", 24, &(latest_ms + 1).to_le_bytes());
    assert_eq!(std::mem::offset_of!(engine::component::Table, next_roll_ms), 24);
    refused(Column::House, 0, "opening_ms", 96, &u64::MAX.to_le_bytes());
    refused(Column::House, 0, "forfeited", 88, &u64::MAX.to_le_bytes());
}
