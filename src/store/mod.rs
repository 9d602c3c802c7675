//! Durable memory: one SQLite file that holds everything a restart must know, written in one transaction per decision.
//!
//! *Invariant:* what a scrape shows has been committed here before. The file is written by one daemon at a time, which holds
//! the lock file beside it; it is never overwritten when it is damaged, foreign or newer than this program.

mod discovered;
pub mod entries;
pub mod error;
pub mod format;
pub mod handle;
pub mod lock;
pub mod outbox;
pub mod queue;
mod seen;
mod space;
pub mod staged;
pub mod targets;
pub mod totals;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rusqlite::{Connection, OptionalExtension, Transaction};

use self::error::StoreError;
use self::lock::LockFile;
use self::outbox::{QueuedSpan, SpanBatch};
use self::queue::Queue;
use self::seen::SeenFile;
use self::staged::{StagedPart, StagedWalk};
use self::targets::Unlisted;
use talkover_core::delivery::{Attempt, Target, Timestamp};
use talkover_core::discovery::record::{Record, Unsaved};
use talkover_core::ledger::labels::LabelPolicy;
use talkover_core::ledger::state::{Changes, Ledger};
use talkover_core::ledger::totals::{Birth, SeriesKey};

/// Where `meta` keeps the identity of the file.
const INSTANCE_ID: &str = "instance_id";

/// The number under which the state file keeps a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TargetId(i64);

/// What is known of a target.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Its memory.
    pub ledger: Ledger,
    /// The births of its series.
    pub births: BTreeMap<SeriesKey, Birth>,
    /// When the last batch was read of what had happened while nobody looked, where that is not over.
    pub catching_up: Option<Timestamp>,
    /// When a poll last succeeded, by the server's clock.
    pub last_success: Option<Timestamp>,
    /// What an interrupted walk had read.
    pub staged: Option<StagedWalk>,
}

/// The open state file.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    created_at: Timestamp,
    seen: SeenFile,
    queue: Queue,
    /// Held as long as the file is open.
    lock: LockFile,
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
        let (connection, created_at) = open_database(path, now).map_err(|error| error.because(|| lock.refusal()))?;
        let seen = SeenFile::open(path)?;
        let queue = Queue::new(outbox::waiting(&connection).map_err(|error| StoreError::sqlite(path, "read", error))?);
        Ok(Self { connection, path: path.to_owned(), created_at, seen, queue, lock })
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
        self.transact(|transaction| totals::adopt_layout(transaction, policy))
    }

    /// The memory of a target; an empty one where it is not known yet, which writes nothing.
    ///
    /// # Errors
    /// Where the file cannot be read or holds what this program cannot have written.
    pub fn load(&self, target: &Target, policy: &LabelPolicy) -> Result<Loaded, StoreError> {
        let failed = |error| StoreError::sqlite(&self.path, "read", error);
        let Some(found) = targets::find(&self.connection, target).map_err(failed)? else {
            return Ok(Loaded::default());
        };
        let invalid = entries::load_invalid(&self.connection, found.id).map_err(failed)?;
        let (totals, births) = totals::load(&self.connection, found.id, policy).map_err(failed)?;
        let mut ledger = Ledger::restore(found.marks, invalid, totals);
        entries::for_each(&self.connection, found.id, |key, row| ledger.remember(key, row)).map_err(failed)?;
        Ok(Loaded {
            ledger,
            births,
            catching_up: found.catching_up,
            last_success: self.seen.get(found.id),
            staged: staged::find_walk(&self.connection, found.id).map_err(failed)?,
        })
    }

    /// Writes the changes of one decision and its spans, all or nothing, and waits until they are on disk.
    ///
    /// # Errors
    /// Where nothing could be written; the file is as it was before.
    pub fn commit(&mut self, target: &Target, changes: &Changes, spans: &SpanBatch) -> Result<(), StoreError> {
        self.transact_spans(|transaction, capacity| write(transaction, target, changes, spans, capacity))
    }

    /// Adds what a long walk has read, which is not decided yet, and how far it has come.
    ///
    /// # Errors
    /// Where nothing could be written; the file is as it was before.
    pub fn stage(
        &mut self,
        target: &Target,
        walk: &StagedWalk,
        attempts: &[Attempt],
        invalid: &[Box<str>],
    ) -> Result<(), StoreError> {
        self.transact(|transaction| {
            let id = targets::upsert(transaction, target)?;
            staged::add(transaction, id, attempts, invalid)?;
            staged::write_walk(transaction, id, walk)
        })
    }

    /// Decides a long walk, of which `attempts` and `invalid` are the rest: gives it to `decide` part by part, and writes what
    /// that changes and the spans that come of it, all or nothing.
    ///
    /// # Errors
    /// Where nothing could be written; the file is as it was before, but `decide` has been asked.
    pub fn commit_staged(
        &mut self,
        target: &Target,
        attempts: &[Attempt],
        invalid: &[Box<str>],
        mut decide: impl FnMut(StagedPart) -> (Changes, SpanBatch),
    ) -> Result<(), StoreError> {
        self.transact_spans(|transaction, capacity| {
            let id = targets::upsert(transaction, target)?;
            staged::add(transaction, id, attempts, invalid)?;
            let mut dropped = None;
            staged::for_each_part(transaction, id, |part| {
                let (changes, spans) = decide(part);
                if let Some(more) = write(transaction, target, &changes, &spans, capacity)? {
                    *dropped.get_or_insert(0) += more;
                }
                Ok(())
            })?;
            staged::clear(transaction, id)?;
            Ok(dropped)
        })
    }

    /// Sets how many spans may wait, and drops the oldest where more do; says how many.
    ///
    /// # Errors
    /// Where nothing could be written; the limit is as it was before.
    pub fn limit_spans(&mut self, capacity: u32) -> Result<u64, StoreError> {
        let capacity = u64::from(capacity);
        if self.queue.status().length > capacity {
            let (waiting, dropped) = self.transact(|transaction| {
                let dropped = outbox::limit(transaction, capacity)?;
                Ok((outbox::waiting(transaction)?, dropped))
            })?;
            self.queue.committed(waiting, dropped);
            self.queue.set_capacity(capacity);
            return Ok(dropped);
        }
        self.queue.set_capacity(capacity);
        Ok(0)
    }

    /// The oldest spans that wait: at most `max_spans`, and together at most `max_bytes`, but one in any case where there is one.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn oldest_spans(&self, max_spans: usize, max_bytes: usize) -> Result<Vec<QueuedSpan>, StoreError> {
        outbox::oldest(&self.connection, max_spans, max_bytes)
            .map_err(|error| StoreError::sqlite(&self.path, "read", error))
    }

    /// Removes the spans up to the number `through`, and that one: a receiver has them, but for `rejected` of them, which it has
    /// refused for good.
    ///
    /// # Errors
    /// Where nothing could be written: then they still wait.
    pub fn acknowledge_spans(&mut self, through: i64, rejected: u64) -> Result<(), StoreError> {
        let (waiting, removed) = self.transact(|transaction| {
            let removed = outbox::remove(transaction, through)?;
            Ok((outbox::waiting(transaction)?, removed))
        })?;
        // What was dropped while it was on its way has been counted as such.
        let rejected = rejected.min(removed);
        self.queue.acknowledged(waiting, removed - rejected, rejected);
        Ok(())
    }

    /// What tells this state file from all others: a random UUID, made when it is first asked for.
    ///
    /// # Errors
    /// Where the file cannot be read or written.
    pub fn instance_id(&mut self) -> Result<String, StoreError> {
        self.transact(|transaction| {
            let known = transaction.query_row("SELECT value FROM meta WHERE key = ?1", [INSTANCE_ID], |row| row.get(0));
            if let Some(known) = known.optional()? {
                return Ok(known);
            }
            let made = random_uuid(rand::rng().random());
            transaction.execute("INSERT INTO meta VALUES (?1, ?2)", [INSTANCE_ID, &made])?;
            Ok(made)
        })
    }

    /// The outbox at a glance.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Ends the holds of `series`, and the catching-up whose last batch was read at `caught_up`.
    ///
    /// # Errors
    /// Where nothing could be written; the file is as it was before.
    pub fn release(
        &mut self,
        target: &Target,
        series: &[SeriesKey],
        caught_up: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.transact(|transaction| {
            let Some(found) = targets::find(transaction, target)? else { return Ok(()) };
            totals::release(transaction, found.id, series)?;
            targets::end_catching_up(transaction, found.id, caught_up)
        })
    }

    /// Notes which targets of an environment are listed, as of `now` by the local clock; gives the others that the file knows.
    ///
    /// # Errors
    /// Where the file cannot be read or written.
    pub fn list(&mut self, environment: &str, listed: &[Target], now: Timestamp) -> Result<Vec<Unlisted>, StoreError> {
        self.transact(|transaction| targets::list(transaction, environment, listed, now))
    }

    /// The environments that the file knows targets of.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn environments(&self) -> Result<Vec<String>, StoreError> {
        targets::environments(&self.connection).map_err(|error| StoreError::sqlite(&self.path, "read", error))
    }

    /// Forgets a target and everything that belongs to it, unless it is listed; says whether it did.
    ///
    /// # Errors
    /// Where nothing could be written; the file is as it was before.
    pub fn remove_unlisted(&mut self, target: &Target) -> Result<bool, StoreError> {
        let id = self.transact(|transaction| {
            let id = targets::find_unlisted(transaction, target)?;
            id.map_or(Ok(()), |id| targets::remove(transaction, id))?;
            Ok(id)
        })?;
        if let Some(id) = id {
            self.seen.clear(id);
        }
        Ok(id.is_some())
    }

    /// What discovery knows of an environment; nothing where it never ran.
    ///
    /// # Errors
    /// Where the file cannot be read or holds what this program cannot have written.
    pub fn load_discovered(&self, environment: &str) -> Result<Record, StoreError> {
        let failed = |error| StoreError::sqlite(&self.path, "read", error);
        discovered::load(&self.connection, environment).map_err(failed)
    }

    /// Writes what discovery has learned of an environment, and which targets are listed now or not any more, as of `now` by
    /// the local clock; all or nothing.
    ///
    /// # Errors
    /// Where nothing could be written; the file is as it was before.
    pub fn save_discovered(
        &mut self,
        environment: &str,
        unsaved: &Unsaved,
        listed: &[Target],
        unlisted: &[Target],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.transact(|transaction| {
            // What discovery forgets now is kept of targets that are not listed any more.
            targets::change_list(transaction, listed, unlisted, now)?;
            discovered::write(transaction, environment, unsaved)
        })
    }

    /// Keeps in mind when a target's poll last succeeded, without waiting for the disk.
    pub fn note_success(&self, target: &Target, date: Timestamp) {
        // At worst a later start takes an outage for longer than it was.
        if let Ok(Some(id)) = targets::find_id(&self.connection, target) {
            self.seen.set(id, date);
        }
    }

    /// As [`Store::transact`], for work that is given how many spans may wait, and says how many had to go, where any was queued.
    fn transact_spans(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, u64) -> rusqlite::Result<Option<u64>>,
    ) -> Result<(), StoreError> {
        let capacity = self.queue.status().capacity;
        let queued = self.transact(|transaction| match work(transaction, capacity)? {
            Some(dropped) => Ok(Some((outbox::waiting(transaction)?, dropped))),
            None => Ok(None),
        })?;
        if let Some((waiting, dropped)) = queued {
            self.queue.committed(waiting, dropped);
        }
        Ok(())
    }

    fn transact<T>(&mut self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let (path, lock) = (&self.path, &self.lock);
        lock.touch().map_err(|error| StoreError::Io { path: path.clone(), action: "write state file", error })?;
        let failed = |error| StoreError::sqlite(path, "write", error).because(|| lock.refusal());
        let transaction = self.connection.transaction().map_err(failed)?;
        let result = work(&transaction).map_err(failed)?;
        space::give_back(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(result)
    }
}

fn open_database(path: &Path, now: Timestamp) -> Result<(Connection, Timestamp), StoreError> {
    let mut connection = Connection::open(path).map_err(|error| StoreError::open(path, error))?;
    let created_at = format::prepare(&mut connection, path, now)?;
    Ok((connection, created_at))
}

/// A UUID of random bits (RFC 9562, section 5.4).
fn random_uuid(bits: u128) -> String {
    let bits = bits & !(0xF << 76) & !(0b11 << 62) | 0x4 << 76 | 0b10 << 62;
    let digits = format!("{bits:032x}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
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

/// Says how many spans had to go where more than `capacity` wait, where any was queued.
fn write(
    transaction: &Transaction<'_>,
    target: &Target,
    changes: &Changes,
    spans: &SpanBatch,
    capacity: u64,
) -> rusqlite::Result<Option<u64>> {
    let id = targets::upsert(transaction, target)?;
    entries::write(transaction, id, &changes.rows)?;
    entries::prune(transaction, id, &changes.pruned)?;
    entries::write_invalid(transaction, id, &changes.invalid)?;
    entries::prune_invalid(transaction, id, &changes.pruned_invalid)?;
    totals::write(transaction, id, &changes.totals, &changes.births)?;
    totals::add_pruned(transaction, id, &changes.pruned_totals)?;
    if let Some(since) = changes.catching_up {
        targets::begin_catching_up(transaction, id, since)?;
    }
    if let Some(marks) = &changes.marks {
        targets::write_marks(transaction, id, marks)?;
    }
    outbox::add(transaction, id, spans, capacity)
}

#[cfg(test)]
mod discovered_tests;
#[cfg(test)]
mod outbox_tests;
#[cfg(test)]
mod tests;
