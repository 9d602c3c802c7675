//! Turns the ledger's transitions into encoded OpenTelemetry spans.
//!
//! [`span`] makes them, and log records beside them, [`ids`] gives them the same ids each time, and [`sampling`] decides
//! which ones are sent. Sends nothing itself.

pub mod ids;
mod log_record;
pub mod record;
pub mod sampling;
pub mod span;
pub mod subject;
