//! talkover-exporter: the delivery logs of TalkOver webhooks as Prometheus metrics.

pub mod delivery;
