//! Spans: how they are made of the ledger's transitions, and how they are sent to an OTLP receiver.
//!
//! [`span`] makes them, with [`ids`] and by [`sampling`]; the commit of their attempt puts them into the outbox of the state file.

pub mod ids;
pub mod sampling;
pub mod span;
