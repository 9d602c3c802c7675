//! The state in one SQLite file.
//!
//! *Invariant:* the file is written by one daemon at a time, which holds the lock file beside it. A file that is
//! damaged, not ours or of a newer version is never written to.

pub mod behind;
mod checksums;
pub mod commits;
pub mod damage;
mod discovered;
pub mod entries;
pub mod fault;
pub mod format;
mod losses;
mod outbox;
mod seen;
pub mod served;
mod space;
mod staged;
mod targets;
pub mod totals;
mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rusqlite::{Connection, OptionalExtension, Transaction};

use self::checksums::ChangeTally;
use self::commits::Commit;
use self::fault::StateFault;
use self::format::OpenedFile;
use self::outbox::{OutboxTable, QueueChanges};
use self::seen::SeenFile;
use self::served::ServedFile;
use self::upkeep::FilePlace;
use super::durable::{Durable, DurableLedger};
use super::error::StoreError;
use super::fresh::Evidence;
use super::handle::StoreInfo;
use super::lock::LockFile;
use super::place;
use super::problems::{Detached, StateProblems};
use super::queue::OutboxQueue;
use super::{DecidePart, FileCheck, Loaded, QueuedLog, QueuedSpan, Release, SpanBatch, StagedWalk, Store, Unlisted};
use crate::local_clock;
use talkover_core::delivery::{Attempt, Target, Timestamp};
use talkover_core::discovery::record::{DiscoveryRecord, Unsaved};
use talkover_core::ledger::check::book_fault;
use talkover_core::ledger::labels::LabelPolicy;
use talkover_core::ledger::memory::{Layer, Memory};
use talkover_core::ledger::series::Family;
use talkover_core::ledger::state::{Changes, Ledger};
use talkover_core::server_time::LocalTime;

/// The key in the table `meta` under which the identity of the state is kept.
const INSTANCE_ID: &str = "instance_id";

/// The number of a target in the state file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TargetNumber(i64);

/// The open state file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    created_at: LocalTime,
    /// How the current transaction has changed the checksums.
    tally: ChangeTally,
    /// The last commit.
    last: Commit,
    /// When each target was last read.
    seen: SeenFile,
    /// When the polls of each target began to fail.
    failing: SeenFile,
    served: ServedFile,
    queue: OutboxQueue,
    log_queue: OutboxQueue,
    problems: StateProblems,
    place: FilePlace,
    /// Held as long as the file is open.
    lock: LockFile,
}

impl SqliteStore {
    /// Opens the state file at `path`, or makes it if there is none; `now` is the local time.
    ///
    /// # Errors
    /// If another daemon uses it, or if it is damaged, of a newer version, or no state file: then it is left untouched.
    pub fn open(path: &Path, now: LocalTime) -> Result<Self, StoreError> {
        place::make_directory(path)?;
        let lock = LockFile::acquire(path)?;
        refuse_fragment(path)?;
        let evidence = Evidence::gather(path);
        let (connection, prepared) = open_database(path, now).map_err(|error| error.because(|| lock.refusal()))?;
        let OpenedFile { created_at, is_new, tally } = prepared;
        let failed = |error| StoreError::sqlite(path, "read", error);
        let last = commits::read(&connection).map_err(failed)?.map_err(|fault| StoreError::damaged(path, &fault))?;
        let (seen, failing) = (SeenFile::open(path, place::SEEN)?, SeenFile::open(path, place::FAILING)?);
        let served = ServedFile::open(path)?;
        let problems = StateProblems::default();
        if is_new {
            seen.forget_all()?;
            failing.forget_all()?;
            evidence.tell(path, &problems);
        }
        place::warn_if_open_to_all(path);
        let queue_of = |table| outbox::waiting(&connection, table).map(OutboxQueue::new).map_err(failed);
        let (queue, log_queue) = (queue_of(OutboxTable::Spans)?, queue_of(OutboxTable::Logs)?);
        let place = FilePlace { database: lock.identity().ok(), ..FilePlace::default() };
        let path = path.to_owned();
        let mut store = Self {
            connection,
            path,
            created_at,
            tally,
            last,
            seen,
            failing,
            served,
            queue,
            log_queue,
            problems,
            place,
            lock,
        };
        match store.served.read().filter(|_| !is_new) {
            Some(shown) => store.compare_with(shown)?,
            None => store.note_commit(),
        }
        if let Some(gap) = store.read(behind::read)? {
            store.problems.set_gap(&gap.to_string());
        }
        store.carry_over_if_possible()?;
        Ok(store)
    }

    /// Returns the next few thousand entries of the long walk of `target`, oldest first, starting after `after` (from
    /// the oldest if it is `None`). Returns none after the last entry.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn staged_part(&self, target: &Target, after: Option<&Attempt>) -> Result<Vec<Attempt>, StoreError> {
        self.read(|connection| match targets::find_id(connection, target)? {
            Some(id) => staged::part(connection, id, after),
            None => Ok(Vec::new()),
        })
    }

    /// Of the entries of the long walk of `target` that were created at or after `since` and were pending or retrying
    /// when they were read, returns the creation time of the oldest.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn oldest_staged_open(&self, target: &Target, since: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| match targets::find_id(connection, target)? {
            Some(id) => staged::oldest_open(connection, id, since),
            None => Ok(None),
        })
    }

    /// Returns the keys of the unusable entries of the long walk of `target`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn staged_invalid(&self, target: &Target) -> Result<Vec<Box<str>>, StoreError> {
        self.read(|connection| match targets::find_id(connection, target)? {
            Some(id) => staged::read_invalid(connection, id),
            None => Ok(Vec::new()),
        })
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        work(&self.connection).map_err(|error| StoreError::sqlite(&self.path, "read", error))
    }

    /// Returns the number of `target`; `None` if it has none yet, or while nothing can be written.
    fn find_writable(&self, target: &Target) -> Option<TargetNumber> {
        self.touch().ok().and_then(|()| targets::find_id(&self.connection, target).ok()?)
    }

    /// As [`SqliteStore::transact`], for work that is told how many spans may wait, and as many log records, and returns
    /// what has become of the queues.
    fn transact_queued<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, u64) -> rusqlite::Result<(T, QueueChanges)>,
    ) -> Result<T, StoreError> {
        let capacity = self.queue.status().capacity;
        let (done, spans, logs) = self.transact(|transaction| {
            let (done, QueueChanges { spans, logs }) = work(transaction, capacity)?;
            let after = |table, dropped: Option<u64>| -> rusqlite::Result<_> {
                let waiting = dropped.map(|_| outbox::waiting(transaction, table)).transpose()?;
                Ok(waiting.zip(dropped))
            };
            Ok((done, after(OutboxTable::Spans, spans)?, after(OutboxTable::Logs, logs)?))
        })?;
        for (queue, changed) in [(&self.queue, spans), (&self.log_queue, logs)] {
            if let Some((waiting, dropped)) = changed {
                queue.committed(waiting, dropped);
            }
        }
        Ok(done)
    }

    /// The queue in a table.
    fn queue_in(&self, table: OutboxTable) -> &OutboxQueue {
        match table {
            OutboxTable::Spans => &self.queue,
            OutboxTable::Logs => &self.log_queue,
        }
    }

    fn limit_queue(&mut self, table: OutboxTable, capacity: u64) -> Result<u64, StoreError> {
        let mut dropped = 0;
        if self.queue_in(table).status().length > capacity {
            let (waiting, excess) = self.transact(|transaction| {
                let excess = outbox::limit(transaction, table, capacity)?;
                Ok((outbox::waiting(transaction, table)?, excess))
            })?;
            self.queue_in(table).committed(waiting, excess);
            dropped = excess;
        }
        self.queue_in(table).set_capacity(capacity);
        Ok(dropped)
    }

    fn acknowledge(&mut self, table: OutboxTable, through: i64, rejected: u64) -> Result<(), StoreError> {
        let (waiting, removed) = self.transact(|transaction| {
            let removed = outbox::remove(transaction, table, through)?;
            Ok((outbox::waiting(transaction, table)?, removed))
        })?;
        // What was dropped while it was on its way has been counted as such.
        let rejected = rejected.min(removed);
        self.queue_in(table).acknowledged(waiting, removed - rejected, rejected);
        Ok(())
    }

    fn transact<T>(&mut self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        self.touch()?;
        self.notice_other_writer();
        let (path, lock) = (&self.path, &self.lock);
        let failed = |error| StoreError::sqlite(path, "write", error).because(|| lock.refusal());
        self.tally.clear();
        let transaction = self.connection.transaction().map_err(failed)?;
        let result = work(&transaction).map_err(failed)?;
        space::give_back(&transaction).map_err(failed)?;
        let changes = self.tally.changes();
        if changes.is_empty() {
            transaction.commit().map_err(failed)?;
            self.note_version();
            return Ok(result);
        }
        let commit = self.last.next(changes, local_clock::now().timestamp());
        commit.write(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        self.last = commit;
        self.note_commit();
        Ok(result)
    }
}

impl Store for SqliteStore {
    fn info(&self) -> StoreInfo {
        StoreInfo {
            path: Arc::new(self.path.clone()),
            created_at: self.created_at,
            queue: self.queue.clone(),
            log_queue: self.log_queue.clone(),
            problems: self.problems.clone(),
        }
    }

    fn instance_id(&mut self) -> Result<String, StoreError> {
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

    fn adopt_layouts(&mut self, policy: &LabelPolicy) -> Result<Vec<Family>, StoreError> {
        self.transact(|transaction| totals::adopt_layouts(transaction, policy))
    }

    fn load(&self, target: &Target, policy: &LabelPolicy) -> Result<Loaded, StoreError> {
        self.read(|connection| {
            let Some(found) = targets::find(connection, target)? else { return Ok(Loaded::default()) };
            let invalid = entries::load_invalid(connection, found.id)?;
            let (totals, births) = totals::load(connection, found.id, policy)?;
            let activity = losses::load_activity(connection, found.id)?;
            let mut ledger =
                Ledger::restore(found.marks, invalid, totals).with(losses::load(connection, found.id)?, activity);
            entries::for_each(connection, found.id, |key, row| ledger.remember(key, row))?;
            if let Some(reason) = book_fault(&ledger, &totals::load_pruned(connection, found.id)?) {
                return Err(StateFault::of_table(
                    "totals",
                    format!("the books of webhook {target} do not balance: {reason}"),
                )
                .into());
            }
            let now = local_clock::now().timestamp();
            let last_success = self.seen.get(found.id, now);
            Ok(Loaded {
                ledger: DurableLedger::new(ledger),
                births,
                catching_up: found.catching_up,
                last_success,
                failing_since: self.failing.get(found.id, now).filter(|since| Some(*since) > last_success),
                staged: staged::find_walk(connection, found.id)?,
                is_behind: found.is_behind,
            })
        })
    }

    fn commit(&mut self, target: &Target, changes: Changes, spans: &SpanBatch) -> Result<Durable<Changes>, StoreError> {
        if changes.must_commit || !spans.records.is_empty() {
            self.transact_queued(|transaction, capacity| {
                Ok(((), write(transaction, target, &changes, spans, capacity)?))
            })?;
        }
        Ok(Durable::new(changes))
    }

    fn stage(
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

    fn commit_staged(
        &mut self,
        target: &Target,
        ledger: &Ledger,
        attempts: &[Attempt],
        invalid: &[Box<str>],
        decide: &mut DecidePart<'_>,
    ) -> Result<Durable<Layer>, StoreError> {
        let layer = self.transact_queued(|transaction, capacity| {
            let id = targets::upsert(transaction, target)?;
            staged::add(transaction, id, attempts, invalid)?;
            let mut layer = Layer::over(ledger);
            let mut queued = QueueChanges::default();
            staged::for_each_part(transaction, id, |part| {
                let (changes, spans) = decide(Memory::under(ledger, &layer), part);
                queued.add(write(transaction, target, &changes, &spans, capacity)?);
                layer.add(ledger, changes);
                Ok(())
            })?;
            staged::clear(transaction, id)?;
            Ok((layer, queued))
        })?;
        Ok(Durable::new(layer))
    }

    fn release(&mut self, target: &Target, release: Release) -> Result<Durable<Release>, StoreError> {
        self.transact(|transaction| {
            let Some(found) = targets::find(transaction, target)? else { return Ok(()) };
            totals::release(transaction, found.id, &release.series)?;
            targets::end_catching_up(transaction, found.id, release.caught_up)
        })?;
        Ok(Durable::new(release))
    }

    fn catch_up(&mut self, target: &Target) -> Result<(), StoreError> {
        self.transact(|transaction| match targets::find_id(transaction, target)? {
            Some(id) => targets::catch_up(transaction, id),
            None => Ok(()),
        })
    }

    fn find_detached(&mut self) -> Option<Detached> {
        self.look_for_detachment()
    }

    fn take_due_check(&mut self) -> Option<FileCheck> {
        self.begin_due_check()
    }

    fn note_checked(&mut self, fault: Option<String>) {
        self.place.fault = fault;
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.carry_over()
    }

    fn note_success(&self, target: &Target, date: Timestamp) {
        // If this is lost, the next start believes that the outage was longer than it was.
        if let Some(id) = self.find_writable(target) {
            self.seen.set(id, date);
        }
    }

    fn note_failing(&self, target: &Target, since: Timestamp) {
        if let Some(id) = self.find_writable(target) {
            self.failing.set(id, since);
        }
    }

    fn list(&mut self, environment: &str, listed: &[Target], now: LocalTime) -> Result<Vec<Unlisted>, StoreError> {
        self.transact(|transaction| targets::list(transaction, environment, listed, now))
    }

    fn keep_unlisted_for(&mut self, unlisted: &[(Target, Duration)]) -> Result<(), StoreError> {
        self.transact(|transaction| targets::keep_unlisted_for(transaction, unlisted))
    }

    fn environments(&self) -> Result<Vec<String>, StoreError> {
        self.read(targets::environments)
    }

    fn remove_unlisted(&mut self, target: &Target) -> Result<bool, StoreError> {
        let id = self.transact(|transaction| {
            let id = targets::find_unlisted(transaction, target)?;
            id.map_or(Ok(()), |id| targets::remove(transaction, id))?;
            Ok(id)
        })?;
        if let Some(id) = id {
            self.seen.clear(id);
            self.failing.clear(id);
        }
        Ok(id.is_some())
    }

    fn load_discovered(&self, environment: &str) -> Result<DiscoveryRecord, StoreError> {
        self.read(|connection| discovered::load(connection, environment))
    }

    fn save_discovered(
        &mut self,
        environment: &str,
        unsaved: &Unsaved,
        listed: &[Target],
        unlisted: &[Target],
        now: LocalTime,
    ) -> Result<(), StoreError> {
        self.transact(|transaction| {
            // First, because unlisted targets keep what discovery knew about them, which it forgets now.
            targets::change_list(transaction, listed, unlisted, now)?;
            discovered::write(transaction, environment, unsaved)
        })
    }

    fn limit_spans(&mut self, capacity: u32) -> Result<u64, StoreError> {
        let capacity = u64::from(capacity);
        Ok(self.limit_queue(OutboxTable::Spans, capacity)? + self.limit_queue(OutboxTable::Logs, capacity)?)
    }

    fn oldest_spans(&self, max_spans: usize, max_bytes: usize) -> Result<Vec<QueuedSpan>, StoreError> {
        self.read(|connection| outbox::oldest_spans(connection, max_spans, max_bytes))
    }

    fn acknowledge_spans(&mut self, through: i64, rejected: u64) -> Result<(), StoreError> {
        self.acknowledge(OutboxTable::Spans, through, rejected)
    }

    fn oldest_logs(&self, max_records: usize, max_bytes: usize) -> Result<Vec<QueuedLog>, StoreError> {
        self.read(|connection| outbox::oldest_logs(connection, max_records, max_bytes))
    }

    fn acknowledge_logs(&mut self, through: i64, rejected: u64) -> Result<(), StoreError> {
        self.acknowledge(OutboxTable::Logs, through, rejected)
    }
}

fn open_database(path: &Path, now: LocalTime) -> Result<(Connection, OpenedFile), StoreError> {
    let mut connection = Connection::open(path).map_err(|error| StoreError::open(path, error))?;
    let prepared = format::prepare(&mut connection, path, now)?;
    Ok((connection, prepared))
}

/// A UUID of random bits (RFC 9562, section 5.4).
fn random_uuid(bits: u128) -> String {
    let bits = bits & !(0xF << 76) & !(0b11 << 62) | 0x4 << 76 | 0b10 << 62;
    let digits = format!("{bits:032x}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// Refuses a file shorter than SQLite's smallest page: SQLite would take it for an empty database and overwrite it.
fn refuse_fragment(path: &Path) -> Result<(), StoreError> {
    const SMALLEST_PAGE: u64 = 512;
    match std::fs::metadata(path).map(|metadata| metadata.len()) {
        Ok(length @ 1..SMALLEST_PAGE) => {
            Err(StoreError::Damaged { path: path.to_owned(), reason: format!("only {length} bytes are left of it") })
        }
        _ => Ok(()),
    }
}

/// Writes a decision; of each queue that it adds to, the oldest items beyond `capacity` are dropped.
fn write(
    transaction: &Transaction<'_>,
    target: &Target,
    changes: &Changes,
    spans: &SpanBatch,
    capacity: u64,
) -> rusqlite::Result<QueueChanges> {
    let id = targets::upsert(transaction, target)?;
    entries::write(transaction, id, &changes.rows)?;
    entries::prune(transaction, id, &changes.pruned)?;
    entries::write_invalid(transaction, id, &changes.invalid)?;
    entries::prune_invalid(transaction, id, &changes.pruned_invalid)?;
    totals::write(transaction, id, &changes.totals, &changes.births)?;
    totals::add_pruned(transaction, id, &changes.pruned_totals)?;
    losses::add_activity(transaction, id, &changes.pruned_activity)?;
    losses::write(transaction, id, &changes.losses)?;
    if let Some(since) = changes.catching_up {
        targets::begin_catching_up(transaction, id, since)?;
    }
    if let Some(marks) = &changes.marks {
        targets::write_marks(transaction, id, marks)?;
    }
    outbox::add(transaction, (id, &target.environment), spans, capacity)
}

#[cfg(test)]
mod discovered_tests;
#[cfg(test)]
mod outbox_tests;
#[cfg(test)]
mod tests;
