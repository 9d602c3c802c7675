//! What holds whatever bytes stand in the files beside the state: requests go on within a minute, and nothing happened
//! in the future.
//!
//! The fuzz target `companions` and the tests of the corpora call `check`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use talkover_core::delivery::{OwnerType, Target, Timestamp};
use talkover_core::ledger::labels::{AttemptLabel, HttpStatusDetail, LabelPolicy};
use talkover_core::ledger::state::Changes;
use talkover_core::server_time::LocalTime;
use talkover_exporter::budget::Budget;
use talkover_exporter::store::sqlite::SqliteStore;
use talkover_exporter::store::{SpanBatch, Store as _};

/// The time since the machine's start at which the budget is asked, in nanoseconds.
const UPTIME: u64 = 100_000 * SECOND;
const SECOND: u64 = 1_000_000_000;
/// The longest that anything in the file may hold requests back: the minute that the API counts, and one interval.
const LONGEST_SILENCE: u64 = 63 * SECOND;
/// The local time at which the state is opened.
const NOW: Timestamp = Timestamp::from_seconds(1_764_400_000);

/// Opens a budget and a state beside which files of these bytes lie.
///
/// # Panics
/// Where something does not hold.
pub fn check(bytes: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state.db");
    check_budget(&state, bytes);
    check_times(&state, bytes);
}

fn check_budget(state: &Path, bytes: &[u8]) {
    std::fs::write(state.with_extension("db.budget"), bytes).unwrap();
    let budget = Budget::open(state, "boot", "production", 30, 4, Some(100)).unwrap();
    let mut now = UPTIME;
    while let Some(wait) = budget.take(now).unwrap() {
        assert!(wait > Duration::ZERO, "nothing to wait for, and no request");
        now += u64::try_from(wait.as_nanos()).unwrap().min(SECOND);
        assert!(now - UPTIME < LONGEST_SILENCE, "no request for more than a minute");
    }
    // However full the file says that the budget is, no minute has more requests than were asked for.
    let sent =
        (0..60).map(|second| (0..60).take_while(|_| budget.take(now + second * SECOND).unwrap().is_none()).count());
    assert!(sent.sum::<usize>() < 30);
}

fn check_times(state: &Path, bytes: &[u8]) {
    let now = LocalTime::new(NOW);
    let target = Target {
        environment: "test".into(),
        webhook_id: "w-1".into(),
        owner_type: OwnerType::Agent,
        owner_id: "a".into(),
        webhook_name: "name".into(),
    };
    let mut store = SqliteStore::open(state, now).unwrap();
    let changes = Changes { must_commit: true, ..Changes::default() };
    _ = store.commit(&target, changes, &SpanBatch::default()).unwrap();
    drop(store);
    for suffix in ["seen", "failing", "served"] {
        std::fs::write(state.with_extension(format!("db.{suffix}")), bytes).unwrap();
    }
    let store = SqliteStore::open(state, now).unwrap();
    let policy = LabelPolicy {
        http_status: HttpStatusDetail::Exact,
        duration_labels: AttemptLabel::ALL.to_vec(),
        duration_buckets: Arc::from([0.1, 1.0]),
        max_events: 200,
        max_label_sets: 500,
    };
    let loaded = store.load(&target, &policy).unwrap();
    for time in [loaded.last_success, loaded.failing_since].into_iter().flatten() {
        assert!(time <= NOW, "{time:?} is in the future");
    }
}
