//! talkover-exporter: the delivery logs of TalkOver webhooks as Prometheus metrics.

pub mod build_info;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod ledger;
pub mod logging;
pub mod schedule;
pub mod source;
pub mod store;
