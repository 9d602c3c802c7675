//! The request budget: a hard limit that survives restarts and is shared by all processes with the same state file.
//!
//! A few bytes beside the state hold what was spent of each environment's budget, and of the budget that environments
//! share. They are read and written under a file lock, without syncing to disk: a killed process leaves them behind,
//! and after a loss of power the machine's uptime starts over, which counts as "all is spent". So does a record that is
//! ahead of the uptime: whatever these bytes say, they prevent requests for at most a minute. Every request is taken
//! from here first.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tracing::warn;

use crate::store::place::{beside, open_private};
use talkover_core::schedule::gcra::{Gcra, WINDOW_NS};

/// Digest of the bucket's name, digest of the boot id, theoretical arrival time, settings, time of the last request:
/// five little-endian u64.
const RECORD_BYTES: usize = 40;
/// Requests that may go out together within a shared plan.
const SHARED_BURST: u32 = 4;
/// More names than any configuration has: a longer file is broken, or belongs to another program.
const MAX_RECORDS: usize = 10_000;
/// A record may be ahead of the clock by this much, one second: another process may have read the clock later and yet
/// have held the lock earlier.
const SKEW_NS: u64 = 1_000_000_000;

/// One of the budgets that a request draws from.
#[derive(Clone, Debug)]
struct Bucket {
    name: u64,
    /// The settings, as configured: what was spent under other settings says nothing about what is left under these.
    settings: u64,
    configured: Gcra,
    /// What may be spent of it now.
    gcra: Gcra,
}

impl Bucket {
    fn new(name: &str, per_minute: u32, burst: u32) -> Self {
        let settings = u64::from(per_minute) << 32 | u64::from(burst);
        let configured = Gcra::new(per_minute, burst);
        Self { name: digest(name), settings, configured, gcra: configured }
    }

    /// Whether a minute under other `settings` cannot have spent more than these allow.
    fn covers(&self, settings: u64) -> bool {
        let (per_minute, burst) = ((settings >> 32) as u32, settings as u32);
        per_minute <= (self.settings >> 32) as u32 && Gcra::new(per_minute, burst).burst() <= self.configured.burst()
    }
}

/// The budgets that the requests of one environment draw from.
#[derive(Debug)]
pub struct Budget {
    file: File,
    path: PathBuf,
    boot: u64,
    buckets: Vec<Bucket>,
}

impl Budget {
    /// Opens the budget beside the state file at `state`, for an environment with `per_minute` requests and bursts of
    /// `burst`; and, if environments share a plan, also within `shared` requests a minute. `boot_id` identifies the
    /// machine's current uptime.
    ///
    /// # Errors
    /// If the file beside the state cannot be opened.
    pub fn open(
        state: &Path,
        boot_id: &str,
        environment: &str,
        per_minute: u32,
        burst: u32,
        shared: Option<u32>,
    ) -> io::Result<Self> {
        let path = beside(state, "budget");
        let file = open_private(&path).map_err(|error| named(&path, &error))?;
        let own = Bucket::new(&format!("environment {environment}"), per_minute, burst);
        // The same for all environments, whatever each one may spend.
        let all = shared.map(|rate| Bucket::new("shared", rate, SHARED_BURST));
        Ok(Self { file, path, boot: digest(boot_id), buckets: std::iter::once(own).chain(all).collect() })
    }

    /// Limits the environment's own budget to this many requests a minute; `None` restores all of it.
    pub fn lower_to(&mut self, per_minute: Option<u32>) {
        if let Some(own) = self.buckets.first_mut() {
            own.gcra = per_minute.map_or(own.configured, |rate| own.configured.lowered(rate));
        }
    }

    /// The requests a second that the environment can make in the long run, if nobody shares its plan.
    pub fn per_second(&self) -> f64 {
        self.buckets.iter().map(|bucket| bucket.gcra.per_second()).fold(f64::INFINITY, f64::min)
    }

    /// Takes one request at `now`, in nanoseconds of the machine's uptime. Returns the time to wait if none is left.
    ///
    /// # Errors
    /// If what was spent cannot be read or written; then no request may be sent.
    pub fn take(&self, now: u64) -> io::Result<Option<Duration>> {
        self.file.lock()?;
        let taken = self.take_locked(now);
        self.file.unlock()?;
        taken.map_err(|error| named(&self.path, &error))
    }

    fn take_locked(&self, now: u64) -> io::Result<Option<Duration>> {
        let Some(records) = self.read()? else { return self.begin_anew(now) };
        let mut wait = 0;
        let mut updates = Vec::with_capacity(self.buckets.len());
        let mut end = records.len();
        for bucket in &self.buckets {
            let known = records.iter().position(|record| record.name == bucket.name);
            let arrival = match self.arrival(bucket, known.map(|slot| records[slot]), now) {
                Ok(arrival) => arrival,
                Err(rest) => {
                    wait = wait.max(rest);
                    continue;
                }
            };
            let record = |arrival, last| BudgetRecord {
                name: bucket.name,
                boot: self.boot,
                arrival,
                settings: bucket.settings,
                last,
            };
            let slot = known.unwrap_or_else(|| {
                end += 1;
                end - 1
            });
            match bucket.gcra.take(arrival, now) {
                Ok(arrival) => updates.push((slot, record(arrival, now))),
                Err(needed) => {
                    // Written down too, so that a budget that is assumed to be spent recovers.
                    let last = known.map_or(now, |slot| records[slot].last.min(now));
                    self.write(slot, record(bucket.gcra.clamp(arrival, now), last))?;
                    wait = wait.max(needed);
                }
            }
        }
        if wait > 0 {
            return Ok(Some(Duration::from_nanos(wait)));
        }
        for (slot, record) in updates {
            self.write(slot, record)?;
        }
        Ok(None)
    }

    /// The theoretical arrival time of a bucket, according to its record at `now`.
    ///
    /// # Errors
    /// The nanoseconds to wait before it can be known.
    fn arrival(&self, bucket: &Bucket, record: Option<BudgetRecord>, now: u64) -> Result<u64, u64> {
        let Some(record) = record else { return Ok(0) };
        if record.boot == self.boot && record.is_ahead(now) {
            warn!("{}: holds times in the future; assuming that the request budget is spent", self.path.display());
            return Ok(bucket.gcra.exhausted(now));
        }
        let is_of_this_boot = record.boot == self.boot;
        if is_of_this_boot && record.settings == bucket.settings {
            return Ok(record.arrival);
        }
        // The machine was restarted since, and nothing is known of the last minute. Or the budget was raised: assume
        // that all of the new one is spent, so that no minute across the change exceeds it.
        if !is_of_this_boot || bucket.covers(record.settings) {
            return Ok(bucket.gcra.exhausted(now));
        }
        // It was spent under other settings: after a minute without requests that no longer matters.
        let rest = record.last.min(now).saturating_add(WINDOW_NS).saturating_sub(now);
        if rest > 0 { Err(rest) } else { Ok(0) }
    }

    /// The records; `None` if there are more than this program writes.
    fn read(&self) -> io::Result<Option<Vec<BudgetRecord>>> {
        let length = self.file.metadata()?.len() as usize;
        if length > MAX_RECORDS * RECORD_BYTES {
            return Ok(None);
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(Some(bytes.as_chunks::<RECORD_BYTES>().0.iter().map(BudgetRecord::from_bytes).collect()))
    }

    /// Empties a file that is not ours, and assumes that the budgets are spent. Returns the time to wait.
    fn begin_anew(&self, now: u64) -> io::Result<Option<Duration>> {
        warn!("{}: too long, starting over; assuming that the request budget is spent", self.path.display());
        self.file.set_len(0)?;
        let mut wait = 0;
        for (slot, bucket) in self.buckets.iter().enumerate() {
            let arrival = bucket.gcra.exhausted(now);
            let record =
                BudgetRecord { name: bucket.name, boot: self.boot, arrival, settings: bucket.settings, last: now };
            self.write(slot, record)?;
            wait = wait.max(bucket.gcra.take(arrival, now).err().unwrap_or(0));
        }
        Ok(Some(Duration::from_nanos(wait)))
    }

    fn write(&self, slot: usize, record: BudgetRecord) -> io::Result<()> {
        self.file.write_all_at(&record.to_bytes(), (slot * RECORD_BYTES) as u64)
    }
}

#[derive(Clone, Copy, Debug)]
struct BudgetRecord {
    name: u64,
    boot: u64,
    arrival: u64,
    settings: u64,
    /// When the last request went out.
    last: u64,
}

impl BudgetRecord {
    /// Whether no correct record can say this at `now`: it is damaged, or from another boot on a machine without boot
    /// ids.
    fn is_ahead(&self, now: u64) -> bool {
        let latest = now.saturating_add(SKEW_NS);
        self.last > latest || self.arrival > latest.saturating_add(WINDOW_NS)
    }

    fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Self {
        let numbers: &[[u8; 8]] = bytes.as_chunks().0;
        let number = |index: usize| numbers.get(index).map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self { name: number(0), boot: number(1), arrival: number(2), settings: number(3), last: number(4) }
    }

    fn to_bytes(self) -> Vec<u8> {
        [self.name, self.boot, self.arrival, self.settings, self.last]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect()
    }
}

/// The same error, with the path of its file.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn digest(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests;
