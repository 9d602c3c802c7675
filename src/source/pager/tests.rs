//! Walks over lists that move between the pages.

use proptest::prelude::*;

use super::*;
use crate::delivery::{HttpStatus, Status};
use crate::source::wire::{InvalidEntry, Pagination};

mod resume;
mod runs;

/// So many cases of a property, unless `PROPTEST_CASES` asks for another number.
fn cases(number: u32) -> ProptestConfig {
    let is_asked = std::env::var_os("PROPTEST_CASES").is_some();
    if is_asked { ProptestConfig::default() } else { ProptestConfig::with_cases(number) }
}

/// Nothing was known before.
const NOTHING: Known<'_> = Known { entry: &|_| false, invalid: &|_| false };

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

pub(in crate::source) fn entry(number: i64) -> Attempt {
    Attempt {
        id: EntryId::new(&format!("{number}")),
        event: "e".into(),
        attempt: 1,
        status: Status::Success,
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
fn a_total_that_wobbles_over_a_run_of_many_pages_does_not_keep_a_walk_from_ending() {
    let mut list = Tied::new(10);
    (0..300).for_each(|number| list.insert(number / 280));
    let mut walk = Walk::new(Timestamp::from_seconds(0), 10);
    let requests = (1..1000_u64).find(|request| {
        let mut page = list.page(walk.request().page, request * 77_777);
        page.pagination.total = Some(300 - request % 2);
        walk.absorb(page, NOTHING).unwrap() == Progress::Done
    });
    let read: HashSet<EntryId> = walk.take().0.into_iter().map(|entry| entry.id).collect();
    assert_eq!(read.len(), 300, "{requests:?}");
}

#[test]
fn a_server_that_does_not_turn_its_pages_is_found_out() {
    let list = List::new(100, 100);
    let mut walk = Walk::new(Timestamp::from_seconds(0), 100);
    let error = (0..100).find_map(|_| {
        let mut page = list.page(1);
        page.pagination.total = None;
        walk.absorb(page, NOTHING).err()
    });
    assert_eq!(error, Some(WalkError::Repeating));
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

/// A list in which many entries share a second, and in which the order within a second is another one at every request.
struct Tied {
    /// Seconds and numbers, newest first.
    entries: Vec<(i64, u32)>,
    per_page: usize,
    next: u32,
    has_total: bool,
    /// One number in so many is that of an entry that cannot be used.
    unusable: u32,
}

impl Tied {
    fn new(per_page: usize) -> Self {
        Self { entries: Vec::new(), per_page, next: 0, has_total: true, unusable: u32::MAX }
    }

    fn is_unusable(&self, number: u32) -> bool {
        number % self.unusable == self.unusable - 1
    }

    fn page(&mut self, page: u32, shuffle: u64) -> LogPage {
        // A stable order within each second, but one that depends on the request.
        let order = |number: u32| {
            let mixed = (u64::from(number) + 1).wrapping_mul(shuffle | 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9)
        };
        self.entries.sort_by_cached_key(|(second, number)| (std::cmp::Reverse(*second), order(*number)));
        let start = ((page as usize - 1) * self.per_page).min(self.entries.len());
        let end = (start + self.per_page).min(self.entries.len());
        let (mut attempts, mut invalid) = (Vec::new(), Vec::new());
        for (second, number) in &self.entries[start..end] {
            if self.is_unusable(*number) {
                invalid.push(InvalidEntry { key: number.to_string().into(), reason: "", place: attempts.len() });
            } else {
                attempts.push(tied(*second, *number));
            }
        }
        LogPage {
            attempts,
            invalid,
            pagination: Pagination {
                per_page: Some(self.per_page as u64),
                total: self.has_total.then_some(self.entries.len() as u64),
                last_page: None,
            },
        }
    }

    fn insert(&mut self, second: i64) {
        self.entries.push((second, self.next));
        self.next += 1;
    }
}

fn tied(second: i64, number: u32) -> Attempt {
    Attempt { id: EntryId::new(&format!("{number}")), created_at: Timestamp::from_seconds(second), ..entry(0) }
}

/// What happens to the list between two requests.
#[derive(Clone, Debug)]
enum Event {
    Nothing,
    New(u8),
    Delete(Vec<prop::sample::Index>),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Nothing),
        2 => (1_u8..5).prop_map(Event::New),
        1 => prop::collection::vec(any::<prop::sample::Index>(), 1..6).prop_map(Event::Delete),
    ]
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn whatever_moves_a_walk_meets_all_that_was_there_from_beginning_to_end(
        runs in prop::collection::vec(1_usize..9, 1..25),
        per_page in 2_usize..9,
        events in prop::collection::vec(event(), 0..20),
        has_total in any::<bool>(),
        shuffles in any::<u64>(),
        until in 0_i64..12,
        narrow in prop::option::of(1_usize..6),
        unusable in prop_oneof![3 => Just(u32::MAX), 1 => 3_u32..12],
    ) {
        let mut list = Tied { has_total, unusable, ..Tied::new(per_page) };
        for (second, count) in (0..).zip(&runs) {
            (0..*count).for_each(|_| list.insert(second));
        }
        let is_expected = |(second, number): &&(i64, u32)| *second >= until && !list.is_unusable(*number);
        let mut expected: HashSet<EntryId> =
            list.entries.iter().filter(is_expected).map(|(second, number)| tied(*second, *number).id).collect();
        // Where a page is read in smaller ones, one of an unusable entry alone does not tell which second goes on behind it.
        let is_shuffled = has_total && (narrow.is_none() || unusable == u32::MAX);
        let stable = 7;
        let mut walk = Walk::new(Timestamp::from_seconds(until), per_page as u32);
        let mut events = events.into_iter();
        let now = runs.len() as i64;
        for request in 1..2000_u64 {
            prop_assert!(request < 1999, "the walk does not end");
            let shuffle = if is_shuffled { shuffles.wrapping_mul(request) } else { stable };
            let PageRequest { page, per_page } = walk.request();
            list.per_page = (per_page as usize).min(list.per_page);
            if narrow == Some(request as usize) && per_page > 1 {
                walk.absorb_too_large("x".into()).unwrap();
                continue;
            }
            list.per_page = per_page as usize;
            if walk.absorb(list.page(page, shuffle), NOTHING).unwrap() == Progress::Done {
                break;
            }
            match events.next() {
                Some(Event::New(count)) => (0..count).for_each(|_| list.insert(now)),
                Some(Event::Delete(picks)) if has_total => {
                    for pick in picks {
                        if !list.entries.is_empty() {
                            let (second, number) = list.entries.remove(pick.index(list.entries.len()));
                            expected.remove(&tied(second, number).id);
                        }
                    }
                }
                _ => {}
            }
        }
        let read: HashSet<EntryId> = walk.take().0.into_iter().map(|entry| entry.id).collect();
        let lost: Vec<_> = expected.difference(&read).collect();
        prop_assert!(lost.is_empty(), "lost: {lost:?}");
    }
}

#[test]
fn a_run_over_many_pages_is_read_until_all_of_it_was_seen() {
    let mut list = Tied::new(100);
    (0..250).for_each(|_| list.insert(1));
    (0..3000).for_each(|_| list.insert(2));
    (0..150).for_each(|_| list.insert(3));
    for (has_total, most) in [(true, 500), (false, 800)] {
        list.has_total = has_total;
        let mut walk = Walk::new(Timestamp::from_seconds(0), 100);
        let mut requests = 0;
        loop {
            requests += 1;
            assert!(requests < 5_000, "the walk does not end");
            let page = list.page(walk.request().page, requests * 77_777);
            if walk.absorb(page, NOTHING).unwrap() == Progress::Done {
                break;
            }
        }
        let read: HashSet<EntryId> = walk.take().0.into_iter().map(|entry| entry.id).collect();
        assert_eq!(read.len(), 3400);
        assert!(requests < most, "{requests} requests");
    }
}

#[test]
fn ties_in_a_stable_order_cost_no_further_request() {
    let mut list = Tied::new(10);
    (0..100).for_each(|number| list.insert(number / 4));
    let mut walk = Walk::new(Timestamp::from_seconds(0), 10);
    let mut requests = 0;
    loop {
        requests += 1;
        assert!(requests < 100, "the walk does not end");
        let page = list.page(walk.request().page, 7);
        if walk.absorb(page, NOTHING).unwrap() == Progress::Done {
            break;
        }
        // New entries push the others on.
        list.insert(1000);
    }
    assert_eq!((walk.len(), requests), (100 + 11, 12));
}
