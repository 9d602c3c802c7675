//! Durable memory: one SQLite file that holds everything a restart must know, written in one transaction per decision.
//!
//! *Invariant:* what a scrape shows has been committed here before. The file is written by one daemon at a time, which holds
//! the lock file beside it; it is never overwritten when it is damaged, foreign or newer than this program.

pub mod entries;
pub mod error;
pub mod format;
pub mod handle;
pub mod lock;
pub mod totals;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use self::error::StoreError;
use self::lock::LockFile;
use crate::delivery::{Target, Timestamp};
use crate::ledger::labels::LabelPolicy;
use crate::ledger::state::{Changes, Ledger, Marks};

/// The number under which the state file keeps a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TargetId(i64);

/// The open state file.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    created_at: Timestamp,
    /// Held as long as the file is open.
    _lock: LockFile,
}

impl Store {
    /// Opens the state file at `path`, or makes it where there is none.
    ///
    /// # Errors
    /// Where another daemon has it, or where it is damaged, of a newer version, or not a state file at all: then it is left as
    /// it is.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, StoreError> {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory).map_err(|error| StoreError::Io {
                path: directory.to_owned(),
                action: "create",
                error,
            })?;
        }
        let lock = LockFile::acquire(path)?;
        refuse_fragment(path)?;
        let mut connection = Connection::open(path).map_err(|error| StoreError::open(path, error))?;
        let created_at = format::prepare(&mut connection, path, now)?;
        Ok(Self { connection, path: path.to_owned(), created_at, _lock: lock })
    }

    /// When the file was made.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// Drops the histograms of durations where they were made with other buckets or labels; says whether there were any.
    ///
    /// # Errors
    /// Where the file cannot be read or written.
    pub fn adopt_layout(&mut self, policy: &LabelPolicy) -> Result<bool, StoreError> {
        let path = self.path.clone();
        let failed = |error| StoreError::sqlite(&path, "update", error);
        let transaction = self.connection.transaction().map_err(failed)?;
        let dropped = totals::adopt_layout(&transaction, policy).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(dropped)
    }

    /// The memory of a target; an empty one where it is not known yet, which writes nothing.
    ///
    /// # Errors
    /// Where the file cannot be read or holds what this program cannot have written.
    pub fn load(&self, target: &Target, policy: &LabelPolicy) -> Result<(Option<TargetId>, Ledger), StoreError> {
        let failed = |error| StoreError::sqlite(&self.path, "read", error);
        let Some((id, marks)) = self.find_target(target).map_err(failed)? else {
            return Ok((None, Ledger::default()));
        };
        let rows = entries::load(&self.connection, id).map_err(failed)?;
        let invalid = entries::load_invalid(&self.connection, id).map_err(failed)?;
        let totals = totals::load(&self.connection, id, policy).map_err(failed)?;
        Ok((Some(id), Ledger::restore(marks, rows, invalid, totals)))
    }

    fn find_target(&self, target: &Target) -> rusqlite::Result<Option<(TargetId, Marks)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, cut, watermark, swept, horizon, contacted, last_success, last_failed, last_retrying, last_unknown
             FROM targets WHERE environment = ?1 AND webhook_id = ?2",
        )?;
        let key = params![&*target.environment, &*target.webhook_id];
        statement
            .query_row(key, |row| {
                let time =
                    |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros));
                let marks = Marks {
                    cut: time(1)?,
                    watermark: time(2)?,
                    swept: time(3)?,
                    horizon: time(4)?,
                    contacted: row.get(5)?,
                    last_attempt: [time(6)?, time(7)?, time(8)?, time(9)?],
                };
                Ok((TargetId(row.get(0)?), marks))
            })
            .optional()
    }

    /// Writes the changes of one decision, all or nothing, and waits until they are on disk.
    ///
    /// # Errors
    /// Where nothing could be written; the file is as it was before.
    pub fn commit(&mut self, target: &Target, changes: &Changes) -> Result<(), StoreError> {
        let path = self.path.clone();
        let failed = |error| StoreError::sqlite(&path, "write", error);
        let transaction = self.connection.transaction().map_err(failed)?;
        write(&transaction, target, changes).map_err(failed)?;
        transaction.commit().map_err(failed)
    }
}

/// Refuses what SQLite would take for an empty database, and write over: a file shorter than its smallest page.
fn refuse_fragment(path: &Path) -> Result<(), StoreError> {
    const SMALLEST_PAGE: u64 = 512;
    match std::fs::metadata(path).map(|metadata| metadata.len()) {
        Ok(length @ 1..SMALLEST_PAGE) => {
            Err(StoreError::Damaged { path: path.to_owned(), reason: format!("only {length} bytes are left of it") })
        }
        _ => Ok(()),
    }
}

fn write(transaction: &Transaction<'_>, target: &Target, changes: &Changes) -> rusqlite::Result<()> {
    let id = upsert_target(transaction, target)?;
    entries::write(transaction, id, &changes.rows)?;
    entries::prune(transaction, id, &changes.pruned)?;
    entries::write_invalid(transaction, id, &changes.invalid)?;
    entries::prune_invalid(transaction, id, &changes.pruned_invalid)?;
    totals::write(transaction, id, &changes.totals)?;
    match &changes.marks {
        Some(marks) => write_marks(transaction, id, marks),
        None => Ok(()),
    }
}

fn upsert_target(transaction: &Transaction<'_>, target: &Target) -> rusqlite::Result<TargetId> {
    let key = params![&*target.environment, &*target.webhook_id];
    let known = transaction
        .prepare_cached("SELECT id FROM targets WHERE environment = ?1 AND webhook_id = ?2")?
        .query_row(key, |row| row.get(0).map(TargetId))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    transaction.prepare_cached("INSERT INTO targets (environment, webhook_id) VALUES (?1, ?2)")?.execute(key)?;
    Ok(TargetId(transaction.last_insert_rowid()))
}

fn write_marks(transaction: &Transaction<'_>, id: TargetId, marks: &Marks) -> rusqlite::Result<()> {
    let micros = |time: Option<Timestamp>| time.map(Timestamp::as_micros);
    let [success, failed, retrying, unknown] = marks.last_attempt.map(micros);
    transaction
        .prepare_cached(
            "UPDATE targets SET cut = ?2, watermark = ?3, swept = ?4, horizon = ?5, contacted = ?6,
             last_success = ?7, last_failed = ?8, last_retrying = ?9, last_unknown = ?10 WHERE id = ?1",
        )?
        .execute(params![
            id.0,
            micros(marks.cut),
            micros(marks.watermark),
            micros(marks.swept),
            micros(marks.horizon),
            marks.contacted,
            success,
            failed,
            retrying,
            unknown
        ])?;
    Ok(())
}

#[cfg(test)]
mod tests;
