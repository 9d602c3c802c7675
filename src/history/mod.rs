//! The retained past as samples with times, for the command `history`.
//!
//! [`reading`] reads the logs within the request budget and keeps what it has read in a [`resume`] file, so that an
//! interrupted run goes on where it stopped. [`replay`] decides all of it with the ledger's own rules, as of the time at
//! which each thing happened, and notes in the [`spool`] what each series came to, on the [`grid`] of five minutes.
//! [`mod@write`] makes an OpenMetrics file of that. The same decisions may become the state that a daemon begins with.
//!
//! *Invariant:* what counts as what is decided by `talkover_core::ledger` alone, and the last sample of a series is its
//! total.

pub mod grid;
pub mod reading;
pub mod replay;
pub mod resume;
pub mod spool;
pub mod write;
