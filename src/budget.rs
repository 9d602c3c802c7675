//! The request budget: a hard limit that survives restarts and is shared by all processes that work for one state file.
//!
//! A few bytes beside the state hold what was spent of each environment's budget, and of the budget that environments share.
//! They are read and written under a file lock, without a wait for the disk: a killed process leaves them behind, and after a
//! loss of power the machine's clock of uptime begins anew, which is taken as "all is spent". So is a record that lies ahead of that
//! clock: whatever these bytes say, they keep nobody from asking for longer than a minute. Whoever wants to make a request takes it
//! from here first.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tracing::warn;

use crate::store::lock::beside;
use talkover_core::schedule::gcra::{Gcra, WINDOW_NS};

/// Digest of the bucket's name, digest of the boot, theoretical arrival time, settings, time of the last request:
/// five little-endian u64.
const RECORD_BYTES: usize = 40;
/// Requests that may go out together within a shared plan.
const SHARED_BURST: u32 = 4;
/// More names than any configuration has: a longer file is not ours, or broken.
const MAX_RECORDS: usize = 10_000;
/// Another process may have read the clock later and yet have held the lock earlier: so much a record may lie ahead, a second.
const SKEW_NS: u64 = 1_000_000_000;

/// One of the budgets that a request draws from.
#[derive(Clone, Debug)]
struct Bucket {
    name: u64,
    /// As it was configured: what was spent under other settings says nothing of what is left under these.
    settings: u64,
    configured: Gcra,
    /// What of it may be spent now.
    gcra: Gcra,
}

impl Bucket {
    fn new(name: &str, per_minute: u32, burst: u32) -> Self {
        let settings = u64::from(per_minute) << 32 | u64::from(burst);
        let configured = Gcra::new(per_minute, burst);
        Self { name: digest(name), settings, configured, gcra: configured }
    }

    /// Whether no more can have been spent in a minute under other `settings` than under these.
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
    /// The budget beside the state file at `state`, for an environment with `per_minute` requests and bursts of `burst`; and,
    /// where environments share a plan, also within `shared` requests a minute. `boot_id` names the present uptime of the machine.
    ///
    /// # Errors
    /// Where the file beside the state cannot be opened.
    pub fn open(
        state: &Path,
        boot_id: &str,
        environment: &str,
        per_minute: u32,
        burst: u32,
        shared: Option<u32>,
    ) -> io::Result<Self> {
        let path = beside(state, "budget");
        let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let file = opened.map_err(|error| named(&path, &error))?;
        let own = Bucket::new(&format!("environment {environment}"), per_minute, burst);
        // The same for all environments, whatever each allows itself.
        let all = shared.map(|rate| Bucket::new("shared", rate, SHARED_BURST));
        Ok(Self { file, path, boot: digest(boot_id), buckets: std::iter::once(own).chain(all).collect() })
    }

    /// Lets only so many requests a minute of the environment's own budget be spent, or all of it again.
    pub fn lower_to(&mut self, per_minute: Option<u32>) {
        if let Some(own) = self.buckets.first_mut() {
            own.gcra = per_minute.map_or(own.configured, |rate| own.configured.lowered(rate));
        }
    }

    /// The requests a second that the environment can make in the long run, if nobody shares its plan.
    pub fn per_second(&self) -> f64 {
        self.buckets.iter().map(|bucket| bucket.gcra.per_second()).fold(f64::INFINITY, f64::min)
    }

    /// Takes one request at `now`, in nanoseconds of the machine's uptime. Gives the time to wait where none is left.
    ///
    /// # Errors
    /// Where what was spent cannot be read or written; then nothing may be sent.
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
            let record =
                |arrival, last| Record { name: bucket.name, boot: self.boot, arrival, settings: bucket.settings, last };
            let slot = known.unwrap_or_else(|| {
                end += 1;
                end - 1
            });
            match bucket.gcra.take(arrival, now) {
                Ok(arrival) => updates.push((slot, record(arrival, now))),
                Err(needed) => {
                    // Written down too, so that a budget that is taken as spent does not stay so.
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

    /// The theoretical arrival time of what was spent of a bucket, as its record tells at `now`.
    ///
    /// # Errors
    /// The nanoseconds to wait until the record tells it.
    fn arrival(&self, bucket: &Bucket, record: Option<Record>, now: u64) -> Result<u64, u64> {
        let Some(record) = record else { return Ok(0) };
        if record.boot == self.boot && record.is_ahead(now) {
            warn!("{}: holds times that are still to come; the request budget is taken as spent", self.path.display());
            return Ok(bucket.gcra.exhausted(now));
        }
        let is_of_this_boot = record.boot == self.boot;
        if is_of_this_boot && record.settings == bucket.settings {
            return Ok(record.arrival);
        }
        // The machine was started anew since, and nothing is known of the last minute. Or the budget was raised: as if all of the
        // new one were spent, which no minute across the change exceeds.
        if !is_of_this_boot || bucket.covers(record.settings) {
            return Ok(bucket.gcra.exhausted(now));
        }
        // It was spent by another measure: a minute without requests makes them comparable.
        let rest = record.last.min(now).saturating_add(WINDOW_NS).saturating_sub(now);
        if rest > 0 { Err(rest) } else { Ok(0) }
    }

    /// The records; `None` if there are more than this program writes.
    fn read(&self) -> io::Result<Option<Vec<Record>>> {
        let length = self.file.metadata()?.len() as usize;
        if length > MAX_RECORDS * RECORD_BYTES {
            return Ok(None);
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(Some(bytes.as_chunks::<RECORD_BYTES>().0.iter().map(Record::from_bytes).collect()))
    }

    /// Empties a file that isn't ours, and takes the budgets as spent. Returns the time to wait.
    fn begin_anew(&self, now: u64) -> io::Result<Option<Duration>> {
        warn!("{}: too long, begun anew; the request budget is taken as spent", self.path.display());
        self.file.set_len(0)?;
        let mut wait = 0;
        for (slot, bucket) in self.buckets.iter().enumerate() {
            let arrival = bucket.gcra.exhausted(now);
            let record =
                Record { name: bucket.name, boot: self.boot, arrival, settings: bucket.settings, last: now };
            self.write(slot, record)?;
            wait = wait.max(bucket.gcra.take(arrival, now).err().unwrap_or(0));
        }
        Ok(Some(Duration::from_nanos(wait)))
    }

    fn write(&self, slot: usize, record: Record) -> io::Result<()> {
        self.file.write_all_at(&record.to_bytes(), (slot * RECORD_BYTES) as u64)
    }
}

#[derive(Clone, Copy, Debug)]
struct Record {
    name: u64,
    boot: u64,
    arrival: u64,
    settings: u64,
    /// When the last request went out.
    last: u64,
}

impl Record {
    /// Whether no honest past can have left it behind at `now`: a damaged record, or one of another boot where boots have no names.
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

/// The same error, with the file that it is about.
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
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn open(directory: &Path, boot: &str, environment: &str, shared: Option<u32>) -> Budget {
        Budget::open(&directory.join("state.db"), boot, environment, 30, 4, shared).unwrap()
    }

    fn take_all(budget: &Budget, now: u64) -> usize {
        (0..1000).take_while(|_| budget.take(now).unwrap().is_none()).count()
    }

    #[test]
    fn what_was_spent_is_shared_and_survives() {
        let directory = tempfile::tempdir().unwrap();
        let budget = open(directory.path(), "boot", "production", None);
        assert_eq!(take_all(&budget, 100 * SECOND), 4);
        let other = open(directory.path(), "boot", "production", None);
        assert_eq!(take_all(&other, 100 * SECOND), 0);
        assert_eq!(take_all(&open(directory.path(), "boot", "staging", None), 100 * SECOND), 4);
        assert_eq!(take_all(&other, 200 * SECOND), 4);
    }

    #[test]
    fn after_a_reboot_all_counts_as_spent() {
        let directory = tempfile::tempdir().unwrap();
        take_all(&open(directory.path(), "first", "production", None), 100 * SECOND);
        let budget = open(directory.path(), "second", "production", None);
        assert_eq!(take_all(&budget, 5 * SECOND), 0);
        assert_eq!(take_all(&budget, 5 * SECOND + 61 * SECOND / 26), 1);
    }

    #[test]
    fn environments_share_a_plan() {
        let directory = tempfile::tempdir().unwrap();
        let [first, second] = ["a", "b"].map(|name| open(directory.path(), "boot", name, Some(5)));
        assert_eq!(take_all(&first, 100 * SECOND) + take_all(&second, 100 * SECOND), 2);
    }

    /// Takes all that there is, twice a second from 100 s on, while the budget is raised at 165 s and `pause` later.
    fn spend_while_raised(settings: [(u32, u32); 3], pause: u64) -> Vec<(u64, u32)> {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state.db");
        let open = |(rate, burst)| Budget::open(&state, "boot", "production", rate, burst, None).unwrap();
        let budgets = settings.map(open);
        let at = |moment: u64| usize::from(moment >= 165 * SECOND) + usize::from(moment >= (165 + pause) * SECOND);
        let moments = (200..600).map(|half| half * SECOND / 2);
        let take = |now| std::iter::repeat_n((now, settings[at(now)].0), take_all(&budgets[at(now)], now));
        moments.flat_map(take).collect()
    }

    #[test]
    fn a_raised_budget_goes_on_at_once_and_no_minute_exceeds_it() {
        for settings in [[(30, 4), (60, 4), (90, 4)], [(30, 4), (31, 15), (100, 15)], [(2, 1), (5, 4), (30, 4)]] {
            for pause in (1..64).step_by(3) {
                let sent = spend_while_raised(settings, pause);
                for (now, rate) in &sent {
                    let minute = sent.iter().filter(|(at, _)| (*at..at + 60 * SECOND).contains(now)).count();
                    assert!(minute <= *rate as usize, "{settings:?}, {pause} s: {minute} in a minute of {rate}");
                }
                let goes_on = sent.iter().any(|(at, _)| (165 * SECOND..=190 * SECOND).contains(at));
                assert!(goes_on, "{settings:?}, {pause} s: silent after it was raised");
            }
        }
    }

    #[test]
    fn other_settings_begin_with_a_minute_of_silence() {
        let directory = tempfile::tempdir().unwrap();
        let open = |burst| {
            let state = directory.path().join("state.db");
            Budget::open(&state, "boot", "production", 30, burst, Some(100)).unwrap()
        };
        let (before, after) = (open(15), open(4));
        let sent: usize = (100..160).map(|second| take_all(&before, second * SECOND)).sum();
        assert!((25..=30).contains(&sent), "{sent}");
        let sent: usize = (160..216).map(|second| take_all(&after, second * SECOND)).sum();
        assert_eq!(sent, 0, "the last request of the others was at 159 s or a little before");
        assert_eq!(take_all(&after, 221 * SECOND), 4, "a burst of the shared plan");
    }

    #[test]
    fn a_broken_file_is_survived() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("state.db.budget"), [0xFF; 61]).unwrap();
        assert!(take_all(&open(directory.path(), "boot", "production", None), 100 * SECOND) <= 4);
    }

    /// Asks once a second at least from `from` on: when the first request may go out.
    fn first_request(budget: &Budget, from: u64) -> u64 {
        let mut now = from;
        while let Some(wait) = budget.take(now).unwrap() {
            now += u64::try_from(wait.as_nanos()).unwrap().min(SECOND);
            assert!(now < from + 3600 * SECOND, "nothing for an hour");
        }
        now
    }

    /// The file after a minute of requests up to `now`, from a budget of its own and a shared plan.
    fn used_file(directory: &Path, now: u64) -> Vec<u8> {
        let budget = open(directory, "boot", "production", Some(100));
        let sent: usize = (0..60).map(|second| take_all(&budget, now - 60 * SECOND + second * SECOND)).sum();
        assert!(sent >= 25, "{sent}");
        std::fs::read(directory.join("state.db.budget")).unwrap()
    }

    #[test]
    fn no_flipped_bit_stops_requests_for_longer_than_a_minute_nor_lets_more_out_than_a_new_file() {
        let directory = tempfile::tempdir().unwrap();
        let now = 100_000 * SECOND;
        let bytes = used_file(directory.path(), now);
        assert_eq!(bytes.len(), 2 * RECORD_BYTES);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(directory.path().join("state.db.budget"), damaged).unwrap();
            let budget = open(directory.path(), "boot", "production", Some(100));
            let first = first_request(&budget, now);
            assert!(first <= now + WINDOW_NS, "bit {bit}: silent for {} s", (first - now) / SECOND);
            let sent: usize = (1..=60).map(|second| take_all(&budget, first + second * SECOND)).sum();
            assert!((25..=30).contains(&sent), "bit {bit}: {sent} in the minute after it");
        }
    }

    #[test]
    fn a_record_that_lies_ahead_is_taken_as_spent_and_written_down_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db.budget");
        let now = 1_000 * SECOND;
        // A machine without names for its boots, whose last one took ten days; a broken arrival time; both broken.
        for (arrival, last) in [(864_000, 864_000), (u64::MAX / SECOND, 990), (2_000, 990), (900, 2_000)] {
            let budget = open(directory.path(), "", "production", None);
            let bucket = &budget.buckets[0];
            let (arrival, last) = (arrival * SECOND, last * SECOND);
            let record = Record { name: bucket.name, boot: budget.boot, arrival, settings: bucket.settings, last };
            std::fs::write(&path, record.to_bytes()).unwrap();
            // As after a reboot: all of the burst is to be earned first.
            let wait = budget.take(now).unwrap().unwrap();
            assert_eq!(wait.as_millis(), 61_000 / 26, "{arrival} {last}");
            let found = Record::from_bytes(&std::fs::read(&path).unwrap().try_into().unwrap());
            assert!(!found.is_ahead(now) && found.arrival == bucket.gcra.exhausted(now), "{found:?}");
        }
    }

    #[test]
    fn other_settings_and_a_last_request_that_lies_ahead_end_the_silence_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db.budget");
        let budget = open(directory.path(), "boot", "production", None);
        let (name, boot) = (budget.buckets[0].name, budget.boot);
        let record = Record { name, boot, arrival: 0, settings: 1_000 << 32 | 15, last: u64::MAX };
        std::fs::write(&path, record.to_bytes()).unwrap();
        let now = 1_000 * SECOND;
        assert!(first_request(&budget, now) <= now + WINDOW_NS);
    }

    #[test]
    fn a_file_that_is_too_long_is_begun_anew_with_nothing_left_to_spend() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.db.budget");
        std::fs::write(&path, vec![7; (MAX_RECORDS + 1) * RECORD_BYTES]).unwrap();
        let budget = open(directory.path(), "boot", "production", Some(100));
        let sent: usize = (100..160).map(|second| take_all(&budget, second * SECOND)).sum();
        assert!((20..=26).contains(&sent), "{sent} in the first minute");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 * RECORD_BYTES as u64);
    }
}
