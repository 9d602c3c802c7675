//! Lost deliveries, one rule each.

use crate::delivery::{Attempt, AttemptStatus, DeliveryResult, HttpStatus};
use crate::ledger::decide::Coverage;
use crate::ledger::losses::KEPT_LOSSES;
use crate::testing::{Book, at, attempt, entry};

/// How many deliveries were lost in a row, and since which second.
fn streak(book: &Book) -> (u64, Option<i64>) {
    let streak = &book.ledger.marks().streak;
    (streak.count, streak.since.map(|since| (since.as_micros() - at(0).as_micros()) / 1_000_000))
}

fn lost(id: &str, second: i64, code: u16, error: &str) -> Attempt {
    let http_status = HttpStatus::Code(code);
    Attempt { http_status, error: Some(error.into()), ..entry(id, second, AttemptStatus::Failed) }
}

#[test]
fn a_success_ends_a_streak_and_what_is_lost_after_it_begins_one() {
    let mut book = Book::new();
    assert_eq!(streak(&book), (0, None));
    book.poll(12, &[entry("a", 10, AttemptStatus::Failed), entry("b", 11, AttemptStatus::Failed)]);
    assert_eq!(streak(&book), (2, Some(10)));
    book.poll(21, &[entry("c", 20, AttemptStatus::Failed)]);
    assert_eq!(streak(&book), (3, Some(10)));
    book.poll(31, &[entry("d", 30, AttemptStatus::Success)]);
    assert_eq!(streak(&book), (0, None));
    book.poll(41, &[entry("e", 40, AttemptStatus::Failed), entry("f", 39, AttemptStatus::Success)]);
    assert_eq!(streak(&book), (1, Some(40)));
}

#[test]
fn a_delivery_ended_when_its_last_attempt_was_made_whenever_that_turned_up() {
    let mut book = Book::new();
    book.poll(
        61,
        &[
            entry("a", 10, AttemptStatus::Failed),
            entry("b", 40, AttemptStatus::Failed),
            entry("c", 60, AttemptStatus::Failed),
        ],
    );
    assert_eq!(streak(&book), (3, Some(10)));
    // A success that turns up late divides them.
    book.sweep(70, &[entry("late", 30, AttemptStatus::Success)]);
    assert_eq!(streak(&book), (2, Some(40)));
    // What was lost before it is no part of the streak; what was lost after it is.
    book.sweep(80, &[entry("before", 29, AttemptStatus::Failed), entry("after", 31, AttemptStatus::Failed)]);
    assert_eq!(streak(&book), (3, Some(31)));
}

#[test]
fn in_one_second_the_order_of_decisions_counts() {
    let mut book = Book::new();
    book.poll(
        20,
        &[attempt("z", "one", 1, 10, AttemptStatus::Success), attempt("a", "two", 2, 10, AttemptStatus::Failed)],
    );
    assert_eq!(streak(&book), (1, Some(10)));
    book.poll(21, &[attempt("b", "three", 3, 10, AttemptStatus::Success)]);
    assert_eq!(streak(&book), (0, None));
}

#[test]
fn a_delivery_that_goes_on_is_not_lost_any_more() {
    let mut book = Book::new();
    let first = attempt("first", "one", 1, 10, AttemptStatus::Failed);
    book.poll(21, &[first, entry("other", 20, AttemptStatus::Failed)]);
    assert_eq!((streak(&book), book.ledger.losses().len()), ((2, Some(10)), 2));
    // Somebody had it delivered again.
    book.poll(31, &[attempt("again", "one", 2, 30, AttemptStatus::Pending)]);
    assert_eq!((streak(&book), book.ledger.losses().len()), ((1, Some(20)), 1));
    book.read(Coverage::Pages, 41, &[attempt("again", "one", 2, 30, AttemptStatus::Failed)]);
    assert_eq!((streak(&book), book.ledger.losses().len()), ((2, Some(20)), 2));
}

#[test]
fn what_was_given_up_is_lost_since_its_last_attempt() {
    let mut book = Book::new();
    let retrying = Attempt { error: Some("HTTP 503".into()), ..entry("a", 10, AttemptStatus::Retrying) };
    book.poll(11, std::slice::from_ref(&retrying));
    assert_eq!(streak(&book), (0, None));
    book.sweep(511, &[retrying]);
    assert_eq!(streak(&book), (1, Some(10)));
    let (end, loss) = book.ledger.losses().first_key_value().unwrap();
    assert_eq!((end.at, loss.result, loss.error.as_deref()), (at(10), DeliveryResult::Abandoned, Some("HTTP 503")));
}

#[test]
fn of_each_its_last_attempt_is_kept() {
    let mut book = Book::new();
    let first = attempt("first", "one", 1, 10, AttemptStatus::Retrying);
    let last = Attempt { attempt: 2, group: first.group, ..lost("last", 20, 503, "HTTP 503 Service Unavailable") };
    book.poll(21, &[first, last]);
    let (end, loss) = book.ledger.losses().first_key_value().unwrap();
    assert_eq!((end.at, end.attempt, end.id.to_string()), (at(20), 2, "last".to_owned()));
    assert_eq!((loss.opening.to_string(), &*loss.event), ("first".to_owned(), "e"));
    assert_eq!((loss.http_status, loss.error.as_deref()), (Some(503), Some("HTTP 503 Service Unavailable")));
    assert_eq!(loss.result, DeliveryResult::Failed);
}

#[test]
fn the_latest_are_kept_and_all_are_counted() {
    let mut book = Book::new();
    let seconds = 10..(20 + KEPT_LOSSES as i64);
    let all: Vec<Attempt> =
        seconds.clone().map(|second| entry(&second.to_string(), second, AttemptStatus::Failed)).collect();
    let (early, late) = all.split_at(30);
    book.poll(100, early);
    book.poll(101, late);
    assert_eq!(streak(&book), (KEPT_LOSSES as u64 + 10, Some(10)));
    let kept: Vec<String> = book.ledger.losses().keys().map(|end| end.id.to_string()).collect();
    assert_eq!(kept, seconds.skip(10).map(|second| second.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_late_success_leaves_the_losses_after_it_whose_rows_are_forgotten() {
    let mut book = Book::new();
    let waiting = entry("waiting", 10, AttemptStatus::Retrying);
    let lost = [entry("one", 11, AttemptStatus::Failed), entry("two", 12, AttemptStatus::Failed)];
    book.poll(13, &[&[waiting.clone()][..], &lost].concat());
    for second in [700, 760, 820] {
        book.sweep(second, &[entry(&second.to_string(), second - 1, AttemptStatus::Failed)]);
    }
    assert!(book.ledger.find(&lost[0].id).is_none() && book.ledger.find(&waiting.id).is_some());
    assert_eq!(streak(&book), (5, Some(11)));
    book.read(Coverage::Pages, 821, &[entry("waiting", 10, AttemptStatus::Success)]);
    assert_eq!(streak(&book), (5, Some(11)));
}
