#![no_main]
//! RTP header extensions in both forms.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_wire::fuzz::extensions(data));
