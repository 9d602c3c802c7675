//! What an exposition consists of: families of samples, independent of the format in which they are written.
//!
//! A sample has everything that any format can show; a format omits what it cannot express.

use std::borrow::Cow;
use std::time::Duration;

use talkover_core::delivery::Timestamp;
use talkover_core::spans::ids::{SpanId, TraceId};

/// A metric's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

impl Kind {
    /// Returns the type's name in the exposition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What the samples of a family share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyHead<'a> {
    /// The name; a counter's with its suffix `_total`.
    pub name: &'a str,
    /// The type.
    pub kind: Kind,
    /// What it means.
    pub help: &'a str,
}

/// One series with its current value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// Names and values of the labels, without `le`.
    pub labels: Vec<(&'a str, &'a str)>,
    /// The value.
    pub value: SampleValue<'a>,
    /// When a counter or a histogram started to count, if known.
    pub created: Option<Timestamp>,
}

/// The value of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue<'a> {
    /// Of a counter or a gauge.
    Single {
        /// The value.
        value: Number,
        /// A counter's exemplar.
        exemplar: Option<Exemplar>,
    },
    /// Of a histogram.
    Histogram(Histogram<'a>),
}

/// A histogram's observations.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram<'a> {
    /// Upper bounds, ascending and finite.
    pub bounds: Cow<'a, [f64]>,
    /// Observations in each bucket alone; one more than `bounds`, for +Inf.
    pub counts: Cow<'a, [u64]>,
    /// The sum of what was observed.
    pub sum: Number,
    /// Exemplars by the position of their bucket, ascending.
    pub exemplars: &'a [(usize, Exemplar)],
}

/// A number, exact if it was counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A count.
    Integer(u64),
    /// A sum of nanoseconds, shown in seconds.
    Nanos(u64),
    /// Anything else.
    Float(f64),
}

impl Number {
    /// Returns the number that is shown.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Nanos(nanos) => nanos as f64 / 1e9,
            Self::Float(value) => value,
        }
    }
}

impl From<bool> for Number {
    fn from(value: bool) -> Self {
        Self::Integer(u64::from(value))
    }
}

impl From<u32> for Number {
    fn from(value: u32) -> Self {
        Self::Integer(u64::from(value))
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::Integer(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

/// Seconds since the Unix epoch.
impl From<Timestamp> for Number {
    fn from(value: Timestamp) -> Self {
        Self::Float(value.as_seconds_f64())
    }
}

/// Seconds.
impl From<Duration> for Number {
    fn from(value: Duration) -> Self {
        Self::Float(value.as_secs_f64())
    }
}

/// An observation, and the span in which it can be examined
/// (<https://prometheus.io/docs/specs/om/open_metrics_spec/#exemplars>).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// What was observed, in the unit of the metric; 1 for a counter.
    pub value: f64,
    /// When it was observed.
    pub at: Timestamp,
}
