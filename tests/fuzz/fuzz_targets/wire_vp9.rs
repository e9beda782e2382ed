#![no_main]
//! VP9 payload descriptors.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_wire::fuzz::vp9(data));
