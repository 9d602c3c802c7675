//! The metrics of the daemon's work on an environment.

use super::{BASE, Buckets, Kind, Metric, MetricRow, MetricScope};
use crate::sinks::metrics::board::{EnvironmentView, TargetView, Views};
use crate::sinks::metrics::samples::Samples;

/// The source of an environment's samples.
#[derive(Clone, Copy, Debug)]
pub struct EnvironmentSource<'a> {
    /// Its name.
    pub name: &'a str,
    /// What is shown about it.
    pub view: &'a EnvironmentView,
    /// Everything on the board.
    pub views: &'a Views,
}

/// How the samples of environments are collected.
#[derive(Clone, Copy, Debug)]
pub enum EnvironmentCollector {
    /// Read from the source.
    Board(for<'a> fn(EnvironmentSource<'a>, &mut Samples<'a>)),
    /// Counted and collected by the `prometheus` crate's registry.
    Registry,
}

const ENVIRONMENT: Metric = Metric { scope: MetricScope::Environment, ..BASE };

/// Requests to the API.
pub const API_REQUESTS: Metric = Metric {
    name: "talkover_api_requests_total",
    kind: Kind::Counter,
    labels: &["endpoint", "code"],
    help: "Requests to the TalkOver API by endpoint and HTTP status; code none if there was no answer.",
    ..ENVIRONMENT
};

/// How long they took.
pub const API_DURATION: Metric = Metric {
    name: "talkover_api_request_duration_seconds",
    kind: Kind::Histogram,
    labels: &["endpoint"],
    buckets: Buckets::Fixed(&API_BUCKETS),
    help: "Duration of requests to the TalkOver API, up to the last byte of the answer.",
    ..ENVIRONMENT
};

/// Buckets of the duration of API requests, in seconds: up to the default `request_timeout`.
pub const API_BUCKETS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The rows, in the order of the reference.
pub static ROWS: &[MetricRow<EnvironmentCollector>] = &[
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_entries_read_total",
            kind: Kind::Counter,
            labels: &["result"],
            help: "Log entries read, by whether they were new, changed or unchanged.",
            ..ENVIRONMENT
        },
        collect: EnvironmentCollector::Board(|of, samples| {
            let read = of.view.entries_read;
            samples.push(["new"], read.new);
            samples.push(["changed"], read.changed);
            samples.push(["unchanged"], read.unchanged);
        }),
    },
    MetricRow { metric: API_REQUESTS, collect: EnvironmentCollector::Registry },
    MetricRow { metric: API_DURATION, collect: EnvironmentCollector::Registry },
    MetricRow {
        metric: Metric {
            name: "talkover_api_rate_limit_remaining",
            help: "X-RateLimit-Remaining of the last response that had one.",
            ..ENVIRONMENT
        },
        collect: EnvironmentCollector::Board(|of, samples| samples.push_known([], of.view.rate_limit_remaining)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_api_rate_limit_limit",
            help: "X-RateLimit-Limit of the last response that had one, in requests per minute.",
            ..ENVIRONMENT
        },
        collect: EnvironmentCollector::Board(|of, samples| samples.push_known([], of.view.rate_limit)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_api_clock_offset_seconds",
            help: "How far the API's clock (its Date header, in whole seconds) is ahead of the local clock.",
            ..ENVIRONMENT
        },
        collect: EnvironmentCollector::Board(|of, samples| samples.push_known([], of.view.clock_offset)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_budget_requests_per_minute",
            help: "This exporter's request budget per minute.",
            ..ENVIRONMENT
        },
        collect: EnvironmentCollector::Board(|of, samples| samples.push([], of.view.budget)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_targets",
            labels: &["state"],
            help: "Webhooks by state: failing if the last poll failed, disabled if it is disabled in TalkOver, else \
                   healthy.",
            ..ENVIRONMENT
        },
        collect: EnvironmentCollector::Board(|of, samples| {
            let own = of.views.listed().filter(|target| *target.target.environment == *of.name);
            for (state, count) in ["healthy", "failing", "disabled"].into_iter().zip(states(own)) {
                samples.push([state], count);
            }
        }),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_discovery_last_success_timestamp_seconds",
            help: "When discovery last completed reading all of its lists; absent until then, and without discovery.",
            ..ENVIRONMENT
        },
        collect: EnvironmentCollector::Board(|of, samples| samples.push_known([], of.view.discovery_last_success)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_discovery_webhooks_skipped",
            help: "Webhooks that are not read because discovery has found more than discovery.max_webhooks.",
            ..ENVIRONMENT
        },
        collect: EnvironmentCollector::Board(|of, samples| samples.push([], of.view.webhooks_skipped as u64)),
    },
];

/// Counts the targets that are healthy, failing and disabled: each is exactly one of these.
fn states<'a>(targets: impl Iterator<Item = &'a TargetView>) -> [u64; 3] {
    let mut counts = [0; 3];
    for target in targets {
        counts[match (target.up, target.is_disabled()) {
            (Some(false), _) => 1,
            (_, true) => 2,
            (_, false) => 0,
        }] += 1;
    }
    counts
}
