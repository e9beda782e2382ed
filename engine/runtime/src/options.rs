//! What an operator chooses: shards, queues, back end of the media sockets, and where a command
//! wants to listen. Plain values; nothing here acts.

use std::net::IpAddr;
use std::path::PathBuf;

pub use sfu_core::limits::TcpLimits;
use sfu_proto::crypto::Certificate;
use sfu_proto::srtp::SrtpProfile;
pub use sfu_wire::net::Protocol;

use crate::memory::CGROUPS;

/// Where a shard runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardPlacement {
    /// The core that the shard is pinned to; `None` leaves the choice to the kernel.
    pub cpu: Option<usize>,
}

/// How a shard talks to its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IoBackend {
    /// The faster of the two by the project's own measurements (`examples/io_compare.rs`): they
    /// cost the same within the noise where packets fan out, and recvmmsg is ahead where bursts
    /// arrive.
    #[default]
    Default,
    /// An io_uring of its own: multishot receive into provided buffers, batched sends.
    IoUring,
    /// epoll with recvmmsg and sendmmsg.
    Mmsg,
}

/// What [`Runtime::start`](crate::Runtime::start) needs.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// One entry for each shard; at least one, at most 255.
    pub shards: Vec<ShardPlacement>,
    /// The DTLS certificate of all shards.
    pub certificate: Certificate,
    /// SRTP profiles in order of preference.
    pub srtp_profiles: Vec<SrtpProfile>,
    /// Requests in flight for each shard (accepted, reply not yet polled) before BUSY.
    pub command_queue: usize,
    /// Events that each shard keeps for a slow reader before events of one object coalesce.
    pub event_queue: usize,
    /// How shards talk to their sockets.
    pub io: IoBackend,
    /// Where taps may write files; `None` refuses them.
    pub tap_directory: Option<PathBuf>,
    /// Caps on TCP connections, of each shard.
    pub tcp: TcpLimits,
    /// The kernel is told which shard each peer of a shared port belongs to; otherwise shards hand over to one another
    /// what is not their own.
    pub steer_shared_ports: bool,
    /// Where the control groups are that may limit the process's memory.
    pub cgroups: PathBuf,
}

impl RuntimeOptions {
    /// Options with the usual queue sizes and one unpinned shard.
    pub fn new(certificate: Certificate) -> Self {
        Self {
            shards: vec![ShardPlacement::default()],
            certificate,
            srtp_profiles: SrtpProfile::ALL.to_vec(),
            command_queue: 1024,
            event_queue: 4096,
            io: IoBackend::Default,
            tap_directory: None,
            tcp: TcpLimits::default(),
            steer_shared_ports: true,
            cgroups: PathBuf::from(CGROUPS),
        }
    }
}

/// Where a command wants a socket bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenInfo {
    /// UDP or TCP.
    pub protocol: Protocol,
    /// The address to bind.
    pub ip: IpAddr,
    /// What candidates say instead of `ip`: an address or a host name.
    pub announced: Option<String>,
    /// Offer `ip` as a candidate too when `announced` is set.
    pub expose_internal_ip: bool,
    /// The port; 0 takes any free one, or one of `port_range`.
    pub port: u16,
    /// Lowest and highest port to choose from when `port` is 0.
    pub port_range: Option<(u16, u16)>,
    /// An IPv6 socket must not take IPv4 traffic.
    pub ipv6_only: bool,
    /// Bytes of the kernel's send buffer; 0 takes the engine's default. For TCP, that of each connection.
    pub send_buffer: usize,
    /// Bytes of the kernel's receive buffer; 0 takes the engine's default. For TCP, that of each connection.
    pub recv_buffer: usize,
    /// Other sockets that ask for the same may have the port too, and the kernel shares datagrams out among them by
    /// their senders (SO_REUSEPORT). For UDP only.
    pub udp_reuse_port: bool,
    /// The port is one that all shards listen on: those whose infos have the same key share it. The rest of the infos
    /// must be equal; what the first shard to come asks for is what is bound.
    pub shared: Option<u64>,
}

impl ListenInfo {
    /// UDP on any free port of `ip`.
    pub fn udp(ip: IpAddr) -> Self {
        Self {
            protocol: Protocol::Udp,
            ip,
            announced: None,
            expose_internal_ip: false,
            port: 0,
            port_range: None,
            ipv6_only: false,
            send_buffer: 0,
            recv_buffer: 0,
            udp_reuse_port: false,
            shared: None,
        }
    }

    /// TCP on any free port of `ip`.
    pub fn tcp(ip: IpAddr) -> Self {
        Self { protocol: Protocol::Tcp, ..Self::udp(ip) }
    }
}
