//! Rounds of rechecks over a list that has moved since the ranks were taken.

use super::*;
use crate::delivery::{AttemptStatus, HttpStatus};
use crate::reading::wire::Pagination;

fn entry(number: i64) -> Attempt {
    Attempt {
        id: EntryId::new(&number.to_string()),
        event: "e".into(),
        attempt: 1,
        status: AttemptStatus::Pending,
        http_status: HttpStatus::None,
        error: None,
        duration_ns: None,
        delivered_at: None,
        created_at: Timestamp::from_seconds(number),
        group: [0; 16],
    }
}

fn wanted(number: i64, rank: usize) -> Wanted {
    Wanted { id: EntryId::new(&number.to_string()), created_at: Timestamp::from_seconds(number), rank }
}

/// Runs a round over `numbers`, newest first; gives what was found, what is missing, and the requests.
fn run(numbers: &[i64], wanted: Vec<Wanted>) -> (Vec<String>, Vec<String>, u32) {
    let ids: Vec<EntryId> = wanted.iter().map(|entry| entry.id.clone()).collect();
    let mut recheck = Recheck::new(wanted, 100);
    let mut requests = 0;
    loop {
        requests += 1;
        assert!(requests < 200, "the round does not end");
        let start = ((recheck.request().page as usize - 1) * 100).min(numbers.len());
        let end = (start + 100).min(numbers.len());
        let page = LogPage {
            attempts: numbers[start..end].iter().map(|number| entry(*number)).collect(),
            invalid: Vec::new(),
            pagination: Pagination { per_page: Some(100), total: None, last_page: None },
        };
        if recheck.absorb(page) == Progress::Done {
            break;
        }
    }
    let rechecked = recheck.finish();
    let found = ids.iter().filter(|id| rechecked.attempts.iter().any(|attempt| attempt.id == **id));
    (found.map(ToString::to_string).collect(), rechecked.missing.iter().map(ToString::to_string).collect(), requests)
}

#[test]
fn an_entry_is_found_on_the_page_of_its_rank() {
    let numbers: Vec<i64> = (1..=50_000).rev().collect();
    let (found, missing, requests) = run(&numbers, vec![wanted(1234, 50_000 - 1234)]);
    assert_eq!((found.len(), missing.len(), requests), (1, 0, 1));
}

#[test]
fn twenty_entries_over_five_hundred_pages_cost_at_most_twenty_five_requests() {
    let numbers: Vec<i64> = (1..=50_000).rev().collect();
    // 730 entries were added since the ranks were taken.
    let all = (0..20).map(|n| wanted(1 + n * 2_400, (50_000 - 1 - n * 2_400 - 730) as usize)).collect();
    let (found, missing, requests) = run(&numbers, all);
    assert_eq!((found.len(), missing.len()), (20, 0));
    assert!(requests <= 25, "{requests} requests");
}

#[test]
fn entries_on_one_page_share_a_request() {
    let numbers: Vec<i64> = (1..=1_000).rev().collect();
    let (found, _, requests) = run(&numbers, (410..=490).map(|n| wanted(n, (1_000 - n) as usize)).collect());
    assert_eq!((found.len(), requests), (81, 1));
}

#[test]
fn a_deleted_entry_is_missing_wherever_it_stood() {
    for gone in [1, 2, 500, 900, 901, 999, 1000] {
        let numbers: Vec<i64> = (1..=1_000).rev().filter(|number| *number != gone).collect();
        let (found, missing, _) = run(&numbers, vec![wanted(gone, (1_000 - gone) as usize)]);
        assert_eq!((found, missing), (vec![], vec![gone.to_string()]));
    }
    let (_, missing, _) = run(&[], vec![wanted(7, 0)]);
    assert_eq!(missing, ["7"]);
}

/// A page of the list whose newest entry is `newest`, as a server cuts it that says that its pages have `told` entries.
fn cut(newest: i64, page: u32, size: i64, told: u64) -> LogPage {
    let newest = newest - i64::from(page - 1) * size;
    let attempts = (newest - size + 1..=newest).rev().filter(|number| *number > 0).map(entry).collect();
    let pagination = Pagination { per_page: Some(told), total: None, last_page: None };
    LogPage { attempts, invalid: Vec::new(), pagination }
}

/// Runs a round over a list that has `newest` entries at each request, and as many as at the last one from there on;
/// gives the pages that were asked for.
fn asked(recheck: &mut Recheck, newest: &[i64], size: i64, told: u64) -> Vec<u32> {
    let mut pages = Vec::new();
    loop {
        assert!(pages.len() < 100, "the round does not end");
        let now = newest.get(pages.len()).or(newest.last()).copied().unwrap_or_default();
        let page = recheck.request().page;
        pages.push(page);
        if recheck.absorb(cut(now, page, size, told)) == Progress::Done {
            return pages;
        }
    }
}

#[test]
fn an_entry_is_looked_for_in_steps_that_double_and_then_between_two_pages() {
    for (number, rank, newest, expected) in [
        // Page 7 of ten, expected on the first one, and page 5, expected on the eighth.
        (350, 0, &[1_000][..], &[1, 2, 4, 8, 6, 7][..]),
        (550, 720, &[1_000], &[8, 7, 5]),
        // It moved from the third page to the second and back while these were read.
        (800, 200, &[999, 1_001], &[3, 2, 4, 3]),
    ] {
        let mut recheck = Recheck::new(vec![wanted(number, rank)], 100);
        assert_eq!(asked(&mut recheck, newest, 100, 100), expected, "{number}");
        let rechecked = recheck.finish();
        assert!(rechecked.missing.is_empty() && rechecked.attempts.iter().any(|attempt| *attempt == entry(number)));
    }
}

#[test]
fn an_entry_that_is_not_found_on_twelve_pages_is_left_to_the_next_round() {
    let mut recheck = Recheck::new(vec![wanted(1, 0)], 10);
    assert_eq!(asked(&mut recheck, &[5_200], 10, 10), [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 768]);
    let Rechecked { missing, put_off, .. } = recheck.finish();
    assert!(missing.is_empty() && put_off.is_empty());
}

#[test]
fn the_place_of_an_entry_tells_how_far_the_others_have_moved() {
    let mut recheck = Recheck::new(vec![wanted(760, 180), wanted(250, 690)], 100);
    assert_eq!(asked(&mut recheck, &[1_000], 100, 100), [2, 3, 8]);
}

#[test]
fn the_size_that_a_server_tells_is_believed_unless_it_is_nothing() {
    let all = || vec![wanted(790, 210), wanted(490, 510)];
    // The third page of fifty ends before the entry that the third page of a hundred holds.
    assert_eq!(asked(&mut Recheck::new(all(), 100), &[1_000], 50, 50), [3, 4, 6, 5, 11]);
    assert_eq!(asked(&mut Recheck::new(all(), 100), &[1_000], 100, 0), [3, 6]);
}

#[test]
fn a_round_ends_after_twenty_five_answers_and_puts_the_other_entries_off() {
    let all = || (1..=40).map(|n| wanted(1_000 - n * 20, (n * 20) as usize)).collect();
    for (too_large, found) in [(false, 25), (true, 24)] {
        let mut recheck = Recheck::new(all(), 10);
        if too_large {
            assert_eq!(recheck.absorb_too_large(), Progress::More);
        }
        let size = recheck.request().per_page;
        assert_eq!(asked(&mut recheck, &[1_000], size.into(), size.into()).len(), found);
        let Rechecked { missing, put_off, .. } = recheck.finish();
        assert_eq!((missing.len(), put_off.len()), (0, 40 - found));
        assert!((found + 1..=40).all(|n| put_off.contains(&EntryId::new(&(1_000 - n * 20).to_string()))));
    }
}

#[test]
fn where_a_page_is_too_large_smaller_ones_are_read_and_an_entry_that_is_is_left_alone() {
    let mut recheck = Recheck::new(vec![wanted(790, 210), wanted(490, 510)], 100);
    let mut pages = Vec::new();
    for _ in 0..5 {
        let PageRequest { page, per_page } = recheck.request();
        pages.push((page, per_page));
        assert_eq!(recheck.absorb_too_large(), Progress::More);
    }
    assert_eq!(pages, [(3, 100), (5, 50), (9, 25), (43, 5), (211, 1)]);
    assert_eq!(asked(&mut recheck, &[1_000], 1, 1), [511]);
    let Rechecked { attempts, missing, put_off, .. } = recheck.finish();
    assert_eq!((attempts, missing.len(), put_off.len()), (vec![entry(490)], 0, 0));
    let mut recheck = Recheck::new(vec![wanted(790, 210)], 1);
    assert_eq!(recheck.absorb_too_large(), Progress::Done);
}

#[test]
fn the_page_of_an_entry_is_told_by_the_seconds_of_another_one() {
    let page = |seconds: &[i64]| LogPage {
        attempts: seconds.iter().map(|second| entry(*second)).collect(),
        ..LogPage::default()
    };
    for (second, seconds, expected) in [
        (10, &[9, 7, 5][..], Whereabouts::Before),
        // Others of its second are at the border: it may be behind that.
        (9, &[9, 7, 5], Whereabouts::Before),
        (8, &[9, 7, 5], Whereabouts::Gone),
        (5, &[9, 7, 5], Whereabouts::Behind),
        (4, &[9, 7, 5], Whereabouts::Behind),
        (6, &[5, 5], Whereabouts::Before),
        (5, &[5, 5], Whereabouts::Behind),
        (5, &[], Whereabouts::Before),
    ] {
        assert_eq!(whereabouts(&wanted(second, 0), &page(seconds)), expected, "{second} and {seconds:?}");
    }
}
