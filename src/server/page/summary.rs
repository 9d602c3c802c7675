//! The top of the status page: one sentence that says whether all is well, and banners about whole environments.

use maud::{Markup, html};

use super::parts::{Tone, age, clock, counted, parse, percent, progress_bar, seconds, time};
use crate::server::status::{DeliveryState, Environment, ReadingState, StateProblemKind, StateTrouble, StatusReport};
use talkover_core::delivery::Timestamp;
use talkover_core::reading::error::PollResult;

/// The sentence at the top, and how serious it is.
pub(super) struct Summary {
    pub(super) tone: Tone,
    pub(super) sentence: String,
    /// The same in a few words, for the window title.
    pub(super) title: String,
}

impl Summary {
    pub(super) fn of(status: &StatusReport, now: Timestamp) -> Self {
        let problems = problems(status, now);
        if !problems.is_empty() {
            let count = problems.len() as u64;
            let sentence = sentence(&problems);
            return Self { tone: Tone::Bad, sentence, title: counted(count, "problem", "problems") };
        }
        let listed: Vec<_> = status.webhooks.iter().filter(|webhook| webhook.listed).collect();
        let first = listed.iter().filter(|webhook| webhook.reading.state == ReadingState::FirstContact).count() as u64;
        let unknown = listed.iter().filter(|one| one.deliveries.state == DeliveryState::Unknown).count() as u64;
        let searching: Vec<&str> =
            status.environments.iter().filter(|one| one.is_searching).map(|one| &*one.name).collect();
        let (tone, sentence, title) = if listed.is_empty() && !searching.is_empty() {
            (Tone::Busy, format!("Looking for the webhooks of {}.", searching.join(" and ")), "looking for webhooks")
        } else if listed.is_empty() {
            (
                Tone::Busy,
                "No webhooks: discovery has found none, and the configuration names none.".to_owned(),
                "no webhooks",
            )
        } else if first > 0 {
            let logs = counted(first, "webhook", "webhooks");
            (Tone::Busy, format!("Reading the logs of {logs} for the first time. Nothing is wrong."), "first reading")
        } else if unknown > 0 {
            let logs = counted(unknown, "webhook", "webhooks");
            (Tone::Busy, format!("The logs of {logs} have not been read for an hour."), "waiting for logs")
        } else {
            (Tone::Good, all_is_well(status, listed.len() as u64), "all is well")
        };
        Self { tone, sentence, title: title.to_owned() }
    }
}

fn all_is_well(status: &StatusReport, listed: u64) -> String {
    let has = |state| status.webhooks.iter().any(|webhook| webhook.listed && webhook.deliveries.state == state);
    let logs = match listed {
        1 => "the log of 1 webhook is being read".to_owned(),
        many => format!("the logs of {} are being read", counted(many, "webhook", "webhooks")),
    };
    let deliveries = match (has(DeliveryState::Ok), has(DeliveryState::Idle)) {
        (false, _) => "and no delivery has ended within the last hour",
        (true, _) if listed == 1 => "and its deliveries arrive",
        (true, _) => "and their deliveries arrive",
    };
    format!("All is well: {logs}, {deliveries}.")
}

/// Joins all problems into one sentence.
fn sentence(problems: &[String]) -> String {
    format!("{}.", capitalised(&problems.join("; ")))
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| format!("{}{}", first.to_uppercase(), characters.as_str())).unwrap_or_default()
}

fn problems(status: &StatusReport, now: Timestamp) -> Vec<String> {
    let listed = || status.webhooks.iter().filter(|webhook| webhook.listed);
    let total = listed().count() as u64;
    let mut problems: Vec<String> =
        status.state.problems.iter().map(|trouble| state_headline(trouble.problem).to_owned()).collect();
    for environment in status.environments.iter().filter(|environment| environment.error.is_some()) {
        let since = environment.since.as_deref().and_then(parse);
        let since =
            since.map_or_else(String::new, |since| format!(", since {} ({})", clock(since, now), age(since, now)));
        problems.push(format!("requests to the API of {} are failing{since}", environment.name));
    }
    let failing = listed().filter(|webhook| webhook.deliveries.state == DeliveryState::Failing).count() as u64;
    if failing > 0 {
        let verb = if failing == 1 { "is losing" } else { "are losing" };
        problems.push(format!("{failing} of {} {verb} deliveries", counted(total, "webhook", "webhooks")));
    }
    let is_in_trouble = |name: &str| status.environments.iter().any(|one| one.name == name && one.error.is_some());
    let unreadable = listed()
        .filter(|webhook| webhook.reading.state == ReadingState::Failing && !is_in_trouble(&webhook.environment))
        .count() as u64;
    if unreadable > 0 {
        problems.push(format!("the log of {} cannot be read", counted(unreadable, "webhook", "webhooks")));
    }
    for environment in status.environments.iter().filter(|environment| environment.webhooks_skipped > 0) {
        let verb = if environment.webhooks_skipped == 1 { "is" } else { "are" };
        problems.push(format!("{} of {} {verb} not read", skipped(environment), environment.name));
    }
    if !status.config.last_reload_successful {
        problems.push("the last configuration reload failed".to_owned());
    }
    problems
}

/// A problem of the state file in a few words.
fn state_headline(problem: StateProblemKind) -> &'static str {
    match problem {
        StateProblemKind::Detached => "the state file was deleted, replaced or overwritten",
        StateProblemKind::Behind => "the state went back in time",
        StateProblemKind::New => "the state is new, although there was one before",
    }
}

/// The webhooks of an environment beyond `discovery.max_webhooks`.
fn skipped(environment: &Environment) -> String {
    counted(environment.webhooks_skipped as u64, "webhook", "webhooks")
}

/// The sentence, as the page shows it.
pub(super) fn headline(summary: &Summary) -> Markup {
    html! {
        p class={ "headline " (summary.tone.class()) } role="status" {
            span.sign aria-hidden="true" { (summary.tone.sign()) }
            span { (summary.sentence) }
        }
    }
}

/// Banners about the state, whole environments, and the configuration.
pub(super) fn banners(status: &StatusReport, now: Timestamp) -> Markup {
    html! {
        @for trouble in &status.state.problems { (state_trouble(trouble)) }
        @for environment in &status.environments {
            @if environment.webhooks_skipped > 0 { (too_many(environment)) }
            @if environment.error.is_some() { (trouble(environment, now)) }
            @else if environment.is_searching || environment.progress.is_some() { (first_reading(environment, now)) }
        }
        @if !status.config.last_reload_successful {
            section.banner.bad {
                h2 { "The last configuration reload failed" }
                p {
                    "Still in use: the configuration loaded " (time(&status.config.last_reload_success_time, now)) ". "
                    "To see what is wrong with the file, look in the log, or run "
                    code { "talkover-exporter check --config FILE" } "."
                }
            }
        }
    }
}

fn state_trouble(trouble: &StateTrouble) -> Markup {
    html! {
        section.banner.bad {
            h2 { (capitalised(state_headline(trouble.problem))) }
            p.error { (trouble.what) }
            p { (capitalised(&trouble.remedy)) "." }
        }
    }
}

fn too_many(environment: &Environment) -> Markup {
    html! {
        section.banner.bad {
            h2 { (environment.name) ": " (skipped(environment)) " not read" }
            p {
                "Discovery has found more webhooks than " code { "discovery.max_webhooks" } " lets in; what was found first \
                 stays. Raise it, or leave webhooks out with " code { "discovery.exclude" } "."
            }
        }
    }
}

fn trouble(environment: &Environment, now: Timestamp) -> Markup {
    let (what, advice) = advice(environment.trouble_kind);
    html! {
        section.banner.bad {
            h2 {
                (environment.name) ": " (what)
                @if let Some(since) = &environment.since { " since " (time(since, now)) }
            }
            @if let Some(error) = &environment.error { p.error { (error) } }
            p {
                @if let Some(answer) = &environment.last_answer { "Last response: " (time(answer, now)) ". " }
                @if let Some(next) = environment.next_attempt.as_deref().and_then(parse) {
                    "Next attempt: " (if next > now { age(next, now) } else { "now".to_owned() }) ". "
                }
                (advice)
                " Nothing is lost in the meantime: TalkOver keeps its logs for 30 days."
            }
        }
    }
}

/// Returns what is wrong, as a headline, and what to do about it.
fn advice(kind: Option<PollResult>) -> (&'static str, &'static str) {
    match kind {
        Some(PollResult::Unauthorized) => (
            "API token refused",
            "Write a valid token into token_file: no restart is needed. After a change of token_env, restart.",
        ),
        Some(PollResult::RateLimited) => (
            "API rate limit exceeded",
            "If this persists, lower requests_per_minute, or find out what else uses the plan's limit.",
        ),
        Some(PollResult::Connection) => (
            "API unreachable",
            "Check from this machine: the host name in base_url, the network, the proxy and the firewall.",
        ),
        Some(PollResult::Timeout) => {
            ("API requests time out", "Check the network from this machine, and TalkOver's own status page.")
        }
        _ => ("API requests fail", "TalkOver's own status page may say more."),
    }
}

fn first_reading(environment: &Environment, now: Timestamp) -> Markup {
    let name = &environment.name;
    html! {
        section.banner.busy {
            @match &environment.progress {
                Some(progress) => {
                    h2 { (name) ": first reading, " (percent(progress.ratio)) " done" }
                    (progress_bar(progress.ratio, &format!("first reading of {name}")))
                    p {
                        (environment.webhooks_read) " of " (counted(environment.webhooks as u64, "webhook", "webhooks"))
                        " complete; " (counted(progress.pages_read, "page", "pages")) " and "
                        (counted(progress.entries_read, "entry", "entries")) " of the others read"
                        @if let (Some(reached), Some(until)) = (&progress.reached, &progress.until) {
                            ", back to " (time(reached, now)) "; the goal is " (time(until, now))
                        }
                        @if let Some(left) = progress.eta_seconds { ", about " (seconds(left)) " left" }
                        "."
                        @if environment.is_searching { " Discovery has not read all lists yet." }
                    }
                }
                None => {
                    h2 { (name) ": looking for webhooks" }
                    p { "Discovery has not read all lists of agents and campaigns yet." }
                }
            }
        }
    }
}
