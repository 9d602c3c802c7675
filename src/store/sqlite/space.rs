//! Returns free space inside the state file to the file system, a little with each commit, so that no commit takes
//! long.

use rusqlite::{Connection, Transaction};
use tracing::warn;

/// SQLite's `PRAGMA auto_vacuum = INCREMENTAL`.
const INCREMENTAL: i64 = 2;
/// This many free pages are always kept, to be reused, and
const KEPT_PAGES: i64 = 1_000;
/// this part of the file.
const KEPT_PART: i64 = 4;
/// Pages returned with one commit; a megabyte with pages of 4 KiB.
const PAGES_AT_ONCE: i64 = 256;

/// Makes it possible to return free pages. That is decided when a file is made; an older file is rewritten once.
pub(super) fn allow_giving_back(connection: &Connection) -> rusqlite::Result<()> {
    if number(connection, "PRAGMA auto_vacuum")? == INCREMENTAL {
        return Ok(());
    }
    connection.pragma_update(None, "auto_vacuum", INCREMENTAL)?;
    if number(connection, "PRAGMA page_count")? > 0
        && let Err(error) = connection.execute_batch("VACUUM")
    {
        // Rewriting needs as much space again as the file has. Without it, free pages are reused, but the file never
        // shrinks.
        warn!("failed to rewrite the state file so that it can shrink: {error}");
    }
    Ok(())
}

/// Returns some of the free pages beyond those worth keeping.
pub(super) fn give_back(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let free = number(transaction, "PRAGMA freelist_count")?;
    if free <= KEPT_PAGES || free <= number(transaction, "PRAGMA page_count")? / KEPT_PART {
        return Ok(());
    }
    // Each row of the result is a page that was returned.
    let mut statement = transaction.prepare_cached(&format!("PRAGMA incremental_vacuum({PAGES_AT_ONCE})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.query_row(sql, [], |row| row.get(0))
}
