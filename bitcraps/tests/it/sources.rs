//! What holds for the sources of every crate: no circle of files, and no dependency that nothing uses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::{Table, Value};

use crate::manifests::{files, manifest, members, read, root};

/// A module's file: what it brings into scope, and the rest of its code, without comments and inline tests.
struct Source {
    uses: Vec<Use>,
    code: String,
}

/// A name that a `use` line brings into scope.
struct Use {
    path: String,
    name: String,
    /// It is handed on to whoever names this module.
    is_door: bool,
}

/// The modules of a crate by their paths in it, the root being empty.
type Modules = BTreeMap<Vec<String>, Source>;

impl Source {
    fn of(text: &str) -> Self {
        let (mut uses, mut code) = (Vec::new(), String::new());
        for statement in text.split(';') {
            let (before, tree) = statement.rsplit_once("use ").unwrap_or((statement, ""));
            let visibility = before.lines().last().unwrap_or_default().trim();
            if !tree.is_empty() && (visibility.is_empty() || visibility.starts_with("pub")) {
                let is_door = visibility.starts_with("pub");
                let paths = expand(&tree.split_whitespace().collect::<Vec<_>>().join(" "));
                uses.extend(paths.into_iter().map(|(path, name)| Use { path, name, is_door }));
                code += before;
            } else {
                // The `mod` line of a file names no need of this one.
                let (above, last) = statement.rsplit_once('\n').unwrap_or(("", statement));
                code += if declares_module(last) { above } else { statement };
            }
            code.push(';');
        }
        Self { uses, code }
    }
}

/// Whether a line, up to its semicolon, is the `mod` line of a file.
fn declares_module(line: &str) -> bool {
    let line = line.trim();
    line.rsplit_once("mod ").is_some_and(|(before, name)| {
        (before.is_empty() || before.starts_with("pub"))
            && name.chars().all(|letter| letter == '_' || letter.is_alphanumeric())
    })
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The modules of a crate. What is compiled for tests only is left out.
fn modules(src: &Path) -> Modules {
    let mut found = Vec::new();
    files(src, &mut found);
    let mut modules = Modules::new();
    for path in found.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        let relative = path.strip_prefix(src).expect("it lies in the crate").with_extension("");
        let mut module: Vec<String> =
            relative.iter().map(|part| part.to_str().expect("files have plain names").to_owned()).collect();
        if module.last().is_some_and(|last| ["lib", "main", "mod"].contains(&last.as_str())) {
            module.pop();
        }
        let text = without_comments(&read(&path));
        let inline = ["mod tests {", "pub(crate) mod tests {"].map(|tests| format!("#[cfg(test)]\n{tests}"));
        let end = inline.iter().filter_map(|tests| text.find(tests)).min().unwrap_or(text.len());
        let text = &text[..end];
        if !module.iter().any(|part| part == "tests") {
            modules.insert(module, Source::of(text));
        }
    }
    modules
}

/// A `use` tree as its single paths, each with the name that it has from there on.
fn expand(tree: &str) -> Vec<(String, String)> {
    let last = |path: &str| path.trim().rsplit("::").next().unwrap_or_default().to_owned();
    let Some((prefix, rest)) = tree.split_once('{') else {
        let (path, name) = tree.split_once(" as ").map_or((tree, last(tree)), |(path, name)| (path, last(name)));
        return vec![(path.trim().to_owned(), name)];
    };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut depth, mut start, mut paths) = (0_i32, 0, Vec::new());
    for (at, letter) in inner.char_indices().chain([(inner.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inner[start..at].trim();
                start = (at + 1).min(inner.len());
                if !part.is_empty() {
                    paths.extend(expand(part).into_iter().map(|(path, name)| {
                        let name = if name == "self" { last(prefix.trim().trim_end_matches(':')) } else { name };
                        (format!("{}{path}", prefix.trim()), name)
                    }));
                }
            }
            _ => {}
        }
    }
    paths
}

/// The module that a path in `module` leads to, through the doors on its way: whoever names what a module hands on needs the
/// file that has it.
fn resolve(module: &[String], path: &str, modules: &Modules) -> Vec<String> {
    let mut parts = path.split("::").peekable();
    let mut at: Vec<String> = match parts.peek().copied() {
        Some("crate") => parts.next().map(|_| Vec::new()).unwrap_or_default(),
        Some("self") => parts.next().map(|_| module.to_vec()).unwrap_or_default(),
        Some("super") => {
            let mut base = module.to_vec();
            while parts.next_if_eq(&"super").is_some() {
                base.pop();
            }
            base
        }
        _ => module.to_vec(),
    };
    while let Some(part) = parts.next() {
        let below = [&at[..], &[part.to_owned()]].concat();
        if modules.contains_key(&below) {
            at = below;
            continue;
        }
        let doors = modules.get(&at).into_iter().flat_map(|source| &source.uses).filter(|one| one.is_door);
        // A macro's name is handed on without a path: its file is this one.
        let Some(door) = doors.into_iter().find(|one| one.name == part && one.path.contains("::")) else { break };
        let rest: Vec<&str> = [door.path.as_str()].into_iter().chain(parts).collect();
        return resolve(&at, &rest.join("::"), modules);
    }
    at
}

/// The paths in some code: `crate::a::b`, `super::a`, `child::x`. One that begins with `::` names another crate.
fn paths(code: &str) -> impl Iterator<Item = &str> {
    let of_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    code.split(move |letter| !of_path(letter)).filter(|path| path.contains("::") && !path.starts_with(':'))
}

/// Whether a name stands in some code as a word of its own.
fn has_word(code: &str, name: &str) -> bool {
    let of_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.split(|letter| !of_word(letter)).any(|word| word == name)
}

/// The modules that a module names, in its `use` lines and in its code. What it hands on of its own children is a door, not a
/// need, unless its own code names that too.
fn needs(module: &[String], modules: &Modules) -> BTreeSet<Vec<String>> {
    let Source { uses, code } = &modules[module];
    let mut needed: BTreeSet<_> = paths(code).map(|path| resolve(module, path, modules)).collect();
    for one in uses.iter().filter(|one| one.path.contains("::")) {
        let at = resolve(module, &one.path, modules);
        let is_only_door = one.is_door && at.starts_with(module) && !has_word(code, &one.name);
        if !is_only_door {
            needed.insert(at);
        }
    }
    needed.remove(module);
    needed
}

/// What each module of a crate needs.
fn edges(modules: &Modules) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    modules.keys().map(|module| (module.clone(), needs(module, modules))).collect()
}

/// A way from a module back to itself, if there is one.
fn circle(edges: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> Option<Vec<String>> {
    // A module without needs can be taken away; what cannot be taken away in the end lies on a circle or leads to one.
    let mut left = edges.clone();
    loop {
        let free: Vec<_> = left
            .iter()
            .filter(|(_, needed)| needed.iter().all(|one| !left.contains_key(one)))
            .map(|(module, _)| module.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        left.retain(|module, _| !free.contains(module));
    }
    let mut at = left.keys().next()?.clone();
    let mut way: Vec<Vec<String>> = Vec::new();
    while !way.contains(&at) {
        way.push(at.clone());
        at = left[&at].iter().find(|one| left.contains_key(*one)).expect("it was not taken away").clone();
    }
    let from = way.iter().position(|one| *one == at).expect("the way came back");
    Some(way[from..].iter().map(|module| module.join("::")).collect())
}

#[test]
fn no_files_need_each_other() {
    let mut seen = 0;
    let mut circles = Vec::new();
    for name in members() {
        let edges = edges(&modules(&root().join(&name).join("src")));
        seen += edges.values().map(BTreeSet::len).sum::<usize>();
        circles.extend(circle(&edges).map(|way| format!("{name}: {}", way.join(" -> "))));
    }
    assert!(seen > 200, "only {seen} needs were found");
    assert!(circles.is_empty(), "files that need each other:\n{}", circles.join("\n"));
}

/// The circle among modules that are given by their paths and texts, if there is one.
fn circle_in(texts: &[(&str, &str)]) -> Option<Vec<String>> {
    let path = |name: &str| name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
    circle(&edges(&texts.iter().map(|(name, text)| (path(name), Source::of(text))).collect()))
}

#[test]
fn a_circle_is_seen_through_braces_and_super() {
    let root = ("", "mod a;\npub use a::X;");
    let a = ("a", "use crate::{b::{X, Y}, c};");
    let b = ("b", "use super::c::Z;\npub(crate) use crate::a::W;");
    assert_eq!(circle_in(&[root, a, b, ("c", "")]), Some(vec!["a".into(), "b".into()]));
    let none = circle_in(&[root, a, ("b", "use super::c::Z;"), ("c", "")]);
    assert_eq!(none, None, "a door of the root is no need");
}

#[test]
fn a_circle_is_seen_through_doors() {
    let (a, b) = (("a", "use super::K;"), ("b", "use crate::a::X;"));
    let circle = Some(vec!["a".into(), "b".into()]);
    assert_eq!(circle_in(&[("", "mod b;\npub use b::K;"), a, b]), circle, "a needs the file that has K");
    assert_eq!(circle_in(&[("", "pub(crate) use self::b::{self, Y as K};"), a, b]), circle, "by another name");
    assert_eq!(circle_in(&[("", "pub use c::K;"), a, b, ("c", "pub use super::b::K;")]), circle, "through two doors");
    assert_eq!(circle_in(&[("", "pub use b::Y;"), ("a", "use super::Z;"), b]), None, "nobody walks through");
    // A parent that names what it hands on needs the child as it would without the `pub`.
    let child = ("p::child", "use super::Own;");
    assert_eq!(circle_in(&[("p", "mod child;\npub use child::C;\npub struct Own;"), child]), None);
    let used = circle_in(&[("p", "mod child;\npub use child::C;\npub struct Own(C);"), child]);
    assert_eq!(used, Some(vec!["p".into(), "p::child".into()]));
    let named_as_the_file = ("p", "mod child;\npub use child::child;\npub struct Own;");
    assert_eq!(circle_in(&[named_as_the_file, child]), None, "a `mod` line is no use");
}

#[test]
fn a_circle_is_seen_through_paths_in_code() {
    let a = ("a", "mod child;\nfn run() { child::run(::node::clock::now()) }");
    let child = ("a::child", "fn run() { let x = crate::b::X; }");
    let b = ("b", "fn back() -> super::c::Y { 1 }");
    assert_eq!(circle_in(&[a, child, b, ("c", "")]), None);
    let back = ("c", "fn run() { crate::a::child::run() }");
    assert_eq!(circle_in(&[a, child, b, back]), Some(vec!["a::child".into(), "b".into(), "c".into()]));
    let up = circle_in(&[a, ("a::child", "use super::Failure;"), b, ("c", "")]);
    assert_eq!(up, Some(vec!["a".into(), "a::child".into()]), "a parent that calls its child");
}

/// Whether a crate's name is written where code would name it.
fn names(text: &str, dependency: &str) -> bool {
    let name = dependency.replace('-', "_");
    text.match_indices(&name).any(|(at, _)| {
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let before = text[..at].chars().next_back();
        let after = &text[at + name.len()..];
        before.is_none_or(|letter| !is_word(letter) && letter != ':')
            && (after.starts_with("::")
                || after.starts_with(';')
                || after.starts_with(" as ")
                || after.starts_with("!("))
    })
}

/// The code of some folders of a crate, comments left out.
fn code(folders: &[std::path::PathBuf]) -> String {
    let mut found = Vec::new();
    folders.iter().filter(|folder| folder.is_dir()).for_each(|folder| files(folder, &mut found));
    let sources = found.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    sources.map(|path| without_comments(&read(path))).collect::<Vec<_>>().join("\n")
}

fn named_in(manifest: &Table, kind: &str) -> Vec<String> {
    manifest.get(kind).and_then(Value::as_table).into_iter().flat_map(|table| table.keys().cloned()).collect()
}

#[test]
fn every_dependency_is_used() {
    let mut unused = Vec::new();
    let mut named = BTreeSet::new();
    for name in members() {
        let folder = root().join(&name);
        let manifest = manifest(&folder.join("Cargo.toml"));
        let all = code(&["src", "tests", "benches"].map(|part| folder.join(part)));
        let own = code(&[folder.join("src")]);
        for (kind, code) in [("dependencies", &own), ("dev-dependencies", &all)] {
            for dependency in named_in(&manifest, kind) {
                if !names(code, &dependency) {
                    unused.push(format!("{name}: {kind}.{dependency}"));
                }
                named.insert(dependency);
            }
        }
    }
    let workspace = manifest(&root().join("Cargo.toml"));
    let shared = workspace["workspace"].get("dependencies").and_then(Value::as_table).expect("shared versions");
    unused.extend(shared.keys().filter(|one| !named.contains(*one)).map(|one| format!("workspace: {one}")));
    assert!(named.len() > 50, "only {} dependencies were found", named.len());
    assert!(unused.is_empty(), "dependencies that no code names:\n{}", unused.join("\n"));
}

#[test]
fn a_name_in_a_longer_word_is_no_use() {
    assert!(names("use toml::Table;", "toml") && names("let x = toml::from_str(y);", "toml"));
    assert!(names("use pkcs8 as other;", "pkcs8") && names("use signal_hook::flag;", "signal-hook"));
    assert!(!names("use toml_edit::Table; my_toml::x; a::toml::b", "toml"));
}

/// A memory of verdicts, or hashes in the place of signatures, would be a hole in whatever plays: nothing but a simulation begins
/// the scope in which a thread has them.
#[test]
fn only_simulations_remember_signatures() {
    let begins = |name: &str| code(&[root().join(name).join("src")]).contains("memory::remembering(");
    let found: Vec<String> = members().into_iter().filter(|name| begins(name)).collect();
    assert_eq!(found, ["sim"]);
    // Of the program's commands one alone simulates.
    let mut commands = Vec::new();
    files(&root().join("bitcraps/src"), &mut commands);
    commands.retain(|path| without_comments(&read(path)).contains("use sim::"));
    assert!(commands.len() == 1 && commands[0].ends_with("cli/sim.rs"), "{commands:?}");
}
