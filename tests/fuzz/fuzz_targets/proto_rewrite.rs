#![no_main]
//! Rewriting of numbers, as a script.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_proto::fuzz::rewrite(data));
