//! The runtime: the only floor that knows of threads, sockets, files and clocks.
//!
//! Told: where to run shards, and requests for them. Tells: replies, events, loads. It starts one
//! shard per core, each inside a glommio executor, shovels datagrams between the kernel and the
//! pure [`sfu_core`] shard, and gives foreign threads one door ([`Runtime::submit`],
//! [`Runtime::poll`]). What a command means is not its business.
//!
//! Limits: every queue is bounded (see [`RuntimeOptions`]); no call here blocks longer than it says.
//!
//! Left out: encoding of commands (the floor above), recordings other than taps.

mod backlog;
mod clock;
mod core;
mod error;
mod event_fd;
mod hand_over;
mod host;
mod listen;
mod load;
mod mailbox;
mod media_io;
mod media_queue;
mod memory;
mod mesh;
mod options;
mod port_program;
pub mod preflight;
mod retrieval;
mod runtime;
mod shard_loop;
mod shared_port;
mod sys;
mod tap;
mod tap_format;
mod tcp;
mod usage;

pub use crate::core::{Counts, ShardCore, ShardSeed};
pub use crate::error::{MediaError, ShutdownError, StartCode, StartError, SubmitError};
pub use crate::host::Host;
pub use crate::load::ShardLoad;
pub use crate::media_queue::{MAX_PACKET, records};
pub use crate::options::{IoBackend, ListenInfo, Protocol, RuntimeOptions, ShardPlacement, TcpLimits};
pub use crate::runtime::{Output, Runtime, ShardRequest};
