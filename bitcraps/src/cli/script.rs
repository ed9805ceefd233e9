use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use engine::limits::SCENARIOS_BYTES_MAX;
use serde_json::json;

use audit::script::{first_difference, play, read_scenarios};
use words::text::{read, read_from};
use words::{Failure, counted, thousands};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps script scenarios.json             one JSON object a scenario\n  bitcraps script scenarios.json --check     compare with what the file expects\n  bitcraps script - < scenarios.json         from standard input"
)]
pub struct ScriptArgs {
    /// The scenario file, or - for standard input.
    file: PathBuf,
    /// Compare with `expected`; print the first difference of each scenario that differs.
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub fn run(args: &ScriptArgs) -> anyhow::Result<()> {
    let wrong = |error: String| Failure::Data(format!("{}: {error}", args.file.display()));
    let text = if args.file.as_os_str() == "-" {
        read_from(std::io::stdin(), SCENARIOS_BYTES_MAX)
    } else {
        read(&args.file, SCENARIOS_BYTES_MAX)
    };
    let text = text.map_err(|error| wrong(error.to_string()))?;
    let scenarios = read_scenarios(&text).map_err(|error| wrong(error.to_string()))?;
    let mut out = super::out::out();
    let mut differ = 0;
    for (index, scenario) in scenarios.iter().enumerate() {
        let found = play(scenario).map_err(|error| wrong(format!("scenario {index} ({}): {error}", scenario.name)))?;
        if !args.check {
            writeln!(out, "{}", json!({"name": scenario.name, "result": found}))?;
            continue;
        }
        let expected = scenario.expected.as_ref();
        let expected =
            expected.ok_or_else(|| wrong(format!("scenario {index} ({}): expected: is missing", scenario.name)))?;
        if let Some((path, expected, found)) = first_difference(expected, &found) {
            differ += 1;
            writeln!(out, "{}: {path}: expected {expected}, found {found}", scenario.name)?;
        }
    }
    if !args.check {
        return Ok(());
    }
    let count = counted(scenarios.len() as u64, "scenario");
    if differ > 0 {
        let verb = if differ == 1 { "differs" } else { "differ" };
        return Err(Failure::Mismatch(format!("{} of {count} {verb}", thousands(differ))).into());
    }
    let all = if scenarios.len() == 1 { "" } else { "all " };
    writeln!(out, "{count}, {all}as expected")?;
    Ok(())
}
