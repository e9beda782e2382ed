#![no_main]
//! Compound RTCP packets.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_wire::fuzz::rtcp(data));
