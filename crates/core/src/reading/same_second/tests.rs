//! Where each page sends a walk: what a leap, another size of pages and the places of a run decide, one step at a time.

use super::*;
use crate::reading::walk::tests::entry;
use crate::reading::wire::InvalidEntry;

/// Nothing was known before.
const NOTHING: KnownEntries<'_> = KnownEntries { entry: &|_| false, invalid: &|_| false };

fn attempt(name: &str, second: i64) -> Attempt {
    Attempt { id: EntryId::new(name), ..entry(second) }
}

/// A page of entries, each a letter and its second.
fn page(entries: &str) -> LogPage {
    let read = |entry: &str| {
        let (name, second) = entry.split_at(1);
        attempt(name, second.parse().unwrap())
    };
    LogPage { attempts: entries.split_whitespace().map(read).collect(), ..LogPage::default() }
}

/// Reads pages of a list on, of which the first has the number `from`. The list has grown by `growth` at each. Whether
/// one page could show all of a run is left out.
fn see(runs: &mut SameSecond, from: u32, growth: Option<i64>, pages: &[&str]) -> Vec<RunStep> {
    let mut step = |number, entries: &str| match runs.see(number, &page(entries), growth, PagePosition::Inner, NOTHING)
    {
        RunStep::Again(begin, _) => RunStep::To(begin),
        step => step,
    };
    (from..).zip(pages).map(|(number, entries)| step(number, entries)).collect()
}

/// The same pages, with an unusable entry after so many of the last one's; returns the last step.
fn see_unusable(runs: &mut SameSecond, pages: &[&str], unusable: &[usize]) -> RunStep {
    let mut step = RunStep::Onward;
    for (number, entries) in (1..).zip(pages) {
        let invalid = unusable.iter().filter(|_| number as usize == pages.len());
        let invalid = invalid.map(|place| InvalidEntry { key: "!".into(), reason: "", place: *place }).collect();
        let read = LogPage { invalid, ..page(entries) };
        step = runs.see(number, &read, Some(1), PagePosition::Inner, NOTHING);
    }
    step
}

#[test]
fn a_run_that_was_not_seen_in_full_says_what_one_page_must_show_of_it() {
    let time = Timestamp::from_seconds;
    for (pages, unusable, expected) in [
        // One of its four places shows an entry that was there before.
        (["a3 b2 c2", "c2 b2 z1 y0"], vec![], CutRun { newest: time(2), oldest: time(2), len: 2, end: 2 }),
        // An unusable entry elsewhere on the page is none of the run's.
        (["a3 b2 c2", "c2 b2 z1 y0"], vec![3], CutRun { newest: time(2), oldest: time(2), len: 2, end: 2 }),
        // One at its end may be of the second behind it.
        (["a3 b2 c2", "c2 b2 z1 x1 y0"], vec![2], CutRun { newest: time(2), oldest: time(1), len: 4, end: 5 }),
    ] {
        let mut runs = SameSecond::default();
        assert_eq!(see_unusable(&mut runs, &pages, &unusable), RunStep::Again(1, expected), "{pages:?} {unusable:?}");
    }
    // Nothing is behind it: no page can show that it has ended.
    let mut runs = SameSecond::default();
    assert_eq!(see_unusable(&mut runs, &["a3 b2"], &[]), RunStep::Onward);
    let last = runs.see(2, &page("c2 b2"), None, PagePosition::Last, NOTHING);
    assert_eq!(last, RunStep::To(1));
}

#[test]
fn a_run_that_was_seen_at_once_is_over_and_the_next_border_counts() {
    let mut runs = SameSecond::default();
    assert_eq!(see(&mut runs, 1, None, &["a3 b2", "c2 z1"]), [RunStep::Onward, RunStep::To(1)]);
    runs.complete();
    assert_eq!(see(&mut runs, 3, None, &["y1 x0"]), [RunStep::To(2)]);
}

#[test]
fn what_was_deleted_is_not_counted_for_what_was_not_seen() {
    let mut runs = SameSecond::default();
    assert_eq!(
        see(&mut runs, 1, Some(0), &["a2 b2", "b2 c2", "z1 y1"]),
        [RunStep::Onward, RunStep::Onward, RunStep::To(1)]
    );
    // `a` is gone: three of three places were seen, but `d` was not.
    assert_eq!(see(&mut runs, 1, Some(-1), &["b2 c2"]), [RunStep::Onward]);
    assert_eq!(see(&mut runs, 2, Some(0), &["c2 z1"]), [RunStep::To(1)]);
    assert_eq!(see(&mut runs, 1, Some(0), &["b2 d2", "c2 z1"]), [RunStep::Onward; 2]);
}

#[test]
fn a_leap_leaves_no_border_behind() {
    let mut runs = SameSecond::default();
    assert_eq!(see(&mut runs, 1, None, &["a3 b2"]), [RunStep::Onward]);
    runs.leap();
    assert_eq!(see(&mut runs, 2, None, &["c2 z1"]), [RunStep::Onward]);
    // Without a leap, the second that goes on is a run.
    assert_eq!(see(&mut SameSecond::default(), 1, None, &["a3 b2", "c2 z1"]), [RunStep::Onward, RunStep::To(1)]);
}

#[test]
fn the_places_of_a_run_are_not_counted_over_a_leap() {
    let (before, behind) = (["a3 b2", "c2 d2"], ["e2 z1"]);
    for (leaps, end) in [(false, RunStep::Onward), (true, RunStep::To(1))] {
        let mut runs = SameSecond::default();
        assert_eq!(see(&mut runs, 1, Some(0), &before), [RunStep::Onward; 2]);
        if leaps {
            runs.leap();
        }
        assert_eq!(see(&mut runs, 3, Some(0), &behind), [end], "{leaps}");
    }
}

#[test]
fn a_single_entry_on_both_sides_of_a_border_is_all_of_its_second_unless_the_list_was_left_or_pulled() {
    for (leaps, growth, behind, end) in [
        (false, None, None, RunStep::Onward),
        (true, None, None, RunStep::To(1)),
        // It became longer, or did not change, where its length was told again.
        (false, None, Some(1), RunStep::Onward),
        (false, None, Some(0), RunStep::Onward),
        (false, Some(-1), Some(0), RunStep::To(1)),
        (false, None, Some(-1), RunStep::To(1)),
    ] {
        let mut runs = SameSecond::default();
        assert_eq!(see(&mut runs, 1, growth, &["b2", "b2"]), [RunStep::Onward; 2]);
        if leaps {
            runs.leap();
        }
        assert_eq!(see(&mut runs, 3, behind, &["z1"]), [end], "{leaps} {growth:?} {behind:?}");
    }
}

#[test]
fn in_pages_of_another_size_a_run_begins_where_it_did() {
    let mut runs = SameSecond::default();
    assert_eq!(see(&mut runs, 3, Some(0), &["a3 b2", "c2 d2"]), [RunStep::Onward; 2]);
    // The third page of ten begins with the twenty-first entry, and so does the fifth of five.
    runs.rescale(10, 5, 9, NextPage::Overlaps);
    // All places are filled, but they were not counted.
    assert_eq!(see(&mut runs, 9, Some(0), &["e2 z1"]), [RunStep::To(5)]);
}

#[test]
fn behind_a_border_that_has_moved_a_run_may_begin_within_the_page() {
    for (rescales, end) in [(false, RunStep::Onward), (true, RunStep::To(2))] {
        let mut runs = SameSecond::default();
        assert_eq!(see(&mut runs, 2, None, &["a5 b4"]), [RunStep::Onward]);
        if rescales {
            runs.rescale(2, 4, 3, NextPage::Overlaps);
        }
        assert_eq!(see(&mut runs, 3, None, &["a5 b4 c4 z1"]), [end], "{rescales}");
    }
}
