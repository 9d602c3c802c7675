//! `check --online`: tests the settings against the API: webhooks, limits, requests, freshness, series.
//!
//! It reads the lists that discovery uses, and the first page of every log that the file names and of some that
//! discovery finds, within the daemon's request budget. A list or log that cannot be read is reported, and the others
//! are still read.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::first_reading::FirstReading;
use super::{FiguresTable, per_minute, plural};
use crate::app;
use crate::budgeted_client::{AskError, BudgetedClient};
use crate::cli::asker::asker;
use crate::cli::run::run_until_stopped;
use crate::cli::{Failure, print};
use crate::client::Client;
use crate::config::{Config, EnvironmentConfig, MetricsConfig, PollConfig, format_duration};
use crate::shutdown::Shutdown;
use talkover_core::delivery::{Attempt, AttemptStatus, OwnerType, Target, Timestamp};
use talkover_core::discovery::OwnerKey;
use talkover_core::discovery::plan::{Discovery, ShortList};
use talkover_core::discovery::record::DiscoveryRecord;
use talkover_core::discovery::request::{DiscoveredPage, Request};
use talkover_core::discovery::targets::{ListedTarget, join};
use talkover_core::ledger::labels::AttemptLabel;
use talkover_core::ledger::series::{ATTEMPTS_BUCKETS, DELAY_BUCKETS};
use talkover_core::reading::error::ApiError;
use talkover_core::reading::wire::LogPage;
use talkover_core::schedule::Intervals;
use talkover_core::schedule::allocation::{Allocation, stretched};

/// How many logs the figures are based on; the others are assumed to be alike.
const SAMPLE: usize = 20;
/// How many entries of each log are read.
const PER_PAGE: u32 = 100;
/// How many entries are read of a webhook that is named in the file but not in the sample: only whether it can be read
/// matters.
const PROBE: u32 = 1;
/// If a log has less than a page, its rate is computed over at least this time.
const SHORTEST_SPAN: Duration = Duration::from_secs(3600);
/// How often discovery reads the webhooks of an owner: every hour.
const OWNER_PERIOD: Duration = Duration::from_secs(3600);
/// How many series of a webhook do not depend on its traffic: its gauges, polls and log entries.
const FIXED_SERIES: usize = 31;
/// Besides its buckets, a histogram has +Inf, a sum and a count.
const BESIDE_BUCKETS: usize = 3;

pub(super) fn run(config: &Config) -> Result<(), Failure> {
    let show = |text: String, _: Value| print(&text);
    run_until_stopped(async |shutdown| check_all(config, shutdown, show).await?)
}

/// Like `run`, but returns the figures of each environment as JSON, and whether the command fails.
pub(super) fn run_as_json(config: &Config) -> Result<(Vec<Value>, Result<(), Failure>), Failure> {
    let mut documents = Vec::new();
    let mut outcome = Ok(());
    let collect = |_: String, document: Value| {
        documents.push(document);
        Ok(())
    };
    run_until_stopped(async |shutdown| {
        outcome = check_all(config, shutdown, collect).await?;
        Ok(())
    })?;
    Ok((documents, outcome))
}

/// Surveys all environments and passes the figures of each to `show`. Returns the failures.
async fn check_all(
    config: &Config,
    shutdown: Shutdown,
    mut show: impl FnMut(String, Value) -> Result<(), Failure>,
) -> Result<Result<(), Failure>, Failure> {
    let mut failures = Vec::new();
    for environment in &config.environments {
        let name = &environment.name;
        let mut asker = match asker(config, environment, shutdown.clone()) {
            Ok(asker) => asker,
            Err(failure) => {
                failures.extend(failure.messages().iter().map(|reason| format!("environment `{name}`: {reason}")));
                continue;
            }
        };
        match survey(environment, &mut asker).await {
            Ok(Survey { unreadable, .. }) if !asker.silence.is_broken() && !unreadable.is_empty() => {
                failures.extend(unreadable.first().map(|one| format!("environment `{name}`: {}", one.reason)));
            }
            Ok(survey) => {
                let figures = OnlineFigures::of(config, environment, &asker, &survey);
                show(figures.table(), figures.json())?;
                failures.extend(survey.failures(name));
            }
            Err(AskError::Interrupted) => return Err(Failure::running("interrupted")),
            Err(error) => failures.push(format!("environment `{name}`: {error}")),
        }
    }
    Ok(if failures.is_empty() { Ok(()) } else { Err(Failure::running_all(failures)) })
}

/// What the API says about an environment.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) targets: Vec<ListedTarget>,
    /// How many webhooks `include` and `exclude` leave out.
    pub(super) left_out: usize,
    pub(super) owners: usize,
    /// How many requests one refresh of the lists takes.
    pub(super) list_requests: usize,
    pub(super) logs: Vec<FirstLogPage>,
    pub(super) unreadable: Vec<Unreadable>,
}

/// A log or a list that could not be read.
#[derive(Debug)]
pub(super) struct Unreadable {
    what: Unread,
    named_by: NamedBy,
    reason: String,
}

/// What could not be read.
#[derive(Debug)]
enum Unread {
    Log(Target),
    Owners(OwnerType),
    Webhooks(OwnerKey),
}

impl Unread {
    /// Returns its name in the table.
    fn name(&self) -> String {
        match self {
            Self::Log(target) => target.webhook_id.to_string(),
            Self::Owners(owner_type) => format!("list of {}s", owner_type.as_str()),
            Self::Webhooks(owner) => format!("webhooks of {} {}", owner.owner_type.as_str(), owner.id),
        }
    }
}

/// Where a webhook or a list is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NamedBy {
    File,
    Discovery,
}

impl Survey {
    /// Returns the reasons for the command to fail: what the configuration names and cannot be read. A webhook that
    /// discovery has found and that cannot be read is no reason.
    fn failures(&self, environment: &str) -> impl Iterator<Item = String> {
        let of_file = self.unreadable.iter().filter(|one| one.named_by == NamedBy::File);
        of_file.map(move |Unreadable { what, reason, .. }| {
            let what = match what {
                Unread::Log(target) => format!("webhook `{}`, named in the file,", target.webhook_id),
                list => list.name(),
            };
            format!("environment `{environment}`: the {what} cannot be read: {reason}")
        })
    }

    /// Returns how many webhooks are enabled.
    pub(super) fn enabled(&self) -> usize {
        self.targets.iter().filter(|listed| !listed.is_disabled()).count()
    }
}

/// What the first page of a log says.
#[derive(Debug, Default)]
pub(super) struct FirstLogPage {
    /// Entries per second.
    pub(super) rate: f64,
    /// Entries in all; `None` if the API does not say.
    pub(super) total: Option<u64>,
    /// Attempts by event, status and http_status.
    pub(super) label_sets: BTreeSet<(Arc<str>, AttemptStatus, String)>,
}

async fn survey(environment: &EnvironmentConfig, asker: &mut BudgetedClient) -> Result<Survey, AskError> {
    let mut survey = Survey::default();
    let discovery = discover(environment, asker, &mut survey).await?;
    let named: Vec<Target> = environment.webhooks.iter().map(|webhook| app::target(environment, webhook)).collect();
    let name = Arc::from(environment.name.as_str());
    let found = discovery.iter().flat_map(Discovery::targets);
    survey.targets = join(&name, &named, found).into_values().collect();
    survey.left_out = discovery.iter().flat_map(Discovery::targets).filter(|found| !found.is_wanted).count();
    let named: BTreeSet<Arc<str>> = named.into_iter().map(|target| target.webhook_id).collect();
    read_logs(asker, &named, &mut survey).await?;
    Ok(survey)
}

/// Reads the first page of all logs that are named in the file, then of others until the sample is complete.
async fn read_logs(
    asker: &mut BudgetedClient,
    named: &BTreeSet<Arc<str>>,
    survey: &mut Survey,
) -> Result<(), AskError> {
    let (of_file, found): (Vec<ListedTarget>, Vec<ListedTarget>) =
        survey.targets.iter().cloned().partition(|listed| named.contains(&listed.target.webhook_id));
    let sampled = SAMPLE.saturating_sub(of_file.len());
    let found = found.into_iter().filter(|listed| !listed.is_disabled()).take(sampled);
    let asked = of_file.into_iter().map(|listed| (NamedBy::File, listed));
    for (named_by, listed) in asked.chain(found.map(|listed| (NamedBy::Discovery, listed))) {
        let target = &listed.target;
        let is_sampled = survey.logs.len() < SAMPLE && !listed.is_disabled();
        let per_page = if is_sampled { PER_PAGE } else { PROBE };
        match asker.ask(&target.to_string(), async |client| client.logs(target, 1, per_page).await).await {
            Ok((page, date)) if is_sampled => survey.logs.push(FirstLogPage::of(&page, date.timestamp())),
            Ok(_) => {}
            Err(error) if asker.silence.ends_all(&error) => return Err(error),
            Err(error) if is_behind_answered(asker, target, &error).await => {}
            Err(error) => {
                let what = Unread::Log(listed.target);
                survey.unreadable.push(Unreadable { what, named_by, reason: error.to_string() });
            }
        }
    }
    Ok(())
}

/// Whether the second page of a log can be read although the first failed with `error`. Then one entry causes the
/// error, and the daemon will skip it.
async fn is_behind_answered(asker: &mut BudgetedClient, target: &Target, error: &AskError) -> bool {
    let may_be = match error {
        AskError::Api { error: ApiError::Timeout | ApiError::Connection(_), .. } => asker.silence.is_broken(),
        AskError::Api { error: ApiError::Http { status, .. }, .. } => *status >= 500,
        AskError::Api { .. } => true,
        AskError::Budget(_) | AskError::Interrupted => false,
    };
    let second = async |client: &Client| client.logs(target, 2, PER_PAGE).await;
    may_be && asker.ask_once(&target.to_string(), second).await.is_ok()
}

/// Reads all lists that discovery uses.
async fn discover(
    environment: &EnvironmentConfig,
    asker: &mut BudgetedClient,
    survey: &mut Survey,
) -> Result<Option<Discovery>, AskError> {
    let Some(config) = &environment.discovery else { return Ok(None) };
    let mut discovery = app::discovery_of(config, DiscoveryRecord::default(), asker.clock.now());
    let mut owners = BTreeSet::new();
    while let Some(request) = discovery.next(Duration::ZERO) {
        discovery.start();
        let asked = match &request {
            Request::Owners { owner_type, page, per_page } => {
                survey.list_requests += 1;
                asker
                    .ask("a list of owners", async |client| client.owners(*owner_type, *page, *per_page).await)
                    .await
                    .map(|(page, date)| (DiscoveredPage::Owners(page), date))
            }
            Request::Webhooks { owner, page } => {
                owners.insert(owner.clone());
                asker
                    .ask("an owner's webhooks", async |client| client.webhooks(owner, *page).await)
                    .await
                    .map(|(page, date)| (DiscoveredPage::Webhooks(page), date))
            }
        };
        match asked {
            Ok((found, date)) => drop(discovery.finish(request, Ok(found), date, Duration::ZERO)),
            Err(error) if asker.silence.ends_all(&error) => return Err(error),
            Err(error) => {
                let (what, named_by) = match &request {
                    Request::Owners { owner_type, .. } => (Unread::Owners(*owner_type), NamedBy::File),
                    Request::Webhooks { owner, .. } => (Unread::Webhooks(owner.clone()), NamedBy::Discovery),
                };
                survey.unreadable.push(Unreadable { what, named_by, reason: error.to_string() });
                let AskError::Api { error, date, .. } = error else { return Err(error) };
                discovery.finish(request, Err(&error), date, Duration::ZERO);
            }
        }
    }
    survey.owners = owners.len();
    for ShortList { owner, owner_type, shortfall } in discovery.take_news() {
        let what = owner.map_or(Unread::Owners(owner_type), Unread::Webhooks);
        survey.unreadable.push(Unreadable { what, named_by: NamedBy::Discovery, reason: shortfall.to_string() });
    }
    Ok(Some(discovery))
}

impl FirstLogPage {
    fn of(page: &LogPage, date: Timestamp) -> Self {
        let oldest = page.attempts.iter().map(|attempt| attempt.created_at).min();
        let span = oldest.map_or(SHORTEST_SPAN, |oldest| date.since(oldest));
        let is_full = page.attempts.len() >= PER_PAGE as usize;
        let span = if is_full { span.max(Duration::from_secs(1)) } else { span.max(SHORTEST_SPAN) };
        Self {
            rate: page.attempts.len() as f64 / span.as_secs_f64(),
            total: page.pagination.total,
            label_sets: page.attempts.iter().filter_map(label_set).collect(),
        }
    }

    /// Returns how many series such a webhook has.
    fn series(&self, metrics: &MetricsConfig) -> usize {
        let durations: BTreeSet<Vec<String>> =
            self.label_sets.iter().map(|set| duration_labels(set, &metrics.duration_labels)).collect();
        let events: BTreeSet<_> = self.label_sets.iter().map(|(event, ..)| event).collect();
        let ends: BTreeSet<_> = self
            .label_sets
            .iter()
            .filter(|(_, status, _)| matches!(status, AttemptStatus::Success | AttemptStatus::Failed))
            .map(|(event, status, _)| (event, status))
            .collect();
        FIXED_SERIES
            + self.label_sets.len()
            + durations.len() * (metrics.duration_buckets.len() + BESIDE_BUCKETS)
            + events.len() * (DELAY_BUCKETS.len() + BESIDE_BUCKETS)
            + ends.len() * (1 + ATTEMPTS_BUCKETS.len() + BESIDE_BUCKETS)
    }
}

fn label_set(attempt: &Attempt) -> Option<(Arc<str>, AttemptStatus, String)> {
    let is_counted = attempt.status.is_outcome();
    is_counted.then(|| (attempt.event.clone(), attempt.status, format!("{:?}", attempt.http_status)))
}

fn duration_labels(
    (event, status, http_status): &(Arc<str>, AttemptStatus, String),
    labels: &[AttemptLabel],
) -> Vec<String> {
    let value = |label: &AttemptLabel| match label {
        AttemptLabel::Event => event.to_string(),
        AttemptLabel::Status => status.as_str().to_owned(),
        AttemptLabel::HttpStatus => http_status.clone(),
    };
    labels.iter().map(value).collect()
}

/// The requests a minute that the settings need.
#[derive(Debug)]
struct MeasuredNeed {
    /// `None` if no log could be read: it is unknown how busy the webhooks are.
    polls: Option<Polls>,
    sweeps: f64,
    discovery: f64,
}

/// The polls that the budget allows, and how fresh the metrics are with them.
#[derive(Debug)]
struct Polls {
    per_minute: f64,
    /// `None` if the logs are empty.
    mean_wait: Option<Duration>,
    worst: Duration,
}

impl MeasuredNeed {
    fn of(poll: &PollConfig, environment: &EnvironmentConfig, asker: &BudgetedClient, survey: &Survey) -> Self {
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

    fn line(&self, budget: u32) -> String {
        let rest = format!("{:.1} sweeps, {:.1} discovery; the budget is {budget}", self.sweeps, self.discovery);
        let sum = self.sweeps + self.discovery;
        match &self.polls {
            Some(polls) => format!("{:.1} needed: {:.1} polls, {rest}", polls.per_minute + sum, polls.per_minute),
            None => format!("more than {sum:.1} needed: polls unknown, {rest}"),
        }
    }
}

/// Returns the requests a minute that the configuration and the API both allow.
fn allowed(environment: &EnvironmentConfig, asker: &BudgetedClient) -> f64 {
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

    fn freshness(&self) -> String {
        let worst = rounded(self.worst);
        match self.mean_wait {
            Some(mean) => format!("an entry is read after {} on average, {worst} at worst", rounded(mean)),
            None => format!("an entry is read after {worst} at worst; the logs are empty now"),
        }
    }
}

/// The figures of one environment.
struct OnlineFigures<'a> {
    config: &'a Config,
    environment: &'a EnvironmentConfig,
    asker: &'a BudgetedClient,
    survey: &'a Survey,
    need: MeasuredNeed,
    first_reading: Option<FirstReading>,
}

impl<'a> OnlineFigures<'a> {
    fn of(
        config: &'a Config,
        environment: &'a EnvironmentConfig,
        asker: &'a BudgetedClient,
        survey: &'a Survey,
    ) -> Self {
        let PollConfig { per_page, initial_lookback, .. } = config.poll;
        let first_reading = FirstReading::of(survey, per_page, initial_lookback, allowed(environment, asker));
        let need = MeasuredNeed::of(&config.poll, environment, asker, survey);
        Self { config, environment, asker, survey, need, first_reading }
    }

    fn disabled(&self) -> usize {
        self.survey.targets.len() - self.survey.enabled()
    }

    fn discovered(&self) -> usize {
        self.survey.targets.len() - self.environment.webhooks.len()
    }

    fn table(&self) -> String {
        let Self { environment, survey, need, .. } = self;
        let (named, found) = (environment.webhooks.len(), self.discovered());
        let mut rows = FiguresTable::new(&format!("environment `{}`, according to the API", environment.name));
        let mut webhooks = format!("{}: {named} named, {found} discovered", survey.targets.len());
        if environment.discovery.is_some() {
            let _ = write!(webhooks, " under {}, {} left out", plural(survey.owners, "owner"), survey.left_out);
        }
        if self.disabled() > 0 {
            let _ = write!(webhooks, "; {} disabled", self.disabled());
        }
        rows.add("webhooks", &webhooks);
        rows.add("API rate limit", &rate_limit(self.asker.rate_limit));
        rows.add("requests a minute", &need.line(environment.requests_per_minute));
        let unknown = || "unknown: no log could be read".to_owned();
        rows.add("first reading", &self.first_reading.as_ref().map_or_else(unknown, FirstReading::line));
        rows.add("freshness", &need.polls.as_ref().map_or_else(unknown, Polls::freshness));
        rows.add("series to expect", &series(&self.config.metrics, survey));
        for Unreadable { what, reason, .. } in &survey.unreadable {
            rows.add("NOT READABLE", &format!("{}: {reason}", what.name()));
        }
        rows.add("cost of this", &plural(usize::try_from(self.asker.requests).unwrap_or(usize::MAX), "request"));
        rows.finish()
    }

    fn json(&self) -> Value {
        let Self { environment, survey, need, .. } = self;
        let polls = need.polls.as_ref();
        let rest = need.sweeps + need.discovery;
        let seconds = |time: Duration| time.as_secs_f64();
        let unreadable = survey.unreadable.iter().map(|one| json!({"what": one.what.name(), "reason": one.reason}));
        json!({
            "name": environment.name,
            "webhooks": {
                "total": survey.targets.len(),
                "named": environment.webhooks.len(),
                "discovered": self.discovered(),
                "left_out": survey.left_out,
                "disabled": self.disabled(),
            },
            "owners": survey.owners,
            "rate_limit": {"limit": self.asker.rate_limit.0, "remaining": self.asker.rate_limit.1},
            "requests_per_minute": {
                "budget": environment.requests_per_minute,
                "needed": polls.map(|polls| polls.per_minute + rest),
                "polls": polls.map(|polls| polls.per_minute),
                "sweeps": need.sweeps,
                "discovery": need.discovery,
            },
            "first_reading": self.first_reading.map(|first| json!({
                "pages": first.pages,
                "requests_per_minute": first.rate,
                "seconds": seconds(first.time),
            })),
            "freshness_seconds": {
                "mean": polls.and_then(|polls| polls.mean_wait).map(seconds),
                "worst": polls.map(|polls| seconds(polls.worst)),
            },
            "series": (!survey.logs.is_empty()).then(|| series_count(&self.config.metrics, survey)),
            "unreadable": unreadable.collect::<Vec<_>>(),
            "requests": self.asker.requests,
        })
    }
}

fn rate_limit(limit: (Option<u64>, Option<u64>)) -> String {
    match limit {
        (Some(limit), Some(left)) => format!("{limit} a minute, {left} left"),
        (Some(limit), None) => format!("{limit} a minute"),
        _ => "unknown".to_owned(),
    }
}

fn series(metrics: &MetricsConfig, survey: &Survey) -> String {
    match survey.logs.len() {
        0 => format!("{} at least", survey.targets.len() * FIXED_SERIES),
        logs => format!(
            "about {}, estimated from the newest entries of {}",
            series_count(metrics, survey),
            plural(logs, "webhook")
        ),
    }
}

fn series_count(metrics: &MetricsConfig, survey: &Survey) -> usize {
    let sampled: usize = survey.logs.iter().map(|log| log.series(metrics)).sum();
    sampled * survey.targets.len() / survey.logs.len().max(1)
}

/// Rounds to seconds if it is long, else to tenths.
fn rounded(time: Duration) -> String {
    if time >= Duration::from_secs(10) {
        return format_duration(Duration::from_secs(time.as_secs()));
    }
    format!("{:.1}s", time.as_secs_f64())
}
