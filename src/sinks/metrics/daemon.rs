//! The series of environments and of the process: requests, budgets, the state file, the program itself.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use super::board::{Board, TargetView};
use super::catalogue::{self, Metric};
use super::families::{Family, describe};
use crate::build_info;
use crate::client::Exchange;
use crate::logging;
use crate::store::handle::StoreInfo;
use talkover_core::delivery::OwnerType;
use talkover_core::discovery::request::Request;

/// The endpoint of delivery logs, as the label `endpoint` names it.
pub const LOGS: &str = "logs";

/// The label `code` where no answer came.
const NO_ANSWER: &str = "none";

/// The endpoint of what discovery asks, as the label `endpoint` names it.
pub const fn discovery_endpoint(request: &Request) -> &'static str {
    match request {
        Request::Owners { owner_type, .. } => list_endpoints(*owner_type)[0],
        Request::Webhooks { owner, .. } => list_endpoints(owner.owner_type)[1],
    }
}

/// The endpoints of owners of a type, and of their webhooks.
const fn list_endpoints(owner_type: OwnerType) -> [&'static str; 2] {
    match owner_type {
        OwnerType::Agent => ["agents", "agent_webhooks"],
        OwnerType::Campaign => ["campaigns", "campaign_webhooks"],
    }
}

/// Requests to the API, counted where they are made.
#[derive(Clone, Debug)]
pub struct ApiMetrics {
    requests: IntCounterVec,
    durations: HistogramVec,
}

impl ApiMetrics {
    /// Registers the metrics of API requests.
    ///
    /// # Errors
    /// Where the registry has them already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let requests = IntCounterVec::new(options(&catalogue::API_REQUESTS), &catalogue::API_REQUESTS.all_labels())?;
        let duration = HistogramOpts::from(options(&catalogue::API_DURATION)).buckets(catalogue::API_BUCKETS.to_vec());
        let durations = HistogramVec::new(duration, &catalogue::API_DURATION.all_labels())?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        Ok(Self { requests, durations })
    }

    /// Shows the series of an environment before its first request, of all endpoints: a reload may switch discovery on.
    pub fn add_environment(&self, environment: &str) {
        self.add_endpoint(environment, LOGS);
        for owner_type in [OwnerType::Agent, OwnerType::Campaign] {
            list_endpoints(owner_type).iter().for_each(|endpoint| self.add_endpoint(environment, endpoint));
        }
    }

    fn add_endpoint(&self, environment: &str, endpoint: &str) {
        for code in ["200", NO_ANSWER] {
            self.requests.with_label_values(&[environment, endpoint, code]);
        }
        self.durations.with_label_values(&[environment, endpoint]);
    }

    /// Counts a request.
    pub fn record(&self, environment: &str, endpoint: &str, exchange: &Exchange) {
        let code = exchange.code.map_or_else(|| NO_ANSWER.to_owned(), |code| code.to_string());
        self.requests.with_label_values(&[environment, endpoint, &code]).inc();
        self.durations.with_label_values(&[environment, endpoint]).observe(exchange.duration.as_secs_f64());
    }
}

/// Registers the counter of commits that could not be written.
///
/// # Errors
/// Where the registry has it already.
pub fn register_write_errors(registry: &Registry) -> prometheus::Result<IntCounter> {
    let counter = IntCounter::with_opts(options(&catalogue::STATE_WRITE_ERRORS))?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn options(metric: &Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}

/// The metrics that [`DaemonCollector`] gives.
const METRICS: [&Metric; 17] = [
    &catalogue::ENTRIES_READ,
    &catalogue::RATE_LIMIT_REMAINING,
    &catalogue::RATE_LIMIT_LIMIT,
    &catalogue::CLOCK_OFFSET,
    &catalogue::BUDGET,
    &catalogue::TARGETS,
    &catalogue::DISCOVERY_LAST_SUCCESS,
    &catalogue::SPANS,
    &catalogue::SPAN_QUEUE_LENGTH,
    &catalogue::SPAN_QUEUE_CAPACITY,
    &catalogue::SPAN_QUEUE_OLDEST,
    &catalogue::STATE_SIZE,
    &catalogue::STATE_CREATED,
    &catalogue::CONFIG_SUCCESS,
    &catalogue::CONFIG_TIME,
    &catalogue::LOG_LINES_DROPPED,
    &catalogue::BUILD_INFO,
];

/// Collects what the daemon knows of its environments and of itself.
pub struct DaemonCollector {
    board: Board,
    store: StoreInfo,
    descriptions: Vec<Desc>,
}

impl DaemonCollector {
    /// A collector of what `board` shows and of the state file.
    pub fn new(board: Board, store: StoreInfo) -> Self {
        let descriptions = METRICS.iter().filter_map(|metric| describe(metric)).collect();
        Self { board, store, descriptions }
    }

    fn process(&self) -> Vec<MetricFamily> {
        let config = self.board.read(|views| views.config);
        let values = [
            (&catalogue::STATE_SIZE, self.store.size_bytes() as f64),
            (&catalogue::STATE_CREATED, self.store.created_at().as_seconds_f64()),
            (&catalogue::CONFIG_SUCCESS, f64::from(u8::from(config.is_good))),
            (&catalogue::CONFIG_TIME, config.loaded_at.as_seconds_f64()),
            (&catalogue::LOG_LINES_DROPPED, logging::lines_dropped() as f64),
        ];
        let mut families: Vec<MetricFamily> = values
            .into_iter()
            .map(|(metric, value)| {
                let mut family = Family::new(metric);
                family.push(&[], value);
                family.finish()
            })
            .collect();
        let mut build = Family::new(&catalogue::BUILD_INFO);
        build.push(&[build_info::VERSION, build_info::REVISION, build_info::RUSTVERSION], 1.0);
        families.push(build.finish());
        families
    }

    /// The outbox, which waits for no commit.
    fn spans(&self) -> Vec<MetricFamily> {
        let status = self.store.queue().status();
        let mut spans = Family::new(&catalogue::SPANS);
        for (outcome, count) in
            [("exported", status.exported), ("rejected", status.rejected), ("dropped", status.dropped)]
        {
            spans.push(&[outcome], count as f64);
        }
        let mut length = Family::new(&catalogue::SPAN_QUEUE_LENGTH);
        length.push(&[], status.length as f64);
        let mut capacity = Family::new(&catalogue::SPAN_QUEUE_CAPACITY);
        capacity.push(&[], status.capacity as f64);
        let mut oldest = Family::new(&catalogue::SPAN_QUEUE_OLDEST);
        if let Some(time) = status.oldest {
            oldest.push(&[], time.as_seconds_f64());
        }
        [spans, length, capacity, oldest].into_iter().map(Family::finish).collect()
    }

    fn environments(&self) -> Vec<MetricFamily> {
        let mut read = Family::new(&catalogue::ENTRIES_READ);
        let mut remaining = Family::new(&catalogue::RATE_LIMIT_REMAINING);
        let mut limit = Family::new(&catalogue::RATE_LIMIT_LIMIT);
        let mut offset = Family::new(&catalogue::CLOCK_OFFSET);
        let mut budget = Family::new(&catalogue::BUDGET);
        let mut targets = Family::new(&catalogue::TARGETS);
        let mut discovered = Family::new(&catalogue::DISCOVERY_LAST_SUCCESS);
        self.board.read(|views| {
            for (name, view) in &views.environments {
                let tally = view.entries_read;
                for (result, count) in [("new", tally.new), ("changed", tally.changed), ("unchanged", tally.unchanged)]
                {
                    read.push(&[name, result], count as f64);
                }
                if let Some(value) = view.rate_limit_remaining {
                    remaining.push(&[name], value as f64);
                }
                if let Some(value) = view.rate_limit {
                    limit.push(&[name], value as f64);
                }
                if let Some(value) = view.clock_offset {
                    offset.push(&[name], value);
                }
                budget.push(&[name], f64::from(view.budget));
                let own = views.listed().filter(|target| target.target.environment == *name);
                for (state, count) in ["healthy", "failing", "disabled"].iter().zip(states(own)) {
                    targets.push(&[name, state], count as f64);
                }
                if let Some(time) = view.discovery_last_success {
                    discovered.push(&[name], time.as_seconds_f64());
                }
            }
        });
        [read, remaining, limit, offset, budget, targets, discovered].into_iter().map(Family::finish).collect()
    }
}

/// How many targets are healthy, failing and disabled: each is one of them.
fn states<'a>(targets: impl Iterator<Item = &'a TargetView>) -> [usize; 3] {
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

impl Collector for DaemonCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.environments();
        families.extend(self.spans());
        families.extend(self.process());
        families
    }
}
