//! Everything that talkover-exporter decides, and nothing that it does: pure functions and plain values.
//!
//! *Invariant:* no I/O, no clock, no async, no randomness, no locks. Time, settings and what was read are passed in;
//! what follows is returned. `Cargo.toml` and `clippy.toml` of this crate keep it so.
//!
//! In reading order: [`delivery`] is the vocabulary, [`server_time`] says what time it is on the server, [`reading`]
//! turns pages of a moving list into complete batches, [`ledger`] decides what counts, [`spans`] turns its transitions
//! into traces, [`schedule`] decides whose turn it is, and [`discovery`] decides which webhooks there are.

#![forbid(unsafe_code)]

pub mod delivery;
pub mod discovery;
pub mod ledger;
pub mod reading;
pub mod schedule;
pub mod server_time;
pub mod spans;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
