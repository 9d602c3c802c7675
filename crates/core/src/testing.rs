//! Test helpers: builds entries and batches, and a ledger that reads them and shows its totals.

use std::sync::Arc;
use std::time::Duration;

use proptest::test_runner::Config;

use crate::delivery::{Attempt, AttemptStatus, DeliveryResult, EntryId, HttpStatus, Timestamp};
use crate::ledger::decide::{Batch, Coverage, Decision, Policy, decide};
use crate::ledger::labels::{AttemptLabel, HttpStatusDetail, LabelPolicy};
use crate::ledger::series::LogOutcome;
use crate::ledger::series::{Family, SeriesKey};
use crate::ledger::state::Ledger;
use crate::ledger::totals::Total;
use crate::ledger::transition::Transition;
use crate::ledger::watermark::Windows;
use crate::server_time::{LocalTime, ServerTime};

/// The second at which the tests' time begins.
pub const START: i64 = 1_000_000;

/// The moment `second` seconds after the start of the tests' time.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(START + second)
}

/// The same moment as the server's clock shows it.
pub fn server(second: i64) -> ServerTime {
    ServerTime::new(at(second))
}

/// The same moment as this machine's clock shows it.
pub fn local(second: i64) -> LocalTime {
    LocalTime::new(at(second))
}

/// Settings with small windows, so that tests reach their ends.
pub fn policy() -> Policy {
    let seconds = Duration::from_secs;
    Policy {
        windows: Windows {
            initial_lookback: seconds(1000),
            lookback: seconds(100),
            sweep_interval: seconds(50),
            settle_after: seconds(500),
        },
        labels: LabelPolicy {
            http_status: HttpStatusDetail::Exact,
            duration_labels: AttemptLabel::ALL.to_vec(),
            duration_buckets: Arc::from([0.1, 1.0]),
            max_events: 200,
            max_label_sets: 500,
        },
        catch_up_after: seconds(200),
        holds_births: true,
    }
}

/// The number of cases of a property, unless `PROPTEST_CASES` sets another one.
pub fn cases(number: u32) -> Config {
    #[expect(clippy::disallowed_methods, reason = "proptest reads the variable itself; this only keeps out of its way")]
    let is_asked = std::env::var_os("PROPTEST_CASES").is_some();
    if is_asked { Config::default() } else { Config::with_cases(number) }
}

/// A first attempt, a second long, of a delivery of its own.
pub fn entry(id: &str, second: i64, status: AttemptStatus) -> Attempt {
    let mut group = [0; 16];
    for (slot, byte) in group.iter_mut().zip(id.bytes()) {
        *slot = byte;
    }
    Attempt {
        id: EntryId::new(id),
        event: "e".into(),
        attempt: 1,
        status,
        http_status: if status == AttemptStatus::Success { HttpStatus::Code(200) } else { HttpStatus::None },
        error: None,
        duration_ns: Some(1_000_000_000),
        delivered_at: None,
        created_at: at(second),
        group,
    }
}

/// The same as attempt `number` of the delivery that `group` names.
pub fn attempt(id: &str, group: &str, number: u8, second: i64, status: AttemptStatus) -> Attempt {
    Attempt { attempt: number, group: entry(group, 0, status).group, ..entry(id, second, status) }
}

/// A ledger, its settings, and what was read.
pub struct Book {
    /// What is remembered.
    pub ledger: Ledger,
    /// How it decides.
    pub policy: Policy,
}

impl Default for Book {
    fn default() -> Self {
        Self::new()
    }
}

impl Book {
    /// The book of a target that is first contacted at second 0, with an empty log.
    pub fn new() -> Self {
        let mut book = Self { ledger: Ledger::default(), policy: policy() };
        book.read(Coverage::FirstResponse, 0, &[]);
        book.read(Coverage::FirstContact, 0, &[]);
        book
    }

    /// A batch that was read at `now`, in seconds.
    pub fn batch(coverage: Coverage, now: i64, attempts: &[Attempt]) -> Batch {
        Batch { attempts: attempts.to_vec(), coverage, now: server(now), ..Batch::default() }
    }

    /// Decides `batch` and applies the decision.
    pub fn apply(&mut self, batch: &Batch) -> Decision {
        let decision = decide(&self.ledger, batch, &self.policy);
        self.ledger.apply(decision.changes.clone());
        decision
    }

    /// Reads `attempts` at `now` with that coverage.
    pub fn read(&mut self, coverage: Coverage, now: i64, attempts: &[Attempt]) -> Decision {
        self.apply(&Self::batch(coverage, now, attempts))
    }

    /// A walk to known ground.
    pub fn poll(&mut self, now: i64, attempts: &[Attempt]) -> Decision {
        self.read(Coverage::Head, now, attempts)
    }

    /// A walk to the end of the window in which late entries may turn up.
    pub fn sweep(&mut self, now: i64, attempts: &[Attempt]) -> Decision {
        self.read(Coverage::Sweep, now, attempts)
    }

    /// The total of log entries with that outcome.
    pub fn log(&self, outcome: LogOutcome) -> u64 {
        self.ledger.totals().counter(&SeriesKey::log_entries(outcome))
    }

    /// Attempts with that outcome.
    pub fn attempts(&self, status: AttemptStatus) -> u64 {
        self.sum(Family::Attempts, status.as_str())
    }

    /// Deliveries with that result.
    pub fn ended(&self, result: DeliveryResult) -> u64 {
        self.sum(Family::Deliveries, result.as_str())
    }

    /// The counters of a family that have a label of that value.
    pub fn sum(&self, family: Family, value: &str) -> u64 {
        let matching = self.ledger.totals().family(family).filter(|(key, _)| key.labels.iter().any(|l| &**l == value));
        matching.map(|(_, total)| if let Total::Counter(count) = total { *count } else { 0 }).sum()
    }

    /// The number of open entries with that status.
    pub fn open(&self, status: AttemptStatus) -> u64 {
        self.ledger.open().filter(|(_, row)| row.status == status).count() as u64
    }

    /// Whether everything that was read is counted, open, or given up.
    pub fn balances(&self) -> bool {
        let counted: u64 = self
            .ledger
            .totals()
            .family(Family::Attempts)
            .map(|(_, total)| if let Total::Counter(count) = total { *count } else { 0 })
            .sum();
        self.log(LogOutcome::New) + self.log(LogOutcome::Late)
            == counted + self.open(AttemptStatus::Pending) + self.log(LogOutcome::Expired)
    }
}

/// The results of the deliveries that a decision ended, with the numbers of their last attempts.
pub fn ends(decision: &Decision) -> Vec<(DeliveryResult, u8)> {
    let ended = decision.transitions.iter().filter_map(|transition| match transition {
        Transition::Ended { result, attempts, .. } => Some((*result, *attempts)),
        _ => None,
    });
    ended.collect()
}
