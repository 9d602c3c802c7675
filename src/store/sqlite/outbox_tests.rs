//! Spans are kept with the decision that they come of, leave in the order in which they came, and are never more than
//! they may be.

use std::time::Duration;

use tempfile::TempDir;

use super::SqliteStore;
use crate::store::StagedWalk;
use crate::store::Store as _;
use crate::store::handle::StoreHandle;
use crate::store::queue::QueueStatus;
use crate::store::{QueuedLog, QueuedSpan, SpanBatch};
use talkover_core::delivery::{AttemptStatus, OwnerType, Target};
use talkover_core::ledger::decide::Coverage;
use talkover_core::ledger::state::{Changes, Ledger};
use talkover_core::server_time::ServerTime;
use talkover_core::spans::record::{Fate, SpanRecord};
use talkover_core::testing::{at, entry, local, server};

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.0.path().join("state.db"), local(0)).unwrap()
    }
}

/// Changes that are to be written, though there are none.
fn changes() -> Changes {
    Changes { must_commit: true, ..Changes::default() }
}

fn target(webhook: &str) -> Target {
    Target {
        environment: "test".into(),
        webhook_id: webhook.into(),
        owner_type: OwnerType::Agent,
        owner_id: "a".into(),
        webhook_name: "name".into(),
    }
}

/// Spans named by a letter of their trace and a number, committed at a second.
fn batch(second: i64, records: &[(&str, Fate)]) -> SpanBatch {
    let record = |(name, fate): &(&str, Fate)| {
        let trace = name.as_bytes()[0];
        SpanRecord { trace_id: [trace; 16], span: name.as_bytes().to_vec(), fate: *fate }
    };
    SpanBatch {
        records: records.iter().map(record).collect(),
        logs: Vec::new(),
        queued_at: local(second),
        parked_at: server(second),
        parked_since: ServerTime::default(),
    }
}

fn queued(second: i64, names: &[&str]) -> SpanBatch {
    batch(second, &names.iter().map(|name| (*name, Fate::Queue)).collect::<Vec<_>>())
}

fn commit(store: &mut SqliteStore, webhook: &str, spans: &SpanBatch) {
    _ = store.commit(&target(webhook), changes(), spans).unwrap();
}

fn names(spans: &[QueuedSpan]) -> Vec<&str> {
    spans.iter().map(|span| std::str::from_utf8(&span.span).unwrap()).collect()
}

fn all(store: &SqliteStore) -> Vec<QueuedSpan> {
    store.oldest_spans(usize::MAX, usize::MAX).unwrap()
}

fn parked(store: &SqliteStore) -> i64 {
    store.connection.query_row("SELECT count(*) FROM parked_spans", [], |row| row.get(0)).unwrap()
}

#[test]
fn spans_leave_in_the_order_in_which_they_came_over_restarts_too() {
    let place = Place::new();
    let mut store = place.open();
    assert_eq!((all(&store), store.queue.status().oldest), (Vec::new(), None));
    commit(&mut store, "w-1", &queued(10, &["a1", "a2"]));
    commit(&mut store, "w-2", &queued(20, &["b1"]));
    drop(store);
    let mut store = place.open();
    commit(&mut store, "w-1", &queued(30, &["a3"]));
    let spans = all(&store);
    assert_eq!(names(&spans), ["a1", "a2", "b1", "a3"]);
    let status = store.queue.status();
    assert_eq!((status.length, status.oldest), (4, Some(at(10))));

    store.acknowledge_spans(spans[1].seq, 0).unwrap();
    let status = store.queue.status();
    assert_eq!((status.length, status.oldest, status.exported), (2, Some(at(20)), 2));
    drop(store);
    let mut store = place.open();
    assert_eq!(names(&all(&store)), ["b1", "a3"]);
    store.acknowledge_spans(spans[3].seq, 1).unwrap();
    let expected = QueueStatus { length: 0, capacity: u64::MAX, oldest: None, exported: 1, rejected: 1, dropped: 0 };
    assert_eq!(store.queue.status(), expected);
    assert_eq!(all(&store), []);
}

#[test]
fn a_batch_is_limited_by_number_and_by_size_but_is_never_empty() {
    let place = Place::new();
    let mut store = place.open();
    commit(&mut store, "w-1", &queued(0, &["a234", "b234", "c234"]));
    let take = |spans, bytes| names(&store.oldest_spans(spans, bytes).unwrap()).len();
    let table = [((2, 100), 2), ((9, 100), 3), ((9, 12), 3), ((9, 11), 2), ((9, 4), 1), ((9, 3), 1), ((0, 0), 1)];
    for ((spans, bytes), expected) in table {
        assert_eq!(take(spans, bytes), expected, "{spans} spans, {bytes} bytes");
    }
}

#[test]
fn numbers_are_not_used_again_so_that_a_late_acknowledgement_takes_nothing_new() {
    let place = Place::new();
    let mut store = place.open();
    commit(&mut store, "w-1", &queued(0, &["a1"]));
    let first = all(&store)[0].seq;
    store.acknowledge_spans(first, 0).unwrap();
    drop(store);
    let mut store = place.open();
    commit(&mut store, "w-1", &queued(0, &["a2"]));
    store.acknowledge_spans(first, 0).unwrap();
    assert_eq!(names(&all(&store)), ["a2"]);
    assert_eq!(store.queue.status().exported, 0);
}

#[test]
fn the_oldest_spans_make_room_in_the_same_commit_and_are_counted() {
    let place = Place::new();
    let mut store = place.open();
    assert_eq!(store.limit_spans(3).unwrap(), 0);
    commit(&mut store, "w-1", &queued(1, &["a1", "a2"]));
    commit(&mut store, "w-1", &queued(2, &["b1", "b2"]));
    assert_eq!(names(&all(&store)), ["a2", "b1", "b2"]);
    commit(&mut store, "w-1", &queued(3, &["c1", "c2", "c3", "c4"]));
    assert_eq!(names(&all(&store)), ["c2", "c3", "c4"], "more at once than there is room for");
    let status = store.queue.status();
    assert_eq!((status.length, status.capacity, status.oldest, status.dropped), (3, 3, Some(at(3)), 5));
    // What was dropped while it was on its way is not counted a second time.
    store.acknowledge_spans(all(&store)[0].seq, 9).unwrap();
    let status = store.queue.status();
    assert_eq!((status.exported, status.rejected, status.dropped), (0, 1, 5));

    drop(store);
    let mut store = place.open();
    assert_eq!(store.limit_spans(1).unwrap(), 1, "a lower limit holds at once");
    assert_eq!(names(&all(&store)), ["c4"]);
    let status = store.queue.status();
    assert_eq!((status.length, status.dropped), (1, 1));
}

#[test]
fn a_commit_that_fails_queues_nothing_and_counts_nothing() {
    let place = Place::new();
    let mut store = place.open();
    store.limit_spans(1).unwrap();
    commit(&mut store, "w-1", &queued(1, &["a1"]));
    let before = store.queue.status();
    let refuse = |table: &str, event: &str| {
        format!("CREATE TEMP TRIGGER full BEFORE {event} ON {table} BEGIN SELECT RAISE(ABORT, 'no room'); END")
    };
    // Dropping is the last statement of all.
    store.connection.execute_batch(&refuse("outbox", "DELETE")).unwrap();
    let failed = store.commit(&target("w-1"), changes(), &queued(2, &["a2"])).unwrap_err();
    assert!(failed.to_string().contains("no room"), "{failed}");
    assert!(store.acknowledge_spans(i64::MAX, 0).is_err());
    assert!(store.limit_spans(0).is_err());
    assert_eq!((names(&all(&store)), store.queue.status()), (vec!["a1"], before));
    store.connection.execute_batch("DROP TRIGGER full").unwrap();
    commit(&mut store, "w-1", &queued(2, &["a2"]));
    assert_eq!(names(&all(&store)), ["a2"]);
}

#[test]
fn what_is_parked_goes_before_the_span_that_calls_it_back_and_only_then() {
    let place = Place::new();
    let mut store = place.open();
    commit(&mut store, "w-1", &batch(1, &[("a1", Fate::Park), ("b1", Fate::Park), ("a2", Fate::Park)]));
    commit(&mut store, "w-1", &batch(2, &[("a3", Fate::Queue)]));
    assert_eq!(names(&all(&store)), ["a3"], "it calls nothing back");
    commit(&mut store, "w-1", &batch(3, &[("a4", Fate::QueueWithParked), ("b2", Fate::Queue)]));
    assert_eq!(names(&all(&store)), ["a3", "a1", "a2", "a4", "b2"]);
    assert_eq!(parked(&store), 1);
    // Parked and called back by one decision.
    commit(&mut store, "w-1", &batch(4, &[("c1", Fate::Park), ("c2", Fate::QueueWithParked), ("c3", Fate::Park)]));
    assert_eq!(names(&all(&store))[5..], ["c1", "c2"]);
    assert_eq!(parked(&store), 2);
    assert_eq!(store.queue.status().length, 7);
    commit(&mut store, "w-1", &batch(5, &[("a5", Fate::QueueWithParked)]));
    assert_eq!(names(&all(&store))[7..], ["a5"], "each is sent once");
}

#[test]
fn no_more_is_parked_than_may_wait() {
    let place = Place::new();
    let mut store = place.open();
    store.limit_spans(3).unwrap();
    commit(&mut store, "w-1", &batch(1, &[("a1", Fate::Park), ("b1", Fate::Park)]));
    commit(&mut store, "w-2", &batch(2, &[("c1", Fate::Park), ("d1", Fate::Park)]));
    assert_eq!(parked(&store), 3);
    commit(&mut store, "w-1", &batch(3, &[("a2", Fate::QueueWithParked), ("b2", Fate::QueueWithParked)]));
    assert_eq!(names(&all(&store)), ["a2", "b1", "b2"], "the oldest is forgotten");
    assert_eq!(store.queue.status().dropped, 0, "it was not on its way");
}

#[test]
fn parked_spans_are_forgotten_in_time_and_with_their_target() {
    let place = Place::new();
    let mut store = place.open();
    commit(&mut store, "w-1", &batch(10, &[("a1", Fate::Park)]));
    commit(&mut store, "w-1", &batch(20, &[("b1", Fate::Park)]));
    commit(&mut store, "w-2", &batch(10, &[("c1", Fate::Park)]));
    commit(&mut store, "w-1", &SpanBatch { parked_since: server(20), ..batch(30, &[]) });
    assert_eq!(parked(&store), 2, "the other target has not committed since");
    commit(&mut store, "w-1", &batch(31, &[("a2", Fate::QueueWithParked), ("b2", Fate::QueueWithParked)]));
    assert_eq!(names(&all(&store)), ["a2", "b1", "b2"]);

    store.list("test", &[], local(40)).unwrap();
    assert!(store.remove_unlisted(&target("w-2")).unwrap());
    assert_eq!(parked(&store), 0);
    assert_eq!(store.queue.status().length, 3, "what was queued is still sent");
}

#[test]
fn forgetting_much_is_spread_over_commits() {
    let place = Place::new();
    let mut store = place.open();
    commit(&mut store, "w-1", &batch(10, &vec![("a1", Fate::Park); 6_000]));
    let forget = SpanBatch { parked_since: server(11), ..batch(12, &[]) };
    commit(&mut store, "w-1", &forget);
    assert_eq!(parked(&store), 1_000);
    commit(&mut store, "w-1", &forget);
    assert_eq!(parked(&store), 0);
}

#[test]
fn a_long_walk_brings_its_spans_with_its_parts_in_one_transaction() {
    let place = Place::new();
    let mut store = place.open();
    store.limit_spans(3).unwrap();
    let one = target("w-1");
    let walk = StagedWalk {
        coverage: Coverage::FirstContact,
        until: at(0),
        newest: at(1),
        oldest: at(1),
        count: 1,
        has_met_known: false,
    };
    store.stage(&one, &walk, &[entry("a", 1, AttemptStatus::Success)], &[]).unwrap();
    _ = store.commit_staged(&one, &Ledger::default(), &[], &[], &mut |_, _| (changes(), queued(5, &["x1"]))).unwrap();
    // A walk is given to the decision twice.
    assert_eq!(names(&all(&store)), ["x1", "x1"]);
    store.stage(&one, &walk, &[entry("a", 1, AttemptStatus::Success)], &[]).unwrap();
    _ = store
        .commit_staged(&one, &Ledger::default(), &[], &[], &mut |_, _| (changes(), queued(6, &["y1", "y2"])))
        .unwrap();
    assert_eq!(names(&all(&store)), ["y2", "y1", "y2"]);
    let status = store.queue.status();
    assert_eq!((status.length, status.dropped), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_woken_by_a_commit_that_queues_something() {
    let place = Place::new();
    let handle = StoreHandle::new(place.open());
    let arrives = || tokio::time::timeout(Duration::from_secs(1), handle.queue().arrival());
    assert!(arrives().await.is_err());
    let commit =
        |batch: &SpanBatch| handle.run_blocking(|store| store.commit(&target("w-1"), changes(), batch)).map(drop);
    commit(&batch(1, &[("a1", Fate::Park)])).unwrap();
    assert!(arrives().await.is_err(), "nothing is to be sent");
    commit(&queued(1, &["a1"])).unwrap();
    arrives().await.unwrap();
    assert!(arrives().await.is_err());
    assert_eq!(handle.queue().status().length, 1);
}

#[test]
fn a_state_file_has_an_identity_of_its_own_that_stays() {
    let (one, other) = (Place::new(), Place::new());
    let id = one.open().instance_id().unwrap();
    assert_eq!(one.open().instance_id().unwrap(), id);
    assert_ne!(other.open().instance_id().unwrap(), id);
    let groups: Vec<usize> = id.split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12]);
    for bits in [0, u128::MAX] {
        let uuid = super::random_uuid(bits);
        assert_eq!(uuid.as_bytes()[14], b'4', "{uuid}");
        assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
    }
}

/// Log records with these texts, beside one span.
fn with_logs(second: i64, texts: &[&str]) -> SpanBatch {
    let logs = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    SpanBatch { logs, ..queued(second, &["span"]) }
}

fn logs(store: &SqliteStore) -> Vec<(String, String)> {
    let text = |log: QueuedLog| (log.environment, String::from_utf8(log.record).unwrap());
    store.oldest_logs(usize::MAX, usize::MAX).unwrap().into_iter().map(text).collect()
}

fn of_test(texts: &[&str]) -> Vec<(String, String)> {
    texts.iter().map(|text| ("test".to_owned(), (*text).to_owned())).collect()
}

#[test]
fn log_records_have_a_queue_of_their_own_with_the_same_guarantees() {
    let place = Place::new();
    let mut store = place.open();
    store.limit_spans(3).unwrap();
    commit(&mut store, "w-1", &with_logs(10, &["l1", "l2"]));
    drop(store);
    let mut store = place.open();
    store.limit_spans(3).unwrap();
    assert_eq!(logs(&store), of_test(&["l1", "l2"]), "they survive a restart");
    assert_eq!(store.log_queue.status().oldest, Some(at(10)));
    commit(&mut store, "w-2", &with_logs(20, &["m1", "m2"]));
    assert_eq!(logs(&store), of_test(&["l2", "m1", "m2"]), "the oldest make room");
    assert_eq!((store.log_queue.status().dropped, store.queue.status().dropped), (1, 0));

    let first = store.oldest_logs(1, usize::MAX).unwrap()[0].seq;
    store.acknowledge_logs(first, 1).unwrap();
    let status = store.log_queue.status();
    assert_eq!((status.length, status.exported, status.rejected, status.oldest), (2, 0, 1, Some(at(20))));
    assert_eq!(names(&all(&store)), ["span", "span"], "spans wait for their own receiver");
    assert_eq!(store.oldest_logs(9, 3).unwrap().len(), 1, "in bytes");
    assert_eq!(store.limit_spans(1).unwrap(), 2, "of either queue one");
    assert_eq!(logs(&store), of_test(&["m2"]));

    store
        .connection
        .execute_batch("CREATE TEMP TRIGGER full BEFORE INSERT ON log_outbox BEGIN SELECT RAISE(ABORT, 'no room'); END")
        .unwrap();
    store.commit(&target("w-1"), changes(), &with_logs(30, &["n1"])).unwrap_err();
    assert_eq!((names(&all(&store)), logs(&store)), (vec!["span"], of_test(&["m2"])), "both or neither");
}

#[test]
fn a_file_of_the_eighth_version_is_brought_forward() {
    let place = Place::new();
    let mut store = place.open();
    commit(&mut store, "w-1", &queued(10, &["a1"]));
    drop(store);
    let mut old = rusqlite::Connection::open(place.0.path().join("state.db")).unwrap();
    old.execute_batch("DROP TABLE log_outbox; PRAGMA user_version = 8").unwrap();
    super::commits::reseal(&mut old).unwrap();
    drop(old);
    let mut store = place.open();
    assert_eq!(names(&all(&store)), ["a1"]);
    commit(&mut store, "w-1", &with_logs(20, &["l1"]));
    drop(store);
    assert_eq!(logs(&place.open()), of_test(&["l1"]));
}
