//! No two files import from each other, directly or through others: what both need lies in a file below them. A file may
//! use what the modules around it declare; that is not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module as its path from the root of its crate, the crate's name first.
type Module = Vec<String>;

/// The crates of the workspace, by the name that imports call them, and where their sources are.
fn crates() -> Vec<(&'static str, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let within = |name: &str| root.join("crates").join(name).join("src");
    vec![
        ("talkover_exporter", root.join("src")),
        ("talkover_core", within("core")),
        ("talkover_simulator", within("simulator")),
        ("talkover_settings", within("settings")),
    ]
}

/// All modules that have a file, with their code, tests left out.
fn modules() -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    for (name, source) in crates() {
        let mut directories = vec![source.clone()];
        while let Some(directory) = directories.pop() {
            for path in directory.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
                let file = path.file_name().unwrap().to_str().unwrap();
                if path.is_dir() {
                    directories.extend((file != "tests").then_some(path));
                } else if file.ends_with(".rs") && !file.ends_with("tests.rs") {
                    let below = path.strip_prefix(&source).unwrap().with_extension("");
                    let parts = below.iter().map(|part| part.to_str().unwrap());
                    let parts = parts.filter(|part| !["mod", "lib", "main"].contains(part));
                    let module = [name].into_iter().chain(parts).map(str::to_owned).collect();
                    let text = std::fs::read_to_string(&path).unwrap();
                    modules.insert(module, text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned());
                }
            }
        }
    }
    modules
}

/// The paths that the `use` items of a text import, as they are written.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let item = line.split_once("use ").filter(|(before, _)| {
            before.is_empty() || before.starts_with("pub") && before.trim_end().chars().all(|c| !c.is_whitespace())
        });
        let Some((_, item)) = item else { continue };
        let mut item = item.to_owned();
        while !item.contains(';') {
            item.push_str(lines.next().unwrap_or(";"));
        }
        expand("", item.trim_end_matches(';').trim(), &mut found);
    }
    found
}

/// The paths of a tree such as `a::{b, c::{d, e}}`, each behind `prefix`.
fn expand(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        found.push(format!("{prefix}{tree}"));
        return;
    };
    let inner = rest.strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut begin) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let branch = inner[begin..at].trim();
                if !branch.is_empty() {
                    expand(&format!("{prefix}{head}"), branch, found);
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
}

/// The module with a file of its own that a path leads to, as seen from `from`.
fn resolve(path: &str, from: &Module, modules: &BTreeMap<Module, String>) -> Option<Module> {
    let mut parts = path.trim_start_matches("::").split("::").peekable();
    let mut at: Module = match *parts.peek()? {
        "crate" => from[..1].to_vec(),
        "self" | "super" => from.clone(),
        name if crates().iter().any(|(own, _)| *own == name) => Vec::new(),
        name if modules.contains_key(&[from.as_slice(), &[name.to_owned()]].concat()) => from.clone(),
        _ => return None,
    };
    for part in parts {
        match part {
            "crate" | "self" => {}
            "super" => drop(at.pop()),
            name => at.push(name.to_owned()),
        }
    }
    (1..=at.len()).rev().map(|length| at[..length].to_vec()).find(|module| modules.contains_key(module))
}

/// The modules that can be reached from `from` and lead back to it, by what each imports.
fn circle_of(from: &Module, imported: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<Module>> {
    let reach = |begin: &Module| {
        let mut reached = BTreeSet::new();
        let mut waiting = vec![begin];
        while let Some(module) = waiting.pop() {
            waiting.extend(imported.get(module).into_iter().flatten().filter(|next| reached.insert((*next).clone())));
        }
        reached
    };
    let reached = reach(from);
    let members = || reached.iter().filter(|module| reach(module).contains(from)).cloned();
    reached.contains(from).then(|| members().collect())
}

#[test]
fn no_files_import_from_each_other_in_a_circle() {
    let modules = modules();
    assert!(modules.len() > 200, "only {} modules were found", modules.len());
    let of = |module: &Module, text: &str| -> BTreeSet<Module> {
        let found = imports(text).into_iter().filter_map(|path| resolve(&path, module, &modules));
        found.filter(|other| !module.starts_with(other)).collect()
    };
    let imported: BTreeMap<Module, BTreeSet<Module>> =
        modules.iter().map(|(module, text)| (module.clone(), of(module, text))).collect();
    assert!(imported.values().map(BTreeSet::len).sum::<usize>() > 600, "hardly an import was found: {imported:#?}");
    let circles: BTreeSet<Vec<String>> = modules
        .keys()
        .filter_map(|module| circle_of(module, &imported))
        .map(|circle| circle.iter().map(|module| module.join("::")).collect())
        .collect();
    assert!(circles.is_empty(), "put what these files share into a file below them: {circles:#?}");
}

#[test]
fn imports_are_found_however_they_are_written() {
    let text = "use super::a;\npub(crate) use crate::b::{self,\n    c::{D, E},\n};\n// use of\nlet x = cause;\n";
    assert_eq!(imports(text), ["super::a", "crate::b::self", "crate::b::c::D", "crate::b::c::E"]);
}

#[test]
fn a_circle_is_found() {
    let module = |name: &str| vec![name.to_owned()];
    let imported: BTreeMap<Module, BTreeSet<Module>> = [("a", "b"), ("b", "c"), ("c", "b"), ("d", "a")]
        .into_iter()
        .map(|(from, to)| (module(from), BTreeSet::from([module(to)])))
        .collect();
    assert_eq!(circle_of(&module("b"), &imported), Some(vec![module("b"), module("c")]));
    assert_eq!((circle_of(&module("a"), &imported), circle_of(&module("d"), &imported)), (None, None));
}
