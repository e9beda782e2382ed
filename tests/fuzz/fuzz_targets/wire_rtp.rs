#![no_main]
//! RTP packets, their views and setters.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_wire::fuzz::rtp(data));
