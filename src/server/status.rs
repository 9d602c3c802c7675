//! `GET /api/v1/status`: what the daemon is doing, as JSON; the status page shows the same.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;

use super::health::Readiness;
use crate::build_info::{REVISION, VERSION};
use crate::sinks::metrics::board::{Board, EnvironmentView, OPEN_STATES, TargetView, Views};
use talkover_core::delivery::{self, Timestamp};
use talkover_core::ledger::series::LogOutcome;
use talkover_core::ledger::series::{Family, SeriesKey};
use talkover_core::ledger::state::OUTCOMES;
use talkover_core::ledger::totals::{Total, Totals};

/// Everything, as of one moment. Times are RFC 3339 in UTC; what is not known is null.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) version: &'static str,
    pub(super) revision: &'static str,
    pub(super) ready: bool,
    /// Why it is not ready.
    pub(super) not_ready: Option<String>,
    pub(super) config: Config,
    pub(super) environments: Vec<Environment>,
    pub(super) targets: Vec<Target>,
}

#[derive(Debug, Serialize)]
pub(super) struct Config {
    pub(super) last_reload_successful: bool,
    pub(super) last_reload_success_time: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Environment {
    pub(super) name: String,
    pub(super) targets: usize,
    pub(super) failing: usize,
    pub(super) budget_requests_per_minute: u32,
    pub(super) rate_limit_limit: Option<u64>,
    pub(super) rate_limit_remaining: Option<u64>,
    pub(super) clock_offset_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Target {
    pub(super) environment: String,
    pub(super) webhook_id: String,
    pub(super) webhook_name: String,
    pub(super) owner_type: &'static str,
    pub(super) owner_id: String,
    /// From discovery.
    pub(super) owner_name: Option<String>,
    /// Whether TalkOver delivers to it; from discovery.
    pub(super) enabled: Option<bool>,
    pub(super) state: TargetState,
    /// Why the last poll failed, where it did.
    pub(super) failure: Option<String>,
    pub(super) last_success_time: Option<String>,
    pub(super) watermark_time: Option<String>,
    pub(super) poll_interval_seconds: f64,
    pub(super) catching_up: bool,
    pub(super) open: Open,
    pub(super) attempts: Attempts,
    pub(super) log_entries_late: u64,
    pub(super) log_entries_invalid: u64,
    pub(super) history_gaps: u64,
}

/// How a target fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TargetState {
    /// The last poll failed.
    Failing,
    /// No poll has ended yet.
    Waiting,
    /// The last poll succeeded.
    Healthy,
    /// Not listed any more; its series go in a while.
    Unlisted,
}

/// Entries that are followed.
#[derive(Debug, Serialize)]
pub(super) struct Open {
    pub(super) pending: u64,
    pub(super) retrying: u64,
}

/// Attempts counted, by outcome.
#[derive(Debug, Serialize)]
pub(super) struct Attempts {
    pub(super) success: u64,
    pub(super) failed: u64,
    pub(super) retrying: u64,
    pub(super) unknown: u64,
}

impl Status {
    /// What `board` and `readiness` say now.
    pub(super) fn of(board: &Board, readiness: &Readiness) -> Self {
        let not_ready = readiness.check().err();
        board.read(|views| Self {
            version: VERSION,
            revision: REVISION,
            ready: not_ready.is_none(),
            not_ready,
            config: Config {
                last_reload_successful: views.config.is_good,
                last_reload_success_time: rfc3339(views.config.loaded_at),
            },
            environments: views.environments.iter().map(|(name, view)| environment(name, view, views)).collect(),
            targets: views.targets.values().map(|view| target(view)).collect(),
        })
    }
}

fn environment(name: &str, view: &EnvironmentView, views: &Views) -> Environment {
    let own = || views.listed().filter(|target| &*target.target.environment == name);
    Environment {
        name: name.to_owned(),
        targets: own().count(),
        failing: own().filter(|target| target.up == Some(false)).count(),
        budget_requests_per_minute: view.budget,
        rate_limit_limit: view.rate_limit,
        rate_limit_remaining: view.rate_limit_remaining,
        clock_offset_seconds: view.clock_offset,
    }
}

fn target(view: &TargetView) -> Target {
    let state = match (view.retires, view.up) {
        (Some(_), _) => TargetState::Unlisted,
        (None, None) => TargetState::Waiting,
        (None, Some(true)) => TargetState::Healthy,
        (None, Some(false)) => TargetState::Failing,
    };
    let info = view.info.as_ref();
    let of_log = |outcome| view.totals.counter(&SeriesKey::log_entries(outcome));
    let open = |status| OPEN_STATES.iter().position(|state| *state == status).map_or(0, |index| view.open[index]);
    let [success, failed, retrying, unknown] = attempts(&view.totals);
    Target {
        environment: view.target.environment.to_string(),
        webhook_id: view.target.webhook_id.to_string(),
        webhook_name: view.target.webhook_name.to_string(),
        owner_type: view.target.owner_type.as_str(),
        owner_id: view.target.owner_id.to_string(),
        owner_name: info.map(|info| info.owner_name.to_string()).filter(|name| !name.is_empty()),
        enabled: info.map(|info| info.is_enabled),
        state,
        failure: view.failure.as_deref().map(ToOwned::to_owned),
        last_success_time: view.last_success.map(rfc3339),
        watermark_time: view.marks.watermark.map(rfc3339),
        poll_interval_seconds: view.poll_interval.as_secs_f64(),
        catching_up: view.exposure.is_catching_up(),
        open: Open {
            pending: open(delivery::AttemptStatus::Pending),
            retrying: open(delivery::AttemptStatus::Retrying),
        },
        attempts: Attempts { success, failed, retrying, unknown },
        log_entries_late: of_log(LogOutcome::Late),
        log_entries_invalid: of_log(LogOutcome::Invalid),
        history_gaps: view.totals.counter(&SeriesKey::history_gaps()),
    }
}

/// Attempts in the order of [`OUTCOMES`].
fn attempts(totals: &Totals) -> [u64; 4] {
    let mut sums = [0; 4];
    for (key, total) in totals.family(Family::Attempts) {
        // The labels of this family are event, status and http_status.
        let label = key.labels.get(1).map(|label| &**label);
        let outcome = OUTCOMES.iter().position(|status| label == Some(status.as_str()));
        if let (Some(index), Total::Counter(count)) = (outcome, total) {
            sums[index] += count;
        }
    }
    sums
}

/// A moment as JSON and people read it.
fn rfc3339(moment: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(moment.as_micros()).map_or_else(|_| "?".to_owned(), |time| time.to_string())
}

/// The snapshot as JSON.
pub(super) async fn status(State(board): State<Board>, State(readiness): State<Readiness>) -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    // Plain numbers and texts always become JSON.
    (headers, serde_json::to_string(&Status::of(&board, &readiness)).unwrap_or_default())
}
