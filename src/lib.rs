//! talkover-exporter: the delivery logs of TalkOver webhooks as Prometheus metrics, every attempt counted exactly once.
//!
//! ```text
//! API page ──> reading::wire ──> Vec<Attempt> ──> ledger::decide(&ledger, batch) ──> Decision {transitions, changes}
//!              (reject, never guess)              (pure, total)                           │
//!                                                                                         v
//!               store.commit(rows + marks + totals + spans)   ONE transaction, the only commit point
//!                                                                                         │
//!               the ledger's memory, the board of metrics <───────────────────────────────┘  only after the commit
//! /metrics <── exposition <── board
//! ```
//!
//! Everything that is decided is in the crate `talkover_core`, which is pure; this crate does it. The modules in
//! reading order: [`client`] makes one request, paid for from the [`budget`]; [`store`] makes decisions durable;
//! [`pipeline`] joins these stages; [`sinks`] show the result, with metrics in the formats of [`exposition`];
//! [`server`] answers scrapes and serves the [`bundle`]; [`app`] starts and stops everything for the commands in
//! [`cli`]. [`audit`] checks the state file against the log independently, and [`history`] writes what the log tells of
//! the past; both read it with the [`log_reader`] and show their [`progress`]. The crate `talkover_simulator` is the
//! other end of the wire in the demo, the tests and the benchmarks.

pub mod app;
pub mod audit;
pub mod blocking;
pub mod budget;
pub mod budgeted_client;
pub mod build_info;
pub mod bundle;
pub mod cli;
pub mod client;
pub mod config;
pub mod exposition;
pub mod history;
pub mod http_client;
pub mod local_clock;
pub mod log_reader;
pub mod logging;
pub mod pipeline;
pub mod progress;
pub mod reload;
pub mod server;
pub mod server_clock;
pub mod shutdown;
pub mod sinks;
pub mod stamp;
pub mod state_copy;
pub mod store;
pub mod telemetry;
pub mod tls_mismatch;
pub mod watchdog;
