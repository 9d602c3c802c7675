//! Joins the stages: fetch, decide, commit, apply, for every target of every environment.
//!
//! [`reader`] knows what one target needs next, [`step`] makes one request and settles what it brought, [`environment`] is the
//! loop that gives the steps their turns.
//!
//! *Invariant:* [`step`] commits before it applies; nothing else writes to the store, to a ledger or to the board's totals.

pub mod environment;
pub mod reader;
pub mod release;
pub mod retire;
pub mod step;
