//! Walks over lists that move between the pages.

use super::*;
use crate::delivery::EntryId;
use crate::delivery::{AttemptStatus, HttpStatus};
use crate::reading::wire::{InvalidEntry, Pagination};
use std::collections::HashSet;

mod failing;
mod moving;
mod resume;
mod runs;

/// Nothing was known before.
const NOTHING: KnownEntries<'_> = KnownEntries { entry: &|_| false, invalid: &|_| false };

/// A list of entries, newest first, one a second; the newest has the greatest number.
struct List {
    numbers: Vec<i64>,
    per_page: usize,
    has_total: bool,
}

impl List {
    fn new(count: i64, per_page: usize) -> Self {
        Self { numbers: (1..=count).rev().collect(), per_page, has_total: true }
    }

    fn page(&self, page: u32) -> LogPage {
        let start = ((page as usize - 1) * self.per_page).min(self.numbers.len());
        let end = (start + self.per_page).min(self.numbers.len());
        LogPage {
            attempts: self.numbers[start..end].iter().map(|number| entry(*number)).collect(),
            invalid: Vec::new(),
            pagination: Pagination {
                per_page: Some(self.per_page as u64),
                total: self.has_total.then_some(self.numbers.len() as u64),
                last_page: None,
            },
        }
    }

    fn insert_newest(&mut self, count: i64) {
        let newest = self.numbers.first().copied().unwrap_or(0);
        for number in newest + 1..=newest + count {
            self.numbers.insert(0, number);
        }
    }
}

pub(in crate::reading) fn entry(number: i64) -> Attempt {
    Attempt {
        id: EntryId::new(&format!("{number}")),
        event: "e".into(),
        attempt: 1,
        status: AttemptStatus::Success,
        http_status: HttpStatus::Code(200),
        error: None,
        duration_ns: None,
        delivered_at: None,
        created_at: Timestamp::from_seconds(number),
        group: [0; 16],
    }
}

/// Walks to the end, letting the list change after each page.
fn walk(list: &mut List, until: i64, mut change: impl FnMut(&mut List, u32)) -> (Vec<i64>, u32) {
    let mut walk = Walk::new(Timestamp::from_seconds(until), 100);
    let mut requests = 0;
    loop {
        let page = walk.request().page;
        requests += 1;
        assert!(requests < 5_000, "the walk does not end");
        let progress = walk.absorb(list.page(page), NOTHING).unwrap();
        if progress == Progress::Done {
            break;
        }
        change(list, requests);
    }
    let mut numbers: Vec<i64> = walk.take().0.iter().map(|e| e.created_at.as_micros() / 1_000_000).collect();
    numbers.sort_unstable();
    numbers.dedup();
    (numbers, requests)
}

#[test]
fn a_walk_ends_on_the_page_that_holds_older_entries() {
    let (numbers, requests) = walk(&mut List::new(1000, 100), 850, |_, _| {});
    assert_eq!(requests, 2);
    assert_eq!(numbers.first(), Some(&801));
    let (_, requests) = walk(&mut List::new(1000, 100), 999, |_, _| {});
    assert_eq!(requests, 1);
}

#[test]
fn a_walk_ends_with_the_list() {
    for (count, has_total, expected) in
        [(0, true, 1), (50, true, 1), (100, true, 2), (250, true, 3), (250, false, 3), (200, false, 3)]
    {
        let mut list = List::new(count, 100);
        list.has_total = has_total;
        let (numbers, requests) = walk(&mut list, 0, |_, _| {});
        assert_eq!((numbers.len() as i64, requests), (count, expected), "{count} entries, total: {has_total}");
    }
}

#[test]
fn a_server_that_cuts_smaller_pages_is_believed() {
    let (numbers, requests) = walk(&mut List::new(250, 50), 0, |_, _| {});
    assert_eq!((numbers.len(), requests), (250, 6));
}

#[test]
fn a_server_that_cuts_smaller_pages_and_does_not_say_so_is_found_out() {
    let claims = Pagination { per_page: Some(100), total: Some(250), last_page: Some(3) };
    let total_alone = Pagination { total: Some(250), ..Pagination::default() };
    for (count, pagination, expected) in [
        (250, claims, 9),
        (250, total_alone, 9),
        (250, Pagination::default(), 9),
        // The last page is full, or the only one is short.
        (240, Pagination::default(), 9),
        (12, Pagination::default(), 2),
        (12, Pagination { total: Some(13), ..claims }, 2),
        // What is told is believed where it fits.
        (12, Pagination { per_page: Some(100), ..Pagination::default() }, 1),
        (12, Pagination { last_page: Some(1), ..Pagination::default() }, 1),
        (12, Pagination { total: Some(12), ..Pagination::default() }, 1),
    ] {
        let list = List::new(count, 30);
        let mut walk = Walk::new(Timestamp::from_seconds(0), 100);
        let requests = (1..50).find(|_| {
            let page = LogPage { pagination, ..list.page(walk.request().page) };
            walk.absorb(page, NOTHING).unwrap() == Progress::Done
        });
        assert_eq!((walk.take().0.len() as i64, requests), (count, Some(expected)), "{pagination:?}");
    }
}

#[test]
fn a_page_that_comes_under_every_number_is_the_whole_list_where_nothing_tells_of_more() {
    let list = List::new(12, 100);
    let mut walk = Walk::new(Timestamp::from_seconds(0), 100);
    let ends = (1..10).find(|_| {
        let page = LogPage { pagination: Pagination::default(), ..list.page(1) };
        walk.absorb(page, NOTHING) == Ok(Progress::Done)
    });
    assert_eq!(ends, Some(3));
}

#[test]
fn insertions_and_deletions_between_pages_lose_nothing() {
    let mut list = List::new(1000, 100);
    let (numbers, _) = walk(&mut list, 0, |list, requests| {
        if requests % 2 == 0 {
            list.insert_newest(30);
        }
    });
    assert!((1..=1000).all(|number| numbers.contains(&number)));

    let mut list = List::new(1000, 100);
    let (numbers, _) = walk(&mut list, 0, |list, requests| {
        if requests == 3 {
            // 150 of those that were read already: the ones at the border move two pages forward.
            list.numbers.drain(0..150);
        }
    });
    assert!((1..=1000).all(|number| numbers.contains(&number)));
}

#[test]
fn a_total_that_wobbles_does_not_keep_a_walk_from_ending() {
    let list = List::new(1000, 100);
    let mut walk = Walk::new(Timestamp::from_seconds(0), 100);
    for requests in 0.. {
        assert!(requests < 130, "the walk does not end");
        let mut page = list.page(walk.request().page);
        page.pagination.total = Some(1000 - requests % 3);
        if walk.absorb(page, NOTHING) == Ok(Progress::Done) {
            break;
        }
    }
    assert_eq!(walk.take().0.iter().map(|e| e.id.clone()).collect::<HashSet<_>>().len(), 1000);
}

#[test]
fn a_length_that_keeps_falling_sends_a_walk_back_over_five_pages_for_each() {
    let list = List::new(1000, 100);
    let mut walk = Walk::new(Timestamp::from_seconds(0), 100);
    let asked: Vec<u32> = (0..32)
        .map(|request| {
            let at = walk.request().page;
            let mut page = list.page(at);
            page.pagination.total = Some(1000 - request);
            assert_eq!(walk.absorb(page, NOTHING), Ok(Progress::More));
            at
        })
        .collect();
    assert_eq!(asked[..20], [[1, 2]; 10].concat());
    assert_eq!(asked[20..], [1, 2, 3, 2, 1, 2, 1, 2, 1, 2, 1, 2]);
    assert_eq!(walk.request().page, 3);
}

#[test]
fn a_list_that_repeats_itself_is_ended() {
    let list = List::new(300, 100);
    let unusable = |key: String| InvalidEntry { key: key.into(), reason: "", place: 0 };
    // A server that does not turn its pages, one that turns two of them round and round, and 1,000 entries that all are
    // `[]`.
    for (number, distinct) in [(1, 100), (2, 200), (0, 1)] {
        let mut walk = Walk::new(Timestamp::from_seconds(0), 100);
        let ends = (1..100).find(|request| {
            let mut page = list.page(1 + request % number.max(1));
            page.pagination.total = None;
            if number == 0 {
                page.attempts.clear();
                page.invalid = (0..1_000).map(|_| unusable("sha256:x".to_owned())).collect();
            }
            walk.absorb(page, NOTHING) == Ok(Progress::Done)
        });
        assert_eq!((ends, walk.cut_short()), (Some(number.max(1) + 20), Some(CutShort::Repeating)));
        let (attempts, invalid) = walk.take();
        let ids: HashSet<EntryId> = attempts.into_iter().map(|attempt| attempt.id).collect();
        assert_eq!(ids.len() + invalid.len(), distinct, "unusable entries are kept once");
        assert!(!walk.has_reached_end());
    }
}

#[test]
fn a_list_of_ever_new_unusable_entries_is_ended() {
    let mut walk = Walk::new(Timestamp::from_seconds(0), 100);
    let ends = (1..1_000).find(|request| {
        let key = |number| format!("sha256:{request}-{number}").into();
        let invalid = (0..100).map(|number| InvalidEntry { key: key(number), reason: "", place: 0 }).collect();
        walk.absorb(LogPage { invalid, ..LogPage::default() }, NOTHING) == Ok(Progress::Done)
    });
    assert_eq!((ends, walk.cut_short()), (Some(201), Some(CutShort::Unusable)));
}

#[test]
fn a_server_that_always_answers_too_much_is_found_out() {
    let mut walk = Walk::new(Timestamp::from_seconds(0), 100);
    let error = (0..100).find_map(|_| walk.absorb_too_large("the same".into()).err());
    assert_eq!(error, Some(WalkError::Repeating));

    let list = List::new(400, 100);
    let mut walk = Walk::new(Timestamp::from_seconds(0), 1);
    for number in 0..300 {
        match number % 20 {
            // One that is pushed on by new entries is met again.
            0..19 => walk.absorb_too_large(format!("{}", number / 20).into()).unwrap(),
            _ => assert_eq!(walk.absorb(list.page(4), NOTHING), Ok(Progress::More)),
        }
    }
    assert_eq!(walk.request().page, 301, "entries that are too large are walked past");
}
