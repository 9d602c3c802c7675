//! talkover-exporter: the delivery logs of TalkOver webhooks as Prometheus metrics.

pub mod build_info;
pub mod clock;
pub mod delivery;
pub mod ledger;
pub mod pipeline;
pub mod schedule;
pub mod shutdown;
pub mod sinks;
pub mod source;
pub mod store;
