//! An answer of the API made of any bytes; what must hold of it is in `properties/wire.rs`.

#![no_main]

#[path = "../properties/wire.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::check(bytes));
