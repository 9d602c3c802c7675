//! Stage 2: decides what is counted. Pure: no I/O, no clock, no randomness; time and settings are passed in.
//!
//! In reading order: [`state`] is what is remembered of one target, [`decide`] compares it with what was read and
//! decides what follows. [`row`] is what is remembered of an entry, and [`rows`] holds all of them. Among them [`tips`]
//! finds the delivery of an attempt, and [`late`] that of an attempt which turned up after its successor. [`memory`] is
//! what a decision sees of all that. [`transition`] names what can happen to an entry, [`labels`], [`series`] and
//! [`totals`] turn that into numbers, [`losses`] and [`activity`] say what was lost and what happened lately,
//! [`watermark`] holds the rules of time, and [`check`] says whether a memory that was read again can be right.
//!
//! *Invariant:* [`decide::decide`] changes nothing. Its decisions become the state only through
//! [`state::Ledger::apply`] and [`memory::Layer::settle_into`]; the program's store calls them, and only with what it
//! has committed.

pub mod activity;
pub mod check;
pub mod decide;
pub mod labeller;
pub mod labels;
pub mod late;
mod loss_changes;
pub mod losses;
pub mod memory;
pub mod row;
pub mod rows;
pub mod series;
pub mod state;
pub mod tips;
pub mod totals;
pub mod transition;
pub mod watermark;

#[cfg(test)]
mod tests;
