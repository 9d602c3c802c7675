//! The state file's format: its schema, its version, and the migrations from each version to the next.
//!
//! | version | what it adds |
//! | --- | --- |
//! | 1 | targets, entries, totals |
//! | 2 | births and birth holds; the end of history; gaps; sums of pruned rows; unlisted targets; long walks |
//! | 3 | what discovery knows |
//! | 4 | columns that spans need; the queue of spans, and parked spans |
//! | 5 | what discovery knew about unlisted targets |
//! | 6 | how long unlisted targets have been shown |
//! | 7 | lost deliveries: how many in a row, since when, and the latest of them; recent activity by minute |
//! | 8 | the number of the last commit, checksums of all tables, which targets are behind what was shown |
//! | 9 | log records on their way |
//!
//! The versions count changes of the format and are independent of the program's version.
//! A file of an older version is migrated when it is opened, in one transaction. A newer one is refused. Rows are keyed
//! by time first: SQLite is fast if rows are inserted in the order of their keys, and ids come in random order.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};

use super::checksums::ChangeTally;
use super::damage;
use super::{commits, space};
use crate::store::error::StoreError;
use talkover_core::delivery::Timestamp;
use talkover_core::server_time::LocalTime;

/// Marks the file as ours in SQLite's header: the letters `TOEX`.
const APPLICATION_ID: i64 = 0x544F_4558;

/// The write-ahead log is truncated to this size after a checkpoint.
const WAL_BYTES: i64 = 16 * 1024 * 1024;

/// Element n migrates from version n to version n + 1. The version is stored as SQLite's `user_version`.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value ANY NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- Times are microseconds since the Unix epoch.
    CREATE TABLE targets (
        id INTEGER PRIMARY KEY,
        environment TEXT NOT NULL,
        webhook_id TEXT NOT NULL,
        cut INTEGER,
        watermark INTEGER,
        swept INTEGER,
        horizon INTEGER,
        contacted INTEGER NOT NULL DEFAULT 0,
        last_success INTEGER,
        last_failed INTEGER,
        last_retrying INTEGER,
        last_unknown INTEGER,
        UNIQUE (environment, webhook_id)
    ) STRICT;

    -- The entries that are remembered, with the labels under which they were counted.
    CREATE TABLE entries (
        target INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        id TEXT NOT NULL,
        at INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        status TEXT NOT NULL,
        event TEXT NOT NULL,
        counted_status TEXT,
        counted_http_status TEXT,
        grp BLOB NOT NULL,
        opening_at INTEGER,
        opening_id TEXT,
        flags INTEGER NOT NULL,
        PRIMARY KEY (target, created_at, id)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE invalid_entries (
        target INTEGER NOT NULL,
        key TEXT NOT NULL,
        seen_at INTEGER NOT NULL,
        PRIMARY KEY (target, key)
    ) STRICT, WITHOUT ROWID;

    -- A counter has a value; a histogram has counts (little-endian u64, one a bucket, +Inf last) and a sum.
    CREATE TABLE totals (
        target INTEGER NOT NULL,
        family TEXT NOT NULL,
        labels TEXT NOT NULL,
        value INTEGER,
        counts BLOB,
        sum INTEGER,
        PRIMARY KEY (target, family, labels)
    ) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE targets ADD COLUMN known_at INTEGER;
    ALTER TABLE targets ADD COLUMN gap_at INTEGER;
    -- While the target catches up on what happened while the daemon was not reading: when the last such batch was read.
    ALTER TABLE targets ADD COLUMN catching_up INTEGER;
    -- How the webhook was configured when it was last listed, and since when it is unlisted.
    ALTER TABLE targets ADD COLUMN webhook_name TEXT;
    ALTER TABLE targets ADD COLUMN owner_type TEXT;
    ALTER TABLE targets ADD COLUMN owner_id TEXT;
    ALTER TABLE targets ADD COLUMN unlisted_at INTEGER;

    ALTER TABLE entries ADD COLUMN result TEXT;

    -- When a series was born, where it was born live; and whether it is still served as 0.
    ALTER TABLE totals ADD COLUMN born_at INTEGER;
    ALTER TABLE totals ADD COLUMN held INTEGER NOT NULL DEFAULT 0;

    -- What pruned rows contributed to the counters. Of each counter made of rows: this plus the rows equals its total.
    CREATE TABLE pruned_totals (
        target INTEGER NOT NULL,
        family TEXT NOT NULL,
        labels TEXT NOT NULL,
        value INTEGER NOT NULL,
        PRIMARY KEY (target, family, labels)
    ) STRICT, WITHOUT ROWID;

    -- The long walk of a target that is under way: what it covers, where it ends, and what it has read without a gap.
    CREATE TABLE walks (
        target INTEGER PRIMARY KEY,
        coverage TEXT NOT NULL,
        until INTEGER NOT NULL,
        newest INTEGER NOT NULL,
        oldest INTEGER NOT NULL,
        count INTEGER NOT NULL,
        has_met_known INTEGER NOT NULL
    ) STRICT;

    -- What that walk has read and is not decided yet.
    CREATE TABLE staged_entries (
        target INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        id TEXT NOT NULL,
        event TEXT NOT NULL,
        status TEXT NOT NULL,
        http_status INTEGER NOT NULL,
        duration_ns INTEGER,
        delivered_at INTEGER,
        grp BLOB NOT NULL,
        PRIMARY KEY (target, created_at, attempt, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE staged_invalid (
        target INTEGER NOT NULL,
        key TEXT NOT NULL,
        PRIMARY KEY (target, key)
    ) STRICT, WITHOUT ROWID;

    -- Version 1 did not keep these sums, nor how deliveries ended: what its rows do not explain came from pruned rows.
    INSERT INTO pruned_totals
    SELECT target, family, labels, value - CASE
        WHEN family = 'attempts' THEN (
            SELECT count(*) FROM entries
            WHERE entries.target = totals.target
            AND json_array(event, counted_status, counted_http_status) = json(labels)
        )
        WHEN family = 'log_entries' AND labels = '[\"new\"]' THEN (
            SELECT count(*) FROM entries WHERE entries.target = totals.target
        )
        WHEN family = 'log_entries' AND labels = '[\"expired\"]' THEN (
            SELECT count(*) FROM entries
            WHERE entries.target = totals.target AND counted_status IS NULL AND flags & 4
        )
        ELSE 0
    END
    FROM totals WHERE family IN ('attempts', 'deliveries')
    OR (family = 'log_entries' AND labels IN ('[\"new\"]', '[\"late\"]', '[\"expired\"]'));
",
    "
    -- What discovery knows; times are the server's.
    CREATE TABLE discovered_lists (
        environment TEXT NOT NULL,
        owner_type TEXT NOT NULL,
        completed_at INTEGER,
        whole_at INTEGER,
        PRIMARY KEY (environment, owner_type)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE discovered_owners (
        environment TEXT NOT NULL,
        owner_type TEXT NOT NULL,
        owner_id TEXT NOT NULL,
        name TEXT NOT NULL,
        status TEXT,
        updated_at INTEGER,
        absent_at INTEGER,
        read_at INTEGER,
        is_changed INTEGER NOT NULL,
        missed INTEGER NOT NULL,
        PRIMARY KEY (environment, owner_type, owner_id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE discovered_webhooks (
        environment TEXT NOT NULL,
        owner_type TEXT NOT NULL,
        owner_id TEXT NOT NULL,
        webhook_id TEXT NOT NULL,
        name TEXT NOT NULL,
        host TEXT,
        port INTEGER,
        timeout_seconds INTEGER,
        max_retries INTEGER,
        method TEXT NOT NULL,
        is_enabled INTEGER NOT NULL,
        known_at INTEGER,
        missed INTEGER NOT NULL,
        PRIMARY KEY (environment, owner_type, owner_id, webhook_id)
    ) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE entries ADD COLUMN finished_at INTEGER;
    -- Bit 16: an earlier attempt did not succeed. For existing rows that is assumed.
    UPDATE entries SET flags = flags | 16 WHERE attempt > 1;
    ALTER TABLE staged_entries ADD COLUMN error TEXT;

    -- Encoded spans that wait for a receiver. Times are local. Numbers are never used twice (AUTOINCREMENT).
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        queued_at INTEGER NOT NULL,
        span BLOB NOT NULL
    ) STRICT;

    -- Encoded spans of deliveries that sampling omits, as long as a later attempt may still need them.
    CREATE TABLE parked_spans (
        seq INTEGER PRIMARY KEY,
        target INTEGER NOT NULL,
        parked_at INTEGER NOT NULL,
        trace_id BLOB NOT NULL,
        span BLOB NOT NULL
    ) STRICT;
    CREATE INDEX parked_spans_by_time ON parked_spans (target, parked_at);
    CREATE INDEX parked_spans_by_trace ON parked_spans (trace_id);
",
    "
    -- What discovery knew about a target when it was last listed; NULL while it is listed, or if it was never found.
    ALTER TABLE targets ADD COLUMN owner_name TEXT;
    ALTER TABLE targets ADD COLUMN host TEXT;
    ALTER TABLE targets ADD COLUMN port INTEGER;
    ALTER TABLE targets ADD COLUMN timeout_seconds INTEGER;
    ALTER TABLE targets ADD COLUMN max_retries INTEGER;
    ALTER TABLE targets ADD COLUMN method TEXT;
    ALTER TABLE targets ADD COLUMN is_enabled INTEGER;
",
    "
    -- How long the daemon has run since the target was last listed.
    ALTER TABLE targets ADD COLUMN unlisted_for_seconds INTEGER NOT NULL DEFAULT 0;
",
    "
    -- How many deliveries were lost since the last success, when the first of them ended, and the end of that success.
    ALTER TABLE targets ADD COLUMN lost_in_a_row INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE targets ADD COLUMN failing_since INTEGER;
    ALTER TABLE targets ADD COLUMN success_at INTEGER;
    ALTER TABLE targets ADD COLUMN success_attempt INTEGER;
    ALTER TABLE targets ADD COLUMN success_id TEXT;

    -- The latest deliveries of each target that were lost, by their last attempts.
    CREATE TABLE lost_deliveries (
        target INTEGER NOT NULL,
        at INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        id TEXT NOT NULL,
        opening_id TEXT NOT NULL,
        event TEXT NOT NULL,
        result TEXT NOT NULL,
        http_status INTEGER,
        error TEXT,
        PRIMARY KEY (target, at, attempt, id)
    ) STRICT, WITHOUT ROWID;

    -- What pruned rows contributed to the recent activity, by minutes since the Unix epoch.
    CREATE TABLE pruned_activity (
        target INTEGER NOT NULL,
        minute INTEGER NOT NULL,
        deliveries_success INTEGER NOT NULL,
        deliveries_failed INTEGER NOT NULL,
        deliveries_abandoned INTEGER NOT NULL,
        attempts_success INTEGER NOT NULL,
        attempts_failed INTEGER NOT NULL,
        attempts_retrying INTEGER NOT NULL,
        attempts_unknown INTEGER NOT NULL,
        PRIMARY KEY (target, minute)
    ) STRICT, WITHOUT ROWID;

    -- Computed from the rows: pruned deliveries are not counted, and error texts were not kept. The flags 1 and 32 mark
    -- an attempt that is not the latest of its delivery.
    UPDATE targets SET (success_at, success_attempt, success_id) = (
        SELECT at, attempt, id FROM entries WHERE target = targets.id AND result = 'success'
        ORDER BY at DESC, attempt DESC, id DESC LIMIT 1
    );
    UPDATE targets SET (lost_in_a_row, failing_since) = (
        SELECT count(*), min(at) FROM entries
        WHERE target = targets.id AND result IN ('failed', 'abandoned') AND flags & 33 = 0
        AND (success_at IS NULL OR (at, attempt, id) > (success_at, success_attempt, success_id))
    );
    INSERT INTO lost_deliveries
    SELECT target, at, attempt, id, coalesce(opening_id, id), event, result,
           CASE WHEN counted_http_status GLOB '[1-9][0-9][0-9]' THEN CAST(counted_http_status AS INTEGER) END, NULL
    FROM (
        SELECT *, row_number() OVER (PARTITION BY target ORDER BY at DESC, attempt DESC, id DESC) AS place
        FROM entries WHERE result IN ('failed', 'abandoned') AND flags & 33 = 0
    )
    WHERE place <= 50;
",
    "
    -- The last commit: its number, its local time, and the checksums of all tables as of this commit. One row.
    CREATE TABLE last_commit (
        id INTEGER PRIMARY KEY,
        number INTEGER NOT NULL,
        at INTEGER NOT NULL,
        checksums TEXT NOT NULL,
        digest INTEGER NOT NULL
    ) STRICT;
    -- Whether the state went back in time, and the log has not been read again since.
    ALTER TABLE targets ADD COLUMN is_behind INTEGER NOT NULL DEFAULT 0;
",
    "
    -- Encoded log records that wait for a receiver, like spans in the outbox.
    CREATE TABLE log_outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        queued_at INTEGER NOT NULL,
        environment TEXT NOT NULL,
        record BLOB NOT NULL
    ) STRICT;
",
];

/// The first version that has checksums.
pub const CHECKED_SINCE: i64 = 8;

/// The version that this program writes.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// A file that was checked, migrated and set up.
#[derive(Debug)]
pub(super) struct OpenedFile {
    /// When it was made.
    pub(super) created_at: LocalTime,
    /// Whether this call made it.
    pub(super) is_new: bool,
    /// Sums up the changes of its rows from now on.
    pub(super) tally: ChangeTally,
}

/// Checks the file, migrates it to [`VERSION`] and sets the connection up.
///
/// # Errors
/// If the file is damaged, not ours or of a newer version: then nothing has been written.
pub(super) fn prepare(connection: &mut Connection, path: &Path, now: LocalTime) -> Result<OpenedFile, StoreError> {
    let failed = |error| StoreError::open(path, error);
    // No busy timeout: the lock file keeps other daemons away, and in WAL mode readers never block a writer.
    let version = check(connection, path)?;
    set_up(connection).map_err(failed)?;
    migrate(connection, version, now).map_err(failed)?;
    let created_at: i64 = connection
        .query_row("SELECT value FROM meta WHERE key = 'created_at'", [], |row| row.get(0))
        .map_err(failed)?;
    let tally = ChangeTally::default();
    tally.attach(connection).map_err(failed)?;
    let created_at = LocalTime::new(Timestamp::from_micros(created_at));
    Ok(OpenedFile { created_at, is_new: version == 0, tally })
}

/// Checks the file without writing. Returns its version, 0 for an empty file.
fn check(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let failed = |error| StoreError::open(path, error);
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(failed);
    let objects = number("SELECT count(*) FROM sqlite_schema")?;
    let version = number("PRAGMA user_version")?;
    let application = number("PRAGMA application_id")?;
    if application != APPLICATION_ID && (objects > 0 || version != 0 || application != 0) {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    if version > VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found: version, known: VERSION });
    }
    let is_checked = version >= CHECKED_SINCE;
    let (pages, rows) = std::thread::scope(|scope| {
        // Rows and pages are checked in parallel, on two connections: a large file takes seconds.
        let rows = is_checked.then(|| scope.spawn(|| damage::find_fault(&open_beside(path)?)));
        let pages = find_broken_page(connection);
        (pages, rows.map(|rows| rows.join()))
    });
    let rows = match rows {
        Some(Ok(found)) => found,
        None => Ok(None),
        Some(Err(panic)) => std::panic::resume_unwind(panic),
    };
    match (rows, pages.map_err(failed)?) {
        // First, because this fault names the row.
        (Ok(Some(fault)), _) => Err(StoreError::damaged(path, &fault)),
        (_, Some(reason)) => Err(StoreError::damaged(path, &reason)),
        (Err(error), None) => Err(failed(error)),
        (Ok(None), None) => Ok(version),
    }
}

/// Opens a second connection, for reading only. It must not outlive the store's connection. Makes no file.
pub(super) fn open_beside(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::default().difference(OpenFlags::SQLITE_OPEN_CREATE))?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Returns what SQLite finds wrong with the file's pages and indexes; `None` if nothing. SQLite names a tree by its
/// root page; the result names the table.
///
/// # Errors
/// If SQLite cannot run the check.
pub fn find_broken_page(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" {
        return Ok(None);
    }
    let reason = verdict.lines().filter(|line| !line.starts_with("***")).collect::<Vec<_>>().join(" ");
    let root: Option<i64> = reason.strip_prefix("Tree ").and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    let table = root.and_then(|root| {
        let name = "SELECT tbl_name FROM sqlite_schema WHERE rootpage = ?1";
        connection.query_row(name, [root], |row| row.get::<_, String>(0)).ok()
    });
    Ok(Some(table.map_or(reason.clone(), |table| format!("table {table}: {reason}"))))
}

/// Sets the connection up: WAL, so that readers never wait; FULL, so that a commit is on disk when it returns, even if
/// the machine crashes; a limit on the write-ahead log, which a long transaction makes large; and auto-vacuum, so that
/// free pages can be returned to the file system.
fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    space::allow_giving_back(connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn migrate(connection: &mut Connection, version: i64, now: LocalTime) -> rusqlite::Result<()> {
    let missing = MIGRATIONS.get(version as usize..).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for step in missing {
        transaction.execute_batch(step)?;
    }
    if version == 0 {
        transaction.execute("INSERT INTO meta VALUES ('created_at', ?1)", params![now.timestamp().as_micros()])?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    commits::seal(&transaction, now.timestamp())?;
    transaction.commit()
}
