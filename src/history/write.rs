//! Writes the past as OpenMetrics text with times (<https://prometheus.io/docs/specs/om/open_metrics_spec/>), family by
//! family and in each series by series, as `promtool tsdb create-blocks-from openmetrics` wants it.
//!
//! A series has a sample every five minutes from before its first change to the end of its webhook's past, also where
//! nothing changes: Prometheus shows nothing five minutes after a sample that has no successor. It begins with 0, so that
//! `increase()` sees its first change too.

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

/// The metrics of which there is a past: the counters and histograms that the state keeps, the names of webhooks for
/// joins, and the time of the newest attempt, which the log tells exactly. What the log does not tell is left out: it
/// shows what became of an entry and not for how long it was open, nor how a daemon would have fared.
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

/// The reset of a counter that a daemon goes on with comes so long after its last sample. The daemon's first own one is
/// later: it knows nothing of the time before it was started.
const RESET_AFTER: Duration = Duration::from_secs(1);

/// Text goes to the file by so many bytes.
const BLOCK_BYTES: usize = 256 * 1024;

/// Where the samples of a metric come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PastValues {
    /// The totals of a family.
    Totals(Family),
    /// The times of the newest attempts.
    LastAttempts,
    /// What is known of the webhooks.
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
    /// Series, each bucket of a histogram being one.
    pub series: u64,
    /// Samples of them.
    pub samples: u64,
    /// The length of the file.
    pub bytes: u64,
}

/// The past of webhooks, which are numbered in `spool` in the order of `pasts`: that of their labels.
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

    /// The names of the labels that tell the series of a metric apart.
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

/// A series: what is the same in all of its samples.
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

/// The times of the samples of a series: every five minutes from `first`, and at the end.
fn times(first: GridTime, end: Timestamp) -> impl Iterator<Item = Timestamp> {
    let last = GridTime::until(end);
    let tail = Some(end).filter(|end| last.time() < *end);
    first.through(last).map(GridTime::time).chain(tail)
}

/// Text on its way to a file.
struct Text<W> {
    out: W,
    waiting: String,
    bytes: u64,
    /// What went wrong: the writers of text know only that something did.
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
