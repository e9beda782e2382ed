#![no_main]
//! An ICE agent and what it is sent.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_proto::fuzz::ice(data));
