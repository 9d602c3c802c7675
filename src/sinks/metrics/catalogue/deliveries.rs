//! The metrics of a webhook's deliveries, and of the webhook itself.

use std::borrow::Cow;

use talkover_core::delivery::Target;
use talkover_core::discovery::targets::WebhookInfo;
use talkover_core::ledger::activity::OUTCOMES;
use talkover_core::ledger::series::{ATTEMPTS_BUCKETS, DELAY_BUCKETS};
use talkover_core::ledger::series::{Family, SeriesKey};
use talkover_core::ledger::totals::Total;

use super::{BASE, Buckets, Kind, Metric, MetricRow, MetricScope};
use crate::exposition::model::{Histogram, Number};
use crate::sinks::metrics::board::{OPEN_STATES, TargetView};
use crate::sinks::metrics::samples::Samples;

/// Collects samples from what is shown about a target.
pub type ReadSamples = for<'a> fn(&'a TargetView, &mut Samples<'a>);

/// How the samples of targets are collected, and for which targets.
#[derive(Clone, Copy, Debug)]
pub enum TargetCollector {
    /// For targets whose first walk is complete.
    OnceRead(ReadSamples),
    /// For targets that are listed.
    WhileListed(ReadSamples),
    /// For all targets.
    Always(ReadSamples),
}

/// A metric of targets.
pub type TargetRow = MetricRow<TargetCollector>;

impl TargetCollector {
    /// Collects the samples of a target.
    pub fn collect<'a>(self, view: &'a TargetView, samples: &mut Samples<'a>) {
        match self {
            Self::OnceRead(read) if view.exposed => read(view, samples),
            Self::WhileListed(read) if view.retires.is_none() => read(view, samples),
            Self::Always(read) => read(view, samples),
            Self::OnceRead(_) | Self::WhileListed(_) => {}
        }
    }
}

const DELIVERIES: Metric = Metric { scope: MetricScope::Deliveries, ..BASE };

/// The rows, in the order of the reference.
pub static ROWS: &[TargetRow] = &[
    MetricRow {
        metric: Metric {
            name: "talkover_webhook_delivery_attempts_total",
            kind: Kind::Counter,
            labels: &["event", "status", "http_status"],
            durable: true,
            help: "Delivery attempts by outcome. Each log entry is counted once, when it is first seen with an \
                   outcome.",
            ..DELIVERIES
        },
        collect: TargetCollector::OnceRead(|view, samples| counters(view, Family::Attempts, samples)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_webhook_delivery_duration_seconds",
            kind: Kind::Histogram,
            labels: &["event", "status", "http_status"],
            buckets: Buckets::Configured,
            durable: true,
            help: "Duration of delivery attempts (duration_ms of the log). The labels are those of \
                   metrics.duration_labels.",
            ..DELIVERIES
        },
        collect: TargetCollector::OnceRead(|view, samples| histograms(view, Family::Duration, Number::Nanos, samples)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_webhook_delivery_delay_seconds",
            kind: Kind::Histogram,
            labels: &["event"],
            buckets: Buckets::Fixed(&DELAY_BUCKETS),
            durable: true,
            help: "Time from the creation of an attempt to its delivery (delivered_at - created_at).",
            ..DELIVERIES
        },
        collect: TargetCollector::OnceRead(|view, samples| histograms(view, Family::Delay, Number::Nanos, samples)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_webhook_deliveries_total",
            kind: Kind::Counter,
            labels: &["event", "result"],
            durable: true,
            help: "Deliveries that ended, by result: success, failed, or abandoned (still open after \
                   poll.settle_after).",
            ..DELIVERIES
        },
        collect: TargetCollector::OnceRead(|view, samples| counters(view, Family::Deliveries, samples)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_webhook_attempts_per_delivery",
            kind: Kind::Histogram,
            labels: &["event", "result"],
            buckets: Buckets::Fixed(&ATTEMPTS_BUCKETS),
            durable: true,
            help: "Number of the attempt with which a delivery ended; le=\"1.0\" under success is first-attempt \
                   success.",
            ..DELIVERIES
        },
        collect: TargetCollector::OnceRead(|view, samples| {
            histograms(view, Family::AttemptsPerDelivery, Number::Integer, samples);
        }),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_webhook_deliveries_open",
            labels: &["status"],
            help: "Log entries that are pending or retrying now, and are therefore read again.",
            ..DELIVERIES
        },
        collect: TargetCollector::OnceRead(|view, samples| {
            for (status, count) in OPEN_STATES.iter().zip(view.open) {
                samples.push([status.as_str()], count);
            }
        }),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_webhook_oldest_open_timestamp_seconds",
            labels: &["status"],
            help: "Creation time of the oldest log entry that is pending or retrying; absent if there is none.",
            ..DELIVERIES
        },
        collect: TargetCollector::OnceRead(|view, samples| {
            for (status, time) in OPEN_STATES.iter().zip(view.oldest_open) {
                samples.push_known([status.as_str()], time);
            }
        }),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_webhook_last_attempt_timestamp_seconds",
            labels: &["status"],
            durable: true,
            help: "Creation time of the newest attempt with that outcome.",
            ..DELIVERIES
        },
        collect: TargetCollector::OnceRead(|view, samples| {
            for (status, time) in OUTCOMES.iter().zip(view.marks.last_attempt) {
                samples.push_known([status.as_str()], time);
            }
        }),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_webhook_consecutive_lost_deliveries",
            durable: true,
            help: "Deliveries in a row that were lost (failed or abandoned), since the last successful one.",
            ..DELIVERIES
        },
        collect: TargetCollector::OnceRead(|view, samples| samples.push([], view.marks.streak.count)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_webhook_failing_since_timestamp_seconds",
            durable: true,
            help: "When the first of the consecutive lost deliveries ended (the creation time of its last attempt); \
                   absent if the last delivery succeeded.",
            ..DELIVERIES
        },
        collect: TargetCollector::OnceRead(|view, samples| samples.push_known([], view.marks.streak.since)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_webhook_info",
            labels: &["webhook_name", "owner_type", "owner_id", "owner_name", "url_host"],
            help: "Always 1; names of the webhook and its owner, for joins. Unknown names are empty.",
            ..DELIVERIES
        },
        collect: TargetCollector::Always(|view, samples| {
            samples.push(info_values(&view.target, view.info.as_ref()), 1_u64);
        }),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_webhook_enabled",
            help: "1 if the webhook is enabled, 0 if it is disabled; absent without discovery.",
            ..DELIVERIES
        },
        collect: TargetCollector::Always(|view, samples| {
            samples.push_known([], view.info.as_ref().map(|info| info.is_enabled));
        }),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_webhook_max_retries",
            help: "How many times a failed delivery is retried at most; absent without discovery.",
            ..DELIVERIES
        },
        collect: TargetCollector::Always(|view, samples| {
            samples.push_known([], view.info.as_ref().and_then(|info| info.max_retries));
        }),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_webhook_timeout_seconds",
            help: "How long a delivery attempt may take; absent without discovery.",
            ..DELIVERIES
        },
        collect: TargetCollector::Always(|view, samples| {
            samples.push_known([], view.info.as_ref().and_then(|info| info.timeout_seconds));
        }),
    },
];

/// The values of the labels of `talkover_webhook_info`. What is not known is empty.
pub fn info_values<'a>(target: &'a Target, info: Option<&'a WebhookInfo>) -> [&'a str; 5] {
    let owner_name = info.map_or("", |known| &*known.owner_name);
    let host = info.and_then(|known| known.endpoint.as_ref()).map_or("", |endpoint| &*endpoint.host);
    [&target.webhook_name, target.owner_type.as_str(), &target.owner_id, owner_name, host]
}

fn label_values(key: &SeriesKey) -> impl Iterator<Item = &str> {
    key.labels.iter().map(|value| &**value)
}

/// Collects the counters of a family. Those that are held are 0, and have no exemplars.
fn counters<'a>(view: &'a TargetView, family: Family, samples: &mut Samples<'a>) {
    for (key, total) in view.totals.family(family) {
        let Total::Counter(value) = total else { continue };
        let created = view.exposure.born_at(key);
        if view.exposure.is_held(key) {
            samples.push_counter(label_values(key), 0, created, None);
        } else {
            let exemplar = view.exemplars.get(key).first().map(|(_, exemplar)| *exemplar);
            samples.push_counter(label_values(key), *value, created, exemplar);
        }
    }
}

/// Collects the histograms of a family; `sum` converts their sums from the unit in which they are kept. Those that are
/// held are empty, and have no exemplars.
fn histograms<'a>(view: &'a TargetView, family: Family, sum: fn(u64) -> Number, samples: &mut Samples<'a>) {
    for (key, total) in view.totals.family(family) {
        let Total::Histogram(histogram) = total else { continue };
        let bounds = Cow::Borrowed(&*histogram.bounds);
        let shown = if view.exposure.is_held(key) {
            Histogram { bounds, counts: Cow::Owned(vec![0; histogram.counts.len()]), sum: sum(0), exemplars: &[] }
        } else {
            let counts = Cow::Borrowed(&*histogram.counts);
            Histogram { bounds, counts, sum: sum(histogram.sum), exemplars: view.exemplars.get(key) }
        };
        samples.push_histogram(label_values(key), shown, view.exposure.born_at(key));
    }
}
