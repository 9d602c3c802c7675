//! The metric reference of the documentation, generated from the catalogue.

use std::fmt::Write;

use super::catalogue::{Buckets, Kind, Metric, MetricScope, all};

/// The reference as Markdown: one table for each scope.
pub fn markdown() -> String {
    let mut text = String::new();
    for (scope, title) in [
        (MetricScope::Deliveries, "Deliveries, by webhook"),
        (MetricScope::Target, "The exporter's work, by webhook"),
        (MetricScope::Environment, "The exporter's work, by environment"),
        (MetricScope::Process, "The exporter itself"),
    ] {
        let common = scope.labels().iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let common = if common.is_empty() { String::new() } else { format!("Labels common to all: {common}.\n\n") };
        push(&mut text, format_args!("### {title}\n\n{common}| metric | type | further labels | meaning |\n"));
        push(&mut text, format_args!("| --- | --- | --- | --- |\n"));
        for metric in all().filter(|metric| metric.scope == scope) {
            push(&mut text, format_args!("{}\n", row(metric)));
        }
        text.push('\n');
    }
    text.push_str("† goes on from its value after a restart; every value is on disk before it is served.\n");
    text
}

fn row(metric: &Metric) -> String {
    let durable = if metric.durable && metric.kind != Kind::Gauge { " †" } else { "" };
    let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
    let buckets = match metric.buckets {
        Buckets::None => String::new(),
        Buckets::Configured => " Buckets: `metrics.duration_buckets`.".to_owned(),
        Buckets::Fixed(bounds) => {
            format!(" Buckets: {}.", bounds.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        }
    };
    format!("| `{}` | {}{durable} | {labels} | {}{buckets} |", metric.name, metric.kind.as_str(), metric.help)
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _infallible = text.write_fmt(arguments);
}
