//! What is no part of TalkOver: `/_simulator/…`, by which another process learns the truth and stops the world.
//!
//! These requests need no token, are not counted, and never go wrong on purpose. Used by `server`.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode};
use serde_json::json;

use super::{Shared, answers, lock, response};
use crate::simulator::requests::largest_per_minute;

/// Answers `GET /_simulator/truth`, `GET /_simulator/requests` and `POST /_simulator/freeze[?settle=true]`.
pub(super) fn answer(shared: &Shared, request: &Parts) -> Response<Body> {
    match (&request.method, request.uri.path()) {
        (&Method::GET, "/_simulator/truth") => truth(shared),
        (&Method::GET, "/_simulator/requests") => requests(shared),
        (&Method::POST, "/_simulator/freeze") => {
            let settle = request.uri.query().is_some_and(|query| query.contains("settle=true"));
            shared.world_now().freeze(settle);
            answers::json(StatusCode::OK, &json!({"frozen": true}))
        }
        (_, "/_simulator/truth" | "/_simulator/requests" | "/_simulator/freeze") => answers::wrong_method(),
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

fn requests(shared: &Shared) -> Response<Body> {
    let received = lock(&shared.received);
    let count = received.len();
    let body = json!({"count": count, "largest_per_minute": largest_per_minute(&received)});
    answers::json(StatusCode::OK, &body)
}
