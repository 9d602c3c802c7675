//! Makes data points of samples (OpenTelemetry's metrics data model,
//! <https://opentelemetry.io/docs/specs/otel/metrics/data-model/>).
//!
//! A counter becomes a cumulative monotonic sum, a gauge a gauge, a histogram a cumulative histogram with explicit
//! bounds. Names, help texts and labels are those of the exposition, so that the same queries work on both ways. Pure.

use opentelemetry_proto::tonic::metrics::v1::exemplar::Value as ExemplarValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar as OtlpExemplar, Gauge, Histogram as OtlpHistogram, HistogramDataPoint,
    Metric as OtlpMetric, NumberDataPoint, Sum,
};
use prost::Message;

use crate::exposition::model::{Exemplar, FamilyHead, Histogram, Kind, Number, Sample, SampleValue};
use crate::sinks::metrics::scrape::CountedSince;
use crate::sinks::otlp::resource::text;
use talkover_core::delivery::Timestamp;
use talkover_core::server_time::LocalTime;

/// The times of a push.
#[derive(Clone, Copy, Debug)]
pub struct PushTimes {
    /// When the values were read.
    pub now: LocalTime,
    /// When the state was made.
    pub state_created: LocalTime,
    /// When the process was started.
    pub process_started: LocalTime,
}

/// A data point of either type.
#[derive(Clone, Debug, PartialEq)]
pub enum DataPoint {
    /// Of a sum or a gauge.
    Number(NumberDataPoint),
    /// Of a histogram.
    Histogram(HistogramDataPoint),
}

impl PushTimes {
    /// Makes the data point of a sample. Where the sample does not say since when it counts, `since` does.
    pub fn point(&self, kind: Kind, sample: &Sample<'_>, since: CountedSince) -> DataPoint {
        let time_unix_nano = nanos(self.now.timestamp());
        let start_time_unix_nano = if kind == Kind::Gauge { 0 } else { nanos(self.start(sample.created, since)) };
        let attributes = sample.labels.iter().map(|(name, value)| text(name, value)).collect();
        match &sample.value {
            SampleValue::Single { value, exemplar } => DataPoint::Number(NumberDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                exemplars: exemplar.iter().map(otlp_exemplar).collect(),
                value: Some(number(*value)),
                ..NumberDataPoint::default()
            }),
            SampleValue::Histogram(histogram) => DataPoint::Histogram(HistogramDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                ..histogram_point(histogram)
            }),
        }
    }

    /// Since when a series counts. The start is no later than the value, whatever clock was set.
    fn start(&self, created: Option<Timestamp>, since: CountedSince) -> Timestamp {
        let start = created.unwrap_or_else(|| match since {
            CountedSince::StateCreation => self.state_created.timestamp(),
            CountedSince::ProcessStart => self.process_started.timestamp(),
        });
        start.min(self.now.timestamp())
    }
}

impl DataPoint {
    /// Returns how many bytes it adds to a request.
    pub fn encoded_len(&self) -> usize {
        let message = match self {
            Self::Number(point) => point.encoded_len(),
            Self::Histogram(point) => point.encoded_len(),
        };
        // Its tag and its length.
        message + 1 + prost::length_delimiter_len(message)
    }
}

/// Returns a metric without data points.
pub fn metric(family: &FamilyHead<'_>) -> OtlpMetric {
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match family.kind {
        Kind::Counter => {
            Data::Sum(Sum { aggregation_temporality: cumulative, is_monotonic: true, data_points: Vec::new() })
        }
        Kind::Gauge => Data::Gauge(Gauge::default()),
        Kind::Histogram => {
            Data::Histogram(OtlpHistogram { aggregation_temporality: cumulative, data_points: Vec::new() })
        }
    };
    OtlpMetric {
        name: family.name.to_owned(),
        description: family.help.to_owned(),
        unit: unit(family.name).to_owned(),
        data: Some(data),
        ..OtlpMetric::default()
    }
}

/// Adds a data point to a metric of its type.
pub fn add(metric: &mut OtlpMetric, point: DataPoint) {
    match (&mut metric.data, point) {
        (Some(Data::Sum(sum)), DataPoint::Number(point)) => sum.data_points.push(point),
        (Some(Data::Gauge(gauge)), DataPoint::Number(point)) => gauge.data_points.push(point),
        (Some(Data::Histogram(histogram)), DataPoint::Histogram(point)) => histogram.data_points.push(point),
        // A family's samples are all of its type.
        _ => {}
    }
}

/// The unit (UCUM) that a name ends with; Prometheus appends none that is there already.
fn unit(name: &str) -> &'static str {
    match name.strip_suffix("_total").unwrap_or(name) {
        base if base.ends_with("_seconds") => "s",
        base if base.ends_with("_bytes") => "By",
        _ => "",
    }
}

fn number(number: Number) -> Value {
    match number {
        Number::Integer(count) => Value::AsInt(i64::try_from(count).unwrap_or(i64::MAX)),
        Number::Nanos(_) | Number::Float(_) => Value::AsDouble(number.as_f64()),
    }
}

fn histogram_point(histogram: &Histogram<'_>) -> HistogramDataPoint {
    HistogramDataPoint {
        count: histogram.counts.iter().sum(),
        sum: Some(histogram.sum.as_f64()),
        bucket_counts: histogram.counts.to_vec(),
        explicit_bounds: histogram.bounds.to_vec(),
        exemplars: histogram.exemplars.iter().map(|(_, exemplar)| otlp_exemplar(exemplar)).collect(),
        ..HistogramDataPoint::default()
    }
}

fn otlp_exemplar(exemplar: &Exemplar) -> OtlpExemplar {
    OtlpExemplar {
        time_unix_nano: nanos(exemplar.at),
        trace_id: exemplar.trace_id.to_vec(),
        span_id: exemplar.span_id.to_vec(),
        value: Some(ExemplarValue::AsDouble(exemplar.value)),
        ..OtlpExemplar::default()
    }
}

fn nanos(time: Timestamp) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(0).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn times() -> PushTimes {
        let at = |second| LocalTime::new(Timestamp::from_seconds(second));
        PushTimes { now: at(100), state_created: at(10), process_started: at(50) }
    }

    fn single(value: Number, created: Option<i64>) -> Sample<'static> {
        let value = SampleValue::Single { value, exemplar: None };
        Sample {
            labels: vec![("environment", "e"), ("status", "x")],
            value,
            created: created.map(Timestamp::from_seconds),
        }
    }

    fn number_point(kind: Kind, sample: &Sample<'_>, since: CountedSince) -> NumberDataPoint {
        match times().point(kind, sample, since) {
            DataPoint::Number(point) => point,
            other @ DataPoint::Histogram(_) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_counter_starts_with_its_birth_or_the_state_or_the_process() {
        for (created, since, start) in [
            (None, CountedSince::StateCreation, 10),
            (None, CountedSince::ProcessStart, 50),
            (Some(70), CountedSince::StateCreation, 70),
            // Of clocks that disagree, the value's wins.
            (Some(101), CountedSince::StateCreation, 100),
        ] {
            let point = number_point(Kind::Counter, &single(Number::Integer(3), created), since);
            assert_eq!(point.start_time_unix_nano, start * SECOND, "{created:?}");
            assert_eq!((point.time_unix_nano, point.value), (100 * SECOND, Some(Value::AsInt(3))));
            assert_eq!(point.attributes, [text("environment", "e"), text("status", "x")]);
        }
        let gauge = number_point(Kind::Gauge, &single(Number::Nanos(1_500_000_000), None), CountedSince::StateCreation);
        assert_eq!((gauge.start_time_unix_nano, gauge.value), (0, Some(Value::AsDouble(1.5))));
        let largest = number_point(Kind::Counter, &single(Number::Integer(u64::MAX), None), CountedSince::ProcessStart);
        assert_eq!(largest.value, Some(Value::AsInt(i64::MAX)));
    }

    #[test]
    fn a_histogram_keeps_its_buckets_and_exemplars() {
        let at = Timestamp::from_seconds(90);
        let exemplars = [(1, Exemplar { trace_id: [1; 16], span_id: [2; 8], value: 0.7, at })];
        let histogram = Histogram {
            bounds: Cow::Borrowed(&[0.5, 1.0]),
            counts: Cow::Borrowed(&[4, 0, 2]),
            sum: Number::Nanos(2_500_000_000),
            exemplars: &exemplars,
        };
        let sample = Sample { labels: Vec::new(), value: SampleValue::Histogram(histogram), created: None };
        let DataPoint::Histogram(point) = times().point(Kind::Histogram, &sample, CountedSince::StateCreation) else {
            panic!("no histogram");
        };
        assert_eq!((point.count, point.sum, &*point.bucket_counts), (6, Some(2.5), &[4, 0, 2][..]));
        assert_eq!((&*point.explicit_bounds, point.start_time_unix_nano), (&[0.5, 1.0][..], 10 * SECOND));
        let [exemplar] = &*point.exemplars else { panic!("{:?}", point.exemplars) };
        assert_eq!((&*exemplar.trace_id, &*exemplar.span_id), (&[1; 16][..], &[2; 8][..]));
        assert_eq!((exemplar.time_unix_nano, &exemplar.value), (90 * SECOND, &Some(ExemplarValue::AsDouble(0.7))));
    }

    #[test]
    fn a_metric_says_its_type_and_its_unit() {
        for (name, kind, expected) in [
            ("process_cpu_seconds_total", Kind::Counter, "s"),
            ("a_duration_seconds", Kind::Histogram, "s"),
            ("talkover_exporter_state_size_bytes", Kind::Gauge, "By"),
            ("a_total", Kind::Counter, ""),
        ] {
            let made = metric(&FamilyHead { name, kind, help: "Help." });
            assert_eq!((&*made.name, &*made.unit, &*made.description), (name, expected, "Help."));
            let is_right = match made.data.unwrap() {
                Data::Sum(sum) => kind == Kind::Counter && sum.is_monotonic && sum.aggregation_temporality == 2,
                Data::Gauge(_) => kind == Kind::Gauge,
                Data::Histogram(histogram) => kind == Kind::Histogram && histogram.aggregation_temporality == 2,
                _ => false,
            };
            assert!(is_right, "{name}");
        }
    }
}
