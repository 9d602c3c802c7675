//! The metrics of the daemon's work on a webhook's log. As long as an unlisted webhook keeps its series, it also keeps
//! its counts of log entries, so that the books balance.

use talkover_core::ledger::totals::Total;

use talkover_core::ledger::series::LogOutcome;
use talkover_core::ledger::series::{Family, SeriesKey};
use talkover_core::reading::error::PollResult;

use super::deliveries::{TargetCollector, TargetRow};
use super::{BASE, Kind, Metric, MetricRow, MetricScope};
use crate::sinks::metrics::board::TargetView;

const WORK: Metric = Metric { scope: MetricScope::Target, ..BASE };

/// The rows, in the order of the reference.
pub static ROWS: &[TargetRow] = &[
    MetricRow {
        metric: Metric {
            name: "talkover_up",
            help: "1 if the last poll of the webhook's log succeeded, 0 if it failed; absent until one has ended.",
            ..WORK
        },
        collect: TargetCollector::WhileListed(|view, samples| samples.push_known([], view.up)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_watermark_timestamp_seconds",
            durable: true,
            help: "The log has been read completely up to this time. It does not advance while there are no new \
                   entries.",
            ..WORK
        },
        collect: TargetCollector::Always(|view, samples| samples.push_known([], view.marks.watermark)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_last_success_timestamp_seconds",
            help: "End of the last poll that succeeded; absent until one has.",
            ..WORK
        },
        collect: TargetCollector::WhileListed(|view, samples| samples.push_known([], view.last_success)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_poll_interval_seconds",
            help: "Current time between two polls, chosen by the scheduler between poll.min_interval and \
                   poll.max_interval.",
            ..WORK
        },
        collect: TargetCollector::WhileListed(|view, samples| samples.push([], view.poll_interval)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_polls_total",
            kind: Kind::Counter,
            labels: &["result"],
            help: "Polls of the webhook's log by result.",
            ..WORK
        },
        collect: TargetCollector::WhileListed(|view, samples| {
            for (result, count) in PollResult::ALL.iter().zip(view.polls) {
                samples.push([result.as_str()], count);
            }
        }),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_log_entries_total",
            kind: Kind::Counter,
            labels: &["outcome"],
            durable: true,
            help: "Log entries: new (first seen), late (first seen, older than the watermark), expired (still pending \
                   after poll.settle_after), ignored (older than what is remembered), invalid (not usable).",
            ..WORK
        },
        collect: TargetCollector::Always(|view, samples| {
            for outcome in LogOutcome::ALL {
                samples.push([outcome.as_str()], view.totals.counter(&SeriesKey::log_entries(outcome)));
            }
        }),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_catching_up",
            help: "1 while the counters include deliveries from a time when the exporter was not reading this log \
                   (after a first contact or an outage), until every scraper has seen the result: increases in this \
                   time are no spikes.",
            ..WORK
        },
        collect: TargetCollector::WhileListed(|view, samples| samples.push([], view.exposure.is_catching_up())),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_first_contact_ratio",
            help: "Progress of the first reading of the webhook's log, from 0 to 1, by time covered; 1 once it is \
                   complete.",
            ..WORK
        },
        collect: TargetCollector::WhileListed(|view, samples| samples.push([], view.first_contact_ratio())),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_attempts_held",
            help: "Attempts in new series that are still served as 0, until metrics.birth_hold after their first \
                   scrape.",
            ..WORK
        },
        collect: TargetCollector::Always(|view, samples| samples.push([], attempts_held(view))),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_history_gaps_total",
            kind: Kind::Counter,
            durable: true,
            help: "How many times the API may have deleted log entries before they were read.",
            ..WORK
        },
        collect: TargetCollector::Always(|view, samples| {
            samples.push([], view.totals.counter(&SeriesKey::history_gaps()))
        }),
    },
];

/// The attempts that are counted in series that are served as 0.
fn attempts_held(view: &TargetView) -> u64 {
    let held = view.totals.family(Family::Attempts).filter(|(key, _)| view.exposure.is_held(key));
    held.map(|(_, total)| if let Total::Counter(value) = total { *value } else { 0 }).sum()
}
