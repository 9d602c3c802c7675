//! Reads a list that moves: makes sense of pages, and says which page to request next. It requests nothing itself.
//!
//! In reading order: [`wire`] is what answers mean, [`payload`] tells which attempts belong together, [`error`] is why
//! a request may fail, [`walk`] and [`recheck`] say which page to request next, and a [`job`] is one of them from
//! request to answer.

mod backtrack;
mod cover;
mod cursor;
pub mod error;
pub mod holes;
pub mod job;
mod known;
mod novelty;
pub mod payload;
pub mod recheck;
mod same_second;
pub mod walk;
pub mod wire;
