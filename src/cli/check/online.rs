//! `check --online`: asks the API what the settings come to: webhooks, limits, requests, freshness, series.
//!
//! It reads the lists that discovery searches, and the first page of some logs; every request is paid for from the budget that the
//! daemon draws from.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use super::{Figures, per_minute, plural};
use crate::app;
use crate::asking::{AskError, Asker};
use crate::cli::asker::asker;
use crate::cli::run::run_until_stopped;
use crate::cli::{Failure, print};
use crate::config::{Config, EnvironmentConfig, MetricsConfig, PollConfig, format_duration};
use crate::shutdown::Shutdown;
use talkover_core::delivery::{Attempt, Status, Target, Timestamp};
use talkover_core::discovery::filter::Filter;
use talkover_core::discovery::plan::{Discovery, Settings};
use talkover_core::discovery::record::Record;
use talkover_core::discovery::request::{Found, Request};
use talkover_core::discovery::targets::{Listed, join};
use talkover_core::ledger::labels::AttemptLabel;
use talkover_core::ledger::totals::{ATTEMPTS_BUCKETS, DELAY_BUCKETS};
use talkover_core::reading::error::ApiError;
use talkover_core::reading::wire::LogPage;
use talkover_core::schedule::Intervals;
use talkover_core::schedule::allocation::{Allocation, stretched};

/// Logs that are looked into: the others are taken to be like them.
const SAMPLE: usize = 20;
/// Entries asked for of each.
const PER_PAGE: u32 = 100;
/// A log with less than a page is judged by what it says of this time at least.
const SHORTEST_SPAN: Duration = Duration::from_secs(3600);
/// How often the webhooks of an owner are read: an hour.
const OWNER_PERIOD: Duration = Duration::from_secs(3600);
/// Series of a webhook that do not depend on its traffic: its gauges, polls and log entries.
const FIXED_SERIES: usize = 31;
/// Beside its buckets a histogram has +Inf, a sum and a count.
const BESIDE_BUCKETS: usize = 3;

pub(super) fn run(config: &Config) -> Result<(), Failure> {
    run_until_stopped(async |shutdown| check_all(config, shutdown).await)
}

async fn check_all(config: &Config, shutdown: Shutdown) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for environment in &config.environments {
        let mut asker = asker(config, environment, shutdown.clone())?;
        match survey(environment, &mut asker).await {
            Ok(survey) => print(&table(config, environment, &asker, &survey))?,
            Err(AskError::Interrupted) => return Err(Failure::running("interrupted")),
            Err(error) => failures.push(format!("environment `{}`: {error}", environment.name)),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::running_all(failures)) }
}

/// What the API says of an environment.
#[derive(Debug, Default)]
struct Survey {
    targets: Vec<Listed>,
    /// Webhooks that include and exclude keep out.
    left_out: usize,
    owners: usize,
    /// Requests that one refresh of the lists takes.
    list_requests: usize,
    logs: Vec<Log>,
    /// Webhooks whose log could not be read, and why.
    unreadable: Vec<(Target, String)>,
}

/// What the first page of a log tells.
#[derive(Debug, Default)]
struct Log {
    /// Entries a second.
    rate: f64,
    /// Attempts by event, status and http_status.
    label_sets: BTreeSet<(Arc<str>, Status, String)>,
}

async fn survey(environment: &EnvironmentConfig, asker: &mut Asker) -> Result<Survey, AskError> {
    let mut survey = Survey::default();
    let discovery = discover(environment, asker, &mut survey).await?;
    let named: Vec<Target> = environment.webhooks.iter().map(|webhook| app::target(environment, webhook)).collect();
    let name = Arc::from(environment.name.as_str());
    let found = discovery.iter().flat_map(Discovery::targets);
    survey.targets = join(&name, &named, found).into_values().collect();
    survey.left_out = discovery.iter().flat_map(Discovery::targets).filter(|found| !found.is_wanted).count();
    let polled: Vec<Target> =
        survey.targets.iter().filter(|listed| !listed.is_disabled()).map(|listed| listed.target.clone()).collect();
    for target in polled.iter().take(SAMPLE) {
        let asked = asker.ask(&target.to_string(), async |client| client.logs(target, 1, PER_PAGE).await).await;
        match asked {
            Ok((page, date)) => survey.logs.push(Log::of(&page, date.timestamp())),
            Err(error) if error.concerns_environment() => return Err(error),
            Err(error) => survey.unreadable.push((target.clone(), error.to_string())),
        }
    }
    Ok(survey)
}

/// Reads all lists that discovery searches.
async fn discover(
    environment: &EnvironmentConfig,
    asker: &mut Asker,
    survey: &mut Survey,
) -> Result<Option<Discovery>, AskError> {
    let Some(config) = &environment.discovery else { return Ok(None) };
    let settings =
        Settings { agents: config.agents, campaigns: config.campaigns, refresh_interval: config.refresh_interval };
    let filter = Filter::new(&config.include, &config.exclude);
    let mut discovery = Discovery::new(settings, filter, Record::default(), asker.clock.now());
    let mut owners = BTreeSet::new();
    while let Some(request) = discovery.next(Duration::ZERO) {
        discovery.start();
        let asked = match &request {
            Request::Owners { owner_type, page, per_page } => {
                survey.list_requests += 1;
                asker
                    .ask("a list of owners", async |client| client.owners(*owner_type, *page, *per_page).await)
                    .await
                    .map(|(page, date)| (Found::Owners(page), date))
            }
            Request::Webhooks { owner, page } => {
                owners.insert(owner.clone());
                asker
                    .ask("an owner's webhooks", async |client| client.webhooks(owner, *page).await)
                    .await
                    .map(|(page, date)| (Found::Webhooks(page), date))
            }
        };
        match asked {
            Ok((found, date)) => drop(discovery.finish(request, Ok(found), date, Duration::ZERO)),
            Err(AskError::Api { error, date, .. }) if is_of_one_owner(&request, &error) => {
                discovery.finish(request, Err(&error), date, Duration::ZERO);
            }
            Err(error) => return Err(error),
        }
    }
    survey.owners = owners.len();
    Ok(Some(discovery))
}

fn is_of_one_owner(request: &Request, error: &ApiError) -> bool {
    matches!(request, Request::Webhooks { .. }) && !error.concerns_environment()
}

impl Log {
    fn of(page: &LogPage, date: Timestamp) -> Self {
        let oldest = page.attempts.iter().map(|attempt| attempt.created_at).min();
        let span = oldest.map_or(SHORTEST_SPAN, |oldest| date.since(oldest));
        let is_full = page.attempts.len() >= PER_PAGE as usize;
        let span = if is_full { span.max(Duration::from_secs(1)) } else { span.max(SHORTEST_SPAN) };
        Self {
            rate: page.attempts.len() as f64 / span.as_secs_f64(),
            label_sets: page.attempts.iter().filter_map(label_set).collect(),
        }
    }

    /// The series that such a webhook comes to.
    fn series(&self, metrics: &MetricsConfig) -> usize {
        let durations: BTreeSet<Vec<String>> =
            self.label_sets.iter().map(|set| duration_labels(set, &metrics.duration_labels)).collect();
        let events: BTreeSet<_> = self.label_sets.iter().map(|(event, ..)| event).collect();
        let ends: BTreeSet<_> = self
            .label_sets
            .iter()
            .filter(|(_, status, _)| matches!(status, Status::Success | Status::Failed))
            .map(|(event, status, _)| (event, status))
            .collect();
        FIXED_SERIES
            + self.label_sets.len()
            + durations.len() * (metrics.duration_buckets.len() + BESIDE_BUCKETS)
            + events.len() * (DELAY_BUCKETS.len() + BESIDE_BUCKETS)
            + ends.len() * (1 + ATTEMPTS_BUCKETS.len() + BESIDE_BUCKETS)
    }
}

fn label_set(attempt: &Attempt) -> Option<(Arc<str>, Status, String)> {
    let is_counted = attempt.status.is_outcome();
    is_counted.then(|| (attempt.event.clone(), attempt.status, format!("{:?}", attempt.http_status)))
}

fn duration_labels((event, status, http_status): &(Arc<str>, Status, String), labels: &[AttemptLabel]) -> Vec<String> {
    let value = |label: &AttemptLabel| match label {
        AttemptLabel::Event => event.to_string(),
        AttemptLabel::Status => status.as_str().to_owned(),
        AttemptLabel::HttpStatus => http_status.clone(),
    };
    labels.iter().map(value).collect()
}

/// Requests a minute, and what they buy.
#[derive(Debug)]
struct Need {
    polls: f64,
    sweeps: f64,
    discovery: f64,
    mean_wait: Duration,
    worst: Duration,
}

impl Need {
    fn of(poll: &PollConfig, environment: &EnvironmentConfig, asker: &Asker, survey: &Survey) -> Self {
        let enabled = survey.targets.iter().filter(|listed| !listed.is_disabled()).count();
        let refresh = environment.discovery.as_ref().map(|discovery| discovery.refresh_interval);
        let lists = refresh.map_or(0.0, |interval| per_minute(survey.list_requests, interval));
        let discovery = lists + per_minute(survey.owners, OWNER_PERIOD);
        let sweeps = per_minute(enabled, poll.sweep_interval);
        let rate = f64::from(environment.requests_per_minute);
        let max = stretched(poll.max_interval, survey.targets.len(), rate);
        let bounds = Intervals { min: poll.min_interval.min(max), max };
        // Those that were not looked into are taken to be like those that were.
        let rates: Vec<f64> = survey.logs.iter().map(|log| log.rate).cycle().take(enabled).collect();
        let left = (asker.budget.per_second() - (sweeps + discovery) / 60.0).max(0.0);
        let allocation = Allocation::new(&rates, bounds, left);
        let interval = |rate: &f64| allocation.interval(*rate);
        let polls: f64 = rates.iter().map(|rate| 60.0 / interval(rate).as_secs_f64()).sum();
        Self {
            polls: polls + per_minute(survey.targets.len() - enabled, max),
            sweeps,
            discovery,
            mean_wait: Duration::from_secs_f64(allocation.mean_wait(&rates)),
            worst: rates.iter().map(interval).max().unwrap_or(max),
        }
    }
}

fn table(config: &Config, environment: &EnvironmentConfig, asker: &Asker, survey: &Survey) -> String {
    let need = Need::of(&config.poll, environment, asker, survey);
    let disabled = survey.targets.iter().filter(|listed| listed.is_disabled()).count();
    let named = environment.webhooks.len();
    let found = survey.targets.len() - named;
    let mut rows = Figures::new(&format!("environment `{}`, as the API has it now", environment.name));
    let mut webhooks = format!("{}: {named} named, {found} discovered", survey.targets.len());
    if environment.discovery.is_some() {
        let _ = write!(webhooks, " under {}, {} left out", plural(survey.owners, "owner"), survey.left_out);
    }
    if disabled > 0 {
        let _ = write!(webhooks, "; {disabled} disabled");
    }
    rows.add("webhooks", &webhooks);
    rows.add("API's rate limit", &rate_limit(asker.rate_limit));
    let sum = need.polls + need.sweeps + need.discovery;
    rows.add(
        "requests a minute",
        &format!(
            "{sum:.1} needed: {:.1} polls, {:.1} sweeps, {:.1} discovery; the budget is {}",
            need.polls, need.sweeps, need.discovery, environment.requests_per_minute
        ),
    );
    rows.add(
        "freshness",
        &format!("an entry is read after {} on average, {} at worst", rounded(need.mean_wait), rounded(need.worst)),
    );
    rows.add("series to expect", &series(&config.metrics, survey));
    for (target, reason) in &survey.unreadable {
        rows.add("NOT READABLE", &format!("{}: {reason}", target.webhook_id));
    }
    rows.add("asked for this", &plural(usize::try_from(asker.requests).unwrap_or(usize::MAX), "request"));
    rows.finish()
}

fn rate_limit(limit: (Option<u64>, Option<u64>)) -> String {
    match limit {
        (Some(limit), Some(left)) => format!("{limit} a minute, {left} left"),
        (Some(limit), None) => format!("{limit} a minute"),
        _ => "not told".to_owned(),
    }
}

fn series(metrics: &MetricsConfig, survey: &Survey) -> String {
    let sampled: usize = survey.logs.iter().map(|log| log.series(metrics)).sum();
    match survey.logs.len() {
        0 => format!("{} at least", survey.targets.len() * FIXED_SERIES),
        logs => format!(
            "about {}, judged by the newest entries of {}",
            sampled * survey.targets.len() / logs,
            plural(logs, "webhook")
        ),
    }
}

/// To seconds where it is long, else to tenths: nobody needs more.
fn rounded(time: Duration) -> String {
    if time >= Duration::from_secs(10) {
        return format_duration(Duration::from_secs(time.as_secs()));
    }
    format!("{:.1}s", time.as_secs_f64())
}
