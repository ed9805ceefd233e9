//! What holds for the tree as a whole: which crate may see which, that its files name no place of one machine, and that
//! its pages lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// The root of the tree.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("this crate's manifest lies one folder below the root").to_owned()
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn manifest(path: &Path) -> Table {
    read(path).parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every crate of the workspace: those that are absent yet have their rule already.
const MAY_SEE: [(&str, &[&str]); 16] = [
    ("engine", &[]),
    ("order", &["engine"]),
    ("systems", &["engine", "order"]),
    ("net", &["engine"]),
    ("aside", &[]),
    ("storage", &["engine", "aside"]),
    ("words", &["engine", "systems"]),
    ("keys", &["engine", "order", "net", "aside"]),
    ("node", &["engine", "order", "systems", "net", "storage", "words", "keys", "aside"]),
    ("audit", &["engine", "order", "systems", "storage", "words", "aside"]),
    ("play", &["engine", "order", "systems", "net", "words", "keys"]),
    ("load", &["engine", "order", "systems", "net", "storage", "words", "keys", "node", "audit", "aside"]),
    ("sim", &["engine", "order", "systems", "net", "storage", "keys", "node", "audit"]),
    ("operate", &["engine", "net", "node", "words"]),
    (
        "bitcraps",
        &[
            "engine", "order", "systems", "net", "storage", "words", "keys", "node", "audit", "play", "load", "sim",
            "operate", "aside",
        ],
    ),
    ("benches", &["engine", "order", "systems", "net", "storage", "keys", "node", "audit", "load"]),
];

/// What only the tests of a crate may see beside that: sessions to read are recorded by simulated players.
const TESTS_MAY_SEE: [(&str, &[&str]); 2] = [("node", &["audit", "load"]), ("audit", &["node", "load"])];

fn may_see(name: &str) -> &'static [&'static str] {
    let rule = MAY_SEE.iter().find(|(of, _)| *of == name);
    rule.unwrap_or_else(|| panic!("crate `{name}` has no rule: say in MAY_SEE what it may depend on")).1
}

pub(crate) fn members() -> Vec<String> {
    let workspace = manifest(&root().join("Cargo.toml"));
    let members = workspace["workspace"]["members"].as_array().expect("members are a list");
    members.iter().map(|member| member.as_str().expect("a member is a folder").to_owned()).collect()
}

/// The kinds of dependencies that a manifest names.
const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// The dependencies of some kinds, for every target, that a manifest names.
fn dependencies(manifest: &Table, kinds: &[&str]) -> Vec<(String, Value)> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(|targets| targets.values());
    let tables = targets.filter_map(Value::as_table).chain([manifest]);
    tables
        .flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()))
        .flat_map(|named| named.iter().map(|(name, value)| (name.clone(), value.clone())))
        .collect()
}

/// The crates of ours that a manifest may not name but does. A renamed one is known by its `package` or `path`.
fn forbidden(name: &str, manifest: &Table) -> Vec<String> {
    let own = |named: &String| MAY_SEE.iter().any(|(of, _)| of == named);
    let in_tests = TESTS_MAY_SEE.iter().find(|(of, _)| *of == name).map_or(&[][..], |(_, seen)| *seen);
    let with = |kinds: &[&str], more: &'static [&'static str]| {
        let found = dependencies(manifest, kinds).into_iter();
        found.map(move |(key, value)| (key, value, more)).collect::<Vec<_>>()
    };
    [with(&["dependencies", "build-dependencies"], &[]), with(&["dev-dependencies"], in_tests)]
        .into_iter()
        .flatten()
        .map(|(key, value, more)| {
            let text = |field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
            let folder =
                text("path").map(|path| path.trim_end_matches('/').rsplit('/').next().unwrap_or("").to_owned());
            (text("package").or(folder).unwrap_or(key), more)
        })
        .filter(|(named, more)| {
            own(named) && !may_see(name).contains(&named.as_str()) && !more.contains(&named.as_str())
        })
        .map(|(named, _)| named)
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    for name in members() {
        let manifest = manifest(&root().join(&name).join("Cargo.toml"));
        assert_eq!(manifest["package"]["name"].as_str(), Some(&*name), "a crate is named after its folder");
        let wrong = forbidden(&name, &manifest);
        assert!(wrong.is_empty(), "{name} may see {:?}, but names {wrong:?}", may_see(&name));
    }
}

#[test]
fn a_forbidden_dependency_is_seen_in_every_guise() {
    for guise in [
        "dependencies.systems.workspace = true",
        "dev-dependencies.systems.workspace = true",
        "[target.'cfg(unix)'.dependencies]\nsystems = { path = \"../systems\" }",
        "[build-dependencies]\nother = { package = \"systems\", path = \"../systems\" }",
        "[dependencies]\nother = { path = \"../systems/\" }",
    ] {
        let manifest: Table = guise.parse().expect("a manifest");
        assert_eq!(forbidden("storage", &manifest), ["systems"], "{guise}");
        assert!(forbidden("node", &manifest).is_empty(), "{guise}");
    }
}

#[test]
fn the_debian_package_says_which_version_it_is_of() {
    let workspace = manifest(&root().join("Cargo.toml"));
    let version = workspace["workspace"]["package"]["version"].as_str().expect("a version");
    let changelog = read(&root().join("packaging/debian/changelog"));
    assert!(changelog.starts_with(&format!("bitcraps ({version}-1) ")), "packaging/debian/changelog: {changelog}");
}

#[test]
fn what_tests_may_see_the_crate_may_not() {
    let of = |kind: &str| format!("{kind}.load.workspace = true").parse::<Table>().expect("a manifest");
    assert!(forbidden("audit", &of("dev-dependencies")).is_empty());
    assert_eq!(forbidden("audit", &of("dependencies")), ["load"]);
    assert_eq!(forbidden("play", &of("dev-dependencies")), ["load"]);
}

/// The crates of others that whoever depends on `name` compiles, straight from its manifest and those of ours below it.
fn compiled_by(name: &str, found: &mut Vec<String>) {
    let manifest = manifest(&root().join(name).join("Cargo.toml"));
    for (key, _) in dependencies(&manifest, &["dependencies", "build-dependencies"]) {
        if MAY_SEE.iter().any(|(of, _)| *of == key) {
            compiled_by(&key, found);
        } else {
            found.push(key);
        }
    }
}

#[test]
fn a_validator_links_no_screen_and_no_sheet() {
    let mut found = Vec::new();
    compiled_by("node", &mut found);
    for absent in
        ["axum", "clap", "comfy-table", "csv", "foyer", "hdrhistogram", "indicatif", "parquet", "ratatui", "sysinfo"]
    {
        assert!(!found.iter().any(|named| named == absent), "`node` brings `{absent}` along");
    }
    assert!(found.iter().any(|named| named == "quinn"), "what its crates bring along is seen too");
}

#[test]
fn crates_share_versions_and_lints() {
    for name in members() {
        let manifest = manifest(&root().join(&name).join("Cargo.toml"));
        let shared = |value: &Value| value.get("workspace").and_then(Value::as_bool) == Some(true);
        assert!(manifest.get("lints").is_some_and(shared), "{name} has lints of its own");
        let own: Vec<String> = dependencies(&manifest, &KINDS)
            .into_iter()
            .filter(|(_, value)| !shared(value))
            .map(|(name, _)| name)
            .collect();
        assert!(own.is_empty(), "{name} has versions of its own for {own:?}: they belong to the workspace");
    }
}

#[test]
fn every_member_is_compiled_as_ours() {
    let workspace = manifest(&root().join("Cargo.toml"));
    let profiles = &workspace["profile"];
    let named = |profile: &str| profiles[profile]["package"].as_table().expect("profiles").clone();
    let (dev, release) = (named("dev"), named("release"));
    for member in members() {
        let has_lines = |profile: &Table| profile.get(&member).and_then(|own| own.get("debug")).is_some();
        assert!(has_lines(&dev) && has_lines(&release), "a panic of `{member}` would not say where it is");
        let checks = release.get(&member).and_then(|profile| profile.get("overflow-checks")?.as_bool());
        assert_eq!(checks, Some(true), "profile.release.package does not check `{member}`: its sums would wrap");
    }
    // Packages and benches are compiled as releases are, with all of these.
    for (profile, from) in [("dist", "release"), ("bench", "dist")] {
        let inherits = profiles[profile].get("inherits").and_then(Value::as_str);
        assert!(inherits == Some(from) && profiles[profile].get("package").is_none(), "profile.{profile}");
    }
    // What tests run is optimised where releases are: they would be slow where their list lacks what the other has. What it has beyond
    // that is what nothing waits for.
    let lacking: Vec<&String> = release.keys().filter(|spec| !dev.contains_key(*spec)).collect();
    assert!(lacking.is_empty(), "profile.dev.package does not name {lacking:?}, which profile.release.package does");
    for (spec, own) in dev.iter().filter(|(spec, _)| !release.contains_key(*spec)) {
        let level = own.get("opt-level").and_then(Value::as_integer);
        assert_eq!(level, Some(0), "`{spec}` is optimised in profile.dev alone");
    }
    // Cargo only warns of a name that nothing has.
    let locked = manifest(&root().join("Cargo.lock"));
    let packages = locked["package"].as_array().expect("packages");
    for spec in dev.keys() {
        let (name, version) = spec.split_once('@').unwrap_or((spec, ""));
        let is = |package: &&Value| {
            let text = |field: &str| package[field].as_str().expect("text");
            text("name") == name && text("version").starts_with(version)
        };
        assert_eq!(packages.iter().filter(is).count(), 1, "packages in Cargo.lock that are `{spec}`");
    }
}

#[test]
fn the_core_has_one_list_of_bans() {
    let bans = |name: &str| read(&root().join(name).join("clippy.toml"));
    for name in ["order", "systems"] {
        assert_eq!(bans(name), bans("engine"), "{name}/clippy.toml is not engine/clippy.toml");
    }
    let parsed: Table = bans("engine").parse().expect("clippy.toml is TOML");
    for list in ["disallowed-types", "disallowed-methods"] {
        for ban in parsed[list].as_array().expect("a list of bans") {
            let reason = ban.get("reason").and_then(Value::as_str);
            assert!(reason.is_some_and(|reason| !reason.is_empty()), "{ban:?} has no reason");
        }
    }
}

/// Folders that are made, not written.
const MADE: [&str; 4] = [".git", "target", "sessions", "book"];

pub(crate) fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a folder can be read to its end").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if MADE.contains(&name) {
            continue;
        }
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn texts() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(&root(), &mut found);
    let texts: Vec<_> =
        found.into_iter().filter_map(|path| fs::read_to_string(&path).ok().map(|t| (path, t))).collect();
    assert!(texts.len() > 50, "the tree has more than {} texts", texts.len());
    texts
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    // Put together here, so that this file passes its own test.
    let homes = ["home", "root", "Users", "work", "mnt"].map(|home| format!("/{home}/"));
    let starts_a_path = |before: Option<char>| before.is_none_or(|c| c.is_whitespace() || "\"'`(=:<[,".contains(c));
    let mut wrong = Vec::new();
    for (path, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            let names = |home: &String| {
                line.match_indices(home.as_str()).any(|(at, _)| starts_a_path(line[..at].chars().next_back()))
            };
            if homes.iter().any(names) {
                wrong.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "absolute paths of a machine:\n{}", wrong.join("\n"));
}

/// The targets of a page's links, code left out.
fn links(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        // Every second part between backticks is code.
        let prose: String = line.split('`').step_by(2).collect();
        found.extend(prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
    }
    found
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    let mut followed = 0;
    for (path, text) in texts().into_iter().filter(|(path, _)| path.extension().is_some_and(|ext| ext == "md")) {
        let folder = path.parent().expect("a file lies in a folder");
        for link in links(&text).into_iter().filter(|link| !link.contains("://") && !link.starts_with('#')) {
            followed += 1;
            let file = link.split('#').next().unwrap_or_default();
            if !folder.join(file).is_file() {
                broken.push(format!("{} -> {link}", path.display()));
            }
        }
    }
    assert!(followed > 20, "only {followed} links were found");
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn the_book_lists_every_page() {
    let docs = root().join("docs");
    let listed: Vec<PathBuf> = links(&read(&docs.join("SUMMARY.md"))).iter().map(|link| docs.join(link)).collect();
    let mut pages = Vec::new();
    files(&docs, &mut pages);
    pages.retain(|page| page.extension().is_some_and(|ext| ext == "md") && !page.ends_with("SUMMARY.md"));
    let unlisted: Vec<&PathBuf> = pages.iter().filter(|page| !listed.contains(page)).collect();
    assert!(unlisted.is_empty(), "docs/SUMMARY.md does not list {unlisted:?}");
}

/// The lines of a page that begin as a row of a table and are in none: they would be shown as text.
fn stray_rows(page: &str) -> Vec<usize> {
    let mut is_code = false;
    let mut lines: Vec<&str> = Vec::new();
    for line in page.lines() {
        is_code ^= line.starts_with("```");
        lines.push(if is_code { "" } else { line });
    }
    let is_row = |at: usize| lines.get(at).is_some_and(|line| line.starts_with('|'));
    let is_separator = |at: usize| is_row(at) && lines[at].chars().all(|letter| "|-: ".contains(letter));
    let strays = (0..lines.len()).filter(|at| is_row(*at) && !(*at > 0 && is_row(*at - 1)) && !is_separator(*at + 1));
    strays.map(|at| at + 1).collect()
}

#[test]
fn every_row_of_a_page_is_in_a_table() {
    let (mut rows, mut strays) = (0, Vec::new());
    for (path, text) in texts().into_iter().filter(|(path, _)| path.extension().is_some_and(|ext| ext == "md")) {
        rows += text.lines().filter(|line| line.starts_with('|')).count();
        strays.extend(stray_rows(&text).into_iter().map(|line| format!("{}:{line}", path.display())));
    }
    assert!(rows > 500, "only {rows} rows were found");
    assert!(strays.is_empty(), "rows that are in no table:\n{}", strays.join("\n"));
    assert_eq!(stray_rows("a\n| b | c |\n|---|:-:|\n| d | e |\n\n| f | g |\nh"), [6]);
    assert_eq!(stray_rows("```\n| b |\n```\n| c |"), [4]);
}

#[test]
fn documents_that_the_code_cites_exist() {
    let mut cited = 0;
    for (path, text) in texts().into_iter().filter(|(path, _)| path.extension().is_some_and(|ext| ext == "rs")) {
        for part in text.split("docs/").skip(1) {
            let Some((name, _)) = part.split_once(".md") else { continue };
            if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_/".contains(c)) {
                cited += 1;
                let page = root().join("docs").join(format!("{name}.md"));
                assert!(page.is_file(), "{} cites docs/{name}.md, which does not exist", path.display());
            }
        }
    }
    assert!(cited > 2, "only {cited} pages are cited");
}

/// The page that players read has every code, number and sentence that the engine has, in the order of precedence.
#[test]
fn the_page_of_refusals_is_the_engines_list() {
    let page = read(&root().join("docs/intents.md"));
    let rows: Vec<&str> = page.lines().skip_while(|line| !line.starts_with("| code |")).skip(2).collect();
    let expected: Vec<String> = engine::message::refusal::Refusal::ALL
        .iter()
        .map(|(refusal, name, sentence)| format!("| {} | `{name}` | {sentence} |", *refusal as u8))
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn what_the_debian_package_takes_from_the_tree_is_there() {
    let manifest = manifest(&root().join("bitcraps/Cargo.toml"));
    let deb = &manifest["package"]["metadata"]["deb"];
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut sources: Vec<String> =
        deb["assets"].as_array().expect("a list").iter().map(|asset| text(&asset[0])).collect();
    sources.push(text(&deb["license-file"][0]));
    sources.extend(["postinst", "postrm"].map(|script| format!("{}/{script}", text(&deb["maintainer-scripts"]))));
    sources.push(format!("{}/bitcraps.service", text(&deb["systemd-units"]["unit-scripts"])));
    let recipe = read(&root().join("justfile"));
    for source in sources {
        let is_made = source.starts_with("target/release") || source.starts_with("../target/package");
        let stem =
            source.trim_start_matches("../").split(['*', '.']).next().expect("a first part").trim_end_matches('/');
        let named = source.split('*').next().expect("a first part");
        let is_there = root().join("bitcraps").join(named).exists();
        assert!(is_there || (is_made && recipe.contains(stem.trim_start_matches("target/release/"))), "{source}");
    }
}

/// Whoever has the package and no network follows the links of its pages too.
#[test]
fn the_debian_package_has_every_page_that_its_pages_lead_to() {
    let manifest = manifest(&root().join("bitcraps/Cargo.toml"));
    let docs = root().join("docs").canonicalize().expect("a folder");
    let mut shipped = Vec::new();
    for asset in manifest["package"]["metadata"]["deb"]["assets"].as_array().expect("a list") {
        let part = |at: usize| asset[at].as_str().expect("text");
        let Some(folder) = part(0).strip_prefix("../docs/").and_then(|source| source.strip_suffix("*.md")) else {
            continue;
        };
        assert_eq!(part(1), format!("usr/share/doc/bitcraps/{folder}"), "where the links of other pages look for it");
        let entries = fs::read_dir(docs.join(folder)).expect("a folder").map(|entry| entry.expect("an entry").path());
        shipped.extend(entries.filter(|path| path.extension().is_some_and(|ext| ext == "md")));
    }
    let mut followed = 0;
    for page in &shipped {
        let folder = page.parent().expect("a file lies in a folder");
        for link in links(&read(page)).into_iter().filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let target = folder.join(link.split('#').next().unwrap_or_default()).canonicalize();
            let target = target.unwrap_or_else(|error| panic!("{} -> {link}: {error}", page.display()));
            assert!(shipped.contains(&target), "{} leads to {link}, which the package leaves out", page.display());
            followed += 1;
        }
    }
    assert!(followed > 20, "only {followed} links were followed");
}

#[test]
fn what_the_unit_starts_from_is_made_by_the_package_or_by_the_commands_of_the_guide() {
    let unit = read(&root().join("packaging/systemd/bitcraps.service"));
    let (made, guide) = (read(&root().join("packaging/debian/postinst")), read(&root().join("docs/operating.md")));
    let after = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("no {key}"));
        line.rsplit([' ', ':']).next().expect("a last word").to_owned()
    };
    let node = after("ExecStart=").replace("/bitcraps.toml", "");
    let state = format!("/var/lib/{}", after("StateDirectory="));
    assert!(node.starts_with(&state), "{node}");
    let (user, mode) = (after("User="), after("StateDirectoryMode="));
    assert!(made.contains(&format!("install -d -m {mode} -o {user} -g {user} {state}\n")), "{made}");
    assert!(guide.contains(&format!("\nrunuser -u {user} -- bitcraps init {node} ")), "the guide makes {node}");
    let passphrase = after("LoadCredential=");
    let (folder, _) = passphrase.rsplit_once('/').expect("a path");
    assert!(made.contains(&format!("install -d -m 0755 {folder}\n")), "{made}");
    assert!(guide.contains(&format!("> {passphrase})\n")), "the guide makes {passphrase}");
    // A follower's lines in the guide change what the unit has.
    let start = unit.lines().find(|line| line.starts_with("ExecStart=")).expect("a start");
    assert!(guide.contains(&format!("\n[Service]\nExecStart=\n{start} --follow\n")), "the guide has another start");
}

/// Kinds of sockets that a node opens: of players and nodes, of the manager of services, and those that list interfaces for
/// `net.mdns`.
#[test]
fn the_unit_allows_every_kind_of_socket_that_a_node_opens() {
    let unit = read(&root().join("packaging/systemd/bitcraps.service"));
    let allowed = unit.lines().find_map(|line| line.strip_prefix("RestrictAddressFamilies=")).expect("a list");
    let mut allowed: Vec<&str> = allowed.split(' ').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"]);
}
