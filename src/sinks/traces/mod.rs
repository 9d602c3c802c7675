//! Spans on their way to an OTLP receiver.
//!
//! `talkover_core::spans` makes them; the commit of their attempt puts them into the queue in the state file.
//! [`exporter`] removes them when the receiver has them: [`otlp`] makes a request from a batch, and
//! [`sinks::otlp`](crate::sinks::otlp) sends it. No span is decoded on the way.

pub mod exporter;
pub mod otlp;
mod pace;
