//! Durations in scenario files, for the fields' `deserialize_with`: written as in the daemon's configuration.
//!
//! Knows nothing of any field.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

use talkover_settings::duration::parse_duration;

/// A required field.
pub(crate) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// An optional field.
pub(crate) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse_duration(&text).map_err(D::Error::custom)).transpose()
}

/// A list.
pub(crate) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| parse_duration(text).map_err(D::Error::custom)).collect()
}
