//! The rows of the window, and the unusable entries that were counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, Transaction, params};

use super::TargetNumber;
use super::fault::in_row;
use talkover_core::delivery::{AttemptStatus, DeliveryResult, EntryId, Timestamp};
use talkover_core::ledger::labels::HttpLabel;
use talkover_core::ledger::row::{Continued, Row, RowKey};

// Bits of `flags` in the table `entries`, named after the fields of [`Row`]. The last two needed no migration: rows
// written without them are read as what they were.
const SUPERSEDED: i64 = 1;
const OPEN: i64 = 2;
const ENDED: i64 = 4;
const LATE: i64 = 8;
const RETRY: i64 = 16;
const OVERTAKEN: i64 = 32;
const PRECEDED: i64 = 64;

/// Writes rows that are new or have changed.
pub(super) fn write(
    transaction: &Transaction<'_>,
    target: TargetNumber,
    rows: &BTreeMap<RowKey, Row>,
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO entries (target, created_at, id, at, attempt, status, event, counted_status, counted_http_status,
                              grp, opening_at, opening_id, flags, result, finished_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
         ON CONFLICT DO UPDATE SET status = excluded.status, counted_status = excluded.counted_status,
             counted_http_status = excluded.counted_http_status, flags = excluded.flags, result = excluded.result,
             finished_at = excluded.finished_at",
    )?;
    for (key, row) in rows {
        let counted = row.counted;
        let flag = |is_set: bool, bit: i64| if is_set { bit } else { 0 };
        statement.execute(params![
            target.0,
            key.created_at.as_micros(),
            key.id.to_string(),
            row.at.as_micros(),
            row.attempt,
            row.status.as_str(),
            &*row.event,
            counted.map(|(status, _)| status.as_str()),
            counted.map(|(_, http_status)| http_status.to_string()),
            &row.group[..],
            row.opening.as_ref().map(|opening| opening.created_at.as_micros()),
            row.opening.as_ref().map(|opening| opening.id.to_string()),
            flag(!row.is_latest(), SUPERSEDED)
                | flag(row.continued == Continued::Overtaken, OVERTAKEN)
                | flag(row.is_preceded, PRECEDED)
                | flag(row.open, OPEN)
                | flag(row.ended, ENDED)
                | flag(row.late, LATE)
                | flag(row.is_retry, RETRY),
            row.result.map(DeliveryResult::as_str),
            row.finished_at.as_micros(),
        ])?;
    }
    Ok(())
}

/// Reads all rows of a target, oldest first.
pub(super) fn for_each(
    connection: &Connection,
    target: TargetNumber,
    mut take: impl FnMut(RowKey, Row),
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT created_at, id, at, attempt, status, event, counted_status, counted_http_status, grp, opening_at,
                opening_id, flags, result, finished_at
         FROM entries WHERE target = ?1 ORDER BY created_at, id",
    )?;
    let mut events = Names::default();
    let mut rows = statement.query(params![target.0])?;
    while let Some(row) = rows.next()? {
        let name = || {
            let created_at = row.get_ref(0).and_then(|at| Ok(at.as_i64()?)).unwrap_or(0);
            let id = row.get_ref(1).and_then(|id| Ok(id.as_str()?.to_owned())).unwrap_or_default();
            format!("({}, {created_at}, {id})", target.0)
        };
        let (key, row) = read_row(row, &mut events).map_err(|error| in_row("entries", name, error))?;
        take(key, row);
    }
    Ok(())
}

fn read_row(row: &rusqlite::Row<'_>, events: &mut Names) -> rusqlite::Result<(RowKey, Row)> {
    let created_at = Timestamp::from_micros(row.get(0)?);
    let key = RowKey { created_at, id: EntryId::new(row.get_ref(1)?.as_str()?) };
    let event = events.intern(row.get_ref(5)?.as_str()?);
    let counted = match (row.get_ref(6)?.as_str_or_null()?, row.get_ref(7)?.as_str_or_null()?) {
        (Some(status), Some(http_status)) => Some((
            AttemptStatus::from_name(status).ok_or_else(|| unreadable(6, status))?,
            HttpLabel::parse(http_status).ok_or_else(|| unreadable(7, http_status))?,
        )),
        _ => None,
    };
    let opening = match (row.get::<_, Option<i64>>(9)?, row.get_ref(10)?.as_str_or_null()?) {
        (Some(at), Some(id)) => Some(Arc::new(RowKey { created_at: Timestamp::from_micros(at), id: EntryId::new(id) })),
        _ => None,
    };
    let status = row.get_ref(4)?.as_str()?;
    let flags: i64 = row.get(11)?;
    let result = match row.get_ref(12)?.as_str_or_null()? {
        Some(name) => Some(DeliveryResult::from_name(name).ok_or_else(|| unreadable(12, name))?),
        None => None,
    };
    let continued = match (flags & SUPERSEDED != 0, flags & OVERTAKEN != 0) {
        (_, true) => Continued::Overtaken,
        (true, false) => Continued::InOrder,
        (false, false) => Continued::No,
    };
    // For an entry that is in order, its opening entry says the same.
    let is_preceded = flags & PRECEDED != 0 || (opening.is_some() && continued != Continued::Overtaken);
    let value = Row {
        at: Timestamp::from_micros(row.get(2)?),
        attempt: row.get(3)?,
        status: AttemptStatus::from_name(status).ok_or_else(|| unreadable(4, status))?,
        event,
        counted,
        group: row.get(8)?,
        // Version 3 did not keep it.
        finished_at: row.get::<_, Option<i64>>(13)?.map_or(created_at, Timestamp::from_micros),
        is_retry: flags & RETRY != 0,
        opening,
        is_preceded,
        continued,
        open: flags & OPEN != 0,
        ended: flags & ENDED != 0,
        late: flags & LATE != 0,
        result,
    };
    Ok((key, value))
}

pub(super) fn unreadable(column: usize, text: &str) -> rusqlite::Error {
    let reason = format!("{text:?} is not a value that this program writes");
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, reason.into())
}

/// Names that occur in many rows, each kept once.
#[derive(Default)]
pub(super) struct Names(HashSet<Arc<str>>);

impl Names {
    pub(super) fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        let new: Arc<str> = name.into();
        self.0.insert(new.clone());
        new
    }
}

/// Forgets rows.
pub(super) fn prune(transaction: &Transaction<'_>, target: TargetNumber, keys: &[RowKey]) -> rusqlite::Result<()> {
    let mut statement =
        transaction.prepare_cached("DELETE FROM entries WHERE target = ?1 AND created_at = ?2 AND id = ?3")?;
    for key in keys {
        statement.execute(params![target.0, key.created_at.as_micros(), key.id.to_string()])?;
    }
    Ok(())
}

/// Writes unusable entries that were counted.
pub(super) fn write_invalid(
    transaction: &Transaction<'_>,
    target: TargetNumber,
    entries: &BTreeMap<Box<str>, Timestamp>,
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached("INSERT OR IGNORE INTO invalid_entries VALUES (?1, ?2, ?3)")?;
    for (key, seen_at) in entries {
        statement.execute(params![target.0, key, seen_at.as_micros()])?;
    }
    Ok(())
}

/// Reads the unusable entries that were counted, with the time at which they were first seen.
pub(super) fn load_invalid(
    connection: &Connection,
    target: TargetNumber,
) -> rusqlite::Result<BTreeMap<Box<str>, Timestamp>> {
    let mut statement = connection.prepare_cached("SELECT key, seen_at FROM invalid_entries WHERE target = ?1")?;
    let rows = statement.query_map(params![target.0], |row| Ok((row.get(0)?, Timestamp::from_micros(row.get(1)?))))?;
    rows.collect::<rusqlite::Result<HashMap<_, _>>>().map(|map| map.into_iter().collect())
}

/// Forgets unusable entries.
pub(super) fn prune_invalid(
    transaction: &Transaction<'_>,
    target: TargetNumber,
    keys: &[Box<str>],
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached("DELETE FROM invalid_entries WHERE target = ?1 AND key = ?2")?;
    for key in keys {
        statement.execute(params![target.0, key])?;
    }
    Ok(())
}
