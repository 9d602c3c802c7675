//! The files beside a state made of any bytes; what must hold of it is in `properties/companions.rs`.

#![no_main]

#[path = "../properties/companions.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::check(bytes));
