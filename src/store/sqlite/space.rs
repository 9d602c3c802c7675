//! Gives space that is free inside the state file back to the file system, a little with each commit, so that none
//! takes long.

use rusqlite::{Connection, Transaction};
use tracing::warn;

/// SQLite's `PRAGMA auto_vacuum = INCREMENTAL`.
const INCREMENTAL: i64 = 2;
/// So many free pages are kept in any case, to be used again, and
const KEPT_PAGES: i64 = 1_000;
/// this part of the file.
const KEPT_PART: i64 = 4;
/// Pages given back with one commit; with pages of 4 KiB a megabyte.
const PAGES_AT_ONCE: i64 = 256;

/// Lets free pages be given back. That is settled when a file is made; one that was made without is rewritten once.
pub(super) fn allow_giving_back(connection: &Connection) -> rusqlite::Result<()> {
    if number(connection, "PRAGMA auto_vacuum")? == INCREMENTAL {
        return Ok(());
    }
    connection.pragma_update(None, "auto_vacuum", INCREMENTAL)?;
    if number(connection, "PRAGMA page_count")? > 0
        && let Err(error) = connection.execute_batch("VACUUM")
    {
        // It needs as much space again as the file has. Without it, free pages are used again, but the file never
        // shrinks.
        warn!("failed to rewrite the state file so that it can shrink: {error}");
    }
    Ok(())
}

/// Gives back some of the pages that are free beyond what is worth keeping.
pub(super) fn give_back(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let free = number(transaction, "PRAGMA freelist_count")?;
    if free <= KEPT_PAGES || free <= number(transaction, "PRAGMA page_count")? / KEPT_PART {
        return Ok(());
    }
    // Each row that it gives is a page that was given back.
    let mut statement = transaction.prepare_cached(&format!("PRAGMA incremental_vacuum({PAGES_AT_ONCE})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.query_row(sql, [], |row| row.get(0))
}
