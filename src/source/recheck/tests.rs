//! Rounds of rechecks over a list that has moved since the ranks were taken.

use super::*;
use crate::delivery::{HttpStatus, Status};
use crate::source::wire::Pagination;

fn entry(number: i64) -> Attempt {
    Attempt {
        id: EntryId::new(&number.to_string()),
        event: "e".into(),
        attempt: 1,
        status: Status::Pending,
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
