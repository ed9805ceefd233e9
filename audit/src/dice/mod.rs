//! An audit of dice: who could have foreseen each roll of a session, and whether the dice look as if somebody had.
//!
//! ```text
//!  walk, height by height -> rolls, with the bets that lay -> faces: 36 pairs against 1/36 each            \
//!                                                          -> gains of all 36 rolls -> table, proposer      -> mean -> evidence
//! ```
//! Both tests are e-processes: they hold at whatever moment the record ends, or is looked at again (docs/audit-dice.md).

mod foresight;
mod faces;
mod worth;
mod house;
mod evidence;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use engine::io::{BetResult, OpeningEnd, OpeningReport, RollReport};
use engine::message::pledge::{PledgeRow, pledge_end};
use engine::{Chips, Dice, Hash, Height, TableId};
use order::dice::dice_of_both;
use systems::ledger::held;
use systems::{FeltBet, Setup};
use words::Failure;

use crate::bounds::{check_executable, check_reaches};
use crate::reading::ReadOptions;
use crate::walker::{Step, Walker};

pub use evidence::Evidence;
pub use faces::Faces;
pub use foresight::Foresight;
pub use house::HouseBettors;
pub use worth::{Gains, Worths, paid};

/// Evidence from which on a session is unusual: an honest one comes so far with a probability of at most one in so many.
pub const UNUSUAL: f64 = 1_000.0;

/// What is audited, and how it is read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DiceConfig {
    /// The last height; without it, the last settled one.
    pub to: Option<Height>,
    /// How the session is read.
    pub reading: ReadOptions,
}

/// The rolls of a table, or of the heights that a validator proposed.
#[derive(Clone, Copy, Default, Debug)]
pub struct Rolls {
    /// How many.
    pub rolls: u64,
    /// Chips that the house won by bets that were decided, less those that it lost.
    pub won: i64,
    /// Its result against the exact odds.
    pub house: HouseBettors,
}

/// A moment of a session, and the evidence up to there.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct EvidenceAt {
    /// The height up to which both tests have counted, with it.
    pub height: Height,
    /// The evidence of both tests.
    pub evidence: Evidence,
}

/// Late openings that are listed at most.
pub const LATE_MAX: usize = 1_000;

/// A roll that was opened when its bets were forfeited already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LateOpening {
    /// The height that has the opening.
    pub height: Height,
    /// The table, a pledged one: at others nobody opens a roll.
    pub table: TableId,
    /// Which of the table's rolls, from 1.
    pub roll: u32,
    /// The dice that it would have had.
    pub dice: Dice,
    /// Chips that were forfeited.
    pub forfeited: Chips,
    /// Chips that the roll would have paid to the rail at once; other bets would have stayed.
    pub paid: Chips,
}

/// What an audit found.
#[derive(Clone, Debug)]
pub struct DiceAudit {
    /// The first height that was executed: the rolls before are not in it.
    pub from: Height,
    /// The last height.
    pub height: Height,
    /// Heights executed.
    pub heights: u64,
    /// Rolls by who could have foreseen them, as [`Foresight::ALL`] lists them.
    pub foreseen: [u64; Foresight::ALL.len()],
    /// By table: who could have foreseen its rolls, and what they did.
    pub tables: Vec<(Foresight, Rolls)>,
    /// By validator: the rolls of the heights that it proposed.
    pub proposers: Vec<Rolls>,
    /// Rolls that nobody opened in time: their bets went to nobody, and no dice were drawn.
    pub forfeited: u64,
    /// Forfeited rolls that were opened too late, the first [`LATE_MAX`]: what would have been.
    pub late: Vec<LateOpening>,
    /// The faces of all rolls.
    pub faces: Faces,
    /// The evidence of both tests after the last height.
    pub evidence: Evidence,
    /// Where it was highest.
    pub highest: EvidenceAt,
    /// What follows the last frame, if it is no clean end.
    pub torn: Option<String>,
}

impl DiceAudit {
    fn new(setup: &Setup, from: Height) -> Self {
        let genesis = &setup.genesis;
        let foresight = |table| Foresight::of(genesis.keys, genesis.rules[genesis.rules_of(table)].dice);
        let tables = (0..genesis.tables).map(|table| (foresight(table), Rolls::default())).collect();
        Self {
            from,
            height: from.back(1),
            heights: 0,
            foreseen: [0; Foresight::ALL.len()],
            tables,
            proposers: vec![Rolls::default(); genesis.validators.len()],
            forfeited: 0,
            late: Vec::new(),
            faces: Faces::default(),
            evidence: Evidence::NONE,
            highest: EvidenceAt { height: from.back(1), evidence: Evidence::NONE },
            torn: None,
        }
    }

    /// Rolls that were audited.
    pub fn rolls(&self) -> u64 {
        self.foreseen.iter().sum()
    }

    /// The evidence of the house's result at the tables: their mean, those that never rolled included, since which ones would
    /// roll was not known before.
    pub fn by_table(&self) -> Evidence {
        let idle = self.tables.iter().filter(|(_, table)| table.rolls == 0).count();
        let busy = self.tables.iter().filter(|(_, table)| table.rolls > 0);
        Evidence::mean(busy.map(|(_, table)| table.house.evidence()), idle as u64)
    }

    /// The evidence of the house's result by proposer: the mean.
    pub fn by_proposer(&self) -> Evidence {
        Evidence::mean(self.proposers.iter().map(|proposer| proposer.house.evidence()), 0)
    }

    /// The evidence of the house's result: the mean of tables and proposers.
    pub fn house(&self) -> Evidence {
        Evidence::mean([self.by_table(), self.by_proposer()].into_iter(), 0)
    }

    /// Whether an honest session would hardly come so far.
    pub fn is_unusual(&self) -> bool {
        self.highest.evidence >= Evidence::of(UNUSUAL)
    }

    /// Whether one of `count` tables or proposers is unusual by itself, the others that were looked at counted in.
    pub fn stands_out(evidence: Evidence, count: usize) -> bool {
        evidence >= Evidence::of(UNUSUAL * count.max(1) as f64)
    }

    /// Takes a roll of a table with the gains that it could have brought.
    fn roll(&mut self, proposer: u32, roll: &RollReport, gains: &Gains) {
        let (foresight, table) = &mut self.tables[roll.table.index()];
        self.foreseen[*foresight as usize] += 1;
        self.faces.take(roll.dice);
        for rolls in [table, &mut self.proposers[proposer as usize]] {
            rolls.rolls += 1;
            rolls.house.take(gains, roll.dice);
        }
    }

    /// Takes a roll that nobody opened in time.
    fn forfeit(&mut self, proposer: u32, table: TableId, gains: &Gains) {
        self.forfeited += 1;
        self.faces.forfeit();
        self.tables[table.index()].1.house.forfeit(gains);
        self.proposers[proposer as usize].house.forfeit(gains);
    }

    fn won(&mut self, proposer: u32, table: TableId, chips: i64) {
        self.tables[table.index()].1.won += chips;
        self.proposers[proposer as usize].won += chips;
    }

    /// Ends a height: the evidence of all of it.
    fn end(&mut self, height: Height, rolled: bool) {
        self.height = height;
        self.heights += 1;
        // Without a roll nothing was bet, and the sums over all tables are spared.
        if !rolled {
            return;
        }
        self.evidence = Evidence::mean([self.faces.evidence(), self.house()].into_iter(), 0);
        if self.evidence > self.highest.evidence {
            self.highest = EvidenceAt { height, evidence: self.evidence };
        }
    }
}

/// A forfeited roll that may still be opened, without effect.
struct Forfeited {
    opening: OpeningReport,
    chips: Chips,
    end: Hash,
    felt: Vec<FeltBet>,
}

/// The walk, and what the bets of each set of rules are worth.
struct Auditor {
    walker: Walker,
    worths: Vec<Worths>,
    audit: DiceAudit,
    /// Who proposed the block that closed the bets of a table's roll.
    closed_by: BTreeMap<TableId, u32>,
    /// The last forfeited roll of each table.
    forfeited: BTreeMap<TableId, Forfeited>,
}

impl Auditor {
    fn height(&mut self, step: &Step) {
        let Self { walker, worths, audit, closed_by, forfeited } = self;
        let machine = walker.machine();
        let setup = machine.setup().clone();
        let report = machine.report();
        let proposer = step.decided.block.header.proposer;
        let mut felt = report.felt.as_slice();
        for roll in &report.rolls {
            let laid = take_table(&mut felt, roll.table);
            let rules = setup.genesis.rules_of(roll.table.0);
            let gains = worths[rules].gains(&setup.catalogues[rules], laid.iter());
            // The block that closed the bets decided what a pledged table rolls, so the roll counts for its proposer.
            audit.roll(closed_by.remove(&roll.table).unwrap_or(proposer), roll, &gains);
        }
        // Roll 0 stands for bets that waited without a roll, of which nothing could be foreseen.
        for opening in report.openings.iter().filter(|opening| opening.roll != 0) {
            let OpeningEnd::Forfeited { chips, end } = opening.end else { continue };
            let felt: Vec<FeltBet> =
                report.forfeited.iter().filter(|bet| bet.table == opening.table).copied().collect();
            let rules = setup.genesis.rules_of(opening.table.0);
            let gains = worths[rules].gains(&setup.catalogues[rules], felt.iter());
            audit.forfeit(closed_by.remove(&opening.table).unwrap_or(proposer), opening.table, &gains);
            forfeited.insert(opening.table, Forfeited { opening: *opening, chips, end, felt });
        }
        for row in step.decided.block.pledges.iter().filter(|row| row.is_opening()) {
            let late = forfeited.get(&TableId(row.table)).and_then(|one| one.opened_by(row, step, &setup));
            if let Some(late) = late {
                // A roll is opened once: another row for it says nothing more.
                forfeited.remove(&late.table);
                audit.late.extend(Some(late).filter(|_| audit.late.len() < LATE_MAX));
            }
        }
        // This comes behind the rolls of the height: what a block closes is rolled by a later one.
        closed_by.extend(report.closed.iter().map(|table| (*table, proposer)));
        assert!(felt.is_empty(), "the bets that lay are those of tables that rolled, in their order");
        for one in report.resolutions.iter().filter(|one| !matches!(one.result, BetResult::Travel(_))) {
            let catalogue = &setup.catalogues[setup.genesis.rules_of(one.table.0)];
            let held = held(one.wager, catalogue.commission(one.spot));
            audit.won(proposer, one.table, held.0.cast_signed() - one.credit.0.cast_signed());
        }
        audit.end(step.settled.height, !report.rolls.is_empty() || !report.openings.is_empty());
    }
}

impl Forfeited {
    /// What the roll would have been, if a row opens it.
    fn opened_by(&self, row: &PledgeRow, step: &Step, setup: &Setup) -> Option<LateOpening> {
        let OpeningReport { table, roll, closed: (_, beacon), .. } = self.opening;
        let opens = row.roll == roll && pledge_end(&setup.chain, table, &row.key, roll, &row.value) == self.end;
        let catalogue = &setup.catalogues[setup.genesis.rules_of(table.0)];
        let dice = opens.then(|| dice_of_both(&beacon, &row.value, table, roll, &catalogue.hash()))?;
        let paid = self.felt.iter().map(|laid| paid(catalogue, laid, dice)).sum();
        Some(LateOpening { height: step.settled.height, table, roll, dice, forfeited: self.chips, paid })
    }
}

/// Takes the bets of a table from the front of those that are left.
fn take_table<'a>(felt: &mut &'a [FeltBet], table: TableId) -> &'a [FeltBet] {
    let (laid, rest) = felt.split_at(felt.partition_point(|bet| bet.table == table));
    *felt = rest;
    laid
}

/// Audits the dice of a session; `on_height` hears what was found up to each height.
///
/// # Errors
/// If the session does not reach the height, is damaged, or differs from its replay.
pub fn audit_dice(dir: &Path, config: &DiceConfig, mut on_height: impl FnMut(&DiceAudit)) -> anyhow::Result<DiceAudit> {
    let (genesis, _) = storage::read_genesis(dir)?;
    if let Some(to) = config.to {
        check_reaches(dir, "--to", to)?;
    }
    // The rows of the audit count as memory too: a stranger's genesis says how many tables there are.
    let rows = u64::from(genesis.tables) * size_of::<(Foresight, Rolls)>() as u64;
    let reading = ReadOptions { memory_max: config.reading.memory_max.saturating_sub(rows), ..config.reading };
    let mut walker = Walker::earliest(dir, reading)?;
    check_executable(dir, &walker, "--to", config.to.unwrap_or(Height(u64::MAX)))?;
    walker.machine().watch(true);
    walker.machine().watch_felt(true);
    // Signatures behind the last height that is wanted are not verified.
    walker.until(config.to.unwrap_or(Height(u64::MAX)));
    let audit = DiceAudit::new(walker.setup(), walker.executed_from());
    let worths = genesis.rules.iter().map(|_| Worths::default()).collect();
    let (closed_by, forfeited) = (BTreeMap::new(), BTreeMap::new());
    let mut auditor = Auditor { walker, worths, audit, closed_by, forfeited };
    while config.to.is_none_or(|to| auditor.walker.height() < to) {
        let Some(step) = auditor.walker.step()? else { break };
        auditor.height(&step);
        on_height(&auditor.audit);
    }
    let reached = auditor.walker.height();
    if config.to.is_some_and(|to| to != reached) || auditor.audit.heights == 0 {
        return Err(Failure::Data(format!("{}: the session ends at height {reached}", dir.display())).into());
    }
    Ok(DiceAudit { torn: auditor.walker.recording().torn(), ..auditor.audit })
}
