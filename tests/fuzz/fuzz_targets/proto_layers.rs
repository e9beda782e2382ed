#![no_main]
//! Choice of layers, as a script.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_proto::fuzz::layers(data));
