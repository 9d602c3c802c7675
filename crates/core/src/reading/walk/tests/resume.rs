//! Walks that go on where an earlier one has stopped, and what a walk tells of itself.

use super::{List, NOTHING, entry};
use crate::delivery::{EntryId, Timestamp};
use crate::reading::walk::{KnownEntries, PageRequest, Progress, Stretch, Walk};
use crate::reading::wire::{InvalidEntry, LogPage};

/// What was read before: the entries from 900 down to 401.
const READ: Stretch =
    Stretch { newest: Timestamp::from_seconds(900), oldest: Timestamp::from_seconds(401), count: 500 };

/// Walks to the end of a list of 1,000 entries less some; gives the pages that it asked for and the entries that it
/// read.
fn resume(gone: impl Fn(i64) -> bool) -> (Vec<u32>, Vec<i64>) {
    let mut list = List::new(1_000, 10);
    list.numbers.retain(|number| !gone(*number));
    let mut walk = Walk::resume(Timestamp::from_seconds(0), 10, READ);
    let mut pages = Vec::new();
    loop {
        let page = walk.request().page;
        pages.push(page);
        assert!(pages.len() < 500, "the walk does not end");
        if walk.absorb(list.page(page), NOTHING).unwrap() == Progress::Done {
            break;
        }
    }
    assert!(walk.is_contiguous());
    (pages, walk.take().0.iter().map(|entry| entry.created_at.as_micros() / 1_000_000).collect())
}

#[test]
fn what_was_read_is_leapt_over() {
    let (pages, read) = resume(|_| false);
    assert_eq!(pages, (1..=11).chain(60..=101).collect::<Vec<_>>());
    assert!((1..=400).chain(898..=1_000).all(|number| read.contains(&number)));
}

#[test]
fn a_leap_that_has_gone_too_far_is_taken_back() {
    // 35 entries of what was read are gone: what follows stands further up.
    let (pages, read) = resume(|number| (600..635).contains(&number));
    assert_eq!(pages[..15], [(1..=11).collect(), vec![60, 59, 57, 58]].concat());
    assert!((1..=400).all(|number| read.contains(&number)));
    // All of it is gone but its last entry: back to where the leap began, in steps that double.
    let (pages, read) = resume(|number| (402..=900).contains(&number));
    assert_eq!(pages[11..19], [60, 59, 57, 53, 45, 29, 11, 12]);
    assert!((1..=400).all(|number| read.contains(&number)));
    // What follows the landing begins exactly with the oldest entry that was read.
    let (pages, read) = resume(|number| (500..509).contains(&number));
    assert_eq!(pages[11..14], [60, 59, 60]);
    assert!((1..=400).all(|number| read.contains(&number)));
}

#[test]
fn a_walk_has_no_gap_but_between_its_leap_and_its_landing() {
    let mut list = List::new(1_000, 10);
    list.numbers.retain(|number| !(600..635).contains(number));
    let mut walk = Walk::resume(Timestamp::from_seconds(0), 10, READ);
    let mut gaps = Vec::new();
    for request in 1..20 {
        let page = walk.request().page;
        assert_eq!(walk.absorb(list.page(page), NOTHING), Ok(Progress::More));
        if !walk.is_contiguous() {
            gaps.push(request);
        }
    }
    assert_eq!(gaps, (1..=13).collect::<Vec<_>>());
    assert!(Walk::new(Timestamp::from_seconds(0), 10).is_contiguous());
}

#[test]
fn a_walk_tells_what_it_has_read() {
    let list = List::new(25, 10);
    let mut walk = Walk::new(Timestamp::from_seconds(0), 10);
    assert!((walk.is_empty(), walk.has_attempts(), walk.len(), walk.total()) == (true, false, 0, None));
    let mut page = list.page(1);
    page.invalid.push(InvalidEntry { key: "id:x".into(), reason: "", place: 0 });
    assert_eq!(walk.absorb(page, NOTHING), Ok(Progress::More));
    assert!((walk.is_empty(), walk.has_attempts(), walk.len(), walk.total()) == (false, true, 11, Some(25)));
    let (attempts, invalid) = walk.take();
    assert_eq!((attempts.len(), invalid.as_slice()), (10, &["id:x".into()][..]));
    assert!((walk.is_empty(), walk.has_attempts(), walk.has_reached_end()) == (true, false, false));
    assert_eq!(walk.absorb(list.page(2), NOTHING), Ok(Progress::More));
    assert_eq!(walk.absorb(list.page(3), NOTHING), Ok(Progress::Done));
    assert!((walk.has_reached_end(), walk.has_met_known(), walk.len()) == (true, false, 15));
}

#[test]
fn the_end_of_the_list_is_reached_where_nothing_older_was_met() {
    for (until, expected) in [(0, true), (1, true), (2, false), (15, false)] {
        let list = List::new(20, 10);
        let mut walk = Walk::new(Timestamp::from_seconds(0), 10);
        walk.set_until(Timestamp::from_seconds(until));
        while walk.absorb(list.page(walk.request().page), NOTHING).unwrap() == Progress::More {}
        assert_eq!(walk.has_reached_end(), expected, "until {until}");
    }
}

#[test]
fn known_ground_is_a_known_entry_or_a_known_unusable_one() {
    let knows = |id: &str, key: &str| {
        let known = KnownEntries { entry: &|other| *other == EntryId::new(id), invalid: &|other| other == key };
        let list = List::new(15, 10);
        let mut walk = Walk::new(Timestamp::from_seconds(0), 10);
        let mut first = list.page(1);
        first.invalid.push(InvalidEntry { key: "id:x".into(), reason: "", place: 0 });
        assert_eq!(walk.absorb(first, known), Ok(Progress::More));
        assert_eq!(walk.absorb(list.page(2), known), Ok(Progress::Done));
        walk.has_met_known()
    };
    assert_eq!([knows("12", ""), knows("3", ""), knows("", "id:x"), knows("99", "id:y")], [true, true, true, false]);
}

#[test]
fn a_page_that_is_too_large_is_read_in_smaller_ones_and_an_entry_that_is_is_walked_past() {
    let mut list = List::new(120, 100);
    let mut walk = Walk::new(Timestamp::from_seconds(0), 100);
    let mut pages = Vec::new();
    for _ in 0..200 {
        let PageRequest { page, per_page } = walk.request();
        list.per_page = per_page as usize;
        let answer: LogPage = list.page(page);
        pages.push((page, per_page));
        // Entry 117 is huge.
        if answer.attempts.iter().any(|attempt| *attempt == entry(117)) {
            walk.absorb_too_large(format!("page:{page}").into()).unwrap();
        } else if walk.absorb(answer, NOTHING).unwrap() == Progress::Done {
            break;
        }
    }
    let (attempts, invalid) = walk.take();
    assert_eq!(invalid, ["page:4".into()], "only the entry itself is unusable");
    assert_eq!(pages[..5], [(1, 100), (1, 50), (1, 25), (1, 5), (1, 1)]);
    assert_eq!(pages.last(), Some(&(2, 100)));
    assert_eq!(attempts.len(), 119);
}
