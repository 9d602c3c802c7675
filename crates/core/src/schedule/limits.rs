//! What headers say about limits and waits: `Retry-After`, `X-RateLimit-Limit`, `X-RateLimit-Remaining` and
//! `X-RateLimit-Reset`.
//!
//! Servers, gateways and proxies write these numbers in many ways, and several of them may add to one answer. They are
//! read leniently: a fraction is rounded up, the strictest of several values counts, and a value that makes no sense
//! counts as absent. Pure; called by the API's client and the OTLP receiver's.

use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::pause::LONGEST_RETRY_AFTER;
use crate::delivery::Timestamp;

/// The window of a limit without one, in seconds: the API's reference counts requests a minute.
const MINUTE_SECONDS: f64 = 60.0;
/// A wait of more seconds than this is meant in milliseconds: quotas of a day are common, longer ones are not.
const DAY_SECONDS: f64 = 86_400.0;
/// Numbers of this size are seconds since the Unix epoch, from 2001 to 2286. No wait is that long.
const EPOCH_SECONDS: std::ops::Range<f64> = 1e9..1e10;
/// The formats of dates that RFC 9110 (section 5.6.7) calls obsolete but requires recipients to accept, without the day
/// of the week and its comma: that of RFC 850, and C's `asctime`.
const OBSOLETE_DATES: [&str; 2] = ["%d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];

/// The lines of one header, in any order.
pub type Lines<'a> = &'a [&'a str];

/// Returns how long an answer asks clients to wait from `now` on, in whole seconds and at most an hour: the longest
/// wait of `Retry-After` (RFC 9110, section 10.2.3), otherwise of `X-RateLimit-Reset`. `None` if neither names a time
/// in the future.
pub fn wait(retry_after: Lines<'_>, reset: Lines<'_>, now: Timestamp) -> Option<Duration> {
    longest(retry_after, now).or_else(|| longest(reset, now))
}

/// Returns the requests a minute that `X-RateLimit-Limit` allows. A value with a window (`1000;w=3600`) counts for its
/// part of a minute.
pub fn limit(lines: Lines<'_>) -> Option<u64> {
    let per_minute = |item: &str| {
        let window = parameters(item).find_map(|(name, value)| (name == "w").then(|| number(value)).flatten());
        let window = window.filter(|seconds| *seconds > 0.0).unwrap_or(MINUTE_SECONDS);
        number(item).filter(|limit| *limit > 0.0).map(|limit| limit * MINUTE_SECONDS / window)
    };
    items(lines).filter_map(per_minute).map(|limit| limit.ceil() as u64).min()
}

/// Returns how many requests `X-RateLimit-Remaining` leaves. Some servers count below zero.
pub fn remaining(lines: Lines<'_>) -> Option<u64> {
    items(lines).filter_map(number).map(|left| left.ceil().max(0.0) as u64).min()
}

/// Returns the moment that `text` names in any of HTTP's formats (RFC 9110, section 5.6.7), or in that of RFC 3339.
pub fn http_date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let undated = text.split_once(',').map_or(text, |(_weekday, rest)| rest.trim());
    let usual = jiff::fmt::rfc2822::parse(undated).map(|zoned| zoned.timestamp());
    let obsolete = || OBSOLETE_DATES.iter().find_map(|format| DateTime::strptime(format, undated).ok());
    let moment = usual.ok().or_else(|| Offset::UTC.to_timestamp(obsolete()?).ok()).or_else(|| undated.parse().ok())?;
    Some(Timestamp::from_micros(moment.as_microsecond()))
}

fn longest(lines: Lines<'_>, now: Timestamp) -> Option<Duration> {
    items(lines).filter_map(|item| wait_of(item, now)).max()
}

/// "Now", or a moment in the past, does not say when to come back.
fn wait_of(item: &str, now: Timestamp) -> Option<Duration> {
    let duration = || item.parse::<SignedDuration>().ok()?.try_into().ok();
    let by_date = || http_date(item).map(|moment| moment.since(now));
    let wait: Duration = number(item).map(|number| by_size(number, now)).or_else(duration).or_else(by_date)?;
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    (seconds > 0).then(|| Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

/// A wait in seconds or milliseconds, or a time since the Unix epoch in seconds, milli-, micro- or nanoseconds.
fn by_size(number: f64, now: Timestamp) -> Duration {
    let since_epoch =
        [1.0, 1e3, 1e6, 1e9].map(|unit| number / unit).into_iter().find(|seconds| EPOCH_SECONDS.contains(seconds));
    if let Some(seconds) = since_epoch {
        return Timestamp::from_micros((seconds * 1e6) as i64).since(now);
    }
    let seconds = if number > DAY_SECONDS { number / 1e3 } else { number };
    Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_RETRY_AFTER.as_secs_f64()))
}

/// The items of a header that may come in several lines, each of which may be a list.
fn items<'a>(lines: Lines<'a>) -> impl Iterator<Item = &'a str> {
    lines.iter().flat_map(|line| line.split(',')).map(str::trim)
}

/// The parameters of an item, as in structured fields (RFC 9651).
fn parameters(item: &str) -> impl Iterator<Item = (&str, &str)> {
    item.split(';').skip(1).filter_map(|parameter| parameter.trim().split_once('='))
}

/// The number of an item, without its parameters.
fn number(item: &str) -> Option<f64> {
    let text = item.split(';').next().unwrap_or_default().trim().trim_matches('"');
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests;
