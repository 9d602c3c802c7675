//! What a span says of a request to the API: the semantic conventions of HTTP client spans
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client-span>).
//!
//! Whoever has a request made begins its span and lets the request run within it; the client, which knows the URL and
//! the answer, describes it. No URL holds a secret: the token is in a header, and a base URL with a user is refused.

use reqwest::Url;
use reqwest::header::HeaderMap;
use tracing::field::Empty;
use tracing::{Level, Span};

use super::span::{TARGET, child_span, fail, number};
use talkover_core::reading::error::ApiError;

/// Begins the span of a request below `parent`; `resends` is how often it was made before, in vain.
pub fn begin(parent: &Span, resends: u32) -> Span {
    let span = child_span!(
        parent,
        "GET",
        otel.name = Empty,
        otel.kind = "client",
        http.request.method = "GET",
        http.request.resend_count = Empty,
        http.response.status_code = Empty,
        http.response.body.size = Empty,
        url.full = Empty,
        url.template = Empty,
        server.address = Empty,
        server.port = Empty,
        talkover.api.rate_limit.remaining = Empty,
        talkover.api.retry_after = Empty
    );
    if resends > 0 {
        span.record("http.request.resend_count", i64::from(resends));
    }
    span
}

/// The span of the request that is being made; none if nobody has begun one.
pub fn current() -> Span {
    // Looking for it costs more than what is turned off may cost.
    if tracing::enabled!(target: TARGET, Level::TRACE) { Span::current() } else { Span::none() }
}

/// Describes a request, to a path of the API that has this `template`.
pub fn describe(span: &Span, url: &Url, template: impl FnOnce() -> String) {
    if span.is_none() {
        return;
    }
    let template = template();
    span.record("otel.name", format!("GET {template}").as_str())
        .record("url.template", template.as_str())
        .record("url.full", url.as_str())
        .record("server.address", url.host_str().unwrap_or_default());
    if let Some(port) = url.port_or_known_default() {
        span.record("server.port", i64::from(port));
    }
}

/// Describes the head of an answer.
pub fn answered(span: &Span, status: u16, headers: &HeaderMap) {
    if span.is_none() {
        return;
    }
    span.record("http.response.status_code", i64::from(status));
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(remaining) = text("x-ratelimit-remaining") {
        span.record("talkover.api.rate_limit.remaining", remaining);
    }
    if let Some(after) = text("retry-after") {
        span.record("talkover.api.retry_after", after);
    }
}

/// Describes the body of an answer, which has so many bytes, decompressed.
pub fn received(span: &Span, bytes: usize) {
    if !span.is_none() {
        span.record("http.response.body.size", number(bytes));
    }
}

/// Describes why a request has failed: by its status if that is an error, otherwise by one of few words.
pub fn failed(span: &Span, error: &ApiError) {
    if span.is_none() {
        return;
    }
    let kind = match error {
        ApiError::Unauthorized { .. } => "401".into(),
        ApiError::RateLimited { .. } => "429".into(),
        ApiError::Http { status, .. } => status.to_string(),
        ApiError::Timeout | ApiError::Connection(_) | ApiError::InvalidResponse(_) | ApiError::TooLarge { .. } => {
            error.poll_result().as_str().to_owned()
        }
    };
    fail(span, &kind, &error.to_string());
}
