//! Which addresses a controller may have media sent to.
//!
//! Told: the address that a plain or pipe transport is to send to, and our sockets. Tells: its one canonical
//! spelling, or what is wrong with it. Refused: addresses that no single host has, in every spelling; link-local
//! ones, which mean another host on each interface (and the metadata service of many clouds); our own
//! sockets, since media would go round in circles; addresses of a family that the socket cannot send to.

use std::net::{IpAddr, SocketAddr};

use sfu_wire::net::{canonical_addr, is_unroutable};

use crate::command::{BoundSocket, CommandError, ErrorCode};

/// Checks the address that `from` is to send to. `ip_field` and `port_field` name the values in the caller's
/// words; `own` are all sockets of the transport.
pub(crate) fn check(
    remote: SocketAddr,
    from: &BoundSocket,
    own: &[BoundSocket],
    ip_field: &str,
    port_field: &str,
) -> Result<SocketAddr, CommandError> {
    let invalid = |field: &str, text: String| Err(CommandError::new(ErrorCode::InvalidArgument, field, text));
    let remote = canonical_addr(remote);
    if is_unroutable(remote.ip()) {
        return invalid(ip_field, format!("{} is no address of one host: give the peer's own", remote.ip()));
    }
    if is_link_local(remote.ip()) {
        return invalid(ip_field, format!("{} is link-local: give an address that routers carry", remote.ip()));
    }
    if remote.port() == 0 {
        return invalid(port_field, "0 is no port to send to: give 1 to 65535".to_owned());
    }
    let local = from.local.ip();
    if local.is_ipv4() && remote.is_ipv6() {
        return invalid(ip_field, format!("{} is IPv6, but the transport listens on {local}", remote.ip()));
    }
    if own.iter().any(|socket| leads_to(socket, remote)) {
        return invalid(ip_field, format!("{remote} is the transport's own address: media would go in circles"));
    }
    Ok(remote)
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Whether a datagram for `remote` comes back by `socket`, as far as its address tells.
fn leads_to(socket: &BoundSocket, remote: SocketAddr) -> bool {
    let local = canonical_addr(socket.local);
    let announced = socket.announced.as_ref().and_then(|name| name.parse::<IpAddr>().ok());
    remote.port() == local.port() && (remote.ip() == local.ip() || announced == Some(remote.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::net::{Protocol, SocketId};

    fn socket(local: &str) -> BoundSocket {
        BoundSocket {
            socket: SocketId(1),
            protocol: Protocol::Udp,
            local: local.parse().unwrap(),
            announced: Some("198.51.100.7".to_owned()),
            expose_internal_ip: false,
        }
    }

    fn refused(remote: &str, local: &str) -> Option<String> {
        let own = socket(local);
        let verdict = check(remote.parse().unwrap(), &own, std::slice::from_ref(&own), "ip", "port");
        verdict.err().map(|error| error.field)
    }

    #[test]
    fn h29_addresses_that_no_peer_has_are_refused_in_every_spelling() {
        for bad in [
            "0.0.0.0:9",
            "0.1.2.3:9",
            "224.0.0.1:9",
            "255.255.255.255:9",
            "169.254.169.254:80",
            "10.0.0.1:4000",
            "198.51.100.7:4000",
            "[2001:db8::1]:9",
        ] {
            assert_eq!(refused(bad, "10.0.0.1:4000").as_deref(), Some("ip"), "{bad}");
        }
        for bad in [
            "[::]:9",
            "[ff02::1]:9",
            "[fe80::1]:9",
            "[::ffff:0.0.0.0]:9",
            "[::ffff:224.0.0.1]:9",
            "[::ffff:169.254.169.254]:80",
            "[2001:db8::1]:4000",
        ] {
            assert_eq!(refused(bad, "[2001:db8::1]:4000").as_deref(), Some("ip"), "{bad}");
        }
        assert_eq!(refused("192.0.2.1:0", "10.0.0.1:4000").as_deref(), Some("port"));
    }

    #[test]
    fn h29_a_mapped_address_is_the_plain_one() {
        let own = socket("[2001:db8::1]:4000");
        let remote = "[::ffff:192.0.2.9]:9".parse().unwrap();
        let checked = check(remote, &own, &[], "ip", "port").unwrap();
        assert_eq!(checked, "192.0.2.9:9".parse().unwrap());
        // The own address in its other spelling is still the own address.
        let own = socket("127.0.0.1:4000");
        let looped = "[::ffff:127.0.0.1]:4000".parse().unwrap();
        assert!(check(looped, &own, std::slice::from_ref(&own), "ip", "port").is_err());
    }
}
