//! Recent activity by minute: the deliveries that ended and the attempts that were made.
//!
//! It is computed from the rows, plus the stored sums of pruned rows. A delivery ended when its last attempt was made.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::row::Row;
use crate::delivery::{AttemptStatus, DeliveryResult, Timestamp};

/// How far back it reaches: a day and an hour, for the status page.
pub const ACTIVITY_KEPT: Duration = Duration::from_secs(25 * 3600);

const MINUTE_MICROS: i64 = 60_000_000;

/// A minute since the Unix epoch.
pub type Minute = i64;

/// The results, in the order in which [`Outcomes`] and the state file keep them.
pub const RESULTS: [DeliveryResult; 3] = [DeliveryResult::Success, DeliveryResult::Failed, DeliveryResult::Abandoned];

/// The outcomes, in the order in which gauges and the state file keep them.
pub const OUTCOMES: [AttemptStatus; 4] =
    [AttemptStatus::Success, AttemptStatus::Failed, AttemptStatus::Retrying, AttemptStatus::Unknown];

/// Deliveries and attempts of some time, by result and outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Deliveries that ended, by [`RESULTS`].
    pub deliveries: [u64; 3],
    /// Attempts with an outcome, by [`OUTCOMES`].
    pub attempts: [u64; 4],
}

impl Outcomes {
    /// Returns what one row contributes.
    fn of(row: &Row) -> Self {
        let mut outcomes = Self::default();
        if let Some(index) = RESULTS.iter().position(|result| row.result == Some(*result)) {
            outcomes.deliveries[index] = 1;
        }
        if let Some(index) = OUTCOMES.iter().position(|status| row.counted.is_some_and(|(of, _)| of == *status)) {
            outcomes.attempts[index] = 1;
        }
        outcomes
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns how many deliveries ended.
    pub fn ended(&self) -> u64 {
        self.deliveries.iter().sum()
    }

    /// Returns how many deliveries were lost.
    pub fn lost(&self) -> u64 {
        self.deliveries[1] + self.deliveries[2]
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, u64::saturating_add);
    }

    /// Subtracts `other`.
    pub fn take(&mut self, other: &Self) {
        self.combine(other, u64::saturating_sub);
    }

    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        for (own, others) in self.deliveries.iter_mut().zip(other.deliveries) {
            *own = with(*own, others);
        }
        for (own, others) in self.attempts.iter_mut().zip(other.attempts) {
            *own = with(*own, others);
        }
    }
}

/// The outcomes of each minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecentActivity(BTreeMap<Minute, Outcomes>);

/// Returns the minute that contains `moment`.
pub fn minute_of(moment: Timestamp) -> Minute {
    moment.as_micros().div_euclid(MINUTE_MICROS)
}

impl RecentActivity {
    /// Replaces what the row contributed `before` by what it contributes now.
    pub fn replace(&mut self, before: Option<&Row>, row: &Row) {
        let (old, new) = (before.map(Outcomes::of).unwrap_or_default(), Outcomes::of(row));
        if old != new {
            let outcomes = self.0.entry(minute_of(row.at)).or_default();
            outcomes.take(&old);
            outcomes.add(&new);
            if outcomes.is_empty() {
                self.0.remove(&minute_of(row.at));
            }
        }
    }

    /// Adds the outcomes of a minute.
    pub fn add(&mut self, minute: Minute, outcomes: &Outcomes) {
        self.0.entry(minute).or_default().add(outcomes);
    }

    /// Adds what a pruned row contributes.
    pub fn add_row(&mut self, row: &Row) {
        self.replace(None, row);
    }

    /// Drops the minutes that are more than [`ACTIVITY_KEPT`] older than the newest.
    pub fn forget(&mut self) {
        let Some((newest, _)) = self.0.last_key_value() else { return };
        let oldest = newest - (ACTIVITY_KEPT.as_secs() / 60) as Minute;
        if self.0.first_key_value().is_some_and(|(first, _)| *first < oldest) {
            self.0 = self.0.split_off(&oldest);
        }
    }

    /// Iterates over all minutes, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Minute, &Outcomes)> {
        self.0.iter().map(|(minute, outcomes)| (*minute, outcomes))
    }

    /// Iterates over some minutes, oldest first.
    pub fn range(&self, minutes: RangeInclusive<Minute>) -> impl DoubleEndedIterator<Item = (Minute, &Outcomes)> {
        self.0.range(minutes).map(|(minute, outcomes)| (*minute, outcomes))
    }

    /// Returns the sum over `minutes`.
    pub fn sum(&self, minutes: RangeInclusive<Minute>) -> Outcomes {
        let mut sum = Outcomes::default();
        self.range(minutes).for_each(|(_, outcomes)| sum.add(outcomes));
        sum
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
