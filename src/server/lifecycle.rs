//! `POST /-/reload`: reloads the configuration.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};

use crate::reload::Reloader;

/// 200 if the new configuration is in force, 400 with the reasons if it is refused, 403 if the settings do not allow
/// reloads, or if the request comes from a page of another site.
pub(super) async fn reload(
    State(reloader): State<Option<Reloader>>,
    uri: Uri,
    headers: HeaderMap,
) -> (StatusCode, String) {
    let Some(reloader) = reloader else {
        return (StatusCode::FORBIDDEN, "not allowed: server.enable_lifecycle is false\n".to_owned());
    };
    if is_of_other_site(&uri, &headers) {
        return (StatusCode::FORBIDDEN, "not allowed: the request comes from a page of another site\n".to_owned());
    }
    // On its own task, so that a client that disconnects does not interrupt the reload.
    match tokio::spawn(async move { reloader.reload("POST /-/reload").await }).await {
        Ok(Ok(())) => (StatusCode::OK, "reloaded\n".to_owned()),
        Ok(Err(reasons)) => (StatusCode::BAD_REQUEST, format!("{reasons}\n")),
        Err(failure) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{failure}\n")),
    }
}

/// Whether the headers of a browser say that a page of another origin made the request. Other clients send no such
/// headers. The same rule as `CrossOriginProtection` in Go's net/http
/// (<https://pkg.go.dev/net/http#CrossOriginProtection>).
fn is_of_other_site(uri: &Uri, headers: &HeaderMap) -> bool {
    // No page can set this header. All current browsers send it to trustworthy origins (HTTPS and loopback).
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    // HTTP/2 has no `Host`.
    let asked = uri.authority().map(|authority| authority.as_str().as_bytes());
    let asked = asked.or(headers.get(header::HOST).map(|host| host.as_bytes()));
    let origin = origin.as_bytes();
    let host = origin.windows(3).position(|part| part == b"://").map(|start| &origin[start + 3..]);
    host.is_none() || host != asked
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn pages_of_other_sites_are_told_from_tools_and_from_our_own_pages() {
        let table: &[(&[(&str, &str)], bool)] = &[
            (&[], false),
            (&[("host", "exporter:9877"), ("user-agent", "curl/8")], false),
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://proxy.example")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "same-site"), ("origin", "http://exporter:9877"), ("host", "exporter:9877")], true),
            (&[("origin", "http://exporter:9877"), ("host", "exporter:9877")], false),
            (&[("origin", "http://exporter:3000"), ("host", "exporter:9877")], true),
            (&[("origin", "http://evil.example"), ("host", "exporter:9877")], true),
            (&[("origin", "null"), ("host", "exporter:9877")], true),
            (&[("origin", "null")], true),
        ];
        for (headers, is_other) in table {
            let parsed = headers
                .iter()
                .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_static(value)));
            assert_eq!(is_of_other_site(&Uri::from_static("/-/reload"), &parsed.collect()), *is_other, "{headers:?}");
        }
        let over_http2 = Uri::from_static("https://exporter:9877/-/reload");
        let origin = HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static("https://exporter:9877"))]);
        assert!(!is_of_other_site(&over_http2, &origin));
    }
}
