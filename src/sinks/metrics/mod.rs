//! The metrics: [`catalogue`] defines every series, [`board`] holds what is shown of each target, [`deliveries`] and [`daemon`]
//! turn it into families, and [`render`] writes the text format.
//!
//! *Invariant:* the board is changed only after the store has committed what it shows, and a scrape only reads.

pub mod board;
pub mod catalogue;
pub mod daemon;
pub mod deliveries;
pub mod exemplars;
pub mod exposure;
mod families;
pub mod process;
pub mod reference;
pub mod render;
