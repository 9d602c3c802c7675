//! The exposition formats: writes metric families, one sample at a time, in Prometheus' text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>) or as OpenMetrics 1.0
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
//!
//! [`model`] says what a family and a sample are; `text` and `openmetrics` each write one format out of the pieces in `lines`.
//! Used by `sinks::metrics::scrape`. Pure: no clock, no locks, and no knowledge of which metrics there are.
//!
//! Not the `prometheus` crate's encoder: it takes several times as long, fails on an empty family, has no OpenMetrics, created times
//! or exemplars, prints an explicit +Inf bucket as `inf`, and writes `le` without a decimal point, which Prometheus 3 renames
//! on ingestion and Prometheus 2 does not.

mod lines;
pub mod model;
mod openmetrics;
mod text;

use std::fmt;

use lines::Scratch;
use model::{Family, Sample};

/// A format of the exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0: the same series, and their created times and exemplars.
    OpenMetrics,
}

impl Format {
    /// Returns the format's content type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes an exposition as it comes: [`begin`](Self::begin) a family, add its samples, and [`finish`](Self::finish) at the end.
/// Families must come in the order of their names, and each family's samples in the order of their labels.
#[derive(Debug)]
pub struct Writer<'a, W> {
    format: Format,
    out: &'a mut W,
    family: Option<Family<'a>>,
    /// Whether the family's head has been written.
    has_head: bool,
    scratch: Scratch,
}

impl<'a, W: fmt::Write> Writer<'a, W> {
    /// Writes to `out` in `format`.
    pub fn new(format: Format, out: &'a mut W) -> Self {
        Self { format, out, family: None, has_head: false, scratch: Scratch::default() }
    }

    /// Begins a family. Nothing is written of one that gets no samples.
    pub fn begin(&mut self, family: Family<'a>) {
        self.family = Some(family);
        self.has_head = false;
    }

    /// Adds a sample to the family. Before the first family, samples are dropped.
    ///
    /// # Errors
    /// If `out` fails.
    pub fn sample(&mut self, sample: &Sample<'_>) -> fmt::Result {
        let Some(family) = &self.family else { return Ok(()) };
        if !self.has_head {
            match self.format {
                Format::Text => text::head(self.out, family)?,
                Format::OpenMetrics => openmetrics::head(self.out, family)?,
            }
            self.has_head = true;
        }
        match self.format {
            Format::Text => text::sample(self.out, family, sample, &mut self.scratch),
            Format::OpenMetrics => openmetrics::sample(self.out, family, sample, &mut self.scratch),
        }
    }

    /// Ends the exposition.
    ///
    /// # Errors
    /// If `out` fails.
    pub fn finish(self) -> fmt::Result {
        match self.format {
            Format::Text => Ok(()),
            Format::OpenMetrics => openmetrics::end(self.out),
        }
    }
}

#[cfg(test)]
mod tests;
