#![no_main]
//! Redundancy of every kind through the whole way of a packet, as a script.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_core::fuzz::pipeline(data));
