//! What holds for any log, however it is read.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::delivery::{Attempt, AttemptStatus, EntryId};
use crate::ledger::decide::{Coverage, decide};
use crate::ledger::series::LogOutcome;
use crate::ledger::series::{Family, SeriesKey};
use crate::ledger::state::Ledger;
use crate::ledger::totals::{Total, Totals};
use crate::ledger::transition::Transition;
use crate::testing::{Book, attempt, cases};

const STATUSES: [AttemptStatus; 5] = [
    AttemptStatus::Pending,
    AttemptStatus::Success,
    AttemptStatus::Failed,
    AttemptStatus::Retrying,
    AttemptStatus::Unknown,
];

fn status() -> impl Strategy<Value = AttemptStatus> {
    prop::sample::select(&STATUSES[..])
}

/// Entries with few groups, attempts and seconds, so that ties and joins are frequent. Each id occurs once.
fn entries(most: usize) -> impl Strategy<Value = Vec<Attempt>> {
    let one = (0_u8..3, 1_u8..4, 0_i64..60, status(), 0_u64..3_000_000_000);
    prop::collection::vec(one, 1..most).prop_map(|all| {
        let with_id = all.into_iter().enumerate();
        with_id
            .map(|(number, (group, attempt_number, second, status, duration))| {
                let group = format!("g{group}");
                let mut entry = attempt(&format!("id-{number}"), &group, attempt_number, second, status);
                entry.duration_ns = Some(duration);
                entry
            })
            .collect()
    })
}

fn family(totals: &Totals, family: Family) -> BTreeMap<SeriesKey, Total> {
    totals.family(family).map(|(key, total)| (key.clone(), total.clone())).collect()
}

/// A reading of some of a log: which entries, with which state, at which time, as which kind of walk.
#[derive(Clone, Debug)]
struct Reading {
    picks: Vec<(Index, AttemptStatus)>,
    pause: i64,
    coverage: Coverage,
    missing: Vec<Index>,
}

fn reading() -> impl Strategy<Value = Reading> {
    let coverage = prop::sample::select(&[Coverage::Pages, Coverage::Head, Coverage::Sweep][..]);
    let picks = prop::collection::vec((any::<Index>(), status()), 0..30);
    let missing = prop::collection::vec(any::<Index>(), 0..4);
    (picks, prop_oneof![4 => 0_i64..20, 1 => 100_i64..700], coverage, missing)
        .prop_map(|(picks, pause, coverage, missing)| Reading { picks, pause, coverage, missing })
}

fn batch(log: &[Attempt], reading: &Reading, now: i64) -> crate::ledger::decide::Batch {
    let attempts: Vec<Attempt> =
        reading.picks.iter().map(|(pick, status)| Attempt { status: *status, ..pick.get(log).clone() }).collect();
    let mut batch = Book::batch(reading.coverage, now, &attempts);
    batch.missing = reading.missing.iter().map(|pick| pick.get(log).id.clone()).collect();
    batch
}

/// Checks everything that must hold after each of some readings.
fn check_readings(log: &[Attempt], readings: &[Reading]) -> Result<(), TestCaseError> {
    let mut book = Book::new();
    let mut now = 60;
    let mut counted: BTreeMap<EntryId, u32> = BTreeMap::new();
    let mut folded = book.ledger.totals().clone();
    for reading in readings {
        now += reading.pause;
        let batch = batch(log, reading, now);
        let before = book.ledger.marks().watermark;
        let restarted = restart(&book.ledger);
        prop_assert_eq!(
            &decide(&restarted, &batch, &book.policy).changes.totals,
            &decide(&book.ledger, &batch, &book.policy).changes.totals
        );

        let decision = book.apply(&batch);
        prop_assert!(book.balances(), "the books do not balance");
        prop_assert!(book.ledger.marks().watermark >= before);
        prop_assert!(book.ledger.marks().watermark <= Some(batch.now.timestamp()));
        for transition in &decision.transitions {
            if let Transition::Counted { attempt, .. } = transition {
                *counted.entry(attempt.id.clone()).or_default() += 1;
            }
        }
        let changed = folded.after(&decision.transitions, &book.policy.labels);
        folded.apply(&changed.totals);
        prop_assert_eq!(&folded, book.ledger.totals());
        let repeated = decide(&book.ledger, &batch, &book.policy);
        let is_counted = |transition: &Transition| matches!(transition, Transition::Counted { .. });
        prop_assert!(!repeated.transitions.iter().any(is_counted), "a repetition counts");
        let logs = |t: &&Transition| matches!(t, Transition::Logged(LogOutcome::New | LogOutcome::Late));
        prop_assert_eq!(repeated.transitions.iter().filter(logs).count(), 0);
    }
    prop_assert!(counted.values().all(|times| *times == 1), "counted twice: {counted:?}");
    Ok(())
}

/// What the state file would give back.
pub(super) fn restart(ledger: &Ledger) -> Ledger {
    let mut restored = Ledger::restore(ledger.marks().clone(), ledger.invalid().clone(), ledger.totals().clone());
    ledger.rows().for_each(|(key, row)| restored.remember(key.clone(), row.clone()));
    restored
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn splitting_repeating_and_reordering_change_no_totals_of_attempts(
        log in entries(40),
        order in any::<prop::sample::Index>(),
        pieces in 1_usize..6,
    ) {
        let mut whole = Book::new();
        whole.poll(70, &log);

        let mut rotated = log.clone();
        rotated.rotate_left(order.index(log.len()));
        let mut split = Book::new();
        for piece in rotated.chunks(log.len().div_ceil(pieces)) {
            split.poll(70, piece);
            split.poll(70, piece);
        }
        for of in [Family::Attempts, Family::Duration, Family::Delay] {
            prop_assert_eq!(family(whole.ledger.totals(), of), family(split.ledger.totals(), of));
        }
        prop_assert!(split.balances());
    }

    #[test]
    fn any_readings_keep_the_books(log in entries(60), readings in prop::collection::vec(reading(), 1..12)) {
        check_readings(&log, &readings)?;
    }

    #[test]
    fn a_world_that_stands_still_is_counted_in_full(
        log in entries(60),
        readings in prop::collection::vec(reading(), 0..6),
    ) {
        let mut book = Book::new();
        for (now, reading) in (60..).zip(&readings) {
            book.apply(&batch(&log, reading, now));
        }
        book.read(Coverage::Sweep, 70, &log);
        let expected = log.iter().filter(|entry| entry.status.is_outcome()).count();
        let counted: usize = log.iter().filter(|entry| {
            book.ledger.find(&entry.id).is_some_and(|entry| entry.row.counted.is_some())
        }).count();
        prop_assert!(counted >= expected);
        prop_assert_eq!(book.log(LogOutcome::New) + book.log(LogOutcome::Late), log.len() as u64);
    }
}
