#![no_main]
//! AV1 payloads.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_wire::fuzz::av1(data));
