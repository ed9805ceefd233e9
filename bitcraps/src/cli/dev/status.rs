//! The lines that live while a development session runs.

use std::collections::VecDeque;
use std::io::Write;
use std::time::{Duration, Instant};

use engine::io::{BetResult, Resolution, RollReport};
use engine::{Chips, TableId};
use indicatif::ProgressBar;
use node::totals::Totals;
use systems::Machine;
use words::names::spot_words;
use words::{counted, thousands};

use crate::cli::args::OutputArgs;
use crate::cli::bars::bar;
use crate::cli::out::fit;
use crate::cli::phrases::disk_full;

/// Columns of the spinner and the space after it.
const SPINNER_COLUMNS: usize = 2;
/// Wins that stay on the screen.
const NOTICES: usize = 5;

/// The lines that live while the session runs.
pub struct Status {
    bar: ProgressBar,
    shown: Instant,
    start_ms: u64,
    first_height: u64,
    played_s: u64,
    wins: Wins,
    watching: bool,
}

impl Status {
    pub fn new(output: OutputArgs, heights: Option<u64>, start_ms: u64, first_height: u64) -> Self {
        let template = match heights {
            Some(_) => "{spinner} {prefix}\n{msg}\n  [{wide_bar}] {percent}%, {eta} left",
            None => "{spinner} {prefix}\n{msg}",
        };
        let bar = bar(output.is_watched(), heights.unwrap_or(0), template);
        let shown = Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or_else(Instant::now);
        Self { bar, shown, start_ms, first_height, played_s: 0, wins: Wins::default(), watching: false }
    }

    pub fn show(&mut self, totals: &Totals, machine: &mut Machine, now_ms: u64) {
        self.played_s = (now_ms - self.start_ms) / 1_000;
        if self.bar.is_hidden() {
            return;
        }
        if !self.watching {
            // Rolls and wins are told where somebody watches.
            self.watching = true;
            machine.watch(true);
        }
        let report = machine.report();
        self.wins.look(&report.rolls, &report.resolutions);
        if self.shown.elapsed() < Duration::from_millis(100) {
            return;
        }
        self.shown = Instant::now();
        self.bar.set_position(totals.height.0.max(self.first_height));
        self.bar.set_prefix(fit(&figures(totals, self.played_s), SPINNER_COLUMNS));
        let message = match &totals.disk_full {
            Some(problem) => fit(&disk_full(problem), 0),
            None => self.wins.last.iter().map(|line| fit(line, 0)).collect::<Vec<_>>().join("\n"),
        };
        self.bar.set_message(message);
        self.bar.tick();
        let _ = std::io::stderr().flush();
    }

    /// Takes the lines away. Gives the seconds that were played.
    pub fn end(self) -> u64 {
        self.bar.finish_and_clear();
        self.played_s
    }
}

/// The session in one line: what a narrow terminal has no room for stands last.
fn figures(totals: &Totals, played_s: u64) -> String {
    let counts = &totals.counts;
    let gain = match counts.lost.checked_sub(counts.paid) {
        Some(won) => format!("house +{}", thousands(won)),
        None => format!("house -{}", thousands(counts.paid - counts.lost)),
    };
    format!(
        "height {}  {} s of play  {}  {gain}  {}  {} decided  {} refused",
        thousands(totals.height.0),
        thousands(played_s),
        counted(counts.rolls, "roll"),
        counted(counts.bets_placed, "bet"),
        thousands(counts.bets_resolved),
        thousands(counts.refused + totals.turned_away),
    )
}

/// The last wins, oldest first, a line each.
struct Wins {
    last: VecDeque<String>,
    /// The roll of the newest one: it is looked at as long as no other height comes.
    of: Option<(TableId, u32)>,
    best: Chips,
}

impl Default for Wins {
    fn default() -> Self {
        Self { last: VecDeque::from(vec![String::new(); NOTICES]), of: None, best: Chips::ZERO }
    }
}

impl Wins {
    /// Takes in the best win of a height, if somebody won.
    fn look(&mut self, rolls: &[RollReport], resolutions: &[Resolution]) {
        let wins = resolutions.iter().filter(|resolution| resolution.result == BetResult::Win);
        let Some(win) = wins.max_by_key(|win| win.credit) else { return };
        let Some(roll) = rolls.iter().find(|roll| roll.table == win.table) else { return };
        if self.of.replace((roll.table, roll.roll_number)) == Some((roll.table, roll.roll_number)) {
            return;
        }
        let best = if win.credit > self.best { ", the best so far" } else { "" };
        self.best = self.best.max(win.credit);
        let [a, b] = roll.dice.faces();
        self.last.pop_front();
        self.last.push_back(format!(
            "  table {} roll {}  {a}-{b}  {}: player {} gets {} for {} on {}{best}",
            roll.table,
            roll.roll_number,
            roll.event.name().replace('_', " "),
            win.account,
            thousands(win.credit.0),
            thousands(win.wager.into()),
            spot_words(win.spot),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{AccountId, Dice, Height, Puck};
    use systems::Counts;
    use systems::catalogue::{bet_named, standing_spot};

    #[test]
    fn a_height_that_is_looked_at_again_tells_nothing_twice() {
        let mut wins = Wins::default();
        let of = |number, credit| {
            let dice = Dice::new(6, 1).expect("faces");
            let (event, puck) = Puck::Off.roll(dice);
            let roll = RollReport { table: TableId(2), roll_number: number, dice, event, puck, shooter: 0 };
            let spot = standing_spot(bet_named("no_9").expect("a bet"), 0).expect("a spot");
            let (table, account, result) = (TableId(2), AccountId(17), BetResult::Win);
            (roll, Resolution { table, seat: 0, account, spot, wager: 20, credit: Chips(credit), result })
        };
        for (number, credit) in [(1, 66), (1, 66), (2, 30), (2, 30)] {
            let (roll, win) = of(number, credit);
            wins.look(&[roll], &[win]);
        }
        let told: Vec<&str> = wins.last.iter().filter(|line| !line.is_empty()).map(String::as_str).collect();
        assert_eq!(
            told,
            [
                "  table 2 roll 1  6-1  natural: player 17 gets 66 for 20 on no 9, the best so far",
                "  table 2 roll 2  6-1  natural: player 17 gets 30 for 20 on no 9",
            ]
        );
    }

    #[test]
    fn what_the_house_won_is_seen_on_a_terminal_of_80_columns() {
        let counts = Counts {
            rolls: 12_345,
            bets_placed: 123_456,
            bets_resolved: 123_000,
            paid: 1_234_567,
            lost: 1_000_000,
            ..Counts::default()
        };
        let line = figures(&Totals { height: Height(123_456), counts, ..Totals::default() }, 12_345);
        let shown: String = line.chars().take(80 - SPINNER_COLUMNS).collect();
        assert!(shown.contains("house -234,567"), "{line}");
    }
}
