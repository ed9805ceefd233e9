//! What holds for the sources of every crate: no circle of files, and no dependency that nothing uses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::{Table, Value};

use crate::manifests::{files, manifest, members, read, root};

/// A module by its path inside the crate, the root being empty, and the text of its file without comments and inline tests.
type Modules = BTreeMap<Vec<String>, String>;

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
        let text = text[..end].to_owned();
        if module.last().is_none_or(|last| last != "tests") {
            modules.insert(module, text);
        }
    }
    modules
}

/// A `use` tree as its single paths.
fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
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
                    paths.extend(expand(part).into_iter().map(|path| format!("{}{path}", prefix.trim())));
                }
            }
            _ => {}
        }
    }
    paths
}

/// The module that a path in `module` leads to.
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
    for part in parts {
        let below = [&at[..], &[part.to_owned()]].concat();
        if !modules.contains_key(&below) {
            break;
        }
        at = below;
    }
    at
}

/// The paths in some code: `crate::a::b`, `super::a`, `child::x`. One that begins with `::` names another crate.
fn paths(code: &str) -> impl Iterator<Item = &str> {
    let of_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    code.split(move |letter| !of_path(letter)).filter(|path| path.contains("::") && !path.starts_with(':'))
}

/// The modules that a module names, in its `use` lines and in its code. What it hands on of its own children is a door, not a
/// need.
fn needs(module: &[String], text: &str, modules: &Modules) -> BTreeSet<Vec<String>> {
    let mut needed = BTreeSet::new();
    for statement in text.split(';') {
        let mut code = statement;
        if let Some((before, tree)) = statement.rsplit_once("use ") {
            let visibility = before.lines().last().unwrap_or_default().trim();
            if visibility.is_empty() || visibility.starts_with("pub") {
                code = before;
                for path in expand(&tree.split_whitespace().collect::<Vec<_>>().join(" ")) {
                    let at = resolve(module, &path, modules);
                    let is_door = visibility.starts_with("pub") && at.starts_with(module);
                    if !is_door && path.contains("::") {
                        needed.insert(at);
                    }
                }
            }
        }
        needed.extend(paths(code).map(|path| resolve(module, path, modules)));
    }
    needed.remove(module);
    needed
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
        let modules = modules(&root().join(&name).join("src"));
        let edges: BTreeMap<_, _> =
            modules.iter().map(|(module, text)| (module.clone(), needs(module, text, &modules))).collect();
        seen += edges.values().map(BTreeSet::len).sum::<usize>();
        circles.extend(circle(&edges).map(|way| format!("{name}: {}", way.join(" -> "))));
    }
    assert!(seen > 200, "only {seen} needs were found");
    assert!(circles.is_empty(), "files that need each other:\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_seen_through_braces_and_super() {
    let texts =
        [("a", "use crate::{b::{X, Y}, c};"), ("b", "use super::c::Z;\npub(crate) use crate::a::W;"), ("c", "")];
    let mut modules: Modules = texts.map(|(name, text)| (vec![name.to_owned()], text.to_owned())).into();
    modules.insert(Vec::new(), "mod a;\npub use a::X;".into());
    let edges = |modules: &Modules| -> BTreeMap<_, _> {
        modules.iter().map(|(module, text)| (module.clone(), needs(module, text, modules))).collect()
    };
    assert_eq!(circle(&edges(&modules)), Some(vec!["a".into(), "b".into()]));
    modules.insert(vec!["b".into()], "use super::c::Z;".into());
    assert_eq!(circle(&edges(&modules)), None, "a door of the root is no need");
}

#[test]
fn a_circle_is_seen_through_paths_in_code() {
    let texts = [
        (&["a"][..], "mod child;\nfn run() { child::run(::node::clock::now()) }"),
        (&["a", "child"], "fn run() { let x = crate::b::X; }"),
        (&["b"], "fn back() -> super::c::Y { 1 }"),
        (&["c"], ""),
    ];
    let named = |name: &[&str]| name.iter().map(|part| (*part).to_owned()).collect::<Vec<String>>();
    let mut modules: Modules = texts.map(|(name, text)| (named(name), text.to_owned())).into();
    let edges = |modules: &Modules| -> BTreeMap<_, _> {
        modules.iter().map(|(module, text)| (module.clone(), needs(module, text, modules))).collect()
    };
    assert_eq!(circle(&edges(&modules)), None);
    modules.insert(named(&["c"]), "fn run() { crate::a::child::run() }".into());
    assert_eq!(circle(&edges(&modules)), Some(vec!["a::child".into(), "b".into(), "c".into()]));
    modules.insert(named(&["c"]), String::new());
    modules.insert(named(&["a", "child"]), "use super::Failure;".into());
    assert_eq!(circle(&edges(&modules)), Some(vec!["a".into(), "a::child".into()]), "a parent that calls its child");
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
