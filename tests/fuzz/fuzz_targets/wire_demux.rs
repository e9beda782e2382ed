#![no_main]
//! The first byte of a datagram.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_wire::fuzz::demux(data));
