//! Answers requests as the API's public documentation describes, and wrongly if a fault says so.
//!
//! Every request takes the same way: count it, check it against the limit, choose its fault, check its token, answer.
//! Invents nothing: it shows the world. Started by `Simulator`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, DATE, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use tokio::sync::watch;

use super::clock::{Clock, Moment};
use super::faults::{Fault, Faults, PageFaults};
use super::requests::{Limiter, Quota, ReceivedRequest};
use super::world::World;
use socket::{Break, Wire};

mod answers;
mod control;
mod routes;
pub(super) mod socket;
#[cfg(test)]
mod tests;

/// What all requests share. No two of its locks are ever held at once.
pub(super) struct ServerState {
    pub(super) clock: Clock,
    pub(super) world: Mutex<World>,
    pub(super) faults: Mutex<Faults>,
    pub(super) limiter: Mutex<Limiter>,
    pub(super) received: Mutex<Vec<ReceivedRequest>>,
    pub(super) tokens: Mutex<Vec<String>>,
    pub(super) page_faults: Mutex<PageFaults>,
    pub(super) max_per_page: Option<u32>,
    pub(super) start: Moment,
    /// Changes, or loses its sender, when the server should stop.
    pub(super) stopping: watch::Receiver<()>,
}

impl ServerState {
    /// The world, after everything until now has happened.
    pub(super) fn world_now(&self) -> MutexGuard<'_, World> {
        let now = self.clock.now();
        let mut world = lock(&self.world);
        world.advance_to(now);
        world
    }
}

/// The value behind a lock; a panic while it was held left the value usable.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one request.
pub(super) async fn handle(
    State(shared): State<Arc<ServerState>>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    request: Request,
) -> Response<Body> {
    // The body, which no endpoint needs, cannot be held across an await.
    let (request, _body) = request.into_parts();
    if request.uri.path().starts_with("/_simulator/") {
        return control::answer(&shared, &request);
    }
    let now = shared.clock.now();
    record(&shared, &request, now);
    let token = bearer(&request.headers);
    let quota = lock(&shared.limiter).count(token.unwrap_or_default(), now);
    let mut response = limited_answer(&shared, &request, &wire, token, quota, now).await;
    decorate(response.headers_mut(), quota, shared.clock.now());
    response
}

/// Waits for `duration`, or until the server stops.
async fn hold(shared: &ServerState, duration: Duration) {
    let mut stopping = shared.stopping.clone();
    let _elapsed_or_stopped = tokio::time::timeout(duration, stopping.changed()).await;
}

fn record(shared: &ServerState, request: &Parts, at: Moment) {
    let method = request.method.to_string();
    let path = request.uri.to_string();
    lock(&shared.received).push(ReceivedRequest { at, method, path });
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::trim).filter(|token| !token.is_empty())
}

async fn limited_answer(
    shared: &ServerState,
    request: &Parts,
    wire: &Wire,
    token: Option<&str>,
    quota: Quota,
    now: Moment,
) -> Response<Body> {
    if let Some(until) = quota.blocked_until {
        let mut response = answers::too_many_requests(Some(until.since(now)));
        response.headers_mut().insert("x-ratelimit-reset", reset_time(until));
        return response;
    }
    let fault = lock(&shared.faults).next(request.uri.path(), now.since(shared.start));
    match fault {
        Fault::None => checked_answer(shared, request, token),
        Fault::Hold(duration) => {
            hold(shared, duration).await;
            checked_answer(shared, request, token)
        }
        Fault::Reset => broken(wire, Break::Reset, answers::not_success()),
        Fault::Drip(pause) => broken(wire, Break::Drip(pause), checked_answer(shared, request, token)),
        Fault::ResetInBody => broken(wire, Break::ResetInBody, checked_answer(shared, request, token)),
        Fault::Truncated => broken(wire, Break::Truncate, checked_answer(shared, request, token)),
        Fault::LengthTooLong => broken(wire, Break::DoubleLength, checked_answer(shared, request, token)),
        Fault::LengthTooShort => broken(wire, Break::HalveLength, checked_answer(shared, request, token)),
        Fault::Html(status) => answers::html(status),
        Fault::Status(status) => answers::documented(status),
        Fault::RateLimited(wait) => {
            let mut response = answers::too_many_requests(wait);
            if let Some(wait) = wait {
                response.headers_mut().insert("x-ratelimit-reset", reset_time(now.plus(wait)));
            }
            response
        }
        Fault::RateLimitedUntil(wait) => answers::too_many_requests_saying(&now.plus(wait).to_http_date()),
        Fault::RateLimitedInFractions(wait) => answers::too_many_requests_saying(&format!("{:.3}", wait.as_secs_f64())),
        Fault::RateLimitedByReset(wait) => {
            let mut response = answers::too_many_requests_saying("soon");
            response.headers_mut().insert("x-ratelimit-reset", reset_time(now.plus(wait)));
            response
        }
        Fault::InvalidJson => answers::invalid_json(),
        Fault::NotSuccess => answers::not_success(),
        Fault::Redirect(location) => answers::redirect(location.as_deref()),
        Fault::DateAhead(offset) => dated(checked_answer(shared, request, token), &now.plus(offset).to_http_date()),
        Fault::DateBehind(offset) => dated(checked_answer(shared, request, token), &now.minus(offset).to_http_date()),
        Fault::NoDate => dated(checked_answer(shared, request, token), ""),
    }
}

/// Sets the `Date` of an answer.
fn dated(mut response: Response<Body>, date: &str) -> Response<Body> {
    if let Ok(date) = HeaderValue::try_from(date) {
        response.headers_mut().insert(DATE, date);
    }
    response
}

/// Makes the connection break while it carries `response`.
fn broken(wire: &Wire, how: Break, response: Response<Body>) -> Response<Body> {
    wire.break_next(how);
    response
}

fn checked_answer(shared: &ServerState, request: &Parts, token: Option<&str>) -> Response<Body> {
    let Some(token) = token else { return answers::missing_token() };
    if !lock(&shared.tokens).iter().any(|known| known == token) {
        return answers::invalid_token();
    }
    routes::answer(shared, request)
}

/// Adds the headers that every answer has.
fn decorate(headers: &mut HeaderMap, quota: Quota, now: Moment) {
    let blocked = headers.contains_key(RETRY_AFTER);
    headers.insert("x-ratelimit-limit", HeaderValue::from(quota.limit));
    headers.insert("x-ratelimit-remaining", HeaderValue::from(if blocked { 0 } else { quota.remaining }));
    if let (false, Ok(date)) = (headers.contains_key(DATE), HeaderValue::try_from(now.to_http_date())) {
        headers.insert(DATE, date);
    }
}

fn reset_time(at: Moment) -> HeaderValue {
    HeaderValue::from(at.plus(Duration::from_micros(999_999)).as_seconds())
}

/// An answer with this status, content type and body.
fn response(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(axum::http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
