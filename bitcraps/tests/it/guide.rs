//! The guides: every command of their examples runs as it stands there, with a reader's own files and keys for the words in capitals.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use super::newcomer::program;

/// What is not run here, by how it begins, and where it is instead.
const ELSEWHERE: [(&str, &str); 6] = [
    ("node --config my-node", "service.rs, at a port that is free"),
    ("node --config eyes", "processes/operating.rs, among its four validators"),
    ("play 127", "newcomer/terminals.rs, since it wants a terminal"),
    ("top", "newcomer/terminals.rs, since it wants a terminal"),
    ("load baseline", "load.rs, which runs each scenario for a second"),
    ("load peak", "load.rs, which runs each scenario for a second"),
];

/// Pages that say what was measured, and with which commands: they take minutes.
const FIGURES: &str = "measurements.md";

/// Commands in the examples of a page, without the program's name and what stands beside them.
fn examples(page: &str) -> Vec<&str> {
    let fenced = page.split("```").skip(1).step_by(2).flat_map(str::lines);
    let named = fenced.filter_map(|line| line.strip_prefix("bitcraps "));
    named.map(|line| line.split("  ").next().expect("a first part").trim_end()).collect()
}

/// A folder in which somebody has played, measured and been sent things before reading on.
struct Reader {
    dir: tempfile::TempDir,
    /// Public key of account 17.
    key: String,
    chain: String,
    root_chain: String,
}

impl Reader {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut reader = Self { dir, key: String::new(), chain: String::new(), root_chain: String::new() };
        let played = reader.said("dev --data sessions/0001 --tables 4 --players 24 --heights 600 --pace max");
        assert_eq!(played["height"], 600);
        reader.said("db backup sessions/0001 theirs");
        for report in ["before", "after"] {
            let load = format!("load baseline --users 4 --rate 20 --duration 1 --report reports/{report}");
            let words: Vec<String> = load.split(' ').map(str::to_owned).collect();
            // Whether this machine is quick enough for the targets is nothing to a reader.
            assert!(matches!(reader.run(&words, None).status.code(), Some(0 | 6)), "{load}");
        }
        reader.said("init node --plain-keys --listen 127.0.0.1:0 --dashboard off --bytes-max 0");
        fs::remove_dir_all(reader.path("node/session")).expect("an empty session");
        reader.said("db backup sessions/0001 node/session");
        let addresses = (0..4).map(|slot| format!("127.0.0.1:{}\n", 8700 + slot)).collect::<String>();
        fs::write(reader.path("addresses.txt"), addresses).expect("written");
        let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("../audit/tests/data/scenarios.json");
        fs::copy(scenarios, reader.path("scenarios.json")).expect("the scenarios");

        reader.said("export sessions/0001 --csv before");
        let balances = fs::read_to_string(reader.path("before/balances.csv")).expect("rows");
        let row = balances.lines().find_map(|line| line.strip_prefix("account,17,")).expect("account 17");
        reader.key = row.split(',').next().expect("a key").to_owned();
        let replayed = reader.said("replay sessions/0001");
        let text = |name: &str| replayed[name].as_str().expect("text").to_owned();
        (reader.chain, reader.root_chain) = (text("chain"), text("root_chain"));
        reader
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, words: &[String], input: Option<&Path>) -> Output {
        let input = input.map_or(Stdio::null(), |path| fs::File::open(path).expect("a file").into());
        let mut program = program();
        program.env("BITCRAPS_PASSPHRASE", "a person would be asked").stdin(input);
        program.current_dir(self.dir.path()).args(words).output().expect("the program runs")
    }

    /// Runs what must succeed; what it says, as JSON.
    fn said(&self, command: &str) -> Value {
        let words: Vec<String> =
            command.split(' ').map(str::to_owned).chain(["--output".into(), "json".into()]).collect();
        let output = self.run(&words, None);
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// What a reader types for a command of a page, and what goes to its standard input. Seeds and heights are fewer here.
    fn typed(&self, page: &str, command: &str) -> (Vec<String>, Option<std::path::PathBuf>) {
        let scenarios = self.path("scenarios.json");
        let (command, input) = match command.split_once(" < ") {
            Some((command, "FILE")) => (command, Some(scenarios)),
            Some((_, other)) => panic!("{page}: nothing is known of {other}"),
            None => (command.split(" # ").next().expect("a first part").trim_end(), None),
        };
        let mut words: Vec<String> = Vec::new();
        for word in command.split(' ').filter(|word| !word.is_empty()) {
            let before = words.last().map(String::as_str);
            let stand_in = match (word, before) {
                ("SESSION", _) => "sessions/0001",
                ("A", Some("bisect")) => "sessions/0001",
                ("B", _) => "theirs",
                ("DIR", Some("--csv")) => "rows",
                ("DIR", _) => "copy",
                ("FILE", Some("--evidence")) => "evidence",
                ("FILE", _) => "scenarios.json",
                ("KEY", _) => &self.key,
                ("HEX", Some("--chain")) => &self.chain,
                ("HEX", Some("--root-chain")) => &self.root_chain,
                ("3:421", _) => "3:5",
                ("5000", Some("--to")) => "500",
                ("1200", Some("--to")) => "550",
                ("0..200" | "0..1000", Some("--seeds")) => "0..2",
                ("1000", Some("--heights")) => "20",
                (word, _) => {
                    assert!(word.chars().any(|one| !one.is_ascii_uppercase()), "{page}: nothing is known of {word}");
                    word
                }
            };
            words.push(stand_in.to_owned());
        }
        (words, input)
    }
}

#[test]
fn every_example_of_the_guides_runs() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let mut pages: Vec<_> = fs::read_dir(docs).expect("the pages").map(|entry| entry.expect("a page").path()).collect();
    pages.retain(|path| path.extension().is_some_and(|ending| ending == "md") && !path.ends_with(FIGURES));
    pages.sort();
    let reader = Reader::new();
    let (mut ran, mut elsewhere) = (0, Vec::new());
    for path in pages {
        let page = path.file_name().expect("a name").to_string_lossy().into_owned();
        for command in examples(&fs::read_to_string(&path).expect("a page")) {
            if let Some((begins, _)) = ELSEWHERE.iter().find(|(begins, _)| command.starts_with(begins)) {
                elsewhere.push(*begins);
                continue;
            }
            let (words, input) = reader.typed(&page, command);
            let output = reader.run(&words, input.as_deref());
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{page}: `bitcraps {command}`: {:?} {errors}", output.status.code());
            assert!(!output.stdout.is_empty(), "{page}: `bitcraps {command}` says nothing");
            ran += 1;
        }
    }
    assert!(ran >= 25, "{ran} examples ran");
    for (begins, place) in ELSEWHERE {
        assert!(elsewhere.contains(&begins), "no page has `{begins}` any more, which is said to be in {place}");
    }
}
