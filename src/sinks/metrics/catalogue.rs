//! Every metric that is served, each defined once, as one row: what it is (name, type, labels, buckets, meaning) and
//! how it is collected from the board.
//!
//! To add a metric, add a row to the table of its scope, and keep its value somewhere. The scrape, the reference in the
//! documentation and the checks of the dashboards are derived from the tables.
//!
//! *Invariant:* rows only read what they are given, so that all rows of a scrape show one state.

pub mod daemon;
pub mod deliveries;
pub mod environment;
pub mod process;
pub mod work;

pub use crate::exposition::model::Kind;
use crate::sinks::metrics::board::TargetView;
use crate::sinks::metrics::samples::Samples;

/// What a metric describes, and therefore its first labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricScope {
    /// Deliveries of one webhook: `environment`, `webhook_id`.
    Deliveries,
    /// The daemon's work on one webhook: `environment`, `webhook_id`.
    Target,
    /// The daemon's work on one environment: `environment`.
    Environment,
    /// The process.
    Process,
}

impl MetricScope {
    /// Returns the labels common to all series of this scope.
    pub const fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Deliveries | Self::Target => &["environment", "webhook_id"],
            Self::Environment => &["environment"],
            Self::Process => &[],
        }
    }
}

/// The bounds of a histogram's buckets, in the unit of its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Buckets {
    /// No histogram.
    None,
    /// Always these.
    Fixed(&'static [f64]),
    /// `metrics.duration_buckets`, under the labels of `metrics.duration_labels`.
    Configured,
}

/// The definition of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name in the exposition.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What it describes.
    pub scope: MetricScope,
    /// The labels after those of the scope.
    pub labels: &'static [&'static str],
    /// Its buckets.
    pub buckets: Buckets,
    /// Whether its values survive a restart; the others start at 0 with the process.
    pub durable: bool,
    /// What it means.
    pub help: &'static str,
}

impl Metric {
    /// Returns all labels, in the order in which series show them.
    pub fn all_labels(&self) -> Vec<&'static str> {
        [self.scope.labels(), self.labels].concat()
    }
}

/// The defaults of rows.
const BASE: Metric = Metric {
    name: "",
    kind: Kind::Gauge,
    scope: MetricScope::Process,
    labels: &[],
    buckets: Buckets::None,
    durable: false,
    help: "",
};

/// A metric and how it is collected.
#[derive(Clone, Copy, Debug)]
pub struct MetricRow<C> {
    /// Its definition.
    pub metric: Metric,
    /// How its samples are collected.
    pub collect: C,
}

/// Returns every metric, in the order of the reference.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    let targets = deliveries::ROWS.iter().chain(work::ROWS).map(|row| &row.metric);
    let environments = environment::ROWS.iter().map(|row| &row.metric);
    let daemon = daemon::ROWS.iter().map(|row| &row.metric);
    targets.chain(environments).chain(daemon).chain(process::ROWS.iter().map(|row| &row.metric))
}

/// How many series of a scrape are about a webhook: as in the text formats, where a bucket is one.
pub fn series_of(view: &TargetView) -> usize {
    let rows = deliveries::ROWS.iter().chain(work::ROWS);
    let of_row = |row: &deliveries::TargetRow| {
        let mut samples = Samples::new(Vec::new(), &[]);
        row.collect.collect(view, &mut samples);
        samples.series()
    };
    rows.map(of_row).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_valid_unique_and_say_what_they_are() {
        let mut names = BTreeSet::new();
        for metric in all() {
            let name = metric.name;
            assert!(names.insert(name), "{name} is there twice");
            for word in metric.all_labels().into_iter().chain([name]) {
                assert!(word.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{name}: {word}");
            }
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(metric.kind == Kind::Histogram, metric.buckets != Buckets::None, "{name}");
            assert!(metric.help.ends_with('.') && metric.help.is_ascii(), "{name}");
        }
    }

    #[test]
    fn each_table_has_metrics_of_its_own_scope() {
        let scopes = |rows: &[Metric], scope| rows.iter().all(|metric| metric.scope == scope);
        let metrics = |rows: &[deliveries::TargetRow]| rows.iter().map(|row| row.metric).collect::<Vec<_>>();
        assert!(scopes(&metrics(deliveries::ROWS), MetricScope::Deliveries));
        assert!(scopes(&metrics(work::ROWS), MetricScope::Target));
        let metrics: Vec<Metric> = environment::ROWS.iter().map(|row| row.metric).collect();
        assert!(scopes(&metrics, MetricScope::Environment));
    }
}
