//! Spans on their way to an OTLP receiver.
//!
//! `talkover_core::spans` makes them; the commit of their attempt puts them into the queue in the state file.
//! [`exporter`] removes them when the receiver has them: [`otlp`] makes a request from a batch, [`transport`] sends it,
//! and [`verdict`] interprets the answer. No span is decoded on the way.

pub mod connection;
pub mod exporter;
mod grpc;
mod http;
pub mod otlp;
mod pace;
pub mod transport;
pub mod verdict;
