//! Which owner's webhooks are read next: each owner's once per period, evenly spread, and changed owners' at once.

use std::time::Duration;

use super::OwnerKey;
use super::record::OwnerRecord;

/// Webhooks of agents, and of campaigns that may still deliver, are read within an hour.
const PERIOD: Duration = Duration::from_secs(3600);
/// Those of campaigns that have ended, within a day.
const ENDED_PERIOD: Duration = Duration::from_secs(24 * 3600);
/// Everybody has a turn within a period, and a twentieth of it is left for turns that are late.
const SPREAD: f64 = 0.95;
/// After a reading in vain, the owner's next change is followed no sooner than this, because some APIs update
/// `updated_at` with every call.
const CHANGED_PERIOD: Duration = Duration::from_secs(15 * 60);
/// The status of campaigns that have ended.
const ENDED: [&str; 2] = ["completed", "cancelled"];

/// How often an owner is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnerClass {
    /// Whether it is a campaign that has ended.
    has_ended: bool,
    /// Whether there is news of it.
    is_changed: bool,
}

impl OwnerClass {
    fn period(self) -> Duration {
        if self.has_ended { ENDED_PERIOD } else { PERIOD }
    }
}

/// The class of an owner.
pub(super) fn class(key: &OwnerKey, record: &OwnerRecord) -> OwnerClass {
    let is_campaign = key.owner_type == crate::delivery::OwnerType::Campaign;
    let has_ended = record.owner.status.as_deref().is_some_and(|status| ENDED.contains(&status));
    OwnerClass { has_ended: is_campaign && has_ended, is_changed: record.is_changed }
}

/// When an owner's webhooks were read, and when they may be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnerTurn {
    read: Option<Duration>,
    /// When they were last read because of a change, but in vain.
    vain: Option<Duration>,
    not_before: Duration,
    failures: u32,
}

impl OwnerTurn {
    /// The turn of an owner whose webhooks were last read then, if ever. That reading does not count as one in vain:
    /// after a restart or a reload the next change is followed at once, at the cost of one reading per changed owner.
    pub(super) fn read_at(read: Option<Duration>) -> Self {
        Self { read, ..Self::default() }
    }

    /// When they are to be read before all others, if they are.
    pub(super) fn urgent_at(&self, class: OwnerClass) -> Option<Duration> {
        match self.read {
            None => Some(self.not_before),
            Some(_) => {
                let patience = self.vain.map_or(Duration::ZERO, |vain| vain + CHANGED_PERIOD);
                class.is_changed.then(|| self.not_before.max(patience))
            }
        }
    }

    /// Whether they were read, or at least requested without success.
    pub(super) fn has_come(&self) -> bool {
        self.read.is_some() || self.failures > 0
    }

    /// Records that they were read.
    pub(super) fn succeed(&mut self, now: Duration) {
        *self = Self { read: Some(now), ..Self::default() };
    }

    /// Records that they were read in vain: because the owner had changed, but its webhooks had not.
    pub(super) fn succeed_in_vain(&mut self, now: Duration) {
        *self = Self { read: Some(now), vain: Some(now), ..Self::default() };
    }

    /// Records that they could not be read.
    pub(super) fn fail(&mut self, now: Duration, first: Duration, class: OwnerClass) {
        self.failures += 1;
        self.not_before = now + doubled(first, self.failures, class.period());
    }
}

/// The owner whose turn is next in rotation, and when. From each class comes the owner that was read longest ago: one
/// step after the last reading, a step being one owner's share of the period, and no later than its own period allows.
/// So a burst of first readings does not come back as a burst.
pub(super) fn next<'a>(
    turns: impl Iterator<Item = (&'a OwnerKey, &'a OwnerTurn, OwnerClass)>,
) -> Option<(Duration, &'a OwnerKey)> {
    let mut rings = [Ring::default(), Ring::default()];
    for (key, turn, class) in turns {
        if let Some(read) = turn.read {
            rings[usize::from(class.has_ended)].add(key, read, turn.not_before);
        }
    }
    let [running, ended] = rings;
    [running.next(PERIOD), ended.next(ENDED_PERIOD)].into_iter().flatten().min()
}

/// What decides within a class who is next.
#[derive(Default)]
struct Ring<'a> {
    count: u32,
    newest: Duration,
    /// The owner that has waited longest: since when, when it was read, from when on it may be read, and its key.
    oldest: Option<(Duration, Duration, Duration, &'a OwnerKey)>,
}

impl<'a> Ring<'a> {
    fn add(&mut self, key: &'a OwnerKey, read: Duration, not_before: Duration) {
        self.count += 1;
        self.newest = self.newest.max(read);
        let waiting = (read.max(not_before), read, not_before, key);
        self.oldest = Some(self.oldest.map_or(waiting, |oldest| oldest.min(waiting)));
    }

    fn next(self, period: Duration) -> Option<(Duration, &'a OwnerKey)> {
        let (_, read, not_before, key) = self.oldest?;
        let due = (self.newest + period.mul_f64(SPREAD / f64::from(self.count))).min(read + period);
        Some((due.max(not_before), key))
    }
}

/// `first`, doubled with each failure after the first, up to `most`.
pub(super) fn doubled(first: Duration, failures: u32, most: Duration) -> Duration {
    // 2^16 times the shortest pause is longer than any period.
    first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(most.max(first))
}
