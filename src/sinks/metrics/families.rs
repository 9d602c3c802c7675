//! Builds the `prometheus` crate's families from the catalogue's definitions.

use prometheus::core::Desc;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as ProtoHistogram, LabelPair, Metric as Sample, MetricFamily, MetricType,
};

use super::catalogue::{Kind, Metric};
use super::exemplars::Exemplar;
use talkover_core::delivery::Timestamp;
use talkover_core::ledger::totals::Histogram;

/// The name of a label that no series has: the crate's samples have no place for exemplars either, so that they travel to
/// `render` as the value of this one, as [`add_exemplars`](Family::add_exemplars) writes them.
pub(super) const EXEMPLARS: &str = "\0exemplars";

/// A family that is being filled.
pub(super) struct Family {
    metric: &'static Metric,
    samples: Vec<Sample>,
}

impl Family {
    /// An empty family.
    pub(super) fn new(metric: &'static Metric) -> Self {
        Self { metric, samples: Vec::new() }
    }

    /// Adds a series with the values of all labels, in the catalogue's order.
    pub(super) fn push(&mut self, labels: &[&str], value: f64) {
        self.push_created(labels, value, None);
    }

    /// Adds a series that was born at a known moment.
    pub(super) fn push_created(&mut self, labels: &[&str], value: f64, created: Option<Timestamp>) {
        let pairs = self.metric.all_labels();
        let mut sample = labelled(pairs.iter().copied().zip(labels.iter().copied()));
        match self.metric.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                sample.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                sample.set_gauge(gauge);
            }
        }
        set_created(&mut sample, created);
        self.samples.push(sample);
    }

    /// Adds a histogram under the given pairs of label and value; its sum is divided by `per_unit`.
    pub(super) fn push_histogram<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        histogram: &Histogram,
        per_unit: f64,
        created: Option<Timestamp>,
    ) {
        let mut sample = labelled(labels);
        let mut cumulative = 0;
        let buckets = histogram
            .bounds
            .iter()
            .zip(&histogram.counts)
            .map(|(bound, count)| {
                cumulative += count;
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(*bound);
                bucket.set_cumulative_count(cumulative);
                bucket
            })
            .collect();
        let mut proto = ProtoHistogram::default();
        proto.set_bucket(buckets);
        proto.set_sample_count(histogram.count());
        proto.set_sample_sum(histogram.sum as f64 / per_unit);
        sample.set_histogram(proto);
        set_created(&mut sample, created);
        self.samples.push(sample);
    }

    /// Adds exemplars to the series that was added last, by the position of the bucket: each as the line `POSITION EXEMPLAR`,
    /// the exemplar as OpenMetrics writes it.
    pub(super) fn add_exemplars(&mut self, exemplars: impl Iterator<Item = (usize, Exemplar)>) {
        let lines: String = exemplars.map(|(position, exemplar)| format!("{position} {exemplar}\n")).collect();
        if let Some(sample) = self.samples.last_mut().filter(|_| !lines.is_empty()) {
            let mut labels = sample.take_label();
            labels.push(pair(EXEMPLARS, &lines));
            sample.set_label(labels);
        }
    }

    /// The family as the registry wants it.
    pub(super) fn finish(self) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.metric.name.to_owned());
        family.set_help(self.metric.help.to_owned());
        family.set_field_type(match self.metric.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        family.set_metric(self.samples);
        family
    }
}

/// The crate's samples have no place for the time of their birth. That of a timestamp is free, since none is ever exposed;
/// `render` writes it as `_created`, in the formats that have that.
fn set_created(sample: &mut Sample, created: Option<Timestamp>) {
    if let Some(created) = created {
        sample.set_timestamp_ms(created.as_micros() / 1000);
    }
}

fn labelled<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Sample {
    Sample::from_label(pairs.map(|(name, value)| pair(name, value)).collect())
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

/// What the registry wants to know of a metric before it is collected.
pub(super) fn describe(metric: &Metric) -> Option<Desc> {
    let labels = metric.all_labels().iter().map(|label| (*label).to_owned()).collect();
    // The catalogue's names are constants, and a test registers them all.
    Desc::new(metric.name.to_owned(), metric.help.to_owned(), labels, Default::default()).ok()
}
