//! README.md: its commands run, in its order, and print what it shows.
//!
//! Where the program says something else on purpose, `README=update cargo test --package bitcraps readme` writes what
//! it says into the README.

use std::fs;
use std::path::Path;
use std::process::Command;

/// How the README starts the program.
const PROGRAM: &str = "cargo run --release -- ";
/// What is not run here: it waits for a person, or its figures are of the machine.
const NOT_RUN: [&str; 4] = ["play", "node", "load", "dev"];

/// A line as far as it is the same on every machine and every time.
fn stable(line: &str) -> String {
    let line = line.trim_end();
    match (line.find(" in "), line.find(" times real time")) {
        (Some(from), Some(to)) if from < to => format!("{} in _{}", &line[..from], &line[to..]),
        _ => line.into(),
    }
}

/// What a command prints, without the hints at its end.
fn run(arguments: &str, dir: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bitcraps"))
        .args(arguments.split_whitespace())
        .env("BITCRAPS_PASSPHRASE", "a person would be asked")
        .current_dir(dir)
        .output()
        .expect("the program runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{PROGRAM}{arguments}: {errors}");
    let printed = String::from_utf8(output.stdout).expect("text");
    let shown = printed.split("\nTry next:").next().expect("a first part").trim_end();
    shown.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
fn the_readme_shows_what_its_commands_print() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("audit/tests/data");
    fs::create_dir_all(&data).expect("a folder");
    fs::copy(root.join("audit/tests/data/scenarios.json"), data.join("scenarios.json")).expect("the scenarios");

    let (mut updated, mut compared) = (String::new(), 0);
    // Odd parts lie between fences: a command, and after it what it prints.
    let mut printed: Option<String> = None;
    for (index, part) in readme.split("```").enumerate() {
        if index > 0 {
            updated += "```";
        }
        let text = part.strip_prefix("text\n");
        match (index % 2 == 1, text, printed.take()) {
            (true, Some(shown), Some(found)) => {
                let lines = |text: &str| text.lines().map(stable).collect::<Vec<_>>();
                if std::env::var_os("README").is_none() {
                    assert_eq!(lines(shown), lines(&found), "README=update writes what is printed into the README");
                }
                compared += 1;
                updated += "text\n";
                updated += if lines(shown) == lines(&found) { shown } else { &found };
                continue;
            }
            (true, None, _) => {
                let commands = part.lines().filter_map(|line| line.strip_prefix(PROGRAM));
                for arguments in commands {
                    let word = arguments.split_whitespace().next().expect("a command");
                    let ends = arguments.contains("--heights");
                    if !NOT_RUN.contains(&word) || ends {
                        printed = Some(run(arguments, dir.path()));
                    }
                }
            }
            (false, _, before) => printed = before,
            (true, Some(_), None) => {}
        }
        updated += part;
    }
    assert!(compared >= 5, "{compared} outputs were compared");
    if std::env::var_os("README").is_some() {
        fs::write(root.join("README.md"), updated).expect("the README");
    }
}
