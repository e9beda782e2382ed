#![no_main]
//! H.264 payloads.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_wire::fuzz::h264(data));
