//! The documented endpoints: agents, campaigns, their webhooks, and the delivery logs.
//!
//! The shapes follow the documented samples, even where these differ from each other: agents have `meta`, campaigns
//! `pagination`; an agent's webhooks are under `data.webhooks`, a campaign's are `data`; a campaign's log has no
//! `last_page`. Used by `server`, after the token was checked.

use std::collections::{BTreeMap, HashMap};

use axum::body::Body;
use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode, Uri};
use serde_json::{Value, json};

use super::{ServerState, answers, lock, response};
use crate::clock::Moment;
use crate::scenario::{OwnerKind, Webhook};
use crate::world::{ManualRetry, OwnerState, World};

/// Entries on a page of logs if the request does not say how many.
const LOGS_PER_PAGE: u32 = 25;

/// The same for agents and campaigns.
const OWNERS_PER_PAGE: u32 = 20;

/// The most entries on any page.
const MAX_PER_PAGE: u32 = 100;

/// When all agents, campaigns and webhooks were created, and last changed before the start: the time of the documented
/// samples.
const MADE_AT: Moment = Moment::from_seconds(1_756_941_591);

/// The page that is requested.
struct Paging {
    page: usize,
    per_page: usize,
}

/// Why a request has no answer.
enum RequestError {
    /// A parameter is out of range: its name, and what is wrong with it.
    Parameter(&'static str, &'static str),
    /// There is no such agent or campaign.
    UnknownOwner(OwnerKind),
    /// The owner has no such webhook.
    UnknownWebhook,
}

impl RequestError {
    fn answer(self) -> Response<Body> {
        match self {
            Self::Parameter(field, reason) => answers::invalid_parameter(field, reason),
            Self::UnknownOwner(OwnerKind::Agent) => answers::not_found("Agent not found in this environment."),
            Self::UnknownOwner(OwnerKind::Campaign) => answers::not_found("Campaign not found in this environment."),
            Self::UnknownWebhook => answers::not_found("Webhook not found."),
        }
    }
}

/// Answers a request with a valid token.
pub(super) fn answer(shared: &ServerState, request: &Parts) -> Response<Body> {
    let path = request.uri.path();
    let Some(path_below) = path.strip_prefix("/api/v1/") else { return answers::no_route(path) };
    let segments: Vec<&str> = path_below.trim_end_matches('/').split('/').collect();
    let Some((kind, below)) = segments.split_first().and_then(|(first, below)| Some((owner_kind(first)?, below)))
    else {
        return answers::no_route(path);
    };
    match (&request.method, below) {
        (&Method::GET, []) => owners(shared, kind, &request.uri),
        (&Method::GET, [owner, "webhooks"]) => webhooks(shared, kind, owner),
        (&Method::GET, [owner, "webhooks", webhook, "logs"]) => logs(shared, kind, owner, webhook, &request.uri),
        (&Method::POST, [owner, "webhooks", webhook, "logs", log, "retry"]) => retry(shared, kind, owner, webhook, log),
        (_, [] | [_, "webhooks"] | [_, "webhooks", _, "logs"] | [_, "webhooks", _, "logs", _, "retry"]) => {
            answers::wrong_method()
        }
        _ => answers::no_route(path),
    }
}

fn owner_kind(segment: &str) -> Option<OwnerKind> {
    match segment {
        "agents" => Some(OwnerKind::Agent),
        "campaigns" => Some(OwnerKind::Campaign),
        _ => None,
    }
}

fn parameters(uri: &Uri) -> HashMap<String, String> {
    Query::try_from_uri(uri).map(|Query(parameters)| parameters).unwrap_or_default()
}

fn paging(shared: &ServerState, parameters: &HashMap<String, String>, default: u32) -> Result<Paging, RequestError> {
    let number = |name: &str, default: u32| match parameters.get(name) {
        None => Some(default),
        Some(text) => text.parse::<u32>().ok().filter(|number| *number > 0),
    };
    let page = number("page", 1).ok_or(RequestError::Parameter("page", "The page field must be at least 1."))?;
    let per_page = number("per_page", default);
    let per_page = match shared.max_per_page {
        Some(max) => per_page.unwrap_or(default).min(max),
        None => per_page
            .filter(|per_page| *per_page <= MAX_PER_PAGE)
            .ok_or(RequestError::Parameter("per_page", "The per page field must be between 1 and 100."))?,
    };
    Ok(Paging { page: page as usize, per_page: per_page as usize })
}

fn last_page(total: usize, per_page: usize) -> usize {
    total.div_ceil(per_page).max(1)
}

fn owners(shared: &ServerState, kind: OwnerKind, uri: &Uri) -> Response<Body> {
    let parameters = parameters(uri);
    let paging = match paging(shared, &parameters, OWNERS_PER_PAGE) {
        Ok(paging) => paging,
        Err(refusal) => return refusal.answer(),
    };
    let matches = |state: &&OwnerState| filters_match(&parameters, state);
    let owners: Vec<OwnerState> = shared.world_now().owners(kind).filter(matches).cloned().collect();
    let page = owners.iter().skip((paging.page - 1).saturating_mul(paging.per_page)).take(paging.per_page);
    let unreadable = lock(&shared.page_faults).unreadable_owners.clone();
    if page.clone().any(|state| unreadable.contains(&state.owner.id)) {
        return answers::server_error();
    }
    let data: Vec<Value> = page.map(owner_json).collect();
    let counts = json!({
        "current_page": paging.page,
        "per_page": paging.per_page,
        "total": owners.len(),
        "last_page": last_page(owners.len(), paging.per_page),
    });
    let counts_name = if kind == OwnerKind::Agent { "meta" } else { "pagination" };
    answers::json(StatusCode::OK, &json!({"success": true, "data": data, counts_name: counts}))
}

/// The documented filters `status`, `direction` and `search`. All agents are inbound.
fn filters_match(parameters: &HashMap<String, String>, state: &OwnerState) -> bool {
    let is = |name: &str, value: &str| parameters.get(name).is_none_or(|wanted| wanted == value);
    let search = parameters.get("search").map(|text| text.to_lowercase());
    let found = search.is_none_or(|text| state.owner.name.to_lowercase().contains(&text));
    is("status", &state.status) && (state.owner.kind == OwnerKind::Campaign || is("direction", "inbound")) && found
}

fn owner_json(state: &OwnerState) -> Value {
    let OwnerState { owner, status, changed_at } = state;
    let (made_at, updated_at) = (MADE_AT.to_rfc3339(), changed_at.unwrap_or(MADE_AT).to_rfc3339());
    match owner.kind {
        OwnerKind::Agent => json!({
            "id": owner.id,
            "name": owner.name,
            "label": owner.name,
            "description": "A simulated agent",
            "language": "en-US",
            "voice": {"id": "voice-uuid", "name": "Bianca", "stability": 0.6},
            "direction": "inbound",
            "current_status": status,
            "is_sandbox": false,
            "created_at": made_at,
            "updated_at": updated_at,
            "trainings": [],
            "actions": [],
            "phone_numbers": [],
        }),
        OwnerKind::Campaign => json!({
            "id": owner.id,
            "name": owner.name,
            "description": "A simulated campaign",
            "status": status,
            "campaign_type": "sales",
            "agent_id": "agent-uuid-1",
            "created_at": made_at,
            "updated_at": updated_at,
        }),
    }
}

fn webhooks(shared: &ServerState, kind: OwnerKind, owner_id: &str) -> Response<Body> {
    let world = shared.world_now();
    if !world.has_owner(kind, owner_id) {
        return RequestError::UnknownOwner(kind).answer();
    }
    let owned = world.webhooks_of(kind, owner_id);
    let list: Vec<Value> = owned.iter().map(|(webhook, changed_at)| webhook_json(webhook, *changed_at)).collect();
    let data = match kind {
        OwnerKind::Campaign => Value::Array(list),
        OwnerKind::Agent => {
            let events = owned.iter().flat_map(|(webhook, _)| &webhook.events);
            let events: BTreeMap<&str, String> =
                events.map(|event| (event.name.as_str(), event.name.replace(['_', '.'], " "))).collect();
            json!({"webhooks": list, "available_events": events})
        }
    };
    answers::json(StatusCode::OK, &json!({"success": true, "data": data}))
}

fn owns(webhook: &Webhook, kind: OwnerKind, owner_id: &str) -> bool {
    webhook.owner.kind == kind && webhook.owner.id == owner_id
}

fn webhook_json(webhook: &Webhook, changed_at: Option<Moment>) -> Value {
    let events: Vec<&str> = webhook.events.iter().map(|event| event.name.as_str()).collect();
    let mut fields = json!({
        "id": webhook.id,
        "name": webhook.name,
        "webhook_url": webhook.url,
        "events": events,
        "timeout": webhook.timeout.as_secs(),
        "max_retries": webhook.max_retries,
        "enabled": webhook.enabled,
        "created_at": MADE_AT.to_rfc3339_micros(),
        "updated_at": changed_at.unwrap_or(MADE_AT).to_rfc3339_micros(),
        "events_count": events.len(),
        "status": if webhook.enabled { "active" } else { "disabled" },
    });
    fields[format!("{}_id", webhook.owner.kind.as_str())] = json!(webhook.owner.id);
    if let Some(method) = &webhook.http_method {
        fields["http_method"] = json!(method);
    }
    fields
}

/// The index of a webhook's log, or what is missing.
fn find_log(world: &World, kind: OwnerKind, owner_id: &str, webhook_id: &str) -> Result<usize, RequestError> {
    if !world.has_owner(kind, owner_id) {
        return Err(RequestError::UnknownOwner(kind));
    }
    let log = world.find_log(webhook_id).filter(|log| owns(&world.logs()[*log].webhook, kind, owner_id));
    log.ok_or(RequestError::UnknownWebhook)
}

fn logs(shared: &ServerState, kind: OwnerKind, owner_id: &str, webhook_id: &str, uri: &Uri) -> Response<Body> {
    let faults = lock(&shared.page_faults).clone();
    let mut world = shared.world_now();
    let log = match find_log(&world, kind, owner_id, webhook_id) {
        Ok(log) => log,
        Err(refusal) => return refusal.answer(),
    };
    let Paging { page, per_page } = match paging(shared, &parameters(uri), LOGS_PER_PAGE) {
        Ok(paging) => paging,
        Err(refusal) => return refusal.answer(),
    };
    if faults.deepest_page.is_some_and(|deepest| page > deepest as usize) {
        return RequestError::Parameter("page", "The page field is too large.").answer();
    }
    let shown = if faults.repeats { 1 } else { page };
    let mut body = br#"{"success":true,"data":"#.to_vec();
    let Ok(total) = world.write_page(log, shown, per_page, &mut body) else { return answers::server_error() };
    drop(world);
    let text = String::from_utf8_lossy(&body);
    if faults.unreadable.iter().any(|id| text.contains(&format!("\"id\":\"{id}\""))) {
        return answers::server_error();
    }
    let total = if faults.repeats { usize::MAX / 4 } else { total };
    let counts = match kind {
        OwnerKind::Agent => format!(r#","last_page":{}"#, last_page(total, per_page)),
        OwnerKind::Campaign => String::new(),
    };
    let pagination =
        format!(r#","pagination":{{"current_page":{page},"per_page":{per_page},"total":{total}{counts}}}}}"#);
    body.extend_from_slice(pagination.as_bytes());
    response(StatusCode::OK, "application/json", body)
}

fn retry(shared: &ServerState, kind: OwnerKind, owner_id: &str, webhook_id: &str, log_id: &str) -> Response<Body> {
    let mut world = shared.world_now();
    if let Err(refusal) = find_log(&world, kind, owner_id, webhook_id) {
        return refusal.answer();
    }
    match world.retry(webhook_id, log_id) {
        ManualRetry::Unknown => answers::not_found("Log not found."),
        ManualRetry::NotRetriable => answers::not_retriable(),
        ManualRetry::Queued(new_id) => {
            let queued_at = world.now().to_rfc3339();
            let data = json!({"log_id": new_id, "original_log_id": log_id, "queued_at": queued_at});
            answers::json(StatusCode::OK, &json!({"success": true, "data": data}))
        }
    }
}
