//! Spans on their way to an OTLP receiver.
//!
//! `talkover_core::spans` makes them; the commit of their attempt puts them into the outbox of the state file.
//! [`exporter`] takes them out of it when the receiver has them: [`otlp`] makes a request of a batch, [`transport`]
//! sends it, and [`verdict`] says what the answer means. On that way no span is decoded.

pub mod connection;
pub mod exporter;
mod grpc;
mod http;
pub mod otlp;
mod pace;
pub mod transport;
pub mod verdict;
