//! The ledger's decisions: tables of what follows from what, and properties that hold for any log read in any way.

mod activity;
mod bounds;
mod daemon;
mod deliveries;
mod disk;
mod entries;
mod labels;
mod late;
mod losses;
mod moving;
mod oracle;
mod properties;
mod world;
