//! What the benchmarks share: one publisher of Opus-like packets and N consumers.

pub mod call;
pub mod loopback;
