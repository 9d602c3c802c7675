//! The queues of spans and of log records (the outbox): encoded items on their way to a receiver, and parked spans that
//! sampling omits and a later attempt may need.
//!
//! Items enter in the transaction that counts their attempt, so that a crash loses both or neither. They leave from the
//! front, when a receiver has accepted or rejected them, or when there are too many. Each queue has its own pace: a
//! receiver that takes spans may refuse log records. *Invariant:* a queue is one run of numbers, which are never reused:
//! its length is the distance of its ends, and a late acknowledgement removes nothing that was added since. Items are
//! bytes here; nothing in this file decodes them. Called by [`super::SqliteStore`] alone.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::TargetNumber;
use crate::store::queue::QueueOnDisk;
use crate::store::{QueuedLog, QueuedSpan, SpanBatch};
use talkover_core::delivery::Timestamp;
use talkover_core::spans::record::Fate;

/// Parked spans that one commit forgets, so that none takes long.
const FORGOTTEN_AT_ONCE: i64 = 5_000;

/// A queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutboxTable {
    Spans,
    Logs,
}

impl OutboxTable {
    /// The table.
    const fn name(self) -> &'static str {
        match self {
            Self::Spans => "outbox",
            Self::Logs => "log_outbox",
        }
    }
}

/// How many items a commit has dropped from each queue, if it has queued any there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueChanges {
    pub(super) spans: Option<u64>,
    pub(super) logs: Option<u64>,
}

impl QueueChanges {
    /// Adds those of another part of the same commit.
    pub(super) fn add(&mut self, more: Self) {
        let sum =
            |one: Option<u64>, other: Option<u64>| one.zip(other).map(|(one, other)| one + other).or(one).or(other);
        *self = Self { spans: sum(self.spans, more.spans), logs: sum(self.logs, more.logs) };
    }
}

/// Adds the spans and log records of a decision about a target of this environment. If that makes a queue longer than
/// `capacity`, its oldest items are dropped.
pub(super) fn add(
    transaction: &Transaction<'_>,
    (target, environment): (TargetNumber, &str),
    batch: &SpanBatch,
    capacity: u64,
) -> rusqlite::Result<QueueChanges> {
    let spans = add_spans(transaction, target, batch, capacity)?;
    let mut statement =
        transaction.prepare_cached("INSERT INTO log_outbox (queued_at, environment, record) VALUES (?1, ?2, ?3)")?;
    for record in &batch.logs {
        statement.execute(params![batch.queued_at.timestamp().as_micros(), environment, record])?;
    }
    let has_logs = !batch.logs.is_empty();
    let logs = has_logs.then(|| limit(transaction, OutboxTable::Logs, capacity)).transpose()?;
    Ok(QueueChanges { spans, logs })
}

/// How many spans had to be dropped, if any was queued at all.
fn add_spans(
    transaction: &Transaction<'_>,
    target: TargetNumber,
    batch: &SpanBatch,
    capacity: u64,
) -> rusqlite::Result<Option<u64>> {
    let queued_at = batch.queued_at.timestamp().as_micros();
    let parked_at = batch.parked_at.timestamp().as_micros();
    let (mut has_queued, mut has_parked) = (false, false);
    for record in &batch.records {
        if record.fate == Fate::Park {
            has_parked = true;
            transaction
                .prepare_cached("INSERT INTO parked_spans (target, parked_at, trace_id, span) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![target.0, parked_at, &record.trace_id[..], record.span])?;
            continue;
        }
        if record.fate == Fate::QueueWithParked {
            call_back(transaction, &record.trace_id, queued_at)?;
        }
        transaction
            .prepare_cached("INSERT INTO outbox (queued_at, span) VALUES (?1, ?2)")?
            .execute(params![queued_at, record.span])?;
        has_queued = true;
    }
    forget_parked(transaction, target, batch.parked_since.timestamp())?;
    if has_parked {
        limit_parked(transaction, capacity)?;
    }
    if has_queued { limit(transaction, OutboxTable::Spans, capacity).map(Some) } else { Ok(None) }
}

/// Queues the parked spans of a trace.
fn call_back(transaction: &Transaction<'_>, trace_id: &[u8; 16], now: i64) -> rusqlite::Result<()> {
    let moved = transaction
        .prepare_cached(
            "INSERT INTO outbox (queued_at, span) SELECT ?2, span FROM parked_spans WHERE trace_id = ?1 ORDER BY seq",
        )?
        .execute(params![&trace_id[..], now])?;
    if moved > 0 {
        transaction.prepare_cached("DELETE FROM parked_spans WHERE trace_id = ?1")?.execute(params![&trace_id[..]])?;
    }
    Ok(())
}

/// Forgets spans that were parked too long ago, oldest first.
fn forget_parked(transaction: &Transaction<'_>, target: TargetNumber, since: Timestamp) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "DELETE FROM parked_spans WHERE seq IN (
                 SELECT seq FROM parked_spans WHERE target = ?1 AND parked_at < ?2 ORDER BY parked_at LIMIT ?3
             )",
        )?
        .execute(params![target.0, since.as_micros(), FORGOTTEN_AT_ONCE])?;
    Ok(())
}

/// Forgets the oldest parked spans beyond `capacity`: sampling must not fill the disk. They were not to be sent; if a
/// later attempt needs them, its trace lacks them.
fn limit_parked(transaction: &Transaction<'_>, capacity: u64) -> rusqlite::Result<()> {
    let capacity = i64::try_from(capacity).unwrap_or(i64::MAX);
    transaction
        .prepare_cached("DELETE FROM parked_spans WHERE seq <= (SELECT max(seq) FROM parked_spans) - ?1")?
        .execute(params![capacity])?;
    Ok(())
}

/// Drops the oldest items beyond `capacity`; returns how many.
pub(super) fn limit(transaction: &Transaction<'_>, table: OutboxTable, capacity: u64) -> rusqlite::Result<u64> {
    let capacity = i64::try_from(capacity).unwrap_or(i64::MAX);
    let name = table.name();
    let dropped = transaction
        .prepare_cached(&format!("DELETE FROM {name} WHERE seq <= (SELECT max(seq) FROM {name}) - ?1"))?
        .execute(params![capacity])?;
    Ok(dropped as u64)
}

/// The state of a queue.
pub(super) fn waiting(connection: &Connection, table: OutboxTable) -> rusqlite::Result<QueueOnDisk> {
    let name = table.name();
    let first: Option<(i64, i64)> = connection
        .prepare_cached(&format!("SELECT seq, queued_at FROM {name} ORDER BY seq LIMIT 1"))?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((first, queued_at)) = first else { return Ok(QueueOnDisk::default()) };
    let last = format!("SELECT max(seq) FROM {name}");
    let last: i64 = connection.prepare_cached(&last)?.query_row([], |row| row.get(0))?;
    Ok(QueueOnDisk { length: last.abs_diff(first) + 1, oldest: Some(Timestamp::from_micros(queued_at)) })
}

/// The oldest spans: at most `max_spans`, and together at most `max_bytes`, but always one if there is one.
pub(super) fn oldest_spans(
    connection: &Connection,
    max_spans: usize,
    max_bytes: usize,
) -> rusqlite::Result<Vec<QueuedSpan>> {
    let sql = "SELECT seq, length(span), span FROM outbox ORDER BY seq";
    first_within(connection, sql, max_spans, max_bytes, |row| Ok(QueuedSpan { seq: row.get(0)?, span: row.get(2)? }))
}

/// The oldest log records, likewise.
pub(super) fn oldest_logs(
    connection: &Connection,
    max_records: usize,
    max_bytes: usize,
) -> rusqlite::Result<Vec<QueuedLog>> {
    let sql = "SELECT seq, length(record), environment, record FROM log_outbox ORDER BY seq";
    first_within(connection, sql, max_records, max_bytes, |row| {
        Ok(QueuedLog { seq: row.get(0)?, environment: row.get(2)?, record: row.get(3)? })
    })
}

/// The first rows of a query, the second column of which is the size of an item.
fn first_within<T>(
    connection: &Connection,
    sql: &str,
    max_items: usize,
    max_bytes: usize,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let (mut items, mut bytes) = (Vec::new(), 0);
    while items.len() < max_items.max(1)
        && let Some(row) = rows.next()?
    {
        bytes += usize::try_from(row.get::<_, i64>(1)?).unwrap_or(usize::MAX);
        if bytes > max_bytes && !items.is_empty() {
            break;
        }
        items.push(read(row)?);
    }
    Ok(items)
}

/// Removes the items up to and including the number `through`; returns how many there were.
pub(super) fn remove(transaction: &Transaction<'_>, table: OutboxTable, through: i64) -> rusqlite::Result<u64> {
    let sql = format!("DELETE FROM {} WHERE seq <= ?1", table.name());
    Ok(transaction.prepare_cached(&sql)?.execute(params![through])? as u64)
}
