//! What the daemon is doing and how deliveries go, as of one moment: `GET /api/v1/status` is this as JSON
//! (docs/status.schema.json), and the status page shows the same.
//!
//! Two things are told apart everywhere: whether a log can be read, and whether the deliveries in it arrive.

mod deliveries;
mod losses;
mod reading;
pub(super) mod source;
mod state;
pub(super) mod time;

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

pub(super) use self::deliveries::{Attempts, DeliveryState, Ended, Open};
pub(super) use self::losses::{LastLost, Lost};
pub(super) use self::reading::{Reading, ReadingProgress, ReadingState};
pub(super) use self::source::{StatusDocument, StatusEncoding};
pub use self::source::{StatusOrigin, StatusSource};

pub(super) use self::state::{StateProblemKind, StateStatus, StateTrouble};

use self::deliveries::Judgement;
use self::source::RenderingFailed;
use self::time::{StatusMoment, rfc3339, seconds};
use super::MetricsPath;
use super::health::Readiness;
use crate::build_info::{REVISION, VERSION};
use crate::local_clock;
use crate::server_clock::ServerClocks;
use crate::sinks::metrics::board::{EnvironmentView, Links, TargetView, Views};
use crate::sinks::metrics::catalogue;
use crate::sinks::metrics::progress;
use crate::store::problems::StateProblems;
use talkover_core::delivery::Timestamp;
use talkover_core::ledger::series::{LogOutcome, SeriesKey};
use talkover_core::reading::error::PollResult;

/// Everything, as of one moment. Times are RFC 3339 in UTC; what is not known is null.
#[derive(Debug, Serialize)]
pub(super) struct StatusReport {
    pub(super) time: String,
    pub(super) version: &'static str,
    pub(super) revision: &'static str,
    pub(super) ready: bool,
    /// Why it is not ready.
    pub(super) not_ready: Option<String>,
    pub(super) config: LastReload,
    pub(super) state: StateStatus,
    pub(super) environments: Vec<Environment>,
    /// Worst first.
    pub(super) webhooks: Vec<WebhookStatus>,
    /// The last deliveries that were lost, latest first.
    pub(super) lost: Vec<Lost>,
    #[serde(skip)]
    pub(super) links: Links,
    /// Where the metrics are.
    #[serde(skip)]
    pub(super) metrics_path: MetricsPath,
    /// The time by the local clock.
    #[serde(skip)]
    pub(super) now: Timestamp,
}

#[derive(Debug, Serialize)]
pub(super) struct LastReload {
    pub(super) last_reload_successful: bool,
    pub(super) last_reload_success_time: String,
}

/// An environment: whether its API can be reached, and how many webhooks it has.
#[derive(Debug, Serialize)]
pub(super) struct Environment {
    pub(super) name: String,
    pub(super) state: ReadingState,
    pub(super) since: Option<String>,
    /// Why nobody in it can be read.
    pub(super) error: Option<String>,
    #[serde(skip)]
    pub(super) trouble_kind: Option<PollResult>,
    pub(super) next_attempt: Option<String>,
    pub(super) last_answer: Option<String>,
    pub(super) webhooks: usize,
    /// Webhooks whose log cannot be read.
    pub(super) reading_failing: usize,
    /// Webhooks whose deliveries are lost.
    pub(super) deliveries_failing: usize,
    /// Webhooks that are not read, because discovery has found more than `discovery.max_webhooks`.
    pub(super) webhooks_skipped: usize,
    /// How far the first reading of its logs has come.
    pub(super) progress: Option<ReadingProgress>,
    /// Webhooks whose first reading is complete.
    pub(super) webhooks_read: usize,
    /// Whether discovery has not seen all lists yet.
    pub(super) is_searching: bool,
    pub(super) budget_requests_per_minute: u32,
    pub(super) rate_limit_limit: Option<u64>,
    pub(super) rate_limit_remaining: Option<u64>,
    pub(super) clock_offset_seconds: Option<f64>,
}

/// A webhook: whether its log can be read, and whether its deliveries arrive.
#[derive(Debug, Serialize)]
pub(super) struct WebhookStatus {
    pub(super) environment: String,
    pub(super) webhook_id: String,
    pub(super) name: String,
    pub(super) owner_type: &'static str,
    pub(super) owner_id: String,
    /// From discovery.
    pub(super) owner_name: Option<String>,
    /// From discovery.
    pub(super) url_host: Option<String>,
    /// Whether TalkOver delivers to it; from discovery.
    pub(super) enabled: Option<bool>,
    /// Whether the configuration or discovery still lists it.
    pub(super) listed: bool,
    pub(super) reading: Reading,
    pub(super) deliveries: Deliveries,
    pub(super) log_entries_late: u64,
    pub(super) log_entries_invalid: u64,
    pub(super) history_gaps: u64,
    /// Series of `/metrics` that are about it.
    pub(super) series: usize,
    /// Whether its whole environment cannot be read.
    #[serde(skip)]
    pub(super) is_in_trouble: bool,
    /// What is shown of it; for charts and its own page.
    #[serde(skip)]
    pub(super) view: Arc<TargetView>,
    /// The time by the clock of its environment.
    #[serde(skip)]
    pub(super) moment: StatusMoment,
}

/// How the deliveries of a webhook go. A delivery ended when its last attempt was made.
#[derive(Debug, Serialize)]
pub(super) struct Deliveries {
    pub(super) state: DeliveryState,
    pub(super) since: Option<String>,
    pub(super) last_hour: Option<Ended>,
    pub(super) last_day: Option<Ended>,
    pub(super) attempts_last_hour: Option<Attempts>,
    pub(super) consecutive_lost: Option<u64>,
    /// When the first of those ended.
    pub(super) failing_since: Option<String>,
    pub(super) open: Open,
    pub(super) last_lost: Option<LastLost>,
}

impl WebhookStatus {
    /// What is worst comes first: lost deliveries before logs that cannot be read, and many before few.
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
pub(super) struct Facts<'a> {
    pub(super) views: &'a Views,
    pub(super) readiness: &'a Readiness,
    pub(super) clocks: &'a ServerClocks,
    pub(super) state: &'a StateProblems,
    pub(super) metrics_path: &'a MetricsPath,
}

impl StatusReport {
    /// What is known now.
    pub(super) fn of(facts: &Facts<'_>) -> Self {
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
    // Over a restart the environment has failed since the first webhook did that failed after all that succeeded.
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

/// All lost deliveries that are kept of a webhook, latest first.
pub(super) fn all_lost(webhook: &WebhookStatus, links: &Links) -> Vec<LastLost> {
    losses::all(&webhook.view, links.trace_url.as_deref())
}

/// The snapshot as JSON.
pub(super) async fn status(State(source): State<StatusSource>, headers: HeaderMap) -> Response {
    let answer_headers = [(header::CONTENT_TYPE, "application/json")];
    answer(&source, &headers, StatusDocument::Json)
        .await
        .map_or_else(IntoResponse::into_response, |json| (answer_headers, json.unwrap_or_default()).into_response())
}

/// What `source` has of a document for a request with these `headers`, with the headers that all such answers have;
/// `None` if there is no such document.
pub(super) async fn answer(
    source: &StatusSource,
    headers: &HeaderMap,
    document: StatusDocument,
) -> Result<Option<Rendered>, (StatusCode, &'static str)> {
    let encoding = StatusEncoding::accepted(headers);
    match source.document(document, encoding).await {
        Ok(body) => Ok(body.map(|body| Rendered { body, encoding })),
        Err(RenderingFailed) => Err((StatusCode::INTERNAL_SERVER_ERROR, "failed to render the status: see the log\n")),
    }
}

/// A document that was rendered.
#[derive(Default)]
pub(super) struct Rendered {
    body: Bytes,
    encoding: StatusEncoding,
}

impl IntoResponse for Rendered {
    fn into_response(self) -> Response {
        let mut response = self.body.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.encoding == StatusEncoding::Gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}
