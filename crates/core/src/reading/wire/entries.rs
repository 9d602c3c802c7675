//! The entries of an answer's list, unread. Called for every list, before anything is made of its entries.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// No list has more: a thousand times what a page may be asked for, as the webhooks of an owner come all at once. An answer of 32 MiB
/// has room for millions of entries, each of which would take a hundred times its bytes when it is told of as unusable.
const MAX_ENTRIES: usize = 100_000;

/// The entries of the list that `data` is.
///
/// # Errors
/// A sentence that says why it is none, or none that a page can be.
pub(super) fn entries(data: &RawValue) -> Result<Vec<&RawValue>, String> {
    let Ok(List { entries, is_too_long }) = serde_json::from_str::<List<'_>>(data.get()) else {
        return Err("the answer's data is no list".to_owned());
    };
    if is_too_long { Err(format!("the answer has more than {MAX_ENTRIES} entries")) } else { Ok(entries) }
}

#[derive(Default)]
struct List<'a> {
    entries: Vec<&'a RawValue>,
    is_too_long: bool,
}

impl<'de> Deserialize<'de> for List<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = List<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut sequence: S) -> Result<Self::Value, S::Error> {
                let mut list = List::default();
                while list.entries.len() < MAX_ENTRIES {
                    let Some(entry) = sequence.next_element()? else { return Ok(list) };
                    list.entries.push(entry);
                }
                while sequence.next_element::<IgnoredAny>()?.is_some() {
                    list.is_too_long = true;
                }
                Ok(list)
            }
        }
        deserializer.deserialize_seq(Entries)
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
        assert_eq!(count("{}"), Err("the answer's data is no list".to_owned()));
    }
}
