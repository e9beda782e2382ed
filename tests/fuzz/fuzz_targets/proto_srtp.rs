#![no_main]
//! SRTP of every profile, both ways.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_proto::fuzz::srtp(data));
