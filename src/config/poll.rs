//! The section `poll`: how the logs are read.

use super::fields::Fields;
use super::values::{count, duration, positive_duration};
use std::time::Duration;
use talkover_settings::duration::format_duration;

/// How often, and how far back, the logs are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollConfig {
    /// Shortest time between two polls of a busy target. Above zero.
    pub min_interval: Duration,
    /// Longest time between two polls of an idle target, where the budget allows. Not below `min_interval`.
    pub max_interval: Duration,
    /// Entries to a page, 1 to 100.
    pub per_page: u32,
    /// How far back the first contact with a target reads. May be zero.
    pub initial_lookback: Duration,
    /// How late an entry may turn up. Not below `sweep_interval`.
    pub lookback: Duration,
    /// How often the lookback window is read in full. Above zero.
    pub sweep_interval: Duration,
    /// How long an entry that may still change is followed. Not below `lookback`.
    pub settle_after: Duration,
}

pub(super) fn read(mut fields: Fields<'_>) -> Option<PollConfig> {
    let min_interval = fields.scalar("min_interval", positive_duration);
    let max_interval = fields.scalar("max_interval", positive_duration);
    let per_page = fields.scalar("per_page", count(1, 100));
    let initial_lookback = fields.scalar("initial_lookback", duration);
    let lookback = fields.scalar("lookback", duration);
    let sweep_interval = fields.scalar("sweep_interval", positive_duration);
    let settle_after = fields.scalar("settle_after", positive_duration);
    let why = "a busy target would be polled less often than an idle one";
    ordered(&mut fields, ("min_interval", min_interval), ("max_interval", max_interval), why);
    let why = "entries that turn up between two sweeps would be missed";
    ordered(&mut fields, ("sweep_interval", sweep_interval), ("lookback", lookback), why);
    let why = "an entry would be given up while it may still turn up";
    ordered(&mut fields, ("lookback", lookback), ("settle_after", settle_after), why);
    fields.finish();
    Some(PollConfig {
        min_interval: min_interval?,
        max_interval: max_interval?,
        per_page: per_page?,
        initial_lookback: initial_lookback?,
        lookback: lookback?,
        sweep_interval: sweep_interval?,
        settle_after: settle_after?,
    })
}

type Setting = (&'static str, Option<Duration>);

/// Notes a fault where `low` is above `high`: at the one that the user set, for the other may be a default.
fn ordered(fields: &mut Fields<'_>, low: Setting, high: Setting, why: &str) {
    let ((low, Some(low_value)), (high, Some(high_value))) = (low, high) else {
        return;
    };
    if low_value <= high_value {
        return;
    }
    let (low_text, high_text) = (format_duration(low_value), format_duration(high_value));
    if fields.is_given(low) || !fields.is_given(high) {
        fields.fault(low, format!("{low_text} is more than {high} ({high_text}): {why}"));
    } else {
        fields.fault(high, format!("{high_text} is less than {low} ({low_text}): {why}"));
    }
}
