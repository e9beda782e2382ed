#![no_main]
//! RED payloads.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_wire::fuzz::red(data));
