//! When a walk goes back, and how far.

use super::*;
use crate::reading::walk::tests::entry;
use crate::reading::wire::InvalidEntry;

const HERE: PageRequest = PageRequest { page: 9, per_page: 4 };

/// A page of entries of these seconds; 0 is an entry that cannot be used.
fn page(seconds: &[i64]) -> LogPage {
    let mut page = LogPage::default();
    for second in seconds {
        if *second == 0 {
            page.invalid.push(InvalidEntry { key: "!".into(), reason: "", place: page.attempts.len() });
        } else {
            page.attempts.push(entry(*second));
        }
    }
    page
}

fn sees(backtrack: &mut Backtrack, pages: &[(&[i64], Option<i64>)]) -> Vec<Option<u32>> {
    pages.iter().map(|(seconds, growth)| backtrack.see(HERE, HERE.page, &page(seconds), *growth)).collect()
}

#[test]
fn a_shorter_list_sends_back_as_many_pages_as_it_has_lost() {
    for (growth, expected) in
        [(None, None), (Some(3), None), (Some(0), None), (Some(-1), Some(8)), (Some(-4), Some(8)), (Some(-5), Some(7))]
    {
        assert_eq!(sees(&mut Backtrack::default(), &[(&[7, 6, 5, 4], growth)]), [expected], "{growth:?}");
    }
    assert_eq!(sees(&mut Backtrack::default(), &[(&[], Some(i64::MIN))]), [Some(1)]);
    // As many before the run that was being read.
    assert_eq!(Backtrack::default().see(HERE, 5, &page(&[7, 6, 5, 4]), Some(-5)), Some(3));
}

#[test]
fn it_does_so_over_five_pages_for_each_that_the_walk_has_come_to() {
    let mut backtrack = Backtrack::default();
    let mut is_sent = |number, removed: i64| {
        backtrack.see(PageRequest { page: number, ..HERE }, number, &page(&[7, 6]), Some(-removed)).is_some()
    };
    assert_eq!(
        [(3, 40), (2, 4), (3, 40), (3, 40), (3, 40), (3, 40), (3, 40)].map(|(at, removed)| is_sent(at, removed)),
        [true; 7]
    );
    assert_eq!([(3, 4), (3, 1), (3, 1), (2, 1)].map(|(at, removed)| is_sent(at, removed)), [true, true, false, false]);
    assert_eq!([4, 4, 4, 3, 4, 4].map(|at| is_sent(at, 1)), [true, true, true, true, true, false]);
}

/// How many were removed, the pages that come, and where they send.
type Case<'a> = (i64, [&'a [i64]; 2], &'a [Option<u32>]);

#[test]
fn the_second_of_what_was_pulled_is_read_from_where_it_begins() {
    let goes_on = &[None, None];
    let cases: [Case<'_>; 13] = [
        // It begins on the page, before the last place of it.
        (1, [&[7, 6, 6, 6], &[6, 6, 6, 6]], goes_on),
        // It may begin before the page, as all of that has the second of its last place,
        (1, [&[6, 6, 6, 6], &[7, 7, 6, 6]], &[Some(8), None]),
        (1, [&[6, 6, 6, 6], &[6, 6, 6, 6]], &[Some(8), Some(8)]),
        (1, [&[6, 6, 6, 6], &[5, 5, 5, 5]], &[Some(8), Some(8)]),
        (1, [&[6, 6, 6, 6], &[7, 7, 7, 7]], &[Some(8), None]),
        // of the second but last, of the first place of the page before, or of the first one.
        (2, [&[6, 6, 6, 5], &[7, 7, 7, 6]], &[Some(8), None]),
        (2, [&[6, 6, 5, 5], &[6, 6, 6, 6]], goes_on),
        (5, [&[6, 6, 6, 6], &[7, 7, 7, 6]], &[Some(8), None]),
        (4, [&[6, 5, 4, 3], &[6, 6, 6, 6]], &[Some(8), Some(8)]),
        // An entry that cannot be used has a place, and may have any second.
        (1, [&[6, 6, 6, 0], &[7, 7, 7, 6]], &[Some(8), None]),
        (1, [&[0, 0, 0, 0], &[6, 5, 4, 3]], &[Some(8), Some(8)]),
        (1, [&[6, 6, 6, 6], &[0, 0, 0, 0]], &[Some(8), Some(8)]),
        (1, [&[], &[7, 6, 6, 6]], &[Some(8), Some(8)]),
    ];
    for (removed, pages, expected) in cases {
        let mut backtrack = Backtrack::default();
        assert!(sees(&mut backtrack, &[(&[5, 4, 3, 2], Some(-removed))])[0].is_some());
        let pages = pages.map(|seconds| (seconds, None));
        assert_eq!(sees(&mut backtrack, &pages), expected, "{removed} removed: {pages:?}");
    }
}

#[test]
fn nothing_sends_a_walk_back_that_has_not_lost_anything() {
    let mut backtrack = Backtrack::default();
    assert_eq!(sees(&mut backtrack, &[(&[6, 6, 6, 6], None), (&[6, 6, 6, 6], Some(0)), (&[], Some(2))]), [None; 3]);
}

#[test]
fn nothing_is_before_the_first_page() {
    let first = PageRequest { page: 1, ..HERE };
    let mut backtrack = Backtrack::default();
    assert_eq!(backtrack.see(first, 1, &page(&[5, 4]), Some(-1)), None);
    assert_eq!(sees(&mut backtrack, &[(&[5, 5, 5, 5], None), (&[5, 5, 5, 5], Some(-1))]), [None, Some(8)]);
    assert_eq!(backtrack.see(first, 1, &page(&[5, 5, 5, 5]), None), None);
    assert_eq!(sees(&mut backtrack, &[(&[5, 5, 5, 5], None)]), [None]);
}
