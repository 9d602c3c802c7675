//! The routes of the status: as JSON, as the page of all webhooks, and as the page of one.

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::documents::{RenderingFailed, StatusDocument, StatusEncoding, StatusSource};
use super::page::Query;

/// The page loads style, script, images and data from its own origin only, cannot be framed, and sends its forms only
/// to its own origin.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const PAGE_HEADERS: [(HeaderName, &str); 3] = [
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
    answer_page(&source, &headers, StatusDocument::Overview(query)).await
}

/// The page of one webhook.
pub(super) async fn webhook_page(
    State(source): State<StatusSource>,
    Path((environment, webhook_id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    answer_page(&source, &headers, StatusDocument::Webhook { environment, webhook_id }).await
}

async fn answer_page(source: &StatusSource, headers: &HeaderMap, document: StatusDocument) -> Response {
    match answer(source, headers, document).await {
        Ok(Some(page)) => (PAGE_HEADERS, page).into_response(),
        Ok(None) => (StatusCode::NOT_FOUND, "no such webhook\n").into_response(),
        Err(failed) => failed.into_response(),
    }
}

/// The status as JSON.
pub(super) async fn status_json(State(source): State<StatusSource>, headers: HeaderMap) -> Response {
    let answer_headers = [(header::CONTENT_TYPE, "application/json")];
    answer(&source, &headers, StatusDocument::Json)
        .await
        .map_or_else(IntoResponse::into_response, |json| (answer_headers, json.unwrap_or_default()).into_response())
}

/// Renders a document for a request with these `headers`, and adds the headers that all such responses have; `None` if
/// there is no such document.
async fn answer(
    source: &StatusSource,
    headers: &HeaderMap,
    document: StatusDocument,
) -> Result<Option<Rendered>, (StatusCode, &'static str)> {
    let encoding = StatusEncoding::accepted(headers);
    match source.document(document, encoding).await {
        Ok(body) => Ok(body.map(|body| Rendered { body, encoding })),
        Err(RenderingFailed) => Err((StatusCode::INTERNAL_SERVER_ERROR, "failed to render the status: see the log\n")),
    }
}

/// A rendered document.
#[derive(Default)]
struct Rendered {
    body: Bytes,
    encoding: StatusEncoding,
}

impl IntoResponse for Rendered {
    fn into_response(self) -> Response {
        let mut response = self.body.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.encoding == StatusEncoding::Gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}
