//! The queue of spans (the outbox): encoded spans on their way to a receiver, and parked ones that sampling omits and a
//! later attempt may need.
//!
//! Spans enter in the transaction that counts their attempt, so that a crash loses both or neither. They leave from the
//! front, when a receiver has accepted or rejected them, or when there are too many. *Invariant:* the queue is one run
//! of numbers, which are never reused: its length is the distance of its ends, and a late acknowledgement removes
//! nothing that was added since. Spans are bytes here; nothing in this file decodes them. Called by
//! [`super::SqliteStore`] alone.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::TargetNumber;
use crate::store::queue::QueueOnDisk;
use crate::store::{QueuedSpan, SpanBatch};
use talkover_core::delivery::Timestamp;
use talkover_core::spans::record::Fate;

/// Parked spans that one commit forgets, so that none takes long.
const FORGOTTEN_AT_ONCE: i64 = 5_000;

/// Adds the spans of a decision. If that makes the queue longer than `capacity`, the oldest are dropped; returns how
/// many, if any span was queued at all.
pub(super) fn add(
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
    if has_queued { limit(transaction, capacity).map(Some) } else { Ok(None) }
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

/// Drops the oldest spans beyond `capacity`; returns how many.
pub(super) fn limit(transaction: &Transaction<'_>, capacity: u64) -> rusqlite::Result<u64> {
    let capacity = i64::try_from(capacity).unwrap_or(i64::MAX);
    let dropped = transaction
        .prepare_cached("DELETE FROM outbox WHERE seq <= (SELECT max(seq) FROM outbox) - ?1")?
        .execute(params![capacity])?;
    Ok(dropped as u64)
}

/// The state of the queue.
pub(super) fn waiting(connection: &Connection) -> rusqlite::Result<QueueOnDisk> {
    let first: Option<(i64, i64)> = connection
        .prepare_cached("SELECT seq, queued_at FROM outbox ORDER BY seq LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((first, queued_at)) = first else { return Ok(QueueOnDisk::default()) };
    let last: i64 = connection.prepare_cached("SELECT max(seq) FROM outbox")?.query_row([], |row| row.get(0))?;
    Ok(QueueOnDisk { length: last.abs_diff(first) + 1, oldest: Some(Timestamp::from_micros(queued_at)) })
}

/// The oldest spans: at most `max_spans`, and together at most `max_bytes`, but always one if there is one.
pub(super) fn oldest(connection: &Connection, max_spans: usize, max_bytes: usize) -> rusqlite::Result<Vec<QueuedSpan>> {
    let mut statement = connection.prepare_cached("SELECT seq, span FROM outbox ORDER BY seq")?;
    let mut rows = statement.query([])?;
    let (mut spans, mut bytes) = (Vec::new(), 0);
    while spans.len() < max_spans.max(1)
        && let Some(row) = rows.next()?
    {
        let span = row.get_ref(1)?.as_blob()?;
        bytes += span.len();
        if bytes > max_bytes && !spans.is_empty() {
            break;
        }
        spans.push(QueuedSpan { seq: row.get(0)?, span: span.to_vec() });
    }
    Ok(spans)
}

/// Removes the spans up to and including the number `through`; returns how many there were.
pub(super) fn remove(transaction: &Transaction<'_>, through: i64) -> rusqlite::Result<u64> {
    let removed = transaction.prepare_cached("DELETE FROM outbox WHERE seq <= ?1")?.execute(params![through])?;
    Ok(removed as u64)
}
