//! Where a row of the catalogue puts what it collects: the samples of one metric for one subject, which is a target, an
//! environment or the process.

use talkover_core::delivery::Timestamp;

use crate::exposition::model::{Exemplar, Histogram, Number, Sample, SampleValue};

/// The samples of one metric for one subject.
#[derive(Debug)]
pub struct Samples<'a> {
    /// The labels that all of them have.
    subject: Vec<(&'a str, &'a str)>,
    /// The names of the labels that distinguish them.
    names: &'a [&'static str],
    samples: Vec<Sample<'a>>,
}

impl<'a> Samples<'a> {
    /// No samples yet. All samples have the labels of `subject`, and labels with these `names`, in the order in which
    /// rows pass their values.
    pub fn new(subject: Vec<(&'a str, &'a str)>, names: &'a [&'static str]) -> Self {
        Self { subject, names, samples: Vec::new() }
    }

    /// Adds a series with these values of its labels.
    pub fn push(&mut self, labels: impl IntoIterator<Item = &'a str>, value: impl Into<Number>) {
        self.add(labels, SampleValue::Single { value: value.into(), exemplar: None }, None);
    }

    /// Adds a series if its value is known.
    pub fn push_known(&mut self, labels: impl IntoIterator<Item = &'a str>, value: Option<impl Into<Number>>) {
        if let Some(value) = value {
            self.push(labels, value);
        }
    }

    /// Adds a counter, with its created time and exemplar if they are known.
    pub fn push_counter(
        &mut self,
        labels: impl IntoIterator<Item = &'a str>,
        value: u64,
        created: Option<Timestamp>,
        exemplar: Option<Exemplar>,
    ) {
        self.add(labels, SampleValue::Single { value: Number::Integer(value), exemplar }, created);
    }

    /// Adds a histogram.
    pub fn push_histogram(
        &mut self,
        labels: impl IntoIterator<Item = &'a str>,
        histogram: Histogram<'a>,
        created: Option<Timestamp>,
    ) {
        self.add(labels, SampleValue::Histogram(histogram), created);
    }

    fn add(&mut self, labels: impl IntoIterator<Item = &'a str>, value: SampleValue<'a>, created: Option<Timestamp>) {
        let own = self.names.iter().copied().zip(labels);
        let labels = self.subject.iter().copied().chain(own).collect();
        self.samples.push(Sample { labels, value, created });
    }

    /// Returns how many series they are in the text formats: a histogram is one for each bucket, its sum and its count.
    pub fn series(&self) -> usize {
        let of_sample = |sample: &Sample<'_>| match &sample.value {
            SampleValue::Single { .. } => 1,
            SampleValue::Histogram(histogram) => histogram.counts.len() + 2,
        };
        self.samples.iter().map(of_sample).sum()
    }

    /// Returns the samples in the order of their labels.
    pub fn sorted(mut self) -> Vec<Sample<'a>> {
        let own = self.subject.len();
        self.samples.sort_by(|one, other| one.labels[own..].cmp(&other.labels[own..]));
        self.samples
    }
}
