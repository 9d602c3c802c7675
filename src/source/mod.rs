//! Stage 1: asks the API and makes sense of its answers. It decides nothing and remembers nothing that must survive.
//!
//! In reading order: [`wire`] is what answers mean, [`payload`] tells which attempts belong together, [`client`] makes one
//! request, [`error`] is why it may bring nothing, [`pager`] and [`recheck`] say which page to ask for next.

pub mod client;
mod cursor;
pub mod error;
pub mod pager;
pub mod payload;
pub mod recheck;
mod returns;
mod ties;
pub mod wire;
