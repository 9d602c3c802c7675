//! What becomes of single entries: counted, late, ignored, expired, invalid.

use std::time::Duration;

use crate::delivery::AttemptStatus::{Failed, Pending, Retrying, Success, Unknown};
use crate::delivery::{EntryId, HttpStatus};
use crate::ledger::decide::{Batch, Coverage};
use crate::ledger::series::Family;
use crate::ledger::series::LogOutcome::{Expired, Ignored, Invalid, Late, New};
use crate::ledger::totals::Total;
use crate::testing::{Book, at, entry};

#[test]
fn every_outcome_counts_when_it_is_first_seen() {
    for status in [Success, Failed, Retrying, Unknown] {
        let mut book = Book::new();
        let decision = book.poll(20, &[entry("a", 10, status)]);
        assert_eq!((book.attempts(status), book.log(New), decision.tally.new), (1, 1, 1), "{status:?}");
        let again = book.poll(30, &[entry("a", 10, status)]);
        assert_eq!((book.attempts(status), again.tally.unchanged), (1, 1), "{status:?}");
        assert!(!again.changes.must_commit && again.transitions.is_empty(), "{status:?}");
    }
}

#[test]
fn a_pending_entry_counts_with_the_outcome_and_the_labels_that_it_gets() {
    for status in [Success, Failed, Retrying, Unknown] {
        let mut book = Book::new();
        book.poll(20, &[entry("a", 10, Pending)]);
        assert_eq!((book.log(New), book.open(Pending)), (1, 1));
        assert!(book.balances());
        let mut changed = entry("a", 10, status);
        changed.http_status = HttpStatus::Code(207);
        let decision = book.read(Coverage::Pages, 30, &[changed]);
        assert_eq!((book.attempts(status), book.open(Pending), decision.tally.changed), (1, 0, 1), "{status:?}");
        assert_eq!(book.sum(Family::Attempts, "207"), 1);
        assert!(book.balances());
    }
}

#[test]
fn a_counted_attempt_is_never_counted_again_whatever_it_becomes() {
    let mut book = Book::new();
    for (now, status) in [(20, Retrying), (30, Failed), (40, Success), (50, Pending), (60, Unknown), (70, Success)] {
        book.poll(now, &[entry("a", 10, status)]);
        let total: u64 = [Success, Failed, Retrying, Unknown].iter().map(|status| book.attempts(*status)).sum();
        assert_eq!((total, book.attempts(Retrying)), (1, 1), "{status:?}");
        assert!(book.balances(), "{status:?}");
    }
}

#[test]
fn an_entry_is_known_by_its_id_whatever_its_time_says() {
    let mut book = Book::new();
    book.poll(20, &[entry("a", 10, Success)]);
    book.poll(30, &[entry("a", 25, Success)]);
    assert_eq!((book.attempts(Success), book.log(New)), (1, 1));
}

#[test]
fn an_entry_read_twice_in_one_batch_counts_once_with_its_first_outcome() {
    let mut book = Book::new();
    let decision = book.poll(20, &[entry("a", 10, Pending), entry("b", 5, Success), entry("a", 10, Failed)]);
    assert_eq!((book.attempts(Failed), book.attempts(Success), book.log(New)), (1, 1, 2));
    assert_eq!((decision.tally.new, decision.tally.changed, decision.tally.unchanged), (2, 1, 0));
}

#[test]
fn what_is_older_than_the_watermark_is_late_and_ties_are_new() {
    let mut book = Book::new();
    book.poll(20, &[entry("a", 15, Success)]);
    assert_eq!(book.ledger.marks().watermark, Some(at(15)));
    book.poll(30, &[entry("b", 15, Success), entry("c", 14, Success), entry("d", 16, Success)]);
    assert_eq!((book.log(New), book.log(Late)), (3, 1));
}

#[test]
fn what_is_older_than_the_cut_or_than_memory_is_ignored_once_and_outside_the_books() {
    let mut book = Book::new();
    let decision = book.poll(20, &[entry("ancient", -1001, Failed), entry("a", -1000, Success)]);
    assert_eq!((book.log(Ignored), book.log(New), book.attempts(Failed)), (1, 1, 0));
    assert_eq!(decision.tally.unchanged, 1);
    let again = book.poll(30, &[entry("ancient", -1001, Failed)]);
    assert!(!again.changes.must_commit);
    assert_eq!(book.log(Ignored), 1);

    // The horizon: here now - settle_after - lookback - sweep_interval.
    book.sweep(2000, &[entry("b", 1995, Success)]);
    book.poll(2001, &[entry("old", 1349, Success), entry("young", 1352, Success)]);
    assert_eq!((book.log(Ignored), book.log(Late)), (2, 1));
    assert!(book.balances());
}

#[test]
fn forgotten_entries_stay_forgotten_when_the_settings_change() {
    let mut book = Book::new();
    book.poll(20, &[entry("a", 10, Success)]);
    book.sweep(2000, &[entry("b", 1990, Success)]);
    book.poll(2010, &[entry("c", 2001, Success)]);
    assert!(book.ledger.find(&EntryId::new("a")).is_none(), "it is older than all windows");
    assert!(book.ledger.find(&EntryId::new("b")).is_some());
    book.policy.windows.settle_after = Duration::from_secs(100_000);
    book.poll(2020, &[entry("a", 10, Success)]);
    assert_eq!((book.attempts(Success), book.log(Ignored)), (3, 1));
}

#[test]
fn the_newest_entry_is_remembered_for_ever() {
    let mut book = Book::new();
    book.poll(20, &[entry("a", 10, Success)]);
    book.poll(900_000, &[entry("a", 10, Success)]);
    assert_eq!((book.attempts(Success), book.log(Ignored), book.ledger.len()), (1, 0, 1));
}

#[test]
fn time_ahead_of_the_server_is_taken_as_the_servers() {
    let mut book = Book::new();
    book.poll(20, &[entry("a", 21, Success), entry("future", 5000, Failed)]);
    assert_eq!(book.attempts(Failed), 1);
    assert_eq!(book.ledger.marks().watermark, Some(at(20)));
    assert_eq!(book.ledger.marks().last_attempt[1], Some(at(20)));
    // One second is the rounding of `Date`.
    assert_eq!(book.ledger.marks().last_attempt[0], Some(at(21)));
}

#[test]
fn the_watermark_moves_with_complete_walks_only_and_never_back() {
    let mut book = Book::new();
    book.poll(20, &[entry("a", 15, Success)]);
    book.read(Coverage::Pages, 40, &[entry("b", 30, Success)]);
    assert_eq!(book.ledger.marks().watermark, Some(at(15)));
    book.poll(50, &[entry("c", 5, Success)]);
    assert_eq!(book.ledger.marks().watermark, Some(at(15)));
}

#[test]
fn a_pending_entry_expires_only_when_it_is_looked_at_after_its_time() {
    let mut book = Book::new();
    book.poll(20, &[entry("a", 10, Pending), entry("gone", 11, Pending), entry("late", 12, Pending)]);
    book.poll(600, &[entry("b", 590, Success)]);
    assert_eq!((book.open(Pending), book.log(Expired)), (3, 0), "nobody has looked");
    let mut batch = Book::batch(Coverage::Pages, 600, &[entry("a", 10, Pending), entry("late", 12, Success)]);
    batch.missing.push(EntryId::new("gone"));
    book.apply(&batch);
    assert_eq!((book.open(Pending), book.log(Expired), book.attempts(Success)), (0, 2, 2));
    book.read(Coverage::Pages, 610, &[entry("a", 10, Success), entry("gone", 11, Failed)]);
    assert_eq!((book.attempts(Success), book.attempts(Failed)), (2, 0), "never counted from then on");
    assert!(book.balances());
}

#[test]
fn a_missing_entry_is_followed_on_until_its_time_is_over() {
    let mut book = Book::new();
    book.poll(20, &[entry("a", 10, Pending)]);
    let batch = |now| Batch { missing: vec![EntryId::new("a")], ..Book::batch(Coverage::Pages, now, &[]) };
    assert!(!book.apply(&batch(509)).changes.must_commit);
    book.apply(&batch(510));
    assert_eq!((book.open(Pending), book.log(Expired)), (0, 1));
}

#[test]
fn unusable_entries_count_once() {
    let mut book = Book::new();
    let batch = |now: i64, keys: &[&str]| Batch {
        invalid: keys.iter().map(|key| Box::from(*key)).collect(),
        ..Book::batch(Coverage::Head, now, &[])
    };
    book.apply(&batch(10, &["id:a", "sha256:b", "id:a"]));
    assert_eq!(book.log(Invalid), 2);
    assert!(!book.apply(&batch(20, &["sha256:b"])).changes.must_commit);
    let month = 30 * 24 * 3600;
    book.apply(&batch(month, &["id:a", "id:c"]));
    assert_eq!(book.log(Invalid), 3, "as long as the log can show it");
}

#[test]
fn durations_and_delays_are_observed_within_bounds() {
    let mut book = Book::new();
    let mut quick = entry("a", 10, Success);
    quick.duration_ns = Some(100_000_000);
    quick.delivered_at = Some(at(12));
    let mut early = entry("b", 10, Success);
    (early.duration_ns, early.delivered_at) = (None, Some(at(9)));
    let mut ages = entry("c", 10, Success);
    ages.delivered_at = Some(at(10 + 24 * 3600 + 1));
    book.poll(20, &[quick, early, ages]);
    let histogram = |family| match book.ledger.totals().family(family).next() {
        Some((_, Total::Histogram(histogram))) => (histogram.counts.to_vec(), histogram.sum),
        other => panic!("{other:?}"),
    };
    // Bounds are inclusive: 0.1 s lies in the first bucket, 1 s in the second.
    assert_eq!(histogram(Family::Duration), (vec![1, 1, 0], 1_100_000_000));
    assert_eq!(histogram(Family::Delay), (vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 2_000_000_000));
}

#[test]
fn a_sweep_that_finds_nothing_moves_its_mark_without_a_commit() {
    let mut book = Book::new();
    book.poll(20, &[entry("a", 15, Success)]);
    assert_eq!(book.ledger.marks().swept, Some(at(0)));
    let decision = book.read(Coverage::Sweep, 30, &[entry("a", 15, Success)]);
    assert!(!decision.changes.must_commit);
    assert_eq!(book.ledger.marks().swept, Some(at(15)));
}

#[test]
fn what_a_quiet_target_remembers_shrinks_all_the_same() {
    let mut book = Book::new();
    let entries: Vec<_> = (0..1_500).map(|n| entry(&format!("id-{n}"), 1 + n / 100, Success)).collect();
    book.poll(20, &entries);
    book.sweep(2_000, &[entry("last", 1_990, Success)]);
    assert_eq!(book.ledger.len(), 1_501, "its own commit forgets by the watermark that was");
    let decision = book.poll(2_050, &[]);
    assert!(decision.changes.must_commit);
    assert_eq!(book.ledger.len(), 1);
    assert!(!book.poll(2_100, &[]).changes.must_commit);
}
