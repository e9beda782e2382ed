#![no_main]
//! Video layers allocations.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_wire::fuzz::layers_allocation(data));
