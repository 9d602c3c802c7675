//! Conventions of the sources that the compiler does not enforce. Each type has a name of its own, because readers take
//! two types of one name for the same thing. A public function takes no `bool`, because `send(batch, true)` does not say
//! what is true.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The words that begin the definition of a type.
const KEYWORDS: [&str; 5] = ["struct ", "enum ", "union ", "trait ", "type "];

/// The sources of the program and of its crates, without their tests.
fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = root.join("crates").read_dir().unwrap().map(|entry| entry.unwrap().path().join("src"));
    let mut directories: Vec<PathBuf> = crates.chain([root.join("src")]).collect();
    let mut sources = Vec::new();
    while let Some(directory) = directories.pop() {
        for path in directory.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            match (path.is_dir(), name) {
                (true, "tests") => {}
                (true, _) => directories.push(path),
                (false, _) if name.ends_with(".rs") && !name.ends_with("tests.rs") => sources.push(path),
                (false, _) => {}
            }
        }
    }
    sources
}

/// The text of a source, without a module of tests at its end.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
}

/// The name of the type that a line defines. An associated type has the name that its trait gives it.
fn defined(line: &str) -> Option<&str> {
    let item = line.trim_start();
    let is_indented = item.len() < line.len();
    let item = match item.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.strip_prefix(' ')?,
        None => item,
    };
    let keyword = KEYWORDS.into_iter().find(|keyword| item.starts_with(keyword))?;
    if is_indented && keyword == "type " {
        return None;
    }
    let name = item[keyword.len()..].split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    name.starts_with(char::is_uppercase).then_some(name)
}

#[test]
fn no_two_types_have_one_name() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in sources() {
        for (number, line) in code(&path).lines().enumerate() {
            if let Some(name) = defined(line) {
                places.entry(name.to_owned()).or_default().push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(places.len() > 300, "only {} types were found", places.len());
    let faults: Vec<_> = places.iter().filter(|(_, places)| places.len() > 1).collect();
    assert!(faults.is_empty(), "types of one name: give each a name that says what it is: {faults:#?}");
}

#[test]
fn a_definition_is_told_from_other_lines() {
    assert_eq!(defined("pub(super) struct Found<'a> {"), Some("Found"));
    assert_eq!(defined("pub enum Turn {"), Some("Turn"));
    assert_eq!(defined("type Writer<'a> = Compound<'a>;"), Some("Writer"));
    assert_eq!(defined("        struct Fields;"), Some("Fields"));
    for line in ["    type Error = String;", "// struct Found", "pub fn structure() {", "struct_of(Found)", "published"]
    {
        assert_eq!(defined(line), None, "{line}");
    }
}

/// The public functions of a source that take a `bool`, by their names. Private ones are called beside their definition.
fn functions_with_a_bool(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let line = code[..at].rsplit('\n').next().unwrap().trim_start();
        let Some((head, _)) = code[at + 3..].split_once(['{', ';']).filter(|_| line.starts_with("pub")) else {
            continue;
        };
        let parameters = head.split("->").next().unwrap();
        if parameters.contains(": bool") || parameters.contains(": Option<bool>") {
            found.push(head.split(['(', '<']).next().unwrap());
        }
    }
    found
}

#[test]
fn no_public_function_takes_a_bool() {
    let mut found = Vec::new();
    for path in sources() {
        let code = code(&path);
        found.extend(functions_with_a_bool(&code).into_iter().map(|name| format!("{}: {name}", path.display())));
    }
    assert!(found.is_empty(), "an enum would say what is meant: {found:#?}");
}

#[test]
fn a_bool_is_found_on_any_line_of_a_signature() {
    let code = "
        pub fn one(a: u8, b: bool) {}
        pub(super) async fn two<T>(
            &self,
            is_last: bool,
        ) -> Option<T> {}
        fn private(b: bool) {}
        pub fn result(is_it: impl Fn(&str) -> bool) -> bool {}
        pub struct Flags { a: bool }
    ";
    assert_eq!(functions_with_a_bool(code), ["one", "two"]);
}
