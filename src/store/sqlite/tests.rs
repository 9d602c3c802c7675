//! The state file: what goes in comes out, all or nothing, and what is not ours is left alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use super::{SqliteStore, format, targets};
use crate::store::Store as _;
use crate::store::error::StoreError;
use crate::store::problems::Detached;
use crate::store::{Release, SpanBatch, StagedWalk, Unlisted};
use talkover_core::delivery::{Attempt, AttemptStatus, HttpStatus, OwnerType, Target};
use talkover_core::discovery::record::DiscoveryRecord;
use talkover_core::ledger::decide::{Batch, Coverage, decide};
use talkover_core::ledger::labels::{AttemptLabel, LabelPolicy};
use talkover_core::ledger::losses::LossStreak;
use talkover_core::ledger::row::{Continued, Row, RowKey};
use talkover_core::ledger::series::{Family, SeriesKey};
use talkover_core::ledger::state::{Changes, Ledger, Marks};
use talkover_core::ledger::totals::{Birth, Total};
use talkover_core::testing::{Book, at, attempt, entry, local, policy};

/// A directory with a state file in it.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("state.db")
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.path(), local(0)).unwrap()
    }
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

fn batches() -> Vec<Batch> {
    let batch = |coverage, now, attempts: Vec<_>| Book::batch(coverage, now, &attempts);
    let mut delivered = entry("018f3c1e-7b2a-7c3d-9e4f-a1b2c3d4e5f6", 3, AttemptStatus::Success);
    delivered.delivered_at = Some(at(5));
    delivered.event = "strange \"event\"\\\n\0 ✓".into();
    let first = vec![
        delivered,
        attempt("first", "one", 1, 1, AttemptStatus::Retrying),
        entry("open", 2, AttemptStatus::Pending),
        entry("odd", 2, AttemptStatus::Unknown),
    ];
    let second = vec![attempt("second", "one", 2, 60, AttemptStatus::Failed), entry("open", 2, AttemptStatus::Success)];
    let mut batches = vec![
        batch(Coverage::FirstResponse, 0, Vec::new()),
        batch(Coverage::FirstContact, 10, first),
        batch(Coverage::Head, 70, second),
        batch(Coverage::Sweep, 700, vec![entry("third", 690, AttemptStatus::Pending)]),
        // Far enough for the oldest rows to be forgotten.
        batch(Coverage::Sweep, 5000, vec![entry("fourth", 4990, AttemptStatus::Success)]),
    ];
    batches[2].invalid = vec!["hash:1".into(), "id with 'quotes'".into()];
    batches
}

/// Commits and applies `batch`, as the pipeline does.
fn settle(store: &mut SqliteStore, target: &Target, ledger: &mut Ledger, batch: &Batch) -> Changes {
    let changes = decide(&*ledger, batch, &policy()).changes;
    _ = store.commit(target, changes.clone(), &SpanBatch::default()).unwrap();
    ledger.apply(changes.clone());
    changes
}

fn assert_same(loaded: &Ledger, kept: &Ledger) {
    assert_same_books(loaded, kept);
    assert_eq!((loaded.losses(), loaded.activity()), (kept.losses(), kept.activity()));
}

/// The same without what versions before 7 did not keep of entries that are forgotten.
fn assert_same_books(loaded: &Ledger, kept: &Ledger) {
    assert_eq!(loaded.marks(), kept.marks());
    assert!(loaded.rows().eq(kept.rows()), "{loaded:#?} instead of {kept:#?}");
    assert_eq!(loaded.invalid(), kept.invalid());
    assert_eq!(loaded.totals(), kept.totals());
    assert!(loaded.open().eq(kept.open()));
}

/// What was forgotten and what is remembered add up to the totals.
fn assert_sums(store: &SqliteStore, target: &Target) {
    let ledger = store.load(target, &policy().labels).unwrap().ledger;
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    let mut add = |family: &str, labels: &str, value| *sums.entry(format!("{family}{labels}")).or_default() += value;
    let mut statement =
        store.connection.prepare("SELECT family, labels, value FROM pruned_totals WHERE target = ?1").unwrap();
    let id = targets::find_id(&store.connection, target).unwrap().unwrap();
    let mut rows = statement.query([id.0]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        add(row.get_ref(0).unwrap().as_str().unwrap(), row.get_ref(1).unwrap().as_str().unwrap(), row.get(2).unwrap());
    }
    for key in ledger.rows().flat_map(|(_, row)| row.counters()) {
        let labels: Vec<&str> = key.labels.iter().map(|label| &**label).collect();
        add(key.family.as_str(), &serde_json::to_string(&labels).unwrap(), 1);
    }
    sums.retain(|_, sum| *sum != 0);
    let made_of_rows = |key: &SeriesKey| {
        let outcome = key.labels.first().map(|label| &**label);
        matches!(key.family, Family::Attempts | Family::Deliveries)
            || key.family == Family::LogEntries && matches!(outcome, Some("new" | "late" | "expired"))
    };
    let totals = ledger.totals().iter().filter(|(key, _)| made_of_rows(key)).map(|(key, total)| {
        let labels: Vec<&str> = key.labels.iter().map(|label| &**label).collect();
        let Total::Counter(value) = total else { panic!("{key:?} is no counter") };
        (format!("{}{}", key.family.as_str(), serde_json::to_string(&labels).unwrap()), *value as i64)
    });
    assert_eq!(sums, totals.collect());
}

#[test]
fn what_was_committed_is_there_after_every_commit() {
    let place = Place::new();
    let (one, other) = (target("w-1"), target("w-2"));
    let (mut ledger, mut untouched) = (Ledger::default(), Ledger::default());
    settle(&mut place.open(), &other, &mut untouched, &batches()[1]);
    let mut pruned = 0;
    for batch in batches() {
        let mut store = place.open();
        pruned += settle(&mut store, &one, &mut ledger, &batch).pruned.len();
        assert_sums(&store, &one);
        assert_same(&store.load(&one, &policy().labels).unwrap().ledger, &ledger);
        drop(store);
        assert_same(&place.open().load(&one, &policy().labels).unwrap().ledger, &ledger);
    }
    assert!(pruned > 0 && !ledger.invalid().is_empty() && ledger.open().next().is_some());
    assert_same(&place.open().load(&other, &policy().labels).unwrap().ledger, &untouched);
}

#[test]
fn how_attempts_that_turned_up_late_are_continued_is_there_after_every_commit() {
    let place = Place::new();
    let (target, mut ledger) = (target("w-1"), Ledger::default());
    // The third opens a delivery, the two before it are put in front of it, and the second of another continues its
    // first.
    let readings = [
        (Coverage::FirstResponse, vec![]),
        (Coverage::FirstContact, vec![attempt("b1", "h", 1, 5, AttemptStatus::Retrying)]),
        (
            Coverage::Head,
            vec![attempt("a3", "g", 3, 60, AttemptStatus::Retrying), attempt("b3", "h", 3, 60, AttemptStatus::Success)],
        ),
        (Coverage::Sweep, vec![attempt("a2", "g", 2, 40, AttemptStatus::Retrying)]),
        (
            Coverage::Sweep,
            vec![attempt("a1", "g", 1, 20, AttemptStatus::Pending), attempt("b2", "h", 2, 30, AttemptStatus::Retrying)],
        ),
    ];
    for (now, (coverage, attempts)) in (80..).zip(readings) {
        settle(&mut place.open(), &target, &mut ledger, &Book::batch(coverage, now, &attempts));
        assert_same(&place.open().load(&target, &policy().labels).unwrap().ledger, &ledger);
    }
    let overtaken = ledger.rows().filter(|(_, row)| row.continued == Continued::Overtaken);
    assert_eq!(overtaken.map(|(key, _)| key.id.to_string()).collect::<Vec<_>>(), ["a1", "b2", "a2"]);
}

#[test]
fn an_unknown_target_is_empty_and_asking_for_it_writes_nothing() {
    let place = Place::new();
    let store = place.open();
    let version = |store: &SqliteStore| -> i64 {
        store.connection.query_row("PRAGMA data_version", [], |row| row.get(0)).unwrap()
    };
    let before = (version(&store), store.connection.total_changes());
    let loaded = store.load(&target("w-1"), &policy().labels).unwrap();
    assert!(loaded.ledger.is_empty() && loaded.last_success.is_none());
    assert_eq!((version(&store), store.connection.total_changes()), before);
}

#[test]
fn a_commit_that_fails_half_way_leaves_nothing_behind() {
    let place = Place::new();
    let mut store = place.open();
    let mut ledger = Ledger::default();
    settle(&mut store, &target("w-1"), &mut ledger, &batches()[1]);
    // The last statement of a commit but one fails: the totals.
    store
        .connection
        .execute_batch("CREATE TEMP TRIGGER full BEFORE INSERT ON totals BEGIN SELECT RAISE(ABORT, 'no room'); END")
        .unwrap();
    let changes = decide(&ledger, &batches()[2], &policy()).changes;
    let error = store.commit(&target("w-1"), changes, &SpanBatch::default()).unwrap_err().to_string();
    assert!(error.contains("failed to write") && error.contains("no room"), "{error}");
    assert_same(&store.load(&target("w-1"), &policy().labels).unwrap().ledger, &ledger);
    store.connection.execute_batch("DROP TRIGGER full").unwrap();
    settle(&mut store, &target("w-1"), &mut ledger, &batches()[2]);
    assert_same(&store.load(&target("w-1"), &policy().labels).unwrap().ledger, &ledger);
}

#[test]
fn commits_are_synced_to_a_write_ahead_log() {
    let place = Place::new();
    let store = place.open();
    let pragma = |name: &str| -> String {
        let value =
            store.connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, rusqlite::types::Value>(0));
        format!("{:?}", value.unwrap())
    };
    assert_eq!(pragma("journal_mode"), r#"Text("wal")"#);
    assert_eq!(pragma("synchronous"), "Integer(2)", "2 is FULL");
}

#[test]
fn other_buckets_or_labels_drop_the_histograms_of_durations_only() {
    let place = Place::new();
    let mut store = place.open();
    let labels = policy().labels;
    assert_eq!(store.adopt_layouts(&labels).unwrap(), [], "nothing was there to drop");
    let mut ledger = Ledger::default();
    settle(&mut store, &target("w-1"), &mut ledger, &batches()[1]);
    assert_eq!(store.adopt_layouts(&labels).unwrap(), []);
    let changed = [
        LabelPolicy { duration_buckets: Arc::from([0.5]), ..labels.clone() },
        LabelPolicy { duration_labels: vec![AttemptLabel::Event], ..labels.clone() },
    ];
    for other in changed {
        settle(&mut store, &target("w-1"), &mut Ledger::default(), &batches()[1]);
        assert_eq!(store.adopt_layouts(&other).unwrap(), [Family::Duration]);
        let totals = store.load(&target("w-1"), &other).unwrap().ledger.totals().clone();
        assert_eq!(totals.family(Family::Duration).count(), 0);
        assert_eq!(totals.family(Family::Attempts).count(), ledger.totals().family(Family::Attempts).count());
        assert_eq!(totals.family(Family::Delay).count(), 1);
        assert_eq!(store.adopt_layouts(&other).unwrap(), []);
        store.adopt_layouts(&labels).unwrap();
    }
}

#[test]
fn fixed_buckets_of_another_version_drop_their_histograms_only() {
    let place = Place::new();
    let mut store = place.open();
    let labels = policy().labels;
    let set = |key: &str, layout: Option<&str>| {
        let connection = Connection::open(place.path()).unwrap();
        connection.execute("DELETE FROM meta WHERE key = ?1", [key]).unwrap();
        if let Some(layout) = layout {
            connection.execute("INSERT INTO meta VALUES (?1, ?2)", [key, layout]).unwrap();
        }
    };
    let count = |store: &SqliteStore, family| {
        store.load(&target("w-1"), &labels).unwrap().ledger.totals().family(family).count()
    };
    let fixed = [(Family::Delay, "delay_layout"), (Family::AttemptsPerDelivery, "attempts_per_delivery_layout")];
    for (family, key) in fixed {
        store.adopt_layouts(&labels).unwrap();
        // The counts of the other families are what they were in the beginning, whichever of them this one is.
        settle(&mut store, &target("w-1"), &mut Ledger::default(), &batches()[1]);
        settle(&mut store, &target("w-1"), &mut Ledger::default(), &batches()[0]);
        let before = Family::ALL.map(|family| count(&store, family));
        assert!(count(&store, family) > 0, "{family:?}");
        // A file that does not say so was written with the buckets of the first versions, which are those of this one.
        set(key, None);
        assert_eq!(store.adopt_layouts(&labels).unwrap(), []);
        assert_eq!(Family::ALL.map(|family| count(&store, family)), before);
        set(key, Some("[1.0, 8.0]"));
        assert_eq!(store.adopt_layouts(&labels).unwrap(), [family]);
        for (of, before) in Family::ALL.into_iter().zip(before) {
            assert_eq!(count(&store, of), if of == family { 0 } else { before }, "{of:?}");
        }
        assert_eq!(store.adopt_layouts(&labels).unwrap(), []);
    }
}

/// Everything in the directory but lock files, byte by byte.
fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.is_file() && path.extension() != Some("lock".as_ref()))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_untouched() {
    let sound = |path: &Path| {
        let mut store = SqliteStore::open(path, local(0)).unwrap();
        let mut ledger = Ledger::default();
        for batch in batches() {
            settle(&mut store, &target("w-1"), &mut ledger, &batch);
        }
    };
    let sql = |statements: &'static str| {
        move |path: &Path| {
            sound(path);
            Connection::open(path).unwrap().execute_batch(statements).unwrap();
        }
    };
    type Damage<'a> = (&'a str, Box<dyn Fn(&Path)>, &'a str);
    let table: [Damage<'_>; 8] = [
        ("garbage", Box::new(|path| fs::write(path, "garbage ".repeat(1000)).unwrap()), "is damaged"),
        ("a few bytes", Box::new(|path| fs::write(path, "x").unwrap()), "is damaged"),
        (
            "a truncated file",
            Box::new(move |path| {
                sound(path);
                let whole = fs::read(path).unwrap();
                fs::write(path, &whole[..whole.len() - 4096 * 2]).unwrap();
            }),
            "is damaged",
        ),
        (
            "a page overwritten",
            Box::new(move |path| {
                sound(path);
                let mut bytes = fs::read(path).unwrap();
                let length = bytes.len();
                bytes[length - 4096..].fill(0xA5);
                fs::write(path, bytes).unwrap();
            }),
            "is damaged",
        ),
        (
            "another program's database",
            Box::new(|path| Connection::open(path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap()),
            "not a state file",
        ),
        (
            "another program's empty database",
            Box::new(|path| Connection::open(path).unwrap().pragma_update(None, "application_id", 7).unwrap()),
            "not a state file",
        ),
        ("a newer version", Box::new(sql("PRAGMA user_version = 999")), "format version 999"),
        ("a directory", Box::new(|path| fs::create_dir(path).unwrap()), "is a directory"),
    ];
    for (what, make, expected) in table {
        let place = Place::new();
        make(&place.path());
        let before = contents(place.directory.path());
        let error = SqliteStore::open(&place.path(), local(0)).map(|_| what).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("state.db"), "{what}: {error}");
        assert_eq!(contents(place.directory.path()), before, "{what}");
    }
}

#[test]
fn an_empty_file_becomes_a_state_file_and_missing_directories_are_made() {
    let place = Place::new();
    fs::write(place.path(), "").unwrap();
    assert_eq!(place.open().created_at, local(0));
    assert_eq!(SqliteStore::open(&place.path(), local(99)).unwrap().created_at, local(0), "made once");
    let deep = place.directory.path().join("a/b/state.db");
    SqliteStore::open(&deep, local(0)).unwrap();
    assert!(deep.exists());
    let below_a_file = place.path().join("c/state.db");
    let error = SqliteStore::open(&below_a_file, local(0)).unwrap_err();
    assert!(matches!(error, StoreError::Io { action: "create", .. }), "{error}");
}

#[test]
fn one_store_has_the_file_until_it_is_closed() {
    let place = Place::new();
    let store = place.open();
    assert!(matches!(SqliteStore::open(&place.path(), local(0)), Err(StoreError::Locked { .. })));
    drop(store);
    drop(place.open());
}

#[test]
fn births_holds_and_catching_up_end_only_when_they_are_released() {
    let place = Place::new();
    let (one, mut ledger) = (target("w-1"), Ledger::default());
    let mut born = BTreeMap::new();
    for batch in &batches()[..3] {
        born.extend(settle(&mut place.open(), &one, &mut ledger, batch).births);
    }
    let load = |store: &SqliteStore| store.load(&one, &policy().labels).unwrap();
    let mut store = place.open();
    assert_eq!(load(&store).births, born);
    assert!(!born.is_empty() && born.values().all(|birth| birth.is_held));
    assert_eq!(load(&store).catching_up, Some(at(70)), "no poll is known to have succeeded");

    let series: Vec<SeriesKey> = born.keys().take(2).cloned().collect();
    _ = store.release(&one, Release { series: series.clone(), caught_up: Some(at(10)) }).unwrap();
    assert_eq!(load(&store).catching_up, Some(at(70)), "another batch has come in between");
    _ = store.release(&one, Release { series: Vec::new(), caught_up: Some(at(70)) }).unwrap();
    assert_eq!(load(&store).catching_up, None);
    settle(&mut store, &one, &mut ledger, &batches()[3]);
    let is_released = |key: &SeriesKey| series.contains(key);
    let expected = born.iter().map(|(key, birth)| (key.clone(), Birth { is_held: !is_released(key), ..*birth }));
    let mut found = load(&store).births;
    found.retain(|key, _| born.contains_key(key));
    assert_eq!(found, expected.collect());
}

#[test]
fn the_time_of_a_successful_poll_outlives_the_process() {
    let place = Place::new();
    let (one, other) = (target("w-1"), target("w-2"));
    let mut store = place.open();
    store.note_success(&one, at(5));
    for target in [&one, &other] {
        settle(&mut store, target, &mut Ledger::default(), &batches()[0]);
    }
    store.note_success(&other, at(7));
    drop(store);
    let store = place.open();
    assert_eq!(store.load(&one, &policy().labels).unwrap().last_success, None, "it was not known then");
    assert_eq!(store.load(&other, &policy().labels).unwrap().last_success, Some(at(7)));
}

/// The schema of a state file, as SQLite keeps it.
fn schema(connection: &Connection) -> Vec<String> {
    let mut statement =
        connection.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// A file as version 0.1.0 wrote it, after [`batches`]. Made once with `sqlite3 state.db .dump`; never to be changed.
const VERSION_1: &str = include_str!("../../../tests/fixtures/state/v1.sql");

/// The same as the state before version 3 was, as the migrations had it.
const VERSION_2: &str = include_str!("../../../tests/fixtures/state/v2.sql");

/// The same as the state before version 4 was, as the migrations had it.
const VERSION_3: &str = include_str!("../../../tests/fixtures/state/v3.sql");

/// The same as the state before version 5 was.
const VERSION_4: &str = include_str!("../../../tests/fixtures/state/v4.sql");

/// The state file that `dump` makes, opened by this program.
fn brought_forward(place: &Place, dump: &str) -> SqliteStore {
    let old = Connection::open(place.path()).unwrap();
    old.execute_batch(dump).unwrap();
    drop(old);
    drop(place.open());
    // Opened again, it is compared with the checksums that the migration has made.
    let store = place.open();
    let version: i64 = store.connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, format::VERSION);
    assert_eq!(schema(&store.connection), schema(&Place::new().open().connection), "the way there does not matter");
    store
}

/// The memory after all `batches`.
fn after(batches: &[Batch]) -> Ledger {
    let mut ledger = Ledger::default();
    batches.iter().for_each(|batch| ledger.apply(decide(&ledger, batch, &policy()).changes));
    ledger
}

/// The memory after [`batches`], as versions before 4 kept it: without what spans tell.
fn after_batches() -> Ledger {
    let ledger = after(&batches());
    let older = |key: &RowKey, row: &Row| Row { finished_at: key.created_at, is_retry: row.attempt > 1, ..row.clone() };
    with_rows(&ledger, older)
}

/// The same memory with other rows.
fn with_rows(ledger: &Ledger, change: impl Fn(&RowKey, &Row) -> Row) -> Ledger {
    let mut changed = Ledger::restore(ledger.marks().clone(), ledger.invalid().clone(), ledger.totals().clone());
    ledger.rows().for_each(|(key, row)| changed.remember(key.clone(), change(key, row)));
    changed
}

#[test]
fn a_file_of_the_first_version_is_brought_forward() {
    let place = Place::new();
    // What that version did not keep.
    let mut expected = with_rows(&after_batches(), |_, row| Row { late: false, result: None, ..row.clone() });
    let marks = Marks { known_at: None, streak: LossStreak::default(), ..expected.marks().clone() };
    expected.apply(Changes { marks: Some(marks), ..Changes::default() });
    let store = brought_forward(&place, VERSION_1);
    assert_same_books(&store.load(&target("w-1"), &policy().labels).unwrap().ledger, &expected);
    assert_sums(&store, &target("w-1"));
}

#[test]
fn a_file_of_the_second_version_is_brought_forward() {
    let place = Place::new();
    let mut store = brought_forward(&place, VERSION_2);
    let loaded = store.load(&target("w-1"), &policy().labels).unwrap();
    assert_same_books(&loaded.ledger, &after_batches());
    assert!(!loaded.births.is_empty());
    assert_sums(&store, &target("w-1"));
    assert_eq!(store.list("test", &[target("w-1")], local(0)).unwrap(), [], "it knows the target by its names");
    assert_eq!(store.load_discovered("test").unwrap(), DiscoveryRecord::default());
}

#[test]
fn a_file_of_the_third_version_is_brought_forward() {
    let place = Place::new();
    let store = brought_forward(&place, VERSION_3);
    assert_same_books(&store.load(&target("w-1"), &policy().labels).unwrap().ledger, &after_batches());
    assert_sums(&store, &target("w-1"));
}

#[test]
fn a_file_of_the_fourth_version_is_brought_forward() {
    let place = Place::new();
    let mut store = brought_forward(&place, VERSION_4);
    assert_same_books(&store.load(&target("w-1"), &policy().labels).unwrap().ledger, &after_batches());
    assert_sums(&store, &target("w-1"));
    let unlisted = store.list("test", &[], local(7)).unwrap();
    assert_eq!(
        unlisted,
        [Unlisted { target: target("w-1"), info: None, unlisted_for: Duration::ZERO }],
        "discovery was off"
    );
}

/// The same as the state before version 7 was, after [`losses`].
const VERSION_6: &str = include_str!("../../../tests/fixtures/state/v6.sql");

/// Deliveries that are lost one after the other, of which one goes on.
fn losses(error: Option<&str>) -> Vec<Batch> {
    let lost = |id: &str, second, code| {
        let http_status = HttpStatus::Code(code);
        Attempt { http_status, error: error.map(Into::into), ..entry(id, second, AttemptStatus::Failed) }
    };
    let opening = attempt("opening", "one", 1, 80, AttemptStatus::Retrying);
    let batch = |coverage, now, attempts: Vec<_>| Book::batch(coverage, now, &attempts);
    vec![
        batch(Coverage::FirstResponse, 0, Vec::new()),
        batch(Coverage::FirstContact, 10, vec![lost("early", 2, 500), entry("arrived", 3, AttemptStatus::Success)]),
        batch(Coverage::Head, 100, vec![opening.clone(), lost("gone on", 85, 404)]),
        batch(
            Coverage::Head,
            130,
            vec![
                Attempt { group: opening.group, attempt: 2, ..lost("end", 120, 503) },
                Attempt {
                    group: lost("gone on", 85, 404).group,
                    attempt: 2,
                    ..entry("again", 121, AttemptStatus::Pending)
                },
                Attempt { http_status: HttpStatus::None, ..lost("no answer", 122, 100) },
            ],
        ),
    ]
}

#[test]
fn a_file_of_the_sixth_version_is_brought_forward() {
    let place = Place::new();
    let expected = after(&losses(None));
    let streak = &expected.marks().streak;
    assert_eq!((streak.count, streak.since, expected.losses().len()), (2, Some(at(120)), 3));
    let store = brought_forward(&place, VERSION_6);
    assert_same(&store.load(&target("w-1"), &policy().labels).unwrap().ledger, &expected);
}

/// The same as the state before version 6 was, after [`losses`]; discovery has lost sight of `w-2`.
const VERSION_5: &str = include_str!("../../../tests/fixtures/state/v5.sql");

#[test]
fn a_file_of_the_fifth_version_is_brought_forward() {
    let place = Place::new();
    let mut store = brought_forward(&place, VERSION_5);
    let loaded = store.load(&target("w-1"), &policy().labels).unwrap();
    assert_same(&loaded.ledger, &after(&losses(None)));
    assert_eq!((loaded.births.is_empty(), loaded.is_behind), (false, false));
    assert_sums(&store, &target("w-1"));
    let unlisted = store.list("test", &[target("w-1")], local(0)).unwrap();
    let [Unlisted { target: gone, info: Some(info), unlisted_for }] = &unlisted[..] else { panic!("{unlisted:?}") };
    assert_eq!((&*gone.webhook_id, gone.owner_type, *unlisted_for), ("w-2", OwnerType::Campaign, Duration::ZERO));
    assert_eq!((&*info.owner_name, info.max_retries, info.is_enabled), ("Spring", Some(3), true));
}

/// The same as the state before version 8 was: `w-1` after [`losses`], `w-2` after [`batches`].
const VERSION_7: &str = include_str!("../../../tests/fixtures/state/v7.sql");

#[test]
fn a_file_of_the_seventh_version_is_brought_forward() {
    let place = Place::new();
    let store = brought_forward(&place, VERSION_7);
    for (name, batches) in [("w-1", losses(Some("HTTP 503 for 'orders'"))), ("w-2", batches())] {
        let loaded = store.load(&target(name), &policy().labels).unwrap();
        assert_same(&loaded.ledger, &after(&batches));
        assert!(!loaded.births.is_empty() && !loaded.is_behind);
        assert_sums(&store, &target(name));
    }
    let lost = store.load(&target("w-1"), &policy().labels).unwrap().ledger;
    assert!(lost.losses().values().all(|loss| loss.error.is_some()), "{lost:#?}");
}

#[test]
fn lost_deliveries_are_there_after_every_commit() {
    let place = Place::new();
    let (target, mut ledger) = (target("w-1"), Ledger::default());
    for batch in losses(Some("HTTP 503 for 'orders'")) {
        settle(&mut place.open(), &target, &mut ledger, &batch);
        assert_same(&place.open().load(&target, &policy().labels).unwrap().ledger, &ledger);
    }
    assert!(ledger.losses().values().all(|loss| loss.error.as_deref() == Some("HTTP 503 for 'orders'")));
    let mut store = place.open();
    store.list("test", &[], local(0)).unwrap();
    assert!(store.remove_unlisted(&target).unwrap());
    for table in ["lost_deliveries", "pruned_activity"] {
        let count = store.connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0));
        assert_eq!(count, Ok(0), "{table}");
    }
}

#[test]
fn how_long_a_target_was_unlisted_is_kept_until_it_is_listed_again() {
    let place = Place::new();
    let mut store = place.open();
    for name in ["w-1", "w-2"] {
        let changes = Changes { must_commit: true, ..Changes::default() };
        _ = store.commit(&target(name), changes, &SpanBatch::default()).unwrap();
    }
    let hours = |hours: u64| Duration::from_secs(3600 * hours);
    let unlisted_for = |store: &mut SqliteStore, listed: &[Target], now| {
        let unlisted = store.list("test", listed, local(now)).unwrap();
        unlisted.into_iter().map(|one| (one.target.webhook_id.to_string(), one.unlisted_for)).collect::<Vec<_>>()
    };
    let listed = [target("w-1")];
    assert_eq!(unlisted_for(&mut store, &listed, 7), [("w-2".to_owned(), hours(0))]);
    let both = [(target("w-1"), hours(5)), (target("w-2"), hours(5)), (target("gone"), hours(5))];
    store.keep_unlisted_for(&both).unwrap();
    drop(store);
    // The clock is ahead by years at the next start: nothing follows from that.
    let mut store = place.open();
    assert_eq!(unlisted_for(&mut store, &listed, 1_000_000_000), [("w-2".to_owned(), hours(5))]);
    assert_eq!(
        unlisted_for(&mut store, &[target("w-2")], 8),
        [("w-1".to_owned(), hours(0))],
        "it was listed meanwhile"
    );
    assert_eq!(unlisted_for(&mut store, &listed, 9), [("w-2".to_owned(), hours(0))], "it was listed again");
}

#[test]
fn a_new_state_beside_what_an_older_one_left_inherits_no_time() {
    let place = Place::new();
    let mut store = place.open();
    let changes = Changes { must_commit: true, ..Changes::default() };
    _ = store.commit(&target("w-1"), changes, &SpanBatch::default()).unwrap();
    store.note_success(&target("w-1"), at(5));
    let loaded = |store: &SqliteStore, name| store.load(&target(name), &policy().labels).unwrap().last_success;
    drop(store);
    let store = place.open();
    assert_eq!(loaded(&store, "w-1"), Some(at(5)));
    drop(store);

    for suffix in ["", "-wal", "-shm"] {
        let mut file = place.path().into_os_string();
        file.push(suffix);
        let _may_be_gone = std::fs::remove_file(file);
    }
    let mut store = place.open();
    let changes = Changes { must_commit: true, ..Changes::default() };
    _ = store.commit(&target("other"), changes, &SpanBatch::default()).unwrap();
    assert_eq!(loaded(&store, "other"), None);
    store.note_success(&target("other"), at(6));
    assert_eq!(loaded(&store, "other"), Some(at(6)));
}

#[test]
fn space_that_is_free_is_given_back_a_little_with_each_commit() {
    let place = Place::new();
    let mut store = place.open();
    let entries: Vec<_> = (0..60_000).map(|n| entry(&format!("entry-{n}"), n, AttemptStatus::Success)).collect();
    settle(
        &mut store,
        &target("large"),
        &mut Ledger::default(),
        &Book::batch(Coverage::FirstContact, 60_000, &entries),
    );
    let pages =
        |store: &SqliteStore| -> i64 { store.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap() };
    let before = pages(&store);
    assert!(!store.remove_unlisted(&target("large")).unwrap(), "it is listed");
    store.list("test", &[], local(0)).unwrap();
    assert!(store.remove_unlisted(&target("large")).unwrap());
    let mut last = pages(&store);
    assert!(last >= before - 256, "{last} of {before} pages: all at once");
    let mut ledger = Ledger::default();
    for n in 0..100 {
        let batch = Book::batch(Coverage::Head, n, &[entry(&format!("small-{n}"), n, AttemptStatus::Success)]);
        settle(&mut store, &target("small"), &mut ledger, &batch);
        assert!(pages(&store) >= last - 256, "too much at once");
        last = pages(&store);
    }
    assert!(last < 1_100, "{last} of {before} pages are left");
    assert_same(&store.load(&target("small"), &policy().labels).unwrap().ledger, &ledger);
}

#[test]
fn a_file_that_could_not_shrink_is_rewritten_when_it_is_opened() {
    let place = Place::new();
    drop(place.open());
    let raw = Connection::open(place.path()).unwrap();
    raw.pragma_update(None, "auto_vacuum", 0).unwrap();
    raw.execute_batch("VACUUM").unwrap();
    let mode =
        |connection: &Connection| -> i64 { connection.query_row("PRAGMA auto_vacuum", [], |row| row.get(0)).unwrap() };
    assert_eq!(mode(&raw), 0);
    drop(raw);
    assert_eq!(mode(&place.open().connection), 2, "2 is INCREMENTAL");
}

#[test]
fn a_file_that_something_else_wrote_to_is_checked_as_a_whole_without_the_store() {
    let place = Place::new();
    let mut store = place.open();
    settle(&mut store, &target("w-1"), &mut Ledger::default(), &batches()[1]);
    assert!(store.find_detached().is_none() && store.take_due_check().is_none(), "nothing else has written to it");
    let change = |sql: &str| Connection::open(place.path()).unwrap().execute_batch(sql).unwrap();
    let check = |store: &mut SqliteStore| {
        let check = store.take_due_check().unwrap();
        assert!(store.take_due_check().is_none(), "one is enough");
        let fault = (check.run)();
        store.note_checked(fault);
    };

    change("PRAGMA wal_checkpoint(FULL)");
    // Whatever the resolution of the file system's times.
    fs::File::options().write(true).open(place.path()).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(store.find_detached(), None);
    check(&mut store);
    assert_eq!(store.find_detached(), None);

    change("UPDATE entries SET event = event || 'x' WHERE id = 'odd'");
    assert_eq!(store.find_detached(), None, "the last commit is there");
    check(&mut store);
    for _ in 0..2 {
        let Detached { what, .. } = store.find_detached().unwrap();
        assert!(what.contains("was overwritten or cut by another program (table entries"), "{what}");
        assert!(store.problems.detached().is_some() && store.take_due_check().is_none());
    }

    change("UPDATE entries SET event = rtrim(event, 'x') WHERE id = 'odd'");
    assert!(store.find_detached().is_some(), "it is not known yet");
    check(&mut store);
    assert!(store.find_detached().is_none() && store.problems.detached().is_none());

    change("UPDATE entries SET event = event || 'x' WHERE id = 'odd'");
    settle(&mut store, &target("w-2"), &mut Ledger::default(), &batches()[1]);
    assert_eq!(store.find_detached(), None, "a commit came in between");
    check(&mut store);
    assert!(store.find_detached().is_some());
}

#[test]
fn a_file_that_was_overwritten_just_before_a_commit_is_told_before_it_is_checked_as_a_whole() {
    let place = Place::new();
    let mut store = place.open();
    settle(&mut store, &target("w-1"), &mut Ledger::default(), &batches()[1]);
    store.checkpoint().unwrap();
    assert_eq!(store.find_detached(), None);
    let length = fs::metadata(place.path()).unwrap().len() as usize;
    fs::write(place.path(), vec![b'x'; length]).unwrap();
    settle(&mut store, &target("w-2"), &mut Ledger::default(), &batches()[1]);
    for _ in 0..2 {
        let Detached { what, .. } = store.find_detached().unwrap();
        assert!(what.ends_with("was overwritten or cut by another program"), "{what}");
    }
}

#[test]
fn a_staged_walk_of_any_kind_is_found_after_a_restart() {
    let place = Place::new();
    for coverage in [Coverage::Head, Coverage::Sweep, Coverage::FirstContact] {
        let walk = staged_walk(coverage);
        place.open().stage(&target("w"), &walk, &[entry("a", 1, AttemptStatus::Success)], &[]).unwrap();
        assert_eq!(place.open().load(&target("w"), &policy().labels).unwrap().staged, Some(walk));
    }
}

/// Only walks are staged. If another batch were, a restart could not read the row.
#[test]
fn what_is_no_walk_cannot_be_staged() {
    let place = Place::new();
    for coverage in [Coverage::Pages, Coverage::FirstResponse, Coverage::Mended] {
        let mut store = place.open();
        let attempts = [entry("a", 1, AttemptStatus::Success)];
        let error = store.stage(&target("w"), &staged_walk(coverage), &attempts, &[]).unwrap_err();
        assert!(error.to_string().contains(&format!("{coverage:?}")), "{error}");
        assert_eq!(store.load(&target("w"), &policy().labels).unwrap().staged, None);
        assert_eq!(store.staged_part(&target("w"), None).unwrap(), [], "nothing is left of the transaction");
    }
}

fn staged_walk(coverage: Coverage) -> StagedWalk {
    StagedWalk { coverage, until: at(0), newest: at(9), oldest: at(1), count: 1, has_met_known: true }
}
