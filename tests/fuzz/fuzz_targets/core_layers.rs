#![no_main]
//! Publishers of layers and a consumer that is moved between them, as a script.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_core::fuzz::layers(data));
