//! The usual `process_*` series.
//!
//! These replace the `prometheus` crate's collector, which counts processor time in whole seconds.

use super::{BASE, Kind, Metric, MetricRow};
use crate::exposition::model::Number;
use crate::sinks::metrics::process::ProcessFigures;

/// Reads one figure; `None` if there is none.
pub type ProcessCollector = fn(&ProcessFigures) -> Option<Number>;

/// The rows, in the order of the reference.
pub static ROWS: &[MetricRow<ProcessCollector>] = &[
    MetricRow {
        metric: Metric {
            name: "process_cpu_seconds_total",
            kind: Kind::Counter,
            help: "CPU time of the process, in user and system mode.",
            ..BASE
        },
        collect: |process| Some(process.cpu_seconds.into()),
    },
    MetricRow {
        metric: Metric { name: "process_resident_memory_bytes", help: "Resident memory of the process.", ..BASE },
        collect: |process| Some(process.resident_bytes.into()),
    },
    MetricRow {
        metric: Metric { name: "process_virtual_memory_bytes", help: "Address space of the process.", ..BASE },
        collect: |process| Some(process.virtual_bytes.into()),
    },
    MetricRow {
        metric: Metric {
            name: "process_virtual_memory_max_bytes",
            help: "Limit of the address space of the process; absent if there is none.",
            ..BASE
        },
        collect: |process| process.max_virtual_bytes.map(Number::from),
    },
    MetricRow {
        metric: Metric { name: "process_start_time_seconds", help: "Start time of the process.", ..BASE },
        collect: |process| Some(process.start_seconds.into()),
    },
    MetricRow {
        metric: Metric { name: "process_open_fds", help: "Open file descriptors of the process.", ..BASE },
        collect: |process| Some(process.open_fds.into()),
    },
    MetricRow {
        metric: Metric { name: "process_max_fds", help: "Limit of open file descriptors of the process.", ..BASE },
        collect: |process| process.max_fds.map(Number::from),
    },
    MetricRow {
        metric: Metric { name: "process_threads", help: "Threads of the process.", ..BASE },
        collect: |process| Some(process.threads.into()),
    },
];
