#![no_main]
//! Reception and the history of what was sent, as a script.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_proto::fuzz::history(data));
