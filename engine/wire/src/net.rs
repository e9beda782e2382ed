//! Addresses, as the pure floors see them.

use std::net::{IpAddr, SocketAddr};

/// Transport protocol of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// UDP.
    #[default]
    Udp,
    /// TCP: each packet in a frame (RFC 4571). Its socket listens; a connection is known by the peer's address.
    Tcp,
}

/// A socket of the runtime: a number that only the runtime can turn into a file descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// One of our sockets and one remote address: what others call a 5-tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Our side.
    pub socket: SocketId,
    /// The peer's side, canonical.
    pub remote: SocketAddr,
}

impl Tuple {
    /// Makes a tuple; the remote address is made canonical.
    #[inline]
    pub fn new(socket: SocketId, remote: SocketAddr) -> Self {
        Self { socket, remote: canonical_addr(remote) }
    }
}

/// One spelling per address: v4-mapped IPv6 addresses become IPv4, and flow information, which is
/// not part of an address, is dropped. To be applied once, at the edge.
#[inline]
pub fn canonical_addr(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(mut v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), v6.port()),
            None => {
                v6.set_flowinfo(0);
                SocketAddr::V6(v6)
            }
        },
    }
}

/// Addresses that no single peer can have: multicast, broadcast, unspecified and "this network"
/// (0.0.0.0/8), whatever their spelling.
#[inline]
pub fn is_unroutable(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_become_plain_ones() {
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:9".parse().unwrap();
        assert_eq!(canonical_addr(mapped), "127.0.0.1:9".parse().unwrap());
        assert_eq!(Tuple::new(SocketId(1), mapped).remote, "127.0.0.1:9".parse().unwrap());
        for same in ["127.0.0.1:9", "[::1]:9", "[fe80::1%3]:9", "[::127.0.0.1]:9"] {
            let same: SocketAddr = same.parse().unwrap();
            assert_eq!(canonical_addr(same), same);
        }
    }

    #[test]
    fn unroutable_addresses_are_known_in_every_spelling() {
        for bad in [
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "ff02::1",
            "::ffff:224.0.0.1",
            "::ffff:0.0.0.0",
        ] {
            assert!(is_unroutable(bad.parse().unwrap()), "{bad}");
        }
        for good in ["127.0.0.1", "10.0.0.1", "192.0.2.255", "::1", "2001:db8::1", "fe80::1"] {
            assert!(!is_unroutable(good.parse().unwrap()), "{good}");
        }
    }
}
