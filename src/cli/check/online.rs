//! `check --online`: tests the settings against the API: webhooks, limits, requests, freshness, series.
//!
//! It reads the lists that discovery uses, and the first page of every log that the file names and of some that
//! discovery finds, within the daemon's request budget. A list or log that cannot be read is reported, and the others
//! are still read.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::first_reading::FirstReading;
use super::need::{MeasuredNeed, Polls, allowed};
use super::survey::{FIXED_SERIES, Survey, Unreadable, survey};
use super::{FiguresTable, plural};
use crate::budgeted_client::{AskError, BudgetedClient};
use crate::cli::asker::asker;
use crate::cli::run::run_until_stopped;
use crate::cli::{Failure, print};
use crate::config::{Config, EnvironmentConfig, MetricsConfig, PollConfig};
use crate::shutdown::Shutdown;

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
