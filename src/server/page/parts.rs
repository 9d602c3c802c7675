//! Building blocks of both pages: the document frame, state badges, times with ages, numbers.

use std::time::Duration;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::build_info::VERSION;
use crate::server::status::{DeliveryState, ReadingState, WebhookStatus};
use crate::sinks::metrics::progress::approximately;
use talkover_core::delivery::Timestamp;

/// Seconds after which a browser that runs no scripts reloads the page.
const REFRESH: &str = "30";
/// How many characters of an id a list shows.
const SHORT_ID: usize = 13;

/// Renders a whole document. `root` is the relative path from its address to `/`.
pub(super) fn document(title: &str, root: &str, main: Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" type="image/svg+xml" href=(format!("{root}assets/icon.svg?v={VERSION}"));
                link rel="stylesheet" href=(format!("{root}assets/status.css?v={VERSION}"));
                script src=(format!("{root}assets/status.js?v={VERSION}")) defer {}
                noscript { meta http-equiv="refresh" content=(REFRESH); }
            }
            body {
                main { (main) }
            }
        }
    };
    page.into_string()
}

/// How serious something is: a CSS class, and a sign for those who do not see the colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Bad,
    Busy,
    Good,
    Quiet,
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Busy => "busy",
            Self::Good => "good",
            Self::Quiet => "quiet",
        }
    }

    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Bad => "✕",
            Self::Busy => "…",
            Self::Good => "✓",
            Self::Quiet => "–",
        }
    }
}

/// Renders a state as a badge.
pub(super) fn badge(tone: Tone, text: &str) -> Markup {
    html! { span class={ "badge " (tone.class()) } { span aria-hidden="true" { (tone.sign()) } " " (text) } }
}

/// Renders the state of the deliveries.
pub(super) fn deliveries_badge(state: DeliveryState) -> Markup {
    let (tone, text) = match state {
        DeliveryState::Failing => (Tone::Bad, "failing"),
        DeliveryState::Unknown => (Tone::Quiet, "unknown"),
        DeliveryState::Ok => (Tone::Good, "ok"),
        DeliveryState::Idle => (Tone::Quiet, "idle"),
    };
    badge(tone, text)
}

/// Renders whether the log can be read.
pub(super) fn reading_badge(webhook: &WebhookStatus) -> Markup {
    let (tone, text) = match webhook.reading.state {
        ReadingState::Failing => (Tone::Bad, "cannot be read"),
        ReadingState::FirstContact => (Tone::Busy, "first reading"),
        ReadingState::Ok => (Tone::Good, "ok"),
        ReadingState::Disabled if webhook.listed => (Tone::Quiet, "disabled"),
        ReadingState::Disabled => (Tone::Quiet, "no longer listed"),
    };
    badge(tone, text)
}

/// Renders a time, given as RFC 3339, with its age at `now`.
pub(super) fn time(told: &str, now: Timestamp) -> Markup {
    let Some(moment) = parse(told) else { return html! { (told) } };
    html! {
        time datetime=(told) title=(told) { (clock(moment, now)) }
        " " span.age { "(" (age(moment, now)) ")" }
    }
}

/// Renders the age of a time; the time itself is the tooltip.
pub(super) fn age_of(told: &str, now: Timestamp) -> Markup {
    let Some(moment) = parse(told) else { return html! { (told) } };
    html! { time datetime=(told) title=(told) { (age(moment, now)) } }
}

/// Parses a time in RFC 3339.
pub(super) fn parse(told: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = told.parse().ok()?;
    Some(Timestamp::from_micros(time.as_microsecond()))
}

/// Returns the time of day in UTC, with the date if it is not today.
pub(super) fn clock(moment: Timestamp, now: Timestamp) -> String {
    let zoned = |moment: Timestamp| jiff::Timestamp::from_microsecond(moment.as_micros()).ok();
    let (Some(time), Some(today)) = (zoned(moment), zoned(now)) else { return "?".to_owned() };
    let is_today = time.strftime("%F").to_string() == today.strftime("%F").to_string();
    time.strftime(if is_today { "%H:%M:%S UTC" } else { "%F %H:%M UTC" }).to_string()
}

/// Returns how long ago `moment` was, or how far ahead it is.
pub(super) fn age(moment: Timestamp, now: Timestamp) -> String {
    if moment > now {
        format!("in {}", approximately(moment.since(now)))
    } else {
        format!("{} ago", approximately(now.since(moment)))
    }
}

/// Returns a duration in seconds as text.
pub(super) fn seconds(seconds: u64) -> String {
    approximately(Duration::from_secs(seconds))
}

/// Returns a whole number with separators between thousands.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Returns a ratio as a percentage. Says 100 % only for exactly 1, and 0 % only for exactly 0.
pub(super) fn percent(part: f64) -> String {
    let (shown, all, nothing) = (part * 100.0, 1.0, 0.0);
    match part {
        _ if part >= all => "100 %".to_owned(),
        _ if part <= nothing => "0 %".to_owned(),
        _ if shown > 99.9 => ">99.9 %".to_owned(),
        _ if shown < 0.1 => "<0.1 %".to_owned(),
        _ => format!("{shown:.1} %"),
    }
}

/// Returns the count with the noun in singular (`one`) or plural (`many`).
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{} {many}", number(count)) }
}

/// Renders an id, shortened to fit in a list; the whole id is the tooltip.
pub(super) fn short_id(id: &str) -> Markup {
    if id.chars().count() <= SHORT_ID + 1 {
        return html! { code { (id) } };
    }
    let short: String = id.chars().take(SHORT_ID).collect();
    html! { code title=(id) { (short) "…" } }
}

/// Renders a progress bar; `ratio` is from 0 to 1.
pub(super) fn progress_bar(ratio: f64, label: &str) -> Markup {
    html! { progress max="1" value=(format!("{ratio:.3}")) aria-label=(label) { (percent(ratio)) } }
}

/// Renders a missing value.
pub(super) fn none() -> Markup {
    PreEscaped("<span class=\"none\">–</span>".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_people_write_them() {
        for (value, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(number(value), expected);
        }
        for (part, expected) in
            [(1.0, "100 %"), (0.999_99, ">99.9 %"), (0.987, "98.7 %"), (0.000_1, "<0.1 %"), (0.0, "0 %")]
        {
            assert_eq!(percent(part), expected);
        }
        assert_eq!(
            (counted(1, "webhook", "webhooks"), counted(2_000, "webhook", "webhooks")),
            ("1 webhook".into(), "2,000 webhooks".into())
        );
    }

    #[test]
    fn times_have_a_date_only_on_another_day() {
        let at = |text| parse(text).unwrap();
        let now = at("2026-03-02T00:00:30Z");
        assert_eq!(clock(at("2026-03-02T00:00:10Z"), now), "00:00:10 UTC");
        assert_eq!(clock(at("2026-03-01T23:59:50Z"), now), "2026-03-01 23:59 UTC");
        assert_eq!(age(at("2026-03-01T23:59:50Z"), now), "40 s ago");
        assert_eq!(age(at("2026-03-02T00:01:00Z"), now), "in 30 s");
    }
}
