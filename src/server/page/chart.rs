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
    /// With a status that the exporter does not know: neither good nor bad.
    unknown: u64,
}

impl Bar {
    fn attempts(&self) -> u64 {
        self.succeeded + self.failed + self.unknown
    }
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
                AttemptStatus::Success => bars[place].succeeded += count,
                AttemptStatus::Failed | AttemptStatus::Retrying => bars[place].failed += count,
                AttemptStatus::Unknown => bars[place].unknown += count,
                // No outcome yet.
                AttemptStatus::Pending => {}
            }
        }
    }
    bars
}

fn draw(webhook: &WebhookStatus, size: &Size) -> Markup {
    let bars = bars(webhook);
    let most = bars.iter().map(Bar::attempts).max().unwrap_or(0);
    let label = label(&bars, most);
    let (width, height) = (BARS * (size.bar + 1), size.height);
    let (mut good, mut bad, mut unknown) = (String::new(), String::new(), String::new());
    for (index, bar) in bars.iter().enumerate() {
        let x = (index * (size.bar + 1)) as u64;
        // From the bottom up.
        let mut top = height;
        for (path, count, least) in
            [(&mut bad, bar.failed, 3), (&mut unknown, bar.unknown, 3), (&mut good, bar.succeeded, 1)]
        {
            let part = scaled(count, most, height, least).min(top);
            top -= part;
            rectangle(path, [x, top, size.bar as u64, part]);
        }
    }
    html! {
        svg role="img" aria-label=(label) viewBox=(format!("0 0 {width} {height}")) preserveAspectRatio="none" {
            title { (label) }
            path.base d=(format!("M0 {height}h{width}")) {}
            @if !good.is_empty() { path.good d=(good) {} }
            @if !unknown.is_empty() { path.unknown d=(unknown) {} }
            @if !bad.is_empty() { path.bad d=(bad) {} }
        }
    }
}

/// Returns what a chart says to a reader who does not see it.
fn label(bars: &[Bar], most: u64) -> String {
    let sum = |of: fn(&Bar) -> u64| bars.iter().map(of).sum::<u64>();
    let (succeeded, failed) = (number(sum(|bar| bar.succeeded)), number(sum(|bar| bar.failed)));
    let unknown = match sum(|bar| bar.unknown) {
        0 => String::new(),
        count => format!(", {} with an unknown status", number(count)),
    };
    let most = number(most);
    format!(
        "Attempts of the last 24 hours: {succeeded} succeeded, {failed} failed{unknown}; at most {most} in half an hour"
    )
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
