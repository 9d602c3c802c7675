//! The stage of a long walk: the entries that it has read, parsed and without payloads, until the walk is complete and
//! decided.
//!
//! Within a request budget, a walk of a million entries takes hours. An interrupted walk resumes where it stopped.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::TargetNumber;
use super::entries::{Names, unreadable};
use crate::store::{StagedPart, StagedWalk};
use talkover_core::delivery::{Attempt, AttemptStatus, EntryId, HttpStatus, Timestamp};
use talkover_core::ledger::decide::{Coverage, Pass};

/// How many entries are decided at once: few enough to fit in memory.
const PART: i64 = 5_000;
/// A missing `http_status`, as stored.
const NONE: i64 = 0;
/// An unusable `http_status`, as stored.
const INVALID: i64 = -1;

/// Adds entries. An entry that was read before is replaced.
pub(super) fn add(
    transaction: &Transaction<'_>,
    target: TargetNumber,
    attempts: &[Attempt],
    invalid: &[Box<str>],
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT OR REPLACE INTO staged_entries
         (target, created_at, attempt, id, event, status, http_status, duration_ns, delivered_at, grp, error)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    for attempt in attempts {
        statement.execute(params![
            target.0,
            attempt.created_at.as_micros(),
            attempt.attempt,
            attempt.id.to_string(),
            &*attempt.event,
            attempt.status.as_str(),
            http_status_number(attempt.http_status),
            attempt.duration_ns.and_then(|nanos| i64::try_from(nanos).ok()),
            attempt.delivered_at.map(Timestamp::as_micros),
            &attempt.group[..],
            attempt.error,
        ])?;
    }
    let mut statement = transaction.prepare_cached("INSERT OR IGNORE INTO staged_invalid VALUES (?1, ?2)")?;
    for key in invalid {
        statement.execute(params![target.0, key])?;
    }
    Ok(())
}

/// Records how far the walk has come.
pub(super) fn write_walk(
    transaction: &Transaction<'_>,
    target: TargetNumber,
    walk: &StagedWalk,
) -> rusqlite::Result<()> {
    transaction.prepare_cached("INSERT OR REPLACE INTO walks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(
        params![
            target.0,
            coverage_name(walk.coverage)?,
            walk.until.as_micros(),
            walk.newest.as_micros(),
            walk.oldest.as_micros(),
            i64::try_from(walk.count).unwrap_or(i64::MAX),
            walk.has_met_known,
        ],
    )?;
    Ok(())
}

/// Returns the walk that was interrupted; `None` if there is none.
pub(super) fn find_walk(connection: &Connection, target: TargetNumber) -> rusqlite::Result<Option<StagedWalk>> {
    connection
        .prepare_cached("SELECT coverage, until, newest, oldest, count, has_met_known FROM walks WHERE target = ?1")?
        .query_row(params![target.0], |row| {
            let name = row.get_ref(0)?.as_str()?;
            let time = |column| Ok::<_, rusqlite::Error>(Timestamp::from_micros(row.get(column)?));
            let count: i64 = row.get(4)?;
            Ok(StagedWalk {
                coverage: coverage_of(name).ok_or_else(|| unreadable(0, name))?,
                until: time(1)?,
                newest: time(2)?,
                oldest: time(3)?,
                count: count.unsigned_abs(),
                has_met_known: row.get(5)?,
            })
        })
        .optional()
}

/// Passes the whole walk to `decide`, part by part, twice: all attempts are joined to their deliveries before it is
/// decided which deliveries have ended.
pub(super) fn for_each_part(
    transaction: &Transaction<'_>,
    target: TargetNumber,
    mut decide: impl FnMut(StagedPart) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    for pass in [Pass::Register, Pass::Settle] {
        let mut parts = Parts::new(transaction, target);
        let mut attempts = parts.next()?;
        loop {
            let next = parts.next()?;
            let is_last = next.is_empty() && pass == Pass::Settle;
            let invalid = if is_last { read_invalid(transaction, target)? } else { Vec::new() };
            decide(StagedPart { pass: if is_last { Pass::Last } else { pass }, attempts, invalid })?;
            if next.is_empty() {
                break;
            }
            attempts = next;
        }
    }
    Ok(())
}

/// Deletes the walk.
pub(super) fn clear(transaction: &Transaction<'_>, target: TargetNumber) -> rusqlite::Result<()> {
    for table in ["walks", "staged_entries", "staged_invalid"] {
        transaction.execute(&format!("DELETE FROM {table} WHERE target = ?1"), params![target.0])?;
    }
    Ok(())
}

/// Returns the next entries of a walk after `after`, oldest first: as many as are decided at once.
pub(super) fn part(
    connection: &Connection,
    target: TargetNumber,
    after: Option<&Attempt>,
) -> rusqlite::Result<Vec<Attempt>> {
    let mut parts = Parts::new(connection, target);
    if let Some(last) = after {
        parts.after = key(last);
    }
    parts.next()
}

/// Of the entries that were created at or after `since` and were pending or retrying when they were read, returns the
/// creation time of the oldest.
pub(super) fn oldest_open(
    connection: &Connection,
    target: TargetNumber,
    since: Timestamp,
) -> rusqlite::Result<Option<Timestamp>> {
    let (pending, retrying) = (AttemptStatus::Pending.as_str(), AttemptStatus::Retrying.as_str());
    let oldest: Option<i64> = connection
        .prepare_cached(
            "SELECT min(created_at) FROM staged_entries
             WHERE target = ?1 AND created_at >= ?2 AND status IN (?3, ?4)",
        )?
        .query_row(params![target.0, since.as_micros(), pending, retrying], |row| row.get(0))?;
    Ok(oldest.map(Timestamp::from_micros))
}

/// The entries of a walk, oldest first, by parts.
struct Parts<'a> {
    connection: &'a Connection,
    target: TargetNumber,
    /// The key of the last entry that was returned.
    after: (i64, i64, String),
    names: Names,
}

impl<'a> Parts<'a> {
    fn new(connection: &'a Connection, target: TargetNumber) -> Self {
        Self { connection, target, after: (i64::MIN, i64::MIN, String::new()), names: Names::default() }
    }

    fn next(&mut self) -> rusqlite::Result<Vec<Attempt>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT created_at, attempt, id, event, status, http_status, duration_ns, delivered_at, grp, error
             FROM staged_entries WHERE target = ?1 AND (created_at, attempt, id) > (?2, ?3, ?4)
             ORDER BY created_at, attempt, id LIMIT ?5",
        )?;
        let (created_at, attempt, id) = &self.after;
        let mut rows = statement.query(params![self.target.0, created_at, attempt, id, PART])?;
        let mut attempts = Vec::new();
        while let Some(row) = rows.next()? {
            attempts.push(read(row, &mut self.names)?);
        }
        if let Some(last) = attempts.last() {
            self.after = key(last);
        }
        Ok(attempts)
    }
}

fn key(attempt: &Attempt) -> (i64, i64, String) {
    (attempt.created_at.as_micros(), i64::from(attempt.attempt), attempt.id.to_string())
}

fn read(row: &rusqlite::Row<'_>, names: &mut Names) -> rusqlite::Result<Attempt> {
    let status = row.get_ref(4)?.as_str()?;
    Ok(Attempt {
        created_at: Timestamp::from_micros(row.get(0)?),
        attempt: row.get(1)?,
        id: EntryId::new(row.get_ref(2)?.as_str()?),
        event: names.intern(row.get_ref(3)?.as_str()?),
        status: AttemptStatus::from_name(status).ok_or_else(|| unreadable(4, status))?,
        http_status: http_status_of(row.get(5)?),
        duration_ns: row.get::<_, Option<i64>>(6)?.map(i64::unsigned_abs),
        delivered_at: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_micros),
        group: row.get(8)?,
        error: row.get(9)?,
    })
}

/// Returns the keys of the unusable entries of a walk.
pub(super) fn read_invalid(connection: &Connection, target: TargetNumber) -> rusqlite::Result<Vec<Box<str>>> {
    let mut statement = connection.prepare_cached("SELECT key FROM staged_invalid WHERE target = ?1")?;
    statement.query_map(params![target.0], |row| row.get(0))?.collect()
}

fn http_status_number(status: HttpStatus) -> i64 {
    match status {
        HttpStatus::None => NONE,
        HttpStatus::Invalid => INVALID,
        HttpStatus::Code(code) => i64::from(code),
    }
}

fn http_status_of(number: i64) -> HttpStatus {
    match number {
        NONE => HttpStatus::None,
        code => u16::try_from(code).map_or(HttpStatus::Invalid, HttpStatus::Code),
    }
}

/// The coverages that a staged walk can have, with the names under which they are stored. All other batches are made
/// from single pages, or from none, and are committed at once: they have nothing to resume.
const COVERAGES: [(Coverage, &str); 3] =
    [(Coverage::Head, "head"), (Coverage::Sweep, "sweep"), (Coverage::FirstContact, "first_contact")];

/// # Errors
/// If no walk covers this: a row that [`coverage_of`] cannot read must not be written.
fn coverage_name(coverage: Coverage) -> rusqlite::Result<&'static str> {
    let known = COVERAGES.iter().find(|(kind, _)| *kind == coverage);
    known.map(|(_, name)| *name).ok_or_else(|| {
        let reason = format!("a walk with the coverage {coverage:?} cannot be staged");
        rusqlite::Error::ToSqlConversionFailure(reason.into())
    })
}

fn coverage_of(name: &str) -> Option<Coverage> {
    COVERAGES.iter().find(|(_, known)| *known == name).map(|(coverage, _)| *coverage)
}
