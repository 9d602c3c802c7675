//! The series of each target: its deliveries, and the daemon's work on its log. One collector, so that one scrape shows one
//! state: the books balance in it.

use std::time::Instant;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::board::{Board, OPEN_STATES, TargetView, Views};
use super::catalogue::{self, Metric};
use super::families::{Family, describe};
use talkover_core::ledger::state::OUTCOMES;
use talkover_core::ledger::totals::{Family as TotalsFamily, Histogram, NANOS_PER_SECOND, SeriesKey, Total};
use talkover_core::ledger::transition::LogOutcome;
use talkover_core::reading::error::PollResult;

/// The metrics that this collector gives.
const METRICS: [&Metric; 21] = [
    &catalogue::DELIVERY_ATTEMPTS,
    &catalogue::DELIVERY_DURATION,
    &catalogue::DELIVERY_DELAY,
    &catalogue::DELIVERIES,
    &catalogue::ATTEMPTS_PER_DELIVERY,
    &catalogue::DELIVERIES_OPEN,
    &catalogue::OLDEST_OPEN,
    &catalogue::LAST_ATTEMPT,
    &catalogue::WEBHOOK_INFO,
    &catalogue::WEBHOOK_ENABLED,
    &catalogue::WEBHOOK_MAX_RETRIES,
    &catalogue::WEBHOOK_TIMEOUT,
    &catalogue::UP,
    &catalogue::WATERMARK,
    &catalogue::LAST_SUCCESS,
    &catalogue::POLL_INTERVAL,
    &catalogue::POLLS,
    &catalogue::LOG_ENTRIES,
    &catalogue::CATCHING_UP,
    &catalogue::ATTEMPTS_HELD,
    &catalogue::HISTORY_GAPS,
];

/// Collects the series of all targets from the board.
pub struct TargetCollector {
    board: Board,
    descriptions: Vec<Desc>,
}

impl TargetCollector {
    /// A collector of what `board` shows.
    pub fn new(board: Board) -> Self {
        Self { board, descriptions: METRICS.iter().filter_map(|metric| describe(metric)).collect() }
    }
}

impl Collector for TargetCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.board.read(|views| {
            let now = Instant::now();
            exposed(views).for_each(|view| view.exposure.note_scrape(now));
            [totals(views), gauges(views), settings(views), work(views)].into_iter().flatten().collect()
        })
    }
}

/// The target's labels, and the values of further ones.
fn labels<'a>(view: &'a TargetView, more: &[&'a str]) -> Vec<&'a str> {
    [&[&*view.target.environment, &*view.target.webhook_id], more].concat()
}

fn exposed(views: &Views) -> impl Iterator<Item = &TargetView> {
    views.targets.values().filter(|view| view.exposed)
}

/// Counters and histograms of deliveries.
fn totals(views: &Views) -> Vec<MetricFamily> {
    let duration: Vec<&str> = views.display.duration_labels.iter().map(|label| label.as_str()).collect();
    let delay = catalogue::DELIVERY_DELAY.labels;
    let per_delivery = catalogue::ATTEMPTS_PER_DELIVERY.labels;
    vec![
        counters(views, &catalogue::DELIVERY_ATTEMPTS, TotalsFamily::Attempts),
        counters(views, &catalogue::DELIVERIES, TotalsFamily::Deliveries),
        histograms(views, &catalogue::DELIVERY_DURATION, TotalsFamily::Duration, &duration, NANOS_PER_SECOND),
        histograms(views, &catalogue::DELIVERY_DELAY, TotalsFamily::Delay, delay, NANOS_PER_SECOND),
        histograms(views, &catalogue::ATTEMPTS_PER_DELIVERY, TotalsFamily::AttemptsPerDelivery, per_delivery, 1.0),
    ]
}

fn counters(views: &Views, metric: &'static Metric, of: TotalsFamily) -> MetricFamily {
    let mut family = Family::new(metric);
    for view in exposed(views) {
        for (key, total) in view.totals.family(of) {
            let values: Vec<&str> = key.labels.iter().map(|value| &**value).collect();
            let Total::Counter(value) = total else { continue };
            let is_held = view.exposure.is_held(key);
            let value = if is_held { 0 } else { *value };
            family.push_created(&labels(view, &values), value as f64, view.exposure.born_at(key));
            if !is_held {
                family.add_exemplars(view.exemplars.get(key));
            }
        }
    }
    family.finish()
}

fn histograms(
    views: &Views,
    metric: &'static Metric,
    of: TotalsFamily,
    names: &[&'static str],
    per_unit: f64,
) -> MetricFamily {
    let mut family = Family::new(metric);
    for view in exposed(views) {
        for (key, total) in view.totals.family(of) {
            let scope = metric.scope.labels().iter().copied().zip(labels(view, &[]));
            let own = names.iter().copied().zip(key.labels.iter().map(|value| &**value));
            let Total::Histogram(histogram) = total else { continue };
            let created = view.exposure.born_at(key);
            if view.exposure.is_held(key) {
                let empty = Histogram::new(histogram.bounds.clone());
                family.push_histogram(scope.chain(own), &empty, per_unit, created);
            } else {
                family.push_histogram(scope.chain(own), histogram, per_unit, created);
                family.add_exemplars(view.exemplars.get(key));
            }
        }
    }
    family.finish()
}

/// Gauges of deliveries.
fn gauges(views: &Views) -> Vec<MetricFamily> {
    let mut open = Family::new(&catalogue::DELIVERIES_OPEN);
    let mut oldest = Family::new(&catalogue::OLDEST_OPEN);
    let mut last = Family::new(&catalogue::LAST_ATTEMPT);
    for view in exposed(views) {
        for (position, status) in OPEN_STATES.iter().enumerate() {
            open.push(&labels(view, &[status.as_str()]), view.open[position] as f64);
            if let Some(time) = view.oldest_open[position] {
                oldest.push(&labels(view, &[status.as_str()]), time.as_seconds_f64());
            }
        }
        for (status, time) in OUTCOMES.iter().zip(view.marks.last_attempt) {
            if let Some(time) = time {
                last.push(&labels(view, &[status.as_str()]), time.as_seconds_f64());
            }
        }
    }
    [open, oldest, last].into_iter().map(Family::finish).collect()
}

/// What is known of the webhooks themselves.
fn settings(views: &Views) -> Vec<MetricFamily> {
    let mut info = Family::new(&catalogue::WEBHOOK_INFO);
    let mut enabled = Family::new(&catalogue::WEBHOOK_ENABLED);
    let mut retries = Family::new(&catalogue::WEBHOOK_MAX_RETRIES);
    let mut timeout = Family::new(&catalogue::WEBHOOK_TIMEOUT);
    for view in views.targets.values() {
        let (target, known) = (&view.target, view.info.as_ref());
        let owner_name = known.map_or("", |known| &*known.owner_name);
        let host = known.and_then(|known| known.endpoint.as_ref()).map_or("", |endpoint| &*endpoint.host);
        let names = [&*target.webhook_name, target.owner_type.as_str(), &*target.owner_id, owner_name, host];
        info.push(&labels(view, &names), 1.0);
        let Some(known) = known else { continue };
        let own = labels(view, &[]);
        enabled.push(&own, f64::from(u8::from(known.is_enabled)));
        if let Some(count) = known.max_retries {
            retries.push(&own, f64::from(count));
        }
        if let Some(seconds) = known.timeout_seconds {
            timeout.push(&own, f64::from(seconds));
        }
    }
    [info, enabled, retries, timeout].into_iter().map(Family::finish).collect()
}

/// The daemon's work on each target.
fn work(views: &Views) -> Vec<MetricFamily> {
    let mut up = Family::new(&catalogue::UP);
    let mut watermark = Family::new(&catalogue::WATERMARK);
    let mut last_success = Family::new(&catalogue::LAST_SUCCESS);
    let mut interval = Family::new(&catalogue::POLL_INTERVAL);
    let mut polls = Family::new(&catalogue::POLLS);
    let mut entries = Family::new(&catalogue::LOG_ENTRIES);
    let mut catching_up = Family::new(&catalogue::CATCHING_UP);
    let mut held = Family::new(&catalogue::ATTEMPTS_HELD);
    let mut gaps = Family::new(&catalogue::HISTORY_GAPS);
    for view in views.listed() {
        let own = labels(view, &[]);
        if let Some(is_up) = view.up {
            up.push(&own, f64::from(u8::from(is_up)));
        }
        if let Some(time) = view.last_success {
            last_success.push(&own, time.as_seconds_f64());
        }
        interval.push(&own, view.poll_interval.as_secs_f64());
        for (result, count) in PollResult::ALL.iter().zip(view.polls) {
            polls.push(&labels(view, &[result.as_str()]), count as f64);
        }
        catching_up.push(&own, f64::from(u8::from(view.exposure.is_catching_up())));
    }
    // The books of targets that are not polled any more go on to balance.
    for view in views.targets.values() {
        let own = labels(view, &[]);
        if let Some(time) = view.marks.watermark {
            watermark.push(&own, time.as_seconds_f64());
        }
        for outcome in LogOutcome::ALL {
            let count = view.totals.counter(&SeriesKey::log_entries(outcome));
            entries.push(&labels(view, &[outcome.as_str()]), count as f64);
        }
        held.push(&own, attempts_held(view) as f64);
        gaps.push(&own, view.totals.counter(&SeriesKey::history_gaps()) as f64);
    }
    let families = [up, watermark, last_success, interval, polls, entries, catching_up, held, gaps];
    families.into_iter().map(Family::finish).collect()
}

/// The attempts that are counted, but in series that are served as 0.
fn attempts_held(view: &TargetView) -> u64 {
    let held = view.totals.family(TotalsFamily::Attempts).filter(|(key, _)| view.exposure.is_held(key));
    held.map(|(_, total)| if let Total::Counter(value) = total { *value } else { 0 }).sum()
}

#[cfg(test)]
mod tests;
