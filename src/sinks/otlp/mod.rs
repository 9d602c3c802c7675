//! The way to an OTLP receiver, the same for every signal: [`transport`] sends a request, over gRPC or HTTP, and
//! [`verdict`] interprets the answer.
//!
//! *Invariant:* nothing here keeps, repeats or reads what it sends; the caller decides what becomes of it.

pub mod connection;
mod grpc;
mod http;
pub mod transport;
pub mod verdict;
