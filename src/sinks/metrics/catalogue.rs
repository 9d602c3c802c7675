//! Every series that is served: name, type, labels, buckets and meaning, each defined once.
//!
//! The collectors take names and help texts from here, and the reference in the documentation is made from [`ALL`].

use talkover_core::ledger::totals::{ATTEMPTS_BUCKETS, DELAY_BUCKETS};

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
    /// The type's name in the exposition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What one series is about, and with it the labels that come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Deliveries of one webhook: `environment`, `webhook_id`.
    Deliveries,
    /// The daemon's work on one webhook: `environment`, `webhook_id`.
    Target,
    /// The daemon's work on one environment: `environment`.
    Environment,
    /// The process.
    Process,
}

impl Scope {
    /// The labels common to all series of this scope.
    pub const fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Deliveries | Self::Target => &["environment", "webhook_id"],
            Self::Environment => &["environment"],
            Self::Process => &[],
        }
    }
}

/// The bounds of a histogram's buckets, in the unit of its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Buckets {
    /// No histogram.
    None,
    /// Always these.
    Fixed(&'static [f64]),
    /// `metrics.duration_buckets`.
    Configured,
}

/// The definition of a metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name in the exposition.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What it is about.
    pub scope: Scope,
    /// The labels beyond those of the scope.
    pub labels: &'static [&'static str],
    /// Its buckets.
    pub buckets: Buckets,
    /// Whether its values go on after a restart; the others start at 0 with the process.
    pub durable: bool,
    /// What it means.
    pub help: &'static str,
}

impl Metric {
    /// All labels, in the order in which series show them.
    pub fn all_labels(&self) -> Vec<&'static str> {
        [self.scope.labels(), self.labels].concat()
    }
}

const BASE: Metric = Metric {
    name: "",
    kind: Kind::Gauge,
    scope: Scope::Process,
    labels: &[],
    buckets: Buckets::None,
    durable: false,
    help: "",
};

/// Attempts by outcome.
pub const DELIVERY_ATTEMPTS: Metric = Metric {
    name: "talkover_webhook_delivery_attempts_total",
    kind: Kind::Counter,
    scope: Scope::Deliveries,
    labels: &["event", "status", "http_status"],
    durable: true,
    help: "Delivery attempts by outcome, each log entry counted once, when it is first seen with an outcome.",
    ..BASE
};
/// How long attempts took.
pub const DELIVERY_DURATION: Metric = Metric {
    name: "talkover_webhook_delivery_duration_seconds",
    kind: Kind::Histogram,
    scope: Scope::Deliveries,
    labels: &["event", "status", "http_status"],
    buckets: Buckets::Configured,
    durable: true,
    help: "Duration of delivery attempts (duration_ms of the log). The labels are those of metrics.duration_labels.",
};
/// How long deliveries waited.
pub const DELIVERY_DELAY: Metric = Metric {
    name: "talkover_webhook_delivery_delay_seconds",
    kind: Kind::Histogram,
    scope: Scope::Deliveries,
    labels: &["event"],
    buckets: Buckets::Fixed(&DELAY_BUCKETS),
    durable: true,
    help: "Time from the creation of an attempt to its delivery (delivered_at - created_at).",
};
/// Deliveries by result.
pub const DELIVERIES: Metric = Metric {
    name: "talkover_webhook_deliveries_total",
    kind: Kind::Counter,
    scope: Scope::Deliveries,
    labels: &["event", "result"],
    durable: true,
    help: "Deliveries that came to an end: success, failed, or abandoned (still open after poll.settle_after).",
    ..BASE
};
/// Attempts that deliveries took.
pub const ATTEMPTS_PER_DELIVERY: Metric = Metric {
    name: "talkover_webhook_attempts_per_delivery",
    kind: Kind::Histogram,
    scope: Scope::Deliveries,
    labels: &["event", "result"],
    buckets: Buckets::Fixed(&ATTEMPTS_BUCKETS),
    durable: true,
    help: "The number of the attempt with which a delivery ended; le=\"1.0\" under success is first-attempt success.",
};
/// Entries that may still change.
pub const DELIVERIES_OPEN: Metric = Metric {
    name: "talkover_webhook_deliveries_open",
    scope: Scope::Deliveries,
    labels: &["status"],
    help: "Log entries now followed because they are pending or retrying.",
    ..BASE
};
/// The oldest of them.
pub const OLDEST_OPEN: Metric = Metric {
    name: "talkover_webhook_oldest_open_timestamp_seconds",
    scope: Scope::Deliveries,
    labels: &["status"],
    help: "Creation time of the oldest log entry that is pending or retrying; absent where there is none.",
    ..BASE
};
/// The newest attempt.
pub const LAST_ATTEMPT: Metric = Metric {
    name: "talkover_webhook_last_attempt_timestamp_seconds",
    scope: Scope::Deliveries,
    labels: &["status"],
    durable: true,
    help: "Newest creation time seen with that outcome.",
    ..BASE
};
/// Names for joins.
pub const WEBHOOK_INFO: Metric = Metric {
    name: "talkover_webhook_info",
    scope: Scope::Deliveries,
    labels: &["webhook_name", "owner_type", "owner_id", "owner_name", "url_host"],
    help: "Always 1; names of the webhook and its owner, for joins. What is not known is empty.",
    ..BASE
};
/// Whether TalkOver delivers at all.
pub const WEBHOOK_ENABLED: Metric = Metric {
    name: "talkover_webhook_enabled",
    scope: Scope::Deliveries,
    help: "1 where the webhook is enabled, 0 where it is disabled; from discovery, absent without it.",
    ..BASE
};
/// How often TalkOver tries again.
pub const WEBHOOK_MAX_RETRIES: Metric = Metric {
    name: "talkover_webhook_max_retries",
    scope: Scope::Deliveries,
    help: "How often a failed delivery is tried again at most; from discovery, absent without it.",
    ..BASE
};
/// How long TalkOver waits.
pub const WEBHOOK_TIMEOUT: Metric = Metric {
    name: "talkover_webhook_timeout_seconds",
    scope: Scope::Deliveries,
    help: "How long a delivery attempt may take; from discovery, absent without it.",
    ..BASE
};
/// Whether the last poll succeeded.
pub const UP: Metric = Metric {
    name: "talkover_up",
    scope: Scope::Target,
    help: "1 when the last poll of the webhook's log succeeded, 0 when it failed; absent until one has ended.",
    ..BASE
};
/// How far the log has been read.
pub const WATERMARK: Metric = Metric {
    name: "talkover_exporter_watermark_timestamp_seconds",
    scope: Scope::Target,
    durable: true,
    help: "Newest creation time up to which the whole log has been read. It stands still where nothing happens.",
    ..BASE
};
/// When the log was last read.
pub const LAST_SUCCESS: Metric = Metric {
    name: "talkover_exporter_last_success_timestamp_seconds",
    scope: Scope::Target,
    help: "End of the last poll that succeeded; absent until one has.",
    ..BASE
};
/// How often the log is read.
pub const POLL_INTERVAL: Metric = Metric {
    name: "talkover_exporter_poll_interval_seconds",
    scope: Scope::Target,
    help: "The scheduler's present choice between poll.min_interval and poll.max_interval.",
    ..BASE
};
/// Polls by result.
pub const POLLS: Metric = Metric {
    name: "talkover_exporter_polls_total",
    kind: Kind::Counter,
    scope: Scope::Target,
    labels: &["result"],
    help: "Polls of the webhook's log by result.",
    ..BASE
};
/// What became of log entries.
pub const LOG_ENTRIES: Metric = Metric {
    name: "talkover_exporter_log_entries_total",
    kind: Kind::Counter,
    scope: Scope::Target,
    labels: &["outcome"],
    durable: true,
    help: "Log entries: new (first seen), late (first seen, older than the watermark), expired (still pending after \
           poll.settle_after), ignored (older than what is remembered), invalid (not usable).",
    ..BASE
};
/// Whether what is shown has arrived all at once.
pub const CATCHING_UP: Metric = Metric {
    name: "talkover_exporter_catching_up",
    scope: Scope::Target,
    help: "1 while the counters take in what happened while nobody looked: after a first contact or an outage, until every \
           scraper has seen the result. Rates that span it are no spikes.",
    ..BASE
};
/// What is counted and not shown yet.
pub const ATTEMPTS_HELD: Metric = Metric {
    name: "talkover_exporter_attempts_held",
    scope: Scope::Target,
    help: "Attempts counted in series that are served as 0 until metrics.birth_hold has passed since their first scrape.",
    ..BASE
};
/// Holes in what could be read.
pub const HISTORY_GAPS: Metric = Metric {
    name: "talkover_exporter_history_gaps_total",
    kind: Kind::Counter,
    scope: Scope::Target,
    durable: true,
    help: "Times that log entries may have been lost to the API's retention before they could be read.",
    ..BASE
};
/// What reading was good for.
pub const ENTRIES_READ: Metric = Metric {
    name: "talkover_exporter_entries_read_total",
    kind: Kind::Counter,
    scope: Scope::Environment,
    labels: &["result"],
    help: "Log entries read, by whether they were new, changed or unchanged.",
    ..BASE
};
/// Requests to the API.
pub const API_REQUESTS: Metric = Metric {
    name: "talkover_api_requests_total",
    kind: Kind::Counter,
    scope: Scope::Environment,
    labels: &["endpoint", "code"],
    help: "Requests to the TalkOver API by endpoint and HTTP status; code none where no answer came.",
    ..BASE
};
/// Buckets of the duration of API requests, in seconds: up to the default `request_timeout`.
pub const API_BUCKETS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// How long they took.
pub const API_DURATION: Metric = Metric {
    name: "talkover_api_request_duration_seconds",
    kind: Kind::Histogram,
    scope: Scope::Environment,
    labels: &["endpoint"],
    buckets: Buckets::Fixed(&API_BUCKETS),
    help: "Duration of requests to the TalkOver API, up to the last byte of the answer.",
    ..BASE
};
/// `X-RateLimit-Remaining`
pub const RATE_LIMIT_REMAINING: Metric = Metric {
    name: "talkover_api_rate_limit_remaining",
    scope: Scope::Environment,
    help: "X-RateLimit-Remaining of the last answer that had one.",
    ..BASE
};
/// `X-RateLimit-Limit`
pub const RATE_LIMIT_LIMIT: Metric = Metric {
    name: "talkover_api_rate_limit_limit",
    scope: Scope::Environment,
    help: "X-RateLimit-Limit of the last answer that had one: requests a minute.",
    ..BASE
};
/// The difference of clocks.
pub const CLOCK_OFFSET: Metric = Metric {
    name: "talkover_api_clock_offset_seconds",
    scope: Scope::Environment,
    help: "The API's clock (Date, whole seconds) less the local one.",
    ..BASE
};
/// The budget in force.
pub const BUDGET: Metric = Metric {
    name: "talkover_exporter_budget_requests_per_minute",
    scope: Scope::Environment,
    help: "Requests a minute that this daemon allows itself.",
    ..BASE
};
/// Targets by state.
pub const TARGETS: Metric = Metric {
    name: "talkover_exporter_targets",
    scope: Scope::Environment,
    labels: &["state"],
    help: "Webhooks by state: failing where the last poll failed, disabled where TalkOver says so, else healthy.",
    ..BASE
};
/// When discovery last knew everything.
pub const DISCOVERY_LAST_SUCCESS: Metric = Metric {
    name: "talkover_exporter_discovery_last_success_timestamp_seconds",
    scope: Scope::Environment,
    help: "When all lists that discovery searches had last been read to their end; absent until then, and without discovery.",
    ..BASE
};
/// What became of spans.
pub const SPANS: Metric = Metric {
    name: "talkover_exporter_spans_total",
    kind: Kind::Counter,
    labels: &["outcome"],
    help: "Spans that have left the queue: exported, rejected (the receiver refused them for good), or dropped (the queue was full).",
    ..BASE
};
/// Spans that wait.
pub const SPAN_QUEUE_LENGTH: Metric = Metric {
    name: "talkover_exporter_span_queue_length",
    durable: true,
    help: "Spans on disk that wait to be sent.",
    ..BASE
};
/// Spans that may wait.
pub const SPAN_QUEUE_CAPACITY: Metric = Metric {
    name: "talkover_exporter_span_queue_capacity",
    help: "Spans that may wait at most (traces.max_queued_spans); beyond it the oldest are dropped.",
    ..BASE
};
/// How long they have waited.
pub const SPAN_QUEUE_OLDEST: Metric = Metric {
    name: "talkover_exporter_span_queue_oldest_timestamp_seconds",
    durable: true,
    help: "When the oldest span that waits was queued, by the local clock; absent where none waits.",
    ..BASE
};
/// The state file's size.
pub const STATE_SIZE: Metric = Metric {
    name: "talkover_exporter_state_size_bytes",
    help: "Size of the state on disk, with its write-ahead log.",
    ..BASE
};
/// Failed commits.
pub const STATE_WRITE_ERRORS: Metric = Metric {
    name: "talkover_exporter_state_write_errors_total",
    kind: Kind::Counter,
    help: "Writes to the state that failed: commits, which are not shown and are tried again, and the memory of the request budget.",
    ..BASE
};
/// The state file's age.
pub const STATE_CREATED: Metric = Metric {
    name: "talkover_exporter_state_created_timestamp_seconds",
    durable: true,
    help: "Creation time of the state file: when it is recent, what came before was lost.",
    ..BASE
};
/// The configuration's state.
pub const CONFIG_SUCCESS: Metric = Metric {
    name: "talkover_exporter_config_last_reload_successful",
    help: "1 when the configuration was last loaded without a fault.",
    ..BASE
};
/// The configuration's age.
pub const CONFIG_TIME: Metric = Metric {
    name: "talkover_exporter_config_last_reload_success_timestamp_seconds",
    help: "When the configuration was last loaded without a fault.",
    ..BASE
};
/// What the log lacks.
pub const LOG_LINES_DROPPED: Metric = Metric {
    name: "talkover_exporter_log_lines_dropped_total",
    kind: Kind::Counter,
    help: "Log lines that were dropped because nobody read stderr in time, or it could not be written to.",
    ..BASE
};
/// The program.
pub const BUILD_INFO: Metric = Metric {
    name: "talkover_exporter_build_info",
    labels: &["version", "revision", "rustversion"],
    help: "Always 1; what this program was built from.",
    ..BASE
};
/// Processor time.
pub const PROCESS_CPU: Metric = Metric {
    name: "process_cpu_seconds_total",
    kind: Kind::Counter,
    help: "Processor time spent by the process, in user and system mode.",
    ..BASE
};
/// Memory in use.
pub const PROCESS_RESIDENT: Metric =
    Metric { name: "process_resident_memory_bytes", help: "Memory of the process that is resident.", ..BASE };
/// Address space in use.
pub const PROCESS_VIRTUAL: Metric =
    Metric { name: "process_virtual_memory_bytes", help: "Address space of the process.", ..BASE };
/// Address space at most.
pub const PROCESS_VIRTUAL_MAX: Metric = Metric {
    name: "process_virtual_memory_max_bytes",
    help: "Address space that the process may have at most; absent where there is no limit.",
    ..BASE
};
/// When it started.
pub const PROCESS_START: Metric = Metric { name: "process_start_time_seconds", help: "Start of the process.", ..BASE };
/// Open files.
pub const PROCESS_OPEN_FDS: Metric =
    Metric { name: "process_open_fds", help: "Open file descriptors of the process.", ..BASE };
/// Open files at most.
pub const PROCESS_MAX_FDS: Metric =
    Metric { name: "process_max_fds", help: "File descriptors that the process may open at most.", ..BASE };
/// Threads.
pub const PROCESS_THREADS: Metric = Metric { name: "process_threads", help: "Threads of the process.", ..BASE };

/// Every metric, in the order of the reference.
pub const ALL: &[&Metric] = &[
    &DELIVERY_ATTEMPTS,
    &DELIVERY_DURATION,
    &DELIVERY_DELAY,
    &DELIVERIES,
    &ATTEMPTS_PER_DELIVERY,
    &DELIVERIES_OPEN,
    &OLDEST_OPEN,
    &LAST_ATTEMPT,
    &WEBHOOK_INFO,
    &WEBHOOK_ENABLED,
    &WEBHOOK_MAX_RETRIES,
    &WEBHOOK_TIMEOUT,
    &UP,
    &WATERMARK,
    &LAST_SUCCESS,
    &POLL_INTERVAL,
    &POLLS,
    &LOG_ENTRIES,
    &CATCHING_UP,
    &ATTEMPTS_HELD,
    &HISTORY_GAPS,
    &ENTRIES_READ,
    &API_REQUESTS,
    &API_DURATION,
    &RATE_LIMIT_REMAINING,
    &RATE_LIMIT_LIMIT,
    &CLOCK_OFFSET,
    &BUDGET,
    &TARGETS,
    &DISCOVERY_LAST_SUCCESS,
    &SPANS,
    &SPAN_QUEUE_LENGTH,
    &SPAN_QUEUE_CAPACITY,
    &SPAN_QUEUE_OLDEST,
    &STATE_SIZE,
    &STATE_WRITE_ERRORS,
    &STATE_CREATED,
    &CONFIG_SUCCESS,
    &CONFIG_TIME,
    &LOG_LINES_DROPPED,
    &BUILD_INFO,
    &PROCESS_CPU,
    &PROCESS_RESIDENT,
    &PROCESS_VIRTUAL,
    &PROCESS_VIRTUAL_MAX,
    &PROCESS_START,
    &PROCESS_OPEN_FDS,
    &PROCESS_MAX_FDS,
    &PROCESS_THREADS,
];
