//! Floor 2: a complete selective forwarding unit without an operating system.
//!
//! [`shard::Shard`] is the whole of it to the floor above: datagrams, commands and time go in;
//! datagrams, events and a next deadline come out. It never opens a socket, reads a clock, spawns,
//! blocks or logs. Everything below it is a tree of plain values known by ids.

pub mod candidates;
pub mod command;
pub mod command_error;
pub mod config;
pub mod consumer;
pub mod decision;
pub mod direct_transport;
pub mod limits;
pub mod lookup;
pub mod media_outbox;
pub mod observer;
pub mod outbox;
pub mod peer;
pub mod pipe_transport;
pub mod plain_transport;
pub mod producer;
pub mod router;
pub mod rtp_listener;
pub mod shard;
pub mod shared_port;
pub mod signalled;
pub mod stats;
pub mod tap;
pub mod timers;
pub mod trace;
pub mod transport;
pub mod transport_streams;
pub mod webrtc_server;
pub mod webrtc_transport;

mod branch;
mod close;
mod command_object;
mod commands;
mod dispatch;
mod fault;
mod feedback;
mod forward;
mod ice_events;
mod ingress;
mod inspect;
mod layer_commands;
mod link;
mod listening;
mod mirror;
mod newcomer;
mod peer_link;
mod pipe_commands;
mod pipe_lanes;
mod plain_commands;
mod remote_address;
mod replay;
mod rtcp_in;
mod rtcp_out;
mod score_events;
mod srtp_streams;
mod watching;

#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
