//! The simulator: a pure shard, scripted peers and a seeded network between them, in virtual time.
//!
//! Nothing here sleeps or reads a clock: the world jumps from one deadline to the next. The same seed gives
//! the same trace; DTLS bytes are OpenSSL's and differ, so the trace holds decrypted media, events and times.

pub mod call;
pub mod layer_call;
pub mod layered;
pub mod media;
mod negotiated;
pub mod net;
pub mod pipe_call;
pub mod span;
pub mod studio;
pub mod world;
