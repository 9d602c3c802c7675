//! The metrics: [`catalogue`] defines every series and how it is collected, [`board`] holds what is shown about each
//! target, [`daemon`] counts the daemon's own work, [`scrape`] writes all of it as an exposition, and [`otlp`] pushes it.
//!
//! *Invariant:* the board is changed only after the store has committed what it shows, and a scrape only reads.

pub mod board;
pub mod catalogue;
pub mod daemon;
pub mod exemplars;
pub mod exposure;
mod gathered;
pub mod otlp;
pub mod process;
pub mod progress;
pub mod pushes;
pub mod reference;
pub mod samples;
pub mod scrape;
