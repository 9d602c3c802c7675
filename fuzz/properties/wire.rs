//! What holds of every answer of the API, whatever bytes it is made of.
//!
//! The fuzz target `wire` and the tests of the corpora call `check`. What to expect comes from readers of `serde_json`
//! that know nothing of an entry's fields.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use talkover_core::delivery::{Attempt, AttemptStatus, EntryId, HttpStatus};
use talkover_core::reading::wire::{InvalidEntry, LogPage, error_message, parse_logs};

/// An object's members as they stand in the text; the last of duplicate keys counts, as in the daemon.
type Members<'a> = HashMap<String, &'a RawValue>;

/// The longest text of ours about an answer: it goes into the log on one line.
const MAX_TEXT: usize = 200;
const DAY_NS: u64 = 24 * 3600 * 1_000_000_000;

/// Reads an answer of these bytes.
///
/// # Panics
/// Where something does not hold.
pub fn check(body: &[u8]) {
    check_message(body);
    let read = parse_logs(body);
    assert_eq!(read, parse_logs(body), "the same bytes mean the same");

    let text = String::from_utf8_lossy(body);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    match (&read, entries(text)) {
        (Ok(page), Some(entries)) => check_page(page, &entries),
        (Err(reason), None) => check_text(reason),
        (Ok(_), None) => panic!("this is no page: {text}"),
        (Err(reason), Some(_)) => panic!("refused although it is a page: {reason}"),
    }
}

/// The elements of `data`, where the answer is a page of a log.
fn entries(text: &str) -> Option<Vec<&RawValue>> {
    let answer: Members<'_> = serde_json::from_str(text).ok()?;
    let failed = answer.get("success").is_some_and(|success| success.get() == "false");
    if failed {
        return None;
    }
    let data = answer.get("data")?.get();
    serde_json::from_str(data).ok().or_else(|| keyed_entries(data))
}

/// The values of an object whose keys are numbers, in the order in which they stand: a list as PHP may write it.
fn keyed_entries(data: &str) -> Option<Vec<&RawValue>> {
    let Object(members) = serde_json::from_str(data).ok()?;
    let is_number = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit());
    let is_list = !members.is_empty() && members.iter().all(|(key, _)| is_number(key));
    is_list.then(|| members.into_iter().map(|(_, value)| value).collect())
}

/// An object's members in the order in which they stand.
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

fn check_message(body: &[u8]) {
    let message = error_message(body);
    assert_eq!(message, error_message(body), "the same bytes mean the same");
    if let Some(message) = message {
        check_text(&message);
    }
}

fn check_text(text: &str) {
    assert!(text.chars().count() <= MAX_TEXT, "too long: {text}");
    assert!(!text.contains(char::is_control), "more than one line: {text:?}");
}

fn check_page(page: &LogPage, entries: &[&RawValue]) {
    assert_eq!(page.len(), entries.len(), "every element is an attempt or invalid");
    let mut attempts = page.attempts.iter();
    let mut invalid = page.invalid.iter();
    let mut place = 0;
    for entry in entries {
        // Read alone, an entry means what it means among others.
        let alone = format!(r#"{{"data":[{}]}}"#, entry.get());
        let alone = parse_logs(alone.as_bytes()).unwrap_or_else(|reason| panic!("{entry}: {reason}"));
        match (&alone.attempts[..], &alone.invalid[..]) {
            ([attempt], []) => {
                assert_eq!(Some(attempt), attempts.next(), "{entry}");
                place += 1;
                check_attempt(attempt, entry);
            }
            ([], [bad]) => {
                // Its place alone depends on the others: how many usable ones stand before it.
                let expected = InvalidEntry { place, ..bad.clone() };
                assert_eq!(Some(&expected), invalid.next(), "{entry}");
                check_invalid(bad, entry);
            }
            _ => panic!("one entry gives {alone:?}: {entry}"),
        }
    }
}

/// The bounds of every field, and what becomes of a value whose type cannot carry the field.
fn check_attempt(attempt: &Attempt, entry: &RawValue) {
    assert!(attempt.attempt >= 1, "{entry}");
    assert!(!attempt.event.is_empty(), "{entry}");
    assert!(attempt.duration_ns.is_none_or(|duration| duration <= DAY_NS), "{entry}");
    if let HttpStatus::Code(code) = attempt.http_status {
        assert!((100..=999).contains(&code), "{entry}");
    }

    let members: Members<'_> = serde_json::from_str(entry.get()).unwrap_or_else(|error| panic!("{entry}: {error}"));
    let text = |field: &str| members.get(field).and_then(|value| serde_json::from_str::<String>(value.get()).ok());
    // What is neither a number nor a text that can be read: `null`, `true`, a list, an object, or a broken escape.
    let is_useless = |field: &str| !members.get(field).is_some_and(|value| is_number(value)) && text(field).is_none();

    assert!(!is_useless("id"), "{entry}");
    match text("id") {
        Some(id) => assert_eq!(attempt.id, EntryId::new(&id), "{entry}"),
        None => assert_eq!(attempt.id, EntryId::new(members["id"].get()), "{entry}"),
    }
    assert!(text("created_at").is_some(), "{entry}");
    let status = text("status");
    let documented = matches!(status.as_deref(), Some("pending" | "success" | "failed" | "retrying"));
    match attempt.status {
        AttemptStatus::Unknown => assert!(!documented, "{entry}"),
        known => assert_eq!(status.as_deref(), Some(known.as_str()), "{entry}"),
    }
    match text("event") {
        Some(event) if !event.is_empty() => assert_eq!(*attempt.event, *event, "{entry}"),
        _ => assert_eq!(&*attempt.event, "none", "{entry}"),
    }
    if is_useless("http_status") {
        let is_absent = members.get("http_status").is_none_or(|value| value.get() == "null");
        let expected = if is_absent { HttpStatus::None } else { HttpStatus::Invalid };
        assert_eq!(attempt.http_status, expected, "{entry}");
    }
    if is_useless("attempt") {
        assert_eq!(attempt.attempt, 1, "{entry}");
    }
    if is_useless("duration_ms") {
        assert_eq!(attempt.duration_ns, None, "{entry}");
    }
    if text("delivered_at").is_none() {
        assert_eq!(attempt.delivered_at, None, "{entry}");
    }
}

/// An entry is invalid by its id or its `created_at` alone, and known again by the id where that can be read.
fn check_invalid(invalid: &InvalidEntry, entry: &RawValue) {
    let members: Members<'_> = serde_json::from_str(entry.get()).unwrap_or_default();
    let id = members.get("id").and_then(|value| match is_number(value) {
        true => Some(value.get().to_owned()),
        false => serde_json::from_str::<String>(value.get()).ok(),
    });
    match id.filter(|id| !id.is_empty()) {
        Some(id) => assert_eq!(*invalid.key, *format!("id:{id}"), "{entry}"),
        None => {
            let digest = invalid.key.strip_prefix("sha256:").unwrap_or_else(|| panic!("{}: {entry}", invalid.key));
            assert!(digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{entry}");
        }
    }
}

fn is_number(value: &RawValue) -> bool {
    value.get().starts_with(|first: char| first == '-' || first.is_ascii_digit())
}
