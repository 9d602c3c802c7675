//! The exposition formats: writes metric families, one sample at a time, in Prometheus' text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>) or as OpenMetrics 1.0
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
//!
//! [`model`] defines families and samples; `text` and `openmetrics` each write one format, using the pieces in `lines`.
//! Used by `sinks::metrics::scrape`. Pure: no clock, no locks, and no knowledge of which metrics there are.
//!
//! This replaces the `prometheus` crate's encoder, which takes several times as long, fails on an empty family,
//! supports neither OpenMetrics nor created times nor exemplars, prints an explicit +Inf bucket as `inf`, and writes
//! `le` without a decimal point, which Prometheus 3 renames on ingestion and Prometheus 2 does not.

mod lines;
pub mod model;
mod openmetrics;
mod text;

use std::fmt;

use lines::Scratch;
use model::{FamilyHead, Sample};
use talkover_core::delivery::Timestamp;

/// A format of the exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0: the same series, with created times and exemplars.
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

/// Writes an exposition incrementally: each [`family`](Self::family) with its samples, and [`finish`](Self::finish) at
/// the end. Families must come in the order of their names, and the samples of each in the order of their labels.
#[derive(Debug)]
pub struct ExpositionWriter<'a, W> {
    format: Format,
    out: &'a mut W,
    scratch: Scratch,
}

impl<'a, W: fmt::Write> ExpositionWriter<'a, W> {
    /// Writes to `out` in `format`.
    pub fn new(format: Format, out: &'a mut W) -> Self {
        Self { format, out, scratch: Scratch::default() }
    }

    /// Begins a family. A family without samples is not written.
    pub fn family<'w>(&'w mut self, family: FamilyHead<'w>) -> FamilyWriter<'w, W> {
        FamilyWriter { format: self.format, out: self.out, scratch: &mut self.scratch, family, has_head: false }
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

/// Writes the samples of one family.
#[derive(Debug)]
pub struct FamilyWriter<'w, W> {
    format: Format,
    out: &'w mut W,
    scratch: &'w mut Scratch,
    family: FamilyHead<'w>,
    /// Whether the family's head has been written.
    has_head: bool,
}

impl<W: fmt::Write> FamilyWriter<'_, W> {
    /// Adds a sample of the moment of the scrape.
    ///
    /// # Errors
    /// If the output fails.
    pub fn sample(&mut self, sample: &Sample<'_>) -> fmt::Result {
        self.scratch.set_time(None)?;
        self.write(sample)
    }

    /// Adds a sample of the past, in OpenMetrics: the text format counts its times in another unit. The samples of one
    /// series must come in the order of their times.
    ///
    /// # Errors
    /// If the output fails.
    pub fn sample_at(&mut self, sample: &Sample<'_>, time: Timestamp) -> fmt::Result {
        self.scratch.set_time(Some(time).filter(|_| self.format == Format::OpenMetrics))?;
        self.write(sample)
    }

    fn write(&mut self, sample: &Sample<'_>) -> fmt::Result {
        let is_first = !std::mem::replace(&mut self.has_head, true);
        match self.format {
            Format::Text => {
                if is_first {
                    text::head(self.out, &self.family)?;
                }
                text::sample(self.out, &self.family, sample, self.scratch)
            }
            Format::OpenMetrics => {
                if is_first {
                    openmetrics::head(self.out, &self.family)?;
                }
                openmetrics::sample(self.out, &self.family, sample, self.scratch)
            }
        }
    }
}

#[cfg(test)]
mod tests;
