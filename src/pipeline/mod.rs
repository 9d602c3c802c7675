//! Joins the stages: fetch, decide, commit, apply, for every target of every environment.
//!
//! [`reader`] knows what one target needs next, [`step`] makes one request and processes the answer, [`roster`] and
//! [`discover`] determine which targets there are, and [`environment`] is the loop that schedules their requests.
//!
//! *Invariant:* [`step`] commits before it applies; nothing else writes to the store, to a ledger or to the board's
//! totals.

pub mod discover;
pub mod environment;
pub mod reader;
pub mod release;
pub mod retire;
pub mod roster;
pub mod step;
pub mod step_result;
pub mod trace;
pub mod upkeep;
