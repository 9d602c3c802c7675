//! The outcome of an attempt: drawn when it begins, from its delivery's own stream.
//!
//! Nothing here has an effect; `log` keeps what is drawn, and the world plans when it shows.

use std::time::Duration;

use super::entry::{DrawnOutcome, Status};
use crate::clock::Moment;
use crate::random::Random;
use crate::scenario::{Latency, Retries, Spike, Webhook};

/// The longest latency that is drawn, before the webhook's timeout limits it: keeps the arithmetic finite.
const LONGEST: Duration = Duration::from_secs(3600);

/// The outcome of attempt number `attempt` that begins at `begin`, and when it is known.
pub(super) fn draw(
    random: &mut Random,
    webhook: &Webhook,
    attempt: u8,
    begin: Moment,
    spike: f64,
) -> (DrawnOutcome, Moment) {
    let fails = random.chance(webhook.failures.probability.max(spike));
    let unanswered = random.chance(webhook.failures.connection);
    let status = random.weighted(webhook.failures.statuses.iter().map(|status| status.weight));
    let latency = latency(random, &webhook.latency).min(webhook.timeout);
    let end = begin.plus(latency);
    let duration_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
    let failed = if attempt <= webhook.max_retries { Status::Retrying } else { Status::Failed };
    let mut outcome = DrawnOutcome { status: failed, http_status: None, error: None, duration_ms, delivered_at: None };
    if !fails {
        outcome.status = Status::Success;
        outcome.http_status = Some(200);
        outcome.delivered_at = Some(end);
    } else if unanswered {
        outcome.error = Some(connection_error(random, &webhook.url, duration_ms));
    } else {
        outcome.http_status = webhook.failures.statuses.get(status).map(|status| status.status);
        outcome.error = outcome.http_status.map(|status| reason(status).to_owned());
    }
    (outcome, end)
}

/// The wait after the failed attempt number `attempt`.
pub(super) fn wait_before_retry(retries: &Retries, attempt: u8) -> Duration {
    let factor = retries.factor.powi(i32::from(attempt.max(1)) - 1);
    let seconds = retries.first.as_secs_f64() * factor;
    Duration::try_from_secs_f64(seconds).unwrap_or(retries.max).min(retries.max)
}

/// Whether `offset` (in microseconds from the world's start) is within the spike.
pub(super) fn is_within(spike: &Spike, offset: i64) -> bool {
    let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    let lasts = micros(spike.lasts);
    let recurring = spike.every.is_some_and(|every| {
        let passed = offset.saturating_sub(micros(spike.first));
        passed.checked_rem_euclid(micros(every)).is_some_and(|passed| passed < lasts)
    });
    recurring || spike.at.iter().any(|at| (0..lasts).contains(&offset.saturating_sub(micros(*at))))
}

fn latency(random: &mut Random, latency: &Latency) -> Duration {
    match *latency {
        Latency::Uniform { min, max } => random.between(min, max),
        Latency::LogNormal { median, sigma } => {
            let seconds = median.as_secs_f64() * (sigma * random.normal()).exp();
            Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST)
        }
    }
}

/// An error without an answer, as worded by PHP's Guzzle, with which Laravel delivers webhooks. Its address contains a
/// secret, like the addresses of customers.
fn connection_error(random: &mut Random, url: &str, duration_ms: u64) -> String {
    let host = url.split("://").nth(1).unwrap_or(url).split('/').next().unwrap_or(url);
    let documentation = "(see https://curl.haxx.se/libcurl/c/libcurl-errors.html)";
    match random.below(3) {
        0 => format!(
            "cURL error 7: Failed to connect to {host} port 443 after {duration_ms} ms: Couldn't connect to server \
             {documentation} for {url}?secret=whsec_simulated"
        ),
        1 => format!("cURL error 6: Could not resolve host: {host} {documentation} for {url}?secret=whsec_simulated"),
        _ => format!(
            "cURL error 28: Operation timed out after {duration_ms} milliseconds with 0 bytes received \
             {documentation} for {url}?secret=whsec_simulated"
        ),
    }
}

/// The reason phrase that belongs to a status (RFC 9110, section 15).
fn reason(status: u16) -> &'static str {
    axum::http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Unknown Error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_their_longest() {
        let retries = Retries { first: Duration::from_secs(10), max: Duration::from_secs(35), ..Retries::default() };
        let waits: Vec<u64> = (1..=4).map(|attempt| wait_before_retry(&retries, attempt).as_secs()).collect();
        assert_eq!(waits, [10, 20, 35, 35]);
    }

    #[test]
    fn spikes_recur_through_the_history_too() {
        let seconds = Duration::from_secs;
        let spike = Spike {
            every: Some(seconds(120)),
            first: seconds(20),
            at: vec![seconds(70)],
            lasts: seconds(25),
            probability: 0.9,
            webhooks: Vec::new(),
        };
        let cases = [
            (19, false),
            (20, true),
            (44, true),
            (45, false),
            (70, true),
            (95, false),
            (140, true),
            (-100, true),
            (-70, false),
        ];
        for (second, within) in cases {
            assert_eq!(is_within(&spike, second * 1_000_000), within, "at {second} s");
        }
    }

    #[test]
    fn attempts_never_outlast_the_timeout() {
        let mut webhook = Webhook::of_agent("a", "w");
        webhook.latency = Latency::Uniform { min: Duration::from_secs(60), max: Duration::from_secs(90) };
        let (outcome, end) = draw(&mut Random::stream(1, &[]), &webhook, 1, Moment::default(), 0.0);
        assert_eq!((outcome.duration_ms, end), (30_000, Moment::from_seconds(30)));
    }
}
