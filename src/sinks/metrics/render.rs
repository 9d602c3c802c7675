//! Writes metric families in Prometheus' text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>), and as OpenMetrics 1.0
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
//!
//! Not the `prometheus` crate's encoder: that one takes several times as long, fails where a family is empty, knows no OpenMetrics,
//! prints an explicit +Inf bucket as `inf`, and writes `le` without a decimal point, which Prometheus 3 renames on ingestion and
//! Prometheus 2 does not.

use std::fmt::Write;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use super::families::EXEMPLARS;

/// The content type of the text format.
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The content type of OpenMetrics.
pub const OPENMETRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A format of the exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0: the same series; of those that were born while the daemon looked on, when; and exemplars.
    OpenMetrics,
}

impl Format {
    /// Its content type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => TEXT_CONTENT_TYPE,
            Self::OpenMetrics => OPENMETRICS_CONTENT_TYPE,
        }
    }
}

/// The families in `format`. Families without series are left out.
pub fn render(families: &[MetricFamily], format: Format) -> String {
    let series: usize = families.iter().map(|family| family.get_metric().len()).sum();
    let mut writer = Writer { out: String::with_capacity(series * 160 + families.len() * 120), format };
    for family in families.iter().filter(|family| !family.get_metric().is_empty()) {
        writer.family(family);
    }
    if format == Format::OpenMetrics {
        writer.out.push_str("# EOF\n");
    }
    writer.out
}

struct Writer {
    out: String,
    format: Format,
}

impl Writer {
    fn family(&mut self, family: &MetricFamily) {
        let is_open = self.format == Format::OpenMetrics;
        let (kind, is_histogram) = match family.get_field_type() {
            MetricType::COUNTER => ("counter", false),
            MetricType::GAUGE => ("gauge", false),
            MetricType::HISTOGRAM => ("histogram", true),
            _ if is_open => ("unknown", false),
            _ => ("untyped", false),
        };
        // In OpenMetrics a counter's family has the name without the suffix of its samples.
        let base = family.name().strip_suffix("_total").filter(|_| is_open && kind == "counter");
        let (name, suffix) = base.map_or((family.name(), ""), |base| (base, "_total"));
        self.push(&["# HELP ", name, " "]);
        escape(&mut self.out, family.help(), is_open);
        self.push(&["\n# TYPE ", name, " ", kind, "\n"]);
        for metric in family.get_metric() {
            let (labels, exemplars) = split(metric.get_label());
            if is_histogram {
                self.histogram(name, labels, metric, exemplars);
            } else {
                let exemplar = exemplar_at(exemplars, 0);
                self.sample(name, suffix, labels, None, value_of(family, metric), exemplar);
            }
            if is_open && kind != "gauge" {
                self.created(name, labels, metric);
            }
        }
    }

    /// When a series was born, where that is known.
    fn created(&mut self, name: &str, labels: &[LabelPair], metric: &Metric) {
        let millis = metric.timestamp_ms();
        if millis != 0 {
            self.sample(name, "_created", labels, None, millis as f64 / 1e3, None);
        }
    }

    fn histogram(&mut self, name: &str, labels: &[LabelPair], metric: &Metric, exemplars: &str) {
        let histogram = metric.get_histogram();
        let count = histogram.get_sample_count() as f64;
        let mut bound = String::new();
        let finite = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
        let mut position = 0;
        for bucket in finite {
            bound.clear();
            // Rust writes a float of this notation with a decimal point always, as OpenMetrics demands for `le`.
            push_fmt(&mut bound, format_args!("{:?}", bucket.upper_bound()));
            let exemplar = exemplar_at(exemplars, position);
            self.sample(name, "_bucket", labels, Some(&bound), bucket.cumulative_count() as f64, exemplar);
            position += 1;
        }
        self.sample(name, "_bucket", labels, Some("+Inf"), count, exemplar_at(exemplars, position));
        self.sample(name, "_sum", labels, None, histogram.get_sample_sum(), None);
        self.sample(name, "_count", labels, None, count, None);
    }

    fn sample(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &[LabelPair],
        le: Option<&str>,
        value: f64,
        exemplar: Option<&str>,
    ) {
        self.push(&[name, suffix]);
        let pairs = labels.iter().map(|pair| (pair.name(), pair.value())).chain(le.map(|bound| ("le", bound)));
        let mut opening = "{";
        for (name, value) in pairs {
            self.push(&[opening, name, "=\""]);
            escape(&mut self.out, value, true);
            self.out.push('"');
            opening = ",";
        }
        if opening == "," {
            self.out.push('}');
        }
        self.out.push(' ');
        number(&mut self.out, value);
        if let Some(exemplar) = exemplar.filter(|_| self.format == Format::OpenMetrics) {
            self.push(&[" # ", exemplar]);
        }
        self.out.push('\n');
    }

    fn push(&mut self, texts: &[&str]) {
        for text in texts {
            self.out.push_str(text);
        }
    }
}

/// The labels of a series, and the exemplars that travel with them.
fn split(labels: &[LabelPair]) -> (&[LabelPair], &str) {
    match labels {
        [own @ .., last] if last.name() == EXEMPLARS => (own, last.value()),
        _ => (labels, ""),
    }
}

/// The exemplar of the bucket at that position.
fn exemplar_at(exemplars: &str, position: usize) -> Option<&str> {
    let mut placed = exemplars.lines().filter_map(|line| line.split_once(' '));
    placed.find(|(at, _)| at.parse() == Ok(position)).map(|(_, exemplar)| exemplar)
}

fn value_of(family: &MetricFamily, metric: &Metric) -> f64 {
    match family.get_field_type() {
        MetricType::COUNTER => metric.get_counter().get_value(),
        _ => metric.get_gauge().get_value(),
    }
}

/// Integers without a point, everything else in the shortest form that reads back as the same number.
fn number(out: &mut String, value: f64) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        push_fmt(out, format_args!("{value}"));
    }
}

fn push_fmt(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _infallible = out.write_fmt(arguments);
}

/// Backslashes and line feeds, and in label values quotation marks, are escaped.
fn escape(out: &mut String, text: &str, quotes: bool) {
    let mut rest = text;
    while let Some(position) = rest.find(|c| c == '\\' || c == '\n' || (quotes && c == '"')) {
        out.push_str(&rest[..position]);
        out.push_str(match rest.as_bytes()[position] {
            b'\\' => "\\\\",
            b'\n' => "\\n",
            _ => "\\\"",
        });
        rest = &rest[position + 1..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests;
