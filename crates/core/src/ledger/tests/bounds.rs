//! Where exactly each rule of time and size begins and ends.

use std::time::Duration;

use crate::delivery::AttemptStatus::{Failed, Pending, Success};
use crate::delivery::{EntryId, Timestamp};
use crate::ledger::decide::{Batch, Coverage, Pass};
use crate::ledger::series::LogOutcome::{Ignored, Invalid, New};
use crate::ledger::series::{Family, SeriesKey};
use crate::ledger::state::{Ledger, Marks};
use crate::ledger::totals::{Birth, Total, Totals};
use crate::ledger::transition::Transition;
use crate::server_time::LocalTime;
use crate::testing::{Book, at, entry, policy, server};

const DAY: i64 = 24 * 3600;

fn invalid(now: i64, key: &str) -> Batch {
    Batch { invalid: vec![key.into()], ..Book::batch(Coverage::Head, now, &[]) }
}

#[test]
fn the_windows_reach_as_far_as_they_say() {
    let windows = policy().windows;
    assert_eq!(windows.history_cutoff(at(2_000)), at(1_000));
    assert_eq!(windows.head_until(at(2_000)), at(1_998));
    assert_eq!(windows.sweep_until(at(2_000)), at(1_898));
    // Each of the three bounds in turn is the oldest.
    assert_eq!(windows.horizon(at(2_000), at(1_999), at(1_950)), at(1_350));
    assert_eq!(windows.horizon(at(2_000), at(1_450), at(1_450)), at(1_300));
    assert_eq!(windows.horizon(at(2_000), at(1_450), at(1_350)), at(1_248));
}

#[test]
fn an_unusable_entry_is_remembered_for_a_day_longer_than_the_log_can_show_it() {
    let mut book = Book::new();
    book.apply(&invalid(10, "id:a"));
    book.apply(&invalid(10 + 31 * DAY, "id:b"));
    assert!(book.ledger.knows_invalid("id:a"), "31 days and not a second more");
    let decision = book.apply(&invalid(11 + 31 * DAY, "id:c"));
    assert_eq!((book.ledger.knows_invalid("id:a"), decision.tally.new), (false, 1));
    assert_eq!((book.ledger.invalid().len(), book.log(Invalid)), (2, 3));
}

/// Gaps counted after a walk at `now` that ended before anything known; the watermark is 10.
fn gaps(now: i64, last_success: Option<i64>, change: impl FnOnce(&mut Batch)) -> u64 {
    let mut book = Book::new();
    book.poll(20, &[entry("a", 10, Success)]);
    let mut batch = Book::batch(Coverage::Head, now, &[entry("b", now, Success)]);
    (batch.is_torn, batch.last_success) = (true, last_success.map(at));
    change(&mut batch);
    book.apply(&batch);
    book.ledger.totals().counter(&SeriesKey::history_gaps())
}

#[test]
fn a_gap_is_a_walk_without_known_ground_while_the_log_should_still_hold_it() {
    assert_eq!(gaps(100, Some(90), |_| {}), 1);
    assert_eq!(gaps(9 + 30 * DAY, Some(20 * DAY), |_| {}), 1);
    assert_eq!(gaps(10 + 30 * DAY, Some(20 * DAY), |_| {}), 0, "it was dropped in its time, and somebody has looked");
    assert_eq!(gaps(100 + 30 * DAY, Some(100), |_| {}), 0);
    assert_eq!(gaps(100 + 30 * DAY, Some(99), |_| {}), 1, "nobody has looked for as long as entries are kept");
    assert_eq!(gaps(100 + 30 * DAY, None, |_| {}), 1);
    assert_eq!(gaps(100, Some(90), |batch| batch.is_torn = false), 0);
    assert_eq!(gaps(100, Some(90), |batch| batch.coverage = Coverage::Sweep), 1);
    assert_eq!(gaps(100, Some(90), |batch| batch.coverage = Coverage::Pages), 0);
    assert_eq!(gaps(100, Some(90), |batch| batch.pass = Pass::Register), 0, "the last part tells");
    assert_eq!(gaps(100, Some(90), |batch| batch.pass = Pass::Settle), 0);
    assert_eq!(gaps(100, Some(90), |batch| batch.pass = Pass::Last), 1);
    // A log that was empty has no ground to lose.
    let mut book = Book::new();
    book.apply(&Batch { is_torn: true, ..Book::batch(Coverage::Head, 100, &[]) });
    assert_eq!(book.ledger.totals().counter(&SeriesKey::history_gaps()), 0);
}

#[test]
fn a_first_contact_has_a_gap_if_not_all_of_its_window_could_be_read() {
    for (is_cut_short, pass, expected) in
        [(true, Pass::Whole, 1), (true, Pass::Last, 1), (true, Pass::Settle, 0), (false, Pass::Whole, 0)]
    {
        let mut book = Book::new();
        let batch = Book::batch(Coverage::FirstContact, 100, &[entry("a", 90, Success)]);
        book.apply(&Batch { is_cut_short, pass, ..batch });
        assert_eq!(book.ledger.totals().counter(&SeriesKey::history_gaps()), expected, "{is_cut_short} {pass:?}");
    }
}

#[test]
fn a_gap_counts_once_for_each_newest_known_entry() {
    let mut book = Book::new();
    book.poll(20, &[entry("a", 10, Success)]);
    let torn = |now, entries: &[_]| Batch { is_torn: true, ..Book::batch(Coverage::Head, now, entries) };
    let count = |book: &Book| book.ledger.totals().counter(&SeriesKey::history_gaps());
    assert!(book.apply(&torn(30, &[])).changes.must_commit);
    assert!(!book.apply(&torn(40, &[])).changes.must_commit);
    assert_eq!(count(&book), 1);
    book.apply(&torn(50, &[entry("b", 45, Success)]));
    assert_eq!(count(&book), 1, "nothing new was known before");
    book.apply(&torn(60, &[]));
    assert_eq!(count(&book), 2);
}

#[test]
fn what_happened_while_nobody_looked_is_catching_up() {
    let catching_up = |coverage, now, last_success: Option<i64>| {
        let mut book = Book::new();
        let mut batch = Book::batch(coverage, now, &[entry("a", 10, Success)]);
        batch.last_success = last_success.map(at);
        book.apply(&batch).changes.catching_up
    };
    assert_eq!(catching_up(Coverage::Head, 300, Some(100)), None, "200 s is not longer than 200 s");
    assert_eq!(catching_up(Coverage::Head, 301, Some(100)), Some(at(301)));
    assert_eq!(catching_up(Coverage::Sweep, 301, None), Some(at(301)));
    assert_eq!(catching_up(Coverage::FirstContact, 20, Some(19)), Some(at(20)));
    assert_eq!(catching_up(Coverage::FirstResponse, 301, None), None);
}

/// A target that was met by a clock that was two days ahead, with one entry that was ignored for it.
fn met_two_days_ahead() -> Book {
    let mut book = Book { ledger: Ledger::default(), policy: policy() };
    book.read(Coverage::FirstResponse, 2 * DAY, &[]);
    book.read(Coverage::FirstContact, 10, &[entry("ignored", 5, Success)]);
    assert_eq!((book.log(New), book.log(Ignored)), (0, 1));
    book
}

#[test]
fn marks_that_are_ahead_are_set_back_and_what_was_ignored_is_counted_once() {
    let mut book = met_two_days_ahead();
    assert!(book.ledger.marks().are_ahead_of(server(20)));
    let decision = book.apply(&Batch { known_at: Some(at(0)), ..Book::batch(Coverage::Mended, 20, &[]) });
    assert!(decision.changes.must_commit && decision.transitions.is_empty());
    let marks = book.ledger.marks();
    assert!(!marks.are_ahead_of(server(20)));
    assert_eq!((marks.known_at, marks.history_cutoff, marks.contacted), (Some(at(0)), Some(at(-1_000)), true));
    // The sweep that follows ends at the cut.
    assert_eq!(marks.swept.map(|swept| policy().windows.sweep_until(swept)), Some(at(-1_002)));
    for _ in 0..2 {
        let mut sweep =
            Book::batch(Coverage::Sweep, 30, &[entry("before", -1_001, Success), entry("ignored", 5, Success)]);
        sweep.is_torn = true;
        assert!(!book.apply(&sweep).transitions.contains(&Transition::Gap), "what was ignored is no gap");
    }
    assert_eq!((book.attempts(Success), book.log(Ignored)), (1, 2));
    assert!(book.balances());
}

#[test]
fn marks_are_ahead_only_beyond_what_two_clocks_may_differ_by() {
    let book = met_two_days_ahead();
    assert!(book.ledger.marks().are_ahead_of(server(2 * DAY - 301)));
    assert!(!book.ledger.marks().are_ahead_of(server(2 * DAY - 300)));
    assert!(!Marks::default().are_ahead_of(server(0)));
}

#[test]
fn a_target_is_not_known_later_than_now_when_it_is_mended() {
    let mut book = met_two_days_ahead();
    book.apply(&Batch { known_at: Some(at(90)), ..Book::batch(Coverage::Mended, 20, &[]) });
    assert_eq!(book.ledger.marks().known_at, Some(at(20)));
}

#[test]
fn a_delay_of_a_day_is_observed_and_a_longer_one_is_not() {
    let mut book = Book::new();
    for (id, delay) in [("a", 7_200), ("b", DAY), ("c", DAY + 1)] {
        let mut delivered = entry(id, 10, Success);
        delivered.delivered_at = Some(at(10 + delay));
        book.poll(20, &[delivered]);
    }
    let Some((_, Total::Histogram(delays))) = book.ledger.totals().family(Family::Delay).next() else { panic!() };
    assert_eq!((delays.count(), delays.sum), (2, (7_200 + DAY as u64) * 1_000_000_000));
}

#[test]
fn an_entry_at_the_horizon_is_remembered_and_one_before_it_is_not() {
    let mut book = Book::new();
    book.poll(20, &[entry("a", 15, Success), entry("b", 16, Success), entry("open", 3, Pending)]);
    book.sweep(1_000, &[entry("c", 990, Success)]);
    // The horizon: 666 less `settle_after`, `lookback` and `sweep_interval`.
    book.poll(666, &[entry("d", 666, Success)]);
    let knows = |book: &Book, id: &str| book.ledger.find(&EntryId::new(id)).is_some();
    assert_eq!(["a", "b", "open"].map(|id| knows(&book, id)), [false, true, true]);
    let before = book.log(New) + book.log(crate::ledger::series::LogOutcome::Late);
    book.poll(666, &[entry("at", 16, Success), entry("before", 15, Success)]);
    assert_eq!(["at", "before"].map(|id| knows(&book, id)), [true, false]);
    let after = book.log(New) + book.log(crate::ledger::series::LogOutcome::Late);
    assert_eq!((after - before, book.log(Ignored)), (1, 1));
}

#[test]
fn a_hundred_thousand_ignored_entries_are_told_from_new_ones() {
    let mut book = Book::new();
    let ancient = |number: i64| entry(&number.to_string(), -2_000, Failed);
    let all: Vec<_> = (1..100_000).map(ancient).collect();
    book.poll(20, &all);
    book.poll(30, &[ancient(100_000)]);
    book.poll(40, &[ancient(1)]);
    assert_eq!(book.log(Ignored), 100_000);
    // One more, and they are forgotten.
    book.poll(50, &[ancient(100_001)]);
    book.poll(60, &[ancient(1), ancient(100_001)]);
    assert_eq!(book.log(Ignored), 100_002);
}

#[test]
fn a_mark_that_moves_is_reason_enough_for_a_commit() {
    let mut book = Book::new();
    book.poll(20, &[entry("a", 15, Success)]);
    // Nothing but the watermark is new: the entry was seen on a single page, before a walk.
    book.read(Coverage::Pages, 25, &[entry("late", 5, Success)]);
    let met = Book::batch(Coverage::FirstResponse, 30, &[]);
    let decision = book.apply(&met);
    assert!(decision.changes.must_commit && decision.changes.rows.is_empty() && decision.changes.totals.is_empty());
    assert_eq!(decision.changes.marks.map(|marks| marks.known_at), Some(Some(at(30))));
    let ignored = book.poll(40, &[entry("ancient", -2_000, Failed)]);
    assert!(ignored.changes.must_commit && ignored.changes.rows.is_empty(), "a counter has moved");
    assert_ne!(book.ledger.marks(), &Marks::default());
}

#[test]
fn names_are_those_of_the_metrics_and_of_the_state_file() {
    let names = ["attempts", "duration", "delay", "deliveries", "attempts_per_delivery", "log_entries", "history_gaps"];
    assert_eq!(Family::ALL.map(Family::as_str), names);
    let labels = crate::ledger::labels::AttemptLabel::ALL.map(|label| label.as_str());
    assert_eq!(labels, ["event", "status", "http_status"]);
}

#[test]
fn totals_are_what_they_were_set_to() {
    let mut totals = Totals::default();
    totals.set(SeriesKey::history_gaps(), Total::Counter(7));
    totals.set(SeriesKey::log_entries(New), Total::Counter(8));
    assert_eq!((totals.counter(&SeriesKey::history_gaps()), totals.iter().count()), (7, 2));
    totals.remove_family(Family::LogEntries);
    assert_eq!((totals.counter(&SeriesKey::history_gaps()), totals.iter().count()), (7, 1));
}

#[test]
fn series_of_deliveries_are_born_and_those_of_the_daemon_are_not() {
    let mut book = Book::new();
    let decision = book.poll(20, &[entry("a", 10, Success)]);
    let born = Family::ALL.map(|family| decision.changes.births.keys().any(|key| key.family == family));
    // Nothing tells when it was delivered: there is no delay.
    assert_eq!(born, [true, true, false, true, true, false, false]);
    let birth = decision.changes.births.values().next().copied();
    assert_eq!(birth, Some(Birth { at: at(20), is_held: true }));
}

#[test]
fn no_birth_lies_ahead_of_the_local_clock() {
    // The server's clock says 20. Where it is fast, the local one counts; where it is slow, its own time stays.
    for (local, expected) in [(15, 15), (20, 20), (25, 20)] {
        let mut changes = Book::new().poll(20, &[entry("a", 10, Success)]).changes;
        changes.limit_births(LocalTime::new(at(local)));
        assert!(!changes.births.is_empty());
        assert!(changes.births.values().all(|birth| *birth == Birth { at: at(expected), is_held: true }), "{local}");
    }
}

#[test]
fn a_ledger_is_empty_until_it_remembers_something() {
    let mut book = Book::new();
    assert!(book.ledger.is_empty());
    book.poll(20, &[entry("a", 15, Success)]);
    assert!(!book.ledger.is_empty());
    assert_eq!(book.ledger.marks().watermark, Some(Timestamp::plus(at(0), Duration::from_secs(15))));
}

#[test]
fn an_empty_log_was_read_up_to_its_first_answer_too() {
    // What turns up late before the first entry is met by the next sweep, though no sweep has met anything.
    let mut book = Book::new();
    assert_eq!(book.ledger.marks().swept, Some(at(0)));
    book.poll(300, &[entry("a", 290, Success)]);
    let marks = book.ledger.marks();
    assert_eq!((marks.watermark, marks.swept), (Some(at(290)), Some(at(0))));

    let mut book = Book::new();
    book.apply(&Batch { began: Some(at(40)), ..Book::batch(Coverage::Sweep, 45, &[]) });
    assert_eq!(book.ledger.marks().swept, Some(at(40)));
}
