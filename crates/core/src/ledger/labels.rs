//! From an attempt to the label values that it is counted with, within the bounds that keep the number of series finite.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::totals::{Family, SeriesKey, Totals};
use crate::delivery::{Attempt, HttpStatus, Status};

/// The label value of what exceeds a bound.
const OVERFLOW: &str = "overflow";
/// Longer event names count as overflow, in bytes.
pub(crate) const MAX_EVENT_BYTES: usize = 128;

/// How `http_status` is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpStatusDetail {
    /// `503`
    Exact,
    /// `5xx`
    Class,
    /// The empty text.
    Off,
}

/// A label that may be left out of the duration histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AttemptLabel {
    /// `event`
    Event,
    /// `status`
    Status,
    /// `http_status`
    HttpStatus,
}

impl AttemptLabel {
    /// All of them, in the order in which series show them.
    pub const ALL: [Self; 3] = [Self::Event, Self::Status, Self::HttpStatus];

    /// The label's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Status => "status",
            Self::HttpStatus => "http_status",
        }
    }
}

/// The settings of `metrics` that shape the series.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelPolicy {
    /// How `http_status` is shown.
    pub http_status: HttpStatusDetail,
    /// The labels of the duration histogram.
    pub duration_labels: Vec<AttemptLabel>,
    /// Upper bounds of the duration histogram's buckets, in seconds, ascending.
    pub duration_buckets: Arc<[f64]>,
    /// Events of one webhook that get series of their own.
    pub max_events: usize,
    /// Combinations of labels of one webhook's attempts beyond which `http_status` is no longer told apart.
    pub max_label_sets: usize,
}

/// The value of the label `http_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HttpLabel {
    /// As it was answered.
    Exact(HttpStatus),
    /// The hundreds of the code.
    Class(u8),
    /// Not told apart by setting.
    Off,
    /// Not told apart because there are too many already.
    Overflow,
}

impl fmt::Display for HttpLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(HttpStatus::None) => f.write_str("none"),
            Self::Exact(HttpStatus::Invalid) => f.write_str("invalid"),
            Self::Exact(HttpStatus::Code(code)) => write!(f, "{code}"),
            Self::Class(hundreds) => write!(f, "{hundreds}xx"),
            Self::Off => Ok(()),
            Self::Overflow => f.write_str(OVERFLOW),
        }
    }
}

impl HttpLabel {
    /// The label whose text this is.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::Exact(HttpStatus::None)),
            "invalid" => Some(Self::Exact(HttpStatus::Invalid)),
            "" => Some(Self::Off),
            OVERFLOW => Some(Self::Overflow),
            _ => match text.strip_suffix("xx") {
                Some(hundreds) => hundreds.parse().ok().map(Self::Class),
                None => text.parse().ok().map(|code| Self::Exact(HttpStatus::Code(code))),
            },
        }
    }

    fn of(status: HttpStatus, detail: HttpStatusDetail) -> Self {
        match (detail, status) {
            (HttpStatusDetail::Off, _) => Self::Off,
            (HttpStatusDetail::Class, HttpStatus::Code(code)) => Self::Class((code / 100) as u8),
            _ => Self::Exact(status),
        }
    }
}

/// The labels that an attempt is counted with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptLabels {
    /// `event`
    pub event: Arc<str>,
    /// `status`: an outcome, never `pending`
    pub status: Status,
    /// `http_status`
    pub http_status: HttpLabel,
}

impl AttemptLabels {
    /// The series of the attempts counter.
    pub fn attempts_series(&self) -> SeriesKey {
        SeriesKey::new(Family::Attempts, AttemptLabel::ALL.iter().map(|label| self.value(*label)))
    }

    /// The series of the duration histogram under `labels`.
    pub fn duration_series(&self, labels: &[AttemptLabel]) -> SeriesKey {
        SeriesKey::new(Family::Duration, labels.iter().map(|label| self.value(*label)))
    }

    fn value(&self, label: AttemptLabel) -> Arc<str> {
        match label {
            AttemptLabel::Event => self.event.clone(),
            AttemptLabel::Status => self.status.as_str().into(),
            AttemptLabel::HttpStatus => self.http_status.to_string().into(),
        }
    }
}

/// Gives out labels, and knows those given out before.
pub struct Labeller<'a> {
    policy: &'a LabelPolicy,
    events: BTreeSet<Arc<str>>,
    sets: BTreeSet<AttemptLabels>,
}

impl<'a> Labeller<'a> {
    /// A labeller that knows the events and the label sets of `totals`, and the events of entries that are not counted yet.
    pub fn new<'b>(policy: &'a LabelPolicy, totals: &Totals, waiting: impl Iterator<Item = &'b Arc<str>>) -> Self {
        let mut events: BTreeSet<Arc<str>> = totals.events().cloned().collect();
        for name in waiting {
            if !events.contains(name) {
                events.insert(name.clone());
            }
        }
        events.remove(OVERFLOW);
        Self { policy, events, sets: totals.attempt_label_sets().collect() }
    }

    /// The event's label: its name while there is room, else `overflow`.
    pub fn event(&mut self, name: &Arc<str>) -> Arc<str> {
        if self.events.contains(name) {
            return name.clone();
        }
        if name.len() > MAX_EVENT_BYTES || self.events.len() >= self.policy.max_events {
            return OVERFLOW.into();
        }
        self.events.insert(name.clone());
        name.clone()
    }

    /// The labels that `attempt`, an outcome, is counted with under the event label `event`.
    pub fn attempt(&mut self, attempt: &Attempt, event: Arc<str>) -> AttemptLabels {
        let http_status = HttpLabel::of(attempt.http_status, self.policy.http_status);
        let mut labels = AttemptLabels { event, status: attempt.status, http_status };
        if !self.sets.contains(&labels) {
            if self.sets.len() >= self.policy.max_label_sets {
                labels.http_status = HttpLabel::Overflow;
            }
            self.sets.insert(labels.clone());
        }
        labels
    }
}
