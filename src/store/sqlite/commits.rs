//! The number of the last commit, and the checksums of all tables as of it: one row, written with every commit.
//!
//! The number only grows. If it is lower than the number that was last shown ([`super::served`]), the state went back
//! in time.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};

use super::checksums::{Checksums, TABLE_OF_SUMS, add_up};
use super::fault::StateFault;
use talkover_core::delivery::Timestamp;

/// The last commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Its number.
    pub number: u64,
    /// When it was made, by the local clock.
    pub at: Timestamp,
    /// The checksums of all tables.
    pub(super) checksums: Checksums,
}

impl Commit {
    /// Returns the next commit, in which the tables have changed by `changes`.
    pub(super) fn next(&self, changes: Checksums, at: Timestamp) -> Self {
        let mut checksums = self.checksums.clone();
        for (table, sums) in changes {
            let before = checksums.entry(table).or_default();
            *before = before.plus(sums);
        }
        Self { number: self.number + 1, at, checksums }
    }

    /// Writes it, within the transaction that it describes.
    pub(super) fn write(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let checksums = serde_json::to_string(&self.checksums)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let (number, at) = (self.number.cast_signed(), self.at.as_micros());
        let digest = digest(number, at, &checksums);
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO last_commit (id, number, at, checksums, digest) VALUES (1, ?1, ?2, ?3, ?4)",
            )?
            .execute(params![number, at, checksums, digest])?;
        Ok(())
    }
}

/// Computes the sums after a migration, within its transaction.
pub(super) fn seal(transaction: &Transaction<'_>, at: Timestamp) -> rusqlite::Result<()> {
    let number = transaction.query_row("SELECT number FROM last_commit", [], |row| row.get::<_, i64>(0)).optional()?;
    let before = Commit { number: number.unwrap_or(0).cast_unsigned(), at, checksums: add_up(transaction)? };
    before.next(Checksums::new(), at).write(transaction)
}

/// Accepts the current rows of a file as written, for code that changes a copy of a state on purpose.
///
/// # Errors
/// If SQLite cannot read or write the file.
pub fn reseal(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let (number, at): (i64, i64) =
        transaction.query_row("SELECT number, at FROM last_commit", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let checksums = add_up(&transaction)?;
    Commit { number: number.cast_unsigned(), at: Timestamp::from_micros(at), checksums }.write(&transaction)?;
    transaction.commit()
}

/// Reads the last commit, or what is wrong with it.
///
/// # Errors
/// If SQLite cannot read the file.
pub fn read(connection: &Connection) -> rusqlite::Result<Result<Commit, StateFault>> {
    let found = connection
        .query_row("SELECT number, at, checksums, digest FROM last_commit WHERE id = 1", [], |row| {
            let (number, at): (i64, i64) = (row.get(0)?, row.get(1)?);
            let (text, found): (String, i64) = (row.get(2)?, row.get(3)?);
            let checksums = serde_json::from_str(&text).ok().filter(|_| digest(number, at, &text) == found);
            Ok(checksums.map(|checksums| Commit {
                number: number.cast_unsigned(),
                at: Timestamp::from_micros(at),
                checksums,
            }))
        })
        .optional()?;
    let fault = |reason: &str| StateFault::of_row(TABLE_OF_SUMS, "(1)".to_owned(), reason);
    Ok(match found {
        Some(Some(commit)) => Ok(commit),
        Some(None) => Err(fault("it is not what was written (its checksum differs)")),
        None => Err(fault("it is missing")),
    })
}

fn digest(number: i64, at: i64, checksums: &str) -> i64 {
    let digest = Sha256::new().chain_update(number.to_le_bytes()).chain_update(at.to_le_bytes());
    let digest = digest.chain_update(checksums).finalize();
    digest.as_chunks::<8>().0.first().map_or(0, |bytes| i64::from_le_bytes(*bytes))
}
