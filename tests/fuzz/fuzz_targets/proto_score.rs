#![no_main]
//! Scores and round trips as sequences of operations.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_proto::fuzz::score(data));
