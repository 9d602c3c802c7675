//! The state: everything that a restart must know. Each decision is written in one transaction.
//!
//! The trait [`Store`] lists the operations that the program needs. [`sqlite`] implements it with one file, and all
//! callers reach it through [`handle::StoreHandle`]. *Invariants:* nothing is shown before it is committed: only a
//! store makes a [`durable::Durable`], and only a `Durable` changes a ledger or what is shown of it. Nothing outside
//! this module writes to the state.

pub mod draft;
pub mod durable;
pub mod error;
mod fresh;
pub mod handle;
pub mod lock;
pub mod place;
pub mod problems;
pub mod queue;
pub mod sqlite;

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::time::Duration;

use self::durable::{Durable, DurableLedger};
use self::error::StoreError;
use self::handle::StoreInfo;
use self::problems::Detached;
use talkover_core::delivery::{Attempt, Target, Timestamp};
use talkover_core::discovery::record::{DiscoveryRecord, Unsaved};
use talkover_core::discovery::targets::WebhookInfo;
use talkover_core::ledger::decide::{Coverage, Pass};
use talkover_core::ledger::labels::LabelPolicy;
use talkover_core::ledger::memory::{Layer, Memory};
use talkover_core::ledger::series::{Family, SeriesKey};
use talkover_core::ledger::state::{Changes, Ledger};
use talkover_core::ledger::totals::Birth;
use talkover_core::server_time::{LocalTime, ServerTime};
use talkover_core::spans::record::SpanRecord;

/// The stored state of one target.
#[derive(Debug, Default)]
pub struct Loaded {
    /// What its ledger remembers.
    pub ledger: DurableLedger,
    /// The births of its series.
    pub births: BTreeMap<SeriesKey, Birth>,
    /// While the target catches up on what happened while the daemon was not reading: when the last such batch was
    /// read.
    pub catching_up: Option<Timestamp>,
    /// When a poll last succeeded, by the server's clock.
    pub last_success: Option<Timestamp>,
    /// Since when polls have failed, by the server's clock; `None` if the last one succeeded.
    pub failing_since: Option<Timestamp>,
    /// The long walk that was interrupted, if there was one.
    pub staged: Option<StagedWalk>,
    /// Whether the state went back in time, and the log has not been read again since.
    pub is_behind: bool,
}

/// A check of the whole state file. It takes seconds for a large file, and uses a connection of its own, so that the
/// store stays free.
pub struct FileCheck {
    /// Runs the check; returns what is wrong with the file, or `None`.
    pub run: Box<dyn FnOnce() -> Option<String> + Send>,
    /// Interrupts the check. Its result then means nothing.
    pub interrupt: Box<dyn Fn() + Send>,
}

impl Debug for FileCheck {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileCheck").finish_non_exhaustive()
    }
}

/// A target that neither the configuration nor discovery lists any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlisted {
    /// The target, as it was last named.
    pub target: Target,
    /// What discovery last knew about it.
    pub info: Option<WebhookInfo>,
    /// How long the daemon has run since it was last listed.
    pub unlisted_for: Duration,
}

/// The progress of a long walk, as saved on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagedWalk {
    /// What it covers when it is complete.
    pub coverage: Coverage,
    /// The time at which the walk ends: it reads back to here.
    pub until: Timestamp,
    /// The newest end of the stretch that it has read without a gap.
    pub newest: Timestamp,
    /// The oldest end of that stretch.
    pub oldest: Timestamp,
    /// How many entries it has read.
    pub count: u64,
    /// Whether any of them was known before.
    pub has_met_known: bool,
}

/// A part of a long walk that is to be decided, oldest entry first.
#[derive(Debug)]
pub struct StagedPart {
    /// Which of the two passes this is (see [`Pass`]), and whether this is the last part of all.
    pub pass: Pass,
    /// Its entries.
    pub attempts: Vec<Attempt>,
    /// The keys of unusable entries: all of them come with the last part.
    pub invalid: Vec<Box<str>>,
}

/// The spans and log records of one decision. Without any of them, the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanBatch {
    /// The spans, in the order in which they are to be sent.
    pub records: Vec<SpanRecord>,
    /// Log records, each an encoded `opentelemetry.proto.logs.v1.LogRecord`, in the order in which they are to be sent.
    pub logs: Vec<Vec<u8>>,
    /// When they are queued, by the local clock: the age of the queue is shown by it.
    pub queued_at: LocalTime,
    /// When spans are parked, by the server's clock. Parked spans are deleted by age, for good, so the local clock,
    /// which anybody can set, must not decide it.
    pub parked_at: ServerTime,
    /// Spans that this target parked before this time are deleted: no later attempt needs them.
    pub parked_since: ServerTime,
}

/// A span that is waiting to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedSpan {
    /// Its number in the queue; later spans have greater numbers.
    pub seq: i64,
    /// An encoded `opentelemetry.proto.trace.v1.Span`.
    pub span: Vec<u8>,
}

/// A log record that is waiting to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedLog {
    /// Its number: later ones have greater ones.
    pub seq: i64,
    /// The environment that it is about.
    pub environment: String,
    /// An encoded `opentelemetry.proto.logs.v1.LogRecord`.
    pub record: Vec<u8>,
}

/// What ends now: the birth holds of series, which were served as 0, and the catching-up of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// The series that are served with their real values from now on.
    pub series: Vec<SeriesKey>,
    /// The catching-up that is over, identified by the time at which its last batch was read.
    pub caught_up: Option<Timestamp>,
}

impl Release {
    /// Whether nothing is released.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty() && self.caught_up.is_none()
    }
}

/// Decides one part of a long walk. Gets the memory, with the changes of the earlier parts, and returns the changes and
/// spans of this part.
pub type DecidePart<'a> = dyn FnMut(Memory<'_>, StagedPart) -> (Changes, SpanBatch) + 'a;

/// Keeps the state. Each call that writes is one transaction: all or nothing, and on disk when it returns. Calls may
/// block on the disk, so they are made on threads that may block.
///
/// # Errors
/// Of each method: if the state cannot be read or written. The state is then unchanged.
pub trait Store: Debug + Send {
    /// Returns what is shown about the state as a whole.
    fn info(&self) -> StoreInfo;

    /// Returns a random UUID that identifies this state. It is made at the first call and kept.
    fn instance_id(&mut self) -> Result<String, StoreError>;

    /// Drops the histograms whose buckets or labels differ from those of `policy` and of this version. Returns the
    /// families that had any.
    fn adopt_layouts(&mut self, policy: &LabelPolicy) -> Result<Vec<Family>, StoreError>;

    /// Returns the stored state of a target; an empty one if the target is unknown. Writes nothing.
    fn load(&self, target: &Target, policy: &LabelPolicy) -> Result<Loaded, StoreError>;

    /// Commits the changes and spans of one decision. Makes no transaction if there are no spans and the changes need
    /// not survive a crash.
    fn commit(&mut self, target: &Target, changes: Changes, spans: &SpanBatch) -> Result<Durable<Changes>, StoreError>;

    /// Saves entries that a long walk has read and that are not decided yet, and how far the walk has come.
    fn stage(
        &mut self,
        target: &Target,
        walk: &StagedWalk,
        attempts: &[Attempt],
        invalid: &[Box<str>],
    ) -> Result<(), StoreError>;

    /// Adds the last entries of a long walk (`attempts` and `invalid`) to its stage, decides all of it part by part
    /// over `ledger`, and commits the changes and the spans.
    fn commit_staged(
        &mut self,
        target: &Target,
        ledger: &Ledger,
        attempts: &[Attempt],
        invalid: &[Box<str>],
        decide: &mut DecidePart<'_>,
    ) -> Result<Durable<Layer>, StoreError>;

    /// Ends birth holds and catching-up.
    fn release(&mut self, target: &Target, release: Release) -> Result<Durable<Release>, StoreError>;

    /// Records that the log of a target was read again after the state went back in time.
    fn catch_up(&mut self, target: &Target) -> Result<(), StoreError>;

    /// Returns what is wrong if the path no longer leads to the open file, or another program has written to the file.
    fn find_detached(&mut self) -> Option<Detached>;

    /// Returns the check of the whole file, if one is due: [`Store::find_detached`] makes it due when another program
    /// has written to the file. The check must end before the store is closed.
    fn take_due_check(&mut self) -> Option<FileCheck>;

    /// Records the result of that check. [`Store::find_detached`] reports a fault until a later check finds none.
    fn note_checked(&mut self, fault: Option<String>);

    /// Checkpoints: copies what was committed from the write-ahead log into the database file, as far as readers allow.
    fn checkpoint(&mut self) -> Result<(), StoreError>;

    /// Records when a target's poll last succeeded, without waiting for the disk.
    fn note_success(&self, target: &Target, date: Timestamp);

    /// Records since when a target's polls have failed, without waiting for the disk.
    fn note_failing(&self, target: &Target, since: Timestamp);

    /// Records which targets of an environment are listed, as of `now` by the local clock; returns the known targets
    /// that are not.
    fn list(&mut self, environment: &str, listed: &[Target], now: LocalTime) -> Result<Vec<Unlisted>, StoreError>;

    /// Records how long the daemon has run since each of these targets was last listed. Skips those that are listed
    /// again.
    fn keep_unlisted_for(&mut self, unlisted: &[(Target, Duration)]) -> Result<(), StoreError>;

    /// Returns the environments that have targets in the state.
    fn environments(&self) -> Result<Vec<String>, StoreError>;

    /// Deletes a target and everything that belongs to it, unless it is listed; returns whether it was deleted.
    fn remove_unlisted(&mut self, target: &Target) -> Result<bool, StoreError>;

    /// Returns what discovery knows about an environment; an empty record if it never ran.
    fn load_discovered(&self, environment: &str) -> Result<DiscoveryRecord, StoreError>;

    /// Saves what discovery has learned about an environment, and which targets became listed or unlisted, as of `now`
    /// by the local clock.
    fn save_discovered(
        &mut self,
        environment: &str,
        unsaved: &Unsaved,
        listed: &[Target],
        unlisted: &[Target],
        now: LocalTime,
    ) -> Result<(), StoreError>;

    /// Sets how many spans and how many log records may wait, and drops the oldest if there are more; returns how many
    /// were dropped.
    fn limit_spans(&mut self, capacity: u32) -> Result<u64, StoreError>;

    /// Returns the oldest queued spans: at most `max_spans`, and at most `max_bytes` in total, but at least one if the
    /// queue is not empty.
    fn oldest_spans(&self, max_spans: usize, max_bytes: usize) -> Result<Vec<QueuedSpan>, StoreError>;

    /// Removes the spans up to and including the number `through`. The receiver has accepted all of them but
    /// `rejected`, which it has refused for good.
    fn acknowledge_spans(&mut self, through: i64, rejected: u64) -> Result<(), StoreError>;

    /// As [`Store::oldest_spans`], of log records.
    fn oldest_logs(&self, max_records: usize, max_bytes: usize) -> Result<Vec<QueuedLog>, StoreError>;

    /// As [`Store::acknowledge_spans`], of log records.
    fn acknowledge_logs(&mut self, through: i64, rejected: u64) -> Result<(), StoreError>;
}
