//! Attempts that turn up after the attempt that follows them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::properties::restart;
use crate::delivery::AttemptStatus::{self, Failed, Pending, Retrying, Success, Unknown};
use crate::delivery::DeliveryResult::{Abandoned, Failed as EndedBadly, Success as EndedWell};
use crate::delivery::{Attempt, EntryId, Timestamp};
use crate::ledger::decide::{Coverage, Decision};
use crate::ledger::row::KeyedRow;
use crate::ledger::row::{Continued, Row};
use crate::ledger::series::LogOutcome::{Expired, Late};
use crate::ledger::state::Ledger;
use crate::ledger::transition::Transition;
use crate::testing::{Book, at, attempt, cases, ends, entry};

fn row<'a>(book: &'a Book, id: &str) -> &'a KeyedRow {
    book.ledger.find(&EntryId::new(id)).unwrap()
}

/// The ids of the entries that opened the deliveries of `ids`.
fn openings<const N: usize>(book: &Book, ids: [&str; N]) -> [String; N] {
    ids.map(|id| {
        let KeyedRow { key, row } = row(book, id);
        row.opening(key).id.to_string()
    })
}

fn open(book: &Book) -> Vec<String> {
    book.ledger.open().map(|(key, _)| key.id.to_string()).collect()
}

/// When the deliveries began that `decision` ended.
fn beginnings(decision: &Decision) -> Vec<Timestamp> {
    let began = decision.transitions.iter().filter_map(|transition| match transition {
        Transition::Ended { began, .. } => Some(*began),
        _ => None,
    });
    began.collect()
}

fn restarted(book: Book) -> Book {
    Book { ledger: restart(&book.ledger), ..book }
}

#[test]
fn it_counts_as_an_attempt_and_ends_nothing_whatever_its_outcome() {
    for status in [Retrying, Failed, Success, Unknown] {
        let mut book = Book::new();
        book.poll(40, &[attempt("a2", "g", 2, 30, Retrying)]);
        let late = book.sweep(50, &[attempt("a1", "g", 1, 10, status)]);
        assert_eq!((ends(&late), book.log(Late)), (vec![], 1), "{status:?}");
        let expected = if status == Retrying { 2 } else { 1 };
        assert_eq!(book.attempts(status), expected, "{status:?}");
        assert_eq!(open(&book), ["a2"], "{status:?}");
        assert_eq!(openings(&book, ["a1", "a2"]), ["a2", "a2"], "{status:?}");
        // Nothing that becomes of it later is an end either.
        let mut book = restarted(book);
        for later in [Failed, Retrying, Success] {
            assert_eq!(ends(&book.sweep(60, &[attempt("a1", "g", 1, 10, later)])), [], "{status:?}, then {later:?}");
        }
        assert_eq!(ends(&book.poll(80, &[attempt("a3", "g", 3, 70, Success)])), [(EndedWell, 3)]);
        assert_eq!(openings(&book, ["a3"]), ["a2"]);
        book.read(Coverage::Pages, 900, &[attempt("a1", "g", 1, 10, Retrying)]);
        assert_eq!((open(&book), book.ended(Abandoned)), (vec![], 0), "{status:?}");
        assert!(book.balances());
    }
}

#[test]
fn a_pending_one_is_followed_for_its_outcome_alone() {
    let met = || {
        let mut book = Book::new();
        book.poll(40, &[attempt("a2", "g", 2, 30, Success)]);
        book.sweep(50, &[attempt("a1", "g", 1, 10, Pending)]);
        assert_eq!((open(&book), book.balances()), (vec!["a1".to_owned()], true));
        restarted(book)
    };
    for status in [Retrying, Failed, Success] {
        let mut book = met();
        let before = book.attempts(status);
        let settled = book.read(Coverage::Pages, 60, &[attempt("a1", "g", 1, 10, status)]);
        assert_eq!((ends(&settled), book.attempts(status) - before), (vec![], 1), "{status:?}");
        assert_eq!((open(&book), book.balances()), (vec![], true), "{status:?}");
    }
    let mut book = met();
    assert_eq!(ends(&book.read(Coverage::Pages, 510, &[attempt("a1", "g", 1, 10, Pending)])), []);
    assert_eq!((book.log(Expired), open(&book), book.balances()), (1, vec![], true));
}

#[test]
fn where_it_continues_a_delivery_itself_it_belongs_to_that_one() {
    let mut book = Book::new();
    book.poll(20, &[attempt("a1", "g", 1, 10, Retrying)]);
    book.poll(40, &[attempt("a3", "g", 3, 30, Retrying)]);
    let late = book.sweep(50, &[attempt("a2", "g", 2, 20, Retrying)]);
    assert_eq!((ends(&late), open(&book)), (vec![], vec!["a3".to_owned()]));
    assert_eq!(openings(&book, ["a1", "a2", "a3"]), ["a1", "a1", "a3"]);
    let end = restarted(book).poll(70, &[attempt("a4", "g", 4, 60, Success)]);
    assert_eq!((ends(&end), beginnings(&end)), (vec![(EndedWell, 4)], vec![at(30)]));
}

#[test]
fn one_after_the_other_they_are_put_in_front_of_a_delivery() {
    // Each in a reading of its own, the later attempt first.
    let mut book = Book::new();
    book.poll(40, &[attempt("a3", "g", 3, 30, Retrying)]);
    book.sweep(50, &[attempt("a2", "g", 2, 20, Retrying)]);
    let mut book = restarted(book);
    book.sweep(60, &[attempt("a1", "g", 1, 10, Retrying)]);
    assert_eq!(
        (open(&book), openings(&book, ["a1", "a2", "a3"])),
        (vec!["a3".to_owned()], ["a3", "a3", "a3"].map(str::to_owned))
    );
    let end = restarted(book).poll(70, &[attempt("a4", "g", 4, 65, Success)]);
    assert_eq!((ends(&end), beginnings(&end)), (vec![(EndedWell, 4)], vec![at(10)]), "its root begins with the first");

    // Both in one reading: they are taken oldest first, and the second continues the first.
    let mut book = Book::new();
    book.poll(40, &[attempt("a3", "g", 3, 30, Retrying)]);
    book.sweep(60, &[attempt("a2", "g", 2, 20, Retrying), attempt("a1", "g", 1, 10, Retrying)]);
    assert_eq!((open(&book), openings(&book, ["a1", "a2"])), (vec!["a3".to_owned()], ["a1", "a1"].map(str::to_owned)));
}

#[test]
fn a_delivery_begins_with_a_late_attempt_also_where_it_ends_in_the_same_reading() {
    let mut book = Book::new();
    book.poll(40, &[attempt("a2", "g", 2, 30, Pending)]);
    let end = book.sweep(50, &[attempt("a1", "g", 1, 10, Retrying), attempt("a2", "g", 2, 30, Success)]);
    assert_eq!((ends(&end), beginnings(&end)), (vec![(EndedWell, 2)], vec![at(10)]));
}

#[test]
fn its_successor_was_made_not_before_it_and_at_most_settle_after_later() {
    for (made_at, is_continued) in [(31, false), (30, true), (-470, true), (-471, false)] {
        let mut book = Book::new();
        book.poll(40, &[attempt("a2", "g", 2, 30, Success)]);
        // Before its own time to be given up has come.
        book.sweep(28, &[attempt("a1", "g", 1, made_at, Retrying)]);
        assert_eq!(openings(&book, ["a1"]), [if is_continued { "a2" } else { "a1" }], "made at {made_at}");
        assert_eq!(book.open(Retrying), u64::from(!is_continued), "made at {made_at}");
    }
    // Another group, another number, the last number there is.
    for other in
        [attempt("x", "h", 1, 10, Retrying), attempt("x", "g", 3, 10, Retrying), attempt("x", "g", 255, 10, Retrying)]
    {
        let mut book = Book::new();
        book.poll(40, &[attempt("a2", "g", 2, 30, Success)]);
        book.sweep(50, &[other]);
        assert_eq!(open(&book), ["x"]);
    }
}

#[test]
fn the_oldest_that_opened_a_delivery_continues_it_and_none_continues_two() {
    let mut book = Book::new();
    // Attempts without a payload share a group.
    book.poll(40, &[attempt("b2", "g", 2, 35, Success), attempt("a2", "g", 2, 30, Success)]);
    book.sweep(50, &[attempt("a1", "g", 1, 10, Retrying)]);
    let mut book = restarted(book);
    book.sweep(60, &[attempt("b1", "g", 1, 12, Retrying)]);
    assert_eq!(openings(&book, ["a1", "b1"]), ["a2", "b2"]);
    book.sweep(70, &[attempt("c1", "g", 1, 14, Retrying)]);
    assert_eq!(open(&book), ["c1"], "nothing is left that could continue it");
    // One that has joined a delivery has opened none.
    let mut book = Book::new();
    book.poll(40, &[attempt("a1", "g", 1, 10, Retrying), attempt("a2", "g", 2, 30, Success)]);
    book.sweep(50, &[attempt("b1", "g", 1, 5, Retrying)]);
    assert_eq!(open(&book), ["b1"]);
}

#[test]
fn thousands_without_a_payload_are_continued_one_to_one() {
    let mut book = Book::new();
    let seconds: Vec<_> = (0..3000).map(|n| attempt(&format!("s{n}"), "g", 2, 100 + n / 30, Success)).collect();
    let firsts: Vec<_> = (0..3000).map(|n| attempt(&format!("f{n}"), "g", 1, n / 30, Retrying)).collect();
    book.poll(200, &seconds);
    book.sweep(210, &firsts);
    assert_eq!((book.open(Retrying), book.attempts(Retrying)), (0, 3000));
    let ids = (0..3000).map(|n| openings(&book, [&format!("f{n}")]));
    assert_eq!(ids.collect::<std::collections::BTreeSet<_>>().len(), 3000);
}

#[test]
fn its_place_is_forgotten_with_it() {
    let mut book = Book::new();
    book.poll(40, &[attempt("a2", "g", 2, 30, Success)]);
    book.sweep(50, &[attempt("a1", "g", 1, 10, Retrying)]);
    let opening = row(&book, "a2").key.clone();
    assert_eq!(book.ledger.late().first_of(&opening), Some(at(10)));
    book.sweep(2_000, &[entry("new", 1_990, Success)]);
    book.sweep(2_100, &[entry("newer", 2_090, Success)]);
    assert_eq!(book.ledger.find(&EntryId::new("a1")), None, "the test would prove nothing");
    assert_eq!(book.ledger.late().first_of(&opening), None);
    assert_eq!(book.ledger.late().awaiting(([0; 16], 2), at(-2_000), None).next(), None);
}

#[test]
fn one_that_an_earlier_version_left_open_is_not_abandoned() {
    for (status, expired) in [(Retrying, 0), (Pending, 1)] {
        let mut book = Book::new();
        book.poll(40, &[attempt("a2", "g", 2, 30, Success)]);
        book.sweep(50, &[attempt("a1", "g", 1, 10, status)]);
        // As that version kept it: each had opened a delivery.
        let mut old = Ledger::restore(book.ledger.marks().clone(), BTreeMap::new(), book.ledger.totals().clone());
        for (key, row) in book.ledger.rows() {
            let is_open = key.id == EntryId::new("a1");
            let alone =
                Row { opening: None, is_preceded: false, continued: Continued::No, open: is_open, ..row.clone() };
            old.remember(key.clone(), alone);
        }
        let mut book = Book { ledger: old, ..book };
        assert_eq!(open(&book), ["a1"]);
        assert_eq!(ends(&book.read(Coverage::Pages, 510, &[attempt("a1", "g", 1, 10, status)])), [], "{status:?}");
        assert_eq!((open(&book), book.log(Expired), book.balances()), (vec![], expired, true), "{status:?}");
    }
}

/// An attempt of a world in which all attempts turn up, and when it does.
#[derive(Clone, Debug)]
struct Planned {
    entry: Attempt,
    shown_at: i64,
    /// How long it is pending.
    pending: i64,
}

impl Planned {
    fn as_of(&self, now: i64) -> Option<Attempt> {
        let is_pending = now < self.entry.created_at.since(at(0)).as_secs() as i64 + self.pending;
        let status = if is_pending { Pending } else { self.entry.status };
        (now >= self.shown_at).then(|| Attempt { status, ..self.entry.clone() })
    }
}

/// Deliveries of up to five attempts each, of which a third turns up late, some after all that follow.
fn deliveries() -> impl Strategy<Value = Vec<Vec<Planned>>> {
    let late = prop_oneof![2 => Just(0_i64), 1 => 0_i64..100];
    let one = (0_i64..40, late, 0_i64..30);
    let delivery = (0_i64..60, prop::collection::vec(one, 1..6), any::<bool>());
    prop::collection::vec(delivery, 1..8).prop_map(|all| {
        let number_them = all.into_iter().enumerate();
        number_them.map(|(number, (begin, attempts, succeeds))| plan(number, begin, &attempts, succeeds)).collect()
    })
}

fn plan(delivery: usize, begin: i64, attempts: &[(i64, i64, i64)], succeeds: bool) -> Vec<Planned> {
    let mut second = begin;
    let planned = attempts.iter().zip(1_u8..).map(|(&(wait, late, pending), number)| {
        second += wait;
        let is_last = usize::from(number) == attempts.len();
        let status = if !is_last {
            Retrying
        } else if succeeds {
            Success
        } else {
            Failed
        };
        // Ids in any order among those of one second.
        let id = format!("{}-{delivery}-{number}", second * 7 % 10);
        let entry = attempt(&id, &format!("g{delivery}"), number, second, status);
        Planned { entry, shown_at: second + late, pending }
    });
    planned.collect()
}

/// What the log shows at `now`.
fn shown(world: &[Vec<Planned>], now: i64) -> Vec<Attempt> {
    world.iter().flatten().filter_map(|planned| planned.as_of(now)).collect()
}

/// Whether an attempt is followed as retrying though the next one of its delivery is known.
fn has_false_loss(book: &Book) -> bool {
    let mut open = book.ledger.open().filter(|(_, row)| row.status == Retrying);
    open.any(|(_, row)| {
        book.ledger.rows().any(|(_, other)| other.group == row.group && other.attempt == row.attempt + 1)
    })
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn where_all_attempts_turn_up_no_delivery_is_lost_that_was_not(
        world in deliveries(),
        every in 1_i64..40,
        restarts in any::<bool>(),
        written_off in any::<bool>(),
    ) {
        let mut book = Book::new();
        // The last is made at 260 at the latest, turns up by 360, and has its outcome by then.
        for now in (0..=400).step_by(every as usize).chain([400]) {
            book.sweep(now, &shown(&world, now));
            prop_assert!(book.balances());
            prop_assert!(!has_false_loss(&book), "at {now}: {:?}", open(&book));
            if restarts {
                book = restarted(book);
            }
        }
        let mut last = shown(&world, 400);
        if written_off {
            // What became of the attempts before the last one.
            last.iter_mut().filter(|entry| entry.status == Retrying).for_each(|entry| entry.status = Failed);
            book.sweep(410, &last);
        }
        book.read(Coverage::Pages, 2_000, &last);
        let attempts: usize = world.iter().map(Vec::len).sum();
        let counted: u64 = [Success, Failed, Retrying].map(|status| book.attempts(status)).iter().sum();
        prop_assert_eq!((counted, open(&book)), (attempts as u64, vec![]));
        let ended_as = |status: AttemptStatus| world.iter().filter(|all| all.last().unwrap().entry.status == status).count();
        let expected = (ended_as(Success) as u64, ended_as(Failed) as u64, 0);
        prop_assert_eq!((book.ended(EndedWell), book.ended(EndedBadly), book.ended(Abandoned)), expected);
    }
}
