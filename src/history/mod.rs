//! The retained past as samples with times, for the command `history`.
//!
//! [`reading`] reads the logs within the request budget and keeps what it has read in a [`resume`] file, so that an
//! interrupted run resumes where it stopped. [`replay`] decides all of it with the ledger's own rules, as of the time
//! at which each thing happened, and records the values of each series in the [`spool`], on the [`grid`] of five
//! minutes. [`mod@write`] makes an OpenMetrics file of that. With `--seed-state` the same decisions also make a
//! daemon's state.
//!
//! *Invariant:* only `talkover_core::ledger` decides what counts as what, and the last sample of a series is its total.

pub mod grid;
pub mod reading;
pub mod replay;
pub mod resume;
pub mod spool;
pub mod write;
