//! A plain transport: RTP and RTCP over UDP without ICE and DTLS, for tools such as ffmpeg and GStreamer.
//!
//! Told: where the peer is, by the controller or (comedia) by the peer's first packet; the peer's SRTP
//! key. Tells: path and keys to its `Link`, what was learned as events.
//!
//! RTP and RTCP share a socket (RFC 5761), or have one each. Comedia learns an address once and never
//! again: with SRTP from a packet whose tag verified, without from RTP that belongs to one of the
//! transport's producers; RTCP's own address, without SRTP, only from the host that RTP comes from.
//! Media flows when the address is known and, with SRTP, the peer's key.
//! RFC 3550, RFC 3711, RFC 4568 (keys), RFC 5761. Left out: RTCP to several receivers, MKI, re-keying.

use std::net::SocketAddr;

use sfu_wire::id::ObjectId;
use sfu_wire::net::{Protocol, SocketId, Tuple};

use crate::command::{BoundSocket, Event, SrtpParameters};
use crate::link::Link;
use crate::lookup::Lookup;
use crate::shard::Out;
use crate::stats::TupleAddrs;

/// See the module.
#[derive(Debug)]
pub struct PlainTransport {
    id: ObjectId,
    /// RTP's, and RTCP's if that is another one.
    pub(crate) sockets: Vec<BoundSocket>,
    pub(crate) comedia: bool,
    /// Our half of SRTP, if it is to be used.
    pub(crate) local_key: Option<SrtpParameters>,
    /// The controller has said all it had to say.
    pub(crate) is_signalled: bool,
    remote: Option<SocketAddr>,
    rtcp_remote: Option<SocketAddr>,
}

impl PlainTransport {
    /// A transport that knows no peer. One socket carries RTP and RTCP; of two, the second carries RTCP.
    pub(crate) fn new(id: ObjectId, sockets: Vec<BoundSocket>, comedia: bool, key: Option<SrtpParameters>) -> Self {
        Self { id, sockets, comedia, local_key: key, is_signalled: false, remote: None, rtcp_remote: None }
    }

    /// RTP and RTCP share a socket.
    pub(crate) fn is_muxed(&self) -> bool {
        self.sockets.len() == 1
    }

    /// The socket of RTP, or of RTCP.
    pub(crate) fn socket(&self, rtcp: bool) -> Option<&BoundSocket> {
        if rtcp { self.sockets.last() } else { self.sockets.first() }
    }

    /// Where RTP or RTCP goes.
    pub(crate) fn tuple(&self, rtcp: bool) -> Option<Tuple> {
        let remote = if rtcp && !self.is_muxed() { self.rtcp_remote } else { self.remote };
        Some(Tuple { socket: self.socket(rtcp)?.socket, remote: remote? })
    }

    /// The same with our address in full.
    pub(crate) fn addrs(&self, rtcp: bool) -> Option<TupleAddrs> {
        let (local, remote) = (self.socket(rtcp)?.local, self.tuple(rtcp)?.remote);
        Some(TupleAddrs { protocol: Protocol::Udp, local, remote })
    }

    /// Datagrams of this tuple are taken.
    pub(crate) fn accepts(&self, tuple: &Tuple) -> bool {
        [false, true].into_iter().any(|rtcp| self.tuple(rtcp).as_ref() == Some(tuple))
    }

    /// Whether a first packet may tell where the peer is.
    pub(crate) fn may_latch(&self, rtcp: bool, socket: SocketId) -> bool {
        self.comedia && self.tuple(rtcp).is_none() && self.socket(rtcp).is_some_and(|s| s.socket == socket)
    }

    /// Whether RTCP without protection may tell where RTCP goes: only from where RTP comes from.
    pub(crate) fn trusts_rtcp_from(&self, remote: SocketAddr) -> bool {
        !self.is_muxed() && self.remote.is_some_and(|rtp| rtp.ip() == remote.ip())
    }

    /// The peer is there: RTP's address, or RTCP's.
    pub(crate) fn set_remote(&mut self, rtcp: bool, remote: SocketAddr, link: &mut Link, lookup: &mut Lookup) {
        if rtcp && !self.is_muxed() {
            self.rtcp_remote = Some(remote);
        } else {
            self.remote = Some(remote);
        }
        if let Some(tuple) = self.tuple(rtcp) {
            lookup.claim_tuple(tuple, self.id);
        }
        link.set_path(self.tuple(false), self.tuple(true));
    }

    /// Tells an address that the peer taught us.
    pub(crate) fn tell_tuple(&self, rtcp: bool, out: &mut Out) {
        let rtcp = rtcp && !self.is_muxed();
        if let (Some(tuple), Some(addrs)) = (self.tuple(rtcp), self.addrs(rtcp)) {
            out.events.push_back(Event::TransportTuple { transport: self.id, local: addrs.local, tuple, rtcp });
        }
    }

    /// Gives back what leads here.
    pub(crate) fn release(&self, lookup: &mut Lookup) {
        for tuple in [false, true].into_iter().filter_map(|rtcp| self.tuple(rtcp)) {
            lookup.release_tuple(&tuple, self.id);
        }
        self.sockets.iter().for_each(|s| lookup.release_socket(s.socket));
    }
}
