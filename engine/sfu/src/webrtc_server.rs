//! A WebRTC server: sockets that many transports share. A datagram finds its transport by the
//! verified 5-tuple, else by the username fragment.
//!
//! A server serves the routers of its own shard. One of the whole engine is such a server on each shard, whose sockets
//! share their ports ([`crate::shared_port`]).

use sfu_wire::id::ObjectId;
use sfu_wire::net::SocketId;

use crate::command::BoundSocket;

/// Sockets and who uses them.
#[derive(Debug)]
pub struct WebRtcServer {
    /// In order of preference.
    pub sockets: Vec<BoundSocket>,
    /// Transports that listen here, in order of creation.
    pub transports: Vec<ObjectId>,
}

impl WebRtcServer {
    /// Makes a server on bound sockets.
    pub fn new(sockets: &[BoundSocket]) -> Self {
        Self { sockets: sockets.to_vec(), transports: Vec::new() }
    }

    /// The handles of its sockets.
    pub fn socket_ids(&self) -> impl Iterator<Item = SocketId> + '_ {
        self.sockets.iter().map(|s| s.socket)
    }
}
