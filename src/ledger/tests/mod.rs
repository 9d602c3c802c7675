//! The ledger's decisions: tables of what follows from what, and properties that hold for any log read in any way.

pub(crate) mod book;
mod deliveries;
mod entries;
mod labels;
mod properties;
