#![no_main]
//! A sequence of commands through decoder, controller and shards.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_control::fuzz::session(data));
