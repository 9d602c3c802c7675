//! Groups the data points of a scrape by environment, and splits them into requests of limited size.
//!
//! *Invariant:* the data points of one scrape come in the same order each time, so a position in that order says what a
//! receiver has already. At most one request is in memory, whatever the number of series. Pure.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{Metric as OtlpMetric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::points::{self, PushTimes};
use crate::exposition::model::{FamilyHead, Sample};
use crate::sinks::metrics::scrape::{CountedSince, Scrape};
use crate::sinks::otlp::resource;

/// The label that says which environment a series belongs to.
const ENVIRONMENT: &str = "environment";

/// Who pushes.
#[derive(Clone, Debug)]
pub struct PushOrigin {
    /// The attributes of the resources of environments.
    pub resource_attributes: Vec<(String, String)>,
    /// The attributes of the daemon's own resource.
    pub daemon_attributes: Vec<(String, String)>,
    /// The identity of the state.
    pub instance_id: String,
}

/// How large a request may be, and where to begin.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// The most data points in one request. At least 1.
    pub max_points: usize,
    /// The bytes with which a request is full: the last data point may take it beyond.
    pub max_bytes: usize,
    /// How many data points, from the first one, are left out.
    pub skipped: usize,
}

/// A request, and how many data points are in it.
#[derive(Clone, Debug, PartialEq)]
pub struct PushRequest {
    /// The request.
    pub message: ExportMetricsServiceRequest,
    /// Its data points.
    pub points: usize,
}

/// Passes the requests that push `scrape` to `send`, until that fails.
///
/// # Errors
/// That of `send`.
pub fn for_each<E>(
    scrape: &Scrape,
    origin: &PushOrigin,
    times: &PushTimes,
    limits: &RequestLimits,
    send: impl FnMut(PushRequest) -> Result<(), E>,
) -> Result<(), E> {
    let mut batches = Batches { origin, times, limits, send, position: 0, pending: PendingRequest::default() };
    for family in scrape.families() {
        let Some(head) = family.head() else { continue };
        let since = family.counted_since();
        scrape.visit(&family, |sample| batches.add(&head, sample, since))?;
    }
    batches.finish()
}

/// The request that is being filled.
#[derive(Default)]
struct PendingRequest {
    /// The metrics of each environment, and of none.
    metrics: BTreeMap<Option<Box<str>>, Vec<OtlpMetric>>,
    points: usize,
    bytes: usize,
}

struct Batches<'a, S> {
    origin: &'a PushOrigin,
    times: &'a PushTimes,
    limits: &'a RequestLimits,
    send: S,
    /// Data points so far, those that were left out included.
    position: usize,
    pending: PendingRequest,
}

impl<E, S: FnMut(PushRequest) -> Result<(), E>> Batches<'_, S> {
    fn add(&mut self, family: &FamilyHead<'_>, sample: &Sample<'_>, since: CountedSince) -> Result<(), E> {
        self.position += 1;
        if self.position <= self.limits.skipped {
            return Ok(());
        }
        let point = self.times.point(family.kind, sample, since);
        let environment = sample.labels.iter().find(|(name, _)| *name == ENVIRONMENT).map(|(_, value)| *value);
        self.pending.bytes += point.encoded_len();
        self.pending.points += 1;
        points::add(self.pending.metric(environment, family), point);
        if self.pending.points >= self.limits.max_points || self.pending.bytes >= self.limits.max_bytes {
            return self.flush();
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), E> {
        if self.pending.points > 0 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), E> {
        let PendingRequest { metrics, points, .. } = std::mem::take(&mut self.pending);
        let resource_metrics = metrics.into_iter().map(|(environment, metrics)| ResourceMetrics {
            resource: Some(self.origin.resource(environment.as_deref())),
            scope_metrics: vec![ScopeMetrics { scope: Some(resource::scope()), metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        });
        let message = ExportMetricsServiceRequest { resource_metrics: resource_metrics.collect() };
        (self.send)(PushRequest { message, points })
    }
}

impl PendingRequest {
    /// The metric of a family in the resource of an environment. Families come one after the other.
    fn metric(&mut self, environment: Option<&str>, family: &FamilyHead<'_>) -> &mut OtlpMetric {
        let metrics = self.metrics.entry(environment.map(Into::into)).or_default();
        let place = match metrics.last() {
            Some(last) if last.name == family.name => metrics.len() - 1,
            _ => {
                let metric = points::metric(family);
                self.bytes += metric.encoded_len();
                metrics.push(metric);
                metrics.len() - 1
            }
        };
        &mut metrics[place]
    }
}

impl PushOrigin {
    fn resource(&self, environment: Option<&str>) -> Resource {
        match environment {
            Some(name) => resource::of_environment(&self.resource_attributes, &self.instance_id, name),
            None => resource::resource(&self.daemon_attributes, &self.instance_id),
        }
    }
}
