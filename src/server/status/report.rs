//! The status document, and how it is made of what is shown.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::deliveries::{self, Attempts, DeliveryState, Ended, Judgement, Open};
use super::losses::{self, LastLost, Lost};
use super::reading::{Reading, ReadingProgress, ReadingState};
use super::state::StateStatus;
use super::time::{StatusMoment, rfc3339, seconds};
use crate::build_info::{REVISION, VERSION};
use crate::local_clock;
use crate::server::MetricsPath;
use crate::server::health::Readiness;
use crate::server_clock::ServerClocks;
use crate::sinks::metrics::board::{EnvironmentView, Links, TargetView, Views};
use crate::sinks::metrics::catalogue;
use crate::sinks::metrics::progress;
use crate::store::problems::StateProblems;
use talkover_core::delivery::Timestamp;
use talkover_core::ledger::series::{LogOutcome, SeriesKey};
use talkover_core::reading::error::PollResult;

/// The whole status, as of one moment. Times are RFC 3339 in UTC; unknown values are null.
#[derive(Debug, Serialize)]
pub(in crate::server) struct StatusReport {
    pub(in crate::server) time: String,
    pub(in crate::server) version: &'static str,
    pub(in crate::server) revision: &'static str,
    pub(in crate::server) ready: bool,
    /// Why it is not ready.
    pub(in crate::server) not_ready: Option<String>,
    pub(in crate::server) config: LastReload,
    pub(in crate::server) state: StateStatus,
    pub(in crate::server) environments: Vec<Environment>,
    /// Worst first.
    pub(in crate::server) webhooks: Vec<WebhookStatus>,
    /// The latest lost deliveries, latest first.
    pub(in crate::server) lost: Vec<Lost>,
    #[serde(skip)]
    pub(in crate::server) links: Links,
    /// The path of the metrics.
    #[serde(skip)]
    pub(in crate::server) metrics_path: MetricsPath,
    /// The time by the local clock.
    #[serde(skip)]
    pub(in crate::server) now: Timestamp,
}

#[derive(Debug, Serialize)]
pub(in crate::server) struct LastReload {
    pub(in crate::server) last_reload_successful: bool,
    pub(in crate::server) last_reload_success_time: String,
}

/// An environment: whether its API can be reached, and how many webhooks it has.
#[derive(Debug, Serialize)]
pub(in crate::server) struct Environment {
    pub(in crate::server) name: String,
    pub(in crate::server) state: ReadingState,
    pub(in crate::server) since: Option<String>,
    /// Why none of its logs can be read.
    pub(in crate::server) error: Option<String>,
    #[serde(skip)]
    pub(in crate::server) trouble_kind: Option<PollResult>,
    pub(in crate::server) next_attempt: Option<String>,
    pub(in crate::server) last_answer: Option<String>,
    pub(in crate::server) webhooks: usize,
    /// Webhooks whose log cannot be read.
    pub(in crate::server) reading_failing: usize,
    /// Webhooks whose deliveries are lost.
    pub(in crate::server) deliveries_failing: usize,
    /// Webhooks that are not read, because discovery has found more than `discovery.max_webhooks`.
    pub(in crate::server) webhooks_skipped: usize,
    /// The progress of the first reading of its logs.
    pub(in crate::server) progress: Option<ReadingProgress>,
    /// Webhooks whose first reading is complete.
    pub(in crate::server) webhooks_read: usize,
    /// Whether discovery has not read all lists yet.
    pub(in crate::server) is_searching: bool,
    pub(in crate::server) budget_requests_per_minute: u32,
    pub(in crate::server) rate_limit_limit: Option<u64>,
    pub(in crate::server) rate_limit_remaining: Option<u64>,
    pub(in crate::server) clock_offset_seconds: Option<f64>,
}

/// A webhook: whether its log can be read, and whether its deliveries arrive.
#[derive(Debug, Serialize)]
pub(in crate::server) struct WebhookStatus {
    pub(in crate::server) environment: String,
    pub(in crate::server) webhook_id: String,
    pub(in crate::server) name: String,
    pub(in crate::server) owner_type: &'static str,
    pub(in crate::server) owner_id: String,
    /// From discovery.
    pub(in crate::server) owner_name: Option<String>,
    /// From discovery.
    pub(in crate::server) url_host: Option<String>,
    /// Whether TalkOver delivers to it; from discovery.
    pub(in crate::server) enabled: Option<bool>,
    /// Whether the configuration or discovery still lists it.
    pub(in crate::server) listed: bool,
    pub(in crate::server) reading: Reading,
    pub(in crate::server) deliveries: Deliveries,
    pub(in crate::server) log_entries_late: u64,
    pub(in crate::server) log_entries_invalid: u64,
    pub(in crate::server) history_gaps: u64,
    /// How many series it has in `/metrics`.
    pub(in crate::server) series: usize,
    /// Whether no log of its environment can be read.
    #[serde(skip)]
    pub(in crate::server) is_in_trouble: bool,
    /// What the board shows of it; for charts and its own page.
    #[serde(skip)]
    pub(in crate::server) view: Arc<TargetView>,
    /// The time by the clock of its environment.
    #[serde(skip)]
    pub(in crate::server) moment: StatusMoment,
}

/// The deliveries of a webhook. A delivery ended when its last attempt was made.
#[derive(Debug, Serialize)]
pub(in crate::server) struct Deliveries {
    pub(in crate::server) state: DeliveryState,
    pub(in crate::server) since: Option<String>,
    pub(in crate::server) last_hour: Option<Ended>,
    pub(in crate::server) last_day: Option<Ended>,
    pub(in crate::server) attempts_last_hour: Option<Attempts>,
    pub(in crate::server) consecutive_lost: Option<u64>,
    /// When the first of those ended.
    pub(in crate::server) failing_since: Option<String>,
    pub(in crate::server) open: Open,
    pub(in crate::server) last_lost: Option<LastLost>,
}

impl WebhookStatus {
    /// Returns a sort key, worst first: lost deliveries before logs that cannot be read, and many before few.
    fn order(&self) -> impl Ord + use<> {
        let reading = match self.reading.state {
            ReadingState::Failing => 0,
            ReadingState::FirstContact => 1,
            ReadingState::Ok => 2,
            ReadingState::Disabled => 3,
        };
        let (deliveries, reading) = match (self.deliveries.state, self.reading.state) {
            (DeliveryState::Failing, _) => (0, reading),
            (_, ReadingState::Failing) => (1, 0),
            (_, ReadingState::Disabled) => (5, 0),
            (DeliveryState::Unknown, _) => (2, reading),
            (DeliveryState::Ok, _) => (3, reading),
            (DeliveryState::Idle, _) => (4, reading),
        };
        let lost = self.deliveries.last_hour.map_or(0, Ended::lost);
        let worst = std::cmp::Reverse((self.deliveries.consecutive_lost.unwrap_or(0), lost));
        (deliveries, reading, worst, self.environment.clone(), self.name.clone(), self.webhook_id.clone())
    }
}

/// What a status is made of.
pub(in crate::server) struct Facts<'a> {
    pub(in crate::server) views: &'a Views,
    pub(in crate::server) readiness: &'a Readiness,
    pub(in crate::server) clocks: &'a ServerClocks,
    pub(in crate::server) state: &'a StateProblems,
    pub(in crate::server) metrics_path: &'a MetricsPath,
}

impl StatusReport {
    /// Makes the status as of now.
    pub(in crate::server) fn of(facts: &Facts<'_>) -> Self {
        let views = facts.views;
        let trace_url = views.display.links.trace_url.as_deref();
        let not_ready = facts.readiness.check().err();
        let local = StatusMoment { now: local_clock::now().timestamp(), instant: Instant::now() };
        let moment_in = |environment: &Arc<str>| match views.environments.contains_key(environment) {
            true => StatusMoment { now: facts.clocks.get(environment).now().timestamp(), ..local },
            false => local,
        };
        let of_view = |view: &Arc<TargetView>| {
            let environment = views.environments.get(&view.target.environment);
            webhook(view, environment, moment_in(&view.target.environment), trace_url)
        };
        let mut webhooks: Vec<WebhookStatus> = views.targets.values().map(of_view).collect();
        webhooks.sort_by_cached_key(WebhookStatus::order);
        let environments = views.environments.iter();
        let environments =
            environments.map(|(name, view)| environment(name, view, &webhooks, views, moment_in(name))).collect();
        Self {
            time: seconds(local.now),
            version: VERSION,
            revision: REVISION,
            ready: not_ready.is_none(),
            not_ready,
            config: LastReload {
                last_reload_successful: views.config.is_good,
                last_reload_success_time: rfc3339(views.config.loaded_at),
            },
            state: StateStatus::of(facts.state, views),
            environments,
            webhooks,
            lost: losses::latest(views, trace_url),
            links: views.display.links.clone(),
            metrics_path: facts.metrics_path.clone(),
            now: local.now,
        }
    }
}

fn environment(
    name: &str,
    view: &EnvironmentView,
    webhooks: &[WebhookStatus],
    views: &Views,
    moment: StatusMoment,
) -> Environment {
    let own = || webhooks.iter().filter(|webhook| webhook.listed && webhook.environment == name);
    let first = progress::first_contact(views, name, moment.instant);
    let read = own().filter(|webhook| webhook.view.marks.contacted).count();
    let trouble = view.trouble.as_ref();
    let state = match trouble {
        Some(_) => ReadingState::Failing,
        None if view.is_searching || (read == 0 && first.is_some()) => ReadingState::FirstContact,
        None => ReadingState::Ok,
    };
    let last_success = own().filter_map(|webhook| webhook.view.last_success).max();
    // After a restart: since the first failure of a webhook that came after the last success of any.
    let failing = own().filter(|webhook| webhook.view.up == Some(false)).filter_map(|webhook| webhook.view.up_since);
    let since =
        trouble.map(|trouble| failing.filter(|since| Some(*since) > last_success).fold(trouble.since, Timestamp::min));
    Environment {
        name: name.to_owned(),
        state,
        since: since.map(seconds),
        error: trouble.map(|trouble| trouble.error.to_string()),
        trouble_kind: trouble.map(|trouble| trouble.result),
        next_attempt: trouble.and_then(|trouble| trouble.next_attempt).map(|at| moment.rfc3339_of(at)),
        last_answer: view.last_answer.max(last_success).map(seconds),
        webhooks: own().count(),
        reading_failing: own().filter(|webhook| webhook.reading.state == ReadingState::Failing).count(),
        deliveries_failing: own().filter(|webhook| webhook.deliveries.state == DeliveryState::Failing).count(),
        webhooks_skipped: view.webhooks_skipped,
        progress: first.as_ref().map(ReadingProgress::of_environment),
        webhooks_read: read,
        is_searching: view.is_searching,
        budget_requests_per_minute: view.budget,
        rate_limit_limit: view.rate_limit,
        rate_limit_remaining: view.rate_limit_remaining,
        clock_offset_seconds: view.clock_offset,
    }
}

fn webhook(
    view: &Arc<TargetView>,
    environment: Option<&EnvironmentView>,
    moment: StatusMoment,
    trace_url: Option<&str>,
) -> WebhookStatus {
    let info = view.info.as_ref();
    let of_log = |outcome| view.totals.counter(&SeriesKey::log_entries(outcome));
    let reading = Reading::of(view, environment, moment);
    let judgement = Judgement::of(view, moment);
    let streak = &view.marks.streak;
    WebhookStatus {
        environment: view.target.environment.to_string(),
        webhook_id: view.target.webhook_id.to_string(),
        name: view.target.webhook_name.to_string(),
        owner_type: view.target.owner_type.as_str(),
        owner_id: view.target.owner_id.to_string(),
        owner_name: info.map(|info| info.owner_name.to_string()).filter(|name| !name.is_empty()),
        url_host: info.and_then(|info| info.endpoint.as_ref()).map(|endpoint| endpoint.host.to_string()),
        enabled: info.map(|info| info.is_enabled),
        listed: view.retires.is_none(),
        reading,
        deliveries: Deliveries {
            state: judgement.state,
            since: judgement.since.map(seconds),
            last_hour: judgement.last_hour,
            last_day: judgement.last_day,
            attempts_last_hour: judgement.attempts_last_hour,
            consecutive_lost: view.exposed.then_some(streak.count),
            failing_since: streak.since.filter(|_| view.exposed).map(rfc3339),
            open: deliveries::open(view),
            last_lost: losses::last(view, trace_url).filter(|_| view.exposed),
        },
        log_entries_late: of_log(LogOutcome::Late),
        log_entries_invalid: of_log(LogOutcome::Invalid),
        history_gaps: view.totals.counter(&SeriesKey::history_gaps()),
        series: catalogue::series_of(view),
        is_in_trouble: environment.is_some_and(|environment| environment.trouble.is_some()),
        view: Arc::clone(view),
        moment,
    }
}

/// Returns all lost deliveries that are kept for a webhook, latest first.
pub(in crate::server) fn all_lost(webhook: &WebhookStatus, links: &Links) -> Vec<LastLost> {
    losses::all(&webhook.view, links.trace_url.as_deref())
}
