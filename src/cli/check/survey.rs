//! What the API says of an environment: its webhooks, and the newest page of some of their logs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::budgeted_client::{AskError, BudgetedClient};
use crate::cli::find_webhooks::{self, FoundWebhooks, WebhookList};
use crate::client::Client;
use crate::config::{EnvironmentConfig, MetricsConfig};
use crate::progress::{Estimate, WorkProgress};
use talkover_core::delivery::{Attempt, AttemptStatus, Target, Timestamp};
use talkover_core::discovery::targets::ListedTarget;
use talkover_core::ledger::labels::AttemptLabel;
use talkover_core::ledger::series::{ATTEMPTS_BUCKETS, DELAY_BUCKETS};
use talkover_core::reading::error::ApiError;
use talkover_core::reading::wire::LogPage;

/// How many logs the figures are based on; the others are assumed to be alike.
const SAMPLE: usize = 20;
/// How many entries of each log are read.
const PER_PAGE: u32 = 100;
/// How many entries are read of a webhook that is named in the file but not in the sample: only whether it can be read
/// matters.
const PROBE: u32 = 1;
/// If a log has less than a page, its rate is computed over at least this time.
const SHORTEST_SPAN: Duration = Duration::from_secs(3600);
/// How many series of a webhook do not depend on its traffic: its gauges, polls and log entries.
pub(super) const FIXED_SERIES: usize = 31;
/// Besides its buckets, a histogram has +Inf, a sum and a count.
const BESIDE_BUCKETS: usize = 3;

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
    pub(super) what: Unread,
    named_by: NamedBy,
    pub(super) reason: String,
}

/// What could not be read.
#[derive(Debug)]
pub(super) enum Unread {
    Log(Target),
    List(WebhookList),
}

impl Unread {
    /// Returns its name in the table.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Log(target) => target.webhook_id.to_string(),
            Self::List(list) => list.to_string(),
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
    pub(super) fn failures(&self, environment: &str) -> impl Iterator<Item = String> {
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

/// Asks the API of an environment for all that the figures come from.
pub(super) async fn survey(environment: &EnvironmentConfig, asker: &mut BudgetedClient) -> Result<Survey, AskError> {
    let FoundWebhooks { listed, left_out, owners, list_requests, unreadable, cut, .. } =
        find_webhooks::find(environment, asker).await?;
    let failed = unreadable.into_iter().map(|(list, error)| {
        let named_by = if matches!(list, WebhookList::Owners(_)) { NamedBy::File } else { NamedBy::Discovery };
        Unreadable { what: Unread::List(list), named_by, reason: error.to_string() }
    });
    let cut = cut.into_iter().map(|(list, shortfall)| Unreadable {
        what: Unread::List(list),
        named_by: NamedBy::Discovery,
        reason: shortfall.to_string(),
    });
    let unreadable = failed.chain(cut).collect();
    let mut survey = Survey { targets: listed, left_out, owners, list_requests, logs: Vec::new(), unreadable };
    let named: BTreeSet<&str> = environment.webhooks.iter().map(|webhook| webhook.webhook_id.as_str()).collect();
    read_logs(asker, &environment.name, &named, &mut survey).await?;
    Ok(survey)
}

/// Reads the first page of all logs that are named in the file, then of others until the sample is complete.
async fn read_logs(
    asker: &mut BudgetedClient,
    environment: &str,
    named: &BTreeSet<&str>,
    survey: &mut Survey,
) -> Result<(), AskError> {
    let (of_file, found): (Vec<ListedTarget>, Vec<ListedTarget>) =
        survey.targets.iter().cloned().partition(|listed| named.contains(&*listed.target.webhook_id));
    let sampled = SAMPLE.saturating_sub(of_file.len());
    let found = found.into_iter().filter(|listed| !listed.is_disabled()).take(sampled);
    let found = found.map(|listed| (NamedBy::Discovery, listed));
    let wanted: Vec<_> = of_file.into_iter().map(|listed| (NamedBy::File, listed)).chain(found).collect();
    let estimate = Estimate { pages: wanted.len() as u64, per_minute: asker.budget.per_second() * 60.0 };
    let mut progress = WorkProgress::begin(&format!("looking into the logs of `{environment}`"), estimate);
    for (named_by, listed) in wanted {
        let target = &listed.target;
        let is_sampled = survey.logs.len() < SAMPLE && !listed.is_disabled();
        let per_page = if is_sampled { PER_PAGE } else { PROBE };
        let answer = asker.ask(&target.to_string(), async |client| client.logs(target, 1, per_page).await).await;
        progress.advance(None);
        match answer {
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
    pub(super) fn series(&self, metrics: &MetricsConfig) -> usize {
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
