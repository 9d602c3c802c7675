//! The entries of an answer's list, not yet parsed. Called for every list.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// No list may have more: a thousand times the largest page, because an owner's webhooks come all at once. An answer of
/// 32 MiB has room for millions of entries, each of which would take a hundred times its bytes when it is reported as
/// unusable.
const MAX_ENTRIES: usize = 100_000;

/// The entries of the list in `data`. PHP writes a list from which elements were removed as an object with their
/// numbers as keys: its values are the entries, in the order of the text. An empty object does not count: no numbers
/// show that it is a list.
///
/// # Errors
/// A sentence that says why it is not a list, or not one that a page can be.
pub(super) fn entries(data: &RawValue) -> Result<Vec<&RawValue>, String> {
    let Ok(EntryList { entries, is_too_long }) = serde_json::from_str::<EntryList<'_>>(data.get()) else {
        return Err("the answer's data is not a list".to_owned());
    };
    if is_too_long { Err(format!("the answer has more than {MAX_ENTRIES} entries")) } else { Ok(entries) }
}

#[derive(Default)]
struct EntryList<'a> {
    entries: Vec<&'a RawValue>,
    is_too_long: bool,
}

impl<'de> Deserialize<'de> for EntryList<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = EntryList<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut sequence: S) -> Result<Self::Value, S::Error> {
                let mut list = EntryList::default();
                while list.entries.len() < MAX_ENTRIES {
                    let Some(entry) = sequence.next_element()? else { return Ok(list) };
                    list.entries.push(entry);
                }
                while sequence.next_element::<IgnoredAny>()?.is_some() {
                    list.is_too_long = true;
                }
                Ok(list)
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut list = EntryList::default();
                while let Some(key) = map.next_key::<Cow<'_, str>>()? {
                    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_digit()) {
                        return Err(M::Error::custom("a key is no number"));
                    }
                    if list.entries.len() < MAX_ENTRIES {
                        list.entries.push(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                        list.is_too_long = true;
                    }
                }
                if list.entries.is_empty() { Err(M::Error::custom("it has no keys")) } else { Ok(list) }
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> Result<usize, String> {
        entries(serde_json::from_str(text).unwrap()).map(|entries| entries.len())
    }

    #[test]
    fn a_list_that_no_page_can_be_is_refused() {
        let list = |length: usize| format!("[{}]", vec!["0"; length].join(","));
        assert_eq!(count(&list(0)), Ok(0));
        assert_eq!(count(&list(MAX_ENTRIES)), Ok(MAX_ENTRIES));
        assert_eq!(count(&list(MAX_ENTRIES + 1)), Err("the answer has more than 100000 entries".to_owned()));
        for other in [r#"{"0":1,"next":2}"#, r#"{"":1}"#, r#"{"-1":1}"#, "{}", "null", "1", r#""[]""#] {
            assert_eq!(count(other), Err("the answer's data is not a list".to_owned()), "{other}");
        }
    }

    #[test]
    fn an_object_with_numbers_for_keys_is_a_list() {
        let object = |length: usize| {
            let members: Vec<String> = (0..length).map(|number| format!("\"{}\":{number}", number * 2)).collect();
            format!("{{{}}}", members.join(","))
        };
        for length in [1, 3, MAX_ENTRIES] {
            assert_eq!(count(&object(length)), Ok(length));
        }
        assert_eq!(count(&object(MAX_ENTRIES + 1)), Err("the answer has more than 100000 entries".to_owned()));
        let raw: &RawValue = serde_json::from_str(r#"{"7":"a","\u0032":"b"}"#).unwrap();
        let texts: Vec<&str> = entries(raw).unwrap().into_iter().map(RawValue::get).collect();
        assert_eq!(texts, [r#""a""#, r#""b""#]);
    }
}
