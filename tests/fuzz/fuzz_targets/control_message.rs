#![no_main]
//! One flatbuffer message, as submitted and as polled.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_control::fuzz::message(data));
