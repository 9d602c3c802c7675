//! The section `metrics`: how many series there are, and how a new one is born.

use super::EnvVars;
use super::fields::Fields;
use super::metrics_push::{self, MetricsPushConfig};
use super::values::{count, described, duration, number, one_of};
use std::time::Duration;
use talkover_core::ledger::labels::{AttemptLabel, HttpStatusDetail};

/// What the delivery metrics look like.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsConfig {
    /// What the label `http_status` says.
    pub http_status: HttpStatusDetail,
    /// The labels of the duration histogram, without repeats, in the file's order.
    pub duration_labels: Vec<AttemptLabel>,
    /// Upper bounds in seconds: finite, positive, ascending, not empty, without +Inf.
    pub duration_buckets: Vec<f64>,
    /// Further event names of a webhook count as `overflow`. At least 1.
    pub max_events_per_webhook: u32,
    /// Beyond it `http_status` is `overflow`. At least 1.
    pub max_label_sets_per_webhook: u32,
    /// How long a new series is served as 0. May be zero.
    pub birth_hold: Duration,
}

const HTTP_STATUS: &[(&str, HttpStatusDetail)] =
    &[("exact", HttpStatusDetail::Exact), ("class", HttpStatusDetail::Class), ("off", HttpStatusDetail::Off)];

const LABELS: &[(&str, AttemptLabel)] =
    &[("event", AttemptLabel::Event), ("status", AttemptLabel::Status), ("http_status", AttemptLabel::HttpStatus)];

/// What they look like, and whether they are pushed.
pub(super) fn read(
    mut fields: Fields<'_>,
    environment: &EnvVars,
) -> Option<(MetricsConfig, Option<MetricsPushConfig>)> {
    let http_status = fields.scalar("http_status", one_of(HTTP_STATUS));
    let duration_labels = labels(&mut fields);
    let duration_buckets = buckets(&mut fields);
    let max_events_per_webhook = fields.scalar("max_events_per_webhook", count(1, u32::MAX));
    let max_label_sets_per_webhook = fields.scalar("max_label_sets_per_webhook", count(1, u32::MAX));
    let birth_hold = fields.scalar("birth_hold", duration);
    let push = metrics_push::read(fields.section("otlp"), environment);
    fields.finish();
    let metrics = MetricsConfig {
        http_status: http_status?,
        duration_labels: duration_labels?,
        duration_buckets: duration_buckets?,
        max_events_per_webhook: max_events_per_webhook?,
        max_label_sets_per_webhook: max_label_sets_per_webhook?,
        birth_hold: birth_hold?,
    };
    Some((metrics, push?))
}

fn labels(fields: &mut Fields<'_>) -> Option<Vec<AttemptLabel>> {
    let labels = fields.scalars("duration_labels", one_of(LABELS))?;
    for (index, label) in labels.iter().enumerate() {
        if labels.iter().take(index).any(|earlier| earlier == label) {
            fields.fault(&format!("duration_labels[{index}]"), "stands there twice");
        }
    }
    Some(labels)
}

fn buckets(fields: &mut Fields<'_>) -> Option<Vec<f64>> {
    let buckets = fields.scalars("duration_buckets", |value| match number(value)? {
        bound if bound > 0.0 => Ok(bound),
        _ => Err(format!("must be above zero, not {}", described(value))),
    })?;
    if buckets.is_empty() {
        fields.fault("duration_buckets", "must hold at least one bound");
    }
    for (index, pair) in buckets.windows(2).enumerate() {
        if let [before, bound] = pair
            && before >= bound
        {
            let reason = format!("must ascend: {bound} comes after {before}");
            fields.fault(&format!("duration_buckets[{}]", index + 1), reason);
        }
    }
    Some(buckets)
}
