//! Whether the deliveries of a webhook arrive: what the status says about its last hour and day.

use std::time::Duration;

use serde::Serialize;

use super::time::{StatusMoment, rfc3339};
use crate::sinks::metrics::board::TargetView;
use talkover_core::delivery::{AttemptStatus, Timestamp};
use talkover_core::ledger::activity::{Minute, OUTCOMES, Outcomes, minute_of};

/// A webhook is failing after this many lost deliveries in a row, however long ago they were.
const FAILING_IN_A_ROW: u64 = 3;
/// A webhook is also failing if, of the deliveries that ended within an hour, at least this many were lost,
const FAILING_IN_AN_HOUR: u64 = 2;
/// and more than one in this many.
const FAILING_ONE_IN: u64 = 100;
/// After this long without a successful poll, the state of the deliveries is unknown.
const STALE: Duration = Duration::from_secs(3600);

const HOUR: Minute = 60;
const DAY: Minute = 24 * HOUR;

/// The state of a webhook's deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum DeliveryState {
    /// The last three that ended were lost, or at least two and more than 1 % of those of the last hour.
    Failing,
    /// The log has never been read, or not within the last hour.
    Unknown,
    /// They arrive.
    Ok,
    /// No delivery has ended within the last hour.
    Idle,
}

/// Deliveries that ended, by result.
#[derive(Clone, Copy, Debug, Serialize)]
pub(in crate::server) struct Ended {
    pub(in crate::server) success: u64,
    pub(in crate::server) failed: u64,
    pub(in crate::server) abandoned: u64,
}

impl Ended {
    fn of(outcomes: &Outcomes) -> Self {
        let [success, failed, abandoned] = outcomes.deliveries;
        Self { success, failed, abandoned }
    }

    /// Returns how many deliveries were lost.
    pub(in crate::server) fn lost(self) -> u64 {
        self.failed + self.abandoned
    }

    /// Returns the ratio that succeeded; `None` if none ended.
    pub(in crate::server) fn success_rate(self) -> Option<f64> {
        let all = self.success + self.lost();
        (all > 0).then(|| self.success as f64 / all as f64)
    }
}

/// Attempts, by outcome.
#[derive(Clone, Copy, Debug, Serialize)]
pub(in crate::server) struct Attempts {
    pub(in crate::server) success: u64,
    pub(in crate::server) failed: u64,
    pub(in crate::server) retrying: u64,
}

impl Attempts {
    fn of(outcomes: &Outcomes) -> Self {
        let count = |status| OUTCOMES.iter().position(|one| *one == status).map_or(0, |index| outcomes.attempts[index]);
        Self {
            success: count(AttemptStatus::Success),
            failed: count(AttemptStatus::Failed),
            retrying: count(AttemptStatus::Retrying),
        }
    }
}

/// Log entries that may still change, and are therefore read again.
#[derive(Clone, Debug, Serialize)]
pub(in crate::server) struct Open {
    pub(in crate::server) pending: Option<u64>,
    pub(in crate::server) retrying: Option<u64>,
    pub(in crate::server) oldest: Option<String>,
}

/// The state of the deliveries, and since when.
pub(in crate::server) struct Judgement {
    pub(in crate::server) state: DeliveryState,
    pub(in crate::server) since: Option<Timestamp>,
    pub(in crate::server) last_hour: Option<Ended>,
    pub(in crate::server) last_day: Option<Ended>,
    pub(in crate::server) attempts_last_hour: Option<Attempts>,
}

impl Judgement {
    /// Derives the state from what `view` shows at `moment`.
    pub(in crate::server) fn of(view: &TargetView, moment: StatusMoment) -> Self {
        if !view.exposed {
            let (last_hour, last_day, attempts_last_hour) = (None, None, None);
            return Self { state: DeliveryState::Unknown, since: None, last_hour, last_day, attempts_last_hour };
        }
        let now = minute_of(moment.now);
        let [hour, day] = [HOUR, DAY].map(|minutes| view.activity.sum(now - minutes + 1..=Minute::MAX));
        let is_stale = view.last_success.is_none_or(|last| moment.now.since(last) > STALE);
        let since = failing_since(view, now, &hour);
        let state = match since {
            Some(_) => DeliveryState::Failing,
            None if is_stale => DeliveryState::Unknown,
            None if hour.ended() > 0 => DeliveryState::Ok,
            None => DeliveryState::Idle,
        };
        Self {
            state,
            since,
            last_hour: Some(Ended::of(&hour)),
            last_day: Some(Ended::of(&day)),
            attempts_last_hour: Some(Attempts::of(&hour)),
        }
    }
}

/// Returns since when deliveries have been failing; `None` if they are not.
fn failing_since(view: &TargetView, now: Minute, hour: &Outcomes) -> Option<Timestamp> {
    let streak = &view.marks.streak;
    let in_a_row = streak.since.filter(|_| streak.count >= FAILING_IN_A_ROW);
    let in_an_hour = is_failing_hour(hour).then(|| failing_hours_since(view, now));
    in_a_row.into_iter().chain(in_an_hour).min()
}

fn is_failing_hour(hour: &Outcomes) -> bool {
    hour.lost() >= FAILING_IN_AN_HOUR && hour.lost() * FAILING_ONE_IN > hour.ended()
}

/// Goes back from `now` over consecutive minutes whose preceding hour was failing; returns when the first delivery of
/// that stretch was lost, to the minute.
fn failing_hours_since(view: &TargetView, now: Minute) -> Timestamp {
    let mut window = Outcomes::default();
    let mut minutes: Vec<(Minute, &Outcomes)> = view.activity.range(now - DAY + 1..=Minute::MAX).collect();
    minutes.reverse();
    let mut oldest = 0;
    let mut first_lost = now;
    for (index, (end, _)) in minutes.iter().enumerate() {
        // The hour that ends with this minute.
        while let Some((_, outcomes)) = minutes.get(oldest).filter(|(minute, _)| *minute > end - HOUR) {
            window.add(outcomes);
            oldest += 1;
        }
        if !is_failing_hour(&window) && index > 0 {
            break;
        }
        let within = minutes[index..oldest].iter().filter(|(_, outcomes)| outcomes.lost() > 0);
        first_lost = within.map(|(minute, _)| *minute).min().unwrap_or(first_lost).min(first_lost);
        window.take(minutes[index].1);
    }
    Timestamp::from_seconds(first_lost * 60)
}

/// Returns the open entries; their counts are `None` if they are not known yet.
pub(in crate::server) fn open(view: &TargetView) -> Open {
    if !view.exposed {
        return Open { pending: None, retrying: None, oldest: None };
    }
    let [pending, retrying] = view.open.map(Some);
    Open { pending, retrying, oldest: view.oldest_open.into_iter().flatten().min().map(rfc3339) }
}
