//! What TalkOver does not have: `/_simulator/…`, through which another process learns the truth, adds entries, stops
//! the world, and acts as an operator on webhooks, agents and campaigns.
//!
//! These requests need no token, are not counted, and never fail on purpose. Used by `server`.

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode, Uri};
use serde::Deserialize;
use serde_json::json;

use super::{ServerState, answers, lock, response};
use crate::requests::largest_per_minute;
use crate::scenario::check::is_segment;
use crate::scenario::{Owner, OwnerKind, Webhook};
use crate::world::{EntrySpec, Status, World};

/// The parameters of `POST /_simulator/entries`: the entry of a delivery's first attempt, created now.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewEntry {
    webhook_id: String,
    event: String,
    /// A `pending` entry stays pending.
    status: Status,
    /// The endpoint's answer; `None` if there was none.
    http_status: Option<u16>,
}

/// Answers `GET /_simulator/truth`, `GET /_simulator/requests`, `POST /_simulator/freeze[?settle=true]`, `POST
/// /_simulator/entries?webhook_id=…&event=…&status=…[&http_status=…]`, and, below `/_simulator/`, `POST` and `DELETE`
/// of `agents/ID`, `campaigns/ID` and `webhooks/ID`. `POST` creates what does not exist and changes what does: `name`
/// and `status` of an owner; `name` and `enabled` of a webhook, and for a new one `agent_id` or `campaign_id`.
pub(super) fn answer(shared: &ServerState, request: &Parts) -> Response<Body> {
    match (&request.method, request.uri.path()) {
        (&Method::GET, "/_simulator/truth") => truth(shared),
        (&Method::GET, "/_simulator/requests") => requests(shared),
        (&Method::POST, "/_simulator/freeze") => {
            let mut world = shared.world_now();
            if request.uri.query().is_some_and(|query| query.contains("settle=true")) {
                world.settle_and_freeze();
            } else {
                world.freeze();
            }
            drop(world);
            answers::json(StatusCode::OK, &json!({"frozen": true}))
        }
        (&Method::POST, "/_simulator/entries") => match Query::<NewEntry>::try_from_uri(&request.uri) {
            Ok(Query(new)) => add_entry(shared, new),
            Err(error) => answers::json(StatusCode::BAD_REQUEST, &json!({"message": error.body_text()})),
        },
        (_, "/_simulator/truth" | "/_simulator/requests" | "/_simulator/freeze" | "/_simulator/entries") => {
            answers::wrong_method()
        }
        (method, path) => change(shared, method, path, &request.uri),
    }
}

/// Changes a webhook or an owner.
fn change(shared: &ServerState, method: &Method, path: &str, uri: &Uri) -> Response<Body> {
    let segments: Vec<&str> = path.split('/').skip(2).collect();
    let (what, id) = match segments[..] {
        [what @ ("agents" | "campaigns" | "webhooks"), id] if is_segment(id) => (what, id),
        _ => return answers::no_route(path),
    };
    let parameters = Query::<HashMap<String, String>>::try_from_uri(uri).map(|Query(found)| found).unwrap_or_default();
    let kind = if what == "agents" { OwnerKind::Agent } else { OwnerKind::Campaign };
    let mut world = shared.world_now();
    let is_done = match (method, what) {
        (&Method::DELETE, "webhooks") => world.remove_webhook(id),
        (&Method::DELETE, _) => world.remove_owner(kind, id),
        (&Method::POST, "webhooks") => set_webhook(&mut world, id, &parameters),
        (&Method::POST, _) => set_owner(&mut world, kind, id, &parameters),
        _ => return answers::wrong_method(),
    };
    if is_done { answers::json(StatusCode::OK, &json!({"done": true})) } else { answers::not_found("Not found.") }
}

fn set_owner(world: &mut World, kind: OwnerKind, id: &str, parameters: &HashMap<String, String>) -> bool {
    if !world.has_owner(kind, id) {
        world.add_owner(&Owner { kind, id: id.to_owned(), name: id.to_owned() });
    }
    let named = parameters.get("name").is_none_or(|name| world.rename_owner(kind, id, name));
    named && parameters.get("status").is_none_or(|status| world.set_status(kind, id, status))
}

fn set_webhook(world: &mut World, id: &str, parameters: &HashMap<String, String>) -> bool {
    let new = match (world.find_log(id), parameters.get("agent_id"), parameters.get("campaign_id")) {
        (Some(_), ..) => None,
        (None, Some(agent), _) => Some(Webhook::of_agent(agent, id)),
        (None, None, Some(campaign)) => Some(Webhook::of_campaign(campaign, id)),
        (None, None, None) => return false,
    };
    if let Some(webhook) = new {
        world.add_webhook(webhook);
    }
    world.change_webhook(id, |webhook| {
        if let Some(name) = parameters.get("name") {
            name.clone_into(&mut webhook.name);
        }
        if let Some(enabled) = parameters.get("enabled") {
            webhook.enabled = enabled == "true";
        }
    })
}

fn truth(shared: &ServerState) -> Response<Body> {
    let truth = shared.world_now().truth();
    match serde_json::to_vec(&truth) {
        Ok(body) => response(StatusCode::OK, "application/json", body),
        Err(_) => answers::server_error(),
    }
}

fn add_entry(shared: &ServerState, new: NewEntry) -> Response<Body> {
    let mut world = shared.world_now();
    let spec = EntrySpec {
        created_at: world.now(),
        event: new.event.into(),
        status: new.status,
        http_status: new.http_status,
        ..EntrySpec::default()
    };
    match world.insert(&new.webhook_id, spec) {
        Ok(id) => answers::json(StatusCode::OK, &json!({"id": id})),
        Err(error) => answers::not_found(&error.to_string()),
    }
}

fn requests(shared: &ServerState) -> Response<Body> {
    let received = lock(&shared.received);
    let count = received.len();
    let body = json!({"count": count, "largest_per_minute": largest_per_minute(&received)});
    answers::json(StatusCode::OK, &body)
}
