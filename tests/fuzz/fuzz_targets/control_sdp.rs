#![no_main]
//! Any text as a session description and as a trickle-ICE fragment.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_control::fuzz::description(data));
