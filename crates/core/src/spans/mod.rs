//! Turns the ledger's transitions into encoded OpenTelemetry spans.
//!
//! [`span`] makes them, [`ids`] gives them the same ids each time, and [`sampling`] decides which ones are sent. Sends
//! nothing itself.

pub mod ids;
pub mod record;
pub mod sampling;
pub mod span;
