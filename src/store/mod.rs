//! Durable memory: what a restart must know, written in one transaction per decision.
//!
//! [`Store`] is what the program needs of it, [`sqlite`] keeps it in a file, and [`handle::StoreHandle`] is the one way
//! to it. *Invariants:* what is shown was committed before: only a store makes a [`durable::Durable`], and only that
//! changes a ledger or what is shown of it. Nothing outside this module writes to the state.

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

/// What is known of a target.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Its memory.
    pub ledger: DurableLedger,
    /// The births of its series.
    pub births: BTreeMap<SeriesKey, Birth>,
    /// When the last batch was read of what had happened while nobody looked, if that is not over.
    pub catching_up: Option<Timestamp>,
    /// When a poll last succeeded, by the server's clock.
    pub last_success: Option<Timestamp>,
    /// Since when polls have failed, by the server's clock; `None` if the last one succeeded.
    pub failing_since: Option<Timestamp>,
    /// What an interrupted walk had read.
    pub staged: Option<StagedWalk>,
    /// Whether the state went back in time, and the log was not read again since.
    pub is_behind: bool,
}

/// How the path has come to lead elsewhere than to the open file, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detached {
    /// What has happened.
    pub what: String,
    /// The way out.
    pub remedy: String,
}

/// A check of the whole state file, which takes seconds for a large one and does without the store.
pub struct FileCheck {
    /// Does it; returns what is wrong with the file.
    pub run: Box<dyn FnOnce() -> Option<String> + Send>,
    /// Cuts it short where it is; what it returns then means nothing.
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
    /// What discovery last knew of it.
    pub info: Option<WebhookInfo>,
    /// For how long the daemon has run since it was last listed.
    pub unlisted_for: Duration,
}

/// A long walk that is under way, as far as it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagedWalk {
    /// What it covers when it is complete.
    pub coverage: Coverage,
    /// Where it ends.
    pub until: Timestamp,
    /// The newest entry of what it has read without a gap, and
    pub newest: Timestamp,
    /// the oldest one.
    pub oldest: Timestamp,
    /// How many entries it has read.
    pub count: u64,
    /// Whether it has met anything that was known before.
    pub has_met_known: bool,
}

/// A part of a walk, oldest first, to be decided.
#[derive(Debug)]
pub struct StagedPart {
    /// Whether it is to be taken into the books or settled, and whether it is the last.
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
    /// The local time, which an observer compares the age of the queue with.
    pub queued_at: LocalTime,
    /// The server's time, by which spans are parked: what is forgotten cannot be called back, so no clock that anybody
    /// sets decides.
    pub parked_at: ServerTime,
    /// What this target parked before this moment is forgotten: nothing calls it back any more.
    pub parked_since: ServerTime,
}

/// A span that is waiting to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedSpan {
    /// Its number: later ones have greater ones.
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

/// The end of holds: of series that are served as 0, and of catching up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// The series that are shown as they are from now on.
    pub series: Vec<SeriesKey>,
    /// The catching-up that is over, by the time at which its last batch was read.
    pub caught_up: Option<Timestamp>,
}

impl Release {
    /// Whether nothing is released.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty() && self.caught_up.is_none()
    }
}

/// Decides a part of a long walk: given the memory with the parts before it, says what changes, and which spans come of
/// it.
pub type DecidePart<'a> = dyn FnMut(Memory<'_>, StagedPart) -> (Changes, SpanBatch) + 'a;

/// What keeps the state. Each call that writes is one transaction: all or nothing, and on disk when it returns. Calls
/// may wait for the disk, and so are made on threads that may.
///
/// # Errors
/// Of each method: if the state cannot be read or written. It is then as it was before.
pub trait Store: Debug + Send {
    /// What is shown of the state.
    fn info(&self) -> StoreInfo;

    /// Returns a random UUID that tells this state from all others, made when it is first asked for.
    fn instance_id(&mut self) -> Result<String, StoreError>;

    /// Drops the histograms that were written with other buckets or labels than those of `policy` and of this version.
    /// Returns the families of which there were any.
    fn adopt_layouts(&mut self, policy: &LabelPolicy) -> Result<Vec<Family>, StoreError>;

    /// Returns the memory of a target; an empty one if it is not known yet, which writes nothing.
    fn load(&self, target: &Target, policy: &LabelPolicy) -> Result<Loaded, StoreError>;

    /// Writes the changes of one decision and its spans. Changes that need not be written, without a span, are not.
    fn commit(&mut self, target: &Target, changes: Changes, spans: &SpanBatch) -> Result<Durable<Changes>, StoreError>;

    /// Adds what a long walk has read, which is not decided yet, and how far it has come.
    fn stage(
        &mut self,
        target: &Target,
        walk: &StagedWalk,
        attempts: &[Attempt],
        invalid: &[Box<str>],
    ) -> Result<(), StoreError>;

    /// Decides a long walk, of which `attempts` and `invalid` are the rest, part by part, over `ledger`; writes what
    /// that changes and the spans that come of it.
    fn commit_staged(
        &mut self,
        target: &Target,
        ledger: &Ledger,
        attempts: &[Attempt],
        invalid: &[Box<str>],
        decide: &mut DecidePart<'_>,
    ) -> Result<Durable<Layer>, StoreError>;

    /// Ends holds.
    fn release(&mut self, target: &Target, release: Release) -> Result<Durable<Release>, StoreError>;

    /// Records that the log of a target was read again after the state went back in time.
    fn catch_up(&mut self, target: &Target) -> Result<(), StoreError>;

    /// Says if the path no longer leads to the open file, or something else has written to it.
    fn find_detached(&mut self) -> Option<Detached>;

    /// Returns the check of the whole file that is due once [`Store::find_detached`] has found that something else has
    /// written to it. It must end before the store is closed.
    fn take_due_check(&mut self) -> Option<FileCheck>;

    /// Records what that check found. [`Store::find_detached`] tells it until another one finds nothing.
    fn note_checked(&mut self, fault: Option<String>);

    /// Carries what was committed over from the write-ahead log into the file itself, as far as readers allow.
    fn checkpoint(&mut self) -> Result<(), StoreError>;

    /// Records when a target's poll last succeeded, without waiting for the disk.
    fn note_success(&self, target: &Target, date: Timestamp);

    /// Records since when a target's polls have failed, without waiting for the disk.
    fn note_failing(&self, target: &Target, since: Timestamp);

    /// Records which targets of an environment are listed, as of `now` by the local clock; returns the others that are
    /// known.
    fn list(&mut self, environment: &str, listed: &[Target], now: LocalTime) -> Result<Vec<Unlisted>, StoreError>;

    /// Records for how long the daemon has run since these targets were last listed; those that are listed by now are
    /// left alone.
    fn keep_unlisted_for(&mut self, unlisted: &[(Target, Duration)]) -> Result<(), StoreError>;

    /// Returns the environments that targets are known of.
    fn environments(&self) -> Result<Vec<String>, StoreError>;

    /// Forgets a target and everything that belongs to it, unless it is listed; returns whether it did.
    fn remove_unlisted(&mut self, target: &Target) -> Result<bool, StoreError>;

    /// Returns what discovery knows of an environment; an empty record if it never ran.
    fn load_discovered(&self, environment: &str) -> Result<DiscoveryRecord, StoreError>;

    /// Writes what discovery has learned of an environment, and which targets are listed now or not any more, as of
    /// `now` by the local clock.
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

    /// Returns the oldest spans that wait: at most `max_spans`, and together at most `max_bytes`, but at least one if
    /// there is one.
    fn oldest_spans(&self, max_spans: usize, max_bytes: usize) -> Result<Vec<QueuedSpan>, StoreError>;

    /// Removes the spans up to the number `through`, inclusive: a receiver has them, except for `rejected` of them,
    /// which it has refused for good.
    fn acknowledge_spans(&mut self, through: i64, rejected: u64) -> Result<(), StoreError>;

    /// As [`Store::oldest_spans`], of log records.
    fn oldest_logs(&self, max_records: usize, max_bytes: usize) -> Result<Vec<QueuedLog>, StoreError>;

    /// As [`Store::acknowledge_spans`], of log records.
    fn acknowledge_logs(&mut self, through: i64, rejected: u64) -> Result<(), StoreError>;
}
