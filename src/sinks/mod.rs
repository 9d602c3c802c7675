//! Where the results go: what users see of the ledger's decisions.

pub mod logs;
pub mod metrics;
pub mod otlp;
pub mod traces;
