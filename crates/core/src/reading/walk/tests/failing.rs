//! Walks over lists in which some pages fail: because of an entry, of their depth, or for a while.

use std::collections::HashSet;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::reading::holes::Hole;
use crate::testing::cases;

/// A list of which some entries make every page fail that holds them.
struct Faulty {
    list: List,
    poisoned: HashSet<i64>,
    /// Pages beyond this number are refused.
    deepest: u32,
    /// Requests during which nothing is answered.
    outage: Range<usize>,
    requests: usize,
    /// Failures that make the target back off, all failures, and pages that were requested.
    backed_off: usize,
    failures: usize,
    pages: Vec<(u32, u32)>,
}

/// What a walk came to.
#[derive(Debug, PartialEq)]
struct Walked {
    numbers: Vec<i64>,
    keys: Vec<Box<str>>,
    cut_short: Option<CutShort>,
    bottom: Option<u64>,
}

impl Faulty {
    fn new(count: i64, poisoned: &[i64]) -> Self {
        Self {
            list: List::new(count, 100),
            poisoned: poisoned.iter().copied().collect(),
            deepest: u32::MAX,
            outage: 0..0,
            requests: 0,
            backed_off: 0,
            failures: 0,
            pages: Vec::new(),
        }
    }

    fn answer(&mut self, PageRequest { page, per_page }: PageRequest) -> Option<LogPage> {
        self.requests += 1;
        self.pages.push((page, per_page));
        self.list.per_page = per_page as usize;
        let answer = self.list.page(page);
        let is_poisoned = answer.attempts.iter().any(|attempt| self.poisoned.contains(&number(attempt)));
        let is_refused = page > self.deepest || is_poisoned || self.outage.contains(&self.requests);
        (!is_refused).then_some(answer)
    }

    /// Walks down to `until`, letting the list change after each request. `None` if the walk must start anew.
    fn walk(&mut self, mut walk: Walk, mut change: impl FnMut(&mut List)) -> Option<Walked> {
        (self.requests, self.backed_off, self.failures) = (0, 0, 0);
        self.pages.clear();
        loop {
            assert!(
                self.requests < 3_000,
                "the walk does not end: {:?} {:?} {:?}",
                self.poisoned,
                &self.pages[..80],
                &self.pages[2_980..]
            );
            let now = Timestamp::from_seconds(self.list.numbers.first().copied().unwrap_or(0) + 1);
            let is_done = match self.answer(walk.request()) {
                Some(page) => walk.absorb(page, NOTHING).ok()? == Progress::Done,
                None => {
                    self.failures += 1;
                    let failed = walk.fail(now).ok()?;
                    self.backed_off += usize::from(failed == Failed::BackOff);
                    failed == Failed::Done
                }
            };
            if is_done {
                break;
            }
            change(&mut self.list);
        }
        let (attempts, mut keys) = walk.take();
        let mut numbers: Vec<i64> = attempts.iter().map(number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        keys.sort_unstable();
        keys.dedup();
        Some(Walked { numbers, keys, cut_short: walk.cut_short(), bottom: walk.bottom() })
    }

    fn readable(&self) -> Vec<i64> {
        let readable = self.list.numbers.iter().rev().copied();
        readable.filter(|number| !self.poisoned.contains(number)).collect()
    }
}

fn number(attempt: &Attempt) -> i64 {
    attempt.created_at.as_micros() / 1_000_000
}

fn full(until: i64) -> Walk {
    Walk::new(Timestamp::from_seconds(until), 100)
}

fn holes(keys: &[Box<str>]) -> Vec<Hole> {
    keys.iter().filter_map(|key| Hole::from_key(key)).collect()
}

#[test]
fn one_entry_that_makes_pages_fail_is_found_wherever_it_stands_and_known_again() {
    for poisoned in [
        [300].as_slice(),
        &[299],
        &[263],
        &[201],
        &[200],
        &[101],
        &[2],
        &[1],
        &[150, 149],
        &[300, 299, 298],
        &[180, 178],
    ] {
        let mut faulty = Faulty::new(300, poisoned);
        let found = faulty.walk(full(0), |_| {}).unwrap();
        assert_eq!(found.numbers, faulty.readable(), "{poisoned:?}");
        assert_eq!((found.keys.len(), found.cut_short), (poisoned.len(), None), "{poisoned:?}");
        assert_eq!(faulty.backed_off, 3, "{poisoned:?}");
        assert!(faulty.requests < 60, "{} {poisoned:?}", faulty.requests);

        // The next walk is not held up, and counts nothing again; also when entries arrive.
        for arrivals in [0, 3] {
            faulty.list.insert_newest(arrivals);
            let again =
                faulty.walk(full(0).expecting(holes(&found.keys), None).expecting_on_first_page(), |_| {}).unwrap();
            assert_eq!(again.numbers, faulty.readable(), "{poisoned:?}");
            assert_eq!((again.keys, faulty.backed_off), (found.keys.clone(), 0), "{poisoned:?}");
        }
    }
}

#[test]
fn an_unreadable_entry_at_the_end_of_a_small_first_page_is_one() {
    for poisoned in [[54].as_slice(), &[63, 54], &[55, 54], &[54, 53]] {
        let mut faulty = Faulty::new(63, poisoned);
        let mut known: Vec<Box<str>> = Vec::new();
        for _ in 0..3 {
            let walk = full(0).with_first_page(10).expecting(holes(&known), None).expecting_on_first_page();
            let found = faulty.walk(walk, |_| {}).unwrap();
            assert_eq!(found.numbers, faulty.readable(), "{poisoned:?}");
            assert_eq!(found.keys.len(), poisoned.len(), "{poisoned:?} {:?}", found.keys);
            assert!(known.is_empty() || known == found.keys, "{poisoned:?} {known:?} {:?}", found.keys);
            known = found.keys;
        }
    }
}

#[test]
fn what_is_requested_to_find_one_entry() {
    let mut faulty = Faulty::new(200, &[163]);
    faulty.walk(full(0), |_| {}).unwrap();
    let tried = [(1, 100), (1, 100), (1, 100), (2, 100), (1, 50), (1, 25), (2, 25), (6, 5), (4, 10), (7, 5), (8, 5)];
    let found = [(36, 1), (37, 1), (38, 1), (38, 1), (38, 1), (39, 1), (38, 1), (39, 1), (40, 1), (5, 10), (2, 50)];
    assert_eq!(faulty.pages, [&tried[..], &found, &[(2, 100), (3, 100)]].concat());
    // The same on the next poll, whose first page is small.
    let found = faulty.walk(full(0), |_| {}).unwrap();
    let poll = || full(198).with_first_page(10).expecting(holes(&found.keys), None).expecting_on_first_page();
    faulty.walk(poll(), |_| {}).unwrap();
    assert_eq!((faulty.pages.as_slice(), faulty.failures), (&[(1, 10)][..], 0), "it stands deeper");
    faulty.poisoned = HashSet::from([200]);
    let found = faulty.walk(full(0), |_| {}).unwrap();
    let poll = full(198).with_first_page(10).expecting(holes(&found.keys), None).expecting_on_first_page();
    faulty.walk(poll, |_| {}).unwrap();
    assert!(faulty.requests <= 8 && faulty.backed_off == 0, "{:?}", faulty.pages);
}

#[test]
fn an_api_that_refuses_deeper_pages_is_read_as_far_as_it_goes() {
    let mut faulty = Faulty { deepest: 10, ..Faulty::new(2_500, &[]) };
    let found = faulty.walk(full(0), |_| {}).unwrap();
    assert_eq!((found.numbers.len(), found.numbers[0], found.keys.len()), (1_000, 1_501, 0));
    assert_eq!((found.cut_short, found.bottom), (Some(CutShort::Refused), Some(1_000)));
    assert!(faulty.requests < 30, "{:?}", faulty.pages);
    let again = faulty.walk(full(0).expecting(Vec::new(), found.bottom), |_| {}).unwrap();
    assert_eq!((again, faulty.requests, faulty.backed_off), (found, 11, 0));
    faulty.deepest = u32::MAX;
    let whole = faulty.walk(full(0).expecting(Vec::new(), Some(1_000)), |_| {}).unwrap();
    assert_eq!((whole.numbers.len(), whole.cut_short, whole.bottom), (2_500, None, None));
}

#[test]
fn nothing_is_concluded_where_nobody_is_answered() {
    for outage in [1..200, 2..50, 3..4, 3..5, 3..6, 3..7, 3..20] {
        let mut faulty = Faulty { outage, ..Faulty::new(1_000, &[]) };
        let found = faulty.walk(full(0), |_| {}).unwrap();
        assert_eq!((found.numbers.len(), found.keys.len(), found.cut_short), (1_000, 0, None), "{:?}", faulty.outage);
        assert_eq!(faulty.failures, faulty.backed_off, "{:?}", faulty.outage);
    }
    // All that is in the list cannot be read.
    let mut faulty = Faulty::new(1, &[1]);
    assert_eq!(faulty.walk(full(0), |_| {}), None);
}

#[test]
fn what_is_known_to_be_unreadable_explains_no_outage() {
    // Of 300 entries, the newest, one on the first page and one far behind it are known to be unreadable.
    for poisoned in [300, 250, 20] {
        let mut faulty = Faulty::new(300, &[poisoned]);
        let known = faulty.walk(full(0), |_| {}).unwrap().keys;
        for outage in [1..400, 2..400, 4..400] {
            for is_on_first_page in [false, true] {
                let walk = full(0).expecting(holes(&known), None);
                let walk = if is_on_first_page { walk.expecting_on_first_page() } else { walk };
                faulty.outage = outage.clone();
                if let Some(found) = faulty.walk(walk, |_| {}) {
                    assert_eq!((found.numbers.len(), &found.keys), (299, &known), "{poisoned} {outage:?}");
                }
                let unpunished = faulty.failures - faulty.backed_off;
                assert!(unpunished <= 25, "{unpunished} requests without a pause: {poisoned} {outage:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn whatever_fails_a_walk_reads_all_that_can_be_read_and_accuses_nothing_else(
        count in 2_i64..400,
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        arrivals in prop::collection::vec(0_i64..4, 0..60),
        outage in prop_oneof![Just((0, 0)), (0_usize..60, 1_usize..40)],
        first in prop::sample::select(vec![100_u32, 10]),
    ) {
        let poisoned: Vec<i64> = picks.iter().map(|pick| pick.index(count as usize) as i64 + 1).collect();
        let mut faulty = Faulty { outage: outage.0..outage.0 + outage.1, ..Faulty::new(count, &poisoned) };
        let before = faulty.readable();
        // An outage that begins just when an entry that was pushed to a suspect's place is requested is taken for its
        // fault.
        let arrivals = if outage.1 > 0 { Vec::new() } else { arrivals };
        let is_moving = !arrivals.is_empty();
        let mut known: Vec<Box<str>> = Vec::new();
        for _ in 0..3 {
            let mut arrivals = arrivals.iter().copied();
            let walk = full(0).with_first_page(first).expecting(holes(&known), None).expecting_on_first_page();
            let walked = faulty.walk(walk, |list| list.insert_newest(arrivals.next().unwrap_or(0)));
            let is_quiet = faulty.outage.is_empty() && !is_moving;
            faulty.outage = 0..0;
            let Some(found) = walked else {
                prop_assert!(!is_quiet || before.is_empty(), "the walk finds no cause and would start anew for ever");
                continue;
            };
            let lost: Vec<_> = before.iter().filter(|number| found.numbers.binary_search(number).is_err()).collect();
            prop_assert!(found.cut_short.is_some() || lost.is_empty(), "lost: {:?}", lost);
            known.extend(found.keys);
            known.sort_unstable();
            known.dedup();
            prop_assert!(known.len() <= faulty.poisoned.len(), "{:?} for {:?}", known, faulty.poisoned);
        }
    }
}
