//! The answers without data: the documented error envelopes, and the answers of faults.
//!
//! Bodies only, from constants; knows nothing of the world. Used by `server` and `routes`.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{HeaderValue, LOCATION, RETRY_AFTER};
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

use super::response;

/// An answer with a JSON body.
pub(super) fn json(status: StatusCode, body: &Value) -> Response<Body> {
    response(status, "application/json", body.to_string())
}

/// 401 without a token.
pub(super) fn missing_token() -> Response<Body> {
    json(StatusCode::UNAUTHORIZED, &json!({"message": "Missing Bearer Token"}))
}

/// 401 with an unknown token.
pub(super) fn invalid_token() -> Response<Body> {
    let error = json!({"code": "INVALID_API_KEY", "message": "The provided API key is invalid", "details": {}});
    json(StatusCode::UNAUTHORIZED, &json!({"success": false, "error": error}))
}

/// 404 for something of the API that does not exist.
pub(super) fn not_found(message: &str) -> Response<Body> {
    json(StatusCode::NOT_FOUND, &json!({"success": false, "message": message}))
}

/// 404 for a path that is not part of the API, in Laravel's words.
pub(super) fn no_route(path: &str) -> Response<Body> {
    let message = format!("The route {} could not be found.", path.trim_start_matches('/'));
    json(StatusCode::NOT_FOUND, &json!({"message": message}))
}

/// 405 for a method that the path does not support.
pub(super) fn wrong_method() -> Response<Body> {
    json(StatusCode::METHOD_NOT_ALLOWED, &json!({"message": "The method is not supported for this route."}))
}

/// 422 for a parameter.
pub(super) fn invalid_parameter(field: &str, reason: &str) -> Response<Body> {
    let body = json!({"message": "The given data was invalid.", "errors": {field: [reason]}});
    json(StatusCode::UNPROCESSABLE_ENTITY, &body)
}

/// 422 for a log entry that cannot be retried.
pub(super) fn not_retriable() -> Response<Body> {
    let body = json!({"success": false, "message": "Log cannot be retried", "code": "LOG_NOT_RETRIABLE"});
    json(StatusCode::UNPROCESSABLE_ENTITY, &body)
}

/// 429, with the wait in whole seconds, rounded up.
pub(super) fn too_many_requests(wait: Option<Duration>) -> Response<Body> {
    let mut response = json(StatusCode::TOO_MANY_REQUESTS, &json!({"message": "Too Many Attempts."}));
    if let Some(wait) = wait {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// 429, with this text as `Retry-After`.
pub(super) fn too_many_requests_saying(retry_after: &str) -> Response<Body> {
    let mut response = too_many_requests(None);
    if let Ok(value) = HeaderValue::try_from(retry_after) {
        response.headers_mut().insert(RETRY_AFTER, value);
    }
    response
}

/// 500, if the answer cannot be written.
pub(super) fn server_error() -> Response<Body> {
    let error = json!({"code": "SERVER_ERROR", "message": "Server Error", "details": {}});
    json(StatusCode::INTERNAL_SERVER_ERROR, &json!({"success": false, "error": error}))
}

/// The documented envelope of a status, for the fault of that name.
pub(super) fn documented(status: u16) -> Response<Body> {
    match status {
        401 => invalid_token(),
        404 => not_found("Agent not found in this environment."),
        422 => invalid_parameter("per_page", "The per page field must be between 1 and 100."),
        429 => too_many_requests(None),
        500 => server_error(),
        _ => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            json(status, &json!({"success": false, "message": status.canonical_reason().unwrap_or("Error")}))
        }
    }
}

/// The answer of a gateway in front of the API.
pub(super) fn html(status: u16) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
    let body = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    );
    response(status, "text/html", body)
}

/// 200, and a body that breaks off although its length is right.
pub(super) fn invalid_json() -> Response<Body> {
    response(StatusCode::OK, "application/json", r#"{"success": true, "data": [{"id": "9f"#)
}

/// 200, but no success.
pub(super) fn not_success() -> Response<Body> {
    json(StatusCode::OK, &json!({"success": false, "message": "Something went wrong."}))
}

/// 302 to `location`, otherwise to the log-in page.
pub(super) fn redirect(location: Option<&str>) -> Response<Body> {
    const LOGIN: &str = "/login";
    let location = location.unwrap_or(LOGIN);
    let body = format!("<html><body>Redirecting to {location}</body></html>");
    let mut redirect = response(StatusCode::FOUND, "text/html", body);
    // A scenario's locations have been checked; an invalid one in a test is the test's mistake.
    let location = HeaderValue::try_from(location).unwrap_or_else(|_| HeaderValue::from_static(LOGIN));
    redirect.headers_mut().insert(LOCATION, location);
    redirect
}
