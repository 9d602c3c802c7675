//! The numbers that survive a restart: counters and histograms of one target, as values that can be stored and
//! compared.
//!
//! Sums are kept in whole nanoseconds, so that they do not depend on the order in which entries were read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::labels::{AttemptLabels, HttpLabel, LabelPolicy};
use super::series::{ATTEMPTS_BUCKETS, DELAY_BUCKETS, Family, SeriesKey};
use super::transition::{Origin, Transition};
use crate::delivery::{AttemptStatus, Timestamp};

/// Histograms of times sum nanoseconds, and show seconds.
pub const NANOS_PER_SECOND: f64 = 1e9;

/// The total of one series.
#[derive(Clone, Debug, PartialEq)]
pub enum Total {
    /// A counter's value.
    Counter(u64),
    /// A histogram's buckets and sum.
    Histogram(HistogramTotals),
}

/// The birth of a series that did not exist before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birth {
    /// When, by the server's clock, but never ahead of the local one.
    pub at: Timestamp,
    /// Whether it is served as 0 for now, so that no scraper misses its first value.
    pub is_held: bool,
}

/// Observations by bucket, and their sum.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramTotals {
    /// Upper bounds, ascending, without +Inf.
    pub bounds: Arc<[f64]>,
    /// Observations in each bucket alone; one more than `bounds`, for +Inf.
    pub counts: Box<[u64]>,
    /// The sum of what was observed, in units of 1/`per_unit`.
    pub sum: u64,
}

impl HistogramTotals {
    /// An empty histogram.
    pub fn new(bounds: Arc<[f64]>) -> Self {
        let counts = vec![0; bounds.len() + 1].into();
        Self { bounds, counts, sum: 0 }
    }

    /// Observes `amount`, of which `per_unit` make one unit of the bounds.
    pub fn observe(&mut self, amount: u64, per_unit: f64) {
        let value = amount as f64 / per_unit;
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.sum = self.sum.saturating_add(amount);
    }

    /// The number of observations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// All durable totals of one target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals(BTreeMap<SeriesKey, Total>);

impl Totals {
    /// Drops the series of a family.
    pub fn remove_family(&mut self, family: Family) {
        self.0.retain(|key, _| key.family != family);
    }

    /// Sets a series to a value, as it was stored.
    pub fn set(&mut self, key: SeriesKey, total: Total) {
        self.0.insert(key, total);
    }

    /// The total of a series.
    pub fn get(&self, key: &SeriesKey) -> Option<&Total> {
        self.0.get(key)
    }

    /// The counter's value; 0 if there is no such series.
    pub fn counter(&self, key: &SeriesKey) -> u64 {
        match self.0.get(key) {
            Some(Total::Counter(value)) => *value,
            _ => 0,
        }
    }

    /// All series of a family, in order.
    pub fn family(&self, family: Family) -> impl Iterator<Item = (&SeriesKey, &Total)> {
        let first = SeriesKey { family, labels: Box::default() };
        self.0.range(first..).take_while(move |(key, _)| key.family == family)
    }

    /// All series.
    pub fn iter(&self) -> impl Iterator<Item = (&SeriesKey, &Total)> {
        self.0.iter()
    }

    /// The values of the label `event` that are in use.
    pub fn events(&self) -> impl Iterator<Item = &Arc<str>> {
        let families = [Family::Attempts, Family::Deliveries];
        families.into_iter().flat_map(|family| self.family(family)).filter_map(|(key, _)| key.labels.first())
    }

    /// The label sets of the attempts counter.
    pub fn attempt_label_sets(&self) -> impl Iterator<Item = AttemptLabels> {
        self.family(Family::Attempts).filter_map(|(key, _)| {
            let [event, status, http_status] = &*key.labels else { return None };
            Some(AttemptLabels {
                event: event.clone(),
                status: AttemptStatus::from_name(status)?,
                http_status: HttpLabel::parse(http_status)?,
            })
        })
    }

    /// These totals after `transitions`.
    pub fn after(&self, transitions: &[Transition], policy: &LabelPolicy) -> ChangedTotals {
        let mut changed = Changed {
            before: self,
            after: BTreeMap::new(),
            first_seen: BTreeMap::new(),
            delay_buckets: DELAY_BUCKETS.into(),
            attempts_buckets: ATTEMPTS_BUCKETS.into(),
        };
        for transition in transitions {
            changed.count(transition, policy);
        }
        let live = changed.first_seen.into_iter().filter(|(_, origin)| *origin == Origin::Live);
        ChangedTotals { totals: changed.after, born: live.map(|(key, _)| key).collect() }
    }

    /// Sets the values of changed series.
    pub fn apply(&mut self, changed: &BTreeMap<SeriesKey, Total>) {
        for (key, total) in changed {
            self.0.insert(key.clone(), total.clone());
        }
    }
}

/// What transitions change in the totals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChangedTotals {
    /// The series that change, with their new values.
    pub totals: BTreeMap<SeriesKey, Total>,
    /// Those of them that are new and owe nothing to history.
    pub born: Vec<SeriesKey>,
}

/// Series that differ from `before`.
struct Changed<'a> {
    before: &'a Totals,
    after: BTreeMap<SeriesKey, Total>,
    /// Series that `before` does not have, and the earliest origin of what they count.
    first_seen: BTreeMap<SeriesKey, Origin>,
    delay_buckets: Arc<[f64]>,
    attempts_buckets: Arc<[f64]>,
}

impl Changed<'_> {
    fn count(&mut self, transition: &Transition, policy: &LabelPolicy) {
        match transition {
            Transition::Logged(outcome) => self.increment(SeriesKey::log_entries(*outcome), Origin::Live),
            Transition::Gap => self.increment(SeriesKey::history_gaps(), Origin::Live),
            Transition::Counted { attempt, labels, delay_ns, origin, .. } => {
                self.increment(labels.attempts_series(), *origin);
                if let Some(duration) = attempt.duration_ns {
                    let series = labels.duration_series(&policy.duration_labels);
                    self.observe(series, &policy.duration_buckets, duration, NANOS_PER_SECOND, *origin);
                }
                if let Some(delay) = delay_ns {
                    let series = SeriesKey::new(Family::Delay, [labels.event.clone()]);
                    let bounds = self.delay_buckets.clone();
                    self.observe(series, &bounds, *delay, NANOS_PER_SECOND, *origin);
                }
            }
            Transition::Ended { event, result, attempts, origin, .. } => {
                let labels = [event.clone(), result.as_str().into()];
                self.increment(SeriesKey::new(Family::Deliveries, labels.clone()), *origin);
                let series = SeriesKey::new(Family::AttemptsPerDelivery, labels);
                let bounds = self.attempts_buckets.clone();
                self.observe(series, &bounds, u64::from(*attempts), 1.0, *origin);
            }
        }
    }

    fn touch(&mut self, key: &SeriesKey, origin: Origin) {
        if key.family.is_born() && self.before.get(key).is_none() {
            let first = self.first_seen.entry(key.clone()).or_insert(origin);
            *first = origin.min(*first);
        }
    }

    fn increment(&mut self, key: SeriesKey, origin: Origin) {
        self.touch(&key, origin);
        let before = self.before;
        let total = self.after.entry(key).or_insert_with_key(|key| Total::Counter(before.counter(key)));
        if let Total::Counter(value) = total {
            *value += 1;
        }
    }

    fn observe(&mut self, key: SeriesKey, bounds: &Arc<[f64]>, amount: u64, per_unit: f64, origin: Origin) {
        self.touch(&key, origin);
        let before = self.before;
        let total = self.after.entry(key).or_insert_with_key(|key| match before.get(key) {
            Some(known) => known.clone(),
            None => Total::Histogram(HistogramTotals::new(bounds.clone())),
        });
        if let Total::Histogram(histogram) = total {
            histogram.observe(amount, per_unit);
        }
    }
}
