#![no_main]
//! Who is loud and who speaks, as a script.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_proto::fuzz::speakers(data));
