//! What a receiver makes of pushes: the series of a scrape, as the text format writes them.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AttributeValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, NumberDataPoint};

/// Cumulative: the value is the sum since the start.
const CUMULATIVE: i32 = 2;

/// A series of one push.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    /// Nanoseconds since the epoch; 0 for a gauge.
    pub(crate) start: u64,
    /// `deployment.environment.name` and `service.name` of its resource.
    pub(crate) resource: (Option<String>, String),
    /// Trace ids of its exemplars.
    pub(crate) exemplars: Vec<Vec<u8>>,
}

/// One push: all data points of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Push {
    /// Nanoseconds since the epoch.
    pub(crate) time: u64,
    /// The values as the text format has them, a histogram with its buckets, its sum and its count.
    pub(crate) samples: BTreeMap<String, f64>,
    /// The data points: a histogram is one, under the name of its family.
    pub(crate) series: BTreeMap<String, Series>,
}

impl Push {
    /// The value of a series.
    pub(crate) fn get(&self, series: &str) -> Option<f64> {
        self.samples.get(series).copied()
    }

    /// The samples of a metric.
    pub(crate) fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let samples = self.samples.iter().map(|(series, value)| (series.as_str(), *value));
        samples.filter(move |(series, _)| series.split('{').next() == Some(name))
    }

    fn add(&mut self, request: &ExportMetricsServiceRequest) {
        for resource_metrics in &request.resource_metrics {
            let attributes = texts(&resource_metrics.resource.as_ref().unwrap().attributes);
            let environment = attributes.get("deployment.environment.name").cloned();
            let resource = (environment, attributes["service.name"].clone());
            assert!(attributes.contains_key("service.instance.id") && attributes.contains_key("service.version"));
            for metric in resource_metrics.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
                assert!(!metric.description.is_empty(), "{}", metric.name);
                match metric.data.as_ref().unwrap() {
                    Data::Sum(sum) => {
                        assert!(sum.is_monotonic && sum.aggregation_temporality == CUMULATIVE, "{}", metric.name);
                        sum.data_points.iter().for_each(|point| self.add_number(&metric.name, point, &resource));
                    }
                    Data::Gauge(gauge) => {
                        gauge.data_points.iter().for_each(|point| self.add_number(&metric.name, point, &resource));
                    }
                    Data::Histogram(histogram) => {
                        assert_eq!(histogram.aggregation_temporality, CUMULATIVE, "{}", metric.name);
                        let points = histogram.data_points.iter();
                        points.for_each(|point| self.add_histogram(&metric.name, point, &resource));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn add_number(&mut self, name: &str, point: &NumberDataPoint, resource: &(Option<String>, String)) {
        let value = match point.value.unwrap() {
            Value::AsInt(value) => value as f64,
            Value::AsDouble(value) => value,
        };
        let series = format!("{name}{}", labels(&point.attributes, None));
        assert!(self.samples.insert(series.clone(), value).is_none(), "{series} is there twice");
        let exemplars = point.exemplars.iter().map(|exemplar| exemplar.trace_id.clone()).collect();
        self.add_series(series, point.start_time_unix_nano, resource, exemplars);
    }

    fn add_histogram(&mut self, name: &str, point: &HistogramDataPoint, resource: &(Option<String>, String)) {
        let bounds = point.explicit_bounds.iter().map(|bound| format!("{bound:?}")).chain(["+Inf".to_owned()]);
        let mut cumulative = 0;
        for (bound, count) in bounds.zip(&point.bucket_counts) {
            cumulative += count;
            self.samples.insert(format!("{name}_bucket{}", labels(&point.attributes, Some(&bound))), cumulative as f64);
        }
        assert_eq!((cumulative, point.bucket_counts.len()), (point.count, point.explicit_bounds.len() + 1), "{name}");
        let labels = labels(&point.attributes, None);
        self.samples.insert(format!("{name}_sum{labels}"), point.sum.unwrap());
        self.samples.insert(format!("{name}_count{labels}"), point.count as f64);
        let exemplars = point.exemplars.iter().map(|exemplar| exemplar.trace_id.clone()).collect();
        self.add_series(format!("{name}{labels}"), point.start_time_unix_nano, resource, exemplars);
    }

    fn add_series(&mut self, name: String, start: u64, resource: &(Option<String>, String), exemplars: Vec<Vec<u8>>) {
        let series = Series { start, resource: resource.clone(), exemplars };
        assert!(self.series.insert(name.clone(), series).is_none(), "{name} is there twice");
    }
}

/// The pushes that were made with these requests, in their order.
pub(crate) fn pushes(requests: &[ExportMetricsServiceRequest]) -> Vec<Push> {
    let mut pushes: Vec<Push> = Vec::new();
    for request in requests {
        let time = time(request);
        if pushes.last().is_none_or(|push| push.time != time) {
            pushes.push(Push { time, ..Push::default() });
        }
        pushes.last_mut().unwrap().add(request);
    }
    pushes
}

/// The time that all data points of a request have.
fn time(request: &ExportMetricsServiceRequest) -> u64 {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let times = scopes.flat_map(|scope| &scope.metrics).flat_map(|metric| match metric.data.as_ref().unwrap() {
        Data::Sum(sum) => sum.data_points.iter().map(|point| point.time_unix_nano).collect::<Vec<_>>(),
        Data::Gauge(gauge) => gauge.data_points.iter().map(|point| point.time_unix_nano).collect(),
        Data::Histogram(histogram) => histogram.data_points.iter().map(|point| point.time_unix_nano).collect(),
        other => panic!("{other:?}"),
    });
    let mut times: Vec<u64> = times.collect();
    times.dedup();
    assert_eq!(times.len(), 1, "all data points of a push are of one moment");
    times[0]
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.clone()) {
        Some(AttributeValue::StringValue(text)) => text,
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

/// Attributes as the text format writes labels, in their order.
fn labels(attributes: &[KeyValue], bound: Option<&str>) -> String {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.clone()) {
        Some(AttributeValue::StringValue(text)) => text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\""),
        other => panic!("{other:?}"),
    };
    let own = attributes.iter().map(|attribute| format!("{}=\"{}\"", attribute.key, text(attribute)));
    let all: Vec<String> = own.chain(bound.map(|bound| format!("le=\"{bound}\""))).collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}
