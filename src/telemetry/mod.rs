//! The daemon's own traces (`telemetry.traces`): what it does, for whoever asks why a poll took 9 s.
//!
//! Spans are made with `tracing`, all under one target; `tracing-opentelemetry` hands them to OpenTelemetry's SDK, and
//! `opentelemetry-otlp` sends them over connections that are set up as those for deliveries' spans are. They are not
//! kept on disk: what the queue cannot hold, or the receiver does not take, is dropped and counted.
//!
//! *Invariants:* what is turned off costs a comparison at each place where a span would begin. Spans hold ids, numbers,
//! and what the log says too, and no secret. Nothing of this module makes a span, so sending spans makes none.
//!
//! `span` makes spans, `request`, `poll` and `work` say what those of requests, polls and other work hold;
//! `layer` is the way from `tracing` to the SDK, `queue` keeps what has ended until `exporter` sends it through
//! `connection`; `running` starts, replaces and ends that.

pub(crate) mod connection;
pub mod exporter;
pub(crate) mod layer;
pub mod poll;
mod post;
pub mod queue;
pub mod request;
pub mod running;
pub mod span;
pub mod switch;
pub mod work;
