//! `check`: validates a configuration, and computes whether its settings fit the request budget.
//!
//! Without `--online` it makes no request, and its figures are the least that polls cost: one page each.

mod first_reading;
mod json;
mod need;
mod online;
mod survey;

use super::run::load_web_config;
use super::{CheckArgs, Failure, print, source};
use crate::config::{Config, EnvVars, EnvironmentConfig, MetricsPushConfig, OtlpReceiver, PollConfig, format_duration};
use crate::logging;
use serde_json::Value;
use std::fmt::Write;
use std::time::Duration;
use talkover_core::schedule::allocation::stretched;

pub(super) fn run(args: &CheckArgs, environment: &EnvVars) -> Result<(), Failure> {
    let source = source(&args.config, environment)?;
    let file = source.path.display().to_string();
    let config = match source.load_and_examine() {
        Ok(config) => config,
        Err(faults) => return Err(refuse(args, &json::faults(&file, &faults), faults.into())),
    };
    if let Err(failure) = load_web_config(&config) {
        return Err(refuse(args, &json::messages(&file, &failure), failure));
    }
    if args.json {
        return check_as_json(args, &file, &config);
    }
    print(&format!("{file}: OK\n{}", summary(&config)))?;
    if !args.online {
        return Ok(());
    }
    logging::init(&config.log)?;
    online::run(&config)
}

/// Prints the faults as JSON if requested, and returns the failure.
fn refuse(args: &CheckArgs, document: &Value, failure: Failure) -> Failure {
    let printed = if args.json { print(&format!("{document:#}\n")) } else { Ok(()) };
    printed.err().unwrap_or(failure)
}

fn check_as_json(args: &CheckArgs, file: &str, config: &Config) -> Result<(), Failure> {
    let mut document = json::config(file, config);
    let mut result = Ok(());
    if args.online {
        logging::init(&config.log)?;
        let (environments, outcome) = online::run_as_json(config)?;
        document["ok"] = outcome.is_ok().into();
        document["online"] = environments.into();
        result = outcome;
    }
    print(&format!("{document:#}\n"))?;
    result
}

/// Figures under a title, one per line.
struct FiguresTable {
    text: String,
}

impl FiguresTable {
    fn new(title: &str) -> Self {
        Self { text: format!("{title}\n") }
    }

    fn add(&mut self, name: &str, value: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "  {name:<18} {value}");
    }

    fn finish(self) -> String {
        self.text
    }
}

fn summary(config: &Config) -> String {
    let mut text = String::new();
    for environment in &config.environments {
        text.push_str(&environment_line(environment));
        if !environment.webhooks.is_empty() {
            text.push_str(&need_line(&EstimatedNeed::of(environment, &config.poll), &config.poll));
        }
    }
    for warning in &config.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    for note in notes(config) {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

fn environment_line(environment: &EnvironmentConfig) -> String {
    let webhooks = plural(environment.webhooks.len(), "webhook");
    let url = environment.base_url.as_str().trim_end_matches('/');
    let found = if environment.discovery.is_some() { ", and those that discovery finds" } else { "" };
    format!("environment `{}` at {url}: {webhooks} named in the file{found}\n", environment.name)
}

/// The requests per minute that an environment's webhooks cost.
struct EstimatedNeed {
    webhooks: usize,
    budget: f64,
    idle: f64,
    busy: f64,
}

impl EstimatedNeed {
    fn of(environment: &EnvironmentConfig, poll: &PollConfig) -> Self {
        let webhooks = environment.webhooks.len();
        let sweeps = per_minute(webhooks, poll.sweep_interval);
        Self {
            webhooks,
            budget: f64::from(environment.requests_per_minute),
            idle: per_minute(webhooks, poll.max_interval) + sweeps,
            busy: per_minute(webhooks, poll.min_interval) + sweeps,
        }
    }

    /// Returns the longest poll interval in effect, if polling at `max_interval` would use more than half of the
    /// budget. The other half is for busy targets, sweeps and rechecks.
    fn stretched(&self, poll: &PollConfig) -> Option<Duration> {
        let longest = stretched(poll.max_interval, self.webhooks, self.budget);
        (longest > poll.max_interval).then(|| Duration::from_secs_f64(longest.as_secs_f64().ceil()))
    }
}

fn per_minute(webhooks: usize, interval: Duration) -> f64 {
    webhooks as f64 * 60.0 / interval.as_secs_f64()
}

fn need_line(need: &EstimatedNeed, poll: &PollConfig) -> String {
    let mut text = format!(
        "  requests a minute: {:.1} when all are idle (each every {}), {:.1} when all are busy (each every {}), sweeps \
         every {} included; the budget is {}\n",
        need.idle,
        format_duration(poll.max_interval),
        need.busy,
        format_duration(poll.min_interval),
        format_duration(poll.sweep_interval),
        need.budget,
    );
    if let Some(interval) = need.stretched(poll) {
        let interval = format_duration(interval);
        let _ = writeln!(text, "  the budget is too small for max_interval: idle webhooks are polled every {interval}");
    } else if need.busy > need.budget {
        text.push_str("  the budget is too small for min_interval: busy webhooks are polled less often\n");
    }
    text
}

fn notes(config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(endpoint) = &config.traces.endpoint {
        notes.push(match config.traces.enabled {
            false => "a traces endpoint is set, but traces are disabled: no spans are sent".to_owned(),
            true => format!("spans are sent to {endpoint} over {}", config.traces.protocol.as_str()),
        });
    }
    if let Some(OtlpReceiver { endpoint, protocol, .. }) = &config.traces.logs {
        notes.push(format!("log records are sent to {endpoint} over {}", protocol.as_str()));
    }
    if let Some(OtlpReceiver { endpoint, protocol, .. }) = &config.telemetry.traces {
        notes.push(format!("spans of the daemon's own work are sent to {endpoint} over {}", protocol.as_str()));
    }
    if let Some(MetricsPushConfig { receiver: OtlpReceiver { endpoint, protocol, .. }, interval, .. }) =
        &config.metrics_push
    {
        let (protocol, interval) = (protocol.as_str(), format_duration(*interval));
        notes.push(format!("metrics are pushed to {endpoint} over {protocol}, every {interval}"));
    }
    let together: u64 = config.environments.iter().map(|one| u64::from(one.requests_per_minute)).sum();
    if let Some(limit) = config.requests_per_minute
        && together > u64::from(limit)
    {
        notes.push(format!(
            "the environments' budgets add up to {together} requests a minute; all together are limited to {limit}"
        ));
    }
    notes
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::path::Path;

    fn summary_of(text: &str) -> String {
        let environment = EnvVars::from([("TALKOVER_TOKEN".to_owned(), "talq_x".to_owned())]);
        let config = config::parse(Path::new("test.yml"), text.as_bytes(), &environment).expect("a valid file");
        summary(&config)
    }

    fn webhooks(count: usize) -> String {
        (0..count).map(|n| format!("    - {{agent_id: a, webhook_id: w{n}}}\n")).collect()
    }

    #[test]
    fn the_need_stands_beside_the_budget() {
        let text = format!("environments:\n- name: production\n  webhooks:\n{}", webhooks(2));
        insta::assert_snapshot!(summary_of(&text), @"
        environment `production` at https://app.talkover.ai: 2 webhooks named in the file
          requests a minute: 0.8 when all are idle (each every 5m), 8.4 when all are busy (each every 15s), sweeps every 5m included; the budget is 30
        ");
    }

    #[test]
    fn a_budget_that_is_too_small_is_said() {
        let text = format!("environments:\n- name: a\n  requests_per_minute: 10\n  webhooks:\n{}", webhooks(3));
        insta::assert_snapshot!(summary_of(&text), @"
        environment `a` at https://app.talkover.ai: 3 webhooks named in the file
          requests a minute: 1.2 when all are idle (each every 5m), 12.6 when all are busy (each every 15s), sweeps every 5m included; the budget is 10
          the budget is too small for min_interval: busy webhooks are polled less often
        ");
        let text = format!("environments:\n- name: a\n  requests_per_minute: 10\n  webhooks:\n{}", webhooks(60));
        insta::assert_snapshot!(summary_of(&text), @"
        environment `a` at https://app.talkover.ai: 60 webhooks named in the file
          requests a minute: 24.0 when all are idle (each every 5m), 252.0 when all are busy (each every 15s), sweeps every 5m included; the budget is 10
          the budget is too small for max_interval: idle webhooks are polled every 12m
        ");
    }

    #[test]
    fn what_is_easily_overlooked_is_noted() {
        let text =
            "requests_per_minute: 20\nenvironments: [{name: a, discovery: {}}]\ntraces: {endpoint: 'http://x:4317'}";
        insta::assert_snapshot!(summary_of(text), @"
        environment `a` at https://app.talkover.ai: 0 webhooks named in the file, and those that discovery finds
        note: spans are sent to http://x:4317/ over grpc
        note: the environments' budgets add up to 30 requests a minute; all together are limited to 20
        ");
        let environment = [("TALKOVER_TOKEN", "talq_x"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]
            .map(|(k, v)| (k.into(), v.into()));
        let text = "environments: [{name: a, discovery: {}}]";
        let config = config::parse(Path::new("test.yml"), text.as_bytes(), &environment.into()).expect("a valid file");
        insta::assert_snapshot!(summary(&config), @"
        environment `a` at https://app.talkover.ai: 0 webhooks named in the file, and those that discovery finds
        warning: environment variable OTEL_EXPORTER_OTLP_PROTOCOL: must be one of grpc, http/protobuf, not `http/json`; ignored
        ");
        let noted = |more: &str| {
            let text =
                format!("environments: [{{name: a, discovery: {{}}}}]\ntraces: {{endpoint: 'http://x:4318', {more}}}");
            summary_of(&text).lines().filter_map(|line| line.strip_prefix("note: ")).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(noted("protocol: http/protobuf"), "spans are sent to http://x:4318/v1/traces over http/protobuf");
        assert_eq!(noted("enabled: false"), "a traces endpoint is set, but traces are disabled: no spans are sent");
    }
}
