//! Floor 0: numbers and containers, and bytes <-> values.
//!
//! What it is: everything the other floors need to read and write packets. Parsing borrows from the
//! datagram, building writes into a slice that the caller owns. What it is told: bytes and numbers.
//! What it tells: values that cannot be malformed, or a [`error::ParseError`]. Limits: no state but
//! containers, no allocation in a parse path, no logging, no clock, no randomness, no panic on any
//! input. What it leaves out on purpose: meaning; no module here knows a peer, a stream or a session.
//!
//! | module | RFC |
//! |---|---|
//! | [`demux`] | 7983, 5761 |
//! | [`stun`] | 8489, 8445 section 7.1 |
//! | [`rtp`], [`extension`] | 3550, 8285 |
//! | [`dependency_descriptor`] | AV1 RTP 1.0, appendix A |
//! | [`rtcp`] | 3550, 4585, 5104, 5506, 3611, 8888 |
//! | [`layers_allocation`] | none: a WebRTC extension |
//! | [`codec`] | 7741, 9628, 6184, 7798, AV1 RTP 1.0, 6716, 2198, 5109, flexfec-03 |

#![forbid(unsafe_code)]

mod bits;
pub mod buf;
pub mod codec;
pub mod demux;
pub mod dependency_descriptor;
pub mod drop_reason;
pub mod error;
pub mod extension;
pub mod fuzz;
pub mod id;
pub mod layers_allocation;
pub mod media;
pub mod net;
pub mod rate;
mod read;
pub mod ring;
pub mod rtcp;
pub mod rtp;
pub mod scalability;
pub mod seq;
pub mod stun;
pub mod time;

#[cfg(test)]
mod oracle_payload_tests;
#[cfg(test)]
mod oracle_published_tests;
#[cfg(test)]
mod oracle_spec_tests;
#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod testing;
