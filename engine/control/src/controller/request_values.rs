//! Values of requests that need no state to be checked: where to listen, the peer's fingerprints.

use std::net::IpAddr;

use sfu_core::command::{CommandError, ErrorCode, RemoteDtls};
use sfu_proto::crypto::{DtlsRole, Fingerprint};
use sfu_runtime::{ListenInfo, Protocol};

use crate::ortc::convert::{invalid, member, path, shown};
use crate::ortc::numbering::Numbering;
use crate::ortc::{self, DtlsParameters, limits};
use crate::schema as fb;

/// Sockets of one command.
const MAX_LISTEN_INFOS: usize = 16;
/// RFC 1035, section 2.3.4.
const MAX_HOST_NAME: usize = 253;
/// Far above what any kernel grants.
const MAX_SOCKET_BUFFER: u32 = 256 << 20;
const FIELD: &str = "listen_infos";

/// Where a command wants its sockets.
pub(super) fn listen_infos(infos: Vec<fb::ListenInfoT>) -> Result<Vec<ListenInfo>, CommandError> {
    if infos.is_empty() || infos.len() > MAX_LISTEN_INFOS {
        return Err(invalid(FIELD, format!("{} entries; give 1 to {MAX_LISTEN_INFOS}", infos.len())));
    }
    let mut out: Vec<ListenInfo> = Vec::with_capacity(infos.len());
    for (i, info) in infos.into_iter().enumerate() {
        let field = member("", FIELD, i);
        let info = listen_info(info, &field)?;
        let same = |o: &ListenInfo| (o.protocol, o.ip, o.port) == (info.protocol, info.ip, info.port);
        if info.port != 0 && out.iter().any(same) {
            let text = format!("port {} of {} is in the list already", info.port, info.ip);
            return Err(CommandError::new(ErrorCode::AlreadyExists, path(&field, "port"), text));
        }
        out.push(info);
    }
    Ok(out)
}

/// Where one socket is wanted.
pub(super) fn listen_info(info: fb::ListenInfoT, field: &str) -> Result<ListenInfo, CommandError> {
    let protocol = match info.protocol {
        fb::Protocol::udp => Protocol::Udp,
        fb::Protocol::tcp => Protocol::Tcp,
        other => {
            let text = format!("{} is no protocol; use 0 (udp) or 1 (tcp)", other.0);
            return Err(invalid(path(field, "protocol"), text));
        }
    };
    // One spelling: an IPv4 address in IPv6's clothes is an IPv4 address.
    let ip = match info.ip.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical(),
        Err(_) => return Err(invalid(path(field, "ip"), format!("{} is no IP address", shown(&info.ip)))),
    };
    if ip.is_multicast() {
        return Err(invalid(path(field, "ip"), format!("{ip} is a multicast address; give a local one")));
    }
    if let Some(name) = &info.announced_address {
        announced(name, &path(field, "announced_address"))?;
    } else if ip.is_unspecified() {
        let text = format!("is missing; {ip} cannot be a candidate, give the address that peers reach");
        return Err(invalid(path(field, "announced_address"), text));
    }
    if info.expose_internal_ip && ip.is_unspecified() {
        let text =
            format!("is true for {ip}, which cannot be a candidate; listen at the address to expose, or give false");
        return Err(invalid(path(field, "expose_internal_ip"), text));
    }
    if info.udp_reuse_port && protocol == Protocol::Tcp {
        return Err(invalid(path(field, "udp_reuse_port"), "is true for tcp; a TCP port is one listener's"));
    }
    if info.ipv6_only && ip.is_ipv4() {
        return Err(invalid(path(field, "ipv6_only"), format!("is true for {ip}; give an IPv6 address or false")));
    }
    let port_range = match info.port_range {
        Some(range) if info.port != 0 => {
            let text = format!("{} to {} together with port {}; give one of them", range.min, range.max, info.port);
            return Err(invalid(path(field, "port_range"), text));
        }
        Some(range) if range.min == 0 || range.min > range.max => {
            let text = format!("{} to {}; give 1 to 65535 in order", range.min, range.max);
            return Err(invalid(path(field, "port_range"), text));
        }
        range => range.map(|r| (r.min, r.max)),
    };
    for (name, size) in [("send_buffer_size", info.send_buffer_size), ("recv_buffer_size", info.recv_buffer_size)] {
        if size > MAX_SOCKET_BUFFER {
            return Err(invalid(path(field, name), format!("{size}; give at most {MAX_SOCKET_BUFFER}")));
        }
    }
    Ok(ListenInfo {
        protocol,
        ip,
        announced: info.announced_address,
        expose_internal_ip: info.expose_internal_ip,
        port: info.port,
        port_range,
        ipv6_only: info.ipv6_only,
        send_buffer: info.send_buffer_size as usize,
        recv_buffer: info.recv_buffer_size as usize,
        udp_reuse_port: info.udp_reuse_port,
        shared: None,
    })
}

/// Whether the protocols that a transport may be reached by go together, and with the sockets of its own, if any.
pub(super) fn protocols(body: &fb::CreateWebRtcTransportT, own: &[ListenInfo]) -> Result<(), CommandError> {
    if !body.enable_udp && !body.enable_tcp {
        return Err(invalid("enable_udp", "and enable_tcp are both false; give true for one of them"));
    }
    if body.prefer_udp && body.prefer_tcp {
        return Err(invalid("prefer_udp", "and prefer_tcp are both true; give true for at most one of them"));
    }
    for (at, info) in own.iter().enumerate() {
        let (name, flag, enabled) = match info.protocol {
            Protocol::Udp => ("udp", "enable_udp", body.enable_udp),
            Protocol::Tcp => ("tcp", "enable_tcp", body.enable_tcp),
        };
        if !enabled {
            let field = path(&member("", FIELD, at), "protocol");
            return Err(invalid(field, format!("is {name}, but {flag} is false; leave the entry out or give true")));
        }
    }
    Ok(())
}

/// An address, or a host name of letters, digits, hyphens and dots.
fn announced(name: &str, field: &str) -> Result<(), CommandError> {
    if let Ok(ip) = name.parse::<IpAddr>() {
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(invalid(field, format!("{ip} cannot be reached by peers; give another address")));
        }
        return Ok(());
    }
    let label = |l: &str| !l.is_empty() && l.len() <= 63 && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if name.len() > MAX_HOST_NAME || !name.split('.').all(label) {
        return Err(invalid(field, format!("{} is neither an IP address nor a host name", shown(name))));
    }
    Ok(())
}

/// Whose numbers a consumer uses.
pub(super) fn numbering(value: fb::Numbering) -> Result<Numbering, CommandError> {
    match value {
        fb::Numbering::router => Ok(Numbering::Router),
        fb::Numbering::peer => Ok(Numbering::Peer),
        other => Err(invalid("numbering", format!("{} is no numbering; use 0 (router) or 1 (peer)", other.0))),
    }
}

/// The peer's side of DTLS.
pub(super) fn remote_dtls(parameters: &DtlsParameters, field: &str) -> Result<RemoteDtls, CommandError> {
    let count = parameters.fingerprints.len();
    if count == 0 || count > limits::FINGERPRINTS {
        let text = format!("{count} entries; give 1 to {}", limits::FINGERPRINTS);
        return Err(invalid(path(field, "fingerprints"), text));
    }
    let read = |(i, f): (usize, &ortc::DtlsFingerprint)| {
        Fingerprint::from_parts(&f.algorithm, &f.value).map_err(|e| {
            let field = path(&member(field, "fingerprints", i), "value");
            invalid(field, format!("{} is no {} digest: {e}", shown(&f.value), f.algorithm))
        })
    };
    let role = match parameters.role {
        ortc::DtlsRole::Auto => None,
        ortc::DtlsRole::Client => Some(DtlsRole::Client),
        ortc::DtlsRole::Server => Some(DtlsRole::Server),
    };
    let fingerprints = parameters.fingerprints.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    Ok(RemoteDtls { role, fingerprints })
}
