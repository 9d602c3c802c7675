//! How people write files and the values in them: what the daemon's configuration and the simulator's scenarios share.
//!
//! Knows no key of either.

#![forbid(unsafe_code)]

pub mod bounded;
pub mod duration;
pub mod one_line;
pub mod yaml;
