//! What a chain fixes: genesis, its catalogues, and the values derived from them once.

use std::sync::Arc;

use bevy_ecs::resource::Resource;
use engine::component::Table;
use engine::genesis::{GenesisError, Opening};
use engine::limits::RULES_MAX;
use engine::rules::{DiceSource, TableRules};
use engine::{Genesis, Hash};

use crate::catalogue::Catalogue;
use crate::odds;

const _: () = assert!(RULES_MAX <= u64::BITS as usize);

/// The constants of a chain. Nothing in it changes after the start.
#[derive(Resource, Clone)]
pub struct Setup {
    /// The chain id.
    pub chain: Hash,
    /// The genesis from which all the rest follows.
    pub genesis: Arc<Genesis>,
    /// A compiled catalogue for each set of rules.
    pub catalogues: Arc<[Catalogue]>,
    /// A bit for each set of rules by which players bring half of the dice.
    pledged: u64,
}

impl Setup {
    /// Checks genesis and compiles its catalogues.
    ///
    /// # Errors
    /// If a value cannot be so, or a bet of some rules has a positive expectation for the player.
    pub fn new(genesis: Genesis, chain: Hash) -> Result<Self, GenesisError> {
        // First: what follows divides by and indexes with values that only a checked genesis has.
        genesis.check()?;
        let wrong = |problem| GenesisError { field: "rules", problem };
        let mut catalogues = Vec::with_capacity(genesis.rules.len());
        for rules in &genesis.rules {
            let catalogue = Catalogue::new(rules).map_err(|error| wrong(error.to_string()))?;
            if let Some((bet, ev)) = odds::favours_player(&catalogue) {
                let name = crate::catalogue::BETS[bet.index()].name;
                return Err(wrong(format!("{name} would favour the player: expected value {ev} per chip")));
            }
            catalogues.push(catalogue);
        }
        if let Opening::Voucher { issuers } = &genesis.opening
            && let Some(issuer) = issuers.iter().position(|key| !order::signature::key_is_acceptable(&key.0))
        {
            let problem = format!("issuer {issuer} is no canonical Ed25519 key of full order");
            return Err(GenesisError { field: "opening.issuers", problem });
        }
        let bit = |(set, rules): (usize, &TableRules)| u64::from(rules.dice == DiceSource::Both) << set;
        let pledged = genesis.rules.iter().enumerate().map(bit).sum();
        assert_eq!(pledged != 0, genesis.has_pledged(), "every set of rules has its bit");
        Ok(Self { chain, genesis: Arc::new(genesis), catalogues: catalogues.into(), pledged })
    }

    /// Whether some table is a pledged one.
    #[inline]
    pub fn has_pledged(&self) -> bool {
        self.pledged != 0
    }

    /// Whether a table's player brings half of its dice.
    #[inline]
    pub fn is_pledged(&self, table: &Table) -> bool {
        self.pledged >> table.rules & 1 == 1
    }

    /// The rules hashes, as the world's rules column holds them.
    pub fn rules_hashes(&self) -> Vec<Hash> {
        self.catalogues.iter().map(Catalogue::hash).collect()
    }

    /// The moment a table of this number rolls by itself, when its window opened at `opened_ms`.
    ///
    /// Tables of one clock phase roll together: each at its phase's point of a grid as wide as the longest window. A
    /// table that fell off the grid, because its shooter rolled early, comes back to it in two shorter windows; both
    /// last at least half the longest, which genesis holds at no less than the shortest. A pledged table never rolls by itself:
    /// it is looked at when its player may be absent.
    pub fn next_roll_ms(&self, table: usize, opened_ms: u64) -> u64 {
        let genesis = &self.genesis;
        if self.has_pledged() && genesis.is_pledged(table as u32) {
            return opened_ms + genesis.idle_ms;
        }
        let (width, phases) = (genesis.window_max_ms, u64::from(genesis.clock_phases));
        let phase = table as u64 / u64::from(genesis.tables_per_phase());
        assert!(phase < phases, "every table is of one of the phases");
        let offset = phase * width / phases;
        let next = opened_ms + width - (opened_ms + width - offset) % width;
        let ahead = next - opened_ms;
        let at_ms = if ahead >= genesis.window_min_ms { next } else { opened_ms + (ahead + width) / 2 };
        assert!(at_ms >= opened_ms + genesis.window_min_ms, "no window is shorter than the shortest");
        at_ms
    }
}
