//! Assigns labels to attempts, within the cardinality limits.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::labels::{AttemptLabels, HttpLabel, LabelPolicy, MAX_EVENT_BYTES, OVERFLOW};
use super::totals::Totals;
use crate::delivery::Attempt;

/// Assigns labels, and remembers which are in use.
pub struct Labeller<'a> {
    policy: &'a LabelPolicy,
    events: BTreeSet<Arc<str>>,
    sets: BTreeSet<AttemptLabels>,
}

impl<'a> Labeller<'a> {
    /// Starts with the events and label sets of `totals`, and the events of `waiting`: entries that are not counted
    /// yet.
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

    /// Returns the event's label: its name within the limit, else `overflow`.
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

    /// Returns the labels under which `attempt` is counted; it must have an outcome, and `event` is its event's label.
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
