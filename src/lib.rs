//! talkover-exporter: the delivery logs of TalkOver webhooks as Prometheus metrics, every attempt counted exactly once.
//!
//! ```text
//! API page ──> source::wire ──> Vec<Attempt> ──> ledger::decide(&ledger, batch) ──> Decision {transitions, changes}
//!              (reject, never guess)             (pure, total)                           │
//!                                                                                        v
//!               store.commit(rows + marks + totals)        ONE transaction, the only commit point
//!                                                                                        │
//!               the ledger's memory, the board of metrics <──────────────────────────────┘  only after the commit
//! /metrics <── registry <── board
//! ```
//!
//! What always holds:
//! - [`ledger::decide`] is pure. A crash before the commit repeats the same decision; after it, everything is on disk.
//! - What `/metrics` shows of deliveries has been committed before, and a scrape never writes.
//! - Every request to the API is one that [`schedule::budget`] has granted.
//! - Only the server's clock decides what has been read.
//!
//! The modules in reading order: [`delivery`] is the vocabulary; [`source`], [`ledger`], [`store`] and [`sinks`] are the stages;
//! [`schedule`] says who is next; [`pipeline`] joins them; [`server`] answers scrapes, and hands out the [`bundle`]; [`app`] starts and stops it all for the
//! commands in [`cli`]. [`audit`] checks the state against the log a second time. [`simulator`] is the other end in the demo, the tests and the benchmarks.

pub mod app;
pub mod asking;
pub mod audit;
pub mod bounded;
pub mod build_info;
pub mod bundle;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod discovery;
pub mod http_client;
pub mod ledger;
pub mod logging;
pub mod pipeline;
pub mod reload;
pub mod schedule;
pub mod server;
pub mod shutdown;
pub mod simulator;
pub mod sinks;
pub mod source;
pub mod stamp;
pub mod store;
pub mod tls_mismatch;
pub mod yaml;
