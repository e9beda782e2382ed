//! Where transports listen: sockets as the runtime has bound them, and what a WebRTC transport makes of them. Plain values;
//! checks are where they are used. RFC 6544 (TCP), RFC 7675 (consent).

use std::net::SocketAddr;
use std::time::Duration;

use sfu_wire::id::ObjectId;
use sfu_wire::net::{Protocol, SocketId};

/// A socket that the runtime has bound for a command, in the order in which the command listed its
/// listen infos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundSocket {
    /// The handle by which datagrams come and go.
    pub socket: SocketId,
    /// UDP, or TCP: then it listens, and what comes by its connections bears its handle.
    pub protocol: Protocol,
    /// The bound address, with the real port.
    pub local: SocketAddr,
    /// What to put into the candidate instead of `local.ip()`: an address or a host name.
    pub announced: Option<String>,
    /// Also offer `local.ip()` as a candidate when `announced` is set.
    pub expose_internal_ip: bool,
}

/// Where a WebRTC transport listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// On sockets of its own, bound for this command.
    Own,
    /// On the sockets of a WebRTC server of the same shard.
    Server(ObjectId),
}

/// Options of a WebRTC transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebRtcTransportOptions {
    /// Where it listens.
    pub listen: Listen,
    /// Time without a valid Binding request after which sending stops; `None` switches the check
    /// off (RFC 7675; default 30 s, at most 60 s).
    pub ice_consent_timeout: Option<Duration>,
    /// Upper bound of what the peer is told to send, bit/s; 0 is no bound.
    pub max_incoming_bitrate: u32,
    /// It may be reached by UDP.
    pub enable_udp: bool,
    /// It may be reached by TCP.
    pub enable_tcp: bool,
    /// TCP candidates come before UDP candidates; otherwise they come after them.
    pub prefer_tcp: bool,
}

impl Default for WebRtcTransportOptions {
    fn default() -> Self {
        Self {
            listen: Listen::Own,
            ice_consent_timeout: Some(Duration::from_secs(30)),
            max_incoming_bitrate: 0,
            enable_udp: true,
            enable_tcp: true,
            prefer_tcp: false,
        }
    }
}
