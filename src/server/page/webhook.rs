//! The page of one webhook.

use maud::{Markup, html};

use super::chart;
use super::overview::{cause, ended};
use super::parts::{counted, deliveries_badge, document, none, number, progress_bar, reading_badge, seconds, time};
use super::query::percent_encoded;
use crate::server::status::{LastLost, StatusReport, WebhookStatus, all_lost};
use crate::sinks::metrics::board::Links;
use talkover_core::delivery::Timestamp;

/// What to do about lost deliveries.
const RUNBOOK: &str = "https://github.com/talkover-exporter/talkover-exporter/blob/main/docs/runbooks.md#webhooks";

/// Renders the page of a webhook; `None` if it is not known.
pub(in crate::server) fn webhook(status: &StatusReport, environment: &str, webhook_id: &str) -> Option<String> {
    let is_it = |one: &&WebhookStatus| one.environment == environment && one.webhook_id == webhook_id;
    let webhook = status.webhooks.iter().find(is_it)?;
    let now = status.now;
    let lost = all_lost(webhook, &status.links);
    let main = html! {
        header {
            p.crumbs { a href="../../" { "All webhooks" } " / " (webhook.environment) }
            p.updated { "as of " time datetime=(status.time) { (super::parts::clock(now, now)) } }
        }
        h1 { (webhook.name) }
        p.links { (links(webhook, &status.links)) }
        div.panels { (deliveries(webhook, now)) (reading(webhook, now)) }
        section {
            h2 { "Attempts of the last 24 hours" }
            @if webhook.view.exposed {
                (chart::large(webhook))
                p.key {
                    span.swatch.good {} " succeeded " span.swatch.bad {} " failed or retrying "
                    span.swatch.unknown {} " unknown status"
                }
            } @else { p { "Not known until the first reading is complete." } }
        }
        (lost_deliveries(&lost, now))
        (facts(webhook))
    };
    Some(document(&format!("{} – talkover-exporter", webhook.name), "../../", main))
}

fn links(webhook: &WebhookStatus, links: &Links) -> Markup {
    html! {
        @if let Some(grafana) = &links.grafana_url {
            a rel="noreferrer" href=(format!(
                "{grafana}/d/talkover-webhook?var-environment={}&var-webhook={}",
                percent_encoded(&webhook.environment), percent_encoded(&webhook.webhook_id),
            )) { "Dashboard" }
            " · "
        }
        a rel="noreferrer" href=(RUNBOOK) { "Runbook" }
    }
}

fn deliveries(webhook: &WebhookStatus, now: Timestamp) -> Markup {
    let deliveries = &webhook.deliveries;
    html! {
        section.panel {
            h2 { "Deliveries " (deliveries_badge(deliveries.state)) }
            dl {
                @if let Some(since) = &deliveries.since { dt { "Failing since" } dd { (time(since, now)) } }
                dt { "Lost in a row" }
                dd {
                    @match deliveries.consecutive_lost {
                        Some(lost) => { (number(lost)) }
                        None => { (none()) }
                    }
                    @if let Some(since) = &deliveries.failing_since { ", the first at " (time(since, now)) }
                }
                dt { "Last hour" } dd { (ended(deliveries.last_hour)) }
                dt { "Last day" } dd { (ended(deliveries.last_day)) }
                dt { "Attempts, last hour" }
                dd {
                    @match deliveries.attempts_last_hour {
                        Some(attempts) => {
                            (number(attempts.success)) " succeeded, " (number(attempts.failed)) " failed, "
                            (number(attempts.retrying)) " retrying"
                        }
                        None => { (none()) }
                    }
                }
                dt { "Open" }
                dd {
                    @match (deliveries.open.pending, deliveries.open.retrying) {
                        (Some(pending), Some(retrying)) => {
                            (number(pending)) " pending, " (number(retrying)) " retrying"
                        }
                        _ => { (none()) }
                    }
                    @if let Some(oldest) = &deliveries.open.oldest { "; the oldest from " (time(oldest, now)) }
                }
            }
        }
    }
}

fn reading(webhook: &WebhookStatus, now: Timestamp) -> Markup {
    let reading = &webhook.reading;
    html! {
        section.panel {
            h2 { "Log " (reading_badge(webhook)) }
            @if let Some(progress) = &reading.progress {
                (progress_bar(progress.ratio, "reading"))
                p {
                    (counted(progress.pages_read, "page", "pages")) " and "
                    (counted(progress.entries_read, "entry", "entries")) " read"
                    @if let (Some(reached), Some(until)) = (&progress.reached, &progress.until) {
                        ", back to " (time(reached, now)) "; the goal is " (time(until, now))
                    }
                    @if let Some(left) = progress.eta_seconds { ", about " (seconds(left)) " left" }
                    "."
                }
            }
            dl {
                @if let Some(since) = &reading.since { dt { "In this state since" } dd { (time(since, now)) } }
                @if let Some(error) = &reading.error { dt { "Error" } dd.error { (error) } }
                dt { "Last read" } dd { (known(reading.last_success.as_deref(), now)) }
                dt { "Next attempt" } dd { (known(reading.next_attempt.as_deref(), now)) }
                dt { "Read up to" } dd { (known(reading.watermark.as_deref(), now)) }
                dt { "Poll interval" } dd { (seconds(reading.poll_interval_seconds.round() as u64)) }
                @if reading.catching_up { dt { "Catching up" } dd { "reading the entries of a period without polls" } }
            }
        }
    }
}

fn known(moment: Option<&str>, now: Timestamp) -> Markup {
    moment.map_or_else(none, |moment| time(moment, now))
}

fn lost_deliveries(lost: &[LastLost], now: Timestamp) -> Markup {
    html! {
        section {
            h2 { "Latest lost deliveries" }
            @if lost.is_empty() { p.empty { "None." } }
            @else {
                table.losses {
                    thead {
                        tr {
                            th scope="col" { "Ended" }
                            th scope="col" { "Code" }
                            th scope="col" { "Error" }
                            th scope="col" { "Event" }
                            th scope="col" { "Attempt" }
                            th scope="col" { "Log entry" }
                            th scope="col" { "Trace" }
                        }
                    }
                    tbody { @for one in lost { (lost_row(one, now)) } }
                }
            }
        }
    }
}

fn lost_row(lost: &LastLost, now: Timestamp) -> Markup {
    html! {
        tr {
            td data-label="Ended" { (time(&lost.time, now)) }
            td data-label="Code" {
                b { (cause(lost)) }
                @if lost.result == "abandoned" && lost.http_status.is_some() { " (abandoned)" }
            }
            td.error data-label="Error" { @if let Some(error) = &lost.error { (error) } @else { (none()) } }
            td data-label="Event" { (lost.event) }
            td.n data-label="Attempt" { (lost.attempt) }
            td data-label="Log entry" { code { (lost.log_id) } }
            td data-label="Trace" {
                @if let Some(url) = &lost.trace_url { a rel="noreferrer" href=(url) { code { (lost.trace_id) } } }
                @else { code { (lost.trace_id) } }
            }
        }
    }
}

fn facts(webhook: &WebhookStatus) -> Markup {
    let known = |value: Option<&str>| value.map_or_else(none, |value| html! { (value) });
    html! {
        section {
            h2 { "Details" }
            dl.facts {
                dt { "Webhook" } dd { code { (webhook.webhook_id) } }
                dt { (if webhook.owner_type == "agent" { "Agent" } else { "Campaign" }) }
                dd { (webhook.owner_name.as_deref().unwrap_or("")) " " code { (webhook.owner_id) } }
                dt { "Delivers to" } dd { (known(webhook.url_host.as_deref())) }
                dt { "Enabled" } dd { (known(webhook.enabled.map(|enabled| if enabled { "yes" } else { "no" }))) }
                dt { "Series in /metrics" } dd { (number(webhook.series as u64)) }
                dt { "Late log entries" } dd { (number(webhook.log_entries_late)) }
                dt { "Unusable log entries" } dd { (number(webhook.log_entries_invalid)) }
                dt { "Gaps in the log" } dd { (number(webhook.history_gaps)) }
            }
        }
    }
}
