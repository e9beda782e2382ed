//! Requests about transports that browsers do not use: plain, pipe and direct ones.
//!
//! Told: decoded requests. Tells: a plan, or the error that names the field. Keys travel as base64 of key and salt
//! (RFC 4568, section 6.1).

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sfu_core::command::{
    Command, CommandError, PipeRemote, PipeTransportOptions, PlainRemote, PlainTransportOptions, SrtpParameters,
};
use sfu_proto::keys::{KeyMaterial, SrtpProfile, erase};
use sfu_runtime::{ListenInfo, Protocol};
use sfu_wire::id::ObjectKind;

use super::Controller;
use super::plan::{Planned, missing, plain};
use super::request_values as values;
use crate::encode;
use crate::ortc::convert::{invalid, path, shown};
use crate::schema as fb;

const LISTEN: &str = "listen_info";
const RTCP_LISTEN: &str = "rtcp_listen_info";
const SRTP: &str = "srtp_parameters";

impl Controller {
    pub(super) fn create_plain_transport(&mut self, target: u64, body: fb::CreatePlainTransportT) -> Planned {
        let router = self.object(target, &[ObjectKind::Router])?;
        let rtp = udp(*body.listen_info.ok_or_else(|| missing(LISTEN))?, LISTEN)?;
        let mut listen = vec![rtp];
        match (body.rtcp_mux, body.rtcp_listen_info) {
            (true, None) => {}
            (true, Some(_)) => {
                return Err(invalid(RTCP_LISTEN, "given together with rtcp_mux; give it only without"));
            }
            (false, Some(info)) => listen.push(udp(*info, RTCP_LISTEN)?),
            (false, None) => listen.push(ListenInfo { port: 0, ..listen[0].clone() }),
        }
        if let [rtp, rtcp] = &listen[..]
            && rtp.port != 0
            && (rtp.ip, rtp.port) == (rtcp.ip, rtcp.port)
        {
            return Err(invalid(path(RTCP_LISTEN, "port"), format!("{} is RTP's port; give another", rtp.port)));
        }
        let suite = profile(body.srtp_crypto_suite, "srtp_crypto_suite")?;
        let options = PlainTransportOptions {
            rtcp_mux: body.rtcp_mux,
            comedia: body.comedia,
            srtp: body.enable_srtp.then_some(suite),
            max_incoming_bitrate: body.max_incoming_bitrate,
        };
        self.spread((router, None, body.shard), listen, Command::CreatePlainTransport { router, options })
    }

    pub(super) fn connect_plain_transport(&self, target: u64, body: fb::ConnectPlainTransportT) -> Planned {
        let transport = self.object(target, &[ObjectKind::Transport])?;
        let remote = PlainRemote {
            ip: body.ip.map(|ip| address(&ip)).transpose()?,
            port: body.port,
            rtcp_port: body.rtcp_port,
            srtp: body.srtp_parameters.map(|srtp| key(*srtp)).transpose()?,
        };
        let remote = Box::new(remote);
        Ok(plain(transport, Command::ConnectPlainTransport { transport, remote }))
    }

    pub(super) fn create_pipe_transport(&mut self, target: u64, body: fb::CreatePipeTransportT) -> Planned {
        let router = self.object(target, &[ObjectKind::Router])?;
        let listen = vec![udp(*body.listen_info.ok_or_else(|| missing(LISTEN))?, LISTEN)?];
        let options =
            PipeTransportOptions { srtp: body.enable_srtp, rtx: body.enable_rtx, only_wanted: body.only_wanted };
        self.spread((router, None, body.shard), listen, Command::CreatePipeTransport { router, options })
    }

    pub(super) fn connect_pipe_transport(&self, target: u64, body: fb::ConnectPipeTransportT) -> Planned {
        let transport = self.object(target, &[ObjectKind::Transport])?;
        let ip = address(&body.ip.ok_or_else(|| missing("ip"))?)?;
        let srtp = body.srtp_parameters.map(|srtp| key(*srtp)).transpose()?;
        let remote = Box::new(PipeRemote { ip, port: body.port, srtp });
        Ok(plain(transport, Command::ConnectPipeTransport { transport, remote }))
    }

    pub(super) fn create_direct_transport(&mut self, target: u64, body: &fb::CreateDirectTransportT) -> Planned {
        let router = self.object(target, &[ObjectKind::Router])?;
        let max_incoming_bitrate = body.max_incoming_bitrate;
        let command = Command::CreateDirectTransport { router, max_incoming_bitrate };
        self.spread((router, None, body.shard), Vec::new(), command)
    }
}

fn udp(info: fb::ListenInfoT, field: &str) -> Result<ListenInfo, CommandError> {
    let info = values::listen_info(info, field)?;
    if info.protocol == Protocol::Tcp {
        return Err(invalid(path(field, "protocol"), "RTP without ICE goes over UDP; give udp"));
    }
    Ok(info)
}

fn address(text: &str) -> Result<IpAddr, CommandError> {
    text.parse().map_err(|_| invalid("ip", format!("{} is no IP address", shown(text))))
}

fn profile(profile: fb::SrtpProfile, field: &str) -> Result<SrtpProfile, CommandError> {
    encode::profile_from(profile).ok_or_else(|| invalid(field, format!("{} is no crypto suite", profile.0)))
}

/// A key as signalled. The text of the error never has a part of the key.
fn key(mut parameters: fb::SrtpParametersT) -> Result<SrtpParameters, CommandError> {
    let profile = profile(parameters.crypto_suite, &path(SRTP, "crypto_suite"))?;
    let wanted = profile.key_len() + profile.salt_len();
    let bytes = STANDARD.decode(&parameters.key_base64);
    // What was signalled is a secret: no copy of it stays in memory that is given back.
    let mut text = std::mem::take(&mut parameters.key_base64).into_bytes();
    erase(&mut text);
    let mut bytes = bytes.map_err(|_| invalid(path(SRTP, "key_base64"), "is no base64; give key and salt in one"))?;
    let key = KeyMaterial::new(&bytes).filter(|_| bytes.len() == wanted);
    let len = bytes.len();
    erase(&mut bytes);
    let key = key.ok_or_else(|| {
        let text = format!("holds {len} bytes; {} needs {wanted}, key and salt in one", profile.sdes_name());
        invalid(path(SRTP, "key_base64"), text)
    })?;
    Ok(SrtpParameters { profile, key })
}
