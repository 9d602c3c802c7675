//! The reference of the configuration, made from `config/default.yml`: each key with the comment above it.
//!
//! It is read line by line, as that file is written: one key a line, comments above it, two spaces a level. That each
//! key is one that the program knows is checked where the program reads its defaults from it.

use std::fmt::Write;

/// A key, and what the file says about it.
struct Key {
    /// From the top, `[]` behind the name of a list: `environments[].name`.
    path: String,
    default: String,
    meaning: String,
}

/// The reference as Markdown: one table for each section.
pub fn markdown(defaults: &str) -> String {
    let mut text = String::new();
    let mut section = None;
    for key in keys(defaults) {
        let name = key.path.split(['.', '[']).next().unwrap().to_owned();
        if section.as_ref() != Some(&name) {
            let heading = format!("{}### {name}\n\n", if section.is_some() { "\n" } else { "" });
            text.push_str(&heading);
            text.push_str("| key | default | meaning |\n| --- | --- | --- |\n");
            section = Some(name);
        }
        let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
        writeln!(text, "| `{}` | {default} | {} |", key.path, key.meaning.replace('|', "\\|")).unwrap();
    }
    text
}

/// All keys that have a value or a comment of their own; `~` is no default.
fn keys(defaults: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    // The sections that lead to the present line, with the indent of their keys.
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut meaning: Vec<&str> = Vec::new();
    for line in defaults.lines() {
        let content = line.trim_start();
        if let Some(comment) = content.strip_prefix('#') {
            meaning.push(comment.trim());
            continue;
        }
        let Some((name, value)) = content.trim_start_matches("- ").split_once(':') else {
            assert!(content.is_empty(), "not understood: {line}");
            meaning.clear();
            continue;
        };
        let is_item = content.starts_with("- ");
        let indent = line.len() - content.len() + if is_item { 2 } else { 0 };
        parents.retain(|(level, _)| *level < indent);
        if let Some((_, parent)) = parents.last_mut().filter(|_| is_item) {
            parent.push_str("[]");
        }
        let names = parents.iter().map(|(_, parent)| parent.as_str()).chain([name]);
        let path = names.collect::<Vec<_>>().join(".");
        let default = value.split(" #").next().unwrap().trim();
        let default = if default == "~" { "" } else { default };
        if !value.trim().is_empty() || !meaning.is_empty() {
            keys.push(Key { path, default: default.to_owned(), meaning: meaning.join(" ") });
        }
        meaning.clear();
        parents.push((indent, name.to_owned()));
    }
    keys
}
