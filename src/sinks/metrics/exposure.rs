//! Which series are served as 0 for now, and whether what is shown has just caught up with an outage.
//!
//! PromQL's `increase()` does not see the first value of a series. So a series that is born while the daemon is
//! watching is served as 0 until every scraper has had time to see it, counted from the first scrape that showed it.
//! The end of a hold is committed before it is shown (`pipeline::release`): no value ever goes back.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::store::Release;
use crate::store::durable::Durable;
use talkover_core::delivery::Timestamp;
use talkover_core::ledger::series::SeriesKey;
use talkover_core::ledger::totals::Birth;

/// The holds of one target.
#[derive(Clone, Debug, Default)]
pub struct Exposure {
    /// When series were born, by the server's clock, never ahead of the local one; series that come from history have
    /// no birth.
    born: BTreeMap<SeriesKey, Timestamp>,
    /// The series that are served as 0.
    held: BTreeMap<SeriesKey, FirstShown>,
    catching_up: Option<CatchingUp>,
}

/// When a scrape first showed something. All copies of a view share it, because a scrape reads a snapshot, and the
/// board may hold a newer copy by then.
type FirstShown = Arc<OnceLock<Instant>>;

#[derive(Clone, Debug)]
struct CatchingUp {
    /// When the last batch of what was missed was read, by the server's clock.
    since: Timestamp,
    /// The series that were held then.
    awaited: Arc<[SeriesKey]>,
    /// When all of it was first shown, with none of them held.
    complete: FirstShown,
}

impl Exposure {
    /// Adds the births of a commit; `catching_up` is set if it consists of what happened while nobody looked.
    pub fn add(&mut self, births: &BTreeMap<SeriesKey, Birth>, catching_up: Option<Timestamp>) {
        for (key, birth) in births {
            self.born.insert(key.clone(), birth.at);
            if birth.is_held {
                self.held.insert(key.clone(), FirstShown::default());
            }
        }
        if let Some(since) = catching_up {
            // Those that were born later than this, before a restart, belong to the present.
            let is_awaited = |key: &&SeriesKey| self.born.get(*key).is_none_or(|born| *born <= since);
            let awaited = self.held.keys().filter(is_awaited).cloned().collect();
            self.catching_up = Some(CatchingUp { since, awaited, complete: FirstShown::default() });
        }
    }

    /// Whether a series is served as 0.
    pub fn is_held(&self, key: &SeriesKey) -> bool {
        self.held.contains_key(key)
    }

    /// When a series was born, by the server's clock, never ahead of the local one.
    pub fn born_at(&self, key: &SeriesKey) -> Option<Timestamp> {
        self.born.get(key).copied()
    }

    /// Whether what happened while nobody looked has only just arrived.
    pub fn is_catching_up(&self) -> bool {
        self.catching_up.is_some()
    }

    /// Records that a scrape shows this at `now`.
    pub fn note_scrape(&self, now: Instant) {
        for shown in self.held.values() {
            shown.get_or_init(|| now);
        }
        if let Some(catching_up) = &self.catching_up
            && !catching_up.awaited.iter().any(|key| self.is_held(key))
        {
            catching_up.complete.get_or_init(|| now);
        }
    }

    /// The holds that have lasted for `hold` since a scrape first showed them.
    pub fn due(&self, now: Instant, hold: Duration) -> Release {
        let is_over =
            |shown: &FirstShown| shown.get().is_some_and(|first| now.saturating_duration_since(*first) >= hold);
        let series = self.held.iter().filter(|(_, shown)| is_over(shown)).map(|(key, _)| key.clone()).collect();
        let caught_up = self.catching_up.as_ref().filter(|state| is_over(&state.complete)).map(|state| state.since);
        Release { series, caught_up }
    }

    /// Ends holds, once their end is committed.
    pub fn release(&mut self, released: &Durable<Release>) {
        for key in &released.series {
            self.held.remove(key);
        }
        if self.catching_up.as_ref().is_some_and(|state| Some(state.since) == released.caught_up) {
            self.catching_up = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use talkover_core::ledger::series::Family;

    const HOLD: Duration = Duration::from_secs(65);

    fn series(name: &str) -> SeriesKey {
        SeriesKey::new(Family::Deliveries, [name.into(), "failed".into()])
    }

    fn births(name: &str, second: i64) -> BTreeMap<SeriesKey, Birth> {
        BTreeMap::from([(series(name), Birth { at: Timestamp::from_seconds(second), is_held: true })])
    }

    #[test]
    fn a_hold_counts_from_the_first_scrape_and_ends_once_only() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut exposure = Exposure::default();
        exposure.add(&births("a", 1), None);
        assert!(exposure.due(after(1000), HOLD).is_empty(), "nobody has seen it");
        exposure.note_scrape(after(10));
        exposure.note_scrape(after(40));
        exposure.add(&births("b", 2), None);
        assert!(exposure.due(after(74), HOLD).is_empty());
        let due = exposure.due(after(75), HOLD);
        assert_eq!(due.series, [series("a")]);
        assert!(exposure.is_held(&series("a")), "not before it is committed");
        exposure.release(&Durable::assumed(due.clone()));
        assert!(!exposure.is_held(&series("a")) && exposure.is_held(&series("b")));
        assert_eq!(exposure.born_at(&series("a")), Some(Timestamp::from_seconds(1)));
    }

    #[test]
    fn catching_up_ends_after_the_complete_totals_were_shown() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut exposure = Exposure::default();
        exposure.add(&births("a", 5), Some(Timestamp::from_seconds(5)));
        exposure.note_scrape(after(0));
        let due = exposure.due(after(65), HOLD);
        assert_eq!((due.series.len(), due.caught_up), (1, None));
        exposure.release(&Durable::assumed(due.clone()));
        // What is born later belongs to the present.
        exposure.add(&births("later", 70), None);
        exposure.note_scrape(after(70));
        assert_eq!(exposure.due(after(134), HOLD).caught_up, None);
        let due = exposure.due(after(135), HOLD);
        assert_eq!(due.caught_up, Some(Timestamp::from_seconds(5)));

        let mut again = exposure.clone();
        again.add(&BTreeMap::new(), Some(Timestamp::from_seconds(80)));
        again.release(&Durable::assumed(due.clone()));
        assert!(again.is_catching_up(), "another batch came in between");
        exposure.release(&Durable::assumed(due.clone()));
        assert!(!exposure.is_catching_up());
    }

    #[test]
    fn catching_up_waits_for_no_later_birth_where_the_servers_clock_is_ahead() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut exposure = Exposure::default();
        // No birth is later than the local clock, so `later` seems to be older than the batch.
        exposure.add(&births("a", 5), Some(Timestamp::from_seconds(100)));
        exposure.note_scrape(after(0));
        exposure.release(&Durable::assumed(exposure.due(after(65), HOLD)));
        exposure.add(&births("later", 70), None);
        exposure.note_scrape(after(70));
        assert_eq!(exposure.due(after(135), HOLD).caught_up, Some(Timestamp::from_seconds(100)));
    }
}
