//! `GET /metrics`: what the registry holds at that moment, as text.
//!
//! A scrape never writes, never asks TalkOver, and never waits for a poll. Whatever `Accept` asks for, the answer is the text
//! format 0.0.4, which every scraper reads. Called by the router; compression is the router's.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::Registry;

use crate::sinks::metrics::render;

/// Gathers and renders off the threads that serve: a long list of series takes milliseconds.
pub(super) async fn metrics(State(registry): State<Registry>) -> Response {
    let rendered = tokio::task::spawn_blocking(move || render::text(&registry.gather())).await;
    match rendered {
        Ok(text) => ([(header::CONTENT_TYPE, render::TEXT_CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "failed to gather the metrics");
            (StatusCode::INTERNAL_SERVER_ERROR, "failed to gather the metrics: see the log\n").into_response()
        }
    }
}
