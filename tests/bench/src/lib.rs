//! The load harness: a publisher, viewers, the ways out, and what is measured between them.
//!
//! `benches/forward.rs` puts them together. Every figure is CPU time of the forwarding thread, since that changes little
//! on a busy machine; every run has the loop of other forwarders in it, interleaved, to compare with.

pub mod call;
pub mod clock;
pub mod egress;
pub mod frame;
pub mod measure;
pub mod peer_loop;
pub mod pure;
pub mod report;
pub mod room;
pub mod subject;
pub mod sys;
pub mod viewers;
