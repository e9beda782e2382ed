#![no_main]
//! What is missing and asked for, as a script.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_proto::fuzz::nack(data));
