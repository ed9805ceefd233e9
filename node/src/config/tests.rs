use super::*;

#[test]
fn the_written_file_is_the_configuration() {
    let default = Config::default();
    assert_eq!(Config::parse(&default.text()), Ok(default.clone()));
    assert_eq!(Config::parse(""), Ok(default.clone()));
    let mut other = default;
    other.net.buffer_bytes_max = 3 << 30;
    other.net.peers = vec!["example.org:7400".into(), format!("{}@127.0.0.1:1", "ab".repeat(32))];
    other.net.name = "a \"name\"".into();
    other.cache.disk_bytes_max = 0;
    other.storage.bytes_max = 10 << 30;
    other.alerts.webhook = "http://127.0.0.1:9/x".into();
    other.alerts.exec = vec!["a b".into(), "c\nd".into()];
    other.alerts.mail_to = vec!["ops@example.org".into()];
    other.monitoring.listen = ServedAt::Off;
    other.monitoring.hosts = vec!["node.example".into()];
    other.memory.budget_bytes = 512 << 20;
    assert_eq!(Config::parse(&other.text()), Ok(other));
}

#[test]
fn odd_bytes_paths_and_names_are_written_as_they_are_read() {
    let mut odd = Config::default();
    for bytes in [0, 1 << 27, (1 << 27) + 1, 1_500_000_000, 1 << 40, 3 << 40, u64::MAX - 1, u64::MAX] {
        odd.storage.bytes_max = bytes;
        assert_eq!(Config::parse(&odd.text()), Ok(odd.clone()), "{bytes}");
    }
    odd.net.buffer_bytes_max = (1 << 20) + 1;
    odd.cache.memory_bytes_max = 123_456_789;
    odd.net.name = "Ü \"é\" \\ 🎲".into();
    odd.node.data = "a 'b' \"c\"\\d\u{1b}\u{7f}é".into();
    assert_eq!(Config::parse(&odd.text()), Ok(odd));
}

#[test]
fn every_key_is_written_with_its_meaning_and_no_other() {
    let text = Config::default().text();
    let keys: Vec<_> =
        text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && line.contains(" = ")).collect();
    assert_eq!(keys.len(), 1 + MEANINGS.len(), "the version, and all of them");
    for (number, key) in keys {
        let before = text.lines().nth(number - 1).expect("a line before it");
        assert!(before.starts_with("# "), "`{key}` has no meaning");
    }
}

#[test]
fn whatever_key_a_page_names_is_one_of_the_configuration() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let pages = std::fs::read_dir(root.join("docs")).expect("pages").map(|page| page.expect("a page").path());
    let mut named = 0;
    for page in pages.filter(|page| page.extension() == Some("md".as_ref())) {
        let text = std::fs::read_to_string(&page).expect("a page");
        for word in text.split('`').skip(1).step_by(2) {
            let Some((section, rest)) = word.split_once('.') else { continue };
            let key = rest.split([' ', '=']).next().expect("a first word");
            if MEANINGS.iter().any(|(of, ..)| *of == section) && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            {
                assert!(!meaning(section, key).is_empty(), "{}: no key `{section}.{key}`", page.display());
                named += 1;
            }
        }
    }
    assert!(named > 50, "{named} keys are named on pages");
}

/// What is said of a file: the place, the line itself with a mark below, and what is wrong.
fn said(text: &str, (line, column): (usize, usize), problem: &str) -> String {
    let shown = text.lines().nth(line - 1).expect("the line is there");
    let found = Config::parse(text).expect_err(text);
    let mark = found.lines().nth(3).unwrap_or_default().trim_start_matches([' ', '|']);
    let indent = " ".repeat(line.to_string().len());
    let before = " ".repeat(column - 1);
    let head = format!("TOML parse error at line {line}, column {column}");
    format!("{head}\n{indent} |\n{line} | {shown}\n{indent} | {before}{mark}\n{problem}")
}

#[test]
fn what_cannot_be_is_refused_with_line_and_column() {
    for (text, at, problem) in BAD {
        let found = Config::parse(text).expect_err(text);
        assert_eq!(found.trim_end(), said(text, *at, problem), "{text}");
    }
}

const SIZE: &str = "expected a size such as \"512MB\", or a whole number of bytes";

/// Files that cannot be, with the place and the whole of what is said.
const BAD: &[(&str, (usize, usize), &str)] = &[
    (
        "[net]\nlisten = \"127.0.0.1:1\"\nconections_max = 3\n",
        (3, 1),
        "unknown field `conections_max`; did you mean `connections_max`?",
    ),
    ("[net]\nlisten_adress = 3\n", (2, 1), "unknown field `listen_adress`; did you mean `listen`?"),
    ("[nett]\n", (1, 2), "unknown field `nett`; did you mean `net`?"),
    (
        "listen = \"127.0.0.1:1\"\n[net]\n",
        (1, 1),
        "unknown field `listen` outside of a section; it is a key of [net] and of [monitoring]",
    ),
    ("[net]\nconnections_max = 0\n", (2, 19), "0 is not from 1 to 20000"),
    ("[net]\nconnections_max = -1\n", (2, 19), "expected a whole number from 1 to 20000"),
    ("[node]\nthreads = 65\n", (2, 11), "65 is not from 1 to 64"),
    ("[node]\nthreads = \"auto\"\n", (2, 11), "expected a whole number from 1 to 64"),
    ("[net]\nbuffer_bytes_max = \"12 KiB\"\n", (2, 20), "12.0 KiB is not from 1.0 MiB to 64.0 GiB"),
    ("[net]\nbuffer_bytes_max = \"512 potatoes\"\n", (2, 20), "`512 potatoes` is no size such as 512MB or 2 GiB"),
    ("[net]\nbuffer_bytes_max = \"lots\"\n", (2, 20), "`lots` is no size such as 512MB or 2 GiB"),
    ("[net]\nlisten = \"nowhere\"\n", (2, 10), "`nowhere` is no address such as 127.0.0.1:7400"),
    (
        "[net]\nlisten = \"localhost:7400\"\n",
        (2, 10),
        "`localhost:7400` is no address such as 127.0.0.1:7400; localhost is 127.0.0.1:7400",
    ),
    ("[net]\nlisten = 7400\n", (2, 10), "expected an address in quotes, such as \"127.0.0.1:7400\""),
    ("[net]\npeers = [\"a:1\", \"b\"]\n", (2, 9), "`b` is neither HOST:PORT nor KEY@HOST:PORT"),
    ("[net]\npeers = \"a:1\"\n", (2, 9), "expected a list of nodes, such as [\"node.example:7400\"]"),
    ("[net]\nidle_timeout_ms = -1\n", (2, 19), "-1 is not from 1000 to 600000"),
    (
        "[net]\nidle_timeout_ms = 1.5\n",
        (2, 19),
        "expected a time such as \"30s\" or \"500ms\", or a whole number of milliseconds",
    ),
    ("[net]\nidle_timeout_ms = \"soon\"\n", (2, 19), "`soon` is no time such as 30s or 500ms"),
    ("[cache]\nmemory_bytes_max = 4096\n", (2, 20), "4.0 KiB is not from 1.0 MiB to 64.0 GiB"),
    (
        "[storage]\nbytes_max = \"1 MiB\"\n",
        (2, 13),
        "1048576 bytes are fewer than 128 MiB, two segments; 0 is no bound",
    ),
    ("[monitoring]\nlisten = \"7480\"\n", (2, 10), "`7480` is no address such as 127.0.0.1:7480, and not `off`"),
    (
        "[monitoring]\nhosts = [\"http://x:1/\"]\n",
        (2, 9),
        "`http://x:1/` is no name such as node.example, without http:// and port",
    ),
    ("[memory]\nbudget_bytes = \"1 MiB\"\n", (2, 16), "1048576 bytes are fewer than 64 MiB; 0 is what the machine has"),
    ("[memory]\nbudget_bytes = -5\n", (2, 16), SIZE),
    ("[memory]\nbudget_bytes = 1.5e9\n", (2, 16), SIZE),
    (
        "[alerts]\nwebhook = \"https://x\"\n",
        (2, 11),
        "no address of http://; for another protocol, `exec` runs a program",
    ),
    (
        "[alerts]\nwebhook = \"http://\"\n",
        (2, 11),
        "an address of http:// has a host, such as http://127.0.0.1:9093/hook",
    ),
    (
        "[alerts]\nexec = \"/bin/true\"\n",
        (2, 8),
        "expected a program and its arguments as a list, such as [\"/bin/true\"]",
    ),
    ("[alerts]\nmail_to = [\"a@b\\nBcc: c@d\"]\n", (2, 11), "`a@b\nBcc: c@d` is no address such as ops@example.org"),
    ("[log]\nformat = \"xml\"\n", (2, 10), "unknown variant `xml`, expected `text` or `json`"),
];

#[test]
fn a_value_that_is_none_gets_a_hint_of_its_kind_that_does_not_repeat_it() {
    for (text, hint) in [
        ("[net]\nlisten = 127.0.0.1:1\n", "a text stands in quotes: listen = \"...\""),
        ("[alerts]\nwebhook = http://host/token\n", "a text stands in quotes: webhook = \"...\""),
        ("[net]\nname = 2026-99-99\n", "a text stands in quotes: name = \"...\""),
        ("[memory]\nbudget_bytes = 512MB # token\n", "a number with a unit stands in quotes: budget_bytes = \"...\""),
        ("[net]\nban_ms = 30s\n", "a number with a unit stands in quotes: ban_ms = \"...\""),
        ("[net]\nconnections_max = 99999999999999999999\n", "expected a whole number from 1 to 20000"),
        ("[net]\nconnections_max = 2026-99-99\n", "expected a whole number from 1 to 20000"),
        ("[net]\nmdns = yes\n", "expected `mdns = true` or `mdns = false`"),
        ("[ net ]\nmdns = True\n", "expected `mdns = true` or `mdns = false`"),
        ("[net]\npeers = a.example:1\n", "a list stands in brackets, and each text of it in quotes: peers = [\"...\"]"),
    ] {
        let problem = Config::parse(text).expect_err(text);
        let is_placed = problem.starts_with("TOML parse error at line 2");
        assert!(is_placed && problem.ends_with(&format!("\n{hint}")), "{problem}");
        let is_text = hint.contains("stands in quotes: ");
        assert!(is_text || !problem.contains("must be quoted"), "it is no text: {problem}");
        assert!(!problem.lines().skip(4).any(|line| line.contains("token")), "{problem}");
    }
    let large = "[memory]\nbudget_bytes = 99999999999999999999\n";
    assert!(!Config::parse(large).expect_err(large).contains("quotes"), "in quotes it is as large");
}
