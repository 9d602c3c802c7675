//! The label values with which an attempt is counted, within the limits that keep the number of series finite.

use std::fmt;
use std::sync::Arc;

use super::series::{Family, SeriesKey};
use crate::delivery::{AttemptStatus, HttpStatus};

/// The label value for what exceeds a limit.
pub(super) const OVERFLOW: &str = "overflow";
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
    /// Combinations of labels of one webhook's attempts, beyond which `http_status` is no longer distinguished.
    pub max_label_sets: usize,
}

/// The value of the label `http_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HttpLabel {
    /// As it was answered.
    Exact(HttpStatus),
    /// The hundreds of the code.
    Class(u8),
    /// Not distinguished, because of a setting.
    Off,
    /// Not distinguished, because there are too many already.
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
    /// The code, where it is told apart.
    pub fn code(self) -> Option<u16> {
        match self {
            Self::Exact(HttpStatus::Code(code)) => Some(code),
            Self::Exact(HttpStatus::None | HttpStatus::Invalid) | Self::Class(_) | Self::Off | Self::Overflow => None,
        }
    }

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

    pub(super) fn of(status: HttpStatus, detail: HttpStatusDetail) -> Self {
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
    pub status: AttemptStatus,
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
