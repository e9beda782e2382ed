//! Host candidates of a transport (RFC 8445, sections 5.1.1.3 and 5.1.2; RFC 6544, section 4.2), made from bound
//! sockets.
//!
//! Told: sockets in the order of the listen infos, which is the order of preference within a protocol, and which
//! protocol comes first. Tells: what goes into signalling. An announced address takes the place of the bound one,
//! which is then shown only on demand (RFC 8828: no private addresses leak unless configured). TCP candidates are
//! passive. Left out: everything but host candidates; a server with a public address has no use for the others.

use std::net::IpAddr;

use sfu_wire::net::Protocol;

use crate::command::{BoundSocket, IceCandidate};

/// Type preference of host candidates (RFC 8445, section 5.1.2.2).
const HOST_PREFERENCE: u32 = 126;
/// The same of UDP candidates that are to come after TCP. A pair's priority is that of its lower side, and browsers
/// rate their own TCP candidates with a type preference of 90: only below that does their choice turn.
const UDP_AFTER_TCP_PREFERENCE: u32 = 60;
/// RTP and RTCP share component 1 (RFC 8843, RFC 5761).
const COMPONENT: u32 = 1;
/// Direction preference of passive host candidates (RFC 6544, section 4.2), in the upper three bits of the local
/// preference.
const PASSIVE: u32 = 4 << 13;
/// Most of what is left for the order among TCP candidates.
const MAX_OTHER: u32 = (1 << 13) - 1;

/// Candidates for `sockets`, the most preferred first.
pub fn candidates(sockets: &[BoundSocket], prefer_tcp: bool) -> Vec<IceCandidate> {
    let mut bases: Vec<(Protocol, IpAddr)> = Vec::new();
    let mut out: Vec<IceCandidate> = Vec::new();
    for socket in sockets {
        let base = (socket.protocol, socket.local.ip());
        let base_index = bases.iter().position(|b| *b == base).unwrap_or_else(|| {
            bases.push(base);
            bases.len() - 1
        });
        let internal = base.1.to_string();
        let shown = socket.announced.iter().cloned();
        let hidden = (socket.announced.is_none() || socket.expose_internal_ip).then_some(internal);
        for address in shown.chain(hidden) {
            let (protocol, port) = (socket.protocol, socket.local.port());
            if out.iter().any(|c| c.address == address && c.port == port && c.protocol == protocol) {
                continue;
            }
            out.push(IceCandidate {
                foundation: (base_index + 1).to_string(),
                priority: priority(protocol, prefer_tcp, out.len() as u32),
                address,
                port,
                protocol,
            });
        }
    }
    out.sort_by_key(|c| std::cmp::Reverse(c.priority));
    out
}

/// Earlier candidates get the higher local preference, so that no two are equal.
fn priority(protocol: Protocol, prefer_tcp: bool, position: u32) -> u32 {
    let (type_preference, local_preference) = match protocol {
        Protocol::Udp if prefer_tcp => (UDP_AFTER_TCP_PREFERENCE, u32::from(u16::MAX).saturating_sub(position)),
        Protocol::Udp => (HOST_PREFERENCE, u32::from(u16::MAX).saturating_sub(position)),
        Protocol::Tcp => (HOST_PREFERENCE, PASSIVE | MAX_OTHER.saturating_sub(position)),
    };
    (type_preference << 24) | (local_preference << 8) | (256 - COMPONENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::net::SocketId;
    use std::net::SocketAddr;

    fn bound(addr: &str, announced: Option<&str>, expose: bool) -> BoundSocket {
        BoundSocket {
            socket: SocketId(1),
            protocol: Protocol::Udp,
            local: addr.parse::<SocketAddr>().unwrap(),
            announced: announced.map(str::to_owned),
            expose_internal_ip: expose,
        }
    }

    fn bound_tcp(addr: &str) -> BoundSocket {
        BoundSocket { protocol: Protocol::Tcp, ..bound(addr, None, false) }
    }

    #[test]
    fn candidates_keep_the_order_of_the_listen_infos_in_their_priorities() {
        let all = candidates(&[bound("192.0.2.1:4000", None, false), bound("[2001:db8::1]:4000", None, false)], false);
        assert_eq!(all[0].address, "192.0.2.1");
        assert_eq!(all[1].address, "2001:db8::1");
        assert!(all[0].priority > all[1].priority);
        assert_eq!(all[0].priority, (126 << 24) | (65535 << 8) | 255);
        assert_ne!(all[0].foundation, all[1].foundation);
    }

    #[test]
    fn an_announced_address_hides_the_bound_one_unless_it_is_exposed() {
        let hidden = candidates(&[bound("10.0.0.1:4000", Some("sfu.example.org"), false)], false);
        assert_eq!(hidden.iter().map(|c| c.address.as_str()).collect::<Vec<_>>(), ["sfu.example.org"]);
        let shown = candidates(&[bound("10.0.0.1:4000", Some("198.51.100.7"), true)], false);
        assert_eq!(shown.iter().map(|c| c.address.as_str()).collect::<Vec<_>>(), ["198.51.100.7", "10.0.0.1"]);
        assert_eq!(shown[0].foundation, shown[1].foundation, "same base, same foundation");
    }

    #[test]
    fn udp_comes_before_tcp_unless_tcp_is_preferred() {
        let sockets = [
            bound_tcp("192.0.2.1:4000"),
            bound("192.0.2.1:4000", None, false),
            bound_tcp("[2001:db8::1]:4000"),
            bound("[2001:db8::1]:4000", None, false),
        ];
        let order = |prefer_tcp| {
            let all = candidates(&sockets, prefer_tcp);
            assert!(all.windows(2).all(|two| two[0].priority > two[1].priority), "{all:?}");
            let foundations: std::collections::BTreeSet<_> = all.iter().map(|c| c.foundation.clone()).collect();
            assert_eq!(foundations.len(), 4, "another protocol or base, another foundation");
            all.iter().map(|c| (c.protocol, c.address.contains(':'))).collect::<Vec<_>>()
        };
        let (udp, tcp) = (Protocol::Udp, Protocol::Tcp);
        assert_eq!(order(false), [(udp, false), (udp, true), (tcp, false), (tcp, true)]);
        assert_eq!(order(true), [(tcp, false), (tcp, true), (udp, false), (udp, true)]);
        let first = &candidates(&sockets[..1], false)[0];
        assert_eq!(first.priority, (126 << 24) | (((4 << 13) + 8191) << 8) | 255);
    }
}
