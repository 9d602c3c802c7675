//! A state file with a value of any bytes; what must hold of it is in `properties/state.rs`.

#![no_main]

#[path = "../properties/state.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::check(bytes));
