//! The one table of caps: every container that something outside can fill has its bound here.
//!
//! Told: nothing. Tells: numbers. A full container refuses the newcomer and counts it (network) or
//! answers with an error that names the limit (controller). One exception: the oldest SSRC that a
//! packet taught us makes room for a new one, since sources do change theirs.

use std::time::Duration;

use sfu_proto::framing::Room;

/// Bounds of one shard. The defaults serve; smaller ones make tests of the bounds quick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Routers of the shard.
    pub routers: usize,
    /// WebRTC servers of the shard.
    pub webrtc_servers: usize,
    /// Transports of the shard, all routers together.
    pub transports: usize,
    /// Producers of the shard.
    pub producers: usize,
    /// Consumers of the shard.
    pub consumers: usize,
    /// Observers of the shard.
    pub observers: usize,
    /// Observers of one router.
    pub observers_per_router: usize,
    /// Producers that one observer hears.
    pub producers_per_observer: usize,
    /// Trace events that may wait between two turns.
    pub traces: usize,
    /// Bytes of tapped packets that may wait between two turns.
    pub tap_bytes: usize,
    /// Tapped packets that may wait between two turns.
    pub tap_packets: usize,
    /// Sockets that one command may bring.
    pub sockets_per_command: usize,
    /// Producers of one transport.
    pub producers_per_transport: usize,
    /// Consumers of one transport.
    pub consumers_per_transport: usize,
    /// Encodings of one producer.
    pub encodings_per_producer: usize,
    /// Codecs of one producer or consumer.
    pub codecs_per_stream: usize,
    /// Bytes of a CNAME (RFC 3550, section 6.5: one length octet).
    pub cname_bytes: usize,
    /// SSRCs that one transport may teach us by MID and RID, beyond those signalled.
    pub learned_ssrcs_per_transport: usize,
    /// Handshakes under way in the shard at one time.
    pub dtls_handshakes: usize,
    /// Remote fingerprints of one transport.
    pub fingerprints_per_transport: usize,
    /// Lost packets that one RTCP datagram may ask for; what is beyond is not answered.
    pub nacks_per_datagram: usize,
    /// Key-frame requests (PLI and FIR) that one RTCP datagram may carry.
    pub key_frame_requests_per_datagram: usize,
    /// Bytes of the transmit arena. It is sent when a quarter is used, and that has to hold a frame of four
    /// packets for some hundreds of consumers, or what could be one message to each is torn into several.
    pub outbox_bytes: usize,
    /// Datagrams of the transmit arena.
    pub outbox_datagrams: usize,
    /// Bytes that direct transports may hand to the application in one turn.
    pub media_bytes: usize,
    /// Packets that direct transports may hand to the application in one turn.
    pub media_packets: usize,
    /// Packets that may wait for one other shard.
    pub peer_packets: usize,
    /// Messages that may wait for one other shard, those that must arrive not counted.
    pub peer_messages: usize,
    /// Idle packet buffers that the pool keeps: a receive batch of 64 and its retransmission
    /// histories come back through it.
    pub idle_packets: usize,
    /// Decisions that the log of one transport or consumer may keep.
    pub decisions: usize,
    /// Largest datagram that is sent, bytes: 1500 less IPv6 and UDP headers (40 + 8) and a tunnel's
    /// header (20).
    pub datagram_bytes: usize,
}

/// Bounds of the TCP connections of one shard, for whoever accepts them. Each shard counts those that it has: the engine has
/// so many times the number of its shards, and of those that are being handed over a few hundred more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpLimits {
    /// Connections of the shard.
    pub connections: usize,
    /// Connections of one listening socket.
    pub connections_per_listener: usize,
    /// Connections from one address (IPv6: one /64). A whole company may be behind one.
    pub connections_per_address: usize,
    /// Connections that have brought no signed Binding request yet; the oldest makes room.
    pub half_open: usize,
    /// The same from one address.
    pub half_open_per_address: usize,
    /// How long a connection may stay so.
    pub half_open_time: Duration,
    /// Packets that a connection may bring meanwhile: requests with old credentials, say.
    pub unverified_packets: usize,
    /// Bytes of a packet meanwhile: a Binding request with the longest USERNAME (RFC 8489, section 14.3) fits.
    pub half_open_frame_bytes: usize,
    /// Bytes of a packet afterwards: above every path's MTU, and what some peers read at once.
    pub frame_bytes: usize,
    /// Bytes of STUN, DTLS and RTCP that may wait for one connection: two flights with long certificates.
    pub control_bytes: usize,
    /// Bytes of RTP that may wait for one connection: one large key frame, half a second of video.
    pub media_bytes: usize,
    /// Bytes that may wait for all connections together; beyond that, media is not queued.
    pub pending_bytes: usize,
    /// A connection by which nothing came for so long is closed. Consent runs out sooner, where it is checked.
    pub idle_time: Duration,
    /// A connection whose peer has read nothing for so long, while something waits, is closed.
    pub stall_time: Duration,
}

impl TcpLimits {
    /// What may wait for one connection when so many bytes wait already for all.
    pub fn room(&self, pending: usize) -> Room {
        let media = if pending < self.pending_bytes { self.media_bytes } else { 0 };
        Room { control: self.control_bytes, media }
    }
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_listener: 8_192,
            connections_per_address: 2_048,
            half_open: 1_024,
            half_open_per_address: 128,
            half_open_time: Duration::from_secs(5),
            unverified_packets: 16,
            half_open_frame_bytes: 1_024,
            frame_bytes: 8_192,
            control_bytes: 64 << 10,
            media_bytes: 128 << 10,
            pending_bytes: 64 << 20,
            idle_time: Duration::from_secs(90),
            stall_time: Duration::from_secs(10),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            routers: 16_384,
            webrtc_servers: 256,
            transports: 65_536,
            producers: 131_072,
            consumers: 1 << 20,
            observers: 32_768,
            observers_per_router: 16,
            producers_per_observer: 1_024,
            traces: 2_048,
            tap_bytes: 1 << 20,
            tap_packets: 2_048,
            sockets_per_command: 16,
            producers_per_transport: 256,
            consumers_per_transport: 4_096,
            encodings_per_producer: 8,
            codecs_per_stream: 32,
            cname_bytes: 255,
            learned_ssrcs_per_transport: 64,
            dtls_handshakes: 2_048,
            fingerprints_per_transport: 16,
            nacks_per_datagram: 512,
            key_frame_requests_per_datagram: 16,
            outbox_bytes: 16 << 20,
            outbox_datagrams: 16_384,
            media_bytes: 4 << 20,
            media_packets: 8_192,
            peer_packets: 2_048,
            peer_messages: 4_096,
            idle_packets: 4_096,
            decisions: 1_024,
            datagram_bytes: 1_432,
        }
    }
}
