//! Which attempts belong together, and how deliveries end.

use crate::delivery::AttemptStatus::{self, Failed, Pending, Retrying, Success, Unknown};
use crate::delivery::DeliveryResult::{self, Abandoned};
use crate::delivery::{Attempt, EntryId};
use crate::ledger::decide::{Batch, Coverage, Decision};
use crate::ledger::row::KeyedRow;
use crate::ledger::row::RowKey;
use crate::ledger::transition::Transition;
use crate::testing::{Book, at, attempt, ends, entry};

const ENDED_WELL: DeliveryResult = DeliveryResult::Success;
const ENDED_BADLY: DeliveryResult = DeliveryResult::Failed;

/// The id of the entry that opened the delivery of `id`.
fn opening(book: &Book, id: &str) -> String {
    let KeyedRow { key, row } = book.ledger.find(&EntryId::new(id)).unwrap();
    row.opening(key).id.to_string()
}

#[test]
fn a_delivery_ends_with_the_attempt_that_succeeds_or_fails() {
    for (status, result) in [(Success, ENDED_WELL), (Failed, ENDED_BADLY)] {
        let mut book = Book::new();
        book.poll(20, &[attempt("a1", "g", 1, 10, Retrying)]);
        assert_eq!((book.open(Retrying), book.ended(result)), (1, 0));
        let decision = book.poll(40, &[attempt("a2", "g", 2, 30, status)]);
        assert_eq!(ends(&decision), [(result, 2)]);
        assert_eq!(book.open(Retrying), 0, "the next attempt was seen");
    }
}

#[test]
fn a_retrying_entry_that_becomes_failed_ends_its_delivery_unless_a_higher_attempt_is_known() {
    let mut book = Book::new();
    book.poll(20, &[attempt("a1", "g", 1, 10, Retrying)]);
    let decision = book.poll(30, &[attempt("a1", "g", 1, 10, Failed)]);
    assert_eq!(ends(&decision), [(ENDED_BADLY, 1)]);

    let mut book = Book::new();
    book.poll(20, &[attempt("a1", "g", 1, 10, Retrying)]);
    book.poll(30, &[attempt("a2", "g", 2, 25, Retrying)]);
    assert_eq!(ends(&book.poll(40, &[attempt("a1", "g", 1, 10, Failed)])), []);
    // Within a batch, joins come before ends.
    let mut book = Book::new();
    book.poll(20, &[attempt("a1", "g", 1, 10, Retrying)]);
    let both = [attempt("a2", "g", 2, 25, Pending), attempt("a1", "g", 1, 10, Failed)];
    assert_eq!(ends(&book.poll(30, &both)), []);
    assert_eq!(ends(&book.poll(40, &[attempt("a2", "g", 2, 25, Failed)])), [(ENDED_BADLY, 2)]);
}

#[test]
fn an_entry_first_seen_as_failed_always_ends() {
    let mut book = Book::new();
    let all =
        [attempt("a1", "g", 1, 10, Failed), attempt("a2", "g", 2, 20, Failed), attempt("a3", "g", 3, 30, Success)];
    assert_eq!(ends(&book.poll(40, &all)), [(ENDED_BADLY, 1), (ENDED_BADLY, 2), (ENDED_WELL, 3)]);
    // A pending one that becomes failed is first counted as failed, too.
    book.poll(60, &[attempt("b1", "h", 1, 50, Pending), attempt("b2", "h", 2, 55, Pending)]);
    assert_eq!(ends(&book.poll(70, &[attempt("b1", "h", 1, 50, Failed)])), [(ENDED_BADLY, 1)]);
}

#[test]
fn an_entry_ends_once() {
    let mut book = Book::new();
    for (now, status, expected) in
        [(20, Retrying, 0), (30, Success, 1), (40, Failed, 1), (50, Retrying, 1), (60, Success, 1)]
    {
        book.poll(now, &[entry("a", 10, status)]);
        assert_eq!(book.ended(ENDED_WELL) + book.ended(ENDED_BADLY), expected, "{status:?}");
    }
}

#[test]
fn an_unknown_outcome_is_no_end_but_what_follows_it_is() {
    let mut book = Book::new();
    assert_eq!(ends(&book.poll(20, &[entry("a", 10, Unknown)])), []);
    assert_eq!(ends(&book.poll(30, &[entry("a", 10, Success)])), [(ENDED_WELL, 1)]);
    let mut batch = Book::batch(Coverage::Pages, 900, &[entry("b", 20, Unknown)]);
    batch.missing.push(EntryId::new("a"));
    assert_eq!(ends(&book.apply(&batch)), []);
}

#[test]
fn a_manual_retry_ends_the_delivery_again() {
    let mut book = Book::new();
    book.poll(20, &[attempt("a1", "g", 1, 10, Failed)]);
    let decision = book.poll(40, &[attempt("a2", "g", 2, 30, Success)]);
    assert_eq!(ends(&decision), [(ENDED_WELL, 2)]);
    assert_eq!(opening(&book, "a2"), "a1");
}

#[test]
fn deliveries_that_stay_open_are_abandoned_once() {
    for status in [Pending, Retrying] {
        let mut book = Book::new();
        book.poll(20, &[entry("a", 10, status)]);
        assert_eq!(ends(&book.read(Coverage::Pages, 509, &[entry("a", 10, status)])), []);
        assert_eq!(ends(&book.read(Coverage::Pages, 510, &[entry("a", 10, status)])), [(Abandoned, 1)], "{status:?}");
        assert_eq!(ends(&book.read(Coverage::Pages, 520, &[entry("a", 10, Failed)])), [], "{status:?}");
        assert_eq!(book.open(status), 0);
        assert!(book.balances());
    }
    // Of a delivery that has gone on, only the latest attempt counts.
    let mut book = Book::new();
    book.poll(30, &[attempt("a1", "g", 1, 10, Pending), attempt("a2", "g", 2, 20, Pending)]);
    let batch = |now| Book::batch(Coverage::Pages, now, &[attempt("a1", "g", 1, 10, Pending)]);
    assert_eq!(ends(&book.apply(&batch(515))), []);
    assert_eq!(book.open(Pending), 1);
    // First seen when its time was over already.
    let mut book = Book::new();
    assert_eq!(ends(&book.poll(20, &[entry("a", -900, Retrying)])), [(Abandoned, 1)]);
}

#[test]
fn a_retrying_entry_that_turns_out_failed_after_its_time_was_abandoned() {
    let mut book = Book::new();
    book.poll(20, &[entry("a", 10, Retrying)]);
    assert_eq!(ends(&book.read(Coverage::Pages, 600, &[entry("a", 10, Failed)])), [(Abandoned, 1)]);
}

#[test]
fn an_attempt_joins_the_oldest_delivery_that_waits_for_it() {
    let mut book = Book::new();
    book.poll(
        50,
        &[
            attempt("done", "g", 1, 5, Success),
            attempt("first", "g", 1, 10, Retrying),
            attempt("second", "g", 1, 20, Retrying),
            attempt("other", "h", 1, 1, Retrying),
        ],
    );
    book.poll(70, &[attempt("x", "g", 2, 60, Retrying)]);
    book.poll(80, &[attempt("y", "g", 2, 75, Success)]);
    book.poll(90, &[attempt("z", "g", 2, 85, Success)]);
    book.poll(95, &[attempt("x3", "g", 3, 94, Success)]);
    assert_eq!(["x", "y", "z", "x3"].map(|id| opening(&book, id)), ["first", "second", "done", "first"]);
}

#[test]
fn where_none_waits_the_newest_is_joined_and_where_there_is_none_one_is_opened() {
    let mut book = Book::new();
    book.poll(30, &[attempt("old", "g", 1, 10, Success), attempt("new", "g", 1, 20, Failed)]);
    book.poll(50, &[attempt("again", "g", 2, 40, Success)]);
    assert_eq!(opening(&book, "again"), "new");
    book.poll(60, &[attempt("gap", "g", 4, 55, Success)]);
    assert_eq!(opening(&book, "gap"), "gap");
    // An attempt before it that is too old is none.
    book.poll(560, &[attempt("late", "g", 2, 511, Success)]);
    assert_eq!(opening(&book, "late"), "late");
}

#[test]
fn an_attempt_that_turns_up_late_joins_one_that_is_settled_by_then() {
    let mut book = Book::new();
    book.sweep(20, &[attempt("a1", "g", 1, 10, Failed), attempt("b1", "h", 1, 10, Retrying)]);
    // Each follows within `settle_after` (500), and is seen as late as can be: `lookback` and `sweep_interval` after it
    // was made.
    for now in [515, 580, 645] {
        book.sweep(now, &[entry(&now.to_string(), now - 5, Success), attempt("b1", "h", 1, 10, Retrying)]);
    }
    assert_eq!(book.ended(Abandoned), 1, "b1 was given up in the meantime");
    book.sweep(659, &[attempt("a2", "g", 2, 510, Success), attempt("b2", "h", 2, 510, Success)]);
    assert_eq!(["a2", "b2"].map(|id| opening(&book, id)), ["a1", "b1"]);
}

#[test]
fn within_a_batch_attempts_join_in_the_order_of_time_whatever_order_they_are_read_in() {
    let mut book = Book::new();
    let mut batch: Vec<_> = [(3_u8, Success), (2, Retrying), (1, Retrying)]
        .iter()
        .map(|(number, status)| attempt(&format!("a{number}"), "g", *number, 10, *status))
        .collect();
    batch.push(attempt("b1", "g", 1, 11, Retrying));
    let decision = book.poll(20, &batch);
    assert_eq!(ends(&decision), [(ENDED_WELL, 3)]);
    assert_eq!((opening(&book, "a2"), opening(&book, "a3")), ("a1".to_owned(), "a1".to_owned()));
    assert_eq!(book.open(Retrying), 1);
}

#[test]
fn thousands_of_attempts_without_a_payload_are_joined_one_to_one() {
    let mut book = Book::new();
    let firsts: Vec<_> = (0..3000).map(|n| attempt(&format!("f{n}"), "g", 1, n / 30, Retrying)).collect();
    let seconds: Vec<_> = (0..3000).map(|n| attempt(&format!("s{n}"), "g", 2, 100 + n / 30, Success)).collect();
    book.poll(200, &[firsts, seconds].concat());
    assert_eq!((book.open(Retrying), book.ended(ENDED_WELL)), (0, 3000));
    let openings: std::collections::BTreeSet<String> = (0..3000).map(|n| opening(&book, &format!("s{n}"))).collect();
    assert_eq!(openings.len(), 3000);
}

#[test]
fn the_rank_of_an_entry_is_the_number_of_newer_ones() {
    let mut book = Book::new();
    let statuses: [(i64, AttemptStatus); 3] = [(10, Pending), (20, Success), (30, Success)];
    book.poll(40, &statuses.map(|(second, status)| entry(&second.to_string(), second, status)));
    let key = |second: i64| RowKey { created_at: at(second), id: EntryId::new(&second.to_string()) };
    assert_eq!(book.ledger.ranks(&[10, 20, 30].map(key)), [2, 1, 0]);
    assert_eq!(book.ledger.ranks(&[20].map(key)), [1]);
    assert_eq!(book.ledger.ranks(&[]), [0; 0]);
    let open: Vec<_> = book.ledger.open().map(|(key, _)| key.created_at).collect();
    assert_eq!(open, [at(10)]);
}

/// Of each attempt that was counted: its id, the entry that opened its delivery, and whether one before it did not
/// succeed.
fn counted(decision: &Decision) -> Vec<(String, String, bool)> {
    let told = decision.transitions.iter().filter_map(|transition| match transition {
        Transition::Counted { attempt, delivery, .. } => {
            Some((attempt.id.to_string(), delivery.opening.id.to_string(), delivery.is_retry))
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn an_attempt_tells_its_delivery_and_whether_one_before_it_did_not_succeed() {
    let told = |id: &str, opening: &str, is_retry| (id.to_owned(), opening.to_owned(), is_retry);
    for (status, is_retry) in [(Success, false), (Failed, true), (Retrying, true), (Unknown, true)] {
        let mut book = Book::new();
        let first = book.poll(20, &[attempt("a1", "g", 1, 10, status)]);
        assert_eq!(counted(&first), [told("a1", "a1", false)], "{status:?}");
        let second = book.poll(40, &[attempt("a2", "g", 2, 30, Success)]);
        assert_eq!(counted(&second), [told("a2", "a1", is_retry)], "{status:?}");
        let third = book.poll(60, &[attempt("a3", "g", 3, 50, Success)]);
        assert_eq!(counted(&third), [told("a3", "a1", is_retry)], "{status:?}: a success does not make good for it");
    }
    // What is not known did not succeed, as far as anybody can tell.
    assert_eq!(counted(&Book::new().poll(20, &[attempt("a2", "g", 2, 10, Success)])), [told("a2", "a2", true)]);
    let mut book = Book::new();
    book.poll(20, &[attempt("a1", "g", 1, 10, Pending)]);
    book.poll(30, &[attempt("a2", "g", 2, 25, Pending)]);
    let both = [attempt("a1", "g", 1, 10, Success), attempt("a2", "g", 2, 25, Success)];
    assert_eq!(counted(&book.poll(40, &both)), [told("a1", "a1", false), told("a2", "a1", true)]);
}

#[test]
fn an_end_tells_when_the_last_attempt_was_over_and_the_name_of_its_event() {
    let told = |decision: &Decision| -> Vec<_> {
        let ended = decision.transitions.iter().filter_map(|transition| match transition {
            Transition::Ended { at, name, event, .. } => Some((*at, name.to_string(), event.to_string())),
            _ => None,
        });
        ended.collect()
    };
    let name = "e".repeat(200);
    let long = |one: Attempt| Attempt { event: name.as_str().into(), ..one };
    let overflow = || "overflow".to_owned();
    let mut book = Book::new();
    let ended = book.poll(20, &[long(entry("a", 10, Success))]);
    assert_eq!(told(&ended), [(at(11), name.clone(), overflow())]);

    // What was retrying was over when it was first seen, whatever is read of it later; what was pending never was.
    book.poll(20, &[long(entry("r", 12, Retrying)), long(entry("p", 13, Pending)), long(entry("gone", 14, Retrying))]);
    let longer = Attempt { duration_ns: Some(9_000_000_000), ..long(entry("r", 12, Retrying)) };
    let missing = Batch { missing: vec![EntryId::new("gone")], ..Book::batch(Coverage::Pages, 600, &[longer]) };
    assert_eq!(told(&book.apply(&missing)), [(at(13), name.clone(), overflow()), (at(15), overflow(), overflow())]);
    assert_eq!(told(&book.poll(610, &[long(entry("p", 13, Pending))])), [(at(13), name, overflow())]);
}
