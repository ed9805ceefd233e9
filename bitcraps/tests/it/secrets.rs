//! Secrets: none of a node's or a player's is in what either says, serves or packs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::lines::Lines;
use super::newcomer::{made_node, play_script, program, run, signal, text};

/// What the configuration of the node has and nobody else is to see.
const WEBHOOK: &str = "http://127.0.0.1:9/hook-token-83b1f0";
const COMMAND: &str = "--page-token-5c77d2";
const LETTERS: &str = "night-shift-41ab@example.org";
/// What is public, in the same places: a search that does not find it finds nothing.
const NAME: &str = "a-name-for-all-90d3";

/// A secret in every guise in which it could be written.
fn guises(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list: Vec<String> = secret.iter().map(u8::to_string).collect();
    let mut guises = vec![secret.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    guises.extend([list.join(", ").into_bytes(), list.join(",").into_bytes()]);
    guises.extend((0..3).map(|skipped| base64(&secret[skipped..])));
    guises
}

/// Base64 without what depends on the bytes around it: those of a secret inside of something longer are found too.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |three: &[u8]| {
        let word = three.iter().fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| DIGITS[word >> shift & 63])
    };
    bytes.chunks_exact(3).flat_map(digits).collect()
}

/// The seed in a key's file, which is not encrypted: the last 32 bytes that OpenSSL would print of it.
fn seed(path: &Path) -> Vec<u8> {
    let pem = fs::read_to_string(path).expect("a key");
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let value = |digit: u8| match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let bits: Vec<u8> = body.bytes().filter(|digit| *digit != b'=').map(value).collect();
    let bytes: Vec<u8> = bits
        .chunks(4)
        .flat_map(|four| {
            let word = four.iter().fold(0_u32, |word, six| word << 6 | u32::from(*six)) << (6 * (4 - four.len()));
            [16, 8, 0].map(|shift| (word >> shift) as u8)[..four.len() - 1].to_vec()
        })
        .collect();
    // PKCS#8 version 1 of Ed25519: 16 bytes before the seed (RFC 8410, 7).
    assert_eq!(bytes.len(), 48, "{}", path.display());
    bytes[16..].to_vec()
}

/// Where a secret is, of texts with their names.
fn found(secrets: &[(String, Vec<u8>)], texts: &[(String, Vec<u8>)]) -> Vec<String> {
    let mut found = Vec::new();
    for (secret, bytes) in secrets {
        for guise in guises(bytes) {
            let holds = |text: &[u8]| text.windows(guise.len()).any(|window| window == guise);
            found.extend(texts.iter().filter(|(_, text)| holds(text)).map(|(name, _)| format!("{secret} in {name}")));
        }
    }
    found
}

/// The parts of an archive.
fn unpacked(archive: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = zstd::decode_all(fs::File::open(archive).expect("an archive")).expect("Zstandard");
    let mut archive = tar::Archive::new(&bytes[..]);
    let parts = archive.entries().expect("tar").map(|entry| {
        let mut entry = entry.expect("a part");
        let name = entry.path().expect("a name").display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("its bytes");
        (name, bytes)
    });
    parts.collect()
}

/// A body of a monitor.
pub(super) fn ask(address: &str, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    answer
}

/// A node with everything in its configuration that could tell; its configuration.
fn talkative(dir: &Path) -> PathBuf {
    let config = made_node(&dir.join("node"), &["--window", "1000"]);
    let file = fs::read_to_string(&config).expect("a configuration");
    let file = file
        .replace("webhook = \"\"", &format!("webhook = \"{WEBHOOK}\""))
        .replace("exec = []", &format!("exec = [\"/bin/true\", \"{COMMAND}\"]"))
        .replace("mail_to = []", &format!("mail_to = [\"{LETTERS}\"]"))
        .replace("sendmail = \"/usr/sbin/sendmail\"", "sendmail = \"/bin/true\"")
        .replace("name = \"craps\"", &format!("name = \"{NAME}\""))
        .replace("filter = \"", "filter = \"debug,");
    for set in [WEBHOOK, COMMAND, LETTERS, NAME] {
        assert!(file.contains(set), "{set}");
    }
    fs::write(&config, file).expect("written");
    config
}

#[test]
fn no_secret_is_in_a_log_on_a_page_or_in_an_archive() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = talkative(dir.path());
    let log = dir.path().join("node.log");
    let mut node = program()
        .args(["node", "--config", text(&config), "--output", "ndjson", "--set", "monitoring.listen=127.0.0.1:0"])
        .env("XDG_CACHE_HOME", dir.path())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&log).expect("a log"))
        .spawn()
        .expect("the program runs");
    let said = Lines::of(node.stdout.take().expect("piped")).next();
    let ready: Value = serde_json::from_str(&said).expect("a ready line");
    let monitor = ready["dashboard"].as_str().expect("an address").trim_start_matches("http://").trim_end_matches('/');
    let player = dir.path().join("player.pem");
    let (code, events, err) = play_script(
        ready["listen"].as_str().expect("an address"),
        &player,
        "open\nwait receipt\nsit 1000\nwait receipt\npass 10\nwait receipt\nquit\n",
    );
    assert_eq!(code, 0, "{err}");
    signal(&node, "-HUP");

    let keys = config.parent().expect("a folder").join("keys");
    let mut secrets: Vec<(String, Vec<u8>)> = ["validator", "dkg", "beacon", "net"]
        .map(|name| (name.to_owned(), seed(&keys.join(format!("{name}.pem")))))
        .into();
    secrets.push(("player".into(), seed(&player)));
    secrets.extend([WEBHOOK, COMMAND, LETTERS].map(|text| (text.to_owned(), text.as_bytes().to_vec())));

    let archive = dir.path().join("support.tar.zst");
    let listen = format!("monitoring.listen={monitor}");
    let args = [
        "support",
        "--config",
        text(&config),
        "--set",
        &listen,
        "--set",
        "storage.bytes_max=32GiB",
        "--check",
        "--log",
        text(&log),
        "--to",
        text(&archive),
    ];
    let (code, out, err) = run(&args);
    assert_eq!(code, 0, "{err}");
    let (again, _, refused) = run(&args);
    assert!(again == 4 && refused.contains("support.tar.zst"), "nothing is overwritten: {again} {refused}");
    let parts = unpacked(&archive);
    let mut texts: Vec<_> = parts.iter().map(|(name, bytes)| (format!("archive: {name}"), bytes.clone())).collect();
    for path in ["/", "/metrics", "/healthz", "/readyz", "/api/page", "/api/now", "/api/history", "/api/game/table/0"] {
        texts.push((path.into(), ask(monitor, path)));
    }
    let past = &texts.last().expect("it was asked").1;
    assert!(String::from_utf8_lossy(past).contains("\"sit\""), "{}", String::from_utf8_lossy(past));
    signal(&node, "-TERM");
    assert!(node.wait().expect("it ends").success());
    texts.push(("log".into(), fs::read(&log).expect("a log")));
    for (name, said) in [("ready", said.clone()), ("support", out), ("play", events), ("play's remarks", err)] {
        texts.push((name.into(), said.into_bytes()));
    }
    for session in session_files(&config) {
        texts.push((session.display().to_string(), fs::read(&session).expect("a file")));
    }
    assert_eq!(found(&secrets, &texts), [""; 0]);

    let public = [(NAME.to_owned(), NAME.as_bytes().to_vec())];
    let shown = found(&public, &texts);
    for place in ["archive: bitcraps-support/config.txt", "/api/page"] {
        assert!(shown.iter().any(|found| found.ends_with(place)), "a search that finds nothing in {place}: {shown:?}");
    }
    let part = |name: &str| {
        let part = parts.iter().find(|(part, _)| part == &format!("bitcraps-support/{name}"));
        String::from_utf8(part.unwrap_or_else(|| panic!("{name} is packed")).1.clone()).expect("text")
    };
    assert!(part("config.txt").contains("alerts.webhook = (left out)"), "{}", part("config.txt"));
    assert!(
        part("node/metrics.txt").contains("bitcraps_height_settled ") && part("node/now.json").contains("\"alerts\"")
    );
    assert!(part("doctor.json").contains("\"file system\"") && part("versions.json").contains("\"kernel\""));
    let stats = part("session/stats.json");
    assert!(
        stats.contains("\"settled\"") && stats.contains(&(32_u64 << 30).to_string()),
        "the node's own bound: {stats}"
    );
    assert!(part("session/check.json").contains("\"ok\""));
    assert!(part("logs/node.log").contains("a player came"));
}

#[test]
fn what_services_and_timed_jobs_start_writes_no_line_of_the_configuration_into_their_journal() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = talkative(dir.path());
    let good = fs::read_to_string(&config).expect("a configuration");
    let line = format!("webhook = \"{WEBHOOK}\"");
    for (wrong, says) in [
        (line.replace("http://", "https://"), "no address of http://"),
        (line.replace('"', ""), "a text stands in quotes"),
        (format!("web{line}"), "unknown field `webwebhook`"),
    ] {
        assert!(good.contains(&line));
        fs::write(&config, good.replace(&line, &wrong)).expect("written");
        let bundle = dir.path().join("bundle.tar");
        let (file, table, to) = (text(&config), ["--table", "0"], ["--to", text(&bundle)]);
        for command in [
            &["node", "--config", file][..],
            &["health", "--config", file],
            &["doctor", "--config", file],
            &["db", "stats", "--config", file],
            &[&["support", "--config", file][..], &to].concat(),
            &[&["history", "--config", file][..], &table].concat(),
        ] {
            let (code, out, err) = run(command);
            assert!(code == 3 && out.is_empty() && err.contains(says) && err.contains("at line"), "{code} {out} {err}");
            assert!(!err.contains("hook-token"), "{command:?}: standard error is kept in a journal: {err}");
        }
        let (code, _, shown) = run(&["config", "check", text(&config)]);
        assert!(code == 3 && shown.contains("hook-token"), "who mends the file sees the line: {code} {shown}");
    }
}

/// The files of the session: what other nodes get is in there.
fn session_files(config: &Path) -> Vec<PathBuf> {
    let session = config.parent().expect("a folder").join("session");
    let folders = [session.clone(), session.join("journal"), session.join("consensus"), session.join("snapshots")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect()
}

#[test]
fn a_secret_is_found_in_each_of_its_guises() {
    let secret: Vec<u8> = (40..72).collect();
    let (hex, list) = ("2829", "40, 41, 42");
    let guises = guises(&secret);
    assert!(guises.iter().any(|guise| guise.starts_with(hex.as_bytes())));
    assert!(guises.iter().any(|guise| guise.starts_with(list.as_bytes())));
    let secrets = [("seed".to_owned(), secret.clone())];
    for before in 0..3 {
        let longer: Vec<u8> = std::iter::repeat_n(9, before).chain(secret.clone()).chain([1, 2, 3]).collect();
        let texts = [("pem".to_owned(), base64(&longer))];
        assert!(!found(&secrets, &texts).is_empty(), "{before} bytes before it");
    }
    assert_eq!(base64(b"foobar"), b"Zm9vYmFy");
}
