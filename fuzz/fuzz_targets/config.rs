//! A configuration file made of any bytes; what must hold of it is in `properties/config.rs`.

#![no_main]

#[path = "../properties/config.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::check(bytes));
