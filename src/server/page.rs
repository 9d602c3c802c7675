//! `GET /`: the status page, for people with a browser: what is polled, how it fares, and where else to look.
//!
//! It loads nothing: no script, no font, no image, and a policy that forbids them. Every value is escaped. What fails
//! comes first.

use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse};

use super::MetricsPath;
use super::health::Readiness;
use super::status::{Environment, Status, Target, TargetState};
use crate::sinks::metrics::board::Board;

/// Only the page's own style; it can neither load nor send anything, nor be framed.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Webhooks shown; a browser has its limits, and the JSON has them all.
const MAX_ROWS: usize = 500;
/// Seconds after which a browser asks again.
const REFRESH: u32 = 15;

const STYLE: &str = ":root{color-scheme:light dark;--text:#1d2430;--back:#fff;--soft:#5b6675;--link:#0b57d0;--line:#dde2e9;\
--bad:#b3261e;--good:#146c2e;--wait:#8a5a00}\
@media (prefers-color-scheme:dark){:root{--text:#e6e9ee;--back:#14181f;--soft:#9aa5b4;--link:#8ab4f8;--line:#2c3440;\
--bad:#f2b8b5;--good:#7fd99a;--wait:#f0c36d}}\
body{margin:2rem auto;max-width:76rem;padding:0 1rem;font:.95rem/1.5 system-ui,sans-serif;color:var(--text);background:var(--back)}\
h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:1.75rem 0 .5rem}p{margin:.25rem 0;color:var(--soft)}a{color:var(--link)}\
nav{display:flex;flex-wrap:wrap;gap:0 1rem}.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{text-align:left;padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--line);white-space:nowrap}\
th{font-weight:600;color:var(--soft)}.n{text-align:right}.failing{color:var(--bad);font-weight:600}.healthy{color:var(--good)}\
.note,.why{white-space:normal}.why{overflow-wrap:anywhere}tr:has(+tr .why) td{border-bottom:0}.waiting{color:var(--wait)}.unlisted,small{color:var(--soft)}";

/// The page.
pub(super) async fn page(
    State(board): State<Board>,
    State(readiness): State<Readiness>,
    State(metrics): State<MetricsPath>,
) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(render(Status::of(&board, &readiness), metrics.relative())))
}

fn render(mut status: Status, metrics: &str) -> String {
    status
        .targets
        .sort_by(|a, b| (a.state, &a.environment, &a.webhook_name).cmp(&(b.state, &b.environment, &b.webhook_name)));
    let ready = match &status.not_ready {
        None => "Ready.".to_owned(),
        Some(reason) => format!("Not ready: {reason}."),
    };
    let loaded = seconds(&status.config.last_reload_success_time.replacen('T', " ", 1));
    let config = if status.config.last_reload_successful {
        format!("Configuration of {loaded} UTC.")
    } else {
        format!("The last reload of the configuration FAILED (see the log); in force is that of {loaded} UTC.")
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"refresh\" content=\"{REFRESH}\">\n\
         <title>talkover-exporter</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>talkover-exporter</h1>\n<p>Version {version} ({revision}). {ready} {config}</p>\n\
         <nav><a href=\"{metrics}\">/{metrics}</a><a href=\"api/v1/status\">/api/v1/status</a>\
         <a href=\"-/healthy\">/-/healthy</a><a href=\"-/ready\">/-/ready</a>\
         <a href=\"dashboards/\">/dashboards/</a><a href=\"rules/\">/rules/</a></nav>\n\
         {environments}{targets}</main>\n</body>\n</html>\n",
        version = escape(status.version),
        revision = escape(status.revision),
        ready = escape(&ready),
        config = escape(&config),
        environments = environments(&status.environments),
        targets = targets(&status.targets),
    )
}

fn environments(environments: &[Environment]) -> String {
    let mut html =
        "<h2>Environments</h2>\n<div class=\"wide\"><table>\n<tr><th>Environment</th><th class=\"n\">Webhooks</th>\
                    <th class=\"n\">Failing</th><th class=\"n\">Requests a minute, at most</th>\
                    <th class=\"n\">API's limit left</th><th class=\"n\">API's clock ahead</th></tr>\n"
            .to_owned();
    for one in environments {
        let left = match (one.rate_limit_remaining, one.rate_limit_limit) {
            (Some(left), Some(limit)) => format!("{left} of {limit}"),
            (Some(left), None) => left.to_string(),
            _ => "–".to_owned(),
        };
        let offset = one.clock_offset_seconds.map_or_else(|| "–".to_owned(), |offset| format!("{offset:.1} s"));
        let failing = if one.failing > 0 { " failing" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n{failing}\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{left}</td><td class=\"n\">{offset}</td></tr>",
            escape(&one.name),
            one.targets,
            one.failing,
            one.budget_requests_per_minute,
        );
    }
    html + "</table></div>\n"
}

fn targets(targets: &[Target]) -> String {
    let mut html =
        "<h2>Webhooks</h2>\n<div class=\"wide\"><table>\n<tr><th>Webhook</th><th>Environment</th><th>State</th>\
                    <th>Read at, UTC</th><th>Read up to</th><th class=\"n\">Polled every</th>\
                    <th class=\"n\">Success</th><th class=\"n\">Failed</th><th class=\"n\">Retrying</th>\
                    <th class=\"n\">Open</th><th></th></tr>\n"
            .to_owned();
    for target in targets.iter().take(MAX_ROWS) {
        let (class, state) = match target.state {
            TargetState::Failing => ("failing", "failing"),
            TargetState::Waiting => ("waiting", "not read yet"),
            TargetState::Healthy => ("healthy", "healthy"),
            TargetState::Unlisted => ("unlisted", "not listed"),
        };
        let _ = writeln!(
            html,
            "<tr><td>{name}<br><small>{id}<br>{owner_type} {owner}</small></td><td>{environment}</td>\
             <td class=\"{class}\">{state}</td><td>{read}</td><td>{watermark}</td><td class=\"n\">{interval:.0} s</td>\
             <td class=\"n\">{success}</td><td class=\"n\">{failed}</td><td class=\"n\">{retrying}</td>\
             <td class=\"n\">{open}</td><td class=\"note\">{notes}</td></tr>",
            id = escape(&target.webhook_id),
            name = escape(&target.webhook_name),
            owner_type = target.owner_type,
            owner = escape(target.owner_name.as_deref().unwrap_or(&target.owner_id)),
            environment = escape(&target.environment),
            read = time(target.last_success_time.as_deref()),
            watermark = time(target.watermark_time.as_deref()),
            interval = target.poll_interval_seconds,
            success = target.attempts.success,
            failed = target.attempts.failed,
            retrying = target.attempts.retrying,
            open = target.open.pending + target.open.retrying,
            notes = notes(target),
        );
        if let Some(failure) = &target.failure {
            let _ = writeln!(html, "<tr><td class=\"why\" colspan=\"11\">{}</td></tr>", escape(failure));
        }
    }
    html.push_str("</table></div>\n");
    if targets.len() > MAX_ROWS {
        let _ = writeln!(html, "<p>{} more in <a href=\"api/v1/status\">the JSON</a>.</p>", targets.len() - MAX_ROWS);
    }
    html
}

/// A time without its fraction, in two lines: with whole dates side by side the table would be wider than most windows.
fn time(text: Option<&str>) -> String {
    let Some((date, time)) = text.and_then(|text| text.split_once('T')) else { return "–".to_owned() };
    format!("{}<br><small>{}</small>", escape(&seconds(time)), escape(date))
}

/// A time without its fraction.
fn seconds(time: &str) -> String {
    let time = time.trim_end_matches('Z');
    time.split_once('.').map_or(time, |(seconds, _)| seconds).to_owned()
}

fn notes(target: &Target) -> String {
    let counted = |count: u64, one: &str, more: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {more}")),
    };
    let disabled = (target.enabled == Some(false)).then(|| "disabled in TalkOver".to_owned());
    let catching_up = target.catching_up.then(|| "catching up".to_owned());
    let gaps = counted(target.history_gaps, "gap in the history", "gaps in the history");
    let invalid = counted(target.log_entries_invalid, "unusable entry", "unusable entries");
    [disabled, catching_up, gaps, invalid].into_iter().flatten().collect::<Vec<_>>().join(", ")
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
