//! A web file made of any bytes; what must hold of it is in `properties/web_config.rs`.

#![no_main]

#[path = "../properties/web_config.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::check(bytes));
