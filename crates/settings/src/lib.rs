//! How people write values in files: what the daemon's configuration and the simulator's scenarios have in common.
//!
//! It knows no key of either.

#![forbid(unsafe_code)]

pub mod duration;
