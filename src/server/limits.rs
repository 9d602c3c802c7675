//! Limits on what all clients together may use: requests at work at the same time, and memory for responses that the
//! clients have not read yet.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Responses up to this size are not compressed and not counted: a socket takes more than that at once.
pub(super) const SMALL_BYTES: u64 = 16 * 1024;
/// How much memory responses other than scrapes may use while they are sent, in units of [`UNIT_BYTES`].
const UNITS: usize = 1024;
const UNIT_BYTES: usize = 16 * 1024;
/// How much memory compressing a response needs, in units of [`UNIT_BYTES`].
const COMPRESSION_UNITS: usize = 20;
/// The `Retry-After` of refused requests, in seconds. A scrape takes far less.
const RETRY_AFTER: &str = "1";

/// Refuses requests beyond `max_requests` at work. A request is at work until its response begins, so that a client
/// that reads slowly keeps nobody else waiting.
pub(super) fn limit_requests(router: Router, max_requests: u32) -> Router {
    let places = Arc::new(Semaphore::new(max_requests as usize));
    router.layer(from_fn_with_state(places, take_place))
}

async fn take_place(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    match places.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_full) => refused("server.max_requests requests are at work"),
    }
}

/// Refuses requests if the responses that clients have not read yet use up the memory.
pub(super) fn limit_memory<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.layer(from_fn_with_state(Arc::new(Semaphore::new(UNITS)), take_room))
}

async fn take_room(State(room): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let size = response.body().size_hint().exact().unwrap_or(u64::MAX);
    if size <= SMALL_BYTES {
        return response;
    }
    let units = usize::try_from(size).map_or(UNITS, |size| (size / UNIT_BYTES).saturating_add(COMPRESSION_UNITS));
    // A single response may be larger than the limit.
    match room.try_acquire_many_owned(units.min(UNITS) as u32) {
        Ok(taken) => response.map(|body| Body::new(HeldBody { body, _taken: taken })),
        Err(_full) => refused("too many clients do not read their responses"),
    }
}

fn refused(reason: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_AFTER)], format!("busy: {reason}\n")).into_response()
}

/// The body of a response, which uses memory until it is sent.
struct HeldBody {
    body: Body,
    _taken: OwnedSemaphorePermit,
}

impl HttpBody for HeldBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
