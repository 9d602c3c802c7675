//! What a target is asked, poll by poll, against a list that the test changes.

use std::sync::Arc;

use super::*;
use crate::delivery::{Attempt, OwnerType, Status};
use crate::ledger::decide::{Policy, decide};
use crate::ledger::tests::book::{at, entry, policy};
use crate::source::wire::Pagination;

/// A reader, the list that it reads, and the pages that it asked for since the last look.
struct Desk {
    reader: Reader,
    policy: Policy,
    log: Vec<Attempt>,
    pages: Vec<u32>,
}

impl Desk {
    fn new() -> Self {
        let policy = policy();
        let target = Target {
            environment: "test".into(),
            webhook_id: "w".into(),
            owner_type: OwnerType::Agent,
            owner_id: "a".into(),
            webhook_name: Arc::from("name"),
        };
        let settings = ReadSettings { per_page: 10, windows: policy.windows };
        Self {
            reader: Reader::new(target, Ledger::default(), None, settings),
            policy,
            log: Vec::new(),
            pages: Vec::new(),
        }
    }

    fn insert(&mut self, id: &str, second: i64, status: Status) {
        self.log.push(entry(id, second, status));
        self.log.sort_by_key(|entry| std::cmp::Reverse(entry.created_at));
    }

    fn page(&self, request: PageRequest) -> LogPage {
        let per_page = request.per_page as usize;
        let entries = self.log.iter().skip((request.page as usize - 1) * per_page).take(per_page);
        LogPage {
            attempts: entries.cloned().collect(),
            invalid: Vec::new(),
            pagination: Pagination {
                per_page: Some(request.per_page.into()),
                total: Some(self.log.len() as u64),
                last_page: None,
            },
        }
    }

    /// One request at second `now`, which are also the seconds since the start. Gives the batch that it completes.
    fn step(&mut self, now: u64) -> Option<Batch> {
        let request = self.reader.request(Duration::from_secs(now));
        self.pages.push(request.page);
        if let Some(met) = self.reader.meet(at(now as i64)) {
            assert!(self.settle(&met, now));
        }
        match self.reader.absorb(self.page(request), at(now as i64)).unwrap() {
            Absorbed::More => None,
            Absorbed::Complete(batch) => Some(batch),
        }
    }

    /// Commits `batch`; says whether the poll goes on.
    fn settle(&mut self, batch: &Batch, now: u64) -> bool {
        let decision = decide(&self.reader.ledger, batch, &self.policy);
        self.reader.ledger.apply(decision.changes);
        self.reader.committed(batch, Duration::from_secs(now))
    }

    /// A whole poll: what its parts covered, and the pages that it took.
    fn poll(&mut self, now: u64) -> (Vec<Coverage>, Vec<u32>) {
        let mut coverages = Vec::new();
        loop {
            let Some(batch) = self.step(now) else { continue };
            coverages.push(batch.coverage);
            if !self.settle(&batch, now) {
                return (coverages, std::mem::take(&mut self.pages));
            }
        }
    }
}

#[test]
fn the_first_contact_reads_back_from_the_servers_clock_at_its_first_answer() {
    let mut desk = Desk::new();
    for second in 0..2000 {
        desk.insert(&format!("{second}"), second, Status::Success);
    }
    // The walk takes an hour; where it ends was settled by its first answer.
    assert!(desk.step(2000).is_none());
    let batch = (0..200).find_map(|_| desk.step(5600)).unwrap();
    assert_eq!(batch.coverage, Coverage::FirstContact);
    assert_eq!(desk.reader.ledger.marks().cut, Some(at(1000)));
    assert_eq!(desk.pages.len(), 101, "a thousand seconds of lookback, ten entries to a page");
    assert!(!desk.settle(&batch, 5600));
    assert_eq!(desk.reader.ledger.len(), 1000);
    assert_eq!(desk.reader.ledger.marks().watermark, Some(at(1999)));
}

#[test]
fn polls_are_heads_until_a_sweep_is_due() {
    let mut desk = Desk::new();
    for second in 0..1000 {
        desk.insert(&format!("{second}"), second, Status::Success);
    }
    desk.poll(1000);
    let head = (vec![Coverage::Head], vec![1]);
    assert_eq!(desk.poll(1010), head);
    assert_eq!(desk.poll(1049), head);
    // The lookback of 100 s behind the newest entry takes eleven pages.
    assert_eq!(desk.poll(1050), (vec![Coverage::Sweep], (1..=11).collect()));
    assert_eq!(desk.poll(1051), head);
    assert_eq!(desk.reader.due_in(at(1051), Duration::from_secs(1051)), Duration::from_secs(49));
}

#[test]
fn the_first_walk_after_a_start_is_a_sweep() {
    let mut desk = Desk::new();
    desk.insert("a", 0, Status::Success);
    desk.poll(10);
    desk.reader = Reader::new(desk.reader.target.clone(), desk.reader.ledger.clone(), None, desk.reader.settings);
    assert_eq!(desk.poll(11).0, [Coverage::Sweep]);
}

#[test]
fn an_open_entry_is_read_again_less_and_less_often_until_it_is_given_up() {
    let mut desk = Desk::new();
    desk.insert("open", 0, Status::Pending);
    // Beyond the reach of sweeps, which end 100 s behind the newest entry.
    for second in 101..250 {
        desk.insert(&format!("{second}"), second, Status::Success);
    }
    let mut rechecks = Vec::new();
    for now in 250..700 {
        let (coverages, pages) = desk.poll(now);
        if coverages.contains(&Coverage::Pages) {
            assert_eq!(*pages.last().unwrap(), 15, "149 entries are newer");
            rechecks.push(now);
        }
    }
    // Its age grows by a quarter each time; when it is settled, one last look, and then no more.
    assert_eq!(rechecks, [313, 392, 490, 500]);
    assert_eq!(desk.reader.ledger.open().count(), 0);
}

#[test]
fn a_failed_request_is_made_again_and_a_failed_commit_needs_none() {
    let mut desk = Desk::new();
    for second in 0..25 {
        desk.insert(&format!("{second}"), second, Status::Success);
    }
    assert!(desk.step(25).is_none());
    let request = desk.reader.request(Duration::from_secs(26));
    assert_eq!(request, desk.reader.request(Duration::from_secs(27)), "no answer came");
    assert_eq!(request.page, 2);

    let batch = (0..9).find_map(|_| desk.step(28)).unwrap();
    desk.reader.keep_uncommitted(batch.clone());
    assert!(!desk.reader.needs_request());
    assert_eq!(desk.reader.take_uncommitted().map(|batch| batch.attempts), Some(batch.attempts.clone()));
    assert!(desk.reader.needs_request());
    desk.settle(&batch, 30);
    assert_eq!(desk.reader.ledger.len(), 25);
}

#[test]
fn a_target_whose_log_was_empty_is_read_from_its_cut_on() {
    let mut desk = Desk::new();
    assert_eq!(desk.poll(0).0, [Coverage::FirstContact]);
    desk.insert("a", -500, Status::Success);
    assert_eq!(desk.poll(10).0, [Coverage::Head]);
    assert_eq!(desk.reader.ledger.len(), 1);
}
