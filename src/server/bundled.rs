//! `/dashboards/` and `/rules/`: the bundled files, to view, import and download.
//!
//! They are the files that the command `dashboards` writes. Paths of requests are looked up in the bundle and never
//! reach the file system.

use std::fmt::Write;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use crate::bundle;

/// The lists load nothing and run nothing.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Lists the dashboards.
pub(super) async fn dashboards() -> impl IntoResponse {
    list("Dashboards for Grafana", "", ".json")
}

/// Lists the rule files.
pub(super) async fn rules() -> impl IntoResponse {
    list("Recording rules and alerts for Prometheus", "rules/", ".yml")
}

/// Answers with one dashboard.
pub(super) async fn dashboard(Path(name): Path<String>) -> Response {
    answer(&name, "", ".json", "application/json")
}

/// Answers with one rule file.
pub(super) async fn rule(Path(name): Path<String>) -> Response {
    answer(&name, "rules/", ".yml", "application/yaml")
}

/// Returns the names of the files in one directory of the bundle.
fn names(directory: &str, ending: &str) -> Vec<String> {
    let files = bundle::files().into_iter();
    let name = |file: bundle::File| file.path.strip_prefix(directory).map(str::to_owned);
    files.filter_map(name).filter(|name| name.ends_with(ending) && !name.contains('/')).collect()
}

fn list(title: &str, directory: &str, ending: &str) -> impl IntoResponse + use<> {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n"
    );
    for name in names(directory, ending) {
        // Writing to a string cannot fail. The names are our own: letters, digits and dots.
        let _ = writeln!(html, "<li><a href=\"{name}\">{name}</a></li>");
    }
    html.push_str("</ul>\n</html>\n");
    ([(header::CONTENT_SECURITY_POLICY, POLICY), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")], Html(html))
}

fn answer(name: &str, directory: &str, ending: &str, content_type: &'static str) -> Response {
    let known = names(directory, ending).iter().any(|known| known == name);
    match bundle::file(&format!("{directory}{name}")).filter(|_| known) {
        Some(file) => ([(header::CONTENT_TYPE, content_type)], file.content).into_response(),
        None => (StatusCode::NOT_FOUND, format!("there is no {name} among the bundled files\n")).into_response(),
    }
}
