//! Which page shows all of a run, and what follows if it does not.

use super::*;
use crate::reading::walk::tests::entry;

/// A page of entries of these seconds.
fn page(seconds: Range<i64>) -> LogPage {
    LogPage { attempts: seconds.rev().map(entry).collect(), ..LogPage::default() }
}

fn run(len: u64, end: u64) -> CutRun {
    let second = Timestamp::from_seconds;
    CutRun { newest: second(52), oldest: second(50), len, end }
}

/// The entries that a request asks for: how many precede them, and how many precede those behind them.
fn places(request: PageRequest) -> (u64, u64) {
    let PageRequest { page, per_page } = request;
    (u64::from(page - 1) * u64::from(per_page), u64::from(page) * u64::from(per_page))
}

#[test]
fn a_run_across_any_border_is_shown_with_room_on_both_sides() {
    for border in (100..20_000).step_by(100) {
        for (len, growth, room) in [(2, 0, 30), (10, 6, 25), (40, 50, 15)] {
            // Half of the run is on the page behind the border.
            let cover = Cover::of(run(len, len / 2), border, growth, 100).unwrap();
            let (begin, end) = places(cover.request());
            let above = border - len / 2 + growth - begin;
            let below = end - (border + len / 2 + growth);
            assert!(end - begin <= 100 && above.min(below) >= room, "{border} {len}: {above} above, {below} below");
        }
    }
}

#[test]
fn what_is_about_as_long_as_a_page_or_in_single_entries_cannot_be_shown() {
    assert!(Cover::of(run(60, 30), 1_000, 0, 100).is_some());
    assert!(Cover::of(run(100, 50), 1_000, 0, 100).is_none());
    assert!(Cover::of(run(2, 1), 1_000, 0, 1).is_none());
}

#[test]
fn a_page_shows_all_of_a_run_if_it_begins_before_it_and_ends_behind_it() {
    let cover = Cover::of(run(6, 3), 1_000, 0, 100).unwrap();
    assert!(matches!(cover.see(&page(49..54)), Covered::Whole));
    // The run may go on before the page, or behind it.
    assert!(matches!(cover.see(&page(49..53)), Covered::Retry(_)));
    assert!(matches!(cover.see(&page(50..54)), Covered::Retry(_)));
    assert!(matches!(cover.see(&page(50..53)), Covered::GivenUp));
    // Nothing is before the first page.
    let first = Cover::of(run(6, 3), 10, 0, 100).unwrap();
    assert_eq!(first.request().page, 1);
    assert!(matches!(first.see(&page(49..53)), Covered::Whole));
    assert!(matches!(first.see(&page(50..53)), Covered::Retry(_)));
}

#[test]
fn the_next_page_is_where_the_last_one_has_shown_the_run_to_be() {
    let cover = Cover::of(run(6, 3), 10_000, 0, 100).unwrap();
    let (begin, end) = places(cover.request());
    let asked = |seconds| match cover.see(&page(seconds)) {
        Covered::Retry(cover) => places(cover.request()),
        other => panic!("{other:?}"),
    };
    // The list has grown: the run begins with the page's last entry.
    let (next, behind) = asked(52..152);
    assert!(next < end - 30 && behind > end + 30, "{next} to {behind}");
    // It has become shorter: the run ends with the page's first entry.
    let (next, behind) = asked(-49..51);
    assert!(next < begin - 30 && behind > begin + 30, "{next} to {behind}");
}

#[test]
fn three_pages_are_asked_for_or_three_failures_awaited() {
    let retry = |covered| match covered {
        Covered::Retry(cover) => cover,
        other => panic!("{other:?}"),
    };
    let first = Cover::of(run(6, 3), 1_000, 0, 100).unwrap();
    let again = retry(first.fail());
    assert_eq!(again.request(), first.request());
    let second = retry(again.see(&page(0..40)));
    let third = retry(second.see(&page(0..40)));
    assert!(matches!(third.see(&page(0..40)), Covered::GivenUp));
    assert!(matches!(retry(third.fail()).fail(), Covered::GivenUp), "with the first failure these are three");
}

#[test]
fn unusable_entries_have_places_too() {
    use crate::reading::wire::InvalidEntry;
    let unusable = |place| InvalidEntry { key: "!".into(), reason: "", place };
    let page = LogPage { invalid: vec![unusable(0), unusable(2), unusable(4)], ..page(50..55) };
    let before = |second| place_of(&page, |time| time < Timestamp::from_seconds(second));
    assert_eq!([55, 54, 53, 52, 50].map(before), [1, 2, 4, 5, 8]);
}
