//! The way to an OTLP receiver, the same for every signal: [`transport`] sends a request, over gRPC or HTTP,
//! [`verdict`] interprets the answer, and [`resource`] says where the content comes from.
//!
//! *Invariant:* nothing here keeps, repeats or reads what it sends; the caller decides what becomes of it.

pub mod connection;
pub(crate) mod grpc;
pub(crate) mod http;
pub mod outbox;
pub mod resource;
pub mod transport;
pub mod verdict;
