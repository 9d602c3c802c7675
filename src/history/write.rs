//! Writes the past as OpenMetrics text with timestamps (<https://prometheus.io/docs/specs/om/open_metrics_spec/>),
//! family by family, then series by series, as `promtool tsdb create-blocks-from openmetrics` needs it.
//!
//! A series has a sample every five minutes, from before its first change to the end of its webhook's past, even if
//! nothing changes: Prometheus shows a sample for five minutes only. It begins with 0, so that `increase()` includes
//! its first change.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use super::grid::GridTime;
use super::replay::Past;
use super::spool::{PastSeries, Point, Spool};
use crate::exposition::model::{FamilyHead, Histogram, Number, Sample, SampleValue};
use crate::exposition::{ExpositionWriter, FamilyWriter, Format};
use crate::sinks::metrics::catalogue::deliveries::info_values;
use crate::sinks::metrics::catalogue::{self, Buckets, Kind, Metric, MetricScope};
use talkover_core::delivery::Timestamp;
use talkover_core::ledger::labels::LabelPolicy;
use talkover_core::ledger::series::{Family, SeriesKey};

/// The metrics that have a past: the counters and histograms that the state keeps, the names of webhooks for joins, and
/// the time of the newest attempt. Other metrics cannot be derived from the log: it does not show how long an entry was
/// open, nor anything about the daemon.
const METRICS: [(&str, PastValues); 9] = [
    ("talkover_exporter_history_gaps_total", PastValues::Totals(Family::HistoryGaps)),
    ("talkover_exporter_log_entries_total", PastValues::Totals(Family::LogEntries)),
    ("talkover_webhook_attempts_per_delivery", PastValues::Totals(Family::AttemptsPerDelivery)),
    ("talkover_webhook_deliveries_total", PastValues::Totals(Family::Deliveries)),
    ("talkover_webhook_delivery_attempts_total", PastValues::Totals(Family::Attempts)),
    ("talkover_webhook_delivery_delay_seconds", PastValues::Totals(Family::Delay)),
    ("talkover_webhook_delivery_duration_seconds", PastValues::Totals(Family::Duration)),
    ("talkover_webhook_info", PastValues::Info),
    ("talkover_webhook_last_attempt_timestamp_seconds", PastValues::LastAttempts),
];

/// If a daemon continues the counters from 0, the sample with the reset to 0 is this long after the last one. The
/// daemon's own first sample is later.
const RESET_AFTER: Duration = Duration::from_secs(1);

/// Text is written to the file in blocks of this size.
const BLOCK_BYTES: usize = 256 * 1024;

/// Where the samples of a metric come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PastValues {
    /// The totals of a family.
    Totals(Family),
    /// The times of the newest attempts.
    LastAttempts,
    /// The names of the webhooks.
    Info,
}

impl PastValues {
    fn family(self) -> Option<Family> {
        if let Self::Totals(family) = self { Some(family) } else { None }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// How many series; each bucket of a histogram is one.
    pub series: u64,
    /// How many samples.
    pub samples: u64,
    /// The size of the file.
    pub bytes: u64,
}

/// The past of all webhooks. Their numbers in `spool` are their places in `pasts`, which is in the order of their
/// labels.
#[derive(Debug)]
pub struct History<'a> {
    /// The webhooks.
    pub pasts: &'a [Past],
    /// Their series.
    pub spool: &'a Spool,
    /// How series are labelled.
    pub labels: &'a LabelPolicy,
}

impl History<'_> {
    /// Writes everything to `out`.
    ///
    /// # Errors
    /// If `out` cannot be written, or the spool cannot be read.
    pub fn write(&self, out: impl Write) -> io::Result<Written> {
        let mut text = Text { out, waiting: String::new(), bytes: 0, error: None };
        let mut written = Written::default();
        let result = self.write_families(&mut text, &mut written);
        result.map_err(|error| text.error.take().unwrap_or(error))?;
        text.give_out()?;
        text.out.flush()?;
        Ok(Written { bytes: text.bytes, ..written })
    }

    fn write_families<W: Write>(&self, text: &mut Text<W>, written: &mut Written) -> io::Result<()> {
        let mut writer = ExpositionWriter::new(Format::OpenMetrics, text);
        for (name, content) in METRICS {
            let Some(metric) = catalogue::all().find(|metric| metric.name == name) else { continue };
            let mut family = writer.family(FamilyHead { name, kind: metric.kind, help: metric.help });
            for (number, past) in self.pasts.iter().enumerate().filter(|(_, past)| past.samples_until > past.from) {
                let lines = self.write_webhook(metric, content, number, past, &mut family)?;
                written.series += lines.series;
                written.samples += lines.samples;
            }
        }
        writer.finish().map_err(io::Error::other)
    }

    fn write_webhook<W: fmt::Write>(
        &self,
        metric: &Metric,
        content: PastValues,
        number: usize,
        past: &Past,
        family: &mut FamilyWriter<'_, W>,
    ) -> io::Result<Written> {
        let names = self.names(metric);
        let subject = [&*past.target.environment, &*past.target.webhook_id];
        let subject = || MetricScope::Target.labels().iter().copied().zip(subject);
        let mut written = Written::default();
        if content == PastValues::Info {
            let labels = subject().chain(names.iter().copied().zip(info_values(&past.target, past.info.as_ref())));
            let point = Point { slot: GridTime::until(past.from), numbers: vec![1] };
            let line = SeriesLines { metric, labels: labels.collect(), bounds: Cow::Borrowed(&[]), past };
            line.write(&[point], family, &mut written)?;
        }
        let kind = content.family();
        for series in self.spool.series(kind, number).filter(|_| content != PastValues::Info) {
            let values: Vec<&str> = match series {
                PastSeries::Total(SeriesKey { labels, .. }) => labels.iter().map(|value| &**value).collect(),
                PastSeries::LastAttempt(status) => vec![status.as_str()],
            };
            let labels = subject().chain(names.iter().copied().zip(values)).collect();
            let line = SeriesLines { metric, labels, bounds: self.bounds(metric), past };
            line.write(&self.spool.points(kind, number, series)?, family, &mut written)?;
        }
        Ok(written)
    }

    /// Returns the label names of a metric.
    fn names(&self, metric: &Metric) -> Vec<&'static str> {
        match metric.buckets {
            Buckets::Configured => self.labels.duration_labels.iter().map(|label| label.as_str()).collect(),
            Buckets::None | Buckets::Fixed(_) => metric.labels.to_vec(),
        }
    }

    fn bounds(&self, metric: &Metric) -> Cow<'_, [f64]> {
        match metric.buckets {
            Buckets::Configured => Cow::Borrowed(&self.labels.duration_buckets),
            Buckets::Fixed(bounds) => Cow::Borrowed(bounds),
            Buckets::None => Cow::Borrowed(&[]),
        }
    }
}

/// What all samples of a series have in common.
struct SeriesLines<'a> {
    metric: &'a Metric,
    labels: Vec<(&'a str, &'a str)>,
    /// A histogram's bounds.
    bounds: Cow<'a, [f64]>,
    past: &'a Past,
}

impl SeriesLines<'_> {
    fn write<W: fmt::Write>(
        self,
        points: &[Point],
        family: &mut FamilyWriter<'_, W>,
        written: &mut Written,
    ) -> io::Result<()> {
        let Some(first) = points.first() else { return Ok(()) };
        let until = self.past.samples_until;
        let zero = vec![0; first.numbers.len()];
        let mut points = points.iter().peekable();
        let mut sample = Sample { value: self.value(&zero), labels: self.labels.clone(), created: None };
        let mut samples = 0;
        let is_gauge = self.metric.kind == Kind::Gauge;
        let begin = if is_gauge { first.slot } else { first.slot.before() };
        for time in times(begin, until) {
            while let Some(point) = points.next_if(|point| point.slot.time() <= time || time == until) {
                sample.value = self.value(&point.numbers);
            }
            family.sample_at(&sample, time).map_err(io::Error::other)?;
            samples += 1;
        }
        if until < self.past.end && !is_gauge {
            sample.value = self.value(&zero);
            family.sample_at(&sample, until.plus(RESET_AFTER)).map_err(io::Error::other)?;
            samples += 1;
        }
        // Buckets, +Inf, sum and count.
        let series = if self.metric.kind == Kind::Histogram { self.bounds.len() as u64 + 3 } else { 1 };
        written.series += series;
        written.samples += series * samples;
        Ok(())
    }

    fn value(&self, numbers: &[u64]) -> SampleValue<'_> {
        let single = |value| SampleValue::Single { value, exemplar: None };
        match (self.metric.kind, numbers) {
            (Kind::Histogram, [counts @ .., sum]) => {
                let is_time = self.metric.name.ends_with("_seconds");
                let sum = if is_time { Number::Nanos(*sum) } else { Number::Integer(*sum) };
                let bounds = Cow::Borrowed(&*self.bounds);
                SampleValue::Histogram(Histogram { bounds, counts: counts.to_vec().into(), sum, exemplars: &[] })
            }
            (Kind::Gauge, [micros]) if self.metric.name.ends_with("_timestamp_seconds") => {
                single(Timestamp::from_micros(i64::try_from(*micros).unwrap_or(i64::MAX)).into())
            }
            (_, numbers) => single(Number::Integer(numbers.first().copied().unwrap_or(0))),
        }
    }
}

/// Returns the times of the samples of a series: every five minutes from `first`, and at `end`.
fn times(first: GridTime, end: Timestamp) -> impl Iterator<Item = Timestamp> {
    let last = GridTime::until(end);
    let tail = Some(end).filter(|end| last.time() < *end);
    first.through(last).map(GridTime::time).chain(tail)
}

/// A buffer for text that is written to a file in blocks.
struct Text<W> {
    out: W,
    waiting: String,
    bytes: u64,
    /// The error of the file: `fmt::Error` cannot carry it.
    error: Option<io::Error>,
}

impl<W: Write> Text<W> {
    fn give_out(&mut self) -> io::Result<()> {
        self.out.write_all(self.waiting.as_bytes())?;
        self.bytes += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

impl<W: Write> fmt::Write for Text<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.waiting.push_str(text);
        if self.waiting.len() < BLOCK_BYTES {
            return Ok(());
        }
        self.give_out().map_err(|error| {
            self.error = Some(error);
            fmt::Error
        })
    }
}

#[cfg(test)]
mod tests;
