//! The control floor: from the caller's bytes to typed commands and back.
//!
//! It runs on the caller's threads. It verifies and decodes what is submitted, negotiates RTP parameters (ORTC) so
//! that no binding has to, picks the shard, and encodes replies and events. It knows no socket, no media packet and
//! no clock.

// The generated code names it.
extern crate alloc;

pub mod client;
mod controller;
pub mod decode;
pub mod encode;
mod encode_transports;
pub mod engine;
pub mod fuzz;
mod offline;
pub mod options;
pub mod ortc;
mod placement;
mod registry;
pub mod sdp;

/// What `flatc` makes of `include/libsfu.fbs`. `schema_generated.rs` is checked in and never edited.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::too_many_lines, clippy::undocumented_unsafe_blocks)]
#[allow(unused_imports, dead_code, non_camel_case_types, non_snake_case, deprecated, rustdoc::all)]
#[allow(unsafe_op_in_unsafe_fn, mismatched_lifetime_syntaxes)]
#[rustfmt::skip]
mod schema_generated;

/// Tables, object-API types and finishers of `include/libsfu.fbs`.
pub mod schema {
    pub use crate::schema_generated::libsfu::fbs::*;
}

pub use engine::{Engine, PollOutcome, SubmitError};
pub use options::EngineOptions;

/// What an operator's program needs of the floor below: the checks before a start, and why one failed.
pub mod host {
    pub use sfu_runtime::preflight::{Check, PreflightOptions, Status, check, usable_cpus};
    pub use sfu_runtime::{IoBackend, ListenInfo, StartCode, StartError};
}
pub use sfu_core::command::ErrorCode;
pub use sfu_proto::srtp::SrtpProfile;

#[cfg(test)]
mod tests;
