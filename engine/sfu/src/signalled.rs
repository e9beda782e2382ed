//! What is signalled for transports without ICE and DTLS: options, addresses and keys of plain and pipe
//! transports, and the streams of what crosses them. Plain values; checks are where they are used. RFC 4568, RFC 5761.

use std::net::{IpAddr, SocketAddr};

use sfu_proto::keys::{KeyMaterial, SrtpProfile};
use sfu_wire::id::ObjectId;

/// One side's SRTP key, as signalled (RFC 4568, section 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtpParameters {
    /// The suite.
    pub profile: SrtpProfile,
    /// Master key and salt, as long as the suite wants.
    pub key: KeyMaterial,
}

/// Options of a plain transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainTransportOptions {
    /// RTP and RTCP share a port: one socket is bound; else two, the second for RTCP.
    pub rtcp_mux: bool,
    /// The peer's first packet tells where it is.
    pub comedia: bool,
    /// SRTP with a key of ours for this suite; `None`: nothing is protected.
    pub srtp: Option<SrtpProfile>,
    /// Upper bound of what the peer is told to send, bit/s; 0 is no bound.
    pub max_incoming_bitrate: u32,
}

/// Where the peer of a plain transport is. With comedia the addresses stay `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlainRemote {
    /// Its address.
    pub ip: Option<IpAddr>,
    /// The port of RTP.
    pub port: Option<u16>,
    /// The port of RTCP, where that is another one.
    pub rtcp_port: Option<u16>,
    /// The peer's key; given if and only if the transport uses SRTP.
    pub srtp: Option<SrtpParameters>,
}

/// Options of a pipe transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PipeTransportOptions {
    /// SRTP with AEAD_AES_256_GCM; else nothing is protected.
    pub srtp: bool,
    /// Consumers have RTX streams.
    pub rtx: bool,
    /// Of the streams and layers of what is consumed only those pass that the far router wants, which it tells by RTCP;
    /// both ends must be made so. Else all pass.
    pub only_wanted: bool,
}

/// Where the other end of a pipe is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipeRemote {
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its key; given if and only if the transport uses SRTP.
    pub srtp: Option<SrtpParameters>,
}

/// What peers are told of one of our sockets: what is announced instead of its address, if anything, and
/// the bound address.
pub type LocalAddress = (Option<String>, SocketAddr);

/// The answer to [`Command::CreatePlainTransport`](crate::command::Command::CreatePlainTransport).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainTransportCreated {
    /// The new transport.
    pub id: ObjectId,
    /// Where RTP is taken, and RTCP too unless it has its own.
    pub rtp: LocalAddress,
    /// Where RTCP is taken, if elsewhere.
    pub rtcp: Option<LocalAddress>,
    /// Our key, with SRTP.
    pub srtp: Option<SrtpParameters>,
}

/// The answer to [`Command::CreatePipeTransport`](crate::command::Command::CreatePipeTransport).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipeTransportCreated {
    /// The new transport.
    pub id: ObjectId,
    /// Where it listens.
    pub local: LocalAddress,
    /// Our key, with SRTP.
    pub srtp: Option<SrtpParameters>,
    /// Consumers have RTX streams.
    pub rtx: bool,
}

/// SSRCs of one stream that a consumer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSsrcs {
    /// Of the stream, unique on its transport.
    pub ssrc: u32,
    /// Of its RTX stream, where RTX was negotiated.
    pub rtx_ssrc: Option<u32>,
    /// Of its FlexFEC stream, where FlexFEC was negotiated.
    pub fec_ssrc: Option<u32>,
}

impl StreamSsrcs {
    /// All of them, that of the stream itself first.
    pub fn all(self) -> impl Iterator<Item = u32> {
        std::iter::once(self.ssrc).chain(self.rtx_ssrc).chain(self.fec_ssrc)
    }
}
