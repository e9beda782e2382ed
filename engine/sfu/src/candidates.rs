//! Host candidates of a transport (RFC 8445, sections 5.1.1.3 and 5.1.2), made from bound sockets.
//!
//! Told: sockets in the order of the listen infos, which is the order of preference. Tells: what goes
//! into signalling. An announced address takes the place of the bound one, which is then shown only
//! on demand (RFC 8828: no private addresses leak unless configured). Left out: everything but UDP
//! host candidates; a server with a public address has no use for the others.

use std::net::IpAddr;

use crate::command::{BoundSocket, IceCandidate};

/// Type preference of host candidates (RFC 8445, section 5.1.2.2).
const HOST_PREFERENCE: u32 = 126;
/// RTP and RTCP share component 1 (RFC 8843, RFC 5761).
const COMPONENT: u32 = 1;

/// Candidates for `sockets`, the most preferred first.
pub fn candidates(sockets: &[BoundSocket]) -> Vec<IceCandidate> {
    let mut bases: Vec<IpAddr> = Vec::new();
    let mut out: Vec<IceCandidate> = Vec::new();
    for socket in sockets {
        let base = socket.local.ip();
        let base_index = bases.iter().position(|b| *b == base).unwrap_or_else(|| {
            bases.push(base);
            bases.len() - 1
        });
        let internal = base.to_string();
        let shown = socket.announced.iter().cloned();
        let hidden = (socket.announced.is_none() || socket.expose_internal_ip).then_some(internal);
        for address in shown.chain(hidden) {
            if out.iter().any(|c| c.address == address && c.port == socket.local.port()) {
                continue;
            }
            out.push(IceCandidate {
                foundation: (base_index + 1).to_string(),
                priority: priority(out.len()),
                address,
                port: socket.local.port(),
            });
        }
    }
    out
}

/// Earlier candidates get the higher local preference, so that no two are equal.
fn priority(position: usize) -> u32 {
    let local_preference = u32::from(u16::MAX).saturating_sub(position as u32);
    (HOST_PREFERENCE << 24) | (local_preference << 8) | (256 - COMPONENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::net::SocketId;
    use std::net::SocketAddr;

    fn bound(addr: &str, announced: Option<&str>, expose: bool) -> BoundSocket {
        BoundSocket {
            socket: SocketId(1),
            local: addr.parse::<SocketAddr>().unwrap(),
            announced: announced.map(str::to_owned),
            expose_internal_ip: expose,
        }
    }

    #[test]
    fn candidates_keep_the_order_of_the_listen_infos_in_their_priorities() {
        let all = candidates(&[bound("192.0.2.1:4000", None, false), bound("[2001:db8::1]:4000", None, false)]);
        assert_eq!(all[0].address, "192.0.2.1");
        assert_eq!(all[1].address, "2001:db8::1");
        assert!(all[0].priority > all[1].priority);
        assert_eq!(all[0].priority, (126 << 24) | (65535 << 8) | 255);
        assert_ne!(all[0].foundation, all[1].foundation);
    }

    #[test]
    fn an_announced_address_hides_the_bound_one_unless_it_is_exposed() {
        let hidden = candidates(&[bound("10.0.0.1:4000", Some("sfu.example.org"), false)]);
        assert_eq!(hidden.iter().map(|c| c.address.as_str()).collect::<Vec<_>>(), ["sfu.example.org"]);
        let shown = candidates(&[bound("10.0.0.1:4000", Some("198.51.100.7"), true)]);
        assert_eq!(shown.iter().map(|c| c.address.as_str()).collect::<Vec<_>>(), ["198.51.100.7", "10.0.0.1"]);
        assert_eq!(shown[0].foundation, shown[1].foundation, "same base, same foundation");
    }
}
