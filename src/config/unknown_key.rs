//! The error for an unknown key: which key was probably meant.

use super::{DEFAULTS, Table};
use ::config::{Value, ValueKind};
use talkover_settings::yaml;

/// The first section of a list, if it is one.
pub(super) fn first_section(list: Option<&Value>) -> Option<&Table> {
    let ValueKind::Array(items) = &list?.kind else {
        return None;
    };
    match &items.first()?.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

/// The reason for an unknown key, with the known one that is probably meant: a near one, one that has it as a part, or
/// the same in another section.
pub(super) fn unknown_key<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> String {
    let known: Vec<&str> = known.collect();
    if known.contains(&"token_file") && ["token", "api_token", "api_key", "bearer_token"].contains(&key) {
        return "unknown key; did you mean `token_file`? The token itself does not belong in this file".to_owned();
    }
    let nearest = known.iter().map(|name| (distance(key, name), *name)).min();
    let near = nearest.filter(|(distance, name)| *distance <= 1 + name.len() / 4).map(|(_, name)| name);
    let meant = near.or_else(|| known.iter().copied().find(|name| is_part_of(key, name))).map(str::to_owned);
    match meant.or_else(|| elsewhere(key)) {
        Some(name) => format!("unknown key; did you mean `{name}`?"),
        None => "unknown key".to_owned(),
    }
}

/// Whether one of the two is made of whole words of the other, at its beginning or its end.
fn is_part_of(key: &str, name: &str) -> bool {
    let is_part = |part: &str, whole: &str| {
        let begins = whole.strip_prefix(part).is_some_and(|rest| rest.starts_with('_'));
        !part.is_empty() && (begins || whole.strip_suffix(part).is_some_and(|rest| rest.ends_with('_')))
    };
    is_part(key, name) || is_part(name, key)
}

/// The path of a key that exists in exactly one section, which is another one than the file has it in.
fn elsewhere(key: &str) -> Option<String> {
    let defaults = yaml::parse(DEFAULTS.as_bytes()).ok()?.root;
    let mut paths = Vec::new();
    collect(&defaults, "", key, &mut paths);
    match paths.as_slice() {
        [path] => Some(path.clone()),
        _ => None,
    }
}

fn collect(table: &Table, path: &str, key: &str, found: &mut Vec<String>) {
    for (name, value) in table {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match &value.kind {
            ValueKind::Table(section) => collect(section, &path, key, found),
            ValueKind::Array(_) => {
                if let Some(section) = first_section(Some(value)) {
                    collect(section, &format!("{path}[]"), key, found);
                }
            }
            _ => {}
        }
        if name == key && !matches!(value.kind, ValueKind::Table(_)) {
            found.push(path);
        }
    }
}

/// Levenshtein's distance in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.to_lowercase().chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_key_is_suggested_and_a_far_one_is_not() {
        let known = ["min_interval", "max_interval", "lookback"];
        let reason = |key| unknown_key(key, known.into_iter());
        assert_eq!(reason("min_intervall"), "unknown key; did you mean `min_interval`?");
        assert_eq!(reason("Lookback"), "unknown key; did you mean `lookback`?");
        assert_eq!(reason("lookbcak"), "unknown key; did you mean `lookback`?");
        assert_eq!(reason("colour"), "unknown key");
        assert_eq!(reason("min"), "unknown key; did you mean `min_interval`?");
        assert_eq!(reason("listen"), "unknown key; did you mean `server.listen`?");
        assert_eq!(reason("base_url"), "unknown key; did you mean `environments[].base_url`?");
        assert_eq!(reason("requests_per_minute"), "unknown key", "there are two");
        assert_eq!(
            unknown_key("token", ["token_env", "token_file"].into_iter()),
            "unknown key; did you mean `token_file`? The token itself does not belong in this file"
        );
        assert_eq!(unknown_key("url", ["name", "base_url"].into_iter()), "unknown key; did you mean `base_url`?");
        assert_eq!(unknown_key("listen_address", ["listen"].into_iter()), "unknown key; did you mean `listen`?");
        assert_eq!(unknown_key("x", [].into_iter()), "unknown key");
    }

    #[test]
    fn distances() {
        for (left, right, expected) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("é", "e", 1)] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }
}
