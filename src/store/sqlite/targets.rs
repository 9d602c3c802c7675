//! The table `targets`: the marks of each target (how far it was read, its last outcomes), and whether it is listed.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::TargetNumber;
use super::discovered::webhook_info;
use crate::store::Unlisted;
use talkover_core::delivery::{EntryId, OwnerType, Target, Timestamp};
use talkover_core::discovery::targets::WebhookInfo;
use talkover_core::ledger::losses::{EndKey, LossStreak};
use talkover_core::ledger::state::Marks;
use talkover_core::server_time::LocalTime;

/// A target of the state file.
pub(super) struct StoredTarget {
    pub(super) id: TargetNumber,
    pub(super) marks: Marks,
    pub(super) catching_up: Option<Timestamp>,
    pub(super) is_behind: bool,
}

/// Looks a target up by environment and webhook.
pub(super) fn find(connection: &Connection, target: &Target) -> rusqlite::Result<Option<StoredTarget>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, known_at, cut, watermark, swept, horizon, contacted, gap_at, last_success, last_failed,
                last_retrying, last_unknown, catching_up, lost_in_a_row, failing_since, success_at, success_attempt,
                success_id, is_behind
         FROM targets WHERE environment = ?1 AND webhook_id = ?2",
    )?;
    statement.query_row(params![&*target.environment, &*target.webhook_id], read).optional()
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<StoredTarget> {
    let time = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros));
    let marks = Marks {
        known_at: time(1)?,
        history_cutoff: time(2)?,
        watermark: time(3)?,
        swept: time(4)?,
        horizon: time(5)?,
        contacted: row.get(6)?,
        gap_at: time(7)?,
        last_attempt: [time(8)?, time(9)?, time(10)?, time(11)?],
        streak: LossStreak {
            count: row.get::<_, i64>(13)?.unsigned_abs(),
            since: time(14)?,
            last_success: read_end(row)?,
        },
    };
    Ok(StoredTarget { id: TargetNumber(row.get(0)?), marks, catching_up: time(12)?, is_behind: row.get(18)? })
}

/// Reads the end of the last delivery that succeeded, if there was one.
fn read_end(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<EndKey>> {
    let Some(at) = row.get::<_, Option<i64>>(15)? else { return Ok(None) };
    let id = EntryId::new(row.get_ref(17)?.as_str()?);
    Ok(Some(EndKey { at: Timestamp::from_micros(at), attempt: row.get(16)?, id }))
}

/// Returns the number of a target; `None` if it has none.
pub(super) fn find_id(connection: &Connection, target: &Target) -> rusqlite::Result<Option<TargetNumber>> {
    connection
        .prepare_cached("SELECT id FROM targets WHERE environment = ?1 AND webhook_id = ?2")?
        .query_row(params![&*target.environment, &*target.webhook_id], |row| row.get(0).map(TargetNumber))
        .optional()
}

/// Returns the number of a target; `None` if it has none or is listed.
pub(super) fn find_unlisted(connection: &Connection, target: &Target) -> rusqlite::Result<Option<TargetNumber>> {
    connection
        .prepare_cached(
            "SELECT id FROM targets WHERE environment = ?1 AND webhook_id = ?2 AND unlisted_at IS NOT NULL",
        )?
        .query_row(params![&*target.environment, &*target.webhook_id], |row| row.get(0).map(TargetNumber))
        .optional()
}

/// Returns the number of a target; inserts the target if it is new.
pub(super) fn upsert(transaction: &Transaction<'_>, target: &Target) -> rusqlite::Result<TargetNumber> {
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
    Ok(TargetNumber(transaction.last_insert_rowid()))
}

/// Writes all marks.
pub(super) fn write_marks(transaction: &Transaction<'_>, id: TargetNumber, marks: &Marks) -> rusqlite::Result<()> {
    let micros = |time: Option<Timestamp>| time.map(Timestamp::as_micros);
    let [success, failed, retrying, unknown] = marks.last_attempt.map(micros);
    let end = marks.streak.last_success.as_ref();
    transaction
        .prepare_cached(
            "UPDATE targets SET known_at = ?2, cut = ?3, watermark = ?4, swept = ?5, horizon = ?6, contacted = ?7,
             gap_at = ?8, last_success = ?9, last_failed = ?10, last_retrying = ?11, last_unknown = ?12,
             lost_in_a_row = ?13, failing_since = ?14, success_at = ?15, success_attempt = ?16, success_id = ?17
             WHERE id = ?1",
        )?
        .execute(params![
            id.0,
            micros(marks.known_at),
            micros(marks.history_cutoff),
            micros(marks.watermark),
            micros(marks.swept),
            micros(marks.horizon),
            marks.contacted,
            micros(marks.gap_at),
            success,
            failed,
            retrying,
            unknown,
            i64::try_from(marks.streak.count).unwrap_or(i64::MAX),
            micros(marks.streak.since),
            end.map(|end| end.at.as_micros()),
            end.map(|end| end.attempt),
            end.map(|end| end.id.to_string()),
        ])?;
    Ok(())
}

/// Records that what is committed now happened while the daemon was not reading.
pub(super) fn begin_catching_up(
    transaction: &Transaction<'_>,
    id: TargetNumber,
    since: Timestamp,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE targets SET catching_up = ?2 WHERE id = ?1")?
        .execute(params![id.0, since.as_micros()])?;
    Ok(())
}

/// Ends the catching-up whose last batch was read at `since`, unless there was another one.
pub(super) fn end_catching_up(
    transaction: &Transaction<'_>,
    id: TargetNumber,
    since: Option<Timestamp>,
) -> rusqlite::Result<()> {
    let Some(since) = since else { return Ok(()) };
    transaction
        .prepare_cached("UPDATE targets SET catching_up = NULL WHERE id = ?1 AND catching_up = ?2")?
        .execute(params![id.0, since.as_micros()])?;
    Ok(())
}

/// Records that the log of every target must be read again before the target is shown. Birth holds end: the lost
/// commits may include the one that ended a hold, after which the series was shown with its real value.
pub(super) fn fall_behind(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute("UPDATE targets SET is_behind = 1", [])?;
    transaction.execute("UPDATE totals SET held = 0 WHERE held <> 0", [])?;
    Ok(())
}

/// Records that the log of a target was read again.
pub(super) fn catch_up(transaction: &Transaction<'_>, id: TargetNumber) -> rusqlite::Result<()> {
    transaction.execute("UPDATE targets SET is_behind = 0 WHERE id = ?1", [id.0])?;
    Ok(())
}

/// Records which targets of an environment are listed, as of `now`; returns the others, each with how long it has been
/// shown since it was listed. Writes only what has changed.
pub(super) fn list(
    transaction: &Transaction<'_>,
    environment: &str,
    listed: &[Target],
    now: LocalTime,
) -> rusqlite::Result<Vec<Unlisted>> {
    let listed: HashMap<&str, &Target> = listed.iter().map(|target| (&*target.webhook_id, target)).collect();
    let mut unlisted = Vec::new();
    for TargetRecord { id, target: known, is_listed, unlisted_for } in all(transaction, environment)? {
        match listed.get(&*known.webhook_id) {
            Some(target) if **target != known || !is_listed => name(transaction, id, target)?,
            Some(_) => {}
            None => {
                unlist(transaction, id, now)?;
                let info = read_info(transaction, id)?;
                unlisted.push(Unlisted { target: known, info, unlisted_for });
            }
        }
    }
    Ok(unlisted)
}

/// Records which targets are listed now, and under which names, and which are no longer listed, as of `now`. Called
/// before discovery forgets what it knew about the unlisted.
pub(super) fn change_list(
    transaction: &Transaction<'_>,
    listed: &[Target],
    unlisted: &[Target],
    now: LocalTime,
) -> rusqlite::Result<()> {
    for target in listed {
        if let Some(id) = find_id(transaction, target)? {
            name(transaction, id, target)?;
        }
    }
    for target in unlisted {
        if let Some(id) = find_id(transaction, target)? {
            unlist(transaction, id, now)?;
        }
    }
    Ok(())
}

/// Records how long unlisted targets have been shown.
pub(super) fn keep_unlisted_for(
    transaction: &Transaction<'_>,
    unlisted: &[(Target, Duration)],
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "UPDATE targets SET unlisted_for_seconds = ?3
         WHERE environment = ?1 AND webhook_id = ?2 AND unlisted_at IS NOT NULL",
    )?;
    for (target, time) in unlisted {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        statement.execute(params![&*target.environment, &*target.webhook_id, seconds])?;
    }
    Ok(())
}

/// Marks a target as unlisted, and keeps what discovery knows about it. If several owners list the webhook, the
/// target's own owner is preferred, as for listed targets.
fn unlist(transaction: &Transaction<'_>, id: TargetNumber, now: LocalTime) -> rusqlite::Result<()> {
    let changed = transaction
        .prepare_cached("UPDATE targets SET unlisted_at = ?2 WHERE id = ?1 AND unlisted_at IS NULL")?
        .execute(params![id.0, now.timestamp().as_micros()])?;
    if changed > 0 {
        transaction
            .prepare_cached(
                "UPDATE targets SET owner_name = found.owner_name, host = found.host, port = found.port,
                        timeout_seconds = found.timeout_seconds, max_retries = found.max_retries, method = found.method,
                        is_enabled = found.is_enabled
                 FROM (
                    SELECT iif(is_owner, owner_name, '') AS owner_name, host, port, timeout_seconds, max_retries,
                           method, is_enabled
                    FROM (
                        SELECT owners.name AS owner_name, webhooks.*,
                               webhooks.owner_type = known.owner_type AND webhooks.owner_id = known.owner_id AS is_owner
                        FROM targets AS known
                        JOIN discovered_webhooks AS webhooks USING (environment, webhook_id)
                        JOIN discovered_owners AS owners ON owners.environment = webhooks.environment
                             AND owners.owner_type = webhooks.owner_type AND owners.owner_id = webhooks.owner_id
                        WHERE known.id = ?1
                    )
                    ORDER BY is_owner DESC, owner_type, owner_id LIMIT 1
                 ) AS found
                 WHERE id = ?1",
            )?
            .execute(params![id.0])?;
    }
    Ok(())
}

fn read_info(connection: &Connection, id: TargetNumber) -> rusqlite::Result<Option<WebhookInfo>> {
    let mut statement = connection.prepare_cached(
        "SELECT owner_name, host, port, timeout_seconds, max_retries, method, is_enabled
         FROM targets WHERE id = ?1 AND method IS NOT NULL",
    )?;
    statement.query_row([id.0], webhook_info).optional()
}

/// Returns the environments that have targets.
pub(super) fn environments(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection.prepare_cached("SELECT DISTINCT environment FROM targets")?.query_map([], |row| row.get(0))?.collect()
}

/// A target as stored in the file.
struct TargetRecord {
    id: TargetNumber,
    target: Target,
    is_listed: bool,
    unlisted_for: Duration,
}

fn all(connection: &Connection, environment: &str) -> rusqlite::Result<Vec<TargetRecord>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, environment, webhook_id, owner_type, owner_id, webhook_name, unlisted_at IS NULL,
                unlisted_for_seconds
         FROM targets WHERE environment = ?1 ORDER BY id",
    )?;
    let text = |row: &rusqlite::Row<'_>, column| row.get::<_, Option<String>>(column);
    let rows = statement.query_map([environment], |row| {
        let webhook_id: String = row.get(2)?;
        let target = Target {
            environment: row.get::<_, String>(1)?.into(),
            // A file migrated from version 1 may lack these.
            owner_type: text(row, 3)?.and_then(|name| OwnerType::from_name(&name)).unwrap_or(OwnerType::Agent),
            owner_id: text(row, 4)?.unwrap_or_default().into(),
            webhook_name: text(row, 5)?.unwrap_or_else(|| webhook_id.clone()).into(),
            webhook_id: webhook_id.into(),
        };
        let unlisted_for = Duration::from_secs(u64::try_from(row.get::<_, i64>(7)?).unwrap_or(0));
        Ok(TargetRecord { id: TargetNumber(row.get(0)?), target, is_listed: row.get(6)?, unlisted_for })
    })?;
    rows.collect()
}

fn name(transaction: &Transaction<'_>, id: TargetNumber, target: &Target) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE targets SET unlisted_at = NULL, unlisted_for_seconds = 0, webhook_name = ?2, owner_type = ?3,
                    owner_id = ?4, owner_name = NULL, host = NULL, port = NULL, timeout_seconds = NULL,
                    max_retries = NULL, method = NULL, is_enabled = NULL
             WHERE id = ?1",
        )?
        .execute(params![id.0, &*target.webhook_name, target.owner_type.as_str(), &*target.owner_id])?;
    Ok(())
}

/// Deletes a target and everything that belongs to it.
pub(super) fn remove(transaction: &Transaction<'_>, id: TargetNumber) -> rusqlite::Result<()> {
    const TABLES: [&str; 10] = [
        "entries",
        "invalid_entries",
        "totals",
        "pruned_totals",
        "staged_entries",
        "staged_invalid",
        "walks",
        "parked_spans",
        "lost_deliveries",
        "pruned_activity",
    ];
    for table in TABLES {
        transaction.execute(&format!("DELETE FROM {table} WHERE target = ?1"), params![id.0])?;
    }
    transaction.execute("DELETE FROM targets WHERE id = ?1", params![id.0])?;
    Ok(())
}
