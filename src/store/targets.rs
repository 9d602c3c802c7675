//! What is kept of a target as a whole: its marks.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::TargetId;
use crate::delivery::{Target, Timestamp};
use crate::ledger::state::Marks;

/// A target of the state file.
pub(super) struct Found {
    pub(super) id: TargetId,
    pub(super) marks: Marks,
    pub(super) catching_up: Option<Timestamp>,
}

/// Looks a target up by environment and webhook.
pub(super) fn find(connection: &Connection, target: &Target) -> rusqlite::Result<Option<Found>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, known_at, cut, watermark, swept, horizon, contacted, gap_at, last_success, last_failed, last_retrying,
                last_unknown, catching_up
         FROM targets WHERE environment = ?1 AND webhook_id = ?2",
    )?;
    statement.query_row(params![&*target.environment, &*target.webhook_id], read).optional()
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Found> {
    let time = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros));
    let marks = Marks {
        known_at: time(1)?,
        cut: time(2)?,
        watermark: time(3)?,
        swept: time(4)?,
        horizon: time(5)?,
        contacted: row.get(6)?,
        gap_at: time(7)?,
        last_attempt: [time(8)?, time(9)?, time(10)?, time(11)?],
    };
    Ok(Found { id: TargetId(row.get(0)?), marks, catching_up: time(12)? })
}

/// The number of a target.
pub(super) fn find_id(connection: &Connection, target: &Target) -> rusqlite::Result<Option<TargetId>> {
    connection
        .prepare_cached("SELECT id FROM targets WHERE environment = ?1 AND webhook_id = ?2")?
        .query_row(params![&*target.environment, &*target.webhook_id], |row| row.get(0).map(TargetId))
        .optional()
}

/// The number of a target, which is given one where it has none.
pub(super) fn upsert(transaction: &Transaction<'_>, target: &Target) -> rusqlite::Result<TargetId> {
    if let Some(id) = find_id(transaction, target)? {
        return Ok(id);
    }
    transaction
        .prepare_cached(
            "INSERT INTO targets (environment, webhook_id, webhook_name, owner_type, owner_id)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            &*target.environment,
            &*target.webhook_id,
            &*target.webhook_name,
            target.owner_type.as_str(),
            &*target.owner_id
        ])?;
    Ok(TargetId(transaction.last_insert_rowid()))
}

/// Writes all marks.
pub(super) fn write_marks(transaction: &Transaction<'_>, id: TargetId, marks: &Marks) -> rusqlite::Result<()> {
    let micros = |time: Option<Timestamp>| time.map(Timestamp::as_micros);
    let [success, failed, retrying, unknown] = marks.last_attempt.map(micros);
    transaction
        .prepare_cached(
            "UPDATE targets SET known_at = ?2, cut = ?3, watermark = ?4, swept = ?5, horizon = ?6, contacted = ?7,
             gap_at = ?8, last_success = ?9, last_failed = ?10, last_retrying = ?11, last_unknown = ?12 WHERE id = ?1",
        )?
        .execute(params![
            id.0,
            micros(marks.known_at),
            micros(marks.cut),
            micros(marks.watermark),
            micros(marks.swept),
            micros(marks.horizon),
            marks.contacted,
            micros(marks.gap_at),
            success,
            failed,
            retrying,
            unknown
        ])?;
    Ok(())
}

/// Marks that what is committed now has happened while nobody looked.
pub(super) fn begin_catching_up(transaction: &Transaction<'_>, id: TargetId, since: Timestamp) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE targets SET catching_up = ?2 WHERE id = ?1")?
        .execute(params![id.0, since.as_micros()])?;
    Ok(())
}

/// Ends the catching-up whose last batch was read at `since`, unless there was another one.
pub(super) fn end_catching_up(
    transaction: &Transaction<'_>,
    id: TargetId,
    since: Option<Timestamp>,
) -> rusqlite::Result<()> {
    let Some(since) = since else { return Ok(()) };
    transaction
        .prepare_cached("UPDATE targets SET catching_up = NULL WHERE id = ?1 AND catching_up = ?2")?
        .execute(params![id.0, since.as_micros()])?;
    Ok(())
}
