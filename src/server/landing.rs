//! `GET /`: what this is and where to look, for people with a browser.
//!
//! One page that loads nothing: no script, no font, no image, and a policy that forbids them. Every value is escaped.

use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse};

use super::health::Readiness;
use crate::build_info::{REVISION, VERSION};

/// Only the page's own style; it can neither load nor send anything, nor be framed.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = ":root{color-scheme:light dark;--text:#1d2430;--back:#fff;--soft:#5b6675;--link:#0b57d0}\
@media (prefers-color-scheme:dark){:root{--text:#e6e9ee;--back:#14181f;--soft:#9aa5b4;--link:#8ab4f8}}\
body{margin:3rem auto;max-width:40rem;padding:0 1rem;font:1rem/1.6 system-ui,sans-serif;color:var(--text);background:var(--back)}\
h1{font-size:1.5rem;margin:0}p,dd{color:var(--soft)}a{color:var(--link)}dd{margin:0 0 .75rem}";

/// The page.
pub(super) async fn landing(State(readiness): State<Readiness>) -> impl IntoResponse {
    let state = match readiness.check() {
        Ok(()) => "Ready.".to_owned(),
        Err(reason) => format!("Not ready: {reason}."),
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(page(&state)))
}

fn page(state: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>talkover-exporter</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>talkover-exporter</h1>\n<p>Version {version} ({revision}). {state}</p>\n<dl>\n\
         <dt><a href=\"metrics\">/metrics</a></dt><dd>The delivery logs of TalkOver webhooks, for Prometheus.</dd>\n\
         <dt><a href=\"-/healthy\">/-/healthy</a></dt><dd>200 as long as the process is alive.</dd>\n\
         <dt><a href=\"-/ready\">/-/ready</a></dt><dd>200 once the metrics are worth scraping, else 503 and why not.</dd>\n\
         </dl>\n</main>\n</body>\n</html>\n",
        version = escape(VERSION),
        revision = escape(REVISION),
        state = escape(state),
    )
}

/// Text for element content and quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
