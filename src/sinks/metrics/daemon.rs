//! The daemon's own counters, kept in the `prometheus` crate's registry: requests to the API, and failed writes.
//!
//! They start at 0 with the process. Durable values are never counted here.

use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use super::catalogue::Metric;
use super::catalogue::daemon::STATE_WRITE_ERRORS;
use super::catalogue::environment::{API_BUCKETS, API_DURATION, API_REQUESTS};
use crate::client::Exchange;
use talkover_core::delivery::OwnerType;
use talkover_core::discovery::request::Request;

/// The endpoint of delivery logs, in the label `endpoint`.
pub const LOGS: &str = "logs";

/// The label `code` if there was no answer.
const NO_ANSWER: &str = "none";

/// The endpoint of a request of discovery, in the label `endpoint`.
pub const fn discovery_endpoint(request: &Request) -> &'static str {
    match request {
        Request::Owners { owner_type, .. } => list_endpoints(*owner_type)[0],
        Request::Webhooks { owner, .. } => list_endpoints(owner.owner_type)[1],
    }
}

/// The endpoints of a type of owners, and of their webhooks.
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
    /// If the registry has them already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let requests = IntCounterVec::new(options(&API_REQUESTS), &API_REQUESTS.all_labels())?;
        let duration = HistogramOpts::from(options(&API_DURATION)).buckets(API_BUCKETS.to_vec());
        let durations = HistogramVec::new(duration, &API_DURATION.all_labels())?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        Ok(Self { requests, durations })
    }

    /// Creates the series of an environment before its first request, for all endpoints: a reload may enable discovery.
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
/// If the registry has it already.
pub fn register_write_errors(registry: &Registry) -> prometheus::Result<IntCounter> {
    let counter = IntCounter::with_opts(options(&STATE_WRITE_ERRORS))?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn options(metric: &Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}
