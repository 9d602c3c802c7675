//! Converts the families of the `prometheus` crate's registry, where the daemon counts its own work, to the exposition
//! model.

use std::borrow::Cow;

use prometheus::proto::{Metric, MetricFamily, MetricType};

use crate::exposition::model::{FamilyHead, Histogram, Kind, Number, Sample, SampleValue};

/// Returns what the samples of a family share; `None` for types that the daemon does not use.
pub fn family(family: &MetricFamily) -> Option<FamilyHead<'_>> {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => Kind::Counter,
        MetricType::GAUGE => Kind::Gauge,
        MetricType::HISTOGRAM => Kind::Histogram,
        MetricType::SUMMARY | MetricType::UNTYPED => return None,
    };
    Some(FamilyHead { name: family.name(), kind, help: family.help() })
}

/// Returns a sample of a family of the type `kind`.
pub fn sample(metric: &Metric, kind: Kind) -> Sample<'_> {
    let labels = metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
    let single = |value| SampleValue::Single { value: Number::Float(value), exemplar: None };
    let value = match kind {
        Kind::Counter => single(metric.get_counter().get_value()),
        Kind::Gauge => single(metric.get_gauge().get_value()),
        Kind::Histogram => SampleValue::Histogram(histogram(metric.get_histogram())),
    };
    Sample { labels, value, created: None }
}

/// Converts a histogram: the crate's buckets are cumulative, and the last one may be +Inf.
fn histogram(histogram: &prometheus::proto::Histogram) -> Histogram<'static> {
    let finite = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
    let (mut bounds, mut counts, mut below) = (Vec::new(), Vec::new(), 0);
    for bucket in finite {
        bounds.push(bucket.upper_bound());
        counts.push(bucket.cumulative_count().saturating_sub(below));
        below = bucket.cumulative_count();
    }
    counts.push(histogram.get_sample_count().saturating_sub(below));
    Histogram {
        bounds: Cow::Owned(bounds),
        counts: Cow::Owned(counts),
        sum: Number::Float(histogram.get_sample_sum()),
        exemplars: &[],
    }
}
