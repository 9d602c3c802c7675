//! Compares the totals with the entries that they are made of, series by series, and with each other. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{Series, StateRow, StateTarget};

const ATTEMPTS: &str = "attempts";
const DELIVERIES: &str = "deliveries";
const LOG_ENTRIES: &str = "log_entries";
const DURATION: &str = "duration";
const DELAY: &str = "delay";
const ATTEMPTS_PER_DELIVERY: &str = "attempts_per_delivery";

/// The sums that do not agree, a sentence each.
pub fn compare(state: &StateTarget) -> Vec<String> {
    let mut faults = counters(state);
    faults.extend(books(state));
    faults.extend(histograms(state));
    faults.extend(invalid(state));
    faults
}

/// Counters that are made of entries: those that are remembered, and those that were forgotten.
fn counters(state: &StateTarget) -> Vec<String> {
    let mut remembered: BTreeMap<Series, i64> = BTreeMap::new();
    for series in state.rows.iter().flat_map(counted_in) {
        *remembered.entry(series).or_default() += 1;
    }
    let is_of_entries = |series: &&Series| match series.family.as_str() {
        ATTEMPTS | DELIVERIES => true,
        LOG_ENTRIES => {
            matches!(series.labels.as_slice(), [outcome] if ["new", "late", "expired"].contains(&outcome.as_str()))
        }
        _ => false,
    };
    let all = state.totals.keys().chain(state.pruned.keys()).chain(remembered.keys()).filter(is_of_entries);
    let all: BTreeSet<&Series> = all.collect();
    let value = |of: &BTreeMap<Series, i64>, series| of.get(series).copied().unwrap_or(0);
    let disagree = all.into_iter().filter_map(|series| {
        let (total, forgotten, remembered) =
            (value(&state.totals, series), value(&state.pruned, series), value(&remembered, series));
        (total != forgotten + remembered).then(|| {
            let sum = forgotten + remembered;
            format!("{}: {total}, but {sum} by entry ({remembered} remembered, {forgotten} forgotten)", name(series))
        })
    });
    disagree.collect()
}

/// The counters in which an entry counts.
fn counted_in(row: &StateRow) -> Vec<Series> {
    let mut series = vec![Series::new(LOG_ENTRIES, &[if row.is_late { "late" } else { "new" }])];
    match &row.counted {
        Some((status, http_status)) => series.push(Series::new(ATTEMPTS, &[&row.event, status, http_status])),
        None if row.is_ended => series.push(Series::new(LOG_ENTRIES, &["expired"])),
        None => {}
    }
    if let Some(result) = &row.result {
        series.push(Series::new(DELIVERIES, &[&row.event, result]));
    }
    series
}

/// What was read is counted, still pending, or given up.
fn books(state: &StateTarget) -> Option<String> {
    let logged = |outcome| state.totals.get(&Series::new(LOG_ENTRIES, &[outcome])).copied().unwrap_or(0);
    let attempts: i64 = family(&state.totals, ATTEMPTS).map(|(_, value)| value).sum();
    let pending = state.rows.iter().filter(|row| row.is_open && &*row.status == "pending").count() as i64;
    let (new, late, expired) = (logged("new"), logged("late"), logged("expired"));
    let is_balanced = new + late == attempts + pending + expired;
    (!is_balanced).then(|| {
        format!(
            "the books do not balance: {new} new + {late} late entries, but {attempts} attempts + {pending} pending + \
             {expired} expired"
        )
    })
}

/// Every observation belongs to an attempt or a delivery that was counted.
fn histograms(state: &StateTarget) -> Vec<String> {
    let mut faults = Vec::new();
    for (series, observed) in &state.observed {
        let labels = &series.labels;
        let positions = match series.family.as_str() {
            DURATION => state.duration_labels.as_deref().and_then(positions),
            DELAY => Some(vec![0]),
            ATTEMPTS_PER_DELIVERY => {
                let ended = Series { family: DELIVERIES.to_owned(), labels: labels.clone() };
                let ended = state.totals.get(&ended).copied().unwrap_or(0);
                let is_short = *observed < ended && !state.has_restarted_attempts_per_delivery;
                if is_short || *observed > ended {
                    faults.push(format!("{}: {observed} observations, but {ended} deliveries", name(series)));
                }
                None
            }
            _ => None,
        };
        let Some(positions) = positions else { continue };
        let is_of_series = |attempt: &Series| {
            positions.len() == labels.len()
                && positions.iter().zip(labels).all(|(at, label)| attempt.labels.get(*at) == Some(label))
        };
        let attempts = family(&state.totals, ATTEMPTS).filter(|(attempt, _)| is_of_series(attempt));
        let attempts: i64 = attempts.map(|(_, value)| value).sum();
        if *observed > attempts {
            faults.push(format!("{}: {observed} observations, but {attempts} attempts", name(series)));
        }
    }
    if state.has_restarted_attempts_per_delivery {
        return faults;
    }
    let deliveries = family(&state.totals, DELIVERIES).filter(|(_, value)| **value != 0);
    for (series, ended) in deliveries {
        let observed = Series { family: ATTEMPTS_PER_DELIVERY.to_owned(), labels: series.labels.clone() };
        if !state.observed.contains_key(&observed) {
            faults.push(format!("{}: 0 observations, but {ended} deliveries", name(&observed)));
        }
    }
    faults
}

/// Unusable entries are remembered for longer than the log keeps them, and then forgotten.
fn invalid(state: &StateTarget) -> Option<String> {
    let counted = state.totals.get(&Series::new(LOG_ENTRIES, &["invalid"])).copied().unwrap_or(0);
    let known = state.invalid.len() as i64;
    (known > counted)
        .then(|| format!("{}: {counted}, but {known} are remembered", name(&Series::new(LOG_ENTRIES, &["invalid"]))))
}

fn family<'a>(totals: &'a BTreeMap<Series, i64>, name: &'a str) -> impl Iterator<Item = (&'a Series, &'a i64)> {
    totals.iter().filter(move |(series, _)| series.family == name)
}

/// Where the labels of an attempt are that have these names.
fn positions(names: &[String]) -> Option<Vec<usize>> {
    names.iter().map(|name| ["event", "status", "http_status"].iter().position(|label| label == name)).collect()
}

/// The series as a scrape shows it, without what all series of a target share.
fn name(series: &Series) -> String {
    let (metric, labels): (&str, &[&str]) = match series.family.as_str() {
        ATTEMPTS => ("talkover_webhook_delivery_attempts_total", &["event", "status", "http_status"]),
        DELIVERIES => ("talkover_webhook_deliveries_total", &["event", "result"]),
        LOG_ENTRIES => ("talkover_exporter_log_entries_total", &["outcome"]),
        DELAY => ("talkover_webhook_delivery_delay_seconds", &["event"]),
        ATTEMPTS_PER_DELIVERY => ("talkover_webhook_attempts_per_delivery", &["event", "result"]),
        DURATION => ("talkover_webhook_delivery_duration_seconds", &[]),
        other => (other, &[]),
    };
    let value = |(position, value): (usize, &String)| match labels.get(position) {
        Some(label) => format!("{label}={value:?}"),
        None => format!("{value:?}"),
    };
    let values: Vec<String> = series.labels.iter().enumerate().map(value).collect();
    format!("{metric}{{{}}}", values.join(","))
}

#[cfg(test)]
mod tests;
