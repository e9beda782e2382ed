#![no_main]
//! Datagrams into a call of two on a shard.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_core::fuzz::datagrams(data));
