//! Walks over lists that move in every way at once, and whose seconds come in an order that is another one at every
//! request.

use proptest::prelude::*;

use super::*;
use crate::testing::cases;

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
        // Where a page is read in smaller ones, one of an unusable entry alone does not tell which second goes on
        // behind it.
        let is_shuffled = has_total && (narrow.is_none() || unusable == u32::MAX);
        let stable = 7;
        let mut walk = Walk::new(Timestamp::from_seconds(until), per_page as u32);
        let mut events = events.into_iter();
        let now = runs.len() as i64;
        for request in 1..10_000_u64 {
            prop_assert!(request < 9_999, "the walk does not end");
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

/// Walks over a list like that of `config/scenarios/faults.yml`, read once a second: a second has six entries in an
/// order that changes, one in thirty has forty more, and one in twenty entries cannot be used. One request in seven
/// fails. Returns the requests that were made.
fn requests_under_faults(list: &mut Tied) -> u64 {
    const SECONDS: i64 = 600;
    let fill = |list: &mut Tied, second: i64| {
        (0..if second % 30 == 0 { 46 } else { 6 }).for_each(|_| list.insert(second));
    };
    (0..SECONDS).for_each(|second| fill(list, second));
    let is_expected = |(_, number): &&(i64, u32)| !list.is_unusable(*number);
    let mut expected: HashSet<EntryId> =
        list.entries.iter().filter(is_expected).map(|(second, number)| tied(*second, *number).id).collect();
    let mut walk = Walk::new(Timestamp::from_seconds(0), 100);
    let requests = (1..5_000_u64).find(|request| {
        let PageRequest { page, per_page } = walk.request();
        fill(list, SECONDS + *request as i64);
        if request % 8 == 0 {
            let (second, number) = list.entries.remove(*request as usize * 7_919 % list.entries.len());
            expected.remove(&tied(second, number).id);
        }
        list.per_page = per_page as usize;
        if request % 7 == 3 {
            assert_eq!(walk.fail(Timestamp::from_seconds(0)), Ok(Failed::BackOff));
            return false;
        }
        walk.absorb(list.page(page, request * 77_777), NOTHING) == Ok(Progress::Done)
    });
    let read: HashSet<EntryId> = walk.take().0.into_iter().map(|entry| entry.id).collect();
    assert!(expected.is_subset(&read));
    requests.expect("the walk does not end")
}

#[test]
fn a_list_with_every_fault_is_read_in_at_most_three_requests_a_page() {
    let mut list = Tied { unusable: 20, ..Tied::new(100) };
    let requests = requests_under_faults(&mut list);
    let pages = list.entries.len() as u64 / 100;
    assert!(requests <= 3 * pages, "{requests} requests for {pages} pages");
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
fn a_total_that_falls_with_every_request_does_not_keep_a_walk_from_ending() {
    // In small pages no page shows a run in full, in large ones one does. If the newest second fills the first page, no
    // run begins on it.
    for (per_page, newest) in [(10, 0), (10, 10), (100, 0), (100, 100)] {
        let mut list = Tied { unusable: 7, ..Tied::new(per_page) };
        (0..30 * per_page as i64).for_each(|number| list.insert(number / 6));
        (0..newest).for_each(|_| list.insert(1000));
        let mut walk = Walk::new(Timestamp::from_seconds(0), per_page as u32);
        let requests = (1..20_000_u64).find(|request| {
            let PageRequest { page, per_page } = walk.request();
            list.per_page = per_page as usize;
            let mut read = list.page(page, request * 77_777);
            read.pagination.total = Some(1_000_000 - request);
            walk.absorb(read, NOTHING).unwrap() == Progress::Done
        });
        assert!(requests.is_some(), "{per_page} {newest}: the walk does not end");
        let read: HashSet<EntryId> = walk.take().0.into_iter().map(|entry| entry.id).collect();
        let expected = list.entries.iter().filter(|(_, number)| !list.is_unusable(*number)).count();
        assert_eq!(read.len(), expected, "{per_page} {newest}: {requests:?}");
    }
}

#[test]
fn after_an_outage_a_walk_asks_for_pages_of_other_sizes_as_before() {
    let pages_of_other_sizes = |outage: u32| {
        let mut list = Tied { unusable: 20, ..Tied::new(100) };
        (0..3000).for_each(|number| list.insert(number / 6));
        let (mut walk, mut left, mut asked) = (Walk::new(Timestamp::from_seconds(0), 100), outage, 0);
        for request in 1..10_000_u64 {
            let PageRequest { page, per_page } = walk.request();
            let is_other = per_page != 100;
            // It begins with the first page of another size, and ends with a page of the usual one.
            if left > 0 && (is_other || left < outage) {
                left -= 1;
                _ = walk.fail(Timestamp::from_seconds(0)).unwrap();
                continue;
            }
            asked += u32::from(is_other);
            list.per_page = per_page as usize;
            if walk.absorb(list.page(page, request * 77_777), NOTHING) == Ok(Progress::Done) {
                return asked;
            }
        }
        panic!("it does not end");
    };
    let expected = pages_of_other_sizes(0);
    assert!(expected > 10, "{expected}");
    for outage in [1, 2, 4, 5] {
        let asked = pages_of_other_sizes(outage);
        assert!(asked > 10, "{asked} instead of {expected} after {outage} failures");
    }
}

#[test]
fn where_pages_of_other_sizes_are_refused_a_walk_asks_for_one_of_them_only() {
    let mut list = Tied { unusable: 20, ..Tied::new(100) };
    (0..3000).for_each(|number| list.insert(number / 6));
    let mut walk = Walk::new(Timestamp::from_seconds(0), 100);
    let mut refused = 0;
    let requests = (1..10_000_u64).find(|request| {
        let PageRequest { page, per_page } = walk.request();
        if per_page != 100 {
            refused += 1;
            assert_eq!(walk.fail(Timestamp::from_seconds(0)), Ok(Failed::BackOff));
            return false;
        }
        walk.absorb(list.page(page, request * 77_777), NOTHING) == Ok(Progress::Done)
    });
    let read: HashSet<EntryId> = walk.take().0.into_iter().map(|entry| entry.id).collect();
    assert_eq!((read.len(), refused), (3000 - 3000 / 20, 3), "{requests:?}");
}
