//! Stores the latest lost deliveries of each target, and the recent activity of rows that were pruned.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, params};

use super::TargetNumber;
use super::entries::{Names, unreadable};
use talkover_core::delivery::{DeliveryResult, EntryId, Timestamp};
use talkover_core::ledger::activity::{ACTIVITY_KEPT, Minute, Outcomes, RecentActivity};
use talkover_core::ledger::losses::{EndKey, LossChanges, LostDelivery, RecentLosses};

/// Writes what is different of the lost deliveries.
pub(super) fn write(
    transaction: &Transaction<'_>,
    target: TargetNumber,
    changes: &LossChanges,
) -> rusqlite::Result<()> {
    let mut statement = transaction
        .prepare_cached("DELETE FROM lost_deliveries WHERE target = ?1 AND at = ?2 AND attempt = ?3 AND id = ?4")?;
    for end in &changes.removed {
        statement.execute(params![target.0, end.at.as_micros(), end.attempt, end.id.to_string()])?;
    }
    let mut statement = transaction.prepare_cached(
        "INSERT OR REPLACE INTO lost_deliveries (target, at, attempt, id, opening_id, event, result, http_status, error)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for (end, loss) in &changes.added {
        statement.execute(params![
            target.0,
            end.at.as_micros(),
            end.attempt,
            end.id.to_string(),
            loss.opening.to_string(),
            &*loss.event,
            loss.result.as_str(),
            loss.http_status,
            loss.error,
        ])?;
    }
    Ok(())
}

/// Reads the lost deliveries of a target.
pub(super) fn load(connection: &Connection, target: TargetNumber) -> rusqlite::Result<RecentLosses> {
    let mut statement = connection.prepare_cached(
        "SELECT at, attempt, id, opening_id, event, result, http_status, error FROM lost_deliveries WHERE target = ?1",
    )?;
    let mut events = Names::default();
    let mut rows = statement.query(params![target.0])?;
    let mut losses = RecentLosses::new();
    while let Some(row) = rows.next()? {
        let result = row.get_ref(5)?.as_str()?;
        let end = EndKey {
            at: Timestamp::from_micros(row.get(0)?),
            attempt: row.get(1)?,
            id: EntryId::new(row.get_ref(2)?.as_str()?),
        };
        let loss = LostDelivery {
            opening: EntryId::new(row.get_ref(3)?.as_str()?),
            event: events.intern(row.get_ref(4)?.as_str()?),
            result: DeliveryResult::from_name(result).ok_or_else(|| unreadable(5, result))?,
            http_status: row.get(6)?,
            error: row.get(7)?,
        };
        losses.insert(end, loss);
    }
    Ok(losses)
}

/// Keeps what forgotten rows add to what happened lately, for as long as that is asked for.
pub(super) fn add_activity(
    transaction: &Transaction<'_>,
    target: TargetNumber,
    pruned: &BTreeMap<Minute, Outcomes>,
) -> rusqlite::Result<()> {
    let Some((newest, _)) = pruned.last_key_value() else { return Ok(()) };
    let mut statement = transaction.prepare_cached(
        "INSERT INTO pruned_activity VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT DO UPDATE SET
             deliveries_success = deliveries_success + excluded.deliveries_success,
             deliveries_failed = deliveries_failed + excluded.deliveries_failed,
             deliveries_abandoned = deliveries_abandoned + excluded.deliveries_abandoned,
             attempts_success = attempts_success + excluded.attempts_success,
             attempts_failed = attempts_failed + excluded.attempts_failed,
             attempts_retrying = attempts_retrying + excluded.attempts_retrying,
             attempts_unknown = attempts_unknown + excluded.attempts_unknown",
    )?;
    let integer = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    for (minute, Outcomes { deliveries, attempts }) in pruned {
        let [success, failed, abandoned] = deliveries.map(integer);
        let attempts = attempts.map(integer);
        statement.execute(params![
            target.0,
            minute,
            success,
            failed,
            abandoned,
            attempts[0],
            attempts[1],
            attempts[2],
            attempts[3]
        ])?;
    }
    let oldest = newest - i64::try_from(ACTIVITY_KEPT.as_secs() / 60).unwrap_or(0);
    transaction
        .prepare_cached("DELETE FROM pruned_activity WHERE target = ?1 AND minute < ?2")?
        .execute(params![target.0, oldest])?;
    Ok(())
}

/// Reads what forgotten rows have added to what happened lately.
pub(super) fn load_activity(connection: &Connection, target: TargetNumber) -> rusqlite::Result<RecentActivity> {
    let mut statement = connection.prepare_cached("SELECT * FROM pruned_activity WHERE target = ?1")?;
    let mut rows = statement.query(params![target.0])?;
    let mut activity = RecentActivity::default();
    while let Some(row) = rows.next()? {
        let count = |column| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.unsigned_abs());
        let outcomes = Outcomes {
            deliveries: [count(2)?, count(3)?, count(4)?],
            attempts: [count(5)?, count(6)?, count(7)?, count(8)?],
        };
        activity.add(row.get(1)?, &outcomes);
    }
    Ok(activity)
}
