#![no_main]
//! H.265 payloads.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_wire::fuzz::h265(data));
