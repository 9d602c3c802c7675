//! The label values of attempts, and the bounds on their number.

use crate::delivery::AttemptStatus::{Failed, Success};
use crate::delivery::HttpStatus;
use crate::ledger::labels::{AttemptLabel, HttpLabel, HttpStatusDetail};
use crate::ledger::series::Family;
use crate::testing::{Book, entry};

#[test]
fn http_status_is_exact_a_class_or_off() {
    for (detail, expected) in [
        (HttpStatusDetail::Exact, ["503", "none", "invalid"]),
        (HttpStatusDetail::Class, ["5xx", "none", "invalid"]),
        (HttpStatusDetail::Off, ["", "", ""]),
    ] {
        for (status, label) in [HttpStatus::Code(503), HttpStatus::None, HttpStatus::Invalid].into_iter().zip(expected)
        {
            let mut book = Book::new();
            book.policy.labels.http_status = detail;
            let mut failed = entry("a", 10, Failed);
            failed.http_status = status;
            book.poll(20, &[failed]);
            assert_eq!(book.sum(Family::Attempts, label), 1, "{detail:?} {status:?}");
        }
    }
}

#[test]
fn a_label_is_read_back_as_it_was_written() {
    for label in [
        HttpLabel::Exact(HttpStatus::Code(404)),
        HttpLabel::Exact(HttpStatus::None),
        HttpLabel::Exact(HttpStatus::Invalid),
        HttpLabel::Class(5),
        HttpLabel::Off,
        HttpLabel::Overflow,
    ] {
        assert_eq!(HttpLabel::parse(&label.to_string()), Some(label));
    }
    assert_eq!(HttpLabel::parse("teapot"), None);
}

#[test]
fn further_events_and_long_names_overflow() {
    let mut book = Book::new();
    book.policy.labels.max_events = 2;
    let events = ["one", "two", "three", "one", "four", &"x".repeat(129)];
    for (number, event) in events.iter().enumerate() {
        let mut attempt = entry(&number.to_string(), 10, Success);
        attempt.event = (*event).into();
        book.poll(20, &[attempt]);
    }
    let counts = ["one", "two", "three", "overflow"].map(|event| book.sum(Family::Attempts, event));
    assert_eq!(counts, [2, 1, 0, 3]);
    assert_eq!(book.sum(Family::Deliveries, "overflow"), 3);
}

#[test]
fn a_name_of_128_bytes_is_no_overflow() {
    let mut book = Book::new();
    let name = "x".repeat(128);
    let mut attempt = entry("a", 10, Success);
    attempt.event = name.as_str().into();
    book.poll(20, &[attempt]);
    assert_eq!(book.sum(Family::Attempts, &name), 1);
}

#[test]
fn beyond_the_bound_of_label_sets_the_http_status_overflows() {
    let mut book = Book::new();
    book.policy.labels.max_label_sets = 2;
    for (number, code) in [500, 501, 502, 500, 503].into_iter().enumerate() {
        let mut attempt = entry(&number.to_string(), 10, Failed);
        attempt.http_status = HttpStatus::Code(code);
        book.poll(20, &[attempt]);
    }
    let counts = ["500", "501", "502", "overflow"].map(|code| book.sum(Family::Attempts, code));
    assert_eq!(counts, [2, 1, 0, 2]);
}

#[test]
fn the_duration_has_the_labels_that_are_asked_for() {
    let mut book = Book::new();
    book.policy.labels.duration_labels = vec![AttemptLabel::Status];
    book.poll(20, &[entry("a", 10, Success), entry("b", 10, Failed), entry("c", 10, Success)]);
    let labels: Vec<Vec<String>> = book
        .ledger
        .totals()
        .family(Family::Duration)
        .map(|(key, _)| key.labels.iter().map(ToString::to_string).collect())
        .collect();
    assert_eq!(labels, [["failed"], ["success"]]);
}
