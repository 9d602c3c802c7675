//! The status page: `/` for all webhooks, `/webhooks/ENVIRONMENT/WEBHOOK_ID` for one. It tells people whether all is
//! well, and if not, what is wrong and what to do.
//!
//! Everything works without scripts: sorting, filtering and paging are links and forms. The script only refreshes the
//! page in place. The page loads nothing but its own style and script, and the templates escape every value.

mod asset;
mod chart;
mod overview;
mod parts;
mod query;
mod summary;
mod webhook;

#[cfg(test)]
mod tests;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};

pub(super) use self::asset::asset;
pub(super) use self::overview::overview;
pub(super) use self::query::Query;
pub(super) use self::webhook::webhook;

use super::status::{self, StatusDocument, StatusSource};

/// The page loads style, script, images and data from its own origin only, cannot be framed, and sends its forms only
/// to its own origin.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 3] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// The page of all webhooks.
pub(super) async fn overview_page(
    State(source): State<StatusSource>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    answer(&source, &headers, StatusDocument::Overview(query)).await
}

/// The page of one webhook.
pub(super) async fn webhook_page(
    State(source): State<StatusSource>,
    Path((environment, webhook_id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    answer(&source, &headers, StatusDocument::Webhook { environment, webhook_id }).await
}

async fn answer(source: &StatusSource, headers: &HeaderMap, document: StatusDocument) -> Response {
    match status::answer(source, headers, document).await {
        Ok(Some(page)) => (HEADERS, page).into_response(),
        Ok(None) => (StatusCode::NOT_FOUND, "no such webhook\n").into_response(),
        Err(failed) => failed.into_response(),
    }
}
