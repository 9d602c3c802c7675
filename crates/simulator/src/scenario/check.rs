//! Checks of a scenario that its types do not express: ranges, weights, and ids that must differ.
//!
//! Used by `load` after parsing. Changes nothing and adds no defaults.

use std::collections::HashSet;

use super::{Latency, ListedOwner, Scenario, Webhook};

/// The path of a key, and what is wrong with it.
type KeyFault = (String, String);

/// The first fault of `scenario`.
pub(super) fn first_fault(scenario: &Scenario) -> Option<KeyFault> {
    top_level(scenario)
        .or_else(|| probabilities(scenario))
        .or_else(|| intervals(scenario))
        .or_else(|| scenario.webhooks.iter().enumerate().find_map(|(place, webhook)| webhook_fault(place, webhook)))
        .or_else(|| doubled_id(scenario))
        .or_else(|| scenario.owners.iter().enumerate().find_map(|(place, owner)| owner_fault(place, owner)))
}

fn fault(path: impl Into<String>, reason: impl Into<String>) -> Option<KeyFault> {
    Some((path.into(), reason.into()))
}

fn top_level(scenario: &Scenario) -> Option<KeyFault> {
    if scenario.tokens.is_empty() {
        return fault("tokens", "must name at least one token");
    }
    if scenario.rate_limit_per_minute == 0 {
        return fault("rate_limit_per_minute", "must be at least 1");
    }
    if scenario.max_per_page.is_some_and(|max| !(1..=100).contains(&max)) {
        return fault("max_per_page", "must lie between 1 and 100");
    }
    if scenario.webhooks.is_empty() {
        return fault("webhooks", "must name at least one webhook");
    }
    None
}

fn probabilities(scenario: &Scenario) -> Option<KeyFault> {
    let mut shares = vec![
        ("late.probability".to_owned(), scenario.late.probability),
        ("deletions.probability".to_owned(), scenario.deletions.probability),
        ("invalid".to_owned(), scenario.invalid),
    ];
    let named = |list: &str, values: Vec<f64>| {
        let name = list.to_owned();
        values.into_iter().enumerate().map(move |(place, value)| (format!("{name}[{place}].probability"), value))
    };
    shares.extend(named("spikes", scenario.spikes.iter().map(|spike| spike.probability).collect()));
    shares.extend(named("faults.windows", scenario.faults.windows.iter().map(|window| window.probability).collect()));
    shares.extend(named("faults.random", scenario.faults.random.iter().map(|random| random.probability).collect()));
    for (place, webhook) in scenario.webhooks.iter().enumerate() {
        shares.push((format!("webhooks[{place}].failures.probability"), webhook.failures.probability));
        shares.push((format!("webhooks[{place}].failures.connection"), webhook.failures.connection));
    }
    let (path, value) = shares.into_iter().find(|(_, value)| !(0.0..=1.0).contains(value))?;
    fault(path, format!("must lie between 0 and 1, not {value}"))
}

fn intervals(scenario: &Scenario) -> Option<KeyFault> {
    for (place, spike) in scenario.spikes.iter().enumerate() {
        if spike.every.is_some_and(|every| every.is_zero()) {
            return fault(format!("spikes[{place}].every"), "must be longer than zero");
        }
    }
    for (place, burst) in scenario.bursts.iter().enumerate() {
        if burst.every.is_zero() {
            return fault(format!("bursts[{place}].every"), "must be longer than zero");
        }
    }
    if !(1.0..=100.0).contains(&scenario.retries.factor) {
        return fault("retries.factor", "must lie between 1 and 100");
    }
    let after = &scenario.deletions.after;
    (after.min > after.max).then(|| ("deletions.after".to_owned(), "`min` is above `max`".to_owned()))
}

fn webhook_fault(place: usize, webhook: &Webhook) -> Option<KeyFault> {
    let key = |name: &str| format!("webhooks[{place}].{name}");
    let texts = [("id", &webhook.id), ("owner.id", &webhook.owner.id)];
    if let Some((name, _)) = texts.iter().find(|(_, text)| !is_segment(text)) {
        return fault(key(name), "must be text that can be part of a path");
    }
    // The ranges in TalkOver's documentation.
    if webhook.max_retries > 10 {
        return fault(key("max_retries"), "must lie between 0 and 10");
    }
    if !(5..=120).contains(&webhook.timeout.as_secs()) {
        return fault(key("timeout"), "must lie between 5s and 120s");
    }
    if !(0.0..=10_000.0).contains(&webhook.rate) {
        return fault(key("rate"), "must lie between 0 and 10000 deliveries a second");
    }
    if webhook.pending.min > webhook.pending.max {
        return fault(key("pending"), "`min` is above `max`");
    }
    weights(webhook).map(|(name, reason)| (key(name), reason)).or_else(|| latency(webhook, &key("latency")))
}

/// Whether a text can be a segment of a path.
pub(crate) fn is_segment(text: &str) -> bool {
    !text.is_empty() && !text.contains(['/', '?', '#', ' '])
}

fn owner_fault(place: usize, owner: &ListedOwner) -> Option<KeyFault> {
    if !is_segment(&owner.id) {
        return fault(format!("owners[{place}].id"), "must be text that can be part of a path");
    }
    let statuses = owner.kind.statuses();
    let is_known = owner.status.as_deref().is_none_or(|status| statuses.contains(&status));
    (!is_known).then(|| (format!("owners[{place}].status"), format!("must be one of {}", statuses.join(", "))))
}

fn weights(webhook: &Webhook) -> Option<(&'static str, String)> {
    let usable = |weights: &[f64]| {
        weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0) && weights.iter().sum::<f64>() > 0.0
    };
    let events: Vec<f64> = webhook.events.iter().map(|event| event.weight).collect();
    let statuses: Vec<f64> = webhook.failures.statuses.iter().map(|status| status.weight).collect();
    let reason = || "needs weights of at least 0, one of them above 0".to_owned();
    if !usable(&events) {
        return Some(("events", reason()));
    }
    (!usable(&statuses)).then(|| ("failures.statuses", reason()))
}

fn latency(webhook: &Webhook, path: &str) -> Option<KeyFault> {
    match webhook.latency {
        Latency::LogNormal { sigma, .. } if !(0.0..=5.0).contains(&sigma) => {
            fault(format!("{path}.log_normal.sigma"), "must lie between 0 and 5")
        }
        Latency::Uniform { min, max } if min > max => fault(format!("{path}.uniform"), "`min` is above `max`"),
        _ => None,
    }
}

fn doubled_id(scenario: &Scenario) -> Option<KeyFault> {
    let mut seen = HashSet::new();
    let place = scenario.webhooks.iter().position(|webhook| !seen.insert(webhook.id.as_str()))?;
    fault(format!("webhooks[{place}].id"), "is also the id of another webhook")
}
