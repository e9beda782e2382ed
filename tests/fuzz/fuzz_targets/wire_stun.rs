#![no_main]
//! STUN messages.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_wire::fuzz::stun(data));
