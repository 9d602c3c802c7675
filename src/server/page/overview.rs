//! The page of all webhooks.

use maud::{Markup, html};

use super::chart;
use super::parts::{
    age_of, counted, deliveries_badge, document, none, number, percent, progress_bar, reading_badge, seconds, short_id,
    time,
};
use super::query::{Query, Sort, WantedState, percent_encoded};
use super::summary::{Summary, banners, headline};
use crate::server::status::{Ended, Environment, LastLost, StatusReport, WebhookStatus};
use talkover_core::delivery::Timestamp;

/// Webhooks on one page.
const PER_PAGE: usize = 50;

/// Renders the page that `query` asks for.
pub(in crate::server) fn overview(status: &StatusReport, query: &Query) -> String {
    let now = status.now;
    let summary = Summary::of(status, now);
    let selected = query.select(&status.webhooks);
    let pages = selected.len().div_ceil(PER_PAGE).max(1);
    let query = Query { page: query.page.min(pages), ..query.clone() };
    let shown = selected.iter().skip((query.page - 1) * PER_PAGE).take(PER_PAGE);
    let main = html! {
        header {
            h1 { "talkover-exporter" }
            p.updated { "as of " time datetime=(status.time) { (super::parts::clock(now, now)) } }
        }
        (headline(&summary))
        (banners(status, now))
        section {
            h2 { "Webhooks" }
            (filter(status, &query))
            @if selected.is_empty() {
                p.empty {
                    @if query.is_filtered() { "No webhook matches. " a href="?" { "Show all" } }
                    @else { "No webhooks yet." }
                }
            } @else {
                table.webhooks {
                    (head(&query))
                    tbody { @for webhook in shown { (row(webhook, now, status.environments.len() > 1)) } }
                }
                (leaf(&query, pages, selected.len()))
            }
        }
        (environments(&status.environments, now))
        (footer(status, now))
    };
    document(&format!("{} – talkover-exporter", summary.title), "", main)
}

fn filter(status: &StatusReport, query: &Query) -> Markup {
    html! {
        form.filter method="get" role="search" {
            label { "Name or id" input type="search" name="q" value=(query.text); }
            label {
                "State"
                select name="state" {
                    @for wanted in WantedState::ALL {
                        option value=(wanted.as_str()) selected[wanted == query.wanted] { (wanted.label()) }
                    }
                }
            }
            @if status.environments.len() > 1 {
                label {
                    "Environment"
                    select name="environment" {
                        option value="" { "all" }
                        @for environment in &status.environments {
                            option value=(environment.name) selected[environment.name == query.environment] {
                                (environment.name)
                            }
                        }
                    }
                }
            }
            label {
                "Sort by"
                select name="sort" {
                    @for sort in Sort::ALL {
                        option value=(sort.as_str()) selected[sort == query.sort] { (sort.label()) }
                    }
                }
            }
            button type="submit" { "Apply" }
            @if query.is_filtered() { a href="?" { "Show all" } }
        }
    }
}

fn head(query: &Query) -> Markup {
    let by = |sort: Sort, text: &str| {
        let href = Query { sort, page: 1, ..query.clone() }.href();
        html! {
            @if sort == query.sort { span aria-current="true" { (text) " ↓" } }
            @else { a href=(href) title={ "Sort by: " (sort.label()) } { (text) } }
        }
    };
    html! {
        thead {
            tr {
                th scope="col" { (by(Sort::Worst, "Deliveries")) }
                th scope="col" { (by(Sort::Name, "Webhook")) }
                th scope="col" { (by(Sort::LostHour, "Last hour")) }
                th scope="col" { (by(Sort::LostDay, "Last day")) }
                th scope="col" { "Attempts, 24 h" }
                th scope="col" { (by(Sort::Open, "Open")) }
                th scope="col" { (by(Sort::LastLost, "Last lost delivery")) }
                th scope="col" { "Log" }
            }
        }
    }
}

fn row(webhook: &WebhookStatus, now: Timestamp, has_others: bool) -> Markup {
    let deliveries = &webhook.deliveries;
    let href = format!("webhooks/{}/{}", percent_encoded(&webhook.environment), percent_encoded(&webhook.webhook_id));
    html! {
        tr {
            td.state {
                (deliveries_badge(deliveries.state))
                @if let Some(since) = &deliveries.since { br; small { "since " (age_of(since, now)) } }
                @if let Some(lost @ 1..) = deliveries.consecutive_lost {
                    br; small { (counted(lost, "lost in a row", "lost in a row")) }
                }
            }
            th.name scope="row" {
                a href=(href) { (webhook.name) }
                br;
                small {
                    @if has_others { (webhook.environment) " · " }
                    (webhook.owner_type) " " (webhook.owner_name.as_deref().unwrap_or(&webhook.owner_id))
                    " · " (short_id(&webhook.webhook_id))
                }
            }
            td.n data-label="Last hour" { (ended(deliveries.last_hour)) }
            td.n data-label="Last day" { (ended(deliveries.last_day)) }
            td.spark data-label="Attempts, 24 h" {
                @if webhook.view.exposed { (chart::small(webhook)) } @else { (none()) }
            }
            td.n data-label="Open" { (open(webhook, now)) }
            td.lost data-label="Last lost delivery" { (last_lost(deliveries.last_lost.as_ref(), now)) }
            td.reading data-label="Log" { (reading(webhook, now)) }
        }
    }
}

/// How deliveries ended: the success rate, and how many were lost.
pub(super) fn ended(ended: Option<Ended>) -> Markup {
    let Some(ended) = ended else { return none() };
    let Some(rate) = ended.success_rate() else { return html! { span.none { "no deliveries" } } };
    html! {
        (percent(rate))
        br;
        @if ended.lost() > 0 { small.bad { (number(ended.lost())) " lost of " (number(ended.lost() + ended.success)) } }
        @else { small { (number(ended.success)) " delivered" } }
    }
}

fn open(webhook: &WebhookStatus, now: Timestamp) -> Markup {
    let open = &webhook.deliveries.open;
    let (Some(pending), Some(retrying)) = (open.pending, open.retrying) else { return none() };
    html! {
        (number(pending + retrying))
        @if let Some(oldest) = &open.oldest { br; small { "oldest " (age_of(oldest, now)) } }
    }
}

fn last_lost(lost: Option<&LastLost>, now: Timestamp) -> Markup {
    let Some(lost) = lost else { return none() };
    html! {
        b { (cause(lost)) } " " span.age { (age_of(&lost.time, now)) }
        @if let Some(error) = &lost.error { br; small.error { (error) } }
    }
}

/// Returns why a delivery was lost, in a word or two.
pub(super) fn cause(lost: &LastLost) -> String {
    match lost.http_status {
        Some(code) => code.to_string(),
        None if lost.result == "abandoned" => "abandoned".to_owned(),
        None => "no answer".to_owned(),
    }
}

fn reading(webhook: &WebhookStatus, now: Timestamp) -> Markup {
    let reading = &webhook.reading;
    html! {
        (reading_badge(webhook))
        @if let Some(progress) = &reading.progress {
            br;
            (progress_bar(progress.ratio, &format!("reading {}", webhook.name)))
            br;
            small {
                (counted(progress.pages_read, "page", "pages"))
                @if let Some(left) = progress.eta_seconds { ", about " (seconds(left)) " left" }
            }
        } @else if let Some(read) = &reading.last_success {
            br; small { "read " (age_of(read, now)) }
        }
        // An error of the whole environment is shown once, at the top of the page.
        @if let Some(error) = reading.error.as_ref().filter(|_| !webhook.is_in_trouble) { br; small.error { (error) } }
    }
}

fn leaf(query: &Query, pages: usize, all: usize) -> Markup {
    let first = (query.page - 1) * PER_PAGE + 1;
    let last = (first + PER_PAGE - 1).min(all);
    let to = |page: usize| Query { page, ..query.clone() }.href();
    html! {
        nav.pages aria-label="Pages of the list" {
            @if query.page > 1 { a href=(to(query.page - 1)) rel="prev" { "← previous" } }
            span { (first) "–" (last) " of " (number(all as u64)) }
            @if query.page < pages { a href=(to(query.page + 1)) rel="next" { "next →" } }
        }
    }
}

fn environments(environments: &[Environment], now: Timestamp) -> Markup {
    html! {
        section {
            h2 { "Environments" }
            table.environments {
                thead {
                    tr {
                        th scope="col" { "Environment" }
                        th scope="col" { "Webhooks" }
                        th scope="col" { "Last response" }
                        th scope="col" { "Request budget per minute" }
                        th scope="col" { "API rate limit left" }
                        th scope="col" { "API clock ahead by" }
                    }
                }
                tbody { @for environment in environments { (environment_row(environment, now)) } }
            }
        }
    }
}

fn environment_row(environment: &Environment, now: Timestamp) -> Markup {
    let left = match (environment.rate_limit_remaining, environment.rate_limit_limit) {
        (Some(left), Some(limit)) => html! { (number(left)) " of " (number(limit)) },
        (Some(left), None) => html! { (number(left)) },
        (None, _) => none(),
    };
    html! {
        tr {
            th scope="row" { (environment.name) }
            td.n data-label="Webhooks" { (number(environment.webhooks as u64)) }
            td data-label="Last response" {
                @if let Some(answer) = &environment.last_answer { (time(answer, now)) } @else { (none()) }
            }
            td.n data-label="Request budget per minute" { (environment.budget_requests_per_minute) }
            td.n data-label="API rate limit left" { (left) }
            td.n data-label="API clock ahead by" {
                @if let Some(offset) = environment.clock_offset_seconds {
                    (format!("{offset:.1} s"))
                } @else { (none()) }
            }
        }
    }
}

fn footer(status: &StatusReport, now: Timestamp) -> Markup {
    html! {
        footer {
            p {
                "Version " (status.version) " (" (status.revision) "). "
                @if let Some(reason) = &status.not_ready { "Not ready: " (reason) ". " } @else { "Ready. " }
                "Configuration loaded " (time(&status.config.last_reload_success_time, now)) "."
            }
            nav aria-label="Other pages" {
                a href=(status.metrics_path.relative()) { "/" (status.metrics_path.relative()) }
                a href="api/v1/status" { "/api/v1/status" }
                a href="-/healthy" { "/-/healthy" }
                a href="-/ready" { "/-/ready" }
                a href="dashboards/" { "/dashboards/" }
                a href="rules/" { "/rules/" }
            }
        }
    }
}
