//! What is no part of TalkOver: `/_simulator/…`, by which another process learns the truth, adds entries and stops the world.
//!
//! These requests need no token, are not counted, and never go wrong on purpose. Used by `server`.

use axum::body::Body;
use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{Shared, answers, lock, response};
use crate::simulator::requests::largest_per_minute;
use crate::simulator::world::{EntrySpec, Status};

/// The parameters of `POST /_simulator/entries`: the entry of a delivery's first attempt, made now.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewEntry {
    webhook_id: String,
    event: String,
    /// A `pending` one stays so.
    status: Status,
    /// What the endpoint answered; absent where no answer came.
    http_status: Option<u16>,
}

/// Answers `GET /_simulator/truth`, `GET /_simulator/requests`, `POST /_simulator/freeze[?settle=true]` and
/// `POST /_simulator/entries?webhook_id=…&event=…&status=…[&http_status=…]`.
pub(super) fn answer(shared: &Shared, request: &Parts) -> Response<Body> {
    match (&request.method, request.uri.path()) {
        (&Method::GET, "/_simulator/truth") => truth(shared),
        (&Method::GET, "/_simulator/requests") => requests(shared),
        (&Method::POST, "/_simulator/freeze") => {
            let settle = request.uri.query().is_some_and(|query| query.contains("settle=true"));
            shared.world_now().freeze(settle);
            answers::json(StatusCode::OK, &json!({"frozen": true}))
        }
        (&Method::POST, "/_simulator/entries") => match Query::<NewEntry>::try_from_uri(&request.uri) {
            Ok(Query(new)) => add_entry(shared, new),
            Err(error) => answers::json(StatusCode::BAD_REQUEST, &json!({"message": error.body_text()})),
        },
        (_, "/_simulator/truth" | "/_simulator/requests" | "/_simulator/freeze" | "/_simulator/entries") => {
            answers::wrong_method()
        }
        (_, path) => answers::no_route(path),
    }
}

fn truth(shared: &Shared) -> Response<Body> {
    let truth = shared.world_now().truth();
    match serde_json::to_vec(&truth) {
        Ok(body) => response(StatusCode::OK, "application/json", body),
        Err(_) => answers::server_error(),
    }
}

fn add_entry(shared: &Shared, new: NewEntry) -> Response<Body> {
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

fn requests(shared: &Shared) -> Response<Body> {
    let received = lock(&shared.received);
    let count = received.len();
    let body = json!({"count": count, "largest_per_minute": largest_per_minute(&received)});
    answers::json(StatusCode::OK, &body)
}
