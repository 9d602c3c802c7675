//! Lost deliveries in the status.

use std::fmt::Write;

use serde::Serialize;

use super::time::rfc3339;
use crate::sinks::metrics::board::{TargetView, Views};
use talkover_core::delivery::Target;
use talkover_core::ledger::losses::{EndKey, LostDelivery};
use talkover_core::spans::ids;

/// How many lost deliveries the status lists, over all webhooks.
const LATEST: usize = 50;
/// The placeholder of the trace id in `trace_url`.
pub(in crate::server) const TRACE_ID: &str = "{trace_id}";

/// A lost delivery of a webhook.
#[derive(Clone, Debug, Serialize)]
pub(in crate::server) struct LastLost {
    /// When it ended: when its last attempt was made.
    pub(in crate::server) time: String,
    pub(in crate::server) event: String,
    /// The number of its last attempt.
    pub(in crate::server) attempt: u8,
    /// `failed` or `abandoned`.
    pub(in crate::server) result: &'static str,
    /// The endpoint's HTTP status; null if it did not answer.
    pub(in crate::server) http_status: Option<u16>,
    pub(in crate::server) error: Option<String>,
    /// The id of its last attempt.
    pub(in crate::server) log_id: String,
    pub(in crate::server) trace_id: String,
    pub(in crate::server) trace_url: Option<String>,
}

/// A lost delivery with its webhook.
#[derive(Clone, Debug, Serialize)]
pub(in crate::server) struct Lost {
    pub(in crate::server) environment: String,
    pub(in crate::server) webhook_id: String,
    pub(in crate::server) webhook_name: String,
    #[serde(flatten)]
    pub(in crate::server) delivery: LastLost,
}

fn lost(target: &Target, end: &EndKey, loss: &LostDelivery, trace_url: Option<&str>) -> LastLost {
    let mut trace_id = String::with_capacity(32);
    for byte in ids::trace(target, &loss.opening) {
        // Writing to a string cannot fail.
        let _ = write!(trace_id, "{byte:02x}");
    }
    LastLost {
        time: rfc3339(end.at),
        event: loss.event.to_string(),
        attempt: end.attempt,
        result: loss.result.as_str(),
        http_status: loss.http_status,
        error: loss.error.as_deref().map(ToOwned::to_owned),
        log_id: end.id.to_string(),
        trace_url: trace_url.map(|template| template.replace(TRACE_ID, &trace_id)),
        trace_id,
    }
}

/// Returns the latest lost delivery of a webhook.
pub(super) fn last(view: &TargetView, trace_url: Option<&str>) -> Option<LastLost> {
    view.losses.last_key_value().map(|(end, loss)| lost(&view.target, end, loss, trace_url))
}

/// Returns all lost deliveries that are kept for a webhook, latest first.
pub(in crate::server) fn all(view: &TargetView, trace_url: Option<&str>) -> Vec<LastLost> {
    view.losses.iter().rev().map(|(end, loss)| lost(&view.target, end, loss, trace_url)).collect()
}

/// Returns the latest lost deliveries of all webhooks, latest first.
pub(super) fn latest(views: &Views, trace_url: Option<&str>) -> Vec<Lost> {
    let exposed = views.targets.values().filter(|view| view.exposed);
    let mut all: Vec<_> =
        exposed.flat_map(|view| view.losses.iter().map(move |(end, loss)| (end, view, loss))).collect();
    all.sort_by(|(one, ..), (other, ..)| other.cmp(one));
    let told = all.into_iter().take(LATEST).map(|(end, view, loss)| Lost {
        environment: view.target.environment.to_string(),
        webhook_id: view.target.webhook_id.to_string(),
        webhook_name: view.target.webhook_name.to_string(),
        delivery: lost(&view.target, end, loss, trace_url),
    });
    told.collect()
}
