//! Reads the state file as an auditor does: read-only, beside a running daemon, and with queries of its own.
//!
//! The file is never created, changed or migrated. While a daemon runs, or after one was killed, SQLite's write-ahead
//! log is beside the file and is read with it. After a clean stop there is none, and SQLite would create one even for a
//! reader: then the file is opened as immutable, and read again if a daemon has started meanwhile.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};
use thiserror::Error;

use crate::store::error::StoreError;
use crate::store::place;
use crate::store::sqlite::behind::{self, Gap};
use crate::store::sqlite::served::Served;
use crate::store::sqlite::{commits, damage, format};
use talkover_core::delivery::{EntryId, GroupKey, OwnerType, Target, Timestamp};
use talkover_core::server_time::LocalTime;

/// The letters `TOEX` in SQLite's header.
const APPLICATION_ID: i64 = 0x544F_4558;
/// SQLite takes a shorter file for an empty database.
const SMALLEST_DATABASE: u64 = 512;
/// A daemon that starts or stops holds locks for moments.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the file is read at most, if daemons start or stop meanwhile.
const MAX_READINGS: u32 = 5;

// Bits of `flags` in the table `entries`: see `StateRow` for what they say.
const OPEN: i64 = 2;
const ENDED: i64 = 4;
const LATE: i64 = 8;
const OVERTAKEN: i64 = 32;
const PRECEDED: i64 = 64;

/// Why the state cannot be audited.
#[derive(Debug, Error)]
pub enum StateError {
    /// There is none.
    #[error("there is no state file {}: the daemon makes it when it first runs with this configuration", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// An older program has written it.
    #[error(
        "state file {} has format version {found}, this program audits version {wanted}: start the daemon of this version \
         once, it brings the file forward",
        path.display()
    )]
    Older {
        /// The state file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version that is wanted.
        wanted: i64,
    },
    /// Daemons start and stop all the time.
    #[error("state file {} changed while it was read, {MAX_READINGS} times in a row", path.display())]
    Restless {
        /// The state file.
        path: PathBuf,
    },
    /// Anything else.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A series of the state file: the family's name there, and the label values in the family's order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// The family.
    pub family: String,
    /// The label values.
    pub labels: Vec<String>,
}

impl Series {
    /// The series of `family` with these label values.
    pub fn new(family: &str, labels: &[&str]) -> Self {
        Self { family: family.to_owned(), labels: labels.iter().map(|label| (*label).to_owned()).collect() }
    }
}

/// What the state remembers of an entry, as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StateRow {
    /// The entry's id.
    pub id: EntryId,
    /// When it was made.
    pub created_at: Timestamp,
    /// The attempt's number.
    pub attempt: i64,
    /// The event's label.
    pub event: Arc<str>,
    /// The status in which it was last seen.
    pub status: Arc<str>,
    /// The labels `status` and `http_status` that it was counted with, where it was.
    pub counted: Option<(Arc<str>, Arc<str>)>,
    /// How its delivery ended with it, where it did.
    pub result: Option<Arc<str>>,
    /// Whether it is followed.
    pub is_open: bool,
    /// Whether nothing that becomes of it counts any more.
    pub is_ended: bool,
    /// Whether it turned up late.
    pub is_late: bool,
    /// What it shares with the other attempts of its delivery.
    pub group: GroupKey,
    /// Whether the attempt before it was not known when it turned up, and has not turned up since.
    pub awaits_predecessor: bool,
}

/// The marks of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateMarks {
    /// Whether the first contact is complete.
    pub contacted: bool,
    /// How far back the first contact read.
    pub history_cutoff: Option<Timestamp>,
    /// Up to when all has been read.
    pub watermark: Option<Timestamp>,
    /// The watermark as it stood at the last sweep.
    pub swept: Option<Timestamp>,
    /// Rows older than this have been forgotten.
    pub horizon: Option<Timestamp>,
    /// Where the long walk that is under way ends, if there is one.
    pub walk_until: Option<Timestamp>,
}

/// Everything that the state holds of one target, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct StateTarget {
    /// The marks.
    pub marks: StateMarks,
    /// The entries, oldest first.
    pub rows: Vec<StateRow>,
    /// The keys of unusable entries that were counted.
    pub invalid: HashSet<Box<str>>,
    /// The counters.
    pub totals: BTreeMap<Series, i64>,
    /// What forgotten rows add to them.
    pub pruned: BTreeMap<Series, i64>,
    /// The number of observations in each histogram.
    pub observed: BTreeMap<Series, i64>,
    /// The names of the labels of the duration histogram, where they are known.
    pub duration_labels: Option<Vec<String>>,
    /// Whether the histograms of attempts per delivery once started again at 0, because their buckets had changed.
    pub has_restarted_attempts_per_delivery: bool,
}

/// A target of the state file.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownTarget {
    /// The target as it was last named.
    pub target: Target,
    /// Whether the file still says that it is named by the configuration, or was discovered.
    pub is_listed: bool,
    /// Whether the file says who owns it: without the owner its log cannot be requested.
    pub has_owner: bool,
}

/// How far a state is behind what its daemon has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Age {
    /// Not at all, and never was.
    #[default]
    Current,
    /// Its last commits are missing.
    Behind(Gap),
    /// They once were, and the logs have been read again since, but for those of so many webhooks.
    WentBack {
        /// What was missing.
        gap: Gap,
        /// Webhooks whose logs are still to be read again.
        waiting: u64,
    },
}

/// A state file that can be audited.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// Checks that the file at `path` is a sound state file of the present version.
    ///
    /// # Errors
    /// Where it is missing, damaged, foreign, older or newer; it is left as it is.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let file = Self { path: path.to_owned() };
        match file.read(find_damage)? {
            Some(reason) => Err(StoreError::Damaged { path: path.to_owned(), reason }.into()),
            None => Ok(file),
        }
    }

    /// How far the state is behind what its daemon has shown.
    ///
    /// # Errors
    /// If the file cannot be read any more.
    pub fn age(&self) -> Result<Age, StateError> {
        // Before the file: a running daemon may commit, and show, in between.
        let served = Served::beside(&self.path);
        self.read(|transaction| {
            let last = commits::read(transaction)?.map_err(rusqlite::Error::from)?;
            let created_at: i64 =
                transaction.query_row("SELECT value FROM meta WHERE key = 'created_at'", [], |row| row.get(0))?;
            let created_at = LocalTime::new(Timestamp::from_micros(created_at));
            let ahead = served.and_then(|served| Some((served, served.is_ahead_of(&last, created_at)?)));
            if let Some((served, commits)) = ahead {
                return Ok(Age::Behind(Gap { commits, from: last.at, to: served.at, noticed_at: served.at }));
            }
            let waiting: u64 = transaction
                .query_row("SELECT count(*) FROM targets WHERE is_behind", [], |row| row.get::<_, i64>(0))?
                .unsigned_abs();
            Ok(behind::read(transaction)?.map_or(Age::Current, |gap| Age::WentBack { gap, waiting }))
        })
    }

    /// The targets that the file knows.
    ///
    /// # Errors
    /// If the file cannot be read any more.
    pub fn targets(&self) -> Result<Vec<KnownTarget>, StateError> {
        self.read(read_targets)
    }

    /// What the file holds of `target` at this moment; `None` if it does not know it.
    ///
    /// # Errors
    /// If the file cannot be read any more.
    pub fn target(&self, target: &Target) -> Result<Option<StateTarget>, StateError> {
        self.read(|transaction| match find(transaction, target)? {
            Some((id, marks)) => read_target(transaction, id, marks).map(Some),
            None => Ok(None),
        })
    }

    /// Copies the file into the empty database `target`, as of one moment: what a running daemon commits meanwhile is
    /// not in the copy.
    ///
    /// # Errors
    /// If the file cannot be read any more, or `target` cannot be written.
    pub fn copy_to(&self, target: &RefCell<Connection>) -> Result<(), StateError> {
        self.read(|transaction| {
            let mut target = target.borrow_mut();
            let copy = Backup::new(transaction, &mut target)?;
            // All pages in one step, under one read transaction.
            match copy.step(-1)? {
                StepResult::Done => Ok(()),
                _ => Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None)),
            }
        })
    }

    /// How many entries not older than `from` the file remembers of each webhook of `environment`.
    ///
    /// # Errors
    /// If the file cannot be read any more.
    pub fn entries_since(&self, environment: &str, from: Timestamp) -> Result<BTreeMap<String, u64>, StateError> {
        self.read(|transaction| {
            let mut statement = transaction.prepare(
                "SELECT webhook_id, (SELECT COUNT(*) FROM entries WHERE target = targets.id AND created_at >= ?2)
                 FROM targets WHERE environment = ?1",
            )?;
            let rows = statement.query_map(params![environment, from.as_micros()], |row| {
                Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
            })?;
            rows.collect()
        })
    }

    /// The marks of `target`, and how many entries the daemon has taken into the books; `None` if the file does not
    /// know it.
    ///
    /// # Errors
    /// If the file cannot be read any more.
    pub fn marks(&self, target: &Target) -> Result<Option<(StateMarks, u64)>, StateError> {
        self.read(|transaction| {
            let Some((id, marks)) = find(transaction, target)? else { return Ok(None) };
            let entries: i64 = transaction.query_row(
                "SELECT COALESCE(SUM(value), 0) FROM totals
                 WHERE target = ?1 AND family = 'log_entries' AND labels IN ('[\"new\"]', '[\"late\"]')",
                [id],
                |row| row.get(0),
            )?;
            Ok(Some((marks, entries.unsigned_abs())))
        })
    }

    /// Reads in one transaction, on a connection that is closed again: an open one would keep a daemon that stops from
    /// clearing its log away.
    fn read<T>(&self, work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, StateError> {
        for _ in 0..MAX_READINGS {
            let before = self.stamp()?;
            let is_at_rest = !self.has_log();
            let result = self.read_once(is_at_rest, &work);
            // Without SQLite's locks, the result is consistent only if the file was not changed meanwhile.
            if !is_at_rest || (!self.has_log() && self.stamp()? == before) {
                return result;
            }
        }
        Err(StateError::Restless { path: self.path.clone() })
    }

    fn read_once<T>(
        &self,
        is_at_rest: bool,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        let failed = |error| StateError::Store(StoreError::sqlite(&self.path, "read", error));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(uri(&self.path, is_at_rest), flags).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        let transaction = connection.unchecked_transaction().map_err(failed)?;
        self.check_version(&transaction)?;
        work(&transaction).map_err(failed)
    }

    /// When the file was last written to, and its length.
    fn stamp(&self) -> Result<(Option<SystemTime>, u64), StateError> {
        let failed =
            |error| StateError::Store(StoreError::Io { path: self.path.clone(), action: "open state file", error });
        place::inspect(&self.path)?;
        let metadata: Metadata = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StateError::Missing { path: self.path.clone() });
            }
            Err(error) => return Err(failed(error)),
        };
        let length = metadata.len();
        if length < SMALLEST_DATABASE {
            let reason = format!("only {length} bytes are left of it");
            return Err(StoreError::Damaged { path: self.path.clone(), reason }.into());
        }
        Ok((metadata.modified().ok(), length))
    }

    fn has_log(&self) -> bool {
        place::write_ahead_log(&self.path).exists()
    }

    fn check_version(&self, transaction: &Transaction<'_>) -> Result<(), StateError> {
        let path = || self.path.clone();
        let number = |sql: &str| {
            let found = transaction.query_row(sql, [], |row| row.get::<_, i64>(0));
            found.map_err(|error| StoreError::sqlite(&self.path, "read", error))
        };
        let version = number("PRAGMA user_version")?;
        if number("PRAGMA application_id")? != APPLICATION_ID {
            return Err(StoreError::Foreign { path: path() }.into());
        }
        let wanted = format::VERSION;
        match version {
            _ if version > wanted => Err(StoreError::Newer { path: path(), found: version, known: wanted }.into()),
            _ if version < wanted => Err(StateError::Older { path: path(), found: version, wanted }),
            _ => Ok(()),
        }
    }
}

/// The path as SQLite takes it with parameters (<https://www.sqlite.org/uri.html>).
fn uri(path: &Path, is_at_rest: bool) -> String {
    // An absolute path follows an empty authority.
    let mut text = String::from(if path.is_absolute() { "file://" } else { "file:" });
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text + if is_at_rest { "?immutable=1" } else { "" }
}

/// What is wrong with the file's rows, or else with its pages: as the daemon finds it.
fn find_damage(transaction: &Transaction<'_>) -> rusqlite::Result<Option<String>> {
    let pages = format::find_broken_page(transaction);
    match damage::find_fault(transaction) {
        Ok(Some(fault)) => Ok(Some(fault.to_string())),
        rows => pages.and_then(|found| if found.is_some() { Ok(found) } else { rows.map(|_none| None) }),
    }
}

fn read_targets(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<KnownTarget>> {
    let mut statement = transaction.prepare(
        "SELECT environment, webhook_id, webhook_name, owner_type, owner_id, unlisted_at IS NULL FROM targets
         ORDER BY environment, webhook_id",
    )?;
    let rows = statement.query_map([], |row| {
        let webhook_id: String = row.get(1)?;
        let owner_type = row.get::<_, Option<String>>(3)?.and_then(|name| OwnerType::from_name(&name));
        let owner_id: Option<String> = row.get(4)?;
        let has_owner = owner_type.is_some() && owner_id.as_ref().is_some_and(|id| !id.is_empty());
        let target = Target {
            environment: row.get::<_, String>(0)?.into(),
            owner_type: owner_type.unwrap_or(OwnerType::Agent),
            owner_id: owner_id.unwrap_or_default().into(),
            webhook_name: row.get::<_, Option<String>>(2)?.unwrap_or_else(|| webhook_id.clone()).into(),
            webhook_id: webhook_id.into(),
        };
        Ok(KnownTarget { target, is_listed: row.get(5)?, has_owner })
    })?;
    rows.collect()
}

fn find(transaction: &Transaction<'_>, target: &Target) -> rusqlite::Result<Option<(i64, StateMarks)>> {
    let sql = "SELECT id, contacted, cut, watermark, swept, horizon,
                      (SELECT until FROM walks WHERE walks.target = targets.id)
               FROM targets WHERE environment = ?1 AND webhook_id = ?2";
    transaction
        .query_row(sql, params![&*target.environment, &*target.webhook_id], |row| {
            let time =
                |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros));
            let marks = StateMarks {
                contacted: row.get(1)?,
                history_cutoff: time(2)?,
                watermark: time(3)?,
                swept: time(4)?,
                horizon: time(5)?,
                walk_until: time(6)?,
            };
            Ok((row.get(0)?, marks))
        })
        .optional()
}

fn read_target(transaction: &Transaction<'_>, id: i64, marks: StateMarks) -> rusqlite::Result<StateTarget> {
    let mut state = StateTarget { marks, rows: read_rows(transaction, id)?, ..StateTarget::default() };
    let mut invalid = transaction.prepare("SELECT key FROM invalid_entries WHERE target = ?1")?;
    state.invalid = invalid.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut pruned = transaction.prepare("SELECT family, labels, value FROM pruned_totals WHERE target = ?1")?;
    state.pruned = pruned.query_map([id], |row| Ok((series(row)?, row.get(2)?)))?.collect::<rusqlite::Result<_>>()?;
    let mut totals = transaction.prepare("SELECT family, labels, value, counts FROM totals WHERE target = ?1")?;
    let mut found = totals.query([id])?;
    while let Some(row) = found.next()? {
        let key = series(row)?;
        match row.get_ref(3)?.as_blob_or_null()? {
            Some(counts) => state.observed.insert(key, observations(counts)),
            None => state.totals.insert(key, row.get(2)?),
        };
    }
    let layout = transaction.query_row("SELECT value FROM meta WHERE key = 'duration_layout'", [], |row| row.get(0));
    state.duration_labels = layout.optional()?.and_then(|text: String| label_names(&text));
    state.has_restarted_attempts_per_delivery = transaction.query_row(
        "SELECT EXISTS (SELECT 1 FROM meta WHERE key = 'attempts_per_delivery_dropped')",
        [],
        |row| row.get(0),
    )?;
    Ok(state)
}

fn read_rows(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<Vec<StateRow>> {
    let mut statement = transaction.prepare(
        "SELECT id, created_at, attempt, event, status, counted_status, counted_http_status, result, flags, grp,
                opening_id IS NULL
         FROM entries WHERE target = ?1 ORDER BY created_at, id",
    )?;
    let mut words = Words::default();
    let mut found = statement.query([id])?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let mut word = |column: usize| {
            Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str_or_null()?.map(|text| words.word(text)))
        };
        let (counted_status, counted_http_status) = (word(5)?, word(6)?);
        let flags: i64 = row.get(8)?;
        let has_opened: bool = row.get(10)?;
        rows.push(StateRow {
            id: EntryId::new(row.get_ref(0)?.as_str()?),
            created_at: Timestamp::from_micros(row.get(1)?),
            attempt: row.get(2)?,
            event: word(3)?.unwrap_or_default(),
            status: word(4)?.unwrap_or_default(),
            counted: counted_status.zip(counted_http_status),
            result: word(7)?,
            is_open: flags & OPEN != 0,
            is_ended: flags & ENDED != 0,
            is_late: flags & LATE != 0,
            group: row.get(9)?,
            awaits_predecessor: flags & PRECEDED == 0 && (has_opened || flags & OVERTAKEN != 0),
        });
    }
    Ok(rows)
}

fn series(row: &rusqlite::Row<'_>) -> rusqlite::Result<Series> {
    let labels = row.get_ref(1)?.as_str()?;
    let labels = serde_json::from_str(labels)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, error.into()))?;
    Ok(Series { family: row.get(0)?, labels })
}

/// The sum over a histogram's buckets, each a little-endian u64.
fn observations(counts: &[u8]) -> i64 {
    let buckets = counts.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
    i64::try_from(buckets.fold(0, u64::saturating_add)).unwrap_or(i64::MAX)
}

/// The names in `["event", "status"] [0.05, 1.0]`.
fn label_names(layout: &str) -> Option<Vec<String>> {
    let (names, _buckets) = layout.split_once(']')?;
    serde_json::from_str(&format!("{names}]")).ok()
}

/// Words that occur in many rows, each kept once.
#[derive(Default)]
struct Words(HashMap<Box<str>, Arc<str>>);

impl Words {
    fn word(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.0.insert(text.into(), new.clone());
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_so_that_sqlite_reads_it_back() {
        assert_eq!(uri(Path::new("/a b/ö?#%.db"), false), "file:///a%20b/%C3%B6%3F%23%25.db");
        assert_eq!(uri(Path::new("./data/x.db"), true), "file:./data/x.db?immutable=1");
    }

    #[test]
    fn the_labels_of_the_duration_histogram_are_found_in_its_layout() {
        let names = |text| label_names(text).map(|names| names.join(" "));
        assert_eq!(names(r#"["event", "http_status"] [0.05, 1.0]"#).as_deref(), Some("event http_status"));
        assert_eq!(names("[] [1.0]").as_deref(), Some(""));
        assert_eq!(names("something else"), None);
    }

    #[test]
    fn observations_are_added_over_all_buckets() {
        let counts: Vec<u8> = [1_u64, 0, 41].iter().flat_map(|count| count.to_le_bytes()).collect();
        assert_eq!(observations(&counts), 42);
    }
}
