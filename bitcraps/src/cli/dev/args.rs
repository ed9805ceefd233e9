//! What `dev` is told, for one validator and for several.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use engine::Genesis;
use node::config::{ServedAt, workers};
use words::Failure;

use crate::cli::args::{DiceOf, OutputArgs, workers_in_range};

/// Milliseconds of a window that a person can follow, and place a bet in.
pub const WINDOW_REAL_MS: u64 = 10_000;
/// Craps tables of a new session where nothing was said.
const TABLES: u32 = 8;
/// Simulated players where nothing was said, at tables of several seats.
const PLAYERS: u32 = 40;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps dev                                   watch it, end it with Ctrl-C\n  bitcraps dev --tables 100 --players 600 --heights 2000 --pace max\n  bitcraps dev --seed 7 --heights 500 --pace max --output json\n  bitcraps dev --data my-session                 again: goes on where it ended\n  bitcraps dev --dice both --tables 40           one seat a table; its player brings half of the dice\n  bitcraps dev --nodes 4                         four validators, each a process: kill one, and start it again"
)]
pub struct DevArgs {
    /// Validators: more than one are processes of their own, below DIR/node-0 and so on, on the wall's time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub nodes: u32,
    /// Craps tables. Without it, 8.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub tables: Option<u32>,
    /// Simulated players. Without it, 40; with `--dice both`, half as many as there are tables, so that people find a seat.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=800_000))]
    pub players: Option<u32>,
    /// Stop after this height; without it, run until Ctrl-C.
    #[arg(long)]
    pub heights: Option<u64>,
    /// Decides keys, players and dice: the same seed gives the same session.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The session's directory; one that exists goes on, with the tables, window and dice that it has; say the seed that it was
    /// begun with again. Without it, the next free number below `sessions`.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Workers of the tick pool; they change nothing but speed.
    #[arg(long, default_value_t = workers(), value_name = "N", value_parser = workers_in_range)]
    pub threads: usize,
    /// Where people connect with `play`; `none` to stay alone. At real pace, the first free port from 7400 on.
    #[arg(long, value_name = "ADDR|none")]
    pub listen: Option<String>,
    /// Where a browser finds the dashboard; `off` for nowhere. At real pace, the first free port from 7480 on. Of several
    /// validators, each has its own, and this is not said.
    #[arg(long, value_name = "ADDR|off")]
    pub dashboard: Option<ServedAt>,
    /// Milliseconds after which a table rolls by itself. Without it, 10,000 for people to follow; with `--pace max`, 1,000.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub window: Option<u64>,
    /// What the dice follow from. Without it, the beacon.
    #[arg(long, value_enum)]
    pub dice: Option<DiceOf>,
    /// Virtual time as on the wall, or as fast as this machine can.
    #[arg(long, value_enum, default_value_t = Pace::Real)]
    pub pace: Pace,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How fast virtual time runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Pace {
    /// As the clock on the wall.
    Real,
    /// As fast as the machine can.
    Max,
}

impl DevArgs {
    /// Craps tables of a new session.
    pub fn tables(&self) -> u32 {
        self.tables.unwrap_or(TABLES)
    }

    /// What the dice of a new session follow from.
    pub fn dice(&self) -> DiceOf {
        self.dice.unwrap_or_default()
    }

    /// The arguments that go on with a session, beside its directory.
    pub fn again(&self) -> String {
        let seed = if self.seed == 1 { String::new() } else { format!(" --seed {}", self.seed) };
        if self.nodes > 1 { format!("dev --nodes {}{seed}", self.nodes) } else { format!("dev{seed}") }
    }

    /// Refuses what was said of a session that was begun otherwise: it would be ignored.
    ///
    /// # Errors
    /// Names what differs.
    pub fn check_begun(&self, dir: &Path, begun: &Genesis) -> Result<(), Failure> {
        let number = |said: Option<u64>, there: u64| Some((said?.to_string(), there.to_string()));
        let name = |dice: DiceOf| dice.to_possible_value().map(|value| value.get_name().to_owned());
        let dice = if begun.has_pledged() { DiceOf::Both } else { DiceOf::Beacon };
        let said = [
            ("--tables", number(self.tables.map(u64::from), begun.tables.into())),
            ("--window", number(self.window, begun.window_max_ms)),
            ("--dice", self.dice.and_then(name).zip(name(dice))),
        ];
        let differs = |(option, values): (&'static str, Option<(String, String)>)| {
            values.filter(|(said, there)| said != there).map(|(said, there)| (option, said, there))
        };
        match said.into_iter().find_map(differs) {
            None => Ok(()),
            Some((option, said, there)) => Err(Failure::Data(format!(
                "{} was begun with {option} {there}, and {option} is {said}: leave it out, or give a new directory",
                dir.display()
            ))),
        }
    }

    /// How many simulated players there are: at tables of one seat they leave half of them to people. A session that is
    /// there already has its own tables.
    pub fn players_at(&self, begun: Option<&Genesis>) -> u32 {
        self.players.unwrap_or_else(|| {
            let begun = begun.map(|genesis| (genesis.tables, genesis.has_pledged()));
            let (tables, one_seat) = begun.unwrap_or((self.tables(), self.dice() == DiceOf::Both));
            if one_seat { (tables / 2).max(1) } else { PLAYERS }
        })
    }

    /// Refuses a session in which nothing would ever happen.
    ///
    /// # Errors
    /// That it is one.
    pub fn check_players(&self, listens: bool) -> Result<(), Failure> {
        let problem = match self.heights {
            _ if self.players != Some(0) => return Ok(()),
            Some(_) => "--players 0 with --heights: heights come when somebody plays; leave out one of the two",
            None if listens => return Ok(()),
            None => "--players 0 where nobody can connect: nothing would ever happen; see --listen",
        };
        Err(Failure::Usage(problem.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use load::dev::{DevConfig, genesis};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        dev: DevArgs,
    }

    #[test]
    fn at_tables_of_one_seat_simulated_players_leave_some_to_people() {
        let of = |args: &[&str], begun: Option<&Genesis>| {
            Cli::parse_from([&["bitcraps"], args].concat()).dev.players_at(begun)
        };
        assert_eq!(of(&[], None), 40);
        assert_eq!(of(&["--dice", "both"], None), 4);
        assert_eq!(of(&["--dice", "both", "--tables", "1"], None), 1);
        assert_eq!(of(&["--dice", "both", "--players", "8"], None), 8);
        let begun = genesis(&DevConfig { tables: 6, dice: DiceOf::Both.into(), ..DevConfig::default() });
        assert_eq!(of(&[], Some(&begun)), 3, "a session that goes on has its own tables");
    }

    #[test]
    fn what_a_session_was_begun_with_otherwise_is_refused() {
        let config = DevConfig { tables: 6, window_ms: 1_000, dice: DiceOf::Both.into(), ..DevConfig::default() };
        let begun = genesis(&config);
        let of = |args: &[&str]| {
            let args = Cli::parse_from([&["bitcraps"], args].concat()).dev;
            args.check_begun(Path::new("s"), &begun).map_err(|problem| problem.to_string())
        };
        assert_eq!(of(&[]), Ok(()), "what was not said is the session's");
        assert_eq!(of(&["--tables", "6", "--window", "1000", "--dice", "both", "--players", "3"]), Ok(()));
        for (args, says) in [
            (["--tables", "8"], "s was begun with --tables 6, and --tables is 8"),
            (["--window", "10000"], "s was begun with --window 1000, and --window is 10000"),
            (["--dice", "beacon"], "s was begun with --dice both, and --dice is beacon"),
        ] {
            let problem = of(&args).expect_err(says);
            assert!(problem.starts_with(says), "{problem}");
        }
        let again = |args: &[&str]| Cli::parse_from([&["bitcraps"], args].concat()).dev.again();
        assert_eq!([again(&[]), again(&["--nodes", "4", "--seed", "7"])], ["dev", "dev --nodes 4 --seed 7"]);
    }
}
