#![no_main]
//! Frames on a byte stream, both ways.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_proto::fuzz::framing(data));
