#![no_main]
//! Dependency descriptors and the structures that they carry.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_wire::fuzz::dependency_descriptor(data));
