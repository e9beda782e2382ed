#![no_main]
//! A DTLS server and what it is sent.

libfuzzer_sys::fuzz_target!(|data: &[u8]| sfu_proto::fuzz::dtls(data));
