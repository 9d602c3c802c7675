//! What both formats consist of: lines with labels and numbers. OpenMetrics began as the text format.

use std::fmt::{self, Write};

use super::model::{Exemplar, Histogram, Number, Sample, SampleValue};
use talkover_core::delivery::Timestamp;

/// Text that is reused from one sample to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The labels of the sample: `a="x",b="y"`.
    labels: String,
    /// The bounds of the last histogram, and their text for `le`: the histograms of a family mostly have the same.
    bounds: Vec<f64>,
    shown_bounds: Vec<String>,
    /// What follows the values of the sample: a space and its time, or nothing if it is of the moment of the scrape.
    time: String,
}

impl Scratch {
    /// Returns the labels of the sample that was written last.
    pub(super) fn labels(&self) -> &str {
        &self.labels
    }

    /// Sets the time of the samples to come; `None` if that is the moment of the scrape.
    pub(super) fn set_time(&mut self, time: Option<Timestamp>) -> fmt::Result {
        self.time.clear();
        let Some(time) = time else { return Ok(()) };
        self.time.push(' ');
        number(&mut self.time, Number::from(time))
    }

    fn set_labels(&mut self, labels: &[(&str, &str)]) -> fmt::Result {
        self.labels.clear();
        for (position, (name, value)) in labels.iter().enumerate() {
            if position > 0 {
                self.labels.push(',');
            }
            self.labels.push_str(name);
            self.labels.push_str("=\"");
            escape(&mut self.labels, value, &['\\', '\n', '"'])?;
            self.labels.push('"');
        }
        Ok(())
    }

    fn set_bounds(&mut self, bounds: &[f64]) {
        if self.bounds != bounds {
            self.bounds = bounds.to_vec();
            self.shown_bounds = bounds.iter().map(|bound| shown_bound(*bound)).collect();
        }
    }
}

/// A bound as the label `le` shows it: with a decimal point or an exponent, in the notation to which Prometheus 3
/// normalises it when it scrapes (`FormatFloat(bound, 'g', -1, 64)` of Go).
fn shown_bound(bound: f64) -> String {
    let scientific = format!("{bound:e}");
    let parts = scientific.split_once('e').and_then(|(mantissa, exponent)| Some((mantissa, exponent.parse().ok()?)));
    match parts {
        Some((mantissa, exponent @ (..=-5 | 6..))) => format!("{mantissa}e{exponent:+03}"),
        _ => format!("{bound:?}"),
    }
}

/// Writes `# HELP` and `# TYPE`; the help text is escaped already.
pub(super) fn head<W: Write>(
    out: &mut W,
    name: &str,
    kind: &str,
    help: impl FnOnce(&mut W) -> fmt::Result,
) -> fmt::Result {
    write!(out, "# HELP {name} ")?;
    help(out)?;
    writeln!(out, "\n# TYPE {name} {kind}")
}

/// Writes the lines of a sample of `name`, each with its exemplar written by `exemplar`.
pub(super) fn sample<W: Write>(
    out: &mut W,
    name: &str,
    suffix: &str,
    sample: &Sample<'_>,
    scratch: &mut Scratch,
    exemplar: impl Fn(&mut W, &Exemplar) -> fmt::Result,
) -> fmt::Result {
    scratch.set_labels(&sample.labels)?;
    match &sample.value {
        SampleValue::Single { value, exemplar: own } => {
            line(out, name, suffix, &scratch.labels, *value)?;
            out.write_str(&scratch.time)?;
            own.iter().try_for_each(|one| exemplar(out, one))?;
            out.write_char('\n')
        }
        SampleValue::Histogram(value) => {
            scratch.set_bounds(&value.bounds);
            histogram(out, name, value, scratch, exemplar)
        }
    }
}

fn histogram<W: Write>(
    out: &mut W,
    name: &str,
    histogram: &Histogram<'_>,
    scratch: &Scratch,
    exemplar: impl Fn(&mut W, &Exemplar) -> fmt::Result,
) -> fmt::Result {
    let labels = &scratch.labels;
    let bounds = scratch.shown_bounds.iter().map(String::as_str).chain(["+Inf"]);
    let mut exemplars = histogram.exemplars.iter().peekable();
    let mut cumulative = 0;
    for (position, (bound, count)) in bounds.zip(&*histogram.counts).enumerate() {
        cumulative += count;
        out.write_str(name)?;
        out.write_str("_bucket{")?;
        out.write_str(labels)?;
        out.write_str(if labels.is_empty() { "le=\"" } else { ",le=\"" })?;
        out.write_str(bound)?;
        out.write_str("\"} ")?;
        number(out, Number::Integer(cumulative))?;
        out.write_str(&scratch.time)?;
        if let Some((_, one)) = exemplars.next_if(|(of, _)| *of == position) {
            exemplar(out, one)?;
        }
        out.write_char('\n')?;
    }
    line(out, name, "_sum", labels, histogram.sum)?;
    writeln!(out, "{}", scratch.time)?;
    line(out, name, "_count", labels, Number::Integer(cumulative))?;
    writeln!(out, "{}", scratch.time)
}

/// Writes a line up to its value.
pub(super) fn line(out: &mut impl Write, name: &str, suffix: &str, labels: &str, value: Number) -> fmt::Result {
    out.write_str(name)?;
    out.write_str(suffix)?;
    if !labels.is_empty() {
        out.write_char('{')?;
        out.write_str(labels)?;
        out.write_char('}')?;
    }
    out.write_char(' ')?;
    number(out, value)
}

/// Writes integers without a point, and anything else in the shortest form that parses as the same number.
pub(super) fn number(out: &mut impl Write, number: Number) -> fmt::Result {
    match number {
        Number::Integer(value) => write!(out, "{value}"),
        Number::Float(value) if value.is_nan() => out.write_str("NaN"),
        Number::Float(f64::INFINITY) => out.write_str("+Inf"),
        Number::Float(f64::NEG_INFINITY) => out.write_str("-Inf"),
        Number::Nanos(_) | Number::Float(_) => write!(out, "{}", number.as_f64()),
    }
}

/// Escapes backslashes, line feeds and quotation marks, if they are `special`.
pub(super) fn escape(out: &mut impl Write, text: &str, special: &[char]) -> fmt::Result {
    let mut rest = text;
    while let Some(position) = rest.find(special) {
        out.write_str(&rest[..position])?;
        out.write_str(match rest.as_bytes()[position] {
            b'\\' => "\\\\",
            b'\n' => "\\n",
            _ => "\\\"",
        })?;
        rest = &rest[position + 1..];
    }
    out.write_str(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_written_as_prometheus_would_rewrite_it() {
        for (bound, shown) in [
            (1.0, "1.0"),
            (0.5, "0.5"),
            (0.0001, "0.0001"),
            (0.00005, "5e-05"),
            (0.000_012_5, "1.25e-05"),
            (86_400.0, "86400.0"),
            (999_999.5, "999999.5"),
            (1_000_000.0, "1e+06"),
            (1.5e12, "1.5e+12"),
        ] {
            assert_eq!(shown_bound(bound), shown);
        }
    }
}
