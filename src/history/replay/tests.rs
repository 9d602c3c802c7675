//! What is decided in parts, as time goes by, is what a first contact decides at once.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::store::sqlite::SqliteStore;
use talkover_core::delivery::{EntryId, HttpStatus, OwnerType};
use talkover_core::ledger::labels::{AttemptLabel, HttpStatusDetail, LabelPolicy};
use talkover_core::ledger::series::{Family, SeriesKey};
use talkover_core::ledger::watermark::Windows;

const FROM: Timestamp = Timestamp::from_seconds(1_764_000_000);
const DAYS: u64 = 4;

fn end() -> Timestamp {
    FROM.plus(Duration::from_secs(DAYS * 86_400))
}

fn policy() -> Policy {
    Policy {
        windows: Windows {
            initial_lookback: Duration::from_secs(DAYS * 86_400),
            lookback: Duration::from_secs(600),
            sweep_interval: Duration::from_secs(300),
            settle_after: Duration::from_secs(86_400),
        },
        labels: LabelPolicy {
            http_status: HttpStatusDetail::Exact,
            duration_labels: AttemptLabel::ALL.to_vec(),
            duration_buckets: [0.1, 1.0].into(),
            max_events: 10,
            max_label_sets: 100,
        },
        catch_up_after: Duration::from_secs(600),
        holds_births: true,
    }
}

fn past(samples_until: Timestamp) -> Past {
    let target = Target {
        environment: "test".into(),
        webhook_id: "w".into(),
        owner_type: OwnerType::Agent,
        owner_id: "a".into(),
        webhook_name: "w".into(),
    };
    Past { target, info: None, from: FROM, end: end(), samples_until }
}

fn entry(number: usize, (second, event, group, attempt, status): (u64, u8, u8, u8, u8)) -> Attempt {
    let statuses = [
        AttemptStatus::Success,
        AttemptStatus::Failed,
        AttemptStatus::Retrying,
        AttemptStatus::Pending,
        AttemptStatus::Unknown,
    ];
    let status = statuses[usize::from(status)];
    Attempt {
        id: EntryId::new(&format!("e-{number}")),
        event: format!("event-{event}").into(),
        attempt,
        status,
        http_status: if status == AttemptStatus::Success {
            HttpStatus::Code(200)
        } else {
            HttpStatus::Code(500 + u16::from(group))
        },
        error: None,
        duration_ns: Some(second % 7 * 100_000_000),
        delivered_at: Some(FROM.plus(Duration::from_secs(second + 3))),
        created_at: FROM.plus(Duration::from_secs(second)),
        group: [group; 16],
    }
}

fn entries() -> impl Strategy<Value = Vec<Attempt>> {
    let seconds = prop_oneof![0..DAYS * 86_400, (0..DAYS * 24).prop_map(|hour| hour * 3600)];
    let one = (seconds, 0_u8..4, 0_u8..4, 1_u8..4, 0_u8..5);
    prop::collection::vec(one, 0..120).prop_map(|all| {
        let mut entries: Vec<Attempt> = all.into_iter().enumerate().map(|(number, one)| entry(number, one)).collect();
        entries.sort_by(|a, b| (a.created_at, a.attempt, &a.id).cmp(&(b.created_at, b.attempt, &b.id)));
        entries
    })
}

/// The totals that a first contact comes to.
fn at_once(attempts: &[Attempt]) -> Totals {
    let (policy, now) = (policy(), ServerTime::new(end()));
    let mut ledger = Ledger::default();
    let met = Batch { coverage: Coverage::FirstResponse, now, ..Batch::default() };
    let decision = decide(&ledger, &met, &policy);
    ledger.apply(decision.changes);
    let attempts = attempts.to_vec();
    let batch = Batch { attempts, coverage: Coverage::FirstContact, now, began: Some(end()), ..Batch::default() };
    let decision = decide(&ledger, &batch, &policy);
    ledger.apply(decision.changes);
    ledger.totals().clone()
}

/// What the samples of a series come to, by their slots.
fn replayed(attempts: &[Attempt], part: usize, past: &Past) -> BTreeMap<PastSeries, Vec<Point>> {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::new(directory.path()).unwrap();
    let mut replay = Replay::begin(past, 0, policy(), Books::scratch(), &mut spool).unwrap();
    for part in attempts.chunks(part) {
        replay.add(part.to_vec()).unwrap();
    }
    replay.finish(Vec::new(), LogExtent::Whole).unwrap();
    let families = Family::ALL.into_iter().map(Some).chain([None]);
    let mut found = BTreeMap::new();
    for family in families {
        for series in spool.series(family, 0) {
            found.insert(series.clone(), spool.points(family, 0, series).unwrap());
        }
    }
    found
}

proptest! {
    #[test]
    fn parts_come_to_what_a_first_contact_comes_to(attempts in entries(), part in 1_usize..50) {
        let samples = replayed(&attempts, part, &past(end()));
        let totals = at_once(&attempts);
        for (key, total) in totals.iter() {
            let last = samples.get(&PastSeries::Total(key.clone())).and_then(|points| points.last());
            prop_assert_eq!(last.map(|point| &point.numbers), Some(&numbers(total)), "{:?}", key);
        }
        let of_totals = samples.keys().filter(|series| matches!(series, PastSeries::Total(_))).count();
        prop_assert_eq!(of_totals, totals.iter().count());
        // However it is cut, every sample is the same.
        prop_assert_eq!(samples, replayed(&attempts, 1_000, &past(end())));
    }

    #[test]
    fn an_attempt_counts_when_it_was_made(attempts in entries(), day in 0_u64..DAYS) {
        let samples = replayed(&attempts, 7, &past(end()));
        let until = GridTime::until(FROM.plus(Duration::from_secs(day * 86_400)));
        let shown = |series: &PastSeries, points: &Vec<Point>| match series {
            PastSeries::Total(SeriesKey { family: Family::Attempts, .. }) => {
                points.iter().take_while(|point| point.slot <= until).last().map_or(0, |point| point.numbers[0])
            }
            _ => 0,
        };
        let shown: u64 = samples.iter().map(|(series, points)| shown(series, points)).sum();
        let made = attempts.iter().filter(|one| one.created_at <= until.time() && one.status.is_outcome());
        prop_assert_eq!(shown, made.count() as u64);
    }
}

#[test]
fn an_abandoned_delivery_ends_when_it_is_given_up() {
    let retrying = entry(0, (3_600, 0, 0, 1, 2));
    let samples = replayed(std::slice::from_ref(&retrying), 10, &past(end()));
    let abandoned = SeriesKey::new(Family::Deliveries, ["event-0".into(), "abandoned".into()]);
    let points = &samples[&PastSeries::Total(abandoned)];
    assert_eq!(points.len(), 1);
    assert_eq!(points[0].slot, GridTime::showing(retrying.created_at.plus(Duration::from_secs(86_400))));
}

#[test]
fn samples_end_where_a_daemon_goes_on_and_what_is_dated_ahead_is_left_to_it() {
    let early = entry(0, (3_600, 0, 0, 1, 0));
    let late = entry(1, (3 * 86_400, 0, 1, 1, 0));
    let ahead = entry(2, (DAYS * 86_400 + 60, 0, 2, 1, 0));
    let attempts = [early, late, ahead];
    let key = PastSeries::Total(SeriesKey::new(Family::Attempts, ["event-0", "success", "200"].map(Into::into)));
    let last = |samples: BTreeMap<PastSeries, Vec<Point>>| samples[&key].last().unwrap().numbers[0];
    assert_eq!(last(replayed(&attempts, 10, &past(end()))), 2);
    assert_eq!(last(replayed(&attempts, 10, &past(FROM.plus(Duration::from_secs(86_400))))), 1);
}

#[test]
fn a_state_goes_on_from_the_samples_even_where_a_series_begins_at_their_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::new(directory.path()).unwrap();
    let mut store = SqliteStore::open(&directory.path().join("state.db"), local_clock::now()).unwrap();
    let past = past(end());
    let books = Books::state(&mut store, None);
    let mut replay = Replay::begin(&past, 0, policy(), books, &mut spool).unwrap();
    replay.add(vec![entry(0, (DAYS * 86_400, 0, 0, 1, 0))]).unwrap();
    replay.finish(Vec::new(), LogExtent::Whole).unwrap();

    let loaded = store.load(&past.target, &policy().labels).unwrap();
    assert!(loaded.births.values().all(|birth| !birth.is_held), "{:?}", loaded.births);
    assert!(loaded.ledger.totals().iter().count() > 0);
}
