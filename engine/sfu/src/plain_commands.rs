//! What commands do to plain transports. Everything is checked before anything changes.

use std::net::SocketAddr;

use rand_core::RngCore;
use sfu_proto::keys::{KeyMaterial, SrtpProfile};
use sfu_wire::id::ObjectId;
use sfu_wire::time::Time;

use crate::command::{
    BoundSocket, CommandError, ErrorCode, PlainRemote, PlainTransportCreated, PlainTransportOptions, Reply,
    SrtpParameters,
};
use crate::commands::{check_udp, wrong_kind};
use crate::plain_transport::PlainTransport;
use crate::remote_address;
use crate::shard::Shard;
use crate::transport::{Kind, Transport};

fn invalid(field: &str, text: &str) -> CommandError {
    CommandError::new(ErrorCode::InvalidArgument, field, text)
}

impl Shard {
    pub(crate) fn create_plain_transport(
        &mut self,
        now: Time,
        sockets: &[BoundSocket],
        router: ObjectId,
        options: &PlainTransportOptions,
    ) -> Result<Reply, CommandError> {
        let wanted = if options.rtcp_mux { 1 } else { 2 };
        self.check_sockets(sockets)?;
        check_udp(sockets)?;
        if sockets.len() != wanted {
            let text = "one address with rtcpMux, two without";
            return Err(invalid("listenInfo", text));
        }
        let key = options.srtp.map(|profile| self.draw_key(profile)).transpose()?;
        let clear = key.is_none();
        let (listening, srtp) = (sockets.to_vec(), key.clone());
        let make = move |id| Kind::Plain(Box::new(PlainTransport::new(id, listening, options.comedia, key)));
        let id = self.add_transport(now, router, options.max_incoming_bitrate, make)?;
        sockets.iter().for_each(|s| self.lookup.claim_socket(s.socket, id));
        if let Some(transport) = self.transports.get_mut(id)
            && clear
        {
            transport.link.set_clear();
        }
        let tell = |socket: &BoundSocket| (socket.announced.clone(), socket.local);
        let rtcp = sockets.get(1).map(tell);
        Ok(Reply::PlainTransport(PlainTransportCreated { id, rtp: tell(&sockets[0]), rtcp, srtp }))
    }

    pub(crate) fn connect_plain_transport(
        &mut self,
        now: Time,
        id: ObjectId,
        remote: &PlainRemote,
    ) -> Result<Reply, CommandError> {
        let transport = self.transports.get_mut(id).ok_or_else(|| CommandError::not_found("target", id))?;
        let was_connected = transport.is_connected();
        let (plain, link) = transport.plain_mut().ok_or_else(|| wrong_kind(id, "a plain transport"))?;
        let addresses = check_remote(plain, remote)?;
        if let (Some(local), Some(theirs)) = (&plain.local_key, &remote.srtp) {
            link.set_sessions(theirs, local)
                .map_err(|e| CommandError::new(ErrorCode::Internal, "srtpParameters", e.to_string()))?;
        }
        plain.is_signalled = true;
        for (rtcp, address) in addresses {
            plain.set_remote(rtcp, address, link, &mut self.lookup);
        }
        self.settle(now, id, (false, was_connected));
        Ok(Reply::Done)
    }

    /// A peer of a plain transport was found by its packet.
    pub(crate) fn latch(&mut self, now: Time, id: ObjectId, rtcp: bool, remote: SocketAddr) {
        let Some(transport) = self.transports.get_mut(id) else { return };
        let was_connected = transport.is_connected();
        let Some((plain, link)) = transport.plain_mut() else { return };
        plain.set_remote(rtcp, remote, link, &mut self.lookup);
        plain.tell_tuple(rtcp, &mut self.out);
        self.settle(now, id, (false, was_connected));
    }

    /// A random key for what we send.
    pub(crate) fn draw_key(&mut self, profile: SrtpProfile) -> Result<SrtpParameters, CommandError> {
        let mut bytes = [0; KeyMaterial::MAX_LEN];
        let len = profile.key_len() + profile.salt_len();
        self.rng.fill_bytes(&mut bytes[..len]);
        let key = KeyMaterial::new(&bytes[..len]);
        sfu_proto::keys::erase(&mut bytes);
        let key = key.ok_or_else(|| CommandError::new(ErrorCode::Internal, "", "no key of that length"))?;
        Ok(SrtpParameters { profile, key })
    }
}

/// The addresses that `connect` gives: RTP's (false) and RTCP's (true).
fn check_remote(plain: &PlainTransport, remote: &PlainRemote) -> Result<Vec<(bool, SocketAddr)>, CommandError> {
    if plain.is_signalled {
        let text = "connect was called before; close the transport and make a new one";
        return Err(CommandError::new(ErrorCode::InvalidState, "", text));
    }
    check_key(plain.local_key.as_ref(), remote.srtp.as_ref())?;
    if plain.comedia {
        let given =
            [("ip", remote.ip.is_some()), ("port", remote.port.is_some()), ("rtcpPort", remote.rtcp_port.is_some())];
        if let Some((field, _)) = given.into_iter().find(|(_, given)| *given) {
            return Err(invalid(field, "the transport is comedia: the peer's first packet tells; leave it out"));
        }
        if remote.srtp.is_none() {
            return Err(invalid("", "a comedia transport without SRTP has nothing to be told: do not connect it"));
        }
        return Ok(Vec::new());
    }
    let ip = remote.ip.ok_or_else(|| invalid("ip", "is missing; give the peer's address, or use comedia"))?;
    let port = remote.port.ok_or_else(|| invalid("port", "is missing; give the peer's port, or use comedia"))?;
    let rtcp_port = match (plain.is_muxed(), remote.rtcp_port) {
        (true, Some(_)) => return Err(invalid("rtcpPort", "the transport has rtcpMux: leave it out")),
        (false, None) => return Err(invalid("rtcpPort", "is missing; give it, or use rtcpMux")),
        (_, port) => port,
    };
    let mut addresses = Vec::with_capacity(2);
    for (rtcp, port, field) in [(false, Some(port), "port"), (true, rtcp_port, "rtcpPort")] {
        let (Some(port), Some(socket)) = (port, plain.socket(rtcp)) else { continue };
        let checked = remote_address::check(SocketAddr::new(ip, port), socket, &plain.sockets, "ip", field)?;
        addresses.push((rtcp, checked));
    }
    Ok(addresses)
}

/// SRTP is used by both sides or by none.
pub(crate) fn check_key(local: Option<&SrtpParameters>, remote: Option<&SrtpParameters>) -> Result<(), CommandError> {
    const FIELD: &str = "srtpParameters";
    match (local, remote) {
        (Some(_), None) => Err(invalid(FIELD, "is missing; the transport was made with SRTP: give the peer's key")),
        (None, Some(_)) => {
            Err(invalid(FIELD, "given, but the transport was made without SRTP: make one with enableSrtp"))
        }
        (Some(local), Some(remote)) if local.key == remote.key => {
            Err(invalid(FIELD, "the key is our own: each side draws its own key (RFC 4568, section 5.1.4)"))
        }
        (_, Some(remote)) => {
            let (have, want) = (remote.key.as_bytes().len(), remote.profile.key_len() + remote.profile.salt_len());
            if have == want {
                return Ok(());
            }
            let text = format!("key and salt have {have} bytes; {} needs {want}", remote.profile.sdes_name());
            Err(CommandError::new(ErrorCode::InvalidArgument, "srtpParameters.keyBase64", text))
        }
        (None, None) => Ok(()),
    }
}

impl Transport {
    /// The kind's own state and the link that it steers, if this is a plain transport.
    pub(crate) fn plain_mut(&mut self) -> Option<(&mut PlainTransport, &mut crate::link::Link)> {
        match &mut self.kind {
            Kind::Plain(plain) => Some((plain, &mut self.link)),
            _ => None,
        }
    }
}
