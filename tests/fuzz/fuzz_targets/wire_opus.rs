#![no_main]
//! Opus payloads.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_wire::fuzz::opus(data));
