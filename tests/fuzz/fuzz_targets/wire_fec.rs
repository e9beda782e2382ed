#![no_main]
//! FEC headers.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_wire::fuzz::fec(data));
