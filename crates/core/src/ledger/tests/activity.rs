//! What happened lately, minute by minute: what is added up, and what is forgotten.

use std::time::Duration;

use crate::delivery::{AttemptStatus, Timestamp};
use crate::ledger::activity::{ACTIVITY_KEPT, Minute, Outcomes, RecentActivity, minute_of};
use crate::testing::{Book, at, entry};

/// Deliveries that succeeded, failed and were abandoned.
fn ended(deliveries: [u64; 3]) -> Outcomes {
    Outcomes { deliveries, ..Outcomes::default() }
}

fn minutes(activity: &RecentActivity) -> Vec<Minute> {
    activity.iter().map(|(minute, _)| minute).collect()
}

#[test]
fn failed_and_abandoned_deliveries_are_lost() {
    let outcomes = ended([4, 2, 3]);
    assert_eq!((outcomes.ended(), outcomes.lost()), (9, 5));
    assert_eq!((ended([1, 0, 0]).lost(), Outcomes::default().ended()), (0, 0));
    assert!(Outcomes::default().is_empty() && !outcomes.is_empty());
    assert!(!Outcomes { attempts: [0, 0, 1, 0], ..Outcomes::default() }.is_empty());
}

#[test]
fn a_minute_begins_with_its_first_second() {
    let minute = |seconds| minute_of(Timestamp::from_seconds(seconds));
    assert_eq!([-1, 0, 59, 60, 86_399].map(minute), [-1, 0, 0, 1, 1439]);
}

#[test]
fn what_happened_in_some_minutes_is_added_up() {
    let mut activity = RecentActivity::default();
    assert!(activity.is_empty());
    for (minute, deliveries) in [(1, [1, 0, 0]), (2, [0, 1, 0]), (2, [0, 1, 1]), (3, [5, 0, 0])] {
        activity.add(minute, &ended(deliveries));
    }
    assert!(!activity.is_empty());
    assert_eq!(activity.sum(1..=2), ended([1, 2, 1]));
    assert_eq!(activity.sum(4..=9), Outcomes::default());
}

#[test]
fn what_is_older_than_is_kept_is_forgotten_and_nothing_else() {
    let kept = (ACTIVITY_KEPT.as_secs() / 60) as Minute;
    assert_eq!(kept, 25 * 60);
    let mut activity = RecentActivity::default();
    activity.forget();
    let newest = 10_000;
    for minute in [newest - kept - 1, newest - kept, newest] {
        activity.add(minute, &ended([1, 0, 0]));
    }
    activity.forget();
    assert_eq!(minutes(&activity), [newest - kept, newest]);
    activity.forget();
    assert_eq!(minutes(&activity), [newest - kept, newest]);
}

#[test]
fn a_ledger_forgets_as_time_goes_on() {
    let mut book = Book::new();
    book.poll(11, &[entry("early", 10, AttemptStatus::Success)]);
    let later = 10 + (ACTIVITY_KEPT + Duration::from_secs(120)).as_secs() as i64;
    book.poll(later + 1, &[entry("late", later, AttemptStatus::Failed)]);
    assert_eq!(minutes(book.ledger.activity()), [minute_of(at(later))]);
    assert_eq!(book.ledger.activity().sum(0..=Minute::MAX).lost(), 1);
}
