//! What is spent and what is written down of it, at times that are passed in; and what a damaged file can do.

use super::*;

const SECOND: u64 = 1_000_000_000;

fn open(directory: &Path, boot: &str, environment: &str, shared: Option<u32>) -> Budget {
    Budget::open(&directory.join("state.db"), boot, environment, 30, 4, shared).unwrap()
}

fn take_all(budget: &Budget, now: u64) -> usize {
    (0..1000).take_while(|_| budget.take(now).unwrap().is_none()).count()
}

#[test]
fn what_was_spent_is_shared_and_survives() {
    let directory = tempfile::tempdir().unwrap();
    let budget = open(directory.path(), "boot", "production", None);
    assert_eq!(take_all(&budget, 100 * SECOND), 4);
    let other = open(directory.path(), "boot", "production", None);
    assert_eq!(take_all(&other, 100 * SECOND), 0);
    assert_eq!(take_all(&open(directory.path(), "boot", "staging", None), 100 * SECOND), 4);
    assert_eq!(take_all(&other, 200 * SECOND), 4);
}

#[test]
fn after_a_reboot_all_counts_as_spent() {
    let directory = tempfile::tempdir().unwrap();
    take_all(&open(directory.path(), "first", "production", None), 100 * SECOND);
    let budget = open(directory.path(), "second", "production", None);
    assert_eq!(take_all(&budget, 5 * SECOND), 0);
    assert_eq!(take_all(&budget, 5 * SECOND + 61 * SECOND / 26), 1);
}

#[test]
fn environments_share_a_plan() {
    let directory = tempfile::tempdir().unwrap();
    let [first, second] = ["a", "b"].map(|name| open(directory.path(), "boot", name, Some(5)));
    assert_eq!(take_all(&first, 100 * SECOND) + take_all(&second, 100 * SECOND), 2);
}

/// Takes all that there is, twice a second from 100 s on, while the budget is raised at 165 s and `pause` later.
fn spend_while_raised(settings: [(u32, u32); 3], pause: u64) -> Vec<(u64, u32)> {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state.db");
    let open = |(rate, burst)| Budget::open(&state, "boot", "production", rate, burst, None).unwrap();
    let budgets = settings.map(open);
    let at = |moment: u64| usize::from(moment >= 165 * SECOND) + usize::from(moment >= (165 + pause) * SECOND);
    let moments = (200..600).map(|half| half * SECOND / 2);
    let take = |now| std::iter::repeat_n((now, settings[at(now)].0), take_all(&budgets[at(now)], now));
    moments.flat_map(take).collect()
}

#[test]
fn a_raised_budget_goes_on_at_once_and_no_minute_exceeds_it() {
    for settings in [[(30, 4), (60, 4), (90, 4)], [(30, 4), (31, 15), (100, 15)], [(2, 1), (5, 4), (30, 4)]] {
        for pause in (1..64).step_by(3) {
            let sent = spend_while_raised(settings, pause);
            for (now, rate) in &sent {
                let minute = sent.iter().filter(|(at, _)| (*at..at + 60 * SECOND).contains(now)).count();
                assert!(minute <= *rate as usize, "{settings:?}, {pause} s: {minute} in a minute of {rate}");
            }
            let goes_on = sent.iter().any(|(at, _)| (165 * SECOND..=190 * SECOND).contains(at));
            assert!(goes_on, "{settings:?}, {pause} s: silent after it was raised");
        }
    }
}

#[test]
fn other_settings_begin_with_a_minute_of_silence() {
    let directory = tempfile::tempdir().unwrap();
    let open = |burst| {
        let state = directory.path().join("state.db");
        Budget::open(&state, "boot", "production", 30, burst, Some(100)).unwrap()
    };
    let (before, after) = (open(15), open(4));
    let sent: usize = (100..160).map(|second| take_all(&before, second * SECOND)).sum();
    assert!((25..=30).contains(&sent), "{sent}");
    let sent: usize = (160..216).map(|second| take_all(&after, second * SECOND)).sum();
    assert_eq!(sent, 0, "the last request of the others was at 159 s or a little before");
    assert_eq!(take_all(&after, 221 * SECOND), 4, "a burst of the shared plan");
}

#[test]
fn a_broken_file_is_survived() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("state.db.budget"), [0xFF; 61]).unwrap();
    assert!(take_all(&open(directory.path(), "boot", "production", None), 100 * SECOND) <= 4);
}

/// Asks once a second at least from `from` on: when the first request may go out.
fn first_request(budget: &Budget, from: u64) -> u64 {
    let mut now = from;
    while let Some(wait) = budget.take(now).unwrap() {
        now += u64::try_from(wait.as_nanos()).unwrap().min(SECOND);
        assert!(now < from + 3600 * SECOND, "nothing for an hour");
    }
    now
}

/// The file after a minute of requests up to `now`, from a budget of its own and a shared plan.
fn used_file(directory: &Path, now: u64) -> Vec<u8> {
    let budget = open(directory, "boot", "production", Some(100));
    let sent: usize = (0..60).map(|second| take_all(&budget, now - 60 * SECOND + second * SECOND)).sum();
    assert!(sent >= 25, "{sent}");
    std::fs::read(directory.join("state.db.budget")).unwrap()
}

#[test]
fn no_flipped_bit_stops_requests_for_longer_than_a_minute_nor_lets_more_out_than_a_new_file() {
    let directory = tempfile::tempdir().unwrap();
    let now = 100_000 * SECOND;
    let bytes = used_file(directory.path(), now);
    assert_eq!(bytes.len(), 2 * RECORD_BYTES);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(directory.path().join("state.db.budget"), damaged).unwrap();
        let budget = open(directory.path(), "boot", "production", Some(100));
        let first = first_request(&budget, now);
        assert!(first <= now + WINDOW_NS, "bit {bit}: silent for {} s", (first - now) / SECOND);
        let sent: usize = (1..=60).map(|second| take_all(&budget, first + second * SECOND)).sum();
        assert!((25..=30).contains(&sent), "bit {bit}: {sent} in the minute after it");
    }
}

#[test]
fn a_record_that_lies_ahead_is_taken_as_spent_and_written_down_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db.budget");
    let now = 1_000 * SECOND;
    // A machine without names for its boots, whose last one took ten days; a broken arrival time; both broken.
    for (arrival, last) in [(864_000, 864_000), (u64::MAX / SECOND, 990), (2_000, 990), (900, 2_000)] {
        let budget = open(directory.path(), "", "production", None);
        let bucket = &budget.buckets[0];
        let (arrival, last) = (arrival * SECOND, last * SECOND);
        let record = BudgetRecord { name: bucket.name, boot: budget.boot, arrival, settings: bucket.settings, last };
        std::fs::write(&path, record.to_bytes()).unwrap();
        // As after a reboot: all of the burst is to be earned first.
        let wait = budget.take(now).unwrap().unwrap();
        assert_eq!(wait.as_millis(), 61_000 / 26, "{arrival} {last}");
        let found = BudgetRecord::from_bytes(&std::fs::read(&path).unwrap().try_into().unwrap());
        assert!(!found.is_ahead(now) && found.arrival == bucket.gcra.exhausted(now), "{found:?}");
    }
}

#[test]
fn other_settings_and_a_last_request_that_lies_ahead_end_the_silence_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db.budget");
    let budget = open(directory.path(), "boot", "production", None);
    let (name, boot) = (budget.buckets[0].name, budget.boot);
    let record = BudgetRecord { name, boot, arrival: 0, settings: 1_000 << 32 | 15, last: u64::MAX };
    std::fs::write(&path, record.to_bytes()).unwrap();
    let now = 1_000 * SECOND;
    assert!(first_request(&budget, now) <= now + WINDOW_NS);
}

#[test]
fn a_file_that_is_too_long_is_begun_anew_with_nothing_left_to_spend() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db.budget");
    std::fs::write(&path, vec![7; (MAX_RECORDS + 1) * RECORD_BYTES]).unwrap();
    let budget = open(directory.path(), "boot", "production", Some(100));
    let sent: usize = (100..160).map(|second| take_all(&budget, second * SECOND)).sum();
    assert!((20..=26).contains(&sent), "{sent} in the first minute");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 * RECORD_BYTES as u64);
}
