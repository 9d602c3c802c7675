//! The totals of counters and histograms.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::TargetNumber;
use super::fault::{StateFault, in_row};
use talkover_core::delivery::Timestamp;
use talkover_core::ledger::check::label_fault;
use talkover_core::ledger::labels::LabelPolicy;
use talkover_core::ledger::series::{Family, SeriesKey};
use talkover_core::ledger::totals::{Birth, HistogramTotals, Total, Totals};

/// The buckets of files without a record of their fixed buckets: those of the versions that did not write one yet. They
/// stay what they are when [`Family::fixed_buckets`] changes.
const UNSAID_BUCKETS: [(Family, &str); 2] = [
    (Family::Delay, "[1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0]"),
    (Family::AttemptsPerDelivery, "[1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 11.0]"),
];

/// Records how the histograms are laid out. Totals in another layout are useless and are dropped. Returns the families
/// of which some were dropped.
pub(super) fn adopt_layouts(transaction: &Transaction<'_>, policy: &LabelPolicy) -> rusqlite::Result<Vec<Family>> {
    let mut dropped = Vec::new();
    for family in Family::ALL {
        if let Some(wanted) = layout(family, policy)
            && adopt_layout(transaction, family, &wanted)?
        {
            dropped.push(family);
        }
    }
    Ok(dropped)
}

/// Returns how a histogram is laid out: the labels if they are a setting, and the buckets. `None` for counters.
fn layout(family: Family, policy: &LabelPolicy) -> Option<String> {
    if family == Family::Duration {
        let labels: Vec<&str> = policy.duration_labels.iter().map(|label| label.as_str()).collect();
        return Some(format!("{labels:?} {:?}", policy.duration_buckets));
    }
    family.fixed_buckets().map(|buckets| format!("{buckets:?}"))
}

/// Records a family's layout, and drops its totals if they have another. Returns whether there were any to drop.
fn adopt_layout(transaction: &Transaction<'_>, family: Family, wanted: &str) -> rusqlite::Result<bool> {
    let key = format!("{}_layout", family.as_str());
    let said: Option<String> =
        transaction.query_row("SELECT value FROM meta WHERE key = ?1", params![key], |row| row.get(0)).optional()?;
    if said.as_deref() == Some(wanted) {
        return Ok(false);
    }
    transaction.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", params![key, wanted])?;
    let unsaid = UNSAID_BUCKETS.iter().find(|(of, _)| *of == family).map(|(_, buckets)| *buckets);
    if said.as_deref().or(unsaid) == Some(wanted) {
        return Ok(false);
    }
    let dropped = transaction.execute("DELETE FROM totals WHERE family = ?1", params![family.as_str()])? > 0;
    if dropped {
        // For `verify`: from here on there are fewer observations than attempts or deliveries.
        let key = format!("{}_dropped", family.as_str());
        transaction.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", params![key, wanted])?;
    }
    Ok(dropped)
}

/// Writes the new totals of series. A hold begins with the birth of a series, and ends only by [`release`].
pub(super) fn write(
    transaction: &Transaction<'_>,
    target: TargetNumber,
    totals: &BTreeMap<SeriesKey, Total>,
    births: &BTreeMap<SeriesKey, Birth>,
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO totals (target, family, labels, value, counts, sum, born_at, held)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT DO UPDATE SET value = excluded.value, counts = excluded.counts, sum = excluded.sum",
    )?;
    for (key, total) in totals {
        let (value, counts, sum) = match total {
            Total::Counter(value) => (Some(integer(*value)), None, None),
            Total::Histogram(histogram) => {
                let counts: Vec<u8> = histogram.counts.iter().flat_map(|count| count.to_le_bytes()).collect();
                (None, Some(counts), Some(integer(histogram.sum)))
            }
        };
        let birth = births.get(key);
        let born_at = birth.map(|birth| birth.at.as_micros());
        let is_held = birth.is_some_and(|birth| birth.is_held);
        let (family, labels) = (key.family.as_str(), labels_text(key)?);
        statement.execute(params![target.0, family, labels, value, counts, sum, born_at, is_held])?;
    }
    Ok(())
}

/// Ends the holds of series.
pub(super) fn release(
    transaction: &Transaction<'_>,
    target: TargetNumber,
    series: &[SeriesKey],
) -> rusqlite::Result<()> {
    let mut statement =
        transaction.prepare_cached("UPDATE totals SET held = 0 WHERE target = ?1 AND family = ?2 AND labels = ?3")?;
    for key in series {
        statement.execute(params![target.0, key.family.as_str(), labels_text(key)?])?;
    }
    Ok(())
}

/// Adds what forgotten rows add to the counters.
pub(super) fn add_pruned(
    transaction: &Transaction<'_>,
    target: TargetNumber,
    pruned: &BTreeMap<SeriesKey, u64>,
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO pruned_totals (target, family, labels, value) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET value = value + excluded.value",
    )?;
    for (key, value) in pruned {
        statement.execute(params![target.0, key.family.as_str(), labels_text(key)?, integer(*value)])?;
    }
    Ok(())
}

/// The label values as the state file keeps them: a JSON array.
fn labels_text(key: &SeriesKey) -> rusqlite::Result<String> {
    let labels: Vec<&str> = key.labels.iter().map(|value| &**value).collect();
    serde_json::to_string(&labels).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// SQLite's integers end at 2^63 − 1, and so do 292 years of nanoseconds.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Reads all totals of a target, and the births of series.
pub(super) fn load(
    connection: &Connection,
    target: TargetNumber,
    policy: &LabelPolicy,
) -> rusqlite::Result<(Totals, BTreeMap<SeriesKey, Birth>)> {
    let mut statement = connection
        .prepare_cached("SELECT family, labels, value, counts, sum, born_at, held FROM totals WHERE target = ?1")?;
    let mut rows = statement.query(params![target.0])?;
    let (mut totals, mut births) = (Totals::default(), BTreeMap::new());
    while let Some(row) = rows.next()? {
        let located = |error| in_row("totals", || name_of_row(target, row), error);
        let key = read_key(row).map_err(located)?;
        if let Some(reason) = label_fault(&key, policy) {
            return Err(StateFault::of_row("totals", name_of_row(target, row), reason).into());
        }
        let total = read_total(row, &key, policy).map_err(located)?;
        if let Some(at) = row.get::<_, Option<i64>>(5)? {
            births.insert(key.clone(), Birth { at: Timestamp::from_micros(at), is_held: row.get(6)? });
        }
        totals.set(key, total);
    }
    Ok((totals, births))
}

fn name_of_row(target: TargetNumber, row: &rusqlite::Row<'_>) -> String {
    let text = |column| row.get_ref(column).and_then(|text| Ok(text.as_str()?.to_owned())).unwrap_or_default();
    format!("({}, {}, {})", target.0, text(0), text(1))
}

fn read_total(row: &rusqlite::Row<'_>, key: &SeriesKey, policy: &LabelPolicy) -> rusqlite::Result<Total> {
    let value = row.get::<_, Option<i64>>(2)?;
    match value.map(u64::try_from) {
        Some(Ok(value)) => Ok(Total::Counter(value)),
        Some(Err(_)) => Err(unreadable(2, "a counter below 0".to_owned())),
        None => read_histogram(row, bounds(key.family, policy)).map(Total::Histogram),
    }
}

/// Reads what forgotten rows add to the counters of a target.
pub(super) fn load_pruned(connection: &Connection, target: TargetNumber) -> rusqlite::Result<BTreeMap<SeriesKey, u64>> {
    let mut statement =
        connection.prepare_cached("SELECT family, labels, value FROM pruned_totals WHERE target = ?1")?;
    let mut rows = statement.query(params![target.0])?;
    let mut pruned = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let located = |error| in_row("pruned_totals", || name_of_row(target, row), error);
        let key = read_key(row).map_err(located)?;
        pruned.insert(key, row.get::<_, i64>(2).map_err(located)?.cast_unsigned());
    }
    Ok(pruned)
}

fn read_key(row: &rusqlite::Row<'_>) -> rusqlite::Result<SeriesKey> {
    let name = row.get_ref(0)?.as_str()?;
    let family = Family::ALL
        .into_iter()
        .find(|family| family.as_str() == name)
        .ok_or_else(|| unreadable(0, format!("there is no family {name:?}")))?;
    let labels: Vec<String> =
        serde_json::from_str(row.get_ref(1)?.as_str()?).map_err(|error| unreadable(1, error.to_string()))?;
    Ok(SeriesKey::new(family, labels.into_iter().map(Arc::from)))
}

fn bounds(family: Family, policy: &LabelPolicy) -> Arc<[f64]> {
    match family {
        Family::Duration => policy.duration_buckets.clone(),
        other => other.fixed_buckets().unwrap_or_default().into(),
    }
}

fn read_histogram(row: &rusqlite::Row<'_>, bounds: Arc<[f64]>) -> rusqlite::Result<HistogramTotals> {
    let counts: Box<[u64]> =
        row.get_ref(3)?.as_blob()?.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    if counts.len() != bounds.len() + 1 {
        return Err(unreadable(3, format!("{} buckets instead of {}", counts.len(), bounds.len() + 1)));
    }
    Ok(HistogramTotals { bounds, counts, sum: row.get::<_, i64>(4)?.unsigned_abs() })
}

fn unreadable(column: usize, reason: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, reason.into())
}
