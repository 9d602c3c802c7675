//! The chart of a webhook's attempts in the last 24 hours: SVG made here, so that it needs no script.

use std::fmt::Write;

use maud::{Markup, html};

use super::parts::number;
use crate::server::status::WebhookStatus;
use talkover_core::delivery::AttemptStatus;
use talkover_core::ledger::activity::{Minute, OUTCOMES, minute_of};

/// Bars of a chart: one per half hour.
const BARS: usize = 48;
const BAR_MINUTES: Minute = 24 * 60 / BARS as Minute;

/// The size of a chart, in units of its `viewBox`; a bar is `bar` wide, with a gap of 1.
struct Size {
    bar: usize,
    height: u64,
}

/// The attempts of one half hour.
#[derive(Clone, Copy, Default)]
struct Bar {
    succeeded: u64,
    /// Failed for good, or retrying.
    failed: u64,
}

/// Renders the chart in the list.
pub(super) fn small(webhook: &WebhookStatus) -> Markup {
    draw(webhook, &Size { bar: 2, height: 24 })
}

/// Renders the chart on a webhook's own page.
pub(super) fn large(webhook: &WebhookStatus) -> Markup {
    html! {
        div.chart {
            (draw(webhook, &Size { bar: 11, height: 96 }))
            div.axis aria-hidden="true" {
                span { "24 h ago" } span { "18 h" } span { "12 h" } span { "6 h" } span { "now" }
            }
        }
    }
}

fn bars(webhook: &WebhookStatus) -> [Bar; BARS] {
    let last = minute_of(webhook.moment.now).div_euclid(BAR_MINUTES);
    let first = last - BARS as Minute + 1;
    let mut bars = [Bar::default(); BARS];
    for (minute, outcomes) in webhook.view.activity.range(first * BAR_MINUTES..=Minute::MAX) {
        // Attempts that are dated slightly in the future belong to the last bar.
        let place = (minute.div_euclid(BAR_MINUTES).min(last) - first).unsigned_abs() as usize;
        for (status, count) in OUTCOMES.iter().zip(outcomes.attempts) {
            match status {
                AttemptStatus::Failed | AttemptStatus::Retrying => bars[place].failed += count,
                _ => bars[place].succeeded += count,
            }
        }
    }
    bars
}

fn draw(webhook: &WebhookStatus, size: &Size) -> Markup {
    let bars = bars(webhook);
    let most = bars.iter().map(|bar| bar.succeeded + bar.failed).max().unwrap_or(0);
    let sum = |of: fn(&Bar) -> u64| number(bars.iter().map(of).sum());
    let (succeeded, failed) = (sum(|bar| bar.succeeded), sum(|bar| bar.failed));
    let most_text = number(most);
    let label = format!(
        "Attempts of the last 24 hours: {succeeded} succeeded, {failed} failed; at most {most_text} in half an hour"
    );
    let (width, height) = (BARS * (size.bar + 1), size.height);
    let (mut good, mut bad) = (String::new(), String::new());
    for (index, bar) in bars.iter().enumerate() {
        let x = index * (size.bar + 1);
        let failed = scaled(bar.failed, most, height, 3);
        let succeeded = scaled(bar.succeeded, most, height, 1).min(height - failed);
        rectangle(&mut bad, [x as u64, height - failed, size.bar as u64, failed]);
        rectangle(&mut good, [x as u64, height - failed - succeeded, size.bar as u64, succeeded]);
    }
    html! {
        svg role="img" aria-label=(label) viewBox=(format!("0 0 {width} {height}")) preserveAspectRatio="none" {
            title { (label) }
            path.base d=(format!("M0 {height}h{width}")) {}
            @if !good.is_empty() { path.good d=(good) {} }
            @if !bad.is_empty() { path.bad d=(bad) {} }
        }
    }
}

/// Scales `count` so that `most` is `height` high. Any count above 0 stays visible: at least `least` high.
fn scaled(count: u64, most: u64, height: u64, least: u64) -> u64 {
    if count == 0 { 0 } else { (count.saturating_mul(height) / most.max(1)).clamp(least, height) }
}

fn rectangle(path: &mut String, [x, y, width, height]: [u64; 4]) {
    if height > 0 {
        // Writing to a string cannot fail.
        let _ = write!(path, "M{x} {y}h{width}v{height}h-{width}z");
    }
}
