//! Session descriptions for peers that speak nothing else: WHIP publishers, WHEP watchers, and any other endpoint of
//! offer and answer.
//!
//! Told: text from a peer, and the dictionaries of objects that exist. Tells: dictionaries for `Produce`, `Consume` and
//! `ConnectWebRtcTransport`, and text for the peer. It keeps nothing between calls, and runs on the caller's thread:
//! no shard ever sees a description. Limits: [`limits`]; one pass without recursion. RFC 8866 (SDP), 3264 (offer and
//! answer), 8829 (what browsers write), 8839 and 8840 (ICE), 8842 (DTLS), 8843 (BUNDLE), 8853 (simulcast), 9725 (WHIP).
//!
//! Leaves out: sections without BUNDLE or rtcp-mux, encrypted header extensions, RED and ULPFEC, all of which are rejected
//! or not taken up.

pub mod answer;
pub mod description;
pub mod fragment;
pub mod limits;
mod lines;
pub mod offer;
pub mod peer;
pub(crate) mod schema;
mod writer;

pub use answer::{AnswerSection, Origin, answer};
pub use description::Description;
pub use fragment::{Fragment, fragment};
pub use lines::SdpError;
pub use offer::offer;
pub use peer::{Peer, PeerSection, read};
pub use writer::Local;

#[cfg(test)]
mod fec_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
