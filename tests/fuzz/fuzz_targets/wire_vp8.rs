#![no_main]
//! VP8 payload descriptors.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_wire::fuzz::vp8(data));
