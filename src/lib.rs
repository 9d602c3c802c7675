//! talkover-exporter: the delivery logs of TalkOver webhooks as Prometheus metrics.

pub mod delivery;
pub mod ledger;
pub mod schedule;
pub mod source;
pub mod store;
