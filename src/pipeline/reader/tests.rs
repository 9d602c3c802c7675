//! What a target is asked, poll by poll, against a list that the test changes.

use std::sync::Arc;

use super::*;
use crate::sinks::metrics::board::WalkProgress;
use crate::store::durable::Durable;
use talkover_core::delivery::{Attempt, AttemptStatus, EntryId, OwnerType};
use talkover_core::ledger::decide::{Policy, decide};
use talkover_core::ledger::series::LogOutcome;
use talkover_core::ledger::series::SeriesKey;
use talkover_core::reading::job::AfterPage;
use talkover_core::reading::walk::PageRequest;
use talkover_core::reading::wire::{LogPage, Pagination};
use talkover_core::server_time::{Certainty, ClockNews};
use talkover_core::testing::{at, entry, local, policy, server};

/// An answer by which it is that second on the server.
fn seen(second: u64) -> Observed {
    let at = SinceStart::new(Duration::from_secs(second));
    Observed { now: server(second as i64), at, certainty: Certainty::Confirmed, news: ClockNews::None }
}

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
            reader: Reader::new(target, Remembered::default(), settings),
            policy,
            log: Vec::new(),
            pages: Vec::new(),
        }
    }

    fn insert(&mut self, id: &str, second: i64, status: AttemptStatus) {
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

    /// The next request of a head walk at second `now`, which are also the seconds since the start. Returns the
    /// batch that it completes.
    fn step(&mut self, now: u64) -> Option<Batch> {
        self.turn(RequestClass::Heads, now).unwrap()
    }

    /// The next request for a class of work, where that has anything to ask.
    fn turn(&mut self, class: RequestClass, now: u64) -> Option<Option<Batch>> {
        self.begin(class, 1.0, now).map(|job| self.ask(job, now))
    }

    /// The job of a class, where that has anything to read.
    fn begin(&mut self, class: RequestClass, expected: f64, now: u64) -> Option<Job> {
        match self.reader.begin(class, expected, Duration::from_secs(now))? {
            Step::Read(job) => Some(job),
            Step::Settle(_) => panic!("something is not committed"),
        }
    }

    /// The page that a head walk wants next.
    fn next_request(&mut self, expected: f64, now: u64) -> PageRequest {
        let job = self.begin(RequestClass::Heads, expected, now).unwrap();
        let request = job.request();
        self.reader.park(job);
        request
    }

    fn ask(&mut self, job: Job, now: u64) -> Option<Batch> {
        let request = job.request();
        self.pages.push(request.page);
        if let Some(met) = self.reader.first_response(&seen(now)) {
            self.settle(&met, now);
        }
        let absorbed = job.absorb(self.page(request), server(now as i64), &self.reader.ledger).unwrap();
        self.go_on(absorbed, now)
    }

    fn go_on(&mut self, absorbed: AfterPage, now: u64) -> Option<Batch> {
        match absorbed {
            AfterPage::More(job) => {
                self.reader.park(job);
                None
            }
            AfterPage::Done(read) => Some(self.reader.complete(read, server(now as i64))),
        }
    }

    fn settle(&mut self, batch: &Batch, now: u64) {
        let decision = decide(&self.reader.ledger, batch, &self.policy);
        self.reader.ledger.apply(Durable::assumed(decision.changes));
        self.reader.committed(batch, &decision.tally, Duration::from_secs(now));
    }

    /// All of a class's work: what it covered, and the pages that it took.
    fn complete(&mut self, class: RequestClass, now: u64) -> Option<(Coverage, Vec<u32>)> {
        let batch = loop {
            if let Some(batch) = self.turn(class, now)? {
                break batch;
            }
        };
        self.settle(&batch, now);
        Some((batch.coverage, std::mem::take(&mut self.pages)))
    }

    /// What is due, as a scheduler with an endless budget would ask for it: a sweep or else a head walk, and then
    /// rechecks.
    fn poll(&mut self, now: u64) -> (Vec<Coverage>, Vec<u32>) {
        let walk = self.complete(RequestClass::Sweeps, now).or_else(|| self.complete(RequestClass::Heads, now));
        let parts: Vec<_> = walk.into_iter().chain(self.complete(RequestClass::Rechecks, now)).collect();
        (parts.iter().map(|part| part.0).collect(), parts.into_iter().flat_map(|part| part.1).collect())
    }
}

#[test]
fn the_first_contact_reads_back_from_the_servers_clock_at_its_first_answer() {
    let mut desk = Desk::new();
    for second in 0..2000 {
        desk.insert(&format!("{second}"), second, AttemptStatus::Success);
    }
    // The walk takes an hour; where it ends was settled by its first answer.
    assert!(desk.step(2000).is_none());
    let batch = (0..200).find_map(|_| desk.step(5600)).unwrap();
    assert_eq!(batch.coverage, Coverage::FirstContact);
    assert_eq!(desk.reader.ledger.marks().history_cutoff, Some(at(1000)));
    assert_eq!(desk.pages.len(), 101, "a thousand seconds of lookback, ten entries to a page");
    desk.settle(&batch, 5600);
    assert_eq!(desk.reader.ledger.len(), 1000);
    assert_eq!(desk.reader.ledger.marks().watermark, Some(at(1999)));
}

#[test]
fn polls_are_heads_until_a_sweep_is_due() {
    let mut desk = Desk::new();
    for second in 0..1000 {
        desk.insert(&format!("{second}"), second, AttemptStatus::Success);
    }
    desk.poll(1000);
    let head = (vec![Coverage::Head], vec![1]);
    assert_eq!(desk.poll(1010), head);
    assert_eq!(desk.poll(1049), head);
    // The lookback of 100 s behind the newest entry takes eleven pages.
    assert_eq!(desk.poll(1050), (vec![Coverage::Sweep], (1..=11).collect()));
    assert_eq!(desk.poll(1051), head);
    assert_eq!(desk.reader.sweep_due(), Some(Duration::from_secs(1100)));
}

#[test]
fn the_first_walk_after_a_start_is_a_sweep() {
    let mut desk = Desk::new();
    desk.insert("a", 0, AttemptStatus::Success);
    desk.poll(10);
    let ledger = desk.reader.ledger.clone();
    let remembered = Remembered { ledger: DurableLedger::assumed(ledger), ..Remembered::default() };
    desk.reader = Reader::new(desk.reader.target.clone(), remembered, desk.reader.settings);
    assert_eq!(desk.poll(11).0, [Coverage::Sweep]);
}

#[test]
fn an_open_entry_is_read_again_less_and_less_often_until_it_is_given_up() {
    let mut desk = Desk::new();
    desk.insert("open", 0, AttemptStatus::Pending);
    // Beyond the reach of sweeps, which end 100 s behind the newest entry.
    for second in 101..250 {
        desk.insert(&format!("{second}"), second, AttemptStatus::Success);
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
        desk.insert(&format!("{second}"), second, AttemptStatus::Success);
    }
    assert!(desk.step(25).is_none());
    let request = desk.next_request(1.0, 26);
    assert_eq!(request, desk.next_request(1.0, 27), "no answer came");
    assert_eq!(request.page, 2);

    let batch = (0..9).find_map(|_| desk.step(28)).unwrap();
    desk.reader.keep_uncommitted(batch.clone());
    let Some(Step::Settle(kept)) = desk.reader.begin(RequestClass::Heads, 1.0, Duration::from_secs(29)) else {
        panic!("it is to be committed before anything else is read");
    };
    assert_eq!(kept.attempts, batch.attempts);
    desk.settle(&batch, 30);
    assert_eq!(desk.reader.ledger.len(), 25);
}

#[test]
fn an_empty_log_is_read_no_more_often_than_others() {
    let mut desk = Desk::new();
    desk.poll(0);
    desk.poll(100);
    assert_eq!((desk.reader.sweep_due(), desk.reader.recheck_due()), (None, None));
}

#[test]
fn a_long_walk_is_staged_and_goes_on_where_it_stopped() {
    let mut desk = Desk::new();
    desk.policy.windows.initial_lookback = Duration::from_secs(20_000);
    for second in (0..12_000).rev() {
        desk.log.push(entry(&format!("{second}"), second, AttemptStatus::Success));
    }
    let mut on_disk: Vec<EntryId> = Vec::new();
    let mut staged = None;
    while on_disk.len() < 5_000 {
        assert!(desk.step(12_000).is_none());
        let mut job = desk.begin(RequestClass::Heads, 1.0, 12_000).unwrap();
        if let Some((walk, attempts, _)) = desk.reader.take_for_stage(&mut job, server(12_000)) {
            on_disk.extend(attempts.into_iter().map(|attempt| attempt.id));
            desk.reader.staged(walk);
            staged = Some(walk);
        }
        desk.reader.park(job);
    }
    // The process ends; meanwhile new entries push the others on.
    let ledger = desk.reader.ledger.clone();
    let remembered = Remembered { ledger: DurableLedger::assumed(ledger), staged, ..Remembered::default() };
    desk.reader = Reader::new(desk.reader.target.clone(), remembered, desk.reader.settings);
    for number in 0..35 {
        desk.insert(&format!("new-{number}"), 12_020 + number, AttemptStatus::Success);
    }
    desk.pages.clear();
    let batch = (0..2000).find_map(|_| desk.step(12_100)).unwrap();
    assert_eq!(batch.coverage, Coverage::FirstContact);
    assert!(desk.pages.len() < 710, "{} pages for the 7,000 entries that are left", desk.pages.len());
    // Only the oldest part is left of what it has read; the next sweep need not go as far back.
    assert_eq!(batch.attempts.last().map(|entry| entry.created_at), Some(at(0)));
    desk.settle(&batch, 12_100);
    assert_eq!(desk.reader.sweeps.mark, Some(at(12_054)), "the newest entry of its first page");
    let mut read: Vec<EntryId> = on_disk.into_iter().chain(batch.attempts.into_iter().map(|entry| entry.id)).collect();
    read.sort_unstable();
    read.dedup();
    assert_eq!(read.len(), 12_035);
}

#[test]
fn an_interrupted_sweep_is_still_to_be_made() {
    let mut desk = Desk::new();
    for second in 0..1_000 {
        desk.insert(&format!("{second}"), second, AttemptStatus::Success);
    }
    desk.poll(1_000);
    let read = StagedWalk {
        coverage: Coverage::Sweep,
        until: at(897),
        newest: at(999),
        oldest: at(920),
        count: 80,
        has_met_known: true,
    };
    let remembered = Remembered {
        ledger: DurableLedger::assumed((*desk.reader.ledger).clone()),
        staged: Some(read),
        ..Remembered::default()
    };
    desk.reader = Reader::new(desk.reader.target.clone(), remembered, desk.reader.settings);
    // It turned up in what the sweep had read.
    desk.insert("late", 950, AttemptStatus::Success);
    desk.insert("new", 1_500, AttemptStatus::Success);
    assert_eq!(desk.poll(1_500).0, [Coverage::Head]);
    assert!(desk.reader.ledger.find(&EntryId::new("late")).is_none());
    assert_eq!(desk.poll(1_501).0, [Coverage::Sweep]);
    assert!(desk.reader.ledger.find(&EntryId::new("late")).is_some());
}

#[test]
fn an_entry_that_is_dated_ahead_does_not_hide_what_is_made_while_a_walk_goes_on() {
    let mut desk = Desk::new();
    for second in 0..2_000 {
        desk.insert(&format!("{second}"), second, AttemptStatus::Success);
    }
    desk.insert("ahead", 5_000, AttemptStatus::Success);
    assert!(desk.step(2_000).is_none());
    let batch = (0..200).find_map(|_| desk.step(5_600)).unwrap();
    desk.settle(&batch, 5_600);
    assert_eq!(desk.reader.ledger.marks().watermark, Some(at(2_000)));
    for second in 2_001..5_000 {
        desk.insert(&format!("{second}"), second, AttemptStatus::Success);
    }
    desk.poll(5_601);
    let read = desk.reader.ledger.totals().counter(&SeriesKey::log_entries(LogOutcome::New));
    assert_eq!(read, 1_000 + 1 + 2_999);
}

#[test]
fn a_list_that_grows_by_more_than_was_found_is_swept_at_once() {
    let mut desk = Desk::new();
    for second in 0..1000 {
        desk.insert(&format!("{second}"), second, AttemptStatus::Success);
    }
    desk.poll(1000);
    assert_eq!(desk.poll(1001).0, [Coverage::Head]);
    desk.insert("late", 950, AttemptStatus::Success);
    assert_eq!(desk.poll(1010).0, [Coverage::Head], "it does not see that one");
    assert_eq!(desk.poll(1011).0, [Coverage::Sweep]);
    assert!(desk.reader.ledger.find(&EntryId::new("late")).is_some());
    assert_eq!(desk.poll(1012).0, [Coverage::Head]);
}

#[test]
fn rechecks_that_fail_do_not_keep_the_head_from_being_read() {
    let mut desk = Desk::new();
    desk.insert("open", 0, AttemptStatus::Pending);
    for second in 101..250 {
        desk.insert(&format!("{second}"), second, AttemptStatus::Success);
    }
    desk.poll(250);
    assert_eq!(desk.reader.recheck_due(), Some(Duration::from_millis(312_500)));
    let job = desk.begin(RequestClass::Rechecks, 0.0, 320).unwrap();
    assert_eq!(job.request().page, 15);
    let unavailable = ApiError::Http { status: 503, message: None, retry_after: None };
    assert!(matches!(desk.reader.fail(job, &unavailable, server(0)), Ok(AfterFailure::BackOff(None))));
    assert_eq!(desk.complete(RequestClass::Heads, 321), Some((Coverage::Head, vec![1])));
}

#[test]
fn rechecks_that_keep_failing_are_made_in_smaller_pages_and_find_the_entry() {
    // The open entry is the last of 160, on page 16 of ten; its neighbour makes every page fail that holds it.
    for (unreadable, sizes) in [(101, vec![10, 5, 1]), (109, vec![10, 5])] {
        let mut desk = Desk::new();
        desk.insert("open", 0, AttemptStatus::Pending);
        for second in 101..260 {
            desk.insert(&format!("{second}"), second, AttemptStatus::Success);
        }
        desk.poll(260);
        desk.log.last_mut().unwrap().status = AttemptStatus::Success;
        let is_held = |desk: &Desk, request: PageRequest| {
            desk.page(request).attempts.iter().any(|attempt| attempt.id.to_string() == unreadable.to_string())
        };
        let unavailable = ApiError::Http { status: 500, message: None, retry_after: None };
        let refused = ApiError::RateLimited { retry_after: None };
        for second in 330..335 {
            // What says nothing of the page does not count.
            let job = desk.begin(RequestClass::Rechecks, 0.0, second).unwrap();
            assert!(matches!(desk.reader.fail(job, &refused, server(0)), Ok(AfterFailure::BackOff(None))));
        }
        let mut asked = Vec::new();
        let batch = (340..).step_by(10).take(20).find_map(|second| {
            let job = desk.begin(RequestClass::Rechecks, 0.0, second).expect("it is due until it is found");
            let request = job.request();
            asked.push((request.page, request.per_page));
            if is_held(&desk, request) {
                match desk.reader.fail(job, &unavailable, server(second as i64)) {
                    Ok(AfterFailure::BackOff(job)) => job.into_iter().for_each(|job| desk.reader.park(job)),
                    failed => panic!("{failed:?}"),
                }
                return None;
            }
            desk.ask(job, second)
        });
        let batch = batch.unwrap();
        assert_eq!(batch.coverage, Coverage::Pages);
        assert!(batch.attempts.iter().any(|attempt| attempt.id.to_string() == "open"), "{unreadable}");
        let mut found: Vec<u32> = asked.iter().map(|(_, per_page)| *per_page).collect();
        assert_eq!(
            found.iter().filter(|size| **size == 10).count(),
            4,
            "three rounds and the one that narrows: {asked:?}"
        );
        found.dedup();
        assert_eq!(found, sizes, "{asked:?}");
        desk.settle(&batch, 900);
        assert_eq!(desk.reader.ledger.open().count(), 0);
        assert_eq!(desk.reader.rechecks.failed_rounds(), 0);
    }
}

#[test]
fn a_first_contact_knows_how_far_it_is_and_how_long_it_will_take() {
    let mut desk = Desk::new();
    // The test's first contact reads 1000 s back: down to second 0.
    for second in 0..200 {
        desk.insert(&format!("{second}"), second * 5, AttemptStatus::Success);
    }
    let mut told = Vec::new();
    for now in (1_000..).step_by(10) {
        if desk.step(now).is_some() {
            break;
        }
        let job = desk.begin(RequestClass::Heads, 1.0, now).unwrap();
        let time = Duration::from_secs(now);
        told.extend(desk.reader.progress(&job, time, server(now as i64)));
        desk.reader.park(job);
    }
    let shown = |index: usize| {
        let one: &WalkProgress = &told[index];
        (one.pages, one.entries, one.reached, (one.ratio * 1000.0).round(), one.remaining.map(|left| left.as_secs()))
    };
    // Pages of ten entries, one each ten seconds from second 1000 on.
    assert_eq!(shown(0), (1, 10, at(950), 50.0, None), "too early to tell");
    assert_eq!(shown(2), (3, 30, at(850), 150.0, Some(113)), "17 pages in the time of 3");
    assert_eq!(shown(9), (10, 100, at(500), 500.0, Some(90)));
    assert!(told.windows(2).all(|pair| pair[0].ratio < pair[1].ratio));
}

#[test]
fn progress_goes_on_from_what_is_on_disk() {
    let mut desk = Desk::new();
    desk.step(1_000);
    let staged = StagedWalk {
        coverage: Coverage::FirstContact,
        until: at(0),
        newest: at(950),
        oldest: at(400),
        count: 115,
        has_met_known: false,
    };
    desk.reader.staged(staged);
    let progress = desk.reader.staged_progress().unwrap();
    assert_eq!((progress.pages, progress.entries, progress.reached), (12, 115, at(400)));
    assert!((progress.ratio - 0.55).abs() < 1e-9, "{progress:?}");
}

#[test]
fn an_answer_that_is_too_large_is_asked_for_in_smaller_pages() {
    let mut desk = Desk::new();
    for second in 0..20 {
        desk.insert(&format!("{second}"), second, AttemptStatus::Success);
    }
    // The sixth newest entry is too large to be read at all.
    let is_too_large = |request: PageRequest| {
        let first = (request.page - 1) * request.per_page;
        (first..first + request.per_page).contains(&5)
    };
    let batch = (0..30).find_map(|_| {
        let job = desk.begin(RequestClass::Heads, 1.0, 30).unwrap();
        if is_too_large(job.request()) {
            let absorbed = job.absorb_too_large("sha256:x".into()).unwrap();
            return desk.go_on(absorbed, 30);
        }
        desk.ask(job, 30)
    });
    let batch = batch.unwrap();
    assert_eq!((batch.attempts.len(), &*batch.invalid), (19, &["sha256:x".into()][..]));
}

#[test]
fn a_target_whose_log_was_empty_is_read_from_its_cut_on() {
    let mut desk = Desk::new();
    assert_eq!(desk.poll(0).0, [Coverage::FirstContact]);
    desk.insert("a", -500, AttemptStatus::Success);
    assert_eq!(desk.poll(10).0, [Coverage::Sweep], "there is nothing below");
    assert_eq!(desk.reader.ledger.len(), 1);
}

#[test]
fn a_poll_that_reaches_as_far_as_a_sweep_is_one_and_asks_for_a_small_page() {
    let mut desk = Desk::new();
    desk.reader.settings.per_page = 100;
    for second in 0..10 {
        desk.insert(&format!("{second}"), second * 100, AttemptStatus::Success);
    }
    desk.poll(1000);
    for now in [1100, 1200] {
        desk.insert(&format!("{now}"), now - 10, AttemptStatus::Success);
        assert_eq!(desk.next_request(0.5, now as u64), PageRequest { page: 1, per_page: 10 });
        assert_eq!(desk.complete(RequestClass::Heads, now as u64), Some((Coverage::Sweep, vec![1])));
        assert_eq!(desk.reader.sweep_due(), Some(Duration::from_secs(now as u64 + 50)));
    }
}

#[test]
fn a_small_page_that_was_too_small_is_followed_by_full_ones_from_the_top() {
    let mut desk = Desk::new();
    desk.reader.settings.per_page = 100;
    desk.insert("first", 0, AttemptStatus::Success);
    desk.poll(10);
    for number in 0..150 {
        desk.insert(&format!("{number}"), 11 + number, AttemptStatus::Success);
    }
    let mut sizes = Vec::new();
    let batch = loop {
        let PageRequest { page, per_page } = desk.next_request(1.0, 40);
        sizes.push((page, per_page));
        // Further entries push the others on while the walk is under way.
        desk.insert(&format!("new {}", sizes.len()), 170 + sizes.len() as i64, AttemptStatus::Success);
        if let Some(batch) = desk.step(40) {
            break batch;
        }
    };
    assert_eq!(sizes, [(1, 10), (1, 100), (2, 100)]);
    desk.settle(&batch, 200);
    assert_eq!(desk.reader.ledger.len(), 153, "all but what came after its first full page");
    desk.complete(RequestClass::Heads, 201);
    assert_eq!(desk.reader.ledger.len(), 154);
}

/// What is new is read while a sweep of many pages goes on, and what turns up late meanwhile is found by the next one.
#[test]
fn a_sweep_waits_for_polls_and_loses_nothing_by_it() {
    let mut desk = Desk::new();
    for second in 0..1000 {
        desk.insert(&format!("{second}"), second, AttemptStatus::Success);
    }
    desk.poll(1000);
    assert!(matches!(desk.turn(RequestClass::Sweeps, 1050), Some(None)));
    desk.pages.clear();
    for second in 1050..1090 {
        desk.insert(&format!("{second}"), second, AttemptStatus::Success);
    }
    // It turns up late, above where the sweep is reading now.
    assert!(matches!(desk.turn(RequestClass::Sweeps, 1089), Some(None)));
    desk.insert("late", 999 - 20, AttemptStatus::Success);
    desk.pages.clear();
    assert_eq!(desk.complete(RequestClass::Heads, 1090).map(|(coverage, _)| coverage), Some(Coverage::Head));
    assert!(desk.reader.ledger.find(&EntryId::new("1089")).is_some());
    // Overdue, it goes on in the turns of polls too.
    assert_eq!(desk.complete(RequestClass::Heads, 1101).map(|(coverage, _)| coverage), Some(Coverage::Sweep));
    // The next one reaches behind the newest entry that this one has read, not behind what polls have read since.
    for second in 1090..1180 {
        desk.insert(&format!("{second}"), second, AttemptStatus::Success);
    }
    desk.insert("later", 999 - 99, AttemptStatus::Success);
    desk.complete(RequestClass::Heads, 1180);
    assert_eq!(desk.complete(RequestClass::Sweeps, 1181).map(|(coverage, _)| coverage), Some(Coverage::Sweep));
    for id in ["late", "later"] {
        assert!(desk.reader.ledger.find(&EntryId::new(id)).is_some(), "{id}");
    }
}

#[test]
fn a_target_is_known_since_its_first_answer_however_late_the_clock_is_settled() {
    let mut desk = Desk::new();
    desk.reader.answered(SinceStart::new(Duration::from_secs(100)));
    desk.reader.answered(SinceStart::new(Duration::from_secs(200)));
    let met = desk.reader.first_response(&seen(3_700)).unwrap();
    desk.settle(&met, 3_700);
    let marks = desk.reader.ledger.marks();
    assert_eq!((marks.known_at, marks.history_cutoff), (Some(at(100)), Some(at(-900))));
    assert!(desk.reader.first_response(&seen(3_701)).is_none(), "once");
}

#[test]
fn a_first_contact_that_was_dated_ahead_is_made_up_for() {
    let mut desk = Desk::new();
    desk.insert("ignored", 0, AttemptStatus::Success);
    let lie = desk.reader.first_response(&seen(100_000)).unwrap();
    desk.settle(&lie, 10);
    desk.poll(10);
    assert!(desk.reader.ledger.is_empty());
    desk.reader.succeeded(server(100_000));
    // The state was made at second 5, and so the target was not met before.
    let mended = desk.reader.mend(server(20), local(5)).unwrap();
    desk.settle(&mended, 20);
    assert!(desk.reader.mend(server(20), local(5)).is_none());
    desk.insert("new", 15, AttemptStatus::Success);
    let batch = desk.step(20).unwrap();
    assert_eq!((batch.coverage, batch.last_success), (Coverage::Sweep, None), "it is catching up");
    desk.settle(&batch, 20);
    assert_eq!((desk.reader.ledger.len(), desk.reader.ledger.marks().history_cutoff), (2, Some(at(-995))));
    // A state that was made by a clock that was ahead, too.
    let mut desk = Desk::new();
    desk.settle(&lie, 10);
    let mended = desk.reader.mend(server(20), local(100_000)).unwrap();
    desk.settle(&mended, 20);
    assert_eq!(desk.reader.ledger.marks().known_at, Some(at(20)));
}
