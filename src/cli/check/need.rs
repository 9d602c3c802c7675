//! The requests a minute that an environment needs, and how fresh they keep the numbers.

use std::time::Duration;

use super::per_minute;
use super::survey::Survey;
use crate::budgeted_client::BudgetedClient;
use crate::config::{EnvironmentConfig, PollConfig, format_duration};
use talkover_core::schedule::Intervals;
use talkover_core::schedule::allocation::{Allocation, stretched};

/// How often discovery reads the webhooks of an owner: every hour.
const OWNER_PERIOD: Duration = Duration::from_secs(3600);
/// The requests a minute that the settings need.
#[derive(Debug)]
pub(super) struct MeasuredNeed {
    /// `None` if no log could be read: it is unknown how busy the webhooks are.
    pub(super) polls: Option<Polls>,
    pub(super) sweeps: f64,
    pub(super) discovery: f64,
}

/// The polls that the budget allows, and how fresh the metrics are with them.
#[derive(Debug)]
pub(super) struct Polls {
    pub(super) per_minute: f64,
    /// `None` if the logs are empty.
    pub(super) mean_wait: Option<Duration>,
    pub(super) worst: Duration,
}

impl MeasuredNeed {
    pub(super) fn of(
        poll: &PollConfig,
        environment: &EnvironmentConfig,
        asker: &BudgetedClient,
        survey: &Survey,
    ) -> Self {
        let enabled = survey.enabled();
        let refresh = environment.discovery.as_ref().map(|discovery| discovery.refresh_interval);
        let lists = refresh.map_or(0.0, |interval| per_minute(survey.list_requests, interval));
        let discovery = lists + per_minute(survey.owners, OWNER_PERIOD);
        let sweeps = per_minute(enabled, poll.sweep_interval);
        let left = (asker.budget.per_second() - (sweeps + discovery) / 60.0).max(0.0);
        let rate = allowed(environment, asker);
        let polls = (!survey.logs.is_empty() || enabled == 0).then(|| Polls::of(poll, rate, survey, left));
        Self { polls, sweeps, discovery }
    }

    pub(super) fn line(&self, budget: u32) -> String {
        let rest = format!("{:.1} sweeps, {:.1} discovery; the budget is {budget}", self.sweeps, self.discovery);
        let sum = self.sweeps + self.discovery;
        match &self.polls {
            Some(polls) => format!("{:.1} needed: {:.1} polls, {rest}", polls.per_minute + sum, polls.per_minute),
            None => format!("more than {sum:.1} needed: polls unknown, {rest}"),
        }
    }
}

/// Returns the requests a minute that the configuration and the API both allow.
pub(super) fn allowed(environment: &EnvironmentConfig, asker: &BudgetedClient) -> f64 {
    let limit = asker.rate_limit.0.unwrap_or(u64::MAX);
    u64::from(environment.requests_per_minute).min(limit) as f64
}

impl Polls {
    /// Returns the best polls with `left` requests a second, of `rate` requests a minute in total.
    fn of(poll: &PollConfig, rate: f64, survey: &Survey, left: f64) -> Self {
        let max = stretched(poll.max_interval, survey.targets.len(), rate);
        let bounds = Intervals { min: poll.min_interval.min(max), max };
        // Logs that were not read are assumed to be like those that were.
        let rates: Vec<f64> = survey.logs.iter().map(|log| log.rate).cycle().take(survey.enabled()).collect();
        let allocation = Allocation::new(&rates, bounds, left);
        let interval = |rate: &f64| allocation.interval(*rate);
        let polls: f64 = rates.iter().map(|rate| 60.0 / interval(rate).as_secs_f64()).sum();
        let is_busy = rates.iter().any(|rate| *rate > 0.0);
        Self {
            per_minute: polls + per_minute(survey.targets.len() - survey.enabled(), max),
            mean_wait: is_busy.then(|| Duration::from_secs_f64(allocation.mean_wait(&rates))),
            worst: rates.iter().map(interval).max().unwrap_or(max),
        }
    }

    pub(super) fn freshness(&self) -> String {
        let worst = rounded(self.worst);
        match self.mean_wait {
            Some(mean) => format!("an entry is read after {} on average, {worst} at worst", rounded(mean)),
            None => format!("an entry is read after {worst} at worst; the logs are empty now"),
        }
    }
}

/// Rounds to seconds if it is long, else to tenths.
fn rounded(time: Duration) -> String {
    if time >= Duration::from_secs(10) {
        return format_duration(Duration::from_secs(time.as_secs()));
    }
    format!("{:.1}s", time.as_secs_f64())
}
