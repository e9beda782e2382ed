#![no_main]
//! Commands to a shard, in any order.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_core::fuzz::commands(data));
