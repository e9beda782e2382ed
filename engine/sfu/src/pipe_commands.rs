//! What commands do to pipe transports. Everything is checked before anything changes.

use std::net::SocketAddr;

use sfu_proto::keys::SrtpProfile;
use sfu_wire::id::ObjectId;
use sfu_wire::time::Time;

use crate::command::{
    BoundSocket, CommandError, ErrorCode, PipeRemote, PipeTransportCreated, PipeTransportOptions, Reply,
};
use crate::commands::{check_udp, wrong_kind};
use crate::link::Link;
use crate::pipe_transport::PipeTransport;
use crate::plain_commands::check_key;
use crate::remote_address;
use crate::shard::Shard;
use crate::transport::{Kind, Transport};

/// The one suite of pipes.
const PROFILE: SrtpProfile = SrtpProfile::AeadAes256Gcm;

fn invalid(field: &str, text: &str) -> CommandError {
    CommandError::new(ErrorCode::InvalidArgument, field, text)
}

impl Shard {
    pub(crate) fn create_pipe_transport(
        &mut self,
        now: Time,
        sockets: &[BoundSocket],
        router: ObjectId,
        options: PipeTransportOptions,
    ) -> Result<Reply, CommandError> {
        self.check_sockets(sockets)?;
        check_udp(sockets)?;
        let [socket] = sockets else { return Err(invalid("listenInfo", "a pipe listens on one address")) };
        let srtp = if options.srtp { Some(self.draw_key(PROFILE)?) } else { None };
        let (listening, key) = (socket.clone(), srtp.clone());
        let make = move |id| Kind::Pipe(Box::new(PipeTransport::new(now, id, listening, key, options)));
        let id = self.add_transport(now, router, 0, make)?;
        self.lookup.claim_socket(socket.socket, id);
        if let Some(transport) = self.transports.get_mut(id)
            && srtp.is_none()
        {
            transport.link.set_clear();
        }
        let local = (socket.announced.clone(), socket.local);
        Ok(Reply::PipeTransport(PipeTransportCreated { id, local, srtp, rtx: options.rtx }))
    }

    pub(crate) fn connect_pipe_transport(
        &mut self,
        now: Time,
        id: ObjectId,
        remote: &PipeRemote,
    ) -> Result<Reply, CommandError> {
        let transport = self.transports.get_mut(id).ok_or_else(|| CommandError::not_found("target", id))?;
        let was_connected = transport.is_connected();
        let (pipe, link) = transport.pipe_mut().ok_or_else(|| wrong_kind(id, "a pipe transport"))?;
        if pipe.tuple().is_some() {
            let text = "connect was called before; close the transport and make a new one";
            return Err(CommandError::new(ErrorCode::InvalidState, "", text));
        }
        check_key(pipe.local_key.as_ref(), remote.srtp.as_ref())?;
        if remote.srtp.as_ref().is_some_and(|srtp| srtp.profile != PROFILE) {
            return Err(invalid("srtpParameters.cryptoSuite", "pipes use AEAD_AES_256_GCM and no other suite"));
        }
        let address = SocketAddr::new(remote.ip, remote.port);
        let own = std::slice::from_ref(&pipe.socket);
        let address = remote_address::check(address, &pipe.socket, own, "ip", "port")?;
        if let (Some(local), Some(theirs)) = (&pipe.local_key, &remote.srtp) {
            link.set_sessions(theirs, local)
                .map_err(|e| CommandError::new(ErrorCode::Internal, "srtpParameters", e.to_string()))?;
        }
        pipe.set_remote(now, address, link, &mut self.lookup);
        self.settle(now, id, (false, was_connected));
        Ok(Reply::Done)
    }
}

impl Transport {
    /// The kind's own state and the link that it steers, if this is a pipe transport.
    pub(crate) fn pipe_mut(&mut self) -> Option<(&mut PipeTransport, &mut Link)> {
        match &mut self.kind {
            Kind::Pipe(pipe) => Some((pipe, &mut self.link)),
            _ => None,
        }
    }
}
