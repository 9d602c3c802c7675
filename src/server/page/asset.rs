//! `/assets/…`: the style, the script and the icon of the status page.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Browsers may cache the files: their URLs contain the program's version.
const CACHE: &str = "max-age=86400";

/// Answers with the file of that name.
pub(in crate::server) async fn asset(Path(name): Path<String>) -> Response {
    let (content_type, content) = match &*name {
        "status.css" => ("text/css; charset=utf-8", include_str!("status.css")),
        "icon.svg" => ("image/svg+xml", include_str!("icon.svg")),
        "status.js" => ("text/javascript; charset=utf-8", include_str!("status.js")),
        _ => return (StatusCode::NOT_FOUND, format!("there is no {name}\n")).into_response(),
    };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, CACHE),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, content).into_response()
}
