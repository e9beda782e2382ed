#![no_main]
//! Transport-wide feedback, as a script.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_proto::fuzz::tcc(data));
