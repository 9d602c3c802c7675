//! The metrics of the daemon as a whole: the queue of spans, the state, the configuration, the log, the program.

use super::{BASE, Kind, Metric, MetricRow};
use crate::build_info;
use crate::logging;
use crate::sinks::metrics::board::ConfigStatus;
use crate::sinks::metrics::pushes::PushCounts;
use crate::sinks::metrics::samples::Samples;
use crate::store::handle::StoreInfo;
use crate::store::queue::QueueStatus;
use crate::telemetry::queue;

/// The source of the daemon's samples.
#[derive(Debug)]
pub struct DaemonSource<'a> {
    /// Whether the configuration is valid and current.
    pub config: ConfigStatus,
    /// Whether the state is older than what was shown.
    pub is_behind: bool,
    /// The state.
    pub store: &'a StoreInfo,
    /// The queue of spans.
    pub queue: QueueStatus,
    /// The queue of log records.
    pub log_queue: QueueStatus,
    /// How pushes of metrics went.
    pub pushes: PushCounts,
}

/// How the samples of the daemon are collected.
#[derive(Clone, Copy, Debug)]
pub enum DaemonCollector {
    /// Read from the source.
    Board(for<'a> fn(&'a DaemonSource<'_>, &mut Samples<'a>)),
    /// Counted and collected by the `prometheus` crate's registry.
    Registry,
}

/// Failed commits.
pub const STATE_WRITE_ERRORS: Metric = Metric {
    name: "talkover_exporter_state_write_errors_total",
    kind: Kind::Counter,
    help: "Failed writes to the state: commits (retried; nothing is shown before they succeed) and records of the \
           request budget.",
    ..BASE
};

/// The rows, in the order of the reference.
pub static ROWS: &[MetricRow<DaemonCollector>] = &[
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_spans_total",
            kind: Kind::Counter,
            labels: &["outcome"],
            help: "Spans that have left the queue: exported, rejected (the receiver refused them for good), or \
                   dropped (the queue was full).",
            ..BASE
        },
        collect: DaemonCollector::Board(|daemon, samples| {
            samples.push(["exported"], daemon.queue.exported);
            samples.push(["rejected"], daemon.queue.rejected);
            samples.push(["dropped"], daemon.queue.dropped);
        }),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_span_queue_length",
            durable: true,
            help: "Spans queued on disk, waiting to be sent.",
            ..BASE
        },
        collect: DaemonCollector::Board(|daemon, samples| samples.push([], daemon.queue.length)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_span_queue_capacity",
            help: "Capacity of the span queue (traces.max_queued_spans); beyond it the oldest spans are dropped.",
            ..BASE
        },
        collect: DaemonCollector::Board(|daemon, samples| samples.push([], daemon.queue.capacity)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_span_queue_oldest_timestamp_seconds",
            durable: true,
            help: "When the oldest queued span was queued, by the local clock; absent if the queue is empty.",
            ..BASE
        },
        collect: DaemonCollector::Board(|daemon, samples| samples.push_known([], daemon.queue.oldest)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_log_records_total",
            kind: Kind::Counter,
            labels: &["outcome"],
            help: "Log records about deliveries (traces.logs) that have left their queue: exported, rejected, or dropped, like spans.",
            ..BASE
        },
        collect: DaemonCollector::Board(|daemon, samples| {
            samples.push(["exported"], daemon.log_queue.exported);
            samples.push(["rejected"], daemon.log_queue.rejected);
            samples.push(["dropped"], daemon.log_queue.dropped);
        }),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_log_record_queue_length",
            durable: true,
            help: "Log records on disk that wait to be sent; at most traces.max_queued_spans.",
            ..BASE
        },
        collect: DaemonCollector::Board(|daemon, samples| samples.push([], daemon.log_queue.length)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_log_record_queue_oldest_timestamp_seconds",
            durable: true,
            help: "When the oldest waiting log record was queued, by the local clock; absent if none waits.",
            ..BASE
        },
        collect: DaemonCollector::Board(|daemon, samples| samples.push_known([], daemon.log_queue.oldest)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_metric_pushes_total",
            kind: Kind::Counter,
            labels: &["outcome"],
            help: "Pushes of metrics over OTLP: exported (as a whole), rejected (the receiver refused a part, or all, for good), or \
                   failed (the next one makes up for it).",
            ..BASE
        },
        collect: DaemonCollector::Board(|daemon, samples| {
            samples.push(["exported"], daemon.pushes.exported);
            samples.push(["rejected"], daemon.pushes.rejected);
            samples.push(["failed"], daemon.pushes.failed);
        }),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_metric_push_last_success_timestamp_seconds",
            help: "When a receiver last had a whole push of metrics, by the local clock; absent until one has.",
            ..BASE
        },
        collect: DaemonCollector::Board(|daemon, samples| {
            samples.push_known([], daemon.pushes.last_success.map(|at| at.timestamp()));
        }),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_telemetry_spans_total",
            kind: Kind::Counter,
            labels: &["outcome"],
            help: "Spans of the daemon's own work (telemetry.traces): exported, failed (the receiver was not reached, or refused them), or dropped (the queue was full, or the daemon ended).",
            ..BASE
        },
        collect: DaemonCollector::Board(|_, samples| {
            let spans = queue::counts();
            samples.push(["exported"], spans.exported());
            samples.push(["failed"], spans.failed());
            samples.push(["dropped"], spans.dropped());
        }),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_state_size_bytes",
            help: "Size of the state on disk, with its write-ahead log.",
            ..BASE
        },
        collect: DaemonCollector::Board(|daemon, samples| samples.push([], daemon.store.size_bytes())),
    },
    MetricRow { metric: STATE_WRITE_ERRORS, collect: DaemonCollector::Registry },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_state_created_timestamp_seconds",
            durable: true,
            help: "Creation time of the state file. If it is recent, what was counted before was lost.",
            ..BASE
        },
        collect: DaemonCollector::Board(|daemon, samples| samples.push([], daemon.store.created_at().timestamp())),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_state_problem",
            labels: &["problem"],
            help: "1 if the state has this problem, else 0: behind (it is older than what was shown: series are \
                   absent until the logs have been read again), detached (its path no longer leads to the open file, \
                   or another program wrote to it), new (it was made at this start although there seems to have been \
                   one before).",
            ..BASE
        },
        collect: DaemonCollector::Board(|daemon, samples| {
            let problems = daemon.store.problems();
            samples.push(["behind"], daemon.is_behind);
            samples.push(["detached"], problems.detached().is_some());
            samples.push(["new"], problems.new_despite().is_some());
        }),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_config_last_reload_successful",
            help: "1 if the configuration was last loaded without a fault, else 0.",
            ..BASE
        },
        collect: DaemonCollector::Board(|daemon, samples| samples.push([], daemon.config.is_good)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_config_last_reload_success_timestamp_seconds",
            help: "When the configuration was last loaded without a fault.",
            ..BASE
        },
        collect: DaemonCollector::Board(|daemon, samples| samples.push([], daemon.config.loaded_at)),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_log_lines_dropped_total",
            kind: Kind::Counter,
            help: "Log lines that were dropped because stderr was not read in time or could not be written.",
            ..BASE
        },
        collect: DaemonCollector::Board(|_, samples| samples.push([], logging::lines_dropped())),
    },
    MetricRow {
        metric: Metric {
            name: "talkover_exporter_build_info",
            labels: &["version", "revision", "rustversion"],
            help: "Always 1; version and revision of this program, and the compiler that built it.",
            ..BASE
        },
        collect: DaemonCollector::Board(|_, samples| {
            samples.push([build_info::VERSION, build_info::REVISION, build_info::RUSTVERSION], 1_u64);
        }),
    },
];
